//! The ACME server's documents in SQLite.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Sqlite, unless_taken};
use crate::store::StoreError;
use crate::store::acme::{AcmeChange, AcmeDocument, AcmeKind, AcmeStore};

impl AcmeStore for Sqlite {
    fn acme_document(&self, kind: AcmeKind, id: &[u8]) -> Result<Option<AcmeDocument>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT version, body FROM acme_documents WHERE kind = ?1 AND id = ?2")?;
            Ok(statement
                .query_row(params![kind.as_str(), id], |row| {
                    Ok(AcmeDocument { version: row.get(0)?, body: row.get(1)? })
                })
                .optional()?)
        })
    }

    fn acme_owned(&self, kind: AcmeKind, owner: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id FROM acme_documents WHERE owner = ?1 AND kind = ?2 ORDER BY expires DESC, id LIMIT ?3",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            Ok(statement
                .query_map(params![owner, kind.as_str(), limit], |row| row.get(0))?
                .collect::<Result<_, _>>()?)
        })
    }

    fn acme_change(&self, changes: Vec<AcmeChange>) -> Result<(), StoreError> {
        self.writer.write(move |connection| changes.iter().try_for_each(|change| apply(connection, change)))
    }
}

fn apply(connection: &Connection, change: &AcmeChange) -> Result<(), StoreError> {
    let changed = match change {
        AcmeChange::Below { kind, owner, limit } => {
            let mut statement =
                connection.prepare_cached("SELECT count(*) < ?3 FROM acme_documents WHERE owner = ?1 AND kind = ?2")?;
            let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
            usize::from(statement.query_row(params![owner, kind.as_str(), limit], |row| row.get::<_, bool>(0))?)
        }
        AcmeChange::Create { kind, id, owner, expires, body } => {
            let mut statement = connection.prepare_cached(
                "INSERT INTO acme_documents (kind, id, owner, version, expires, body) VALUES (?1, ?2, ?3, 0, ?4, ?5)",
            )?;
            let row = params![kind.as_str(), id, owner, expires, body];
            return unless_taken(statement.execute(row), StoreError::AcmeConflict);
        }
        AcmeChange::Replace { kind, id, version, body } => connection
            .prepare_cached(
                "UPDATE acme_documents SET body = ?4, version = version + 1
                 WHERE kind = ?1 AND id = ?2 AND version = ?3",
            )?
            .execute(params![kind.as_str(), id, version, body])?,
        AcmeChange::Remove { kind, id } => connection
            .prepare_cached("DELETE FROM acme_documents WHERE kind = ?1 AND id = ?2")?
            .execute(params![kind.as_str(), id])?,
    };
    if changed == 1 { Ok(()) } else { Err(StoreError::AcmeConflict) }
}
