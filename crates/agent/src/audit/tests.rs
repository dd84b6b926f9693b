use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{AuditFault, AuditLog, Event, FILE_NAME, VerifyFault, verify};
use crate::wire::ProviderId;

fn event(subject: &str) -> Event {
    Event { name: "attest", uid: 1000, provider: ProviderId::TPM, subject: subject.to_owned(), nonce: vec![7; 16] }
}

fn written(folder: &Path, count: usize) -> String {
    let log = AuditLog::open(folder).unwrap();
    for number in 0..count {
        log.record(&event(&format!("key-{number}")), "ok");
    }
    std::fs::read_to_string(folder.join(FILE_NAME)).unwrap()
}

#[test]
fn entries_follow_each_other_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    written(folder.path(), 2);
    let text = written(folder.path(), 3);
    assert_eq!(text.lines().count(), 5);
    let summary = verify(&path).unwrap();
    assert_eq!(summary.entries, 5);
    assert!(text.trim_end().ends_with(&summary.chain));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // The nonce itself is not there, its digest is.
    assert!(text.contains("\tattest\t1000\t3\tkey-0\t") && !text.contains("0707"));
}

#[test]
fn every_changed_removed_or_added_line_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let text = written(folder.path(), 4);
    let lines: Vec<&str> = text.lines().collect();
    let check = |lines: &[&str]| {
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        verify(&path)
    };
    for (position, _) in text.char_indices().filter(|(_, character)| character.is_ascii_alphanumeric()) {
        let mut octets = text.clone().into_bytes();
        octets[position] ^= 1;
        std::fs::write(&path, &octets).unwrap();
        assert!(verify(&path).is_err(), "octet {position}");
    }
    assert!(matches!(check(&lines[1..]), Err(VerifyFault::Sequence { line: 1, found: 2 })));
    assert!(matches!(check(&[lines[0], lines[2], lines[3]]), Err(VerifyFault::Sequence { line: 2, found: 3 })));
    assert!(matches!(check(&[lines[0], lines[0], lines[1]]), Err(VerifyFault::Sequence { line: 2, found: 1 })));
    assert!(matches!(check(&[lines[0], "", lines[1]]), Err(VerifyFault::NoEntry { line: 2 })));
    let renumbered = lines[2].replacen('3', "2", 1);
    assert!(matches!(check(&[lines[0], &renumbered]), Err(VerifyFault::Chain { line: 2 })));
    // What a log alone cannot show; the chain value tells whoever has noted a later one.
    assert_eq!(check(&lines[..3]).unwrap().entries, 3);
}

#[test]
fn an_entry_that_was_cut_short_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    written(folder.path(), 2);
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"3\t17000").unwrap();
    assert!(verify(&path).is_err());
    written(folder.path(), 1);
    assert_eq!(verify(&path).unwrap().entries, 3);
}

#[test]
fn a_log_that_is_none_is_not_written_on() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), "something else\n").unwrap();
    assert!(matches!(AuditLog::open(folder.path()), Err(AuditFault::Damaged { .. })));
}

#[test]
fn a_name_cannot_forge_an_entry() {
    let folder = tempfile::tempdir().unwrap();
    let log = AuditLog::open(folder.path()).unwrap();
    log.record(&event("a\tok\n2\tb"), "ok");
    log.record(&event(&"\u{1F}".repeat(100_000)), "agent.invalid");
    assert_eq!(verify(&folder.path().join(FILE_NAME)).unwrap().entries, 2);
}
