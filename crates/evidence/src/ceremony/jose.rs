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

    /// Whether this key can sign by it.
    #[must_use]
    pub fn fits(self, key: &SpkiView) -> bool {
        match (self, Self::of_key(key)) {
            (Self::Rs256, Some(Self::Ps256)) => matches!(key.key(), PublicKey::Rsa { scheme: RsaScheme::Any, .. }),
            (_, found) => found == Some(self),
        }
    }
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
