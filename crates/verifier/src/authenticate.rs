//! Authentication: signatures, chains and the nonce. What passes is true; whether it suffices is for
//! [`crate::appraise`], and whether it belongs together for [`crate::bind`].
//!
//! Each statement stops at its first failure. Nothing of a failed statement is ever looked at again.

mod authenticated;
pub(crate) mod cmw;
mod key_pop;
mod signer;
mod tpm_certify;
mod tpm_certify_x509;
mod tpm_ek;
mod tpm_quote;
mod tpm_signature;

use vouchsafe_evidence::bundle::AttestationStatement;
use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::tpm::TpmsAttest;
use vouchsafe_evidence::x509::{CertView, SpkiView};

use crate::Nonce;
use crate::crypto::SignatureBudget;
use crate::formats::{self, Evidence, NonceField, Testimony};
use crate::policy::{PlatformDemand, RevocationDemand};
use crate::rejection::{Rejection, codes};
use crate::time::Instant;
use crate::trust::TrustStore;
use crate::verdict::Freshness;

pub use authenticated::Skipped;
pub(crate) use authenticated::{
    AttestedKey, AttestedPlatform, Authenticated, Authentication, Dated, KeyProperties, ModuleSigner, Quoted, Signer,
    TpmKey,
};
pub(crate) use cmw::Unwrapped;
pub(crate) use signer::{AkCertificates, AttestingKey, Endorser, has_purpose, names_attesting_key};
pub(crate) use tpm_certify::strong_name;
pub(crate) use tpm_quote::parse_attest;

/// What authentication works with, the same for every statement of a request.
pub(crate) struct Context<'a> {
    pub trust: &'a TrustStore,
    pub at: Instant,
    pub nonce: Option<&'a Nonce>,
    /// Whether the statements stand in a request, whose signature covers them.
    pub in_request: bool,
    /// What a proof of possession must be bound to, where the caller knows.
    pub possession_context: Option<&'a [u8]>,
    /// The key that was named, of the request or by the caller; of other keys nothing needs to be described.
    pub subject: Option<&'a SpkiView>,
    pub revocation: RevocationDemand,
    pub certificates: &'a [CertView],
    pub budget: SignatureBudget,
}

/// What a statement of a TPM is about.
#[derive(Debug)]
enum Subject {
    /// A key: where it was made and what may happen to it.
    Key(AttestedKey),
    /// A device: what it is and how it runs.
    Platform(Quoted),
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
            FormatId::Cmw | FormatId::KeyPop | FormatId::TpmEk | FormatId::Listed(_) => return Ok(None),
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
    unwrapped: &Unwrapped,
    platform: PlatformDemand,
    context: &mut Context<'_>,
) -> Authentication {
    let mut outcome = Authentication {
        skipped: unwrapped.skipped.clone(),
        failures: unwrapped.failures.clone(),
        ..Authentication::default()
    };
    let (mut pending, mut listed) = (Vec::new(), Vec::new());
    for (index, statement) in unwrapped.statements.iter().map(|(index, statement)| (*index, statement)) {
        match sort(index, statement, platform, context, &outcome) {
            Ok(Sorted::Tpm(statement)) => pending.push(*statement),
            Ok(Sorted::Listed(evidence)) => listed.push(evidence),
            Ok(Sorted::Possession(freshness)) => outcome.possession = Some((index, freshness)),
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
    for evidence in listed {
        by_format(&evidence, platform, context, &mut outcome);
    }
    outcome.statements.sort_by_key(Authenticated::index);
    outcome.failures.sort_by_key(|(_, rejection)| rejection.statement());
    outcome
}

/// Authenticates the one endorsement key certificate that a submission is.
pub(crate) fn authenticate_endorsement_key(
    certificate: &CertView,
    platform: PlatformDemand,
    context: &mut Context<'_>,
) -> Authentication {
    let mut outcome = Authentication::default();
    let authenticated = tpm_ek::authenticate(certificate, context).and_then(|testimony| {
        let freshness = freshness_of(&testimony.nonce, context.nonce, None)?;
        Ok(testify(testimony, freshness, FormatId::TpmEk, 0, platform))
    });
    match authenticated {
        Ok(statement) => outcome.statements.push(statement),
        Err(rejection) => outcome.failures.push((FormatId::TpmEk, rejection)),
    }
    outcome
}

/// Authenticates evidence of a listed format by that format's module.
fn by_format(
    evidence: &Evidence<'_>,
    platform: PlatformDemand,
    context: &mut Context<'_>,
    outcome: &mut Authentication,
) {
    let (format, index) = (FormatId::Listed(evidence.format), evidence.statement);
    let authenticated = formats::authenticate(evidence, context).and_then(|testimony| {
        let freshness = freshness_of(&testimony.nonce, context.nonce, outcome.possession)?;
        Ok(testify(testimony, freshness, format, index, platform))
    });
    match authenticated {
        Ok(statement) if statement.keys.is_empty() && statement.platform.is_none() => {
            let why = "Policy ignores platform statements.".to_owned();
            let oid = evidence.format.row().statement.to_string();
            outcome.skipped.push(Skipped { statement: index, oid, why });
        }
        Ok(statement) => outcome.statements.push(statement),
        Err(rejection) => outcome.failures.push((format, rejection.in_statement(index))),
    }
}

fn testify(
    testimony: Testimony,
    freshness: Freshness,
    format: FormatId,
    index: usize,
    platform: PlatformDemand,
) -> Authenticated {
    let keys = testimony.keys.into_iter().map(|key| AttestedKey {
        spki: key.spki,
        properties: KeyProperties::Claims { claims: key.claims, is_attesting: key.is_attesting },
    });
    let dated = Dated::from_claims(&testimony.signer.claims, testimony.platform.as_ref());
    let reported = match platform {
        PlatformDemand::Ignored => None,
        PlatformDemand::Optional | PlatformDemand::Required => testimony.platform,
    };
    let qualifying = match testimony.nonce {
        NonceField::Value(nonce) => nonce,
        NonceField::Unsupported | NonceField::Absent => Vec::new(),
    };
    Authenticated {
        index,
        format,
        signer: Signer::Module(testimony.signer),
        qualifying,
        freshness,
        dated,
        keys: keys.collect(),
        platform: reported.map(AttestedPlatform::Claims),
    }
}

/// How fresh evidence of a listed format is: by its nonce, or where it can have none by a proof of possession.
fn freshness_of(
    field: &NonceField,
    nonce: Option<&Nonce>,
    possession: Option<(usize, Freshness)>,
) -> Result<Freshness, Rejection> {
    match (field, nonce) {
        (NonceField::Unsupported, None) => Ok(Freshness::None),
        (NonceField::Unsupported, Some(_)) => match possession {
            Some((_, Freshness::ProofOfPossession)) => Ok(Freshness::ProofOfPossession),
            Some((_, Freshness::None | Freshness::Nonce)) | None => Err(Rejection::new(
                codes::NONCE_MISSING,
                "The format has no nonce, and no key-pop statement answers in its place.",
            )),
        },
        (NonceField::Absent, _) => check_nonce(&[], nonce),
        (NonceField::Value(value), _) => check_nonce(value, nonce),
    }
}

/// Why a statement is not taken further.
enum Aside {
    Failed(FormatId, Rejection),
    Skipped(&'static str),
}

/// Where a statement belongs.
enum Sorted<'a> {
    Tpm(Box<Pending>),
    Listed(Evidence<'a>),
    Possession(Freshness),
}

fn sort<'a>(
    index: usize,
    statement: &'a AttestationStatement,
    platform: PlatformDemand,
    context: &Context<'_>,
    outcome: &Authentication,
) -> Result<Sorted<'a>, Aside> {
    let format = FormatId::from_oid(statement.oid()).ok_or(Aside::Skipped("The statement's type is not known."))?;
    let failed = |rejection| Aside::Failed(format, rejection);
    match format {
        FormatId::TpmQuote if platform == PlatformDemand::Ignored => {
            Err(Aside::Skipped("Policy ignores platform statements."))
        }
        FormatId::Listed(listed) => match listed.content(statement.stmt()) {
            Ok(content) => Ok(Sorted::Listed(Evidence { format: listed, content, statement: index })),
            Err(malformed) => Err(failed(Rejection::new(
                codes::FORMAT_WRAPPER,
                format!("The {} statement is malformed: {malformed}.", listed.row().id),
            ))),
        },
        FormatId::KeyPop => key_pop::authenticate(statement.stmt(), context, outcome.possession.is_some())
            .map(Sorted::Possession)
            .map_err(failed),
        FormatId::TpmCertify | FormatId::TpmQuote | FormatId::TpmCertifyX509 | FormatId::TpmEk | FormatId::Cmw => {
            match Parsed::parse(format, statement) {
                Ok(Some(parsed)) => Ok(Sorted::Tpm(Box::new(Pending { index, format, parsed }))),
                // Wrappers were opened before, and endorsement keys make no statements.
                Ok(None) => Err(Aside::Skipped("The statement stands where none of its type is read.")),
                Err(rejection) => Err(failed(rejection)),
            }
        }
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
        let freshness = check_nonce(&qualifying, context.nonce)?;
        let (keys, platform) = match subject {
            Subject::Key(key) => (vec![key], None),
            Subject::Platform(quoted) => (Vec::new(), Some(AttestedPlatform::Quote(Box::new(quoted)))),
        };
        let signer = Signer::Tpm(Box::new(signer));
        Ok(Authenticated { index, format, signer, qualifying, freshness, dated: None, keys, platform })
    });
    match authenticated {
        Ok(authenticated) => outcome.statements.push(authenticated),
        Err(rejection) => outcome.failures.push((format, rejection.in_statement(index))),
    }
}

/// How fresh `qualifying` is: it answers the nonce exactly, or not at all. Without a nonce nothing is answered.
fn check_nonce(qualifying: &[u8], nonce: Option<&Nonce>) -> Result<Freshness, Rejection> {
    match nonce {
        None => Ok(Freshness::None),
        Some(nonce) if nonce.as_bytes() == qualifying => Ok(Freshness::Nonce),
        Some(_) if qualifying.is_empty() => Err(Rejection::plain(codes::NONCE_MISSING)),
        Some(_) => Err(Rejection::plain(codes::NONCE_MISMATCH)),
    }
}
