//! The provider on a TPM 2.0.
//!
//! At start it makes sure of four things, making what is missing: a persistent storage root key, to which sessions are
//! salted; one secret of 32 random octets, sealed under it, from which every authValue derives; endorsement keys that
//! match the certificates in the TPM's NV memory; and the attesting keys. Keys of users are blobs under the storage
//! root key and are loaded when they are used.
//!
//! A lost connection or a reset of the TPM heals itself. After TPM2_Clear the storage root key is another one: stored
//! keys are lost for good ([`Fault::KeyLost`]), while attesting keys of the endorsement hierarchy come back with the same Name.

mod attest;
mod attesting;
mod blob;
mod certificate;
mod endorsement;
mod keys;
mod kind;
mod loaded;
mod root;

use std::thread;
use std::time::Duration;

use tracing::{info, warn};
use zeroize::Zeroizing;

use self::attesting::AttestationKey;
pub use self::attesting::read_wrapped_attesting_key;
use self::endorsement::EndorsementKeys;
use self::loaded::{LoadedKeys, Tag};
use self::root::Root;
use super::mechanism::check_nonce;
use super::{
    Activation, ActivationParameters, Attestation, Attester, AttestingKey, AttestingKeyChoice, AttestingKeySource,
    AttestingKeySpec, EncryptionScheme, Endorsement, Family, FamilyCertificates, Fault, KeyBlob, KeyKind, KeyMechanism,
    KeyProvider, KeySpec, KeyUid, Mechanism, PlatformMechanism, PublicKey, SignatureScheme, StateStore,
};
use crate::tpm::{Address, Connection, ResponseCode, Tpm, Transport};

/// How often a lost connection is opened anew before the caller hears of it.
const REOPENINGS: u32 = 10;
/// First pause between two attempts; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What the administrator decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name of the attesting key that attests when nobody chooses; made at start if it is not there.
    pub default_attesting_key: String,
    /// Its kind, when it is made.
    pub attesting_key_kind: KeyKind,
}

impl Default for Settings {
    fn default() -> Self {
        Self { default_attesting_key: "default".to_owned(), attesting_key_kind: KeyKind::EcP256 }
    }
}

/// What was found or made at start; anew after the connection was lost.
struct Prepared {
    root: Root,
    has_certify_x509: bool,
    endorsement: EndorsementKeys,
    attesting: Vec<AttestationKey>,
}

/// Keys and attestation on a TPM 2.0.
pub struct TpmProvider {
    tpm: Tpm,
    store: Box<dyn StateStore>,
    settings: Settings,
    prepared: Prepared,
    /// Whether `prepared` is of the connection that is open.
    is_prepared: bool,
    loaded: LoadedKeys,
    /// Kinds of keys that the TPM was asked about, and whether it makes them.
    kinds: Vec<(KeyKind, bool)>,
}

impl TpmProvider {
    /// Opens the TPM at `address` and prepares it.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn open(address: &Address, settings: Settings, store: Box<dyn StateStore>) -> Result<Self, Fault> {
        Self::over(Box::new(Connection::new(address.clone())), settings, store)
    }

    /// Prepares the TPM behind `transport`.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn over(transport: Box<dyn Transport>, settings: Settings, store: Box<dyn StateStore>) -> Result<Self, Fault> {
        let mut tpm = Tpm::over(transport)?;
        let prepared = prepare(&mut tpm, store.as_ref(), &settings)?;
        Ok(Self { tpm, store, settings, prepared, is_prepared: true, loaded: LoadedKeys::default(), kinds: Vec::new() })
    }

    /// Runs `operation`, once more if the TPM turns out to have been reset, cleared, disconnected or locked since.
    fn run<R>(&mut self, mut operation: impl FnMut(&mut Self) -> Result<R, Fault>) -> Result<R, Fault> {
        if !self.is_prepared || !self.tpm.is_ready() {
            self.recover()?;
        }
        // Each remedy once: a TPM that comes back after a power failure may then be locked.
        let (mut may_recover, mut may_unlock) = (true, true);
        loop {
            match operation(self) {
                Err(Fault::Tpm { command, code: ResponseCode::LOCKOUT }) if may_unlock => {
                    may_unlock = false;
                    self.unlock(command)?;
                }
                Err(fault) if may_recover && is_recoverable(&fault) => {
                    may_recover = false;
                    warn!(%fault, "the TPM lost its state; preparing it again");
                    self.recover()?;
                }
                other => return other,
            }
        }
    }

    /// Resets the dictionary-attack lockout, where the owner left its authorization empty. Attesting keys are subject to it,
    /// and a host that loses power while one is in use counts as a wrong authValue.
    fn unlock(&mut self, command: &'static str) -> Result<(), Fault> {
        warn!(command, "the TPM is locked against dictionary attacks; resetting the lockout");
        let locked = Fault::Tpm { command, code: ResponseCode::LOCKOUT };
        self.tpm.dictionary_attack_lock_reset().map_err(|fault| match fault {
            Fault::Tpm { .. } => locked,
            other => other,
        })
    }

    fn recover(&mut self) -> Result<(), Fault> {
        self.loaded.clear();
        let mut pause = FIRST_PAUSE;
        for _ in 1..REOPENINGS {
            match self.reopen() {
                Err(Fault::Connection { .. }) => thread::sleep(pause),
                other => return other,
            }
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        self.reopen()
    }

    fn reopen(&mut self) -> Result<(), Fault> {
        // A TPM that fails in the middle of this must not be used half prepared by the next request.
        self.is_prepared = false;
        self.tpm.forget_salt_key();
        // It may be another TPM.
        self.kinds.clear();
        self.tpm.reopen()?;
        self.prepared = prepare(&mut self.tpm, self.store.as_ref(), &self.settings)?;
        self.is_prepared = true;
        info!("the TPM is ready again");
        Ok(())
    }
}

fn prepare(tpm: &mut Tpm, store: &dyn StateStore, settings: &Settings) -> Result<Prepared, Fault> {
    let root = Root::prepare(tpm, store)?;
    let has_certify_x509 = tpm.has_certify_x509()?;
    let endorsement = EndorsementKeys::find(tpm)?;
    let attesting = attesting::prepare(tpm, store, &root, has_certify_x509, settings)?;
    Ok(Prepared { root, has_certify_x509, endorsement, attesting })
}

/// Whether a fault can come from a reset, a clear or a lost connection, so that trying again on a prepared TPM may help.
/// Answers that are not authentic are no such faults: the caller hears of them.
fn is_recoverable(fault: &Fault) -> bool {
    match fault {
        Fault::Connection { .. } => true,
        Fault::Tpm { command: "TPM2_ContextLoad", .. } => true,
        Fault::Tpm { code, .. } => {
            code.is_stale_handle() || matches!(*code, ResponseCode::SESSION_MEMORY | ResponseCode::INITIALIZE)
        }
        _ => false,
    }
}

impl KeyProvider for TpmProvider {
    fn generate(&mut self, _: &KeyUid, spec: KeySpec) -> Result<KeyBlob, Fault> {
        self.run(|this| this.generate_key(spec))
    }

    fn export_public(&mut self, key: &KeyBlob) -> Result<PublicKey, Fault> {
        // The blob has it; the TPM is not asked.
        keys::public_of(key)
    }

    fn sign_hash(&mut self, key: &KeyBlob, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, Fault> {
        self.run(|this| this.sign_digest(key, scheme, digest))
    }

    fn decrypt(
        &mut self,
        key: &KeyBlob,
        scheme: EncryptionScheme,
        ciphertext: &[u8],
        label: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        self.run(|this| this.decrypt_message(key, scheme, ciphertext, label))
    }

    fn random(&mut self, octets: u16) -> Result<Zeroizing<Vec<u8>>, Fault> {
        self.run(|this| this.tpm.random(octets))
    }

    fn makes(&mut self, kind: KeyKind) -> Result<bool, Fault> {
        self.run(|this| this.makes_kind(kind))
    }

    fn destroy(&mut self, key: &KeyBlob) -> Result<(), Fault> {
        // The TPM keeps nothing of a key but what is loaded at the moment.
        match self.loaded.remove(Tag::of(key)) {
            Some(loaded) if self.tpm.is_ready() => self.tpm.flush(&loaded.object),
            Some(_) | None => Ok(()),
        }
    }

    fn abandon(&mut self, _: &KeyUid) -> Result<(), Fault> {
        // A key that nobody has the blob of is in no TPM.
        Ok(())
    }

    fn answered(&mut self) {
        self.make_room_ahead();
    }
}

impl Attester for TpmProvider {
    fn mechanisms(&mut self, key: Option<&KeyBlob>) -> Result<Vec<Mechanism>, Fault> {
        self.offered_mechanisms(key)
    }

    fn families(&mut self, key: &KeyBlob) -> Result<Vec<Family>, Fault> {
        // The blob says it; the TPM is not asked.
        attest::families_of(key)
    }

    fn is_pseudonym(&self, attesting_key: &str) -> bool {
        self.attesting_key(attesting_key).is_ok_and(AttestationKey::is_pseudonym)
    }

    fn attesting_keys(&mut self) -> Result<Vec<AttestingKey>, Fault> {
        self.list_attesting_keys()
    }

    fn create_attesting_key(&mut self, name: &str, spec: AttestingKeySpec) -> Result<AttestingKey, Fault> {
        self.run(|this| this.make_attesting_key(name, spec))
    }

    fn adopt_attesting_key(
        &mut self,
        name: &str,
        source: AttestingKeySource,
        clients_keys: &[Vec<u8>],
    ) -> Result<AttestingKey, Fault> {
        self.run(|this| this.import_attesting_key(name, &source, clients_keys))
    }

    fn attest_key(
        &mut self,
        key: &KeyBlob,
        attesting_key: AttestingKeyChoice<'_>,
        mechanism: &KeyMechanism,
        nonce: &[u8],
    ) -> Result<Attestation, Fault> {
        check_nonce(nonce)?;
        self.run(|this| this.attest_key_once(key, attesting_key, mechanism, nonce))
    }

    fn attest_platform(
        &mut self,
        attesting_key: AttestingKeyChoice<'_>,
        mechanism: &PlatformMechanism,
        nonce: &[u8],
    ) -> Result<Attestation, Fault> {
        check_nonce(nonce)?;
        self.run(|this| this.attest_platform_once(attesting_key, mechanism, nonce))
    }

    fn endorsement(&mut self, attesting_key: &str) -> Result<Endorsement, Fault> {
        let attesting_key = self.attesting_key(attesting_key)?;
        self.prepared.endorsement.describe(attesting_key)
    }

    fn activation_parameters(&mut self, key: &KeyBlob) -> Result<ActivationParameters, Fault> {
        self.prepared.endorsement.activation_parameters(key)
    }

    fn activate(&mut self, activation: Activation<'_>) -> Result<Zeroizing<Vec<u8>>, Fault> {
        self.run(|this| this.activate_once(activation))
    }

    fn install_certificates(&mut self, attesting_key: &str, certificates: &[FamilyCertificates]) -> Result<(), Fault> {
        let attesting_key = self.attesting_key(attesting_key)?;
        attesting::install_certificates(self.store.as_ref(), attesting_key, certificates)
    }
}
