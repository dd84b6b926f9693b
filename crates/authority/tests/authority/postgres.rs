//! PostgreSQL servers of the tests' own, out of Debian's package, in temporary folders.
#![allow(dead_code, reason = "shared by test programs, each of which uses a part of it")]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where Debian puts a folder for each major version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// Who may do everything in the databases.
pub const OWNER: &str = "vouchsafe";
/// The server ends when the standard input of its shell does, which is when the test program ends, however it does.
const SUPERVISE: &str = r#""$@" 2>>"$LOG" & read -r _; kill -INT $!; wait $!; [ -z "$LEAVES" ] || rm -rf "$LEAVES""#;

/// A server; dropping it stops it.
pub struct Server {
    dir: PathBuf,
    port: u16,
    settings: Vec<String>,
    wrap: Vec<String>,
    supervisor: Option<Child>,
    kept: Option<tempfile::TempDir>,
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

fn program(name: &str) -> PathBuf {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(VERSIONS)
        .expect("postgresql-15 is installed by scripts/prepare")
        .filter_map(|entry| {
            let entry = entry.unwrap();
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin").join(name)))
        })
        .filter(|(_, path)| path.exists())
        .collect();
    versions.sort();
    versions.pop().expect("a server of PostgreSQL").1
}

/// The server refuses to run as root: the package's own user does it then.
fn unprivileged(command: &[&str]) -> Vec<String> {
    let become_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"];
    let words = if is_root() { &become_user[..] } else { &[] };
    words.iter().chain(command).map(|word| (*word).to_owned()).collect()
}

fn run(words: &[String]) {
    let done = Command::new(&words[0]).args(&words[1..]).output().unwrap();
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Server {
    /// One for all tests of this program.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            let mut server = Self::install(&dir.keep());
            server.start();
            server
        })
    }

    /// One for a test that has things of its own to do to it, with these settings.
    pub fn with(settings: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Self::install(dir.path());
        server.kept = Some(dir);
        server.settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        server.start();
        server
    }

    fn install(dir: &Path) -> Self {
        if is_root() {
            run(&["chown", "postgres:", dir.to_str().unwrap()].map(str::to_owned));
        }
        let data = dir.join("data");
        let (initdb, data) = (program("initdb"), data.to_str().unwrap().to_owned());
        let options = ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "-U", OWNER, "-D", &data];
        let words: Vec<&str> = std::iter::once(initdb.to_str().unwrap()).chain(options).collect();
        run(&unprivileged(&words));
        let hosts = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(dir.join("data/pg_hba.conf"), hosts).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (settings, wrap) = (Vec::new(), Vec::new());
        Self { dir: dir.to_owned(), port, settings, wrap, supervisor: None, kept: None }
    }

    /// Where everything of it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts it and waits until it answers.
    pub fn start(&mut self) {
        let (postgres, data) = (program("postgres"), self.dir.join("data"));
        let port = self.port.to_string();
        let folder = self.dir.to_str().unwrap();
        let mut words = vec![postgres.to_str().unwrap(), "-D", data.to_str().unwrap(), "-k", folder, "-p", &port];
        words.extend(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=120", "-c", "shared_buffers=32MB"]);
        for setting in &self.settings {
            words.extend(["-c", setting]);
        }
        let mut supervisor = Command::new("sh");
        supervisor.args(["-c", SUPERVISE, "sh"]).args(&self.wrap).args(unprivileged(&words));
        supervisor.env("LOG", self.log()).env("LEAVES", if self.kept.is_none() { folder } else { "" });
        supervisor.stdin(Stdio::piped()).stdout(Stdio::null());
        self.supervisor = Some(supervisor.spawn().unwrap());
        let began = Instant::now();
        while !self.is_ready() {
            let log = || std::fs::read_to_string(self.log()).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(60), "the server does not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn is_ready(&self) -> bool {
        let mut ask = Command::new(program("pg_isready"));
        ask.args(["-q", "-h", self.dir.to_str().unwrap(), "-p", &self.port.to_string()]);
        ask.status().unwrap().success()
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Stops it and waits until it is gone.
    pub fn stop(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            drop(supervisor.stdin.take());
            supervisor.wait().unwrap();
        }
    }

    /// Has it run by this from its next start on.
    pub fn wrap(&mut self, words: &[&str]) {
        self.wrap = words.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Has these settings from its next start on.
    pub fn set(&mut self, settings: &[&str]) {
        self.settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
    }

    /// Takes a file into its own folder, readable by it alone.
    pub fn adopt(&self, name: &str, from: &Path) {
        use std::os::unix::fs::PermissionsExt;
        let to = self.dir.join("data").join(name);
        std::fs::copy(from.join(name), &to).unwrap();
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            run(&["chown", "postgres:", to.to_str().unwrap()].map(str::to_owned));
        }
    }

    /// The process that started it.
    pub fn supervisor(&self) -> u32 {
        self.supervisor.as_ref().unwrap().id()
    }

    /// A new database, by its URL.
    pub fn database(&self) -> String {
        self.database_in("")
    }

    /// A new database with these words after its name, by its URL.
    pub fn database_in(&self, words: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", COUNT.fetch_add(1, Ordering::SeqCst));
        self.sql("postgres", &format!("CREATE DATABASE {name} {words}"));
        self.url(OWNER, &name)
    }

    /// The URL of a database on the server's socket.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgresql://{user}@/{database}?host={}&port={}", self.dir.display(), self.port)
    }

    /// The URL of a database over TCP, where users have passwords.
    pub fn tcp_url(&self, user: &str, host: &str, database: &str) -> String {
        format!("postgresql://{user}@{host}:{}/{database}", self.port)
    }

    /// What a statement answers.
    pub fn sql(&self, database: &str, statement: &str) -> String {
        let mut psql = Command::new(program("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", OWNER, "-d", database, "-c", statement]);
        psql.args(["-h", self.dir.to_str().unwrap(), "-p", &self.port.to_string()]);
        let done = psql.output().unwrap();
        assert!(done.status.success(), "{statement}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The name of the database that a URL names.
pub fn name_of(url: &str) -> &str {
    url.split('?').next().unwrap().rsplit('/').next().unwrap()
}
