//! What is left of keys whose creation or destruction was cut short.
//!
//! A provider's calls are made on one thread, so a key that is found neither ready nor gone is one that nobody is working on:
//! the agent was killed, or the module failed half-way and could not be asked to clean up.

use super::refusal::Refusal;
use super::slot::Provider;
use crate::provider::KeyUid;
use crate::provider_identity::ProviderName;
use crate::store::Store;

/// Has a provider that was just opened forget all such keys. What cannot be forgotten yet keeps its name taken and hinders
/// nothing else.
pub(super) fn settle_all(store: &Store, name: &ProviderName, provider: &mut dyn Provider) {
    let unsettled = match store.unsettled(name) {
        Ok(unsettled) => unsettled,
        Err(error) => {
            tracing::warn!(provider = %name, %error, "keys that were left half made cannot be looked for");
            return;
        }
    };
    for uid in unsettled {
        match settle(store, provider, &uid) {
            Ok(()) => {
                tracing::info!(provider = %name, key = %uid, "a key that was left half made or half destroyed is gone")
            }
            Err(refusal) => {
                tracing::warn!(provider = %name, key = %uid, %refusal, "a key that was left half made stays in the module");
            }
        }
    }
}

/// Has the module forget whatever it has of a key, and then forgets the key.
pub(super) fn settle(store: &Store, provider: &mut dyn Provider, uid: &KeyUid) -> Result<(), Refusal> {
    provider.abandon(uid)?;
    store.remove_key(uid)?;
    Ok(())
}
