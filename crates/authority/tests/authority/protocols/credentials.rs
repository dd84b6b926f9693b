//! Every kind of credential at every route.

use serde_json::json;
use vouchsafe_authority::protocol::{acme, cmp as cmp_protocol};
use vouchsafe_authority::{Access, ROUTES, Route};

use super::*;
use crate::acme::client::{binding, jwk, sign};
use crate::cmp::client::{ERROR, GENM, P10CR, RR, nonce_request, revocation, sequence};
use crate::site::b64;

/// What a client shows.
struct Shown {
    what: &'static str,
    /// Where it is the credential of the account.
    right_for: Option<Protocol>,
    headers: Vec<String>,
    /// Whether the handshake shows a certificate that was issued here.
    certificate: bool,
    body: Body,
}

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// What the route takes, from nobody.
    Nobodys,
    /// A message of CMP that alice has protected, in the media type that it has, or that the route has.
    Cmp { own_type: bool },
    /// A request by ACME that alice has signed, likewise.
    Acme { own_type: bool },
}

fn shown() -> Vec<Shown> {
    let plain = |what, right_for, headers| Shown { what, right_for, headers, certificate: false, body: Body::Nobodys };
    let bearer = |token: &str| vec![format!("Authorization: Bearer {token}")];
    let basic = |text: &str| vec![format!("Authorization: Basic {}", b64(text.as_bytes()))];
    let external = base64url::encode(&ALICE_SECRET);
    let mut all = vec![
        plain("nothing", None, Vec::new()),
        plain("a bearer token", Some(Protocol::Json), bearer(ALICE)),
        plain("name and token", Some(Protocol::Est), basic(&format!("alice:{ALICE}"))),
        plain("another's name and a token", None, basic(&format!("bob:{ALICE}"))),
        plain("reference and secret of CMP", None, basic(&format!("alice-ref:{SECRET}"))),
        plain("name and secret of CMP", None, basic(&format!("alice:{SECRET}"))),
        plain("the secret of CMP as a token", None, bearer(SECRET)),
        plain("name and key of the external account", None, basic(&format!("alice:{external}"))),
        plain("the key of the external account as a token", None, bearer(&external)),
        Shown { certificate: true, ..plain("a certificate", Some(Protocol::Est), Vec::new()) },
    ];
    for own_type in [true, false] {
        let (cmp, acme) = (Body::Cmp { own_type }, Body::Acme { own_type });
        all.push(Shown { body: cmp, ..plain("a message of CMP", Some(Protocol::Cmp), Vec::new()) });
        all.push(Shown { body: acme, ..plain("a request of ACME", Some(Protocol::Acme), Vec::new()) });
    }
    all
}

/// A message that no protection shows to be anybody's, of a type that the operation takes.
fn unprotected(operation: cmp_protocol::Operation, certificate: &CertView) -> Vec<u8> {
    let client = CmpClient::new(Protection::None);
    match operation {
        cmp_protocol::Operation::Revocation => client.message(RR, &revocation(certificate, 0)),
        cmp_protocol::Operation::Any
        | cmp_protocol::Operation::Initialization
        | cmp_protocol::Operation::Certification
        | cmp_protocol::Operation::KeyUpdate
        | cmp_protocol::Operation::Pkcs10
        | cmp_protocol::Operation::CaCertificates
        | cmp_protocol::Operation::Nonce => client.message(ERROR, &sequence(&sequence(&[2, 1, 2]))),
    }
}

/// How a route refuses what is not its own; nothing where it is.
fn refusal(route: &Route, shown: &Shown) -> Option<(u16, &'static str)> {
    let protocol = Protocol::of(route.verb);
    let is_right = shown.right_for == Some(protocol);
    match route.access {
        Access::Public => None,
        // Who renews shows the certificate which that is about.
        Access::Renewal(_) if is_right && shown.certificate => None,
        Access::Renewal(_) => Some((401, "unauthenticated")),
        Access::Account(_) | Access::Nonce | Access::Appraisal => (!is_right).then_some((401, "unauthenticated")),
        Access::Message => match (protocol, shown.body) {
            (Protocol::Json | Protocol::Est, _) => panic!("{route:?} knows its callers by other means"),
            (Protocol::Cmp, Body::Nobodys) => Some((200, "cmp.unprotected")),
            (Protocol::Cmp, Body::Cmp { .. }) => None,
            (Protocol::Cmp, Body::Acme { own_type: true }) => Some((415, "unsupported-media-type")),
            (Protocol::Cmp, Body::Acme { own_type: false }) => Some((200, "cmp.malformed")),
            (Protocol::Acme, Body::Nobodys | Body::Cmp { own_type: false }) => Some((400, "acme.jws-malformed")),
            (Protocol::Acme, Body::Cmp { own_type: true }) => Some((415, "acme.media-type")),
            // It is signed for one URL.
            (Protocol::Acme, Body::Acme { .. }) => {
                (route.verb != Verb::Acme(acme::Resource::NewOrder)).then_some((403, "acme.jws-url"))
            }
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn class_21_no_credential_of_one_protocol_counts_in_another() {
    let stand = Stand::start().await;
    let device = stand.device("device-1").await;
    let identity = stand.identity(&device).await;
    let certificate = CertView::parse(&identity.0[0]).unwrap();
    let account = stand.acme().await;
    let order = json!({ "identifiers": [{ "type": "dns", "value": NAME }], "profile": "device" });
    let mut refused = 0;
    for route in ROUTES {
        let protocol = Protocol::of(route.verb);
        let path = route.path.replace("{id}", if protocol == Protocol::Acme { "AAAA" } else { "device" });
        for shown in shown() {
            let Some((status, code)) = refusal(route, &shown) else { continue };
            let (media_type, body) = match shown.body {
                Body::Nobodys => {
                    let body = match route.verb {
                        Verb::Json(_) | Verb::Acme(_) | Verb::Distribution(_) => b"{}".to_vec(),
                        Verb::Est(_) => b"AAAA".to_vec(),
                        Verb::Cmp(operation) => unprotected(operation, &certificate),
                    };
                    (protocol.media_type(), body)
                }
                Body::Cmp { own_type } => {
                    let message = cmp("alice-ref", SECRET).message(GENM, &nonce_request());
                    (if own_type { PKIXCMP } else { protocol.media_type() }, message)
                }
                Body::Acme { own_type } => {
                    let url = account.url("new-order");
                    let header =
                        json!({ "alg": "ES256", "kid": account.kid, "nonce": account.nonce().await, "url": url });
                    let request = sign(&account.key, &header, Some(&order)).to_string().into_bytes();
                    (if own_type { JOSE } else { protocol.media_type() }, request)
                }
            };
            for method in route.verb.methods() {
                let reply = if shown.certificate {
                    let mut connection = Connection::open(&stand.site, Some(identity.clone())).await;
                    connection.attempt(method, &path, media_type, &body).await.expect("an answer")
                } else {
                    stand.send(method, &path, &shown.headers, media_type, &body).await
                };
                let found = (reply.status, protocol.code(&reply));
                assert_eq!(found, (status, code.to_owned()), "{method} {path} with {}", shown.what);
                refused += 1;
            }
        }
    }
    assert!(refused > 300, "{refused}");
}

/// Carol has a credential for each protocol, and the right to a certificate by none.
#[tokio::test(flavor = "multi_thread")]
async fn class_20_no_protocol_gives_an_account_more_than_it_may() {
    let stand = Stand::start().await;
    let device = stand.device("device-1").await;
    let csr = device.csr(b"sixteen octets..");
    let body = json!({ "csr": b64(&csr), "nonce": "00112233445566778899aabbccddeeff" });
    assert_eq!(stand.site.post("/v1/certificates", Some(CAROL), body).await.problem(), "not-permitted");
    let mut connection = stand.est("carol", CAROL).await;
    for label in ["", "stock/"] {
        assert_eq!(connection.get(&format!("{label}nonce")).await.refused(403), ["not-permitted"]);
        let reply = connection.enroll(&format!("{label}simpleenroll"), &csr).await;
        assert_eq!(reply.refused(403), ["not-permitted"]);
    }
    for (number, body) in [(GENM, nonce_request()), (P10CR, csr.clone())] {
        for path in ["", "/p/stock"] {
            let answer = cmp("carol-ref", CAROLS_SECRET).on(path).send(&stand.site, number, &body).await;
            assert_eq!((answer.number, answer.codes()), (ERROR, vec!["not-permitted".to_owned()]), "{number} {path}");
        }
    }
    let account = AcmeClient { site: &stand.site, key: SoftwareKey::generate(), kid: String::new() };
    let (url, key) = (account.url("new-account"), jwk(&account.key));
    let payload = json!({ "externalAccountBinding": binding("carol", &CAROL_EXTERNAL, &url, &key) });
    let reply = account.post_with(&url, json!({ "jwk": key }), Some(&payload)).await;
    assert_eq!(codes(&reply), ["acme.account-withdrawn"]);
}

/// A50: who is nobody learns nothing of evidence, not even whether it was looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a50_strangers_are_told_the_same_of_good_and_of_false_evidence() {
    let stand = Stand::start().await;
    let device = stand.device("device-1").await;
    let good = device.csr(b"sixteen octets..");
    let mut forged = good.clone();
    let middle = good.len() / 2;
    forged[middle] ^= 1;
    let nobody = SoftwareKey::generate();
    let account = stand.acme().await;
    let mut told = Vec::new();
    for csr in [good, forged, b"\x30\x03\x02\x01\x00".to_vec()] {
        let mut answers = Vec::new();
        for authorization in [None, Some(format!("Authorization: Basic {}", b64(b"alice:guessed")))] {
            let headers: Vec<String> = authorization.into_iter().collect();
            let path = "/.well-known/est/stock/simpleenroll";
            let reply = stand.send("POST", path, &headers, "application/pkcs10", b64(&csr).as_bytes()).await;
            answers.push((reply.status, reply.body));
        }
        let guessed = Protection::pbm("alice-ref", "what somebody guessed of it");
        for protection in [Protection::None, guessed] {
            let answer = CmpClient::new(protection).on("/p/stock").send(&stand.site, P10CR, &csr).await;
            answers.push((u16::from(answer.number), answer.reasons().join("\n").into_bytes()));
        }
        let url = account.url("finalize/AAAA");
        let header = json!({ "alg": "ES256", "kid": account.kid, "nonce": account.nonce().await, "url": url });
        let request = sign(&nobody, &header, Some(&json!({ "csr": base64url::encode(&csr) })));
        let reply = account.send(&url, &request).await;
        answers.push((reply.status, reply.body));
        let body = json!({ "csr": b64(&csr), "nonce": "00112233445566778899aabbccddeeff" });
        let reply = stand.site.post("/v1/certificates", Some("guessed"), body).await;
        answers.push((reply.status, reply.body));
        told.push(answers);
    }
    for answers in &told {
        assert_eq!(answers, &told[0]);
        for (_, text) in answers {
            let text = String::from_utf8_lossy(text);
            assert!(!text.contains("tpm.") && !text.contains("csr.") && !text.contains("nonce."), "{text}");
        }
    }
}
