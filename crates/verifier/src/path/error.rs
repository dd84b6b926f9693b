//! Why no certification path counts, with stable codes.

use std::fmt;

use thiserror::Error;
use vouchsafe_evidence::Malformed;
use vouchsafe_evidence::limits;
use vouchsafe_evidence::oid::Oid;
use vouchsafe_evidence::x509::{CertView, Quirk};

use crate::Instant;

/// The most specific reason why no certification path counts.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub struct PathError {
    defect: PathDefect,
    subject: Option<String>,
}

/// What is wrong with a path or with a certificate on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathDefect {
    /// Inner and outer signature algorithm differ.
    AlgorithmMismatch,
    /// A certificate of an attesting key, or one made by a TPM, stands as an issuer.
    AttestingKeyAsIssuer,
    /// The issuer's key did not make the signature.
    BadSignature,
    /// The bundle offers more certificates for one path than may be used.
    CertificatesLimit,
    /// Every path that could count is longer than a path may be.
    ChainLength,
    /// Only a list of another issuer could say whether a certificate is revoked.
    CrlIndirect,
    /// No list says whether a certificate is revoked, and policy wants one to.
    CrlMissing,
    /// A list of the issuer is there and only one that is not current says that a certificate is not revoked.
    CrlStale {
        /// By when the list was to be replaced; `None` where it does not say so.
        next_update: Option<Instant>,
        /// Time of judgement.
        at: Instant,
    },
    /// A list of the issuer is there and cannot be used.
    CrlUnusable(CrlDefect),
    /// An extension occurs twice.
    DuplicateExtension(Oid),
    /// The validity ended before the time of judgement.
    Expired {
        /// End of the validity.
        not_after: Instant,
        /// Time of judgement.
        at: Instant,
    },
    /// An end entity's certificate is a CA's.
    IsCa,
    /// KeyUsage does not allow what the certificate is used for, or allows what its profile forbids.
    KeyUsage,
    /// An extension does not have the form that its standard gives it.
    MalformedExtension(Malformed),
    /// A name lies outside the name constraints above it, or they are of a form that cannot be checked.
    NameConstraints,
    /// The trust store holds no anchor for the format.
    NoAnchor,
    /// The anchors of the format are not reached.
    NoPath,
    /// An issuer's certificate is not a CA's.
    NotCa,
    /// The certificate is not as strictly encoded as its profile demands.
    NotDer(Quirk),
    /// The validity begins after the time of judgement.
    NotYetValid {
        /// Beginning of the validity.
        not_before: Instant,
        /// Time of judgement.
        at: Instant,
    },
    /// More CA certificates follow than an issuer allows, or an attestation issuer allows any.
    PathLength,
    /// A CA demands an acceptable certificate policy and none is left.
    Policy,
    /// A certificate is revoked.
    Revoked {
        /// When its issuer revoked it.
        at: Instant,
    },
    /// The request has spent its signature checks.
    SignatureLimit,
    /// A critical extension is not known.
    UnknownCritical(Oid),
    /// The signature algorithm is not accepted.
    WeakAlgorithm,
    /// The issuer's key is too weak.
    WeakKey,
    /// The EK certificate is not marked as one.
    WrongEkPurpose,
    /// The certificate of an attesting key is not marked for exactly the one family of statements it is used for.
    WrongFamily,
}

/// Why a revocation list cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CrlDefect {
    /// Inner and outer signature algorithm differ.
    AlgorithmMismatch,
    /// The issuer's key did not make the signature.
    BadSignature,
    /// It lists changes to another list only.
    Delta,
    /// The issuer's key usage does not allow it to sign lists.
    KeyUsage,
    /// A critical extension of it, or of an entry, is not known.
    UnknownCritical(Oid),
    /// The signature algorithm, or the issuer's key, is not accepted.
    Weak,
}

impl fmt::Display for CrlDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlgorithmMismatch => f.write_str("its signature algorithm is named in two ways"),
            Self::BadSignature => f.write_str("its signature is not the issuer's"),
            Self::Delta => f.write_str("it is a delta list"),
            Self::KeyUsage => f.write_str("the issuer may not sign lists"),
            Self::UnknownCritical(oid) => write!(f, "its critical extension {oid} is not known"),
            Self::Weak => f.write_str("its signature algorithm or key is not accepted"),
        }
    }
}

const REVOCATION: &str = "RFC 5280, section 6.3";
const PATH_VALIDATION: &str = "RFC 5280, section 6.1";
const ATTESTING_KEY_PROFILE: &str = "Vouchsafe attesting key profile";

impl PathError {
    /// Every code with its clause and a sentence, in the order of codes.
    pub const ALL: &'static [(&'static str, &'static str, &'static str)] = &[
        (
            "ak.wrong-family",
            ATTESTING_KEY_PROFILE,
            "The attesting key's certificate is not marked for exactly the one family of statements that it is used for.",
        ),
        (
            "chain.ak-as-issuer",
            ATTESTING_KEY_PROFILE,
            "A certificate of an attesting key, or one that a TPM made, stands as the issuer of another certificate.",
        ),
        (
            "chain.algorithm-mismatch",
            "RFC 5280, section 4.1.1.2",
            "The signature algorithm inside a certificate differs from the one outside.",
        ),
        (
            "chain.bad-signature",
            "RFC 5280, section 6.1.3(a)(1)",
            "The signature of a certificate was not made by the key of its issuer.",
        ),
        (
            "chain.crl-indirect",
            "RFC 5280, sections 5.2.5 and 6.3.3(f)",
            "Whether a certificate is revoked is for the list of another issuer to say, which is not accepted.",
        ),
        (
            "chain.crl-missing",
            REVOCATION,
            "No revocation list says whether a certificate is revoked, and policy wants one.",
        ),
        (
            "chain.crl-stale",
            "RFC 5280, sections 5.1.2.4, 5.1.2.5 and 6.3.3(a)",
            "The revocation list for a certificate is not current.",
        ),
        (
            "chain.crl-unusable",
            "RFC 5280, sections 5.2, 5.3 and 6.3.3(f), (g)",
            "The revocation list for a certificate cannot be used.",
        ),
        ("chain.duplicate-extension", "RFC 5280, section 4.2", "A certificate holds an extension more than once."),
        ("chain.expired", "RFC 5280, section 6.1.3(a)(2)", "The validity of a certificate has ended."),
        ("chain.is-a-ca", "RFC 5280, section 4.2.1.9", "The certificate of an end entity is a CA's."),
        (
            "chain.key-usage",
            "RFC 5280, sections 4.2.1.3 and 6.1.4(n)",
            "The key usage of a certificate does not fit what it is used for.",
        ),
        (
            "chain.malformed-extension",
            "RFC 5280, section 4.2.1",
            "An extension of a certificate does not have the form that its standard gives it.",
        ),
        (
            "chain.name-constraints",
            "RFC 5280, sections 4.2.1.10 and 6.1.3(b), (c)",
            "A name in a certificate lies outside the name constraints of a CA above it.",
        ),
        ("chain.no-path", PATH_VALIDATION, "No certification path leads to a trust anchor of this format."),
        (
            "chain.not-a-ca",
            "RFC 5280, section 6.1.4(k)",
            "A certificate that issued another one is not the certificate of a CA.",
        ),
        (
            "chain.not-der",
            "RFC 5280, section 4.1; X.690, section 10",
            "A certificate is not as strictly encoded as its profile demands.",
        ),
        ("chain.not-yet-valid", "RFC 5280, section 6.1.3(a)(2)", "The validity of a certificate has not begun."),
        (
            "chain.path-length",
            "RFC 5280, sections 4.2.1.9 and 6.1.4(l), (m)",
            "A path holds more CA certificates than one of its CAs allows.",
        ),
        (
            "chain.policy",
            "RFC 5280, sections 6.1.3(f) and 6.1.5(g)",
            "A CA of the path demands an acceptable certificate policy and none is left.",
        ),
        ("chain.revoked", "RFC 5280, section 6.1.3(a)(3)", "A certificate is revoked."),
        (
            "chain.unknown-critical",
            "RFC 5280, sections 6.1.4(o) and 6.1.5(f)",
            "A certificate holds a critical extension that is not known.",
        ),
        (
            "chain.weak-algorithm",
            "NIST SP 800-131A; RFC 4055; RFC 5758; RFC 8410",
            "A certificate is signed by an algorithm, or with parameters, that are not accepted.",
        ),
        (
            "chain.weak-key",
            "NIST SP 800-131A; FIPS 186-5, section 5.4",
            "A certificate is signed with an RSA key below 2048 bits or with an exponent that is even or below 65537.",
        ),
        (
            "ek.wrong-purpose",
            "TCG EK Credential Profile, Extended Key Usage",
            "The certificate is not marked as the certificate of an endorsement key.",
        ),
        ("limit.certificates", PATH_VALIDATION, "More certificates are offered for one path than may be used."),
        ("limit.chain-length", PATH_VALIDATION, "The certification path is longer than a path may be."),
        ("limit.signature-checks", PATH_VALIDATION, "The request needs more signature checks than it may cost."),
        ("trust.no-anchor", "RFC 5280, section 6.1.1(d)", "The trust store holds no anchor for this format."),
    ];

    /// A defect of the path as a whole.
    pub(crate) const fn of_path(defect: PathDefect) -> Self {
        Self { defect, subject: None }
    }

    /// A defect of `certificate`.
    pub(super) fn of_certificate(defect: PathDefect, certificate: &CertView) -> Self {
        let subject = if certificate.subject().is_empty() {
            format!("a certificate without subject, issued by {}", certificate.issuer().to_display())
        } else {
            certificate.subject().to_display()
        };
        Self { defect, subject: Some(subject) }
    }

    /// What is wrong.
    #[must_use]
    pub const fn defect(&self) -> PathDefect {
        self.defect
    }

    /// The stable code: one of [`PathError::ALL`].
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self.defect {
            PathDefect::AlgorithmMismatch => "chain.algorithm-mismatch",
            PathDefect::AttestingKeyAsIssuer => "chain.ak-as-issuer",
            PathDefect::BadSignature => "chain.bad-signature",
            PathDefect::CertificatesLimit => "limit.certificates",
            PathDefect::ChainLength => "limit.chain-length",
            PathDefect::CrlIndirect => "chain.crl-indirect",
            PathDefect::CrlMissing => "chain.crl-missing",
            PathDefect::CrlStale { .. } => "chain.crl-stale",
            PathDefect::CrlUnusable(_) => "chain.crl-unusable",
            PathDefect::DuplicateExtension(_) => "chain.duplicate-extension",
            PathDefect::Expired { .. } => "chain.expired",
            PathDefect::IsCa => "chain.is-a-ca",
            PathDefect::KeyUsage => "chain.key-usage",
            PathDefect::MalformedExtension(_) => "chain.malformed-extension",
            PathDefect::NameConstraints => "chain.name-constraints",
            PathDefect::NoAnchor => "trust.no-anchor",
            PathDefect::NoPath => "chain.no-path",
            PathDefect::NotCa => "chain.not-a-ca",
            PathDefect::NotDer(_) => "chain.not-der",
            PathDefect::NotYetValid { .. } => "chain.not-yet-valid",
            PathDefect::PathLength => "chain.path-length",
            PathDefect::Policy => "chain.policy",
            PathDefect::Revoked { .. } => "chain.revoked",
            PathDefect::SignatureLimit => "limit.signature-checks",
            PathDefect::UnknownCritical(_) => "chain.unknown-critical",
            PathDefect::WeakAlgorithm => "chain.weak-algorithm",
            PathDefect::WeakKey => "chain.weak-key",
            PathDefect::WrongEkPurpose => "ek.wrong-purpose",
            PathDefect::WrongFamily => "ak.wrong-family",
        }
    }

    /// The clause that the code rests on.
    #[must_use]
    pub fn clause(&self) -> &'static str {
        self.row().map_or(PATH_VALIDATION, |(_, clause, _)| clause)
    }

    /// One sentence: what is wrong, and with which certificate where one is to blame. Safe to show.
    #[must_use]
    pub fn message(&self) -> String {
        self.to_string()
    }

    /// Whichever of the two says more about the evidence.
    pub(crate) fn more_specific(self, other: Self) -> Self {
        if other.is_more_specific_than(&self) { other } else { self }
    }

    /// Whether this reason says more about the evidence than `other`.
    pub(super) fn is_more_specific_than(&self, other: &Self) -> bool {
        self.rank() > other.rank()
    }

    /// Reasons that only say that the search came to nothing yield to reasons that say why.
    const fn rank(&self) -> u8 {
        match self.defect {
            PathDefect::NoAnchor => 0,
            PathDefect::NoPath => 1,
            PathDefect::BadSignature => 2,
            PathDefect::ChainLength => 3,
            PathDefect::AlgorithmMismatch
            | PathDefect::AttestingKeyAsIssuer
            | PathDefect::DuplicateExtension(_)
            | PathDefect::Expired { .. }
            | PathDefect::IsCa
            | PathDefect::KeyUsage
            | PathDefect::MalformedExtension(_)
            | PathDefect::NameConstraints
            | PathDefect::NotCa
            | PathDefect::NotDer(_)
            | PathDefect::NotYetValid { .. }
            | PathDefect::PathLength
            | PathDefect::Policy
            | PathDefect::UnknownCritical(_)
            | PathDefect::WeakAlgorithm
            | PathDefect::WeakKey
            | PathDefect::WrongEkPurpose
            | PathDefect::WrongFamily => 4,
            PathDefect::CrlIndirect
            | PathDefect::CrlMissing
            | PathDefect::CrlStale { .. }
            | PathDefect::CrlUnusable(_) => 5,
            PathDefect::Revoked { .. } => 6,
            PathDefect::CertificatesLimit | PathDefect::SignatureLimit => 7,
        }
    }

    fn row(&self) -> Option<&'static (&'static str, &'static str, &'static str)> {
        Self::ALL.iter().find(|(code, ..)| *code == self.code())
    }

    fn sentence(&self) -> &'static str {
        self.row().map_or("", |(_, _, sentence)| sentence)
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence().trim_end_matches('.'))?;
        match self.defect {
            PathDefect::CertificatesLimit => write!(f, " ({})", limits::CERTIFICATES_USED)?,
            PathDefect::ChainLength => write!(f, " ({})", limits::CHAIN_LENGTH)?,
            PathDefect::CrlStale { next_update: Some(next_update), at } => {
                write!(f, " (due {next_update}, judged at {at})")?;
            }
            PathDefect::CrlStale { next_update: None, at } => write!(f, " (it never says when, judged at {at})")?,
            PathDefect::CrlUnusable(defect) => write!(f, " ({defect})")?,
            PathDefect::DuplicateExtension(oid) | PathDefect::UnknownCritical(oid) => write!(f, " ({oid})")?,
            PathDefect::Expired { not_after, at } => write!(f, " ({not_after}, judged at {at})")?,
            PathDefect::MalformedExtension(malformed) => write!(f, " ({malformed})")?,
            PathDefect::NotDer(quirk) => write!(f, " ({quirk:?})")?,
            PathDefect::NotYetValid { not_before, at } => write!(f, " ({not_before}, judged at {at})")?,
            PathDefect::Revoked { at } => write!(f, " (since {at})")?,
            PathDefect::SignatureLimit => write!(f, " ({})", limits::SIGNATURE_CHECKS)?,
            PathDefect::AlgorithmMismatch
            | PathDefect::AttestingKeyAsIssuer
            | PathDefect::BadSignature
            | PathDefect::CrlIndirect
            | PathDefect::CrlMissing
            | PathDefect::IsCa
            | PathDefect::KeyUsage
            | PathDefect::NameConstraints
            | PathDefect::NoAnchor
            | PathDefect::NoPath
            | PathDefect::NotCa
            | PathDefect::PathLength
            | PathDefect::Policy
            | PathDefect::WeakAlgorithm
            | PathDefect::WeakKey
            | PathDefect::WrongEkPurpose
            | PathDefect::WrongFamily => {}
        }
        match &self.subject {
            Some(subject) => write!(f, ": {subject}."),
            None => f.write_str("."),
        }
    }
}
