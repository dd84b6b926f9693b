//! Authentication: signatures, chains and the nonce. What passes is true; whether it suffices is for
//! [`crate::appraise`], and whether it belongs together for [`crate::bind`].
//!
//! Each statement stops at its first failure. Nothing of a failed statement is ever looked at again.

mod signer;
mod tpm_certify;
mod tpm_certify_x509;
mod tpm_quote;
mod tpm_signature;

use vouchsafe_evidence::bundle::AttestationStatement;
use vouchsafe_evidence::limits;
use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::tpm::{HashAlg, Name, ObjectAttributes, TpmsAttest, TpmtPublic};
use vouchsafe_evidence::x509::{CertView, SpkiView};

use crate::Nonce;
use crate::crypto::SignatureBudget;
use crate::policy::{PlatformDemand, RevocationDemand};
use crate::rejection::{Rejection, codes};
use crate::time::Instant;
use crate::trust::TrustStore;

pub(crate) use signer::{AkCertificates, AttestingKey, Endorser, has_purpose, names_attesting_key};

/// What authentication works with, the same for every statement of a request.
pub(crate) struct Context<'a> {
    pub trust: &'a TrustStore,
    pub at: Instant,
    pub nonce: Option<&'a Nonce>,
    pub revocation: RevocationDemand,
    pub certificates: &'a [CertView],
    pub budget: SignatureBudget,
}

/// A statement whose signature, chain and nonce were checked. Only this module makes one.
#[derive(Clone, Debug)]
pub(crate) struct Authenticated {
    index: usize,
    format: FormatId,
    signer: AttestingKey,
    qualifying: Vec<u8>,
    answers_nonce: bool,
    subject: Subject,
}

impl Authenticated {
    /// Its place in the bundle, counted from zero.
    pub(crate) const fn index(&self) -> usize {
        self.index
    }

    /// Its format.
    pub(crate) const fn format(&self) -> FormatId {
        self.format
    }

    /// The attestation key that signed it, and on whose word that key is one.
    pub(crate) const fn signer(&self) -> &AttestingKey {
        &self.signer
    }

    /// Its qualifying data, in which a nonce would stand.
    pub(crate) fn qualifying(&self) -> &[u8] {
        &self.qualifying
    }

    /// Whether it holds the nonce that was demanded.
    pub(crate) const fn answers_nonce(&self) -> bool {
        self.answers_nonce
    }

    /// The key it is about, if it is a key statement.
    pub(crate) const fn key(&self) -> Option<&AttestedKey> {
        match &self.subject {
            Subject::Key(key) => Some(key),
            Subject::Platform(_) => None,
        }
    }

    /// The platform state it reports, if it is a platform statement.
    pub(crate) const fn platform(&self) -> Option<&AttestedPlatform> {
        match &self.subject {
            Subject::Platform(platform) => Some(platform),
            Subject::Key(_) => None,
        }
    }
}

/// What a statement is about.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// A key: where it was made and what may happen to it.
    Key(AttestedKey),
    /// A device: what it is and how it runs.
    Platform(AttestedPlatform),
}

/// A key that an attestation key vouches for.
#[derive(Clone, Debug)]
pub(crate) struct AttestedKey {
    /// The key.
    pub spki: SpkiView,
    /// What its TPM lets happen to it.
    pub attributes: ObjectAttributes,
    /// Its public area, where the Name authenticates it.
    pub public: Option<TpmtPublic>,
    /// Its qualified name, where the TPM signed one.
    pub qualified_name: Option<Name>,
}

impl AttestedKey {
    /// Whether the attributes come from a certificate extension alone, since nothing authenticates a Name.
    pub(crate) const fn is_extension_only(&self) -> bool {
        self.public.is_none()
    }

    /// Whether the key is an attestation key: restricted and signing.
    pub(crate) const fn is_restricted_signer(&self) -> bool {
        self.attributes.contains(ObjectAttributes::RESTRICTED | ObjectAttributes::SIGN)
    }

    /// Whether the key was made in this TPM and can never leave it: the only keys that name a device.
    pub(crate) const fn is_device_bound(&self) -> bool {
        self.attributes.contains(
            ObjectAttributes::FIXED_TPM | ObjectAttributes::FIXED_PARENT | ObjectAttributes::SENSITIVE_DATA_ORIGIN,
        )
    }
}

/// A platform state that an attestation key vouches for.
#[derive(Clone, Debug)]
pub(crate) struct AttestedPlatform {
    /// The quote.
    pub attest: TpmsAttest,
    /// The registers that the quote covers, each with its value where the statement carries values.
    pub registers: Vec<(HashAlg, u8)>,
    /// The values, in the order of `registers`; their digest is the quote's.
    pub values: Option<Vec<Vec<u8>>>,
}

/// A statement that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its place in the bundle, counted from zero.
    pub statement: usize,
    /// Its type, in dotted decimal.
    pub oid: String,
    /// Why, as one sentence.
    pub why: String,
}

/// The outcome for all statements of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authentication {
    /// Those that passed.
    pub statements: Vec<Authenticated>,
    /// The first failure of each that did not, with its format.
    pub failures: Vec<(FormatId, Rejection)>,
    /// Those of types that are not known, or not asked for.
    pub skipped: Vec<Skipped>,
}

/// A statement that was parsed; its signer is not known yet.
enum Parsed {
    Certify(tpm_certify::Certify),
    CertifyX509(tpm_certify_x509::CertifyX509),
    Quote(tpm_quote::Quote),
}

impl Parsed {
    fn parse(format: FormatId, statement: &AttestationStatement) -> Result<Option<Self>, Rejection> {
        Ok(Some(match format {
            FormatId::TpmCertify => Self::Certify(tpm_certify::Certify::parse(statement.stmt())?),
            FormatId::TpmCertifyX509 => Self::CertifyX509(tpm_certify_x509::CertifyX509::parse(statement.stmt())?),
            FormatId::TpmQuote => Self::Quote(tpm_quote::Quote::parse(statement.stmt())?),
            FormatId::Cmw | FormatId::KeyPop | FormatId::PkixEvidence | FormatId::TpmEk => return Ok(None),
        }))
    }

    /// The TPMS_ATTEST and its signature field, where the statement is of that family.
    fn attestation(&self) -> Option<(&TpmsAttest, &[u8])> {
        match self {
            Self::Certify(certify) => Some((certify.attest(), certify.signature())),
            Self::Quote(quote) => Some((quote.attest(), quote.signature())),
            Self::CertifyX509(_) => None,
        }
    }
}

/// A parsed statement with its place.
struct Pending {
    index: usize,
    format: FormatId,
    parsed: Parsed,
}

/// Authenticates every statement, those of the platform only if `platform` asks for them.
pub(crate) fn authenticate(
    statements: &[AttestationStatement],
    platform: PlatformDemand,
    context: &mut Context<'_>,
) -> Authentication {
    let mut outcome = Authentication::default();
    let mut pending = Vec::new();
    for (index, statement) in statements.iter().enumerate().take(limits::STATEMENTS) {
        match sort(index, statement, platform) {
            Ok(statement) => pending.push(statement),
            Err(Aside::Skipped(why)) => {
                outcome.skipped.push(Skipped {
                    statement: index,
                    oid: statement.oid().to_string(),
                    why: why.to_owned(),
                });
            }
            Err(Aside::Failed(format, rejection)) => outcome.failures.push((format, rejection.in_statement(index))),
        }
    }
    let unsigned = by_certificates(pending, context, &mut outcome);
    let unsigned = by_links(unsigned, context, &mut outcome);
    for statement in unsigned {
        let rejection = signer::explain_unsigned(&statement.parsed, context);
        outcome.failures.push((statement.format, rejection.in_statement(statement.index)));
    }
    outcome.statements.sort_by_key(Authenticated::index);
    outcome.failures.sort_by_key(|(_, rejection)| rejection.statement());
    outcome
}

/// Why a statement is not taken further.
enum Aside {
    Failed(FormatId, Rejection),
    Skipped(&'static str),
}

fn sort(index: usize, statement: &AttestationStatement, platform: PlatformDemand) -> Result<Pending, Aside> {
    let format = FormatId::from_oid(statement.oid()).ok_or(Aside::Skipped("The statement's type is not known."))?;
    if format == FormatId::TpmQuote && platform == PlatformDemand::Ignored {
        return Err(Aside::Skipped("Policy ignores platform statements."));
    }
    match Parsed::parse(format, statement) {
        Ok(Some(parsed)) => Ok(Pending { index, format, parsed }),
        Ok(None) => Err(Aside::Skipped("Statements of this type are not read yet.")),
        Err(rejection) => Err(Aside::Failed(format, rejection)),
    }
}

/// Authenticates what a certificate in the bundle vouches for; returns what no such certificate's key signed.
fn by_certificates(pending: Vec<Pending>, context: &mut Context<'_>, outcome: &mut Authentication) -> Vec<Pending> {
    let mut unsigned = Vec::new();
    for statement in pending {
        let found = match &statement.parsed {
            Parsed::CertifyX509(leaf) => leaf.signer(context).map(Some),
            Parsed::Certify(_) | Parsed::Quote(_) => {
                signer::endorsed(statement.format, statement.parsed.attestation(), context)
            }
        };
        match found {
            Ok(Some(key)) => conclude(statement, key, context, outcome),
            Ok(None) => unsigned.push(statement),
            Err(rejection) => {
                outcome.failures.push((statement.format, rejection.in_statement(statement.index)));
            }
        }
    }
    unsigned
}

/// Authenticates what attestation keys signed that another, already authenticated, attestation key certified
/// (DESIGN, "Binding graph", rule 2). Trust runs from the endorsed key to the linked one and never back.
fn by_links(mut unsigned: Vec<Pending>, context: &mut Context<'_>, outcome: &mut Authentication) -> Vec<Pending> {
    loop {
        let before = unsigned.len();
        let mut rest = Vec::new();
        for statement in unsigned {
            match signer::linked(statement.format, statement.parsed.attestation(), &outcome.statements, context) {
                Ok(Some(key)) => conclude(statement, key, context, outcome),
                Ok(None) => rest.push(statement),
                Err(rejection) => {
                    outcome.failures.push((statement.format, rejection.in_statement(statement.index)));
                }
            }
        }
        if rest.len() == before {
            return rest;
        }
        unsigned = rest;
    }
}

/// The last steps, once the signature and its signer's chain hold: nonce and contents.
fn conclude(statement: Pending, signer: AttestingKey, context: &Context<'_>, outcome: &mut Authentication) {
    let Pending { index, format, parsed } = statement;
    let concluded = match parsed {
        Parsed::Certify(certify) => certify.conclude(),
        Parsed::CertifyX509(leaf) => leaf.conclude(&signer),
        Parsed::Quote(quote) => quote.conclude(),
    };
    let authenticated = concluded.and_then(|(qualifying, subject)| {
        let answers_nonce = check_nonce(&qualifying, context.nonce)?;
        Ok(Authenticated { index, format, signer, qualifying, answers_nonce, subject })
    });
    match authenticated {
        Ok(authenticated) => outcome.statements.push(authenticated),
        Err(rejection) => outcome.failures.push((format, rejection.in_statement(index))),
    }
}

/// Whether `qualifying` answers the nonce: exactly, or not at all. Without a nonce nothing is answered.
fn check_nonce(qualifying: &[u8], nonce: Option<&Nonce>) -> Result<bool, Rejection> {
    match nonce {
        None => Ok(false),
        Some(nonce) if nonce.as_bytes() == qualifying => Ok(true),
        Some(_) if qualifying.is_empty() => Err(Rejection::plain(codes::NONCE_MISSING)),
        Some(_) => Err(Rejection::plain(codes::NONCE_MISMATCH)),
    }
}
