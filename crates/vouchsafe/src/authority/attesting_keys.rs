//! `vouchsafe authority attesting-keys`: which there are, which expire, what rests on them; revocation, replacement, sharing.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use vouchsafe_authority::lifecycle::{ListName, proof_json};
use vouchsafe_authority::store::{AttestingKeyRow, Dependent, RevocationReason};
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_verifier::{Instant, hex};

use super::{Installation, administration, refused};
use crate::cli::Answer;
use crate::console;
use crate::failure::Failure;

/// The attesting keys of an authority, by the digest that verdicts name them by (ak:HEX).
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    operation: Operation,
}

const EXAMPLES: &str = "\
Examples:
  vouchsafe authority attesting-keys list --expiring 14
  vouchsafe authority attesting-keys show ak:9f2c...
  vouchsafe authority attesting-keys revoke ak:9f2c... --by alma --reason key-compromise
  vouchsafe authority attesting-keys replace rack7-node3 --by alma --days 7

docs/enrolment.md says what each does.";

#[derive(Debug, Subcommand)]
enum Operation {
    /// List attesting keys; with --expiring exit 1 if there are any.
    List(List),
    /// Show a key and the certificates that rest on it.
    Show(Show),
    /// Revoke a key with its certificates.
    Revoke(Revoke),
    /// Let another module take the place of a device's that failed, and revoke the failed one's keys.
    Replace(Replace),
    /// Let another account enroll attesting keys of its own on a device.
    Share(Share),
    /// Write a revocation list.
    RevocationList(WriteList),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    installation: Installation,
    /// Those whose certificates expire within so many days, or have expired; without a number those of the
    /// configuration.
    #[arg(long, value_name = "DAYS", num_args = 0..=1)]
    expiring: Option<Option<u32>>,
    /// JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Show {
    /// The key: ak: and the SHA-256 of its public key.
    key: String,
    #[command(flatten)]
    installation: Installation,
    /// JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Revoke {
    /// The key: ak: and the SHA-256 of its public key.
    key: String,
    #[command(flatten)]
    installation: Installation,
    /// Who decides it.
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Why.
    #[arg(long, default_value_t = Reason::Unspecified)]
    reason: Reason,
    /// Revoke every certificate that rests on the key, too.
    #[arg(long)]
    revoke_dependents: bool,
    /// JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Replace {
    /// The device's name.
    device: String,
    #[command(flatten)]
    installation: Installation,
    /// Who decides it.
    #[arg(long, value_name = "NAME")]
    by: String,
    /// For how many days the leave lasts.
    #[arg(long, default_value_t = 7)]
    days: u32,
}

#[derive(Debug, Args)]
struct Share {
    /// The device's name.
    device: String,
    /// The account that may enroll keys of its own on it.
    account: String,
    #[command(flatten)]
    installation: Installation,
    /// Who decides it.
    #[arg(long, value_name = "NAME")]
    by: String,
}

#[derive(Debug, Args)]
struct WriteList {
    /// Whose certificates it is about.
    list: ListChoice,
    #[command(flatten)]
    installation: Installation,
    /// Where to write it (DER); standard output otherwise.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The lists.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ListChoice {
    /// AK certificates of modules that are chips.
    Attestation,
    /// AK certificates of modules that are, or may be, software.
    AttestationVirtual,
    /// Certificates of devices' keys.
    Issuing,
}

impl From<ListChoice> for ListName {
    fn from(list: ListChoice) -> Self {
        match list {
            ListChoice::Attestation => Self::Attestation,
            ListChoice::AttestationVirtual => Self::AttestationVirtual,
            ListChoice::Issuing => Self::Issuing,
        }
    }
}

/// Why something is revoked. What could be lifted again (certificateHold) is none of them.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Reason {
    Unspecified,
    KeyCompromise,
    AffiliationChanged,
    Superseded,
    CessationOfOperation,
}

impl From<Reason> for RevocationReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Unspecified => Self::Unspecified,
            Reason::KeyCompromise => Self::KeyCompromise,
            Reason::AffiliationChanged => Self::AffiliationChanged,
            Reason::Superseded => Self::Superseded,
            Reason::CessationOfOperation => Self::CessationOfOperation,
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(RevocationReason::from(*self).label())
    }
}

/// Does what was asked of the attesting keys.
///
/// # Errors
/// [`Failure`] if it cannot be done.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    match &arguments.operation {
        Operation::List(list) => list.run(),
        Operation::Show(show) => show.run(),
        Operation::Revoke(revoke) => revoke.run(),
        Operation::Replace(replace) => replace.run(),
        Operation::Share(share) => share.run(),
        Operation::RevocationList(list) => list.run(),
    }
}

impl List {
    fn run(&self) -> Result<Answer, Failure> {
        let administration = administration(&self.installation)?;
        let keys = match self.expiring {
            None => administration.attesting_keys(),
            Some(days) => administration.expiring(days.map(i64::from)),
        };
        let keys = keys.map_err(|error| refused("the attesting keys cannot be listed", &error))?;
        if self.json {
            let list: Vec<Value> = keys.iter().map(key_json).collect();
            console::out(&format!("{}\n", Value::from(list)))?;
        } else {
            let text: String = keys.iter().map(key_text).collect();
            console::out(&text)?;
        }
        Ok(if self.expiring.is_some() && !keys.is_empty() { Answer::No } else { Answer::Yes })
    }
}

impl Show {
    fn run(&self) -> Result<Answer, Failure> {
        let administration = administration(&self.installation)?;
        let digest = digest_of(&self.key)?;
        let failed = |error| refused("the attesting key cannot be shown", &error);
        let keys = administration.attesting_keys().map_err(failed)?;
        let Some(key) = keys.iter().find(|key| key.spki_digest == digest) else {
            return Err(Failure::new(format!("there is no attesting key {}", self.key))
                .next("`vouchsafe authority attesting-keys list` names them all"));
        };
        let dependents = administration.dependents(&digest).map_err(failed)?;
        if self.json {
            let mut shown = key_json(key);
            if let Value::Object(fields) = &mut shown {
                fields.insert("dependents".to_owned(), dependents.iter().map(dependent_json).collect());
            }
            console::out(&format!("{shown}\n"))?;
        } else {
            console::out(&format!("{}{}", key_text(key), dependents_text(&dependents)))?;
        }
        Ok(Answer::Yes)
    }
}

impl Revoke {
    fn run(&self) -> Result<Answer, Failure> {
        let administration = administration(&self.installation)?;
        let digest = digest_of(&self.key)?;
        let report = administration
            .revoke(&digest, self.reason.into(), &self.by, self.revoke_dependents)
            .map_err(|error| refused("the attesting key cannot be revoked", &error))?;
        if self.json {
            let dependents: Vec<Value> = report.dependents.iter().map(dependent_json).collect();
            console::out(&format!("{}\n", json!({"revoked": report.revoked, "dependents": dependents})))?;
            return Ok(Answer::Yes);
        }
        let mut text = match report.revoked {
            1 => "1 certificate is revoked.\n".to_owned(),
            number => format!("{number} certificates are revoked.\n"),
        };
        text.push_str(&dependents_text(&report.dependents));
        if report.dependents.iter().any(|dependent| !dependent.is_revoked) {
            text.push_str(&console::hanging(
                "next: ",
                "decide about the certificates above; --revoke-dependents revokes them all",
                6,
            ));
        }
        text.push_str(&console::hanging(
            "next: ",
            "publish the lists anew: `vouchsafe authority attesting-keys revocation-list attestation --out FILE`, or \
             GET /v1/revocation-lists/attestation",
            6,
        ));
        console::out(&text)?;
        Ok(Answer::Yes)
    }
}

impl Replace {
    fn run(&self) -> Result<Answer, Failure> {
        let revoked = administration(&self.installation)?
            .approve_replacement(&self.device, &self.by, i64::from(self.days))
            .map_err(|error| refused("the replacement cannot be approved", &error))?;
        console::out(&format!(
            "{revoked} attesting keys of {} are revoked; another module may take its place for {} days.\n\
             next: vouchsafe enroll ak --device {}, on the machine with the new module\n",
            self.device, self.days, self.device
        ))?;
        Ok(Answer::Yes)
    }
}

impl Share {
    fn run(&self) -> Result<Answer, Failure> {
        administration(&self.installation)?
            .share(&self.device, &self.account, &self.by)
            .map_err(|error| refused("the device cannot be shared", &error))?;
        console::out(&format!("{} may enroll attesting keys of its own on {}.\n", self.account, self.device))?;
        Ok(Answer::Yes)
    }
}

impl WriteList {
    fn run(&self) -> Result<Answer, Failure> {
        let list = administration(&self.installation)?
            .revocation_list(self.list.into())
            .map_err(|error| refused("the revocation list cannot be made", &error))?;
        let written = match &self.out {
            Some(path) => std::fs::write(path, &list),
            None => std::io::Write::write_all(&mut std::io::stdout().lock(), &list),
        };
        written.map_err(|error| Failure::new("the revocation list cannot be written").because(error))?;
        Ok(Answer::Yes)
    }
}

fn digest_of(key: &str) -> Result<[u8; 32], Failure> {
    let digits = key.strip_prefix("ak:").unwrap_or(key);
    let digest = hex::decode(digits).and_then(|octets| <[u8; 32]>::try_from(octets).ok());
    digest.ok_or_else(|| {
        Failure::new(format!("{key} is no attesting key"))
            .next("name it as verdicts and `attesting-keys list` do: ak: and 64 hexadecimal digits")
    })
}

fn time(seconds: i64) -> String {
    Instant::from_unix_seconds(seconds).to_string()
}

fn key_json(key: &AttestingKeyRow) -> Value {
    let revocation = key.revocation.as_ref().map(
        |revocation| json!({"at": time(revocation.at), "reason": revocation.reason.label(), "by": revocation.approver}),
    );
    json!({
        "key": format!("ak:{}", hex::encode(&key.spki_digest)),
        "device": key.device,
        "account": key.account,
        "enrolment": proof_json(&key.proof),
        "virtual": key.is_virtual,
        "enrolled": time(key.enrolled_at),
        "expires": time(key.not_after),
        "revocation": revocation,
    })
}

fn key_text(key: &AttestingKeyRow) -> String {
    let proof = &key.proof;
    let approvers = match proof.approvers.as_slice() {
        [] => String::new(),
        names => format!(", vouched for by {}", names.join(", ")),
    };
    let state = match &key.revocation {
        Some(revocation) => {
            format!("revoked {} ({}) by {}", time(revocation.at), revocation.reason.label(), revocation.approver)
        }
        None => format!("certificates until {}", time(key.not_after)),
    };
    let what = format!(
        "{} of account {}, {} ({}{approvers}){}; {state}",
        key.device,
        key.account,
        proof.method.label(),
        proof.environment.label(),
        if key.is_virtual { ", virtual" } else { "" },
    );
    format!("ak:{}\n{}", hex::encode(&key.spki_digest), console::wrapped(&printable(&what), 2))
}

fn subject(dependent: &Dependent) -> String {
    CertView::parse(&dependent.der).map_or_else(|_| "unreadable".to_owned(), |of| of.subject().to_display())
}

fn dependent_json(dependent: &Dependent) -> Value {
    json!({
        "serial": hex::encode(&dependent.serial),
        "subject": subject(dependent),
        "account": dependent.account,
        "expires": time(dependent.not_after),
        "revoked": dependent.is_revoked,
    })
}

fn dependents_text(dependents: &[Dependent]) -> String {
    if dependents.is_empty() {
        return "No certificate that is still valid rests on it.\n".to_owned();
    }
    let mut text = format!("{} certificates that are still valid rest on it:\n", dependents.len());
    for dependent in dependents {
        let state = if dependent.is_revoked { "revoked" } else { "not revoked" };
        let line = format!(
            "{} of account {}, serial number {}, until {}, {state}",
            subject(dependent),
            dependent.account,
            hex::encode(&dependent.serial),
            time(dependent.not_after)
        );
        text.push_str(&console::hanging("  -", &printable(&line), 4));
    }
    text
}
