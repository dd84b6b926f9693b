//! Protection by a shared secret: PasswordBasedMac (RFC 9810, section 5.1.3.1) and PBMAC1 (RFC 8018, as RFC 9810 takes it).
//!
//! Hashes that derive keys are SHA-2. HMAC with SHA-1 is taken as the MAC, since clients name it unless told otherwise and
//! the security of HMAC does not rest on collisions.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2, rand};
use vouchsafe_evidence::oid::Oid;
use vouchsafe_evidence::x509::AlgorithmIdentifier;
use vouchsafe_evidence::x509::build::DerWriter;
use vouchsafe_evidence::x509::der::{Element, Reader, Tag};
use vouchsafe_evidence::{Malformed, Reason};
use zeroize::Zeroizing;

use super::refusal::{Refusal, codes};
use super::{limits, oids};

/// Octets of the salt of this authority's own requests.
const SALT_OCTETS: usize = 16;
/// Octets of a key that is derived, where a message leaves it open.
const KEY_OCTETS: usize = 32;
/// Octets of a derived key at most.
const KEY_OCTETS_MAX: u64 = 64;

/// Iterations of the MAC of this authority's own requests.
const REQUEST_ITERATIONS: u32 = 10_000;

/// SHA-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// What makes the MAC from the derived key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hmac {
    /// Under which of its two names.
    Sha1(Oid),
    Sha2(Hash),
}

/// How the key is derived from the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Derivation {
    /// The hash, iterated over secret and salt.
    PasswordBasedMac(Hash),
    /// PBKDF2 with HMAC over this hash.
    Pbmac1 { prf: Hash, key_octets: usize },
}

/// A password-based MAC with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordMac {
    derivation: Derivation,
    salt: Vec<u8>,
    iterations: u32,
    mac: Hmac,
}

/// A password-based MAC with the key that a secret gives by its parameters.
#[derive(Clone)]
pub(crate) struct KeyedMac {
    mac: PasswordMac,
    key: hmac::Key,
}

impl KeyedMac {
    /// The MAC of a message.
    pub(crate) fn make(&self, message: &[u8]) -> Vec<u8> {
        hmac::sign(&self.key, message).as_ref().to_vec()
    }

    /// Whether this is the MAC of the message.
    pub(crate) fn is_of(&self, mac: &[u8], message: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.make(message), mac).is_ok()
    }

    /// The DER of the AlgorithmIdentifier.
    pub(crate) fn to_der(&self) -> Vec<u8> {
        self.mac.to_der()
    }
}

impl Hash {
    const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    const fn oid(self) -> Oid {
        match self {
            Self::Sha256 => oids::SHA256,
            Self::Sha384 => oids::SHA384,
            Self::Sha512 => oids::SHA512,
        }
    }

    pub(super) fn from_oid(oid: Oid) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.oid() == oid)
    }

    const fn hmac_oid(self) -> Oid {
        match self {
            Self::Sha256 => oids::HMAC_SHA256,
            Self::Sha384 => oids::HMAC_SHA384,
            Self::Sha512 => oids::HMAC_SHA512,
        }
    }

    pub(super) const fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    const fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    const fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha384 => pbkdf2::PBKDF2_HMAC_SHA384,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

impl Hmac {
    fn from_oid(oid: Oid) -> Option<Self> {
        match [oids::HMAC_SHA1, oids::HMAC_SHA1_IANA].contains(&oid) {
            true => Some(Self::Sha1(oid)),
            false => Hash::ALL.into_iter().find(|hash| hash.hmac_oid() == oid).map(Self::Sha2),
        }
    }

    const fn oid(self) -> Oid {
        match self {
            Self::Sha1(oid) => oid,
            Self::Sha2(hash) => hash.hmac_oid(),
        }
    }

    const fn algorithm(self) -> hmac::Algorithm {
        match self {
            Self::Sha1(_) => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha2(hash) => hash.hmac(),
        }
    }
}

/// An algorithm whose parameters are NULL or absent.
fn plain_algorithm(reader: &mut Reader<'_>, what: &'static str) -> Result<Oid, Malformed> {
    let mut fields = reader.sequence(what)?;
    let oid = fields.oid(what)?;
    if let Some(null) = fields.optional(Tag::NULL)?
        && !null.contents().is_empty()
    {
        return Err(null.error(Reason::NotDer("NULL with contents")));
    }
    fields.finish()?;
    Ok(oid)
}

impl PasswordMac {
    /// Whether an algorithm is one of these.
    #[must_use]
    pub fn is_named_by(algorithm: &AlgorithmIdentifier<'_>) -> bool {
        [oids::PASSWORD_BASED_MAC, oids::PBMAC1].contains(&algorithm.oid())
    }

    /// The MAC that a protectionAlg names.
    ///
    /// # Errors
    /// [`Refusal`] for parameters that are malformed, too weak, or too much work ([`limits`]).
    pub fn from_algorithm(algorithm: &AlgorithmIdentifier<'_>) -> Result<Self, Refusal> {
        let unsupported = || Refusal::of(codes::BAD_PROTECTION_ALGORITHM);
        let parameters = algorithm.parameters().ok_or_else(unsupported)?;
        let parameters = Element::parse(parameters, "protectionAlg parameters")?;
        if parameters.tag() != Tag::SEQUENCE {
            return Err(unsupported());
        }
        match algorithm.oid() == oids::PBMAC1 {
            true => Self::read_pbmac1(parameters.reader())?.ok_or_else(unsupported),
            false => Self::read_password_based_mac(parameters.reader())?.ok_or_else(unsupported),
        }
    }

    /// PBMParameter ::= SEQUENCE { salt OCTET STRING, owf AlgorithmIdentifier, iterationCount INTEGER,
    ///                             mac AlgorithmIdentifier }
    fn read_password_based_mac(mut fields: Reader<'_>) -> Result<Option<Self>, Malformed> {
        let salt = fields.octet_string("salt")?;
        let owf = plain_algorithm(&mut fields, "owf")?;
        let iterations = fields.uint("iterationCount")?;
        let mac = plain_algorithm(&mut fields, "mac")?;
        fields.finish()?;
        let derivation = Hash::from_oid(owf).map(Derivation::PasswordBasedMac);
        Ok(Self::checked(derivation, salt, iterations, Hmac::from_oid(mac)))
    }

    /// PBMAC1-params ::= SEQUENCE { keyDerivationFunc AlgorithmIdentifier, messageAuthScheme AlgorithmIdentifier }
    /// PBKDF2-params ::= SEQUENCE { salt CHOICE { specified OCTET STRING, ... }, iterationCount INTEGER,
    ///                              keyLength INTEGER OPTIONAL, prf AlgorithmIdentifier DEFAULT hmacWithSHA1 }
    fn read_pbmac1(mut fields: Reader<'_>) -> Result<Option<Self>, Malformed> {
        let mut function = fields.sequence("keyDerivationFunc")?;
        let function_oid = function.oid("keyDerivationFunc")?;
        let mut parameters = function.sequence("PBKDF2-params")?;
        function.finish()?;
        let salt = parameters.octet_string("salt")?;
        let iterations = parameters.uint("iterationCount")?;
        let key_octets = if parameters.next_is(Tag::INTEGER) { Some(parameters.uint("keyLength")?) } else { None };
        // The default is SHA-1, which derives nothing here.
        let prf = if parameters.is_empty() { None } else { Some(plain_algorithm(&mut parameters, "prf")?) };
        parameters.finish()?;
        let mac = plain_algorithm(&mut fields, "messageAuthScheme")?;
        fields.finish()?;
        let prf = Hash::ALL.into_iter().find(|hash| Some(hash.hmac_oid()) == prf);
        let key_octets = match key_octets {
            None => Some(KEY_OCTETS),
            Some(octets @ 16..=KEY_OCTETS_MAX) => usize::try_from(octets).ok(),
            Some(_) => None,
        };
        let derivation = prf.zip(key_octets).map(|(prf, key_octets)| Derivation::Pbmac1 { prf, key_octets });
        let derivation = derivation.filter(|_| function_oid == oids::PBKDF2);
        Ok(Self::checked(derivation, salt, iterations, Hmac::from_oid(mac)))
    }

    fn checked(derivation: Option<Derivation>, salt: &[u8], iterations: u64, mac: Option<Hmac>) -> Option<Self> {
        if !limits::SALT_OCTETS.contains(&salt.len()) || !limits::ITERATIONS.contains(&iterations) {
            return None;
        }
        Some(Self {
            derivation: derivation?,
            salt: salt.to_vec(),
            iterations: u32::try_from(iterations).ok()?,
            mac: mac?,
        })
    }

    fn key(&self, secret: &[u8]) -> Zeroizing<Vec<u8>> {
        match self.derivation {
            Derivation::PasswordBasedMac(hash) => {
                let mut context = digest::Context::new(hash.digest());
                context.update(secret);
                context.update(&self.salt);
                let mut key = Zeroizing::new(context.finish().as_ref().to_vec());
                for _ in 1..self.iterations {
                    let next = digest::digest(hash.digest(), &key);
                    key.copy_from_slice(next.as_ref());
                }
                key
            }
            Derivation::Pbmac1 { prf, key_octets } => {
                let mut key = Zeroizing::new(vec![0; key_octets]);
                let iterations = NonZeroU32::new(self.iterations).unwrap_or(NonZeroU32::MIN);
                pbkdf2::derive(prf.pbkdf2(), iterations, &self.salt, secret, &mut key);
                key
            }
        }
    }

    /// With the key that this secret gives, for any number of messages: deriving it is most of the work.
    pub(crate) fn keyed(self, secret: &[u8]) -> KeyedMac {
        let key = hmac::Key::new(self.mac.algorithm(), &self.key(secret));
        KeyedMac { mac: self, key }
    }

    /// One for this authority's own requests, with a new salt: the one that every server knows.
    pub(crate) fn for_requests() -> Option<Self> {
        let mut salt = vec![0; SALT_OCTETS];
        rand::fill(&mut salt).ok()?;
        let (derivation, mac) = (Derivation::PasswordBasedMac(Hash::Sha256), Hmac::Sha2(Hash::Sha256));
        Some(Self { derivation, salt, iterations: REQUEST_ITERATIONS, mac })
    }

    /// How often the hash is iterated for each message.
    #[must_use]
    pub const fn iterations(&self) -> u32 {
        self.iterations
    }

    /// The DER of the AlgorithmIdentifier.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        fn plain(writer: &mut DerWriter, oid: Oid) {
            writer.sequence(|algorithm| {
                algorithm.oid(oid).null();
            });
        }
        let iterations = u64::from(self.iterations);
        let mut writer = DerWriter::new();
        writer.sequence(|identifier| match self.derivation {
            Derivation::PasswordBasedMac(hash) => {
                identifier.oid(oids::PASSWORD_BASED_MAC).sequence(|parameters| {
                    parameters.octet_string(&self.salt);
                    plain(parameters, hash.oid());
                    parameters.uint(iterations);
                    plain(parameters, self.mac.oid());
                });
            }
            Derivation::Pbmac1 { prf, key_octets } => {
                identifier.oid(oids::PBMAC1).sequence(|parameters| {
                    parameters.sequence(|function| {
                        function.oid(oids::PBKDF2).sequence(|pbkdf2| {
                            pbkdf2.octet_string(&self.salt).uint(iterations);
                            pbkdf2.uint(u64::try_from(key_octets).unwrap_or(0));
                            plain(pbkdf2, prf.hmac_oid());
                        });
                    });
                    plain(parameters, self.mac.oid());
                });
            }
        });
        writer.into_der()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(derivation: Derivation, mac: Hmac) -> PasswordMac {
        PasswordMac { derivation, salt: vec![5; 16], iterations: 500, mac }
    }

    fn read(der: &[u8]) -> Result<PasswordMac, Refusal> {
        PasswordMac::from_algorithm(&AlgorithmIdentifier::parse(der).unwrap())
    }

    #[test]
    fn what_is_written_is_read() {
        for derivation in [
            Derivation::PasswordBasedMac(Hash::Sha256),
            Derivation::PasswordBasedMac(Hash::Sha512),
            Derivation::Pbmac1 { prf: Hash::Sha384, key_octets: 48 },
        ] {
            for mac in [Hmac::Sha1(oids::HMAC_SHA1_IANA), Hmac::Sha1(oids::HMAC_SHA1), Hmac::Sha2(Hash::Sha256)] {
                let algorithm = made(derivation, mac);
                assert_eq!(read(&algorithm.to_der()).unwrap(), algorithm);
                let keyed = algorithm.clone().keyed(b"secret");
                let code = keyed.make(b"message");
                assert!(keyed.is_of(&code, b"message"));
                assert!(!algorithm.clone().keyed(b"secre").is_of(&code, b"message"));
                assert!(!keyed.is_of(&code, b"massage"));
                assert!(!keyed.is_of(&code[1..], b"message"));
                let salted = PasswordMac { salt: vec![6; 16], ..algorithm };
                assert_ne!(salted.keyed(b"secret").make(b"message"), code);
            }
        }
    }

    /// H(H(secret || salt)), by hand.
    #[test]
    fn the_hash_is_iterated_over_secret_and_salt() {
        let two =
            PasswordMac { iterations: 2, ..made(Derivation::PasswordBasedMac(Hash::Sha256), Hmac::Sha2(Hash::Sha256)) };
        let first = digest::digest(&digest::SHA256, &[&b"secret"[..], &[5; 16]].concat());
        let second = digest::digest(&digest::SHA256, first.as_ref());
        assert_eq!(&two.key(b"secret")[..], second.as_ref());
    }

    #[test]
    fn too_little_and_too_much_work_are_refused() {
        let base = made(Derivation::PasswordBasedMac(Hash::Sha256), Hmac::Sha2(Hash::Sha256));
        for iterations in [99, 100_001] {
            assert!(read(&PasswordMac { iterations, ..base.clone() }.to_der()).is_err());
        }
        for octets in [7, 129] {
            assert!(read(&PasswordMac { salt: vec![1; octets], ..base.clone() }.to_der()).is_err());
        }
        let long = made(Derivation::Pbmac1 { prf: Hash::Sha256, key_octets: 65 }, Hmac::Sha2(Hash::Sha256));
        assert!(read(&long.to_der()).is_err());
    }
}
