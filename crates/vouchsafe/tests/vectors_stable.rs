//! The vectors are what their specifications and recordings make of them, octet for octet, and the page of rejections
//! is what the table of codes and the vectors say.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../examples/forge/workshop.rs"]
mod workshop;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use workshop::{Mode, Workshop, repository};

fn open() -> Workshop {
    Workshop::open(&repository().unwrap(), Mode::Replay).unwrap()
}

#[test]
fn making_the_vectors_again_changes_nothing() {
    let workshop = open();
    let folder = tempfile::tempdir().unwrap();
    let vectors = repository().unwrap().join("vectors");
    let made = workshop.make().unwrap();
    for (path, octets) in &made {
        let target = folder.path().join(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(&target, octets).unwrap();
        assert_eq!(fs::read(vectors.join(path)).ok().as_ref(), Some(octets), "{path} differs; run forge make");
    }
    assert_eq!(workshop.differences().unwrap(), Vec::<String>::new());
    // What no specification makes is written by hand, and that only where it is text; keys of RSA are made once.
    let by_hand: BTreeSet<String> = files(&vectors).into_iter().filter(|path| !made.contains_key(path)).collect();
    for path in &by_hand {
        let is_text = [".toml", ".md", ".csv"].iter().any(|end| path.ends_with(end))
            || ["keys/", "recordings/"].iter().any(|start| path.starts_with(start));
        assert!(is_text, "{path} is made by no specification");
    }
}

#[test]
fn no_answer_is_recorded_in_vain() {
    let workshop = open();
    workshop.make().unwrap();
    assert_eq!(workshop.unused_answers(), Vec::<String>::new(), "run forge record");
}

#[test]
fn the_page_of_rejections_is_up_to_date() {
    let page = repository().unwrap().join("docs/rejections.md");
    let written = fs::read_to_string(page).unwrap_or_default();
    assert!(written == open().rejections().unwrap(), "docs/rejections.md is stale; run forge docs");
}

#[test]
fn the_pages_of_claims_are_up_to_date() {
    let docs = repository().unwrap().join("docs");
    for (path, text) in open().claim_pages().unwrap() {
        let written = fs::read_to_string(docs.join(path)).unwrap_or_default();
        assert!(written == text, "docs/{path} is stale; run forge docs");
    }
}

/// Every file beneath a folder, by its relative path.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|path| format!("{name}/{path}")));
        } else {
            found.push(name);
        }
    }
    found
}
