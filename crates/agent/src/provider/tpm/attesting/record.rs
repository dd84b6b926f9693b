//! What is remembered of an attesting key, so that it is there again after the TPM was.

use vouchsafe_evidence::Malformed;
use vouchsafe_evidence::limits::TPM_STRUCTURE_OCTETS;
use vouchsafe_evidence::tpm::TpmtPublic;
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};

use super::super::root::SALT_OCTETS;
use crate::provider::{Fault, StateStore};
use crate::tpm::Hierarchy;

/// Where an attesting key comes from. Records of each have a kind of their own in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::provider::tpm) enum Origin {
    /// Made by the agent in the endorsement hierarchy: the module's owner does not change it.
    Made,
    /// Made by the agent in the owner hierarchy: a pseudonym, which goes when the TPM changes hands.
    Pseudonym,
    /// Made elsewhere and brought in.
    Imported,
}

impl Origin {
    pub(super) const ALL: [Self; 3] = [Self::Made, Self::Pseudonym, Self::Imported];

    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Made => "tpm.attesting-key",
            Self::Pseudonym => "tpm.attesting-key.pseudonym",
            Self::Imported => "tpm.attesting-key.imported",
        }
    }
}

/// A record of either form.
pub(super) enum Record {
    Made(MadeRecord),
    Imported(ImportedRecord),
}

impl Record {
    pub(super) fn load(store: &dyn StateStore, origin: Origin, name: &str) -> Result<Option<Self>, Fault> {
        let Some(bytes) = store.load(origin.kind(), name)? else {
            return Ok(None);
        };
        Self::parse(&bytes, origin).map(Some)
    }

    pub(super) fn parse(bytes: &[u8], origin: Origin) -> Result<Self, Fault> {
        let record = match origin {
            Origin::Made => MadeRecord::parse(bytes, Hierarchy::Endorsement).map(Self::Made),
            Origin::Pseudonym => MadeRecord::parse(bytes, Hierarchy::Owner).map(Self::Made),
            Origin::Imported => ImportedRecord::parse(bytes).map(Self::Imported),
        };
        record.map_err(Fault::BlobInvalid)
    }
}

/// A primary key, which the TPM makes again from its template.
pub(super) struct MadeRecord {
    pub(super) hierarchy: Hierarchy,
    pub(super) handle: u32,
    pub(super) salt: [u8; SALT_OCTETS],
    pub(super) template: TpmtPublic,
    pub(super) public: TpmtPublic,
}

impl MadeRecord {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(self.handle).bytes(&self.salt).tpm2b(self.template.as_bytes()).tpm2b(self.public.as_bytes());
        w.into_bytes()
    }

    fn parse(bytes: &[u8], hierarchy: Hierarchy) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "attesting key record");
        let record = Self {
            hierarchy,
            handle: r.u32()?,
            salt: r.array()?,
            template: TpmtPublic::parse(r.tpm2b(TPM_STRUCTURE_OCTETS)?)?,
            public: TpmtPublic::parse(r.tpm2b(TPM_STRUCTURE_OCTETS)?)?,
        };
        r.finish()?;
        Ok(record)
    }
}

/// A key that was made elsewhere. Its authValue is masked with a stream that derives from the sealed secret: the record alone
/// gives nobody the use of the key.
pub(super) struct ImportedRecord {
    pub(super) handle: u32,
    pub(super) salt: [u8; SALT_OCTETS],
    pub(super) masked_auth: Vec<u8>,
    pub(super) public: TpmtPublic,
    /// What the agent loads and puts at `handle`; `None` for a key that was at its handle already.
    pub(super) wrapped: Option<Wrapped>,
}

/// A private part that its parent alone can read.
#[derive(Clone)]
pub(super) struct Wrapped {
    pub(super) private: Vec<u8>,
    /// The parent's persistent handle; `None` for the agent's storage root key.
    pub(super) parent: Option<u32>,
}

impl ImportedRecord {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let (private, parent) =
            self.wrapped.as_ref().map_or((&[][..], None), |wrapped| (wrapped.private.as_slice(), wrapped.parent));
        let mut w = Writer::new();
        w.u32(self.handle).bytes(&self.salt).tpm2b(&self.masked_auth).tpm2b(self.public.as_bytes());
        w.tpm2b(private).u32(parent.unwrap_or_default());
        w.into_bytes()
    }

    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "imported attesting key record");
        let (handle, salt) = (r.u32()?, r.array()?);
        let masked_auth = r.tpm2b(TPM_STRUCTURE_OCTETS)?.to_vec();
        let public = TpmtPublic::parse(r.tpm2b(TPM_STRUCTURE_OCTETS)?)?;
        let private = r.tpm2b(TPM_STRUCTURE_OCTETS)?.to_vec();
        let parent = Some(r.u32()?).filter(|handle| *handle != 0);
        r.finish()?;
        let wrapped = (!private.is_empty()).then_some(Wrapped { private, parent });
        Ok(Self { handle, salt, masked_auth, public, wrapped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouchsafe_evidence::tpm::template::storage_root_key;

    #[test]
    fn records_are_read_as_they_were_written_and_in_no_other_form() {
        let public = storage_root_key();
        let wrapped = |parent| Some(Wrapped { private: vec![3; 40], parent });
        for wrapped in [None, wrapped(None), wrapped(Some(0x8100_0001))] {
            let record = ImportedRecord {
                handle: 0x8101_8000,
                salt: [7; SALT_OCTETS],
                masked_auth: vec![9; 16],
                public: public.clone(),
                wrapped: wrapped.clone(),
            };
            let bytes = record.to_bytes();
            let read = ImportedRecord::parse(&bytes).unwrap();
            assert_eq!(read.to_bytes(), bytes);
            assert_eq!(read.wrapped.as_ref().map(|w| w.parent), wrapped.as_ref().map(|w| w.parent));
            assert_eq!(read.wrapped.map(|w| w.private), wrapped.map(|w| w.private));
            for len in 0..bytes.len() {
                assert!(ImportedRecord::parse(&bytes[..len]).is_err(), "{len} octets");
            }
        }
    }
}
