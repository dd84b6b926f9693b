//! `vouchsafe verify`: evidence in, verdict out (CONTRACT, "vouchsafe verify").

mod ear;
mod graph;
pub mod report;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use vouchsafe_evidence::input::{Form, InputError, InputFile, Submission};
use vouchsafe_evidence::limits::INPUT_OCTETS;
use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::x509::SpkiView;
use vouchsafe_verifier::advisory::Advisories;
use vouchsafe_verifier::ear::{Audience, Frame};
use vouchsafe_verifier::{Instant, Nonce, Policy, Request, TrustStore, Verdict, hex, verify};

use crate::cli::Answer;
use crate::failure::Failure;
use crate::files::{Opened, read_small};
use crate::{console, counter_signature, trust_folder};

/// Verify that a key lives in hardware, and what the platform around it says.
///
/// FILE is a certification request (PEM or DER), a certificate that carries a published key statement, or bare
/// evidence whose parts may be several files in any order: they are told apart by their content.
///
/// The answer is the exit code: 0 accepted, 1 rejected (malformed input included, always with a reason), 2 usage,
/// an unreadable file, a broken trust folder or policy.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The evidence.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The trust folder: DIR/<format id>/*.pem are the anchors of that format.
    #[arg(long, value_name = "DIR")]
    trust: PathBuf,
    /// The appraisal policy: the name of one that comes with the program, or a TOML file.
    #[arg(long, value_name = "NAME|FILE", default_value = "default")]
    policy: String,
    /// The nonce that every statement must answer, 16 to 64 octets.
    #[arg(long, value_name = "HEX")]
    nonce: Option<String>,
    /// The PKIX Evidence that every statement must counter-sign: its digest is the nonce.
    #[arg(long, value_name = "FILE", conflicts_with = "nonce")]
    counter_signs: Option<PathBuf>,
    /// The device that the evidence must come from, as `device.id` of an earlier verdict.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// The time to judge for; now, if it is not given.
    #[arg(long, value_name = "RFC3339")]
    at: Option<String>,
    /// The key that must be attested: a PEM public key, a certificate or a request.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The format of bare evidence, where its content does not tell.
    #[arg(long, value_name = "ID")]
    format: Option<String>,
    /// The client data of a WebAuthn registration, as the browser handed it out; evidence of webauthn-tpm is checked
    /// against it.
    #[arg(long, value_name = "FILE")]
    client_data: Option<PathBuf>,
    /// A list of certified modules, CSV or TOML, for policies that ask for a certification; may be given several times.
    #[arg(long, value_name = "FILE")]
    modules: Vec<PathBuf>,
    /// Known flaws of modules, instead of those that come with the program.
    #[arg(long, value_name = "FILE")]
    advisories: Option<PathBuf>,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
    /// Besides, an attestation result for whoever relies on it: `ear`, a signed EAT Attestation Result (JWT). Without
    /// --result-file it takes the place of the report.
    #[arg(long, value_name = "FORM", requires = "result_key")]
    result: Option<ResultForm>,
    /// The key that signs the attestation result: PKCS #8 in PEM, P-256, P-384 or Ed25519.
    #[arg(long, value_name = "FILE", requires = "result")]
    result_key: Option<PathBuf>,
    /// Where the attestation result is written; `-` is standard output.
    #[arg(long, value_name = "FILE", requires = "result")]
    result_file: Option<PathBuf>,
}

/// A form of attestation results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ResultForm {
    /// An EAT Attestation Result as a JWT (draft-ietf-rats-ear).
    Ear,
}

const EXAMPLES: &str = "\
Examples:
  vouchsafe verify request.pem --trust trust/
  vouchsafe verify request.pem --trust trust/ \\
      --nonce 00112233445566778899aabbccddeeff
  vouchsafe verify key.attest key.sig key.public ak.crt --trust trust/ --json
  vouchsafe verify request.pem --trust trust/ --policy strict.toml \\
      --at 2026-12-01T00:00:00Z --device ak:9f86d081884c7d65...";

/// Verifies and reports.
///
/// # Errors
/// [`Failure`] for everything that is exit code 2.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let question = Question::from_arguments(arguments)?;
    let signer = arguments.result_key.as_deref().map(ear::Signer::read).transpose()?;
    let (verdict, of) = question.answer()?;
    let printed = match (arguments.result, &signer) {
        (Some(ResultForm::Ear), Some(signer)) => {
            let frame = Frame {
                nonce: question.nonce.as_ref().map(Nonce::as_bytes),
                issued_at: now()?,
                expires_at: None,
                audience: Audience::Owner,
                records: &[],
            };
            signer.write(&verdict.to_ear(&frame), arguments.result_file.as_deref())?
        }
        (Some(ResultForm::Ear), None) | (None, _) => false,
    };
    if printed {
        return Ok(if verdict.is_accepted() { Answer::Yes } else { Answer::No });
    }
    let text = if arguments.json {
        let json = serde_json::to_string_pretty(&verdict.to_json())
            .map_err(|error| Failure::new("the verdict cannot be written as JSON").because(error))?;
        json + "\n"
    } else {
        report::text(&verdict, of, question.nonce.is_some())
    };
    console::out(&text)?;
    Ok(if verdict.is_accepted() { Answer::Yes } else { Answer::No })
}

/// What the evidence came in, as far as a verdict means something else for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    /// Evidence as it is, or a request that holds it.
    Evidence,
    /// A certificate that publishes it, of which the key alone is judged.
    Certificate,
}

/// The arguments, read and checked.
struct Question {
    files: Vec<Opened>,
    trust: TrustStore,
    policy: Policy,
    nonce: Option<Nonce>,
    device: Option<String>,
    at: Instant,
    key: Option<SpkiView>,
    format: Option<FormatId>,
    advisories: Option<Advisories>,
    client_data: Option<Opened>,
}

impl Question {
    fn from_arguments(arguments: &Arguments) -> Result<Self, Failure> {
        Ok(Self {
            format: arguments.format.as_deref().map(format).transpose()?,
            nonce: match &arguments.counter_signs {
                Some(path) => Some(digest_as_nonce(path)?),
                None => arguments.nonce.as_deref().map(nonce).transpose()?,
            },
            at: arguments.at.as_deref().map_or_else(now, instant)?,
            policy: crate::policy::load::policy(&arguments.policy, &arguments.modules)?,
            advisories: arguments.advisories.as_deref().map(crate::policy::load::advisories).transpose()?,
            trust: trust_folder::read(&arguments.trust)?,
            key: arguments.key.as_deref().map(key).transpose()?,
            device: arguments.device.clone(),
            client_data: arguments.client_data.as_deref().map(Opened::open).transpose()?,
            files: arguments.files.iter().map(|path| Opened::open(path)).collect::<Result<_, _>>()?,
        })
    }

    fn answer(&self) -> Result<(Verdict, Judged), Failure> {
        let submission = match self.submission()? {
            Ok(submission) => submission,
            Err(InputError::FormatWithCsr) => {
                return Err(Failure::new("--format cannot be used with a certification request")
                    .because("its bundle names the format of each statement")
                    .next("leave --format out"));
            }
            Err(InputError::ClientDataUnused) => {
                return Err(Failure::new("--client-data belongs to no evidence that is here")
                    .next("leave it out; webauthn-tpm alone is checked against client data"));
            }
            Err(error) => return Ok((Verdict::on_unusable_input(&error, &self.policy, self.at), Judged::Evidence)),
        };
        let mut request = Request::new(&submission, &self.trust, &self.policy, self.at);
        if let Some(advisories) = &self.advisories {
            request = request.advisories(advisories);
        }
        if let Some(nonce) = &self.nonce {
            request = request.nonce(nonce);
        }
        if let Some(key) = &self.key {
            request = request.expected_key(key);
        }
        if let Some(device) = &self.device {
            request = request.expected_device(device);
        }
        let of = match submission.form() {
            Form::PublishedCertificate(_) => Judged::Certificate,
            Form::Csr(_) | Form::Crmf(_) | Form::EndorsementKey(_) | Form::Evidence => Judged::Evidence,
        };
        Ok((verify(&request), of))
    }

    /// Reads the input, and of input that is too large no more than shows it.
    fn submission(&self) -> Result<Result<Submission, InputError>, Failure> {
        let mut contents = Vec::new();
        let mut octets = 0_usize;
        for file in self.files.iter().chain(&self.client_data) {
            let left = u64::try_from(INPUT_OCTETS.saturating_sub(octets)).unwrap_or(0);
            let bytes = file.read(left)?;
            octets = octets.saturating_add(bytes.len());
            if octets > INPUT_OCTETS {
                return Ok(Err(InputError::OverLimit { what: "input octets", limit: INPUT_OCTETS }));
            }
            contents.push(bytes);
        }
        let files: Vec<InputFile<'_>> =
            self.files.iter().zip(&contents).map(|(file, bytes)| InputFile { name: file.name(), bytes }).collect();
        // The client data was read last, and is none of the files.
        let client_data = self.client_data.as_ref().and_then(|_| contents.last()).map(Vec::as_slice);
        Ok(Submission::recognize_with_client_data(&files, self.format, client_data))
    }
}

fn format(id: &str) -> Result<FormatId, Failure> {
    FormatId::from_id(id).ok_or_else(|| {
        let known: Vec<&str> = FormatId::all().map(FormatId::id).collect();
        Failure::new(format!("--format {id} is no format of evidence")).next(format!("use one of {}", known.join(", ")))
    })
}

fn nonce(text: &str) -> Result<Nonce, Failure> {
    let octets = hex::decode(text).ok_or_else(|| {
        Failure::new("--nonce is not an even number of hexadecimal digits").next("give 16 to 64 octets in hexadecimal")
    })?;
    Nonce::new(&octets).map_err(|error| Failure::new("--nonce cannot be used").because(error))
}

fn digest_as_nonce(path: &std::path::Path) -> Result<Nonce, Failure> {
    Nonce::new(&counter_signature::digest(path)?)
        .map_err(|error| Failure::new("the digest cannot be a nonce").because(error))
}

fn instant(text: &str) -> Result<Instant, Failure> {
    Instant::from_rfc3339(text).map_err(|error| Failure::new(format!("--at {text} cannot be used")).because(error))
}

/// The time that was named, or now.
///
/// # Errors
/// [`Failure`] if what was named is no time, or the clock cannot be used.
pub fn time_or_now(named: Option<&str>) -> Result<Instant, Failure> {
    named.map_or_else(now, |text| {
        Instant::from_rfc3339(text).map_err(|error| {
            Failure::new(format!("{text:?} is no time")).because(error).next("write it as 2026-12-01T00:00:00Z")
        })
    })
}

/// The time by this machine's clock.
///
/// # Errors
/// [`Failure`] if it is before 1970.
pub fn now() -> Result<Instant, Failure> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    since_epoch.and_then(|elapsed| i64::try_from(elapsed.as_secs()).ok()).map(Instant::from_unix_seconds).ok_or_else(
        || Failure::new("the clock of this machine cannot be used").next("give the time with --at, or set the clock"),
    )
}

fn key(path: &std::path::Path) -> Result<SpkiView, Failure> {
    SpkiView::from_key_file(&read_small(path)?).map_err(|error| {
        Failure::new(format!("{} holds no key", path.display()))
            .because(error)
            .next("give a PEM public key, a certificate or a certification request")
    })
}
