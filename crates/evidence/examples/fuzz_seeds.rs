//! Seeds for the fuzz targets, from the vectors: every file, and every part inside it, for the target that reads it.
//!
//! ```text
//! cargo run -p vouchsafe-evidence --example fuzz_seeds -- vectors fuzz/corpus
//! ```
//!
//! A seed is named by its SHA-256, so that each is there once. A file that is meant to be malformed goes to the target
//! of what its name says it should be.

#![allow(clippy::disallowed_methods, reason = "this reads and writes files")]

use std::io::Result;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use vouchsafe_evidence::bundle::AttestationBundle;
use vouchsafe_evidence::pem;
use vouchsafe_evidence::statement::{FormatId, Statement};
use vouchsafe_evidence::tpm::{CreationData, HashAlg, TpmsAttest, TpmtPublic, TpmtSignature};
use vouchsafe_evidence::x509::{CertView, CrlView, CsrView};

/// Octets of the largest file that is taken: larger ones make fuzzing slow and show nothing that small ones do not.
const SEED_OCTETS: usize = 64 * 1024;

/// Folders of vectors, and the targets that read what is in them.
const SEEDS_OF_FORMATS: [(&str, &str); 6] = [
    ("ceremony", "ceremony"),
    ("cmw", "cmw"),
    ("pkix-evidence", "pkix_evidence"),
    ("webauthn-tpm", "webauthn_tpm"),
    ("yubihsm2", "yubihsm2"),
    ("yubikey-piv", "yubikey_piv"),
];

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [vectors, corpus] = arguments.as_slice() else {
        eprintln!("usage: fuzz_seeds VECTORS CORPUS");
        return ExitCode::from(2);
    };
    match sow(vectors, &Corpus(corpus)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fuzz_seeds: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The folder that has one folder for each target.
struct Corpus<'a>(&'a Path);

impl Corpus<'_> {
    fn add(&self, target: &str, seed: &[u8]) -> Result<()> {
        let digest = HashAlg::Sha256.digest(&[seed]);
        let name: String = digest.iter().take(10).map(|octet| format!("{octet:02x}")).collect();
        let folder = self.0.join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), seed)
    }
}

fn sow(folder: &Path, corpus: &Corpus<'_>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sow(&path, corpus)?;
            continue;
        }
        let is_text = path.extension().is_some_and(|extension| ["md", "state", "toml"].iter().any(|x| extension == *x));
        let file = std::fs::read(&path)?;
        if is_text || file.len() > SEED_OCTETS {
            continue;
        }
        corpus.add("input", &file)?;
        for (format, target) in SEEDS_OF_FORMATS {
            if path.iter().any(|part| part == format) {
                corpus.add(target, &file)?;
            }
        }
        let blocks = pem::read(&file).unwrap_or_default();
        for block in &blocks {
            sow_part(&path, block.contents(), corpus)?;
        }
        if blocks.is_empty() {
            sow_part(&path, &file, corpus)?;
        }
    }
    Ok(())
}

/// The target of files of this name, whatever is in them.
fn named_target(path: &Path) -> Option<&'static str> {
    match path.file_stem()?.to_str()? {
        "ak" | "ca" | "certificate" | "ek" | "issuer" | "root" => Some("certificate"),
        "attest" => Some("attest"),
        "bundle" => Some("bundle"),
        "list" => Some("revocation_list"),
        "public" => Some("public"),
        "request" => Some("csr"),
        "signature" => Some("signature"),
        _ => None,
    }
}

fn sow_part(path: &Path, part: &[u8], corpus: &Corpus<'_>) -> Result<()> {
    if let Some(target) = named_target(path) {
        corpus.add(target, part)?;
    }
    if CertView::parse(part).is_ok() {
        corpus.add("certificate", part)?;
    }
    if CrlView::parse(part).is_ok() {
        corpus.add("revocation_list", part)?;
    }
    if let Ok(csr) = CsrView::parse(part) {
        corpus.add("csr", part)?;
        for value in csr.attributes().flat_map(|attribute| attribute.values().to_vec()) {
            sow_bundle(value, corpus)?;
        }
    }
    sow_bundle(part, corpus)?;
    sow_tpm_structure(part, corpus)
}

fn sow_bundle(der: &[u8], corpus: &Corpus<'_>) -> Result<()> {
    let Ok(bundle) = AttestationBundle::parse(der) else { return Ok(()) };
    corpus.add("bundle", der)?;
    for certificate in bundle.certificates() {
        corpus.add("certificate", certificate.as_der())?;
    }
    for statement in bundle.statements() {
        let place = FormatId::all().position(|format| statement.format() == Some(format));
        if let Some(selector) = place.and_then(|place| u8::try_from(place).ok()) {
            corpus.add("statement", &[&[selector], statement.stmt()].concat())?;
        }
        let parts = match statement.parse() {
            Ok(Statement::TpmCertify(parts)) => vec![Some(parts.attest), Some(parts.signature), parts.public],
            Ok(Statement::TpmQuote(parts)) => vec![Some(parts.attest), Some(parts.signature)],
            Ok(_) | Err(_) => continue,
        };
        for part in parts.into_iter().flatten() {
            sow_tpm_structure(&part, corpus)?;
        }
    }
    Ok(())
}

fn sow_tpm_structure(part: &[u8], corpus: &Corpus<'_>) -> Result<()> {
    if TpmsAttest::parse(part).is_ok() {
        corpus.add("attest", part)?;
    }
    if CreationData::parse(part).is_ok() {
        corpus.add("creation", part)?;
    }
    if TpmtPublic::parse(part).is_ok() {
        corpus.add("public", part)?;
    }
    if TpmtSignature::parse(part).is_ok() {
        corpus.add("signature", part)?;
    }
    Ok(())
}
