//! What must hold for any body of a message by EST. The fuzz target calls it; an ordinary test of the authority runs it over
//! generated bodies.

use vouchsafe_authority::protocol::est::{NonceRequest, decode_body};

const FRESHNESS: &str = "application/est-attestation-freshness+json";

/// A body in base64 is read as the octets whose base64 it is, or refused; a request for a nonce asks for 8 to 64 octets.
pub fn body(data: &[u8]) {
    if let Ok(octets) = decode_body(data) {
        let digits = data.iter().filter(|octet| !octet.is_ascii_whitespace()).count();
        assert_eq!(digits, octets.len().div_ceil(3) * 4, "padding that is too long or too short");
    }
    if let Ok(request) = NonceRequest::parse("POST", FRESHNESS, data) {
        assert!(!data.is_empty() && request.len.is_none_or(|len| (8..=64).contains(&len)));
    }
    assert_eq!(NonceRequest::parse("GET", FRESHNESS, data).is_ok(), data.is_empty());
}
