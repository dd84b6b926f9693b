//! The certification side's half of credential activation, for tests: TPM2_MakeCredential in software (Part 1, "Credential
//! Protection"), written independently of the agent's own derivations.

#![allow(dead_code)]

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, UnparsedPublicKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use aws_lc_rs::{digest, hmac, rand};
use vouchsafe_evidence::x509::{NamedCurve, PublicKey, SpkiView};

pub struct Challenge {
    /// TPM2B_ID_OBJECT with its size.
    pub credential: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET with its size.
    pub secret: Vec<u8>,
}

pub fn tpm2b(contents: &[u8]) -> Vec<u8> {
    [&u16::try_from(contents.len()).unwrap().to_be_bytes()[..], contents].concat()
}

fn kdfa(alg: hmac::Algorithm, key: &[u8], label: &str, context: &[u8], octets: usize) -> Vec<u8> {
    // One block is enough for all that is derived here.
    let input =
        [&[0, 0, 0, 1], label.as_bytes(), &[0], context, &u32::try_from(octets * 8).unwrap().to_be_bytes()].concat();
    hmac::sign(&hmac::Key::new(alg, key), &input).as_ref()[..octets].to_vec()
}

/// A challenge for the endorsement key `ek` and the object of this Name.
pub fn make(ek: &SpkiView, name: &[u8], value: &[u8]) -> Challenge {
    let (mac, hash, aes) = match ek.key() {
        PublicKey::Ec { curve: NamedCurve::P384, .. } => (hmac::HMAC_SHA384, &digest::SHA384, &AES_256),
        _ => (hmac::HMAC_SHA256, &digest::SHA256, &AES_128),
    };
    let digest_len = hash.output_len();
    let (seed, secret) = match ek.key() {
        PublicKey::Rsa { .. } => {
            let mut seed = vec![0; digest_len];
            rand::fill(&mut seed).unwrap();
            let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(ek.as_der()).unwrap()).unwrap();
            let mut out = vec![0; key.ciphertext_size()];
            key.encrypt(&OAEP_SHA256_MGF1SHA256, &seed, &mut out, Some(b"IDENTITY\0")).unwrap();
            (seed, out)
        }
        PublicKey::Ec { curve, x, y } => {
            let algorithm = if *curve == NamedCurve::P384 { &ECDH_P384 } else { &ECDH_P256 };
            let ephemeral = agreement::PrivateKey::generate(algorithm).unwrap();
            let public = ephemeral.compute_public_key().unwrap();
            let (ex, ey) = public.as_ref()[1..].split_at(x.len());
            let peer = UnparsedPublicKey::new(algorithm, [&[4], x.as_slice(), y].concat());
            let seed = agreement::agree(&ephemeral, peer, (), |z| {
                let input = [&[0, 0, 0, 1], z, b"IDENTITY\0", ex, x].concat();
                Ok(digest::digest(hash, &input).as_ref().to_vec())
            })
            .unwrap();
            (seed, [tpm2b(ex), tpm2b(ey)].concat())
        }
        other => panic!("{other:?}"),
    };
    let key_len = if std::ptr::eq(aes, &AES_256) { 32 } else { 16 };
    let symmetric = kdfa(mac, &seed, "STORAGE", name, key_len);
    let mut identity = tpm2b(value);
    EncryptingKey::cfb128(UnboundCipherKey::new(aes, &symmetric).unwrap())
        .unwrap()
        .less_safe_encrypt(&mut identity, EncryptionContext::Iv128(FixedLength::from([0; 16])))
        .unwrap();
    let hmac_key = kdfa(mac, &seed, "INTEGRITY", &[], digest_len);
    let outer = hmac::sign(&hmac::Key::new(mac, &hmac_key), &[identity.as_slice(), name].concat());
    let id_object = [tpm2b(outer.as_ref()), identity].concat();
    Challenge { credential: tpm2b(&id_object), secret: tpm2b(&secret) }
}
