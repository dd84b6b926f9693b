//! Attestation of keys and of the platform.

use tracing::info;

use super::certificate_template::certificate_template;
use super::dispatch::Call;
use super::refusal::Refusal;
use super::slot::Provider;
use crate::config::key_kind_name;
use crate::grants::Capability;
use crate::provider::{
    Attestation, AttestingKey, AttestingKeyChoice, Family, FamilyCertificates, Hash, KeyBlob, KeyMechanism, KeyPurpose,
    Mechanism, PlatformMechanism,
};
use crate::store::{KeyRole, StoredKey};
use crate::wire::message::{
    self, AttestKeyOperation, AttestPlatformOperation, AttestationResult, AttestingKeyInfo, FamilyChain,
    ListAttestingKeysResult, ListMechanismsResult, MechanismInfo,
};

/// AttestKey.
pub(super) fn attest_key(
    call: &Call,
    provider: &mut dyn Provider,
    operation: AttestKeyOperation,
) -> Result<AttestationResult, Refusal> {
    let key = call.key_pair(operation.key_name)?;
    let (mechanism, family, named) = match operation.mechanism {
        Some(message::KeyMechanism::TpmCertify(_)) => {
            (KeyMechanism::TpmCertify, Family::Attest, operation.attesting_key)
        }
        Some(message::KeyMechanism::TpmCertifyX509(parameters)) => {
            let template = certificate_template(parameters, &call.certify_x509, &key.id.name)?;
            let named = match operation.attesting_key.as_str() {
                "" => call.certify_x509.attesting_key.clone(),
                name => name.to_owned(),
            };
            (KeyMechanism::TpmCertifyX509(template), Family::CertifyX509, named)
        }
        None => return Err(Refusal::NotSupported { what: "this mechanism" }),
    };
    let attesting_key = choose(call, named, family)?;
    if !matches!(attesting_key, Chosen::Own { .. }) {
        call.demand(Capability::Attest)?;
    }
    let attestation = provider.attest_key(&key.blob, attesting_key.as_choice(), &mechanism, &operation.nonce)?;
    info!(target: "audit", by = %call.caller, key = ?key.id.name, attesting_key = attesting_key.name(),
        format = attestation.format.id(), "key attested");
    Ok(result(attestation))
}

/// AttestPlatform.
pub(super) fn attest_platform(
    call: &Call,
    provider: &mut dyn Provider,
    operation: AttestPlatformOperation,
) -> Result<AttestationResult, Refusal> {
    call.demand(Capability::AttestPlatform)?;
    let mechanism = match operation.mechanism {
        Some(message::PlatformMechanism::TpmQuote(parameters)) => PlatformMechanism::TpmQuote {
            bank: bank(&parameters.bank)?,
            indices: parameters.indices.into_iter().map(pcr_index).collect::<Result<_, _>>()?,
        },
        None => return Err(Refusal::NotSupported { what: "this mechanism" }),
    };
    let attesting_key = choose(call, operation.attesting_key, Family::Attest)?;
    let attestation = provider.attest_platform(attesting_key.as_choice(), &mechanism, &operation.nonce)?;
    info!(target: "audit", by = %call.caller, attesting_key = attesting_key.name(),
        format = attestation.format.id(), "platform attested");
    Ok(result(attestation))
}

fn bank(name: &str) -> Result<Hash, Refusal> {
    match name {
        "" | "sha256" => Ok(Hash::Sha256),
        "sha384" => Ok(Hash::Sha384),
        "sha512" => Ok(Hash::Sha512),
        _ => Err(Refusal::Invalid { field: "bank", found: name.to_owned(), expected: "sha256, sha384 or sha512" }),
    }
}

fn pcr_index(index: u32) -> Result<u8, Refusal> {
    match u8::try_from(index) {
        Ok(index @ 0..=23) => Ok(index),
        Ok(24..) | Err(_) => Err(Refusal::Invalid { field: "indices", found: index.to_string(), expected: "0 to 23" }),
    }
}

/// The key that attests a request.
enum Chosen {
    Default,
    Named(String),
    Own { name: String, key: KeyBlob, certificates: Vec<Vec<u8>> },
}

impl Chosen {
    fn as_choice(&self) -> AttestingKeyChoice<'_> {
        match self {
            Chosen::Default => AttestingKeyChoice::Default,
            Chosen::Named(name) => AttestingKeyChoice::Named(name),
            Chosen::Own { key, certificates, .. } => AttestingKeyChoice::Own { key, certificates },
        }
    }

    /// For the log.
    fn name(&self) -> &str {
        match self {
            Chosen::Default => "",
            Chosen::Named(name) | Chosen::Own { name, .. } => name,
        }
    }
}

/// The caller's own attesting key of that name, else the machine's.
fn choose(call: &Call, name: String, family: Family) -> Result<Chosen, Refusal> {
    if name.is_empty() {
        return Ok(Chosen::Default);
    }
    match call.own_attesting_key(&name)? {
        Some(key) => {
            let certificates = call
                .shared
                .store
                .certificates(&key.uid)?
                .into_iter()
                .find(|chain| chain.family == family)
                .map(|chain| chain.certificates)
                .unwrap_or_default();
            Ok(Chosen::Own { name, key: key.blob, certificates })
        }
        None => Ok(Chosen::Named(name)),
    }
}

fn result(attestation: Attestation) -> AttestationResult {
    AttestationResult {
        format: attestation.format.id().to_owned(),
        statement_oid: attestation.statement_oid.to_string(),
        statement: attestation.statement,
        certificates: attestation.certificates,
        certificate: attestation.certificate.unwrap_or_default(),
    }
}

/// ListMechanisms.
pub(super) fn list_mechanisms(provider: &mut dyn Provider) -> Result<ListMechanismsResult, Refusal> {
    let mechanisms = provider.mechanisms(None)?.into_iter().map(mechanism_info).collect();
    Ok(ListMechanismsResult { mechanisms })
}

fn mechanism_info(mechanism: Mechanism) -> MechanismInfo {
    MechanismInfo {
        name: mechanism.name.as_str().to_owned(),
        version: mechanism.version,
        stability: mechanism.stability.as_str().to_owned(),
        statement_oid: mechanism.statement_oid.map(|oid| oid.to_string()).unwrap_or_default(),
        subject: mechanism.subject.as_str().to_owned(),
    }
}

/// ListAttestingKeys.
pub(super) fn list_attesting_keys(
    call: &Call,
    provider: &mut dyn Provider,
) -> Result<ListAttestingKeysResult, Refusal> {
    let mut keys = Vec::new();
    // The machine's keys and certificates tell which machine this is.
    if call.shared.grants.allow_any(&call.caller) {
        keys.extend(provider.attesting_keys()?.into_iter().map(machine_key_info));
    }
    for key in call.shared.store.keys(&call.caller.client())? {
        if key.role == KeyRole::Pair(KeyPurpose::Attest) && key.id.provider == call.provider.name {
            keys.push(own_key_info(call, provider, &key)?);
        }
    }
    Ok(ListAttestingKeysResult { keys })
}

/// The description of one of the machine's attesting keys.
pub(super) fn machine_key_info(key: AttestingKey) -> AttestingKeyInfo {
    AttestingKeyInfo {
        name: key.name,
        is_default: key.is_default,
        algorithm: key_kind_name(key.kind).to_owned(),
        public: key.spki,
        families: key.families.into_iter().map(|family| family.as_str().to_owned()).collect(),
        certificates: key.certificates.into_iter().map(family_chain).collect(),
        made_here: key.made_here,
        is_own: false,
    }
}

/// The description of one of the caller's own attesting keys.
pub(super) fn own_key_info(
    call: &Call,
    provider: &mut dyn Provider,
    key: &StoredKey,
) -> Result<AttestingKeyInfo, Refusal> {
    let public = provider.export_public(&key.blob)?;
    let certificates = call.shared.store.certificates(&key.uid)?;
    Ok(AttestingKeyInfo {
        name: key.id.name.clone(),
        is_default: false,
        algorithm: key_kind_name(public.kind).to_owned(),
        public: public.spki,
        families: provider.families(&key.blob)?.into_iter().map(|family| family.as_str().to_owned()).collect(),
        certificates: certificates.into_iter().map(family_chain).collect(),
        made_here: true,
        is_own: true,
    })
}

fn family_chain(certificates: FamilyCertificates) -> FamilyChain {
    FamilyChain { family: certificates.family.as_str().to_owned(), certificates: certificates.certificates }
}

impl Call {
    /// Refuses a caller that has no such grant.
    pub(super) fn demand(&self, capability: Capability) -> Result<(), Refusal> {
        if self.shared.grants.allow(&self.caller, capability) {
            return Ok(());
        }
        info!(target: "audit", by = %self.caller, capability = capability.name(), "grant missing");
        Err(Refusal::GrantMissing { capability })
    }

    /// The caller's attesting key of that name, if it has one.
    pub(super) fn own_attesting_key(&self, name: &str) -> Result<Option<StoredKey>, Refusal> {
        let key = self.shared.store.key(&self.key_id(name.to_owned()))?;
        Ok(key.filter(|key| key.role == KeyRole::Pair(KeyPurpose::Attest)))
    }
}
