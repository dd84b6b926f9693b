//! Evidence that has no room for a nonce: fresh by a signature of the attested key over this transaction, and by nothing
//! else.

use super::*;
use crate::methods::{Slot, trust_yubico};
use crate::module::Vendor;
use crate::site::NOW;

/// A context made from this transaction's identifier and another's.
type Context = fn(&[u8], &[u8]) -> Vec<u8>;

impl Slot {
    fn pkcs10(&self, proofs: &[(&[u8], &[u8])]) -> Vec<u8> {
        request(&self.key, "x", self.statements(proofs), std::slice::from_ref(&self.yubikey.f9))
    }

    fn crmf(&self, proofs: &[(&[u8], &[u8])]) -> Vec<u8> {
        let certificates = std::slice::from_ref(&self.yubikey.f9);
        requests("x", &self.key, self.statements(proofs), certificates, |request| popo(&self.key, request))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_without_a_nonce_is_fresh_by_a_proof_over_the_transaction_alone() {
    let site = site().await;
    let maker = Vendor::new("Yubico PIV Root CA", NOW);
    trust_yubico(&site, &maker, "");
    let slot = Slot::new(&maker, 7);
    let other = alice().transaction;
    // The context in either syntax of requests: this transaction's, another's, none, zeros, and more than this one's.
    for syntax in [P10CR, IR] {
        let send = async |client: &mut Client, proofs: &[(&[u8], &[u8])]| {
            let body = if syntax == P10CR { slot.pkcs10(proofs) } else { slot.crmf(proofs) };
            client.send(&site, syntax, &body).await
        };
        let wrong: [(&str, Context); 5] = [
            ("another transaction's", |_, other| other.to_vec()),
            ("empty", |_, _| Vec::new()),
            ("zeros", |own, _| vec![0; own.len()]),
            ("cut", |own, _| own[..own.len() - 1].to_vec()),
            ("with an octet behind", |own, _| [own, &[0]].concat()),
        ];
        for (what, context) in wrong {
            let mut client = alice().on("/p/modules");
            let nonce = client.nonce(&site).await;
            let context = context(&client.transaction, &other);
            let answer = send(&mut client, &[(&nonce, &context)]).await;
            assert!(answer.codes().contains(&"pop.context".to_owned()), "{what}: {:?}", answer.reasons());
            assert!(answer.certificate().is_none());
        }
        // No proof at all, however well the request itself is signed; and one over another nonce.
        let mut client = alice().on("/p/modules");
        client.nonce(&site).await;
        let answer = send(&mut client, &[]).await;
        assert!(answer.codes().contains(&"nonce.missing".to_owned()), "{:?}", answer.reasons());
        let mut client = alice().on("/p/modules");
        client.nonce(&site).await;
        let (theirs, own) = (alice().on("/p/modules").nonce(&site).await, client.transaction.clone());
        let answer = send(&mut client, &[(&theirs, &own)]).await;
        assert!(answer.codes().contains(&"nonce.mismatch".to_owned()), "{:?}", answer.reasons());
        // The true proof beside a false one.
        let mut client = alice().on("/p/modules");
        let (nonce, own) = (client.nonce(&site).await, client.transaction.clone());
        let answer = send(&mut client, &[(&nonce, &own), (&nonce, &other)]).await;
        assert!(answer.certificate().is_none() && !answer.codes().is_empty());
        let mut client = alice().on("/p/modules");
        let (nonce, own) = (client.nonce(&site).await, client.transaction.clone());
        let answer = send(&mut client, &[(&nonce, &own)]).await;
        let certificate = answer.certificate().unwrap_or_else(|| panic!("{:?}", answer.reasons()));
        assert!(CertView::parse(&certificate).unwrap().spki().same_key(&slot.key.spki()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_for_one_transaction_is_none_without_its_nonce() {
    let site = site().await;
    let maker = Vendor::new("Yubico PIV Root CA", NOW);
    trust_yubico(&site, &maker, "");
    let slot = Slot::new(&maker, 8);
    // What was captured is sent again in a transaction that asked for no nonce.
    let mut client = alice().on("/p/modules");
    let (nonce, own) = (client.nonce(&site).await, client.transaction.clone());
    let captured = slot.pkcs10(&[(&nonce, &own)]);
    assert_eq!(alice().on("/p/modules").send(&site, P10CR, &captured).await.codes(), ["authority.freshness-required"]);
    // Where a profile wants none, a proof of another transaction is none all the same.
    let answer = alice().on("/p/old-modules").send(&site, P10CR, &captured).await;
    assert!(answer.codes().contains(&"pop.context".to_owned()), "{:?}", answer.reasons());
    // raVerified instead of the key's own signature.
    let certificates = std::slice::from_ref(&slot.yubikey.f9);
    let body = requests("x", &slot.key, slot.statements(&[(&nonce, &own)]), certificates, |_| vec![0x80, 0]);
    let answer = client.clone().send(&site, IR, &body).await;
    assert_eq!(answer.codes(), ["cmp.bad-proof"]);
}
