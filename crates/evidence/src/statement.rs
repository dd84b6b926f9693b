//! Attestation statements: the formats, in one table, and what the statements of each consist of.
//!
//! TPM structures inside statements stay octets here; [`crate::tpm`] reads them.

mod key_pop;
mod tpm_certify;
mod tpm_certify_x509;
mod tpm_quote;

pub use key_pop::KeyPop;
pub use tpm_certify::TpmCertify;
pub use tpm_certify_x509::TpmCertifyX509;
pub use tpm_quote::TpmQuote;

use crate::formats::ListedFormat;
use crate::oid::{self, Oid};
use crate::x509::der::{Element, Reader, Tag};
use crate::{Malformed, Reason};

/// A format of evidence, which names a trust folder, a policy section and, for most, a statement type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FormatId {
    /// TPM2_Certify over a key.
    TpmCertify,
    /// TPM2_Quote over PCRs.
    TpmQuote,
    /// A certificate that TPM2_CertifyX509 made for a key.
    TpmCertifyX509,
    /// TPM endorsement key certificates; not a statement, a trust folder alone.
    TpmEk,
    /// Proof of possession of the attested key, as part of a certification request.
    KeyPop,
    /// Conceptual Message Wrapper: statements of other formats in a record or a collection.
    Cmw,
    /// A format of [`crate::formats`], in which modules of some maker attest keys.
    Listed(ListedFormat),
}

impl FormatId {
    /// Format, id and statement type of the formats that this crate is built around.
    const TABLE: &'static [(Self, &'static str, Option<Oid>)] = &[
        (Self::TpmCertify, "tpm-certify", Some(oid::STATEMENT_TPM_CERTIFY)),
        (Self::TpmQuote, "tpm-quote", Some(oid::STATEMENT_TPM_QUOTE)),
        (Self::TpmCertifyX509, "tpm-certify-x509", Some(oid::STATEMENT_TPM_CERTIFY_X509)),
        (Self::TpmEk, "tpm-ek", None),
        (Self::KeyPop, "key-pop", Some(oid::STATEMENT_KEY_POP)),
        (Self::Cmw, "cmw", Some(oid::CMW)),
    ];

    /// Every format.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::TABLE.iter().map(|(format, _, _)| *format).chain(ListedFormat::all().map(Self::Listed))
    }

    fn row(self) -> Option<&'static (Self, &'static str, Option<Oid>)> {
        Self::TABLE.iter().find(|(format, _, _)| *format == self)
    }

    /// The format's name, as in trust folders, on the command line and in reports.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Listed(format) => format.row().id,
            Self::TpmCertify | Self::TpmQuote | Self::TpmCertifyX509 | Self::TpmEk | Self::KeyPop | Self::Cmw => {
                self.row().map_or("", |(_, id, _)| id)
            }
        }
    }

    /// The statement type, or `None` for formats that are no statements.
    #[must_use]
    pub fn oid(self) -> Option<Oid> {
        match self {
            Self::Listed(format) => Some(format.row().statement),
            Self::TpmCertify | Self::TpmQuote | Self::TpmCertifyX509 | Self::TpmEk | Self::KeyPop | Self::Cmw => {
                self.row().and_then(|(_, _, oid)| *oid)
            }
        }
    }

    /// The format of this name.
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        let native = Self::TABLE.iter().find(|(_, known, _)| *known == id).map(|(format, _, _)| *format);
        native.or_else(|| ListedFormat::from_id(id).map(Self::Listed))
    }

    /// The format of statements of this type.
    #[must_use]
    pub fn from_oid(oid: Oid) -> Option<Self> {
        let native = Self::TABLE.iter().find(|(_, _, known)| *known == Some(oid)).map(|(format, _, _)| *format);
        native.or_else(|| ListedFormat::from_oid(oid).map(Self::Listed))
    }
}

impl core::fmt::Display for FormatId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.id())
    }
}

/// A statement that was read by its type.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Statement {
    /// TPM2_Certify over a key.
    TpmCertify(TpmCertify),
    /// TPM2_Quote over PCRs.
    TpmQuote(TpmQuote),
    /// A certificate that TPM2_CertifyX509 made for a key.
    TpmCertifyX509(TpmCertifyX509),
    /// Proof of possession of the key of the request.
    KeyPop(KeyPop),
    /// A CMW, in DER as it stands.
    Cmw(Vec<u8>),
    /// Evidence of a listed format, whose module reads these bytes.
    Listed(ListedFormat, Vec<u8>),
    /// A type that is unknown.
    Unknown(Oid),
}

impl Statement {
    /// Reads `stmt` as a statement of type `oid`.
    ///
    /// # Errors
    /// [`Malformed`] if the type is one that is read and `stmt` is not exactly of it, in strict DER.
    pub fn parse(oid: Oid, stmt: &[u8]) -> Result<Self, Malformed> {
        match FormatId::from_oid(oid) {
            Some(FormatId::TpmCertify) => TpmCertify::parse(stmt).map(Self::TpmCertify),
            Some(FormatId::TpmQuote) => TpmQuote::parse(stmt).map(Self::TpmQuote),
            Some(FormatId::TpmCertifyX509) => TpmCertifyX509::parse(stmt).map(Self::TpmCertifyX509),
            Some(FormatId::KeyPop) => KeyPop::parse(stmt).map(Self::KeyPop),
            Some(FormatId::Cmw) => Ok(Self::Cmw(stmt.to_vec())),
            Some(FormatId::Listed(format)) => Ok(Self::Listed(format, format.content(stmt)?.to_vec())),
            Some(FormatId::TpmEk) | None => Ok(Self::Unknown(oid)),
        }
    }
}

/// The contents of two OCTET STRINGs and of a third that may be absent.
type OctetStrings<'a> = (&'a [u8], &'a [u8], Option<&'a [u8]>);

/// Reads two OCTET STRINGs and a third that may be absent, which is what both TPMS_ATTEST statements are.
fn read_octet_strings<'a>(
    stmt: &'a [u8],
    production: &'static str,
    names: [&'static str; 3],
) -> Result<OctetStrings<'a>, Malformed> {
    let element = Element::parse(stmt, production)?;
    if element.tag() != Tag::SEQUENCE {
        return Err(element.error(Reason::Unexpected(production)));
    }
    let mut fields = element.reader();
    let [first, second, third] = names;
    let first = fields.octet_string(first)?;
    let second = fields.octet_string(second)?;
    let third = read_optional_octet_string(&mut fields, third)?;
    fields.finish()?;
    // Last, since it walks through all that there is: large input of another form is refused before.
    element.check_strict()?;
    Ok((first, second, third))
}

fn read_optional_octet_string<'a>(fields: &mut Reader<'a>, what: &'static str) -> Result<Option<&'a [u8]>, Malformed> {
    if fields.is_empty() { Ok(None) } else { fields.octet_string(what).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_one_row() {
        for format in FormatId::all() {
            assert_eq!(FormatId::from_id(format.id()), Some(format));
            assert!(!format.id().is_empty());
            if let Some(oid) = format.oid() {
                assert_eq!(FormatId::from_oid(oid), Some(format));
            }
        }
        assert_eq!(FormatId::all().filter(|format| !matches!(format, FormatId::Listed(_))).count(), 6);
        let ids: std::collections::BTreeSet<_> = FormatId::all().map(FormatId::id).collect();
        let types: std::collections::BTreeSet<_> = FormatId::all().filter_map(FormatId::oid).collect();
        assert_eq!((ids.len(), types.len()), (FormatId::all().count(), FormatId::all().count() - 1));
    }
}
