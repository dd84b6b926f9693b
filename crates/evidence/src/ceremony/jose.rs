//! What of JOSE a ceremony needs: algorithms (RFC 7518, RFC 8037) and thumbprints of keys (RFC 7638).

use super::DIGEST_OCTETS;
use crate::base64url;
use crate::tpm::HashAlg;
use crate::x509::{NamedCurve, PublicKey, RsaScheme, SpkiView};

/// A signature algorithm by its JOSE name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoseAlgorithm {
    /// `EdDSA` with Ed25519 (RFC 8037, 3.1).
    EdDsa,
    /// `ES256`: ECDSA with P-256 and SHA-256 (RFC 7518, 3.4).
    Es256,
    /// `ES384`: ECDSA with P-384 and SHA-384.
    Es384,
    /// `ES512`: ECDSA with P-521 and SHA-512.
    Es512,
    /// `PS256`: RSASSA-PSS with SHA-256 (RFC 7518, 3.5).
    Ps256,
    /// `RS256`: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, 3.3).
    Rs256,
}

/// Orders of the curves' groups (FIPS 186-5 by SP 800-186, 3.2.1), as wide as their fields.
const P256_ORDER: [u8; 32] = [
    0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xBC, 0xE6, 0xFA,
    0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
];
const P384_ORDER: [u8; 48] = [
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xC7, 0x63, 0x4D, 0x81, 0xF4, 0x37, 0x2D, 0xDF, 0x58, 0x1A, 0x0D, 0xB2, 0x48, 0xB0,
    0xA7, 0x7A, 0xEC, 0xEC, 0x19, 0x6A, 0xCC, 0xC5, 0x29, 0x73,
];
const P521_ORDER: [u8; 66] = [
    0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFA, 0x51, 0x86, 0x87, 0x83,
    0xBF, 0x2F, 0x96, 0x6B, 0x7F, 0xCC, 0x01, 0x48, 0xF7, 0x09, 0xA5, 0xD0, 0x3B, 0xB5, 0xC9, 0xB8, 0x89, 0x9C, 0x47,
    0xAE, 0xBB, 0x6F, 0xB7, 0x1E, 0x91, 0x38, 0x64, 0x09,
];

impl JoseAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 6] = [Self::EdDsa, Self::Es256, Self::Es384, Self::Es512, Self::Ps256, Self::Rs256];

    /// Its name in a header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
        }
    }

    /// The algorithm of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The algorithm with which this key signs; RSA keys could by two, of which PS256 is taken. `None` for kinds of keys
    /// that JOSE has no name for here.
    #[must_use]
    pub fn of_key(key: &SpkiView) -> Option<Self> {
        match key.key() {
            PublicKey::Ec { curve: NamedCurve::P256, .. } => Some(Self::Es256),
            PublicKey::Ec { curve: NamedCurve::P384, .. } => Some(Self::Es384),
            PublicKey::Ec { curve: NamedCurve::P521, .. } => Some(Self::Es512),
            PublicKey::Ed25519(_) => Some(Self::EdDsa),
            PublicKey::Rsa { scheme: RsaScheme::Any | RsaScheme::Pss, .. } => Some(Self::Ps256),
            PublicKey::Rsa { scheme: RsaScheme::Oaep, .. } | PublicKey::MlDsa65(_) | PublicKey::Unknown { .. } => None,
        }
    }

    /// The curve of ECDSA by it, as wide as whose field r and s of a signature are (RFC 7518, 3.4); `None` for the others.
    #[must_use]
    pub const fn ecdsa_curve(self) -> Option<NamedCurve> {
        match self {
            Self::Es256 => Some(NamedCurve::P256),
            Self::Es384 => Some(NamedCurve::P384),
            Self::Es512 => Some(NamedCurve::P521),
            Self::EdDsa | Self::Ps256 | Self::Rs256 => None,
        }
    }

    /// Whether this key can sign by it.
    #[must_use]
    pub fn fits(self, key: &SpkiView) -> bool {
        match (self, Self::of_key(key)) {
            (Self::Rs256, Some(Self::Ps256)) => matches!(key.key(), PublicKey::Rsa { scheme: RsaScheme::Any, .. }),
            (_, found) => found == Some(self),
        }
    }

    /// The one form of a signature by this algorithm: where (r, s) verifies so does (r, n - s), and the form is the one
    /// with the smaller of the two. Of other algorithms, and what is no signature, as it is.
    #[must_use]
    pub fn one_form(self, signature: &[u8]) -> Vec<u8> {
        let order: &[u8] = match self.ecdsa_curve() {
            Some(NamedCurve::P256) => &P256_ORDER,
            Some(NamedCurve::P384) => &P384_ORDER,
            Some(NamedCurve::P521) => &P521_ORDER,
            None => return signature.to_vec(),
        };
        match signature.split_at_checked(order.len()) {
            Some((r, s)) if s.len() == order.len() && s < order => {
                let negative = difference(order, s);
                [r, if negative.as_slice() < s { &negative } else { s }].concat()
            }
            Some(_) | None => signature.to_vec(),
        }
    }
}

/// `larger - smaller`, big-endian numbers of one width.
fn difference(larger: &[u8], smaller: &[u8]) -> Vec<u8> {
    let mut borrow = false;
    let mut octets: Vec<u8> = larger
        .iter()
        .zip(smaller)
        .rev()
        .map(|(large, small)| {
            let (octet, under) = large.overflowing_sub(*small);
            let (octet, under_again) = octet.overflowing_sub(u8::from(borrow));
            borrow = under || under_again;
            octet
        })
        .collect();
    octets.reverse();
    octets
}

/// The JWK thumbprint of a key (RFC 7638) with SHA-256; `None` for kinds of keys that have no JWK here.
#[must_use]
pub fn thumbprint(key: &SpkiView) -> Option<[u8; DIGEST_OCTETS]> {
    let text = base64url::encode;
    let jwk = match key.key() {
        PublicKey::Ec { curve, x, y } => {
            let curve = match curve {
                NamedCurve::P256 => "P-256",
                NamedCurve::P384 => "P-384",
                NamedCurve::P521 => "P-521",
            };
            format!(r#"{{"crv":"{curve}","kty":"EC","x":"{}","y":"{}"}}"#, text(x), text(y))
        }
        PublicKey::Ed25519(point) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(point)),
        PublicKey::Rsa { modulus, exponent, .. } => {
            format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(exponent), text(modulus))
        }
        PublicKey::MlDsa65(_) | PublicKey::Unknown { .. } => return None,
    };
    HashAlg::Sha256.digest(&[jwk.as_bytes()]).try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_signature_and_its_twin_the_smaller_is_the_form() {
        for (algorithm, order) in [
            (JoseAlgorithm::Es256, &P256_ORDER[..]),
            (JoseAlgorithm::Es384, &P384_ORDER),
            (JoseAlgorithm::Es512, &P521_ORDER),
        ] {
            let width = order.len();
            let r = vec![9; width];
            let mut small = vec![0; width];
            small[width - 1] = 1;
            small[width - 20] = 7;
            let low = [r.clone(), small.clone()].concat();
            let high = [r.clone(), difference(order, &small)].concat();
            assert_ne!(low, high);
            assert_eq!(algorithm.one_form(&high), low);
            assert_eq!(algorithm.one_form(&low), low);
            // No number of the field: left to whoever verifies.
            for strange in [[r.clone(), order.to_vec()].concat(), vec![0xFF; width * 2], vec![0xFF; 3]] {
                assert_eq!(algorithm.one_form(&strange), strange);
            }
        }
        assert_eq!(JoseAlgorithm::EdDsa.one_form(&[0xFF; 64]), [0xFF; 64]);
    }

    /// The example of RFC 7638, 3.1.
    #[test]
    fn the_thumbprint_is_that_of_the_standard() {
        let modulus = base64url::decode(
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        )
        .unwrap();
        let key = SpkiView::from_rsa(&modulus, &[1, 0, 1]).unwrap();
        let thumbprint = thumbprint(&key).unwrap();
        assert_eq!(base64url::encode(&thumbprint), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        assert!(JoseAlgorithm::Rs256.fits(&key) && JoseAlgorithm::Ps256.fits(&key));
        assert!(!JoseAlgorithm::Es256.fits(&key));
    }
}
