//! A TPM that answers questions of the forge: a software TPM with the state of a recorded device.
//!
//! Commands are marshaled here and authorized by empty passwords, so that what is asked and answered can be recorded as
//! it is; the agent's own client hides all this in sessions and refuses what is hostile.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use vouchsafe_agent::swtpm::{Options, Swtpm};
use vouchsafe_agent::tpm::{Connection, Transport};
use vouchsafe_evidence::pem;
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::tpm::{HashAlg, alg};
use vouchsafe_verifier::hex;

use super::recording::Recording;

/// Name of the file with a TPM's non-volatile state, in swtpm's folder.
const STATE: &str = "tpm2-00.permall";
/// Registers that are extended before anything is recorded, each with the hash of its own number.
const EXTENDED: [u8; 3] = [0, 2, 7];
const RESPONSE_OCTETS: usize = 4096;

/// TPM_RH of a hierarchy.
pub fn hierarchy(name: &str) -> Result<u32> {
    Ok(match name {
        "endorsement" => 0x4000_000B,
        "null" => 0x4000_0007,
        "owner" => 0x4000_0001,
        other => bail!("{other} is no hierarchy"),
    })
}

/// A running TPM.
pub struct LiveTpm {
    connection: Connection,
    // Ends when dropped, after the connection.
    _swtpm: Swtpm,
    _folder: tempfile::TempDir,
}

/// A command: its code, its handles, how many of them are authorized, and its parameters.
pub struct TpmCommand<'a> {
    pub code: u32,
    pub handles: &'a [u32],
    pub authorized: usize,
    pub parameters: Vec<u8>,
    pub returns_handle: bool,
}

impl LiveTpm {
    /// Starts the TPM whose state is in `state`, or sets up a new one and leaves its state there.
    pub fn start(state: &Path, recording: &mut Recording, date: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let kept = folder.path().join("state");
        let is_new = !state.exists();
        if !is_new {
            fs::create_dir(&kept)?;
            fs::copy(state, kept.join(STATE))?;
        }
        let options = Options { pcr_banks: "sha1,sha256,sha384".to_owned(), ..Options::default() };
        if is_new {
            // Set up, stop, keep the state as it is before the first command.
            let mut swtpm = Swtpm::start_in(folder.path(), &options)?;
            swtpm.stop();
            fs::copy(kept.join(STATE), state).with_context(|| state.display().to_string())?;
            *recording = new_recording(&swtpm, date)?;
        }
        let swtpm = Swtpm::start_in(folder.path(), &options)?;
        let mut connection = Connection::new(swtpm.address());
        connection.open()?;
        let mut tpm = Self { connection, _swtpm: swtpm, _folder: folder };
        for index in EXTENDED {
            tpm.extend(index)?;
        }
        Ok(tpm)
    }

    /// Sends a command; gives the handle, if it returns one, and the response's parameters.
    pub fn execute(&mut self, command: &TpmCommand<'_>) -> Result<(Option<u32>, Vec<u8>)> {
        for _ in 0..50 {
            let response = self.connection.exchange(&frame(command)?)?;
            let mut r = Reader::new(&response, "response");
            let (tag, _, code) = (r.u16()?, r.u32()?, r.u32()?);
            match code {
                0 => {
                    let handle = if command.returns_handle { Some(r.u32()?) } else { None };
                    let parameters = if tag == SESSIONS {
                        let size = usize::try_from(r.u32()?)?;
                        r.take(size)?
                    } else {
                        r.rest()
                    };
                    return Ok((handle, parameters.to_vec()));
                }
                0x922 | 0x90A | 0x908 => std::thread::sleep(std::time::Duration::from_millis(20)),
                other => bail!("command {:#x} was refused with {other:#x}", command.code),
            }
        }
        bail!("command {:#x} is never answered", command.code)
    }

    pub fn flush(&mut self, handle: u32) -> Result<()> {
        let parameters = handle.to_be_bytes().to_vec();
        let flush = TpmCommand { code: 0x165, handles: &[], authorized: 0, parameters, returns_handle: false };
        self.execute(&flush).map(drop)
    }

    /// TPM2_Hash, or a sequence of commands for what does not fit: TPM2B digest and the ticket.
    pub fn hash(&mut self, hash: HashAlg, message: &[u8]) -> Result<Vec<u8>> {
        let bare = |code, handles, authorized, parameters| TpmCommand {
            code,
            handles,
            authorized,
            parameters,
            returns_handle: code == HASH_SEQUENCE_START,
        };
        let owner = hierarchy("owner")?;
        let mut w = Writer::new();
        if message.len() <= BUFFER_OCTETS {
            w.tpm2b(message).u16(hash.id()).u32(owner);
            return self.execute(&bare(0x17D, &[], 0, w.into_bytes())).map(|(_, answer)| answer);
        }
        w.tpm2b(&[]).u16(hash.id());
        let (handle, _) = self.execute(&bare(HASH_SEQUENCE_START, &[], 0, w.into_bytes()))?;
        let handles = [handle.context("no handle")?];
        let last = (message.len().saturating_sub(1)) / BUFFER_OCTETS;
        for (number, piece) in message.chunks(BUFFER_OCTETS).enumerate() {
            let mut w = Writer::new();
            w.tpm2b(piece);
            if number < last {
                self.execute(&bare(0x15C, &handles, 1, w.into_bytes()))?;
            } else {
                w.u32(owner);
                return self.execute(&bare(0x13E, &handles, 1, w.into_bytes())).map(|(_, answer)| answer);
            }
        }
        bail!("nothing was hashed")
    }

    fn extend(&mut self, index: u8) -> Result<()> {
        let mut w = Writer::new();
        w.u32(1).u16(alg::SHA256).bytes(&HashAlg::Sha256.digest(&[&[index]]));
        let parameters = w.into_bytes();
        let handles = [u32::from(index)];
        let extend = TpmCommand { code: 0x182, handles: &handles, authorized: 1, parameters, returns_handle: false };
        self.execute(&extend).map(drop)
    }
}

/// Octets of one TPM2B_MAX_BUFFER.
const BUFFER_OCTETS: usize = 1024;
const HASH_SEQUENCE_START: u32 = 0x186;
/// TPM_ST_SESSIONS and TPM_ST_NO_SESSIONS.
const SESSIONS: u16 = 0x8002;
const NO_SESSIONS: u16 = 0x8001;
/// TPM_RS_PW.
const PASSWORD: u32 = 0x4000_0009;

fn frame(command: &TpmCommand<'_>) -> Result<Vec<u8>> {
    let mut body = Writer::new();
    for handle in command.handles {
        body.u32(*handle);
    }
    if command.authorized > 0 {
        let mut auths = Writer::new();
        for _ in 0..command.authorized {
            auths.u32(PASSWORD).tpm2b(&[]).u8(0).tpm2b(&[]);
        }
        let auths = auths.into_bytes();
        body.u32(u32::try_from(auths.len())?).bytes(&auths);
    }
    let body = [body.into_bytes(), command.parameters.clone()].concat();
    let size = body.len().saturating_add(10);
    if size > RESPONSE_OCTETS {
        bail!("the command is too long");
    }
    let mut w = Writer::new();
    w.u16(if command.authorized > 0 { SESSIONS } else { NO_SESSIONS }).u32(u32::try_from(size)?).u32(command.code);
    w.bytes(&body);
    Ok(w.into_bytes())
}

fn new_recording(swtpm: &Swtpm, date: &str) -> Result<Recording> {
    let mut recording = Recording::default();
    let mut note = |name: &str, text: &str| recording.provenance.insert(name.to_owned(), text.to_owned());
    note("recorded", date);
    note("swtpm", &output("swtpm", &["--version"])?);
    note("libtpms", &output("dpkg-query", &["-W", "-f", "${Version}", "libtpms0"])?);
    note("pcr_banks", "sha1, sha256, sha384; PCRs 0, 2 and 7 of the sha256 bank are extended once");
    for (name, file) in [("ek-rsa2048", "ek-rsa2048.crt"), ("ek-p384", "ek-secp384r1.crt")] {
        let path = swtpm.certificates_folder().join(file);
        let octets = fs::read(&path).with_context(|| path.display().to_string())?;
        recording.certificates.insert(name.to_owned(), octets);
    }
    for (name, path) in [("ek-root", swtpm.root_certificate()), ("ek-issuer", swtpm.issuer_certificate())] {
        let blocks = pem::read(&fs::read(path)?)?;
        let block = blocks.into_iter().find(|block| block.kind() == pem::Kind::Certificate);
        recording.certificates.insert(name.to_owned(), block.context("no certificate")?.contents().to_vec());
    }
    Ok(recording)
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().next().unwrap_or_default().split(',').next().unwrap_or_default().to_owned())
}

/// Octets in short, for messages.
pub fn excerpt(octets: &[u8]) -> String {
    let text = hex::encode(octets);
    text.char_indices().nth(60).map_or_else(|| text.clone(), |(end, _)| format!("{}..", text.get(..end).unwrap_or("")))
}
