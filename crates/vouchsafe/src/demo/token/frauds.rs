//! Frauds that need no strict policy to be refused.

use vouchsafe_agent::wire::message::{PkixEvidence, PlatformMechanism};
use vouchsafe_evidence::bundle::{AttestationBundle, AttestationStatement};
use vouchsafe_evidence::ceremony::SignedTranscript;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::CertView;

use super::{ATTESTING_KEY, KEY, Line, PROFILE, Request, TOKEN, wanted};
use crate::agent_socket::failure;
use crate::attestation::OwnKey;
use crate::authority_client::{HostChallengeRequest, HostVoucher, NoncePurpose};
use crate::csr;
use crate::demo::frauds::refusal;
use crate::demo::line::granted;
use crate::demo::narrator::Narrator;
use crate::demo::software::{SoftwareKey, name};
use crate::failure::Failure;
use crate::files;

/// Tries all three.
///
/// # Errors
/// [`Failure`] if a fraud cannot be tried, or is not refused.
pub fn try_all(line: &mut Line<'_>, narrator: &mut Narrator, honest: &Request) -> Result<(), Failure> {
    altered_record(line, narrator)?;
    foreign_evidence(line, narrator)?;
    other_keys_platform(line, narrator, honest)
}

/// A record whose module has another firmware than the witnesses saw.
fn altered_record(line: &mut Line<'_>, narrator: &mut Narrator) -> Result<(), Failure> {
    narrator.step("Fraud 1 of 3: the witnesses' record, with another firmware written into it")?;
    narrator.note("The token's firmware is another now; the witnesses' signatures stay as they were.")?;
    let record = files::read_small(&line.stage.folder().join("hsm-1.json"))?;
    let strange = || Failure::new("the record cannot be read");
    let signed = SignedTranscript::parse(&record).map_err(|_| strange())?;
    let mut transcript = signed.transcript().clone();
    let firmware = "9.9";
    let altered = transcript.steps.iter_mut().find_map(|step| match &mut step.record {
        vouchsafe_evidence::ceremony::Record::Module(module) => Some(&mut module.firmware),
        _ => None,
    });
    *altered.ok_or_else(strange)? = firmware.to_owned();
    let mut forged = SignedTranscript::unsigned(transcript);
    for signature in signed.signatures() {
        forged = forged.with_signature(signature.clone());
    }
    let described = line
        .agent
        .describe_endorsement(ATTESTING_KEY)
        .map_err(|fault| failure("the attesting key cannot be described", &fault))?;
    let answer = line.authority.host_challenge(&HostChallengeRequest {
        device: TOKEN.to_owned(),
        ak_spki: described.spki,
        nonce: granted(line.authority.nonce(NoncePurpose::AttestationKey))?,
        voucher: HostVoucher::Witnesses(forged.to_json().into_bytes()),
    });
    narrator.refused("The authority", &refusal(answer, &["ceremony.bad-signature"])?)
}

fn foreign_evidence(line: &mut Line<'_>, narrator: &mut Narrator) -> Result<(), Failure> {
    narrator.step("Fraud 2 of 3: a software key with the evidence of the key in the token")?;
    narrator
        .note("A CSR for a key in memory, signed by it, with fresh and true statements about the key in the token.")?;
    let fresh = line.request(false)?;
    let csr = SoftwareKey::generate()?.request(&name("CN=web.example")?, &fresh.attested.bundle)?;
    let answer = line.authority.certificate(&csr, &fresh.nonce, PROFILE);
    narrator.refused("The authority", &refusal(answer, &["bind.key-mismatch"])?)
}

/// Platform Evidence by the default attesting key of the same token, which no witness saw.
fn other_keys_platform(line: &mut Line<'_>, narrator: &mut Narrator, honest: &Request) -> Result<(), Failure> {
    narrator.step("Fraud 3 of 3: the key's Evidence beside a platform Evidence of another attesting key")?;
    narrator.note("Both keys are in one token, both statements fresh; only one of the two was seen by witnesses.")?;
    let fresh = line.request(false)?;
    let other = line
        .agent
        .attest_platform("", &fresh.nonce, PlatformMechanism::PkixEvidence(PkixEvidence::default()))
        .map_err(|fault| failure("the platform was not attested", &fault))?;
    let of_key = fresh.attested.bundle.statements().first().cloned();
    let of_key = of_key.ok_or_else(|| Failure::new("the key's statement is missing"))?;
    let statements = vec![of_key, AttestationStatement::new(oid::STATEMENT_PKIX_EVIDENCE, other.statement)];
    let certificates: Vec<CertView> = honest.attested.bundle.certificates().cloned().collect();
    let bundle = AttestationBundle::new(statements, certificates)
        .map_err(|defect| Failure::new("the bundle cannot be made").because(defect))?;
    let key = OwnKey::find(&mut line.agent, KEY)?;
    let csr = csr::request(&mut line.agent, &key, &wanted()?, &bundle)?;
    let answer = line.authority.certificate(&csr, &fresh.nonce, PROFILE);
    narrator.refused("The authority", &refusal(answer, &["pkix.signer-untrusted"])?)
}
