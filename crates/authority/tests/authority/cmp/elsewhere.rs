//! Transactions that go on at a server which knows nothing of them: another on the same records, or the same one, started
//! anew. What must be known comes back in recipNonce, and counts only where it belongs.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_of_another_server_is_good_for_its_own_transaction_and_once() {
    let mut site = site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let mut client = alice();
    let nonce = client.nonce(&site).await;
    assert_eq!(client.answers.as_ref(), Some(&nonce), "it is what the next message repeats");
    let csr = module.csr(&nonce, &ak_chain, None);
    site.restart().await;

    let refused = async |client: Client| client.clone().send(&site, P10CR, &csr).await.codes();
    let elsewhere = Client { transaction: vec![4; 16], ..client.clone() };
    assert_eq!(refused(elsewhere).await, ["nonce-unknown"], "another transaction");
    let stranger = Client { protection: bob().protection, ..client.clone() };
    assert_eq!(refused(stranger).await, ["nonce-unknown"], "another account");
    let mut altered = client.clone();
    altered.answers.as_mut().unwrap()[31] ^= 1;
    assert_eq!(refused(altered).await, ["nonce-unknown"], "another nonce");
    site.restart().await;
    let other_profile = client.clone().on("/p/stock").send(&site, P10CR, &csr).await;
    assert_eq!(other_profile.codes(), ["nonce-unknown"]);
    site.restart().await;
    let without = Client { answers: None, ..client.clone() }.send(&site, P10CR, &csr).await;
    assert_eq!(without.codes(), ["authority.freshness-required"]);
    site.restart().await;

    let answer = client.clone().send(&site, P10CR, &csr).await;
    let certificate = answer.certificate().unwrap_or_else(|| panic!("{:?}", answer.reasons()));
    assert_eq!(client.clone().send(&site, P10CR, &csr).await.codes(), ["cmp.transaction-in-use"]);
    // A third server is told of the same request what it was answered, and of another that the nonce is spent.
    site.restart().await;
    assert_eq!(client.clone().send(&site, P10CR, &csr).await.certificate(), Some(certificate));
    site.restart().await;
    let another = module.csr(&nonce, &ak_chain, None);
    assert_eq!(client.send(&site, P10CR, &another).await.codes(), ["nonce-spent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_server_is_confirmed_in_its_own_transaction() {
    let mut site = site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let mut made = Vec::new();
    for (number, id) in [(P10CR, 0xFF), (IR, 0)] {
        let mut client = alice();
        let nonce = client.nonce(&site).await;
        let key = SoftwareKey::generate();
        let body = match number {
            P10CR => module.csr(&nonce, &ak_chain, None),
            _ => crmf(&key, "device-1", &module, &nonce, &ak_chain),
        };
        let answer = client.send(&site, number, &body).await;
        made.push((client, answer.certificate().unwrap_or_else(|| panic!("{:?}", answer.reasons())), id));
    }
    site.restart().await;
    let other = made[1].clone();
    for (client, certificate, id) in made {
        let refused = async |client: &Client, certificate: &[u8], id: u8| {
            client.clone().confirm(&site, certificate, id).await.codes()
        };
        for (what, client) in [
            ("another transaction", Client { transaction: vec![4; 16], ..client.clone() }),
            ("another account", Client { protection: bob().protection, ..client.clone() }),
            ("no nonce", Client { answers: None, ..client.clone() }),
        ] {
            assert_eq!(refused(&client, &certificate, id).await, ["cmp.out-of-order"], "{what}");
        }
        // Every octet of the nonce counts: its MAC, certReqId and the serial number.
        for place in 0..client.answers.as_ref().unwrap().len() {
            let mut altered = client.clone();
            altered.answers.as_mut().unwrap()[place] ^= 1;
            assert_eq!(refused(&altered, &certificate, id).await, ["cmp.out-of-order"], "octet {place}");
        }
        // What is bound to a confirmation is no nonce for evidence.
        let mut evidence = client.clone();
        evidence.answers.as_mut().unwrap().truncate(32);
        let nonce = evidence.answers.clone().unwrap();
        let answer = evidence.send(&site, P10CR, &module.csr(&nonce, &ak_chain, None)).await;
        assert_eq!(answer.codes(), ["nonce-unknown"]);
        site.restart().await;
        assert_eq!(client.clone().confirm(&site, &certificate, id).await.number, PKICONF);
        assert_eq!(client.clone().confirm(&site, &certificate, id).await.codes(), ["cmp.out-of-order"], "once here");
    }
    let (client, certificate, id) = other;
    site.restart().await;
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"another certificate");
    assert_ne!(hash.as_ref(), aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate).as_ref());
    assert_eq!(client.clone().confirm(&site, b"another certificate", id).await.codes(), ["cmp.bad-cert-hash"]);
    site.clock.advance(301);
    site.restart().await;
    assert_eq!(client.clone().confirm(&site, &certificate, id).await.codes(), ["cmp.out-of-order"], "too late");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_does_not_take_of_another_server_is_revoked() {
    let mut site = site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let mut client = alice();
    let nonce = client.nonce(&site).await;
    let answer = client.send(&site, P10CR, &module.csr(&nonce, &ak_chain, None)).await;
    let certificate = answer.certificate().unwrap();
    site.restart().await;
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate);
    let rejected = write(|writer| {
        writer.sequence(|list| {
            list.sequence(|status| {
                status.octet_string(hash.as_ref());
                status.primitive(vouchsafe_evidence::x509::der::Tag::INTEGER, &[0xFF]);
                status.sequence(|info| {
                    info.uint(2);
                });
            });
        });
    });
    assert_eq!(client.send(&site, CERT_CONF, &rejected).await.number, PKICONF);
    let leaf = CertView::parse(&certificate).unwrap();
    let reply = site.exchange("GET", "/v1/revocation-lists/issuing", &[], b"").await;
    assert!(reply.body.windows(20).any(|window| window == leaf.serial()));
}
