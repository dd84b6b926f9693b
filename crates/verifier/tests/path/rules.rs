//! Each code with a chain that earns it beside its accepted twin.

use std::collections::BTreeSet;

use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::build::{self, DerWriter};
use vouchsafe_evidence::x509::der::Tag;
use vouchsafe_evidence::x509::extensions::{GeneralName, KeyUsage};
use vouchsafe_evidence::x509::{CertView, SpkiView};
use vouchsafe_verifier::Instant;
use vouchsafe_verifier::crypto::SignatureBudget;
use vouchsafe_verifier::path::{ChainProfile, PathError, validate_path};
use vouchsafe_verifier::trust::TrustStore;

use crate::pki::{Cert, FORMAT, NOW, code, code_as, inputs, name, spki, trust, validate};

const ROOT: &str = "CN=root";
const CA: &str = "CN=ca";
const AK: &str = "CN=ak";
const PRIVATE_EXTENSION: &str = "1.3.6.1.4.1.32473.9.9";

fn root() -> Cert {
    Cert::root(ROOT, 1)
}

fn ca() -> Cert {
    Cert::ca(CA, 2, ROOT, 1)
}

fn ak() -> Cert {
    Cert::ak(AK, 3, CA, 2)
}

/// The code of root, CA and AK, each as given.
fn chain(root: &Cert, ca: &Cert, ak: &Cert) -> &'static str {
    code(&ak.build(), &[ca.build()], &root.build())
}

fn unknown(critical: bool) -> Vec<u8> {
    build::extension(Oid::from_dotted(PRIVATE_EXTENSION).unwrap(), critical, &[0x05, 0x00])
}

fn dns(text: &str) -> GeneralName {
    GeneralName::Dns(text.into())
}

fn constraints(permitted: &str) -> Vec<u8> {
    build::name_constraints(true, &[GeneralName::Directory(name(permitted))], &[dns("")])
}

/// basicConstraints with the default FALSE of cA in full.
fn flag_written_out() -> Vec<u8> {
    build::extension(oid::BASIC_CONSTRAINTS, true, &[0x30, 0x03, 0x01, 0x01, 0x00])
}

fn ecdsa(oid: Oid) -> Vec<u8> {
    build::algorithm_identifier(oid)
}

fn rsa(bits: usize, exponent: &[u8]) -> SpkiView {
    let mut modulus = vec![0xFF; bits / 8];
    modulus[0] = 0x80;
    SpkiView::from_rsa(&modulus, exponent).unwrap()
}

fn require_explicit_policy() -> Vec<u8> {
    let mut writer = DerWriter::new();
    writer.sequence(|fields| {
        fields.primitive(Tag::context(0), &[0]);
    });
    build::extension(oid::POLICY_CONSTRAINTS, true, &writer.into_der())
}

fn policy(policy: Oid) -> Vec<u8> {
    build::certificate_policies(false, &[policy])
}

/// Chains of `count` CAs beneath the root, topmost first, the AK beneath the last.
fn long_chain(count: u8) -> (Vec<CertView>, CertView) {
    let subject = |index: u8| if index == 0 { ROOT.to_owned() } else { format!("CN=ca {index}") };
    let cas = (0..count).map(|index| {
        Cert::ca(&subject(index + 1), 10 + index + 1, &subject(index), if index == 0 { 1 } else { 10 + index })
    });
    let issuer_key = if count == 0 { 1 } else { 10 + count };
    (cas.map(|ca| ca.build()).collect(), Cert::ak(AK, 3, &subject(count), issuer_key).build())
}

#[test]
fn a_plain_chain_is_accepted() {
    let (root, ca, ak) = (root().build(), ca().build(), ak().build());
    let path = validate(&ak, &[root.clone(), ca.clone()], &trust(&[&root]), ChainProfile::AkAttest).unwrap();
    assert_eq!(path.leaf(), &ak);
    assert_eq!(path.chain(), [ak, ca.clone()]);
    assert_eq!(path.issuer_key(), ca.spki());
    assert_eq!(path.anchor().certificate(), Some(&root));
    assert_eq!(path.profile(), ChainProfile::AkAttest);
    assert_eq!(path.deviations(), []);
    assert!(!path.anchor().is_virtual());
}

#[test]
fn every_defect_of_one_certificate_has_its_code() {
    let (root, ca, ak) = (root(), ca(), ak());
    let sha1 = ecdsa(oid::ECDSA_WITH_SHA1);
    let sha256 = ecdsa(oid::ECDSA_WITH_SHA256);
    let null = build::algorithm_identifier_null(oid::ECDSA_WITH_SHA256);
    let unsigned_usage = KeyUsage::CRL_SIGN;
    let malformed = build::extension(oid::EXTENDED_KEY_USAGE, false, &[0x30, 0x00]);
    let in_example = || Cert::ak("CN=ak,O=Example", 3, CA, 2);
    let cases: Vec<(&str, Cert, Cert, Cert)> = vec![
        ("accepted", root.clone(), ca.clone(), ak.clone()),
        ("chain.expired", root.clone(), ca.clone(), ak.clone().validity(NOW - 2, NOW - 1)),
        ("accepted", root.clone(), ca.clone(), ak.clone().validity(NOW - 2, NOW)),
        ("chain.expired", root.clone(), ca.clone().validity(NOW - 2, NOW - 1), ak.clone()),
        ("chain.expired", root.clone().validity(NOW - 2, NOW - 1), ca.clone(), ak.clone()),
        ("chain.not-yet-valid", root.clone(), ca.clone(), ak.clone().validity(NOW + 1, NOW + 2)),
        ("accepted", root.clone(), ca.clone(), ak.clone().validity(NOW, NOW + 2)),
        ("chain.not-yet-valid", root.clone(), ca.clone().validity(NOW + 1, NOW + 2), ak.clone()),
        ("chain.bad-signature", root.clone(), ca.clone(), ak.clone().tampered()),
        ("chain.bad-signature", root.clone(), ca.clone().tampered(), ak.clone()),
        ("chain.bad-signature", root.clone(), ca.clone(), Cert::ak(AK, 3, CA, 9)),
        ("chain.no-path", root.clone(), ca.clone(), Cert::ak(AK, 3, "CN=other", 2)),
        ("chain.no-path", Cert::root("CN=other", 1), ca.clone(), ak.clone()),
        ("accepted", root.clone(), ca.clone(), Cert::ak(AK, 3, "CN=  CA ", 2)),
        ("chain.not-a-ca", root.clone(), ca.clone().basic_constraints(false, None), ak.clone()),
        ("chain.not-a-ca", root.clone(), ca.clone().without(oid::BASIC_CONSTRAINTS), ak.clone()),
        ("chain.not-a-ca", root.clone().basic_constraints(false, None), ca.clone(), ak.clone()),
        ("accepted", root.clone().without(oid::BASIC_CONSTRAINTS), ca.clone(), ak.clone()),
        ("chain.not-a-ca", root.clone(), Cert::ca("", 2, ROOT, 1), Cert::ak(AK, 3, "", 2)),
        ("chain.key-usage", root.clone(), ca.clone().key_usage(unsigned_usage), ak.clone()),
        ("chain.key-usage", root.clone().key_usage(unsigned_usage), ca.clone(), ak.clone()),
        ("accepted", root.clone(), ca.clone().without(oid::KEY_USAGE), ak.clone()),
        ("accepted", root.clone(), ca.clone(), ak.clone().without(oid::KEY_USAGE)),
        ("chain.key-usage", root.clone(), ca.clone(), ak.clone().key_usage(KeyUsage::NON_REPUDIATION)),
        (
            "chain.key-usage",
            root.clone(),
            ca.clone(),
            ak.clone().key_usage(KeyUsage::DIGITAL_SIGNATURE | KeyUsage::KEY_CERT_SIGN),
        ),
        (
            "accepted",
            root.clone(),
            ca.clone(),
            ak.clone().key_usage(KeyUsage::DIGITAL_SIGNATURE | KeyUsage::NON_REPUDIATION),
        ),
        ("chain.path-length", root.clone().basic_constraints(true, Some(0)), ca.clone(), ak.clone()),
        ("accepted", root.clone().basic_constraints(true, Some(1)), ca.clone(), ak.clone()),
        ("accepted", root.clone(), ca.clone().basic_constraints(true, Some(0)), ak.clone()),
        ("chain.unknown-critical", root.clone(), ca.clone(), ak.clone().with(unknown(true))),
        ("chain.unknown-critical", root.clone(), ca.clone().with(unknown(true)), ak.clone()),
        ("accepted", root.clone(), ca.clone().with(unknown(false)), ak.clone().with(unknown(false))),
        ("chain.duplicate-extension", root.clone(), ca.clone(), ak.clone().with(unknown(false)).with(unknown(false))),
        ("chain.duplicate-extension", root.clone(), ca.clone().with(unknown(false)).with(unknown(false)), ak.clone()),
        ("chain.malformed-extension", root.clone(), ca.clone().with(malformed.clone()), ak.clone()),
        (
            "chain.malformed-extension",
            root.clone(),
            ca.clone(),
            ak.clone().without(oid::EXTENDED_KEY_USAGE).with(malformed),
        ),
        ("chain.not-der", root.clone(), ca.clone(), ak.clone().serial(&[0])),
        ("chain.not-der", root.clone(), ca.clone().serial(&[0]), ak.clone()),
        ("accepted", root.clone().serial(&[0]), ca.clone().serial(&[9]), ak.clone().serial(&[9])),
        ("accepted", root.clone(), ca.clone(), ak.clone().with(flag_written_out())),
        ("accepted", root.clone(), ca.clone(), ak.clone().basic_constraints(false, None)),
        ("chain.is-a-ca", root.clone(), ca.clone(), ak.clone().basic_constraints(true, None)),
        ("chain.algorithm-mismatch", root.clone(), ca.clone(), ak.clone().algorithms(sha1.clone(), sha256.clone())),
        ("chain.algorithm-mismatch", root.clone(), ca.clone(), ak.clone().algorithms(sha256.clone(), sha1.clone())),
        ("chain.weak-algorithm", root.clone(), ca.clone(), ak.clone().algorithms(sha1.clone(), sha1.clone())),
        ("chain.weak-algorithm", root.clone(), ca.clone(), ak.clone().algorithms(null.clone(), null)),
        ("accepted", root.clone(), ca.clone(), ak.clone().algorithms(sha256.clone(), sha256)),
        ("chain.bad-signature", root.clone(), ca.clone().subject_spki(rsa(2048, &[1, 0, 1])), ak.clone()),
        ("chain.name-constraints", root.clone(), ca.clone().with(constraints("O=Example")), ak.clone()),
        ("accepted", root.clone(), ca.clone().with(constraints("O=example")), in_example()),
        ("chain.name-constraints", root.clone().with(constraints("O=Example")), ca.clone(), in_example()),
        (
            "chain.name-constraints",
            root.clone(),
            ca.clone().with(constraints("O=Example")),
            in_example().alternative_name(dns("example.com")),
        ),
        ("chain.policy", root.clone(), ca.clone().with(require_explicit_policy()), ak.clone()),
        (
            "chain.policy",
            root.clone(),
            ca.clone().with(require_explicit_policy()),
            ak.clone().with(policy(oid::ENVIRONMENT_HOST)),
        ),
        (
            "chain.policy",
            root.clone(),
            ca.clone().with(require_explicit_policy()).with(policy(oid::ENVIRONMENT_MODULE)),
            ak.clone().with(policy(oid::ENVIRONMENT_HOST)),
        ),
        (
            "accepted",
            root.clone(),
            ca.clone().with(require_explicit_policy()).with(policy(oid::ENVIRONMENT_HOST)),
            ak.clone().with(policy(oid::ENVIRONMENT_HOST)),
        ),
        (
            "accepted",
            root.clone(),
            ca.clone().with(require_explicit_policy()).with(policy(oid::ANY_POLICY)),
            ak.clone().with(policy(oid::ENVIRONMENT_HOST)),
        ),
    ];
    for (index, (expected, root, ca, ak)) in cases.iter().enumerate() {
        assert_eq!(chain(root, ca, ak), *expected, "case {index}");
    }
}

#[test]
fn tolerated_deviations_are_told_and_depend_on_the_profile() {
    let root = root().build();
    let outcome = |profile, cert: &Cert| match validate(&cert.build(), &[], &trust(&[&root]), profile) {
        Ok(path) => format!("{:?}", path.deviations()),
        Err(error) => error.code().to_owned(),
    };
    let (ak, ek) = (Cert::ak(AK, 3, ROOT, 1), Cert::ek("CN=ek", 3, ROOT, 1));
    assert_eq!(outcome(ChainProfile::AkAttest, &ak.clone().with(flag_written_out())), "[Quirk(ExplicitDefault)]");
    assert_eq!(outcome(ChainProfile::AkAttest, &ak.clone().serial(&[0])), "chain.not-der");
    assert_eq!(outcome(ChainProfile::Ek, &ek.clone().serial(&[0])), "[Quirk(NegativeOrZeroSerial)]");
    assert_eq!(outcome(ChainProfile::Ek, &ek.without(oid::KEY_USAGE)), "[KeyUsageAbsent]");
    let issuer = Cert::ak_certify_x509(AK, 3, ROOT, 1);
    assert_eq!(outcome(ChainProfile::AkCertifyX509, &issuer), "[]");
    assert_eq!(outcome(ChainProfile::AkCertifyX509, &issuer.serial(&[0])), "chain.not-der");
}

#[test]
fn an_attesting_keys_certificate_serves_exactly_one_family() {
    let (root, ca, ak) = (root(), ca(), ak());
    let with = |purposes: &[Oid]| chain(&root, &ca, &ak.clone().purposes(false, purposes));
    assert_eq!(with(&[oid::KP_AIK_CERTIFICATE]), "accepted");
    for purposes in [
        &[oid::KP_CERTIFY_X509][..],
        &[oid::KP_EK_CERTIFICATE],
        &[oid::ANY_EXTENDED_KEY_USAGE],
        &[oid::KP_AIK_CERTIFICATE, oid::KP_CERTIFY_X509],
        &[oid::KP_AIK_CERTIFICATE, oid::KP_ATTESTATION_KEY],
        &[oid::KP_AIK_CERTIFICATE, oid::ANY_EXTENDED_KEY_USAGE],
        &[oid::KP_AIK_CERTIFICATE, oid::KP_CLIENT_AUTH],
    ] {
        assert_eq!(with(purposes), "ak.wrong-family", "{purposes:?}");
    }
    assert_eq!(chain(&root, &ca, &ak.clone().without(oid::EXTENDED_KEY_USAGE)), "ak.wrong-family");
}

#[test]
fn the_issuer_of_tpm_made_certificates_has_its_own_profile() {
    let root = root().build();
    let issuer = Cert::ak_certify_x509(AK, 3, ROOT, 1);
    let code = |cert: &Cert| code_as(ChainProfile::AkCertifyX509, &cert.build(), &[], &root);
    let own_names = constraints("CN=ak");
    assert_eq!(code(&issuer), "accepted");
    assert_eq!(code(&issuer.clone().with(own_names)), "accepted");
    assert_eq!(code(&issuer.clone().purposes(false, &[oid::KP_CERTIFY_X509])), "ak.wrong-family");
    assert_eq!(code(&issuer.clone().purposes(true, &[oid::KP_CERTIFY_X509, oid::KP_CLIENT_AUTH])), "ak.wrong-family");
    assert_eq!(code(&issuer.clone().purposes(true, &[oid::KP_AIK_CERTIFICATE])), "ak.wrong-family");
    assert_eq!(code(&issuer.clone().basic_constraints(true, None)), "chain.path-length");
    assert_eq!(code(&issuer.clone().basic_constraints(true, Some(1))), "chain.path-length");
    assert_eq!(code(&issuer.clone().basic_constraints(false, None)), "chain.not-a-ca");
    assert_eq!(code(&issuer.clone().without(oid::BASIC_CONSTRAINTS)), "chain.not-a-ca");
    assert_eq!(code(&issuer.clone().without(oid::KEY_USAGE)), "chain.key-usage");
    assert_eq!(code(&issuer.clone().key_usage(KeyUsage::KEY_CERT_SIGN | KeyUsage::CRL_SIGN)), "chain.key-usage");
    let attest = ChainProfile::AkAttest;
    assert_eq!(code_as(attest, &issuer.build(), &[], &root), "ak.wrong-family");
}

#[test]
fn the_issuer_of_tpm_made_certificates_counts_as_an_issuer() {
    let leaf = Cert::ak_certify_x509(AK, 3, ROOT, 1).build();
    let profile = ChainProfile::AkCertifyX509;
    assert_eq!(code_as(profile, &leaf, &[], &root().basic_constraints(true, Some(0)).build()), "chain.path-length");
    assert_eq!(code_as(profile, &leaf, &[], &root().basic_constraints(true, Some(1)).build()), "accepted");
    let attest = Cert::ak(AK, 3, ROOT, 1).build();
    assert_eq!(code(&attest, &[], &root().basic_constraints(true, Some(0)).build()), "accepted");
}

#[test]
fn nothing_made_for_an_attesting_key_or_by_a_tpm_issues() {
    let (root, ak) = (root(), ak());
    let tpm_made = ca().with(build::tpma_object(false, 0x0005_0072));
    assert_eq!(chain(&root, &tpm_made, &ak), "chain.ak-as-issuer");
    for family in [oid::KP_AIK_CERTIFICATE, oid::KP_CERTIFY_X509, oid::KP_ATTESTATION_KEY] {
        let issuer = ca().purposes(false, &[oid::KP_CLIENT_AUTH, family]);
        assert_eq!(chain(&root, &issuer, &ak), "chain.ak-as-issuer", "{family}");
        let anchor = Cert::root(ROOT, 1).purposes(false, &[family]);
        assert_eq!(chain(&anchor, &ca(), &ak), "chain.ak-as-issuer", "{family}");
    }
    assert_eq!(chain(&root, &ca().purposes(false, &[oid::KP_CLIENT_AUTH]), &ak), "accepted");
    let ek = Cert::ek("CN=ek", 3, CA, 2).build();
    let issuer = ca().purposes(true, &[oid::KP_EK_CERTIFICATE]).build();
    assert_eq!(code_as(ChainProfile::Ek, &ek, &[issuer], &root.build()), "accepted");
    assert_eq!(code_as(ChainProfile::Ek, &ek, &[tpm_made.build()], &root.build()), "chain.ak-as-issuer");
}

#[test]
fn a_self_issued_ca_of_an_attesting_key_does_not_slip_under_the_path_length() {
    // The key of a CertifyX509 AK signs a CA certificate in its own name for a key in software, which signs
    // an AK certificate. RFC 5280 lets self-issued certificates pass any path length.
    let root = root().build();
    let genuine = Cert::ak_certify_x509(AK, 3, ROOT, 1).build();
    let self_issued = Cert::ca(AK, 4, AK, 3).build();
    let forged = Cert::ak("CN=forged", 5, AK, 4).build();
    assert_eq!(code(&forged, &[genuine, self_issued.clone()], &root), "chain.ak-as-issuer");
    let harmless = Cert::ca(AK, 3, ROOT, 1).basic_constraints(true, Some(0)).build();
    assert_eq!(code(&forged, &[harmless, self_issued], &root), "accepted");
}

#[test]
fn an_endorsement_key_has_its_own_profile() {
    let root = root().build();
    let ek = Cert::ek("CN=ek", 3, ROOT, 1);
    let code = |cert: &Cert| code_as(ChainProfile::Ek, &cert.build(), &[], &root);
    assert_eq!(code(&ek), "accepted");
    assert_eq!(code(&ek.clone().key_usage(KeyUsage::KEY_ENCIPHERMENT)), "accepted");
    assert_eq!(code(&ek.clone().key_usage(KeyUsage::DIGITAL_SIGNATURE)), "chain.key-usage");
    assert_eq!(code(&ek.clone().basic_constraints(true, None)), "chain.is-a-ca");
    assert_eq!(code(&ek.clone().without(oid::EXTENDED_KEY_USAGE)), "ek.wrong-purpose");
    assert_eq!(code(&ek.clone().purposes(false, &[oid::ANY_EXTENDED_KEY_USAGE])), "ek.wrong-purpose");
    assert_eq!(
        code(&ek.clone().purposes(false, &[oid::KP_EK_CERTIFICATE, oid::KP_AIK_CERTIFICATE])),
        "ek.wrong-purpose"
    );
    assert_eq!(code(&ek.clone().purposes(false, &[oid::KP_EK_CERTIFICATE, oid::KP_CLIENT_AUTH])), "accepted");
    let model = GeneralName::Directory(name("tpmManufacturer=id:00001014,tpmModel=swtpm,tpmVersion=id:20191023"));
    assert_eq!(code(&ek.clone().alternative_name(model)), "accepted");
    assert_eq!(code_as(ChainProfile::AkAttest, &ek.build(), &[], &root), "ak.wrong-family");
}

#[test]
fn weak_keys_certify_nothing() {
    for (bits, exponent, expected) in [
        (1024, &[1, 0, 1][..], "chain.weak-key"),
        (2040, &[1, 0, 1], "chain.weak-key"),
        (2048, &[3], "chain.weak-key"),
        (2048, &[1], "chain.weak-key"),
        (2048, &[1, 0, 0], "chain.weak-key"),
        (2048, &[0xFF, 0xFF], "chain.weak-key"),
        (2048, &[1, 0, 2], "chain.weak-key"),
        (2048, &[1, 0, 1], "chain.bad-signature"),
        (2048, &[1, 0, 0, 1], "chain.bad-signature"),
    ] {
        let sha256_with_rsa = build::algorithm_identifier_null(oid::SHA256_WITH_RSA);
        let ak = ak().algorithms(sha256_with_rsa.clone(), sha256_with_rsa);
        assert_eq!(chain(&root(), &ca().subject_spki(rsa(bits, exponent)), &ak), expected, "{bits} {exponent:?}");
    }
}

#[test]
fn a_self_issued_ca_does_not_count_against_the_path_length() {
    let root = root().basic_constraints(true, Some(1)).build();
    let (rolled, ca) = (Cert::ca(CA, 4, CA, 2).build(), ca().build());
    let ak = Cert::ak(AK, 3, CA, 4).build();
    assert_eq!(code(&ak, &[ca.clone(), rolled], &root), "accepted");
    let other = Cert::ca("CN=other", 4, CA, 2).build();
    let ak = Cert::ak(AK, 3, "CN=other", 4).build();
    assert_eq!(code(&ak, &[ca, other], &root), "chain.path-length");
}

#[test]
fn a_path_has_at_most_eight_certificates() {
    let root = root().build();
    // Root, six CAs and the AK are eight.
    let (cas, ak) = long_chain(6);
    assert_eq!(code(&ak, &cas, &root), "accepted");
    let (cas, ak) = long_chain(7);
    assert_eq!(code(&ak, &cas, &root), "limit.chain-length");
    // Beneath the certificate of a CertifyX509 key hangs another one.
    let issuer = |issuer: &str, key| Cert::ak_certify_x509(AK, 3, issuer, key).build();
    let code = |leaf: CertView, cas: u8| code_as(ChainProfile::AkCertifyX509, &leaf, &long_chain(cas).0, &root);
    assert_eq!(code(issuer("CN=ca 5", 15), 5), "accepted");
    assert_eq!(code(issuer("CN=ca 6", 16), 6), "limit.chain-length");
}

#[test]
fn only_certificates_that_may_matter_count_against_their_limit() {
    let (root, ca, ak) = (root().build(), ca().build(), ak().build());
    let spares = |subject: &str, count: u8| -> Vec<CertView> {
        (0..count).map(|index| Cert::ca(subject, 100 + index, "CN=nobody", 9).build()).collect()
    };
    let with = |mut spares: Vec<CertView>| {
        spares.push(ca.clone());
        code(&ak, &spares, &root)
    };
    assert_eq!(with(spares(CA, 63)), "accepted");
    assert_eq!(with(spares(CA, 64)), "limit.certificates");
    assert_eq!(with(spares("CN=unrelated", 100)), "accepted");
    assert_eq!(with(vec![ca.clone(); 100]), "accepted");
}

#[test]
fn a_request_has_a_limit_of_signature_checks() {
    let (root, ca, ak) = (root().build(), ca().build(), ak().build());
    let store = trust(&[&root]);
    let run = |budget: &mut SignatureBudget| {
        let at = Instant::from_unix_seconds(NOW);
        validate_path(&ak, std::slice::from_ref(&ca), store.format(FORMAT), inputs(ChainProfile::AkAttest, at), budget)
    };
    let mut budget = SignatureBudget::with_limit(1);
    assert_eq!(run(&mut budget).unwrap_err().code(), "limit.signature-checks");
    let mut budget = SignatureBudget::with_limit(2);
    assert!(run(&mut budget).is_ok());
    assert_eq!(budget.spent(), 2);
    // The same checks again are answered from memory.
    assert!(run(&mut budget).is_ok());
    assert_eq!(budget.spent(), 2);
}

#[test]
fn without_an_anchor_nothing_is_looked_at() {
    let nothing = TrustStore::from_files([]).unwrap();
    let error = validate(&ak().build(), &[], &nothing, ChainProfile::AkAttest).unwrap_err();
    assert_eq!(error.code(), "trust.no-anchor");
    assert_eq!(chain(&root(), &ca(), &ak()), "accepted");
}

#[test]
fn every_code_has_a_clause_and_a_sentence_and_a_test() {
    let mut last = "";
    for (code, clause, sentence) in PathError::ALL {
        assert!(last < *code, "{code} is out of order");
        last = code;
        assert!(
            !clause.is_empty() && sentence.ends_with('.') && !sentence.trim_end_matches('.').contains('.'),
            "{code}"
        );
    }
    let tests = concat!(include_str!("rules.rs"), include_str!("revocation.rs"));
    let untested: BTreeSet<&str> =
        PathError::ALL.iter().map(|(code, ..)| *code).filter(|code| !tests.contains(&format!("\"{code}\""))).collect();
    assert_eq!(untested, BTreeSet::new());
}

#[test]
fn errors_say_what_is_wrong_with_which_certificate() {
    let error = |ak: &Cert| {
        validate(&ak.build(), &[ca().build()], &trust(&[&root().build()]), ChainProfile::AkAttest).unwrap_err()
    };
    let expired = error(&ak().validity(0, 1));
    let told = "The validity of a certificate has ended (1970-01-01T00:00:01Z, judged at 2026-11-30T00:53:20Z): CN=ak.";
    assert_eq!(expired.message(), told);
    assert_eq!(expired.clause(), "RFC 5280, section 6.1.3(a)(2)");
    let critical = error(&ak().with(unknown(true))).message();
    assert!(critical.contains(PRIVATE_EXTENSION), "{critical}");
    assert!(spki(3).same_key(ak().build().spki()));
}
