//! The authority in-process, on HTTPS, with a fixed clock and software stand-ins for modules.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_docs
)]

#[path = "authority/acme.rs"]
mod acme;
#[path = "authority/ak_certificates.rs"]
mod ak_certificates;
#[path = "authority/appraisals.rs"]
mod appraisals;
#[path = "authority/attacks.rs"]
mod attacks;
#[path = "authority/certificates.rs"]
mod certificates;
#[path = "authority/certified_keys.rs"]
mod certified_keys;
#[path = "authority/cmp.rs"]
mod cmp;
#[path = "authority/crash.rs"]
mod crash;
#[path = "authority/credentials.rs"]
mod credentials;
#[path = "authority/decrypting_ak.rs"]
mod decrypting_ak;
#[path = "authority/enrolment.rs"]
mod enrolment;
#[path = "authority/est.rs"]
mod est;
#[path = "authority/faults.rs"]
mod faults;
#[path = "authority/host.rs"]
mod host;
#[path = "authority/issuers.rs"]
mod issuers;
#[path = "authority/leaks.rs"]
mod leaks;
#[path = "authority/lifecycle.rs"]
mod lifecycle;
#[path = "authority/limits.rs"]
mod limits;
#[path = "authority/lint.rs"]
mod lint;
#[path = "authority/lists.rs"]
mod lists;
#[path = "authority/made.rs"]
mod made;
#[path = "authority/methods.rs"]
mod methods;
#[path = "authority/module.rs"]
mod module;
#[path = "authority/names.rs"]
mod names;
#[path = "authority/openapi.rs"]
mod openapi;
#[path = "authority/postgres.rs"]
mod postgres;
#[path = "authority/process.rs"]
mod process;
#[path = "authority/protocols.rs"]
mod protocols;
#[path = "authority/pseudonyms.rs"]
mod pseudonyms;
#[path = "authority/published.rs"]
mod published;
#[path = "authority/results.rs"]
mod results;
#[path = "authority/revocations.rs"]
mod revocations;
#[path = "authority/server.rs"]
mod server;
#[path = "authority/shared_database.rs"]
mod shared_database;
#[path = "authority/site.rs"]
mod site;
#[path = "authority/store.rs"]
mod store;
#[path = "authority/tpm.rs"]
mod tpm;
#[path = "authority/upstream.rs"]
mod upstream;
