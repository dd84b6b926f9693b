//! Public keys as JSON (RFC 7517, RFC 7518 section 6, RFC 8037): those that account keys may be.

use serde::{Deserialize, Serialize};
use vouchsafe_evidence::base64url;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build::DerWriter;
use vouchsafe_evidence::x509::{NamedCurve, SpkiView};

use super::jws::JwsError;
use crate::record::sha256;

/// Octets of an Ed25519 public key (RFC 8032).
const ED25519_OCTETS: usize = 32;
/// Octets of an RSA modulus: 2048 to 8192 bits.
const RSA_MODULUS_OCTETS: std::ops::RangeInclusive<usize> = 256..=1024;
/// Octets of an RSA public exponent.
const RSA_EXPONENT_OCTETS_MAX: usize = 8;

/// The members of a JSON Web Key, as far as public keys have them. Members that are not known are passed over (RFC 7517,
/// section 4); those of private and symmetric keys are known, and refused.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Members {
    kty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(skip_serializing)]
    d: Option<serde::de::IgnoredAny>,
    #[serde(skip_serializing)]
    k: Option<serde::de::IgnoredAny>,
}

/// A public key that may sign requests.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Members", into = "Members")]
pub enum Jwk {
    /// A point on a curve, each coordinate as wide as the field.
    Ec {
        /// The curve.
        curve: NamedCurve,
        /// Its first coordinate.
        x: Vec<u8>,
        /// Its second coordinate.
        y: Vec<u8>,
    },
    /// Ed25519.
    Ed25519([u8; ED25519_OCTETS]),
    /// RSA, 2048 to 8192 bits, without leading zero octets.
    Rsa {
        /// The modulus.
        modulus: Vec<u8>,
        /// The public exponent.
        exponent: Vec<u8>,
    },
}

impl TryFrom<Members> for Jwk {
    type Error = JwsError;

    fn try_from(members: Members) -> Result<Self, JwsError> {
        if members.d.is_some() || members.k.is_some() {
            return Err(JwsError::PrivateKey);
        }
        let octets = |member: &Option<String>| {
            member.as_deref().and_then(base64url::decode).filter(|octets| !octets.is_empty()).ok_or(JwsError::Key)
        };
        match (members.kty.as_str(), members.crv.as_deref()) {
            ("EC", Some(name)) => {
                let curve = curve(name)?;
                let coordinate = |member| {
                    octets(member).and_then(|octets: Vec<u8>| {
                        if octets.len() == curve.field_octets() { Ok(octets) } else { Err(JwsError::Key) }
                    })
                };
                Ok(Self::Ec { curve, x: coordinate(&members.x)?, y: coordinate(&members.y)? })
            }
            ("OKP", Some("Ed25519")) => octets(&members.x)?.try_into().map(Self::Ed25519).map_err(|_| JwsError::Key),
            ("RSA", None) => {
                let (modulus, exponent) = (octets(&members.n)?, octets(&members.e)?);
                let is_minimal = |magnitude: &[u8]| magnitude.first().is_some_and(|octet| *octet != 0);
                let fits = RSA_MODULUS_OCTETS.contains(&modulus.len()) && exponent.len() <= RSA_EXPONENT_OCTETS_MAX;
                if fits && is_minimal(&modulus) && is_minimal(&exponent) {
                    Ok(Self::Rsa { modulus, exponent })
                } else {
                    Err(JwsError::Key)
                }
            }
            (_, _) => Err(JwsError::Key),
        }
    }
}

impl From<Jwk> for Members {
    fn from(key: Jwk) -> Self {
        let text = |octets: &[u8]| Some(base64url::encode(octets));
        match key {
            Jwk::Ec { curve, x, y } => Self {
                kty: "EC".to_owned(),
                crv: Some(curve_name(curve).to_owned()),
                x: text(&x),
                y: text(&y),
                ..Self::default()
            },
            Jwk::Ed25519(x) => {
                Self { kty: "OKP".to_owned(), crv: Some("Ed25519".to_owned()), x: text(&x), ..Self::default() }
            }
            Jwk::Rsa { modulus, exponent } => {
                Self { kty: "RSA".to_owned(), n: text(&modulus), e: text(&exponent), ..Self::default() }
            }
        }
    }
}

fn curve(name: &str) -> Result<NamedCurve, JwsError> {
    match name {
        "P-256" => Ok(NamedCurve::P256),
        "P-384" => Ok(NamedCurve::P384),
        "P-521" => Ok(NamedCurve::P521),
        _ => Err(JwsError::Key),
    }
}

const fn curve_name(curve: NamedCurve) -> &'static str {
    match curve {
        NamedCurve::P256 => "P-256",
        NamedCurve::P384 => "P-384",
        NamedCurve::P521 => "P-521",
    }
}

impl Jwk {
    /// SHA-256 of the key's required members in the order of the alphabet (RFC 7638, section 3).
    #[must_use]
    pub fn thumbprint(&self) -> [u8; 32] {
        let text = |octets: &[u8]| base64url::encode(octets);
        let members = match self {
            Self::Ec { curve, x, y } => {
                format!(r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#, curve_name(*curve), text(x), text(y))
            }
            Self::Ed25519(x) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(x)),
            Self::Rsa { modulus, exponent } => {
                format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(exponent), text(modulus))
            }
        };
        sha256(members.as_bytes())
    }

    /// The thumbprint as key authorizations hold it (RFC 8555, section 8.1).
    #[must_use]
    pub fn thumbprint_text(&self) -> String {
        base64url::encode(&self.thumbprint())
    }

    /// The same key as certificates hold it.
    ///
    /// # Errors
    /// [`JwsError::Key`] if no certificate could hold it.
    pub fn spki(&self) -> Result<SpkiView, JwsError> {
        let spki = match self {
            Self::Ec { curve, x, y } => SpkiView::from_ec(*curve, x, y),
            Self::Ed25519(key) => {
                let mut writer = DerWriter::new();
                writer.sequence(|fields| {
                    fields.sequence(|algorithm| {
                        algorithm.oid(oid::ED25519);
                    });
                    fields.bit_string(key, 0);
                });
                SpkiView::parse(&writer.into_der())
            }
            Self::Rsa { modulus, exponent } => SpkiView::from_rsa(modulus, exponent),
        };
        spki.map_err(|_| JwsError::Key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard_has_its_thumbprint() {
        // RFC 8037, appendix A.3.
        let text = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","use":"sig"}"#;
        let key: Jwk = serde_json::from_str(text).unwrap();
        assert_eq!(key.thumbprint_text(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert!(key.spki().is_ok());
        let again: Jwk = serde_json::from_str(&serde_json::to_string(&key).unwrap()).unwrap();
        assert_eq!(again, key);
    }

    #[test]
    fn private_symmetric_and_unknown_keys_are_refused() {
        for text in [
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne"}"#,
            r#"{"kty":"oct","k":"AAAA"}"#,
            r#"{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qY"}"#,
            r#"{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}"#,
            r#"{"kty":"EC","crv":"secp256k1","x":"AQ","y":"AQ"}"#,
            r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#,
            r#"{"kty":"RSA"}"#,
            "{}",
            "[]",
        ] {
            assert!(serde_json::from_str::<Jwk>(text).is_err(), "{text}");
        }
    }
}
