//! Which operations are recorded in the audit log, and as what.

use super::dispatch::Call;
use super::refusal::Refusal;
use crate::audit::{AuditLog, Durability, Event, Outcome};
use crate::provider::KeyUid;
use crate::wire::ProviderOperation;

/// What is recorded of an operation: those that make, bring in, destroy and attest keys, and those that take part in
/// enrollment. Uses of a key are not.
pub(super) fn event(call: &Call, operation: &ProviderOperation) -> Option<Event> {
    let (name, subject, nonce) = match operation {
        ProviderOperation::GenerateKey(op) => ("generate", &op.key_name, None),
        ProviderOperation::ImportKey(op) => ("import", &op.key_name, None),
        ProviderOperation::DestroyKey(op) => ("destroy", &op.key_name, None),
        ProviderOperation::AttestKey(op) => ("attest-key", &op.key_name, Some(&op.nonce)),
        ProviderOperation::AttestPlatform(op) => ("attest-platform", &op.attesting_key, Some(&op.nonce)),
        ProviderOperation::ActivateCredential(op) => ("activate-credential", &op.attesting_key, None),
        ProviderOperation::ParsecAttestKey(op) => ("activate-credential-for-key", &op.attested_key_name, None),
        ProviderOperation::DescribeEndorsement(op) => ("describe-endorsement", &op.attesting_key, None),
        ProviderOperation::InstallCertificates(op) => ("install-certificates", &op.attesting_key, None),
        ProviderOperation::CreateAttestingKey(op) => ("create-attesting-key", &op.name, None),
        ProviderOperation::ImportAttestingKey(op) => ("import-attesting-key", &op.name, None),
        ProviderOperation::SignHash(_)
        | ProviderOperation::VerifyHash(_)
        | ProviderOperation::SignMessage(_)
        | ProviderOperation::VerifyMessage(_)
        | ProviderOperation::AsymmetricEncrypt(_)
        | ProviderOperation::AsymmetricDecrypt(_)
        | ProviderOperation::GenerateRandom(_)
        | ProviderOperation::CanDoCrypto(_)
        | ProviderOperation::ExportPublicKey(_)
        | ProviderOperation::PrepareKeyAttestation(_)
        | ProviderOperation::ListMechanisms(_)
        | ProviderOperation::ListAttestingKeys => return None,
    };
    Some(Event {
        name,
        client: call.caller.client(),
        uid: call.caller.peer().uid,
        provider: call.provider.name.to_string(),
        subject: subject.clone(),
        nonce: nonce.cloned().unwrap_or_default(),
        durability: durability(operation),
    })
}

/// What changes keys or certificates waits for the disk anyway.
fn durability(operation: &ProviderOperation) -> Durability {
    match operation {
        ProviderOperation::GenerateKey(_)
        | ProviderOperation::ImportKey(_)
        | ProviderOperation::DestroyKey(_)
        | ProviderOperation::InstallCertificates(_)
        | ProviderOperation::CreateAttestingKey(_)
        | ProviderOperation::ImportAttestingKey(_) => Durability::Now,
        ProviderOperation::AttestKey(_)
        | ProviderOperation::AttestPlatform(_)
        | ProviderOperation::ActivateCredential(_)
        | ProviderOperation::ParsecAttestKey(_)
        | ProviderOperation::DescribeEndorsement(_)
        | ProviderOperation::SignHash(_)
        | ProviderOperation::VerifyHash(_)
        | ProviderOperation::SignMessage(_)
        | ProviderOperation::VerifyMessage(_)
        | ProviderOperation::AsymmetricEncrypt(_)
        | ProviderOperation::AsymmetricDecrypt(_)
        | ProviderOperation::GenerateRandom(_)
        | ProviderOperation::CanDoCrypto(_)
        | ProviderOperation::ExportPublicKey(_)
        | ProviderOperation::PrepareKeyAttestation(_)
        | ProviderOperation::ListMechanisms(_)
        | ProviderOperation::ListAttestingKeys => Durability::Soon,
    }
}

/// Records how something ended, and passes its answer on. A good answer that cannot be recorded is withheld: nothing is done for
/// anyone unrecorded. A refusal gave nothing away and is passed on.
pub(super) fn record<T>(
    audit: &AuditLog,
    event: &Event,
    key: Option<KeyUid>,
    answer: Result<T, Refusal>,
) -> Result<T, Refusal> {
    let code = match &answer {
        Ok(_) => "ok",
        Err(refusal) => refusal.code(),
    };
    let recorded = audit.record(event, Outcome { key, code });
    let answer = answer?;
    recorded?;
    Ok(answer)
}
