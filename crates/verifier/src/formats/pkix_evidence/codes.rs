//! The codes of refusals that only PKIX Evidence has.

use vouchsafe_evidence::Reason;
use vouchsafe_evidence::formats::pkix_evidence::EvidenceDefect;

use crate::rejection::{Code, Rejection, codes};

macro_rules! table {
    ($($name:ident = $id:literal, $clause:literal, $meaning:literal;)*) => {
        $(pub(super) const $name: Code = Code { id: $id, clause: $clause, meaning: $meaning };)*
        /// Every code.
        pub(super) const ALL: &[Code] = &[$($name),*];
    };
}

table! {
    ALGORITHM = "pkix.algorithm", "pkix-key-attestation-07, 6", "A signature over the Evidence is by an algorithm, or with parameters, that are not known.";
    ALGORITHM_MISMATCH = "pkix.algorithm-mismatch", "pkix-key-attestation-07, 6", "A signature over the Evidence names an algorithm that its key cannot sign with.";
    BAD_SIGNATURE = "pkix.bad-signature", "pkix-key-attestation-07, 6", "A signature over the Evidence is not that of the key it names.";
    CLAIM_RANGE = "pkix.claim-range", "pkix-key-attestation-07, 5.1", "The value of a claim lies outside its range.";
    CLAIM_TYPE = "pkix.claim-type", "pkix-key-attestation-07, 8", "The value of a claim is not of the claim's type.";
    CLAIM_VALUE_MISSING = "pkix.claim-value-missing", "pkix-key-attestation-07, 5", "A claim has no value, as only requests may have it.";
    DUPLICATE_CLAIM = "pkix.duplicate-claim", "pkix-key-attestation-07, 4.3", "A claim that may be there once in an element is there twice.";
    DUPLICATE_ELEMENT = "pkix.duplicate-element", "pkix-key-attestation-07, 5.1 and 5.3", "There are two transaction elements or two platform elements.";
    DUPLICATE_KEY = "pkix.duplicate-key", "pkix-key-attestation-07, 5.2", "Two key elements have one identifier.";
    EMPTY_ELEMENT = "pkix.empty-element", "pkix-key-attestation-07, 5", "An element has no claims.";
    IDENTIFIER_MISSING = "pkix.identifier-missing", "pkix-key-attestation-07, 5.2", "A key element has no identifier.";
    KEY_CONTRADICTION = "pkix.key-contradiction", "pkix-key-attestation-07, 5.2", "Two key elements say different things of one public key.";
    MALFORMED = "pkix.malformed", "pkix-key-attestation-07, 5", "The Evidence does not have the form of its type.";
    MALFORMED_KEY = "pkix.malformed-key", "pkix-key-attestation-07, 5.2.2", "A claim that holds a public key holds none.";
    NOT_DER = "pkix.not-der", "pkix-key-attestation-07, 5.5; X.690, section 10", "The Evidence is not strict DER.";
    OLDER_DRAFT = "pkix.older-draft", "pkix-key-attestation-07, 8", "The Evidence is of an older draft, whose identifiers and encodings were replaced.";
    REQUEST = "pkix.request", "pkix-key-attestation-07, 7", "This is a request for Evidence, which asserts nothing.";
    SIGNER_EMPTY = "pkix.signer-empty", "pkix-key-attestation-07, 6", "A signature does not say whose it is.";
    SIGNER_NOT_NAMED = "pkix.signer-not-named", "pkix-key-attestation-07, 5.3.3 and 6", "The Evidence names its attestation keys (ak-spki), and none of them signed it.";
    SIGNER_UNRESOLVED = "pkix.signer-unresolved", "pkix-key-attestation-07, 6", "A signature names its key by an identifier, and no key that is known has it.";
    SIGNER_UNTRUSTED = "pkix.signer-untrusted", "pkix-key-attestation-07, 6", "The key that signed the Evidence has no certificate, and the trust store does not hold it.";
    TRAILING_DATA = "pkix.trailing-data", "pkix-key-attestation-07, 5.5", "Octets follow the Evidence, or something within it.";
    UNSIGNED = "pkix.unsigned", "pkix-key-attestation-07, 6", "The Evidence has no signature, so nothing in it may be relied on.";
    VERSION = "pkix.version", "pkix-key-attestation-07, 5", "The version of the Evidence is not 1.";
    WEAK_ALGORITHM = "pkix.weak-algorithm", "NIST SP 800-131A", "A signature over the Evidence is by an algorithm that is too weak.";
    WEAK_KEY = "pkix.weak-key", "NIST SP 800-131A; FIPS 186-5, section 5.4", "A signature over the Evidence is by an RSA key that is too weak.";
}

/// The refusal of what cannot be read as Evidence.
pub(super) fn rejection(defect: &EvidenceDefect) -> Rejection {
    let code = match defect {
        EvidenceDefect::ClaimRange(_) => CLAIM_RANGE,
        EvidenceDefect::ClaimType(_) => CLAIM_TYPE,
        EvidenceDefect::ClaimValueMissing(_) => CLAIM_VALUE_MISSING,
        EvidenceDefect::DuplicateClaim(_) => DUPLICATE_CLAIM,
        EvidenceDefect::DuplicateElement(_) => DUPLICATE_ELEMENT,
        EvidenceDefect::DuplicateIdentifier => DUPLICATE_KEY,
        EvidenceDefect::EmptyElement(_) => EMPTY_ELEMENT,
        EvidenceDefect::IdentifierMissing => IDENTIFIER_MISSING,
        EvidenceDefect::Key { .. } => MALFORMED_KEY,
        EvidenceDefect::Malformed(malformed) => match malformed.reason {
            Reason::NotDer(_) => NOT_DER,
            Reason::Trailing(_) => TRAILING_DATA,
            Reason::OverLimit { what: "nesting", .. } => codes::LIMIT_NESTING,
            Reason::OverLimit { what: "certificates", .. } => codes::LIMIT_CERTIFICATES,
            Reason::BadValue(_)
            | Reason::Duplicate(_)
            | Reason::Missing(_)
            | Reason::OverLimit { .. }
            | Reason::Truncated(_)
            | Reason::Unexpected(_) => MALFORMED,
        },
        EvidenceDefect::OlderDraft(_) => OLDER_DRAFT,
        EvidenceDefect::Request => REQUEST,
        EvidenceDefect::SignerEmpty => SIGNER_EMPTY,
        EvidenceDefect::Version(_) => VERSION,
    };
    Rejection::new(code, format!("{} ({defect})", code.meaning))
}
