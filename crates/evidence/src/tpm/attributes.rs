//! TPMA_OBJECT (Part 2, "TPMA_OBJECT"): what a TPM lets happen to an object.

use std::fmt;

/// The 32 attribute bits of a TPM object, as the TPM signed or reported them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectAttributes(u32);

/// Names of the defined bits, lowest first.
const NAMES: [(u32, &str); 14] = [
    (ObjectAttributes::FIXED_TPM, "fixedTPM"),
    (ObjectAttributes::ST_CLEAR, "stClear"),
    (ObjectAttributes::FIXED_PARENT, "fixedParent"),
    (ObjectAttributes::SENSITIVE_DATA_ORIGIN, "sensitiveDataOrigin"),
    (ObjectAttributes::USER_WITH_AUTH, "userWithAuth"),
    (ObjectAttributes::ADMIN_WITH_POLICY, "adminWithPolicy"),
    (ObjectAttributes::FIRMWARE_LIMITED, "firmwareLimited"),
    (ObjectAttributes::SVN_LIMITED, "svnLimited"),
    (ObjectAttributes::NO_DA, "noDA"),
    (ObjectAttributes::ENCRYPTED_DUPLICATION, "encryptedDuplication"),
    (ObjectAttributes::RESTRICTED, "restricted"),
    (ObjectAttributes::DECRYPT, "decrypt"),
    (ObjectAttributes::SIGN, "sign"),
    (ObjectAttributes::X509_SIGN, "x509sign"),
];

impl ObjectAttributes {
    /// The object can never leave this TPM.
    pub const FIXED_TPM: u32 = 1 << 1;
    /// Saved contexts die at TPM2_Startup(CLEAR).
    pub const ST_CLEAR: u32 = 1 << 2;
    /// The object can never get another parent.
    pub const FIXED_PARENT: u32 = 1 << 4;
    /// The TPM itself generated the private part.
    pub const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
    /// USER actions may be authorized with the authValue.
    pub const USER_WITH_AUTH: u32 = 1 << 6;
    /// ADMIN actions need the policy.
    pub const ADMIN_WITH_POLICY: u32 = 1 << 7;
    /// The object is bound to this firmware.
    pub const FIRMWARE_LIMITED: u32 = 1 << 8;
    /// The object is bound to this firmware security version.
    pub const SVN_LIMITED: u32 = 1 << 9;
    /// Wrong authorizations do not count toward the dictionary-attack lockout.
    pub const NO_DA: u32 = 1 << 10;
    /// Duplication must be encrypted (and is therefore thought of).
    pub const ENCRYPTED_DUPLICATION: u32 = 1 << 11;
    /// The key works only on data that the TPM made or formatted.
    pub const RESTRICTED: u32 = 1 << 16;
    /// The key decrypts.
    pub const DECRYPT: u32 = 1 << 17;
    /// The key signs.
    pub const SIGN: u32 = 1 << 18;
    /// The key signs certificates only (TPM2_CertifyX509), never through TPM2_Sign.
    pub const X509_SIGN: u32 = 1 << 19;
    /// Every bit that the specification defines.
    pub const DEFINED: u32 = Self::FIXED_TPM
        | Self::ST_CLEAR
        | Self::FIXED_PARENT
        | Self::SENSITIVE_DATA_ORIGIN
        | Self::USER_WITH_AUTH
        | Self::ADMIN_WITH_POLICY
        | Self::FIRMWARE_LIMITED
        | Self::SVN_LIMITED
        | Self::NO_DA
        | Self::ENCRYPTED_DUPLICATION
        | Self::RESTRICTED
        | Self::DECRYPT
        | Self::SIGN
        | Self::X509_SIGN;

    /// The attributes with these bits, reserved ones included.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// All 32 bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether every bit of `mask` is set.
    #[must_use]
    pub const fn contains(self, mask: u32) -> bool {
        self.0 & mask == mask
    }

    /// Whether any reserved bit is set.
    #[must_use]
    pub const fn has_reserved(self) -> bool {
        self.0 & !Self::DEFINED != 0
    }

    /// The names of the set bits, lowest first, reserved ones left out.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().filter(move |(bit, _)| self.contains(*bit)).map(|(_, name)| name)
    }
}

impl fmt::Debug for ObjectAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x} ", self.0)?;
        f.debug_list().entries(self.names()).finish()
    }
}
