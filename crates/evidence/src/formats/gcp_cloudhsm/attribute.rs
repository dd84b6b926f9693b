//! Attributes of objects, by the numbers of PKCS #11 and of the module's maker.

/// CKA_CLASS.
pub const CLASS: u32 = 0x0000;
/// CKA_LABEL.
pub const LABEL: u32 = 0x0003;
/// CKA_KEY_TYPE.
pub const KEY_TYPE: u32 = 0x0100;
/// CKA_ID.
pub const ID: u32 = 0x0102;
/// CKA_SENSITIVE.
pub const SENSITIVE: u32 = 0x0103;
/// CKA_ENCRYPT.
pub const ENCRYPT: u32 = 0x0104;
/// CKA_DECRYPT.
pub const DECRYPT: u32 = 0x0105;
/// CKA_WRAP.
pub const WRAP: u32 = 0x0106;
/// CKA_UNWRAP.
pub const UNWRAP: u32 = 0x0107;
/// CKA_SIGN.
pub const SIGN: u32 = 0x0108;
/// CKA_SIGN_RECOVER.
pub const SIGN_RECOVER: u32 = 0x0109;
/// CKA_VERIFY.
pub const VERIFY: u32 = 0x010A;
/// CKA_VERIFY_RECOVER.
pub const VERIFY_RECOVER: u32 = 0x010B;
/// CKA_DERIVE.
pub const DERIVE: u32 = 0x010C;
/// The modulus of an RSA key, or the uncompressed point of a key on a curve.
pub const MODULUS: u32 = 0x0120;
/// Bits of the modulus, or the number of the curve.
pub const MODULUS_BITS: u32 = 0x0121;
/// The public exponent.
pub const PUBLIC_EXPONENT: u32 = 0x0122;
/// CKA_EXTRACTABLE.
pub const EXTRACTABLE: u32 = 0x0162;
/// CKA_LOCAL.
pub const LOCAL: u32 = 0x0163;
/// CKA_NEVER_EXTRACTABLE.
pub const NEVER_EXTRACTABLE: u32 = 0x0164;
/// CKA_ALWAYS_SENSITIVE.
pub const ALWAYS_SENSITIVE: u32 = 0x0165;
/// Key check value.
pub const CHECK_VALUE: u32 = 0x0173;
/// CKA_WRAP_WITH_TRUSTED.
pub const WRAP_WITH_TRUSTED: u32 = 0x0210;

/// Names of attributes, for a person to read.
pub(super) const NAMES: [(u32, &str); 25] = [
    (CLASS, "class"),
    (LABEL, "label"),
    (KEY_TYPE, "key type"),
    (ID, "id"),
    (SENSITIVE, "sensitive"),
    (ENCRYPT, "encrypt"),
    (DECRYPT, "decrypt"),
    (WRAP, "wrap"),
    (UNWRAP, "unwrap"),
    (SIGN, "sign"),
    (SIGN_RECOVER, "sign-recover"),
    (VERIFY, "verify"),
    (VERIFY_RECOVER, "verify-recover"),
    (DERIVE, "derive"),
    (MODULUS, "modulus or point"),
    (MODULUS_BITS, "modulus bits or curve"),
    (PUBLIC_EXPONENT, "public exponent"),
    (EXTRACTABLE, "extractable"),
    (LOCAL, "local"),
    (NEVER_EXTRACTABLE, "never extractable"),
    (ALWAYS_SENSITIVE, "always sensitive"),
    (CHECK_VALUE, "key check value"),
    (WRAP_WITH_TRUSTED, "wrap with trusted"),
    (0x0001, "token"),
    (0x0002, "private"),
];
