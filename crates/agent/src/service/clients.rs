//! What administrators see and do of clients.

use tracing::info;

use super::audited;
use super::dispatch::Service;
use super::keys::destroy_key;
use super::peer::Caller;
use super::refusal::Refusal;
use super::slot::Provider;
use crate::audit::{Durability, Event};
use crate::client_id::ClientId;
use crate::grants::Capability;
use crate::provider_identity::CORE_NAME;
use crate::store::StoredKey;
use crate::wire::Status;
use crate::wire::message::{DeleteClientOperation, DeleteClientResult, ListClientsResult};

/// ListClients: the clients that have keys.
pub(super) async fn list(service: &Service, caller: &Caller) -> Result<ListClientsResult, Refusal> {
    let audit = &service.shared.audit;
    audit.admit()?;
    let listed = listed(service, caller).await;
    audited::record(audit, &core_event(caller, "list-clients", String::new()), None, listed)
}

async fn listed(service: &Service, caller: &Caller) -> Result<ListClientsResult, Refusal> {
    demand(service, caller)?;
    let store = service.shared.store.clone();
    let clients = tokio::task::spawn_blocking(move || store.clients()).await.map_err(|_| Refusal::ProviderFailed)??;
    Ok(ListClientsResult { clients: clients.iter().map(ClientId::listed).collect() })
}

/// What is recorded of an administrator's operation. It waits for no disk: the requests of all clients pass its thread.
fn core_event(caller: &Caller, name: &'static str, subject: String) -> Event {
    Event {
        name,
        client: caller.client(),
        uid: caller.peer().uid,
        provider: CORE_NAME.to_owned(),
        subject,
        attesting_key: None,
        nonce: Vec::new(),
        durability: Durability::Soon,
    }
}

/// DeleteClient: destroys all keys of a client, each of which is on record. Nothing of it is done if one of its providers is not
/// served: what it holds could not be destroyed.
pub(super) async fn delete(
    service: &Service,
    caller: &Caller,
    operation: DeleteClientOperation,
) -> Result<DeleteClientResult, Refusal> {
    let audit = &service.shared.audit;
    audit.admit()?;
    let outcome = destroy_keys(service, caller, &operation.client).await;
    audited::record(audit, &core_event(caller, "delete-client", operation.client), None, outcome)?;
    Ok(DeleteClientResult {})
}

async fn destroy_keys(service: &Service, caller: &Caller, client: &str) -> Result<(), Refusal> {
    demand(service, caller)?;
    let client = ClientId::from_listed(client).map_err(|_| Refusal::Invalid {
        field: "client",
        found: client.to_owned(),
        expected: "a uid or direct:NAME, as ListClients names it",
    })?;
    let (store, owner) = (service.shared.store.clone(), client.clone());
    let keys = tokio::task::spawn_blocking(move || store.keys(&owner)).await.map_err(|_| Refusal::ProviderFailed)??;
    if keys.is_empty() {
        return Err(Refusal::ClientUnknown { client });
    }
    let destroyed = keys.len();
    destroy_all(service, caller, keys).await?;
    info!(target: "audit", by = %caller, %client, destroyed, "all keys of a client destroyed");
    Ok(())
}

/// One at a time, so that other clients' requests are answered in between.
async fn destroy_all(service: &Service, caller: &Caller, keys: Vec<StoredKey>) -> Result<(), Refusal> {
    let numbers = service.numbers();
    let served = |key: StoredKey| match numbers.get(&key.id.provider) {
        Some(id) => Ok((*id, key)),
        None => Err(Refusal::Protocol(Status::ProviderNotRegistered)),
    };
    let keys = keys.into_iter().map(served).collect::<Result<Vec<_>, _>>()?;
    for (id, key) in keys {
        let event = Event {
            client: key.id.client.clone(),
            provider: key.id.provider.to_string(),
            durability: Durability::Now,
            ..core_event(caller, "destroy", key.id.name.clone())
        };
        let (store, audit) = (service.shared.store.clone(), service.shared.audit.clone());
        let work = move |provider: &mut dyn Provider| {
            audit.admit()?;
            match destroy_key(&store, provider, &key) {
                // Its owner was faster, and that is on record.
                Err(Refusal::KeyUnknown { .. }) => Ok(()),
                destroyed => audited::record(&audit, &event, Some(key.uid), destroyed),
            }
        };
        service.worker(id)?.run(caller.peer().uid, work).await?;
    }
    Ok(())
}

fn demand(service: &Service, caller: &Caller) -> Result<(), Refusal> {
    let capability = Capability::ManageClients;
    if service.shared.grants.allow(caller, capability) {
        return Ok(());
    }
    info!(target: "audit", by = %caller, capability = capability.name(), "grant missing");
    Err(Refusal::AdminOnly { capability })
}
