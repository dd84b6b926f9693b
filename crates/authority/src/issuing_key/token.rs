//! A signing key in a token: found by its label, tried at the start, and every signature checked before it is used.
//!
//! The token is logged in to once for all threads. Where it turns out to be lost it is looked for once more with each
//! request, so that the authority goes on by itself when it is back. A PIN that was refused is not tried again until its
//! file has changed: tokens count, and lock themselves.

mod objects;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, EcdsaVerificationAlgorithm, UnparsedPublicKey,
};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as CryptokiError, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use serde::Deserialize;
use thiserror::Error;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::build;
use vouchsafe_evidence::x509::{NamedCurve, PublicKey, SpkiView};
use zeroize::Zeroizing;

use crate::certificate::CertificateError;
use crate::secret::is_open_to_others;

pub use objects::KeyCurve;
pub(crate) use objects::{generate, public_key};

/// Octets of a PIN, above what tokens take.
const PIN_OCTETS: usize = 256;
/// What is signed at the start to see that the key is the certificate's.
const TRIAL: &[u8] = b"Vouchsafe: the key in the token is the certificate's";

/// A key in a token, as the configuration file names it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct TokenKeyConfig {
    /// The module: a shared library.
    module: PathBuf,
    /// The token's label.
    token: String,
    /// The key's label (CKA_LABEL).
    key: String,
    /// The file with the user PIN, which nobody else may read.
    pin_file: PathBuf,
}

impl fmt::Display for TokenKeyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {:?} in token {:?} ({})", self.key, self.token, self.module.display())
    }
}

/// Why a token does not sign.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenKeyError {
    /// No key, or more than one, has the label.
    #[error("the token has {found} private keys labeled {label:?}; one is wanted")]
    Key {
        /// The label.
        label: String,
        /// How many there are.
        found: usize,
    },
    /// A key has the label already.
    #[error("the token has a key labeled {label:?} already")]
    Exists {
        /// The label.
        label: String,
    },
    /// The library refuses.
    #[error("PKCS#11: {0}")]
    Library(String),
    /// The key is not that of the certificate, or the token signs falsely.
    #[error("what the token signs does not verify under the certificate's key")]
    OtherKey,
    /// The PIN's file cannot be used.
    #[error("{}: {why}", path.display())]
    PinFile {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The PIN was refused.
    #[error("{}: the token refused this PIN; it is not tried again until the file has changed", path.display())]
    PinRefused {
        /// The file.
        path: PathBuf,
    },
    /// The public key beside the private one cannot be read, or is of another kind.
    #[error("the public key beside the private one cannot be read: {0}")]
    PublicKey(&'static str),
    /// No token has the label.
    #[error("no token is labeled {label:?}")]
    TokenAbsent {
        /// The label.
        label: String,
    },
}

impl From<CryptokiError> for TokenKeyError {
    fn from(error: CryptokiError) -> Self {
        Self::Library(error.to_string())
    }
}

/// A curve with what signatures on it are made and checked by.
#[derive(Clone, Copy)]
struct Suite {
    curve: NamedCurve,
    algorithm: Oid,
    digest: &'static digest::Algorithm,
    verification: &'static EcdsaVerificationAlgorithm,
}

/// Size, time of change and inode of a file.
type Stamp = (u64, i64, i64, u64);

/// What a session is for.
#[derive(Clone, Copy)]
enum Access {
    Read,
    Write,
}

/// A key in a token.
pub(crate) struct TokenKey {
    config: TokenKeyConfig,
    pkcs11: Pkcs11,
    suite: Suite,
    /// The uncompressed point.
    point: Vec<u8>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<(Session, ObjectHandle)>,
    /// Size, time of change and inode of the file whose PIN was refused.
    refused: Option<Stamp>,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TokenKey").field("config", &self.config).finish_non_exhaustive()
    }
}

impl TokenKey {
    /// Finds the key and tries it under the public key that it must have.
    pub(super) fn open(config: &TokenKeyConfig, spki: &SpkiView) -> Result<(Self, Oid), CertificateError> {
        let PublicKey::Ec { curve, x, y } = spki.key() else { return Err(CertificateError::UnknownKey) };
        let suite = match curve {
            NamedCurve::P256 => Suite {
                curve: *curve,
                algorithm: oid::ECDSA_WITH_SHA256,
                digest: &digest::SHA256,
                verification: &ECDSA_P256_SHA256_ASN1,
            },
            NamedCurve::P384 => Suite {
                curve: *curve,
                algorithm: oid::ECDSA_WITH_SHA384,
                digest: &digest::SHA384,
                verification: &ECDSA_P384_SHA384_ASN1,
            },
            NamedCurve::P521 => return Err(CertificateError::UnknownKey),
        };
        let pkcs11 = Pkcs11::new(&config.module).map_err(TokenKeyError::from)?;
        begin(&pkcs11)?;
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        let key = Self { config: config.clone(), pkcs11, suite, point, state: Mutex::new(State::default()) };
        key.sign(TRIAL)?;
        Ok((key, suite.algorithm))
    }

    /// A signature as certificates have it.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenKeyError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let hashed = digest::digest(self.suite.digest, message);
        let raw = match self.attempt(&mut state, hashed.as_ref()) {
            Ok(raw) => raw,
            // The session or the token may have been lost: it is looked for once more, from the beginning.
            Err(TokenKeyError::Library(why)) => {
                tracing::warn!(why, token = self.config.token, "the token does not sign; looking for it anew");
                state.open = None;
                self.attempt(&mut state, hashed.as_ref())?
            }
            Err(error) => return Err(error),
        };
        let field = self.suite.curve.field_octets();
        let (r, s) = raw.split_at_checked(field).filter(|(_, s)| s.len() == field).ok_or(TokenKeyError::OtherKey)?;
        let signature = build::ecdsa_signature(r, s);
        let key = UnparsedPublicKey::new(self.suite.verification, &self.point);
        key.verify(message, &signature).map_err(|_| TokenKeyError::OtherKey)?;
        Ok(signature)
    }

    fn attempt(&self, state: &mut State, hashed: &[u8]) -> Result<Vec<u8>, TokenKeyError> {
        if state.open.is_none() {
            let refused = &mut state.refused;
            state.open = Some(self.log_in(refused)?);
        }
        let Some((session, key)) = &state.open else { return Err(TokenKeyError::OtherKey) };
        Ok(session.sign(&Mechanism::Ecdsa, *key, hashed)?)
    }

    fn log_in(&self, refused: &mut Option<Stamp>) -> Result<(Session, ObjectHandle), TokenKeyError> {
        let session = self.config.session(&self.pkcs11, Access::Read, refused)?;
        let keys = objects::labeled(&session, &self.config, ObjectClass::PRIVATE_KEY)?;
        match keys.as_slice() {
            [key] => Ok((session, *key)),
            keys => Err(TokenKeyError::Key { label: self.config.key.clone(), found: keys.len() }),
        }
    }
}

impl TokenKeyConfig {
    /// The key of this label in the token of that.
    #[must_use]
    pub const fn new(module: PathBuf, token: String, key: String, pin_file: PathBuf) -> Self {
        Self { module, token, key, pin_file }
    }

    /// Logs in to the token.
    fn session(&self, pkcs11: &Pkcs11, access: Access, refused: &mut Option<Stamp>) -> Result<Session, TokenKeyError> {
        let absent = || TokenKeyError::TokenAbsent { label: self.token.clone() };
        let mut found = None;
        for slot in pkcs11.get_slots_with_token()? {
            if pkcs11.get_token_info(slot)?.label() == self.token {
                found = Some(slot);
            }
        }
        let slot = found.ok_or_else(absent)?;
        let session = match access {
            Access::Read => pkcs11.open_ro_session(slot)?,
            Access::Write => pkcs11.open_rw_session(slot)?,
        };
        let stamp = self.stamp()?;
        if *refused == Some(stamp) {
            return Err(TokenKeyError::PinRefused { path: self.pin_file.clone() });
        }
        match session.login(UserType::User, Some(&self.pin()?)) {
            Ok(()) | Err(CryptokiError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(CryptokiError::Pkcs11(RvError::PinIncorrect | RvError::PinLocked, _)) => {
                *refused = Some(stamp);
                Err(TokenKeyError::PinRefused { path: self.pin_file.clone() })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn unusable_pin_file(&self, why: impl fmt::Display) -> TokenKeyError {
        TokenKeyError::PinFile { path: self.pin_file.clone(), why: why.to_string() }
    }

    fn stamp(&self) -> Result<Stamp, TokenKeyError> {
        let metadata = std::fs::metadata(&self.pin_file).map_err(|error| self.unusable_pin_file(error))?;
        if !metadata.is_file() {
            return Err(self.unusable_pin_file("is no file"));
        }
        if is_open_to_others(&metadata) {
            return Err(self.unusable_pin_file("others may read or write it; chmod 600"));
        }
        Ok((metadata.len(), metadata.mtime(), metadata.mtime_nsec(), metadata.ino()))
    }

    fn pin(&self) -> Result<AuthPin, TokenKeyError> {
        let mut octets = Zeroizing::new(Vec::with_capacity(PIN_OCTETS.saturating_add(2)));
        let limit = u64::try_from(PIN_OCTETS).unwrap_or(u64::MAX).saturating_add(2);
        let read = File::open(&self.pin_file).and_then(|file| file.take(limit).read_to_end(&mut octets));
        read.map_err(|error| self.unusable_pin_file(error))?;
        let text = std::str::from_utf8(&octets).map_err(|_| self.unusable_pin_file("is not UTF-8"))?;
        let pin = text.strip_suffix('\n').unwrap_or(text);
        let pin = pin.strip_suffix('\r').unwrap_or(pin);
        if pin.is_empty() || pin.len() > PIN_OCTETS || pin.contains(char::is_control) {
            return Err(self.unusable_pin_file("does not hold one line with a PIN"));
        }
        Ok(AuthPin::from(pin.to_owned()))
    }
}

fn begin(pkcs11: &Pkcs11) -> Result<(), TokenKeyError> {
    match pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // By another issuer of this process, in the same module.
        Ok(()) | Err(CryptokiError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
