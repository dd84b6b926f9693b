//! What a TPM is and holds (Part 3, "Capability commands").

use vouchsafe_evidence::Reason;
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::tpm::{PublicParameters, TpmtPublic, alg};

use super::{CERTIFY_X509, GET_CAPABILITY, TEST_PARMS};
use crate::provider::Fault;
use crate::tpm::Tpm;
use crate::tpm::frame::{CommandCode, Request};

/// TPM_CAP_ALGS.
const CAP_ALGS: u32 = 0;
/// TPM_CAP_HANDLES.
const CAP_HANDLES: u32 = 1;
/// TPM_CAP_COMMANDS.
const CAP_COMMANDS: u32 = 2;
/// TPM_CAP_TPM_PROPERTIES.
const CAP_TPM_PROPERTIES: u32 = 6;
/// Entries asked for at once.
const PAGE: u32 = 64;
/// Pages that are followed; no TPM has thousands of handles.
const PAGES_LIMIT: usize = 64;
/// The command index within a TPMA_CC.
const COMMAND_INDEX: u32 = 0x0000_FFFF;
/// The handle type, in the most significant octet of a handle.
const HANDLE_TYPE: u32 = 0xFF00_0000;

/// Types of session handles: HMAC or loaded, policy or saved.
const SESSION_TYPES: [u32; 2] = [0x0200_0000, 0x0300_0000];

/// A TPM_PT that is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    /// TPM_PT_MANUFACTURER: four ASCII characters.
    Manufacturer,
    /// TPM_PT_FIRMWARE_VERSION_1: the more significant half.
    FirmwareVersion1,
    /// TPM_PT_NV_BUFFER_MAX: octets that one NV command moves.
    NvBufferMax,
}

impl Property {
    const fn id(self) -> u32 {
        match self {
            Self::Manufacturer => 0x105,
            Self::FirmwareVersion1 => 0x10B,
            Self::NvBufferMax => 0x12C,
        }
    }
}

struct Page {
    more: bool,
    entries: Vec<u8>,
}

impl Tpm {
    /// TPM2_TestParms: whether the TPM makes asymmetric keys of this size or curve without a scheme of their own.
    ///
    /// # Errors
    /// [`Fault`] of the connection, or of a TPM that answers nothing of use.
    pub fn test_parameters(&mut self, template: &TpmtPublic) -> Result<bool, Fault> {
        let mut w = Writer::new();
        match template.parameters() {
            PublicParameters::Rsa { key_bits, exponent, .. } => {
                w.u16(alg::RSA).u16(alg::NULL).u16(alg::NULL).u16(*key_bits).u32(*exponent)
            }
            // symmetric, scheme, curve, kdf.
            PublicParameters::Ecc { curve, .. } => {
                w.u16(alg::ECC).u16(alg::NULL).u16(alg::NULL).u16(curve.id()).u16(alg::NULL)
            }
            PublicParameters::KeyedHash { .. } | PublicParameters::SymCipher { .. } => return Ok(false),
        };
        match self.execute(Request::new(TEST_PARMS, w.into_bytes())) {
            Ok(_) => Ok(true),
            Err(Fault::Tpm { code, .. }) if code.format_one().is_some() && !code.is_stale_handle() => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    fn capability(&mut self, capability: u32, property: u32, count: u32, guarded: bool) -> Result<Page, Fault> {
        let mut w = Writer::new();
        w.u32(capability).u32(property).u32(count);
        let request = Request::new(GET_CAPABILITY, w.into_bytes());
        let reply = self.execute(if guarded { request } else { request.bare() })?;
        let mut r = Reader::new(&reply.parameters, "TPMS_CAPABILITY_DATA");
        let more = r.u8()? != 0;
        let answered = r.u32()?;
        if answered != capability {
            return Err(r.error(Reason::BadValue(answered.into())).into());
        }
        Ok(Page { more, entries: r.rest().to_vec() })
    }

    /// Handles of the type of `first`, from `first` up. Among sessions the types are not those of the handles: loaded
    /// sessions are asked for with 02 and saved ones with 03, and either may be HMAC (02) or policy sessions (03).
    ///
    /// # Errors
    /// [`Fault`].
    pub fn handles(&mut self, first: u32) -> Result<Vec<u32>, Fault> {
        self.handles_by(first, true)
    }

    /// As [`Tpm::handles`] before there can be a session to guard the answer.
    pub(crate) fn handles_unguarded(&mut self, first: u32) -> Result<Vec<u32>, Fault> {
        self.handles_by(first, false)
    }

    fn handles_by(&mut self, first: u32, guarded: bool) -> Result<Vec<u32>, Fault> {
        let mut all = Vec::new();
        let mut from = first;
        for _ in 0..PAGES_LIMIT {
            let page = self.capability(CAP_HANDLES, from, PAGE, guarded)?;
            let mut r = Reader::new(&page.entries, "TPML_HANDLE");
            let count = r.u32()?;
            for _ in 0..count.min(PAGE) {
                all.push(r.u32()?);
            }
            r.finish()?;
            match all.last() {
                Some(last) if page.more => from = last.saturating_add(1),
                Some(_) | None => break,
            }
        }
        let is_session = |handle: u32| SESSION_TYPES.contains(&(handle & HANDLE_TYPE));
        all.retain(|handle| *handle & HANDLE_TYPE == first & HANDLE_TYPE || (is_session(first) && is_session(*handle)));
        Ok(all)
    }

    /// Whether the TPM has a command.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn has_command(&mut self, command: CommandCode) -> Result<bool, Fault> {
        let page = self.capability(CAP_COMMANDS, command.code, 1, true)?;
        let mut r = Reader::new(&page.entries, "TPML_CCA");
        let found = r.u32()? > 0 && r.u32()? & COMMAND_INDEX == command.code;
        Ok(found)
    }

    /// Whether the TPM has TPM2_CertifyX509.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn has_certify_x509(&mut self) -> Result<bool, Fault> {
        self.has_command(CERTIFY_X509)
    }

    /// Whether the TPM has an algorithm, by TPM_ALG_ID.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn has_algorithm(&mut self, algorithm: u16) -> Result<bool, Fault> {
        let page = self.capability(CAP_ALGS, algorithm.into(), 1, true)?;
        let mut r = Reader::new(&page.entries, "TPML_ALG_PROPERTY");
        let found = r.u32()? > 0 && r.u16()? == algorithm;
        Ok(found)
    }

    /// A fixed property; `None` if the TPM does not have it.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn property(&mut self, property: Property) -> Result<Option<u32>, Fault> {
        let page = self.capability(CAP_TPM_PROPERTIES, property.id(), 1, true)?;
        let mut r = Reader::new(&page.entries, "TPML_TAGGED_TPM_PROPERTY");
        if r.u32()? == 0 {
            return Ok(None);
        }
        let (id, value) = (r.u32()?, r.u32()?);
        Ok((id == property.id()).then_some(value))
    }
}
