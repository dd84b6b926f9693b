//! `vouchsafe csr`: a certification request that carries attestations.

use std::path::PathBuf;

use clap::Args;
use vouchsafe_agent::client::Client;
use vouchsafe_agent::names;
use vouchsafe_agent::wire::message::TpmCertifyX509;
use vouchsafe_evidence::bundle::AttestationBundle;
use vouchsafe_evidence::x509::build::{self, CsrTemplate};
use vouchsafe_evidence::{oid, pem};
use vouchsafe_verifier::crypto::{SignatureAlgorithm, SignatureBudget, verify_signature};

use crate::agent_socket::AgentSocket;
use crate::attestation::{self, Choice, OwnKey};
use crate::cli::Answer;
use crate::failure::Failure;
use crate::files;

/// Make a certification request for a key, with the attestation of the key and perhaps of the platform.
///
/// The request carries one AttestationBundle (draft-ietf-lamps-csr-attestation) and is signed by the key itself, in its
/// module. Without --nonce it is good evidence of any age.
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
    /// Leave the attestation out: it is presented otherwise, as in ACME by the challenge device-attest-01.
    #[arg(long, conflicts_with_all = ["nonce", "platform", "mechanism", "attesting_key"])]
    bare: bool,
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
    let der = if arguments.bare {
        signed(&mut client, &key, &wanted, wanted.attributes.clone())?
    } else {
        let template = TpmCertifyX509::default();
        let attested = attestation::attest(&mut client, &key.name, &nonce, &arguments.choice, template)?;
        request(&mut client, &key, &wanted, &attested.bundle)?
    };
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

/// The request, DER, signed by the key in its module and checked: a private key that is not that of the public key in the
/// request, as in a token where somebody replaced one of the two, makes none.
///
/// # Errors
/// [`Failure`] if the agent refuses to sign, or if what it signs does not verify.
pub fn request(
    client: &mut Client,
    key: &OwnKey,
    wanted: &Wanted,
    bundle: &AttestationBundle,
) -> Result<Vec<u8>, Failure> {
    let mut attributes = wanted.attributes.clone();
    attributes.push(build::attestation_attribute(bundle));
    signed(client, key, wanted, attributes)
}

/// A request with these attributes, whatever they are.
fn signed(client: &mut Client, key: &OwnKey, wanted: &Wanted, attributes: Vec<Vec<u8>>) -> Result<Vec<u8>, Failure> {
    let info = CsrTemplate { subject: wanted.subject.clone(), spki: key.spki.clone(), attributes }.info_der();
    let signature = key.sign(client, &info)?;
    let algorithm = key.kind.signature_algorithm();
    check_pair(key, &algorithm, &info, &signature)?;
    Ok(build::assemble(&info, &algorithm, &signature))
}

/// Whether the public key that goes into the request verifies what the private key signed.
fn check_pair(key: &OwnKey, algorithm: &[u8], signed: &[u8], signature: &[u8]) -> Result<(), Failure> {
    let apart = |why: String| {
        Failure::new(format!("the private and the public half of {} are not one key", key.name))
            .because(why)
            .next("find out who changed the module's keys, delete this one and make another")
    };
    let algorithm = SignatureAlgorithm::from_der(algorithm).map_err(|error| apart(error.to_string()))?;
    let mut budget = SignatureBudget::with_limit(1);
    verify_signature(&mut budget, &key.spki, algorithm, signed, signature).map_err(|error| apart(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_kind::KeyKind;
    use p256::ecdsa::signature::Signer;
    use p256::ecdsa::{DerSignature, SigningKey};
    use vouchsafe_evidence::x509::{NamedCurve, SpkiView};

    fn spki(key: &SigningKey) -> SpkiView {
        let point = key.verifying_key().to_sec1_point(false);
        let (x, y) = point.as_bytes()[1..].split_at(32);
        SpkiView::from_ec(NamedCurve::P256, x, y).unwrap()
    }

    #[test]
    fn a_signature_of_another_private_key_makes_no_request() {
        let [one, other] = [3, 4].map(|octet| SigningKey::from_slice(&[octet; 32]).unwrap());
        let own = OwnKey { name: "web".to_owned(), kind: KeyKind::EccP256, spki: spki(&one) };
        let algorithm = own.kind.signature_algorithm();
        let signature = |key: &SigningKey| -> DerSignature { key.sign(b"info") };
        assert!(check_pair(&own, &algorithm, b"info", signature(&one).as_bytes()).is_ok());
        for (signed, by) in [(&b"info"[..], &other), (b"other", &one)] {
            let failure = check_pair(&own, &algorithm, signed, signature(by).as_bytes()).unwrap_err();
            assert!(format!("{failure:?}").contains("web are not one key"), "{failure:?}");
        }
        assert!(check_pair(&own, &algorithm, b"info", &[]).is_err());
    }
}
