//! An upstream that is asked by EST: the client's own request is handed on where there is nothing in it but what was
//! decided, and by no other way.

use vouchsafe_evidence::x509::extensions::BasicConstraints;

use super::*;
use crate::acme::client::{ALICE_SECRET, Client as AcmeClient, Stage, codes};
use crate::acme::devices::{response, tpm_object};
use crate::module::{pem, sign_certificate};
use crate::site::{NOW, unb64};

/// A request by this name, with these attributes.
pub(super) fn csr(key: &SoftwareKey, common_name: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let subject = build::distinguished_name(&[(oid::COMMON_NAME, common_name)]).unwrap();
    key.csr(subject, attributes.to_vec())
}

fn upstream_by_est(folder: &Path, tap: &Tap, ca: &Path, password: &str) -> String {
    let settings = upstream(folder, tap, ca, "/.well-known/est/plain");
    let (before, _) = settings.split_once("cmp = ").unwrap();
    let password = secret(folder, "est.password", password);
    format!("{before}est = {{ name = 'registrar', password = '{}' }}\n", password.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_its_evidence_is_shown_to_no_upstream() {
    let rear = rear().await;
    let tap = Tap::start(Backend::Site(Arc::clone(&rear))).await;
    let dir = tempfile::tempdir().unwrap();
    let settings = upstream_by_est(dir.path(), &tap, &ca_of(&rear), "registrar-token-");
    let front = front(dir, &settings).await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let body = asked(&front, &module, &ak_chain, &SoftwareKey::generate()).await;
    let reply = certify(&front, &body).await;
    assert_eq!(reply.codes(), ["authority.not-forwardable"]);
    let said = reply.json()["violations"][0]["message"].as_str().unwrap().to_owned();
    assert!(said.contains("device-attest-01"), "{said}");
    assert!(tap.seen().is_empty());
}

/// A front with ACME, whose profile `device` comes from the upstream of these settings.
pub(super) async fn front_by_acme(stage: &Stage, settings: impl FnOnce(&Path) -> String) -> Site {
    let mut front = stage.site(NOW, false).await;
    let settings = settings(front.dir.path());
    front.reconfigure(|config| {
        let named = config.replacen("name = 'device'\n", "name = 'device'\nupstream = 'rear'\n", 1);
        let (before, profiles) = named.split_once("[[profiles]]").unwrap();
        format!("{before}{settings}[[profiles]]{profiles}")
    });
    front.restart().await;
    front
}

/// An order for `device-1`, whose module has attested this key.
pub(super) async fn ordered(
    client: &AcmeClient<'_>,
    module: &Module,
    ak_chain: &[Vec<u8>],
    key: &SoftwareKey,
) -> Value {
    let identifiers = json!([{ "type": "permanent-identifier", "value": "device-1" }]);
    let (_, order) = client.order(identifiers, "device").await;
    let challenge = client.challenge(&order, "device-attest-01").await;
    let object = tpm_object(module, ak_chain, key, &client.key_authorization(&challenge));
    let reply = client.post(challenge["url"].as_str().unwrap(), Some(&response(&object))).await;
    assert_eq!(reply.json()["status"], "valid");
    order
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_request_is_handed_on_as_it_is() {
    let rear = rear().await;
    let tap = Tap::start(Backend::Site(Arc::clone(&rear))).await;
    let stage = Stage::new();
    let front = front_by_acme(&stage, |folder| upstream_by_est(folder, &tap, &ca_of(&rear), "registrar-token\n")).await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let client = AcmeClient::register(&front, "alice", &ALICE_SECRET).await;
    let key = SoftwareKey::generate();
    // Another name than the one that was decided, and a usage beyond those of the profile.
    let order = ordered(&client, &module, &ak_chain, &key).await;
    let beyond = build::extension_request_attribute(&[build::extended_key_usage(false, &[oid::KP_CODE_SIGNING])]);
    for request in [csr(&key, "device-2", &[]), csr(&key, "device-1", &[beyond])] {
        assert_eq!(codes(&client.finalize(&order, &request, None).await), ["authority.not-forwardable"]);
    }
    assert!(tap.seen().is_empty());

    let request = csr(&key, "device-1", &[]);
    let finalized = client.finalize(&order, &request, None).await;
    assert_eq!(finalized.status, 200, "{}", String::from_utf8_lossy(&finalized.body));
    let reply = client.post(finalized.json()["certificate"].as_str().unwrap(), None).await;
    let issued = vouchsafe_evidence::pem::read(&reply.body).unwrap();
    let issued: Vec<CertView> = issued.iter().map(|block| CertView::parse(block.contents()).unwrap()).collect();
    assert!(issued[0].spki().same_key(&key.spki()));
    assert_eq!(issued[0].subject().to_display(), "CN=device-1");
    assert_eq!(issued[1].as_der(), rustls_pem(&ca_of(&rear)));
    let seen = tap.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].head.starts_with("POST /.well-known/est/plain/simpleenroll "));
    assert_eq!(unb64(&json!(String::from_utf8(seen[0].body.clone()).unwrap())), request);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_upstream_answers_is_told() {
    let rear = rear().await;
    let tap = Tap::start(Backend::Site(Arc::clone(&rear))).await;
    let stage = Stage::new();
    let front = front_by_acme(&stage, |folder| upstream_by_est(folder, &tap, &ca_of(&rear), "registrar-token\n")).await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let client = AcmeClient::register(&front, "alice", &ALICE_SECRET).await;
    let plain = "Content-Type: text/plain\r\n";
    type Answered = (u16, &'static str, &'static [u8], &'static str);
    let answers: [Answered; 7] = [
        (400, plain, b"no \x1b[31mred names", "authority.upstream-rejected"),
        (202, "Retry-After: 5\r\n", b"", "authority.upstream-rejected"),
        (401, "", b"", "upstream-unavailable"),
        (500, "", b"", "upstream-unavailable"),
        (302, "Location: https://elsewhere.example\r\n", b"", "upstream-unavailable"),
        (200, "", b"not base64!", "upstream-unavailable"),
        (200, "", b"MAA=", "upstream-unavailable"),
    ];
    for (status, headers, body, code) in answers {
        let key = SoftwareKey::generate();
        let order = ordered(&client, &module, &ak_chain, &key).await;
        tap.then([Action::Answer(Box::new(move |_| (status, headers, body.to_vec())))]);
        let reply = client.finalize(&order, &csr(&key, "device-1", &[]), None).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(text.contains(code), "{status}: {text}");
        assert!(!text.contains("\\u001b"), "{text}");
    }
}

/// By a client certificate that says that its holder is a registration authority, and by one that does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_says_who_asks() {
    let dir = tempfile::tempdir().unwrap();
    let (root_key, key) = (SoftwareKey::generate(), SoftwareKey::generate());
    let name = |text| build::distinguished_name(&[(oid::COMMON_NAME, text)]).unwrap();
    let ca = vec![
        build::basic_constraints(true, BasicConstraints { ca: true, path_length: None }),
        build::key_usage(true, KeyUsage::from_bits(KeyUsage::KEY_CERT_SIGN)),
    ];
    let root = sign_certificate((&name("RA Root"), &root_key), name("RA Root"), root_key.spki(), NOW, ca);
    let file = dir.path().join("ra-root.pem");
    fs::write(&file, pem(&root)).unwrap();
    let rest = format!("profiles = ['plain']\nclient_ca = '{}'", file.display());
    let mut rear = Site::install_for(dir, REAR_PROFILES, &account("registrar", "'issue', 'register'", &rest));
    rear.restart().await;

    let cmc_ra = oid::Oid::constant("1.3.6.1.5.5.7.3.28");
    for (purposes, is_registrar) in [(vec![oid::KP_CLIENT_AUTH], false), (vec![oid::KP_CLIENT_AUTH, cmc_ra], true)] {
        let extensions = vec![build::extended_key_usage(false, &purposes)];
        let own = sign_certificate((&name("RA Root"), &root_key), name("Registrar"), key.spki(), NOW, extensions);
        let stage = Stage::new();
        let front = front_by_acme(&stage, |folder| {
            fs::write(folder.join("ra.pem"), pem(&own)).unwrap();
            let key = secret(folder, "ra.key", &key.pkcs8_pem());
            format!(
                "[[upstreams]]\nname = 'rear'\nurl = 'https://localhost:{}/.well-known/est/plain/'\ntls_roots = '{}'\n\
                 ca = '{}'\nest = {{ certificate = '{}', key = '{}' }}\n",
                rear.address().port(),
                rear.tls_root().display(),
                ca_of(&rear).display(),
                folder.join("ra.pem").display(),
                key.display()
            )
        })
        .await;
        let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
        let client = AcmeClient::register(&front, "alice", &ALICE_SECRET).await;
        let key = SoftwareKey::generate();
        let order = ordered(&client, &module, &ak_chain, &key).await;
        let reply = client.finalize(&order, &csr(&key, "device-1", &[]), None).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        if is_registrar {
            assert_eq!((reply.status, reply.json()["status"].as_str()), (200, Some("valid")), "{text}");
        } else {
            // Its words, in what is told here.
            assert!(text.contains("authority.upstream-rejected") && text.contains("authority.not-registrar"), "{text}");
        }
    }
}
