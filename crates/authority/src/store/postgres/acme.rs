//! The ACME server's documents in PostgreSQL.

use super::Postgres;
use super::decisions::prepared;
use crate::store::StoreError;
use crate::store::acme::{AcmeChange, AcmeDocument, AcmeKind, AcmeStore};

impl AcmeStore for Postgres {
    fn acme_document(&self, kind: AcmeKind, id: &[u8]) -> Result<Option<AcmeDocument>, StoreError> {
        let id = id.to_vec();
        self.statement(async move |client| {
            let statement =
                prepared(client, "SELECT version, body FROM acme_documents WHERE kind = $1 AND id = $2").await?;
            let Some(row) = client.query_opt(&statement, &[&kind.as_str(), &id]).await? else { return Ok(None) };
            Ok(Some(AcmeDocument { version: row.try_get(0)?, body: row.try_get(1)? }))
        })
    }

    fn acme_owned(&self, kind: AcmeKind, owner: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let owner = owner.to_vec();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.statement(async move |client| {
            let statement = prepared(
                client,
                "SELECT id FROM acme_documents WHERE owner = $1 AND kind = $2 ORDER BY expires DESC, id LIMIT $3",
            )
            .await?;
            let rows = client.query(&statement, &[&owner, &kind.as_str(), &limit]).await?;
            Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
        })
    }

    fn acme_change(&self, changes: Vec<AcmeChange>) -> Result<(), StoreError> {
        self.transaction(async move |transaction| {
            for change in &changes {
                let changed = match change {
                    AcmeChange::Below { kind, owner, limit } => {
                        let count = "SELECT count(*) < $3 FROM acme_documents WHERE owner = $1 AND kind = $2";
                        let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
                        let row = transaction.query_one(count, &[owner, &kind.as_str(), &limit]).await?;
                        u64::from(row.try_get::<_, bool>(0)?)
                    }
                    AcmeChange::Create { kind, id, owner, expires, body } => {
                        let insert = "
                            INSERT INTO acme_documents (kind, id, owner, version, expires, body)
                            VALUES ($1, $2, $3, 0, $4, $5) ON CONFLICT (kind, id) DO NOTHING";
                        transaction.execute(insert, &[&kind.as_str(), id, owner, expires, body]).await?
                    }
                    AcmeChange::Replace { kind, id, version, body } => {
                        let update = "
                            UPDATE acme_documents SET body = $4, version = version + 1
                            WHERE kind = $1 AND id = $2 AND version = $3";
                        transaction.execute(update, &[&kind.as_str(), id, version, body]).await?
                    }
                    AcmeChange::Remove { kind, id } => {
                        let delete = "DELETE FROM acme_documents WHERE kind = $1 AND id = $2";
                        transaction.execute(delete, &[&kind.as_str(), id]).await?
                    }
                };
                if changed != 1 {
                    return Err(StoreError::AcmeConflict);
                }
            }
            Ok(())
        })
    }
}
