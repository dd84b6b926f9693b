//! Keys as they are stored.

use std::fmt;

use rusqlite::Row;

use super::StoreError;
use crate::client_id::ClientId;
use crate::provider::{KeyBlob, KeyPurpose, KeyUid};
use crate::provider_identity::ProviderName;

/// Which key: clients have name spaces of their own, and so has each provider. Prints as `CLIENT/PROVIDER/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyId {
    /// Whose it is.
    pub client: ClientId,
    /// The provider that holds it, by its name in the configuration.
    pub provider: ProviderName,
    /// The client's name for it.
    pub name: String,
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}", self.client, self.provider, self.name)
    }
}

/// A stored key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// Which key.
    pub id: KeyId,
    /// The key's own id. A key that is destroyed and made again under one name has another.
    pub uid: KeyUid,
    /// What kind of thing it is.
    pub role: KeyRole,
    /// The protobuf `KeyAttributes`; empty for an attesting key.
    pub attributes: Vec<u8>,
    /// The provider's blob. Of a public key the key itself, in its PSA export format.
    pub blob: KeyBlob,
}

/// What a listing says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKey {
    /// The provider that holds the key, by its name in the configuration.
    pub provider: ProviderName,
    /// The client's name for it.
    pub name: String,
    /// What kind of thing it is.
    pub role: KeyRole,
    /// The protobuf `KeyAttributes`; empty for an attesting key.
    pub attributes: Vec<u8>,
}

impl ListedKey {
    /// Of the columns provider, name, purpose and attributes.
    pub(super) fn of_row(row: &Row<'_>) -> Result<ListedKey, StoreError> {
        let role = KeyRole::of_name(row.get(2)?)?;
        Ok(ListedKey { provider: provider(row.get(0)?)?, name: row.get(1)?, role, attributes: row.get(3)? })
    }
}

/// A key that is about to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// Which key.
    pub id: KeyId,
    /// The key's own id.
    pub uid: KeyUid,
    /// The Unix user on whose quota it counts, as the kernel knows it.
    pub owner: u32,
    /// What kind of thing it is.
    pub role: KeyRole,
    /// The protobuf `KeyAttributes`; empty for an attesting key.
    pub attributes: Vec<u8>,
}

impl NewKey {
    /// The key with its blob.
    #[must_use]
    pub fn with_blob(self, blob: KeyBlob) -> StoredKey {
        StoredKey { id: self.id, uid: self.uid, role: self.role, attributes: self.attributes, blob }
    }
}

/// What a stored key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRole {
    /// A key pair in the provider's module, made for this.
    Pair(KeyPurpose),
    /// A public key that was brought in; its provider knows nothing of it.
    Public,
}

impl KeyRole {
    const ALL: [Self; 4] =
        [Self::Pair(KeyPurpose::Sign), Self::Pair(KeyPurpose::Attest), Self::Pair(KeyPurpose::Decrypt), Self::Public];

    fn of_name(name: String) -> Result<Self, StoreError> {
        let role = Self::ALL.into_iter().find(|role| role.name() == name);
        role.ok_or(StoreError::Damaged { column: "purpose", found: name })
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pair(KeyPurpose::Sign) => "sign",
            Self::Pair(KeyPurpose::Attest) => "attest",
            Self::Pair(KeyPurpose::Decrypt) => "decrypt",
            Self::Public => "public",
        }
    }
}

/// How far a row has come. Every operation sees keys that are ready and no others; of others the name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyState {
    /// The module is being asked for the key.
    Making,
    /// The key is there.
    Ready,
    /// The module is being asked to destroy the key.
    Leaving,
}

impl KeyState {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Making => "making",
            Self::Ready => "ready",
            Self::Leaving => "leaving",
        }
    }
}

/// Of the columns that [`RawKey`] reads, in its order, those of keys that are ready.
macro_rules! select {
    ($keys:literal) => {
        concat!(
            "SELECT client, provider, name, uid, purpose, attributes, blob FROM keys ",
            $keys,
            " AND state = 'ready' ORDER BY provider, name"
        )
    };
}

/// The key of a client, provider and name.
pub(super) const OF_NAME: &str = select!("WHERE client = ?1 AND provider = ?2 AND name = ?3");

/// The same if it is in a row that was guessed; no index is searched.
pub(super) const OF_NAME_IN_ROW: &str =
    select!("NOT INDEXED WHERE client = ?1 AND provider = ?2 AND name = ?3 AND id = ?4");

/// The keys of a client, by provider and name.
pub(super) const OF_CLIENT: &str = select!("WHERE client = ?1");

/// A row of the table, before its values are known to be of their kinds.
pub(super) struct RawKey {
    client: String,
    provider: String,
    name: String,
    uid: Vec<u8>,
    purpose: String,
    attributes: Vec<u8>,
    blob: Vec<u8>,
}

impl RawKey {
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<RawKey> {
        Ok(RawKey {
            client: row.get(0)?,
            provider: row.get(1)?,
            name: row.get(2)?,
            uid: row.get(3)?,
            purpose: row.get(4)?,
            attributes: row.get(5)?,
            blob: row.get(6)?,
        })
    }

    pub(super) fn check(self) -> Result<StoredKey, StoreError> {
        let uid = key_uid(self.uid)?;
        let role = KeyRole::of_name(self.purpose)?;
        let id = KeyId { client: client(self.client)?, provider: provider(self.provider)?, name: self.name };
        Ok(StoredKey { id, uid, role, attributes: self.attributes, blob: KeyBlob::from_bytes(self.blob) })
    }
}

pub(super) fn client(text: String) -> Result<ClientId, StoreError> {
    text.parse().map_err(|_| StoreError::Damaged { column: "client", found: text })
}

fn provider(text: String) -> Result<ProviderName, StoreError> {
    text.parse().map_err(|_| StoreError::Damaged { column: "provider", found: text })
}

pub(super) fn key_uid(octets: Vec<u8>) -> Result<KeyUid, StoreError> {
    let found = octets.len();
    let octets =
        octets.try_into().map_err(|_| StoreError::Damaged { column: "uid", found: format!("of {found} octets") })?;
    Ok(KeyUid::from_octets(octets))
}
