//! PKIX Evidence (draft-ietf-rats-pkix-key-attestation): what a module reports under its attestation keys.
//!
//! The format has no maker, so nothing is implied by anybody's promise: a claim is signed, or it is not there. What an
//! attestation key's certificate says of the key's environment decides how far its signature goes: a key that software
//! on the host drives makes every claim one of the host's.

mod codes;
mod describe;
mod signers;
mod store;

use vouchsafe_evidence::formats::pkix_evidence::{Elements, EvidenceView, ROW as EVIDENCE, Transaction};
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::extensions::{self, CertificatePolicies};
use vouchsafe_evidence::x509::{CertView, SpkiView};

use super::{Evidence, NonceField, Row, Testimony};
use crate::authenticate::{Context, ModuleSigner, names_attesting_key};
use crate::bind::Device;
use crate::claims::{Claims, Source};
use crate::describe::base64;
use crate::enrolment::Method;
use crate::hex;
use crate::path::Revocation;
use crate::rejection::{self, Rejection};
pub(crate) use signers::is_signed_by;
use signers::{Endorsed, Signers};

const ID: &str = EVIDENCE.id;

/// How PKIX Evidence is authenticated.
pub(super) static ROW: Row = Row { id: ID, authenticate, codes: codes::ALL };

fn authenticate(evidence: &Evidence<'_>, context: &mut Context<'_>) -> Result<Testimony, Rejection> {
    let view = EvidenceView::parse(evidence.content).map_err(|defect| codes::rejection(&defect))?;
    let signers = Signers::check(&view, context)?;
    let elements = view.elements();
    let at = evidence.statement;
    let environment = environment(&signers.endorsed);
    let source = environment.source();
    let is_virtual = signers.endorsed.iter().any(|of| of.is_virtual);
    let keys = describe::keys(elements, context.subject, (source, at))?;
    let platform = elements.platform.as_ref().map(|of| describe::platform(of, is_virtual, source, at));
    let claims = attesting_key(&signers, &environment, elements, at);
    let key = main_key(&signers.endorsed)?;
    let signer = ModuleSigner {
        key,
        attesting_keys: attesting_keys(&signers, &view),
        module: module(&signers.endorsed),
        claims,
        device: device(&signers)?,
        is_virtual,
    };
    Ok(Testimony { signer, nonce: nonce(elements), keys, platform })
}

/// Every key that the Evidence shows to be an attesting key: who signed, who is named as a signer (ak-spki), and whose
/// certificate of an attesting key came with it.
fn attesting_keys(signers: &Signers, view: &EvidenceView<'_>) -> Vec<SpkiView> {
    let signed = signers.endorsed.iter().map(|signer| &signer.key).chain(&signers.counter_signers);
    let named = view.elements().transaction.iter().flat_map(|transaction| &transaction.attestation_keys);
    let certified = view.intermediates().iter().filter(|of| names_attesting_key(of)).map(CertView::spki);
    signed.chain(named).chain(certified).cloned().collect()
}

fn nonce(elements: &Elements<'_>) -> NonceField {
    match elements.nonce() {
        Some(nonce) => NonceField::Value(nonce.to_vec()),
        None => NonceField::Absent,
    }
}

/// The key that stands for all that signed: the first in an order of their own.
fn main_key(endorsed: &[Endorsed]) -> Result<SpkiView, Rejection> {
    endorsed.first().map(|of| of.key.clone()).ok_or_else(|| Rejection::plain(codes::SIGNER_UNTRUSTED))
}

/// What tells a module with several attestation keys from one that has the first of them alone.
fn module(endorsed: &[Endorsed]) -> Option<Vec<u8>> {
    match endorsed {
        [] | [_] => None,
        several => {
            let digests: Vec<[u8; 32]> = several.iter().map(|of| of.key.sha256()).collect();
            Some(HashAlg::Sha256.digest(&[digests.as_flattened()]))
        }
    }
}

/// The module for others to refer to: by the deviceLink that an issuer assigned, else by its attestation key.
fn device(signers: &Signers) -> Result<Option<Device>, Rejection> {
    let mut links = Vec::new();
    for certificate in signers.endorsed.iter().filter_map(|of| of.certificate.as_ref()) {
        let malformed = |_| Rejection::plain(rejection::codes::AK_DEVICE_LINK_MALFORMED);
        let Some(extension) = certificate.extension(oid::DEVICE_LINK).map_err(malformed)? else { continue };
        let link = extensions::device_link(extension.value()).map_err(malformed)?;
        if link.is_empty() {
            return Err(Rejection::plain(rejection::codes::AK_DEVICE_LINK_MALFORMED));
        }
        links.push(link);
    }
    let by_link = links
        .into_iter()
        .min()
        .map(|link| Device { id: format!("link:{}", hex::encode(link)), source: "deviceLink of the AK certificate" });
    Ok(by_link.or_else(|| {
        let key = &signers.endorsed.first()?.key;
        Some(Device { id: format!("ak:{}", hex::encode(&key.sha256())), source: "attesting key" })
    }))
}

/// Who uses the attestation keys, and who says so.
struct Environment {
    is_host: bool,
    is_stated: bool,
}

impl Environment {
    const fn source(&self) -> Source {
        if self.is_host { Source::HostAsserted } else { Source::Signed }
    }
}

/// A TPM makes no Evidence by itself: what its keys sign of this form, software on the host put together. A certificate
/// that says that its key is a TPM's therefore says that the host speaks.
fn environment(endorsed: &[Endorsed]) -> Environment {
    let certificates = || endorsed.iter().filter_map(|of| of.certificate.as_ref());
    let has = |wanted: Oid| certificates().any(|of| has_policy(of, wanted));
    let is_of_tpm = certificates().any(|of| [oid::TPMA_OBJECT, oid::AK_NAME].iter().any(|wanted| carries(of, *wanted)));
    let is_host = has(oid::ENVIRONMENT_HOST) || is_of_tpm;
    Environment { is_host, is_stated: is_host || has(oid::ENVIRONMENT_MODULE) }
}

fn carries(certificate: &CertView, wanted: Oid) -> bool {
    certificate.extensions().any(|extension| extension.oid() == wanted)
}

fn has_policy(certificate: &CertView, wanted: Oid) -> bool {
    let extension = certificate.extension(oid::CERTIFICATE_POLICIES).ok().flatten();
    let policies = extension.and_then(|extension| CertificatePolicies::parse(extension.value()).ok());
    policies.is_some_and(|policies| policies.policies().contains(&wanted))
}

/// The claims about the keys that signed.
fn attesting_key(signers: &Signers, environment: &Environment, elements: &Elements<'_>, at: usize) -> Claims {
    let mut claims = Claims::new();
    let endorsed = &signers.endorsed;
    let certificates = || endorsed.iter().filter_map(|of| of.certificate.as_ref());
    if let Some(first) = endorsed.first() {
        claims.put("spki", base64(first.key.as_der()), Source::Signed, at);
    }
    let method = Method::ALL.into_iter().find(|method| certificates().any(|of| has_policy(of, method.policy())));
    if let Some(method) = method {
        claims.put("bootstrap", method.label(), Source::Endorsed, at);
    }
    let word = if environment.is_host { "host" } else { "module" };
    let said_by = if environment.is_stated { Source::Endorsed } else { Source::Implied };
    claims.put("environment", word, said_by, at);
    if endorsed.iter().any(|of| of.is_virtual) {
        claims.put("kind", "virtual", Source::Endorsed, at);
    }
    if let Some(certificate) = certificates().next() {
        claims.put("issuer", certificate.issuer().to_display(), Source::Endorsed, at);
    }
    // Nobody publishes lists for a key that the trust store holds as it stands.
    let revocation = endorsed.iter().map(|of| of.path.as_ref().map_or(Revocation::Unknown, |path| path.revocation()));
    let mut quirks: Vec<&str> = endorsed
        .iter()
        .flat_map(|of| of.path.as_ref().map_or(of.deviations.as_slice(), |path| path.deviations()))
        .map(|deviation| deviation.label())
        .collect();
    quirks.sort_unstable();
    quirks.dedup();
    claims.put_chain(revocation.min().unwrap_or(Revocation::Unknown), quirks, at);
    let mut algorithms: Vec<String> = endorsed.iter().map(|of| of.algorithm.to_string()).collect();
    algorithms.sort();
    claims.put("signature_algorithms", algorithms, Source::Signed, at);
    if signers.missing > 0 {
        claims.put("missing_signers", signers.missing, Source::Signed, at);
    }
    if !signers.counter_signers.is_empty() {
        let keys: Vec<String> = signers.counter_signers.iter().map(|key| base64(key.as_der())).collect();
        claims.put("counter_signers", keys, Source::Signed, at);
    }
    let transaction: Option<&Transaction<'_>> = elements.transaction.as_ref();
    if let Some(timestamp) = transaction.and_then(|transaction| transaction.timestamp) {
        claims.put("timestamp", timestamp.to_rfc3339(), environment.source(), at);
    }
    if !elements.ignored.is_empty() {
        let types: Vec<String> = elements.ignored.iter().map(ToString::to_string).collect();
        claims.put("ignored", types, environment.source(), at);
    }
    claims
}
