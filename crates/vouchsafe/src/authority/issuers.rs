//! `vouchsafe authority issuers` and `vouchsafe authority issuer`: the CAs that certificates come from, and new ones.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use vouchsafe_authority::issuer_certificate::{IssuerCertificateError, IssuerKeyPair, RootFiles, link};
use vouchsafe_authority::issuers::{IssuerState, IssuerStatus, KeyPlace, issuers};
use vouchsafe_authority::issuing_key::{KeyCurve, TokenKeyConfig};
use vouchsafe_authority::{Clock, SystemClock};
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::x509::build;
use vouchsafe_verifier::Instant;

use super::{Installation, causes, configuration, refused};
use crate::cli::Answer;
use crate::failure::Failure;
use crate::{console, files};

/// The CAs that certificates of devices' keys come from: active, announced, in overlap or retired.
#[derive(Debug, Args)]
pub struct ListArguments {
    #[command(flatten)]
    installation: Installation,
    /// Exit with 1 if an issuer that certificates come from expires within so many days.
    #[arg(long, value_name = "DAYS")]
    expiring: Option<u32>,
    /// JSON.
    #[arg(long)]
    json: bool,
}

/// A new issuer, with its key in a token; and links from an old root to a new one.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    operation: Operation,
}

const EXAMPLES: &str = "\
Examples:
  vouchsafe authority issuer new 2027 --module /usr/lib/softhsm/libsofthsm2.so \\
      --token ca --key-label issuing-2027 --pin-file /etc/vouchsafe/pin \\
      --generate p256 --subject 'CN=Issuing 2027,O=Example' \\
      --out /etc/vouchsafe/issuing-2027.pem
  vouchsafe authority issuer new 2027 ... --csr issuing-2027.csr
  vouchsafe authority issuer link --old-root a.crt --old-key a.key \\
      --new-root b.crt --new-key b.key --out links.pem

docs/running.md has the steps of a change from one issuer to the next.";

#[derive(Debug, Subcommand)]
enum Operation {
    /// Make an issuer's certificate, or the request for one to a root elsewhere.
    New(Box<New>),
    /// Make the two certificates by which who trusts an old root comes to a new one, and back.
    Link(Link),
}

#[derive(Debug, Args)]
struct New {
    /// The issuer's name in the configuration.
    name: String,
    #[command(flatten)]
    installation: Installation,
    /// The PKCS #11 module: a shared library.
    #[arg(long, value_name = "FILE")]
    module: PathBuf,
    /// The token's label.
    #[arg(long, value_name = "LABEL")]
    token: String,
    /// The key's label.
    #[arg(long, value_name = "LABEL")]
    key_label: String,
    /// The file with the token's user PIN, mode 0600.
    #[arg(long, value_name = "FILE")]
    pin_file: PathBuf,
    /// Have the token make the key first, which it then does not let out.
    #[arg(long, value_name = "CURVE")]
    generate: Option<Curve>,
    /// The subject of the certificate.
    #[arg(long, value_name = "NAME")]
    subject: String,
    /// Write the request to a root elsewhere here.
    #[arg(long, value_name = "FILE", conflicts_with = "out", required_unless_present = "out")]
    csr: Option<PathBuf>,
    /// Have this installation's root sign the certificate, and write it here.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Days of validity, which end with the root's at the latest.
    #[arg(long, value_name = "N", default_value_t = 3_652, conflicts_with = "csr")]
    days: u32,
    /// Another root than that of this installation.
    #[arg(long, value_name = "FILE", requires = "root_key", conflicts_with = "csr")]
    root: Option<PathBuf>,
    /// The root's key (PKCS#8, PEM), where it was moved away.
    #[arg(long, value_name = "FILE", conflicts_with = "csr")]
    root_key: Option<PathBuf>,
    /// The issuer in whose place it will be.
    #[arg(long, value_name = "NAME")]
    follows: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Curve {
    /// P-256.
    P256,
    /// P-384.
    P384,
}

#[derive(Debug, Args)]
struct Link {
    /// The old root's certificate (PEM).
    #[arg(long, value_name = "FILE")]
    old_root: PathBuf,
    /// The old root's key (PKCS#8, PEM).
    #[arg(long, value_name = "FILE")]
    old_key: PathBuf,
    /// The new root's certificate (PEM).
    #[arg(long, value_name = "FILE")]
    new_root: PathBuf,
    /// The new root's key (PKCS#8, PEM).
    #[arg(long, value_name = "FILE")]
    new_key: PathBuf,
    /// Where to write both certificates.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Does what was asked of a new issuer.
///
/// # Errors
/// [`Failure`] if it cannot be done.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    match &arguments.operation {
        Operation::New(new) => new.run(),
        Operation::Link(link) => link.run(),
    }
}

/// Lists the issuers.
///
/// # Errors
/// [`Failure`] if they cannot be read.
pub fn list(arguments: &ListArguments) -> Result<Answer, Failure> {
    let config = configuration(&arguments.installation)?;
    let listed = issuers(&config, &SystemClock).map_err(|error| refused("the issuers cannot be listed", &error))?;
    if arguments.json {
        console::out(&format!("{}\n", listed.iter().map(status_json).collect::<Value>()))?;
    } else {
        console::out(&table(&listed))?;
    }
    let expires = |days: u32| listed.iter().any(|issuer| is_used(issuer) && issuer.days_left < i64::from(days));
    Ok(if arguments.expiring.is_some_and(expires) { Answer::No } else { Answer::Yes })
}

fn is_used(issuer: &IssuerStatus) -> bool {
    match issuer.state {
        IssuerState::Active | IssuerState::Announced => true,
        IssuerState::Overlap | IssuerState::Retired => false,
    }
}

fn time(seconds: i64) -> String {
    Instant::from_unix_seconds(seconds).to_string()
}

fn status_json(issuer: &IssuerStatus) -> Value {
    let (key, is_file) = match &issuer.key {
        KeyPlace::File(place) => (place, true),
        KeyPlace::Token(place) => (place, false),
    };
    json!({
        "name": issuer.name,
        "subject": issuer.subject,
        "state": issuer.state.label(),
        "key": key,
        "key_in_file": is_file,
        "not_before": time(issuer.not_before),
        "not_after": time(issuer.not_after),
        "days_left": issuer.days_left,
        "profiles": issuer.profiles,
        "follows": issuer.follows,
        "last_certificate": issuer.last_certificate.map(time),
        "revocation_list": issuer.revocation_list,
    })
}

/// A line for each issuer, and beneath it what has no room in a column.
fn table(issuers: &[IssuerStatus]) -> String {
    let longest = issuers.iter().map(|issuer| issuer.name.chars().count()).max().unwrap_or(0);
    let width = longest.clamp("ISSUER".len(), 30);
    let mut text = format!("{:width$}  {:9}  {:20}  {:20}  {:>9}\n", "ISSUER", "STATE", "FROM", "UNTIL", "DAYS LEFT");
    for issuer in issuers {
        let (from, until) = (time(issuer.not_before), time(issuer.not_after));
        let left = if issuer.days_left < 0 { "expired".to_owned() } else { issuer.days_left.to_string() };
        let state = issuer.state.label();
        let name = printable(&issuer.name);
        text.push_str(&format!("{name:width$}  {state:9}  {from:20}  {until:20}  {left:>9}\n"));
        for (what, line) in details(issuer) {
            text.push_str(&console::hanging(&format!("  {what:9}"), &printable(&line), 12));
        }
    }
    text
}

fn details(issuer: &IssuerStatus) -> Vec<(&'static str, String)> {
    let key = match &issuer.key {
        KeyPlace::File(path) => format!("{path}, a file: for labs, since whoever reads it signs"),
        KeyPlace::Token(token) => token.clone(),
    };
    let mut lines = vec![("subject", issuer.subject.clone()), ("key", key), ("list", issuer.revocation_list.clone())];
    if !issuer.profiles.is_empty() {
        lines.push(("profiles", issuer.profiles.join(", ")));
    }
    lines.extend(issuer.follows.iter().map(|name| ("follows", name.clone())));
    let last = issuer.last_certificate.map(|last| format!("the last certificate of it expires {}", time(last)));
    lines.extend(last.map(|line| ("issued", line)));
    lines
}

impl New {
    fn run(&self) -> Result<Answer, Failure> {
        let subject = build::name_from_text(&self.subject).map_err(|error| {
            Failure::new(format!("{} is no name", self.subject))
                .because(error)
                .next("write it as CN=Issuing 2027,O=Example")
        })?;
        if subject.is_empty() {
            return Err(Failure::new("an issuer needs a subject").next("write it as CN=Issuing 2027,O=Example"));
        }
        let written = self.csr.as_ref().or(self.out.as_ref());
        if let Some(path) = written.filter(|path| path.exists()) {
            return Err(Failure::new(format!("{} is there already", path.display())).next("name another file"));
        }
        // What is wrong with the configuration is told before the token makes anything.
        let root = match (&self.out, &self.root, &self.root_key) {
            (None, _, _) => None,
            (Some(_), Some(certificate), Some(key)) => Some(root(certificate, key)),
            (Some(_), _, key) => {
                let mut own = RootFiles::of_installation(&configuration(&self.installation)?);
                own.key = key.clone().unwrap_or(own.key);
                Some(own)
            }
        };
        let pin_file = std::path::absolute(&self.pin_file).unwrap_or_else(|_| self.pin_file.clone());
        let token = TokenKeyConfig::new(self.module.clone(), self.token.clone(), self.key_label.clone(), pin_file);
        let key = match self.generate {
            None => IssuerKeyPair::find(&token),
            Some(Curve::P256) => IssuerKeyPair::generate(&token, KeyCurve::P256),
            Some(Curve::P384) => IssuerKeyPair::generate(&token, KeyCurve::P384),
        };
        let key = key.map_err(|error| failed("the token's key cannot be used", &error))?;
        match (&self.csr, &self.out, root) {
            (Some(csr), _, _) => {
                let request = key.request(&subject).map_err(|error| failed("the request cannot be made", &error))?;
                files::write(csr, request.as_bytes())?;
                console::err(&format!(
                    "next: have the root sign {}, put its answer and the certificates above it, the root last, into \
                     {}.pem, and append the lines above to the configuration\n",
                    csr.display(),
                    self.name
                ));
                self.print_configuration(&PathBuf::from(format!("{}.pem", self.name)))
            }
            (None, Some(out), Some(root)) => {
                let days = i64::from(self.days);
                let made = key.certificate(&subject, &root, days, SystemClock.now_unix_seconds());
                let mut text = made.map_err(|error| failed("the certificate cannot be made", &error))?;
                // The root of this installation is known to it; of another it is told by this file.
                if self.root.is_some() {
                    text.push_str(&files::read_small_text(&root.certificate)?);
                }
                files::write(out, text.as_bytes())?;
                console::err("next: append the lines above to the configuration, and restart\n");
                self.print_configuration(out)
            }
            (None, _, _) => Err(Failure::new("neither --csr nor --out was given")),
        }
    }

    /// What the configuration needs.
    fn print_configuration(&self, certificate: &Path) -> Result<Answer, Failure> {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let path =
            |path: &Path| quoted(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).to_string_lossy());
        let mut text = format!("\n[[issuers]]\nname = {}\ncertificate = {}\n", quoted(&self.name), path(certificate));
        text.push_str(&format!(
            "pkcs11 = {{ module = {}, token = {}, key = {}, pin_file = {} }}\n",
            path(&self.module),
            quoted(&self.token),
            quoted(&self.key_label),
            path(&self.pin_file),
        ));
        if let Some(follows) = &self.follows {
            text.push_str(&format!("follows = {}\n", quoted(follows)));
        }
        console::out(&text)?;
        Ok(Answer::Yes)
    }
}

impl Link {
    fn run(&self) -> Result<Answer, Failure> {
        let (old, new) = (root(&self.old_root, &self.old_key), root(&self.new_root, &self.new_key));
        let links = link(&old, &new, SystemClock.now_unix_seconds());
        let links = links.map_err(|error| failed("the roots cannot be linked", &error))?;
        files::write(&self.out, links.as_bytes())?;
        console::out(&format!(
            "next: name the file in the configuration of the issuer beneath the new root: links = \"{}\"\n",
            self.out.display()
        ))?;
        Ok(Answer::Yes)
    }
}

fn root(certificate: &Path, key: &Path) -> RootFiles {
    RootFiles { certificate: certificate.to_owned(), key: key.to_owned() }
}

fn failed(what: &str, error: &IssuerCertificateError) -> Failure {
    Failure::new(what).because(causes(error))
}
