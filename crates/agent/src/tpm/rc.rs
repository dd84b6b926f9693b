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
    /// TPM_RC_REFERENCE_H0: the first handle names nothing that is loaded.
    pub const REFERENCE_H0: Self = Self(0x910);
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

    /// Whether a session of the command is no longer known.
    #[must_use]
    pub const fn is_stale_session(self) -> bool {
        matches!(self.0, 0x918..=0x91E) || matches!(self.format_one(), Some((0x0B, Blamed::Session(_))))
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
        write!(f, "TPM_RC {:#05x}", self.0)?;
        if let Some((error, blamed)) = self.format_one() {
            write!(f, " ({}, {blamed})", name_of(&FORMAT_ONE, error).unwrap_or("unknown error"))
        } else {
            let name = match self.0.to_be_bytes() {
                [0, 0, 0x01, low] => name_of(&VERSION_ONE, low),
                [0, 0, 0x09, low] => name_of(&WARNINGS, low),
                [0, 0, 0, 0] => Some("SUCCESS"),
                _ => None,
            };
            write!(f, " ({})", name.unwrap_or("unknown code"))
        }
    }
}

impl fmt::Display for Blamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameter(number) => write!(f, "parameter {number}"),
            Self::Handle(number) => write!(f, "handle {number}"),
            Self::Session(number) => write!(f, "session {number}"),
        }
    }
}

fn name_of(names: &[(u8, &'static str)], number: u8) -> Option<&'static str> {
    names.iter().find(|(n, _)| *n == number).map(|(_, name)| *name)
}

/// Format-one errors (RC_FMT1).
const FORMAT_ONE: [(u8, &str); 38] = [
    (0x01, "ASYMMETRIC"),
    (0x02, "ATTRIBUTES"),
    (0x03, "HASH"),
    (0x04, "VALUE"),
    (0x05, "HIERARCHY"),
    (0x07, "KEY_SIZE"),
    (0x08, "MGF"),
    (0x09, "MODE"),
    (0x0A, "TYPE"),
    (0x0B, "HANDLE"),
    (0x0C, "KDF"),
    (0x0D, "RANGE"),
    (0x0E, "AUTH_FAIL"),
    (0x0F, "NONCE"),
    (0x10, "PP"),
    (0x12, "SCHEME"),
    (0x15, "SIZE"),
    (0x16, "SYMMETRIC"),
    (0x17, "TAG"),
    (0x18, "SELECTOR"),
    (0x1A, "INSUFFICIENT"),
    (0x1B, "SIGNATURE"),
    (0x1C, "KEY"),
    (0x1D, "POLICY_FAIL"),
    (0x1F, "INTEGRITY"),
    (0x20, "TICKET"),
    (0x21, "RESERVED_BITS"),
    (0x22, "BAD_AUTH"),
    (0x23, "EXPIRED"),
    (0x24, "POLICY_CC"),
    (0x25, "BINDING"),
    (0x26, "CURVE"),
    (0x27, "ECC_POINT"),
    (0x28, "FW_LIMITED"),
    (0x29, "SVN_LIMITED"),
    (0x2A, "CHANNEL"),
    (0x2B, "CHANNEL_KEY"),
    (0x30, "PARMS"),
];

/// Format-zero errors (RC_VER1).
const VERSION_ONE: [(u8, &str); 40] = [
    (0x00, "INITIALIZE"),
    (0x01, "FAILURE"),
    (0x03, "SEQUENCE"),
    (0x0B, "PRIVATE"),
    (0x19, "HMAC"),
    (0x20, "DISABLED"),
    (0x21, "EXCLUSIVE"),
    (0x24, "AUTH_TYPE"),
    (0x25, "AUTH_MISSING"),
    (0x26, "POLICY"),
    (0x27, "PCR"),
    (0x28, "PCR_CHANGED"),
    (0x2D, "UPGRADE"),
    (0x2E, "TOO_MANY_CONTEXTS"),
    (0x2F, "AUTH_UNAVAILABLE"),
    (0x30, "REBOOT"),
    (0x31, "UNBALANCED"),
    (0x42, "COMMAND_SIZE"),
    (0x43, "COMMAND_CODE"),
    (0x44, "AUTHSIZE"),
    (0x45, "AUTH_CONTEXT"),
    (0x46, "NV_RANGE"),
    (0x47, "NV_SIZE"),
    (0x48, "NV_LOCKED"),
    (0x49, "NV_AUTHORIZATION"),
    (0x4A, "NV_UNINITIALIZED"),
    (0x4B, "NV_SPACE"),
    (0x4C, "NV_DEFINED"),
    (0x50, "BAD_CONTEXT"),
    (0x51, "CPHASH"),
    (0x52, "PARENT"),
    (0x53, "NEEDS_TEST"),
    (0x54, "NO_RESULT"),
    (0x55, "SENSITIVE"),
    (0x56, "READ_ONLY"),
    (0x57, "FIPS_SERVICE"),
    (0x58, "POLICY_BINDING"),
    (0x59, "UNAVAILABLE"),
    (0x7E, "SELF_TEST"),
    (0x7F, "MAX_FM0"),
];

/// Warnings (RC_WARN): the command may work later.
const WARNINGS: [(u8, &str); 28] = [
    (0x01, "CONTEXT_GAP"),
    (0x02, "OBJECT_MEMORY"),
    (0x03, "SESSION_MEMORY"),
    (0x04, "MEMORY"),
    (0x05, "SESSION_HANDLES"),
    (0x06, "OBJECT_HANDLES"),
    (0x07, "LOCALITY"),
    (0x08, "YIELDED"),
    (0x09, "CANCELED"),
    (0x0A, "TESTING"),
    (0x10, "REFERENCE_H0"),
    (0x11, "REFERENCE_H1"),
    (0x12, "REFERENCE_H2"),
    (0x13, "REFERENCE_H3"),
    (0x14, "REFERENCE_H4"),
    (0x15, "REFERENCE_H5"),
    (0x16, "REFERENCE_H6"),
    (0x18, "REFERENCE_S0"),
    (0x19, "REFERENCE_S1"),
    (0x1A, "REFERENCE_S2"),
    (0x1B, "REFERENCE_S3"),
    (0x1C, "REFERENCE_S4"),
    (0x1D, "REFERENCE_S5"),
    (0x1E, "REFERENCE_S6"),
    (0x20, "NV_RATE"),
    (0x21, "LOCKOUT"),
    (0x22, "RETRY"),
    (0x23, "NV_UNAVAILABLE"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_print_decoded() {
        for (code, text) in [
            (0x000, "TPM_RC 0x000 (SUCCESS)"),
            (0x100, "TPM_RC 0x100 (INITIALIZE)"),
            (0x12F, "TPM_RC 0x12f (AUTH_UNAVAILABLE)"),
            (0x18B, "TPM_RC 0x18b (HANDLE, handle 1)"),
            (0x1D5, "TPM_RC 0x1d5 (SIZE, parameter 1)"),
            (0x1DF, "TPM_RC 0x1df (INTEGRITY, parameter 1)"),
            (0x98E, "TPM_RC 0x98e (AUTH_FAIL, session 1)"),
            (0x9A2, "TPM_RC 0x9a2 (BAD_AUTH, session 1)"),
            (0xA9D, "TPM_RC 0xa9d (POLICY_FAIL, session 2)"),
            (0x12A, "TPM_RC 0x12a (unknown code)"),
            (0x902, "TPM_RC 0x902 (OBJECT_MEMORY)"),
            (0x922, "TPM_RC 0x922 (RETRY)"),
            (0x8000_0000, "TPM_RC 0x80000000 (unknown code)"),
        ] {
            assert_eq!(ResponseCode::new(code).to_string(), text);
        }
    }

    #[test]
    fn only_what_may_pass_by_itself_is_transient() {
        for (code, transient) in
            [(0x908, true), (0x90A, true), (0x920, true), (0x922, true), (0x923, false), (0x921, false), (0x902, false)]
        {
            assert_eq!(ResponseCode::new(code).is_transient(), transient, "{code:#x}");
        }
    }

    #[test]
    fn dead_handles_are_told_from_bad_parameters() {
        for (code, stale) in
            [(0x18B, true), (0x98B, true), (0x910, true), (0x918, true), (0x1DF, false), (0x917, false), (0x1C4, false)]
        {
            assert_eq!(ResponseCode::new(code).is_stale_handle(), stale, "{code:#x}");
        }
    }
}
