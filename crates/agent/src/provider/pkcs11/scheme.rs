//! Words of the provider in words of PKCS #11: templates of keys, mechanisms of signing and decrypting.

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismInfo, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::slot::Slot;
use cryptoki::types::Ulong;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::NamedCurve;
use vouchsafe_evidence::x509::build::{self, DerWriter};

use super::objects::ec_parameters;
use crate::provider::{EncryptionScheme, Fault, Hash, KeyKind, KeyPurpose, KeyUid, SignatureScheme};

/// 65537, big-endian.
const PUBLIC_EXPONENT: [u8; 3] = [1, 0, 1];

/// How a key is to be made: mechanism, template of the public key, template of the private key.
pub(super) struct Templates {
    pub(super) mechanism: Mechanism<'static>,
    pub(super) public: Vec<Attribute>,
    pub(super) private: Vec<Attribute>,
}

/// Templates of a key that never leaves the token and does one thing alone. What tokens would otherwise allow by default is
/// forbidden word by word.
pub(super) fn templates(uid: &KeyUid, label: &str, kind: KeyKind, purpose: KeyPurpose) -> Templates {
    let decrypts = purpose == KeyPurpose::Decrypt;
    let both = [
        Attribute::Token(true),
        Attribute::Id(uid.as_octets().to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::KeyType(if kind.is_rsa() { KeyType::RSA } else { KeyType::EC }),
        Attribute::Derive(false),
    ];
    let mut public = both.to_vec();
    public.extend([
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::Private(false),
        Attribute::Verify(!decrypts),
        Attribute::Encrypt(decrypts),
        Attribute::Wrap(false),
    ]);
    let mut private = both.to_vec();
    private.extend([
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(!decrypts),
        Attribute::SignRecover(false),
        Attribute::Decrypt(decrypts),
        Attribute::Unwrap(false),
    ]);
    let mechanism = match curve(kind) {
        Some(curve) => {
            public.push(Attribute::EcParams(ec_parameters(curve)));
            Mechanism::EccKeyPairGen
        }
        None => {
            public.push(Attribute::ModulusBits(Ulong::new(kind.bits().into())));
            public.push(Attribute::PublicExponent(PUBLIC_EXPONENT.to_vec()));
            Mechanism::RsaPkcsKeyPairGen
        }
    };
    Templates { mechanism, public, private }
}

const fn curve(kind: KeyKind) -> Option<NamedCurve> {
    match kind {
        KeyKind::EcP256 => Some(NamedCurve::P256),
        KeyKind::EcP384 => Some(NamedCurve::P384),
        KeyKind::EcP521 => Some(NamedCurve::P521),
        KeyKind::Rsa1024 | KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => None,
    }
}

/// The mechanisms that a kind of key needs: to be made, and to sign.
const fn needed(kind: KeyKind) -> (MechanismType, MechanismType) {
    if kind.is_rsa() {
        (MechanismType::RSA_PKCS_KEY_PAIR_GEN, MechanismType::RSA_PKCS)
    } else {
        (MechanismType::ECC_KEY_PAIR_GEN, MechanismType::ECDSA)
    }
}

/// Whether the token in that slot makes keys of this kind, and signs with them.
pub(super) fn makes(pkcs11: &Pkcs11, slot: Slot, kind: KeyKind) -> Result<bool, Fault> {
    let (generating, signing) = needed(kind);
    let (Some(made), Some(signs)) = (mechanism(pkcs11, slot, generating)?, mechanism(pkcs11, slot, signing)?) else {
        return Ok(false);
    };
    let bits = usize::from(kind.bits());
    let fits = (made.min_key_size()..=made.max_key_size()).contains(&bits);
    Ok(made.generate_key_pair() && signs.sign() && fits)
}

/// What the token says of a mechanism; `None` for one that it does not have. The list of all mechanisms is not asked for: a
/// mechanism is offered where C_GetMechanismInfo describes it.
fn mechanism(pkcs11: &Pkcs11, slot: Slot, mechanism: MechanismType) -> Result<Option<MechanismInfo>, Fault> {
    match pkcs11.get_mechanism_info(slot, mechanism) {
        Ok(info) => Ok(Some(info)),
        Err(Error::Pkcs11(RvError::MechanismInvalid, _)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// How a digest is signed: the mechanism, and what it is given. `scheme` fits `kind`.
pub(super) fn signing(kind: KeyKind, scheme: SignatureScheme, digest: &[u8]) -> (Mechanism<'static>, Vec<u8>) {
    match scheme {
        SignatureScheme::Ecdsa(_) => {
            // Not every token cuts a digest to the width of the order by itself (FIPS 186-5, 6.4.1). Those of P-521 fit.
            let width = usize::from(kind.bits()).div_ceil(8).min(digest.len());
            (Mechanism::Ecdsa, digest.get(..width).unwrap_or(digest).to_vec())
        }
        SignatureScheme::RsaPkcs1v15(hash) => (Mechanism::RsaPkcs, digest_info(hash, digest)),
        SignatureScheme::RsaPss(hash) => {
            let (hash_alg, mgf) = hash_mechanisms(hash);
            let params = PkcsPssParams { hash_alg, mgf, s_len: salt_octets(kind, hash) };
            (Mechanism::RsaPkcsPss(params), digest.to_vec())
        }
    }
}

/// As long as the digest, or as long as fits behind it (RFC 8017, 9.1.1): RSA of 1024 bits is short for SHA-512.
fn salt_octets(kind: KeyKind, hash: Hash) -> Ulong {
    let encoded = kind.bits().div_ceil(8);
    let digest = u16::try_from(hash.digest_len()).unwrap_or(u16::MAX);
    Ulong::new(encoded.saturating_sub(digest).saturating_sub(2).min(digest).into())
}

/// How a message is decrypted.
pub(super) fn decrypting(scheme: EncryptionScheme, label: &[u8]) -> Mechanism<'_> {
    match scheme {
        EncryptionScheme::RsaPkcs1v15 => Mechanism::RsaPkcs,
        EncryptionScheme::RsaOaep(hash) => {
            let (hash_alg, mgf) = hash_mechanisms(hash);
            let source = if label.is_empty() { PkcsOaepSource::empty() } else { PkcsOaepSource::data_specified(label) };
            Mechanism::RsaPkcsOaep(PkcsOaepParams::new(hash_alg, mgf, source))
        }
    }
}

const fn hash_mechanisms(hash: Hash) -> (MechanismType, PkcsMgfType) {
    match hash {
        Hash::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        Hash::Sha384 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384),
        Hash::Sha512 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512),
    }
}

/// DER DigestInfo (RFC 8017, 9.2).
fn digest_info(hash: Hash, digest: &[u8]) -> Vec<u8> {
    let algorithm = match hash {
        Hash::Sha256 => oid::SHA256,
        Hash::Sha384 => oid::SHA384,
        Hash::Sha512 => oid::SHA512,
    };
    let mut writer = DerWriter::new();
    writer.sequence(|fields| {
        fields.raw(&build::algorithm_identifier_null(algorithm)).octet_string(digest);
    });
    writer.into_der()
}

/// How an attesting key of this kind signs; `None` for kinds that do not attest.
pub(super) const fn attesting(kind: KeyKind) -> Option<SignatureScheme> {
    match kind {
        KeyKind::EcP256 => Some(SignatureScheme::Ecdsa(Hash::Sha256)),
        KeyKind::EcP384 => Some(SignatureScheme::Ecdsa(Hash::Sha384)),
        KeyKind::Rsa2048 | KeyKind::Rsa3072 => Some(SignatureScheme::RsaPkcs1v15(Hash::Sha256)),
        KeyKind::EcP521 | KeyKind::Rsa1024 | KeyKind::Rsa4096 => None,
    }
}

/// The DER AlgorithmIdentifier of a scheme that attesting keys sign by; `None` for others.
pub(super) fn algorithm_identifier(scheme: SignatureScheme) -> Option<Vec<u8>> {
    match scheme {
        SignatureScheme::Ecdsa(Hash::Sha256) => Some(build::algorithm_identifier(oid::ECDSA_WITH_SHA256)),
        SignatureScheme::Ecdsa(Hash::Sha384) => Some(build::algorithm_identifier(oid::ECDSA_WITH_SHA384)),
        SignatureScheme::RsaPkcs1v15(Hash::Sha256) => Some(build::algorithm_identifier_null(oid::SHA256_WITH_RSA)),
        SignatureScheme::Ecdsa(Hash::Sha512)
        | SignatureScheme::RsaPkcs1v15(Hash::Sha384 | Hash::Sha512)
        | SignatureScheme::RsaPss(_) => None,
    }
}

/// A signature of the token as certificates and Evidence carry it: ECDSA-Sig-Value (RFC 3279, 2.2.3) for ECDSA.
pub(super) fn x509_signature(scheme: SignatureScheme, signature: &[u8]) -> Vec<u8> {
    match scheme {
        SignatureScheme::Ecdsa(_) => {
            let (r, s) = signature.split_at(signature.len() / 2);
            build::ecdsa_signature(r, s)
        }
        SignatureScheme::RsaPkcs1v15(_) | SignatureScheme::RsaPss(_) => signature.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_never_leaves_and_does_one_thing() {
        let uid = KeyUid::from_octets([1; 16]);
        for kind in KeyKind::ALL {
            for purpose in [KeyPurpose::Sign, KeyPurpose::Attest, KeyPurpose::Decrypt] {
                let private = templates(&uid, "a", kind, purpose).private;
                let decrypts = purpose == KeyPurpose::Decrypt;
                for expected in [
                    Attribute::Token(true),
                    Attribute::Private(true),
                    Attribute::Sensitive(true),
                    Attribute::Extractable(false),
                    Attribute::Unwrap(false),
                    Attribute::Derive(false),
                    Attribute::Sign(!decrypts),
                    Attribute::Decrypt(decrypts),
                    Attribute::Id(vec![1; 16]),
                ] {
                    assert!(private.contains(&expected), "{kind:?}: {expected:?}");
                }
            }
        }
    }

    #[test]
    fn digests_are_cut_to_the_order_and_salts_to_the_modulus() {
        let (_, cut) = signing(KeyKind::EcP256, SignatureScheme::Ecdsa(Hash::Sha512), &[7; 64]);
        assert_eq!(cut.len(), 32);
        let (_, whole) = signing(KeyKind::EcP521, SignatureScheme::Ecdsa(Hash::Sha512), &[7; 64]);
        assert_eq!(whole.len(), 64);
        assert_eq!(*salt_octets(KeyKind::Rsa1024, Hash::Sha512), 62);
        assert_eq!(*salt_octets(KeyKind::Rsa2048, Hash::Sha512), 64);
    }

    #[test]
    fn a_digest_info_is_the_one_of_the_standard() {
        let info = digest_info(Hash::Sha256, &[7; 32]);
        let prefix = [
            0x30, 0x31, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04,
            0x20,
        ];
        assert_eq!(info, [&prefix[..], &[7; 32]].concat());
    }

    #[test]
    fn exactly_the_kinds_that_attest_have_a_scheme_with_an_identifier() {
        for kind in KeyKind::ALL {
            let scheme = attesting(kind);
            assert_eq!(scheme.is_some(), kind.attests(), "{kind:?}");
            assert!(scheme.is_none_or(|scheme| scheme.fits(kind) && algorithm_identifier(scheme).is_some()));
        }
    }
}
