//! Certificates of endorsement keys, which TPMs come with (TCG EK Credential Profile).

use crate::Malformed;
use crate::oid::{self, Oid};
use crate::x509::CertView;
use crate::x509::extensions::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};

/// Reads a certificate, or one of an endorsement key with the octets that fill its place in a TPM's NV memory.
pub(super) fn read_certificate(bytes: &[u8]) -> Result<CertView, Malformed> {
    CertView::parse(bytes)
        .or_else(|malformed| CertView::parse_padded(bytes).ok().filter(is_endorsement_key).ok_or(malformed))
}

/// Whether a certificate is of an endorsement key and of no CA: by its purpose or, where it states none, by naming a
/// TPM, or by a key usage that allows nothing but what such keys do.
pub(super) fn is_endorsement_key(certificate: &CertView) -> bool {
    if is_authority(certificate) {
        return false;
    }
    match value(certificate, oid::EXTENDED_KEY_USAGE).map(ExtendedKeyUsage::parse) {
        Some(Ok(purposes)) => purposes.contains(oid::KP_EK_CERTIFICATE),
        Some(Err(_)) => false,
        None => names_tpm(certificate) || only_receives_keys(certificate),
    }
}

/// Whether a certificate says that it is a CA's.
pub(super) fn is_authority(certificate: &CertView) -> bool {
    let constraints = value(certificate, oid::BASIC_CONSTRAINTS).map(BasicConstraints::parse);
    constraints.is_some_and(|constraints| constraints.is_ok_and(|constraints| constraints.ca))
}

fn value(certificate: &CertView, oid: Oid) -> Option<&[u8]> {
    certificate.extensions().find(|extension| extension.oid() == oid).map(|extension| extension.value())
}

fn names_tpm(certificate: &CertView) -> bool {
    let names = value(certificate, oid::SUBJECT_ALT_NAME).and_then(|value| SubjectAltName::parse(value).ok());
    names.is_some_and(|names| matches!(names.tpm_attribute(oid::TPM_MANUFACTURER), Ok(Some(_)) | Err(_)))
}

fn only_receives_keys(certificate: &CertView) -> bool {
    let allowed = KeyUsage::KEY_ENCIPHERMENT | KeyUsage::KEY_AGREEMENT;
    let usage = value(certificate, oid::KEY_USAGE).and_then(|value| KeyUsage::parse(value).ok());
    usage.is_some_and(|usage| usage.bits() != 0 && usage.bits() & !allowed == 0)
}
