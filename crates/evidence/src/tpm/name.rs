//! Names of TPM objects (Part 1, "Names"; Part 2, "TPM2B_NAME").

use std::fmt;

use super::marshal::Reader;
use super::{HashAlg, TpmtPublic};
use crate::{Malformed, Reason};

/// The Name of an object with a public area: `nameAlg || H_nameAlg(TPMT_PUBLIC)`.
///
/// Empty Names (nameAlg NULL) and handle Names of four octets are not Names here: both would fit
/// anything, or nothing (attack A20).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name {
    bytes: Vec<u8>,
}

impl Name {
    /// Parses `nameAlg || digest`, of exactly the digest's length.
    ///
    /// # Errors
    /// [`Reason::BadValue`] for an unknown hash, [`Reason::Truncated`] or [`Reason::Trailing`] for a
    /// digest of another length, so empty and handle Names are refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "TPM2B_NAME");
        let id = reader.u16()?;
        let alg = HashAlg::from_id(id).ok_or_else(|| reader.error(Reason::BadValue(id.into())))?;
        reader.take(alg.digest_len())?;
        reader.finish()?;
        Ok(Self { bytes: bytes.to_vec() })
    }

    /// The Name of `public`, or `None` when its nameAlg is TPM_ALG_NULL and it has none.
    #[must_use]
    pub fn of(public: &TpmtPublic) -> Option<Self> {
        let alg = public.name_alg()?;
        Some(Self::digest(alg, &[public.as_bytes()]))
    }

    /// The qualified name of an object with this Name under a parent with qualified name `parent`
    /// (for a primary object, the four octets of the hierarchy's handle).
    #[must_use]
    pub fn qualified(&self, parent: &[u8]) -> Self {
        Self::digest(self.alg(), &[parent, &self.bytes])
    }

    fn digest(alg: HashAlg, parts: &[&[u8]]) -> Self {
        let mut bytes = alg.id().to_be_bytes().to_vec();
        bytes.extend(alg.digest(parts));
        Self { bytes }
    }

    /// The hash algorithm of this Name.
    #[must_use]
    pub fn alg(&self) -> HashAlg {
        // Every constructor has put a known identifier here; the fallback only keeps the function total.
        self.bytes.first_chunk().and_then(|id| HashAlg::from_id(u16::from_be_bytes(*id))).unwrap_or(HashAlg::Sha256)
    }

    /// `nameAlg || digest`: 22, 34, 50 or 66 octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Name(")?;
        self.bytes.iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
        f.write_str(")")
    }
}
