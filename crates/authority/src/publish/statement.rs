//! The one statement about the key, as it is published, with the certificates that a reader needs to check it.

use vouchsafe_evidence::bundle::{AttestationBundle, AttestationStatement};
use vouchsafe_evidence::formats::pkix_evidence::{EvidenceView, ROW};
use vouchsafe_evidence::input::Submission;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::statement::{FormatId, TpmCertifyX509};
use vouchsafe_evidence::x509::CertView;
use vouchsafe_verifier::{CertifiableKey, Instant, Outcome, Request, verify};

use super::key_statements;
use crate::ca::CertificationAuthority;
use crate::certificate::{BACKDATED_SECONDS, CertificateError, SignedContent, sign_content, signed_by};
use crate::error::{Error, own_codes};
use crate::service::Service;
use crate::store::CertificateRecord;

/// The format of PKIX Evidence.
pub(super) const PKIX_EVIDENCE: &str = ROW.id;
/// The extensions of certificates of attesting keys that may be published: those that paths need and those of this project.
/// What stands in another nobody here can tell.
const PUBLISHABLE: [oid::Oid; 12] = [
    oid::AK_NAME,
    oid::AUTHORITY_INFO_ACCESS,
    oid::AUTHORITY_KEY_IDENTIFIER,
    oid::BASIC_CONSTRAINTS,
    oid::CERTIFICATE_POLICIES,
    oid::CRL_DISTRIBUTION_POINTS,
    oid::DEVICE_LINK,
    oid::EXTENDED_KEY_USAGE,
    oid::KEY_USAGE,
    oid::NAME_CONSTRAINTS,
    oid::SUBJECT_KEY_IDENTIFIER,
    oid::TPMA_OBJECT,
];
/// The attributes of a subject that are there to tell of a module.
const OF_MODULES: [oid::Oid; 4] = [oid::SERIAL_NUMBER, oid::TPM_MANUFACTURER, oid::TPM_MODEL, oid::TPM_VERSION];
/// Certificates between an attesting key and its root, at most.
const CHAIN_MAX: usize = 8;

impl Service {
    /// The bundle of the one statement about the key, from when on it holds, and the record of the attesting key's
    /// certificate where it was made anew.
    ///
    /// # Errors
    /// [`Error::Rejected`] if the statement, or a certificate that it needs, tells more than the key, and if what would
    /// be published does not hold by itself.
    pub(super) fn published_bundle(
        &self,
        key: &CertifiableKey,
    ) -> Result<(AttestationBundle, i64, Option<CertificateRecord>), Error> {
        let submission = key.request();
        let statement = only_statement(submission, key).ok_or_else(|| own_codes::STATEMENT_NOT_ALONE.refusal())?;
        let offered: Vec<&CertView> = submission.certs().iter().filter_map(|choice| choice.certificate()).collect();
        let unreadable = |_| own_codes::STATEMENT_NOT_ALONE.refusal();
        let earliest = self.now().saturating_sub(BACKDATED_SECONDS);
        let (certificates, holds_from, record) = match statement.format() {
            Some(FormatId::TpmCertifyX509) => {
                let made = TpmCertifyX509::parse(statement.stmt()).map_err(unreadable)?.certificate;
                let (certificates, record) = self.attesting_chain(&made, &offered)?;
                (certificates, earliest.max(made.not_before()), record)
            }
            Some(FormatId::Listed(listed)) if listed.row().id == PKIX_EVIDENCE => {
                let content = listed.content(statement.stmt()).map_err(unreadable)?;
                let (beside, holds_from) = evidence_chain(content, &offered)?;
                (beside, earliest.max(holds_from), None)
            }
            Some(
                FormatId::Listed(_)
                | FormatId::TpmCertify
                | FormatId::TpmQuote
                | FormatId::TpmEk
                | FormatId::KeyPop
                | FormatId::Cmw,
            )
            | None => return Err(own_codes::STATEMENT_NOT_ALONE.refusal()),
        };
        let holds_from = certificates.iter().map(CertView::not_before).fold(holds_from, i64::max);
        let bundle = AttestationBundle::new(vec![statement.clone()], certificates)
            .map_err(|_| own_codes::STATEMENT_NOT_ALONE.refusal())?;
        self.check_published(&bundle, key, holds_from)?;
        Ok((bundle, holds_from, record))
    }

    /// Judges what is to be published as a stranger will, for the time that the certificate will name: without the
    /// request, the nonce and the platform.
    fn check_published(&self, bundle: &AttestationBundle, key: &CertifiableKey, at: i64) -> Result<(), Error> {
        let submission = Submission::from_bundle(bundle.clone());
        let trust = self.trust_store();
        let at = Instant::from_unix_seconds(at);
        let request = Request::new(&submission, &trust, &self.policy, at)
            .expected_key(key.spki())
            .verification_cache(&self.signatures);
        let verdict = verify(&request);
        let holds = verdict.authentication_reasons().is_empty()
            && verdict.binding() == Outcome::Accepted
            && verdict.platform().claims.is_empty();
        if holds { Ok(()) } else { Err(own_codes::STATEMENT_NOT_ALONE.refusal()) }
    }

    /// The certificate of the attesting key that made `made`, and those above it. Where it names the module and this
    /// authority issued it, another is made without the names; the certificate and its record.
    fn attesting_chain(
        &self,
        made: &CertView,
        offered: &[&CertView],
    ) -> Result<(Vec<CertView>, Option<CertificateRecord>), Error> {
        let at = self.now();
        let is_valid = |of: &&&CertView| of.not_before() <= at && at <= of.not_after();
        let issued_it = |of: &&&CertView| of.subject().matches(made.issuer()) && signed_by(made, of);
        let issuer = offered.iter().filter(issued_it).filter(is_valid).max_by_key(|of| of.not_after());
        let Some(issuer) = issuer else { return Err(own_codes::STATEMENT_NOT_ALONE.refusal()) };
        if !names_module(issuer) {
            return Ok((with_issuers(issuer, offered)?, None));
        }
        let own = self.hierarchy.attestation_roots().find(|root| signed_by(issuer, root.certificate()));
        let Some(root) = own else { return Err(own_codes::STATEMENT_NAMES_MODULE.refusal()) };
        let (certificate, record) = without_module(root, issuer, at)?;
        Ok((vec![certificate], Some(record)))
    }
}

/// The statement about the key, if there is exactly one and it does not stand in a wrapper.
fn only_statement<'a>(submission: &'a Submission, key: &CertifiableKey) -> Option<&'a AttestationStatement> {
    let mut places: Vec<usize> = key_statements(key.verdict()).collect();
    places.dedup();
    let [place] = places.as_slice() else { return None };
    submission.statements().get(*place)
}

/// The certificates that key-only Evidence needs from beside it: those of its signers and above them that are not inside
/// it. And from when on those inside are valid.
fn evidence_chain(content: &[u8], offered: &[&CertView]) -> Result<(Vec<CertView>, i64), Error> {
    let view = EvidenceView::parse(content).map_err(|_| own_codes::STATEMENT_NOT_ALONE.refusal())?;
    let elements = view.elements();
    let alone = elements.platform.is_none() && elements.ignored.is_empty() && elements.keys.len() == 1;
    if !alone {
        return Err(own_codes::EVIDENCE_NOT_KEY_ONLY.refusal());
    }
    let of_signers = view.signatures().iter().filter_map(|block| block.signer.certificate.as_ref());
    let inside: Vec<&CertView> = view.intermediates().iter().chain(of_signers).collect();
    if inside.iter().any(|of| names_module(of)) {
        return Err(own_codes::STATEMENT_NAMES_MODULE.refusal());
    }
    let keys = view.signatures().iter().filter_map(|block| block.signer.spki.as_ref());
    let by_key = keys.flat_map(|key| offered.iter().filter(move |of| of.spki().same_key(key)));
    let mut beside: Vec<CertView> = Vec::new();
    for certificate in inside.iter().chain(by_key) {
        for needed in with_issuers(certificate, offered)? {
            if !inside.iter().any(|of| **of == needed) && !beside.contains(&needed) {
                beside.push(needed);
            }
        }
    }
    let valid_from = inside.iter().map(|of| of.not_before()).fold(i64::MIN, i64::max);
    Ok((beside, valid_from))
}

fn is_self_issued(certificate: &CertView) -> bool {
    certificate.subject().matches(certificate.issuer())
}

/// The certificate and those that issued it, as far as they were offered, without the root.
fn with_issuers(certificate: &CertView, offered: &[&CertView]) -> Result<Vec<CertView>, Error> {
    if names_module(certificate) {
        return Err(own_codes::STATEMENT_NAMES_MODULE.refusal());
    }
    let mut chain = vec![certificate.clone()];
    while let Some(last) = chain.last().filter(|_| chain.len() < CHAIN_MAX) {
        let issued_it = |of: &&&CertView| last.issuer().matches(of.subject()) && !is_self_issued(of);
        let Some(next) = offered.iter().filter(issued_it).find(|of| signed_by(last, of)) else { break };
        if names_module(next) {
            return Err(own_codes::STATEMENT_NAMES_MODULE.refusal());
        }
        let next = (*next).clone();
        chain.push(next);
    }
    Ok(chain)
}

/// Whether the certificate tells of the module, or may: manufacturer, model and version stand in the alternative name, or
/// in the subject beside a serial number, and makers have extensions of their own.
fn names_module(certificate: &CertView) -> bool {
    let tells_more = certificate.extensions().any(|extension| !PUBLISHABLE.contains(&extension.oid()));
    tells_more || OF_MODULES.iter().any(|told| certificate.subject().attributes(*told).next().is_some())
}

/// The same certificate without the names of the module, under a serial number of its own.
///
/// It is valid up to the time of issue and no longer: whoever checks what was published names a time at which it was, and
/// nobody can hide a module whose model is known for a flaw by presenting it with new evidence, here or elsewhere.
fn without_module(
    root: &CertificationAuthority,
    certificate: &CertView,
    now: i64,
) -> Result<(CertView, CertificateRecord), CertificateError> {
    const ANEW: [oid::Oid; 3] = [oid::SUBJECT_ALT_NAME, oid::SUBJECT_KEY_IDENTIFIER, oid::AUTHORITY_KEY_IDENTIFIER];
    let kept = certificate.extensions().filter(|extension| !ANEW.contains(&extension.oid()));
    let content = SignedContent {
        subject: certificate.subject().clone(),
        spki: certificate.spki(),
        not_before: certificate.not_before().max(now.saturating_sub(BACKDATED_SECONDS)),
        not_after: certificate.not_after().min(now),
        extensions: kept.map(|extension| extension.as_der().to_vec()).collect(),
    };
    let issued = sign_content(&root.issuer(), content)?;
    // On record as one of the key's.
    let record = issued.record_of(certificate.spki());
    Ok((CertView::parse(&issued.der)?, record))
}
