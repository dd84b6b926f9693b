//! Attestation by a PKCS #11 token: what Evidence says, by whom, and what it never says.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use vouchsafe_agent::provider::PlatformMechanism;
use vouchsafe_agent::provider::pkcs11::inspect;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::{CertView, SpkiView};

use super::*;
use crate::pki::Authority;

pub fn verify_evidence(attestation: &Attestation, attesting: &SpkiView) {
    let view = EvidenceView::parse(&attestation.statement).unwrap();
    let [block] = view.signatures() else { panic!("{} signatures", view.signatures().len()) };
    let (algorithm, key): (&'static dyn VerificationAlgorithm, _) = match attesting.as_der().len() {
        91 => (&ECDSA_P256_SHA256_ASN1, attesting.as_der()[26..].to_vec()),
        120 => (&ECDSA_P384_SHA384_ASN1, attesting.as_der()[23..].to_vec()),
        _ => (&RSA_PKCS1_2048_8192_SHA256, attesting.as_der()[24..].to_vec()),
    };
    UnparsedPublicKey::new(algorithm, key).verify(view.tbs(), block.signature).unwrap();
    let signer = match (&block.signer.certificate, &block.signer.spki) {
        (Some(certificate), None) => certificate.spki().clone(),
        (None, Some(spki)) => spki.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(signer, *attesting);
    assert_eq!(view.elements().transaction.as_ref().unwrap().attestation_keys, std::slice::from_ref(attesting));
}

fn key_claim(number: u32) -> Oid {
    oid::within(oid::EVIDENCE_ARC, &[1, 2, number])
}

fn platform_claim(number: u32) -> Oid {
    oid::within(oid::EVIDENCE_ARC, &[1, 1, number])
}

#[test]
fn evidence_says_what_the_token_says_and_nothing_else() {
    alone("attestation::evidence_says_what_the_token_says_and_nothing_else", |softhsm| {
        let mut provider = fresh(softhsm);
        let id = uid();
        let key = provider.generate(&id, sign_key(KeyKind::EcP384)).unwrap();
        let public = provider.export_public(&key).unwrap();
        let keys = provider.attesting_keys().unwrap();
        let [attesting] = &keys[..] else { panic!("{keys:?}") };
        assert_eq!(
            (attesting.is_default, attesting.kind, &attesting.families[..]),
            (true, KeyKind::EcP256, &[Family::PkixEvidence][..])
        );
        let spki = SpkiView::parse(&attesting.spki).unwrap();

        let attested = attest(&mut provider, &key).unwrap();
        assert_eq!(attested.statement_oid, oid::STATEMENT_PKIX_EVIDENCE);
        verify_evidence(&attested, &spki);
        let view = EvidenceView::parse(&attested.statement).unwrap();
        let elements = view.elements();
        assert!(elements.ignored.is_empty());
        assert_eq!(elements.transaction.as_ref().unwrap().nonce, Some(&NONCE[..]));
        let platform = elements.platform.as_ref().unwrap();
        assert_eq!(platform.vendor, Some("SoftHSM project"));
        assert_eq!(platform.hw_model, Some(&b"SoftHSM v2"[..]));
        assert_eq!((platform.hw_version, platform.sw_version), (Some("2.6"), Some("2.6")));
        assert_eq!(platform.hw_serial.unwrap().len(), 16);
        // The token reports no validation, so none is claimed; nor anything else that no function of the library says.
        assert_eq!((platform.fips_boot, platform.fips_level, platform.fips_version), (None, None, None));
        assert_eq!((platform.oem_id, platform.uptime_seconds, platform.debug.is_none()), (None, None, true));
        let [reported] = &elements.keys[..] else { panic!("{:?}", elements.keys) };
        assert_eq!(reported.identifier, id.to_string());
        assert_eq!(reported.spki.as_ref().unwrap().as_der(), public.spki);
        assert_eq!((reported.extractable, reported.sensitive), (Some(false), Some(true)));
        assert_eq!((reported.never_extractable, reported.local), (Some(true), Some(true)));
        assert_eq!(reported.purposes.unwrap().words().collect::<Vec<_>>(), ["sign"]);
        assert!(reported.expiry.is_none());

        // An end date, which only another program gives.
        let holder = PinHolder::new("keys");
        let [public] = holder.find(ObjectClass::PUBLIC_KEY, id.as_octets())[..] else { panic!("not one") };
        let date = cryptoki::types::Date::new_from_str_slice("2031", "01", "31").unwrap();
        holder.session.update_attributes(public, &[Attribute::EndDate(date)]).unwrap();
        let attested = attest(&mut provider, &key).unwrap();
        let view = EvidenceView::parse(&attested.statement).unwrap();
        assert_eq!(view.elements().keys[0].expiry.unwrap().to_rfc3339(), "2031-01-31T23:59:59Z");
    });
}

#[test]
fn only_what_was_asked_for_is_disclosed() {
    alone("attestation::only_what_was_asked_for_is_disclosed", |softhsm| {
        let mut provider = fresh(softhsm);
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        let asked = |types: &[Oid], with_platform| EvidenceRequest {
            claims: ClaimSelection::Only(types.to_vec()),
            with_platform,
        };
        let serial = platform_claim(4);
        let request = KeyMechanism::PkixEvidence(asked(&[key_claim(1), key_claim(2), serial], false));
        let attested = provider.attest_key(&key, AttestingKeyChoice::Default, &request, &NONCE).unwrap();
        let view = EvidenceView::parse(&attested.statement).unwrap();
        assert!(view.elements().platform.is_none());
        let reported = &view.elements().keys[0];
        assert!(reported.spki.is_some() && reported.extractable.is_some());
        assert!(reported.sensitive.is_none() && reported.local.is_none() && reported.purposes.is_none());

        let request = KeyMechanism::PkixEvidence(asked(&[key_claim(1), serial], true));
        let attested = provider.attest_key(&key, AttestingKeyChoice::Default, &request, &[]).unwrap();
        let view = EvidenceView::parse(&attested.statement).unwrap();
        let platform = view.elements().platform.as_ref().unwrap();
        assert!(platform.hw_serial.is_some() && platform.vendor.is_none() && platform.sw_version.is_none());
        assert_eq!(view.elements().transaction.as_ref().unwrap().nonce, None);

        // Key and platform in two: bound by attesting key and nonce.
        let request = PlatformMechanism::PkixEvidence(asked(&[serial], false));
        let alone = provider.attest_platform(AttestingKeyChoice::Default, &request, &NONCE).unwrap();
        let view = EvidenceView::parse(&alone.statement).unwrap();
        assert!(view.elements().keys.is_empty() && view.elements().platform.is_some());
        assert_eq!(view.elements().transaction.as_ref().unwrap().nonce, Some(&NONCE[..]));
        let spki = SpkiView::parse(&provider.attesting_keys().unwrap()[0].spki).unwrap();
        verify_evidence(&alone, &spki);
        // Of what was asked for this token has nothing: no Evidence rather than one that says nothing.
        let request = PlatformMechanism::PkixEvidence(asked(&[platform_claim(12)], false));
        let nothing = provider.attest_platform(AttestingKeyChoice::Default, &request, &NONCE);
        assert_eq!(code(nothing), "agent.not-supported");
    });
}

#[test]
fn attesting_keys_are_made_listed_certified_and_chosen() {
    alone("attestation::attesting_keys_are_made_listed_certified_and_chosen", |softhsm| {
        softhsm.token("keys");
        let store = MemoryStore::new();
        let mut provider = provider(softhsm.settings("keys"), &store);
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        for (name, kind) in [("p384", KeyKind::EcP384), ("rsa", KeyKind::Rsa2048)] {
            let made = provider.create_attesting_key(name, AttestingKeySpec { kind, is_pseudonym: false }).unwrap();
            let spki = SpkiView::parse(&made.spki).unwrap();
            let choice = AttestingKeyChoice::Named(name);
            verify_evidence(&provider.attest_key(&key, choice, &all_claims(), &NONCE).unwrap(), &spki);
        }
        let spec = AttestingKeySpec { kind: KeyKind::EcP256, is_pseudonym: false };
        assert_eq!(code(provider.create_attesting_key("p384", spec)), "agent.attesting-key-exists");
        assert_eq!(code(provider.create_attesting_key("A/b", spec)), "agent.attesting-key-name");
        for kind in [KeyKind::Rsa1024, KeyKind::EcP521, KeyKind::Rsa4096] {
            let spec = AttestingKeySpec { kind, is_pseudonym: false };
            assert_eq!(code(provider.create_attesting_key("other", spec)), "agent.not-supported");
        }
        let pseudonym = AttestingKeySpec { is_pseudonym: true, ..spec };
        assert_eq!(code(provider.create_attesting_key("other", pseudonym)), "agent.not-supported");

        let endorsement = provider.endorsement("").unwrap();
        assert_eq!((endorsement.attesting_key.as_str(), endorsement.certificates.len()), ("default", 0));
        let spki = SpkiView::parse(&endorsement.spki).unwrap();
        let own = endorsement.attestation.unwrap();
        verify_evidence(&own, &spki);
        let view = EvidenceView::parse(&own.statement).unwrap();
        assert_eq!(view.elements().keys[0].spki.as_deref(), Some(&spki));
        assert_eq!(view.elements().keys[0].never_extractable, Some(true));

        let authority = Authority::new();
        let certificate = authority.certify(&endorsement.spki, "CN=attester", false);
        let family = Family::PkixEvidence;
        let of = |certificate: &[u8]| FamilyCertificates {
            family,
            certificates: vec![certificate.to_vec(), authority.certificate.clone()],
        };
        let strange = authority.certify(&provider.export_public(&key).unwrap().spki, "CN=x", false);
        assert_eq!(code(provider.install_certificates("", &[of(&strange)])), "agent.certificate-mismatch");
        let foreign = FamilyCertificates { family: Family::Attest, ..of(&certificate) };
        assert_eq!(code(provider.install_certificates("", &[foreign])), "agent.not-supported");
        provider.install_certificates("", &[of(&certificate)]).unwrap();
        let attested = attest(&mut provider, &key).unwrap();
        verify_evidence(&attested, &spki);
        let view = EvidenceView::parse(&attested.statement).unwrap();
        assert_eq!(view.signatures()[0].signer.certificate, Some(CertView::parse(&certificate).unwrap()));
        // The root is whose who verifies.
        assert!(view.intermediates().is_empty());
        assert_eq!(attested.certificates, [certificate.clone(), authority.certificate.clone()]);

        // Over a restart, in the order of the list.
        drop(provider);
        let mut provider = self::provider(softhsm.settings("keys"), &store);
        let names: Vec<_> = provider.attesting_keys().unwrap().into_iter().map(|key| key.name).collect();
        assert_eq!(names, ["default", "p384", "rsa"]);
        assert_eq!(provider.attesting_keys().unwrap()[0].certificates[0].certificates[0], certificate);
        assert_eq!(
            code(provider.attest_key(&key, AttestingKeyChoice::Named("no"), &all_claims(), &NONCE)),
            "agent.attesting-key-unknown"
        );
    });
}

#[test]
fn a_client_attests_with_its_own_attesting_key_and_with_no_other_key_of_its_own() {
    alone("attestation::a_client_attests_with_its_own_attesting_key_and_with_no_other_key_of_its_own", |softhsm| {
        let mut provider = fresh(softhsm);
        let key = provider.generate(&uid(), sign_key(KeyKind::Rsa2048)).unwrap();
        let spec = KeySpec { kind: KeyKind::EcP256, purpose: KeyPurpose::Attest };
        let attesting = provider.generate(&uid(), spec).unwrap();
        assert_eq!(provider.families(&attesting).unwrap(), [Family::PkixEvidence]);
        assert!(provider.families(&key).unwrap().is_empty());
        let spki = SpkiView::parse(&provider.export_public(&attesting).unwrap().spki).unwrap();
        let own = AttestingKeyChoice::Own { key: &attesting, certificates: &[] };
        verify_evidence(&provider.attest_key(&key, own, &all_claims(), &NONCE).unwrap(), &spki);
        let own = AttestingKeyChoice::Own { key: &key, certificates: &[] };
        assert_eq!(code(provider.attest_key(&key, own, &all_claims(), &NONCE)), "agent.purpose-mismatch");
        assert_eq!(code(sign(&mut provider, &attesting)), "agent.purpose-mismatch");
    });
}

#[test]
fn attesting_keys_may_lie_in_a_token_of_their_own() {
    alone("attestation::attesting_keys_may_lie_in_a_token_of_their_own", |softhsm| {
        softhsm.token("keys");
        softhsm.token("attesting");
        let name = TokenName::Label("attesting".to_owned());
        let attesting_token = Some((name, softhsm.pin_file("pin2", PIN)));
        let settings = Settings { attesting_token, ..softhsm.settings("keys") };
        let mut provider = provider(settings.clone(), &MemoryStore::new());
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        let spki = SpkiView::parse(&provider.attesting_keys().unwrap()[0].spki).unwrap();
        verify_evidence(&attest(&mut provider, &key).unwrap(), &spki);
        assert_eq!(PinHolder::new("attesting").count(), 2);
        assert_eq!(PinHolder::new("keys").count(), 2);
        let found = inspect(&settings).unwrap();
        assert_eq!(found.tokens.len(), 2);
        assert!(found.tokens.iter().all(|token| token.pin.is_none() && token.kinds == KeyKind::ALL));
        assert!(found.tokens[0].description.as_ref().unwrap().contains("SoftHSM"));
    });
}

#[test]
fn a_replaced_public_key_is_found_out() {
    alone("attestation::a_replaced_public_key_is_found_out", |softhsm| {
        softhsm.token("keys");
        let store = MemoryStore::new();
        let mut provider = provider(softhsm.settings("keys"), &store);
        let (id, other, aside) = (uid(), uid(), uid());
        let key = provider.generate(&id, sign_key(KeyKind::EcP256)).unwrap();
        let other_key = provider.generate(&other, sign_key(KeyKind::EcP256)).unwrap();
        attest(&mut provider, &key).unwrap();
        let holder = PinHolder::new("keys");
        // Swapped: each private key has the other's public key now.
        holder.rename(ObjectClass::PUBLIC_KEY, &id, &aside);
        holder.rename(ObjectClass::PUBLIC_KEY, &other, &id);
        holder.rename(ObjectClass::PUBLIC_KEY, &aside, &other);
        assert_eq!(code(attest(&mut provider, &key)), "agent.token-public-key-replaced");
        // Swapped the other way round: the blob fits the public key, and what signs is another private key.
        for (from, to) in [(&id, &aside), (&other, &id), (&aside, &other)] {
            holder.rename(ObjectClass::PUBLIC_KEY, from, to);
        }
        attest(&mut provider, &key).unwrap();
        for (from, to) in [(&id, &aside), (&other, &id), (&aside, &other)] {
            holder.rename(ObjectClass::PRIVATE_KEY, from, to);
        }
        assert_eq!(code(attest(&mut provider, &key)), "agent.token-not-a-pair");
        assert_eq!(code(attest(&mut provider, &other_key)), "agent.token-not-a-pair");
        for (from, to) in [(&id, &aside), (&other, &id), (&aside, &other)] {
            holder.rename(ObjectClass::PRIVATE_KEY, from, to);
        }
        attest(&mut provider, &key).unwrap();
        // Two private keys, two public keys of one id.
        holder.rename(ObjectClass::PRIVATE_KEY, &other, &id);
        assert_eq!(code(attest(&mut provider, &key)), "agent.token-id-ambiguous");
        let [one, _] = holder.find(ObjectClass::PRIVATE_KEY, id.as_octets())[..] else { panic!("not two") };
        holder.session.destroy_object(one).unwrap();
        holder.rename(ObjectClass::PUBLIC_KEY, &other, &id);
        assert_eq!(code(attest(&mut provider, &key)), "agent.token-id-ambiguous");
        holder.destroy(ObjectClass::PUBLIC_KEY, &id);
        assert_eq!(code(attest(&mut provider, &key)), "agent.token-public-key-replaced");

        // The same of an attesting key. Others go on.
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        for object in
            holder.session.find_objects(&[Attribute::Label(b"vouchsafe attesting key default".to_vec())]).unwrap()
        {
            if holder.session.get_attributes(object, &[AttributeType::Class]).unwrap()
                == [Attribute::Class(ObjectClass::PUBLIC_KEY)]
            {
                holder.session.destroy_object(object).unwrap();
            }
        }
        drop(provider);
        let mut provider = self::provider(softhsm.settings("keys"), &store);
        assert_eq!(code(attest(&mut provider, &key)), "agent.token-public-key-replaced");
        sign(&mut provider, &key).unwrap();
    });
}

#[test]
fn a_token_that_signs_wrongly_attests_nothing() {
    alone("attestation::a_token_that_signs_wrongly_attests_nothing", |softhsm| {
        let mut provider = spoilable(softhsm);
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        softhsm.spoil("wrong-signature", 20, "always");
        assert_eq!(code(attest(&mut provider, &key)), "agent.token-not-a-pair");
        softhsm.heal();
        // A proof is good for a while: one signature for the Evidence alone.
        attest(&mut provider, &key).unwrap();
        let before = softhsm.calls("Sign");
        attest(&mut provider, &key).unwrap();
        assert_eq!(softhsm.calls("Sign"), before + 1);
    });
}

#[test]
fn a_validation_is_claimed_where_the_token_reports_one() {
    alone("attestation::a_validation_is_claimed_where_the_token_reports_one", |softhsm| {
        let mut provider = spoilable(softhsm);
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        softhsm.spoil("validation", 3, "always");
        let attested = attest(&mut provider, &key).unwrap();
        let view = EvidenceView::parse(&attested.statement).unwrap();
        let platform = view.elements().platform.as_ref().unwrap();
        assert_eq!((platform.fips_version, platform.fips_level), (Some("FIPS 140-3"), Some(3)));
        assert_eq!(platform.fips_module, Some("Example HSM"));
        // This library cannot say that the validation is in force.
        assert_eq!(platform.fips_boot, Some(false));
    });
}

/// What scripts/peers fetches for programs in Python.
const PYTHON_PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers/python");

/// The claims of Evidence as a program that is not of this project reads them: element, claim, DER of the value.
fn read_elsewhere(softhsm: &SoftHsm, attestation: &Attestation) -> Vec<String> {
    let file = softhsm.folder().join("evidence.der");
    std::fs::write(&file, &attestation.statement).unwrap();
    let mut program = Command::new("python3");
    program.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/python/evidence.py")).arg(file);
    let read = program.env("PYTHONPATH", PYTHON_PACKAGES).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    String::from_utf8(read.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_reader_that_is_not_ours_reads_and_verifies_the_same() {
    assert!(std::path::Path::new(PYTHON_PACKAGES).join("pyasn1").exists(), "run scripts/peers");
    alone("attestation::a_reader_that_is_not_ours_reads_and_verifies_the_same", |softhsm| {
        let mut provider = fresh(softhsm);
        let id = uid();
        let key = provider.generate(&id, sign_key(KeyKind::EcP256)).unwrap();
        let public = provider.export_public(&key).unwrap();
        let default = provider.attesting_keys().unwrap().remove(0);
        let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        let der = |tag: u8, octets: &[u8]| hex(&[&[tag, u8::try_from(octets.len()).unwrap()], octets].concat());
        let mut expected = vec![
            format!("0 0 {}", der(4, &NONCE)),
            format!("0 2 {}", der(4, &default.spki)),
            format!("1 0 {}", der(12, b"SoftHSM project")),
            format!("1 2 {}", der(4, b"SoftHSM v2")),
            format!("1 3 {}", der(12, b"2.6")),
            format!("1 6 {}", der(12, b"2.6")),
            format!("2 0 {}", der(12, id.to_string().as_bytes())),
            format!("2 1 {}", der(4, &public.spki)),
            format!("2 2 {}", der(1, &[0])),
            format!("2 3 {}", der(1, &[255])),
            format!("2 4 {}", der(1, &[255])),
            format!("2 5 {}", der(1, &[255])),
            // SEQUENCE OF one OID, 1.3.6.1.5.5.999.2.4.
            "2 7 300b06092b0601050587670204".to_owned(),
        ];
        let mut read = read_elsewhere(softhsm, &attest(&mut provider, &key).unwrap());
        read.retain(|line| !line.starts_with("1 4 "));
        expected.sort();
        read.sort();
        assert_eq!(read, expected);
        // With a certificate, and by attesting keys of other kinds.
        let authority = Authority::new();
        let certificates = vec![authority.certify(&default.spki, "CN=a", false), authority.certificate.clone()];
        let family = Family::PkixEvidence;
        provider.install_certificates("", &[FamilyCertificates { family, certificates }]).unwrap();
        assert_eq!(read_elsewhere(softhsm, &attest(&mut provider, &key).unwrap()).len(), read.len() + 1);
        for (name, kind) in [("p384", KeyKind::EcP384), ("rsa", KeyKind::Rsa3072)] {
            provider.create_attesting_key(name, AttestingKeySpec { kind, is_pseudonym: false }).unwrap();
            let attested = provider.attest_key(&key, AttestingKeyChoice::Named(name), &all_claims(), &NONCE).unwrap();
            assert_eq!(read_elsewhere(softhsm, &attested).len(), read.len() + 1);
        }
    });
}
