//! Records of attesting keys that this token does not hold: another one of the same name may, which comes back.
//!
//! An agent that finds another token of the configured label (a spare one, or one that was initialized anew before its backup
//! was restored) makes that one's attesting keys. Those of the first are set aside with their certificates, and taken up again
//! where the token holds them. What the token holds decides, not its serial number: a token that was initialized anew
//! keeps that, and one that was restored from a backup may have another, while CKA_ID and public key say exactly which key it is.

use tracing::{info, warn};

use super::{CERTIFICATES, KIND, Record, is_held};
use crate::provider::pkcs11::token::Token;
use crate::provider::{Fault, StateStore};

const KIND_ASIDE: &str = "pkcs11.attesting-key.aside";
const CERTIFICATES_ASIDE: &str = "pkcs11.attesting-key.certificates.aside";
/// Records that are set aside. Beyond them the next ones are forgotten.
const RECORDS: usize = 16;

/// Copies what there is of certificates.
fn copy_certificates(store: &dyn StateStore, from: (&str, &str), to: (&str, &str)) -> Result<(), Fault> {
    match store.load(from.0, from.1)? {
        Some(bytes) => store.replace(to.0, to.1, &bytes)?,
        None => store.remove(to.0, to.1)?,
    }
    Ok(())
}

/// Sets the record of that name aside.
pub(super) fn put(store: &dyn StateStore, name: &str) -> Result<(), Fault> {
    if let Some(bytes) = store.load(KIND, name)?
        && let Record::Made(blob, _) = Record::parse(&bytes).map_err(Fault::BlobInvalid)?
    {
        // Names of keys have no slash, so that name and id are never confused.
        let aside = format!("{name}/{}", blob.uid);
        if store.names(KIND_ASIDE)?.len() < RECORDS {
            copy_certificates(store, (CERTIFICATES, name), (CERTIFICATES_ASIDE, &aside))?;
            store.replace(KIND_ASIDE, &aside, &bytes)?;
        } else {
            warn!(name, key = %blob.uid, "too many attesting keys are set aside: this one is forgotten");
        }
    }
    store.remove(KIND, name)?;
    Ok(store.remove(CERTIFICATES, name)?)
}

/// Takes up what was set aside and is held by this token, under names that are free. The names.
pub(super) fn take(token: &mut Token, store: &dyn StateStore) -> Result<Vec<String>, Fault> {
    let mut taken = Vec::new();
    for aside in store.names(KIND_ASIDE)? {
        let (Some((name, _)), Some(bytes)) = (aside.split_once('/'), store.load(KIND_ASIDE, &aside)?) else { continue };
        let Record::Made(blob, _) = Record::parse(&bytes).map_err(Fault::BlobInvalid)? else { continue };
        if store.load(KIND, name)?.is_some_and(|there| there != bytes) || !is_held(token, store, &blob)? {
            continue;
        }
        // The certificates first: if the agent dies in between, the next start does it all once more.
        copy_certificates(store, (CERTIFICATES_ASIDE, &aside), (CERTIFICATES, name))?;
        store.replace(KIND, name, &bytes)?;
        store.remove(KIND_ASIDE, &aside)?;
        store.remove(CERTIFICATES_ASIDE, &aside)?;
        info!(name, key = %blob.uid, "this token holds an attesting key that was set aside");
        taken.push(name.to_owned());
    }
    Ok(taken)
}
