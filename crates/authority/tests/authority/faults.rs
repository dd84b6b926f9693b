//! What is wrong with the disk is a problem with a next step, and passes without a hand.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::module::Module;
use crate::process::serve_again;
use crate::site::{ALICE, NOW, Reply, Site, b64, chain, hex};

/// The arguments by which the test program serves an authority.
pub const SERVE: [&str; 4] = ["--exact", "faults::serves_when_it_is_told_to", "--nocapture", "--test-threads=1"];

/// Not a test: what the processes run that the tests of this file start.
#[test]
fn serves_when_it_is_told_to() {
    if std::env::var_os(crate::process::CONFIG_VARIABLE).is_some() {
        crate::process::serve();
    }
}

/// A shell script, then the authority; the state folder is `$STATE`.
fn after(script: &str, state: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-ec", &format!("{script}\nexec \"$0\" \"$@\"")]);
    command.arg(std::env::current_exe().unwrap()).args(SERVE).env("STATE", state);
    command
}

/// Whether a mount of one's own can be made here; says so if not.
fn mounts() -> bool {
    let script = "mount -t tmpfs none /mnt";
    let made =
        Command::new("unshare").args(["-Urm", "sh", "-c", script]).output().is_ok_and(|run| run.status.success());
    if !made {
        println!("SKIPPED faults of disks: no mount namespaces here");
    }
    made
}

/// A device of alice's.
pub struct Client {
    pub module: Module,
    pub ak_chain: Vec<Vec<u8>>,
}

impl Client {
    pub async fn enroll(site: &Site) -> Self {
        let module = Module::new(&site.vendor, NOW);
        let ak_chain = chain(&site.enroll(ALICE, &module, "device").await["certificates"]["attest"]);
        Self { module, ak_chain }
    }

    async fn request(&self, site: &Site) -> Value {
        let nonce = site.certificate_nonce(ALICE).await;
        json!({"csr": b64(&self.module.csr(&nonce, &self.ak_chain, None)), "nonce": hex(&nonce)})
    }
}

async fn send(site: &Site, request: &Value) -> Reply {
    site.post("/v1/certificates", Some(ALICE), request.clone()).await
}

fn check_unavailable(reply: &Reply) {
    assert_eq!((reply.status, reply.problem().as_str()), (503, "storage-unavailable"), "{reply:?}");
    assert!(reply.head.to_lowercase().contains("retry-after: 1"), "{}", reply.head);
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("same nonce again later"), "{detail}");
}

/// Requests that are refused for want of a store, then served, each with the nonce it had.
pub async fn check_recovery(site: &Site, client: &Client, break_it: impl FnOnce(), mend_it: impl FnOnce()) {
    let requests = [client.request(site).await, client.request(site).await];
    assert_eq!(send(site, &client.request(site).await).await.status, 201);
    break_it();
    for request in &requests {
        check_unavailable(&send(site, request).await);
    }
    let module = Module::new(&site.vendor, NOW);
    check_unavailable(&site.challenge(ALICE, &module, "another").await);
    mend_it();
    for request in &requests {
        let granted = send(site, request).await;
        assert_eq!(granted.status, 201, "{}", String::from_utf8_lossy(&granted.body));
        assert_eq!(send(site, request).await.body, granted.body);
    }
    site.enroll(ALICE, &module, "another").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_is_unavailable_until_it_is_let_go() {
    let site = Site::start().await;
    let client = Client::enroll(&site).await;
    let holder = rusqlite::Connection::open(site.state().join("authority.sqlite")).unwrap();
    check_recovery(
        &site,
        &client,
        || holder.execute_batch("BEGIN IMMEDIATE").unwrap(),
        || holder.execute_batch("ROLLBACK").unwrap(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_unavailable_until_there_is_room() {
    if !mounts() {
        return;
    }
    let mut site = Site::install(tempfile::tempdir().unwrap(), "");
    let script = "cp -a \"$STATE\" \"$STATE.copy\"\nmount -t tmpfs -o size=4m none \"$STATE\"\ncp -a \"$STATE.copy/.\" \"$STATE\"";
    let served = site.serve(after(script, &site.state())).unwrap();
    let client = Client::enroll(&site).await;
    let inside = format!("/proc/{}/root{}", served.id(), site.state().join("ballast").display());
    let fill = || {
        let mut ballast = std::fs::File::create(&inside).unwrap();
        while ballast.write_all(&[0; 4096]).is_ok() {}
    };
    check_recovery(&site, &client, fill, || std::fs::remove_file(&inside).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_files_is_unavailable_until_it_is_lifted() {
    let mut site = Site::install(tempfile::tempdir().unwrap(), "");
    let mut command = Command::new("sh");
    command.args(["-ec", "trap '' XFSZ\nexec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap()).args(SERVE);
    let served = site.serve(command).unwrap();
    let client = Client::enroll(&site).await;
    let limit = |octets: &str| {
        let set =
            Command::new("prlimit").args(["--pid", &served.id().to_string(), &format!("--fsize={octets}:")]).status();
        assert!(set.unwrap().success());
    };
    check_recovery(&site, &client, || limit("4096"), || limit("unlimited")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_is_told_at_the_start() {
    if !mounts() {
        return;
    }
    // A database that was in use, so that nothing but the disk is in the way.
    let (mut site, served) = Site::start_served(serve_again(&SERVE));
    Client::enroll(&site).await;
    drop(served);
    let script = "mount --bind \"$STATE\" \"$STATE\"\nmount -o remount,bind,ro \"$STATE\"";
    let Err(said) = site.serve(after(script, &site.state())) else { panic!("it starts") };
    assert!(said.contains("authority.sqlite") && said.contains("read-only"), "{said}");
    // Writable again, it goes on where it was.
    let _served = site.serve(serve_again(&SERVE)).unwrap();
    let another = Module::new(&site.vendor, NOW);
    assert_eq!(site.challenge(ALICE, &another, "device").await.problem(), "device-conflict");
}
