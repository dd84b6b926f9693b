//! Object identifiers of CMP, in one place: those of drafts change.

use vouchsafe_evidence::oid::{self, Oid, within};

/// id-PasswordBasedMac (RFC 9810, section 5.1.3.1).
pub const PASSWORD_BASED_MAC: Oid = Oid::constant("1.2.840.113533.7.66.13");
/// id-PBMAC1 (RFC 8018, section 7.1).
pub const PBMAC1: Oid = Oid::constant("1.2.840.113549.1.5.14");
/// id-PBKDF2 (RFC 8018, section 5.2).
pub const PBKDF2: Oid = Oid::constant("1.2.840.113549.1.5.12");
/// hmac-sha1 by IANA, which RFC 4211 names.
pub const HMAC_SHA1_IANA: Oid = Oid::constant("1.3.6.1.5.5.8.1.2");
/// id-hmacWithSHA1 (RFC 8018, appendix B.1.1).
pub const HMAC_SHA1: Oid = Oid::constant("1.2.840.113549.2.7");
/// id-hmacWithSHA256.
pub const HMAC_SHA256: Oid = Oid::constant("1.2.840.113549.2.9");
/// id-hmacWithSHA384.
pub const HMAC_SHA384: Oid = Oid::constant("1.2.840.113549.2.10");
/// id-hmacWithSHA512.
pub const HMAC_SHA512: Oid = Oid::constant("1.2.840.113549.2.11");
/// id-sha256.
pub const SHA256: Oid = oid::SHA256;
/// id-sha384.
pub const SHA384: Oid = Oid::constant("2.16.840.1.101.3.4.2.2");
/// id-sha512.
pub const SHA512: Oid = Oid::constant("2.16.840.1.101.3.4.2.3");

/// id-it-implicitConfirm.
pub const IMPLICIT_CONFIRM: Oid = Oid::constant("1.3.6.1.5.5.7.4.13");
/// id-it-caCerts (RFC 9810, section 5.3.19.14).
pub const CA_CERTS: Oid = Oid::constant("1.3.6.1.5.5.7.4.17");
/// id-it-certProfile (RFC 9810, section 5.1.1.4).
pub const CERT_PROFILE: Oid = Oid::constant("1.3.6.1.5.5.7.4.21");
/// id-it-nonceRequest (draft-ietf-lamps-attestation-freshness). Not assigned yet; a placeholder.
pub const NONCE_REQUEST: Oid = within(oid::PRIVATE_ARC, &[1, 12, 1]);
/// id-it-nonceResponse (as above). Not assigned yet; a placeholder.
pub const NONCE_RESPONSE: Oid = within(oid::PRIVATE_ARC, &[1, 12, 2]);

/// id-regCtrl-oldCertID (RFC 4211, section 6.5).
pub const OLD_CERT_ID: Oid = Oid::constant("1.3.6.1.5.5.7.5.1.5");
/// id-ce-cRLReasons (RFC 5280, section 5.3.1).
pub const CRL_REASON: Oid = oid::CRL_REASON;
/// id-kp-cmcCA (RFC 6402), for the key that signs CMP messages in the name of a CA.
pub const KP_CMC_CA: Oid = Oid::constant("1.3.6.1.5.5.7.3.27");
