//! The receiving side: who is believed that it has verified a request, for what, and what it may ask for.

use vouchsafe_evidence::oid::Oid;
use vouchsafe_evidence::x509::extensions::{BasicConstraints, GeneralName};

use super::*;
use crate::cmp::client::{Answer, CP, CR, IMPLICIT_CONFIRM, P10CR};
use crate::module::{pem, sign_certificate};
use crate::site::NOW;

const KP_CMC_RA: Oid = Oid::constant("1.3.6.1.5.5.7.3.28");

fn ra() -> Client {
    Client::new(Protection::pbm("ra", RA_SECRET)).on("/p/plain")
}

async fn verified(site: &Site, client: Client, key: &SoftwareKey, extensions: &[Vec<u8>]) -> Answer {
    let mut client = client;
    client.info.push((IMPLICIT_CONFIRM, vec![5, 0]));
    client.send(site, CR, &crmf("device-7", &key.spki(), extensions, RA_VERIFIED)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a45_ra_verified_counts_from_a_registration_authority_in_its_profile_alone() {
    let site = rear().await;
    let key = SoftwareKey::generate();
    let answer = verified(&site, ra(), &key, &[]).await;
    assert_eq!(answer.number, CP, "{:?}", answer.reasons());
    let certificate = CertView::parse(&answer.certificate().unwrap()).unwrap();
    assert_eq!(certificate.subject().to_display(), "CN=device-7");
    assert!(certificate.spki().same_key(&key.spki()));

    // An account without the right, in the same profile; the registration authority, where evidence decides.
    let plant = || Client::new(Protection::pbm("plant", "a secret of the plant"));
    for client in [plant().on("/p/plain"), plant().on("/p/device"), ra().on("/p/device"), ra().on("")] {
        assert_eq!(verified(&site, client, &key, &[]).await.codes(), ["cmp.bad-proof"]);
    }
    // No proof, and proof by another key, are none from a registration authority either.
    for proof in [&[][..], &[0xA2, 0]] {
        let answer = ra().send(&site, CR, &crmf("device-7", &key.spki(), &[], proof)).await;
        assert_eq!(answer.codes(), ["cmp.bad-proof"], "{proof:?}");
    }
    let other = SoftwareKey::generate();
    let request = crmf("device-7", &key.spki(), &[], &[]);
    let inner = Element::parse(&request, "list").unwrap().reader().sequence("CertReqMsg").unwrap().element().unwrap();
    for (signer, codes) in [(&other, vec!["authority.possession"]), (&key, vec![])] {
        let proof = crate::cmp::client::popo(signer, inner.as_der());
        let answer = ra().send(&site, CR, &crmf("device-7", &key.spki(), &[], &proof)).await;
        assert_eq!(answer.codes(), codes);
    }
}

/// A device that was certified for the registration authority's account is no registration authority.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_of_the_account_vouches_for_nobody() {
    let site = rear().await;
    let key = Arc::new(SoftwareKey::generate());
    let certificate = verified(&site, ra(), &key, &[]).await.certificate().unwrap();
    let protection = Protection::Signature { key: Arc::clone(&key), chain: vec![certificate] };
    let device = || Client::new(protection.clone()).on("/p/plain");
    for subject_key in [&SoftwareKey::generate(), &*key] {
        assert_eq!(verified(&site, device(), subject_key, &[]).await.codes(), ["cmp.bad-proof"]);
    }
    // Nor does a signature under a request of PKCS #10 help it.
    let answer = device().send(&site, P10CR, &csr(&SoftwareKey::generate(), &[])).await;
    assert_eq!(answer.codes(), ["authority.not-registrar"]);
}

fn csr(key: &SoftwareKey, attributes: &[Vec<u8>]) -> Vec<u8> {
    let subject = build::distinguished_name(&[(oid::COMMON_NAME, "device-7")]).unwrap();
    key.csr(subject, attributes.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_gets_what_the_profile_gives_and_no_more() {
    let site = rear().await;
    let key = SoftwareKey::generate();
    let identifier = {
        let mut writer = build::DerWriter::new();
        writer.constructed(Tag::context_constructed(0), |fields| {
            fields.oid(oid::ON_PERMANENT_IDENTIFIER).constructed(Tag::context_constructed(0), |value| {
                value.sequence(|identifier| drop(identifier.string(Tag::UTF8_STRING, "device-7").clone()));
            });
        });
        GeneralName::Other(writer.into_der())
    };
    let named = build::subject_alt_name(false, std::slice::from_ref(&identifier));
    let answer = verified(&site, ra(), &key, std::slice::from_ref(&named)).await;
    let certificate =
        CertView::parse(&answer.certificate().unwrap_or_else(|| panic!("{:?}", answer.reasons()))).unwrap();
    let names = certificate.extension(oid::SUBJECT_ALT_NAME).unwrap().unwrap();
    assert_eq!(names.as_der(), named);
    for (extension, code) in [
        (build::subject_alt_name(false, &[GeneralName::Dns(b"ca.example".to_vec())]), "authority.name-not-permitted"),
        (
            build::subject_alt_name(false, &[identifier, GeneralName::Email(b"a@b".to_vec())]),
            "authority.name-not-permitted",
        ),
        (build::extended_key_usage(false, &[oid::KP_CODE_SIGNING]), "authority.extension-not-permitted"),
        (build::key_usage(true, KeyUsage::from_bits(KeyUsage::KEY_CERT_SIGN)), "authority.extension-not-permitted"),
        (
            build::basic_constraints(true, BasicConstraints { ca: true, path_length: None }),
            "authority.extension-not-permitted",
        ),
        (build::extension(oid::AA_ATTESTATION, false, &[0x30, 0]), "authority.extension-not-permitted"),
    ] {
        let answer = verified(&site, ra(), &SoftwareKey::generate(), std::slice::from_ref(&extension)).await;
        assert_eq!(answer.codes(), [code], "{}", hex(&extension));
    }
    // In PKCS #10 the same, where the key signs; and no attribute besides.
    let fresh = SoftwareKey::generate();
    let answer = ra().send(&site, P10CR, &csr(&fresh, &[])).await;
    assert_eq!(answer.number, CP, "{:?}", answer.reasons());
    let attribute = build::attribute(oid::AA_ATTESTATION, &[vec![0x30, 0]]);
    let answer = ra().send(&site, P10CR, &csr(&SoftwareKey::generate(), &[attribute])).await;
    assert_eq!(answer.codes(), ["authority.extension-not-permitted"]);
    let mut false_signature = csr(&SoftwareKey::generate(), &[]);
    let at = false_signature.windows(8).position(|window| window == b"device-7").unwrap();
    false_signature[at] = b'D';
    assert_eq!(ra().send(&site, P10CR, &false_signature).await.codes(), ["authority.possession"]);
    assert_eq!(ra().send(&site, P10CR, b"0").await.codes().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_other_protocols_nobody_is_a_registration_authority() {
    let site = rear().await;
    let request = csr(&SoftwareKey::generate(), &[]);
    let nonce =
        site.post("/v1/nonces", Some("registrar-token"), json!({ "purpose": "certificate", "profile": "plain" })).await;
    assert_eq!(nonce.status, 201, "{}", String::from_utf8_lossy(&nonce.body));
    let body = json!({ "csr": b64(&request), "nonce": nonce.json()["nonce"], "profile": "plain" });
    let refused = site.post("/v1/certificates", Some("registrar-token"), body).await;
    assert_eq!(refused.codes(), ["authority.not-registrar"]);
    // The right without the profile, and the profile without the right.
    for token in ["unlisted-token", ALICE] {
        let refused =
            site.post("/v1/nonces", Some(token), json!({ "purpose": "certificate", "profile": "plain" })).await;
        assert_eq!(refused.problem(), "profile-not-permitted", "{token}");
    }
}

/// By a signature: the certificate says that it is a registration authority's, and its CA is one that the account names.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_a_registration_authoritys_by_its_purpose() {
    let dir = tempfile::tempdir().unwrap();
    let (root_key, key) = (SoftwareKey::generate(), Arc::new(SoftwareKey::generate()));
    let name = |text| build::distinguished_name(&[(oid::COMMON_NAME, text)]).unwrap();
    let ca = vec![
        build::basic_constraints(true, BasicConstraints { ca: true, path_length: None }),
        build::key_usage(true, KeyUsage::from_bits(KeyUsage::KEY_CERT_SIGN)),
    ];
    let root = sign_certificate((&name("RA Root"), &root_key), name("RA Root"), root_key.spki(), NOW, ca);
    let with = |purposes: &[Oid]| {
        let extensions = vec![build::extended_key_usage(false, purposes)];
        sign_certificate((&name("RA Root"), &root_key), name("Registrar"), key.spki(), NOW, extensions)
    };
    let file = dir.path().join("ra-root.pem");
    fs::write(&file, pem(&root)).unwrap();
    let rest = format!("profiles = ['plain']\nclient_ca = '{}'", file.display());
    let mut site = Site::install_for(dir, REAR_PROFILES, &account("registrar", "'issue', 'register'", &rest));
    site.restart().await;
    let client = |certificate| {
        Client::new(Protection::Signature { key: Arc::clone(&key), chain: vec![certificate] }).on("/p/plain")
    };
    let plain = with(&[oid::KP_CLIENT_AUTH]);
    assert_eq!(verified(&site, client(plain), &SoftwareKey::generate(), &[]).await.codes(), ["cmp.bad-proof"]);
    let registrar = with(&[oid::KP_CLIENT_AUTH, KP_CMC_RA]);
    let answer = verified(&site, client(registrar.clone()), &SoftwareKey::generate(), &[]).await;
    assert_eq!(answer.number, CP, "{:?}", answer.reasons());

    // The front signs with the same key, and its upstream believes it.
    let rear = Arc::new(site);
    let tap = Tap::start(Backend::Site(Arc::clone(&rear))).await;
    let dir = tempfile::tempdir().unwrap();
    let certificate = dir.path().join("ra.pem");
    fs::write(&certificate, pem(&registrar)).unwrap();
    let key = secret(dir.path(), "ra.key", &key.pkcs8_pem());
    let settings = upstream(dir.path(), &tap, &ca_of(&rear), "/.well-known/cmp/p/plain");
    let (before, _) = settings.split_once("cmp = ").unwrap();
    let settings =
        format!("{before}cmp = {{ certificate = '{}', key = '{}' }}\n", certificate.display(), key.display());
    let front = front(dir, &settings).await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    leaf(&certify(&front, &asked(&front, &module, &ak_chain, &SoftwareKey::generate()).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_of_the_profile_bounds_its_word() {
    let dir = tempfile::tempdir().unwrap();
    let shared = secret(dir.path(), "ra.secret", RA_SECRET);
    let rest = format!("profiles = ['plain']\ncmp_reference = 'ra'\ncmp_secret = '{}'", shared.display());
    let profile =
        |name| format!("{REAR_PROFILES}names.allow = \"name.common_name == '{name}' && account == 'registrar'\"\n");
    let accounts = account("registrar", "'issue', 'register'", &rest);
    let mut site = Site::install_for(dir, &profile("device-7"), &accounts);
    site.restart().await;
    let answer = verified(&site, ra(), &SoftwareKey::generate(), &[]).await;
    assert_eq!(answer.number, CP, "{:?}", answer.reasons());
    site.reconfigure(|config| config.replace("'device-7'", "'device-8'"));
    site.restart().await;
    let answer = verified(&site, ra(), &SoftwareKey::generate(), &[]).await;
    assert_eq!(answer.codes(), ["authority.name-not-permitted"]);
}
