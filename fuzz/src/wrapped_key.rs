//! What must hold for any octets that are handed in as an attesting key. The fuzz target calls it; an ordinary test of the
//! agent runs it over seeds and altered ones.

#![allow(clippy::unwrap_used)]

use vouchsafe_agent::provider::tpm::read_wrapped_attesting_key;
use vouchsafe_evidence::tpm::{ObjectAttributes, TpmtPublic};

/// What is taken can attest and do nothing else, whatever the file says beside the key's public area.
pub fn wrapped_key(data: &[u8]) {
    let Ok(public) = read_wrapped_attesting_key(data) else { return };
    let attributes = public.attributes();
    for needed in [
        ObjectAttributes::SIGN,
        ObjectAttributes::RESTRICTED,
        ObjectAttributes::FIXED_TPM,
        ObjectAttributes::FIXED_PARENT,
        ObjectAttributes::SENSITIVE_DATA_ORIGIN,
        ObjectAttributes::USER_WITH_AUTH,
    ] {
        assert!(attributes.contains(needed));
    }
    assert!(!attributes.contains(ObjectAttributes::DECRYPT) && public.auth_policy().is_empty());
    assert_eq!(TpmtPublic::parse(public.as_bytes()).unwrap().as_bytes(), public.as_bytes());
}
