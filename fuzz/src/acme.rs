//! What must hold for any octets by which ACME is spoken to, or which a resolver answers. Fuzz targets call it; ordinary
//! tests of the authority run it over seeds and altered ones.

#![allow(dead_code, reason = "each fuzz target calls one of them")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use vouchsafe_authority::protocol::acme::{
    DnsData, Jwk, Jws, KeyAuthorizationAnswer, KeyReference, Question, read_attestation_object, read_dns_answer,
};
use vouchsafe_evidence::bundle::AttestationBundle;

/// The name that every question of [`dns_answer`] is about.
pub const ASKED: &str = "_acme-challenge.a.example";
/// The key authorization of the challenge that an attestation object answers.
pub const KEY_AUTHORIZATION: &str = "token.thumbprint";

/// The key in a signed request survives being written and read again, and is one by which a signature can be looked at.
pub fn jws(data: &[u8]) {
    let Ok(jws) = Jws::parse(data) else { return };
    let KeyReference::Jwk(key) = &jws.key else { return };
    let text = serde_json::to_string(key).unwrap();
    let again: Jwk = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text} does not parse: {error}"));
    assert_eq!(&again, key);
    assert_eq!(jws.verify(key), jws.verify(&again));
}

/// An attestation object that is read becomes a bundle of one statement, which is read as the same octets.
pub fn attestation_object(data: &[u8]) {
    let Ok(presented) = read_attestation_object(data, KEY_AUTHORIZATION) else { return };
    let der = presented.bundle.to_der();
    let again = AttestationBundle::parse(&der).unwrap();
    assert_eq!(again.to_der(), der);
    assert_eq!(again.statements().len(), 1);
    // A key that nobody saw sign is one whose statement holds the digest.
    assert!(
        matches!(presented.answer, KeyAuthorizationAnswer::InStatement)
            || again.statements()[0].oid() != vouchsafe_evidence::oid::STATEMENT_TPM_CERTIFY
    );
}

/// The question, the query's identifier and the answer in the octets of a target.
pub fn dns_parts(data: &[u8]) -> Option<(Question, &[u8], &[u8])> {
    let (selector, rest) = data.split_first()?;
    let question = [Question::A, Question::Aaaa, Question::Txt][usize::from(*selector) % 3];
    Some((question, rest.get(..2)?, rest))
}

/// An answer that is read holds what was asked for and no more than came.
pub fn dns_answer(data: &[u8]) {
    let Some((question, query, message)) = dns_parts(data) else { return };
    let Ok(found) = read_dns_answer(message, query, ASKED, question) else { return };
    let mut octets = 0;
    for record in &found {
        octets += match record {
            DnsData::Address(address) => {
                assert_eq!(address.is_ipv4(), question == Question::A);
                assert_ne!(question, Question::Txt);
                4
            }
            DnsData::Text(text) => {
                assert_eq!(question, Question::Txt);
                text.len()
            }
        };
    }
    assert!(octets <= message.len() && found.len() <= 64);
    let other_id = [query[0], query[1] ^ 1];
    assert!(read_dns_answer(message, &other_id, ASKED, question).is_err(), "an answer to another query");
    assert!(read_dns_answer(message, query, "b.example", question).is_err(), "an answer to another question");
}
