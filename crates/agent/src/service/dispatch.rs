//! From a request to its response.

use std::sync::Arc;

use prost::Message;

use super::frame::{Request, Response};
use super::peer::Peer;
use super::refusal::Refusal;
use super::worker::Worker;
use super::{attestation, discovery, enrollment, keys};
use crate::config::{CertifyX509Config, Limits};
use crate::grants::Grants;
use crate::store::Store;
use crate::wire::header::AuthType;
use crate::wire::message::{
    ListAttestingKeysOperation, ListAuthenticatorsOperation, ListKeysOperation, ListMechanismsOperation,
    ListOpcodesOperation, ListProvidersOperation, PingOperation,
};
use crate::wire::{Opcode, ProviderId, Route, Status};

/// What answers requests.
#[derive(Debug)]
pub(super) struct Service {
    shared: Arc<Shared>,
    /// The providers, the default one first.
    pub(super) workers: Vec<Worker>,
}

/// What handlers need that is the same for all requests. Work that is queued at a provider holds it, so it
/// holds no provider.
#[derive(Debug)]
pub(super) struct Shared {
    /// The keys.
    pub(super) store: Store,
    /// The grants.
    pub(super) grants: Grants,
    /// The limits.
    pub(super) limits: Limits,
}

/// One request to a provider, authenticated if its operation needs that.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// What all requests share.
    pub(super) shared: Arc<Shared>,
    /// Who asks.
    pub(super) peer: Peer,
    /// Which provider is asked.
    pub(super) provider: ProviderId,
    /// Defaults of certificates that its module makes.
    pub(super) certify_x509: Arc<CertifyX509Config>,
}

impl Service {
    /// A service of these providers.
    pub(super) fn new(store: Store, grants: Grants, limits: Limits, workers: Vec<Worker>) -> Service {
        Service { shared: Arc::new(Shared { store, grants, limits }), workers }
    }

    /// The limits.
    pub(super) fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// Answers a request, whatever it is.
    pub(super) async fn answer(&self, peer: Peer, request: Request) -> Response {
        let (provider, opcode) = (request.header.provider, request.header.opcode);
        match self.handle(peer, request).await {
            Ok(body) => Response { provider, opcode, status: Status::Success, body },
            Err(refusal) => {
                let status = refusal.status();
                tracing::debug!(uid = peer.uid, opcode, %status, %refusal, "request refused");
                Response { provider, opcode, status, body: refusal.body(opcode) }
            }
        }
    }

    async fn handle(&self, peer: Peer, request: Request) -> Result<Vec<u8>, Refusal> {
        let opcode = Opcode::from_number(request.header.opcode).map_err(Refusal::Protocol)?;
        let route = self.route_of(request.header.provider)?;
        if opcode.route() != route {
            return Err(Refusal::NotSupported { what: "this operation by this provider" });
        }
        authenticate(peer, opcode, &request)?;
        match route {
            Route::Core => self.core(peer, opcode, &request.body).await,
            Route::Provider => self.provider(peer, opcode, request).await,
        }
    }

    async fn core(&self, peer: Peer, opcode: Opcode, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        match opcode {
            Opcode::Ping => {
                PingOperation::decode(body)?;
                Ok(discovery::ping().encode_to_vec())
            }
            Opcode::ListProviders => {
                ListProvidersOperation::decode(body)?;
                Ok(discovery::list_providers(self).encode_to_vec())
            }
            Opcode::ListAuthenticators => {
                ListAuthenticatorsOperation::decode(body)?;
                Ok(discovery::list_authenticators().encode_to_vec())
            }
            Opcode::ListOpcodes => {
                let operation = ListOpcodesOperation::decode(body)?;
                Ok(discovery::list_opcodes(self, operation.provider_id)?.encode_to_vec())
            }
            Opcode::ListKeys => {
                ListKeysOperation::decode(body)?;
                let store = self.shared.store.clone();
                let listed = tokio::task::spawn_blocking(move || discovery::list_keys(&store, peer.uid));
                Ok(listed.await.map_err(|_| Refusal::ProviderFailed)??.encode_to_vec())
            }
            Opcode::PsaGenerateKey
            | Opcode::PsaDestroyKey
            | Opcode::PsaSignHash
            | Opcode::PsaExportPublicKey
            | Opcode::AttestKey
            | Opcode::AttestPlatform
            | Opcode::ListMechanisms
            | Opcode::ListAttestingKeys
            | Opcode::DescribeEndorsement
            | Opcode::ActivateCredential
            | Opcode::InstallCertificates
            | Opcode::CreateAttestingKey => Err(Refusal::NotSupported { what: "this operation by this provider" }),
        }
    }

    async fn provider(&self, peer: Peer, opcode: Opcode, request: Request) -> Result<Vec<u8>, Refusal> {
        let worker = self.worker(request.header.provider)?;
        let call = Call {
            shared: Arc::clone(&self.shared),
            peer,
            provider: worker.id,
            certify_x509: Arc::clone(&worker.certify_x509),
        };
        let body = request.body;
        worker
            .run(peer.uid, move |provider| match opcode {
                Opcode::PsaGenerateKey => reply(&body, |op| keys::generate(&call, provider, op)),
                Opcode::PsaDestroyKey => reply(&body, |op| keys::destroy(&call, provider, op)),
                Opcode::PsaExportPublicKey => reply(&body, |op| keys::export_public(&call, provider, op)),
                Opcode::PsaSignHash => reply(&body, |op| keys::sign_hash(&call, provider, op)),
                Opcode::AttestKey => reply(&body, |op| attestation::attest_key(&call, provider, op)),
                Opcode::AttestPlatform => reply(&body, |op| attestation::attest_platform(&call, provider, op)),
                Opcode::ListMechanisms => {
                    reply(&body, |ListMechanismsOperation {}| attestation::list_mechanisms(provider))
                }
                Opcode::ListAttestingKeys => {
                    reply(&body, |ListAttestingKeysOperation {}| attestation::list_attesting_keys(&call, provider))
                }
                Opcode::DescribeEndorsement => reply(&body, |op| enrollment::describe(&call, provider, &op)),
                Opcode::ActivateCredential => reply(&body, |op| enrollment::activate(&call, provider, &op)),
                Opcode::InstallCertificates => reply(&body, |op| enrollment::install(&call, provider, op)),
                Opcode::CreateAttestingKey => reply(&body, |op| enrollment::create_attesting_key(&call, provider, op)),
                Opcode::Ping
                | Opcode::ListProviders
                | Opcode::ListOpcodes
                | Opcode::ListAuthenticators
                | Opcode::ListKeys => Err(Refusal::NotSupported { what: "this operation by this provider" }),
            })
            .await
    }

    /// The provider of that id.
    pub(super) fn worker(&self, id: ProviderId) -> Result<&Worker, Refusal> {
        let missing =
            if id <= ProviderId::LAST_ASSIGNED { Status::ProviderNotRegistered } else { Status::ProviderDoesNotExist };
        self.workers.iter().find(|worker| worker.id == id).ok_or(Refusal::Protocol(missing))
    }
}

/// Decodes an operation, has it done and encodes its result.
fn reply<O: Message + Default, R: Message>(
    body: &[u8],
    handle: impl FnOnce(O) -> Result<R, Refusal>,
) -> Result<Vec<u8>, Refusal> {
    Ok(handle(O::decode(body)?)?.encode_to_vec())
}

/// Who authenticates must be who is at the other end, whatever the operation needs.
fn authenticate(peer: Peer, opcode: Opcode, request: &Request) -> Result<(), Refusal> {
    match request.header.auth_type {
        AuthType::None if opcode.needs_authentication() => Err(Refusal::NotAuthenticated),
        AuthType::None => Ok(()),
        AuthType::UnixPeerCredentials => {
            let claimed = u32::from_le_bytes(request.auth);
            if claimed == peer.uid { Ok(()) } else { Err(Refusal::AuthenticationFalse { claimed, peer: peer.uid }) }
        }
    }
}
