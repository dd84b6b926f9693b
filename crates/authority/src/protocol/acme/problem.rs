//! Refusals as problem documents of ACME (RFC 8555, section 6.7), this server's own code in each.
//!
//! `type` is one of the protocol's error types, for clients. `detail` begins with the stable code, for people who see
//! nothing else of it. `subproblems` repeat every code as a type of their own, for programs.

use axum::http::StatusCode;
use serde_json::{Value, json};
use vouchsafe_evidence::text::printable;

use super::super::refusal::{self, Refused};
use super::jws::{Algorithm, JwsError};
use crate::error::{Error, Violation};
use crate::store::StoreError;

/// The protocol's error types that this server has a use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    AccountDoesNotExist,
    AlreadyRevoked,
    BadAttestationStatement,
    BadCsr,
    BadNonce,
    BadPublicKey,
    BadRevocationReason,
    BadSignatureAlgorithm,
    Connection,
    Dns,
    ExternalAccountRequired,
    IncorrectResponse,
    InvalidProfile,
    Malformed,
    /// A body of another media type (RFC 8555, section 6.2).
    MediaType,
    OrderNotReady,
    RateLimited,
    RejectedIdentifier,
    ServerInternal,
    Unauthorized,
    UnsupportedIdentifier,
}

impl Kind {
    /// The last part of the type's URN, and the status that goes with it.
    const fn parts(self) -> (&'static str, StatusCode) {
        match self {
            Self::AccountDoesNotExist => ("accountDoesNotExist", StatusCode::BAD_REQUEST),
            Self::AlreadyRevoked => ("alreadyRevoked", StatusCode::BAD_REQUEST),
            Self::BadAttestationStatement => ("badAttestationStatement", StatusCode::FORBIDDEN),
            Self::BadCsr => ("badCSR", StatusCode::BAD_REQUEST),
            Self::BadNonce => ("badNonce", StatusCode::BAD_REQUEST),
            Self::BadPublicKey => ("badPublicKey", StatusCode::BAD_REQUEST),
            Self::BadRevocationReason => ("badRevocationReason", StatusCode::BAD_REQUEST),
            Self::BadSignatureAlgorithm => ("badSignatureAlgorithm", StatusCode::BAD_REQUEST),
            Self::Connection => ("connection", StatusCode::BAD_REQUEST),
            Self::Dns => ("dns", StatusCode::BAD_REQUEST),
            Self::ExternalAccountRequired => ("externalAccountRequired", StatusCode::FORBIDDEN),
            Self::IncorrectResponse => ("incorrectResponse", StatusCode::FORBIDDEN),
            Self::InvalidProfile => ("invalidProfile", StatusCode::BAD_REQUEST),
            Self::Malformed => ("malformed", StatusCode::BAD_REQUEST),
            Self::MediaType => ("malformed", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::OrderNotReady => ("orderNotReady", StatusCode::FORBIDDEN),
            Self::RateLimited => ("rateLimited", StatusCode::TOO_MANY_REQUESTS),
            Self::RejectedIdentifier => ("rejectedIdentifier", StatusCode::FORBIDDEN),
            Self::ServerInternal => ("serverInternal", StatusCode::INTERNAL_SERVER_ERROR),
            Self::Unauthorized => ("unauthorized", StatusCode::FORBIDDEN),
            Self::UnsupportedIdentifier => ("unsupportedIdentifier", StatusCode::BAD_REQUEST),
        }
    }
}

/// A refusal of this module's own: when it is told, under which code, in which words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) kind: Kind,
    pub(super) code: &'static str,
    pub(super) meaning: &'static str,
}

impl Refusal {
    pub(super) fn problem(self) -> Problem {
        self.found(self.meaning.to_owned())
    }

    /// The refusal, described by what was found.
    pub(super) fn found(self, detail: String) -> Problem {
        let (_, status) = self.kind.parts();
        Problem {
            kind: self.kind,
            status,
            parts: vec![(self.code.to_owned(), printable(&detail))],
            location: None,
            account: None,
        }
    }
}

macro_rules! refusals {
    ($($name:ident = $kind:ident, $code:literal, $meaning:literal;)*) => {
        $(pub(in super::super) const $name: Refusal = Refusal { kind: Kind::$kind, code: $code, meaning: $meaning };)*
        #[cfg(test)]
        pub(in super::super) const ALL: &[Refusal] = &[$($name),*];
    };
}

/// What the ACME server itself refuses, beside the Verifier and the core.
pub(super) mod refusals {
    use super::{Kind, Refusal};

    refusals! {
        ACCOUNT_DEACTIVATED = Unauthorized, "acme.account-deactivated", "The account is deactivated.";
        ACCOUNTS_TOO_MANY = RateLimited, "acme.accounts-too-many", "The external account has as many accounts as it may, those that were ended among them.";
        ACCOUNT_UNKNOWN = AccountDoesNotExist, "acme.account-unknown", "There is no such account.";
        ACCOUNT_WITHDRAWN = Unauthorized, "acme.account-withdrawn", "The external account of this account may no longer obtain certificates.";
        ALREADY_REVOKED = AlreadyRevoked, "acme.already-revoked", "The certificate is revoked.";
        ATTESTATION_IDENTIFIER = BadAttestationStatement, "acme.attestation-identifier", "The evidence names another device or module than the order.";
        ATTESTATION_OBJECT = BadAttestationStatement, "acme.attestation-object", "The attestation object is malformed.";
        ATTESTATION_FORMAT = BadAttestationStatement, "acme.attestation-format", "The attestation object is of a format other than tpm and step.";
        ATTESTATION_POSSESSION = BadAttestationStatement, "acme.attestation-possession", "The attested key did not sign the key authorization of this challenge.";
        BAD_NONCE = BadNonce, "acme.bad-nonce", "The replay nonce is missing, spent, expired or not of this server.";
        BINDING_KEY = Unauthorized, "acme.binding-key", "The external account binding is not by the key of an external account of this server over this account's key.";
        BINDING_REQUIRED = ExternalAccountRequired, "acme.binding-required", "A new account needs the binding to an external account.";
        CONNECTION = Connection, "acme.connection", "The host could not be asked.";
        CSR_IDENTIFIERS = BadCsr, "acme.csr-identifiers", "The request asks for other names than the order.";
        CSR_KEY = BadCsr, "acme.csr-key", "The request is for another key than the one that was attested, or for the account's own.";
        CSR_MALFORMED = BadCsr, "acme.csr-malformed", "The request is no PKCS #10 in DER.";
        CHANGED_MEANWHILE = Malformed, "acme.changed-meanwhile", "Another request changed the same object at the same time; read it again.";
        DNS = Dns, "acme.dns", "The name could not be resolved.";
        EXPIRED = Malformed, "acme.expired", "The order or authorization has expired.";
        IDENTIFIER_MALFORMED = Malformed, "acme.identifier-malformed", "An identifier is not what its type says.";
        IDENTIFIER_REJECTED = RejectedIdentifier, "acme.identifier-rejected", "The profile of the order puts no host names into certificates.";
        IDENTIFIER_TWICE = Malformed, "acme.identifier-count", "An order names 1 to 16 identifiers, none twice.";
        IDENTIFIER_UNSUPPORTED = UnsupportedIdentifier, "acme.identifier-unsupported", "Identifiers are of the types dns, permanent-identifier and hardware-module.";
        INCORRECT_RESPONSE = IncorrectResponse, "acme.incorrect-response", "The response is not what the challenge asks for.";
        JWS_ALGORITHM = BadSignatureAlgorithm, "acme.jws-algorithm", "The request is signed by an algorithm that is not taken.";
        JWS_KEY = BadPublicKey, "acme.jws-key", "The key is none that may sign requests.";
        JWS_MALFORMED = Malformed, "acme.jws-malformed", "The request is no JWS as this protocol has it.";
        JWS_SIGNATURE = Unauthorized, "acme.jws-signature", "The signature is not the account's over this request.";
        JWS_SIGNER = Malformed, "acme.jws-signer", "The request names its key in the wrong way: jwk for new accounts, kid for all else.";
        JWS_URL = Unauthorized, "acme.jws-url", "The request is signed for another URL.";
        KEY_CHANGE = Malformed, "acme.key-change", "The inner request is not by the new key over this account and its present key.";
        KEY_IN_USE = Malformed, "acme.key-in-use", "Another account has this key.";
        MEDIA_TYPE = MediaType, "acme.media-type", "The body is not application/jose+json.";
        ORDERS_TOO_MANY = RateLimited, "acme.orders-too-many", "The account has as many orders as it may; wait until some expire.";
        ORDER_NOT_READY = OrderNotReady, "acme.order-not-ready", "The order is not ready to be finalized.";
        OTHER_ACCOUNT = Unauthorized, "acme.other-account", "The object belongs to another account.";
        PAYLOAD = Malformed, "acme.payload", "The payload is not what this resource takes.";
        PRIVATE_ADDRESS = Connection, "acme.private-address", "The host has no address that is public, and others are not asked.";
        PROFILE = InvalidProfile, "acme.profile", "There is no such profile for this account.";
        REVOCATION_KEY = Unauthorized, "acme.revocation-key", "The certificate is neither this account's nor of this key.";
        REVOCATION_REASON = BadRevocationReason, "acme.revocation-reason", "The reason is none of 0, 1, 3, 4 and 5.";
        UNKNOWN = Malformed, "acme.unknown", "There is no such object.";
        VALIDITY = Malformed, "acme.validity", "The profile says for how long certificates are valid; leave notBefore and notAfter out.";
    }
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    kind: Kind,
    status: StatusCode,
    /// Codes with their sentences, at least one.
    parts: Vec<(String, String)>,
    /// Where the object in question is.
    location: Option<String>,
    /// The account that is refused, where that is known.
    account: Option<String>,
}

impl Problem {
    /// The refusal of the core, under this error type where it is about evidence.
    pub(super) fn of(error: Error, about_evidence: Kind) -> Self {
        let class = refusal::class(&error);
        let is_rejection = matches!(error, Error::Rejected(_));
        let is_internal = class.status.is_server_error();
        let kind = match (is_rejection, is_internal) {
            (true, _) => about_evidence,
            (false, true) => Kind::ServerInternal,
            (false, false) => kind_of(&error),
        };
        let (_, status) = kind.parts();
        let status = if is_rejection { status } else { class.status };
        let detail = refusal::detail(&error, class.status);
        let violations = refusal::violations(error);
        let parts = if violations.is_empty() {
            vec![(class.code.to_owned(), detail)]
        } else {
            violations.into_iter().map(|Violation { code, message, .. }| (code, message)).collect()
        };
        Self { kind, status, parts, location: None, account: None }
    }

    pub(super) fn at(self, location: String) -> Self {
        Self { location: Some(location), ..self }
    }

    /// The same, told to an account of this authority.
    pub(super) fn told_to(self, account: &str) -> Self {
        Self { account: Some(account.to_owned()), ..self }
    }

    /// As the log says it.
    pub(super) fn refused(&self) -> Refused {
        let refused = Refused::new(self.parts.iter().map(|(code, _)| code.as_str()));
        match &self.account {
            Some(account) => refused.told_to(account),
            None => refused,
        }
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// The document.
    pub(super) fn to_json(&self) -> Value {
        let (name, _) = self.kind.parts();
        let detail: Vec<String> = self.parts.iter().map(|(code, message)| format!("{code}: {message}")).collect();
        let subproblem = |(code, message): &(String, String)| json!({ "type": format!("urn:vouchsafe:problem:{code}"), "detail": message });
        let mut document = json!({
            "type": format!("urn:ietf:params:acme:error:{name}"),
            "status": self.status.as_u16(),
            "detail": detail.join(" "),
            "subproblems": self.parts.iter().map(subproblem).collect::<Vec<_>>(),
        });
        // RFC 8555, section 6.2.
        if let (Kind::BadSignatureAlgorithm, Value::Object(members)) = (self.kind, &mut document) {
            members.insert("algorithms".to_owned(), json!(Algorithm::OF_REQUESTS));
        }
        document
    }
}

/// The error type of what the core refuses that is neither about evidence nor this server's fault.
const fn kind_of(error: &Error) -> Kind {
    match error {
        Error::NotAuthenticated | Error::NotPermitted(_) => Kind::Unauthorized,
        Error::ProfileNotPermitted | Error::UnknownProfile => Kind::InvalidProfile,
        Error::Nonce(_) | Error::NonceSpent => Kind::BadCsr,
        _ => Kind::Malformed,
    }
}

impl From<JwsError> for Problem {
    fn from(error: JwsError) -> Self {
        let refusal = match error {
            JwsError::Algorithm => refusals::JWS_ALGORITHM,
            JwsError::Form | JwsError::Header => refusals::JWS_MALFORMED,
            JwsError::Key | JwsError::PrivateKey => refusals::JWS_KEY,
            JwsError::Signature => refusals::JWS_SIGNATURE,
        };
        refusal.found(format!("{} ({error})", refusal.meaning))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::AcmeConflict => refusals::CHANGED_MEANWHILE.problem(),
            other => Self::of(other.into(), Kind::Malformed),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::of(error, Kind::BadCsr)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::error::own_codes;

    #[test]
    fn each_code_is_one_and_each_sentence_ends() {
        let codes: HashSet<_> = refusals::ALL.iter().map(|refusal| refusal.code).collect();
        assert_eq!(codes.len(), refusals::ALL.len());
        for refusal in refusals::ALL {
            assert!(refusal.code.starts_with("acme.") && refusal.meaning.ends_with('.'), "{}", refusal.code);
        }
    }

    #[test]
    fn the_page_lists_every_code() {
        let page = include_str!("../../../../../docs/protocols.md");
        for refusal in refusals::ALL {
            let row = format!("| `{}` | {} | {} |", refusal.code, refusal.kind.parts().0, refusal.meaning);
            assert!(page.contains(&row), "docs/protocols.md lacks:\n{row}");
        }
    }

    #[test]
    fn codes_are_in_the_detail_and_in_the_subproblems() {
        let violations = vec![own_codes::NOT_A_CSR.violation(), own_codes::KEY_REVOKED.violation()];
        let problem = Problem::of(Error::Rejected(violations), Kind::BadCsr).to_json();
        assert_eq!(problem["type"], "urn:ietf:params:acme:error:badCSR");
        assert_eq!(problem["status"], 400);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with("authority.not-a-csr: ") && detail.contains(" authority.key-revoked: "), "{detail}");
        assert_eq!(problem["subproblems"][1]["type"], "urn:vouchsafe:problem:authority.key-revoked");
    }

    #[test]
    fn what_failed_inside_is_not_told() {
        let problem = Problem::from(StoreError::Stopped).to_json();
        assert_eq!(problem["type"], "urn:ietf:params:acme:error:serverInternal");
        assert!(!problem.to_string().contains("writer"), "{problem}");
    }
}
