//! The provider on a PKCS #11 token: a module of any maker, through the maker's library.
//!
//! Keys of users are pairs of objects in the token that never leave it, found by their id (CKA_ID); what the agent's store keeps
//! of one says which objects it is and is of no use without the token. Attesting keys are such pairs too, in the same token or
//! in one of their own.
//!
//! The library runs in the agent's process and is trusted with it. What it says is bounded nonetheless, and a token that was
//! removed and put back, a library that was restarted and a session that was lost heal by themselves. A PIN that was refused
//! is never tried twice.

mod attesting;
mod blob;
mod evidence;
mod fault;
mod inspect;
mod keys;
mod library;
mod objects;
mod pairing;
mod personal;
mod pin;
mod platform;
mod scheme;
mod token;

use std::path::PathBuf;

use tracing::warn;
use zeroize::Zeroizing;

pub use fault::{ReturnValue, TokenFault};
pub use inspect::{Inspection, TokenSummary, inspect, is_one_token};
pub use personal::PersonalKey;
pub use token::TokenName;

use self::attesting::AttestationKey;
use self::library::User;
use self::token::Token;
use super::{
    Activation, ActivationParameters, Attestation, Attester, AttestingKey, AttestingKeyChoice, AttestingKeySource,
    AttestingKeySpec, EncryptionScheme, Endorsement, Family, FamilyCertificates, Fault, KeyBlob, KeyKind, KeyMechanism,
    KeyProvider, KeyPurpose, KeySpec, KeyUid, Mechanism, PlatformMechanism, PublicKey, SignatureScheme, StateStore,
};

const NO_ENDORSEMENT_KEY: Fault = Fault::Missing { what: "endorsement key" };

/// What the administrator decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The maker's library.
    pub module: PathBuf,
    /// The token with the users' keys.
    pub token: TokenName,
    /// The file with its PIN: one line, readable by the agent's user alone.
    pub pin_file: PathBuf,
    /// A token of their own for the attesting keys, reached by the same library, and the file with its PIN.
    pub attesting_token: Option<(TokenName, PathBuf)>,
    /// Name of the attesting key that attests when nobody chooses; made when it is first needed.
    pub default_attesting_key: String,
    /// Its kind, when it is made.
    pub attesting_key_kind: KeyKind,
}

impl Settings {
    /// A token and the file with its PIN, everything else by default.
    #[must_use]
    pub fn new(module: PathBuf, token: TokenName, pin_file: PathBuf) -> Self {
        Self {
            module,
            token,
            pin_file,
            attesting_token: None,
            default_attesting_key: "default".to_owned(),
            attesting_key_kind: KeyKind::EcP256,
        }
    }
}

/// Keys and attestation in a PKCS #11 token.
pub struct Pkcs11Provider {
    store: Box<dyn StateStore>,
    settings: Settings,
    keys: Token,
    attesting_token: Option<Token>,
    /// The attesting keys, once they were looked for.
    attesting: Option<Vec<AttestationKey>>,
    /// Whether the token was looked through for what creations that were cut short have left without an id.
    is_swept: bool,
}

impl Pkcs11Provider {
    /// Opens the token that the settings name. Attesting keys are looked for and the default one is made; if that fails now, it
    /// is done when one is needed.
    ///
    /// # Errors
    /// [`Fault::Token`]: no such library or token, a PIN that is not there or was refused.
    pub fn open(settings: Settings, store: Box<dyn StateStore>) -> Result<Self, Fault> {
        let library = User::of(&settings.module)?;
        let mut keys = Token::new(library.clone(), settings.token.clone(), settings.pin_file.clone());
        keys.with(store.as_ref(), |live| live.info())?;
        let attesting_token = settings
            .attesting_token
            .as_ref()
            .map(|(name, pin_file)| Token::new(library.clone(), name.clone(), pin_file.clone()));
        let mut provider = Self { store, settings, keys, attesting_token, attesting: None, is_swept: false };
        if let Err(fault) = provider.prepare_attesting() {
            warn!(%fault, next_step = fault.next_step(), "the attesting keys are not ready");
        }
        Ok(provider)
    }
}

impl KeyProvider for Pkcs11Provider {
    fn generate(&mut self, uid: &KeyUid, spec: KeySpec) -> Result<KeyBlob, Fault> {
        self.generate_key(uid, spec)
    }

    fn export_public(&mut self, key: &KeyBlob) -> Result<PublicKey, Fault> {
        self.public_of(key)
    }

    fn sign_hash(&mut self, key: &KeyBlob, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, Fault> {
        self.sign_digest(key, scheme, digest)
    }

    fn decrypt(
        &mut self,
        key: &KeyBlob,
        scheme: EncryptionScheme,
        ciphertext: &[u8],
        label: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        self.decrypt_message(key, scheme, ciphertext, label)
    }

    fn check_decrypts(&mut self, key: &KeyBlob, scheme: EncryptionScheme) -> Result<(), Fault> {
        self.try_decrypting(key, scheme)
    }

    fn random(&mut self, octets: u16) -> Result<Zeroizing<Vec<u8>>, Fault> {
        self.random_octets(octets)
    }

    fn makes(&mut self, kind: KeyKind) -> Result<bool, Fault> {
        self.makes_kind(kind)
    }

    fn destroy(&mut self, key: &KeyBlob) -> Result<(), Fault> {
        let uid = blob::Blob::parse(key)?.uid;
        self.remove_objects(&uid)
    }

    fn abandon(&mut self, uid: &KeyUid) -> Result<(), Fault> {
        self.abandon_objects(uid)
    }
}

impl Attester for Pkcs11Provider {
    fn mechanisms(&mut self, key: Option<&KeyBlob>) -> Result<Vec<Mechanism>, Fault> {
        self.offered_mechanisms(key)
    }

    fn families(&mut self, key: &KeyBlob) -> Result<Vec<Family>, Fault> {
        let attests = blob::Blob::parse(key)?.purpose == KeyPurpose::Attest;
        Ok(if attests { vec![Family::PkixEvidence] } else { Vec::new() })
    }

    fn is_pseudonym(&self, _: &str) -> bool {
        // It makes none.
        false
    }

    fn attesting_keys(&mut self) -> Result<Vec<AttestingKey>, Fault> {
        self.list_attesting_keys()
    }

    fn create_attesting_key(&mut self, name: &str, spec: AttestingKeySpec) -> Result<AttestingKey, Fault> {
        self.make_attesting_key(name, spec)
    }

    fn adopt_attesting_key(
        &mut self,
        _name: &str,
        _source: AttestingKeySource,
        _clients_keys: &[Vec<u8>],
    ) -> Result<AttestingKey, Fault> {
        // Such a key could have signed anything before it came, and no attribute would tell.
        Err(Fault::Missing { what: "way to take over attesting keys that were made elsewhere" })
    }

    fn attest_key(
        &mut self,
        key: &KeyBlob,
        attesting_key: AttestingKeyChoice<'_>,
        mechanism: &KeyMechanism,
        nonce: &[u8],
    ) -> Result<Attestation, Fault> {
        match mechanism {
            KeyMechanism::PkixEvidence(request) => self.evidence_of_key(key, attesting_key, request, nonce),
            KeyMechanism::TpmCertify | KeyMechanism::TpmCertifyX509(_) => Err(missing(mechanism.name())),
        }
    }

    fn attest_platform(
        &mut self,
        attesting_key: AttestingKeyChoice<'_>,
        mechanism: &PlatformMechanism,
        nonce: &[u8],
    ) -> Result<Attestation, Fault> {
        match mechanism {
            PlatformMechanism::PkixEvidence(request) => self.evidence_of_platform(attesting_key, request, nonce),
            PlatformMechanism::TpmQuote { .. } => Err(missing(mechanism.name())),
        }
    }

    fn endorsement(&mut self, attesting_key: &str) -> Result<Endorsement, Fault> {
        self.endorse(attesting_key)
    }

    fn activation_parameters(&mut self, _key: &KeyBlob) -> Result<ActivationParameters, Fault> {
        Err(NO_ENDORSEMENT_KEY)
    }

    fn activate(&mut self, _activation: Activation<'_>) -> Result<Zeroizing<Vec<u8>>, Fault> {
        Err(NO_ENDORSEMENT_KEY)
    }

    fn install_certificates(&mut self, attesting_key: &str, certificates: &[FamilyCertificates]) -> Result<(), Fault> {
        self.keep_certificates(attesting_key, certificates)
    }
}

const fn missing(mechanism: super::MechanismName) -> Fault {
    Fault::MechanismMissing { mechanism, of: "by PKCS #11 modules" }
}
