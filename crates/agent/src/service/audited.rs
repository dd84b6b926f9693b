//! Which operations are recorded in the audit log, and as what.

use super::dispatch::Call;
use super::refusal::Refusal;
use crate::audit::Event;
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
        ProviderOperation::InstallCertificates(op) => ("install-certificates", &op.attesting_key, None),
        ProviderOperation::CreateAttestingKey(op) => ("create-attesting-key", &op.name, None),
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
        | ProviderOperation::ListMechanisms
        | ProviderOperation::ListAttestingKeys
        | ProviderOperation::DescribeEndorsement(_) => return None,
    };
    let nonce = nonce.cloned().unwrap_or_default();
    Some(Event { name, uid: call.peer.uid, provider: call.provider, subject: subject.clone(), nonce })
}

/// How it ended: `ok`, or the refusal's stable code.
pub(super) fn outcome<T>(answer: &Result<T, Refusal>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(refusal) => refusal.code(),
    }
}
