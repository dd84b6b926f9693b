//! Under a service manager: the socket comes as standard input, and readiness is told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use vouchsafe_agent::client::{Client, Endpoint};
use vouchsafe_agent::config::{Config, DEFAULT_STATE_PATH};

/// The agent itself, run by the tests below.
#[test]
#[ignore = "run by the tests that need a process of its own"]
fn serve_until_told() {
    let folder = std::env::var("VOUCHSAFE_TEST_FOLDER").expect("set by the test that runs this one");
    let folder = Path::new(&folder);
    let mut config = Config::with_defaults();
    config.state = folder.join("state");
    config.socket.path = folder.join("s");
    config.providers.clear();
    vouchsafe_agent::serve(config).unwrap();
}

fn agent(folder: &Path, stdin: Stdio) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "serve_until_told", "--ignored", "--nocapture"])
        .env("VOUCHSAFE_TEST_FOLDER", folder)
        .env("NOTIFY_SOCKET", folder.join("notify"))
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn manager(folder: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket
}

fn told(socket: &UnixDatagram) -> String {
    let mut octets = [0; 64];
    let length = socket.recv(&mut octets).unwrap();
    String::from_utf8(octets[..length].to_vec()).unwrap()
}

fn ping(folder: &Path) {
    assert_eq!(Client::connect(&Endpoint::at(&folder.join("s"))).unwrap().ping().unwrap(), (1, 0));
}

fn stop(mut agent: Child) -> bool {
    kill_process(Pid::from_child(&agent), Signal::TERM).unwrap();
    agent.wait().unwrap().success()
}

#[test]
fn a_socket_that_is_handed_over_is_served_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let manager = manager(folder.path());
    let listener = UnixListener::bind(folder.path().join("s")).unwrap();
    let input = OwnedFd::from(listener.try_clone().unwrap());
    let agent = agent(folder.path(), input.into());
    assert_eq!(told(&manager), "READY=1");
    ping(folder.path());
    assert!(stop(agent));
    assert_eq!(told(&manager), "STOPPING=1");
    // The next agent finds it as this one did.
    assert!(folder.path().join("s").exists());
}

#[test]
fn a_socket_of_another_path_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("other")).unwrap();
    let mut agent = agent(folder.path(), OwnedFd::from(listener).into());
    assert!(!agent.wait().unwrap().success());
}

/// A unit's settings, in their order.
fn settings(unit: &str) -> Vec<(&str, &str)> {
    unit.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect()
}

#[test]
fn the_units_agree_with_the_configurations_defaults() {
    let config = Config::with_defaults();
    let socket = settings(include_str!("../../../packaging/systemd/vouchsafe-agent.socket"));
    let service = settings(include_str!("../../../packaging/systemd/vouchsafe-agent.service"));
    let of = |unit: &[(&'static str, &'static str)], name: &str| -> Vec<&'static str> {
        unit.iter().filter(|(setting, _)| *setting == name).map(|(_, value)| *value).collect()
    };
    assert_eq!(of(&socket, "ListenStream"), [config.socket.path.to_str().unwrap()]);
    assert_eq!(of(&socket, "SocketMode"), [format!("{:04o}", config.socket.mode)]);
    let state = Path::new("/var/lib").join(of(&service, "StateDirectory")[0]);
    assert_eq!(state, Path::new(DEFAULT_STATE_PATH));
    assert_eq!(of(&service, "Type"), ["notify"]);
    assert_eq!(of(&service, "StandardInput"), ["socket"]);
    assert_eq!(of(&service, "DeviceAllow"), ["/dev/tpmrm0 rw"]);
    assert_eq!(config.providers.len(), 1);
    // The kernel's word on who connects is what keys belong to.
    assert_eq!(of(&service, "PrivateUsers"), Vec::<&str>::new());
    for hardened in
        ["NoNewPrivileges", "PrivateNetwork", "MemoryDenyWriteExecute", "RestrictNamespaces", "PrivateMounts"]
    {
        assert_eq!(of(&service, hardened), ["yes"], "{hardened}");
    }
    for empty in ["CapabilityBoundingSet", "AmbientCapabilities"] {
        assert_eq!(of(&service, empty), [""], "{empty}");
    }
    assert_eq!(of(&service, "LimitCORE"), ["0"]);
}

#[test]
fn without_one_the_agent_makes_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let manager = manager(folder.path());
    let agent = agent(folder.path(), Stdio::null());
    assert_eq!(told(&manager), "READY=1");
    ping(folder.path());
    assert!(stop(agent));
    assert!(!folder.path().join("s").exists());
}
