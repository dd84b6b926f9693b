//! The trust store: what it reads and what it refuses.

use vouchsafe_evidence::pem;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_verifier::trust::{TrustDefect, TrustError, TrustStore};

use crate::pki::{Cert, Crl, spki};

fn root(key: u8) -> CertView {
    Cert::root("CN=root", key).build()
}

fn pem_of(certificates: &[&CertView]) -> Vec<u8> {
    certificates.iter().map(|certificate| pem::encode("CERTIFICATE", certificate.as_der())).collect::<String>().into()
}

fn store(files: &[(&str, &[u8])]) -> Result<TrustStore, TrustError> {
    TrustStore::from_files(files.iter().map(|(path, contents)| ((*path).to_owned(), contents.to_vec())))
}

fn sha256_hex(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn every_kind_of_file_has_its_place() {
    let (first, second, third) = (root(1), root(2), root(3));
    let key = pem::encode("PUBLIC KEY", spki(4).as_der());
    let both = pem_of(&[&first, &second]);
    let mark = b"virtual = true\nsource = 'swtpm_localca'\ndate = 2026-11-22\nvouched_by = 'the lab'\n";
    let list = Crl::of("CN=root", 1).der();
    let store = store(&[
        ("README.md", b"ignored"),
        (".git/HEAD", b"ignored"),
        ("tpm-ek/README", b"ignored"),
        ("tpm-ek/.hidden.pem", b"ignored"),
        ("tpm-ek/both.pem", &both),
        ("tpm-ek/both.toml", mark),
        ("tpm-ek/text.crt", &pem_of(&[&third])),
        ("tpm-ek/binary.crt", third.as_der()),
        ("tpm-ek/key.pem", key.as_bytes()),
        ("tpm-ek/key.der", spki(5).as_der()),
        ("tpm-ek/intermediates/ca.pem", &both),
        ("tpm-ek/keys/anything", b"kept"),
        ("tpm-ek/crls/list.crl", &list),
        ("tpm-ek/crls/lists.pem", pem::encode("X509 CRL", &list).repeat(2).as_bytes()),
        ("tpm-quote/root.der", first.as_der()),
    ])
    .unwrap();
    assert_eq!(store.format_ids().collect::<Vec<_>>(), ["tpm-ek", "tpm-quote"]);
    let ek = store.format("tpm-ek");
    let files: Vec<&str> = ek.anchors().iter().map(|anchor| anchor.file()).collect();
    let expected = ["binary.crt", "both.pem", "both.pem", "key.der", "key.pem", "text.crt"];
    assert_eq!(files, expected.map(|file| format!("tpm-ek/{file}")));
    let marked: Vec<&str> =
        ek.anchors().iter().filter(|anchor| anchor.is_virtual()).map(|anchor| anchor.file()).collect();
    assert_eq!(marked, ["tpm-ek/both.pem", "tpm-ek/both.pem"]);
    let noted = ek.anchors()[1].mark();
    assert_eq!(noted.source.as_deref(), Some("swtpm_localca"));
    assert_eq!(noted.date.as_deref(), Some("2026-11-22"));
    assert_eq!(noted.vouched_by.as_deref(), Some("the lab"));
    assert!(ek.anchors()[3].certificate().is_none());
    assert_eq!(ek.anchors()[3].key(), &spki(5));
    assert_eq!(ek.intermediates(), [first, second]);
    assert_eq!(ek.keys()[0].contents, b"kept");
    let lists: Vec<&str> = ek.crls().iter().map(|list| list.path.as_str()).collect();
    assert_eq!(lists, ["tpm-ek/crls/list.crl", "tpm-ek/crls/lists.pem", "tpm-ek/crls/lists.pem"]);
    assert_eq!(ek.crls()[0].list.as_der(), list);
    assert_eq!(store.format("tpm-quote").anchors().len(), 1);
    assert!(store.format("tpm-certify").anchors().is_empty());
}

#[test]
fn whatever_cannot_be_used_is_named() {
    let certificate = root(1);
    let good = pem_of(&[&certificate]);
    let truncated = &certificate.as_der()[..certificate.as_der().len() - 1];
    let private = pem::encode("PRIVATE KEY", &[0x30, 0x00]);
    let key = pem::encode("PUBLIC KEY", spki(4).as_der());
    let mut trailing = certificate.as_der().to_vec();
    trailing.push(0);
    let anchor: (&str, &[u8]) = ("tpm-ek/a.pem", &good);
    let malformed = |error: &TrustError| matches!(error.defect, TrustDefect::Malformed(_));
    let mark = |error: &TrustError| matches!(error.defect, TrustDefect::Mark(_));
    type Expected<'a> = Box<dyn Fn(&TrustError) -> bool + 'a>;
    let is = |defect: TrustDefect| -> Expected<'_> { Box::new(move |error| error.defect == defect) };
    let cases: Vec<(&str, &[u8], Expected<'_>)> = vec![
        ("stray.pem", &good, is(TrustDefect::Misplaced)),
        ("TPM/a.pem", &good, is(TrustDefect::FormatId("TPM".into()))),
        ("tpm-ek/a.txt", &good, is(TrustDefect::UnknownName)),
        ("tpm-ek/anchor", &good, is(TrustDefect::UnknownName)),
        ("tpm-ek/intermediates/a.txt", &good, is(TrustDefect::UnknownName)),
        ("tpm-ek/intermediates/a.toml", b"", is(TrustDefect::MarkOrphan)),
        ("tpm-ek/crls/empty", b"", is(TrustDefect::Empty)),
        ("tpm-ek/crls/a.pem", &good, is(TrustDefect::UnknownLabel("CERTIFICATE".into()))),
        ("tpm-ek/crls/a.crl", certificate.as_der(), Box::new(malformed)),
        ("tpm-ek/crls/a.crl", b"neither PEM nor DER", Box::new(malformed)),
        ("tpm-ek/other/a.pem", &good, is(TrustDefect::UnknownFolder("other".into()))),
        ("tpm-ek/intermediates/deep/a.pem", &good, is(TrustDefect::UnknownFolder("intermediates".into()))),
        ("tpm-ek/b.pem", b"", Box::new(malformed)),
        ("tpm-ek/b.der", b"", is(TrustDefect::Empty)),
        ("tpm-ek/b.pem", certificate.as_der(), Box::new(malformed)),
        ("tpm-ek/b.der", &good, Box::new(malformed)),
        ("tpm-ek/b.der", truncated, Box::new(malformed)),
        ("tpm-ek/b.der", &trailing, Box::new(malformed)),
        ("tpm-ek/b.pem", private.as_bytes(), is(TrustDefect::UnknownLabel("PRIVATE KEY".into()))),
        ("tpm-ek/intermediates/b.pem", key.as_bytes(), is(TrustDefect::NotCertificate)),
        ("tpm-ek/b.toml", b"virtual = true", is(TrustDefect::MarkOrphan)),
        ("tpm-ek/a.toml", b"virtuall = true", Box::new(mark)),
        ("tpm-ek/a.toml", b"virtual = 1", Box::new(mark)),
        ("tpm-ek/a.toml", b"\xFF", Box::new(mark)),
        ("tpm-ek/a.toml", b"sha256 = '12'", Box::new(mark)),
        (
            "tpm-ek/a.toml",
            b"sha256 = '0000000000000000000000000000000000000000000000000000000000000000'",
            is(TrustDefect::MarkDigest),
        ),
    ];
    for (index, (path, contents, expected)) in cases.iter().enumerate() {
        let error = store(&[anchor, (path, contents)]).unwrap_err();
        assert_eq!(error.file, *path, "case {index}: {error}");
        assert!(expected(&error), "case {index}: {error}");
        assert!(error.to_string().contains(path));
    }
    assert!(store(&[anchor]).is_ok());
}

#[test]
fn a_mark_beside_an_intermediate_says_nothing_about_virtual_modules() {
    let file = pem_of(&[&root(1)]);
    let with =
        |mark: &str| store(&[("tpm-ek/intermediates/a.pem", &file), ("tpm-ek/intermediates/a.toml", mark.as_bytes())]);
    let store = with("sha1 = 'accept'\nsource = 'the vendor'").unwrap();
    assert!(store.format("tpm-ek").allowances(&spki(1)).sha1);
    assert!(!store.format("tpm-ek").allowances(&spki(1)).missing_ek_purpose);
    assert!(!store.format("tpm-ek").allowances(&spki(2)).sha1);
    assert!(!store.format("tpm-certify").allowances(&spki(1)).sha1);
    assert_eq!(with("virtual = true").unwrap_err().defect, TrustDefect::MarkOfAnchor);
    assert!(matches!(with("sha1 = 'yes'").unwrap_err().defect, TrustDefect::Mark(_)));
    assert!(!with("sha1 = 'reject'").unwrap().format("tpm-ek").allowances(&spki(1)).sha1);
}

#[test]
fn a_mark_beside_a_key_holds_for_that_key_alone() {
    let key = pem::encode("PUBLIC KEY", spki(4).as_der());
    let with = |mark: &str| {
        store(&[
            ("pkix-evidence/keys/a.pem", key.as_bytes()),
            ("pkix-evidence/keys/b", key.as_bytes()),
            ("pkix-evidence/keys/a.toml", mark.as_bytes()),
        ])
    };
    let store_of = with("virtual = true\nsource = 'the vendor'").unwrap();
    let marked: Vec<(&str, bool)> =
        store_of.format("pkix-evidence").keys().iter().map(|file| (file.path.as_str(), file.mark.is_virtual)).collect();
    assert_eq!(marked, [("pkix-evidence/keys/a.pem", true), ("pkix-evidence/keys/b", false)]);
    for meaningless in ["own_signer = true", "sha1 = 'accept'", "reissued = 'accept'"] {
        assert_eq!(with(meaningless).unwrap_err().defect, TrustDefect::MarkOfIssuer, "{meaningless}");
    }
    assert!(matches!(with("virtuall = true").unwrap_err().defect, TrustDefect::Mark(_)));
    let wrong = with(&format!("sha256 = '{}'", "00".repeat(32))).unwrap_err();
    assert_eq!((wrong.file.as_str(), wrong.defect), ("pkix-evidence/keys/a.toml", TrustDefect::MarkDigest));
    for digest in [sha256_hex(key.as_bytes()), sha256_hex(spki(4).as_der())] {
        assert!(with(&format!("sha256 = '{digest}'")).is_ok());
    }
    let orphan =
        store(&[("pkix-evidence/keys/a.pem", key.as_bytes()), ("pkix-evidence/keys/c.toml", b"virtual = true")]);
    assert_eq!(orphan.unwrap_err().defect, TrustDefect::MarkOrphan);
}

#[test]
fn a_mark_may_pin_the_anchor_by_file_or_by_der() {
    let certificate = root(1);
    let file = pem_of(&[&certificate]);
    let colons = |hex: String| {
        hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap().to_owned()).collect::<Vec<_>>().join(":")
    };
    for digest in [sha256_hex(&file), sha256_hex(certificate.as_der()), colons(sha256_hex(&file).to_uppercase())] {
        let mark = format!("sha256 = '{digest}'");
        let store = store(&[("tpm-ek/a.pem", &file), ("tpm-ek/a.toml", mark.as_bytes())]).unwrap();
        assert!(store.format("tpm-ek").anchors()[0].mark().sha256.is_some());
    }
}

#[test]
fn the_version_tells_stores_apart_whatever_the_order_of_their_files() {
    let (first, second) = (root(1), root(2));
    let version = |files: &[(&str, &[u8])]| store(files).unwrap().version();
    let a: (&str, &[u8]) = ("tpm-ek/a.der", first.as_der());
    let b: (&str, &[u8]) = ("tpm-ek/b.der", second.as_der());
    let one = version(&[a, b]);
    assert_eq!(one, version(&[b, a]));
    assert_eq!(one, version(&[a, b, ("README", b"text")]));
    assert_ne!(one, version(&[a]));
    assert_ne!(one, version(&[("tpm-ek/a.der", second.as_der()), ("tpm-ek/b.der", first.as_der())]));
    assert_ne!(one, version(&[a, b, ("tpm-ek/a.toml", b"")]));
}
