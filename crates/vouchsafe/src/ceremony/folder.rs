//! The folder in which a ceremony goes on.

use std::fs::File;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use clap::Args;
use rustix::fs::{FlockOperation, flock};
use vouchsafe_evidence::ceremony::{DIGEST_OCTETS, FILE_OCTETS, SignedTranscript, Time, Transcript};
use vouchsafe_verifier::{Instant, ceremony};

use super::Stop;
use crate::failure::Failure;
use crate::{files, verify};

/// What is recorded while steps are still to do.
const DRAFT: &str = "draft.json";
/// What witnesses sign, once the last step is done.
pub const RECORD: &str = "ceremony.json";
/// Copies of what was attached.
const ATTACHMENTS: &str = "attachments";
/// Octets of the message before the ceremony's identifier, so that the machine's identifier is used for nothing else.
const HOST_CONTEXT: &[u8] = b"vouchsafe ceremony host\0";
/// Letters of a machine's identifier (machine-id(5)).
const MACHINE_ID_LETTERS: usize = 32;

/// Which machine this is.
#[derive(Debug, Args)]
pub struct Machine {
    /// The file that holds this machine's identifier, 32 hexadecimal digits. Only a digest of it, of this ceremony alone, is
    /// recorded.
    #[arg(long, value_name = "FILE", default_value = "/etc/machine-id")]
    machine_id: PathBuf,
}

impl Machine {
    /// What the record says of this machine: HMAC-SHA256 of the ceremony's identifier under the machine's.
    ///
    /// # Errors
    /// [`Failure`] if the machine has no identifier.
    pub fn host(&self, ceremony: &[u8; DIGEST_OCTETS]) -> Result<[u8; DIGEST_OCTETS], Failure> {
        let text = files::read_small_text(&self.machine_id)?;
        let id = text.trim();
        if id.len() != MACHINE_ID_LETTERS || !id.bytes().all(|letter| letter.is_ascii_hexdigit()) {
            return Err(Failure::new(format!("{} holds no machine identifier", self.machine_id.display()))
                .because(format!("{MACHINE_ID_LETTERS} hexadecimal digits are wanted"))
                .next("`systemd-machine-id-setup` makes one; or name another file by --machine-id"));
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, id.to_ascii_lowercase().as_bytes());
        let tag = hmac::sign(&key, &[HOST_CONTEXT, ceremony].concat());
        let mut host = [0; DIGEST_OCTETS];
        host.copy_from_slice(tag.as_ref());
        Ok(host)
    }
}

/// A ceremony's folder.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder of a new ceremony.
    ///
    /// # Errors
    /// [`Failure`] if there is something of this name, or it cannot be made.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(format!("{} cannot be made", path.display()))
                .because(error)
                .next("name a folder that does not exist yet by --work; a ceremony is never begun over another")
        };
        std::fs::create_dir(path).map_err(failed)?;
        std::fs::create_dir(path.join(ATTACHMENTS)).map_err(failed)?;
        Ok(Self { path: path.to_owned() })
    }

    /// The folder of a ceremony that was started.
    pub fn open(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where copies of what was attached are.
    pub fn attachments(&self) -> PathBuf {
        self.path.join(ATTACHMENTS)
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Keeps others from recording or signing in this folder until it is dropped.
    ///
    /// # Errors
    /// [`Failure`] if somebody else does, or there is no such folder.
    pub fn lock(&self) -> Result<File, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(format!("{} holds no ceremony", self.path.display()))
                .because(error)
                .next("`vouchsafe ceremony start SCRIPT --work DIR` begins one")
        };
        let folder = File::open(&self.path).map_err(failed)?;
        flock(&folder, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            Failure::new(format!("somebody else records or signs in {}", self.path.display()))
                .because(error)
                .next("wait until they are done: what is recorded at once would be lost")
        })?;
        Ok(folder)
    }

    /// Whether the last step is done.
    pub fn has_ended(&self) -> bool {
        self.file(RECORD).exists()
    }

    /// What is recorded so far.
    ///
    /// # Errors
    /// A refusal if it cannot be read or does not follow its script, a failure if it is not there.
    pub fn draft(&self) -> Result<Transcript, Stop> {
        let path = self.file(DRAFT);
        if !path.exists() {
            return Err(Failure::new(format!("{} holds no ceremony", self.path.display()))
                .next("`vouchsafe ceremony start SCRIPT --work DIR` begins one")
                .into());
        }
        let transcript = Transcript::parse(&read_record(&path)?).map_err(ceremony::unreadable)?;
        ceremony::check_so_far(&transcript)?;
        Ok(transcript)
    }

    /// Keeps what is recorded so far, and with the last step what witnesses sign.
    ///
    /// # Errors
    /// A refusal, before anything is written, if it does not follow the script.
    pub fn keep(&self, transcript: &Transcript) -> Result<(), Stop> {
        let json = transcript.to_json();
        // What is kept must be readable again: bounds are checked here too.
        Transcript::parse(json.as_bytes()).map_err(ceremony::unreadable)?;
        ceremony::check_so_far(transcript)?;
        files::write(&self.file(DRAFT), json.as_bytes())?;
        if transcript.ended.is_some() {
            let unsigned = SignedTranscript::unsigned(transcript.clone());
            files::write(&self.file(RECORD), unsigned.to_json().as_bytes())?;
        }
        Ok(())
    }
}

/// The octets of a record, one more than is read where there are more.
///
/// # Errors
/// [`Failure`] if they cannot be read.
pub fn read_record(path: &Path) -> Result<Vec<u8>, Failure> {
    files::Opened::open(path)?.read(u64::try_from(FILE_OCTETS).unwrap_or(u64::MAX))
}

/// The time now, as a record has it.
///
/// # Errors
/// [`Failure`] if the clock cannot be used.
pub fn now() -> Result<Time, Failure> {
    time(verify::now()?)
}

fn time(instant: Instant) -> Result<Time, Failure> {
    Time::parse(&instant.to_string())
        .map_err(|error| Failure::new("the clock of this machine cannot be used").because(error).next("set it"))
}
