//! Revocation lists: what they say, what they cover, and what policy makes of what they do not say.

use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::CertView;
use vouchsafe_evidence::x509::build::{self, DerWriter};
use vouchsafe_evidence::x509::der::Tag;
use vouchsafe_evidence::x509::extensions::KeyUsage;
use vouchsafe_verifier::crypto::SignatureBudget;
use vouchsafe_verifier::path::{ChainProfile, PathInputs, validate_path};
use vouchsafe_verifier::trust::TrustStore;
use vouchsafe_verifier::{IndirectStance, Instant, RevocationDemand, Stance, VerificationCache};

use crate::pki::{Cert, Crl, FORMAT, NOW, key, name, spki};

const ROOT: &str = "CN=root";
const CA: &str = "CN=ca";
const AK: &str = "CN=ak";
const DAY: i64 = 86_400;
/// The serial number that the AK certificate has.
const AK_SERIAL: [u8; 3] = [1, 3, 2];
const CA_SERIAL: [u8; 3] = [1, 2, 1];

const LENIENT: RevocationDemand =
    RevocationDemand { missing: Stance::Accept, stale: Stance::Accept, indirect: IndirectStance::AcceptAsMissing };
const STRICT: RevocationDemand =
    RevocationDemand { missing: Stance::Reject, stale: Stance::Reject, indirect: IndirectStance::Reject };

fn ca() -> Cert {
    Cert::ca(CA, 2, ROOT, 1)
}

fn ak() -> Cert {
    Cert::ak(AK, 3, CA, 2)
}

fn store(root: &CertView, lists: &[Vec<u8>]) -> TrustStore {
    let root = [(format!("{FORMAT}/root.der"), root.as_der().to_vec())];
    let lists = lists.iter().enumerate().map(|(index, list)| (format!("{FORMAT}/crls/{index}"), list.clone()));
    TrustStore::from_files(root.into_iter().chain(lists)).unwrap()
}

/// What becomes of a chain under these lists: what is known of its revocation, or the code.
fn outcome_of(ak: &Cert, ca: &Cert, lists: &[&Crl], revocation: RevocationDemand) -> &'static str {
    let root = Cert::root(ROOT, 1).build();
    let lists: Vec<Vec<u8>> = lists.iter().map(|list| list.der()).collect();
    let trust = store(&root, &lists);
    let inputs = PathInputs { profile: ChainProfile::AkAttest, at: Instant::from_unix_seconds(NOW), revocation };
    let pool = [ca.build()];
    match validate_path(&ak.build(), &pool, trust.format(FORMAT), inputs, &mut SignatureBudget::new()) {
        Ok(path) => path.revocation().label(),
        Err(error) => error.code(),
    }
}

fn outcome(lists: &[&Crl], revocation: RevocationDemand) -> &'static str {
    outcome_of(&ak(), &ca(), lists, revocation)
}

/// A current list of the root that revokes nothing.
fn of_root() -> Crl {
    Crl::of(ROOT, 1)
}

fn of_ca() -> Crl {
    Crl::of(CA, 2)
}

/// issuingDistributionPoint of these fields.
fn scope(write: impl FnOnce(&mut DerWriter)) -> Vec<u8> {
    let mut value = DerWriter::new();
    value.sequence(write);
    build::extension(oid::ISSUING_DISTRIBUTION_POINT, true, &value.into_der())
}

fn flag(number: u8) -> Vec<u8> {
    scope(|fields| {
        fields.primitive(Tag::context(number), &[0xFF]);
    })
}

fn uri(text: &str) -> impl Fn(&mut DerWriter) {
    move |fields: &mut DerWriter| {
        fields.constructed(Tag::context_constructed(0), |choice| {
            choice.constructed(Tag::context_constructed(0), |names| {
                names.primitive(Tag::context(6), text.as_bytes());
            });
        });
    }
}

/// cRLDistributionPoints of one point.
fn points(write: impl FnOnce(&mut DerWriter)) -> Vec<u8> {
    let mut value = DerWriter::new();
    value.sequence(|list| {
        list.sequence(write);
    });
    build::extension(oid::CRL_DISTRIBUTION_POINTS, false, &value.into_der())
}

fn certificate_issuer(issuer: &str) -> Vec<u8> {
    let mut value = DerWriter::new();
    value.sequence(|names| {
        names.constructed(Tag::context_constructed(4), |tagged| {
            tagged.raw(name(issuer).as_der());
        });
    });
    build::extension(oid::CERTIFICATE_ISSUER, true, &value.into_der())
}

#[test]
fn what_a_list_names_is_revoked_and_the_rest_is_good() {
    for demand in [LENIENT, RevocationDemand::default(), STRICT] {
        assert_eq!(outcome(&[&of_root(), &of_ca()], demand), "good");
        assert_eq!(outcome(&[&of_root(), &of_ca().revoking(&[9]).revoking(&AK_SERIAL[..2])], demand), "good");
        let hit = of_ca().revoking(&[9]).revoking(&AK_SERIAL).revoking(&[10]);
        assert_eq!(outcome(&[&of_root(), &hit], demand), "chain.revoked");
        assert_eq!(outcome(&[&of_root().revoking(&CA_SERIAL), &of_ca()], demand), "chain.revoked");
        // The same numbers in the list of the other issuer mean others.
        let elsewhere = [&of_root().revoking(&AK_SERIAL), &of_ca().revoking(&CA_SERIAL)];
        assert_eq!(outcome(&elsewhere, demand), "good");
    }
}

#[test]
fn what_no_list_speaks_of_is_for_policy() {
    assert_eq!(outcome(&[], RevocationDemand::default()), "none");
    assert_eq!(outcome(&[], STRICT), "chain.crl-missing");
    // The whole is known no better than the certificate about which the least is known.
    assert_eq!(outcome(&[&of_root()], RevocationDemand::default()), "none");
    assert_eq!(outcome(&[&of_ca()], STRICT), "chain.crl-missing");
    assert_eq!(outcome(&[&Crl::of("CN=other", 1)], STRICT), "chain.crl-missing");
}

#[test]
fn lists_that_are_not_current_are_for_policy() {
    let stale = of_ca().updates(NOW - 2 * DAY, Some(NOW - 1));
    let future = of_ca().updates(NOW + 1, Some(NOW + DAY));
    let endless = of_ca().updates(NOW - DAY, None);
    for list in [&stale, &future, &endless] {
        assert_eq!(outcome(&[&of_root(), list], LENIENT), "stale");
        assert_eq!(outcome(&[&of_root(), list], RevocationDemand::default()), "chain.crl-stale");
        // One that is current beside it is what counts.
        assert_eq!(outcome(&[&of_root(), list, &of_ca()], STRICT), "good");
        assert_eq!(outcome(&[&of_root(), &of_ca(), list], STRICT), "good");
        // What it revokes is revoked all the same.
        assert_eq!(outcome(&[&of_root(), &of_ca(), &list.clone().revoking(&AK_SERIAL)], LENIENT), "chain.revoked");
    }
    assert_eq!(outcome(&[&of_root(), &of_ca().updates(NOW, Some(NOW))], STRICT), "good");
}

#[test]
fn a_list_that_cannot_be_used_is_never_no_list() {
    let unknown = Oid::from_dotted("2.5.29.99").unwrap();
    let critical = |critical| build::extension(unknown, critical, &[0x05, 0x00]);
    let delta = build::extension(oid::DELTA_CRL_INDICATOR, true, &[0x02, 0x01, 0x01]);
    for list in [
        of_ca().tampered(),
        Crl::of(CA, 5),
        Crl::of(CA, 5).revoking(&AK_SERIAL),
        of_ca().with(delta),
        of_ca().with(critical(true)),
        of_ca().entry(&[9], vec![critical(true)]),
    ] {
        for demand in [LENIENT, STRICT] {
            assert_eq!(outcome(&[&of_root(), &list], demand), "chain.crl-unusable");
        }
        // A good one of the same issuer beside it says what there is to say.
        assert_eq!(outcome(&[&of_root(), &list, &of_ca()], STRICT), "good");
    }
    assert_eq!(outcome(&[&of_root(), &of_ca().with(critical(false))], STRICT), "good");
    assert_eq!(outcome(&[&of_root(), &of_ca().entry(&[9], vec![critical(false)])], STRICT), "good");
}

#[test]
fn an_issuer_whose_key_usage_forbids_it_signs_no_lists() {
    let only_certificates = ca().key_usage(KeyUsage::KEY_CERT_SIGN);
    assert_eq!(outcome_of(&ak(), &only_certificates, &[&of_root(), &of_ca()], LENIENT), "chain.crl-unusable");
    let silent = ca().without(oid::KEY_USAGE);
    assert_eq!(outcome_of(&ak(), &silent, &[&of_root(), &of_ca()], STRICT), "good");
}

#[test]
fn lists_of_another_key_of_the_same_name_are_told_apart_by_key_identifier() {
    let (ca, ak) = (ca().key_identifiers(2, 1), ak());
    let root_list = of_root();
    let of_other = Crl::of(CA, 5).with(build::authority_key_identifier(&[5]));
    assert_eq!(outcome_of(&ak, &ca, &[&root_list, &of_other], STRICT), "chain.crl-missing");
    assert_eq!(outcome_of(&ak, &ca, &[&root_list, &of_other, &of_ca()], STRICT), "good");
    let own = of_ca().with(build::authority_key_identifier(&[2])).revoking(&AK_SERIAL);
    assert_eq!(outcome_of(&ak, &ca, &[&root_list, &of_other, &own], STRICT), "chain.revoked");
}

#[test]
fn a_list_says_good_only_of_what_it_covers() {
    const USERS: u8 = 1;
    const CAS: u8 = 2;
    const ATTRIBUTES: u8 = 5;
    let some_reasons = scope(|fields| {
        fields.primitive(Tag::context(3), &[0x01, 0x06]);
    });
    let partial = scope(uri("http://ca.example/7.crl"));
    for (list, expected) in [
        (of_ca().with(flag(USERS)), "good"),
        (of_ca().with(flag(CAS)), "chain.crl-missing"),
        (of_ca().with(flag(ATTRIBUTES)), "chain.crl-missing"),
        (of_ca().with(some_reasons), "chain.crl-missing"),
        (of_ca().with(partial.clone()), "chain.crl-missing"),
    ] {
        assert_eq!(outcome(&[&of_root(), &list], STRICT), expected);
        assert_eq!(outcome(&[&of_root(), &list.revoking(&AK_SERIAL)], LENIENT), "chain.revoked");
    }
    assert_eq!(outcome(&[&of_root().with(flag(CAS)), &of_ca()], STRICT), "good");
    assert_eq!(outcome(&[&of_root().with(flag(USERS)), &of_ca()], STRICT), "chain.crl-missing");
    let at_point =
        |text| outcome_of(&ak().with(points(uri(text))), &ca(), &[&of_root(), &of_ca().with(partial.clone())], STRICT);
    assert_eq!(at_point("http://ca.example/7.crl"), "good");
    assert_eq!(at_point("http://ca.example/8.crl"), "chain.crl-missing");
}

#[test]
fn indirect_lists_are_for_policy_and_still_revoke() {
    const INDIRECT: u8 = 4;
    let indirect = of_ca().with(flag(INDIRECT));
    let as_missing = RevocationDemand { indirect: IndirectStance::AcceptAsMissing, ..STRICT };
    assert_eq!(outcome(&[&of_root(), &indirect], RevocationDemand::default()), "chain.crl-indirect");
    assert_eq!(outcome(&[&of_root(), &indirect], LENIENT), "none");
    assert_eq!(outcome(&[&of_root(), &indirect], as_missing), "chain.crl-missing");
    // Entries are about the issuer that they, or the entry before them, name.
    let of_others = indirect.clone().entry(&[8], vec![certificate_issuer(ROOT)]).revoking(&AK_SERIAL);
    assert_eq!(outcome(&[&of_root(), &of_others], LENIENT), "none");
    let back = of_others.clone().entry(&[7], vec![certificate_issuer(CA)]).revoking(&AK_SERIAL);
    assert_eq!(outcome(&[&of_root(), &back], LENIENT), "chain.revoked");
    // A list of a third party that speaks of this issuer, and a certificate that points to a third party.
    let third = Crl::of("CN=third", 7).with(flag(INDIRECT)).entry(&AK_SERIAL, vec![certificate_issuer(CA)]);
    assert_eq!(outcome(&[&of_root(), &third], RevocationDemand::default()), "chain.crl-indirect");
    assert_eq!(outcome(&[&of_root(), &third, &of_ca()], STRICT), "good");
    // One that speaks of another issuer, and one that speaks of this issuer and is not indirect by its own word.
    let no_indirect = RevocationDemand { indirect: IndirectStance::Reject, ..LENIENT };
    let elsewhere = Crl::of("CN=third", 7).with(flag(INDIRECT)).entry(&AK_SERIAL, vec![certificate_issuer(ROOT)]);
    assert_eq!(outcome(&[&of_root(), &third], no_indirect), "chain.crl-indirect");
    assert_eq!(outcome(&[&elsewhere], no_indirect), "chain.crl-indirect");
    assert_eq!(outcome(&[&Crl::of("CN=third", 7).with(flag(INDIRECT))], no_indirect), "none");
    assert_eq!(
        outcome(&[&Crl::of("CN=third", 7).entry(&AK_SERIAL, vec![certificate_issuer(CA)])], no_indirect),
        "none"
    );
    let pointing = ak().with(points(|point| {
        point.constructed(Tag::context_constructed(2), |names| {
            names.constructed(Tag::context_constructed(4), |tagged| {
                tagged.raw(name("CN=third").as_der());
            });
        });
    }));
    assert_eq!(outcome_of(&pointing, &ca(), &[], RevocationDemand::default()), "chain.crl-indirect");
    assert_eq!(outcome_of(&pointing, &ca(), &[], LENIENT), "none");
}

#[test]
fn distribution_points_that_cannot_be_read_are_not_passed_over() {
    let broken = ak().with(build::extension(oid::CRL_DISTRIBUTION_POINTS, false, &[0x30, 0x00]));
    assert_eq!(outcome_of(&broken, &ca(), &[], LENIENT), "chain.malformed-extension");
}

#[test]
fn another_path_without_the_revoked_certificate_counts() {
    let root = Cert::root(ROOT, 1).build();
    let second = Cert::ca(CA, 2, ROOT, 1).serial(&[77]).build();
    let trust = store(&root, &[of_root().revoking(&CA_SERIAL).der(), of_ca().der()]);
    let inputs =
        PathInputs { profile: ChainProfile::AkAttest, at: Instant::from_unix_seconds(NOW), revocation: STRICT };
    let validate = |pool: &[CertView]| {
        validate_path(&ak().build(), pool, trust.format(FORMAT), inputs, &mut SignatureBudget::new())
    };
    assert_eq!(validate(&[ca().build()]).unwrap_err().code(), "chain.revoked");
    let path = validate(&[ca().build(), second.clone()]).unwrap();
    assert_eq!(path.chain()[1], second);
}

#[test]
fn a_cached_signature_saves_the_check_and_nothing_else() {
    let root = Cert::root(ROOT, 1).build();
    let (ca, ak) = (ca().build(), ak().build());
    let cache = VerificationCache::new();
    let spent = |trust: &TrustStore, at: i64| {
        let inputs =
            PathInputs { profile: ChainProfile::AkAttest, at: Instant::from_unix_seconds(at), revocation: LENIENT };
        let mut budget = SignatureBudget::new().with_cache(&cache, trust.version());
        let result = validate_path(&ak, std::slice::from_ref(&ca), trust.format(FORMAT), inputs, &mut budget);
        (budget.spent(), result.map_err(|error| error.code()).map(|path| path.revocation().label()))
    };
    let good = store(&root, &[of_root().der(), of_ca().der()]);
    assert_eq!(spent(&good, NOW), (4, Ok("good")));
    assert_eq!(spent(&good, NOW), (0, Ok("good")));
    assert_eq!(cache.len(), 4);
    // Validity, revocation and the anchors are looked at anew.
    assert_eq!(spent(&good, NOW + 10 * 366 * DAY).1, Err("chain.expired"));
    let revoked = store(&root, &[of_ca().revoking(&AK_SERIAL).der()]);
    assert_eq!(spent(&revoked, NOW), (3, Err("chain.revoked")), "another trust store, nothing is taken over");
    let other = store(&Cert::root(ROOT, 9).build(), &[]);
    assert_eq!(spent(&other, NOW).1, Err("chain.bad-signature"));
    let before = cache.len();
    assert_eq!(spent(&other, NOW).1, Err("chain.bad-signature"));
    assert_eq!(cache.len(), before, "what is false is not remembered");
    assert!(spki(1).same_key(root.spki()) && key(1) != key(9));
}
