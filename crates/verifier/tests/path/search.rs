//! How a path is found: order, anchors, cross-certificates and what a hostile bundle may cost.

use std::time::{Duration, Instant as Clock};

use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_verifier::Instant;
use vouchsafe_verifier::crypto::SignatureBudget;
use vouchsafe_verifier::path::{ChainProfile, PathError, ValidatedPath, validate_path};
use vouchsafe_verifier::trust::TrustStore;

use crate::pki::{Cert, FORMAT, NOW, code, inputs, spki, trust, trust_key, validate};

const ROOT: &str = "CN=root";
const CA: &str = "CN=ca";
const AK: &str = "CN=ak";

/// Signature checks, time and outcome of one validation. Tests bound the checks closely and the time loosely, since
/// they run unoptimized beside others; the benchmark measures it.
fn cost(ak: &CertView, pool: &[CertView], trust: &TrustStore) -> (usize, Duration, Result<ValidatedPath, PathError>) {
    let mut budget = SignatureBudget::new();
    let started = Clock::now();
    let at = Instant::from_unix_seconds(NOW);
    let result = validate_path(ak, pool, trust.format(FORMAT), inputs(ChainProfile::AkAttest, at), &mut budget);
    (budget.spent(), started.elapsed(), result)
}

#[test]
fn the_order_of_the_pool_does_not_matter() {
    let root = Cert::root(ROOT, 1).build();
    let pool = [
        Cert::ca("CN=a", 10, ROOT, 1).build(),
        Cert::ca("CN=b", 11, "CN=a", 10).build(),
        Cert::ca("CN=c", 12, "CN=b", 11).build(),
        Cert::ca("CN=stranger", 13, "CN=stranger", 13).build(),
    ];
    let ak = Cert::ak(AK, 3, "CN=c", 12).build();
    for rotation in 0..pool.len() {
        let mut rotated = pool.to_vec();
        rotated.rotate_left(rotation);
        let (checks, _, result) = cost(&ak, &rotated, &trust(&[&root]));
        assert_eq!(result.unwrap().chain().len(), 4);
        assert_eq!(checks, 4);
    }
}

#[test]
fn one_of_two_certificates_for_one_ca_is_enough() {
    let root = Cert::root(ROOT, 1).build();
    let ak = Cert::ak(AK, 3, CA, 2).build();
    let current = Cert::ca(CA, 2, ROOT, 1).build();
    let expired = Cert::ca(CA, 2, ROOT, 1).validity(NOW - 2, NOW - 1).build();
    let namesake = Cert::ca(CA, 9, ROOT, 1).build();
    for pool in [[&expired, &namesake, &current], [&current, &namesake, &expired]] {
        assert_eq!(code(&ak, &pool.map(Clone::clone), &root), "accepted");
    }
    assert_eq!(code(&ak, &[expired, namesake], &root), "chain.expired");
}

#[test]
fn a_longer_path_is_taken_where_the_shorter_one_is_barred() {
    // The CA is certified by the root with a path length, and by a second CA without.
    let root = Cert::root(ROOT, 1).build();
    let barred = Cert::ca(CA, 2, ROOT, 1).validity(NOW - 2, NOW - 1).build();
    let second = Cert::ca("CN=second", 4, ROOT, 1).build();
    let cross = Cert::ca(CA, 2, "CN=second", 4).build();
    let ak = Cert::ak(AK, 3, CA, 2).build();
    let path = validate(&ak, &[barred, cross.clone(), second.clone()], &trust(&[&root]), ChainProfile::AkAttest);
    assert_eq!(path.unwrap().chain(), [ak, cross, second]);
}

#[test]
fn key_identifiers_are_hints_that_save_checks_and_decide_nothing() {
    let root = Cert::root(ROOT, 1).key_identifiers(1, 1).build();
    let ak = Cert::ak(AK, 3, CA, 2).key_identifiers(3, 2).build();
    let mut pool: Vec<CertView> =
        (0..20).map(|index| Cert::ca(CA, 100 + index, ROOT, 9).key_identifiers(2, 9).build()).collect();
    pool.push(Cert::ca(CA, 2, ROOT, 1).key_identifiers(2, 1).build());
    let (checks, _, result) = cost(&ak, &pool, &trust(&[&root]));
    assert!(result.is_ok());
    assert_eq!(checks, 2);
    let misleading = Cert::ca(CA, 2, ROOT, 1).key_identifiers(77, 78).build();
    assert_eq!(code(&ak, &[misleading], &root), "accepted");
}

#[test]
fn anchors_are_certificates_of_any_version_or_public_keys() {
    let mut v1 = Cert::root(ROOT, 1);
    v1.template.extensions.clear();
    let v1 = v1.build_v1();
    let ak = Cert::ak(AK, 3, ROOT, 1).build();
    assert_eq!(code(&ak, &[], &v1), "accepted");
    assert_eq!(code(&ak, std::slice::from_ref(&v1), &v1), "accepted");
    // A key certifies under any name and has no validity.
    let attest = ChainProfile::AkAttest;
    assert!(validate(&ak, &[], &trust_key(&spki(1)), attest).is_ok());
    let beneath = [Cert::ca(CA, 2, ROOT, 1).build()];
    let path = validate(&Cert::ak(AK, 3, CA, 2).build(), &beneath, &trust_key(&spki(1)), attest).unwrap();
    assert_eq!(path.issuer_key(), &spki(2));
    assert!(path.anchor().certificate().is_none());
    assert_eq!(validate(&ak, &[], &trust_key(&spki(9)), attest).unwrap_err().code(), "chain.no-path");
    // Version 1 counts for anchors alone.
    let mut intermediate = Cert::ca(CA, 2, ROOT, 1);
    intermediate.template.extensions.clear();
    let leaf = Cert::ak(AK, 3, CA, 2).build();
    assert_eq!(code(&leaf, &[intermediate.build_v1()], &Cert::root(ROOT, 1).build()), "chain.not-a-ca");
    assert_eq!(code(&leaf, &[Cert::ca(CA, 2, ROOT, 1).build()], &Cert::root(ROOT, 1).build()), "accepted");
}

#[test]
fn an_intermediate_may_be_an_anchor_and_what_it_says_of_itself_holds() {
    let ca = Cert::ca(CA, 2, ROOT, 1).basic_constraints(true, Some(0));
    let ak = Cert::ak(AK, 3, CA, 2).build();
    assert_eq!(code(&ak, &[Cert::root(ROOT, 1).build()], &ca.build()), "accepted");
    let beneath = Cert::ca("CN=sub", 4, CA, 2).build();
    let deeper = Cert::ak(AK, 3, "CN=sub", 4).build();
    assert_eq!(code(&deeper, std::slice::from_ref(&beneath), &ca.build()), "chain.path-length");
    let unlimited = ca.basic_constraints(true, None).build();
    assert_eq!(code(&deeper, &[beneath], &unlimited), "accepted");
}

#[test]
fn nothing_vouches_for_itself() {
    // A self-signed AK certificate that stands among the anchors, as certificate and as key.
    let own = Cert::ak(AK, 3, AK, 3).build();
    assert_eq!(code(&own, std::slice::from_ref(&own), &own), "chain.no-path");
    let result = validate(&own, &[], &trust_key(&spki(3)), ChainProfile::AkAttest);
    assert_eq!(result.unwrap_err().code(), "chain.no-path");
    let by_other = Cert::ak(AK, 4, AK, 3).build();
    assert!(validate(&by_other, &[], &trust_key(&spki(3)), ChainProfile::AkAttest).is_ok());
    // A CA certificate for the key in question.
    let root = Cert::root(ROOT, 1).build();
    let own_ca = Cert::ca(CA, 3, ROOT, 1).build();
    assert_eq!(code(&Cert::ak(AK, 3, CA, 3).build(), std::slice::from_ref(&own_ca), &root), "chain.no-path");
    assert_eq!(code(&Cert::ak(AK, 4, CA, 3).build(), &[own_ca], &root), "accepted");
}

#[test]
fn a_root_of_the_bundle_is_no_anchor() {
    let (own_root, namesake) = (Cert::root(ROOT, 1).build(), Cert::root(ROOT, 9).build());
    let (ca, ak) = (Cert::ca(CA, 2, ROOT, 1).build(), Cert::ak(AK, 3, CA, 2).build());
    assert_eq!(code(&ak, &[ca.clone(), own_root.clone()], &own_root), "accepted");
    assert_eq!(code(&ak, &[ca.clone(), own_root.clone()], &namesake), "chain.bad-signature");
    let stranger = Cert::root("CN=stranger", 9).build();
    assert_eq!(code(&ak, &[ca, own_root], &stranger), "chain.no-path");
}

#[test]
fn intermediates_of_the_store_help_and_are_not_trusted() {
    let (root, ca) = (Cert::root(ROOT, 1).build(), Cert::ca(CA, 2, ROOT, 1).build());
    let ak = Cert::ak(AK, 3, CA, 2).build();
    let file = |path: &str, certificate: &CertView| (format!("{FORMAT}/{path}"), certificate.as_der().to_vec());
    let with_root = TrustStore::from_files([file("root.der", &root), file("intermediates/ca.der", &ca)]).unwrap();
    assert!(validate(&ak, &[], &with_root, ChainProfile::AkAttest).is_ok());
    let alone = TrustStore::from_files([file("intermediates/ca.der", &ca)]).unwrap();
    let error = validate(&ak, &[ca], &alone, ChainProfile::AkAttest).unwrap_err();
    assert_eq!(error.code(), "trust.no-anchor");
}

#[test]
fn cas_that_certify_each_other_without_an_anchor_cost_next_to_nothing() {
    // Eight CAs, each certified by each other one: 56 certificates, and no way to the anchor.
    let subject = |index: u8| format!("CN=clique {index}");
    let pairs = (0..8).flat_map(|issuer| (0..8).map(move |own| (own, issuer))).filter(|(own, issuer)| own != issuer);
    let clique: Vec<CertView> =
        pairs.map(|(own, issuer)| Cert::ca(&subject(own), 20 + own, &subject(issuer), 20 + issuer).build()).collect();
    let ak = Cert::ak(AK, 3, &subject(0), 20).build();
    let root = Cert::root(ROOT, 1).build();
    let (checks, elapsed, result) = cost(&ak, &clique, &trust(&[&root]));
    assert_eq!(result.unwrap_err().code(), "chain.no-path");
    assert_eq!(checks, 0);
    assert!(elapsed < Duration::from_millis(300), "{elapsed:?}");
    // The same with the anchor's name, and one way that really leads there.
    let mut with_way = clique.clone();
    with_way.push(Cert::ca(&subject(5), 25, ROOT, 1).build());
    let (checks, elapsed, result) = cost(&ak, &with_way, &trust(&[&root]));
    assert!(result.is_ok());
    assert!(checks <= 12, "{checks}");
    assert!(elapsed < Duration::from_millis(300), "{elapsed:?}");
}

#[test]
fn certificates_that_only_claim_the_anchors_name_cost_one_check_each() {
    // Everybody is called as the anchor and has signed everybody: each name fits each.
    let clique: Vec<CertView> =
        (0..64).map(|index| Cert::ca(ROOT, 20 + index % 8, ROOT, 20 + index / 8).build()).collect();
    let ak = Cert::ak(AK, 3, ROOT, 20).build();
    let (checks, elapsed, result) = cost(&ak, &clique, &trust(&[&Cert::root(ROOT, 1).build()]));
    assert_eq!(result.unwrap_err().code(), "chain.bad-signature");
    assert_eq!(checks, 65);
    assert!(elapsed < Duration::from_millis(600), "{elapsed:?}");
}

#[test]
fn a_clique_that_is_really_certified_is_walked_through_a_bounded_number_of_times() {
    // A trusted CA under which eight CAs certify each other, and an AK that none of its ways leads to
    // acceptably: names are constrained to what it is not called.
    let constrained = vouchsafe_evidence::x509::build::name_constraints(
        true,
        &[vouchsafe_evidence::x509::extensions::GeneralName::Directory(crate::pki::name("O=Elsewhere"))],
        &[],
    );
    let root = Cert::root(ROOT, 1).with(constrained).build();
    let subject = |index: u8| format!("CN={index},O=Elsewhere");
    let pairs = (0..7).flat_map(|issuer| (0..7).map(move |own| (own, issuer))).filter(|(own, issuer)| own != issuer);
    let mut clique: Vec<CertView> =
        pairs.map(|(own, issuer)| Cert::ca(&subject(own), 20 + own, &subject(issuer), 20 + issuer).build()).collect();
    clique.push(Cert::ca(&subject(0), 20, ROOT, 1).build());
    let ak = Cert::ak("CN=ak,O=Here", 3, &subject(6), 26).build();
    let (checks, elapsed, result) = cost(&ak, &clique, &trust(&[&root]));
    assert_eq!(result.unwrap_err().code(), "chain.name-constraints");
    assert!(checks <= 60, "{checks}");
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    let inside = Cert::ak("CN=ak,O=Elsewhere", 3, &subject(6), 26).build();
    assert_eq!(code(&inside, &clique, &root), "accepted");
}

#[test]
fn many_anchors_of_one_name_are_all_tried() {
    let roots: Vec<CertView> = (40..60).map(|key| Cert::root(ROOT, key).build()).collect();
    let store = trust(&roots.iter().collect::<Vec<_>>());
    let ak = |key| Cert::ak(AK, 3, ROOT, key).build();
    for key in 40..60 {
        let path = validate(&ak(key), &[], &store, ChainProfile::AkAttest).unwrap();
        assert_eq!(path.anchor().key(), &spki(key));
    }
    assert_eq!(validate(&ak(61), &[], &store, ChainProfile::AkAttest).unwrap_err().code(), "chain.bad-signature");
}

#[test]
fn a_root_of_one_format_is_nothing_for_another() {
    let root = Cert::root(ROOT, 1).build();
    let elsewhere = TrustStore::from_files([("tpm-quote/root.der".to_owned(), root.as_der().to_vec())]).unwrap();
    let ak = Cert::ak(AK, 3, ROOT, 1).purposes(false, &[oid::KP_AIK_CERTIFICATE]).build();
    let error = validate(&ak, std::slice::from_ref(&root), &elsewhere, ChainProfile::AkAttest).unwrap_err();
    assert_eq!(error.code(), "trust.no-anchor");
    assert_eq!(code(&ak, &[], &root), "accepted");
}
