//! What no verifier can refuse by itself: whoever has the token's PIN has its attesting key sign what they like.

use std::path::{Path, PathBuf};

use vouchsafe_agent::provider::pkcs11::{PersonalKey, TokenName};
use vouchsafe_agent::provider::{Hash, KeyKind, SignatureScheme};
use vouchsafe_evidence::bundle::{AttestationBundle, AttestationStatement};
use vouchsafe_evidence::emit::{Evidence, Purpose, TbsEvidence};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::{CertView, build};
use vouchsafe_verifier::hex;

use super::{ATTESTING_KEY, Line, PIN_FILE, PROFILE, Request, TOKEN, library};
use crate::authority_client::NoAnswer;
use crate::demo::line::granted;
use crate::demo::narrator::Narrator;
use crate::demo::software::{SoftwareKey, algorithm, name};
use crate::failure::Failure;
use crate::{console, files};

/// What the forger signs, in the folder.
const MESSAGE: &str = "forged.tbs";
/// Octets of r, and of s.
const COORDINATE: usize = 32;

/// Has forged Evidence for a key in memory certified under `lab`.
///
/// # Errors
/// [`Failure`] if it cannot be tried, or is refused.
pub fn under_lab(line: &Line<'_>, narrator: &mut Narrator, honest: &Request) -> Result<(), Failure> {
    narrator.step("A forgery that lab cannot refuse: whoever has the token's PIN")?;
    narrator.note(
        "A key is made in memory. A program that has the PIN, and asks no agent, has the AK in the token sign that this key \
         is local, sensitive and was never extractable.",
    )?;
    granted(ask(line, honest)?)?;
    narrator.note("! The authority issues a certificate under `lab`. It accepts the forgery.")
}

/// Asks for a certificate for a key in memory with Evidence that was forged for it; the authority's answer.
///
/// # Errors
/// [`Failure`] if it cannot be tried.
pub fn ask(line: &Line<'_>, honest: &Request) -> Result<Result<Vec<Vec<u8>>, NoAnswer>, Failure> {
    let key = SoftwareKey::generate()?;
    let nonce = line.nonce()?;
    let csr = key.request(&name("CN=web.example")?, &bundle(line, honest, &key, &nonce)?)?;
    Ok(line.authority.certificate(&csr, &nonce, PROFILE))
}

/// Evidence about `key` that the attesting key signs.
fn bundle(line: &Line<'_>, honest: &Request, key: &SoftwareKey, nonce: &[u8]) -> Result<AttestationBundle, Failure> {
    let certificates: Vec<CertView> = honest.attested.bundle.certificates().cloned().collect();
    let own = certificates.first().ok_or_else(|| Failure::new("the attesting key has no certificate"))?;
    let tbs = TbsEvidence::new()
        .transaction(|claims| claims.nonce(nonce).attestation_key(own.spki().as_der()))
        .key("forged", |claims| {
            let claims = claims.spki(key.spki().as_der()).extractable(false).sensitive(true).never_extractable(true);
            claims.local(true).purposes(&[Purpose::Sign])
        })
        .to_der();
    files::write(&line.stage.folder().join(MESSAGE), &tbs)?;
    // In a process of its own: SoftHSM finds its tokens by its environment.
    let said = line.stage.run(&["vouchsafe", "demo", "--hsm", "--sign-with-pin", MESSAGE])?;
    let signature = hex::decode(said.out.trim()).filter(|octets| said.done && octets.len() == 2 * COORDINATE);
    let signature = signature.ok_or_else(|| Failure::new("the token did not sign").because(said.err.trim()))?;
    let (r, s) = signature.split_at(COORDINATE);
    let signature = build::ecdsa_signature(r, s);
    let evidence = Evidence::new(tbs).signed_by_certificate(own.as_der(), &algorithm(), &signature).to_der();
    let statement = AttestationStatement::new(oid::STATEMENT_PKIX_EVIDENCE, evidence);
    AttestationBundle::new(vec![statement], certificates)
        .map_err(|defect| Failure::new("the bundle cannot be made").because(defect))
}

/// Has the attesting key in the token sign this file, by its library and PIN alone.
///
/// # Errors
/// [`Failure`] if the token refuses.
pub fn sign(file: &Path) -> Result<(), Failure> {
    let here = |name: &str| std::env::current_dir().map_or_else(|_| PathBuf::from(name), |folder| folder.join(name));
    let key = PersonalKey {
        module: PathBuf::from(library()?),
        token: TokenName::Label(TOKEN.to_owned()),
        pin_file: here(PIN_FILE),
        label: format!("vouchsafe attesting key {ATTESTING_KEY}"),
        kind: KeyKind::EcP256,
    };
    let signature = key
        .sign(SignatureScheme::Ecdsa(Hash::Sha256), &files::read_small(file)?)
        .map_err(|fault| Failure::new("the token did not sign").because(fault))?;
    console::out(&format!("{}\n", hex::encode(&signature)))
}
