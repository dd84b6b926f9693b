//! What a client asks of PKIX Evidence, in either form of its request.

use vouchsafe_evidence::oid::Oid;

use super::refusal::Refusal;
use crate::provider::{ClaimSelection, EvidenceRequest, REQUESTED_CLAIMS, RequestForm};
use crate::store::StoredKey;
use crate::wire::message::PkixEvidence;

/// What Evidence about `key` is to say; about the platform alone where there is none.
pub(super) fn evidence_request(
    parameters: &PkixEvidence,
    nonce: &[u8],
    key: Option<&StoredKey>,
) -> Result<EvidenceRequest, Refusal> {
    if !parameters.request.is_empty() {
        return of_form(parameters, nonce, key);
    }
    if parameters.claims.len() > REQUESTED_CLAIMS {
        let found = format!("{} claims", parameters.claims.len());
        return Err(Refusal::Invalid { field: "claims", found, expected: "at most 64 types" });
    }
    let types = parameters.claims.iter().map(|text| {
        Oid::from_dotted(text).ok_or_else(|| Refusal::Invalid {
            field: "claims",
            found: text.clone(),
            expected: "object identifiers in dotted decimal",
        })
    });
    let types = types.collect::<Result<Vec<_>, _>>()?;
    let claims = if types.is_empty() { ClaimSelection::Default } else { ClaimSelection::Only(types) };
    Ok(EvidenceRequest { claims, with_platform: parameters.with_platform })
}

/// A request in the draft's form, which must be of the same nonce and key as the operation.
fn of_form(parameters: &PkixEvidence, nonce: &[u8], key: Option<&StoredKey>) -> Result<EvidenceRequest, Refusal> {
    let refused = |found: String, expected| Refusal::Invalid { field: "request", found, expected };
    if !parameters.claims.is_empty() || parameters.with_platform {
        return Err(refused("beside claims or with_platform".to_owned(), "a request in the draft's form alone"));
    }
    let form = RequestForm::parse(&parameters.request)
        .map_err(|fault| refused(fault.to_string(), "a TbsEvidence without values (section 7 of the draft)"))?;
    if form.nonce.as_deref().is_some_and(|asked| asked != nonce) {
        return Err(refused("another nonce".to_owned(), "the operation's nonce, or none"));
    }
    match key {
        Some(key) => {
            let is_key = |identifier: &str| identifier == key.id.name || identifier == key.uid.to_string();
            if form.identifier.as_deref().is_some_and(|identifier| !is_key(identifier)) {
                return Err(refused(form.identifier.unwrap_or_default(), "the key that is attested, or no identifier"));
            }
            if !form.of_key {
                return Err(refused(
                    "no key element".to_owned(),
                    "a key element; AttestPlatform is for the platform alone",
                ));
            }
        }
        None if form.of_key || !form.request.with_platform => {
            return Err(refused(
                "no request for the platform alone".to_owned(),
                "a platform element and no key element",
            ));
        }
        None => {}
    }
    Ok(form.request)
}
