//! Messages of every type with every wrong credential, false proofs, and messages that are none.

use super::*;
use crate::module::sign_certificate;
use client::deliver;
use vouchsafe_authority::protocol::cmp::{MessageAccess, MessageType, codes};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build;

/// A body of this type that can be read.
fn body(kind: MessageType, csr: &[u8], crmf: &[u8], certificate: &CertView) -> Vec<u8> {
    match kind {
        MessageType::Ir | MessageType::Cr | MessageType::Kur => crmf.to_vec(),
        MessageType::P10cr => csr.to_vec(),
        MessageType::Rr => revocation(certificate, 0),
        MessageType::CertConf => confirmation(certificate.as_der(), 0),
        MessageType::Genm => nonce_request(),
        MessageType::Error => sequence(&sequence(&[2, 1, 2])),
        MessageType::Ip
        | MessageType::Cp
        | MessageType::Popdecc
        | MessageType::Popdecr
        | MessageType::Kup
        | MessageType::Krr
        | MessageType::Krp
        | MessageType::Rp
        | MessageType::Ccr
        | MessageType::Ccp
        | MessageType::Ckuann
        | MessageType::Cann
        | MessageType::Rann
        | MessageType::Crlann
        | MessageType::Pkiconf
        | MessageType::Nested
        | MessageType::Genp
        | MessageType::PollReq
        | MessageType::PollRep => sequence(&[]),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_of_message_is_refused_whoever_sends_it_wrongly() {
    let site = site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let (key, certificate) = issued(&site, alice(), &module, &ak_chain).await;
    let certificate = CertView::parse(&certificate).unwrap();
    let csr = module.csr(b"sixteen octets..", &ak_chain, None);
    let crmf = crmf(&key, "device-1", &module, b"sixteen octets..", &ak_chain);
    let other = Arc::new(SoftwareKey::generate());
    let name = certificate.subject();
    // Its issuer is nobody's, whatever it is called.
    let forged = sign_certificate((certificate.issuer(), &other), name.clone(), other.spki(), 1_796_083_200, vec![]);
    let wrong = [
        ("nothing", Protection::None, "cmp.unprotected"),
        ("another secret", Protection::pbm("alice-ref", BOBS_SECRET), "cmp.bad-mac"),
        ("no reference of here", Protection::pbm("carol-ref", SECRET), "cmp.bad-mac"),
        ("a token as secret", Protection::pbm("alice", ALICE), "cmp.bad-mac"),
        (
            "too much work",
            Protection::Pbm { reference: "alice-ref".to_owned(), secret: SECRET.to_owned(), iterations: 100_001 },
            "cmp.bad-protection-algorithm",
        ),
        (
            "another's certificate",
            Protection::Signature { key: Arc::clone(&other), chain: vec![certificate.as_der().to_vec()] },
            "cmp.bad-signature",
        ),
        (
            "a certificate of nobody",
            Protection::Signature { key: Arc::clone(&other), chain: vec![forged] },
            "cmp.signer-not-trusted",
        ),
    ];
    for kind in MessageType::ALL {
        let body = body(kind, &csr, &crmf, &certificate);
        for (who, protection, code) in &wrong {
            let answer = Client::new(protection.clone()).on("/p/stock").send(&site, kind.number(), &body).await;
            let expected = match kind.access() {
                MessageAccess::Nobody => "cmp.message-type",
                MessageAccess::Begins(_) | MessageAccess::Continues(_) => code,
            };
            assert_eq!((answer.number, answer.codes()), (ERROR, vec![expected.to_owned()]), "{kind:?} with {who}");
        }
        let served = alice().on("/p/stock").send(&site, kind.number(), &body).await;
        match kind.access() {
            MessageAccess::Nobody => assert_eq!(served.codes(), ["cmp.message-type"], "{kind:?}"),
            MessageAccess::Continues(_) => assert_eq!(served.codes(), ["cmp.out-of-order"], "{kind:?}"),
            MessageAccess::Begins(_) if kind == MessageType::Kur => {
                assert_eq!(served.codes(), ["cmp.not-the-owner"]);
            }
            MessageAccess::Begins(_) => assert_ne!(served.number, ERROR, "{kind:?}: {:?}", served.reasons()),
        }
    }
    // What counts elsewhere counts nothing here.
    let headers = [
        format!("Authorization: Bearer {ALICE}"),
        "Content-Type: application/pkixcmp".to_owned(),
        format!("Content-Length: {}", Client::new(Protection::None).message(GENM, &nonce_request()).len()),
    ];
    let message = Client::new(Protection::None).message(GENM, &nonce_request());
    let reply = site.exchange("POST", "/.well-known/cmp", &headers, &message).await;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(text.contains("cmp.unprotected"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn possession_is_proven_by_a_signature_over_all_of_the_request() {
    let site = site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let key = SoftwareKey::generate();
    let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    let constructed = |number: u8| vec![0xA0 | number, 0];
    let other = SoftwareKey::generate();
    for (proof, code) in [
        (vec![], "cmp.bad-proof"),
        // raVerified, which is no end entity's to say.
        (vec![0x80, 0], "cmp.bad-proof"),
        (constructed(2), "cmp.bad-proof"),
        (constructed(3), "cmp.bad-proof"),
        (popo(&other, b"x"), "csr.bad-signature"),
        (popo(&key, b"another request"), "csr.bad-signature"),
    ] {
        let mut client = alice();
        let nonce = client.nonce(&site).await;
        let statements = vec![module.key_statement(&public, &nonce)];
        let body = requests("device-1", &key, statements, &ak_chain, |_| proof.clone());
        let answer = client.send(&site, IR, &body).await;
        assert!(answer.codes().contains(&code.to_owned()), "{proof:02x?}: {:?}", answer.reasons());
        assert!(answer.certificate().is_none());
    }
    // Without a statement there is nothing to certify, however well it is signed.
    let mut client = alice();
    client.nonce(&site).await;
    let subject = build::distinguished_name(&[(oid::COMMON_NAME, "device-1")]).unwrap();
    let spki = key.spki();
    let contents = vouchsafe_evidence::x509::der::Element::parse(spki.as_der(), "SPKI").unwrap().contents().to_vec();
    let request = write(|writer| {
        writer.sequence(|request| {
            request.uint(0).sequence(|template| {
                template.primitive(vouchsafe_evidence::x509::der::Tag::context_constructed(5), subject.as_der());
                template.primitive(vouchsafe_evidence::x509::der::Tag::context_constructed(6), &contents);
            });
        });
    });
    let body = sequence(&sequence(&[request.clone(), popo(&key, &request)].concat()));
    assert_eq!(client.send(&site, IR, &body).await.codes(), ["csr.no-attestation"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_refused() {
    let site = site().await;
    let good = alice().message(GENM, &nonce_request());
    for (what, message) in [
        ("nothing", Vec::new()),
        ("text", b"hello".to_vec()),
        ("cut short", good[..good.len() - 1].to_vec()),
        ("trailing", [&good[..], &[0]].concat()),
    ] {
        let answer = deliver(&site, "/.well-known/cmp", &message).await;
        assert_eq!((answer.number, answer.codes()), (ERROR, vec!["cmp.malformed".to_owned()]), "{what}");
    }
    // Every altered octet of a message that is protected is noticed.
    for place in 0..good.len() {
        let mut altered = good.clone();
        altered[place] ^= 1;
        let answer = deliver(&site, "/.well-known/cmp", &altered).await;
        assert_eq!(answer.number, ERROR, "octet {place}");
    }
    for (client, code) in [
        (Client { version: 1, ..alice() }, "cmp.unsupported-version"),
        (Client { transaction: vec![1; 15], ..alice() }, "cmp.bad-transaction-id"),
        (Client { transaction: vec![1; 65], ..alice() }, "cmp.malformed"),
        (Client { sender_nonce: vec![1; 15], ..alice() }, "cmp.bad-sender-nonce"),
    ] {
        assert_eq!(client.clone().send(&site, GENM, &nonce_request()).await.codes(), [code]);
    }
    let unknown = sequence(&sequence(&[6, 1, 0x2A]));
    assert_eq!(alice().send(&site, GENM, &unknown).await.codes(), ["cmp.unknown-info"]);
    let reply = site.send("/.well-known/cmp", None, "application/json", &good).await;
    assert_eq!((reply.status, reply.problem().as_str()), (415, "unsupported-media-type"));
    let length = vouchsafe_authority::protocol::cmp::limits::MESSAGE_OCTETS + 1;
    let reply = site.send("/.well-known/cmp", None, client::MEDIA_TYPE, &vec![0x30; length]).await;
    assert_eq!((reply.status, reply.problem().as_str()), (413, "body-too-large"));
}

#[test]
fn every_code_is_on_its_page() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocols.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `cmp.")).count();
    assert_eq!(rows, codes::ALL.len());
    for code in codes::ALL {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", code.id))).expect(code.id);
        assert!(row.ends_with(&format!("| {} |", code.meaning)), "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_begins_many_transactions_ends_none_of_them() {
    let site = site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let mut first = alice();
    let nonce = first.nonce(&site).await;
    for _ in 0..vouchsafe_authority::protocol::cmp::limits::TRANSACTIONS {
        alice().nonce(&site).await;
    }
    // The first is forgotten by now, and goes on all the same: its next message tells the nonce.
    bob().nonce(&site).await;
    let answer = first.send(&site, P10CR, &module.csr(&nonce, &ak_chain, None)).await;
    let certificate = answer.certificate().unwrap_or_else(|| panic!("{:?}", answer.reasons()));
    assert_eq!(first.confirm(&site, &certificate, 0xFF).await.number, PKICONF);
}
