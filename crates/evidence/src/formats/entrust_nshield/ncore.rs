//! nCore marshalling (Entrust, nCore API): little-endian words of 32 bits, integers and strings with their length
//! before them. Keys, hashes of keys, signatures, and the two messages of a module that key attestation uses.

use super::acl::Acl;
use crate::tpm::HashAlg;
use crate::x509::build::DerWriter;
use crate::x509::{NamedCurve, SpkiView};
use crate::{Malformed, Reason, oid};

const PRODUCTION: &str = "nCore structure";
/// Octets of the hash of a key, which is SHA-1.
pub const KEY_HASH_OCTETS: usize = 20;
/// Octets of one integer: an RSA modulus of 8192 bits.
const INTEGER_OCTETS: usize = 1024;
/// Attributes of one state message.
const STATE_ATTRIBUTES: usize = 16;
/// Module keys of one module.
const MODULE_KEYS: usize = 256;
/// Octets of one string.
const STRING_OCTETS: usize = 256;

/// The hash by which nCore names a key (M_KeyHash).
pub type KeyHash = [u8; KEY_HASH_OCTETS];

/// M_Mech: SHA-1 as the mechanism of a hash of a key.
const MECH_SHA1: u32 = 44;
/// M_Mech: DSA with SHA-256.
const MECH_DSA_SHA256: u32 = 170;
/// M_Mech: ECDSA with SHA-512.
const MECH_ECDSA_SHA512: u32 = 187;
/// M_KeyType of public keys.
const KEY_RSA_PUBLIC: u32 = 1;
const KEY_DSA_PUBLIC: u32 = 3;
const KEY_ECDSA_PUBLIC: u32 = 46;
/// M_KeyType of private keys, as generation messages name them.
const KEY_RSA_PRIVATE: u32 = 2;
const KEY_EC_PRIVATE: [u32; 2] = [45, 47];
/// M_ModCertType.
const CERT_KEY_GEN: u32 = 2;
const CERT_STATE: u32 = 4;

/// A cursor.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    input: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(input: &'a [u8]) -> Self {
        Self { input, position: 0 }
    }

    pub(super) const fn error(&self, reason: Reason) -> Malformed {
        Malformed::new(PRODUCTION, self.position, reason)
    }

    fn rest(&self) -> &'a [u8] {
        self.input.get(self.position..).unwrap_or_default()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let rest = self.rest();
        let short = Reason::Truncated(count.saturating_sub(rest.len()));
        let taken = rest.get(..count).ok_or(self.error(short))?;
        self.position = self.position.saturating_add(count);
        Ok(taken)
    }

    pub(super) fn word(&mut self) -> Result<u32, Malformed> {
        let octets = self.take(4)?;
        Ok(octets.iter().rev().fold(0, |word, octet| (word << 8) | u32::from(*octet)))
    }

    /// A word that is one of those known.
    pub(super) fn known(&mut self, wanted: u32) -> Result<(), Malformed> {
        let error = self.clone();
        match self.word()? {
            found if found == wanted => Ok(()),
            found => Err(error.error(Reason::BadValue(u64::from(found)))),
        }
    }

    /// A number of things, of which there are at most `limit`.
    pub(super) fn count(&mut self, what: &'static str, limit: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(self.word()?).unwrap_or(usize::MAX);
        if count > limit { Err(self.error(Reason::OverLimit { what, limit })) } else { Ok(count) }
    }

    pub(super) fn hash(&mut self) -> Result<KeyHash, Malformed> {
        let mut hash = [0; KEY_HASH_OCTETS];
        hash.copy_from_slice(self.take(KEY_HASH_OCTETS)?);
        Ok(hash)
    }

    /// A hash with its mechanism (M_KeyHashEx).
    pub(super) fn hash_ex(&mut self) -> Result<KeyHash, Malformed> {
        self.known(MECH_SHA1)?;
        self.hash()
    }

    /// An integer (M_Bignum), as its magnitude in the usual order without leading zeros.
    fn integer(&mut self) -> Result<Vec<u8>, Malformed> {
        let length = self.count("octets of an integer", INTEGER_OCTETS)?;
        let mut octets = self.take(length)?.to_vec();
        while octets.last() == Some(&0) {
            octets.pop();
        }
        octets.reverse();
        Ok(octets)
    }

    /// A string (M_ASCIIString): its length counts the NUL at its end, and it is filled up to whole words.
    pub(super) fn string(&mut self) -> Result<String, Malformed> {
        let length = self.count("octets of a string", STRING_OCTETS)?;
        let error = self.error(Reason::Unexpected("ASCII string"));
        let octets = self.take(length)?;
        let padding = self.take(length.wrapping_neg() % 4)?;
        let text = octets.strip_suffix(&[0]).unwrap_or(octets);
        let is_text = text.iter().all(|octet| (0x20..0x7F).contains(octet)) && padding.iter().all(|octet| *octet == 0);
        String::from_utf8(text.to_vec()).ok().filter(|_| is_text).ok_or(error)
    }

    pub(super) fn finish(&self) -> Result<(), Malformed> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(self.error(Reason::Trailing(left))),
        }
    }
}

/// A public key (M_KeyData). Integers are magnitudes without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyData {
    /// DSA, with its domain.
    Dsa {
        /// The prime.
        p: Vec<u8>,
        /// The order of the subgroup.
        q: Vec<u8>,
        /// The generator.
        g: Vec<u8>,
        /// The key.
        y: Vec<u8>,
    },
    /// A point on a curve.
    Ec {
        /// The curve.
        curve: NamedCurve,
        /// The one coordinate.
        x: Vec<u8>,
        /// The other.
        y: Vec<u8>,
    },
    /// RSA.
    Rsa {
        /// The modulus.
        modulus: Vec<u8>,
        /// The public exponent.
        exponent: Vec<u8>,
    },
}

impl KeyData {
    /// Reads one key.
    ///
    /// # Errors
    /// [`Malformed`] if it is not exactly one public key of a kind that is known here.
    pub fn parse(input: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(input);
        let key = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(key)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let error = reader.clone();
        match reader.word()? {
            KEY_RSA_PUBLIC => {
                let exponent = reader.integer()?;
                Ok(Self::Rsa { modulus: reader.integer()?, exponent })
            }
            KEY_DSA_PUBLIC => {
                let (p, q) = (reader.integer()?, reader.integer()?);
                Ok(Self::Dsa { p, q, g: reader.integer()?, y: reader.integer()? })
            }
            KEY_ECDSA_PUBLIC => {
                let curve = read_curve(reader)?;
                reader.known(0)?;
                Ok(Self::Ec { curve, x: reader.integer()?, y: reader.integer()? })
            }
            other => Err(error.error(Reason::BadValue(u64::from(other)))),
        }
    }

    /// The key in the form of X.509.
    ///
    /// # Errors
    /// [`Malformed`] if it is outside the bounds of such keys.
    pub fn spki(&self) -> Result<SpkiView, Malformed> {
        match self {
            Self::Rsa { modulus, exponent } => SpkiView::from_rsa(modulus, exponent),
            Self::Ec { curve, x, y } => SpkiView::from_ec(*curve, x, y),
            Self::Dsa { p, q, g, y } => {
                let mut key = DerWriter::new();
                key.unsigned(y);
                let mut writer = DerWriter::new();
                writer.sequence(|spki| {
                    spki.sequence(|algorithm| {
                        algorithm.oid(oid::DSA).sequence(|domain| {
                            domain.unsigned(p).unsigned(q).unsigned(g);
                        });
                    });
                    spki.bit_string(&key.into_der(), 0);
                });
                SpkiView::parse(&writer.into_der())
            }
        }
    }

    /// The hash by which nCore names the key (Entrust, Key Attestation Format, Construction of nCore key hashes).
    ///
    /// That of RSA, DSA and P-256 keys is confirmed by modules; P-384 and P-521 follow the same construction.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        let (name, fields): (&[u8], Vec<Vec<u8>>) = match self {
            Self::Rsa { modulus, exponent } => (b"RSA00\0", vec![padded(exponent), padded(modulus)]),
            Self::Dsa { p, q, g, y } => (b"DSA00\0", vec![padded(p), padded(q), padded(g), padded(y)]),
            Self::Ec { curve, x, y } => {
                let bits = match curve {
                    NamedCurve::P256 => 256_u32,
                    NamedCurve::P384 => 384,
                    NamedCurve::P521 => 521,
                };
                let mut fields = vec![vec![0; 8], bits.to_le_bytes().to_vec()];
                fields.extend(domain(*curve).iter().map(|integer| padded(integer)));
                fields.extend([padded(x), padded(y)]);
                (b"ECDSA00\0", fields)
            }
        };
        let digest = HashAlg::Sha1.digest(&[b"nFast KeyHash\0", name, &fields.concat(), b"invented by nCipher 1997\0"]);
        let mut hash = [0; KEY_HASH_OCTETS];
        hash.iter_mut().zip(&digest).for_each(|(to, from)| *to = *from);
        hash
    }
}

fn read_curve(reader: &mut Reader<'_>) -> Result<NamedCurve, Malformed> {
    let error = reader.clone();
    match reader.word()? {
        4 => Ok(NamedCurve::P256),
        5 => Ok(NamedCurve::P384),
        6 => Ok(NamedCurve::P521),
        other => Err(error.error(Reason::BadValue(u64::from(other)))),
    }
}

/// Little-endian, filled up with zeros to whole blocks of 64 octets.
fn padded(magnitude: &[u8]) -> Vec<u8> {
    let mut octets: Vec<u8> = magnitude.iter().rev().copied().collect();
    octets.resize(magnitude.len().next_multiple_of(64), 0);
    octets
}

fn octets(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<u32> = hexadecimal.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |octet, digit| (octet << 4) | u8::try_from(*digit).unwrap_or(0)))
        .collect()
}

/// The domain of a curve (SP 800-186, 3.2.1): p, a, b, G, the order, and the cofactor.
fn domain(curve: NamedCurve) -> [Vec<u8>; 7] {
    match curve {
        NamedCurve::P256 => [
            "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
            "ffffffff00000001000000000000000000000000fffffffffffffffffffffffc",
            "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b",
            "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
            "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
            "01",
        ]
        .map(octets),
        NamedCurve::P384 => [
            "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
            "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000fffffffc",
            "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
            "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
            "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
            "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
            "01",
        ]
        .map(octets),
        NamedCurve::P521 => [
            "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffc",
            "51953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00",
            "c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66",
            "011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650",
            "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
            "01",
        ]
        .map(octets),
    }
}

/// A hash of a key that stands alone (M_KeyHashEx).
///
/// # Errors
/// [`Malformed`] if it is not exactly one, by SHA-1.
pub fn key_hash(input: &[u8]) -> Result<KeyHash, Malformed> {
    let mut reader = Reader::new(input);
    let hash = reader.hash_ex()?;
    reader.finish()?;
    Ok(hash)
}

/// A signature (M_CipherText).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its algorithm.
    pub algorithm: SignatureAlgorithm,
    /// The one integer, as a magnitude.
    pub r: Vec<u8>,
    /// The other.
    pub s: Vec<u8>,
}

/// Algorithms of modules' signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// DSA with SHA-256.
    DsaSha256,
    /// ECDSA with SHA-512.
    EcdsaSha512,
}

impl Signature {
    /// Reads one signature.
    ///
    /// # Errors
    /// [`Malformed`] if it is not exactly one, of an algorithm that is known here.
    pub fn parse(input: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(input);
        let algorithm = match reader.word()? {
            MECH_DSA_SHA256 => SignatureAlgorithm::DsaSha256,
            MECH_ECDSA_SHA512 => SignatureAlgorithm::EcdsaSha512,
            other => return Err(Malformed::new(PRODUCTION, 0, Reason::BadValue(u64::from(other)))),
        };
        let signature = Self { algorithm, r: reader.integer()?, s: reader.integer()? };
        reader.finish()?;
        Ok(signature)
    }
}

/// What a module says of its state (M_ModCertMsg, StateCert), as far as attestation uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleState {
    /// The electronic serial number.
    pub serial: String,
    /// The key by which the module signs what it generates (KML).
    pub signing_key: KeyData,
    /// The hash of the security officer's key (KNSO) of the security world that the module is in.
    pub officer_key: KeyHash,
    /// Hashes of the module keys that the module holds.
    pub module_keys: Vec<KeyHash>,
}

impl ModuleState {
    /// Reads a state message.
    ///
    /// # Errors
    /// [`Malformed`] if it is none, has an attribute twice or one that is not known, or lacks one that is needed.
    pub fn parse(input: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(input);
        reader.known(CERT_STATE)?;
        reader.known(0)?;
        let (mut serial, mut signing_key, mut officer_key, mut module_keys) = (None, None, None, None);
        let mut seen = Vec::new();
        for _ in 0..reader.count("attributes of a module", STATE_ATTRIBUTES)? {
            let error = reader.clone();
            let tag = reader.word()?;
            if seen.contains(&tag) {
                return Err(error.error(Reason::Duplicate("attribute of a module")));
            }
            seen.push(tag);
            match tag {
                2 => serial = Some(reader.string()?),
                // KML and KLF2: hash, key, mechanism.
                3 | 13 => {
                    reader.hash()?;
                    let key = KeyData::read(&mut reader)?;
                    reader.word()?;
                    if tag == 3 {
                        signing_key = Some(key);
                    }
                }
                // KNSO: hash, permissions.
                5 => {
                    officer_key = Some(reader.hash()?);
                    reader.word()?;
                }
                // Module keys: hash and two mechanisms each.
                6 => {
                    let mut keys = Vec::new();
                    for _ in 0..reader.count("module keys", MODULE_KEYS)? {
                        keys.push(reader.hash()?);
                        reader.word()?;
                        reader.word()?;
                    }
                    module_keys = Some(keys);
                }
                other => return Err(error.error(Reason::BadValue(u64::from(other)))),
            }
        }
        reader.finish()?;
        let missing = |what| Malformed::new(PRODUCTION, 0, Reason::Missing(what));
        Ok(Self {
            serial: serial.ok_or(missing("serial number"))?,
            signing_key: signing_key.ok_or(missing("signing key of the module"))?,
            officer_key: officer_key.ok_or(missing("hash of the security officer's key"))?,
            module_keys: module_keys.ok_or(missing("list of module keys"))?,
        })
    }
}

/// What a module says of a key that it generated (M_ModCertMsg, KeyGen).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyGeneration {
    /// The kind of key that was asked for.
    pub parameters: GenerationParameters,
    /// What may be done with the key.
    pub acl: Acl,
    /// The hash of the public part.
    pub key: KeyHash,
}

/// What kind of key was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenerationParameters {
    /// A key on a curve.
    Ec(NamedCurve),
    /// An RSA key.
    Rsa,
}

impl KeyGeneration {
    /// Reads a generation message.
    ///
    /// # Errors
    /// [`Malformed`] if it is none, or has parts that are not known here.
    pub fn parse(input: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(input);
        reader.known(CERT_KEY_GEN)?;
        reader.known(0)?;
        let error = reader.clone();
        let parameters = match reader.word()? {
            KEY_RSA_PRIVATE => {
                let flags = reader.word()?;
                if flags & !0x7 != 0 {
                    return Err(error.error(Reason::BadValue(u64::from(flags))));
                }
                reader.word()?;
                if flags & 0x1 != 0 {
                    reader.integer()?;
                }
                if flags & 0x2 != 0 {
                    reader.word()?;
                }
                GenerationParameters::Rsa
            }
            kind if KEY_EC_PRIVATE.contains(&kind) => GenerationParameters::Ec(read_curve(&mut reader)?),
            other => return Err(error.error(Reason::BadValue(u64::from(other)))),
        };
        let acl = Acl::read(&mut reader)?;
        let key = reader.hash()?;
        reader.finish()?;
        Ok(Self { parameters, acl, key })
    }

    /// Whether a key is of the kind that was asked for.
    #[must_use]
    pub fn fits(&self, key: &KeyData) -> bool {
        match (self.parameters, key) {
            (GenerationParameters::Rsa, KeyData::Rsa { .. }) => true,
            (GenerationParameters::Ec(wanted), KeyData::Ec { curve, .. }) => wanted == *curve,
            (GenerationParameters::Rsa, KeyData::Ec { .. } | KeyData::Dsa { .. })
            | (GenerationParameters::Ec(_), KeyData::Rsa { .. } | KeyData::Dsa { .. }) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_of_the_width_of_their_curve() {
        for (curve, width) in [(NamedCurve::P256, 32), (NamedCurve::P384, 48), (NamedCurve::P521, 66)] {
            let [p, a, b, x, y, order, cofactor] = domain(curve);
            assert_eq!([p.len(), a.len(), order.len()], [width; 3], "{curve:?}");
            assert!([b, x, y].iter().all(|integer| integer.len() + 1 >= width), "{curve:?}");
            assert_eq!(cofactor, [1]);
        }
    }

    #[test]
    fn strings_are_filled_to_words_with_zeros() {
        let read = |octets: &[u8]| Reader::new(octets).string();
        assert_eq!(read(b"\x05\0\0\0ABCD\0\0\0\0").as_deref(), Ok("ABCD"));
        assert!(read(b"\x05\0\0\0ABCD\0\x01\0\0").is_err());
        assert!(read(b"\x03\0\0\0A\0B\0").is_err());
        assert!(read(b"\xff\xff\xff\xffA").is_err());
    }
}
