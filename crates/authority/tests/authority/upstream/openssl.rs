//! An upstream that was written elsewhere: the server in `openssl cmp`.

use std::process::{Child, Command, Stdio};

use vouchsafe_evidence::x509::extensions::BasicConstraints;

use super::*;
use crate::module::{pem, sign_certificate};
use crate::site::NOW;

/// Ends with the test.
struct Mock(Child);

impl Drop for Mock {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The server of openssl, which has one certificate to give.
fn mock(folder: &Path, certificate: &[u8], arguments: &[&str]) -> (Mock, u16) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = folder.join("given.pem");
    fs::write(&file, pem(certificate)).unwrap();
    let mut command = Command::new("openssl");
    command.args(["cmp", "-port", &port.to_string(), "-srv_ref", "ra", "-srv_secret", &format!("pass:{RA_SECRET}")]);
    command.arg("-rsp_cert").arg(&file).args(arguments).stdin(Stdio::null());
    let mock = Mock(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    for _ in 0..200 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return (mock, port);
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("openssl does not listen");
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_as_the_upstream_gives_its_one_certificate_to_the_key_that_it_is_for() {
    let folder = tempfile::tempdir().unwrap();
    let (ca_key, key) = (SoftwareKey::generate(), SoftwareKey::generate());
    let name = |text| build::distinguished_name(&[(oid::COMMON_NAME, text)]).unwrap();
    let ca_name = name("Upstream CA");
    let ca = vec![
        build::basic_constraints(true, BasicConstraints { ca: true, path_length: None }),
        build::key_usage(true, KeyUsage::from_bits(KeyUsage::KEY_CERT_SIGN)),
    ];
    let ca = sign_certificate((&ca_name, &ca_key), ca_name.clone(), ca_key.spki(), NOW, ca);
    let template = build::CertificateTemplate {
        serial: vec![7; 16],
        algorithm: build::algorithm_identifier(oid::ECDSA_WITH_SHA256),
        issuer: ca_name,
        not_before: NOW - 60,
        not_after: NOW + 30 * 86_400,
        subject: name("device-1"),
        spki: key.spki(),
        extensions: vec![
            build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
            build::extended_key_usage(false, &[oid::KP_CLIENT_AUTH]),
        ],
    };
    let tbs = template.tbs_der();
    let given = build::assemble(&tbs, &template.algorithm, &ca_key.sign_der(&tbs));
    let (_mock, port) = mock(folder.path(), &given, &["-accept_raverified"]);
    let tap = Tap::start(Backend::Plain(port)).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    fs::write(&file, pem(&ca)).unwrap();
    let settings = upstream(dir.path(), &tap, &file, "/pkix/");
    let front = front(dir, &settings).await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;

    // Another key: the certificate is refused, which openssl is told and takes.
    let body = asked(&front, &module, &ak_chain, &SoftwareKey::generate()).await;
    assert_eq!(certify(&front, &body).await.codes(), ["authority.upstream-certificate"]);
    assert_eq!(tap.seen().len(), 2);
    let body = asked(&front, &module, &ak_chain, &key).await;
    let certificate = leaf(&certify(&front, &body).await);
    assert_eq!(certificate.as_der(), given);
    assert_eq!(tap.seen().len(), 2, "cr and certConf, each answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_that_refuses_is_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let ca = rear().await;
    let given = rustls_pem(&ca_of(&ca));
    // Without the option it wants a proof of possession by the key.
    let (_mock, port) = mock(folder.path(), &given, &["-send_error"]);
    let tap = Tap::start(Backend::Plain(port)).await;
    let dir = tempfile::tempdir().unwrap();
    let settings = upstream(dir.path(), &tap, &ca_of(&ca), "/pkix/");
    let front = front(dir, &settings).await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let reply = certify(&front, &asked(&front, &module, &ak_chain, &SoftwareKey::generate()).await).await;
    assert_eq!(reply.codes(), ["authority.upstream-rejected"], "{}", String::from_utf8_lossy(&reply.body));
}
