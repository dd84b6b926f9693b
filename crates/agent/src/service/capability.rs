//! CanDoCrypto: whether a provider does something, without doing it.

use super::key_attributes::{Description, KeyAlgorithm};
use super::refusal::Refusal;
use super::slot::Provider;
use crate::wire::message::{CanDoCryptoOperation, CanDoCryptoResult, check_type};

/// CanDoCrypto. The answer is Success or `PsaErrorNotSupported`, whatever the attributes lack.
pub(super) fn can_do_crypto(
    provider: &mut dyn Provider,
    operation: &CanDoCryptoOperation,
) -> Result<CanDoCryptoResult, Refusal> {
    const NOT_SO: Refusal = Refusal::NotSupported { what: "a key of these attributes" };
    let attributes = operation.attributes.as_ref().ok_or(NOT_SO)?;
    let description = Description::of(attributes).map_err(|_| NOT_SO)?;
    let usage = &description.usage;
    let is_of_use = match description.algorithm {
        KeyAlgorithm::Signature(_) => {
            usage.sign_hash || usage.sign_message || usage.verify_hash || usage.verify_message
        }
        KeyAlgorithm::Encryption(_) => usage.encrypt || usage.decrypt,
    };
    let is_done = match operation.check_type {
        check_type::GENERATE => description.is_pair && provider.makes(description.kind)?,
        check_type::IMPORT => !description.is_pair,
        // Verifying and encrypting need no module.
        check_type::USE => is_of_use && (!description.is_pair || provider.makes(description.kind)?),
        _ => false,
    };
    if is_done { Ok(CanDoCryptoResult {}) } else { Err(NOT_SO) }
}
