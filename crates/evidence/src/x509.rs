//! X.509 certificates, PKCS #10 requests and what they consist of, as views over their original bytes.
//!
//! Views never re-encode: signatures are checked over the octets that were signed. Parsing is strict
//! DER (X.690); the few deviations that real certificates of TPM vendors show are parsed and reported as
//! [`Quirk`]s, and whoever needs a flawless encoding asks [`CertView::is_strict_der`].

pub mod build;
pub mod der;
pub mod extensions;

mod algorithm;
mod cert;
mod crl;
mod crmf;
mod csr;
mod name;
mod spki;
pub(crate) mod time;

pub use algorithm::AlgorithmIdentifier;
pub use cert::{CertView, Extension, Quirk, Version};
pub use crl::{CrlView, RevokedCertificate};
pub use crmf::{CertTemplate, Control, CrmfDefect, CrmfView, Proof, SignedCrmf, TemplateExtension};
pub use csr::{Attribute, CsrDefect, CsrView};
pub use name::{NameAttribute, NameView, Rdn};
pub use spki::{NamedCurve, PublicKey, RsaScheme, SpkiView};
