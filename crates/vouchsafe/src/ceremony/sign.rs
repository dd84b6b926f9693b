//! `vouchsafe ceremony sign` and `finish`: the witnesses' part.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use vouchsafe_evidence::ceremony::{JoseAlgorithm, NamedKey, SignedTranscript, WitnessSignature, thumbprint};
use vouchsafe_evidence::text::printable;
use vouchsafe_verifier::ceremony::{self, Witnessed, Witnesses, codes};
use vouchsafe_verifier::{Rejection, hex};

use super::Stop;
use super::folder::{Folder, RECORD, read_record};
use super::signer::Signer;
use super::{page, story, verify};
use crate::console::{self, Tone, paint};
use crate::failure::Failure;
use crate::{files, verify as clock};

/// Octets of a typed name.
const NAME_OCTETS: u64 = 1024;

/// Sign the record as one of its witnesses
///
/// Shows what is signed first. Nothing can be signed before the last step is done.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The ceremony's folder, or a copy of the file ceremony.json in it
    target: PathBuf,
    #[command(flatten)]
    signer: Signer,
    /// Where the signed record goes, in place of where it came from
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Sign without asking for your name
    #[arg(long)]
    yes: bool,
}

/// Put the signatures together, once there are enough
///
/// Writes the file that `verify` reads, and a page to print.
#[derive(Debug, Args)]
pub struct FinishArguments {
    /// The ceremony's folder, or its signed record
    target: PathBuf,
    /// Copies of the record that were signed elsewhere
    more: Vec<PathBuf>,
    /// Where the file goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where the page goes; beside the file, if it is not said
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

/// Signs.
pub fn run(arguments: &Arguments) -> Result<(), Stop> {
    let place = Place::of(&arguments.target);
    let _lock = place.folder.as_ref().map(Folder::lock).transpose()?;
    let file = place.read()?;
    check_finished(&place, &file)?;
    let (witness, ready) = arguments.signer.open(&file)?;
    let key_id = thumbprint(&witness.key).ok_or_else(|| Rejection::plain(codes::WITNESS_KEY))?;
    if file.signatures().iter().any(|signature| signature.key_id == key_id) {
        let message = format!("{} has signed this record already, and counts once.", witness.name);
        return Err(Rejection::new(codes::WITNESS_TWICE, message).into());
    }
    console::out(&story::text(file.transcript(), &signers(&file)))?;
    console::out(&format!("\nRecord SHA-256: {}\n", hex::encode(&file.transcript_sha256())))?;
    if !arguments.yes {
        confirm(&witness.name)?;
    }
    let algorithm = JoseAlgorithm::of_key(&witness.key).ok_or_else(|| Rejection::plain(codes::WITNESS_KEY))?;
    let signature = ready.sign(algorithm, &file.signing_input(algorithm, &key_id))?;
    let signature = WitnessSignature { algorithm, key_id, signature }.in_one_form();
    // A token's key could be another one than its label says: what does not verify is not put into the record.
    ceremony::check_witness(&file, &signature, &witness)?;
    let name = printable(&witness.name);
    let signed = file.with_signature(signature);
    let out = arguments.out.clone().unwrap_or_else(|| place.file.clone());
    files::write(&out, signed.to_json().as_bytes())?;
    let (have, want) = (signed.signatures().len(), signed.transcript().head.threshold);
    console::out(&format!(
        "\n{} as {name}: {have} of {want} signatures are in {}\n",
        paint("Signed", Tone::Good),
        out.display()
    ))?;
    Ok(())
}

/// Finishes.
pub fn finish(arguments: &FinishArguments) -> Result<(), Stop> {
    let place = Place::of(&arguments.target);
    let mut file = place.read()?;
    check_finished(&place, &file)?;
    for path in &arguments.more {
        let other = ceremony::read(&read_record(path)?)?;
        if other.transcript() != file.transcript() {
            return Err(Failure::new(format!("{} is the record of another ceremony", path.display()))
                .next("name copies of this ceremony's record alone")
                .into());
        }
        for signature in other.signatures() {
            // Signed twice, in two copies: once is enough.
            if !file.signatures().iter().any(|known| known.key_id == signature.key_id) {
                file = file.with_signature(signature.clone());
            }
        }
    }
    let file = file.in_one_form();
    let head = &file.transcript().head;
    let threshold = usize::try_from(head.threshold).unwrap_or(usize::MAX);
    let witnesses = Witnesses::new(head.witnesses.clone(), threshold)?;
    let json = file.to_json();
    let witnessed: Witnessed = ceremony::verify(json.as_bytes(), &witnesses, clock::now()?)?;
    let page = arguments.page.clone().unwrap_or_else(|| arguments.out.with_extension("html"));
    files::write(&arguments.out, json.as_bytes())?;
    files::write(&page, page::html(&witnessed).as_bytes())?;
    console::out(&format!(
        "{} by {}\n{}\nSHA-256 {}\nto print: {}\n",
        paint("Witnessed", Tone::Good),
        printable(&witnessed.witnesses().join(", ")),
        arguments.out.display(),
        hex::encode(witnessed.sha256()),
        page.display(),
    ))?;
    Ok(())
}

/// Where a record is: in a ceremony's folder, or by itself.
struct Place {
    folder: Option<Folder>,
    file: PathBuf,
}

impl Place {
    fn of(target: &Path) -> Self {
        if target.is_dir() {
            let folder = Folder::open(target);
            let file = folder.file(RECORD);
            Self { folder: Some(folder), file }
        } else {
            Self { folder: None, file: target.to_owned() }
        }
    }

    /// The record; of a ceremony that goes on what it has so far, which is refused for that.
    fn read(&self) -> Result<SignedTranscript, Stop> {
        match &self.folder {
            Some(folder) if !folder.has_ended() => Ok(SignedTranscript::unsigned(folder.draft()?)),
            Some(_) | None => Ok(ceremony::read(&read_record(&self.file)?)?),
        }
    }
}

/// The script was followed to its end, and what was attached is still what it was.
fn check_finished(place: &Place, file: &SignedTranscript) -> Result<(), Stop> {
    ceremony::check_transcript(file.transcript(), clock::now()?)?;
    if let Some(folder) = &place.folder {
        let missing = verify::check_attachments(file.transcript(), &folder.attachments())?;
        if let Some(name) = missing.first() {
            return Err(Rejection::new(codes::ATTACHMENT, format!("The file {name} that was attached is gone.")).into());
        }
    }
    Ok(())
}

/// The names of those whose keys are said to have signed.
pub fn signers(file: &SignedTranscript) -> Vec<String> {
    let signed = |witness: &&NamedKey| {
        thumbprint(&witness.key).is_some_and(|id| file.signatures().iter().any(|signature| signature.key_id == id))
    };
    file.transcript().head.witnesses.iter().filter(signed).map(|witness| witness.name.clone()).collect()
}

fn confirm(name: &str) -> Result<(), Failure> {
    console::out(&format!("\nIf this is what you saw, type your name, {}: ", printable(name)))?;
    let mut typed = String::new();
    std::io::stdin()
        .lock()
        .take(NAME_OCTETS)
        .read_line(&mut typed)
        .map_err(|error| Failure::new("what was typed cannot be read").because(error).next("type your name"))?;
    if typed.trim() == name {
        return Ok(());
    }
    Err(Failure::new("nothing was signed").because("another name was typed").next("run it again, or add --yes"))
}
