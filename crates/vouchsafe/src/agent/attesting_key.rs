//! `vouchsafe agent attesting-key`: the machine's attesting keys.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use vouchsafe_agent::client::ClientFault;
use vouchsafe_agent::wire::message::{AttestingKeyInfo, ImportAttestingKeyOperation};
use vouchsafe_evidence::text::printable;

use crate::agent_socket::{AgentSocket, failure};
use crate::cli::Answer;
use crate::failure::Failure;
use crate::key_kind::KeyKind;
use crate::{console, files};

/// List, make and bring in the machine's attesting keys.
///
/// An attesting key signs what the module says about keys and about the platform, and nothing else. The agent makes one at its
/// first start, the default. Others are for other authorities, or for lending out: `attesting_keys = ["NAME"]` in a
/// entry of grants limits a grant to them. Each is enrolled by its name: vouchsafe enroll ak --attesting-key NAME.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    operation: Operation,
    #[command(flatten)]
    agent: AgentSocket,
}

const EXAMPLES: &str = "\
Examples:
  vouchsafe agent attesting-key list
  vouchsafe agent attesting-key create site --kind ecc-p384
  vouchsafe agent attesting-key create p1 --pseudonym

A key that was made elsewhere, with tpm2-tools:
  tpm2_create -C 0x81000001 -G ecc256:ecdsa-sha256:null -p file:auth \\
      -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign' \\
      -u ak.pub -r ak.priv
  vouchsafe agent attesting-key import site --public ak.pub --private ak.priv \\
      --auth-file auth
  vouchsafe enroll ak --device rack7-node3 --attesting-key site";

#[derive(Debug, Subcommand)]
enum Operation {
    /// List the attesting keys that you may use: the machine's, and your own.
    List {
        /// One JSON object on standard output.
        #[arg(long)]
        json: bool,
    },
    /// Make one (needs the grant activate-credential).
    Create {
        /// Its name: 1 to 64 of a-z, 0-9, dot, hyphen and underscore.
        name: String,
        /// Its kind: ecc-p256, ecc-p384, rsa-2048 or rsa-3072.
        #[arg(long, value_enum, default_value_t = KeyKind::EccP256)]
        kind: KeyKind,
        /// Make a pseudonym: it attests keys by certificates that the TPM makes, and nothing else, since all else that a TPM
        /// signs carries its clock. It goes when the TPM is cleared.
        #[arg(long)]
        pseudonym: bool,
    },
    /// Bring one in that was made elsewhere (for administrators of the agent).
    ///
    /// Taken is what can attest and do nothing else: restricted, sign, fixedtpm, fixedparent, sensitivedataorigin and
    /// userwithauth, without decrypt and without a policy, with a fixed scheme; x509sign lets it certify by X.509. Its
    /// authorization has 16 octets at least, since whoever reaches the TPM may guess. Endorsement keys, storage keys, keys of
    /// the agent's clients and keys that the agent has already are refused.
    Import(ImportArguments),
}

#[derive(Debug, Args)]
struct ImportArguments {
    /// The name that it gets.
    name: String,
    /// Its public part: TPM2B_PUBLIC, as tpm2_create -u writes it.
    #[arg(long, value_name = "FILE", requires = "private", conflicts_with_all = ["pem", "handle"])]
    public: Option<PathBuf>,
    /// Its private part, wrapped by its parent: TPM2B_PRIVATE, as tpm2_create -r writes it.
    #[arg(long, value_name = "FILE", requires = "public")]
    private: Option<PathBuf>,
    /// Both in one file: PEM of type TSS2 PRIVATE KEY, as tpm2_encodeobject and OpenSSL's providers write it.
    #[arg(long, value_name = "FILE", conflicts_with = "handle")]
    pem: Option<PathBuf>,
    /// The persistent handle of its parent, if that is neither the storage root key nor named in the PEM file.
    #[arg(long, value_name = "HANDLE", value_parser = handle, conflicts_with = "handle")]
    parent: Option<u32>,
    /// In place of files: the persistent handle that it has in the TPM, such as 0x81010100.
    #[arg(long, value_name = "HANDLE", value_parser = handle)]
    handle: Option<u32>,
    /// A file with its authorization, 16 octets at least, all of them as they are: what tpm2-tools take as file:FILE.
    #[arg(long, value_name = "FILE")]
    auth_file: PathBuf,
}

/// A handle, hexadecimal with 0x in front, or decimal.
fn handle(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.ok().filter(|handle| *handle != 0).ok_or_else(|| "write a handle such as 0x81010100".to_owned())
}

/// Does what was asked of attesting keys.
///
/// # Errors
/// [`Failure`] if the agent cannot be asked or a file cannot be read; a refusal is an answer.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    match &arguments.operation {
        Operation::List { json } => list(&arguments.agent, *json),
        Operation::Create { name, kind, pseudonym } => {
            let mut client = arguments.agent.connect()?;
            let made = match pseudonym {
                true => client.create_pseudonym(name, kind.name()),
                false => client.create_attesting_key(name, kind.name(), true),
            };
            told(made, || format!("the attesting key {name} was not made"))
        }
        Operation::Import(import) => {
            let operation = import.operation()?;
            let imported = arguments.agent.connect()?.import_attesting_key(&operation);
            told(imported, || format!("the key was not taken over as {}", import.name))
        }
    }
}

/// Tells of a key that is there now, or why it is not.
fn told(outcome: Result<AttestingKeyInfo, ClientFault>, what: impl FnOnce() -> String) -> Result<Answer, Failure> {
    match outcome {
        Ok(key) => {
            console::out(&described(&key))?;
            console::err(&format!("next: vouchsafe enroll ak --attesting-key {} ...\n", printable(&key.name)));
            Ok(Answer::Yes)
        }
        Err(fault) if fault.status().is_some() => {
            failure(what(), &fault).report();
            Ok(Answer::No)
        }
        Err(fault) => Err(failure(what(), &fault)),
    }
}

/// An attesting key in one line: what it is, whose, where from, and what it is certified for.
pub fn described(key: &AttestingKeyInfo) -> String {
    let whose = match (key.is_own, key.is_default) {
        (true, _) => "yours",
        (false, true) => "the machine's default",
        (false, false) => "the machine's",
    };
    let origin = match (key.is_pseudonym, key.made_here) {
        (true, _) => ", a pseudonym",
        (false, true) => "",
        (false, false) => ", made elsewhere",
    };
    let families = certified_for(key);
    let certified = if families.is_empty() { "nothing yet".to_owned() } else { families.join(", ") };
    format!("{}  {}  attesting key, {whose}{origin}, certified for {certified}\n", printable(&key.name), key.algorithm)
}

/// The families that an attesting key has certificates for.
pub fn certified_for(key: &AttestingKeyInfo) -> Vec<&str> {
    key.certificates.iter().map(|chain| chain.family.as_str()).collect()
}

/// An attesting key as JSON has it.
pub fn to_json(key: &AttestingKeyInfo) -> serde_json::Value {
    json!({
        "name": printable(&key.name),
        "kind": key.algorithm,
        "default": key.is_default,
        "own": key.is_own,
        "pseudonym": key.is_pseudonym,
        "made_here": key.made_here,
        "signs": key.families,
        "certified_for": certified_for(key),
    })
}

fn list(agent: &AgentSocket, as_json: bool) -> Result<Answer, Failure> {
    let keys = agent
        .connect()?
        .list_attesting_keys()
        .map_err(|fault| failure("the attesting keys cannot be listed", &fault))?;
    if as_json {
        let keys: Vec<_> = keys.iter().map(to_json).collect();
        console::out(&format!("{:#}\n", json!({ "attesting_keys": keys })))?;
        return Ok(Answer::Yes);
    }
    if keys.is_empty() {
        console::err("You may use no attesting key.\nnext: ask an administrator for the grant attest\n");
    }
    console::out(&keys.iter().map(described).collect::<String>())?;
    Ok(Answer::Yes)
}

impl ImportArguments {
    fn operation(&self) -> Result<ImportAttestingKeyOperation, Failure> {
        let object = match (&self.public, &self.private, &self.pem) {
            (Some(public), Some(private), None) => [files::read_small(public)?, files::read_small(private)?].concat(),
            (None, None, Some(pem)) => files::read_small(pem)?,
            (None, None, None) if self.handle.is_some() => Vec::new(),
            _ => {
                return Err(Failure::new("it is not said which key that is")
                    .next("give --public and --private, or --pem, or --handle"));
            }
        };
        Ok(ImportAttestingKeyOperation {
            name: self.name.clone(),
            object,
            parent_handle: self.parent.unwrap_or_default(),
            handle: self.handle.unwrap_or_default(),
            auth: files::read_small(&self.auth_file)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::handle;

    #[test]
    fn handles_are_hexadecimal_or_decimal() {
        assert_eq!(handle("0x81010100"), Ok(0x8101_0100));
        assert_eq!(handle("2164326656"), Ok(0x8101_0100));
        for wrong in ["", "0", "0x0", "81010100x", "0x181010100", "-1"] {
            assert!(handle(wrong).is_err(), "{wrong}");
        }
    }
}
