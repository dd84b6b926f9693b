//! Start, random numbers, clock, and what only an owner does.

use vouchsafe_evidence::tpm::ClockInfo;
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::{Malformed, Reason};
use zeroize::Zeroizing;

use super::{
    CLEAR, DICTIONARY_ATTACK_LOCK_RESET, FLUSH_CONTEXT, GET_RANDOM, Hierarchy, READ_CLOCK, STARTUP, TPM2B_OCTETS,
};
use crate::provider::Fault;
use crate::tpm::Tpm;
use crate::tpm::frame::{Auth, Request, Subject};
use crate::tpm::rc::ResponseCode;

/// TPM_SU_CLEAR.
const STARTUP_CLEAR: u16 = 0;
/// Handle types whose leftovers a simulator keeps across connections: HMAC sessions, saved sessions, transient objects.
const LEFTOVERS: [u32; 3] = [0x0200_0000, 0x0300_0000, 0x8000_0000];

impl Tpm {
    /// TPM2_Startup(CLEAR); a TPM that is started already is fine.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn startup(&mut self) -> Result<(), Fault> {
        let request = Request::new(STARTUP, STARTUP_CLEAR.to_be_bytes().to_vec()).bare();
        match self.execute(request) {
            Ok(_) | Err(Fault::Tpm { code: ResponseCode::INITIALIZE, .. }) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// Starts a simulator if nobody has, and flushes what earlier connections left.
    pub(crate) fn start_and_flush(&mut self) -> Result<(), Fault> {
        self.startup()?;
        for first in LEFTOVERS {
            for handle in self.handles_unguarded(first)? {
                self.flush_handle(handle)?;
            }
        }
        Ok(())
    }

    /// TPM2_FlushContext of a handle.
    pub(crate) fn flush_handle(&mut self, handle: u32) -> Result<(), Fault> {
        // The handle is a parameter of this command, not one of its handles.
        self.execute(Request::new(FLUSH_CONTEXT, handle.to_be_bytes().to_vec()).bare()).map(drop)
    }

    /// TPM2_GetRandom: `count` octets, asked for until they are there.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn random(&mut self, count: u16) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let mut out = Zeroizing::new(Vec::with_capacity(count.into()));
        while out.len() < usize::from(count) {
            let missing = usize::from(count).saturating_sub(out.len());
            let ask = u16::try_from(missing).unwrap_or(count);
            let reply = self.execute(Request::new(GET_RANDOM, ask.to_be_bytes().to_vec()).encrypt_out())?;
            let mut r = Reader::new(&reply.parameters, "TPM2_GetRandom");
            let octets = r.tpm2b(missing)?;
            if octets.is_empty() {
                return Err(r.error(Reason::Missing("random octets")).into());
            }
            out.extend_from_slice(octets);
            r.finish()?;
        }
        Ok(out)
    }

    /// TPM2_ReadClock: milliseconds since TPM2_Init, and the clock.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn read_clock(&mut self) -> Result<(u64, ClockInfo), Fault> {
        let reply = self.execute(Request::new(READ_CLOCK, Vec::new()))?;
        let mut r = Reader::new(&reply.parameters, "TPMS_TIME_INFO");
        let time_ms = r.u64()?;
        let (clock_ms, reset_count, restart_count) = (r.u64()?, r.u32()?, r.u32()?);
        let safe = match r.u8()? {
            0 => false,
            1 => true,
            other => return Err(Malformed::new("TPMI_YES_NO", 0, Reason::BadValue(other.into())).into()),
        };
        r.finish()?;
        Ok((time_ms, ClockInfo { clock_ms, reset_count, restart_count, safe }))
    }

    /// TPM2_Clear by lockout authorization: owner and endorsement objects vanish, the storage seed changes, and every
    /// key under it is lost.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn clear(&mut self) -> Result<(), Fault> {
        let lockout = Subject::Handle(Hierarchy::Lockout.handle());
        self.execute(Request::new(CLEAR, Vec::new()).authorized(lockout, Auth::EmptyPassword)).map(drop)
    }

    /// TPM2_DictionaryAttackLockReset by empty lockout authorization.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn dictionary_attack_lock_reset(&mut self) -> Result<(), Fault> {
        let lockout = Subject::Handle(Hierarchy::Lockout.handle());
        let request = Request::new(DICTIONARY_ATTACK_LOCK_RESET, Vec::new());
        self.execute(request.authorized(lockout, Auth::EmptyPassword)).map(drop)
    }

    /// TPM2_PCR_Extend of one register in one bank.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn pcr_extend(
        &mut self,
        index: u8,
        hash: vouchsafe_evidence::tpm::HashAlg,
        digest: &[u8],
    ) -> Result<(), Fault> {
        let mut w = Writer::new();
        w.u32(1).u16(hash.id()).bytes(digest);
        let request = Request::new(super::PCR_EXTEND, w.into_bytes());
        self.execute(request.authorized(Subject::Handle(index.into()), Auth::EmptyPassword)).map(drop)
    }
}

/// The contents of a response that is one TPM2B.
pub(super) fn only_tpm2b(parameters: &[u8], production: &'static str) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let mut r = Reader::new(parameters, production);
    let contents = Zeroizing::new(r.tpm2b(TPM2B_OCTETS)?.to_vec());
    r.finish()?;
    Ok(contents)
}
