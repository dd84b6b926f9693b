//! Which operations are recorded in the audit log, and as what.

use super::dispatch::Call;
use super::refusal::Refusal;
use crate::audit::{self, AuditLog, Durability, Event, Outcome};
use crate::provider::KeyUid;
use crate::store::StoredKey;
use crate::wire::ProviderOperation;
use crate::wire::message::{AttestKeyOperation, KeyMechanism, PrepareKeyAttestationOperation, PrepareMechanism};

/// What is recorded of an operation: those that make, bring in, destroy and attest keys, and those that take part in
/// enrollment. Uses of a key are not, unless it is lent ([`record_lent`]).
pub(super) fn event(call: &Call, operation: &ProviderOperation) -> Option<Event> {
    let (name, subject, attesting_key, nonce) = match operation {
        ProviderOperation::GenerateKey(op) => ("generate", op.key_name.as_str(), None, None),
        ProviderOperation::ImportKey(op) => ("import", op.key_name.as_str(), None, None),
        ProviderOperation::DestroyKey(op) => ("destroy", op.key_name.as_str(), None, None),
        ProviderOperation::AttestKey(op) => {
            ("attest-key", op.key_name.as_str(), Some(key_that_attests(call, op)), Some(&op.nonce))
        }
        ProviderOperation::AttestPlatform(op) => {
            ("attest-platform", "", Some(or_default(call, &op.attesting_key)), Some(&op.nonce))
        }
        ProviderOperation::ActivateCredential(op) => {
            ("activate-credential", "", Some(or_default(call, &op.attesting_key)), None)
        }
        ProviderOperation::PrepareKeyAttestation(op) => ("prepare-key-attestation", prepared_key(op), None, None),
        ProviderOperation::ParsecAttestKey(op) => {
            ("activate-credential-for-key", op.attested_key_name.as_str(), None, None)
        }
        ProviderOperation::DescribeEndorsement(op) => {
            ("describe-endorsement", "", Some(or_default(call, &op.attesting_key)), None)
        }
        ProviderOperation::InstallCertificates(op) => {
            ("install-certificates", "", Some(or_default(call, &op.attesting_key)), None)
        }
        ProviderOperation::CreateAttestingKey(op) => ("create-attesting-key", op.name.as_str(), None, None),
        ProviderOperation::ImportAttestingKey(op) => ("import-attesting-key", op.name.as_str(), None, None),
        ProviderOperation::SignHash(_)
        | ProviderOperation::VerifyHash(_)
        | ProviderOperation::SignMessage(_)
        | ProviderOperation::VerifyMessage(_)
        | ProviderOperation::AsymmetricEncrypt(_)
        | ProviderOperation::AsymmetricDecrypt(_)
        | ProviderOperation::GenerateRandom(_)
        | ProviderOperation::CanDoCrypto(_)
        | ProviderOperation::ExportPublicKey(_)
        | ProviderOperation::ListMechanisms(_)
        | ProviderOperation::ListAttestingKeys => return None,
    };
    Some(Event {
        name,
        client: call.caller.client(),
        uid: call.caller.peer().uid,
        provider: call.provider.name.to_string(),
        subject: subject.to_owned(),
        attesting_key: attesting_key.map(str::to_owned),
        nonce: nonce.cloned().unwrap_or_default(),
        durability: durability(operation),
    })
}

/// The name of the attesting key that is asked to attest a key.
fn key_that_attests<'a>(call: &'a Call, operation: &'a AttestKeyOperation) -> &'a str {
    match operation.mechanism {
        Some(KeyMechanism::TpmCertifyX509(_)) if operation.attesting_key.is_empty() => {
            or_default(call, &call.certify_x509.attesting_key)
        }
        Some(KeyMechanism::TpmCertifyX509(_) | KeyMechanism::TpmCertify(_) | KeyMechanism::PkixEvidence(_)) | None => {
            or_default(call, &operation.attesting_key)
        }
    }
}

fn or_default<'a>(call: &'a Call, name: &'a str) -> &'a str {
    if name.is_empty() { &call.default_attesting_key } else { name }
}

/// The key that a credential is to be bound to.
fn prepared_key(operation: &PrepareKeyAttestationOperation) -> &str {
    match operation.parameters.as_ref().and_then(|parameters| parameters.mechanism.as_ref()) {
        Some(PrepareMechanism::ActivateCredential(asked)) => &asked.attested_key_name,
        None => "",
    }
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
    log: &AuditLog,
    event: &Event,
    key: Option<KeyUid>,
    answer: Result<T, Refusal>,
) -> Result<T, Refusal> {
    let code = match &answer {
        Ok(_) => audit::OK,
        Err(refusal) => refusal.code(),
    };
    let recorded = log.record(event, Outcome { key, code });
    let answer = answer?;
    recorded?;
    Ok(answer)
}

/// Records the use of another client's key, which lends out whose key it is; passes the answer on as [`record`] does. Uses of the
/// caller's own keys are not recorded.
pub(super) fn record_lent<T>(call: &Call, answer: Result<T, Refusal>) -> Result<T, Refusal> {
    let Some((key, uid)) = call.lent.get() else { return answer };
    let event = Event {
        name: "use",
        client: key.client.clone(),
        uid: call.caller.peer().uid,
        provider: key.provider.to_string(),
        subject: key.name.clone(),
        attesting_key: None,
        nonce: Vec::new(),
        durability: Durability::Soon,
    };
    record(&call.shared.audit, &event, Some(*uid), answer)
}

impl Call {
    /// Notes that another client's key is used.
    pub(super) fn note_lent(&self, key: &StoredKey) {
        let _ = self.lent.set((key.id.clone(), key.uid));
    }

    /// Notes which key the request is about, for the record. The first one counts: a key's attesting key comes after it.
    pub(super) fn note(&self, key: KeyUid) {
        let _ = self.noted.set(key);
    }
}
