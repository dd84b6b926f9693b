//! TPM response codes (TPM 2.0 Library, Part 2, clause 6.6 "TPM_RC").

use std::fmt;

/// A TPM_RC, kept as the number that the TPM gave.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResponseCode(u32);

/// Which part of a command a format-one code blames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blamed {
    /// Parameter, counted from 1; 0 when the TPM does not say.
    Parameter(u8),
    /// Handle, counted from 1; 0 when the TPM does not say.
    Handle(u8),
    /// Session, counted from 1; 0 when the TPM does not say.
    Session(u8),
}

impl ResponseCode {
    /// TPM_RC_SUCCESS.
    pub const SUCCESS: Self = Self(0);
    /// TPM_RC_INITIALIZE: Startup was done already, or is still needed.
    pub const INITIALIZE: Self = Self(0x100);
    /// TPM_RC_FAILURE.
    pub const FAILURE: Self = Self(0x101);
    /// TPM_RC_AUTH_UNAVAILABLE.
    pub const AUTH_UNAVAILABLE: Self = Self(0x12F);
    /// TPM_RC_COMMAND_CODE: the TPM has no such command.
    pub const COMMAND_CODE: Self = Self(0x143);
    /// TPM_RC_NV_DEFINED: index or persistent handle is in use.
    pub const NV_DEFINED: Self = Self(0x14C);
    /// TPM_RC_OBJECT_MEMORY: no free slot for a transient object.
    pub const OBJECT_MEMORY: Self = Self(0x902);
    /// TPM_RC_SESSION_MEMORY: no free slot for a session.
    pub const SESSION_MEMORY: Self = Self(0x903);
    /// TPM_RC_LOCKOUT: dictionary attack protection is active.
    pub const LOCKOUT: Self = Self(0x921);
    /// TPM_RC_RETRY.
    pub const RETRY: Self = Self(0x922);

    /// The code with that number.
    #[must_use]
    pub const fn new(code: u32) -> Self {
        Self(code)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether the same command may work when sent again: RETRY, YIELDED, TESTING, NV_RATE.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self.0, 0x908 | 0x90A | 0x920 | 0x922)
    }

    /// Whether slots for objects or sessions are full: OBJECT_MEMORY, SESSION_MEMORY, MEMORY,
    /// SESSION_HANDLES, OBJECT_HANDLES.
    #[must_use]
    pub const fn is_out_of_room(self) -> bool {
        matches!(self.0, 0x902..=0x906)
    }

    /// Whether a handle of the command (or the context it was loaded from) is no longer known.
    #[must_use]
    pub const fn is_stale_handle(self) -> bool {
        matches!(self.0, 0x910..=0x916 | 0x918..=0x91E) || matches!(self.format_one(), Some((0x0B, _)))
    }

    /// For a format-one code: the error number and what it blames.
    #[must_use]
    pub const fn format_one(self) -> Option<(u8, Blamed)> {
        if self.0 & 0x80 == 0 || self.0 > 0xFFF {
            return None;
        }
        let [_, _, high, low] = self.0.to_be_bytes();
        let number = high & 0x0F;
        let blamed = if low & 0x40 != 0 {
            Blamed::Parameter(number)
        } else if number & 0x08 != 0 {
            Blamed::Session(number & 0x07)
        } else {
            Blamed::Handle(number)
        };
        Some((low & 0x3F, blamed))
    }
}

impl fmt::Debug for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseCode({:#05X})", self.0)
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#05X}", self.0)
    }
}
