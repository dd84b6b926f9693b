//! What a client asks of a quote: platform configuration registers of one bank.

use super::refusal::Refusal;
use crate::provider::{Hash, PlatformMechanism};
use crate::wire::message::TpmQuote;

/// The request as providers take it.
pub(super) fn quote_request(parameters: TpmQuote) -> Result<PlatformMechanism, Refusal> {
    let indices = parameters.indices.into_iter().map(pcr_index).collect::<Result<_, _>>()?;
    Ok(PlatformMechanism::TpmQuote { bank: bank(&parameters.bank)?, indices })
}

fn bank(name: &str) -> Result<Hash, Refusal> {
    match name {
        "" | "sha256" => Ok(Hash::Sha256),
        "sha384" => Ok(Hash::Sha384),
        "sha512" => Ok(Hash::Sha512),
        _ => Err(Refusal::Invalid { field: "bank", found: name.to_owned(), expected: "sha256, sha384 or sha512" }),
    }
}

fn pcr_index(index: u32) -> Result<u8, Refusal> {
    match u8::try_from(index) {
        Ok(index @ 0..=23) => Ok(index),
        Ok(24..) | Err(_) => Err(Refusal::Invalid { field: "indices", found: index.to_string(), expected: "0 to 23" }),
    }
}
