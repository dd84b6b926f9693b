//! Attestation results that others can check: an EAR (draft-ietf-rats-ear) signed by a key of its own, and the public keys
//! by which it is checked (RFC 7517).

use std::path::{Path, PathBuf};

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use thiserror::Error;
use vouchsafe_evidence::x509::{NamedCurve, PublicKey, SpkiView};
use vouchsafe_verifier::ear::{Algorithm, Unsigned};
use zeroize::Zeroizing;

use crate::certificate::CertificateError;
use crate::config::{EarConfig, EarKey};
use crate::issuing_key::SigningKey;
use crate::protocol::acme::jwk::Jwk;
use crate::secret::is_open_to_others;

/// Octets of the file of a key.
const KEY_FILE_OCTETS_MAX: u64 = 64 * 1024;

/// Why results cannot be signed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ResultKeyError {
    /// The key is one that signs certificates: what it signs must mean one thing.
    #[error("[appraisals.ear] the key also signs certificates; make one for attestation results alone")]
    Certifying,
    /// A file cannot be read.
    #[error("[appraisals.ear] {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// A file holds no key on P-256 or P-384.
    #[error("[appraisals.ear] {}: not a key on P-256 or P-384 in PEM", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner may read the file of the key.
    #[error("[appraisals.ear] {} is open to others than its owner; chmod 600", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
    },
    /// A key is published twice.
    #[error("[appraisals.ear] {}: this key is published already", path.display())]
    Published {
        /// The file.
        path: PathBuf,
    },
    /// The key in the token does not sign.
    #[error("[appraisals.ear] the key in the token")]
    Token(#[source] CertificateError),
}

/// The key that signs attestation results, and what is published of it.
#[derive(Debug)]
pub(crate) struct ResultSigner {
    key: SigningKey,
    algorithm: Algorithm,
    key_id: String,
    lifetime_seconds: i64,
    published: Vec<Value>,
}

impl ResultSigner {
    /// The key of the configuration, which must be none of `certifying`.
    pub(crate) fn load<'a>(
        config: &EarConfig,
        mut certifying: impl Iterator<Item = &'a SpkiView>,
    ) -> Result<Self, ResultKeyError> {
        let (key, place) = match &config.key {
            EarKey::File(path) => {
                tracing::warn!(
                    file = %path.display(),
                    "the key of attestation results lies in a file, which is for labs: whoever reads it signs; name a token \
                     with pkcs11"
                );
                (private_key(path)?, path)
            }
            EarKey::Token { token, public_key } => {
                let key = SigningKey::in_token(token, &public(public_key)?).map_err(ResultKeyError::Token)?;
                (key, public_key)
            }
        };
        if certifying.any(|other| other.same_key(key.spki())) {
            return Err(ResultKeyError::Certifying);
        }
        let (algorithm, jwk) = jwk(key.spki(), place)?;
        let mut published = vec![member(algorithm, &jwk)];
        for path in &config.former_keys {
            let (algorithm, jwk) = self::jwk(&public(path)?, path)?;
            let former = member(algorithm, &jwk);
            if published.contains(&former) {
                return Err(ResultKeyError::Published { path: path.clone() });
            }
            published.push(former);
        }
        let lifetime_seconds = config.lifetime_seconds;
        Ok(Self { key, algorithm, key_id: jwk.thumbprint_text(), lifetime_seconds, published })
    }

    /// For how many seconds a result may be relied on.
    pub(crate) const fn lifetime_seconds(&self) -> i64 {
        self.lifetime_seconds
    }

    /// The token with these claims.
    ///
    /// # Errors
    /// [`CertificateError`] if the key does not sign.
    pub(crate) fn sign(&self, claims: &Value) -> Result<String, CertificateError> {
        let unsigned = Unsigned::new(self.algorithm, Some(&self.key_id), claims);
        let signature = self.key.sign_fixed(unsigned.octets())?;
        Ok(unsigned.signed(&signature))
    }
}

/// The public keys by which results are checked (RFC 7517, section 5); none where none are signed.
pub(crate) fn key_set(signer: Option<&ResultSigner>) -> Value {
    json!({"keys": signer.map_or(&[][..], |signer| signer.published.as_slice())})
}

/// The public key as JSON, and what it verifies.
fn jwk(spki: &SpkiView, path: &Path) -> Result<(Algorithm, Jwk), ResultKeyError> {
    let refused = || ResultKeyError::Key { path: path.to_owned() };
    let PublicKey::Ec { curve, x, y } = spki.key() else { return Err(refused()) };
    let algorithm = match curve {
        NamedCurve::P256 => Algorithm::Es256,
        NamedCurve::P384 => Algorithm::Es384,
        NamedCurve::P521 => return Err(refused()),
    };
    Ok((algorithm, Jwk::Ec { curve: *curve, x: x.to_vec(), y: y.to_vec() }))
}

/// A member of the key set; its identifier is the key's thumbprint (RFC 7638).
fn member(algorithm: Algorithm, jwk: &Jwk) -> Value {
    let mut member = json!(jwk);
    if let Value::Object(members) = &mut member {
        members.extend([
            ("alg".to_owned(), json!(algorithm.name())),
            ("kid".to_owned(), json!(jwk.thumbprint_text())),
            ("use".to_owned(), json!("sig")),
        ]);
    }
    member
}

fn private_key(path: &Path) -> Result<SigningKey, ResultKeyError> {
    let unreadable = |error| ResultKeyError::Io { path: path.to_owned(), error };
    if is_open_to_others(&std::fs::metadata(path).map_err(unreadable)?) {
        return Err(ResultKeyError::Permissions { path: path.to_owned() });
    }
    let refused = || ResultKeyError::Key { path: path.to_owned() };
    let pem = Zeroizing::new(read(path)?);
    let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| refused())?;
    SigningKey::from_pkcs8(pkcs8.secret_pkcs8_der()).map_err(|_| refused())
}

fn public(path: &Path) -> Result<SpkiView, ResultKeyError> {
    SpkiView::from_key_file(&read(path)?).map_err(|_| ResultKeyError::Key { path: path.to_owned() })
}

fn read(path: &Path) -> Result<Vec<u8>, ResultKeyError> {
    let unreadable = |error| ResultKeyError::Io { path: path.to_owned(), error };
    if std::fs::metadata(path).map_err(unreadable)?.len() > KEY_FILE_OCTETS_MAX {
        return Err(ResultKeyError::Key { path: path.to_owned() });
    }
    std::fs::read(path).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::init::pem;

    fn config(key: &Path, former: &[&Path]) -> EarConfig {
        let former_keys = former.iter().map(|path| path.to_path_buf()).collect();
        EarConfig { key: EarKey::File(key.to_owned()), lifetime_seconds: 300, former_keys }
    }

    fn load(config: &EarConfig, certifying: &[SpkiView]) -> Result<ResultSigner, ResultKeyError> {
        ResultSigner::load(config, certifying.iter())
    }

    #[test]
    fn a_key_of_its_own_that_nobody_else_reads_signs_results() {
        let folder = tempfile::tempdir().unwrap();
        let (private, former) = (folder.path().join("ear.key"), folder.path().join("former.pub"));
        let (key, pkcs8) = SigningKey::generate().unwrap();
        let (old, _) = SigningKey::generate().unwrap();
        let write = |path: &Path, text: &str, mode| {
            std::fs::write(path, text).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        assert!(matches!(load(&config(&private, &[]), &[]), Err(ResultKeyError::Io { .. })));
        write(&private, &pem("PRIVATE KEY", &pkcs8), 0o640);
        assert!(matches!(load(&config(&private, &[]), &[]), Err(ResultKeyError::Permissions { .. })));
        write(&private, &pem("PRIVATE KEY", &pkcs8), 0o600);
        write(&former, &pem("PUBLIC KEY", old.spki().as_der()), 0o644);

        let certifying = [old.spki().clone(), key.spki().clone()];
        assert!(matches!(load(&config(&private, &[]), &certifying), Err(ResultKeyError::Certifying)));
        let twice = config(&private, &[&former, &former]);
        assert!(matches!(load(&twice, &[]), Err(ResultKeyError::Published { .. })));
        let signer = load(&config(&private, &[&former]), &[]).unwrap();
        let set = key_set(Some(&signer));
        assert_eq!(set["keys"].as_array().unwrap().len(), 2);
        assert_eq!((&set["keys"][0]["alg"], &set["keys"][0]["kid"]), (&json!("ES256"), &json!(signer.key_id)));
        assert!(set["keys"][0].get("d").is_none());
        let token = signer.sign(&json!({"iat": 1})).unwrap();
        let signature = token.rsplit('.').next().unwrap();
        assert_eq!(vouchsafe_evidence::base64url::decode(signature).unwrap().len(), 64);

        write(&private, "no key", 0o600);
        assert!(matches!(load(&config(&private, &[]), &[]), Err(ResultKeyError::Key { .. })));
        assert_eq!(key_set(None), json!({"keys": []}));
    }
}
