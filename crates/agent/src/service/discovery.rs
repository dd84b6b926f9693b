//! What the service itself answers.

use super::dispatch::Service;
use super::refusal::Refusal;
use crate::provider::KeyPurpose;
use crate::store::{KeyRole, Store};
use crate::wire::header::{AuthType, VERSION};
use crate::wire::message::{
    AuthenticatorInfo, KeyInfo, ListAuthenticatorsResult, ListKeysResult, ListOpcodesResult, ListProvidersResult,
    PingResult, ProviderInfo,
};
use crate::wire::{Opcode, ProviderId, Route, Status};

/// The UUID that Parsec gave the core provider.
const CORE_UUID: &str = "47049873-2a43-4845-9d72-831eab668784";

/// Ping.
pub(super) fn ping() -> PingResult {
    PingResult { wire_protocol_version_maj: VERSION.0.into(), wire_protocol_version_min: VERSION.1.into() }
}

/// ListProviders: clients take the first as their default, so Core is last.
pub(super) fn list_providers(service: &Service) -> ListProvidersResult {
    let hardware = service.workers.iter().map(|worker| (worker.id, worker.uuid, worker.description));
    let core = (ProviderId::CORE, CORE_UUID, "Vouchsafe agent: discovery and listing");
    let providers = hardware.chain([core]).map(|(id, uuid, description)| provider_info(id, uuid, description));
    ListProvidersResult { providers: providers.collect() }
}

fn provider_info(id: ProviderId, uuid: &str, description: &str) -> ProviderInfo {
    let version = |part: &str| part.parse().unwrap_or_default();
    ProviderInfo {
        uuid: uuid.to_owned(),
        description: description.to_owned(),
        vendor: "Vouchsafe".to_owned(),
        version_maj: version(env!("CARGO_PKG_VERSION_MAJOR")),
        version_min: version(env!("CARGO_PKG_VERSION_MINOR")),
        version_rev: version(env!("CARGO_PKG_VERSION_PATCH")),
        id: id.0.into(),
    }
}

/// ListAuthenticators.
pub(super) fn list_authenticators() -> ListAuthenticatorsResult {
    let unix_peer = AuthenticatorInfo {
        description: "Unix peer credentials: the caller's uid, as the kernel knows it".to_owned(),
        version_maj: 0,
        version_min: 1,
        version_rev: 0,
        id: AuthType::UnixPeerCredentials.number().into(),
    };
    ListAuthenticatorsResult { authenticators: vec![unix_peer] }
}

/// ListOpcodes.
pub(super) fn list_opcodes(service: &Service, provider_id: u32) -> Result<ListOpcodesResult, Refusal> {
    let id = u8::try_from(provider_id).map_err(|_| Refusal::Protocol(Status::ProviderDoesNotExist))?;
    let route = service.route_of(ProviderId(id))?;
    let served = Opcode::ALL.into_iter().filter(|opcode| opcode.route() == route);
    let (extension, parsecs): (Vec<Opcode>, Vec<Opcode>) = served.partition(|opcode| opcode.is_extension());
    let numbers = |opcodes: Vec<Opcode>| opcodes.into_iter().map(Opcode::number).collect();
    Ok(ListOpcodesResult { opcodes: numbers(parsecs), extension_opcodes: numbers(extension) })
}

/// ListKeys. Attesting keys have no PSA attributes; ListAttestingKeys shows them.
pub(super) fn list_keys(store: &Store, uid: u32) -> Result<ListKeysResult, Refusal> {
    let keys = store
        .keys(uid)?
        .into_iter()
        .filter(|key| key.role != KeyRole::Pair(KeyPurpose::Attest))
        .map(|key| {
            Ok(KeyInfo {
                provider_id: key.id.provider.0.into(),
                attributes: Some(super::keys::attributes(&key)?),
                name: key.id.name,
            })
        })
        .collect::<Result<Vec<_>, Refusal>>()?;
    Ok(ListKeysResult { keys })
}

impl Service {
    /// What a provider answers.
    pub(super) fn route_of(&self, id: ProviderId) -> Result<Route, Refusal> {
        if id == ProviderId::CORE {
            return Ok(Route::Core);
        }
        self.worker(id).map(|_| Route::Provider)
    }
}
