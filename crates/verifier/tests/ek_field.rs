//! Endorsement key certificates of real modules: each hangs beneath its vendor's root, with its quirks named, or the
//! reason why it does not is named. Read in place from the folder that VOUCHSAFE_FIELD_VECTORS names.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    // Tests read field data; the Verifier itself does not.
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_evidence::x509::extensions::SubjectAltName;
use vouchsafe_evidence::{oid, pem};
use vouchsafe_verifier::Instant;
use vouchsafe_verifier::crypto::{SignatureAlgorithm, SignatureBudget, verify_signature};
use vouchsafe_verifier::enrolment::{AuthenticatedEk, authenticate_ek};
use vouchsafe_verifier::trust::TrustStore;

/// 2026-11-30.
const NOW: i64 = 1_796_000_000;

/// The folder of EK certificates, or `None` where this machine has none; the test then says so.
fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("VOUCHSAFE_FIELD_VECTORS").map(PathBuf::from);
    let root = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"));
    let folder = root.join("vendors/tpm-ek");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no field data at {}", folder.display());
    None
}

fn certificates(folder: &Path) -> BTreeMap<String, CertView> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "pem"))
        .map(|path| {
            let blocks = pem::read(&fs::read(&path).unwrap()).unwrap();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, CertView::parse_padded(blocks[0].contents()).unwrap())
        })
        .collect()
}

/// Marks beside the CA certificates whose names contain a text.
type Marks<'a> = &'a [(&'a str, &'a str)];

/// The vendors' CA certificates: those that issued themselves as anchors, the others as intermediates.
fn trust(folder: &Path, marks: Marks<'_>) -> TrustStore {
    let mut files = Vec::new();
    for (name, authority) in certificates(&folder.join("ca")) {
        let is_root = authority.subject().matches(authority.issuer());
        let stem = if is_root { format!("tpm-ek/{name}") } else { format!("tpm-ek/intermediates/{name}") };
        files.push((format!("{stem}.der"), authority.as_der().to_vec()));
        for (_, text) in marks.iter().filter(|(part, _)| name.contains(part)) {
            files.push((format!("{stem}.toml"), text.as_bytes().to_vec()));
        }
    }
    TrustStore::from_files(files).unwrap()
}

/// Certificates whose validity has ended are judged at its beginning: what is of interest is the rest.
fn time_for(ek: &CertView) -> Instant {
    Instant::from_unix_seconds(if ek.not_after() < NOW { ek.not_before() } else { NOW })
}

fn outcome(ek: &CertView, trust: &TrustStore) -> Result<AuthenticatedEk, &'static str> {
    authenticate_ek(std::slice::from_ref(ek), trust, time_for(ek)).map_err(|rejection| rejection.code())
}

fn described(result: Result<AuthenticatedEk, &'static str>) -> String {
    match result {
        Ok(ek) => {
            let mut labels: Vec<&str> = ek.deviations().iter().map(|deviation| deviation.label()).collect();
            labels.sort_unstable();
            labels.into_iter().fold("accepted".to_owned(), |text, label| format!("{text} {label}"))
        }
        Err(code) => code.to_owned(),
    }
}

const NUVOTON_2010: (&str, &str) = ("CA_2010_O_Nuvoton", "sha1 = \"accept\"");
const STM_02: (&str, &str) = ("STM_TPM_EK_Intermediate_CA_02", "sha1 = \"accept\"");
const GOOGLE: (&str, &str) = ("EK_AK_CA_Intermediate", "missing_ek_purpose = \"accept\"");

/// Each certificate: without marks, and with marks on what else is needed. Keys that vendors are known to have used so
/// are pinned, so that marks change nothing for these.
const EXPECTED: [(&str, &str, &str); 12] = [
    // A virtual module whose certificates state no purpose.
    ("ek-go-tpm-tools-0dd713", "accepted ek-purpose-absent", "accepted ek-purpose-absent"),
    ("ek-go-tpm-tools-2df796", "accepted ek-purpose-absent", "accepted ek-purpose-absent"),
    ("ek-go-tpm-tools-9fdd79", "accepted", "accepted"),
    // The key of this one signs: it is an attesting key beneath the CA for endorsement keys.
    ("ek-go-tpm-tools-d2ec0b", "chain.key-usage", "chain.key-usage"),
    ("ek-guard-oss-54dea2", "accepted unsorted-rdn-set", "accepted unsorted-rdn-set"),
    ("ek-guard-oss-e54a9d", "accepted non-minimal-key-usage", "accepted non-minimal-key-usage"),
    // Signed with SHA-1, for keys that are marked for OAEP alone.
    (
        "ek-hirs-3c5e8e",
        "accepted key-usage-absent oaep-spki sha1-signature unsorted-rdn-set",
        "accepted key-usage-absent oaep-spki sha1-signature unsorted-rdn-set",
    ),
    (
        "ek-hirs-6de7b2",
        "accepted key-usage-absent oaep-spki sha1-signature unsorted-rdn-set",
        "accepted key-usage-absent oaep-spki sha1-signature unsorted-rdn-set",
    ),
    // Beneath an intermediate with critical policies.
    ("ek-intc-cml-ptt-ecc", "accepted explicit-default", "accepted explicit-default"),
    ("ek-intel-secl-8e0c90", "accepted unsorted-rdn-set", "accepted unsorted-rdn-set"),
    // Their CA certificates are not at hand: one is of a software module, one an example.
    ("ek-keylime-3a888a", "chain.no-path", "chain.no-path"),
    ("ek-pupmod-simp-tpm2-4fd2ec", "chain.no-path", "chain.no-path"),
];

#[test]
fn every_certificate_has_its_path_or_its_reason() {
    let Some(folder) = folder() else { return };
    let (plain, marked) = (trust(&folder, &[]), trust(&folder, &[NUVOTON_2010, STM_02, GOOGLE]));
    let found: Vec<(String, String, String)> = certificates(&folder)
        .into_iter()
        .map(|(name, ek)| (name, described(outcome(&ek, &plain)), described(outcome(&ek, &marked))))
        .collect();
    let expected = EXPECTED.map(|(name, plain, marked)| (name.to_owned(), plain.to_owned(), marked.to_owned()));
    assert_eq!(found, expected);
}

/// The certificate as it lies in NV storage: padding behind it changes nothing but what is reported.
#[test]
fn padding_behind_a_certificate_is_told() {
    let Some(folder) = folder() else { return };
    let trust = trust(&folder, &[]);
    let ek = &certificates(&folder)["ek-intc-cml-ptt-ecc"];
    for fill in [0x00, 0xFF] {
        let padded = CertView::parse_padded(&[ek.as_der(), &[fill; 300]].concat()).unwrap();
        assert_eq!(padded.tbs(), ek.tbs());
        assert_eq!(described(outcome(&padded, &trust)), "accepted explicit-default trailing-padding");
    }
    assert!(CertView::parse(&[ek.as_der(), &[0; 300]].concat()).is_err());
}

/// One flipped bit anywhere in what was signed, or in the signature, and the chain no longer holds: the original bytes
/// are what is checked, whatever their encoding.
#[test]
fn quirks_do_not_loosen_signatures() {
    let Some(folder) = folder() else { return };
    let trust = trust(&folder, &[NUVOTON_2010, STM_02, GOOGLE]);
    for (name, ek) in certificates(&folder) {
        if outcome(&ek, &trust).is_err() {
            continue;
        }
        for at in (0..ek.as_der().len()).step_by(17) {
            let mut changed = ek.as_der().to_vec();
            changed[at] ^= 0x04;
            if let Ok(changed) = CertView::parse(&changed) {
                assert!(outcome(&changed, &trust).is_err(), "{name} with octet {at} changed");
            }
        }
    }
}

/// Manufacturer, model and version are found whether they share one RDN or have one each.
#[test]
fn modules_say_what_they_are() {
    let Some(folder) = folder() else { return };
    let trust = trust(&folder, &[NUVOTON_2010, STM_02, GOOGLE]);
    let mut shared_rdn = 0;
    for (name, ek) in certificates(&folder) {
        let Ok(authenticated) = outcome(&ek, &trust) else { continue };
        // Google's newer certificates hold no alternative name at all.
        let expected = if name.ends_with("0dd713") || name.ends_with("2df796") { 0 } else { 3 };
        assert_eq!(authenticated.model().len(), expected, "{name}");
        let value = ek.extension(oid::SUBJECT_ALT_NAME).unwrap().map(|extension| extension.value());
        let names = value.map(|value| SubjectAltName::parse(value).unwrap());
        let widest = names.iter().flat_map(|names| names.directory_names().flat_map(|name| name.rdns()));
        shared_rdn += usize::from(widest.map(|rdn| rdn.attributes().count()).max() == Some(3));
    }
    assert!(shared_rdn > 0);
}

/// Every CA certificate is signed by a CA that is at hand: the vendors' roots by themselves, the rest by them.
#[test]
fn every_ca_certificate_leads_to_a_root() {
    let Some(folder) = folder() else { return };
    let authorities = certificates(&folder.join("ca"));
    let mut not_checked = Vec::new();
    let mut critical_policies = 0;
    for (name, authority) in &authorities {
        let algorithm = SignatureAlgorithm::from_der(authority.outer_algorithm().as_der()).unwrap();
        let policies = authority.extension(oid::CERTIFICATE_POLICIES).unwrap();
        critical_policies += usize::from(policies.is_some_and(|extension| extension.is_critical()));
        let signed = authorities.values().filter(|issuer| issuer.subject().matches(authority.issuer())).any(|issuer| {
            let mut budget = SignatureBudget::new();
            verify_signature(&mut budget, issuer.spki(), algorithm, authority.tbs(), authority.signature()).is_ok()
        });
        if !signed {
            not_checked.push((name.as_str(), algorithm));
        }
    }
    assert_eq!(critical_policies, 4);
    // A root's own signature is nothing that anything rests on; this one is by SHA-1.
    let [(name, SignatureAlgorithm::RsaPkcs1(HashAlg::Sha1))] = not_checked[..] else {
        panic!("{not_checked:?}");
    };
    assert!(name.contains("Nuvoton"), "{name}");
}
