//! Filing anchors under their format, with where they come from.

use std::path::{Path, PathBuf};

use clap::Args;
use vouchsafe_evidence::pem;
use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::{CertView, SpkiView};
use vouchsafe_verifier::{TrustStore, hex};

use super::Folder;
use super::catalog::{self, Match};
use crate::cli::Answer;
use crate::failure::Failure;
use crate::{console, files, verify};

/// Octets of the longest name of a file.
const NAME_OCTETS: usize = 64;

/// File anchors under the format that they are for
///
/// Says of each whether it is what its maker publishes. A root that is known
/// to be for another format, or never to be trusted, is refused.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Certificates or public keys, PEM or DER
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The format of evidence that they are trusted for
    #[arg(long, value_name = "ID")]
    format: String,
    #[command(flatten)]
    folder: Folder,
    /// Where they were obtained
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,
    /// Who vouches for them
    #[arg(long, value_name = "TEXT")]
    vouched_by: Option<String>,
    /// File them as helpers, which are never trusted by themselves
    #[arg(long)]
    intermediate: bool,
    /// Mark them as roots of modules in software (swtpm, vTPM)
    #[arg(long = "virtual", conflicts_with = "intermediate")]
    is_virtual: bool,
}

/// What is imported.
struct Item {
    file: String,
    certificate: Option<CertView>,
    key: SpkiView,
}

impl Item {
    fn subject(&self) -> String {
        self.certificate.as_ref().map_or_else(|| "a bare public key".to_owned(), |c| c.subject().to_display())
    }

    fn pem(&self) -> String {
        match &self.certificate {
            Some(certificate) => pem::encode("CERTIFICATE", certificate.as_der()),
            None => pem::encode("PUBLIC KEY", self.key.as_der()),
        }
    }

    fn sha256(&self) -> String {
        let der = self.certificate.as_ref().map_or_else(|| self.key.as_der(), CertView::as_der);
        hex::encode(&HashAlg::Sha256.digest(&[der]))
    }

    /// A file name that tells it from others: its common name, and the beginning of its fingerprint.
    fn name(&self) -> String {
        let subject = self.subject();
        let common = subject.split_once("CN=").map_or(subject.as_str(), |(_, rest)| rest);
        let common = common.split([',', '+']).next().unwrap_or_default();
        let words: String =
            common.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
        let mut name = words.join("-");
        name.truncate(NAME_OCTETS);
        format!("{name}-{}", self.sha256().chars().take(8).collect::<String>())
    }
}

/// Imports, or says why not; nothing is written unless everything can be.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let format = FormatId::from_id(&arguments.format).ok_or_else(|| unknown_format(&arguments.format))?;
    let mut items = Vec::new();
    for path in &arguments.files {
        items.extend(read(path)?);
    }
    let mut marks = Vec::new();
    for item in &items {
        match judge(item, format, arguments)? {
            Ok(mark) => marks.push(mark),
            Err(refusal) => {
                console::err(&refusal);
                return Ok(Answer::No);
            }
        }
    }
    let mut folder = arguments.folder.trust.join(format.id());
    if arguments.intermediate {
        folder = folder.join("intermediates");
    }
    std::fs::create_dir_all(&folder)
        .map_err(|error| Failure::new(format!("{} cannot be made", folder.display())).because(error))?;
    for (item, mark) in items.iter().zip(marks) {
        let path = folder.join(format!("{}.pem", item.name()));
        files::write(&path, item.pem().as_bytes())?;
        if !arguments.intermediate {
            files::write(&path.with_extension("toml"), mark.as_bytes())?;
        }
        console::out(&format!("  filed as {}\n", path.display()))?;
    }
    Ok(Answer::Yes)
}

fn unknown_format(id: &str) -> Failure {
    let known: Vec<&str> = FormatId::all().map(FormatId::id).collect();
    Failure::new(format!("{id:?} is no format of evidence")).next(format!("name one of {}", known.join(", ")))
}

/// The anchors in a file: PEM blocks or one DER.
fn read(path: &Path) -> Result<Vec<Item>, Failure> {
    let contents = files::read_small(path)?;
    let name = path.display().to_string();
    let broken = |why: String| {
        Failure::new(format!("{name} holds no certificate and no public key that can be read"))
            .because(why)
            .next("give it as PEM or DER; what a maker ships as an archive must be unpacked first")
    };
    let item = |certificate: Option<CertView>, key: SpkiView| Item { file: name.clone(), certificate, key };
    let read_der = |der: &[u8]| match CertView::parse(der) {
        Ok(certificate) => Ok(item(Some(certificate.clone()), certificate.spki().clone())),
        Err(malformed) => SpkiView::parse(der).map(|key| item(None, key)).map_err(|_| broken(malformed.to_string())),
    };
    if pem::is_pem(&contents) {
        let blocks = pem::read(&contents).map_err(|malformed| broken(malformed.to_string()))?;
        return blocks.iter().map(|block| read_der(block.contents())).collect();
    }
    read_der(&contents).map(|item| vec![item])
}

/// What to write beside the anchor; or why it is refused, for people.
fn judge(item: &Item, format: FormatId, arguments: &Arguments) -> Result<Result<String, String>, Failure> {
    let subject = printable(&item.subject());
    console::out(&format!("{subject}\n  from {}\n  SHA-256 {}\n", printable(&item.file), item.sha256()))?;
    let known = catalog::find(item.certificate.as_ref(), &item.key)?;
    let mut is_virtual = arguments.is_virtual;
    match known {
        Some((root, _)) if root.never.is_some() => {
            let why = root.never.unwrap_or_default();
            return Ok(Err(format!("refused: {} is never to be trusted. {why}\n", root.name)));
        }
        Some((root, _)) if !root.formats.iter().any(|known| known == format.id()) => {
            return Ok(Err(format!(
                "refused: {} of {} is a root for {}, not for {}.\nnext: import it with --format {}\n",
                root.name,
                root.maker,
                root.formats.join(" and "),
                format.id(),
                root.formats.first().map_or("", String::as_str)
            )));
        }
        Some((root, how)) => {
            is_virtual |= root.is_virtual;
            let by = match how {
                Match::Certificate => "the certificate that",
                Match::Key => "another certificate of the key that",
            };
            console::out(&format!("  is {by} {} publishes as {:?} ({})\n", root.maker, root.name, root.published))?;
        }
        None => console::out("  is not among the published roots that are known here: it rests on your word\n")?,
    }
    if arguments.intermediate {
        return Ok(Ok(String::new()));
    }
    let mark = mark(item, arguments, is_virtual)?;
    // What was written must be what can be read.
    let file = (format!("{}/{}.pem", format.id(), item.name()), item.pem().into_bytes());
    let beside = (format!("{}/{}.toml", format.id(), item.name()), mark.clone().into_bytes());
    TrustStore::from_files([file, beside])
        .map_err(|error| Failure::new(format!("{} can be no anchor", item.file)).because(error))?;
    Ok(Ok(mark))
}

/// NAME.toml: provenance and marks.
fn mark(item: &Item, arguments: &Arguments, is_virtual: bool) -> Result<String, Failure> {
    let today = verify::now()?.to_string();
    let date = today.split('T').next().unwrap_or_default();
    let mut table = toml::Table::new();
    if is_virtual {
        table.insert("virtual".to_owned(), true.into());
    }
    if let Some(source) = &arguments.source {
        table.insert("source".to_owned(), source.clone().into());
    }
    if let Some(who) = &arguments.vouched_by {
        table.insert("vouched_by".to_owned(), who.clone().into());
    }
    table.insert("date".to_owned(), date.to_owned().into());
    table.insert("sha256".to_owned(), item.sha256().into());
    toml::to_string(&table).map_err(|error| Failure::new("the mark cannot be written").because(error))
}
