//! Bounds on everything that is parsed. Beyond a bound there is no parsing, only a `limit.*` rejection.

/// Octets of all input files together.
pub const INPUT_OCTETS: usize = 4 * 1024 * 1024;
/// Octets of one certification request.
pub const CSR_OCTETS: usize = 2 * 1024 * 1024;
/// Octets that every certificate has: with the shortest key and signature that are in use, Ed25519's, and empty names it
/// takes 169. What is shorter certifies nothing, and many of them would cost many times their octets to hold.
pub const CERTIFICATE_OCTETS_MIN: usize = 160;
/// Octets of one certificate.
pub const CERTIFICATE_OCTETS: usize = 64 * 1024;
/// Octets of one certificate revocation list.
pub const CRL_OCTETS: usize = 4 * 1024 * 1024;
/// Certificates parsed from one bundle or one set of input files.
pub const CERTIFICATES_PARSED: usize = 512;
/// Certificates that path validation uses of those parsed.
pub const CERTIFICATES_USED: usize = 64;
/// Certificates of one attestation key in one bundle.
pub const CERTIFICATES_OF_ONE_KEY: usize = 8;
/// Attestation statements in one bundle.
pub const STATEMENTS: usize = 16;
/// Depth of nested ASN.1 values.
pub const NESTING: usize = 16;
/// Signature checks in one request.
pub const SIGNATURE_CHECKS: usize = 100;
/// Certificates in one certification path, the trust anchor included.
pub const CHAIN_LENGTH: usize = 8;
/// Smallest RSA modulus that is parsed, in bits.
pub const RSA_BITS_MIN: usize = 1024;
/// Largest RSA modulus that is parsed, in bits.
pub const RSA_BITS_MAX: usize = 8192;
/// Extensions in one certificate or request.
pub const EXTENSIONS: usize = 64;
/// Extensions of one revocation list, or of one entry in it.
pub const CRL_EXTENSIONS: usize = 16;
/// Relative distinguished names in one name.
pub const RDNS: usize = 64;
/// Attributes in one certification request.
pub const CSR_ATTRIBUTES: usize = 64;
/// Values of one attribute in a certification request.
pub const CSR_ATTRIBUTE_VALUES: usize = 64;
/// Octets of one marshaled TPM structure, above every structure that a TPM emits.
pub const TPM_STRUCTURE_OCTETS: usize = 8 * 1024;
/// Octets of the largest digest a TPM names (SHA-512).
pub const TPM_DIGEST_OCTETS: usize = 64;
/// Octets of a TPM2B_NAME: a hash algorithm and the largest digest.
pub const TPM_NAME_OCTETS: usize = 2 + TPM_DIGEST_OCTETS;
/// Octets of TPM2B_DATA as TPMs accept for qualifying data (66 tried, 67 refused).
pub const TPM_QUALIFYING_OCTETS: usize = 2 + TPM_DIGEST_OCTETS;
/// PCR banks in one TPML_PCR_SELECTION (Part 2, HASH_COUNT).
pub const PCR_BANKS: usize = 16;
/// Octets of one PCR bitmap (Part 2, PCR_SELECT_MAX; 32 PCRs).
pub const PCR_SELECT_OCTETS: usize = 4;
/// Smallest nonce, in octets.
pub const NONCE_OCTETS_MIN: usize = 16;
/// Largest nonce, in octets.
pub const NONCE_OCTETS_MAX: usize = 64;
