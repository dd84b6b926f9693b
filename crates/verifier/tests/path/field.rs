//! Real chains, read in place from the folder that VOUCHSAFE_FIELD_VECTORS names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use vouchsafe_evidence::pem;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_verifier::Instant;
use vouchsafe_verifier::crypto::SignatureBudget;
use vouchsafe_verifier::path::{ChainProfile, PathError, ValidatedPath, validate_path};
use vouchsafe_verifier::trust::TrustStore;

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
        validate_path(&ak, std::slice::from_ref(&root), trust, profile, at, &mut SignatureBudget::new())
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

/// What becomes of each EK certificate with all CA certificates at hand; those that are self-signed are anchors.
fn ek_outcomes(folder: &Path) -> BTreeMap<String, Result<ValidatedPath, PathError>> {
    let files = |folder: PathBuf| {
        let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "pem"));
        files.sort();
        files
    };
    let authorities: Vec<CertView> = files(folder.join("ca")).iter().map(|path| certificate(path)).collect();
    let (roots, helpers): (Vec<CertView>, Vec<CertView>) =
        authorities.into_iter().partition(|authority| authority.subject().matches(authority.issuer()));
    let trust = store("tpm-ek", &roots.iter().collect::<Vec<_>>());
    let outcome = |path: PathBuf| {
        let ek = certificate(&path);
        // Those whose validity has ended are judged at its beginning: what is of interest is the rest.
        let now = 1_796_000_000;
        let at = Instant::from_unix_seconds(if ek.not_after() < now { ek.not_before() } else { now });
        let result =
            validate_path(&ek, &helpers, trust.format("tpm-ek"), ChainProfile::Ek, at, &mut SignatureBudget::new());
        (path.file_stem().unwrap().to_string_lossy().into_owned(), result)
    };
    files(folder.to_owned()).into_iter().map(outcome).collect()
}

#[test]
fn endorsement_key_chains_of_vendors_validate_or_say_why_not() {
    let Some(folder) = field_vectors() else { return };
    let outcomes: Vec<(String, String)> = ek_outcomes(&folder.join("vendors/tpm-ek"))
        .into_iter()
        .map(|(name, result)| match result {
            Ok(path) => (name, format!("accepted {} {:?}", path.chain().len() + 1, path.deviations())),
            Err(error) => (name, error.code().to_owned()),
        })
        .collect();
    let expected = [
        // Certificates of keys in Google's vTPM that state no purpose, and one of an attesting key.
        ("ek-go-tpm-tools-0dd713", "ek.wrong-purpose"),
        ("ek-go-tpm-tools-2df796", "ek.wrong-purpose"),
        ("ek-go-tpm-tools-9fdd79", "accepted 3 []"),
        ("ek-go-tpm-tools-d2ec0b", "chain.key-usage"),
        ("ek-guard-oss-54dea2", "accepted 2 [Quirk(UnsortedRdnSet)]"),
        ("ek-guard-oss-e54a9d", "accepted 3 [Quirk(NonMinimalKeyUsage)]"),
        // Signed with SHA-1.
        ("ek-hirs-3c5e8e", "chain.weak-algorithm"),
        ("ek-hirs-6de7b2", "chain.weak-algorithm"),
        ("ek-intc-cml-ptt-ecc", "accepted 3 [Quirk(ExplicitDefault)]"),
        ("ek-intel-secl-8e0c90", "accepted 2 [Quirk(UnsortedRdnSet)]"),
        // Their CA certificates are not at hand.
        ("ek-keylime-3a888a", "chain.no-path"),
        ("ek-pupmod-simp-tpm2-4fd2ec", "chain.no-path"),
    ];
    let expected: Vec<(String, String)> =
        expected.iter().map(|(name, outcome)| ((*name).to_owned(), (*outcome).to_owned())).collect();
    assert_eq!(outcomes, expected);
}
