//! Decisions that chains with one defect each do not reach: limits on both sides, which of several reasons is told, what
//! certificates say by extensions that few of them have.

use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::build::{self, DerWriter};
use vouchsafe_evidence::x509::der::Tag;
use vouchsafe_evidence::x509::extensions::GeneralName;
use vouchsafe_evidence::x509::{CertView, Quirk};
use vouchsafe_verifier::Instant;
use vouchsafe_verifier::TrustStore;
use vouchsafe_verifier::enrolment::authenticate_ek;
use vouchsafe_verifier::path::{ChainProfile, CrlDefect, Deviation};

use crate::pki::{Cert, NOW, code, trust, validate};

const ROOT: &str = "CN=root";
const CA: &str = "CN=ca";
const AK: &str = "CN=ak";
const A: Oid = oid::ENVIRONMENT_MODULE;
const B: Oid = oid::ENVIRONMENT_HOST;

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
fn chain(ca: &Cert, ak: &Cert) -> &'static str {
    code(&ak.build(), &[ca.build()], &root().build())
}

fn der(write: impl FnOnce(&mut DerWriter)) -> Vec<u8> {
    let mut writer = DerWriter::new();
    write(&mut writer);
    writer.into_der()
}

fn email(text: &str) -> GeneralName {
    GeneralName::Email(text.into())
}

/// The endorsement key of these certificates beneath the root, or the code of what is wrong.
fn endorsement(certificates: &[CertView]) -> Result<Vec<Deviation>, &'static str> {
    let anchor = ("tpm-ek/root.der".to_owned(), root().build().as_der().to_vec());
    let trust = TrustStore::from_files([anchor]).unwrap();
    authenticate_ek(certificates, &trust, Instant::from_unix_seconds(NOW))
        .map(|ek| ek.deviations().to_vec())
        .map_err(|rejection| rejection.code())
}

#[test]
fn a_tpm_has_eight_endorsement_key_certificates_and_no_more() {
    let certificates = |count: u8| -> Vec<CertView> {
        (0..count).map(|number| Cert::ek("CN=ek", 10 + number, ROOT, 1).build()).collect()
    };
    assert_eq!(endorsement(&certificates(8)), Ok(Vec::new()));
    assert_eq!(endorsement(&certificates(9)), Err("limit.certificates"));
    assert_eq!(endorsement(&certificates(10)), Err("limit.certificates"));
}

#[test]
fn what_was_tolerated_of_an_endorsement_key_certificate_is_told() {
    let ek = Cert::ek("CN=ek", 3, ROOT, 1);
    assert_eq!(endorsement(&[ek.build()]), Ok(Vec::new()));
    let quirk = Deviation::Quirk(Quirk::NegativeOrZeroSerial);
    assert_eq!(endorsement(&[ek.serial(&[0]).build()]), Ok(vec![quirk]));
}

/// Of two reasons of one weight the first is told, in the order of the certificates.
#[test]
fn the_first_of_equal_reasons_is_told() {
    let expired = ca().validity(NOW - 2, NOW - 1).build();
    let early = ca().validity(NOW + 1, NOW + 2).build();
    let (ak, root) = (ak().build(), root().build());
    assert_eq!(code(&ak, &[expired.clone(), early.clone()], &root), "chain.expired");
    assert_eq!(code(&ak, &[early, expired], &root), "chain.not-yet-valid");
    let ek = |from, to| Cert::ek("CN=ek", 3, ROOT, 1).validity(from, to).build();
    let (expired, early) = (ek(NOW - 2, NOW - 1), ek(NOW + 1, NOW + 2));
    assert_eq!(endorsement(&[expired.clone(), early.clone()]), Err("chain.expired"));
    assert_eq!(endorsement(&[early, expired]), Err("chain.not-yet-valid"));
}

/// An anchor that nothing names says nothing about why there is no path.
#[test]
fn anchors_that_nobody_names_are_passed_over() {
    let stranger = Cert::root("CN=stranger", 9).validity(NOW - 2, NOW - 1).build();
    let of_nobody = Cert::ak(AK, 3, "CN=nobody", 8).build();
    let judged = |leaf: &CertView| validate(leaf, &[], &trust(&[&stranger]), ChainProfile::AkAttest).unwrap_err();
    assert_eq!(judged(&of_nobody).code(), "chain.no-path");
    assert_eq!(judged(&Cert::ak(AK, 3, "CN=stranger", 9).build()).code(), "chain.expired");
}

/// Twenty CAs each certify another key of one name, and only the last is the one that counts: a certificate is tried
/// beneath those whom it names, so that trying it elsewhere does not use it up.
#[test]
fn certificates_are_tried_beneath_their_issuers_alone() {
    const CAS: u8 = 20;
    let mut pool: Vec<CertView> = Vec::new();
    for number in 0..CAS {
        let issuer = format!("CN=issuer {number}");
        pool.push(Cert::ca(&issuer, 20 + number, ROOT, 1).build());
        pool.push(Cert::ca(CA, 60 + number, &issuer, 20 + number).build());
    }
    let leaf = Cert::ak(AK, 3, CA, 60 + CAS - 1).build();
    assert_eq!(code(&leaf, &pool, &root().build()), "accepted");
}

/// The anchor's own certificate among those that came along is none that could stand between.
#[test]
fn what_repeats_an_anchor_does_not_count() {
    let spares = (0..63).map(|number| Cert::ca(CA, 100 + number, "CN=nobody", 9).build());
    let mut pool: Vec<CertView> = spares.chain([ca().build(), root().build()]).collect();
    assert_eq!(code(&ak().build(), &pool, &root().build()), "accepted");
    // One of the same name and another key does count.
    pool.push(Cert::root(ROOT, 8).build());
    assert_eq!(code(&ak().build(), &pool, &root().build()), "limit.certificates");
}

#[test]
fn what_is_wrong_with_a_list_is_said_in_words() {
    let defects = [
        CrlDefect::AlgorithmMismatch,
        CrlDefect::BadSignature,
        CrlDefect::Delta,
        CrlDefect::KeyUsage,
        CrlDefect::UnknownCritical(oid::NONCE),
        CrlDefect::Weak,
    ];
    let mut told: Vec<String> = defects.iter().map(ToString::to_string).collect();
    assert!(told.iter().all(|text| text.contains(' ')), "{told:?}");
    assert!(told[4].contains(&oid::NONCE.to_string()), "{told:?}");
    told.sort();
    told.dedup();
    assert_eq!(told.len(), defects.len());
}

/// RFC 5280, 4.2.1.10: e-mail addresses of the subject count where the alternative name has none.
#[test]
fn addresses_of_the_subject_count_where_the_alternative_name_has_none() {
    let ca = ca().with(build::name_constraints(true, &[email("example.org")], &[]));
    let (inside, outside) = ("CN=ak,emailAddress=a@example.org", "CN=ak,emailAddress=a@example.com");
    let ak = |subject: &str| Cert::ak(subject, 3, CA, 2);
    assert_eq!(chain(&ca, &ak(inside)), "accepted");
    assert_eq!(chain(&ca, &ak(outside)), "chain.name-constraints");
    assert_eq!(chain(&ca, &ak(outside).alternative_name(email("a@example.org"))), "accepted");
    assert_eq!(chain(&ca, &ak(inside).alternative_name(email("a@example.com"))), "chain.name-constraints");
    let dns = GeneralName::Dns(b"example.net".to_vec());
    assert_eq!(chain(&ca, &ak(outside).alternative_name(dns)), "chain.name-constraints");
}

/// Policies as certificates state them; what follows from them is tested beside the rules.
#[test]
fn policies_are_read_from_their_extensions() {
    let policies = |policies: &[Oid]| build::certificate_policies(false, policies);
    let constraints = |number, count: u8| {
        let value = der(|writer| {
            writer.sequence(|fields| {
                fields.primitive(Tag::context(number), &[count]);
            });
        });
        build::extension(oid::POLICY_CONSTRAINTS, true, &value)
    };
    let mapping = der(|writer| {
        writer.sequence(|list| {
            list.sequence(|pair| {
                pair.oid(A).oid(B);
            });
        });
    });
    let mapping = build::extension(oid::POLICY_MAPPINGS, true, &mapping);
    let no_any = build::extension(oid::INHIBIT_ANY_POLICY, true, &[2, 1, 0]);
    let demanding = ca().with(constraints(0, 0)).with(policies(&[A]));

    assert_eq!(chain(&demanding, &ak().with(policies(&[A]))), "accepted");
    assert_eq!(chain(&demanding, &ak().with(policies(&[B]))), "chain.policy");
    let mapped = demanding.clone().with(mapping.clone());
    assert_eq!(chain(&mapped, &ak().with(policies(&[B]))), "accepted");
    assert_eq!(chain(&mapped, &ak().with(policies(&[A]))), "chain.policy");

    let any = ak().with(policies(&[oid::ANY_POLICY]));
    assert_eq!(chain(&demanding, &any), "accepted");
    assert_eq!(chain(&demanding.clone().with(no_any), &any), "chain.policy");

    // A root that forbids mappings above a CA that maps.
    let root = root().with(constraints(1, 0)).build();
    let leaf = ak().with(policies(&[B])).build();
    assert_eq!(code(&leaf, &[mapped.build()], &root), "chain.policy");
    assert_eq!(code(&leaf, &[mapped.build()], &Cert::root(ROOT, 1).build()), "accepted");
}
