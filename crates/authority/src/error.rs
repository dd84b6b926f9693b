//! Why a request was not granted.

use thiserror::Error;
use vouchsafe_verifier::enrolment::Method;
use vouchsafe_verifier::{Rejection, codes};

use crate::certificate::CertificateError;
use crate::config::Capability;
use crate::credential::CredentialError;
use crate::nonce::{NONCE_OCTETS, NonceError};
use crate::record::RecordError;
use crate::service::rejected;
use crate::store::StoreError;

/// One violation, as the Verifier found it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Violation {
    /// Stable code, such as `tpm.key-not-fixed`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// Index of the statement concerned.
    pub statement: Option<usize>,
    /// The draft or specification, with its section.
    pub clause: String,
}

/// A violation that the authority itself finds, beside those of the Verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnCode {
    /// The stable code.
    pub id: &'static str,
    /// What it means, as one sentence.
    pub meaning: &'static str,
}

/// Clause of the violations that the authority itself finds.
const OWN_CLAUSE: &str = "Vouchsafe DESIGN, Certification side";

impl OwnCode {
    /// The violation, described by what was found.
    pub(crate) fn found(self, message: String) -> Violation {
        Violation { message, ..self.violation() }
    }

    /// The refusal for this violation alone.
    pub(crate) fn refusal(self) -> Error {
        Error::Rejected(vec![self.violation()])
    }

    pub(crate) fn violation(self) -> Violation {
        Violation {
            code: self.id.to_owned(),
            message: self.meaning.to_owned(),
            statement: None,
            clause: OWN_CLAUSE.to_owned(),
        }
    }
}

macro_rules! own_codes {
    ($($name:ident = $id:literal, $meaning:literal;)*) => {
        $(
            #[doc = concat!("`", $id, "`: ", $meaning)]
            pub const $name: OwnCode = OwnCode { id: $id, meaning: $meaning };
        )*
        /// Every code of this module.
        pub const ALL: &[OwnCode] = &[$($name),*];
    };
}

/// The codes of violations that the authority itself finds in a request whose evidence is true.
pub mod own_codes {
    use super::OwnCode;

    own_codes! {
        ATTESTING_CERTIFICATE = "authority.attesting-certificate", "Certificates of an attesting key are revoked with that key.";
        CEREMONY_OTHER_DEVICE = "authority.ceremony-other-device", "The ceremony was held for a device of another name.";
        CEREMONY_OTHER_KEY = "authority.ceremony-other-key", "The witnesses of the ceremony vouch for another attesting key.";
        DEVICE_NOT_ENROLLED = "authority.device-not-enrolled", "The evidence was not made by an attestation key that is enrolled here.";
        DEVICE_NOT_PERMITTED = "authority.device-not-permitted", "The account may no longer use the device's name.";
        DEVICE_UNNAMED = "authority.device-unnamed", "The evidence names no device to take the subject from.";
        ENDORSEMENT_KEY_WITHDRAWN = "authority.endorsement-key-withdrawn", "The module of this endorsement key gets no more pseudonyms.";
        EVIDENCE_NOT_KEY_ONLY = "authority.evidence-not-key-only", "The profile publishes the key statement, and the Evidence tells of more than the one key.";
        EXTENSION_NOT_PERMITTED = "authority.extension-not-permitted", "The request asks for an extension that the profile does not give.";
        FORMAT_NOT_PERMITTED = "authority.format-not-permitted", "The key statement is of a format that the profile does not name.";
        FRESHNESS_REQUIRED = "authority.freshness-required", "The profile wants evidence that answers a nonce of this session, and none was asked for.";
        INVENTORY_ROW = "authority.inventory-row", "A row of the inventory is malformed or contradicts another, or a device that is enrolled.";
        KEY_CERTIFIED = "authority.key-certified", "The key has a certificate that is none of an attesting key, and becomes none.";
        KEY_COMPROMISED = "authority.key-compromised", "A certificate of the key was revoked because others may know it; it is never certified again.";
        KEY_EXPIRED = "authority.key-expired", "The attesting key has no certificate that is still valid; it is enrolled anew, not renewed.";
        KEY_HAS_OTHER_SUBJECT = "authority.key-has-other-subject", "The key is certified for another subject or account, and the profile allows one to a key.";
        KEY_NOT_ENROLLED = "authority.key-not-enrolled", "The account has enrolled no such attesting key on the device.";
        KEY_NOT_OF_METHOD = "authority.key-not-of-method", "Attesting keys of this kind are not enrolled or renewed in this way.";
        KEY_REVOKED = "authority.key-revoked", "The attesting key is revoked.";
        KEY_TOO_OLD = "authority.key-too-old", "The attesting key was enrolled too long ago to be renewed; it is enrolled anew.";
        NAME_NOT_PERMITTED = "authority.name-not-permitted", "The profile does not allow the name that the request asks for.";
        NOT_A_CSR = "authority.not-a-csr", "What was sent is not a certification request.";
        NOT_CERTIFIABLE = "authority.not-certifiable", "The subject or the key of the request cannot stand in a certificate.";
        NOT_FORWARDABLE = "authority.not-forwardable", "The request cannot be handed on to the upstream CA as it is.";
        NOT_ISSUED_HERE = "authority.not-issued-here", "The certificate comes from a CA that is none of this configuration's, and is revoked there.";
        NOT_LISTED = "authority.not-listed", "The inventory does not name this module for this account and device.";
        NOT_REGISTRAR = "authority.not-registrar", "The profile rests on the word of registration authorities, and this is none of theirs; or it rests on evidence, and this is such a word.";
        OTHER_ACCOUNT = "authority.other-account", "The device is enrolled under another account.";
        OTHER_DEVICE = "bind.other-device", "The evidence was not made by an attestation key enrolled for the device that was named.";
        POSSESSION = "authority.possession", "The request is not signed by the key that it is for.";
        PSEUDONYM_ENROLMENT = "authority.pseudonym-enrolment", "A pseudonym is enrolled by its TPM's endorsement certificate alone, without a quote.";
        PSEUDONYM_X509SIGN = "authority.pseudonym-x509sign", "The key of a pseudonym attests by TPM2_CertifyX509 alone, for which it needs x509sign.";
        RENEWAL_OTHER_SUBJECT = "authority.renewal-other-subject", "The request asks for another subject than that of the certificate that is renewed.";
        STATEMENT_NAMES_MODULE = "authority.statement-names-module", "The profile publishes the key statement, and the certificate of its attesting key names the module.";
        STATEMENT_NOT_ALONE = "authority.statement-not-alone", "The profile publishes the key statement, and there is not exactly one that holds by itself.";
        SUBJECT_EMPTY = "authority.subject-empty", "The profile takes the request's subject, which is empty.";
        UPSTREAM_CERTIFICATE = "authority.upstream-certificate", "The certificate of the upstream CA is not what was decided here.";
        UPSTREAM_REVOKES = "authority.upstream-revokes", "The certificate came from an upstream CA, which alone revokes it: ask there.";
        UPSTREAM_REJECTED = "authority.upstream-rejected", "The upstream CA refuses the certificate.";
        SUBJECT_NOT_HOLDERS = "authority.subject-not-holders", "Who shows a device's certificate gets certificates for that device alone, and this one would be for another subject.";
    }
}

/// Why a request was not granted. The HTTP side alone turns it into a problem document (RFC 9457).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The activation failed. One answer for an unknown, foreign or expired challenge and for a wrong
    /// secret, so that no answer tells right from nearly right.
    #[error("the challenge was not met")]
    ActivationFailed,
    /// The attestation key belongs to another device.
    #[error("the attestation key belongs to another device")]
    AttestationKeyConflict,
    /// The device has another baseline on record.
    #[error("another baseline is on record for the device")]
    BaselineConflict,
    /// The quote that came along as baseline is false.
    #[error("baseline: {0}")]
    BaselineRefused(#[from] crate::baseline::BaselineError),
    /// The request's body is larger than the route takes.
    #[error("the body exceeds {limit} octets")]
    BodyTooLarge {
        /// The route's limit.
        limit: usize,
    },
    /// As many requests are being worked on as this server takes.
    #[error("the server is busy")]
    Busy,
    /// A certificate could not be made.
    #[error("certificate")]
    Certificate(#[from] CertificateError),
    /// The connection broke before the body had arrived.
    #[error("the connection broke before the body had arrived")]
    ConnectionBroken,
    /// The client's certificate is revoked by its own CA.
    #[error("the client certificate is revoked")]
    ClientCertificateRevoked,
    /// Whether the client's certificate is revoked cannot be told.
    #[error(
        "whether client certificates of this CA are revoked cannot be told at the moment, and none counts until it can"
    )]
    ClientListUnusable,
    /// No challenge could be made.
    #[error("challenge")]
    Credential(#[from] CredentialError),
    /// The device name is bound to another module.
    #[error("the device is bound to another module; a replacement takes an administrator's leave")]
    DeviceConflict,
    /// The account has an attesting key on the device already, and the method vouches for one alone.
    #[error("the account has an attesting key on the device, and the method vouches for one alone until it is revoked")]
    DeviceHasKey,
    /// The account may not use the device name.
    #[error("this account may not use the device name")]
    DeviceNotPermitted,
    /// The endorsement key is bound to another device name.
    #[error("the module is bound to another device")]
    EkConflict,
    /// The CA that certificates of the profile come from has expired.
    #[error("the issuer of this profile has expired; nothing comes from it until its administrator names another")]
    IssuerExpired,
    /// Evidence or request was refused, with every violation.
    #[error("{} violations", .0.len())]
    Rejected(Vec<Violation>),
    /// A field of the request is not what it must be.
    #[error("{field} must be {expected}")]
    Malformed {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// The body is not JSON of the expected form.
    #[error("the body is not JSON of the expected form")]
    MalformedJson(#[from] serde_json::Error),
    /// Attesting keys are not enrolled by this method here, or not by this account.
    #[error("this account may not enroll attesting keys by the method {}", .0.label())]
    MethodNotPermitted(Method),
    /// The resource does not take the method.
    #[error("the resource does not take this method")]
    MethodNotAllowed,
    /// The nonce cannot be used.
    #[error(transparent)]
    Nonce(#[from] NonceError),
    /// The nonce should have a length that none has here.
    #[error("nonces have {NONCE_OCTETS} octets here; ask for that length, or for none")]
    NonceLength,
    /// The nonce was spent for another request.
    #[error("the nonce is spent")]
    NonceSpent,
    /// The client takes no form in which there is an answer.
    #[error("{0}")]
    NotAcceptable(&'static str),
    /// No credentials, or none that are known.
    #[error("not authenticated")]
    NotAuthenticated,
    /// The connection has no exporter to bind a nonce to: it is by TLS 1.2.
    #[error("a nonce is bound to its connection by an exporter of TLS 1.3; connect by that version")]
    NoExporter,
    /// There is no such resource.
    #[error("no such resource")]
    NotFound,
    /// Nothing was issued here that is meant.
    #[error("this authority has issued no such certificate; one that a CA elsewhere issued is revoked there")]
    NoSuchCertificate,
    /// The protocol has this operation, and it is not done here.
    #[error("{0} is not offered here")]
    NotImplemented(&'static str),
    /// The account lacks the right.
    #[error("the account may not {0}: its `may` in the authority's configuration does not name that")]
    NotPermitted(Capability),
    /// The account may not use this certificate profile.
    #[error("this account may not use this profile")]
    ProfileNotPermitted,
    /// Kept evidence could not be sealed or opened.
    #[error("record")]
    Record(#[from] RecordError),
    /// Nothing can be recorded at the moment, for a reason that passes.
    #[error("the store cannot record decisions at the moment")]
    StorageUnavailable(#[source] StoreError),
    /// The store failed.
    #[error("store")]
    Store(#[source] StoreError),
    /// The request took too long to arrive.
    #[error("the request did not arrive in time")]
    Timeout,
    /// There is no such profile.
    #[error("no such profile")]
    UnknownProfile,
    /// The CA elsewhere that the certificate comes from does not answer.
    #[error(
        "the CA that certificates of this profile come from does not answer; send the same request with the same nonce \
         again later"
    )]
    UpstreamUnavailable,
    /// The CA elsewhere has had the request, and what it answered was lost.
    #[error(
        "the CA that certificates of this profile come from has had this request and its answer was lost; ask for a new \
         nonce, and let its administrator look for a certificate that nobody has"
    )]
    UpstreamUncertain,
    /// The content type is not one the route takes.
    #[error("expected content type {expected}")]
    UnsupportedMediaType {
        /// What the route takes.
        expected: &'static str,
    },
    /// The worker that handled the request failed.
    #[error("the worker failed")]
    Worker,
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::AkBoundElsewhere => Self::AttestationKeyConflict,
            StoreError::BaselineRecorded => Self::BaselineConflict,
            StoreError::DeviceBoundElsewhere => Self::DeviceConflict,
            StoreError::DeviceHasKey => Self::DeviceHasKey,
            StoreError::EkBoundElsewhere => Self::EkConflict,
            StoreError::KeyAttests => rejected(&[Rejection::plain(codes::BIND_CSR_KEY_IS_AK)]),
            StoreError::KeyCertified => own_codes::KEY_CERTIFIED.refusal(),
            StoreError::KeyCompromised => own_codes::KEY_COMPROMISED.refusal(),
            StoreError::KeyHasOtherSubject => own_codes::KEY_HAS_OTHER_SUBJECT.refusal(),
            StoreError::KeyOfOtherAccount => own_codes::OTHER_ACCOUNT.refusal(),
            StoreError::KeyRevoked => own_codes::KEY_REVOKED.refusal(),
            StoreError::NoSuchKey => own_codes::KEY_NOT_ENROLLED.refusal(),
            StoreError::InventoryConflict => own_codes::INVENTORY_ROW.refusal(),
            StoreError::NoSuchDevice => Self::NotFound,
            StoreError::NonceSpent => Self::NonceSpent,
            StoreError::DiskFull | StoreError::Io(_) | StoreError::Locked | StoreError::ReadOnly => {
                Self::StorageUnavailable(error)
            }
            StoreError::Server(ref server) if server.passes() => Self::StorageUnavailable(error),
            StoreError::AcmeConflict
            | StoreError::Database(_)
            | StoreError::Server(_)
            | StoreError::Schema { .. }
            | StoreError::SerialTaken
            | StoreError::Stopped
            | StoreError::Thread(_)
            | StoreError::Unexpected { .. } => Self::Store(error),
        }
    }
}
