//! Enrolling a key: make it unless it is there, attest it, have it certified.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use vouchsafe_agent::client::Client;
use vouchsafe_agent::wire::message::TpmCertifyX509;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_verifier::hex;

use super::Attempts;
use crate::agent_socket::failure;
use crate::attestation::{self, Choice, OwnKey};
use crate::authority_client::{AuthorityClient, NoAnswer, NoncePurpose, octets};
use crate::csr::{self, Wanted};
use crate::failure::Failure;
use crate::key_kind::KeyKind;

/// What is enrolled.
#[derive(Clone, Debug)]
pub struct KeyEnrollment {
    /// The key's name.
    pub name: String,
    /// Its kind, if it is to be made.
    pub kind: KeyKind,
    /// The authority's profile.
    pub profile: String,
    /// What the certificate shall say.
    pub wanted: Wanted,
    /// How key and platform are attested.
    pub choice: Choice,
}

impl KeyEnrollment {
    /// The name of its attempt.
    pub fn attempt_name(&self, authority: &AuthorityClient) -> String {
        format!("key {} {} {} {:?}", authority.url(), self.profile, self.name, self.choice)
    }
}

/// A request as it was sent. The same request with the same nonce gets the same certificate, so that an answer that
/// was lost can be asked for again.
#[derive(Debug, Serialize, Deserialize)]
struct Sent {
    csr: String,
    nonce: String,
}

/// Enrolls, from where an earlier attempt stopped; the chain below the root, leaf first. The attempt is kept until the
/// caller has stored the chain.
///
/// # Errors
/// [`NoAnswer`].
pub fn enroll_key(
    agent: &mut Client,
    authority: &AuthorityClient,
    attempts: &Attempts,
    enrollment: &KeyEnrollment,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<CertView>, NoAnswer> {
    let name = enrollment.attempt_name(authority);
    if let Some(sent) = attempts.load::<Sent>(&name) {
        progress("Going on: asking for the answer to the request that was sent.");
        let (csr, nonce) = (octets(&sent.csr)?, hex::decode(&sent.nonce).unwrap_or_default());
        match authority.certificate(&csr, &nonce, &enrollment.profile) {
            Ok(chain) => return Ok(views(&chain)?),
            Err(NoAnswer::Failed(failure)) => return Err(failure.into()),
            // The nonce has expired, or the request was refused before: only a new one can succeed.
            Err(NoAnswer::Refused(_)) => attempts.forget(&name)?,
        }
    }
    let key = made(agent, enrollment, progress)?;
    let nonce = authority.nonce(NoncePurpose::Certificate(&enrollment.profile))?;
    progress("Having the key attested.");
    let attested = attestation::attest(agent, &key.name, &nonce, &enrollment.choice, TpmCertifyX509::default())?;
    let csr = csr::request(agent, &key, &enrollment.wanted, &attested.bundle)?;
    attempts.keep(&name, &Sent { csr: STANDARD.encode(&csr), nonce: hex::encode(&nonce) })?;
    progress("Asking for the certificate.");
    match authority.certificate(&csr, &nonce, &enrollment.profile) {
        Ok(chain) => Ok(views(&chain)?),
        Err(NoAnswer::Refused(problem)) => {
            attempts.forget(&name)?;
            Err(NoAnswer::Refused(problem))
        }
        Err(failed @ NoAnswer::Failed(_)) => Err(failed),
    }
}

fn made(agent: &mut Client, enrollment: &KeyEnrollment, progress: &mut dyn FnMut(&str)) -> Result<OwnKey, Failure> {
    if let Some(key) = OwnKey::look_up(agent, &enrollment.name)? {
        return Ok(key);
    }
    progress("Making the key.");
    agent
        .generate_key(&enrollment.name, enrollment.kind.attributes())
        .map_err(|fault| failure(format!("the key {} was not made", enrollment.name), &fault))?;
    OwnKey::find(agent, &enrollment.name)
}

fn views(chain: &[Vec<u8>]) -> Result<Vec<CertView>, Failure> {
    chain
        .iter()
        .map(|der| {
            CertView::parse(der).map_err(|error| {
                Failure::new("the authority's certificate cannot be read")
                    .because(error)
                    .next("use a client of the same version as the authority")
            })
        })
        .collect()
}
