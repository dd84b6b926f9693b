//! TPM commands as functions (TPM 2.0 Library, Part 3), grouped as its chapters are.

mod admin;
mod attestation;
mod capability;
mod context;
mod nv;
mod object;
mod pcr;
mod rsa;
mod session;
mod signing;

pub use attestation::{Certified, CertifiedX509};
pub use capability::Property;
pub use nv::{NvIndex, nv_attributes};
pub use object::{Created, CreationProof, Sealed};
pub use pcr::PcrValues;
pub use rsa::DecryptScheme;
pub use signing::{SignScheme, Ticket};

use super::frame::CommandCode;

/// A hierarchy that objects are made in (Part 2, "TPM_RH").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hierarchy {
    /// TPM_RH_OWNER.
    Owner,
    /// TPM_RH_NULL.
    Null,
    /// TPM_RH_LOCKOUT.
    Lockout,
    /// TPM_RH_ENDORSEMENT.
    Endorsement,
    /// TPM_RH_PLATFORM.
    Platform,
}

impl Hierarchy {
    /// Its handle.
    #[must_use]
    pub const fn handle(self) -> u32 {
        match self {
            Self::Owner => 0x4000_0001,
            Self::Null => 0x4000_0007,
            Self::Lockout => 0x4000_000A,
            Self::Endorsement => 0x4000_000B,
            Self::Platform => 0x4000_000C,
        }
    }
}

/// Octets of the largest TPM2B that a response holds.
const TPM2B_OCTETS: usize = super::FRAME_OCTETS;

macro_rules! command_codes {
    ($($name:ident = $code:literal $text:literal;)*) => {
        $(pub(crate) const $name: CommandCode = CommandCode { code: $code, name: $text };)*
    };
}

command_codes! {
    EVICT_CONTROL = 0x120 "TPM2_EvictControl";
    NV_UNDEFINE_SPACE = 0x122 "TPM2_NV_UndefineSpace";
    CLEAR = 0x126 "TPM2_Clear";
    NV_DEFINE_SPACE = 0x12A "TPM2_NV_DefineSpace";
    CREATE_PRIMARY = 0x131 "TPM2_CreatePrimary";
    NV_WRITE = 0x137 "TPM2_NV_Write";
    DICTIONARY_ATTACK_LOCK_RESET = 0x139 "TPM2_DictionaryAttackLockReset";
    STARTUP = 0x144 "TPM2_Startup";
    ACTIVATE_CREDENTIAL = 0x147 "TPM2_ActivateCredential";
    CERTIFY = 0x148 "TPM2_Certify";
    CERTIFY_CREATION = 0x14A "TPM2_CertifyCreation";
    NV_READ = 0x14E "TPM2_NV_Read";
    POLICY_SECRET = 0x151 "TPM2_PolicySecret";
    CREATE = 0x153 "TPM2_Create";
    IMPORT = 0x156 "TPM2_Import";
    LOAD = 0x157 "TPM2_Load";
    QUOTE = 0x158 "TPM2_Quote";
    RSA_DECRYPT = 0x159 "TPM2_RSA_Decrypt";
    SIGN = 0x15D "TPM2_Sign";
    UNSEAL = 0x15E "TPM2_Unseal";
    CONTEXT_LOAD = 0x161 "TPM2_ContextLoad";
    CONTEXT_SAVE = 0x162 "TPM2_ContextSave";
    FLUSH_CONTEXT = 0x165 "TPM2_FlushContext";
    LOAD_EXTERNAL = 0x167 "TPM2_LoadExternal";
    NV_READ_PUBLIC = 0x169 "TPM2_NV_ReadPublic";
    READ_PUBLIC = 0x173 "TPM2_ReadPublic";
    START_AUTH_SESSION = 0x176 "TPM2_StartAuthSession";
    GET_CAPABILITY = 0x17A "TPM2_GetCapability";
    GET_RANDOM = 0x17B "TPM2_GetRandom";
    HASH = 0x17D "TPM2_Hash";
    PCR_READ = 0x17E "TPM2_PCR_Read";
    TEST_PARMS = 0x18A "TPM2_TestParms";
    READ_CLOCK = 0x181 "TPM2_ReadClock";
    PCR_EXTEND = 0x182 "TPM2_PCR_Extend";
    CERTIFY_X509 = 0x197 "TPM2_CertifyX509";
}
