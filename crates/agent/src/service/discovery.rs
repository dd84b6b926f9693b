//! What the service itself answers.

use std::collections::BTreeMap;

use super::dispatch::Service;
use super::refusal::Refusal;
use crate::client_id::ClientId;
use crate::provider::KeyPurpose;
use crate::provider_identity::{CORE_NAME, ProviderName};
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

/// ListProviders: clients take the first as their default, so Core is last. Providers whose numbers Parsec's clients do not
/// know stand in a field of their own.
pub(super) fn list_providers(service: &Service) -> ListProvidersResult {
    let hardware = service.workers.iter().map(|worker| {
        let identity = &worker.identity;
        let (id, kind) = (identity.id, identity.kind);
        // Only the first of a kind may be called by its kind alone.
        let description = if id.is_assigned() && identity.name.as_str() == kind.name() {
            kind.description().to_owned()
        } else {
            format!("{} ({})", kind.description(), identity.name)
        };
        (id, provider_info(id, identity.name.as_str(), &identity.uuid, &description))
    });
    let (providers, extension_providers): (Vec<_>, Vec<_>) = hardware.partition(|(id, _)| id.is_assigned());
    let infos = |listed: Vec<(ProviderId, ProviderInfo)>| listed.into_iter().map(|(_, info)| info);
    let core = provider_info(ProviderId::CORE, CORE_NAME, CORE_UUID, "Vouchsafe agent: discovery and listing");
    ListProvidersResult {
        providers: infos(providers).chain([core]).collect(),
        extension_providers: infos(extension_providers).collect(),
    }
}

fn provider_info(id: ProviderId, name: &str, uuid: &str, description: &str) -> ProviderInfo {
    let version = |part: &str| part.parse().unwrap_or_default();
    ProviderInfo {
        uuid: uuid.to_owned(),
        description: description.to_owned(),
        vendor: "Vouchsafe".to_owned(),
        version_maj: version(env!("CARGO_PKG_VERSION_MAJOR")),
        version_min: version(env!("CARGO_PKG_VERSION_MINOR")),
        version_rev: version(env!("CARGO_PKG_VERSION_PATCH")),
        id: id.0.into(),
        name: name.to_owned(),
    }
}

/// ListAuthenticators: those that are on, the one to use by default first.
pub(super) fn list_authenticators(service: &Service) -> ListAuthenticatorsResult {
    let info = |number: u8, description: &str| AuthenticatorInfo {
        description: description.to_owned(),
        version_maj: 0,
        version_min: 1,
        version_rev: 0,
        id: number.into(),
    };
    let mut authenticators = vec![info(
        AuthType::UnixPeerCredentials.number(),
        "Unix peer credentials: the caller's uid, as the kernel knows it",
    )];
    if service.shared.authenticators.direct {
        let number = AuthType::Direct { octets: 1 }.number();
        authenticators.push(info(number, "Direct: a name that the caller gives itself; it comes with no grants"));
    }
    ListAuthenticatorsResult { authenticators }
}

/// Operations of modules that open credentials, and of no others.
const CREDENTIAL_OPERATIONS: [Opcode; 3] =
    [Opcode::PrepareKeyAttestation, Opcode::ParsecAttestKey, Opcode::ActivateCredential];

/// ListOpcodes.
pub(super) fn list_opcodes(service: &Service, provider_id: u32) -> Result<ListOpcodesResult, Refusal> {
    let id = ProviderId(u8::try_from(provider_id).map_err(|_| Refusal::Protocol(Status::ProviderDoesNotExist))?);
    let (route, opens_credentials) = match service.route_of(id)? {
        Route::Core => (Route::Core, false),
        Route::Provider => (Route::Provider, service.worker(id)?.identity.kind.opens_credentials()),
    };
    let is_served = |opcode: &Opcode| opens_credentials || !CREDENTIAL_OPERATIONS.contains(opcode);
    let served = Opcode::ALL.into_iter().filter(|opcode| opcode.route() == route).filter(is_served);
    let (extension, parsecs): (Vec<Opcode>, Vec<Opcode>) = served.partition(|opcode| opcode.is_extension());
    let numbers = |opcodes: Vec<Opcode>| opcodes.into_iter().map(Opcode::number).collect();
    Ok(ListOpcodesResult { opcodes: numbers(parsecs), extension_opcodes: numbers(extension) })
}

/// ListKeys. Attesting keys have no PSA attributes; ListAttestingKeys shows them. Keys of a provider that is not configured
/// have no number to go by.
pub(super) fn list_keys(store: &Store, numbers: &Numbers, client: &ClientId) -> Result<ListKeysResult, Refusal> {
    let mut result = ListKeysResult::default();
    store.list_keys(client, |key| {
        if key.role == KeyRole::Pair(KeyPurpose::Attest) {
            return Ok(());
        }
        let Some(id) = numbers.get(&key.provider) else { return Ok(()) };
        let attributes = Some(super::keys::attributes(&key.attributes)?);
        let info = KeyInfo { provider_id: id.0.into(), attributes, name: key.name };
        if id.is_assigned() {
            result.keys.push(info)
        } else {
            result.extension_keys.push(info)
        }
        Ok::<(), Refusal>(())
    })?;
    Ok(result)
}

/// The providers' numbers, by name.
pub(super) type Numbers = BTreeMap<ProviderName, ProviderId>;

impl Service {
    /// The numbers of the providers that are served.
    pub(super) fn numbers(&self) -> Numbers {
        self.workers.iter().map(|worker| (worker.identity.name.clone(), worker.identity.id)).collect()
    }

    /// What a provider answers.
    pub(super) fn route_of(&self, id: ProviderId) -> Result<Route, Refusal> {
        if id == ProviderId::CORE {
            return Ok(Route::Core);
        }
        self.worker(id).map(|_| Route::Provider)
    }
}
