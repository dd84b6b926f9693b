//! Certificates of the machine's attesting keys, by family.

use super::AttestationKey;
use crate::provider::tpm::attest::not_by_this_attesting_key;
use crate::provider::{Family, FamilyCertificates, Fault, MechanismName, StateStore, chain};

pub(super) const CERTIFICATES: &str = "tpm.attesting-key.certificates";

// A slash cannot be in a name, so key and family are never confused.
pub(super) fn certificates_name(name: &str, family: Family) -> String {
    format!("{name}/{}", family.as_str())
}

pub(super) fn forget(store: &dyn StateStore, name: &str) -> Result<(), Fault> {
    for family in Family::ALL {
        store.remove(CERTIFICATES, &certificates_name(name, family))?;
    }
    Ok(())
}

/// Copies what there is of certificates from one name to another.
pub(super) fn copy(
    store: &dyn StateStore,
    (from, family): (&str, Family),
    (to, of): (&str, Family),
) -> Result<(), Fault> {
    if let Some(bytes) = store.load(CERTIFICATES, &certificates_name(from, family))? {
        store.replace(CERTIFICATES, &certificates_name(to, of), &bytes)?;
    }
    Ok(())
}

/// The certificates of `key` for `family`, its own first; empty if it has none.
pub(in crate::provider::tpm) fn certificates(
    store: &dyn StateStore,
    key: &AttestationKey,
    family: Family,
) -> Result<Vec<Vec<u8>>, Fault> {
    match store.load(CERTIFICATES, &certificates_name(&key.name, family))? {
        Some(bytes) => chain::parse(&bytes),
        None => Ok(Vec::new()),
    }
}

/// Keeps the certificates of `key`, of all families or of none.
pub(in crate::provider::tpm) fn install_certificates(
    store: &dyn StateStore,
    key: &AttestationKey,
    new: &[FamilyCertificates],
) -> Result<(), Fault> {
    let records = new.iter().map(|new| Ok((certificates_name(&key.name, new.family), record_of(key, new)?)));
    Ok(store.replace_all(CERTIFICATES, &records.collect::<Result<Vec<_>, Fault>>()?)?)
}

/// What is kept of a family's certificates, if they are this key's.
fn record_of(key: &AttestationKey, new: &FamilyCertificates) -> Result<Vec<u8>, Fault> {
    let record = chain::to_bytes(&key.spki, &new.certificates)?;
    if !key.families().contains(&new.family) {
        let mechanism = match new.family {
            Family::Attest => MechanismName::TpmCertify,
            Family::CertifyX509 => MechanismName::TpmCertifyX509,
            Family::PkixEvidence => MechanismName::PkixEvidence,
        };
        return Err(not_by_this_attesting_key(mechanism));
    }
    Ok(record)
}
