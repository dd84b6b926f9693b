//! Every AK certificate against the list of what it holds.

use std::process::Command;

use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::tpm::template::AK_ATTRIBUTES;
use vouchsafe_evidence::x509::extensions::{
    AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies, ExtendedKeyUsage, GeneralName, KeyUsage,
    NameConstraints, SubjectAltName, ak_name, subject_key_identifier, tpma_object,
};
use vouchsafe_evidence::x509::{CertView, build};

use crate::module::{Module, SoftwareKey, pem, sign_certificate};
use crate::site::{ALICE, NOW, Site, chain};

fn value(certificate: &CertView, oid: Oid, critical: bool) -> Vec<u8> {
    let extension = certificate.extension(oid).unwrap().unwrap_or_else(|| panic!("{oid}"));
    assert_eq!(extension.is_critical(), critical, "{oid}");
    extension.value().to_vec()
}

fn oids(certificate: &CertView) -> Vec<Oid> {
    certificate.extensions().map(|extension| extension.oid()).collect()
}

/// What both families have in common.
fn check_common(certificate: &CertView, root: &CertView, module: &Module) {
    assert!(certificate.is_strict_der());
    assert_eq!(certificate.serial().len(), 20);
    assert_eq!((certificate.not_before(), certificate.not_after()), (NOW - 300, NOW + 90 * 86_400));
    assert_eq!(certificate.issuer(), root.subject());
    let subject: Vec<_> = certificate.subject().rdns().collect();
    assert_eq!(subject.len(), 1);
    let name = certificate.subject().attributes(oid::COMMON_NAME).next().unwrap().text().unwrap();
    assert!(name.starts_with("ak-") && name.len() == 3 + 32, "{name}");
    assert!(certificate.spki().same_key(&module.ak.spki()));
    let policies = CertificatePolicies::parse(&value(certificate, oid::CERTIFICATE_POLICIES, false)).unwrap();
    assert_eq!(policies.policies(), [oid::BOOTSTRAP_MANUFACTURER, oid::ENVIRONMENT_MODULE]);
    assert_eq!(ak_name(&value(certificate, oid::AK_NAME, false)).unwrap(), module.ak_name());
    let names = SubjectAltName::parse(&value(certificate, oid::SUBJECT_ALT_NAME, false)).unwrap();
    assert_eq!(names.names().len(), 1);
    for (attribute, expected) in
        [(oid::TPM_MANUFACTURER, "id:54455354"), (oid::TPM_MODEL, "Software"), (oid::TPM_VERSION, "id:00010000")]
    {
        assert_eq!(names.tpm_attribute(attribute).unwrap().as_deref(), Some(expected));
    }
    let own = value(certificate, oid::SUBJECT_KEY_IDENTIFIER, false);
    assert_eq!(subject_key_identifier(&own).unwrap(), &certificate.spki().sha256()[..20]);
    let authority = AuthorityKeyIdentifier::parse(&value(certificate, oid::AUTHORITY_KEY_IDENTIFIER, false)).unwrap();
    let root_identifier = value(root, oid::SUBJECT_KEY_IDENTIFIER, false);
    assert_eq!(authority.key_identifier(), Some(subject_key_identifier(&root_identifier).unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_family_holds_its_list_and_nothing_else() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    let certificates = site.enroll(ALICE, &module, "device").await["certificates"].clone();
    let [attest, certify] = ["attest", "certify_x509"].map(|family| chain(&certificates[family]));
    let parse = |der: &Vec<u8>| CertView::parse(der).unwrap();
    let root = parse(&attest[1]);
    let (attest, certify) = (parse(&attest[0]), parse(&certify[0]));
    check_common(&attest, &root, &module);
    check_common(&certify, &root, &module);
    assert_ne!(attest.subject(), certify.subject());
    assert_ne!(attest.serial(), certify.serial());

    let constraints =
        |certificate: &CertView| BasicConstraints::parse(&value(certificate, oid::BASIC_CONSTRAINTS, true)).unwrap();
    assert_eq!(constraints(&attest), BasicConstraints { ca: false, path_length: None });
    assert_eq!(constraints(&certify), BasicConstraints { ca: true, path_length: Some(0) });
    let usage = |certificate: &CertView| KeyUsage::parse(&value(certificate, oid::KEY_USAGE, true)).unwrap().bits();
    assert_eq!((usage(&attest), usage(&certify)), (KeyUsage::DIGITAL_SIGNATURE, KeyUsage::KEY_CERT_SIGN));
    let purposes = |certificate: &CertView, critical| {
        ExtendedKeyUsage::parse(&value(certificate, oid::EXTENDED_KEY_USAGE, critical)).unwrap().purposes().to_vec()
    };
    assert_eq!(purposes(&attest, false), [oid::KP_AIK_CERTIFICATE]);
    assert_eq!(purposes(&certify, true), [oid::KP_CERTIFY_X509]);

    assert_eq!(tpma_object(&value(&certify, oid::TPMA_OBJECT, false)).unwrap(), AK_ATTRIBUTES);
    let names = NameConstraints::parse(&value(&certify, oid::NAME_CONSTRAINTS, true)).unwrap();
    let nowhere = b"none.invalid".to_vec();
    assert_eq!(
        names.permitted,
        [
            GeneralName::Directory(certify.subject().clone()),
            GeneralName::Email(nowhere.clone()),
            GeneralName::Uri(nowhere)
        ]
    );
    assert_eq!(names.excluded, [GeneralName::Dns(vec![]), GeneralName::Ip(vec![0; 8]), GeneralName::Ip(vec![0; 32])]);

    let common = [
        oid::CERTIFICATE_POLICIES,
        oid::AK_NAME,
        oid::SUBJECT_ALT_NAME,
        oid::SUBJECT_KEY_IDENTIFIER,
        oid::AUTHORITY_KEY_IDENTIFIER,
    ];
    let first = [oid::BASIC_CONSTRAINTS, oid::KEY_USAGE, oid::EXTENDED_KEY_USAGE];
    assert_eq!(oids(&attest), [&first[..], &common].concat());
    assert_eq!(oids(&certify), [&first[..], &[oid::TPMA_OBJECT, oid::NAME_CONSTRAINTS], &common].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_builds_the_path_of_both() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    let certificates = site.enroll(ALICE, &module, "device").await["certificates"].clone();
    for family in ["attest", "certify_x509"] {
        let chain = chain(&certificates[family]);
        let [leaf, root] = ["leaf", "root"].map(|name| site.dir.path().join(format!("{family}-{name}.pem")));
        std::fs::write(&leaf, pem(&chain[0])).unwrap();
        std::fs::write(&root, pem(&chain[1])).unwrap();
        let output = Command::new("openssl")
            .args(["verify", "-x509_strict", "-attime", &NOW.to_string(), "-CAfile"])
            .args([&root, &leaf])
            .output()
            .unwrap();
        // The private critical extKeyUsage is no obstacle to openssl; nothing else may be either.
        assert!(output.status.success(), "{family}: {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn software_modules_hang_under_a_root_of_their_own() {
    let mut site = Site::start().await;
    let chip = Module::new(&site.vendor, NOW);
    let before = chain(&site.enroll(ALICE, &chip, "chip").await["certificates"]["attest"]);
    std::fs::write(site.state().join("trust/tpm-ek/vendor.toml"), "virtual = true\n").unwrap();
    site.running.as_ref().unwrap().reload_trust().unwrap();
    let software = Module::new(&site.vendor, NOW);
    let after = chain(&site.enroll(ALICE, &software, "software").await["certificates"]["attest"]);
    assert_ne!(before[1], after[1]);
    let name = |der: &[u8]| CertView::parse(der).unwrap().subject().to_display();
    assert_eq!(name(&before[1]), "CN=Vouchsafe Attestation Root");
    assert_eq!(name(&after[1]), "CN=Vouchsafe Attestation Root (virtual modules)");
    site.restart().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_trust_folder_leaves_the_last_good_store_in_force() {
    let site = Site::start().await;
    let file = site.state().join("trust/tpm-ek/broken.pem");
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let running = site.running.as_ref().unwrap();
    assert!(running.reload_trust().is_err());
    site.enroll(ALICE, &Module::new(&site.vendor, NOW), "device").await;
    // A root that is taken away is gone with the next good reload.
    std::fs::remove_file(&file).unwrap();
    std::fs::remove_file(site.state().join("trust/tpm-ek/vendor.pem")).unwrap();
    running.reload_trust().unwrap();
    let reply = site.challenge(ALICE, &Module::new(&site.vendor, NOW), "other").await;
    assert_eq!(reply.codes(), ["trust.no-anchor"]);
}

/// What the key of a CertifyX509 certificate may name, in the eyes of a relying party that knows no TPM.
#[tokio::test(flavor = "multi_thread")]
async fn openssl_lets_a_module_name_its_own_keys_alone() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    let certificates = site.enroll(ALICE, &module, "device").await["certificates"].clone();
    let ak_chain = chain(&certificates["certify_x509"]);
    let ak = CertView::parse(&ak_chain[0]).unwrap();
    let own_name = ak.subject().attributes(oid::COMMON_NAME).next().unwrap().text().unwrap();
    let beneath =
        build::distinguished_name(&[(oid::COMMON_NAME, own_name.as_str()), (oid::COMMON_NAME, "key")]).unwrap();
    let elsewhere = build::distinguished_name(&[(oid::COMMON_NAME, "key")]).unwrap();
    let with_san = |names: Vec<GeneralName>| (beneath.clone(), Some(build::subject_alt_name(false, &names)));
    let cases = [
        ("beneath", (beneath.clone(), None), true),
        ("elsewhere", (elsewhere, None), false),
        ("dns", with_san(vec![GeneralName::Dns(b"example.com".to_vec())]), false),
        ("ipv4", with_san(vec![GeneralName::Ip(vec![192, 0, 2, 1])]), false),
        ("email", with_san(vec![GeneralName::Email(b"a@example.com".to_vec())]), false),
        ("uri", with_san(vec![GeneralName::Uri(b"https://example.com/".to_vec())]), false),
        ("urn", with_san(vec![GeneralName::Uri(b"urn:example:a".to_vec())]), false),
        ("ipv6", with_san(vec![GeneralName::Ip(vec![0x20; 16])]), false),
    ];
    let write = |name: &str, der: &[u8]| {
        let path = site.dir.path().join(name);
        std::fs::write(&path, pem(der)).unwrap();
        path
    };
    let (ak_file, root_file) = (write("ak.pem", &ak_chain[0]), write("root.pem", &ak_chain[1]));
    for (label, (subject, san), accepted) in cases {
        let identifier = value(&ak, oid::SUBJECT_KEY_IDENTIFIER, false);
        let mut extensions = vec![
            build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
            build::subject_key_identifier(&[1; 20]),
            build::authority_key_identifier(subject_key_identifier(&identifier).unwrap()),
        ];
        extensions.extend(san);
        let key = SoftwareKey::generate();
        let leaf = sign_certificate((ak.subject(), &module.ak), subject, key.spki(), NOW, extensions);
        let output = Command::new("openssl")
            .args(["verify", "-x509_strict", "-verify_depth", "1", "-attime", &NOW.to_string(), "-CAfile"])
            .arg(&root_file)
            .arg("-untrusted")
            .args([&ak_file, &write("leaf.pem", &leaf)])
            .output()
            .unwrap();
        assert_eq!(output.status.success(), accepted, "{label}: {output:?}");
    }
}
