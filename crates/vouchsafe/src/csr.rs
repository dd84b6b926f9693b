//! `vouchsafe csr`: a certification request that carries attestations.

use std::path::PathBuf;

use clap::Args;
use vouchsafe_agent::client::Client;
use vouchsafe_agent::names;
use vouchsafe_agent::wire::message::TpmCertifyX509;
use vouchsafe_evidence::bundle::AttestationBundle;
use vouchsafe_evidence::x509::build::{self, CsrTemplate};
use vouchsafe_evidence::{oid, pem};

use crate::agent_socket::AgentSocket;
use crate::attestation::{self, Choice, OwnKey};
use crate::cli::Answer;
use crate::failure::Failure;
use crate::files;

/// Make a certification request for a key, with the attestation of the key and perhaps of the platform.
///
/// The request carries one AttestationBundle (draft-ietf-lamps-csr-attestation) and is signed by the key itself, in its
/// TPM. Without --nonce it is good evidence of any age.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The key's name.
    key: String,
    /// The subject to ask for, RFC 4514 text.
    #[arg(long, value_name = "NAME", default_value = "")]
    subject: String,
    /// A subject alternative name to ask for: dns:, email:, uri: or ip: and the value. May be repeated.
    #[arg(long, value_name = "KIND:VALUE")]
    san: Vec<String>,
    /// The nonce of the certification authority or Verifier, 16 to 64 octets.
    #[arg(long, value_name = "HEX")]
    nonce: Option<String>,
    #[command(flatten)]
    choice: Choice,
    /// Where the request goes (PEM); standard output, if it is not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    agent: AgentSocket,
}

const EXAMPLES: &str = "\
Examples:
  vouchsafe csr web --subject CN=web.example --out web.csr
  vouchsafe csr web --nonce 00112233445566778899aabbccddeeff --platform \\
      --mechanism tpm-certify-x509 | vouchsafe inspect /dev/stdin";

/// Makes the request.
///
/// # Errors
/// [`Failure`] if the agent refuses or an argument cannot be used.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let wanted = Wanted::from_text(&arguments.subject, &arguments.san)?;
    let nonce = attestation::nonce(arguments.nonce.as_deref())?;
    let mut client = arguments.agent.connect()?;
    let key = OwnKey::find(&mut client, &arguments.key)?;
    let attested = attestation::attest(&mut client, &key.name, &nonce, &arguments.choice, TpmCertifyX509::default())?;
    let der = request(&mut client, &key, &wanted, &attested.bundle)?;
    files::write_or_print(arguments.out.as_deref(), &pem::encode("CERTIFICATE REQUEST", &der))?;
    Ok(Answer::Yes)
}

/// What the certificate shall say, as far as the authority grants it.
#[derive(Clone, Debug)]
pub struct Wanted {
    subject: vouchsafe_evidence::x509::NameView,
    attributes: Vec<Vec<u8>>,
}

impl Wanted {
    /// A subject as RFC 4514 text, and alternative names such as `dns:host.example`.
    ///
    /// # Errors
    /// [`Failure`] if they are not that.
    pub fn from_text(subject: &str, san: &[String]) -> Result<Self, Failure> {
        let subject = build::name_from_text(subject).map_err(|error| {
            Failure::new(format!("{subject:?} is no name"))
                .because(error)
                .next("write it as RFC 4514 has it, such as CN=web.example,O=Example")
        })?;
        let names = names::alternative_names(san).map_err(|error| {
            Failure::new("--san cannot be used")
                .because(error)
                .next("write a kind and a value, such as dns:web.example or ip:192.0.2.1")
        })?;
        let extension = names.map(|names| build::extension(oid::SUBJECT_ALT_NAME, false, &names));
        let attributes = extension.map(|extension| vec![build::extension_request_attribute(&[extension])]);
        Ok(Self { subject, attributes: attributes.unwrap_or_default() })
    }
}

/// The request, DER, signed by the key in its TPM.
///
/// # Errors
/// [`Failure`] if the agent refuses to sign.
pub fn request(
    client: &mut Client,
    key: &OwnKey,
    wanted: &Wanted,
    bundle: &AttestationBundle,
) -> Result<Vec<u8>, Failure> {
    let mut attributes = wanted.attributes.clone();
    attributes.push(build::attestation_attribute(bundle));
    let info = CsrTemplate { subject: wanted.subject.clone(), spki: key.spki.clone(), attributes }.info_der();
    let signature = key.sign(client, &info)?;
    Ok(build::assemble(&info, &key.kind.signature_algorithm(), &signature))
}
