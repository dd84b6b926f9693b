//! Orders: one certificate each whatever happens, as many as an account may have, and names that the profile wants.

use std::sync::Arc;

use serde_json::{Value, json};
use vouchsafe_authority::store::RevocationReason;
use vouchsafe_authority::{Administration, Clock};
use vouchsafe_evidence::base64url;
use vouchsafe_evidence::tpm::EccScheme;
use vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES;
use vouchsafe_evidence::x509::extensions::GeneralName;

use super::client::{ALICE_SECRET, Client, Stage, binding, codes, jwk};
use super::devices::{response, tpm_object};
use super::{attested, certificates, dns, enrolled, request, request_as, unb64url};
use crate::module::SoftwareKey;
use crate::site::{ALICE, NOW, Site};

/// The database, beside the server.
fn database(site: &Site) -> rusqlite::Connection {
    rusqlite::Connection::open(site.state().join("authority.sqlite")).unwrap()
}

fn issued(site: &Site) -> i64 {
    let count =
        "SELECT count(*) FROM certificates JOIN decisions ON decisions.id = decision WHERE kind = 'certificate'";
    database(site).query_row(count, (), |row| row.get(0)).unwrap()
}

/// As a server leaves it that ends after it has recorded a decision and before it has written it into the order.
fn forget(site: &Site, url: &str) {
    let id = url.rsplit('/').next().unwrap().as_bytes();
    let database = database(site);
    let read = "SELECT body FROM acme_documents WHERE kind = 'order' AND id = ?1";
    let body: Vec<u8> = database.query_row(read, [id], |row| row.get(0)).unwrap();
    let mut order: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(order["stage"]["stage"], "valid");
    order["stage"] = json!({ "stage": "open" });
    let body = order.to_string().into_bytes();
    let write = "UPDATE acme_documents SET body = ?1, version = version - 1 WHERE kind = 'order' AND id = ?2";
    assert_eq!(database.execute(write, rusqlite::params![body, id]).unwrap(), 1);
    assert!(database.execute("DELETE FROM acme_documents WHERE kind = 'certificate'", ()).unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_has_one_certificate_whatever_ends_in_between() {
    let stage = Stage::new();
    let site = stage.site(NOW, true).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    for profile in ["device", "stock"] {
        let (url, order) = client.proven(&stage, "a.example", profile).await;
        let nonce = unb64url(&order["attestationNonce"]);
        let csr = attested(&module, &ak_chain, "a.example", &nonce);
        let asked = (profile == "device").then_some(&order["attestationNonce"]);
        let finalized = client.finalize(&order, &csr, asked).await;
        let first = certificates(&client, &finalized).await.remove(0);
        let before = issued(&site);
        // Days later, whoever asks for it again, or for another.
        for attempt in 0..3 {
            forget(&site, &url);
            site.clock.advance(86_400);
            let other = attested(&module, &ak_chain, "a.example", &[7; 32]);
            match attempt {
                0 => {}
                1 => assert_eq!(codes(&client.finalize(&order, &csr, asked).await), ["acme.order-not-ready"]),
                _ => assert_eq!(codes(&client.finalize(&order, &other, None).await), ["acme.order-not-ready"]),
            }
            let read = client.read(&json!(url)).await;
            assert_eq!((&read["status"], &read["attestationNonce"]), (&json!("valid"), &Value::Null));
            let reply = client.post(read["certificate"].as_str().unwrap(), None).await;
            let pem = vouchsafe_evidence::pem::read(&reply.body).unwrap();
            assert_eq!(pem[0].contents(), first.as_der());
            assert_eq!(issued(&site), before, "no second certificate");
        }
        // It is the account's to revoke, though what was written first is lost.
        let revocation = json!({ "certificate": base64url::encode(first.as_der()) });
        assert_eq!(client.post(&client.url("revoke-certificate"), Some(&revocation)).await.status, 200);
        site.clock.advance(8 * 86_400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_requests_for_one_order_one_gets_the_certificate() {
    let stage = Stage::new();
    let site = stage.site(NOW, true).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    for round in 0..8 {
        let (url, order) = client.proven(&stage, "a.example", "device").await;
        let before = issued(&site);
        // Each with a nonce of its own, so that nothing but the order stands between them.
        let mut attempts = Vec::new();
        for _ in 0..4 {
            let nonce = client.read(&json!(url)).await["attestationNonce"].clone();
            attempts.push((attested(&module, &ak_chain, "a.example", &unb64url(&nonce)), nonce));
        }
        let finalize = |attempt: usize| client.finalize(&order, &attempts[attempt].0, Some(&attempts[attempt].1));
        let replies = tokio::join!(finalize(0), finalize(1), finalize(2), finalize(3));
        let mut granted = 0;
        for reply in [replies.0, replies.1, replies.2, replies.3] {
            if reply.status == 200 {
                granted += 1;
            } else {
                assert_eq!(codes(&reply), ["acme.order-not-ready"], "{round}");
            }
        }
        assert_eq!((granted, issued(&site) - before), (1, 1), "{round}");
        assert_eq!(client.read(&json!(url)).await["status"], "valid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_account_has_as_many_accounts_as_it_may() {
    let stage = Stage::new();
    let mut site = stage.site(NOW, true).await;
    site.reconfigure(|config| config.replace("[acme]\n", "[acme]\naccounts_max = 3\n"));
    site.restart().await;
    let first = Client::register(&site, "alice", &ALICE_SECRET).await;
    let try_one = async || {
        let client = Client { site: &site, key: SoftwareKey::generate(), kid: String::new() };
        let url = client.url("new-account");
        let payload = json!({ "externalAccountBinding": binding("alice", &ALICE_SECRET, &url, &jwk(&client.key)) });
        client.post_with(&url, json!({ "jwk": jwk(&client.key) }), Some(&payload)).await
    };
    // All at once.
    let replies = tokio::join!(try_one(), try_one(), try_one(), try_one(), try_one());
    let replies = [replies.0, replies.1, replies.2, replies.3, replies.4];
    assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 2);
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        assert!(["acme.accounts-too-many", "acme.changed-meanwhile"].contains(&codes(reply)[0].as_str()));
    }
    // One that was ended leaves no room for another: otherwise there could be any number of them.
    let ended = first.post(&first.kid, Some(&json!({ "status": "deactivated" }))).await;
    assert_eq!(ended.status, 200);
    let reply = try_one().await;
    assert_eq!((reply.status, codes(&reply)), (429, vec!["acme.accounts-too-many".to_owned()]));
    assert_eq!(reply.json()["type"], "urn:ietf:params:acme:error:rateLimited");
    // Others have their own.
    Client::register(&site, "bob", &super::client::BOB_SECRET).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_proven_is_in_no_certificate_whose_profile_does_not_want_it() {
    let stage = Stage::new();
    let mut site = stage.site(NOW, true).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let (key, kid, url, order) = {
        let client = Client::register(&site, "alice", &ALICE_SECRET).await;
        // Of hosts it is said at once: their names must stand in the request.
        let names = json!([{ "type": "dns", "value": "a.example" }]);
        let wanted = json!({ "identifiers": names, "profile": "nameless" });
        let reply = client.post(&client.url("new-order"), Some(&wanted)).await;
        assert_eq!((reply.status, codes(&reply)), (403, vec!["acme.identifier-rejected".to_owned()]));
        assert_eq!(reply.json()["type"], "urn:ietf:params:acme:error:rejectedIdentifier");
        // A device may be proven for such a profile, and is not named beside the subject.
        for (named, refused) in [(true, true), (false, false)] {
            let names = json!([{ "type": "permanent-identifier", "value": "device-1" }]);
            let (_, order) = client.order(names, "nameless").await;
            let challenge = client.challenge(&order, "device-attest-01").await;
            let key = SoftwareKey::generate();
            let object = tpm_object(&module, &ak_chain, &key, &client.key_authorization(&challenge));
            let reply = client.post(challenge["url"].as_str().unwrap(), Some(&response(&object))).await;
            assert_eq!(reply.status, 200);
            let names: Vec<GeneralName> =
                if named { super::devices::permanent_identifier("device-1") } else { Vec::new() };
            let reply = client.finalize(&order, &request(&key, &names, vec![], &[]), None).await;
            if refused {
                assert_eq!(codes(&reply), ["authority.name-not-permitted"]);
                assert!(reply.json()["detail"].as_str().unwrap().contains("permanent-identifier"));
            } else {
                certificates(&client, &reply).await;
            }
        }
        let (url, order) = client.proven(&stage, "a.example", "device").await;
        (client.key, client.kid, url, order)
    };
    // The profile changes while an order is under way: what it says when the certificate is made counts.
    site.reconfigure(|config| config.replace("alternative_names = ['dns', ", "alternative_names = ["));
    site.restart().await;
    let client = Client { site: &site, key, kid };
    let nonce = client.read(&json!(url)).await["attestationNonce"].clone();
    let csr = attested(&module, &ak_chain, "a.example", &unb64url(&nonce));
    let reply = client.finalize(&order, &csr, Some(&nonce)).await;
    assert_eq!(codes(&reply), ["authority.name-not-permitted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_as_many_orders_as_it_may() {
    let stage = Stage::new();
    let site = stage.site(NOW, true).await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    let other = Client::register(&site, "alice", &ALICE_SECRET).await;
    let id = client.kid.rsplit('/').next().unwrap().as_bytes().to_vec();
    let mut database = database(&site);
    let transaction = database.transaction().unwrap();
    for number in 0..999_i64 {
        let row = rusqlite::params![number.to_be_bytes(), id, NOW + 600];
        let insert =
            "INSERT INTO acme_documents (kind, id, owner, version, expires, body) VALUES ('order', ?1, ?2, 0, ?3, x'')";
        transaction.execute(insert, row).unwrap();
    }
    transaction.commit().unwrap();
    let names = json!([{ "type": "dns", "value": "a.example" }]);
    let wanted = json!({ "identifiers": names, "profile": "device" });
    let ask = async |client: &Client<'_>| client.post(&client.url("new-order"), Some(&wanted)).await;
    // The last one, which several ask for at once.
    let replies = tokio::join!(ask(&client), ask(&client), ask(&client), ask(&client));
    let replies = [replies.0, replies.1, replies.2, replies.3];
    assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 1);
    let reply = ask(&client).await;
    assert_eq!((reply.status, codes(&reply)), (429, vec!["acme.orders-too-many".to_owned()]));
    assert_eq!(ask(&other).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_attested_for_an_order_is_judged_again_when_it_ends() {
    let stage = Stage::new();
    let site = stage.site(NOW, true).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    let (url, order) = client.order(json!([{ "type": "permanent-identifier", "value": "device-1" }]), "device").await;
    let challenge = client.challenge(&order, "device-attest-01").await;
    let key = SoftwareKey::generate();
    let object = tpm_object(&module, &ak_chain, &key, &client.key_authorization(&challenge));
    assert_eq!(client.post(challenge["url"].as_str().unwrap(), Some(&response(&object))).await.status, 200);
    assert_eq!(client.read(&json!(url)).await["status"], "ready");
    let administration = Administration::open(&site.config(), Arc::clone(&site.clock) as Arc<dyn Clock>).unwrap();
    administration.revoke(&module.ak.spki().sha256(), RevocationReason::KeyCompromise, "alma", false).unwrap();
    let refused = client.finalize(&order, &request(&key, &[], vec![], &[]), None).await;
    assert_eq!(codes(&refused), ["authority.key-revoked"]);
    assert_eq!(client.read(&json!(url)).await["certificate"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_on_names_sees_the_hosts_that_were_proven() {
    let stage = Stage::new();
    let mut site = stage.site(NOW, true).await;
    let rule = "[[profiles]]\nname = 'servers'\nsubject = 'request'\nnames.allow = 'name.common_name in name.dns && name.others == 0'\n\
                extended_key_usage = ['server-auth']\nalternative_names = ['dns']\n[[profiles]]\nname = 'nameless'\n";
    site.reconfigure(|config| {
        let config = config.replace("[[profiles]]\nname = 'nameless'\n", rule);
        config.replace("name = 'alice'\n", "name = 'alice'\nprofiles = ['device', 'servers']\n")
    });
    site.restart().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    // `request` takes the first of the names for the subject; the other order is for a name that the subject is not.
    let (_, order) = client.proven(&stage, "a.example", "servers").await;
    let nonce = order["attestationNonce"].clone();
    let csr = attested(&module, &ak_chain, "a.example", &unb64url(&nonce));
    let issued = certificates(&client, &client.finalize(&order, &csr, Some(&nonce)).await).await;
    assert_eq!(issued[0].subject().to_display(), "CN=a.example");
    let (_, order) = client.proven(&stage, "a.example", "servers").await;
    let nonce = order["attestationNonce"].clone();
    let key = SoftwareKey::generate();
    let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    let statement = module.key_statement(&public, &unb64url(&nonce));
    let csr = request_as("b.example", &key, &dns("a.example"), vec![statement], &ak_chain);
    let refused = client.finalize(&order, &csr, Some(&nonce)).await;
    assert_eq!(codes(&refused), ["authority.name-not-permitted"]);
}
