//! What a database server may say instead of an answer, and what to do about it.

use std::path::PathBuf;
use std::sync::Arc;

use deadpool_postgres::PoolError;
use deadpool_postgres::TimeoutType;
use thiserror::Error;
use tokio_postgres::error::SqlState;

use super::link::PATIENCE;
use crate::store::StoreError;

/// Why the database server did not do what was asked. Several requests may share one.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Every connection is in use.
    #[error(
        "every connection to the database is in use; raise `connections` under [database], or send fewer requests at once"
    )]
    Busy,
    /// Another transaction was in the way each time that this one was tried.
    #[error("other transactions on the same rows were in the way; send the request again")]
    Contended(#[source] Arc<tokio_postgres::Error>),
    /// A table is there already.
    #[error("a table of this name is there already")]
    Duplicate(#[source] Arc<tokio_postgres::Error>),
    /// No room for another row.
    #[error("the disk of the database server is full; free some space there and requests are served again")]
    DiskFull(#[source] Arc<tokio_postgres::Error>),
    /// Another transaction holds what this one needs.
    #[error(
        "another program has rows or tables of the database locked; end its transaction and requests are served again"
    )]
    Locked(#[source] Arc<tokio_postgres::Error>),
    /// User or password is refused.
    #[error(
        "the database server refuses this user or password; correct `url` or `password_file` under [database], or pg_hba.conf \
         of the server"
    )]
    Login(#[source] Arc<tokio_postgres::Error>),
    /// The server takes no more connections.
    #[error(
        "the database server takes no more connections; raise max_connections there, or lower `connections` under [database]"
    )]
    ConnectionLimit(#[source] Arc<tokio_postgres::Error>),
    /// There is no such database.
    #[error(
        "the database server has no database of this name; create it there (createdb), or correct `url` under [database]"
    )]
    NoDatabase(#[source] Arc<tokio_postgres::Error>),
    /// The server would lose what it says is written.
    #[error("the database server runs with fsync = off and may lose what it said is written; turn it on there")]
    NotDurable,
    /// What the server says beyond this list: damage, or a defect here.
    #[error("the database server refused a statement")]
    Other(#[source] Arc<tokio_postgres::Error>),
    /// The file with the password cannot be read.
    #[error("password_file of [database], {}, cannot be read", path.display())]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: Arc<std::io::Error>,
    },
    /// The user may not do this.
    #[error("the database user lacks a right; make it the owner of the database (ALTER DATABASE ... OWNER TO ...)")]
    Privilege(#[source] Arc<tokio_postgres::Error>),
    /// A standby, or a server that was set to read only.
    #[error("the database server takes no writes; name the primary in `url` under [database]")]
    ReadOnly(#[source] Arc<tokio_postgres::Error>),
    /// The server is short of something other than disk.
    #[error("the database server is short of memory or another resource; its log says of what")]
    Short(#[source] Arc<tokio_postgres::Error>),
    /// No answer in time.
    #[error("the database server did not answer within {} seconds; see to it and the way to it, and requests are served again", PATIENCE.as_secs())]
    Silent,
    /// A row that is there already, where that is no refusal of its own.
    #[error("a row is there already ({constraint})")]
    Taken {
        /// The constraint that says so.
        constraint: String,
    },
    /// The CAs of the server's certificate cannot be read.
    #[error("tls_roots of [database], {}: no certificates (PEM) can be read there", path.display())]
    TlsRoots {
        /// The file.
        path: PathBuf,
    },
    /// The server is not there, is starting or stopping, or does not do TLS as it must.
    #[error(
        "the database server cannot be reached; start it, or correct `url` under [database]; requests are served again once it answers"
    )]
    Unreachable(#[source] Arc<tokio_postgres::Error>),
    /// The server is older than this program takes.
    #[error("the database server is PostgreSQL {major}, and {least} or newer is needed; upgrade it", least = super::schema::SERVER_VERSION_LEAST)]
    Version {
        /// Its major version.
        major: i64,
    },
}

impl ServerError {
    /// Whether it passes, or can be seen to at the server, while this program goes on.
    #[must_use]
    pub const fn passes(&self) -> bool {
        match self {
            Self::Busy
            | Self::ConnectionLimit(_)
            | Self::Contended(_)
            | Self::DiskFull(_)
            | Self::Locked(_)
            | Self::Login(_)
            | Self::NoDatabase(_)
            | Self::Privilege(_)
            | Self::ReadOnly(_)
            | Self::Short(_)
            | Self::Silent
            | Self::Unreachable(_) => true,
            Self::Duplicate(_)
            | Self::NotDurable
            | Self::Other(_)
            | Self::PasswordFile { .. }
            | Self::Taken { .. }
            | Self::TlsRoots { .. }
            | Self::Version { .. } => false,
        }
    }

    /// Whether this constraint says that a row is there already.
    pub(super) fn is_of(&self, name: &str) -> bool {
        matches!(self, Self::Taken { constraint } if constraint == name)
    }

    /// Whether the same transaction may be tried again at once: nothing of it was written, and what was in the way has
    /// gone on since.
    pub(super) const fn is_worth_another_try(&self) -> bool {
        match self {
            Self::Contended(_) | Self::Taken { .. } => true,
            Self::Busy
            | Self::ConnectionLimit(_)
            | Self::DiskFull(_)
            | Self::Duplicate(_)
            | Self::Locked(_)
            | Self::Login(_)
            | Self::NoDatabase(_)
            | Self::NotDurable
            | Self::Other(_)
            | Self::PasswordFile { .. }
            | Self::Privilege(_)
            | Self::ReadOnly(_)
            | Self::Short(_)
            | Self::Silent
            | Self::TlsRoots { .. }
            | Self::Unreachable(_)
            | Self::Version { .. } => false,
        }
    }
}

impl From<tokio_postgres::Error> for ServerError {
    fn from(error: tokio_postgres::Error) -> Self {
        let constraint = error.as_db_error().and_then(tokio_postgres::error::DbError::constraint).map(str::to_owned);
        let Some(code) = error.code().map(|code| code.code().to_owned()) else {
            // The connection, not the server, says so: refused, closed, or no TLS. A value that cannot be read is none
            // of these and has no code either.
            let is_of_rows = error.to_string().contains("deserializing") || error.to_string().contains("serializing");
            return if is_of_rows { Self::Other(Arc::new(error)) } else { Self::Unreachable(Arc::new(error)) };
        };
        let (class, error) = (code.get(..2).unwrap_or_default(), Arc::new(error));
        match code.as_str() {
            code if code == SqlState::UNIQUE_VIOLATION.code() => {
                Self::Taken { constraint: constraint.unwrap_or_default() }
            }
            code if code == SqlState::T_R_SERIALIZATION_FAILURE.code() => Self::Contended(error),
            code if code == SqlState::T_R_DEADLOCK_DETECTED.code() => Self::Contended(error),
            code if code == SqlState::DUPLICATE_TABLE.code() || code == SqlState::DUPLICATE_OBJECT.code() => {
                Self::Duplicate(error)
            }
            code if code == SqlState::DISK_FULL.code() => Self::DiskFull(error),
            code if code == SqlState::TOO_MANY_CONNECTIONS.code() => Self::ConnectionLimit(error),
            code if code == SqlState::LOCK_NOT_AVAILABLE.code() => Self::Locked(error),
            code if code == SqlState::QUERY_CANCELED.code() => Self::Silent,
            code if code == SqlState::READ_ONLY_SQL_TRANSACTION.code() => Self::ReadOnly(error),
            code if code == SqlState::INVALID_CATALOG_NAME.code() => Self::NoDatabase(error),
            code if code == SqlState::INSUFFICIENT_PRIVILEGE.code() => Self::Privilege(error),
            // Invalid authorization.
            _ if class == "28" => Self::Login(error),
            // Insufficient resources, and limits of the server.
            _ if class == "53" => Self::Short(error),
            // Connection exceptions, and an operator who stops the server or ends its connections.
            _ if class == "08" || class == "57" || code == "25P03" => Self::Unreachable(error),
            _ => Self::Other(error),
        }
    }
}

impl From<PoolError> for ServerError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Timeout(TimeoutType::Wait) => Self::Busy,
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => Self::Silent,
            PoolError::Backend(error) | PoolError::PostCreateHook(deadpool_postgres::HookError::Backend(error)) => {
                error.into()
            }
            // The pool lives as long as the thread that asks it, and has a runtime.
            PoolError::PostCreateHook(deadpool_postgres::HookError::Message(_))
            | PoolError::Closed
            | PoolError::NoRuntimeSpecified => Self::Busy,
        }
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Server(error.into())
    }
}
