//! New certificates for an attesting key, on its own word: a TPM's key quotes, another signs Evidence.

use vouchsafe_agent::client::Client;
use vouchsafe_evidence::ak_possession::{AkPossession, PossessionPurpose};

use super::ak::{AkEnrollment, install, quote};
use super::host::{evidence, public_key};
use crate::agent_socket::failure;
use crate::attestation::Choice;
use crate::authority_client::{AuthorityClient, NoAnswer, NoncePurpose, RenewalProof, RenewalRequest};

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
        let quote = quote(agent, &enrollment.attesting_key, Choice::default_pcrs(), &nonce)?;
        RenewalProof::Tpm { attest: quote.attest, signature: quote.signature }
    };
    let request = RenewalRequest { device: enrollment.device.clone(), nonce, key: key.sha256(), proof };
    let made = authority.renew(&request)?;
    progress("Installing the certificates.");
    install(agent, enrollment, &made)?;
    Ok(made.device_id)
}
