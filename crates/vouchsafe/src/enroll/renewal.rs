//! New certificates for an attesting key, on its own word: a TPM's key quotes, another signs Evidence.

use vouchsafe_agent::client::Client;
use vouchsafe_evidence::ak_possession::{AkPossession, PossessionPurpose};
use vouchsafe_evidence::statement::TpmQuote;

use super::ak::{AkEnrollment, install};
use super::host::{evidence, public_key};
use crate::agent_socket::failure;
use crate::attestation::{self, Choice};
use crate::authority_client::{AuthorityClient, NoAnswer, NoncePurpose, RenewalProof, RenewalRequest};
use crate::failure::Failure;

/// Renews the certificates of an attesting key; how verdicts name the device.
///
/// # Errors
/// [`NoAnswer`].
pub fn renew_ak(
    agent: &mut Client,
    authority: &AuthorityClient,
    enrollment: &AkEnrollment,
    progress: &mut dyn FnMut(&str),
) -> Result<String, NoAnswer> {
    let described = agent
        .describe_endorsement(&enrollment.attesting_key)
        .map_err(|fault| failure("the attesting key cannot be described", &fault))?;
    let key = public_key(&described)?;
    let nonce = authority.nonce(NoncePurpose::AttestationKey)?;
    progress("Having the attesting key vouch for itself.");
    let proof = if described.public.is_empty() {
        let question = AkPossession {
            purpose: PossessionPurpose::Renewal,
            device: &enrollment.device,
            key: &key,
            challenge: &nonce,
        };
        RenewalProof::Evidence(evidence(agent, &enrollment.attesting_key, &question)?)
    } else {
        let choice = Choice {
            attesting_key: enrollment.attesting_key.clone(),
            pcrs: Choice::default_pcrs().to_owned(),
            ..Choice::default()
        };
        let quoted = attestation::attest_platform(agent, &choice, &nonce)?;
        let quote = TpmQuote::parse(&quoted.statement)
            .map_err(|error| Failure::new("the agent's quote cannot be read").because(error))?;
        RenewalProof::Tpm { attest: quote.attest, signature: quote.signature }
    };
    let request = RenewalRequest { device: enrollment.device.clone(), nonce, key: key.sha256(), proof };
    let made = authority.renew(&request)?;
    progress("Installing the certificates.");
    install(agent, enrollment, &made)?;
    Ok(made.device_id)
}
