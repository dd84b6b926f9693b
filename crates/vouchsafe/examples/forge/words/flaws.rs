//! Keys with known flaws.

use anyhow::{Result, bail};

use super::super::Scope;
use super::super::value::{Arguments, Value};

pub fn call(_: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Value>> {
    Ok(Some(match word {
        // roca-modulus(bits): an odd number that is a power of 65537 modulo each of the primes of ROCA
        "roca-modulus" => Value::Octets(roca_modulus(usize::try_from(arguments.at(0)?.number()?)?)?),
        _ => return Ok(None),
    }))
}

/// The odd primes up to 167, by which the fingerprint tells.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// 65537^a * (c * M + 1), M being the product of the primes: modulo each of them it is 65537^a. No two primes of that
/// form are behind it, so that nobody can factor anything by it.
fn roca_modulus(bits: usize) -> Result<Vec<u8>> {
    for shift in 1..17 {
        let mut number = vec![1_u8];
        for prime in PRIMES {
            multiply(&mut number, prime);
        }
        multiply(&mut number, 1 << shift);
        add_one(&mut number);
        while length(&number) < bits {
            multiply(&mut number, 65_537);
        }
        if length(&number) == bits {
            return Ok(number);
        }
    }
    bail!("there is no such modulus of {bits} bits")
}

/// Bits of a number, big-endian without leading zero octets.
fn length(number: &[u8]) -> usize {
    let leading = number.first().map_or(0, |octet| octet.leading_zeros());
    (number.len() * 8).saturating_sub(usize::try_from(leading).unwrap_or(0))
}

fn multiply(number: &mut Vec<u8>, factor: u32) {
    let mut carry = 0_u64;
    for octet in number.iter_mut().rev() {
        let product = u64::from(*octet) * u64::from(factor) + carry;
        *octet = u8::try_from(product & 0xFF).unwrap_or(0);
        carry = product >> 8;
    }
    while carry > 0 {
        number.insert(0, u8::try_from(carry & 0xFF).unwrap_or(0));
        carry >>= 8;
    }
}

/// Adds one to an even number.
fn add_one(number: &mut [u8]) {
    if let Some(last) = number.last_mut() {
        *last |= 1;
    }
}
