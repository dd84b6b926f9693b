//! What a step leaves behind: from an option, from a command, or from whoever sits at the terminal.

use std::io::{BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use clap::{Args, ValueEnum};
use vouchsafe_evidence::ceremony::{
    AkFamily, Attachment, DIGEST_OCTETS, JoseAlgorithm, ModuleIdentity, PlannedStep, Proof, Record, Task, Transcript,
    proof_message, proof_nonce,
};
use vouchsafe_evidence::x509::SpkiView;

use super::super::Stop;
#[cfg(feature = "agent")]
use super::super::device::Device;
use super::super::folder::Folder;
use super::super::key_file::{PrivateKey, jose_signature};
use super::command;
use crate::console;
use crate::failure::Failure;
use crate::files;

/// Octets of what a person types.
const LINE_OCTETS: u64 = 4096;
/// Octets of a file that is attached.
const ATTACHMENT_OCTETS: u64 = 256 * 1024 * 1024;

/// What the command line tells already.
#[derive(Debug, Args)]
pub struct Given {
    /// The answer to `say` or `ask`
    #[arg(long, value_name = "TEXT")]
    answer: Option<String>,
    /// The file of `attach`
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The module's maker
    #[arg(long, value_name = "TEXT")]
    vendor: Option<String>,
    /// The module's model
    #[arg(long, value_name = "TEXT")]
    model: Option<String>,
    /// The module's serial number
    #[arg(long, value_name = "TEXT")]
    serial: Option<String>,
    /// The version of the module's firmware
    #[arg(long, value_name = "TEXT")]
    firmware: Option<String>,
    /// The public key of `key`
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The family of statements that the attesting key is for
    #[arg(long, value_enum, default_value_t = Family::PkixEvidence)]
    family: Family,
    #[command(flatten)]
    proof: ProofFiles,
    #[cfg(feature = "agent")]
    #[command(flatten)]
    device: Device,
}

/// The proof of `prove`.
#[derive(Debug, Args)]
struct ProofFiles {
    /// A signature of the attesting key over WORK/proof.message
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// The attesting key itself, where it is in software (PEM): for labs
    #[arg(long, value_name = "FILE", conflicts_with = "signature")]
    sign_with: Option<PathBuf>,
    /// PKIX Evidence (DER) whose nonce is WORK/proof.nonce
    #[arg(long, value_name = "FILE", conflicts_with_all = ["signature", "sign_with"])]
    evidence: Option<PathBuf>,
    /// A TPMS_ATTEST whose extraData is WORK/proof.nonce
    #[arg(long, value_name = "FILE", requires = "tpm_signature", conflicts_with_all = ["signature", "sign_with", "evidence"])]
    attest: Option<PathBuf>,
    /// The TPMT_SIGNATURE of --attest
    #[arg(long, value_name = "FILE", requires = "attest")]
    tpm_signature: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Family {
    PkixEvidence,
    Tpm,
}

impl From<Family> for AkFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::PkixEvidence => Self::PkixEvidence,
            Family::Tpm => Self::Tpm,
        }
    }
}

/// Does a step; `None` if it waits for something that has to be made first.
///
/// # Errors
/// [`Stop`] if it was not done: then nothing is recorded.
pub fn take(
    given: &Given,
    note: &str,
    folder: &Folder,
    transcript: &Transcript,
    planned: &PlannedStep,
) -> Result<Option<Record>, Stop> {
    Ok(Some(match &planned.task {
        Task::Ask => Record::Asked { typed: line("answer", given.answer.as_deref())? },
        Task::Attach => Record::Attached(attach(given, folder, transcript)?),
        Task::Key => attesting_key(given)?,
        Task::Module => Record::Module(ModuleIdentity {
            vendor: line("vendor", given.vendor.as_deref())?,
            model: line("model", given.model.as_deref())?,
            serial: line("serial number", given.serial.as_deref())?,
            firmware: line("firmware version", given.firmware.as_deref())?,
        }),
        Task::Prove => match prove(given, folder, transcript)? {
            Some(proof) => Record::Proved(proof),
            None => return Ok(None),
        },
        Task::Run { command } => command::run(command, note)?,
        Task::Say => Record::Said { typed: line("type `done` when it is done", given.answer.as_deref())? },
        Task::Secret => {
            // Not even read: the answer goes to the module or to the safe, never through here.
            line("give the answer where it is wanted, not here; then type `done`", given.answer.as_deref())?;
            Record::Withheld
        }
    }))
}

/// One line that is not empty.
fn line(what: &str, given: Option<&str>) -> Result<String, Failure> {
    let typed = match given {
        Some(text) => text.to_owned(),
        None => {
            console::out(&format!("  {what}: "))?;
            let mut typed = String::new();
            let mut input = std::io::stdin().lock().take(LINE_OCTETS);
            input
                .read_line(&mut typed)
                .map_err(|error| Failure::new("what was typed cannot be read").because(error).next("type text"))?;
            if !std::io::stdin().is_terminal() {
                console::out("\n")?;
            }
            typed
        }
    };
    let typed = typed.trim();
    if typed.is_empty() {
        return Err(Failure::new("the step was not done").because("nothing was typed").next("run it again"));
    }
    Ok(typed.to_owned())
}

/// The path in an option, or typed.
fn path(what: &str, given: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    given.map_or_else(|| line(what, None).map(PathBuf::from), |path| Ok(path.clone()))
}

fn attesting_key(given: &Given) -> Result<Record, Failure> {
    #[cfg(feature = "agent")]
    if given.device.is_asked() {
        let (key, family) = given.device.key()?;
        return Ok(Record::Key { key, family });
    }
    let path = path("file of the public key", given.key.as_ref())?;
    let key = SpkiView::from_key_file(&files::read_small(&path)?).map_err(|error| {
        Failure::new(format!("{} holds no public key", path.display()))
            .because(error)
            .next("export the attesting key's public half (PEM or DER)")
    })?;
    Ok(Record::Key { key, family: given.family.into() })
}

fn attach(given: &Given, folder: &Folder, transcript: &Transcript) -> Result<Attachment, Failure> {
    let path = path("file", given.file.as_ref())?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if transcript.attachments().any(|attachment| attachment.name == name) {
        return Err(Failure::new(format!("a file {name} is attached already"))
            .next("give this one a name of its own and run the step again"));
    }
    let copy = folder.attachments().join(&name);
    let failed = |error: std::io::Error| Failure::new(format!("{name} cannot be attached")).because(error);
    if copy.canonicalize().is_ok_and(|copy| path.canonicalize().is_ok_and(|path| path == copy)) {
        return Err(Failure::new(format!("{name} is the copy that an attachment would become"))
            .next("attach the file itself, from where it came"));
    }
    std::fs::copy(&path, &copy).map_err(failed)?;
    // The digest is that of the copy, which stays.
    attachment(&copy, &name)
}

/// Name, digest and size of a file.
///
/// # Errors
/// [`Failure`] if it cannot be read, or is larger than is attached.
pub fn attachment(path: &Path, name: &str) -> Result<Attachment, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(format!("{} cannot be read", path.display())).because(error).next("check the path")
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut octets = 0_u64;
    let mut reader = std::io::BufReader::new(file.take(ATTACHMENT_OCTETS.saturating_add(1)));
    loop {
        let chunk = reader.fill_buf().map_err(failed)?;
        if chunk.is_empty() {
            break;
        }
        context.update(chunk);
        let length = chunk.len();
        octets = octets.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        reader.consume(length);
    }
    if octets > ATTACHMENT_OCTETS {
        return Err(Failure::new(format!("{name} is larger than {ATTACHMENT_OCTETS} octets"))
            .next("attach a list of digests instead"));
    }
    let mut sha256 = [0; DIGEST_OCTETS];
    sha256.copy_from_slice(context.finish().as_ref());
    Ok(Attachment { name: name.to_owned(), sha256, octets })
}

/// The proof; `None` after writing what has to be signed, if there is none yet.
fn prove(given: &Given, folder: &Folder, transcript: &Transcript) -> Result<Option<Proof>, Stop> {
    let Some((key, family)) = transcript.attesting_key() else {
        return Err(Failure::new("no attesting key is recorded").into());
    };
    let previous = transcript.last_digest();
    #[cfg(feature = "agent")]
    if given.device.is_asked() {
        return Ok(Some(given.device.prove(key, family, &proof_nonce(&previous, key))?));
    }
    let given = &given.proof;
    let message = proof_message(&previous, key);
    if let Some(path) = &given.sign_with {
        let (algorithm, signature) = PrivateKey::read(path, None)?.sign(&message)?;
        return Ok(Some(Proof::Signature { algorithm, signature }));
    }
    if let Some(path) = &given.signature {
        let strange = || {
            Failure::new(format!("{} is no signature of the attesting key", path.display()))
                .next("let the module sign the file proof.message, with the hash of its curve")
        };
        let algorithm = JoseAlgorithm::of_key(key).ok_or_else(strange)?;
        let signature = jose_signature(algorithm, &files::read_small(path)?).ok_or_else(strange)?;
        return Ok(Some(Proof::Signature { algorithm, signature }));
    }
    if let Some(path) = &given.evidence {
        return Ok(Some(Proof::Evidence(files::read_small(path)?)));
    }
    if let (Some(attest), Some(signature)) = (&given.attest, &given.tpm_signature) {
        return Ok(Some(Proof::TpmAttest {
            attest: files::read_small(attest)?,
            signature: files::read_small(signature)?,
        }));
    }
    let (message_file, nonce_file) = (folder.file("proof.message"), folder.file("proof.nonce"));
    files::write(&message_file, &message)?;
    files::write(&nonce_file, &proof_nonce(&previous, key))?;
    let next = match family {
        AkFamily::PkixEvidence => format!(
            "let the attesting key sign {} and give the signature by --signature, or give Evidence with the nonce in {} \
             by --evidence",
            message_file.display(),
            nonce_file.display()
        ),
        AkFamily::Tpm => format!(
            "let the TPM quote with {} as qualifying data, and give both parts by --attest and --tpm-signature",
            nonce_file.display()
        ),
    };
    console::out(&format!("  nothing is recorded yet\n\nnext: {next}\n"))?;
    Ok(None)
}
