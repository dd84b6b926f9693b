//! The server: who may call what, bounds, deadlines, problem documents, installation.

use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use tokio::io::AsyncWriteExt;
use vouchsafe_authority::protocol::{distribution, est};
use vouchsafe_authority::{Access, Config, InitError, Operation, ROUTES, Route, Verb, init};

use crate::site::{ALICE, CAROL, Reply, Site, b64, read_reply};

/// Headers by which proxies say who a client is.
const PROXY_HEADERS: [&str; 4] = [
    "X-Client-Cert: alice",
    "X-SSL-Client-S-DN: CN=device-1",
    "X-Forwarded-Client-Cert: Subject=\"CN=device-1\"",
    "Client-Cert: :AAAA:",
];

/// The code of a refusal, from the form of its protocol.
fn refusal(verb: Verb, reply: &Reply) -> String {
    match verb {
        Verb::Json(_) | Verb::Acme(_) | Verb::Cmp(_) | Verb::Distribution(_) => reply.problem(),
        Verb::Est(_) => {
            assert!(reply.head.to_lowercase().contains("content-type: text/plain"), "{}", reply.head);
            let text = std::str::from_utf8(&reply.body).unwrap();
            text.split(':').next().unwrap().to_owned()
        }
    }
}

/// What a stranger is told who sends this header and body: status, and the code of a refusal.
fn told(access: Access, verb: Verb, authorization: &str, body: &str) -> (u16, Option<&'static str>) {
    // Whoever fetches what certificates name shows nothing, whatever is sent along.
    let is_accepted_scheme = authorization.is_empty() || matches!(verb, Verb::Distribution(_));
    match (access, is_accepted_scheme) {
        (Access::Public, true) => match verb {
            Verb::Est(est::Operation::ServerKeyGeneration | est::Operation::FullCmc) => (501, Some("not-implemented")),
            Verb::Json(_) | Verb::Est(_) | Verb::Acme(_) | Verb::Cmp(_) | Verb::Distribution(_) if body.is_empty() => {
                (200, None)
            }
            Verb::Json(_) | Verb::Est(_) | Verb::Acme(_) | Verb::Cmp(_) | Verb::Distribution(_) => {
                (413, Some("body-too-large"))
            }
        },
        // Whose a message is, the message says; this is none.
        (Access::Message, _) => (415, Some("unsupported-media-type")),
        (Access::Public, false) => (401, Some("unauthenticated")),
        (Access::Account(_) | Access::Nonce | Access::Appraisal | Access::Renewal(_), _) => {
            (401, Some("unauthenticated"))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_reach_the_public_routes_alone() {
    let site = Site::start().await;
    // Of ACME, whose site is another, `acme/refusals.rs` tells.
    for route in ROUTES.iter().filter(|route| !matches!(route.verb, Verb::Acme(_))) {
        let id = match route.verb {
            Verb::Json(Operation::RevocationList) => "attestation",
            Verb::Json(_) => "00112233445566778899aabbccddeeff",
            Verb::Est(_) | Verb::Acme(_) | Verb::Cmp(_) => "device",
            Verb::Distribution(distribution::Resource::RevocationList) => "issuing.crl",
            Verb::Distribution(distribution::Resource::IssuerCertificate) => "issuing.cer",
        };
        let path = route.path.replace("{id}", id);
        // The last but one is a token of this authority as the other protocol has it, the last one with another's name.
        let theirs = match route.verb {
            Verb::Json(_) | Verb::Acme(_) | Verb::Cmp(_) | Verb::Distribution(_) => {
                [format!("Basic {}", b64(format!("alice:{ALICE}").as_bytes())), format!("Bearer {ALICE}x")]
            }
            Verb::Est(_) => [format!("Bearer {ALICE}"), format!("Basic {}", b64(format!("bob:{ALICE}").as_bytes()))],
        };
        let wrong = ["", "Bearer wrong", "Basic YTpi", "Bearer ", "bearer", "Basic", "Basic !", "Digest x"];
        for authorization in wrong.into_iter().chain(theirs.iter().map(String::as_str)) {
            for (method, body) in route.verb.methods().iter().flat_map(|method| [(method, ""), (method, "{}")]) {
                let mut headers =
                    vec!["Content-Type: application/json".to_owned(), format!("Content-Length: {}", body.len())];
                if !authorization.is_empty() {
                    headers.push(format!("Authorization: {authorization}"));
                }
                // Who a client is, as proxies write it, says nothing.
                headers.extend(PROXY_HEADERS.map(str::to_owned));
                let reply = site.exchange(method, &path, &headers, body.as_bytes()).await;
                let (status, code) = told(route.access, route.verb, authorization, body);
                assert_eq!(reply.status, status, "{method} {path} {authorization:?}");
                if let Some(code) = code {
                    assert_eq!(refusal(route.verb, &reply), code);
                }
                let challenge = match route.verb {
                    Verb::Json(_) | Verb::Acme(_) | Verb::Cmp(_) | Verb::Distribution(_) => "www-authenticate: bearer",
                    Verb::Est(_) => "www-authenticate: basic",
                };
                assert_eq!(reply.head.to_lowercase().contains(challenge), status == 401);
            }
        }
    }
    let public = |route: &&Route| route.access == Access::Public && matches!(route.verb, Verb::Json(_));
    assert_eq!(ROUTES.iter().filter(public).count(), 4);
    let twice = [ALICE, ALICE].map(|token| format!("Authorization: Bearer {token}"));
    assert_eq!(site.exchange("POST", "/v1/nonces", &twice, b"").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_may_what_it_may() {
    let site = Site::start().await;
    for (path, body) in [
        ("/v1/nonces", json!({"purpose": "certificate"})),
        ("/v1/nonces", json!({"purpose": "appraisal"})),
        ("/v1/certificates", json!({})),
        ("/v1/appraisals", json!({})),
    ] {
        let reply = site.post(path, Some(CAROL), body).await;
        assert_eq!((reply.status, reply.problem().as_str()), (403, "not-permitted"), "{path}");
    }
    assert_eq!(site.post("/v1/nonces", Some(CAROL), json!({"purpose": "attestation-key"})).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_and_methods_are_problems_too() {
    let site = Site::start().await;
    assert_eq!(site.exchange("GET", "/", &[], b"").await.problem(), "not-found");
    assert_eq!(site.exchange("GET", "/v1/nonces/", &[], b"").await.problem(), "not-found");
    let reply = site.exchange("DELETE", "/v1/nonces", &[], b"").await;
    assert_eq!((reply.status, reply.problem().as_str()), (405, "method-not-allowed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_bodies_are_told_apart() {
    let site = Site::start().await;
    let path = "/v1/nonces";
    for (content_type, body, problem) in [
        ("application/json", "", "malformed-request"),
        ("application/json", "{", "malformed-request"),
        ("application/json", r#"{"purpose":"certificate","extra":1}"#, "malformed-request"),
        ("application/json", r#"{"purpose":"everything"}"#, "malformed-request"),
        ("application/json", r#"{"purpose":"certificate","profile":"none"}"#, "unknown-profile"),
        ("text/plain", r#"{"purpose":"certificate"}"#, "unsupported-media-type"),
    ] {
        assert_eq!(site.send(path, Some(ALICE), content_type, body.as_bytes()).await.problem(), problem, "{body}");
    }
    let reply = site.send(path, Some(ALICE), "Application/JSON; charset=utf-8", br#"{"purpose":"certificate"}"#).await;
    assert_eq!(reply.status, 201);
    let deep = "[".repeat(10_000);
    assert_eq!(site.send(path, Some(ALICE), "application/json", deep.as_bytes()).await.problem(), "malformed-request");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_bounds_declared_or_not() {
    let site = Site::start().await;
    let declared = vec![
        "Content-Type: application/json".to_owned(),
        format!("Authorization: Bearer {ALICE}"),
        "Content-Length: 99999999".to_owned(),
    ];
    // Refused by the declaration alone: not one octet of the body is waited for.
    let reply = site.exchange("POST", "/v1/certificates", &declared, b"").await;
    assert_eq!((reply.status, reply.problem().as_str()), (413, "body-too-large"));

    let mut stream = site.connect().await;
    let head = format!(
        "POST /v1/nonces HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {ALICE}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..5 {
        let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
        let _refused = stream.write_all(chunk.as_bytes()).await;
    }
    let reply = read_reply(&mut stream).await;
    assert_eq!(reply.problem(), "body-too-large");

    // A request of the full size that the contract allows is read and judged.
    let nonce = site.certificate_nonce(ALICE).await;
    let csr = vec![b'A'; 2 * 1024 * 1024 / 4 * 3];
    let body = json!({"csr": crate::site::b64(&csr), "nonce": crate::site::hex(&nonce)});
    assert_eq!(site.post("/v1/certificates", Some(ALICE), body).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_have_bounds() {
    let site = Site::start().await;
    let long = vec![format!("X-Long: {}", "x".repeat(20_000))];
    let reply = site.exchange("GET", "/v1/trust", &long, b"").await;
    assert_eq!(reply.status, 431);
    let many: Vec<String> = (0..100).map(|index| format!("X-{index}: y")).collect();
    assert_eq!(site.exchange("GET", "/v1/trust", &many, b"").await.status, 431);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_idle_connections() {
    let mut site = Site::start().await;
    let _idle = site.connect().await;
    let started = std::time::Instant::now();
    site.restart().await;
    assert!(started.elapsed().as_secs() < 5);
    site.certificate_nonce(ALICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trust_route_gives_the_chains() {
    let site = Site::start().await;
    let reply = site.exchange("GET", "/v1/trust", &[], b"").await.json();
    assert_eq!(reply["issuing"].as_array().unwrap().len(), 2);
    assert_eq!(reply["attestation"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_is_made_once_with_private_keys() {
    let site = Site::start().await;
    assert!(matches!(init(&site.config(), &*site.clock).unwrap_err(), InitError::AlreadyInitialized { .. }));
    let mode = |name: &str| std::fs::metadata(site.state().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("ca")), (0o700, 0o700));
    for private in ["secret", "ca/issuing-ca.key", "ca/issuing-root.key", "ca/attestation-root.key", "ca/tls-root.key"]
    {
        assert_eq!(mode(private), 0o600, "{private}");
    }
}

#[test]
fn an_interrupted_installation_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("state = '{}'\n[tls]\nself_signed = true", dir.path().join("s").display());
    let config = Config::from_toml(&text).unwrap();
    std::fs::create_dir_all(dir.path().join("s/ca.unfinished/leftover")).unwrap();
    std::fs::write(dir.path().join("s/secret"), b"half").unwrap();
    let made = init(&config, &vouchsafe_authority::SystemClock).unwrap();
    assert!(made.tls_root.exists() && made.issuing_root.unwrap().exists() && made.ek_trust.unwrap().is_dir());
    assert_eq!(std::fs::read(dir.path().join("s/secret")).unwrap().len(), 32);
    assert!(!dir.path().join("s/ca.unfinished").exists());
}
