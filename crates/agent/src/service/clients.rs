//! What administrators see and do of clients.

use tracing::info;

use super::audited;
use super::dispatch::Service;
use super::peer::Peer;
use super::refusal::Refusal;
use crate::audit::Event;
use crate::grants::Capability;
use crate::store::{KeyRole, StoredKey};
use crate::wire::ProviderId;
use crate::wire::message::{DeleteClientOperation, DeleteClientResult, ListClientsResult};

/// ListClients: the users that have keys.
pub(super) async fn list(service: &Service, peer: Peer) -> Result<ListClientsResult, Refusal> {
    demand(service, peer)?;
    let store = service.shared.store.clone();
    let uids = tokio::task::spawn_blocking(move || store.clients()).await.map_err(|_| Refusal::ProviderFailed)??;
    Ok(ListClientsResult { clients: uids.into_iter().map(|uid| uid.to_string()).collect() })
}

/// DeleteClient: destroys all keys of a user. Nothing of it is done if one of its providers is not served: what it holds
/// could not be destroyed.
pub(super) async fn delete(
    service: &Service,
    peer: Peer,
    operation: DeleteClientOperation,
) -> Result<DeleteClientResult, Refusal> {
    let outcome = destroy_keys(service, peer, &operation.client).await;
    let event = Event {
        name: "delete-client",
        uid: peer.uid,
        provider: ProviderId::CORE,
        subject: operation.client,
        nonce: Vec::new(),
    };
    service.shared.audit.record(&event, audited::outcome(&outcome));
    outcome.map(|()| DeleteClientResult {})
}

async fn destroy_keys(service: &Service, peer: Peer, client: &str) -> Result<(), Refusal> {
    demand(service, peer)?;
    let uid: u32 = client.parse().map_err(|_| Refusal::Invalid {
        field: "client",
        found: client.to_owned(),
        expected: "a uid, as ListClients names it",
    })?;
    let store = service.shared.store.clone();
    let keys = tokio::task::spawn_blocking(move || store.keys(uid)).await.map_err(|_| Refusal::ProviderFailed)??;
    if keys.is_empty() {
        return Err(Refusal::ClientUnknown { uid });
    }
    let destroyed = keys.len();
    destroy_all(service, peer, keys).await?;
    info!(target: "audit", by = peer.uid, uid, destroyed, "all keys of a client destroyed");
    Ok(())
}

/// One at a time, so that other clients' requests are answered in between.
async fn destroy_all(service: &Service, peer: Peer, keys: Vec<StoredKey>) -> Result<(), Refusal> {
    for key in &keys {
        service.worker(key.id.provider)?;
    }
    for key in keys {
        destroy(service, peer, key).await?;
    }
    Ok(())
}

async fn destroy(service: &Service, peer: Peer, key: StoredKey) -> Result<(), Refusal> {
    let store = service.shared.store.clone();
    let worker = service.worker(key.id.provider)?;
    let work = move |provider: &mut dyn super::slot::Provider| {
        if key.role != KeyRole::Public {
            provider.destroy(&key.blob)?;
        }
        store.remove_key(&key.id)?;
        Ok(())
    };
    worker.run(peer.uid, work).await
}

fn demand(service: &Service, peer: Peer) -> Result<(), Refusal> {
    let capability = Capability::ManageClients;
    if service.shared.grants.allow(peer, capability) {
        return Ok(());
    }
    info!(target: "audit", uid = peer.uid, capability = capability.name(), "grant missing");
    Err(Refusal::AdminOnly { capability })
}
