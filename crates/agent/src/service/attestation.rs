//! Attestation of keys and of the platform.

use std::sync::LazyLock;

use prost::Message;
use tracing::info;

use super::certificate_template::certificate_template;
use super::dispatch::Call;
use super::evidence_request::evidence_request;
use super::quote_request::quote_request;
use super::refusal::Refusal;
use super::slot::Provider;
use crate::config::{CertifyX509Config, key_kind_name};
use crate::grants::Capability;
use crate::provider::{
    Attestation, AttestingKey, AttestingKeyChoice, Family, FamilyCertificates, KeyBlob, KeyMechanism, KeyPurpose,
    Mechanism, MechanismName, PlatformMechanism,
};
use crate::store::{KeyRole, StoredKey};
use crate::wire::message::{
    self, AttestKeyOperation, AttestPlatformOperation, AttestationResult, AttestingKeyInfo, FamilyChain,
    ListAttestingKeysResult, ListMechanismsOperation, ListMechanismsResult, MechanismInfo,
};
use crate::wire::{MAX_RESPONSE_OCTETS, Status};

/// AttestKey.
pub(super) fn attest_key(
    call: &Call,
    provider: &mut dyn Provider,
    operation: AttestKeyOperation,
) -> Result<AttestationResult, Refusal> {
    let key = call.attestable_key_pair(operation.key_name)?;
    let mut named = operation.attesting_key;
    if named.is_empty() && matches!(operation.mechanism, Some(message::KeyMechanism::TpmCertifyX509(_))) {
        named.clone_from(&call.certify_x509.attesting_key);
    }
    let own = call.own_attesting_key(&named)?;
    let mechanism = match operation.mechanism {
        Some(message::KeyMechanism::TpmCertify(_)) => KeyMechanism::TpmCertify,
        Some(message::KeyMechanism::TpmCertifyX509(parameters)) => {
            let is_pseudonym = own.is_none() && provider.is_pseudonym(&named);
            let defaults = if is_pseudonym { &ANONYMOUS } else { &*call.certify_x509 };
            KeyMechanism::TpmCertifyX509(certificate_template(parameters, defaults, (&key.id.name, purpose_of(&key)))?)
        }
        Some(message::KeyMechanism::PkixEvidence(parameters)) => {
            call.demand_enabled(MechanismName::PkixEvidence)?;
            KeyMechanism::PkixEvidence(evidence_request(&parameters, &operation.nonce, Some(&key))?)
        }
        None => return Err(Refusal::NotSupported { what: "this mechanism" }),
    };
    let attesting_key = choose(call, named, own, mechanism.family())?;
    match &attesting_key {
        Chosen::Own { .. } => {}
        machine => call.demand_attesting_key(Capability::Attest, machine.name_of_machines(call))?,
    }
    if reveals_platform(&mechanism) {
        call.demand_attesting_key(Capability::AttestPlatform, attesting_key.name_of_machines(call))?;
    }
    let attestation = provider.attest_key(&key.blob, attesting_key.as_choice(), &mechanism, &operation.nonce)?;
    info!(target: "audit", by = %call.caller, key = ?key.id.name, attesting_key = attesting_key.name(),
        format = attestation.format.id(), "key attested");
    Ok(result(attestation))
}

/// What a key pair is for. An imported public key is none, and is refused before.
fn purpose_of(key: &StoredKey) -> KeyPurpose {
    match key.role {
        KeyRole::Pair(purpose) => purpose,
        KeyRole::Public => KeyPurpose::Sign,
    }
}

/// What is put into certificates under a pseudonym where the client says nothing: nothing that the configuration says of this
/// machine, and not the key's name.
static ANONYMOUS: LazyLock<CertifyX509Config> = LazyLock::new(|| CertifyX509Config {
    subject: "CN=key".to_owned(),
    san: Vec::new(),
    ..CertifyX509Config::default()
});

/// Whether an attestation of a key speaks of the platform too, which needs the grant for that.
fn reveals_platform(mechanism: &KeyMechanism) -> bool {
    match mechanism {
        KeyMechanism::PkixEvidence(request) => request.with_platform,
        KeyMechanism::TpmCertify | KeyMechanism::TpmCertifyX509(_) => false,
    }
}

/// AttestPlatform.
pub(super) fn attest_platform(
    call: &Call,
    provider: &mut dyn Provider,
    operation: AttestPlatformOperation,
) -> Result<AttestationResult, Refusal> {
    call.demand(Capability::AttestPlatform)?;
    let mechanism = match operation.mechanism {
        Some(message::PlatformMechanism::TpmQuote(parameters)) => quote_request(parameters)?,
        Some(message::PlatformMechanism::PkixEvidence(parameters)) => {
            call.demand_enabled(MechanismName::PkixEvidence)?;
            PlatformMechanism::PkixEvidence(evidence_request(&parameters, &operation.nonce, None)?)
        }
        None => return Err(Refusal::NotSupported { what: "this mechanism" }),
    };
    let own = call.own_attesting_key(&operation.attesting_key)?;
    let attesting_key = choose(call, operation.attesting_key, own, mechanism.family())?;
    call.demand_attesting_key(Capability::AttestPlatform, attesting_key.name_of_machines(call))?;
    let attestation = provider.attest_platform(attesting_key.as_choice(), &mechanism, &operation.nonce)?;
    info!(target: "audit", by = %call.caller, attesting_key = attesting_key.name(),
        format = attestation.format.id(), "platform attested");
    Ok(result(attestation))
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

    /// The name of the machine's attesting key that a grant must include. Empty for a key of the caller's own: a grant that
    /// is limited to some of the machine's keys includes no such key.
    fn name_of_machines<'a>(&'a self, call: &'a Call) -> &'a str {
        match self {
            Chosen::Default => &call.default_attesting_key,
            Chosen::Named(name) => name,
            Chosen::Own { .. } => "",
        }
    }
}

/// The caller's own attesting key, if it has one of that name, else the machine's.
fn choose(call: &Call, name: String, own: Option<StoredKey>, family: Family) -> Result<Chosen, Refusal> {
    let Some(key) = own else {
        return Ok(if name.is_empty() { Chosen::Default } else { Chosen::Named(name) });
    };
    let certificates = call.shared.store.certificates(&key.uid)?;
    let chain = certificates.into_iter().find(|chain| chain.family == family);
    let certificates = chain.map(|chain| chain.certificates).unwrap_or_default();
    Ok(Chosen::Own { name, key: key.blob, certificates })
}

/// An attestation as the wire has it.
pub(super) fn result(attestation: Attestation) -> AttestationResult {
    AttestationResult {
        format: attestation.format.id().to_owned(),
        statement_oid: attestation.statement_oid.to_string(),
        statement: attestation.statement,
        certificates: attestation.certificates,
        certificate: attestation.certificate.unwrap_or_default(),
    }
}

/// ListMechanisms.
pub(super) fn list_mechanisms(
    call: &Call,
    provider: &mut dyn Provider,
    operation: ListMechanismsOperation,
) -> Result<ListMechanismsResult, Refusal> {
    let key = match operation.key_name.as_str() {
        "" => None,
        _ => Some(call.key_pair(operation.key_name)?),
    };
    let mechanisms = provider.mechanisms(key.as_ref().map(|key| &key.blob))?.into_iter();
    let served = mechanisms.filter(|mechanism| call.is_enabled(mechanism.name));
    Ok(ListMechanismsResult { mechanisms: served.map(mechanism_info).collect() })
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
    let mut list = AttestingKeyList::default();
    // The machine's keys and certificates tell which machine this is: seen by those who may use them, one by one.
    let grants = &call.shared.grants;
    if grants.allow_any(&call.caller) {
        let may = |capability, name: &str| grants.allow_attesting_key(&call.caller, capability, name);
        let is_seen = |key: &AttestingKey| {
            grants.allow(&call.caller, Capability::ActivateCredential)
                || may(Capability::Attest, &key.name)
                || may(Capability::AttestPlatform, &key.name)
        };
        provider.attesting_keys()?.into_iter().filter(is_seen).try_for_each(|key| list.add(machine_key_info(key)))?;
    }
    for key in call.shared.store.keys(&call.caller.client())? {
        if key.role == KeyRole::Pair(KeyPurpose::Attest) && key.id.provider == call.provider.name {
            list.add(own_key_info(call, provider, &key)?)?;
        }
    }
    Ok(ListAttestingKeysResult { keys: list.keys })
}

/// Attesting keys for one response. With their certificates they may be far more than a response holds, and than is good to
/// have in memory at once.
#[derive(Default)]
struct AttestingKeyList {
    keys: Vec<AttestingKeyInfo>,
    octets: usize,
}

impl AttestingKeyList {
    fn add(&mut self, key: AttestingKeyInfo) -> Result<(), Refusal> {
        self.octets = self.octets.saturating_add(key.encoded_len());
        if self.octets > MAX_RESPONSE_OCTETS {
            return Err(Refusal::Protocol(Status::ResponseTooLarge));
        }
        self.keys.push(key);
        Ok(())
    }
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
        is_pseudonym: key.is_pseudonym,
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
        is_pseudonym: false,
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

    /// Refuses a caller whose grant does not include this attesting key of the machine's.
    fn demand_attesting_key(&self, capability: Capability, attesting_key: &str) -> Result<(), Refusal> {
        self.demand(capability)?;
        if self.shared.grants.allow_attesting_key(&self.caller, capability, attesting_key) {
            return Ok(());
        }
        info!(target: "audit", by = %self.caller, capability = capability.name(), attesting_key, "grant for other keys");
        Err(Refusal::GrantForOtherKeys { capability })
    }

    /// Whether a mechanism is served.
    fn is_enabled(&self, mechanism: MechanismName) -> bool {
        mechanism.is_served(&self.shared.enabled_mechanisms)
    }

    /// Refuses a mechanism that is not served.
    pub(super) fn demand_enabled(&self, mechanism: MechanismName) -> Result<(), Refusal> {
        if self.is_enabled(mechanism) { Ok(()) } else { Err(Refusal::MechanismDisabled { mechanism }) }
    }

    /// The caller's attesting key of that name, if it has one.
    pub(super) fn own_attesting_key(&self, name: &str) -> Result<Option<StoredKey>, Refusal> {
        if name.is_empty() {
            return Ok(None);
        }
        let key = self.shared.store.key(&self.key_id(name.to_owned()))?;
        let own = key.filter(|key| key.role == KeyRole::Pair(KeyPurpose::Attest));
        if let Some(key) = &own {
            // One of the machine's may have that name too: the record is to say which of them it was.
            let _ = self.own_attesting_key.set(key.id.clone());
        }
        Ok(own)
    }
}
