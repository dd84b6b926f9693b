//! Encrypting short messages to keys, decrypting them, and random octets.

use super::dispatch::Call;
use super::key_attributes::{Description, KeyAlgorithm, encryption_scheme};
use super::keys::{description, public_half};
use super::refusal::Refusal;
use super::signatures::demand;
use super::slot::Provider;
use crate::provider::EncryptionScheme;
use crate::wire::message::{
    AsymmetricDecryptOperation, AsymmetricDecryptResult, AsymmetricEncryptOperation, AsymmetricEncryptResult,
    AsymmetricEncryption, GenerateRandomOperation, GenerateRandomResult,
};

/// Most random octets of one request: a module gives them slowly, and others wait.
const MAX_RANDOM_OCTETS: u16 = 16 * 1024;

/// PsaAsymmetricEncrypt.
pub(super) fn encrypt(
    call: &Call,
    provider: &mut dyn Provider,
    operation: AsymmetricEncryptOperation,
) -> Result<AsymmetricEncryptResult, Refusal> {
    let key = call.usable_key(operation.key_name)?;
    let description = description(&key)?;
    demand(description.usage.encrypt, "encrypt")?;
    let scheme = permitted(&description, operation.alg.as_ref(), &operation.salt)?;
    let ciphertext = public_half(provider, &key)?.encrypt(scheme, &operation.plaintext, &operation.salt)?;
    Ok(AsymmetricEncryptResult { ciphertext })
}

/// PsaAsymmetricDecrypt.
pub(super) fn decrypt(
    call: &Call,
    provider: &mut dyn Provider,
    operation: AsymmetricDecryptOperation,
) -> Result<AsymmetricDecryptResult, Refusal> {
    let key = call.usable_key_pair(operation.key_name)?;
    let description = description(&key)?;
    demand(description.usage.decrypt, "decrypt")?;
    let scheme = permitted(&description, operation.alg.as_ref(), &operation.salt)?;
    if operation.ciphertext.is_empty() {
        return Err(Refusal::Invalid { field: "ciphertext", found: String::new(), expected: "an encrypted message" });
    }
    let plaintext = provider.decrypt(&key.blob, scheme, &operation.ciphertext, &operation.salt)?;
    Ok(AsymmetricDecryptResult { plaintext: plaintext.to_vec() })
}

/// The scheme that is asked for, which must be the one that the key was made for.
fn permitted(
    description: &Description,
    algorithm: Option<&AsymmetricEncryption>,
    label: &[u8],
) -> Result<EncryptionScheme, Refusal> {
    let algorithm = algorithm.ok_or(Refusal::Invalid {
        field: "alg",
        found: String::new(),
        expected: "an encryption algorithm",
    })?;
    let scheme = encryption_scheme(algorithm)?;
    if description.algorithm != KeyAlgorithm::Encryption(scheme) {
        return Err(Refusal::AlgorithmNotPermitted);
    }
    if scheme == EncryptionScheme::RsaPkcs1v15 && !label.is_empty() {
        let found = format!("{} octets", label.len());
        return Err(Refusal::Invalid { field: "salt", found, expected: "nothing: RsaPkcs1v15Crypt has no salt" });
    }
    Ok(scheme)
}

/// PsaGenerateRandom.
pub(super) fn random(
    provider: &mut dyn Provider,
    operation: &GenerateRandomOperation,
) -> Result<GenerateRandomResult, Refusal> {
    let size = u16::try_from(operation.size).ok().filter(|size| *size <= MAX_RANDOM_OCTETS);
    let size = size.ok_or_else(|| Refusal::Invalid {
        field: "size",
        found: operation.size.to_string(),
        expected: "at most 16384 octets",
    })?;
    Ok(GenerateRandomResult { random_bytes: provider.random(size)?.to_vec() })
}
