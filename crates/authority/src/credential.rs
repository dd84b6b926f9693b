//! TPM2_MakeCredential in software (TPM 2.0 Library, Part 1, "Credential Protection").
//!
//! A credential blob can be opened by the TPM that holds the endorsement key, and only while an object
//! with the named Name is loaded beside it. That proves where the object is, never what it is: its
//! attributes are judged before, from the public area that the Name was computed from.

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepAlgorithm, OaepPublicEncryptingKey,
    PublicEncryptingKey,
};
use aws_lc_rs::{agreement, hmac, rand};
use thiserror::Error;
use vouchsafe_evidence::tpm::marshal::Writer;
use vouchsafe_evidence::tpm::{Curve, HashAlg};
use zeroize::Zeroizing;

/// Octets of the secret in a challenge: the digest size of the smallest EK Name algorithm.
pub const CREDENTIAL_OCTETS: usize = 32;
/// Label of the seed (Part 1, "Credential Protection"); OAEP includes the terminating zero.
const IDENTITY: &[u8] = b"IDENTITY";
const IDENTITY_OAEP: &[u8] = b"IDENTITY\0";
const STORAGE: &[u8] = b"STORAGE";
const INTEGRITY: &[u8] = b"INTEGRITY";
/// Octets of an AES block, the size of the zero initialization vector.
const BLOCK_OCTETS: usize = 16;

/// The public part of an endorsement key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndorsementKey {
    /// An RSA key.
    Rsa {
        /// SubjectPublicKeyInfo (DER) with algorithm rsaEncryption.
        spki: Vec<u8>,
    },
    /// A key on a NIST curve.
    Ecc {
        /// The curve.
        curve: Curve,
        /// The x coordinate, as wide as the field.
        x: Vec<u8>,
        /// The y coordinate, as wide as the field.
        y: Vec<u8>,
    },
}

/// How the endorsement key protects secrets; follows from its template, never from what a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// The nameAlg of the endorsement key.
    pub name_alg: HashAlg,
    /// Bits of the AES key of its symmetric definition, 128 or 256.
    pub aes_bits: u16,
}

/// A challenge as TPM2_ActivateCredential takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialBlob {
    /// TPM2B_ID_OBJECT, its size included.
    pub id_object: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET, its size included.
    pub encrypted_secret: Vec<u8>,
}

/// Why no credential blob could be made.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialError {
    /// The credential is longer than the endorsement key's digest.
    #[error("credential of {found} octets; the endorsement key takes {limit}")]
    CredentialLength {
        /// Octets found.
        found: usize,
        /// The largest credential.
        limit: usize,
    },
    /// The cryptographic library refused an operation, as it does for a point off its curve.
    #[error("{0} failed")]
    Operation(&'static str),
    /// The endorsement key's parameters are not those of a supported template.
    #[error("{0} is not supported for endorsement keys")]
    Unsupported(&'static str),
}

/// Makes the challenge that carries `credential` to the object with `name` beside the endorsement key.
///
/// # Errors
/// Every variant of [`CredentialError`].
pub fn make(
    key: &EndorsementKey,
    protection: Protection,
    name: &[u8],
    credential: &[u8],
) -> Result<CredentialBlob, CredentialError> {
    let limit = protection.name_alg.digest_len();
    if credential.len() > limit {
        return Err(CredentialError::CredentialLength { found: credential.len(), limit });
    }
    let (seed, encrypted_secret) = match key {
        EndorsementKey::Rsa { spki } => seed_for_rsa(spki, protection.name_alg)?,
        EndorsementKey::Ecc { curve, x, y } => seed_for_ecc(*curve, x, y, protection.name_alg)?,
    };
    let id_object = protect(&seed, protection, name, credential)?;
    Ok(CredentialBlob { id_object, encrypted_secret })
}

/// Encrypts, then authenticates: `TPM2B(TPM2B(outerHMAC) || encIdentity)`.
fn protect(seed: &[u8], protection: Protection, name: &[u8], credential: &[u8]) -> Result<Vec<u8>, CredentialError> {
    let hash = protection.name_alg;
    let aes = match protection.aes_bits {
        128 => &AES_128,
        256 => &AES_256,
        _ => return Err(CredentialError::Unsupported("this AES key size")),
    };
    let symmetric_key = kdfa(hash, seed, STORAGE, name, usize::from(protection.aes_bits / 8))?;
    let mut writer = Writer::new();
    writer.tpm2b(credential);
    let mut identity = writer.into_bytes();
    let key = UnboundCipherKey::new(aes, &symmetric_key).map_err(|_| CredentialError::Operation("AES"))?;
    let key = EncryptingKey::cfb128(key).map_err(|_| CredentialError::Operation("AES-CFB"))?;
    // A zero IV is what the clause demands; every seed, and with it every key, is used once.
    let zero_iv = EncryptionContext::Iv128(FixedLength::from(&[0; BLOCK_OCTETS]));
    key.less_safe_encrypt(&mut identity, zero_iv).map_err(|_| CredentialError::Operation("AES-CFB"))?;

    let integrity_key = kdfa(hash, seed, INTEGRITY, &[], hash.digest_len())?;
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac_algorithm(hash)?, &integrity_key));
    mac.update(&identity);
    mac.update(name);
    let mut contents = Writer::new();
    contents.tpm2b(mac.sign().as_ref()).bytes(&identity);
    let mut blob = Writer::new();
    blob.tpm2b(contents.as_bytes());
    Ok(blob.into_bytes())
}

type Seed = (Zeroizing<Vec<u8>>, Vec<u8>);

/// A random seed of the size of the nameAlg digest, encrypted with OAEP under the label "IDENTITY".
fn seed_for_rsa(spki: &[u8], hash: HashAlg) -> Result<Seed, CredentialError> {
    let mut seed = Zeroizing::new(vec![0; hash.digest_len()]);
    rand::fill(&mut seed).map_err(|_| CredentialError::Operation("the random source"))?;
    let key = PublicEncryptingKey::from_der(spki).map_err(|_| CredentialError::Operation("reading the RSA key"))?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| CredentialError::Operation("reading the RSA key"))?;
    let mut ciphertext = vec![0; key.ciphertext_size()];
    let ciphertext = key
        .encrypt(oaep(hash)?, &seed, &mut ciphertext, Some(IDENTITY_OAEP))
        .map_err(|_| CredentialError::Operation("OAEP"))?;
    let mut secret = Writer::new();
    secret.tpm2b(ciphertext);
    Ok((seed, secret.into_bytes()))
}

/// A seed from an ephemeral Diffie-Hellman exchange; the TPM is sent the ephemeral point.
fn seed_for_ecc(curve: Curve, x: &[u8], y: &[u8], hash: HashAlg) -> Result<Seed, CredentialError> {
    let algorithm = match curve {
        Curve::P256 => &agreement::ECDH_P256,
        Curve::P384 => &agreement::ECDH_P384,
        Curve::P521 => &agreement::ECDH_P521,
    };
    let failed = CredentialError::Operation("the key agreement");
    let ephemeral = agreement::PrivateKey::generate(algorithm).map_err(|_| failed)?;
    let public = ephemeral.compute_public_key().map_err(|_| failed)?;
    let (_, point) = public.as_ref().split_first().ok_or(failed)?;
    let (ephemeral_x, ephemeral_y) = point.split_at_checked(curve.field_len()).ok_or(failed)?;

    let peer = agreement::UnparsedPublicKey::new(algorithm, [&[4][..], x, y].concat());
    let seed = agreement::agree(&ephemeral, peer, failed, |z| Ok(kdfe(hash, z, IDENTITY, ephemeral_x, x)))?;
    let mut ecc_point = Writer::new();
    ecc_point.tpm2b(ephemeral_x).tpm2b(ephemeral_y);
    let mut secret = Writer::new();
    secret.tpm2b(ecc_point.as_bytes());
    Ok((seed, secret.into_bytes()))
}

/// KDFa (Part 1, "KDFa"): HMAC in counter mode over `i || label || 00 || context || bits`.
fn kdfa(
    hash: HashAlg,
    key: &[u8],
    label: &[u8],
    context: &[u8],
    octets: usize,
) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let bits = u32::try_from(octets.saturating_mul(8)).map_err(|_| CredentialError::Unsupported("this key size"))?;
    let key = hmac::Key::new(hmac_algorithm(hash)?, key);
    let mut output = Zeroizing::new(Vec::with_capacity(octets + hash.digest_len()));
    let mut counter: u32 = 0;
    while output.len() < octets {
        counter += 1;
        let mut mac = hmac::Context::with_key(&key);
        for part in [&counter.to_be_bytes()[..], label, &[0], context, &bits.to_be_bytes()] {
            mac.update(part);
        }
        output.extend_from_slice(mac.sign().as_ref());
    }
    output.truncate(octets);
    Ok(output)
}

/// KDFe (Part 1, "KDFe") for one digest of output: `H(1 || Z || label || 00 || U || V)`.
fn kdfe(hash: HashAlg, z: &[u8], label: &[u8], party_u: &[u8], party_v: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(hash.digest(&[&1_u32.to_be_bytes(), z, label, &[0], party_u, party_v]))
}

fn hmac_algorithm(hash: HashAlg) -> Result<hmac::Algorithm, CredentialError> {
    match hash {
        HashAlg::Sha1 => Err(CredentialError::Unsupported("SHA-1")),
        HashAlg::Sha256 => Ok(hmac::HMAC_SHA256),
        HashAlg::Sha384 => Ok(hmac::HMAC_SHA384),
        HashAlg::Sha512 => Ok(hmac::HMAC_SHA512),
    }
}

fn oaep(hash: HashAlg) -> Result<&'static OaepAlgorithm, CredentialError> {
    match hash {
        HashAlg::Sha1 => Err(CredentialError::Unsupported("SHA-1")),
        HashAlg::Sha256 => Ok(&OAEP_SHA256_MGF1SHA256),
        HashAlg::Sha384 => Ok(&OAEP_SHA384_MGF1SHA384),
        HashAlg::Sha512 => Ok(&OAEP_SHA512_MGF1SHA512),
    }
}
