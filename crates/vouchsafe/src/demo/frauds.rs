//! Six frauds. Each is made of bytes that a TPM really signed; each is refused by the Verifier.

use vouchsafe_evidence::bundle::{AttestationBundle, AttestationStatement};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::statement::TpmCertifyX509;
use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, PLAIN_AK_ATTRIBUTES, USER_KEY_ATTRIBUTES};
use vouchsafe_evidence::x509::build::{self, CertificateTemplate, PartialCertificate};
use vouchsafe_evidence::x509::extensions::{BasicConstraints, KeyUsage, subject_key_identifier};
use vouchsafe_evidence::x509::{CertView, NameView};
use vouchsafe_verifier::{TrustStore, Verdict};

use super::line::{Certified, Line, VIRTUAL_ROOT, granted, judge, write_chain};
use super::machine::{Enrolled, LoadedKey, public_from_outside, public_with};
use super::narrator::Narrator;
use super::openssl;
use super::software::{SoftwareKey, algorithm, name};
use crate::authority_client::NoAnswer;
use crate::failure::Failure;
use crate::reasons::Reason;

/// Name of the second machine.
const DEVICE: &str = "device-2";
/// How long forged certificates are valid, in seconds, and how long before now they begin.
const VALIDITY_SECONDS: i64 = 86_400;
const BACKDATED_SECONDS: i64 = 300;
/// A serial number for certificates that no TPM numbers.
const SERIAL: [u8; 8] = [0x4D; 8];

/// Tries all six.
///
/// # Errors
/// [`Failure`] if a fraud cannot be tried, or is not refused.
pub fn try_all(line: &mut Line<'_>, narrator: &mut Narrator, certified: &Certified) -> Result<(), Failure> {
    foreign_evidence(line, narrator)?;
    let key = line.machine.attestation_key(AK_ATTRIBUTES)?;
    let enrolled = granted(line.machine.enroll(&line.authority, DEVICE, &key))?;
    let second = Second { key, enrolled };
    imported_key(line, narrator, &second)?;
    other_machines_quote(line, narrator, &second)?;
    yesterdays_evidence(line, narrator, certified)?;
    hash_ticket(line, narrator)?;
    self_issued_ca(line, narrator, &second)
}

/// The second machine's attestation key, enrolled like the first one's.
struct Second {
    key: LoadedKey,
    enrolled: Enrolled,
}

fn foreign_evidence(line: &mut Line<'_>, narrator: &mut Narrator) -> Result<(), Failure> {
    narrator.step("Fraud 1 of 6: a software key with another key's evidence")?;
    narrator.note(
        "A CSR for a key in memory, signed by it, with fresh and true statements about the key in the first TPM.",
    )?;
    let nonce = line.nonce()?;
    let attested = line.attest(&nonce, true)?;
    let csr = SoftwareKey::generate()?.request(&name("CN=web.example")?, &attested.bundle)?;
    refused_by_authority(line, narrator, &csr, &nonce, &["bind.key-mismatch"])
}

fn imported_key(line: &mut Line<'_>, narrator: &mut Narrator, second: &Second) -> Result<(), Failure> {
    narrator.step("Fraud 2 of 6: a key made outside and imported into a TPM")?;
    narrator.note("Its owner keeps a copy. The second TPM certifies what it holds, and its AK is enrolled.")?;
    let nonce = line.nonce()?;
    let key = SoftwareKey::generate()?;
    let imported = line.machine.import(&key)?;
    let statement = line.machine.certify(&imported, &second.key, &nonce)?;
    line.machine.flush(&imported)?;
    let bundle = bundle(vec![statement], &second.enrolled.attest)?;
    let csr = key.request(&name("CN=web.example")?, &bundle)?;
    refused_by_authority(line, narrator, &csr, &nonce, &["tpm.key-not-generated", "tpm.key-not-fixed"])?;
    narrator.note("The TPM itself says so: sensitiveDataOrigin is clear. An importer could set that bit, but never fixedTPM beside it.")
}

fn other_machines_quote(line: &mut Line<'_>, narrator: &mut Narrator, second: &Second) -> Result<(), Failure> {
    narrator.step("Fraud 3 of 6: the first machine's key beside the quote of the second")?;
    narrator.note("Both TPMs are genuine, both AKs enrolled, both statements true and fresh: so would a broken machine borrow a sound one's health.")?;
    let nonce = line.nonce()?;
    let of_key = line.attest(&nonce, false)?.bundle;
    let quote = line.machine.quote(&second.key, &nonce)?;
    let mut statements = of_key.statements().to_vec();
    statements.push(quote);
    let mut certificates: Vec<CertView> = of_key.certificates().cloned().collect();
    certificates.extend(second.enrolled.attest.iter().cloned());
    let bundle = bundle(statements, &certificates)?;
    let csr = line.request(&bundle)?;
    refused_by_authority(line, narrator, &csr, &nonce, &["bind.unconnected-statement"])
}

fn yesterdays_evidence(line: &mut Line<'_>, narrator: &mut Narrator, certified: &Certified) -> Result<(), Failure> {
    narrator.step("Fraud 4 of 6: yesterday's evidence")?;
    narrator.note(
        "The first CSR again, to the last bit. It was good when it was made; the authority's nonce is another now.",
    )?;
    let nonce = line.nonce()?;
    refused_by_authority(line, narrator, &certified.csr, &nonce, &["nonce.mismatch"])
}

fn hash_ticket(line: &mut Line<'_>, narrator: &mut Narrator) -> Result<(), Failure> {
    narrator.step(
        "Fraud 5 of 6: a certificate for a software key, signed by a restricted AK through TPM2_Hash and TPM2_Sign",
    )?;
    narrator.note("A restricted key without x509sign signs any bytes that do not begin as TPM structures do, a whole certificate among them.")?;
    let nonce = line.nonce()?;
    let plain = line.machine.attestation_key(PLAIN_AK_ATTRIBUTES)?;
    let enrolled = granted(line.machine.enroll(&line.authority, DEVICE, &plain))?;
    let issuer = enrolled.attest.first().ok_or_else(|| Failure::new("the AK has no certificate"))?.clone();
    let key = SoftwareKey::generate()?;
    let template = leaf_template(&key, &issuer, &nonce)?;
    let forged = line.machine.hash_and_sign(&plain, &template)?;
    let csr = key.request(&name("CN=web.example")?, &bundle(vec![x509_statement(&forged, &key)], &enrolled.attest)?)?;
    refused_by_authority(line, narrator, &csr, &nonce, &["ak.wrong-family"])?;

    narrator.note("What if an authority were less careful and gave that AK one CA certificate for everything?")?;
    let root = SoftwareKey::generate()?;
    let (root_certificate, careless) = careless_authority(&root, &issuer, &plain)?;
    let chain = [forged.clone(), careless.clone(), root_certificate.clone()];
    write_chain(line.stage, "ticket.pem", "ticket-chain.pem", &chain)?;
    write_chain(line.stage, "careless-root.pem", "careless-rest.pem", std::slice::from_ref(&root_certificate))?;
    openssl_accepts(
        line,
        narrator,
        &["-x509_strict", "-CAfile", "careless-root.pem", "-untrusted", "ticket-chain.pem", "ticket.pem"],
    )?;
    let trust = trusting(&root_certificate)?;
    let bundle = bundle(vec![x509_statement(&forged, &key)], &[careless, root_certificate])?;
    let verdict = judge(&key.request(&name("CN=web.example")?, &bundle)?, &nonce, &trust, "default")?;
    refused_by_verifier(narrator, "Our Verifier, told to trust that authority,", &verdict, &["ak.wrong-family"])
}

fn self_issued_ca(line: &mut Line<'_>, narrator: &mut Narrator, second: &Second) -> Result<(), Failure> {
    narrator.step("Fraud 6 of 6: a software key beneath a CA certificate that the AK was made to sign")?;
    narrator.note("TPM2_CertifyX509 checks next to nothing: the enrolled AK signs a CA certificate in its own name for a software key, which then certifies anything. Self-issued certificates do not count against a path length.")?;
    let nonce = line.nonce()?;
    let chain = second.enrolled.certify_x509.as_ref().ok_or_else(|| Failure::new("the AK may not certify"))?;
    let ak = chain.first().ok_or_else(|| Failure::new("the AK has no certificate"))?;
    let authority_key = SoftwareKey::generate()?;
    let loaded = line.machine.load_external(&authority_key, public_from_outside(&authority_key))?;
    let partial = ca_partial(&authority_key, ak)?;
    let self_issued = line.machine.certify_x509(&loaded, &second.key, &partial)?;
    line.machine.flush(&loaded)?;
    let key = SoftwareKey::generate()?;
    let forged = authority_key.certify(&leaf_template(&key, &self_issued, &nonce)?)?;

    let mut path = vec![forged.clone(), self_issued];
    path.extend(chain.iter().cloned());
    write_chain(line.stage, "forged.pem", "forged-chain.pem", &path)?;
    openssl_accepts(
        line,
        narrator,
        &["-x509_strict", "-CAfile", VIRTUAL_ROOT, "-untrusted", "forged-chain.pem", "forged.pem"],
    )?;
    let limited = openssl::verify(
        line.stage.folder(),
        &[
            "-verify_depth",
            "1",
            "-x509_strict",
            "-CAfile",
            VIRTUAL_ROOT,
            "-untrusted",
            "forged-chain.pem",
            "forged.pem",
        ],
    )?;
    if limited.accepted {
        return Err(Failure::new("openssl accepts the forged certificate in spite of the depth limit"));
    }
    narrator.note(
        "(With -verify_depth 1 it does not, which is why that limit is in every command for TPM-signed certificates.)",
    )?;
    let bundle = bundle(vec![x509_statement(&forged, &key)], path.get(1..).unwrap_or_default())?;
    let csr = key.request(&name("CN=web.example")?, &bundle)?;
    refused_by_authority(line, narrator, &csr, &nonce, &["ak.wrong-family", "cx509.bad-signature"])
}

fn bundle(statements: Vec<AttestationStatement>, certificates: &[CertView]) -> Result<AttestationBundle, Failure> {
    let mut distinct: Vec<CertView> = Vec::new();
    for certificate in certificates {
        if !distinct.contains(certificate) {
            distinct.push(certificate.clone());
        }
    }
    AttestationBundle::new(statements, distinct)
        .map_err(|defect| Failure::new("the bundle cannot be made").because(defect))
}

/// A forged statement: the certificate, and a public area that lies about the key.
fn x509_statement(certificate: &CertView, key: &SoftwareKey) -> AttestationStatement {
    let lie = public_with(key, USER_KEY_ATTRIBUTES);
    let statement = TpmCertifyX509 { certificate: certificate.clone(), public: Some(lie.as_bytes().to_vec()) };
    AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY_X509, statement.to_der())
}

fn validity() -> Result<(i64, i64), Failure> {
    let now = crate::verify::now()?.unix_seconds();
    Ok((now - BACKDATED_SECONDS, now + VALIDITY_SECONDS))
}

fn key_identifier(certificate: &CertView) -> Vec<u8> {
    certificate
        .extension(oid::SUBJECT_KEY_IDENTIFIER)
        .ok()
        .flatten()
        .and_then(|extension| subject_key_identifier(extension.value()).ok().map(<[u8]>::to_vec))
        .unwrap_or_default()
}

/// What a TPM-made certificate looks like, attributes that only a TPM's own key has included.
fn leaf_template(key: &SoftwareKey, issuer: &CertView, nonce: &[u8]) -> Result<CertificateTemplate, Failure> {
    let (not_before, not_after) = validity()?;
    Ok(CertificateTemplate {
        serial: SERIAL.to_vec(),
        algorithm: algorithm(),
        issuer: issuer.subject().clone(),
        not_before,
        not_after,
        subject: beneath(issuer.subject())?,
        spki: key.spki().clone(),
        extensions: vec![
            build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
            build::tpma_object(false, USER_KEY_ATTRIBUTES),
            build::authority_key_identifier(&key_identifier(issuer)),
            build::nonce(nonce),
        ],
    })
}

/// The issuer's name with one RDN more.
fn beneath(issuer: &NameView) -> Result<NameView, Failure> {
    let own = name("CN=web")?;
    let rdns: Vec<Vec<Vec<u8>>> = issuer
        .rdns()
        .chain(own.rdns())
        .map(|rdn| rdn.attributes().map(|attribute| attribute.as_der().to_vec()).collect())
        .collect();
    build::name_from_attributes(&rdns).map_err(|error| Failure::new("a name cannot be made").because(error))
}

/// A CA certificate in the AK's own name, for a software key, as TPM2_CertifyX509 takes it.
fn ca_partial(key: &SoftwareKey, ak: &CertView) -> Result<PartialCertificate, Failure> {
    let (not_before, not_after) = validity()?;
    Ok(PartialCertificate {
        issuer: ak.subject().clone(),
        not_before,
        not_after,
        subject: ak.subject().clone(),
        extensions: vec![
            build::key_usage(true, KeyUsage::from_bits(KeyUsage::KEY_CERT_SIGN)),
            build::basic_constraints(true, BasicConstraints { ca: true, path_length: None }),
            build::subject_key_identifier(key.spki().sha256().get(..20).unwrap_or_default()),
            build::authority_key_identifier(&key_identifier(ak)),
        ],
    })
}

/// A root, and a CA certificate that it gives to a plain restricted AK under the name of the AK's own certificate.
fn careless_authority(
    root: &SoftwareKey,
    ak_certificate: &CertView,
    ak: &LoadedKey,
) -> Result<(CertView, CertView), Failure> {
    let (not_before, not_after) = validity()?;
    let root_name = name("CN=Careless Attestation Root")?;
    let root_identifier = root.spki().sha256().get(..20).unwrap_or_default().to_vec();
    let template = |subject: &NameView, spki, identifier: &[u8], more: Vec<Vec<u8>>| {
        let mut extensions = vec![
            build::basic_constraints(true, BasicConstraints { ca: true, path_length: None }),
            build::key_usage(true, KeyUsage::from_bits(KeyUsage::KEY_CERT_SIGN | KeyUsage::DIGITAL_SIGNATURE)),
            build::subject_key_identifier(identifier),
            build::authority_key_identifier(&root_identifier),
        ];
        extensions.extend(more);
        CertificateTemplate {
            serial: SERIAL.to_vec(),
            algorithm: algorithm(),
            issuer: root_name.clone(),
            not_before,
            not_after,
            subject: subject.clone(),
            spki,
            extensions,
        }
    };
    let root_certificate = root.certify(&template(&root_name, root.spki().clone(), &root_identifier, Vec::new()))?;
    let family = vec![build::extended_key_usage(false, &[oid::KP_AIK_CERTIFICATE])];
    let careless = template(ak_certificate.subject(), ak.spki()?, &key_identifier(ak_certificate), family);
    Ok((root_certificate, root.certify(&careless)?))
}

/// A trust store with this root for every statement format.
fn trusting(root: &CertView) -> Result<TrustStore, Failure> {
    let formats = ["tpm-certify", "tpm-certify-x509", "tpm-quote"];
    let files = formats.map(|format| (format!("{format}/careless.der"), root.as_der().to_vec()));
    TrustStore::from_files(files).map_err(|error| Failure::new("the trust store cannot be made").because(error))
}

fn openssl_accepts(line: &Line<'_>, narrator: &Narrator, arguments: &[&str]) -> Result<(), Failure> {
    let plain = openssl::verify(line.stage.folder(), arguments)?;
    narrator.command(&plain.command)?;
    if !plain.accepted {
        return Err(Failure::new("plain openssl was expected to accept this").because(plain.says));
    }
    narrator.note(&format!("! openssl: {}. It accepts the forgery.", plain.says))
}

fn refused_by_authority(
    line: &Line<'_>,
    narrator: &Narrator,
    csr: &[u8],
    nonce: &[u8],
    expected: &[&str],
) -> Result<(), Failure> {
    narrator.refused("The authority", &refusal(line.ask(csr, nonce), expected)?)
}

/// Why the authority refused what it had to refuse.
///
/// # Errors
/// [`Failure`] if it did not, or for another reason than these.
pub fn refusal<T>(answer: Result<T, NoAnswer>, expected: &[&str]) -> Result<Vec<Reason>, Failure> {
    match answer {
        Ok(_) => Err(Failure::new("a fraud was certified").next("this must never happen: report it (SECURITY.md)")),
        Err(NoAnswer::Failed(failure)) => Err(failure),
        Err(NoAnswer::Refused(problem)) => check(&problem.violations, expected).map(|()| problem.violations),
    }
}

fn refused_by_verifier(narrator: &Narrator, who: &str, verdict: &Verdict, expected: &[&str]) -> Result<(), Failure> {
    if verdict.is_accepted() {
        return Err(Failure::new("a fraud was accepted").next("this must never happen: report it (SECURITY.md)"));
    }
    let reasons: Vec<Reason> = verdict.reasons().iter().map(Reason::from).collect();
    check(&reasons, expected)?;
    narrator.refused(who, &reasons)
}

/// A fraud must be refused for what it is, not for some mistake in trying it.
///
/// # Errors
/// [`Failure`] if none of the expected codes is there.
pub fn check(found: &[Reason], expected: &[&str]) -> Result<(), Failure> {
    if expected.iter().any(|code| found.iter().any(|reason| reason.code == *code)) {
        return Ok(());
    }
    let codes: Vec<&str> = found.iter().map(|reason| reason.code.as_str()).collect();
    Err(Failure::new("a fraud was refused for another reason than it should").because(format!(
        "{} instead of {}",
        codes.join(", "),
        expected.join(" or ")
    )))
}
