//! Bounds on CMP messages.

use vouchsafe_evidence::limits::CSR_OCTETS;

/// Octets of a message: those of a request, and what is around it.
pub const MESSAGE_OCTETS: usize = CSR_OCTETS + 256 * 1024;
/// Certificates in extraCerts; the sender's chain has few.
pub const EXTRA_CERTS: usize = 16;
/// Members of generalInfo, and of a general message.
pub const INFO_VALUES: usize = 16;
/// Texts in a PKIFreeText.
pub const FREE_TEXTS: usize = 16;
/// Octets of a transactionID at least: 128 bits (RFC 9483, section 3.1).
pub const TRANSACTION_ID_OCTETS_MIN: usize = 16;
/// Octets of a transactionID at most.
pub const TRANSACTION_ID_OCTETS_MAX: usize = 64;
/// Octets of a senderNonce at least: 128 bits (RFC 9483, section 3.1).
pub const SENDER_NONCE_OCTETS_MIN: usize = 16;
/// Octets of a senderNonce at most.
pub const SENDER_NONCE_OCTETS_MAX: usize = 64;
/// Octets of a senderKID at most.
pub const KEY_ID_OCTETS_MAX: usize = 128;
/// Octets of a salt.
pub const SALT_OCTETS: std::ops::RangeInclusive<usize> = 8..=128;
/// Iterations of a password-based MAC. What is derived is a strong secret already, so that few do; every message costs
/// the server as many, so that many do not.
pub const ITERATIONS: std::ops::RangeInclusive<u64> = 100..=100_000;
/// Octets of a shared secret at least. Whoever records one message can try secrets as fast as hashes go.
pub const SECRET_OCTETS_MIN: usize = 16;
/// Octets of a shared secret at most.
pub const SECRET_OCTETS_MAX: usize = 1024;
/// Transactions of one account that are kept at once.
pub const TRANSACTIONS: usize = 1_024;
/// Seconds after its last message for which a transaction is kept.
pub const TRANSACTION_SECONDS: i64 = 600;
/// Octets of a certificate's digest in certConf at most.
pub const CERT_HASH_OCTETS_MAX: usize = 64;
