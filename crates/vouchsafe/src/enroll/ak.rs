//! Enrolling the attestation key: describe, be challenged, answer, install.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use vouchsafe_agent::client::Client;
use vouchsafe_agent::wire::message::FamilyChain;
use vouchsafe_evidence::statement::TpmQuote;

use super::{Attempts, Voucher, host};
use crate::agent_socket::failure;
use crate::attestation::{self, Choice};
use crate::authority_client::{
    AkCertificates, AuthorityClient, Baseline, Challenge, ChallengeRequest, FamilyCertificates, NoAnswer, NoncePurpose,
    octets,
};
use crate::failure::Failure;

/// The agent's code for a credential that its TPM cannot open.
const ACTIVATION_REFUSED: &str = "agent.activation-refused";

/// What is enrolled.
#[derive(Clone, Debug)]
pub struct AkEnrollment {
    /// The device's name.
    pub device: String,
    /// The attestation key; empty for the administrator's default.
    pub attesting_key: String,
    /// The PCRs of the baseline, if one is recorded.
    pub baseline: Option<String>,
    /// Who vouches for the key.
    pub voucher: Voucher,
}

/// How far an attempt has come.
#[derive(Debug, Serialize, Deserialize)]
enum Reached {
    /// The authority has challenged the TPM and waits for its one answer.
    Challenged(Challenge),
    /// The certificates are there and are to be installed.
    Certified(AkCertificates),
}

/// Enrolls, from where an earlier attempt stopped; how verdicts name the device.
///
/// # Errors
/// [`NoAnswer`].
pub fn enroll_ak(
    agent: &mut Client,
    authority: &AuthorityClient,
    attempts: &Attempts,
    enrollment: &AkEnrollment,
    progress: &mut dyn FnMut(&str),
) -> Result<String, NoAnswer> {
    let name = format!("ak {} {} {}", authority.url(), enrollment.device, enrollment.attesting_key);
    let certificates = match attempts.load(&name) {
        Some(Reached::Certified(certificates)) => {
            progress("Going on: the certificates are there already.");
            certificates
        }
        Some(Reached::Challenged(challenge)) => {
            progress("Going on: the authority still waits for an answer.");
            match late_answer(agent, authority, enrollment, &challenge)? {
                Some(certificates) => certificates,
                None => {
                    progress("It does so no longer: beginning again.");
                    attempts.forget(&name)?;
                    anew(agent, authority, attempts, enrollment, &name, progress)?
                }
            }
        }
        None => anew(agent, authority, attempts, enrollment, &name, progress)?,
    };
    attempts.keep(&name, &Reached::Certified(certificates.clone()))?;
    progress("Installing the certificates.");
    install(agent, enrollment, &certificates)?;
    attempts.forget(&name)?;
    Ok(certificates.device_id)
}

fn anew(
    agent: &mut Client,
    authority: &AuthorityClient,
    attempts: &Attempts,
    enrollment: &AkEnrollment,
    name: &str,
    progress: &mut dyn FnMut(&str),
) -> Result<AkCertificates, NoAnswer> {
    progress("Describing the endorsement key and the attestation key.");
    let described = agent
        .describe_endorsement(&enrollment.attesting_key)
        .map_err(|fault| failure("the endorsement key cannot be described", &fault))?;
    if described.public.is_empty() {
        return host::enroll(agent, authority, enrollment, &described, progress);
    }
    let voucher = enrollment.voucher.of_tpm()?;
    let nonce = authority.nonce(NoncePurpose::AttestationKey)?;
    let baseline = match &enrollment.baseline {
        Some(pcrs) => Some(baseline(agent, &enrollment.attesting_key, pcrs, &nonce)?),
        None => None,
    };
    progress("Asking the authority for a challenge.");
    if voucher.is_none() && described.certificates.is_empty() {
        return Err(Failure::new("the TPM holds no certificate of its endorsement key")
            .next("have the key listed and enroll with --method inventory (docs/enrolment.md), or provision its certificate")
            .into());
    }
    let mut ek_certificates = described.certificates;
    ek_certificates.extend(described.chain);
    let request = ChallengeRequest {
        device: enrollment.device.clone(),
        ek_certificates,
        ek_keys: described.endorsement_keys,
        ak_public: described.public,
        nonce,
        baseline,
    };
    let challenge = match voucher {
        None => authority.challenge(&request)?,
        Some(voucher) => authority.challenge_for(&request, voucher)?,
    };
    attempts.keep(name, &Reached::Challenged(challenge.clone()))?;
    progress("Answering: only the TPM with that endorsement key can.");
    answer(agent, authority, enrollment, &challenge)
}

fn baseline(agent: &mut Client, attesting_key: &str, pcrs: &str, nonce: &[u8]) -> Result<Baseline, Failure> {
    let quote = quote(agent, attesting_key, pcrs, nonce)?;
    Ok(Baseline {
        attest: quote.attest,
        signature: quote.signature,
        pcr_values: quote.pcr_values.ok_or_else(|| unreadable("it has no PCR values"))?,
    })
}

/// A quote over these PCRs.
pub(super) fn quote(agent: &mut Client, attesting_key: &str, pcrs: &str, nonce: &[u8]) -> Result<TpmQuote, Failure> {
    let choice = Choice { attesting_key: attesting_key.to_owned(), pcrs: pcrs.to_owned(), ..Choice::default() };
    let quoted = attestation::attest_platform(agent, &choice, nonce)?;
    TpmQuote::parse(&quoted.statement).map_err(unreadable)
}

fn unreadable(why: impl std::fmt::Display) -> Failure {
    Failure::new("the agent's quote cannot be read").because(why)
}

fn answer(
    agent: &mut Client,
    authority: &AuthorityClient,
    enrollment: &AkEnrollment,
    challenge: &Challenge,
) -> Result<AkCertificates, NoAnswer> {
    let (blob, secret) = (octets(&challenge.credential_blob)?, octets(&challenge.secret)?);
    let opened = agent
        .activate_credential(&enrollment.attesting_key, &blob, &secret)
        .map_err(|fault| failure("the TPM did not answer the challenge", &fault))?;
    authority.activate(&challenge.id, &opened)
}

/// Answers a challenge of an earlier run. Nothing if the TPM cannot open it or the authority does not wait for it any
/// more: it has expired, or its one answer was lost on the way.
fn late_answer(
    agent: &mut Client,
    authority: &AuthorityClient,
    enrollment: &AkEnrollment,
    challenge: &Challenge,
) -> Result<Option<AkCertificates>, NoAnswer> {
    let (blob, secret) = (octets(&challenge.credential_blob)?, octets(&challenge.secret)?);
    let opened = match agent.activate_credential(&enrollment.attesting_key, &blob, &secret) {
        Ok(opened) => opened,
        Err(fault) if fault.code() == Some(ACTIVATION_REFUSED) => return Ok(None),
        Err(fault) => return Err(failure("the TPM did not answer the challenge", &fault).into()),
    };
    match authority.activate(&challenge.id, &opened) {
        Err(NoAnswer::Refused(problem)) if problem.code() == "activation-failed" => Ok(None),
        answered => answered.map(Some),
    }
}

pub(super) fn install(agent: &mut Client, enrollment: &AkEnrollment, made: &AkCertificates) -> Result<(), Failure> {
    let decode = |texts: &[String]| -> Result<Vec<Vec<u8>>, Failure> {
        texts
            .iter()
            .map(|text| {
                STANDARD.decode(text).map_err(|error| Failure::new("a certificate cannot be read").because(error))
            })
            .collect()
    };
    let FamilyCertificates { attest, certify_x509, pkix_evidence } = &made.certificates;
    let mut chains = Vec::new();
    for (family, chain) in [("attest", attest), ("certify-x509", certify_x509), ("pkix-evidence", pkix_evidence)] {
        if let Some(chain) = chain {
            chains.push(FamilyChain { family: family.to_owned(), certificates: decode(chain)? });
        }
    }
    agent
        .install_certificates(&enrollment.attesting_key, chains)
        .map_err(|fault| failure("the certificates cannot be installed", &fault))
}
