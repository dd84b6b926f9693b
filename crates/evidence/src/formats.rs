//! The formats in which modules of many makers attest keys: one row each, one module each.
//!
//! A row says what the format is called, under which type its statements travel in a bundle, and how its evidence is
//! told from all others by content. Adding a format adds a module here, its row in `LIST`, and a module with its row
//! in the Verifier, which says what of it is true. Nothing else changes.

use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

use crate::bundle::AttestationStatement;
use crate::input::InputError;
use crate::oid::Oid;
use crate::statement::FormatId;
use crate::x509::der::{Element, Tag};
use crate::x509::{CertView, CsrView};
use crate::{Malformed, Reason, pem};

pub mod crypto4a_qasm;
pub mod entrust_nshield;
pub mod fortanix_dsm;
pub mod gcp_cloudhsm;
pub mod pkix_evidence;
pub mod securosys_primus;
pub mod thales_luna;
pub mod unsupported;
pub mod webauthn_tpm;
mod yubico;
pub mod yubihsm2;
pub mod yubikey_piv;

/// Every format that has a module here, in the order in which they are listed for people.
static LIST: &[&Row] = &[
    &thales_luna::ROW,
    &gcp_cloudhsm::ROW,
    &fortanix_dsm::ROW,
    &pkix_evidence::ROW,
    &webauthn_tpm::ROW,
    &crypto4a_qasm::ROW,
    &entrust_nshield::ROW,
    &securosys_primus::ROW,
    &yubikey_piv::ROW,
    &yubihsm2::ROW,
];

/// What a format is called, how it travels, and how it is recognized.
#[derive(Debug)]
pub struct Row {
    /// Its name in trust folders, on the command line and in reports.
    pub id: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// The type of its statements in a bundle.
    pub statement: Oid,
    /// How its bytes stand in a statement.
    pub wrapping: Wrapping,
    /// Tells whether files are its evidence, by their content alone.
    pub recognize: fn(&Offer<'_>) -> Result<Option<Recognized>, InputError>,
    /// Finds its evidence in a certification request outside the attestation attribute, where its makers put it before
    /// that attribute was defined.
    pub in_request: fn(&CsrView) -> Result<Option<Recognized>, Malformed>,
    /// Whether the client data of web authentication is a part of its evidence.
    pub takes_client_data: bool,
    /// What the format's bytes say, for a person to read. Nothing of it is verified.
    pub outline: fn(&[u8]) -> Result<Vec<Outline>, Malformed>,
}

/// One item of what evidence says, with what lies beneath it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// What it is.
    pub name: String,
    /// Its value, as text; whoever shows it takes control characters out.
    pub text: String,
    /// Its parts, in their order.
    pub parts: Vec<Outline>,
    /// A certificate that stands here, to be shown as certificates are.
    pub certificate: Option<CertView>,
}

impl Outline {
    /// An item without parts.
    pub fn leaf(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), ..Self::default() }
    }

    /// An item with parts.
    pub fn group(name: impl Into<String>, parts: Vec<Self>) -> Self {
        Self { name: name.into(), parts, ..Self::default() }
    }

    /// A certificate.
    pub fn certificate(name: impl Into<String>, certificate: CertView) -> Self {
        Self { name: name.into(), certificate: Some(certificate), ..Self::default() }
    }
}

/// How the bytes of a format stand in a statement of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// They are DER, and the statement.
    Bare,
    /// They are the contents of an OCTET STRING (csr-attestation-29, 4.1: a wrapper for what is not ASN.1).
    OctetString,
}

/// A row of the list of formats. Equal, ordered and hashed by its id.
#[derive(Clone, Copy)]
pub struct ListedFormat(&'static Row);

/// A file that is offered as evidence.
#[derive(Clone, Debug)]
pub struct OfferedFile<'a> {
    /// Its name, for messages.
    pub name: &'a str,
    /// All of its octets.
    pub bytes: &'a [u8],
    /// Its PEM blocks that are neither certificates nor requests; none, where it is no PEM.
    pub blocks: Vec<pem::Block>,
}

/// A certificate among the offered files.
#[derive(Clone, Debug)]
pub struct OfferedCertificate<'a> {
    /// The file it is from.
    pub file: &'a str,
    /// The certificate.
    pub certificate: CertView,
}

/// What a presenter hands in, before it is known what it is: no certification request is among it.
#[derive(Clone, Debug, Default)]
pub struct Offer<'a> {
    /// Files that are not certificates alone, in their order.
    pub files: Vec<OfferedFile<'a>>,
    /// The certificates of all files, in their order. PEM certificates that cannot be read are left out.
    pub certificates: Vec<OfferedCertificate<'a>>,
    /// The client data that belongs to evidence of web authentication.
    pub client_data: Option<&'a [u8]>,
}

/// Evidence that was recognized as a format's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognized {
    /// The format's bytes, which [`Row::wrapping`] puts into a statement.
    pub content: Vec<u8>,
    /// Certificates that came along and may help, in any order.
    pub certificates: Vec<CertView>,
}

impl ListedFormat {
    /// Every listed format.
    pub fn all() -> impl Iterator<Item = Self> {
        LIST.iter().copied().map(Self)
    }

    /// The format of this name.
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        Self::all().find(|format| format.0.id == id)
    }

    /// The format of statements of this type.
    #[must_use]
    pub fn from_oid(oid: Oid) -> Option<Self> {
        Self::all().find(|format| format.0.statement == oid)
    }

    /// Its row.
    #[must_use]
    pub const fn row(self) -> &'static Row {
        self.0
    }

    /// The statement that carries `content` in a bundle.
    #[must_use]
    pub fn statement(self, content: &[u8]) -> AttestationStatement {
        let stmt = match self.0.wrapping {
            Wrapping::Bare => content.to_vec(),
            Wrapping::OctetString => crate::x509::build::octet_string(content),
        };
        AttestationStatement::new(self.0.statement, stmt)
    }

    /// The format's bytes in a statement of its type.
    ///
    /// # Errors
    /// [`Malformed`] where the statement is not one OCTET STRING, if it should be.
    pub fn content(self, stmt: &[u8]) -> Result<&[u8], Malformed> {
        match self.0.wrapping {
            Wrapping::Bare => Ok(stmt),
            Wrapping::OctetString => {
                let element = Element::parse(stmt, self.0.id)?;
                if element.tag() != Tag::OCTET_STRING {
                    return Err(element.error(Reason::Unexpected("OCTET STRING")));
                }
                Ok(element.contents())
            }
        }
    }
}

impl From<ListedFormat> for FormatId {
    fn from(format: ListedFormat) -> Self {
        Self::Listed(format)
    }
}

impl PartialEq for ListedFormat {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ListedFormat {}

impl PartialOrd for ListedFormat {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ListedFormat {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.id.cmp(other.0.id)
    }
}

impl Hash for ListedFormat {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl fmt::Debug for ListedFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.id)
    }
}

/// For [`Row::in_request`] of formats that never travelled in requests of their own.
///
/// # Errors
/// None.
pub fn not_in_requests(_: &CsrView) -> Result<Option<Recognized>, Malformed> {
    Ok(None)
}
