//! What must hold for any body of a request to the authority. The fuzz target calls it; an ordinary test of
//! the authority runs it over generated bodies.

use vouchsafe_authority::Operation;
use vouchsafe_authority::request::{Head, Request};

/// Operations whose bodies are read, in the order in which the first octet of an input selects them.
pub const OPERATIONS: [Operation; 6] = [
    Operation::MintNonce,
    Operation::OpenChallenge,
    Operation::Activate,
    Operation::Issue,
    Operation::Appraise,
    Operation::Renew,
];

const JSON: Head<'static> = Head { content_type: "application/json", query: "" };
const PKCS10: Head<'static> = Head { content_type: "application/pkcs10; x=y", query: "profile=device&nonce=00ff" };

/// What an input stands for: the first octet selects the operation and the media type.
pub fn select(data: &[u8]) -> Option<(Operation, Head<'static>, &[u8])> {
    let (selector, body) = data.split_first()?;
    let operation = OPERATIONS.get(usize::from(selector % 6))?;
    Some((*operation, if *selector < 128 { JSON } else { PKCS10 }, body))
}

/// A body that parses is a request whose own JSON parses to the same request.
pub fn body(data: &[u8]) {
    let Some((operation, head, body)) = select(data) else { return };
    let Ok(request) = Request::parse(operation, head, body) else { return };
    let text = match request.to_json() {
        Ok(value) => value.to_string(),
        Err(error) => panic!("{request:?} has no JSON: {error}"),
    };
    match Request::parse(operation, JSON, text.as_bytes()) {
        Ok(again) => assert_eq!(again, request),
        Err(error) => panic!("{text} does not parse: {error}"),
    }
}
