//! Revocation lists before they are signed.

use std::collections::HashSet;

use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::build::CrlTemplate;
use vouchsafe_evidence::x509::der::{Reader, Tag};
use vouchsafe_evidence::x509::extensions::AuthorityKeyIdentifier;

use super::{LintError, check_unique};
use crate::certificate::{DAY_SECONDS, IssuerView};

/// For how long a list may be current (CA/Browser Forum, 4.9.7).
const CURRENT_SECONDS_MAX: i64 = 10 * DAY_SECONDS;
/// Octets of cRLNumber (RFC 5280, section 5.2.3).
const NUMBER_OCTETS_MAX: usize = 20;
/// Octets of a serial number (RFC 5280, section 4.1.2.2).
const SERIAL_OCTETS_MAX: usize = 20;
/// The reasons that an entry may give: unspecified is left out, 7 is not used, and nothing here is on hold.
const REASONS: [u8; 8] = [1, 2, 3, 4, 5, 8, 9, 10];

/// An extension taken apart.
struct Parts<'a> {
    oid: Oid,
    is_critical: bool,
    value: &'a [u8],
}

fn parts(extension: &[u8]) -> Result<Parts<'_>, LintError> {
    let mut outer = Reader::new(extension, "Extension");
    let mut fields = outer.sequence("Extension")?;
    outer.finish()?;
    let oid = fields.oid("extnID")?;
    let is_critical = match fields.optional(Tag::BOOLEAN)? {
        None => false,
        Some(flag) => flag.boolean()?,
    };
    let value = fields.octet_string("extnValue")?;
    fields.finish()?;
    Ok(Parts { oid, is_critical, value })
}

/// Checks a revocation list that is to be signed by `issuer`.
///
/// # Errors
/// The first rule that it breaks.
pub(crate) fn check_list(list: &CrlTemplate, issuer: &IssuerView<'_>) -> Result<(), LintError> {
    if list.algorithm != issuer.algorithm() {
        return Err(LintError::Algorithm);
    }
    if issuer.name.is_empty() || list.issuer != *issuer.name {
        return Err(LintError::Issuer);
    }
    let next = list.next_update.ok_or(LintError::Validity)?;
    let current = next.saturating_sub(list.this_update);
    if !(1..=CURRENT_SECONDS_MAX).contains(&current) {
        return Err(LintError::Validity);
    }
    let extensions: Vec<Parts<'_>> = list.extensions.iter().map(|der| parts(der)).collect::<Result<_, _>>()?;
    check_unique(extensions.iter().map(|extension| extension.oid))?;
    if let Some(critical) = extensions.iter().find(|extension| extension.is_critical) {
        return Err(LintError::Criticality(critical.oid));
    }
    let value = |oid| extensions.iter().find(|extension| extension.oid == oid).map(|extension| extension.value);
    let authority = value(oid::AUTHORITY_KEY_IDENTIFIER).ok_or(LintError::AuthorityKeyIdentifier)?;
    if AuthorityKeyIdentifier::parse(authority)?.key_identifier() != Some(issuer.key_identifier) {
        return Err(LintError::AuthorityKeyIdentifier);
    }
    let mut number = Reader::new(value(oid::CRL_NUMBER).ok_or(LintError::Number)?, "CRLNumber");
    let octets = number.unsigned("CRLNumber")?.len();
    number.finish()?;
    if octets > NUMBER_OCTETS_MAX {
        return Err(LintError::Number);
    }
    check_entries(list)
}

fn check_entries(list: &CrlTemplate) -> Result<(), LintError> {
    let mut serials = HashSet::with_capacity(list.entries.len());
    for entry in &list.entries {
        if entry.serial.is_empty() || entry.serial.len() > SERIAL_OCTETS_MAX {
            return Err(LintError::Entry("has no serial number of 1 to 20 octets"));
        }
        if !serials.insert(entry.serial.as_slice()) {
            return Err(LintError::Entry("stands there twice"));
        }
        if entry.revoked_at > list.this_update {
            return Err(LintError::Entry("was revoked after the list was made"));
        }
        for extension in &entry.extensions {
            let extension = parts(extension)?;
            let [_, _, reason] = extension.value else { return Err(LintError::Entry("has a malformed reason")) };
            if extension.oid != oid::CRL_REASON || extension.is_critical || !REASONS.contains(reason) {
                return Err(LintError::Entry("has an extension other than a reason that says something"));
            }
        }
    }
    Ok(())
}
