//! Real chains, read in place from the folder that VOUCHSAFE_FIELD_VECTORS names.

use std::fs;
use std::path::{Path, PathBuf};

use vouchsafe_evidence::pem;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_verifier::Instant;
use vouchsafe_verifier::crypto::SignatureBudget;
use vouchsafe_verifier::path::{ChainProfile, validate_path};
use vouchsafe_verifier::trust::TrustStore;

use crate::pki::inputs;

/// The folder of field data, or `None` where this machine has none; the test then says so.
fn field_vectors() -> Option<PathBuf> {
    let named = std::env::var_os("VOUCHSAFE_FIELD_VECTORS").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"));
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no field data at {}", folder.display());
    None
}

fn certificate(path: &Path) -> CertView {
    let contents = fs::read(path).unwrap();
    let blocks = pem::read(&contents).unwrap();
    CertView::parse_padded(blocks[0].contents()).unwrap()
}

fn store(format: &str, anchors: &[&CertView]) -> TrustStore {
    let file = |(index, anchor): (usize, &&CertView)| (format!("{format}/{index}.der"), anchor.as_der().to_vec());
    TrustStore::from_files(anchors.iter().enumerate().map(file)).unwrap()
}

#[test]
fn the_sample_attesting_key_hangs_beneath_its_version_1_root() {
    let Some(folder) = field_vectors() else { return };
    let ak = certificate(&folder.join("ietf/tpm-certify/ak.crt"));
    let root = certificate(&folder.join("ietf/tpm-certify/rootCA.crt"));
    let trust = store("tpm-certify", &[&root]);
    let validate = |profile, at| {
        let at = Instant::from_rfc3339(at).unwrap();
        let trust = trust.format("tpm-certify");
        validate_path(&ak, std::slice::from_ref(&root), trust, inputs(profile, at), &mut SignatureBudget::new())
            .map_err(|error| error.code())
    };
    let path = validate(ChainProfile::AkAttest, "2026-12-01T00:00:00Z").unwrap();
    assert_eq!(path.issuer_key(), root.spki());
    assert_eq!(path.deviations(), []);
    assert_eq!(validate(ChainProfile::AkAttest, "2027-12-01T00:00:00Z").err(), Some("chain.expired"));
    assert_eq!(validate(ChainProfile::AkAttest, "2026-11-01T00:00:00Z").err(), Some("chain.not-yet-valid"));
    assert_eq!(validate(ChainProfile::AkCertifyX509, "2026-12-01T00:00:00Z").err(), Some("ak.wrong-family"));
    assert_eq!(validate(ChainProfile::Ek, "2026-12-01T00:00:00Z").err(), Some("ek.wrong-purpose"));
}
