//! Records of attesting keys that this TPM does not have: another one may, which comes back.
//!
//! An agent that is started once with another TPM (or before a TPM's state was put back) makes that one's attesting keys. Those of the
//! first are set aside with their certificates, and taken up again where the TPM has them at their handles.

use tracing::info;
use vouchsafe_evidence::tpm::HashAlg;

use super::record::{Origin, Record};
use super::{PERSISTENT_HANDLES, certificates, is_at};
use crate::provider::{Family, Fault, StateStore};
use crate::tpm::Tpm;

/// Records that are set aside, of one origin. Beyond them the next ones are forgotten.
const RECORDS: usize = 16;

fn kind(origin: Origin) -> String {
    format!("{}.aside", origin.kind())
}

/// Names of keys have no slash, so that name and digest are never confused.
fn name_aside(name: &str, record: &[u8]) -> String {
    let digest = HashAlg::Sha256.digest(&[record]);
    let digits: String = digest.iter().take(16).map(|octet| format!("{octet:02x}")).collect();
    format!("{name}/{digits}")
}

/// Sets the record of that name aside.
pub(super) fn put(store: &dyn StateStore, origin: Origin, name: &str) -> Result<(), Fault> {
    if let Some(record) = store.load(origin.kind(), name)?
        && store.names(&kind(origin))?.len() < RECORDS
    {
        let aside = name_aside(name, &record);
        for family in Family::ALL {
            certificates::copy(store, (name, family), (&aside, family))?;
        }
        store.replace(&kind(origin), &aside, &record)?;
    }
    store.remove(origin.kind(), name)?;
    certificates::forget(store, name)
}

/// Takes up what was set aside and is this TPM's, under names that are free. The names.
pub(super) fn take(tpm: &mut Tpm, store: &dyn StateStore, origin: Origin) -> Result<Vec<String>, Fault> {
    let mut taken = Vec::new();
    for aside in store.names(&kind(origin))? {
        let (Some((name, _)), Some(record)) = (aside.split_once('/'), store.load(&kind(origin), &aside)?) else {
            continue;
        };
        let (handle, public) = match Record::parse(&record, origin)? {
            Record::Made(record) => (record.handle, record.public),
            Record::Imported(record) => (record.handle, record.public),
        };
        if !tpm.handles(PERSISTENT_HANDLES)?.contains(&handle) || !is_at(tpm, handle, &public)? {
            continue;
        }
        if !store.store_if_absent(origin.kind(), name, &record)? {
            continue;
        }
        for family in Family::ALL {
            certificates::copy(store, (&aside, family), (name, family))?;
        }
        certificates::forget(store, &aside)?;
        store.remove(&kind(origin), &aside)?;
        info!(name, "this TPM has an attesting key that was set aside");
        taken.push(name.to_owned());
    }
    Ok(taken)
}
