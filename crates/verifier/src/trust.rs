//! The trust store: which keys an administrator trusts, for which evidence format, and what is known of them.
//!
//! A store is data that others read from a folder; nothing is compiled in and nothing is read here. Its form
//! is that of the interface contract: `<format id>/*.pem|*.crt|*.der` are anchors for that format alone,
//! `<format id>/intermediates/` holds helpers that are never trusted by themselves, `crls/` revocation lists,
//! `keys/` material that a format's own rules use, and NAME.toml marks the anchors, intermediates or keys of `NAME.pem`
//! beside it.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA256};
use vouchsafe_evidence::x509::{CertView, CrlView, NameView, SpkiView};

mod error;
mod load;
mod mark;

pub use error::{TrustDefect, TrustError};
pub use mark::{Allowances, AnchorMark};

/// Octets of a SHA-256 digest.
const SHA256_OCTETS: usize = 32;

/// Everything that is trusted, by evidence format.
///
/// There is no way from one format's anchors to another's: path validation takes a [`FormatTrust`].
#[derive(Clone, Debug)]
pub struct TrustStore {
    formats: BTreeMap<String, FormatTrust>,
    version: [u8; SHA256_OCTETS],
}

/// What is trusted for one evidence format.
#[derive(Clone, Debug, Default)]
pub struct FormatTrust {
    anchors: Vec<TrustAnchor>,
    intermediates: Vec<CertView>,
    pins: Vec<(SpkiView, Allowances)>,
    keys: Vec<TrustFile>,
    crls: Vec<TrustCrl>,
}

/// A key that is trusted to certify, for one format.
#[derive(Clone, Debug)]
pub struct TrustAnchor {
    file: String,
    identity: AnchorIdentity,
    mark: AnchorMark,
}

#[derive(Clone, Debug)]
enum AnchorIdentity {
    Certificate(CertView),
    PublicKey(SpkiView),
}

/// A revocation list that an administrator provides. Its signature is checked where it is used.
#[derive(Clone, Debug)]
pub struct TrustCrl {
    /// Path relative to the store, with `/`.
    pub path: String,
    /// The list.
    pub list: CrlView,
}

/// A file of a format's folder that this crate keeps as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustFile {
    /// Path relative to the store, with `/`.
    pub path: String,
    /// Contents.
    pub contents: Vec<u8>,
    /// What the administrator noted about it.
    pub mark: AnchorMark,
}

/// A format for which nothing is trusted.
static NOTHING: FormatTrust = FormatTrust {
    anchors: Vec::new(),
    intermediates: Vec::new(),
    pins: Vec::new(),
    keys: Vec::new(),
    crls: Vec::new(),
};

impl TrustStore {
    /// Reads a store from the files of its folder: paths relative to it with `/`, and contents, in any order.
    ///
    /// Files and folders whose name starts with a dot, and files whose name starts with `README`, are ignored.
    ///
    /// # Errors
    /// [`TrustError`] names the first file (by path) that cannot be used and why: a store is taken whole or not
    /// at all, so that a damaged anchor or a misspelled mark is never silently left out.
    pub fn from_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Self, TrustError> {
        let files: BTreeMap<String, Vec<u8>> = files.into_iter().filter(|(path, _)| !load::is_ignored(path)).collect();
        let version = version(&files);
        Ok(Self { formats: load::formats(&files)?, version })
    }

    /// What is trusted for the format with this id; nothing, where the store has no such folder.
    #[must_use]
    pub fn format(&self, format_id: &str) -> &FormatTrust {
        self.formats.get(format_id).unwrap_or(&NOTHING)
    }

    /// Ids of the formats that have a folder, in order.
    pub fn format_ids(&self) -> impl Iterator<Item = &str> {
        self.formats.keys().map(String::as_str)
    }

    /// SHA-256 over the paths and contents of all files: equal for equal stores, to key caches and to record
    /// which store a verdict rests on.
    #[must_use]
    pub const fn version(&self) -> [u8; SHA256_OCTETS] {
        self.version
    }
}

impl FormatTrust {
    /// Keys that are trusted.
    #[must_use]
    pub fn anchors(&self) -> &[TrustAnchor] {
        &self.anchors
    }

    /// Certificates that may help to build a path, trusted no more than those of the bundle.
    #[must_use]
    pub fn intermediates(&self) -> &[CertView] {
        &self.intermediates
    }

    /// Files of `keys/`, uninterpreted, each with its mark.
    #[must_use]
    pub fn keys(&self) -> &[TrustFile] {
        &self.keys
    }

    /// Revocation lists of `crls/`.
    #[must_use]
    pub fn crls(&self) -> &[TrustCrl] {
        &self.crls
    }

    /// What the marks beside anchors and intermediates allow exactly this key.
    #[must_use]
    pub fn allowances(&self, key: &SpkiView) -> Allowances {
        self.pins
            .iter()
            .filter(|(pinned, _)| pinned.same_key(key))
            .fold(Allowances::NONE, |all, (_, allowances)| all.or(*allowances))
    }
}

impl TrustAnchor {
    /// The trusted key.
    #[must_use]
    pub fn key(&self) -> &SpkiView {
        self.identity.key()
    }

    /// The name it certifies under; a bare public key certifies under any.
    #[must_use]
    pub fn subject(&self) -> Option<&NameView> {
        self.certificate().map(CertView::subject)
    }

    /// The certificate that the anchor was given as, whose own restrictions hold.
    #[must_use]
    pub fn certificate(&self) -> Option<&CertView> {
        match &self.identity {
            AnchorIdentity::Certificate(certificate) => Some(certificate),
            AnchorIdentity::PublicKey(_) => None,
        }
    }

    /// The file that holds it, relative to the store.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What the administrator noted about it.
    #[must_use]
    pub const fn mark(&self) -> &AnchorMark {
        &self.mark
    }

    /// Whether it is marked as the root of TPMs in software (swtpm, vTPM).
    #[must_use]
    pub const fn is_virtual(&self) -> bool {
        self.mark.is_virtual
    }
}

impl AnchorIdentity {
    fn key(&self) -> &SpkiView {
        match self {
            Self::Certificate(certificate) => certificate.spki(),
            Self::PublicKey(key) => key,
        }
    }
}

fn version(files: &BTreeMap<String, Vec<u8>>) -> [u8; SHA256_OCTETS] {
    let mut context = Context::new(&SHA256);
    for part in files.iter().flat_map(|(path, contents)| [path.as_bytes(), contents]) {
        // A length that does not fit cannot occur: nothing in memory is that long.
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    let mut version = [0; SHA256_OCTETS];
    version.copy_from_slice(context.finish().as_ref());
    version
}
