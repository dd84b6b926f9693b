//! Key derivation (Part 1, "KDFa", "KDFe"), HMAC and AES-CFB as TPMs use them.

use aws_lc_rs::cipher::{
    AES_128, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{hmac, rand};
use vouchsafe_evidence::tpm::HashAlg;
use zeroize::Zeroizing;

use crate::provider::Fault;

/// Octets of an AES block, and so of a CFB initialization vector.
pub(crate) const IV_OCTETS: usize = 16;

const fn hmac_algorithm(hash: HashAlg) -> hmac::Algorithm {
    match hash {
        HashAlg::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        HashAlg::Sha256 => hmac::HMAC_SHA256,
        HashAlg::Sha384 => hmac::HMAC_SHA384,
        HashAlg::Sha512 => hmac::HMAC_SHA512,
    }
}

/// HMAC over the concatenation of `parts`.
pub(crate) fn hmac(hash: HashAlg, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac_algorithm(hash), key));
    for part in parts {
        context.update(part);
    }
    context.sign().as_ref().to_vec()
}

/// KDFa: `len` octets of `HMAC(key, i | label | 00 | u | v | bits)`, i = 1, 2, ...
pub(crate) fn kdfa(hash: HashAlg, key: &[u8], label: &[u8], u: &[u8], v: &[u8], len: usize) -> Zeroizing<Vec<u8>> {
    let bits = bits(len);
    expand(len, |counter| hmac(hash, key, &[counter, label, &[0], u, v, &bits]))
}

/// KDFe: `len` octets of `H(i | z | label | 00 | u | v)`, i = 1, 2, ...
pub(crate) fn kdfe(hash: HashAlg, z: &[u8], label: &[u8], u: &[u8], v: &[u8], len: usize) -> Zeroizing<Vec<u8>> {
    expand(len, |counter| hash.digest(&[counter, z, label, &[0], u, v]))
}

fn bits(len: usize) -> [u8; 4] {
    u32::try_from(len.saturating_mul(8)).unwrap_or(u32::MAX).to_be_bytes()
}

fn expand(len: usize, block: impl Fn(&[u8]) -> Vec<u8>) -> Zeroizing<Vec<u8>> {
    // Reserved whole, so that no reallocation leaves key octets behind.
    let mut out = Zeroizing::new(Vec::with_capacity(len.saturating_add(64)));
    let mut counter = 1_u32;
    while out.len() < len {
        out.extend_from_slice(&Zeroizing::new(block(&counter.to_be_bytes())));
        counter = counter.saturating_add(1);
    }
    out.truncate(len);
    out
}

/// Random octets.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut octets = [0; N];
    rand::fill(&mut octets).map_err(|_| Fault::Primitive("the random number generator"))?;
    Ok(octets)
}

const AES: Fault = Fault::Primitive("AES-CFB");

fn unbound(key: &[u8]) -> Result<UnboundCipherKey, Fault> {
    let algorithm = if key.len() == 16 { &AES_128 } else { &AES_256 };
    UnboundCipherKey::new(algorithm, key).map_err(|_| AES)
}

/// Encrypts in place with AES-128 or AES-256 in CFB mode.
pub(crate) fn cfb_encrypt(key: &[u8], iv: [u8; IV_OCTETS], data: &mut [u8]) -> Result<(), Fault> {
    let key = EncryptingKey::cfb128(unbound(key)?).map_err(|_| AES)?;
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    key.less_safe_encrypt(data, context).map(drop).map_err(|_| AES)
}

/// Decrypts in place what [`cfb_encrypt`] encrypted.
pub(crate) fn cfb_decrypt(key: &[u8], iv: [u8; IV_OCTETS], data: &mut [u8]) -> Result<(), Fault> {
    let key = DecryptingKey::cfb128(unbound(key)?).map_err(|_| AES)?;
    let context = DecryptionContext::Iv128(FixedLength::from(iv));
    key.decrypt(data, context).map(drop).map_err(|_| AES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivations_have_the_length_asked_for_and_a_common_prefix_only_in_kdfe() {
        let short = kdfe(HashAlg::Sha256, b"z", b"SECRET", b"u", b"v", 16);
        let long = kdfe(HashAlg::Sha256, b"z", b"SECRET", b"u", b"v", 80);
        assert_eq!((short.len(), long.len()), (16, 80));
        assert_eq!(short[..], long[..16]);
        // KDFa hashes the length, so lengths separate outputs.
        let short = kdfa(HashAlg::Sha384, b"k", b"ATH", b"u", b"v", 16);
        let long = kdfa(HashAlg::Sha384, b"k", b"ATH", b"u", b"v", 80);
        assert_ne!(short[..], long[..16]);
    }

    #[test]
    fn cfb_undoes_itself_for_both_key_sizes() {
        for len in [16, 32] {
            let mut data = b"nineteen octets....".to_vec();
            cfb_encrypt(&vec![7; len], [9; 16], &mut data).unwrap();
            assert_ne!(data, b"nineteen octets....");
            cfb_decrypt(&vec![7; len], [9; 16], &mut data).unwrap();
            assert_eq!(data, b"nineteen octets....");
        }
    }
}
