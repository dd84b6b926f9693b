//! Where in the table a key probably is, so that the index of names need not be searched.
//!
//! Among 10,000 keys that search reads two pages and compares a dozen names, all over the memory; a row whose number is known
//! is there at once. What stands here is a guess that the row itself confirms: it says whose it is and how it is called.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use rusqlite::Connection;

/// Rows that are remembered, one for each u16: 256 KiB. Of two keys with one place the later is remembered.
const PLACES: usize = 1 << 16;

/// Numbers of rows by a keyed digest of client, provider and name. Zero is no row.
pub(super) struct Rows {
    digest: RandomState,
    places: Vec<u32>,
}

impl Rows {
    /// Of what is in the database, the first rows of it where there are more than are remembered.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Rows> {
        let mut rows = Rows { digest: RandomState::new(), places: vec![0; PLACES] };
        let mut statement = connection.prepare("SELECT client, provider, name, id FROM keys LIMIT ?1")?;
        let mut found = statement.query([u32::try_from(PLACES).unwrap_or(u32::MAX)])?;
        while let Some(row) = found.next()? {
            let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
            rows.note((text(0)?, text(1)?, text(2)?), row.get(3)?);
        }
        Ok(rows)
    }

    /// The row in which the key of that client, provider and name may be; 0 if nothing is known.
    pub(super) fn guess(&self, key: (&str, &str, &str)) -> u32 {
        self.places.get(self.place(key)).copied().unwrap_or_default()
    }

    /// Remembers a row.
    pub(super) fn note(&mut self, key: (&str, &str, &str), row: i64) {
        let place = self.place(key);
        if let (Some(place), Ok(row)) = (self.places.get_mut(place), u32::try_from(row)) {
            *place = row;
        }
    }

    fn place(&self, key: (&str, &str, &str)) -> usize {
        let [low, high, ..] = self.digest.hash_one(key).to_le_bytes();
        u16::from_le_bytes([low, high]).into()
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Rows")
    }
}
