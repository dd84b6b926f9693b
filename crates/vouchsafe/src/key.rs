//! `vouchsafe key`: keys of the caller's in the agent.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use vouchsafe_agent::wire::Status;
use vouchsafe_agent::wire::message::{KeyInfo, MechanismInfo, TpmCertifyX509};
use vouchsafe_evidence::base64url;
use vouchsafe_evidence::pem;
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_verifier::hex;

use crate::agent::attesting_key;
use crate::agent_socket::{AgentSocket, failure};
use crate::attestation::{self, Choice, OwnKey};
use crate::cli::Answer;
use crate::failure::Failure;
use crate::key_kind::KeyKind;
use crate::{attestation_object, console, counter_signature, files};

/// Make, list, show, attest, use and delete keys in hardware.
///
/// Keys belong to the Unix user who makes them; their private parts never leave the TPM.
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
  vouchsafe key create web
  vouchsafe key create code --kind rsa-3072
  vouchsafe key attest web --nonce 00112233445566778899aabbccddeeff --out web.pem
  vouchsafe key attest web --key-authorization TOKEN.THUMBPRINT
  vouchsafe key sign web message.txt --out message.sig
  openssl dgst -sha256 -verify web.pub -signature message.sig message.txt";

#[derive(Debug, Subcommand)]
enum Operation {
    /// Make a key.
    Create {
        /// Its name.
        name: String,
        /// Its kind.
        #[arg(long, value_enum, default_value_t = KeyKind::EccP256)]
        kind: KeyKind,
        /// Make an attesting key of your own: it attests your keys and signs nothing else.
        #[arg(long)]
        attesting: bool,
        /// Make an attesting key of the machine, which `vouchsafe enroll ak` can enroll (needs the grant
        /// activate-credential).
        #[arg(long, requires = "attesting")]
        for_machine: bool,
    },
    /// List your keys, and the attesting keys that you may use.
    List {
        /// One JSON object on standard output.
        #[arg(long)]
        json: bool,
    },
    /// Show a key: what it is, and its public part in PEM.
    Show {
        /// Its name.
        name: String,
    },
    /// List the mechanisms by which a key can be attested, or all that the module has.
    Mechanisms {
        /// The key's name; all mechanisms, if it is not given.
        #[arg(default_value = "", hide_default_value = true)]
        name: String,
    },
    /// Have a key attested, and the platform if asked; the answer is an attestation bundle in PEM.
    Attest(Box<AttestArguments>),
    /// Sign a file with a key; ECDSA signatures are DER, as openssl takes them.
    Sign {
        /// The key's name.
        name: String,
        /// The file.
        file: PathBuf,
        /// Where the signature goes; in hexadecimal to standard output, if it is not given.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Delete a key. It cannot be brought back.
    Delete {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Args)]
struct AttestArguments {
    /// The key's name.
    name: String,
    /// What the Verifier sent, 16 to 64 octets.
    #[arg(long, value_name = "HEX")]
    nonce: Option<String>,
    /// In place of a nonce, the digest of the PKIX Evidence in this file: what is attested counter-signs it. A TPM's quote
    /// (--platform) then says on which machine, in what state, that Evidence lay.
    #[arg(long, value_name = "FILE", conflicts_with = "nonce")]
    counter_sign: Option<PathBuf>,
    /// In place of a nonce, the key authorization of an ACME challenge, TOKEN.THUMBPRINT. The answer is then the attestation
    /// object of device-attest-01, in base64url as the challenge's attObj takes it, or its octets in the file of --out.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["nonce", "counter_sign", "platform"])]
    key_authorization: Option<String>,
    #[command(flatten)]
    choice: Choice,
    /// For tpm-certify-x509: the certificate's whole subject, which must lie beneath its issuer's.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    subject: String,
    /// For tpm-certify-x509: a subject alternative name, such as dns:host.example. May be repeated.
    #[arg(long, value_name = "KIND:VALUE")]
    san: Vec<String>,
    /// For tpm-certify-x509: the key usage, by the names of RFC 5280. May be repeated.
    #[arg(long, value_name = "NAME")]
    key_usage: Vec<String>,
    /// For tpm-certify-x509: the chain to hang under (PEM), the attesting key's certificate first.
    #[arg(long, value_name = "FILE")]
    chain: Option<PathBuf>,
    /// For tpm-certify-x509: where the certificate goes with its chain (PEM), ready for openssl.
    #[arg(long, value_name = "FILE")]
    certificate_out: Option<PathBuf>,
    /// Where the bundle goes; standard output, if it is not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Does what was asked of keys.
///
/// # Errors
/// [`Failure`] if the agent refuses.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    match &arguments.operation {
        Operation::Create { name, kind, attesting: true, for_machine } => {
            create_attesting(&arguments.agent, name, *kind, *for_machine)?;
        }
        Operation::Create { name, kind, .. } => return create(&arguments.agent, name, *kind),
        Operation::List { json } => list(&arguments.agent, *json)?,
        Operation::Show { name } => show(&arguments.agent, name)?,
        Operation::Mechanisms { name } => mechanisms(&arguments.agent, name)?,
        Operation::Attest(attest_arguments) => attest(&arguments.agent, attest_arguments)?,
        Operation::Sign { name, file, out } => sign(&arguments.agent, name, file, out.as_deref())?,
        Operation::Delete { name } => delete(&arguments.agent, name)?,
    }
    Ok(Answer::Yes)
}

/// Makes a key; a name that is taken is a refusal.
fn create(agent: &AgentSocket, name: &str, kind: KeyKind) -> Result<Answer, Failure> {
    let mut client = agent.connect()?;
    let what = || format!("the key {name} was not made");
    match client.generate_key(name, kind.attributes()) {
        Ok(()) => {}
        Err(fault) if fault.status() == Some(Status::PsaErrorAlreadyExists) => {
            let next = format!("choose another name, or delete that key for good: vouchsafe key delete {name}");
            failure(what(), &fault).next(next).report();
            return Ok(Answer::No);
        }
        Err(fault) => return Err(failure(what(), &fault)),
    }
    let key = OwnKey::find(&mut client, name)?;
    console::out(&describe(&key))?;
    Ok(Answer::Yes)
}

fn describe(key: &OwnKey) -> String {
    format!("{}  {}  SPKI SHA-256 {}\n", printable(&key.name), key.kind.name(), hex::encode(&key.spki.sha256()))
}

fn create_attesting(agent: &AgentSocket, name: &str, kind: KeyKind, for_machine: bool) -> Result<(), Failure> {
    let made = agent
        .connect()?
        .create_attesting_key(name, kind.name(), for_machine)
        .map_err(|fault| failure(format!("the attesting key {name} was not made"), &fault))?;
    console::out(&attesting_key::described(&made))
}

fn list(agent: &AgentSocket, as_json: bool) -> Result<(), Failure> {
    let mut client = agent.connect()?;
    let keys = client.list_keys().map_err(|fault| failure("the keys cannot be listed", &fault))?;
    let providers = client.list_providers().map_err(|fault| failure("the providers cannot be listed", &fault))?;
    let provider = |info: &KeyInfo| {
        let listed = providers.iter().find(|provider| provider.id == info.provider_id);
        listed.map_or_else(String::new, |provider| printable(&provider.name))
    };
    let attesting =
        client.list_attesting_keys().map_err(|fault| failure("the attesting keys cannot be listed", &fault))?;
    let kind = |info: &KeyInfo| KeyKind::of(info).map_or("of another client", KeyKind::name);
    if as_json {
        let keys: Vec<_> = keys
            .iter()
            .map(|info| json!({"name": printable(&info.name), "kind": kind(info), "provider": provider(info)}))
            .collect();
        let attesting: Vec<_> = attesting.iter().map(attesting_key::to_json).collect();
        return console::out(&format!("{:#}\n", json!({ "keys": keys, "attesting_keys": attesting })));
    }
    if keys.is_empty() {
        console::err("You have no keys.\nnext: vouchsafe key create NAME\n");
    }
    // Those at other providers than the one that is asked are used with --provider.
    let elsewhere = |info: &KeyInfo| info.provider_id != u32::from(client.provider().0);
    let line = |info: &KeyInfo| {
        let place = if elsewhere(info) { format!("  at provider {}", provider(info)) } else { String::new() };
        format!("{}  {}{place}\n", printable(&info.name), kind(info))
    };
    let mut lines: String = keys.iter().map(line).collect();
    lines.extend(attesting.iter().map(attesting_key::described));
    console::out(&lines)
}

fn show(agent: &AgentSocket, name: &str) -> Result<(), Failure> {
    let key = OwnKey::find(&mut agent.connect()?, name)?;
    console::out(&format!("{}{}", describe(&key), pem::encode("PUBLIC KEY", key.spki.as_der())))
}

/// One line for each: its name, what it attests, how settled it is.
fn mechanisms(agent: &AgentSocket, name: &str) -> Result<(), Failure> {
    let mut client = agent.connect()?;
    let listed = if name.is_empty() { client.list_mechanisms() } else { client.list_mechanisms_of_key(name) };
    let listed = listed.map_err(|fault| failure("the mechanisms cannot be listed", &fault))?;
    let line = |row: &MechanismInfo| {
        let [name, subject, stability] = [&row.name, &row.subject, &row.stability].map(|text| printable(text));
        format!("{name}  attests a {subject}, version {}, {stability}\n", row.version)
    };
    console::out(&listed.iter().map(line).collect::<String>())
}

fn attest(agent: &AgentSocket, arguments: &AttestArguments) -> Result<(), Failure> {
    let nonce = match (&arguments.counter_sign, &arguments.key_authorization) {
        (Some(path), _) => counter_signature::digest(path)?,
        (None, Some(key_authorization)) => attestation_object::nonce(key_authorization)?,
        (None, None) => attestation::nonce(arguments.nonce.as_deref())?,
    };
    let chain = match &arguments.chain {
        Some(path) => files::read_certificates(path)?.iter().map(|view| view.as_der().to_vec()).collect(),
        None => Vec::new(),
    };
    let template = TpmCertifyX509 {
        subject: arguments.subject.clone(),
        san: arguments.san.clone(),
        key_usage: arguments.key_usage.clone(),
        chain,
        ..TpmCertifyX509::default()
    };
    let attested = attestation::attest(&mut agent.connect()?, &arguments.name, &nonce, &arguments.choice, template)?;
    if let Some(path) = &arguments.certificate_out {
        if attested.tpm_made.is_empty() {
            return Err(Failure::new("this mechanism makes no certificate")
                .next("leave --certificate-out out, or use --mechanism tpm-certify-x509"));
        }
        files::write(path, certificates_pem(&attested.tpm_made).as_bytes())?;
    }
    if arguments.key_authorization.is_some() {
        let object = attestation_object::of(&attested.bundle)?;
        return match &arguments.out {
            Some(path) => files::write(path, &object),
            None => console::out(&format!("{}\n", base64url::encode(&object))),
        };
    }
    let certificates: Vec<CertView> = attested.bundle.certificates().cloned().collect();
    let text = pem::encode("ATTESTATION BUNDLE", &attested.bundle.to_der());
    files::write_or_print(arguments.out.as_deref(), &text)?;
    if certificates.is_empty() {
        console::err(
            "The attesting key has no certificate yet, so nobody can verify this.\n\
             next: vouchsafe enroll ak --device NAME\n",
        );
    }
    Ok(())
}

/// Certificates in PEM, in their order.
pub fn certificates_pem(certificates: &[CertView]) -> String {
    certificates.iter().map(|certificate| pem::encode("CERTIFICATE", certificate.as_der())).collect()
}

fn sign(agent: &AgentSocket, name: &str, file: &std::path::Path, out: Option<&std::path::Path>) -> Result<(), Failure> {
    let message = std::fs::read(file).map_err(|error| {
        Failure::new(format!("{} cannot be read", file.display())).because(error).next("check the path")
    })?;
    let mut client = agent.connect()?;
    let signature = OwnKey::find(&mut client, name)?.sign(&mut client, &message)?;
    match out {
        Some(path) => files::write(path, &signature),
        None => console::out(&format!("{}\n", hex::encode(&signature))),
    }
}

fn delete(agent: &AgentSocket, name: &str) -> Result<(), Failure> {
    let mut client = agent.connect()?;
    client.destroy_key(name).map_err(|fault| failure(format!("the key {name} was not deleted"), &fault))?;
    console::out(&format!("{} is gone.\n", printable(name)))
}
