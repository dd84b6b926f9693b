//! Hashes and signatures (Part 3, "Symmetric primitives", "Signing and signature verification").

use vouchsafe_evidence::limits::TPM_DIGEST_OCTETS;
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::tpm::{HashAlg, TpmtSignature, alg};
use vouchsafe_evidence::{Malformed, Reason};

use super::{HASH, Hierarchy, SIGN};
use crate::provider::Fault;
use crate::tpm::frame::Request;
use crate::tpm::{Object, Tpm};

/// TPM_ST_HASHCHECK.
const ST_HASHCHECK: u16 = 0x8024;

/// A ticket (TPMT_TK_*): the TPM's own note that it did something earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// TPM_ST of the ticket.
    pub tag: u16,
    /// Handle of its hierarchy.
    pub hierarchy: u32,
    /// The TPM's HMAC; empty for a ticket that says nothing.
    pub digest: Vec<u8>,
}

impl Ticket {
    /// The ticket that says nothing: unrestricted keys sign with it.
    #[must_use]
    pub fn null_hash_check() -> Self {
        Self { tag: ST_HASHCHECK, hierarchy: Hierarchy::Null.handle(), digest: Vec::new() }
    }

    /// Reads a ticket.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { tag: r.u16()?, hierarchy: r.u32()?, digest: r.tpm2b(TPM_DIGEST_OCTETS)?.to_vec() })
    }

    /// Marshals the ticket.
    pub fn write(&self, w: &mut Writer) {
        w.u16(self.tag).u32(self.hierarchy).tpm2b(&self.digest);
    }
}

/// TPMT_SIG_SCHEME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignScheme {
    /// The scheme fixed for the key.
    KeysOwn,
    /// ECDSA.
    Ecdsa(HashAlg),
    /// PKCS #1 v1.5.
    Rsassa(HashAlg),
    /// PSS.
    Rsapss(HashAlg),
}

impl SignScheme {
    pub(super) fn write(self, w: &mut Writer) {
        match self {
            Self::KeysOwn => w.u16(alg::NULL),
            Self::Ecdsa(hash) => w.u16(alg::ECDSA).u16(hash.id()),
            Self::Rsassa(hash) => w.u16(alg::RSASSA).u16(hash.id()),
            Self::Rsapss(hash) => w.u16(alg::RSAPSS).u16(hash.id()),
        };
    }

    /// Whether a signature is one of this scheme.
    fn fits(self, signature: &TpmtSignature) -> bool {
        match (self, signature) {
            (Self::KeysOwn, _) => true,
            (Self::Ecdsa(hash), TpmtSignature::Ecdsa { hash: found, .. })
            | (Self::Rsassa(hash), TpmtSignature::Rsassa { hash: found, .. })
            | (Self::Rsapss(hash), TpmtSignature::Rsapss { hash: found, .. }) => hash == *found,
            (Self::Ecdsa(_), TpmtSignature::Rsassa { .. } | TpmtSignature::Rsapss { .. })
            | (Self::Rsassa(_), TpmtSignature::Ecdsa { .. } | TpmtSignature::Rsapss { .. })
            | (Self::Rsapss(_), TpmtSignature::Ecdsa { .. } | TpmtSignature::Rsassa { .. }) => false,
        }
    }
}

impl Tpm {
    /// TPM2_Hash in the owner hierarchy: the digest, and a ticket that lets a restricted key sign it unless `data` begins
    /// with TPM_GENERATED_VALUE.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn hash(&mut self, hash: HashAlg, data: &[u8]) -> Result<(Vec<u8>, Ticket), Fault> {
        let mut w = Writer::new();
        w.tpm2b(data).u16(hash.id()).u32(Hierarchy::Owner.handle());
        let reply = self.execute(Request::new(HASH, w.into_bytes()).encrypt_out())?;
        let mut r = Reader::new(&reply.parameters, "TPM2_Hash");
        let digest = r.tpm2b(TPM_DIGEST_OCTETS)?.to_vec();
        let ticket = Ticket::read(&mut r)?;
        r.finish()?;
        Ok((digest, ticket))
    }

    /// TPM2_Sign of a digest.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn sign(
        &mut self,
        key: &Object,
        digest: &[u8],
        scheme: SignScheme,
        ticket: &Ticket,
    ) -> Result<TpmtSignature, Fault> {
        let mut w = Writer::new();
        w.tpm2b(digest);
        scheme.write(&mut w);
        ticket.write(&mut w);
        let reply = self.execute(Request::new(SIGN, w.into_bytes()).by(key))?;
        let signature = TpmtSignature::parse(&reply.parameters)?;
        if !scheme.fits(&signature) {
            return Err(
                Malformed::new("TPM2_Sign", 0, Reason::Unexpected("a signature of the scheme asked for")).into()
            );
        }
        Ok(signature)
    }
}
