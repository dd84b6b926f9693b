//! Revocation lists: there from the first second, and numbered so that what knows of more is never taken for older.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use vouchsafe_authority::lifecycle::ListName;
use vouchsafe_authority::store::RevocationReason;
use vouchsafe_authority::{Administration, Clock};
use vouchsafe_evidence::x509::CrlView;

use crate::module::Module;
use crate::site::{ALICE, FixedClock, NOW, Site};

/// An instance with a clock of its own, on the same database.
fn instance(site: &Site, at: i64) -> Administration {
    let clock: Arc<dyn Clock> = Arc::new(FixedClock(AtomicI64::new(at)));
    Administration::open(&site.config(), clock).unwrap()
}

/// cRLNumber as openssl reads it.
fn number(site: &Site, list: &[u8]) -> u128 {
    let path = site.dir.path().join("list.der");
    std::fs::write(&path, list).unwrap();
    let output = Command::new("openssl")
        .args(["crl", "-inform", "DER", "-noout", "-crlnumber", "-in"])
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let digits = text.trim().strip_prefix("crlNumber=").unwrap().trim_start_matches("0x").to_owned();
    u128::from_str_radix(&digits, 16).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn class_36_a_new_database_has_a_right_list_before_anything_was_issued() {
    let site = Site::start().await;
    for name in ["attestation", "attestation-virtual", "issuing"] {
        let reply = site.exchange("GET", &format!("/v1/revocation-lists/{name}"), &[], b"").await;
        assert_eq!(reply.status, 200, "{name}");
        let list = CrlView::parse(&reply.body).unwrap();
        assert_eq!((list.this_update(), list.next_update()), (NOW, Some(NOW + 7 * 86_400)));
        assert_eq!(list.entries().count(), 0);
        let authority = if name == "issuing" {
            "issuing-ca".to_owned()
        } else {
            format!("{name}-root").replace("attestation-virtual-root", "attestation-root-virtual")
        };
        let file = site.dir.path().join("list.der");
        std::fs::write(&file, &reply.body).unwrap();
        let output = Command::new("openssl")
            .args(["crl", "-inform", "DER", "-noout", "-in"])
            .arg(&file)
            .arg("-CAfile")
            .arg(site.state().join(format!("ca/{authority}.crt")))
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("verify OK"), "{name}: {output:?}");
        assert_eq!(number(&site, &reply.body), u128::try_from(NOW).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn class_36_a_list_that_knows_of_more_has_the_higher_number_whoever_made_it() {
    let site = Site::start().await;
    let (one, two) = (Module::new(&site.vendor, NOW), Module::new(&site.vendor, NOW));
    site.enroll(ALICE, &one, "one").await;
    site.enroll(ALICE, &two, "two").await;
    // One instance's clock is an hour ahead of the other's.
    let (ahead, behind) = (instance(&site, NOW + 3_600), instance(&site, NOW));
    let mut last = 0;
    let mut next = |instance: &Administration, entries: usize| {
        let list = instance.revocation_list(ListName::Attestation).unwrap();
        let view = CrlView::parse(&list).unwrap();
        assert_eq!(view.entries().count(), entries);
        assert!(view.entries().all(|entry| entry.revoked_at() <= view.this_update()));
        let number = number(&site, &list);
        assert!(number > last, "{number:x} after {last:x}");
        last = number;
    };
    next(&behind, 0);
    next(&ahead, 0);
    ahead.revoke(&one.ak.spki().sha256(), RevocationReason::KeyCompromise, "alma", false).unwrap();
    // By the clock this list is older than the last; by its number it is not.
    next(&behind, 2);
    next(&ahead, 2);
    behind.revoke(&two.ak.spki().sha256(), RevocationReason::Superseded, "alma", false).unwrap();
    next(&behind, 4);
    // After a restart, with the clock set back.
    drop((ahead, behind));
    let again = instance(&site, NOW + 60);
    next(&again, 4);
    // Certificates that have expired are no longer listed, and the number still does not fall.
    let late = instance(&site, NOW + 91 * 86_400);
    next(&late, 0);
}
