//! The PKCS #11 provider on SoftHSM: keys, attestations, and everything that a token can do wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_docs
)]

#[path = "support/conformance.rs"]
mod conformance;
#[path = "support/pki.rs"]
mod pki;
#[path = "support/softhsm.rs"]
mod softhsm;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, Pkcs1PublicEncryptingKey, PublicEncryptingKey};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use conformance::{digest, sign_key, uid};
use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use pki::Authority;
use softhsm::{PIN, SoftHsm, alone, library};
use vouchsafe_agent::provider::pkcs11::{Pkcs11Provider, Settings, TokenName, inspect};
use vouchsafe_agent::provider::{
    Attestation, AttestationSubject, Attester, AttestingKeyChoice, AttestingKeySpec, ClaimSelection, EncryptionScheme,
    EvidenceRequest, Family, FamilyCertificates, Fault, FaultClass, Hash, KeyBlob, KeyKind, KeyMechanism, KeyProvider,
    KeyPurpose, KeySpec, KeyUid, MechanismName, MemoryStore, PlatformMechanism, SignatureScheme,
};
use vouchsafe_evidence::formats::pkix_evidence::EvidenceView;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::{CertView, SpkiView};

const NONCE: [u8; 32] = [0x42; 32];
const P256: SignatureScheme = SignatureScheme::Ecdsa(Hash::Sha256);

fn provider(settings: Settings, store: &MemoryStore) -> Pkcs11Provider {
    Pkcs11Provider::open(settings, Box::new(store.clone())).unwrap()
}

/// A provider on a new token of its own, straight to SoftHSM.
fn fresh(softhsm: &SoftHsm) -> Pkcs11Provider {
    softhsm.token("keys");
    provider(softhsm.settings("keys"), &MemoryStore::new())
}

/// As [`fresh`], through the library that spoils answers.
fn spoilable(softhsm: &SoftHsm) -> Pkcs11Provider {
    softhsm.token("keys");
    provider(softhsm.faulty_settings("keys"), &MemoryStore::new())
}

fn sign(provider: &mut Pkcs11Provider, key: &KeyBlob) -> Result<Vec<u8>, Fault> {
    provider.sign_hash(key, P256, &digest(Hash::Sha256, b"message"))
}

fn all_claims() -> KeyMechanism {
    KeyMechanism::PkixEvidence(EvidenceRequest { claims: ClaimSelection::Default, with_platform: true })
}

fn attest(provider: &mut Pkcs11Provider, key: &KeyBlob) -> Result<Attestation, Fault> {
    provider.attest_key(key, AttestingKeyChoice::Default, &all_claims(), &NONCE)
}

fn code<T: std::fmt::Debug>(result: Result<T, Fault>) -> &'static str {
    let fault = result.unwrap_err();
    assert!(!fault.next_step().is_empty());
    fault.code()
}

/// Another program that has the token's PIN.
struct PinHolder {
    session: Session,
}

impl PinHolder {
    /// In the provider's own process, which is logged in already.
    fn new(label: &str) -> Self {
        let pkcs11 = Pkcs11::new(library()).unwrap();
        let slots = pkcs11.get_slots_with_token().unwrap();
        let slot = slots.into_iter().find(|slot| pkcs11.get_token_info(*slot).unwrap().label() == label).unwrap();
        Self { session: pkcs11.open_rw_session(slot).unwrap() }
    }

    fn find(&self, class: ObjectClass, id: &[u8]) -> Vec<ObjectHandle> {
        self.session.find_objects(&[Attribute::Class(class), Attribute::Id(id.to_vec())]).unwrap()
    }

    fn count(&self) -> usize {
        self.session.find_objects(&[]).unwrap().len()
    }

    /// Gives the object of that class and id another id.
    fn rename(&self, class: ObjectClass, from: &KeyUid, to: &KeyUid) {
        let [object] = self.find(class, from.as_octets())[..] else { panic!("not one object") };
        self.session.update_attributes(object, &[Attribute::Id(to.as_octets().to_vec())]).unwrap();
    }

    fn destroy(&self, class: ObjectClass, uid: &KeyUid) {
        for object in self.find(class, uid.as_octets()) {
            self.session.destroy_object(object).unwrap();
        }
    }
}

#[test]
fn keys_behave_as_those_of_every_provider() {
    alone("keys_behave_as_those_of_every_provider", |softhsm| {
        let mut provider = fresh(softhsm);
        conformance::keys(&mut provider, &KeyKind::ALL);
        conformance::misuse(&mut provider);
    });
}

#[test]
fn messages_are_decrypted_and_others_are_refused() {
    alone("messages_are_decrypted_and_others_are_refused", |softhsm| {
        let mut provider = spoilable(softhsm);
        let spec = KeySpec { kind: KeyKind::Rsa2048, purpose: KeyPurpose::Decrypt };
        let key = provider.generate(&uid(), spec).unwrap();
        let spki = provider.export_public(&key).unwrap().spki;
        let public = Pkcs1PublicEncryptingKey::new(PublicEncryptingKey::from_der(&spki).unwrap()).unwrap();
        let mut ciphertext = vec![0; public.ciphertext_size()];
        public.encrypt(b"secret", &mut ciphertext).unwrap();
        let opened = provider.decrypt(&key, EncryptionScheme::RsaPkcs1v15, &ciphertext, &[]).unwrap();
        assert_eq!(*opened, b"secret");
        // Whatever is wrong with it, the answer is the same, and the library is not restarted for it.
        ciphertext[9] ^= 1;
        for wrong in [&ciphertext[..], &[0; 256], &[0xFF; 256], &ciphertext[1..], &[]] {
            let fault = provider.decrypt(&key, EncryptionScheme::RsaPkcs1v15, wrong, &[]).unwrap_err();
            assert_eq!((fault.code(), fault.class()), ("agent.ciphertext-invalid", FaultClass::Padding), "{fault}");
        }
        assert_eq!(softhsm.calls("Finalize"), 0);
        // SoftHSM has no OAEP but that with SHA-1, which is not offered.
        let public = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&spki).unwrap()).unwrap();
        let mut ciphertext = vec![0; public.ciphertext_size()];
        public.encrypt(&OAEP_SHA256_MGF1SHA256, b"secret", &mut ciphertext, None).unwrap();
        let refused = provider.decrypt(&key, EncryptionScheme::RsaOaep(Hash::Sha256), &ciphertext, &[]);
        assert_eq!(code(refused), "agent.not-supported");
        // Both uses of one key do not go together.
        assert_eq!(
            code(provider.sign_hash(&key, SignatureScheme::RsaPkcs1v15(Hash::Sha256), &[0; 32])),
            "agent.purpose-mismatch"
        );
        assert!(provider.mechanisms(Some(&key)).unwrap().iter().any(|row| row.name == MechanismName::PkixEvidence));
        let attested = attest(&mut provider, &key).unwrap();
        let view = EvidenceView::parse(&attested.statement).unwrap();
        assert_eq!(view.elements().keys[0].purposes.unwrap().words().collect::<Vec<_>>(), ["decrypt"]);
    });
}

#[test]
fn what_is_in_the_token_is_what_was_asked_for_and_goes_with_the_key() {
    alone("what_is_in_the_token_is_what_was_asked_for_and_goes_with_the_key", |softhsm| {
        let mut provider = fresh(softhsm);
        let holder = PinHolder::new("keys");
        // The attesting key.
        assert_eq!(holder.count(), 2);
        let id = uid();
        let key = provider.generate(&id, sign_key(KeyKind::EcP256)).unwrap();
        assert_eq!(holder.count(), 4);
        let [private] = holder.find(ObjectClass::PRIVATE_KEY, id.as_octets())[..] else { panic!("not one") };
        let wanted = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::AlwaysSensitive(true),
            Attribute::Extractable(false),
            Attribute::NeverExtractable(true),
            Attribute::Local(true),
            Attribute::Sign(true),
            Attribute::Decrypt(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
        ];
        for attribute in wanted {
            let found = holder.session.get_attributes(private, &[attribute.attribute_type()]).unwrap();
            assert_eq!(found, [attribute]);
        }
        // Nothing secret is in the blob, and it is of no use in another token.
        assert_eq!(key.as_bytes().len(), 54);
        provider.destroy(&key).unwrap();
        assert_eq!(holder.count(), 2);
        assert_eq!(code(sign(&mut provider, &key)), "agent.key-lost");
        assert_eq!(code(provider.export_public(&key)), "agent.key-lost");
        provider.destroy(&key).unwrap();
        provider.abandon(&id).unwrap();
        assert_eq!(holder.count(), 2);
    });
}

fn verify_evidence(attestation: &Attestation, attesting: &SpkiView) {
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

#[test]
fn evidence_says_what_the_token_says_and_nothing_else() {
    alone("evidence_says_what_the_token_says_and_nothing_else", |softhsm| {
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

fn key_claim(number: u32) -> Oid {
    oid::within(oid::EVIDENCE_ARC, &[1, 2, number])
}

fn platform_claim(number: u32) -> Oid {
    oid::within(oid::EVIDENCE_ARC, &[1, 1, number])
}

#[test]
fn only_what_was_asked_for_is_disclosed() {
    alone("only_what_was_asked_for_is_disclosed", |softhsm| {
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
    alone("attesting_keys_are_made_listed_certified_and_chosen", |softhsm| {
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
        assert_eq!(code(provider.install_certificates("", of(&strange))), "agent.certificate-mismatch");
        let foreign = FamilyCertificates { family: Family::Attest, ..of(&certificate) };
        assert_eq!(code(provider.install_certificates("", foreign)), "agent.not-supported");
        provider.install_certificates("", of(&certificate)).unwrap();
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
    alone("a_client_attests_with_its_own_attesting_key_and_with_no_other_key_of_its_own", |softhsm| {
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
    alone("attesting_keys_may_lie_in_a_token_of_their_own", |softhsm| {
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
    alone("a_replaced_public_key_is_found_out", |softhsm| {
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
    alone("a_token_that_signs_wrongly_attests_nothing", |softhsm| {
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
fn attributes_that_lie_or_hide_are_named() {
    alone("attributes_that_lie_or_hide_are_named", |softhsm| {
        let mut provider = spoilable(softhsm);
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        attest(&mut provider, &key).unwrap();
        // CKA_EXTRACTABLE, CKA_SENSITIVE, CKA_EC_POINT, CKA_EC_PARAMS, CKA_KEY_TYPE, CKA_END_DATE.
        for (attribute, lengths) in [
            (0x162, &[0, 2, 1 << 40][..]),
            (0x103, &[8]),
            (0x181, &[5000, 1 << 40]),
            (0x180, &[1 << 33]),
            (0x100, &[0, 4, 1 << 50]),
            (0x111, &[3, 9]),
        ] {
            for length in lengths {
                softhsm.spoil(&format!("length-{attribute}"), *length, "always");
                assert_eq!(
                    code(attest(&mut provider, &key)),
                    "agent.token-attribute-length",
                    "{attribute:#x} {length}"
                );
            }
        }
        softhsm.spoil("hidden-385", 0, "always");
        assert_eq!(code(attest(&mut provider, &key)), "agent.token-attribute-hidden");
        // What need not be said is left out, and a list of purposes that would be short is too.
        for (attribute, number) in [(0x162, 2), (0x104, 7)] {
            softhsm.spoil(&format!("hidden-{attribute}"), 0, "always");
            if attribute == 0x162 {
                continue;
            }
            let attested = attest(&mut provider, &key);
            let Ok(attested) = attested else { panic!("{number}: {attested:?}") };
            let view = EvidenceView::parse(&attested.statement).unwrap();
            assert!(view.elements().keys[0].extractable.is_some());
        }
        softhsm.heal();
        attest(&mut provider, &key).unwrap();
    });
}

#[test]
fn a_validation_is_claimed_where_the_token_reports_one() {
    alone("a_validation_is_claimed_where_the_token_reports_one", |softhsm| {
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

#[test]
fn a_wrong_pin_is_tried_once() {
    alone("a_wrong_pin_is_tried_once", |softhsm| {
        softhsm.token("keys");
        let store = MemoryStore::new();
        let settings = softhsm.faulty_settings("keys");
        let open = || Pkcs11Provider::open(settings.clone(), Box::new(store.clone()));
        softhsm.pin_file("pin", "9999");
        for _ in 0..5 {
            let fault = open().err().unwrap();
            assert_eq!((fault.code(), fault.class()), ("agent.token-pin-refused", FaultClass::NotPermitted));
            assert!(!fault.to_string().contains("9999"));
        }
        assert_eq!(softhsm.calls("Login"), 1);
        thread::sleep(Duration::from_millis(20));
        softhsm.pin_file("pin", PIN);
        let mut provider = open().unwrap();
        assert_eq!(softhsm.calls("Login"), 2);
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        sign(&mut provider, &key).unwrap();
    });
}

#[test]
fn a_pin_is_not_tried_into_a_lock() {
    alone("a_pin_is_not_tried_into_a_lock", |softhsm| {
        softhsm.token("keys");
        let settings = softhsm.faulty_settings("keys");
        let open = || Pkcs11Provider::open(settings.clone(), Box::new(MemoryStore::new()));
        for (flag, expected) in [(0x2_0000, "agent.token-pin-final-try"), (0x4_0000, "agent.token-pin-locked")] {
            softhsm.spoil("token-flags", flag, "always");
            assert_eq!(open().err().unwrap().code(), expected);
            let found = inspect(&settings).unwrap();
            assert_eq!(found.tokens[0].pin.as_ref().unwrap().code(), expected);
        }
        assert_eq!(softhsm.calls("Login"), 0);
        // CKR_PIN_LOCKED
        softhsm.spoil("Login", 0xA4, "once");
        assert_eq!(open().err().unwrap().code(), "agent.token-pin-locked");
        open().unwrap();
    });
}

#[test]
fn what_is_missing_is_named() {
    alone("what_is_missing_is_named", |softhsm| {
        softhsm.token("keys");
        let open = |settings: Settings| Pkcs11Provider::open(settings, Box::new(MemoryStore::new())).err().unwrap();
        let settings = softhsm.settings("keys");
        let absent = open(Settings { token: TokenName::Label("other".to_owned()), ..settings.clone() });
        assert_eq!((absent.code(), absent.class()), ("agent.token-absent", FaultClass::Communication));
        assert!(absent.to_string().contains("\"other\""));
        let pin_file = softhsm.folder().join("no-pin");
        assert_eq!(open(Settings { pin_file, ..settings.clone() }).code(), "agent.token-pin-file");
        let module = "/nonexistent.so".into();
        assert_eq!(open(Settings { module, ..settings.clone() }).code(), "agent.token-module");
        softhsm.token("keys");
        // One more of that name, which the library sees when it looks anew.
        thread::sleep(Duration::from_millis(300));
        open(Settings { token: TokenName::Label("other".to_owned()), ..settings.clone() });
        let ambiguous = open(settings.clone());
        assert_eq!(ambiguous.code(), "agent.token-ambiguous");
        let pkcs11 = Pkcs11::new(library()).unwrap();
        let slot = pkcs11.get_slots_with_initialized_token().unwrap()[0];
        let serial = pkcs11.get_token_info(slot).unwrap().serial_number().to_owned();
        let by_serial = Settings { token: TokenName::Serial(serial), ..settings };
        Pkcs11Provider::open(by_serial, Box::new(MemoryStore::new())).unwrap();
    });
}

#[test]
fn a_token_that_is_taken_away_and_put_back_is_found_again() {
    alone("a_token_that_is_taken_away_and_put_back_is_found_again", |softhsm| {
        let mut provider = fresh(softhsm);
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        sign(&mut provider, &key).unwrap();
        for _ in 0..2 {
            thread::sleep(Duration::from_millis(300));
            softhsm.remove();
            let fault = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap_err();
            assert_eq!(fault.class(), FaultClass::Communication, "{fault}");
            let fault = sign(&mut provider, &key).unwrap_err();
            assert_eq!(fault.class(), FaultClass::Communication, "{fault}");
            assert_eq!(attest(&mut provider, &key).unwrap_err().class(), FaultClass::Communication);
            softhsm.put_back();
            let since = Instant::now();
            while sign(&mut provider, &key).is_err() {
                assert!(since.elapsed() < Duration::from_secs(5), "the token is not found again");
                thread::sleep(Duration::from_millis(20));
            }
            attest(&mut provider, &key).unwrap();
        }
    });
}

#[test]
fn faults_of_session_and_library_heal_by_themselves() {
    alone("faults_of_session_and_library_heal_by_themselves", |softhsm| {
        let mut provider = spoilable(softhsm);
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        // CKR_SESSION_HANDLE_INVALID, CKR_USER_NOT_LOGGED_IN, CKR_KEY_HANDLE_INVALID, CKR_DEVICE_REMOVED,
        // CKR_TOKEN_NOT_PRESENT, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_DEVICE_ERROR
        for code in [0xB3, 0x101, 0x60, 0x32, 0xE0, 0x190, 0x30] {
            thread::sleep(Duration::from_millis(300));
            for function in ["SignInit", "Sign"] {
                softhsm.spoil(function, code, "once");
                let signed = sign(&mut provider, &key);
                assert!(!softhsm.is_spoiling());
                if signed.is_err() {
                    // Restarted a moment ago already.
                    thread::sleep(Duration::from_millis(300));
                }
                sign(&mut provider, &key).unwrap();
            }
            attest(&mut provider, &key).unwrap();
        }
        // As long as it stays so, the fault is told, and the library is not restarted for every request.
        softhsm.spoil("SignInit", 0x32, "always");
        let before = softhsm.calls("Finalize");
        let since = Instant::now();
        for _ in 0..50 {
            assert_eq!(code(sign(&mut provider, &key)), "agent.token-removed");
        }
        let allowed = 1 + usize::try_from(since.elapsed().as_millis() / 250).unwrap();
        assert!(softhsm.calls("Finalize") - before <= allowed);
        softhsm.heal();
        sign(&mut provider, &key).unwrap();
    });
}

#[test]
fn a_token_that_vanishes_or_is_full_leaves_nothing_half_made() {
    alone("a_token_that_vanishes_or_is_full_leaves_nothing_half_made", |softhsm| {
        let mut provider = spoilable(softhsm);
        let count = || {
            let pkcs11 = Pkcs11::new(library()).unwrap();
            let slot = pkcs11.get_slots_with_initialized_token().unwrap()[0];
            pkcs11.open_ro_session(slot).unwrap().find_objects(&[]).unwrap().len()
        };
        assert_eq!(count(), 2);
        // CKR_DEVICE_MEMORY
        softhsm.spoil("GenerateKeyPair", 0x31, "always");
        let fault = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap_err();
        assert_eq!((fault.code(), fault.class()), ("agent.token-full", FaultClass::Full));
        assert_eq!(count(), 2);
        // Made, and then it cannot be read: CKR_FUNCTION_FAILED, CKR_ATTRIBUTE_SENSITIVE.
        for (what, number) in [("GetAttributeValue", 6), ("hidden-385", 0)] {
            softhsm.spoil(what, number, "always");
            assert!(provider.generate(&uid(), sign_key(KeyKind::EcP256)).is_err());
            softhsm.heal();
            provider.random(1).unwrap();
            assert_eq!(count(), 2, "{what}");
        }
        // Vanished between two steps: what could not be removed then is removed by its id.
        let id = uid();
        softhsm.spoil("GetAttributeValue", 0x32, "always");
        assert!(provider.generate(&id, sign_key(KeyKind::EcP256)).is_err());
        softhsm.heal();
        provider.abandon(&id).unwrap();
        assert_eq!(count(), 2);
        let spec = AttestingKeySpec { kind: KeyKind::EcP256, is_pseudonym: false };
        softhsm.spoil("hidden-385", 0, "always");
        assert!(provider.create_attesting_key("second", spec).is_err());
        softhsm.heal();
        assert_eq!(count(), 2);
        provider.create_attesting_key("second", spec).unwrap();
        assert_eq!(count(), 4);
    });
}

#[test]
fn two_providers_share_a_library() {
    alone("two_providers_share_a_library", |softhsm| {
        softhsm.token("keys");
        softhsm.token("others");
        let mut first = provider(softhsm.faulty_settings("keys"), &MemoryStore::new());
        let mut second = provider(softhsm.faulty_settings("others"), &MemoryStore::new());
        let key = first.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        let other = second.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        assert_eq!(code(sign(&mut second, &key)), "agent.key-lost");
        // A restart for the one ends the other's session, which the other does not notice.
        softhsm.spoil("SignInit", 0x32, "once");
        sign(&mut first, &key).unwrap();
        assert_eq!(softhsm.calls("Finalize"), 1);
        sign(&mut second, &other).unwrap();
        attest(&mut second, &other).unwrap();
        drop(first);
        sign(&mut second, &other).unwrap();
    });
}

/// Set in a process that a test starts once more: what it does there.
const ROLE: &str = "VOUCHSAFE_TEST_ROLE";

/// Makes keys and removes them, and says so, until it is killed.
fn make_and_abandon(softhsm: &SoftHsm) -> ! {
    let mut provider = provider(softhsm.settings("keys"), &MemoryStore::new());
    loop {
        let id = uid();
        println!("KEY {id}");
        provider.generate(&id, sign_key(KeyKind::EcP256)).unwrap();
        println!("KEY {id}");
        provider.abandon(&id).unwrap();
    }
}

/// What the agent does at its start for the key that is on record; then nothing of any key may be there.
fn clean_up_after(softhsm: &SoftHsm, id: &KeyUid) {
    let mut provider = provider(softhsm.settings("keys"), &MemoryStore::new());
    provider.abandon(id).unwrap();
    let holder = PinHolder::new("keys");
    let left: Vec<Vec<Attribute>> = (holder.session.find_objects(&[]).unwrap().into_iter())
        // SoftHSM may be killed before it has written anything of an object: of that it says nothing at all.
        .filter_map(|object| holder.session.get_attributes(object, &[AttributeType::Class, AttributeType::Label]).ok())
        .filter(|known| !matches!(&known[..], [_, Attribute::Label(l)] if l.starts_with(b"vouchsafe attesting key")))
        .collect();
    assert_eq!(left, Vec::<Vec<Attribute>>::new(), "{id}");
}

#[test]
fn a_process_that_is_killed_leaves_only_what_is_on_record() {
    const NAME: &str = "a_process_that_is_killed_leaves_only_what_is_on_record";
    alone(NAME, |softhsm| {
        match std::env::var(ROLE).as_deref() {
            Ok("make") => make_and_abandon(softhsm),
            Ok(hex) => {
                let octet = |i: usize| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
                return clean_up_after(softhsm, &KeyUid::from_octets(std::array::from_fn(octet)));
            }
            Err(_) => softhsm.token("keys"),
        }
        let again = |role: &str| {
            let mut program = Command::new(std::env::current_exe().unwrap());
            program.args(["--exact", NAME, "--nocapture", "--test-threads=1"]).env(ROLE, role);
            program
        };
        for round in 0..12_u64 {
            let mut maker = again("make").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let lines = BufReader::new(maker.stdout.take().unwrap()).lines().map_while(Result::ok);
            let mut keys = lines.filter_map(|line| line.strip_prefix("KEY ").map(str::to_owned));
            // Into the second key, and from there to somewhere in one that follows.
            let mut last = keys.by_ref().take(3).last().unwrap();
            thread::sleep(Duration::from_micros(round * 1300));
            maker.kill().unwrap();
            maker.wait().unwrap();
            if let Some(later) = keys.last() {
                last = later;
            }
            // In a process of its own, as the agent that is started again.
            let cleaned = again(&last).output().unwrap();
            assert!(cleaned.status.success(), "round {round}: {}", String::from_utf8_lossy(&cleaned.stderr));
        }
    });
}

#[test]
fn mechanisms_are_those_of_the_key() {
    alone("mechanisms_are_those_of_the_key", |softhsm| {
        let mut provider = fresh(softhsm);
        let rows = provider.mechanisms(None).unwrap();
        let subjects: Vec<_> = rows.iter().map(|row| (row.name, row.subject)).collect();
        let name = MechanismName::PkixEvidence;
        assert_eq!(subjects, [(name, AttestationSubject::Key), (name, AttestationSubject::Platform)]);
        let small = provider.generate(&uid(), sign_key(KeyKind::Rsa1024)).unwrap();
        assert!(provider.mechanisms(Some(&small)).unwrap().is_empty());
        assert_eq!(code(attest(&mut provider, &small)), "agent.mechanism-missing");
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        let certify = provider.attest_key(&key, AttestingKeyChoice::Default, &KeyMechanism::TpmCertify, &NONCE);
        assert_eq!(code(certify), "agent.mechanism-missing");
        for len in [1, 15, 65] {
            let attested = provider.attest_key(&key, AttestingKeyChoice::Default, &all_claims(), &vec![0; len]);
            assert_eq!(code(attested), "agent.nonce-length");
        }
        assert_eq!(code(provider.activation_parameters(&key)), "agent.not-supported");
    });
}
