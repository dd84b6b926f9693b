//! What the ACME server remembers: accounts, orders, authorizations, and replay nonces that were spent.
//!
//! Each is a small document, which is replaced only by whoever has read its present version, so that of two requests that
//! would change the same thing one wins and the other is told. The store does not look inside.

use super::StoreError;

/// Octets of a document, at most: an authorization holds the evidence of a module.
pub const ACME_DOCUMENT_OCTETS_MAX: usize = 512 * 1024;

/// Which kind of document it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AcmeKind {
    /// An account.
    Account,
    /// Which account a key is that of, by the key's thumbprint.
    AccountKey,
    /// Who may prove what an order is for.
    Authorization,
    /// Which order a certificate was issued for, by its serial number.
    Certificate,
    /// A replay nonce that was spent.
    Nonce,
    /// An order.
    Order,
}

impl AcmeKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::AccountKey => "account-key",
            Self::Authorization => "authorization",
            Self::Certificate => "certificate",
            Self::Nonce => "nonce",
            Self::Order => "order",
        }
    }
}

/// A document as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeDocument {
    /// How often it was replaced.
    pub version: i64,
    /// What it says.
    pub body: Vec<u8>,
}

/// One change to the documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcmeChange {
    /// None, but the changes are made only while an owner has fewer documents of a kind than this.
    Below {
        /// The kind.
        kind: AcmeKind,
        /// Whose they are.
        owner: Vec<u8>,
        /// How many it may have.
        limit: usize,
    },
    /// A new document.
    Create {
        /// Its kind.
        kind: AcmeKind,
        /// Its identifier, which no other of the kind has.
        id: Vec<u8>,
        /// Whose it is: the identifier of an account, and of an account the name of its external account; empty where it is
        /// nobody's.
        owner: Vec<u8>,
        /// When it may be removed, seconds since the epoch.
        expires: i64,
        /// What it says.
        body: Vec<u8>,
    },
    /// Another content for a document.
    Replace {
        /// Its kind.
        kind: AcmeKind,
        /// Its identifier.
        id: Vec<u8>,
        /// The version that was read.
        version: i64,
        /// What it says now.
        body: Vec<u8>,
    },
    /// No such document any more.
    Remove {
        /// Its kind.
        kind: AcmeKind,
        /// Its identifier.
        id: Vec<u8>,
    },
}

/// The part of [`super::Store`] that is about ACME.
pub trait AcmeStore {
    /// A document.
    ///
    /// # Errors
    /// [`StoreError::Database`], as for every method below.
    fn acme_document(&self, kind: AcmeKind, id: &[u8]) -> Result<Option<AcmeDocument>, StoreError>;

    /// Identifiers of an owner's documents of one kind, the newest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn acme_owned(&self, kind: AcmeKind, owner: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, StoreError>;

    /// Makes the changes, all of them or none.
    ///
    /// # Errors
    /// [`StoreError::AcmeConflict`] if a document is there already, is no longer, or was replaced since it was read, and if an
    /// owner has as many as it may.
    fn acme_change(&self, changes: Vec<AcmeChange>) -> Result<(), StoreError>;
}
