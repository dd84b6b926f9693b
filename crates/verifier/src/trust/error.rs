//! What is wrong with a trust store.

use thiserror::Error;
use vouchsafe_evidence::Malformed;

/// A file of the trust store that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("trust store: {file}: {defect}")]
pub struct TrustError {
    /// The file, relative to the store.
    pub file: String,
    /// What is wrong with it.
    pub defect: TrustDefect,
}

/// What is wrong with a file of the trust store.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustDefect {
    /// A PEM file without any block, or an empty file.
    #[error("holds no certificate and no public key")]
    Empty,
    /// A folder name that is no format id.
    #[error("`{0}` is not a format id (small letters, digits and hyphens)")]
    FormatId(String),
    /// A block or file that is damaged.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A NAME.toml whose text is no mark.
    #[error("{0}")]
    Mark(String),
    /// A NAME.toml whose `sha256` fits neither the anchor file nor a certificate or key in it.
    #[error("sha256 fits neither the anchor file beside it nor anything in it")]
    MarkDigest,
    /// A NAME.toml without a NAME.pem, NAME.crt or NAME.der beside it; in `keys/` without any file of that name.
    #[error("marks nothing: there is no anchor, intermediate or key file of the same name beside it")]
    MarkOrphan,
    /// A file that belongs to no format.
    #[error("lies outside every format folder")]
    Misplaced,
    /// A NAME.toml that says of an intermediate what only an anchor can be.
    #[error("`virtual` and `own_signer` are marks of anchors: an intermediate is what its anchor is")]
    MarkOfAnchor,
    /// A NAME.toml that says of a key in `keys/` what has a meaning for certificates and their issuers alone.
    #[error("of keys in `keys/` only `virtual`, `source`, `date`, `sha256` and `vouched_by` can be said")]
    MarkOfIssuer,
    /// A public key where only certificates help.
    #[error("holds a public key, where only certificates are of use")]
    NotCertificate,
    /// A JSON file that is not a point on a curve.
    #[error("is no public key in JSON: member {0}")]
    Point(&'static str),
    /// A folder that the store does not have.
    #[error("`{0}` is none of intermediates, keys and crls")]
    UnknownFolder(String),
    /// A file name that says nothing about what it holds.
    #[error("is none of *.pem, *.crt, *.der, *.json and NAME.toml")]
    UnknownName,
    /// A PEM block of another label, a private key above all.
    #[error("holds a PEM block labeled {0}, which does not belong there")]
    UnknownLabel(String),
}
