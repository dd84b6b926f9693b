//! Revocation lists and issuers' certificates where certificates say they are.

use std::net::{SocketAddr, TcpListener};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vouchsafe_authority::lifecycle::Administration;
use vouchsafe_authority::store::RevocationReason;
use vouchsafe_evidence::x509::extensions::{CrlDistributionPoints, DistributionPoint, GeneralName};

use super::*;
use crate::est::enrolled;

/// An address that nobody listens on.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// One exchange by plain HTTP: status, head and body.
async fn fetch(address: SocketAddr, method: &str, path: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: pki.example\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets).await.unwrap();
    let end = octets.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(octets[..end].to_vec()).unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head, octets[end + 4..].to_vec())
}

/// A named issuer beside the one that `init` made, each with a profile, and lists at a port of their own.
async fn site(authority: &Authority, folder: &Path, address: SocketAddr) -> Site {
    fs::write(folder.join("issuing.key"), authority.key_pem()).unwrap();
    let settings = format!(
        "[distribution]\nurl = 'http://{address}/pki'\nlisten = '{address}'\n\
         [[issuers]]\nname = '2027'\ncertificate = '{}'\nkey = '{}'\n\
         [[profiles]]\nname = 'device'\n[[profiles]]\nname = 'new'\nissuer = '2027'\n",
        authority.write(folder, "issuing.pem").display(),
        folder.join("issuing.key").display(),
    );
    // The paths begin at the root of the server.
    Site::start_with(&settings.replace("/pki'", "'")).await
}

async fn issued(site: &Site, module: &Module, ak_chain: &[Vec<u8>], profile: &str) -> Vec<Vec<u8>> {
    let nonce = site.nonce(ALICE, json!({"purpose": "certificate", "profile": profile})).await;
    let csr = module.csr(&nonce, ak_chain, None);
    let body = json!({"csr": b64(&csr), "nonce": hex(&nonce), "profile": profile});
    let reply = site.post("/v1/certificates", Some(ALICE), body).await;
    assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    chain(&reply.json()["certificates"])
}

/// The one URI of the distribution point of a certificate.
fn distribution_point(certificate: &CertView) -> String {
    let extension = certificate.extension(oid::CRL_DISTRIBUTION_POINTS).unwrap().unwrap();
    let points = CrlDistributionPoints::parse(extension.value()).unwrap();
    let point = DistributionPoint::parse(&points.points()[0]).unwrap();
    let [GeneralName::Uri(uri)] = point.full_names.as_slice() else { panic!("{point:?}") };
    String::from_utf8(uri.clone()).unwrap()
}

/// openssl fetches the list from where the certificate says it is.
fn openssl_accepts(site: &Site, chain: &[Vec<u8>], root: &[u8], now: i64) -> (bool, String) {
    let file = |name: &str, der: &[u8]| {
        let path = site.dir.path().join(name);
        fs::write(&path, pem(der)).unwrap();
        path
    };
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-crl_check", "-crl_download", "-attime", &now.to_string(), "-CAfile"])
        .args([file("root.pem", root), "-untrusted".into(), file("ca.pem", &chain[1]), file("leaf.pem", &chain[0])])
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_where_certificates_say_from_the_first_second_for_every_issuer() {
    let (folder, address) = (tempfile::tempdir().unwrap(), free());
    let authority = Authority::new("Issuing 2027");
    let site = site(&authority, folder.path(), address).await;
    // Of a new database, before anything was issued.
    for (name, issuer) in [("issuing", "CN=Vouchsafe Issuing CA"), ("2027", "CN=Issuing 2027")] {
        let (status, head, body) = fetch(address, "GET", &format!("/crl/{name}.crl")).await;
        assert_eq!(status, 200, "{head}");
        assert!(head.to_lowercase().contains("content-type: application/pkix-crl"), "{head}");
        let empty = CrlView::parse(&body).unwrap();
        assert_eq!((empty.issuer().to_display().as_str(), empty.entries().count()), (issuer, 0));
        assert_eq!((empty.this_update(), empty.next_update()), (NOW, Some(NOW + 7 * 86_400)));
        let (status, head, body) = fetch(address, "GET", &format!("/ca/{name}.cer")).await;
        assert_eq!(status, 200);
        assert!(head.to_lowercase().contains("content-type: application/pkix-cert"), "{head}");
        assert_eq!(CertView::parse(&body).unwrap().subject().to_display(), issuer);
    }
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let own_root = fs::read_to_string(site.state().join("ca/issuing-root.crt")).unwrap();
    let own_root = vouchsafe_evidence::pem::read(own_root.as_bytes()).unwrap()[0].contents().to_vec();
    let mut chains = Vec::new();
    for (profile, name, root) in [("device", "issuing", &own_root), ("new", "2027", &authority.root)] {
        let chain = issued(&site, &module, &ak_chain, profile).await;
        let leaf = CertView::parse(&chain[0]).unwrap();
        assert_eq!(distribution_point(&leaf), format!("http://{address}/crl/{name}.crl"));
        let access = leaf.extension(oid::AUTHORITY_INFO_ACCESS).unwrap().unwrap();
        let wanted = format!("http://{address}/ca/{name}.cer");
        assert!(access.value().ends_with(wanted.as_bytes()), "{access:?}");
        let (accepted, told) = openssl_accepts(&site, &chain, root, NOW);
        assert!(accepted, "{name}: {told}");
        chains.push((chain, root));
    }
    // The certificates of attesting keys say nothing of the kind.
    assert!(CertView::parse(&ak_chain[0]).unwrap().extension(oid::CRL_DISTRIBUTION_POINTS).unwrap().is_none());

    let administration = Administration::open(&site.config(), std::sync::Arc::clone(&site.clock) as _).unwrap();
    let spki = module.ak.spki().sha256();
    administration.revoke(&spki, RevocationReason::KeyCompromise, "ann", true).unwrap();
    site.clock.advance(61);
    for (chain, root) in &chains {
        let (accepted, told) = openssl_accepts(&site, chain, root, NOW + 61);
        assert!(!accepted && told.contains("certificate revoked"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_serves_what_certificates_name_and_nothing_else() {
    let (folder, address) = (tempfile::tempdir().unwrap(), free());
    let site = site(&Authority::new("Issuing 2027"), folder.path(), address).await;
    assert_eq!(site.running.as_ref().unwrap().plain_address(), Some(address));
    for route in vouchsafe_authority::ROUTES {
        let is_public = matches!(route.verb, vouchsafe_authority::Verb::Distribution(_));
        for (id, is_there) in
            [("2027.crl", route.path.starts_with("/crl")), ("2027.cer", route.path.starts_with("/ca"))]
        {
            let path = route.path.replace("{id}", id);
            for method in ["GET", "POST"] {
                let (status, _, body) = fetch(address, method, &path).await;
                let expected = match (is_public, is_there, method) {
                    (true, true, "GET") => 200,
                    (true, _, "POST") => 405,
                    _ => 404,
                };
                assert_eq!(status, expected, "{method} {path}: {}", String::from_utf8_lossy(&body));
            }
        }
    }
    // Lists of attesting keys are named by no certificate, and names that are none lead nowhere.
    for path in [
        "/crl/attestation.crl",
        "/crl/attestation-virtual.crl",
        "/crl/2027",
        "/crl/2027.cer",
        "/crl/.crl",
        "/crl/none.crl",
        "/crl/2027.crl.crl",
        "/crl/..%2F..%2Fsecret.crl",
        "/ca/2027.crl",
        "/ca/issuing-root.cer",
        "/ca/issuing-ca.cer",
        "/ca/issuing.key",
        "/v1/trust",
    ] {
        assert_eq!(fetch(address, "GET", path).await.0, 404, "{path}");
        if path != "/v1/trust" {
            assert_eq!(site.exchange("GET", path, &[], b"").await.problem(), "not-found", "{path}");
        }
    }
    // By TLS the same is had, for whoever puts another server in front.
    let by_tls = site.exchange("GET", "/crl/2027.crl", &[], b"").await;
    assert_eq!((by_tls.status, by_tls.body), (200, fetch(address, "GET", "/crl/2027.crl").await.2));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_url_certificates_name_none() {
    let site = Site::start().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let leaf = CertView::parse(&issued(&site, &module, &ak_chain, "device").await[0]).unwrap();
    for extension in [oid::CRL_DISTRIBUTION_POINTS, oid::AUTHORITY_INFO_ACCESS] {
        assert!(leaf.extension(extension).unwrap().is_none());
    }
    assert_eq!(site.running.as_ref().unwrap().plain_address(), None);
    for (text, why) in [
        ("url = 'https://pki.example'", "http://HOST"),
        ("url = 'http://pki.example/'", "http://HOST"),
        ("listen = '127.0.0.1:80'", "not a valid configuration"),
    ] {
        let text = format!("[distribution]\n{text}\n[tls]\nself_signed = true\n");
        let told = Config::from_toml(&text).unwrap_err().to_string();
        assert!(told.contains(why), "{told}");
    }
    let text = "role = 'enrolment'\n[distribution]\nurl = 'http://pki.example'\n[pseudonyms]\nlink = 'forget'\n\
                [tls]\nself_signed = true\n";
    assert!(Config::from_toml(text).unwrap_err().to_string().contains("no effect"));
}
