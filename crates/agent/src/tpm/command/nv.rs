//! Non-volatile memory (Part 3, "Non-volatile storage").

use vouchsafe_evidence::limits::{TPM_DIGEST_OCTETS, TPM_NAME_OCTETS};
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::{Malformed, Reason};

use super::{Hierarchy, NV_DEFINE_SPACE, NV_READ, NV_READ_PUBLIC, NV_UNDEFINE_SPACE, NV_WRITE, Property, TPM2B_OCTETS};
use crate::provider::Fault;
use crate::tpm::Tpm;
use crate::tpm::frame::{Auth, Request, Subject};
use crate::tpm::session::AuthValue;

/// Octets that one NV command moves at most; smaller where the TPM says so.
const PIECE_OCTETS: u16 = 1024;

/// TPMA_NV bits.
pub mod nv_attributes {
    /// The index may be written with its authValue.
    pub const AUTH_WRITE: u32 = 1 << 2;
    /// The owner may read.
    pub const OWNER_READ: u32 = 1 << 17;
    /// The index may be read with its authValue.
    pub const AUTH_READ: u32 = 1 << 18;
    /// Wrong authValues do not count toward lockout.
    pub const NO_DA: u32 = 1 << 25;
}

/// An NV index as TPM2_NV_ReadPublic shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NvIndex {
    /// Its handle.
    pub handle: u32,
    /// TPMA_NV.
    pub attributes: u32,
    /// Octets it holds.
    pub size: u16,
    /// Its Name.
    pub name: Vec<u8>,
}

const OTHER_NAME: Fault = Fault::ResponseNotAuthentic { command: NV_READ_PUBLIC.name, what: "Name of the index" };

fn nv_index(parameters: &[u8], index: u32) -> Result<NvIndex, Fault> {
    let mut r = Reader::new(parameters, "TPM2_NV_ReadPublic");
    let public = r.tpm2b(TPM2B_OCTETS)?;
    let name = r.tpm2b(TPM_NAME_OCTETS)?.to_vec();
    r.finish()?;
    let mut r = Reader::new(public, "TPMS_NV_PUBLIC");
    let handle = r.u32()?;
    let id = r.u16()?;
    let hash = HashAlg::from_id(id).ok_or_else(|| r.error(Reason::BadValue(id.into())))?;
    let attributes = r.u32()?;
    r.tpm2b(TPM_DIGEST_OCTETS)?;
    let size = r.u16()?;
    r.finish()?;
    let computed = [hash.id().to_be_bytes().to_vec(), hash.digest(&[public])].concat();
    if handle == index && computed == name { Ok(NvIndex { handle, attributes, size, name }) } else { Err(OTHER_NAME) }
}

impl Tpm {
    /// TPM2_NV_ReadPublic. The Name is computed from the public area and must be the TPM's.
    ///
    /// Sessions authenticate by Name, so the first answer, which brings it, cannot be authenticated. It is asked for
    /// again with that Name, and must be the same.
    ///
    /// # Errors
    /// [`Fault::Tpm`] when there is no such index.
    pub fn nv_read_public(&mut self, index: u32) -> Result<NvIndex, Fault> {
        let request = Request::new(NV_READ_PUBLIC, Vec::new()).on(Subject::Handle(index)).bare();
        let first = nv_index(&self.execute(request)?.parameters, index)?;
        if self.salt_key().is_none() {
            return Ok(first);
        }
        let request = Request::new(NV_READ_PUBLIC, Vec::new()).on(Subject::Nv(index, &first.name)).encrypt_out();
        let second = nv_index(&self.execute(request)?.parameters, index)?;
        if second == first { Ok(first) } else { Err(OTHER_NAME) }
    }

    /// TPM2_NV_Read of everything an index holds, in pieces, with the index's own empty authValue or as the owner,
    /// whichever its attributes allow.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn nv_read(&mut self, index: &NvIndex) -> Result<Vec<u8>, Fault> {
        let piece = self.nv_piece()?;
        let itself = Subject::Nv(index.handle, &index.name);
        let reader = if index.attributes & nv_attributes::AUTH_READ != 0 {
            itself
        } else {
            Subject::Handle(Hierarchy::Owner.handle())
        };
        let empty = AuthValue::empty();
        let mut contents = Vec::new();
        let mut offset = 0_u16;
        while offset < index.size {
            let len = index.size.saturating_sub(offset).min(piece);
            let mut w = Writer::new();
            w.u16(len).u16(offset);
            let request =
                Request::new(NV_READ, w.into_bytes()).authorized(reader, Auth::Value(&empty)).on(itself).encrypt_out();
            let reply = self.execute(request)?;
            let mut r = Reader::new(&reply.parameters, "TPM2_NV_Read");
            let octets = r.tpm2b(len.into())?;
            r.finish()?;
            if octets.len() != usize::from(len) {
                return Err(Malformed::new("TPM2_NV_Read", 0, Reason::Truncated(usize::from(len))).into());
            }
            contents.extend_from_slice(octets);
            offset = offset.saturating_add(len);
        }
        Ok(contents)
    }

    fn nv_piece(&mut self) -> Result<u16, Fault> {
        let limit = self.property(Property::NvBufferMax)?.and_then(|limit| u16::try_from(limit).ok());
        Ok(limit.filter(|limit| *limit > 0).unwrap_or(PIECE_OCTETS).min(PIECE_OCTETS))
    }

    /// TPM2_NV_DefineSpace by the owner, with an empty authValue.
    ///
    /// # Errors
    /// [`Fault::Tpm`] with NV_DEFINED if the index exists.
    pub fn nv_define(&mut self, index: u32, attributes: u32, size: u16) -> Result<(), Fault> {
        let mut public = Writer::new();
        public.u32(index).u16(HashAlg::Sha256.id()).u32(attributes).tpm2b(&[]).u16(size);
        let mut w = Writer::new();
        w.tpm2b(&[]).tpm2b(&public.into_bytes());
        let empty = AuthValue::empty();
        let owner = Subject::Handle(Hierarchy::Owner.handle());
        self.execute(Request::new(NV_DEFINE_SPACE, w.into_bytes()).authorized(owner, Auth::Value(&empty))).map(drop)
    }

    /// TPM2_NV_UndefineSpace by the owner.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn nv_undefine(&mut self, index: &NvIndex) -> Result<(), Fault> {
        let owner = Subject::Handle(Hierarchy::Owner.handle());
        let request = Request::new(NV_UNDEFINE_SPACE, Vec::new())
            .authorized(owner, Auth::EmptyPassword)
            .on(Subject::Nv(index.handle, &index.name));
        self.execute(request).map(drop)
    }

    /// TPM2_NV_Write of `contents` from the start, with the index's own empty authValue.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn nv_write(&mut self, index: &NvIndex, contents: &[u8]) -> Result<(), Fault> {
        let piece = usize::from(self.nv_piece()?);
        let mut offset = 0_u16;
        for octets in contents.chunks(piece) {
            // The first write sets TPMA_NV_WRITTEN and so changes the Name.
            let current = self.nv_read_public(index.handle)?;
            let itself = Subject::Nv(current.handle, &current.name);
            let mut w = Writer::new();
            w.tpm2b(octets).u16(offset);
            let request = Request::new(NV_WRITE, w.into_bytes()).authorized(itself, Auth::EmptyPassword).on(itself);
            self.execute(request)?;
            offset = offset.saturating_add(u16::try_from(octets.len()).unwrap_or(u16::MAX));
        }
        Ok(())
    }
}
