//! The layout of key blobs.

use vouchsafe_evidence::limits::{TPM_DIGEST_OCTETS, TPM_NAME_OCTETS, TPM_STRUCTURE_OCTETS};
use vouchsafe_evidence::tpm::TpmtPublic;
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::{Malformed, Reason};

use super::root::SALT_OCTETS;
use crate::provider::{Fault, KeyBlob, KeyPurpose};
use crate::tpm::{CreationProof, Ticket};

/// Version of the layout, which the first octet gives.
const VERSION: u8 = 1;
const PRODUCTION: &str = "key blob";

/// A key under the storage root key, with the circumstances of its creation.
///
/// ```text
/// version u8 (1) | purpose u8 (1 sign, 2 attest, 3 decrypt) | TPM2B Name of the parent | salt 32 octets
/// | TPM2B public | TPM2B private | TPM2B creation data | TPM2B creation hash | TPMT_TK_CREATION
/// ```
pub(super) struct Blob {
    pub(super) purpose: KeyPurpose,
    /// Name of the parent that alone can load the key.
    pub(super) parent: Vec<u8>,
    /// What distinguishes this key's authValue.
    pub(super) salt: [u8; SALT_OCTETS],
    pub(super) public: TpmtPublic,
    /// Contents of the TPM2B_PRIVATE.
    pub(super) private: Vec<u8>,
    pub(super) creation: CreationProof,
}

impl Blob {
    pub(super) fn to_key_blob(&self) -> KeyBlob {
        let mut w = Writer::new();
        w.u8(VERSION).u8(purpose_id(self.purpose)).tpm2b(&self.parent).bytes(&self.salt);
        w.tpm2b(self.public.as_bytes()).tpm2b(&self.private).tpm2b(&self.creation.data).tpm2b(&self.creation.hash);
        self.creation.ticket.write(&mut w);
        KeyBlob::from_bytes(w.into_bytes())
    }

    pub(super) fn parse(blob: &KeyBlob) -> Result<Self, Fault> {
        Self::read(blob.as_bytes()).map_err(Fault::BlobInvalid)
    }

    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, PRODUCTION);
        let version = r.u8()?;
        if version != VERSION {
            return Err(Malformed::new(PRODUCTION, 0, Reason::BadValue(version.into())));
        }
        let purpose = match r.u8()? {
            1 => KeyPurpose::Sign,
            2 => KeyPurpose::Attest,
            3 => KeyPurpose::Decrypt,
            other => return Err(Malformed::new(PRODUCTION, 1, Reason::BadValue(other.into()))),
        };
        let blob = Self {
            purpose,
            parent: r.tpm2b(TPM_NAME_OCTETS)?.to_vec(),
            salt: r.array()?,
            public: TpmtPublic::parse(r.tpm2b(TPM_STRUCTURE_OCTETS)?)?,
            private: r.tpm2b(TPM_STRUCTURE_OCTETS)?.to_vec(),
            creation: CreationProof {
                data: r.tpm2b(TPM_STRUCTURE_OCTETS)?.to_vec(),
                hash: r.tpm2b(TPM_DIGEST_OCTETS)?.to_vec(),
                ticket: Ticket::read(&mut r)?,
            },
        };
        r.finish()?;
        Ok(blob)
    }
}

const fn purpose_id(purpose: KeyPurpose) -> u8 {
    match purpose {
        KeyPurpose::Sign => 1,
        KeyPurpose::Attest => 2,
        KeyPurpose::Decrypt => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouchsafe_evidence::tpm::template::storage_root_key;

    fn blob() -> KeyBlob {
        let creation = CreationProof { data: vec![3; 50], hash: vec![4; 32], ticket: Ticket::null_hash_check() };
        let (purpose, parent, private) = (KeyPurpose::Attest, vec![1; 34], vec![2; 100]);
        Blob { purpose, parent, salt: [7; SALT_OCTETS], public: storage_root_key(), private, creation }.to_key_blob()
    }

    #[test]
    fn a_blob_is_read_as_it_was_written() {
        let read = Blob::parse(&blob()).unwrap();
        assert_eq!((read.purpose, read.parent.len(), read.private.len()), (KeyPurpose::Attest, 34, 100));
        assert_eq!(read.to_key_blob(), blob());
    }

    #[test]
    fn truncated_extended_and_foreign_blobs_are_refused() {
        let whole = blob().as_bytes().to_vec();
        for len in 0..whole.len() {
            assert!(Blob::parse(&KeyBlob::from_bytes(whole[..len].to_vec())).is_err(), "{len} octets");
        }
        assert!(Blob::parse(&KeyBlob::from_bytes([whole.clone(), vec![0]].concat())).is_err());
        for (position, value) in [(0, 2), (1, 0), (1, 4)] {
            let mut other = whole.clone();
            other[position] = value;
            assert!(Blob::parse(&KeyBlob::from_bytes(other)).is_err());
        }
    }
}
