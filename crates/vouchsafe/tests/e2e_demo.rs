//! `vouchsafe demo`: everything in it comes out as it must, and nothing stays behind, also when it is interrupted.

#![cfg(all(feature = "agent", feature = "authority"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_docs
)]

#[path = "support/cli.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::{Run, command, fits_terminal, vouchsafe};
use tempfile::TempDir;
use vouchsafe_agent::swtpm::{Options, Swtpm};

/// Processes whose command line names the folder.
fn processes_in(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let lines = fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(folder)).collect()
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn the_whole_line_is_walked_and_six_frauds_are_refused() {
    let folder = TempDir::new().unwrap();
    let started = Instant::now();
    let run: Run = command().arg("demo").env("TMPDIR", folder.path()).output().unwrap().into();
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    assert!(fits_terminal(&run.stdout), "{}", run.stdout);
    assert_eq!(run.stdout.matches("✓ The authority refuses:").count(), 6, "{}", run.stdout);
    assert_eq!(run.stdout.matches("It accepts the forgery.").count(), 2, "{}", run.stdout);
    for code in [
        "bind.key-mismatch",
        "tpm.key-not-generated",
        "bind.unconnected-statement",
        "nonce.mismatch",
        "ak.wrong-family",
    ] {
        assert!(run.stdout.contains(code), "{code}");
    }
    for words in ["tpm.pem: OK", "certify.pem: OK", "certify-x509.pem: OK", "Not proven:"] {
        assert!(run.stdout.contains(words), "{words}");
    }
    assert!(is_empty(folder.path()) && processes_in(folder.path()).is_empty());
}

#[test]
fn the_line_of_a_token_tells_what_is_proven_and_what_is_not() {
    let folder = TempDir::new().unwrap();
    let run: Run = command().args(["demo", "--hsm"]).env("TMPDIR", folder.path()).output().unwrap().into();
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    assert!(fits_terminal(&run.stdout), "{}", run.stdout);
    assert_eq!(run.stdout.matches("✓ The authority refuses:").count(), 4, "{}", run.stdout);
    for code in ["ceremony.bad-signature", "bind.key-mismatch", "pkix.signer-untrusted", "policy.host-asserted"] {
        assert!(run.stdout.contains(code), "{code}: {}", run.stdout);
    }
    let text = run.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "two-evidences.pem: OK",
        "With one Evidence about key and platform a certificate is issued as well.",
        "attesting_key.environment is host, as the attesting key's certificate says; it must be module",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(text.matches("✗ NOT proven:").count(), 3, "{text}");
    // Whoever has the PIN is believed under lab: said, and shown.
    let (lab, strict) = text.split_once("under policy csbr-code-signing").unwrap();
    assert!(lab.ends_with("It accepts the forgery. 9. The same authority, the honest request again, "), "{lab}");
    assert!(strict.contains("It refuses the forgery likewise"), "{strict}");
    assert!(is_empty(folder.path()) && processes_in(folder.path()).is_empty());
    let both = vouchsafe(["demo", "--hsm", "--tpm", "device:/dev/tpmrm0", "--ek-root", "vendor.pem"]);
    assert!(both.is_usage_error(), "{both:?}");
}

#[test]
fn an_interrupted_demonstration_leaves_nothing_behind() {
    let moments: [(u64, Signal, &[&str]); 5] = [
        (100, Signal::INT, &[]),
        (1500, Signal::TERM, &[]),
        (3000, Signal::INT, &[]),
        (300, Signal::TERM, &["--hsm"]),
        (900, Signal::INT, &["--hsm"]),
    ];
    for (milliseconds, signal, more) in moments {
        let folder = TempDir::new().unwrap();
        let mut child = command()
            .arg("demo")
            .args(more)
            .env("TMPDIR", folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        let _ = kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal);
        let status = child.wait().unwrap();
        // Without a code the signal came before there was anything to clean up.
        assert!(matches!(status.code(), Some(0 | 2) | None), "{status:?} after {milliseconds} ms");
        assert!(is_empty(folder.path()), "files after {milliseconds} ms");
        assert_eq!(processes_in(folder.path()), Vec::<String>::new(), "processes after {milliseconds} ms");
    }
}

#[test]
fn a_tpm_of_ones_own_is_given_back_as_it_was() {
    let folder = TempDir::new().unwrap();
    let swtpm = Swtpm::start(&Options::default()).unwrap();
    let chain = [swtpm.root_certificate(), swtpm.issuer_certificate()].map(|file| fs::read(file).unwrap()).concat();
    let other = TempDir::new().unwrap();
    let ek_root = other.path().join("vendor.pem");
    fs::write(&ek_root, chain).unwrap();
    let persistent = || swtpm.connect().unwrap().handles(0x8100_0000).unwrap();
    let before = persistent();
    let run: Run = command()
        .args(["demo", "--tpm", &swtpm.address().to_string(), "--ek-root", ek_root.to_str().unwrap()])
        .env("TMPDIR", folder.path())
        .output()
        .unwrap()
        .into();
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    assert!(run.stdout.contains("authority/ca/attestation-root.crt"), "{}", run.stdout);
    assert_eq!(persistent(), before);
    assert!(is_empty(folder.path()));
    let without_root = vouchsafe(["demo", "--tpm", "device:/dev/tpmrm0"]);
    assert!(without_root.is_usage_error() && without_root.stderr.contains("--ek-root"), "{without_root:?}");
}

#[test]
fn without_the_programs_it_needs_it_says_what_to_install() {
    let folder = TempDir::new().unwrap();
    let empty = TempDir::new().unwrap();
    let run: Run =
        command().arg("demo").env("TMPDIR", folder.path()).env("PATH", empty.path()).output().unwrap().into();
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("apt install"), "{}", run.stderr);
    assert!(is_empty(folder.path()));
    // One that has openssl alone.
    let openssl = Command::new("sh").args(["-c", "command -v openssl"]).output().unwrap().stdout;
    let openssl = String::from_utf8(openssl).unwrap();
    std::os::unix::fs::symlink(openssl.trim(), empty.path().join("openssl")).unwrap();
    let run: Run = command()
        .args(["demo", "--hsm"])
        .env("TMPDIR", folder.path())
        .env("PATH", empty.path())
        .output()
        .unwrap()
        .into();
    assert!(run.code == 2 && run.stderr.contains("apt install softhsm2"), "{run:?}");
    assert!(is_empty(folder.path()));
}
