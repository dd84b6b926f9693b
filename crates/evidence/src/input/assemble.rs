//! Putting parts together to one submission.

use super::classify::{Named, Parts, attest_format};
use super::{Form, InputError, Submission, endorsement};
use crate::bundle::{AttestationBundle, AttestationStatement, CertChoice};
use crate::limits;
use crate::oid;
use crate::statement::{FormatId, TpmCertify, TpmCertifyX509, TpmQuote};
use crate::tpm::{Attested, TpmsAttest};
use crate::x509::extensions::ExtendedKeyUsage;
use crate::x509::{CertView, CsrView, PublicKey};

/// Octets of the shortest bare RSA signature.
const RSA_SIGNATURE_OCTETS_MIN: usize = limits::RSA_BITS_MIN / 8;
/// Octets of the longest bare RSA signature.
const RSA_SIGNATURE_OCTETS_MAX: usize = limits::RSA_BITS_MAX / 8;

type Octets = Named<Vec<u8>>;

/// The submission that these parts are.
pub(super) fn assemble(parts: Parts, format: Option<FormatId>) -> Result<Submission, InputError> {
    if !parts.csrs.is_empty() {
        return assemble_request(parts, format);
    }
    if !parts.bundles.is_empty() || !parts.statements.is_empty() {
        return assemble_statements(parts, format);
    }
    let Some(format) = format.or_else(|| infer_format(&parts)) else {
        return assemble_published(parts);
    };
    only_one(&parts.attests, "TPMS_ATTEST")?;
    match format {
        FormatId::TpmCertify => assemble_certify(parts),
        FormatId::TpmQuote => assemble_quote(parts),
        FormatId::TpmCertifyX509 => assemble_certify_x509(parts),
        FormatId::Listed(_) => Err(InputError::NotOfFormat(format)),
        FormatId::TpmEk => assemble_endorsement(parts),
        FormatId::KeyPop | FormatId::Cmw => Err(InputError::UnsupportedFormat(format)),
    }
}

fn ambiguous<A, B>(part: &'static str, first: &Named<A>, second: &Named<B>) -> InputError {
    InputError::Ambiguous { part, first: first.file.clone(), second: second.file.clone() }
}

fn unrecognized<T>(part: &Named<T>) -> InputError {
    InputError::Unrecognized { file: part.file.clone() }
}

/// At most one.
fn only_one<T>(parts: &[Named<T>], what: &'static str) -> Result<(), InputError> {
    match parts {
        [first, second, ..] => Err(ambiguous(what, first, second)),
        [_] | [] => Ok(()),
    }
}

/// None at all: these parts have no place in the form that the others give.
fn none<T>(parts: &[Named<T>]) -> Result<(), InputError> {
    parts.first().map_or(Ok(()), |part| Err(unrecognized(part)))
}

impl Parts {
    fn no_loose_parts(&self) -> Result<(), InputError> {
        none(&self.attests)?;
        none(&self.signatures)?;
        none(&self.publics)?;
        none(&self.opaque)
    }

    fn certificates(&self) -> impl Iterator<Item = (&Named<CertChoice>, &CertView)> {
        self.certs.iter().filter_map(|cert| Some((cert, cert.value.certificate()?)))
    }

    fn into_cert_choices(self) -> Vec<CertChoice> {
        self.certs.into_iter().map(|cert| cert.value).collect()
    }

    /// Lets the certificates of the files join those that a submission has.
    fn join_certs(self, submission: &mut Submission) -> Result<(), InputError> {
        submission.certs.extend(self.into_cert_choices());
        if submission.certs.len() > limits::CERTIFICATES_PARSED {
            return Err(InputError::OverLimit { what: "certificates", limit: limits::CERTIFICATES_PARSED });
        }
        Ok(())
    }

    /// Whether one of the certificates has an RSA key whose signatures have this length.
    fn fits_rsa_key(&self, signature: &Octets) -> bool {
        self.certificates().any(|(_, certificate)| {
            matches!(certificate.spki().key(), PublicKey::Rsa { modulus, .. }
                if modulus.len() == signature.value.len())
        })
    }
}

/// A request on its own.
pub(super) fn request(csr: CsrView, format: Option<FormatId>) -> Result<Submission, InputError> {
    if format.is_some() { Err(InputError::FormatWithCsr) } else { Submission::from_csr(csr) }
}

/// A request, and certificates beside it that join its bundle's.
fn assemble_request(parts: Parts, format: Option<FormatId>) -> Result<Submission, InputError> {
    only_one(&parts.csrs, "certification request")?;
    if format.is_some() {
        return Err(InputError::FormatWithCsr);
    }
    if let (Some(csr), Some(bundle)) = (parts.csrs.first(), parts.bundles.first()) {
        return Err(ambiguous("attestation bundle", csr, bundle));
    }
    if let (Some(csr), Some(statement)) = (parts.csrs.first(), parts.statements.first()) {
        return Err(ambiguous("attestation statement", csr, statement));
    }
    parts.no_loose_parts()?;
    let csr = parts.csrs.first().map(|csr| csr.value.clone()).ok_or(InputError::Empty)?;
    let mut submission = Submission::from_csr(csr)?;
    parts.join_certs(&mut submission)?;
    Ok(submission)
}

/// A bundle, or statements of different types, with certificates beside them.
fn assemble_statements(parts: Parts, format: Option<FormatId>) -> Result<Submission, InputError> {
    only_one(&parts.bundles, "attestation bundle")?;
    if let (Some(bundle), Some(statement)) = (parts.bundles.first(), parts.statements.first()) {
        return Err(ambiguous("attestation statement", bundle, statement));
    }
    for (index, statement) in parts.statements.iter().enumerate() {
        let same = |other: &&Named<AttestationStatement>| other.value.oid() == statement.value.oid();
        if let Some(other) = parts.statements.iter().skip(index.saturating_add(1)).find(same) {
            return Err(ambiguous("attestation statement", statement, other));
        }
    }
    parts.no_loose_parts()?;
    let bundle = match parts.bundles.first() {
        Some(bundle) => bundle.value.clone(),
        None => {
            let statements = parts.statements.iter().map(|statement| statement.value.clone());
            AttestationBundle::new(statements.collect(), Vec::new())?
        }
    };
    let mut submission = Submission::from_bundle(bundle);
    parts.join_certs(&mut submission)?;
    if let Some(format) = format {
        if !submission.statements.iter().any(|statement| statement.format() == Some(format)) {
            return Err(InputError::Incomplete { format, part: "statement" });
        }
        submission.format = Some(format);
    }
    Ok(submission)
}

fn infer_format(parts: &Parts) -> Option<FormatId> {
    match parts.attests.first() {
        Some(attest) => Some(attest_format(&attest.value)),
        // What is published in a certificate may itself hang under an AK certificate with a tcg-tpmaObject.
        None if parts.certificates().any(|(_, certificate)| publishes(certificate)) => None,
        None if parts.certificates().any(|(_, certificate)| is_tpm_made(certificate)) => Some(FormatId::TpmCertifyX509),
        None => {
            let loose = [&parts.signatures, &parts.publics, &parts.opaque].into_iter().all(Vec::is_empty);
            (loose && parts.certificates().any(|(_, certificate)| endorsement::is_endorsement_key(certificate)))
                .then_some(FormatId::TpmEk)
        }
    }
}

/// The certificate of an endorsement key, and others that may stand above it.
fn assemble_endorsement(parts: Parts) -> Result<Submission, InputError> {
    parts.no_loose_parts()?;
    let mut candidates: Vec<(&Named<CertChoice>, &CertView)> =
        parts.certificates().filter(|(_, certificate)| endorsement::is_endorsement_key(certificate)).collect();
    if candidates.is_empty() {
        candidates = parts.certificates().filter(|(_, certificate)| !endorsement::is_authority(certificate)).collect();
    }
    let certificate = match candidates.as_slice() {
        [] => return Err(nothing_to_verify(&parts)),
        [(_, certificate)] => (*certificate).clone(),
        [(first, _), (second, _), ..] => return Err(ambiguous("endorsement key certificate", first, second)),
    };
    Ok(Submission {
        form: Form::EndorsementKey(certificate),
        format: Some(FormatId::TpmEk),
        statements: Vec::new(),
        certs: parts.into_cert_choices(),
    })
}

/// Whether a certificate carries attestation statements in its extension.
fn publishes(certificate: &CertView) -> bool {
    certificate.extensions().any(|extension| extension.oid() == oid::AA_ATTESTATION)
}

/// A certificate that publishes statements about its key (draft-ietf-lamps-csr-attestation-29, 4.3).
fn assemble_published(parts: Parts) -> Result<Submission, InputError> {
    parts.no_loose_parts()?;
    let found: Vec<_> = parts.certificates().filter(|(_, certificate)| publishes(certificate)).collect();
    let (file, certificate) = match found.as_slice() {
        [] => return Err(nothing_to_verify(&parts)),
        [(part, certificate)] => (part.file.clone(), (*certificate).clone()),
        [(first, _), (second, _), ..] => return Err(ambiguous("published statement", first, second)),
    };
    let extension =
        certificate.extension(oid::AA_ATTESTATION).map_err(|malformed| InputError::Malformed { file, malformed })?;
    let bundle = AttestationBundle::parse(extension.map(|e| e.value()).unwrap_or_default())?;
    let mut submission = Submission::from_bundle(bundle);
    submission.form = Form::PublishedCertificate(certificate);
    parts.join_certs(&mut submission)?;
    Ok(submission)
}

/// Why certificates alone, or nothing at all, are no submission.
fn nothing_to_verify(parts: &Parts) -> InputError {
    let broken = parts.certs.iter().find_map(|cert| match &cert.value {
        CertChoice::Unparsed(malformed) => {
            Some(InputError::Malformed { file: cert.file.clone(), malformed: *malformed })
        }
        CertChoice::Certificate(_) | CertChoice::Other { .. } => None,
    });
    broken.or_else(|| parts.certs.first().map(unrecognized)).unwrap_or(InputError::Empty)
}

fn evidence(format: FormatId, oid: oid::Oid, stmt: Vec<u8>, certs: Vec<CertChoice>) -> Submission {
    Submission {
        form: Form::Evidence,
        format: Some(format),
        statements: vec![AttestationStatement::new(oid, stmt)],
        certs,
    }
}

/// Takes TPMS_ATTEST. One without its magic is known only by elimination, when the format was forced:
/// it is what is neither a signature nor of the length that an RSA key's signatures have.
fn take_attest(parts: &mut Parts, format: FormatId) -> Result<Vec<u8>, InputError> {
    if let Some(attest) = parts.attests.pop() {
        return Ok(attest.value);
    }
    let candidates: Vec<usize> = parts
        .opaque
        .iter()
        .enumerate()
        .filter(|(_, part)| !parts.signatures.is_empty() || !parts.fits_rsa_key(part))
        .map(|(index, _)| index)
        .collect();
    match candidates.as_slice() {
        [index] => Ok(parts.opaque.remove(*index).value),
        _ => Err(InputError::Incomplete { format, part: "TPMS_ATTEST" }),
    }
}

fn is_rsa_signature_length(part: &Octets) -> bool {
    (RSA_SIGNATURE_OCTETS_MIN..=RSA_SIGNATURE_OCTETS_MAX).contains(&part.value.len())
}

/// Takes the signature, when every octet string that is left must be one.
fn take_signature(parts: &mut Parts, format: FormatId) -> Result<Vec<u8>, InputError> {
    if let Some(part) = parts.opaque.iter().find(|part| !is_rsa_signature_length(part)) {
        return Err(unrecognized(part));
    }
    parts.signatures.append(&mut parts.opaque);
    only_one(&parts.signatures, "signature")?;
    let signature = parts.signatures.pop();
    signature.map(|part| part.value).ok_or(InputError::Incomplete { format, part: "signature" })
}

fn assemble_certify(mut parts: Parts) -> Result<Submission, InputError> {
    let format = FormatId::TpmCertify;
    only_one(&parts.publics, "TPMT_PUBLIC")?;
    let attest = take_attest(&mut parts, format)?;
    let signature = take_signature(&mut parts, format)?;
    let public = parts.publics.pop().map(|part| part.value);
    let stmt = TpmCertify { attest, signature, public }.to_der();
    Ok(evidence(format, oid::STATEMENT_TPM_CERTIFY, stmt, parts.into_cert_choices()))
}

fn assemble_quote(mut parts: Parts) -> Result<Submission, InputError> {
    let format = FormatId::TpmQuote;
    none(&parts.publics)?;
    let attest = take_attest(&mut parts, format)?;
    let pcr_values = take_pcr_values(&mut parts, &attest)?;
    let signature = take_signature(&mut parts, format)?;
    let stmt = TpmQuote { attest, signature, pcr_values }.to_der();
    Ok(evidence(format, oid::STATEMENT_TPM_QUOTE, stmt, parts.into_cert_choices()))
}

/// Takes the PCR values, if they are there. They have no form of their own and may be as long as a bare
/// signature: what hashes to the quoted digest is they; else what is as long as the selection says and
/// not as long as a signature of a key at hand; else, beside a signature, the one thing that is left.
fn take_pcr_values(parts: &mut Parts, attest: &[u8]) -> Result<Option<Vec<u8>>, InputError> {
    let signatures = parts.signatures.len().saturating_add(parts.opaque.len());
    if signatures < 2 {
        return Ok(None);
    }
    let candidates: Vec<usize> = (0..parts.opaque.len()).collect();
    let select = |test: &dyn Fn(&Octets) -> bool| -> Vec<usize> {
        let passes = |index: &usize| parts.opaque.get(*index).is_some_and(test);
        candidates.iter().copied().filter(passes).collect()
    };
    let quote = TpmsAttest::parse(attest).ok();
    let by_digest = select(&|part| quote.as_ref().is_some_and(|quote| has_quoted_digest(quote, part)));
    let selected = quote.as_ref().and_then(selected_octets);
    let by_length = select(&|part| Some(part.value.len()) == selected && !parts.fits_rsa_key(part));
    let not_signature = select(&|part| !is_rsa_signature_length(part));
    let beside_signature = if parts.signatures.is_empty() { Vec::new() } else { candidates.clone() };
    let found = [by_digest, by_length, not_signature, beside_signature]
        .into_iter()
        .find_map(|found| if let [index] = found.as_slice() { Some(*index) } else { None });
    match (found, parts.opaque.as_slice()) {
        (Some(index), _) => Ok(Some(parts.opaque.remove(index).value)),
        (None, [first, second, ..]) => Err(ambiguous("signature", first, second)),
        (None, [_] | []) => only_one(&parts.signatures, "signature").map(|()| None),
    }
}

fn has_quoted_digest(quote: &TpmsAttest, values: &Octets) -> bool {
    let Attested::Quote { pcr_digest, .. } = quote.attested() else {
        return false;
    };
    quote.quote_hash().is_some_and(|hash| hash.digest(&[&values.value]) == *pcr_digest)
}

/// Octets that the values of all selected PCRs have together.
fn selected_octets(quote: &TpmsAttest) -> Option<usize> {
    let Attested::Quote { selection, .. } = quote.attested() else {
        return None;
    };
    let lengths = selection.registers().map(|(hash, _)| hash.digest_len());
    Some(lengths.fold(0, usize::saturating_add))
}

/// Whether a certificate has what only TPM2_CertifyX509 certificates and their issuers have.
fn is_tpm_made(certificate: &CertView) -> bool {
    certificate.extensions().any(|extension| extension.oid() == oid::TPMA_OBJECT || extension.oid() == oid::NONCE)
}

/// Whether a certificate is an AK certificate of the CertifyX509 family, which has a tcg-tpmaObject too.
fn issues_by_tpm(certificate: &CertView) -> bool {
    certificate
        .extensions()
        .filter(|extension| extension.oid() == oid::EXTENDED_KEY_USAGE)
        .filter_map(|extension| ExtendedKeyUsage::parse(extension.value()).ok())
        .any(|usage| usage.contains(oid::KP_CERTIFY_X509))
}

fn assemble_certify_x509(mut parts: Parts) -> Result<Submission, InputError> {
    let format = FormatId::TpmCertifyX509;
    none(&parts.attests)?;
    none(&parts.signatures)?;
    none(&parts.opaque)?;
    only_one(&parts.publics, "TPMT_PUBLIC")?;
    let index = find_leaf(&parts)?.ok_or(InputError::Incomplete { format, part: "certificate" })?;
    let CertChoice::Certificate(certificate) = parts.certs.remove(index).value else {
        return Err(InputError::Incomplete { format, part: "certificate" });
    };
    let public = parts.publics.pop().map(|part| part.value);
    let stmt = TpmCertifyX509 { certificate, public }.to_der();
    Ok(evidence(format, oid::STATEMENT_TPM_CERTIFY_X509, stmt, parts.into_cert_choices()))
}

/// Which certificate TPM2_CertifyX509 made: the one with a tcg-tpmaObject or a nonce that is no issuer of
/// such certificates; failing that, the one whose issuer is; failing that, the only one.
fn find_leaf(parts: &Parts) -> Result<Option<usize>, InputError> {
    let issuers: Vec<&CertView> =
        parts.certificates().map(|(_, cert)| cert).filter(|cert| issues_by_tpm(cert)).collect();
    let tests: [&dyn Fn(&CertView) -> bool; 4] = [
        &|cert| is_tpm_made(cert) && !issues_by_tpm(cert),
        &|cert| issuers.iter().any(|issuer| *issuer != cert && issuer.subject().matches(cert.issuer())),
        &|cert| is_tpm_made(cert),
        &|_| true,
    ];
    for test in tests {
        let found: Vec<(usize, &Named<CertChoice>)> =
            parts.certs.iter().enumerate().filter(|(_, cert)| cert.value.certificate().is_some_and(test)).collect();
        match found.as_slice() {
            [] => {}
            [(index, _)] => return Ok(Some(*index)),
            [(_, first), (_, second), ..] => return Err(ambiguous("TPM-made certificate", first, second)),
        }
    }
    Ok(None)
}
