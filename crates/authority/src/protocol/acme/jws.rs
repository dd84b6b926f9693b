//! Signed requests: JSON Web Signature (RFC 7515) in the one form that ACME takes (RFC 8555, section 6.2).
//!
//! Flattened JSON, every header protected, one signature, an algorithm from a list that says for each key which it is.

use aws_lc_rs::hmac;
use serde::Deserialize;
use thiserror::Error;
use vouchsafe_evidence::base64url;
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::{NamedCurve, build};
use vouchsafe_verifier::crypto::{SignatureAlgorithm, SignatureBudget, verify_signature};

use super::jwk::{Jwk, Members};

/// Octets of a protected header.
const HEADER_OCTETS_MAX: usize = 8 * 1024;
/// Octets of the texts `kid`, `nonce` and `url`.
const TEXT_OCTETS_MAX: usize = 1024;

/// Why a signed request is none.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwsError {
    /// An algorithm that is not taken, or not in this place.
    #[error("the algorithm is none of ES256, ES384, ES512, EdDSA and RS256; or HS256, for the binding of an account")]
    Algorithm,
    /// Not flattened JSON with exactly the members payload, protected and signature in base64url.
    #[error("the body is no JWS in flattened JSON with exactly payload, protected and signature")]
    Form,
    /// The protected header is not what it must be.
    #[error("the protected header is not JSON with alg, url and exactly one of jwk and kid, and nothing critical")]
    Header,
    /// The key is none that may sign requests.
    #[error("the key is none of P-256, P-384, P-521, Ed25519 and RSA of 2048 to 8192 bits")]
    Key,
    /// A private or symmetric key was sent.
    #[error("the key holds private or symmetric parts; make a new one")]
    PrivateKey,
    /// The signature is not the key's over these octets.
    #[error("the signature is not the key's over this request")]
    Signature,
}

/// How a request is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519 (RFC 8037).
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// HMAC with SHA-256: the binding of an account to one that is known outside, and nothing else.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

/// By what the signer's key is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyReference {
    /// The key itself.
    Jwk(Jwk),
    /// The URL of an account, or the name of one that is known outside.
    Kid(String),
}

/// A signed request; nothing about it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jws {
    /// How it is signed.
    pub algorithm: Algorithm,
    /// By whom, so it says.
    pub key: KeyReference,
    /// The replay nonce.
    pub nonce: Option<String>,
    /// What it is meant for.
    pub url: String,
    /// What is signed, decoded.
    pub payload: Vec<u8>,
    signing_input: Vec<u8>,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Flattened {
    payload: String,
    protected: String,
    signature: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    jwk: Option<Members>,
    kid: Option<String>,
    nonce: Option<String>,
    url: String,
    crit: Option<serde::de::IgnoredAny>,
    b64: Option<serde::de::IgnoredAny>,
}

impl Algorithm {
    /// The names of those by which requests may be signed.
    pub(super) const OF_REQUESTS: [&'static str; 5] = ["ES256", "ES384", "ES512", "EdDSA", "RS256"];
}

impl Jws {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// [`JwsError`] for all but a signature that is not true.
    pub fn parse(body: &[u8]) -> Result<Self, JwsError> {
        let flattened: Flattened = serde_json::from_slice(body).map_err(|_| JwsError::Form)?;
        if flattened.protected.len() > HEADER_OCTETS_MAX {
            return Err(JwsError::Header);
        }
        let decode = |text: &str| base64url::decode(text).ok_or(JwsError::Form);
        let header: Header = serde_json::from_slice(&decode(&flattened.protected)?).map_err(|_| JwsError::Header)?;
        let algorithm = algorithm(&header.alg)?;
        let key = match (header.jwk, header.kid) {
            (Some(members), None) => KeyReference::Jwk(Jwk::try_from(members)?),
            (None, Some(kid)) if kid.len() <= TEXT_OCTETS_MAX => KeyReference::Kid(kid),
            (_, _) => return Err(JwsError::Header),
        };
        let is_long = |text: &str| text.len() > TEXT_OCTETS_MAX;
        let too_long = is_long(&header.url) || header.nonce.as_deref().is_some_and(is_long);
        if header.crit.is_some() || header.b64.is_some() || too_long {
            return Err(JwsError::Header);
        }
        Ok(Self {
            algorithm,
            key,
            nonce: header.nonce,
            url: header.url,
            payload: decode(&flattened.payload)?,
            signature: decode(&flattened.signature)?,
            signing_input: [flattened.protected.as_bytes(), b".", flattened.payload.as_bytes()].concat(),
        })
    }

    /// Whether the private part of this key signed it.
    ///
    /// # Errors
    /// [`JwsError::Algorithm`] if the key is none of the algorithm's, [`JwsError::Signature`] if it did not sign.
    pub fn verify(&self, key: &Jwk) -> Result<(), JwsError> {
        let (algorithm, signature) = match (self.algorithm, key) {
            (Algorithm::Es256, Jwk::Ec { curve: NamedCurve::P256, .. }) => {
                self.ecdsa(HashAlg::Sha256, NamedCurve::P256)?
            }
            (Algorithm::Es384, Jwk::Ec { curve: NamedCurve::P384, .. }) => {
                self.ecdsa(HashAlg::Sha384, NamedCurve::P384)?
            }
            (Algorithm::Es512, Jwk::Ec { curve: NamedCurve::P521, .. }) => {
                self.ecdsa(HashAlg::Sha512, NamedCurve::P521)?
            }
            (Algorithm::EdDsa, Jwk::Ed25519(_)) => (SignatureAlgorithm::Ed25519, self.signature.clone()),
            (Algorithm::Rs256, Jwk::Rsa { .. }) => {
                (SignatureAlgorithm::RsaPkcs1(HashAlg::Sha256), self.signature.clone())
            }
            (
                Algorithm::EdDsa
                | Algorithm::Es256
                | Algorithm::Es384
                | Algorithm::Es512
                | Algorithm::Hs256
                | Algorithm::Rs256,
                Jwk::Ec { .. } | Jwk::Ed25519(_) | Jwk::Rsa { .. },
            ) => return Err(JwsError::Algorithm),
        };
        verify_signature(&mut SignatureBudget::with_limit(1), &key.spki()?, algorithm, &self.signing_input, &signature)
            .map_err(|_| JwsError::Signature)
    }

    /// Both halves of the signature (RFC 7518, section 3.4), as certificates hold them.
    fn ecdsa(&self, hash: HashAlg, curve: NamedCurve) -> Result<(SignatureAlgorithm, Vec<u8>), JwsError> {
        let width = curve.field_octets();
        if self.signature.len() != width.saturating_mul(2) {
            return Err(JwsError::Signature);
        }
        let (r, s) = self.signature.split_at_checked(width).ok_or(JwsError::Signature)?;
        Ok((SignatureAlgorithm::Ecdsa(hash), build::ecdsa_signature(r, s)))
    }

    /// Whether the holder of this secret authenticated it, by HS256.
    ///
    /// # Errors
    /// [`JwsError::Algorithm`] if it is by another algorithm, [`JwsError::Signature`] if it is by another secret.
    pub fn verify_mac(&self, key: &hmac::Key) -> Result<(), JwsError> {
        match self.algorithm {
            Algorithm::Hs256 => {
                hmac::verify(key, &self.signing_input, &self.signature).map_err(|_| JwsError::Signature)
            }
            Algorithm::EdDsa | Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512 | Algorithm::Rs256 => {
                Err(JwsError::Algorithm)
            }
        }
    }
}

fn algorithm(name: &str) -> Result<Algorithm, JwsError> {
    match name {
        "EdDSA" => Ok(Algorithm::EdDsa),
        "ES256" => Ok(Algorithm::Es256),
        "ES384" => Ok(Algorithm::Es384),
        "ES512" => Ok(Algorithm::Es512),
        "HS256" => Ok(Algorithm::Hs256),
        "RS256" => Ok(Algorithm::Rs256),
        _ => Err(JwsError::Algorithm),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{self as lc, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
    use vouchsafe_evidence::x509::der::Reader;

    fn body(header: &str, payload: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let (protected, payload) = (base64url::encode(header.as_bytes()), base64url::encode(payload.as_bytes()));
        let signature = base64url::encode(&sign(format!("{protected}.{payload}").as_bytes()));
        format!(r#"{{"protected":"{protected}","payload":"{payload}","signature":"{signature}"}}"#).into_bytes()
    }

    fn header(algorithm: &str) -> String {
        format!(r#"{{"alg":"{algorithm}","kid":"https://h/acme/account/1","nonce":"n","url":"https://h/x"}}"#)
    }

    /// Makes a signature over octets.
    type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

    /// A key of each kind with its way to sign.
    fn keys() -> Vec<(&'static str, Jwk, Sign)> {
        let mut keys: Vec<(&'static str, Jwk, Sign)> = Vec::new();
        for (name, algorithm, curve) in [
            ("ES256", &lc::ECDSA_P256_SHA256_FIXED_SIGNING, NamedCurve::P256),
            ("ES384", &lc::ECDSA_P384_SHA384_FIXED_SIGNING, NamedCurve::P384),
            ("ES512", &lc::ECDSA_P521_SHA512_FIXED_SIGNING, NamedCurve::P521),
        ] {
            let pair = EcdsaKeyPair::generate(algorithm).unwrap();
            let (x, y) = pair.public_key().as_ref()[1..].split_at(curve.field_octets());
            let key = Jwk::Ec { curve, x: x.to_vec(), y: y.to_vec() };
            let sign = move |message: &[u8]| pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec();
            keys.push((name, key, Box::new(sign)));
        }
        let pair = Ed25519KeyPair::generate().unwrap();
        let key = Jwk::Ed25519(pair.public_key().as_ref().try_into().unwrap());
        keys.push(("EdDSA", key, Box::new(move |message| pair.sign(message).as_ref().to_vec())));
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let mut outer = Reader::new(pair.public_key().as_ref(), "RSAPublicKey");
        let mut fields = outer.sequence("RSAPublicKey").unwrap();
        let (modulus, exponent) = (fields.unsigned("modulus").unwrap(), fields.unsigned("publicExponent").unwrap());
        let key = Jwk::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec() };
        let sign = move |message: &[u8]| {
            let mut signature = vec![0; 256];
            pair.sign(&lc::RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        };
        keys.push(("RS256", key, Box::new(sign)));
        keys
    }

    #[test]
    fn each_algorithm_is_verified_under_its_own_key_alone() {
        let keys = keys();
        for (name, key, sign) in &keys {
            let jws = Jws::parse(&body(&header(name), "{}", sign)).unwrap();
            assert_eq!(jws.verify(key), Ok(()), "{name}");
            assert_eq!(jws.payload, b"{}");
            for (other, other_key, _) in &keys {
                if other != name {
                    assert_eq!(jws.verify(other_key), Err(JwsError::Algorithm), "{name} under {other}");
                }
            }
            let mut altered = jws.clone();
            altered.signing_input.push(b'A');
            assert_eq!(altered.verify(key), Err(JwsError::Signature), "{name}");
            let mut cut = jws.clone();
            cut.signature.pop();
            assert_eq!(cut.verify(key), Err(JwsError::Signature), "{name}");
        }
        assert_eq!(keys.len(), 5);
    }

    #[test]
    fn a_public_key_is_no_secret_of_a_mac() {
        // The oldest confusion of JWS: HS256 under the octets of a key that everybody knows.
        let (_, key, _) = &keys()[0];
        let spki = key.spki().unwrap();
        let mac = hmac::Key::new(hmac::HMAC_SHA256, spki.as_der());
        let jws = Jws::parse(&body(&header("HS256"), "{}", |m| hmac::sign(&mac, m).as_ref().to_vec())).unwrap();
        assert_eq!(jws.verify(key), Err(JwsError::Algorithm));
        assert_eq!(jws.verify_mac(&mac), Ok(()));
        let other = hmac::Key::new(hmac::HMAC_SHA256, b"another secret");
        assert_eq!(jws.verify_mac(&other), Err(JwsError::Signature));
    }

    #[test]
    fn headers_have_no_room_for_interpretation() {
        let parse = |header: &str| Jws::parse(&body(header, "{}", |_| vec![0]));
        assert!(parse(&header("ES256")).is_ok());
        for (text, error) in [
            (header("none"), JwsError::Algorithm),
            (header("ES256K"), JwsError::Algorithm),
            (header("es256"), JwsError::Algorithm),
            (header("ES256").replace("\"nonce\"", "\"crit\":[\"x\"],\"nonce\""), JwsError::Header),
            (header("ES256").replace("\"nonce\"", "\"b64\":false,\"nonce\""), JwsError::Header),
            (header("ES256").replace("\"nonce\"", "\"alg\":\"ES256\",\"nonce\""), JwsError::Header),
            (header("ES256").replace("\"kid\"", "\"x5u\""), JwsError::Header),
            (header("ES256").replace("\"url\"", "\"uri\""), JwsError::Header),
            (header("ES256").replace("https://h/x", &"x".repeat(1025)), JwsError::Header),
        ] {
            assert_eq!(parse(&text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn bodies_are_flattened_and_nothing_else() {
        let good = String::from_utf8(body(&header("ES256"), "{}", |_| vec![0])).unwrap();
        assert!(Jws::parse(good.as_bytes()).is_ok());
        for bad in [
            good.replace("\"payload\"", "\"header\":{},\"payload\""),
            good.replace("\"payload\"", "\"signatures\":[],\"payload\""),
            good.replace("\"signature\":\"AA\"", "\"signature\":\"AB\""),
            good.replace("\"signature\":\"AA\"", "\"signature\":\"AA==\""),
            good.replace("\"signature\":\"AA\"", "\"signature\":\"AA\",\"signature\":\"AA\""),
            "a.b.c".to_owned(),
            String::new(),
        ] {
            assert_eq!(Jws::parse(bad.as_bytes()).unwrap_err(), JwsError::Form, "{bad}");
        }
    }
}
