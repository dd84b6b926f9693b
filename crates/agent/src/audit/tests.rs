use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use super::entry::MAX_LINE_OCTETS;
use super::file::archives;
use super::{AuditFault, AuditLog, Durability, Event, FILE_NAME, Outcome, VerifyFault, verify};
use crate::client_id::{ClientId, DirectName};
use crate::provider::KeyUid;

fn event(subject: &str) -> Event {
    Event {
        name: "attest-key",
        client: ClientId::Unix(1000),
        uid: 1000,
        provider: "tpm".to_owned(),
        subject: subject.to_owned(),
        attesting_key: Some("default".to_owned()),
        nonce: vec![7; 16],
        durability: Durability::Soon,
    }
}

const DONE: Outcome = Outcome { key: None, code: "ok" };

fn write(log: &AuditLog, count: usize) {
    for number in 0..count {
        log.admit().unwrap();
        log.record(&event(&format!("key-{number}")), DONE).unwrap();
    }
}

fn written(folder: &Path, count: usize) -> String {
    write(&AuditLog::open(folder).unwrap(), count);
    std::fs::read_to_string(folder.join(FILE_NAME)).unwrap()
}

/// A log of files that hold four entries or five.
fn small_files(folder: &Path) -> AuditLog {
    AuditLog::open_with(folder, 600).unwrap()
}

#[test]
fn an_entry_says_who_what_which_and_how_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let log = AuditLog::open(folder.path()).unwrap();
    let key = KeyUid::from_octets([0xA5; 16]);
    let made =
        Event { name: "generate", durability: Durability::Now, attesting_key: None, nonce: Vec::new(), ..event("web") };
    log.record(&made, Outcome { key: Some(key), code: "ok" }).unwrap();
    log.record(&event("web"), Outcome { key: Some(key), code: "agent.grant-missing" }).unwrap();
    let text = std::fs::read_to_string(folder.path().join(FILE_NAME)).unwrap();
    let fields: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let id = "a5".repeat(16);
    assert_eq!(fields[0][2..11], ["generate", "unix:1000", "1000", "tpm", "web", &id, "-", "-", "ok"]);
    // The nonce itself is not there, its digest is.
    let digest = super::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &[7; 16]).as_ref());
    let refused = ["attest-key", "unix:1000", "1000", "tpm", "web", &id, "default", &digest, "agent.grant-missing"];
    assert_eq!(fields[1][2..11], refused);
    assert_eq!(log.position(), (2, fields[1][11].to_owned()));
}

#[test]
fn a_claimed_name_is_on_record_beside_the_user_who_claims_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = AuditLog::open(folder.path()).unwrap();
    for name in ["web", "1000", "unix:0", "\u{202E}bew"] {
        let client = ClientId::Direct(DirectName::new(name).unwrap());
        log.record(&Event { client, ..event("k") }, DONE).unwrap();
    }
    let text = std::fs::read_to_string(folder.path().join(FILE_NAME)).unwrap();
    let clients: Vec<_> = text.lines().map(|line| line.split('\t').skip(3).take(2).collect::<Vec<_>>()).collect();
    let expected = ["direct:web", "direct:1000", "direct:unix:0", "direct:\\u{202e}bew"].map(|client| [client, "1000"]);
    assert_eq!(clients, expected);
}

#[test]
fn entries_follow_each_other_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    written(folder.path(), 2);
    let text = written(folder.path(), 3);
    assert_eq!(text.lines().count(), 5);
    let summary = verify(&path, None).unwrap();
    assert_eq!((summary.files, summary.first, summary.entries), (1, 1, 5));
    assert!(text.trim_end().ends_with(&summary.chain));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn every_changed_removed_or_added_line_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let text = written(folder.path(), 4);
    let lines: Vec<&str> = text.lines().collect();
    let check = |lines: &[&str]| {
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        verify(&path, None)
    };
    for (position, _) in text.char_indices().filter(|(_, character)| character.is_ascii_alphanumeric()) {
        let mut octets = text.clone().into_bytes();
        octets[position] ^= 1;
        std::fs::write(&path, &octets).unwrap();
        assert!(verify(&path, None).is_err(), "octet {position}");
    }
    let sequence = |outcome: Result<_, VerifyFault>| match outcome {
        Err(VerifyFault::Sequence { line, found, expected, .. }) => (line, found, expected),
        other => panic!("{other:?}"),
    };
    assert_eq!(sequence(check(&lines[1..])), (1, 2, 1));
    assert_eq!(sequence(check(&[lines[0], lines[2], lines[3]])), (2, 3, 2));
    assert_eq!(sequence(check(&[lines[0], lines[0], lines[1]])), (2, 1, 2));
    assert_eq!(sequence(check(&[lines[1], lines[0]])), (1, 2, 1));
    assert!(matches!(check(&[lines[0], "", lines[1]]), Err(VerifyFault::NoEntry { line: 2, .. })));
    let renumbered = lines[2].replacen('3', "2", 1);
    assert!(matches!(check(&[lines[0], &renumbered]), Err(VerifyFault::Chain { line: 2, .. })));
    std::fs::write(&path, &text[..text.len() - 1]).unwrap();
    assert!(matches!(verify(&path, None), Err(VerifyFault::CutShort { line: 4, .. })));
}

#[test]
fn entries_that_are_missing_at_the_end_show_against_a_value_that_was_noted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let text = written(folder.path(), 4);
    let lines: Vec<&str> = text.lines().collect();
    let noted = |line: usize| lines[line].rsplit('\t').next().unwrap();
    assert_eq!(verify(&path, Some(noted(2))).unwrap().entries, 4);
    std::fs::write(&path, lines[..3].join("\n") + "\n").unwrap();
    // What a log alone cannot show.
    assert_eq!(verify(&path, None).unwrap().entries, 3);
    assert_eq!(verify(&path, Some(&noted(2).to_uppercase())).unwrap().entries, 3);
    assert!(matches!(verify(&path, Some(noted(3))), Err(VerifyFault::NotedMissing)));
    assert!(matches!(verify(&path, Some("1234")), Err(VerifyFault::NotedMalformed)));
}

#[test]
fn the_chain_continues_over_files_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    write(&small_files(folder.path()), 6);
    write(&small_files(folder.path()), 6);
    let full = archives(folder.path()).unwrap();
    let summary = verify(&path, None).unwrap();
    assert!(full.len() >= 2);
    // Each file but the first begins with an entry of its own.
    assert_eq!((summary.files, summary.first), (full.len() + 1, 1));
    assert_eq!(summary.entries, 12 + u64::try_from(full.len()).unwrap());
    for file in &full {
        assert!(std::fs::metadata(file).unwrap().len() < 600 + u64::try_from(MAX_LINE_OCTETS).unwrap());
    }

    // The oldest may be moved away; one in between may not.
    let held = std::fs::read(&full[0]).unwrap();
    // What was noted when a file was full, or when the log was new, is found though that entry is elsewhere or never was.
    let text = String::from_utf8(held.clone()).unwrap();
    let end = text.trim_end().rsplit('\t').next().unwrap();
    verify(&path, Some(&"0".repeat(64))).unwrap();
    std::fs::remove_file(&full[0]).unwrap();
    verify(&path, Some(end)).unwrap();
    let rest = verify(&path, None).unwrap();
    assert_eq!(rest.chain, summary.chain);
    assert!(rest.first > 1 && rest.entries < summary.entries);
    std::fs::write(&full[0], held).unwrap();
    std::fs::remove_file(&full[1]).unwrap();
    assert!(matches!(verify(&path, None), Err(VerifyFault::Sequence { line: 1, .. })));
}

#[test]
fn a_file_that_was_begun_and_not_continued_is_continued() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let (sequence, chain) = {
        let log = small_files(folder.path());
        write(&log, 3);
        log.position()
    };
    // As a crash leaves it between the two: the full file is renamed, the new one empty or not there.
    std::fs::rename(&path, folder.path().join("audit.log.00000000000000000001")).unwrap();
    for is_there in [false, true] {
        if is_there {
            std::fs::write(&path, "").unwrap();
        }
        assert_eq!(small_files(folder.path()).position(), (sequence, chain.clone()));
    }
    write(&small_files(folder.path()), 1);
    assert_eq!(verify(&path, Some(&chain)).unwrap().entries, 5);
}

#[test]
fn an_entry_that_was_cut_short_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    written(folder.path(), 2);
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"3\t17000").unwrap();
    assert!(verify(&path, None).is_err());
    written(folder.path(), 1);
    assert_eq!(verify(&path, None).unwrap().entries, 3);
}

#[test]
fn a_log_that_is_none_is_not_written_on() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), "something else\n").unwrap();
    assert!(matches!(AuditLog::open(folder.path()), Err(AuditFault::Damaged { .. })));
}

#[test]
fn a_log_that_another_program_changes_stops_what_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let log = AuditLog::open(folder.path()).unwrap();
    write(&log, 2);
    let text = std::fs::read_to_string(&path).unwrap();
    let shorter = &text[..text.find('\n').unwrap() + 1];
    std::fs::write(&path, shorter).unwrap();
    assert!(matches!(log.admit(), Err(AuditFault::Changed { .. })));
    assert!(log.is_failing());
    std::fs::write(&path, &text).unwrap();
    log.admit().unwrap();
    assert!(!log.is_failing());
    std::fs::rename(&path, folder.path().join("elsewhere")).unwrap();
    assert!(matches!(log.admit(), Err(AuditFault::Changed { .. })));
    std::fs::write(&path, &text).unwrap();
    assert!(matches!(log.admit(), Err(AuditFault::Changed { .. })));
}

#[test]
fn what_cannot_be_written_is_kept_and_nothing_more_is_admitted_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let log = AuditLog::open(folder.path()).unwrap();
    write(&log, 1);
    // A file that may be read alone stands for a disk that takes nothing more.
    let read_only = Arc::new(std::fs::File::open(&path).unwrap());
    let writable = std::mem::replace(&mut *log.shared.lock().file.file_mut(), read_only);
    assert!(log.record(&event("lost?"), DONE).is_err());
    assert!(log.is_failing());
    for _ in 0..3 {
        assert!(log.admit().is_err());
    }
    *log.shared.lock().file.file_mut() = writable;
    log.admit().unwrap();
    assert!(!log.is_failing());
    write(&log, 1);
    assert_eq!(verify(&path, None).unwrap().entries, 3);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.lines().nth(1).unwrap().contains("\tlost?\t"));
}

#[test]
fn who_is_refused_all_day_does_not_fill_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let log = AuditLog::open(folder.path()).unwrap();
    let refused = Outcome { key: None, code: "agent.grant-missing" };
    for _ in 0..1000 {
        log.admit().unwrap();
        log.record(&event("web"), refused).unwrap();
    }
    // What is done is recorded whatever else was asked, and so are others' refusals.
    log.record(&event("web"), DONE).unwrap();
    log.record(&Event { uid: 1001, ..event("web") }, refused).unwrap();
    drop(log);
    let text = std::fs::read_to_string(&path).unwrap();
    let entries: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(entries.len(), 60 + 1 + 1 + 1);
    assert_eq!(entries[62][2..7], ["refusals-not-recorded", "unix:1000", "1000", "-", "940"]);
    assert_eq!(verify(&path, None).unwrap().entries, 63);
}

#[test]
fn a_name_cannot_forge_an_entry() {
    let folder = tempfile::tempdir().unwrap();
    let log = AuditLog::open(folder.path()).unwrap();
    log.record(&event("a\tok\n2\tb"), DONE).unwrap();
    let wide = "\u{10FFFF}".repeat(100_000);
    let longest = Event { provider: wide.clone(), attesting_key: Some(wide.clone()), ..event(&wide) };
    log.record(&longest, Outcome { key: None, code: "agent.invalid" }).unwrap();
    log.record(&event("after"), DONE).unwrap();
    assert_eq!(verify(&folder.path().join(FILE_NAME), None).unwrap().entries, 3);
    drop(log);
    assert_eq!(AuditLog::open(folder.path()).unwrap().position().0, 3);
}
