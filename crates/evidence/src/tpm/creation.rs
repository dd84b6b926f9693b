//! TPMS_CREATION_DATA (Part 2, "Creation Data"): the circumstances in which a TPM created an object.

use super::marshal::Reader;
use super::{HashAlg, PcrSelection};
use crate::limits::{TPM_DIGEST_OCTETS, TPM_NAME_OCTETS, TPM_STRUCTURE_OCTETS};
use crate::{Malformed, Reason};

/// TPMS_CREATION_DATA, with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreationData {
    bytes: Vec<u8>,
    /// PCRs that the creator selected.
    pub selection: PcrSelection,
    /// Digest of their values at creation.
    pub pcr_digest: Vec<u8>,
    /// Localities of the creating command.
    pub locality: u8,
    /// nameAlg of the parent; TPM_ALG_NULL for a hierarchy.
    pub parent_name_alg: u16,
    /// Name of the parent, or the four octets of a hierarchy's handle.
    pub parent_name: Vec<u8>,
    /// Qualified name of the parent, likewise.
    pub parent_qualified_name: Vec<u8>,
    /// What the creator put in as outside information.
    pub outside_info: Vec<u8>,
}

impl CreationData {
    /// Parses exactly one structure.
    ///
    /// # Errors
    /// [`Malformed`] for sizes out of bounds or octets left over.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "TPMS_CREATION_DATA");
        if bytes.len() > TPM_STRUCTURE_OCTETS {
            return Err(r.error(Reason::OverLimit { what: "TPMS_CREATION_DATA", limit: TPM_STRUCTURE_OCTETS }));
        }
        let data = Self {
            bytes: bytes.to_vec(),
            selection: PcrSelection::read(&mut r)?,
            pcr_digest: r.tpm2b(TPM_DIGEST_OCTETS)?.to_vec(),
            locality: r.u8()?,
            parent_name_alg: r.u16()?,
            parent_name: r.tpm2b(TPM_NAME_OCTETS)?.to_vec(),
            parent_qualified_name: r.tpm2b(TPM_NAME_OCTETS)?.to_vec(),
            outside_info: r.tpm2b(TPM_NAME_OCTETS)?.to_vec(),
        };
        r.finish()?;
        Ok(data)
    }

    /// The bytes that were parsed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest that TPM2_CertifyCreation attests: with the object's nameAlg.
    #[must_use]
    pub fn digest(&self, name_alg: HashAlg) -> Vec<u8> {
        name_alg.digest(&[&self.bytes])
    }
}
