//! Attesting keys that the agent drives, as those of PKCS#11 tokens: it answers challenges by PKIX Evidence, since it lets
//! such a key sign nothing else.

use vouchsafe_agent::client::Client;
use vouchsafe_agent::wire::message::{DescribeEndorsementResult, PkixEvidence, PlatformMechanism};
use vouchsafe_evidence::ak_possession::{AkPossession, PossessionPurpose};
use vouchsafe_evidence::x509::SpkiView;

use super::ak::AkEnrollment;
use crate::agent_socket::failure;
use crate::authority_client::{AkCertificates, AuthorityClient, HostChallengeRequest, NoAnswer, NoncePurpose};
use crate::failure::Failure;

/// Has such a key certified; the certificates, which are not installed yet.
pub(super) fn enroll(
    agent: &mut Client,
    authority: &AuthorityClient,
    enrollment: &AkEnrollment,
    described: &DescribeEndorsementResult,
    progress: &mut dyn FnMut(&str),
) -> Result<AkCertificates, NoAnswer> {
    let voucher = enrollment.voucher.of_host()?;
    let key = public_key(described)?;
    let nonce = authority.nonce(NoncePurpose::AttestationKey)?;
    progress("Asking the authority for a challenge.");
    let challenge = authority.host_challenge(&HostChallengeRequest {
        device: enrollment.device.clone(),
        ak_spki: described.spki.clone(),
        nonce,
        voucher,
    })?;
    progress("Answering by Evidence that the attesting key signs.");
    let question = AkPossession {
        purpose: PossessionPurpose::Enrolment,
        device: &enrollment.device,
        key: &key,
        challenge: &challenge.octets()?,
    };
    let evidence = evidence(agent, &enrollment.attesting_key, &question)?;
    authority.prove(&challenge.id, &evidence)
}

/// The attesting key's public part, as the agent tells it.
pub(super) fn public_key(described: &DescribeEndorsementResult) -> Result<SpkiView, Failure> {
    SpkiView::parse(&described.spki)
        .map_err(|error| Failure::new("the attesting key's public part cannot be read").because(error))
}

/// PKIX Evidence of the platform over the nonce that shows possession.
pub(super) fn evidence(
    agent: &mut Client,
    attesting_key: &str,
    question: &AkPossession<'_>,
) -> Result<Vec<u8>, Failure> {
    let asked = PkixEvidence { claims: Vec::new(), with_platform: false, request: Vec::new() };
    agent
        .attest_platform(attesting_key, &question.nonce(), PlatformMechanism::PkixEvidence(asked))
        .map(|attested| attested.statement)
        .map_err(|fault| failure("the attesting key did not sign", &fault))
}
