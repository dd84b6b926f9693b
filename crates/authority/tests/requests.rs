//! The bodies of requests: what parses has one meaning, which its own JSON says again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_docs
)]

#[path = "../../../fuzz/src/acme.rs"]
mod acme;
#[path = "../../../fuzz/src/authority.rs"]
mod authority;
#[path = "../../../fuzz/src/cmp.rs"]
mod cmp;
#[path = "../../../fuzz/src/cmp_mac.rs"]
mod cmp_mac;
#[path = "../../../fuzz/src/est.rs"]
mod est;

use proptest::prelude::*;
use vouchsafe_authority::request::{
    ActivationRequest, AppraisalRequest, CertificateRequest, ChallengeRequest, EVIDENCE_PARTS, EkOffer, Evidence, Head,
    HostSuccessor, NonceRequest, Offer, QuoteParts, RenewalRequest, Request, Voucher, Vouching,
};
use vouchsafe_authority::{Error, Operation};
use vouchsafe_evidence::ak_possession::PossessionProof;

const JSON: Head<'_> = Head { content_type: "application/json", query: "" };

fn octets() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}

fn proof() -> impl Strategy<Value = PossessionProof> {
    prop_oneof![octets().prop_map(PossessionProof::Signature), octets().prop_map(PossessionProof::Evidence)]
}

fn requests() -> impl Strategy<Value = (Operation, Request)> {
    let nonce = prop_oneof![
        Just(NonceRequest::AttestationKey),
        Just(NonceRequest::Appraisal),
        any::<String>().prop_map(|profile| NonceRequest::Certificate { profile }),
    ];
    let quote = (octets(), octets(), octets()).prop_map(|(attest, signature, pcr_values)| QuoteParts {
        attest,
        signature,
        pcr_values,
    });
    let ek = prop_oneof![
        prop::collection::vec(octets(), 0..4).prop_map(EkOffer::Certified),
        octets().prop_map(EkOffer::Listed),
        octets().prop_map(EkOffer::FirstUse),
    ];
    let tpm = (octets(), ek, prop::option::of(quote)).prop_map(|(ak_public, ek, baseline)| Offer::Tpm {
        ak_public,
        ek,
        baseline,
    });
    let voucher = prop_oneof![
        prop::collection::vec(octets(), 1..4).prop_map(Voucher::Maker),
        ("[ -~]{1,128}", "[ -~]{1,128}").prop_map(|(vendor, serial)| Voucher::Listed { vendor, serial }),
        octets().prop_map(Voucher::Witnesses),
        Just(Voucher::FirstUse),
    ];
    let host = (octets(), voucher).prop_map(|(ak_spki, voucher)| Offer::Host { ak_spki, voucher });
    let challenge = (any::<String>(), octets(), prop_oneof![tpm, host])
        .prop_map(|(device, nonce, offer)| ChallengeRequest { device, nonce, offer });
    let by_tpm = (octets(), octets(), prop::option::of(octets()))
        .prop_map(|(attest, signature, successor)| Vouching::Tpm { attest, signature, successor });
    let successor = (octets(), proof()).prop_map(|(ak_spki, proof)| HostSuccessor { ak_spki, proof });
    let by_host =
        (proof(), prop::option::of(successor)).prop_map(|(proof, successor)| Vouching::Host { proof, successor });
    let renewal = (any::<String>(), octets(), any::<[u8; 32]>(), prop_oneof![by_tpm, by_host])
        .prop_map(|(device, nonce, key, vouching)| RenewalRequest { device, nonce, key, vouching });
    let certificate = (octets(), octets(), any::<String>()).prop_map(|(csr, nonce, profile)| CertificateRequest {
        csr,
        nonce,
        profile,
    });
    let evidence = prop_oneof![
        octets().prop_map(Evidence::Csr),
        prop::collection::vec(octets(), 1..=EVIDENCE_PARTS).prop_map(Evidence::Parts),
    ];
    let appraisal = (octets(), evidence, prop::option::of(any::<String>()))
        .prop_map(|(nonce, evidence, device)| AppraisalRequest { nonce, evidence, device });
    prop_oneof![
        nonce.prop_map(|request| (Operation::MintNonce, Request::MintNonce(request))),
        challenge.prop_map(|request| (Operation::OpenChallenge, Request::OpenChallenge(request))),
        octets().prop_map(|secret| {
            (Operation::Activate, Request::Activate(ActivationRequest::Credential(secret.into())))
        }),
        proof().prop_map(|proof| (Operation::Activate, Request::Activate(ActivationRequest::Possession(proof)))),
        renewal.prop_map(|request| (Operation::Renew, Request::Renew(request))),
        certificate.prop_map(|request| (Operation::Issue, Request::Issue(request))),
        appraisal.prop_map(|request| (Operation::Appraise, Request::Appraise(request))),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read((operation, request) in requests()) {
        let text = request.to_json().unwrap().to_string();
        prop_assert_eq!(Request::parse(operation, JSON, text.as_bytes()).unwrap(), request);
    }

    #[test]
    fn any_octets_are_refused_or_mean_one_thing(data in prop::collection::vec(any::<u8>(), 0..200)) {
        authority::body(&data);
    }

    #[test]
    fn any_octets_by_est_are_refused_or_mean_one_thing(
        data in prop::collection::vec(any::<u8>(), 0..200), text in "[A-Za-z0-9+/=\\r\\n ]{0,80}", len in any::<i16>()
    ) {
        est::body(&data);
        est::body(text.as_bytes());
        est::body(format!("{{\"len\":{len}}}").as_bytes());
    }

    #[test]
    fn any_octets_by_acme_of_a_resolver_and_of_a_mac_are_refused_or_mean_one_thing(
        data in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        acme::jws(&data);
        acme::attestation_object(&data);
        acme::dns_answer(&data);
        cmp_mac::parameters(&data);
    }

    #[test]
    fn a_changed_body_is_refused_or_means_one_thing(
        (operation, request) in requests(), at in any::<prop::sample::Index>(), octet in any::<u8>(), cut in any::<bool>()
    ) {
        let selector = authority::OPERATIONS.iter().position(|known| *known == operation).unwrap() as u8;
        let mut data = request.to_json().unwrap().to_string().into_bytes();
        let at = at.index(data.len());
        if cut { data.truncate(at) } else { data[at] = octet }
        data.insert(0, selector);
        authority::body(&data);
    }
}

#[test]
fn seeds_of_the_fuzz_target_are_requests() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/authority_json");
    let mut count = 0;
    for seed in std::fs::read_dir(folder).unwrap() {
        let data = std::fs::read(seed.unwrap().path()).unwrap();
        authority::body(&data);
        let (operation, head, body) = authority::select(&data).unwrap();
        assert!(Request::parse(operation, head, body).is_ok(), "{}", String::from_utf8_lossy(&data));
        count += 1;
    }
    assert!(count >= authority::OPERATIONS.len());
}

#[test]
fn seeds_of_est_are_read() {
    use vouchsafe_authority::protocol::est::{NonceRequest, decode_body};
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/est");
    for seed in std::fs::read_dir(folder).unwrap() {
        let path = seed.unwrap().path();
        let data = std::fs::read(&path).unwrap();
        est::body(&data);
        let nonce = NonceRequest::parse("POST", "application/est-attestation-freshness+json", &data);
        assert!(nonce.is_ok() != decode_body(&data).is_ok(), "{}", path.display());
    }
}

#[test]
fn a_field_that_is_there_twice_unknown_or_missing_is_refused() {
    for (operation, text) in [
        (Operation::MintNonce, r#"{"purpose":"appraisal","purpose":"certificate"}"#),
        (Operation::MintNonce, r#"{"purpose":"appraisal","profile":"device"}"#),
        (Operation::MintNonce, r#"["appraisal"]"#),
        (Operation::MintNonce, r#"{}"#),
        (Operation::MintNonce, r#"{"purpose":"appraisal"} {}"#),
        (Operation::Activate, r#"{"secret":"AA==","secret":"AA=="}"#),
        (Operation::Activate, r#"{"secret":"AA"}"#),
        (Operation::Activate, r#"{"secret":"AB=="}"#),
        (Operation::Issue, r#"{"csr":"AA==","nonce":"00","nonce":"01"}"#),
        (Operation::Issue, r#"{"csr":"AA==","nonce":"0"}"#),
        (Operation::Appraise, r#"{"nonce":"00"}"#),
        (Operation::Appraise, r#"{"nonce":"00","csr":"AA==","evidence":["AA=="]}"#),
        (Operation::Appraise, r#"{"nonce":"00","evidence":[]}"#),
    ] {
        assert!(Request::parse(operation, JSON, text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn lists_end_where_their_limit_is() {
    let list = |count: usize| vec!["\"\""; count].join(",");
    let appraisal = |count| format!(r#"{{"nonce":"00","evidence":[{}]}}"#, list(count));
    let parse = |text: String| Request::parse(Operation::Appraise, JSON, text.as_bytes());
    assert!(parse(appraisal(64)).is_ok());
    assert!(matches!(parse(appraisal(65)).unwrap_err(), Error::MalformedJson(_)));
    let challenge = |count| {
        let text = format!(r#"{{"device":"d","ek_certificates":[{}],"ak_public":"","nonce":""}}"#, list(count));
        Request::parse(Operation::OpenChallenge, JSON, text.as_bytes())
    };
    assert!(challenge(512).is_ok());
    assert!(matches!(challenge(513).unwrap_err(), Error::MalformedJson(_)));
    assert!(matches!(challenge(300_000).unwrap_err(), Error::MalformedJson(_)));
}

#[test]
fn seeds_of_cmp_are_read_and_altered_ones_mean_one_thing() {
    use vouchsafe_authority::protocol::cmp::{Message, MessageType};
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/cmp");
    let mut types = Vec::new();
    for seed in std::fs::read_dir(folder).unwrap() {
        let path = seed.unwrap().path();
        let data = std::fs::read(&path).unwrap();
        let message = Message::parse(&data).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        types.push(message.body.message_type());
        cmp::message(&data);
        for place in 0..data.len() {
            for change in [1, 0x80, 0xFF] {
                let mut altered = data.clone();
                altered[place] ^= change;
                cmp::message(&altered);
            }
            cmp::message(&data[..place]);
        }
    }
    for served in MessageType::ALL.into_iter().filter(|kind| *kind != MessageType::Error) {
        use vouchsafe_authority::protocol::cmp::MessageAccess;
        assert_eq!(types.contains(&served), served.access() != MessageAccess::Nobody, "{served:?}");
    }
}

/// The seeds of a target, by name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

/// A seed, cut everywhere and with every octet changed in three ways.
fn altered(seed: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let cut = (0..seed.len()).map(|length| seed[..length].to_vec());
    let changed = (0..seed.len()).flat_map(|place| [1, 0x80, 0xFF].map(|change| (place, change)));
    cut.chain(changed.map(|(place, change)| {
        let mut altered = seed.to_vec();
        altered[place] ^= change;
        altered
    }))
}

fn check_seeds(target: &str, reads: fn(&[u8]) -> bool, check: fn(&[u8])) {
    let seeds = seeds(target);
    assert!(seeds.len() > 1, "{target}");
    for (name, seed) in seeds {
        assert!(reads(&seed), "{name} is not read");
        check(&seed);
        altered(&seed).for_each(|altered| check(&altered));
    }
}

#[test]
fn seeds_of_acme_of_resolvers_and_of_macs_are_read_and_altered_ones_mean_one_thing() {
    use vouchsafe_authority::protocol::acme::{Jws, read_attestation_object, read_dns_answer};
    use vouchsafe_authority::protocol::cmp::PasswordMac;
    use vouchsafe_evidence::x509::AlgorithmIdentifier;
    check_seeds("acme", |seed| Jws::parse(seed).is_ok(), acme::jws);
    let object = |seed: &[u8]| read_attestation_object(seed, acme::KEY_AUTHORIZATION).is_ok();
    check_seeds("acme_attestation", object, acme::attestation_object);
    let answer = |seed: &[u8]| {
        let (question, query, message) = acme::dns_parts(seed).unwrap();
        read_dns_answer(message, query, acme::ASKED, question).is_ok_and(|found| !found.is_empty())
    };
    check_seeds("dns_answer", answer, acme::dns_answer);
    let mac = |seed: &[u8]| PasswordMac::from_algorithm(&AlgorithmIdentifier::parse(seed).unwrap()).is_ok();
    check_seeds("cmp_mac", mac, cmp_mac::parameters);
}
