//! What a store promises, of each that there is: every test here runs on SQLite and on PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]

mod acme;
mod binding;
mod certified_keys;
mod decisions;
mod faults;
mod lists;
mod migration;
#[path = "../../tests/authority/postgres.rs"]
mod postgres;

use std::sync::Arc;

use vouchsafe_verifier::enrolment::{Environment, Method};

use super::*;
use crate::nonce::{Mint, Purpose, Session};
use crate::secret::StateSecret;

/// A database that can be opened more than once, as two instances of the authority do.
trait Place: Sync {
    fn try_open(&self) -> Result<Arc<dyn Store>, StoreError>;

    fn open(&self) -> Arc<dyn Store> {
        self.try_open().unwrap()
    }
}

struct File(tempfile::TempDir);

impl File {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Place for File {
    fn try_open(&self) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(Sqlite::open(&self.0.path().join("db"))?))
    }
}

struct Database(crate::config::PostgresConfig);

impl Database {
    fn new() -> Self {
        Self::at(&postgres::Server::shared().database())
    }

    fn at(url: &str) -> Self {
        Self::from_setting(&format!("database = '{url}'"))
    }

    fn from_setting(setting: &str) -> Self {
        match crate::config::DatabaseConfig::from_toml(setting).unwrap() {
            DatabaseConfig::Postgres(server) => Self(*server),
            DatabaseConfig::Sqlite => panic!("no server"),
        }
    }
}

impl Place for Database {
    fn try_open(&self) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(Postgres::open(&self.0)?))
    }
}

/// Each of these on both databases.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[test] fn $test() { super::$test(&super::super::File::new()); })*
        }
        mod postgresql {
            $(#[test] fn $test() { super::$test(&super::super::Database::new()); })*
        }
    };
}
use on_both;

fn decision(kind: DecisionKind) -> Decision {
    Decision {
        at: 1_000,
        kind,
        account: "alice".to_owned(),
        outcome: Outcome::Accepted,
        commitment: [7; 32],
        sealed: vec![1, 2, 3],
    }
}

fn certificate(serial: u8) -> CertificateRecord {
    CertificateRecord {
        serial: vec![serial; 20],
        der: vec![serial; 500],
        not_after: 2_000,
        key_use: KeyUse::None,
        certified: certified(serial, 1),
    }
}

/// A key that is certified for a subject.
fn certified(key: u8, subject: u8) -> Certified {
    Certified::of_subject([key; 32], [subject; 32], "device".to_owned(), false)
}

fn proof() -> Proof {
    Proof {
        method: Method::Manufacturer,
        environment: Environment::Module,
        digest: [9; 32],
        approvers: vec!["somebody".to_owned()],
    }
}

fn key(device: &str, ek: u8, ak: u8) -> EnrolledKey {
    EnrolledKey {
        account: "alice".to_owned(),
        device: device.to_owned(),
        identity: [ek; 32],
        ek_certificate: vec![ek],
        is_virtual: false,
        material: AkMaterial::Tpm { public: vec![ak], name: vec![ak; 34] },
        spki_digest: [ak; 32],
        proof: proof(),
        is_exclusive: false,
        baseline: None,
    }
}

fn revocation(at: i64, reason: RevocationReason) -> Revocation {
    Revocation { at, reason, approver: "somebody".to_owned() }
}

/// Nonces that were minted at the moment 1,000.
struct Nonces(Mint);

impl Nonces {
    fn new() -> Self {
        Self(Mint::new(&StateSecret::new([5; 32]), 300))
    }

    fn mint(&self, at: i64) -> [u8; NONCE_OCTETS] {
        self.0.mint(Purpose::Certificate { profile: "device", session: Session::Json }, "alice", at).unwrap()
    }

    fn spend(&self, octets: &[u8; NONCE_OCTETS], at: i64, request: u8) -> Spending {
        let purpose = Purpose::Certificate { profile: "device", session: Session::Json };
        Spending::new(self.0.recognize(octets, purpose, "alice").unwrap().fresh(at).unwrap(), [request; 32])
    }
}
