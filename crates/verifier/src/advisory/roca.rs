//! The fingerprint of ROCA (CVE-2017-15361): RSA keys made by a library of Infineon.
//!
//! Its primes are k * M + (65537^a mod M), M being the product of the first primes. Modulo each of these primes the
//! modulus is then a power of 65537, which of moduli made otherwise one in some hundred million is (Nemec, Sys, Svenda,
//! Klinec, Matyas: The Return of Coppersmith's Attack, ACM CCS 2017, 3.1).

/// The odd primes that M has for keys of every size; the most telling ones first.
const PRIMES: [u32; 38] = [
    11, 37, 13, 17, 97, 61, 73, 109, 127, 151, 157, 103, 7, 19, 79, 107, 131, 139, 163, 167, 3, 5, 23, 29, 31, 41, 43,
    47, 53, 59, 67, 71, 83, 89, 101, 113, 137, 149,
];
const GENERATOR: u32 = 65_537;

/// Whether an RSA modulus has the fingerprint.
pub(super) fn has_fingerprint(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| is_power_of_generator(residue(modulus, *prime), *prime))
}

/// The modulus, big-endian, modulo a small prime.
fn residue(modulus: &[u8], prime: u32) -> u32 {
    let prime = u64::from(prime);
    let (head, body) = modulus.split_at(modulus.len() % 4);
    let step = |rest: u64, word: u64| ((rest << 32) | word) % prime;
    let head = head.iter().fold(0_u64, |word, octet| (word << 8) | u64::from(*octet));
    let rest = body.chunks_exact(4).fold(head % prime, |rest, word| {
        let word = word.iter().fold(0_u64, |word, octet| (word << 8) | u64::from(*octet));
        step(rest, word)
    });
    u32::try_from(rest).unwrap_or(0)
}

fn is_power_of_generator(residue: u32, prime: u32) -> bool {
    let mut power = 1;
    for _ in 0..prime {
        if power == residue {
            return true;
        }
        power = (power * (GENERATOR % prime)) % prime;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_the_generator_have_it_and_others_do_not() {
        // 65537^31 has the form with one factor; it is a power modulo everything.
        let mut power = vec![1_u8];
        for _ in 0..31 {
            let mut carry = 0_u64;
            for octet in power.iter_mut().rev() {
                let product = u64::from(*octet) * u64::from(GENERATOR) + carry;
                *octet = u8::try_from(product & 0xff).unwrap();
                carry = product >> 8;
            }
            while carry > 0 {
                power.insert(0, u8::try_from(carry & 0xff).unwrap());
                carry >>= 8;
            }
        }
        assert!(has_fingerprint(&power));
        assert!(has_fingerprint(&[1, 0, 1]));
        for place in 0..power.len() {
            let mut other = power.clone();
            other[place] ^= 0x10;
            assert!(!has_fingerprint(&other), "octet {place}");
        }
        assert!(!has_fingerprint(&[0; 256]));
        assert!(!has_fingerprint(&[]));
    }
}
