//! What the service asks of hardware that makes, uses and attests keys.
//!
//! The traits here are narrow and know nothing of a particular module; [`tpm::TpmProvider`] implements
//! them on a TPM 2.0, [`pkcs11::Pkcs11Provider`] on a token behind PKCS #11. Calls block: the service runs them on
//! one worker thread. A provider keeps what it must remember between runs in a [`StateStore`] and hands out keys as
//! opaque [`KeyBlob`]s, which the caller stores.

mod attesting_key;
mod chain;
mod fault;
mod key;
mod mechanism;
pub mod pkcs11;
mod state;
pub mod tpm;
mod unfit;

pub use attesting_key::{
    AttestingKey, AttestingKeyChoice, AttestingKeySource, AttestingKeySpec, Endorsement, Family, FamilyCertificates,
};
pub use fault::{Fault, FaultClass, Template};
pub use key::{EncryptionScheme, Hash, KeyBlob, KeyKind, KeyPurpose, KeySpec, KeyUid, PublicKey, SignatureScheme};
pub use mechanism::{
    ActivatedKey, Activation, ActivationParameters, AttestationSubject, CertificateTemplate, ClaimSelection,
    EvidenceRequest, KeyMechanism, KeyUsage, Mechanism, MechanismName, PlatformMechanism, REQUEST_OCTETS,
    REQUESTED_CLAIMS, RequestFault, RequestForm, Stability, SubjectName, TABLE as MECHANISMS,
};
pub use state::{MemoryStore, StateStore, StoreFault};
pub use unfit::Unfit;

pub use vouchsafe_evidence::statement::FormatId;

use vouchsafe_evidence::oid::Oid;
use zeroize::Zeroizing;

/// Makes and uses keys.
pub trait KeyProvider: Send {
    /// Makes a key inside the module. A module that keeps keys keeps this one under `uid`, which the caller has noted
    /// down before, so that [`KeyProvider::abandon`] finds what is left if the agent dies before it has the blob.
    ///
    /// # Errors
    /// [`Fault`], of class [`FaultClass::NotSupported`] when the module has no such algorithm.
    fn generate(&mut self, uid: &KeyUid, spec: KeySpec) -> Result<KeyBlob, Fault>;

    /// The public half of a key.
    ///
    /// # Errors
    /// [`Fault::BlobInvalid`] when `key` is not a blob of this provider.
    fn export_public(&mut self, key: &KeyBlob) -> Result<PublicKey, Fault>;

    /// Signs a digest.
    ///
    /// # Errors
    /// [`Fault::DigestLength`], [`Fault::SchemeMismatch`], [`Fault::PurposeMismatch`] for an attesting key,
    /// [`Fault::KeyLost`] when the module was cleared.
    fn sign_hash(&mut self, key: &KeyBlob, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, Fault>;

    /// Decrypts a short message that was encrypted to a key of [`KeyPurpose::Decrypt`]. `label` is OAEP's and empty for
    /// other schemes.
    ///
    /// # Errors
    /// [`Fault::PurposeMismatch`], [`Fault::CiphertextInvalid`] for a message that was not encrypted so,
    /// [`Fault::Missing`] for a label that the module cannot take, [`Fault::KeyLost`].
    fn decrypt(
        &mut self,
        key: &KeyBlob,
        scheme: EncryptionScheme,
        ciphertext: &[u8],
        label: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Fault>;

    /// Refuses a scheme by which the module does not decrypt with this key: tokens name the mechanism and take only some of its
    /// parameters. A module that has told it otherwise need not be asked.
    ///
    /// # Errors
    /// [`Fault::Missing`]; [`Fault`] when the module cannot be asked.
    fn check_decrypts(&mut self, _key: &KeyBlob, _scheme: EncryptionScheme) -> Result<(), Fault> {
        Ok(())
    }

    /// Random octets from the module.
    ///
    /// # Errors
    /// [`Fault`].
    fn random(&mut self, octets: u16) -> Result<Zeroizing<Vec<u8>>, Fault>;

    /// Whether the module makes keys of this kind.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be asked.
    fn makes(&mut self, kind: KeyKind) -> Result<bool, Fault>;

    /// Makes the module forget a key. A module that keeps nothing but blobs has nothing to do.
    ///
    /// # Errors
    /// [`Fault`] when the module refuses.
    fn destroy(&mut self, key: &KeyBlob) -> Result<(), Fault>;

    /// Makes the module forget whatever a creation or a destruction of that key has left in it when it was cut short.
    /// Idempotent: it is no fault that nothing is left.
    ///
    /// # Errors
    /// [`Fault`] when the module cannot be asked or refuses.
    fn abandon(&mut self, uid: &KeyUid) -> Result<(), Fault>;

    /// Does what may be done between two requests: the answer to the last one has left. Whoever asks next waits for it.
    fn answered(&mut self) {}
}

/// An attestation, ready to be put into an AttestationBundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// Its format.
    pub format: FormatId,
    /// The statement's type.
    pub statement_oid: Oid,
    /// DER of the statement (the `stmt` of an AttestationStatement).
    pub statement: Vec<u8>,
    /// DER certificates for the bundle: the attesting key's first, then its issuers. May be empty.
    pub certificates: Vec<Vec<u8>>,
    /// The certificate that the module made, DER, where the mechanism makes one.
    pub certificate: Option<Vec<u8>>,
}

/// Attests keys and the platform, and takes part in the enrolment of attesting keys.
pub trait Attester: Send {
    /// What this module can attest: in general, or of this key. Rows of [`MECHANISMS`], in the table's order.
    ///
    /// # Errors
    /// [`Fault`].
    fn mechanisms(&mut self, key: Option<&KeyBlob>) -> Result<Vec<Mechanism>, Fault>;

    /// What a client's own key of [`KeyPurpose::Attest`] is able to sign; nothing for a key of another purpose.
    ///
    /// # Errors
    /// [`Fault::BlobInvalid`] when `key` is not a blob of this provider.
    fn families(&mut self, key: &KeyBlob) -> Result<Vec<Family>, Fault>;

    /// Whether the administrator's attesting key of that name (empty: the default) is a pseudonym. A name that there is not
    /// is none.
    fn is_pseudonym(&self, attesting_key: &str) -> bool;

    /// The administrator's attesting keys, the default first.
    ///
    /// # Errors
    /// [`Fault`].
    fn attesting_keys(&mut self) -> Result<Vec<AttestingKey>, Fault>;

    /// Makes another attesting key for the administrator.
    ///
    /// # Errors
    /// [`Fault::AttestingKeyExists`], or [`Fault`] of the module.
    fn create_attesting_key(&mut self, name: &str, spec: AttestingKeySpec) -> Result<AttestingKey, Fault>;

    /// Takes an attesting key over for the administrator that was made elsewhere. `clients_keys` are the DER
    /// SubjectPublicKeyInfo of every key of a client in this module: none of them is taken.
    ///
    /// # Errors
    /// [`Fault::AttestingKeyExists`], [`Fault::AttestingKeyUnfit`] for a key that may not attest for the machine,
    /// [`Fault::Missing`] for a module that takes none.
    fn adopt_attesting_key(
        &mut self,
        name: &str,
        source: AttestingKeySource,
        clients_keys: &[Vec<u8>],
    ) -> Result<AttestingKey, Fault>;

    /// Attests a key. `nonce` is 16 to 64 octets, or empty for none.
    ///
    /// # Errors
    /// [`Fault::MechanismMissing`], [`Fault::NonceLength`], [`Fault::AttestingKeyUnknown`], [`Fault::Template`] for a
    /// certificate that no verifier would accept, [`Fault::KeyLost`].
    fn attest_key(
        &mut self,
        key: &KeyBlob,
        attesting_key: AttestingKeyChoice<'_>,
        mechanism: &KeyMechanism,
        nonce: &[u8],
    ) -> Result<Attestation, Fault>;

    /// Attests the platform. `nonce` is 16 to 64 octets, or empty for none.
    ///
    /// # Errors
    /// [`Fault::MechanismMissing`], [`Fault::NonceLength`], [`Fault::AttestingKeyUnknown`], [`Fault::PcrSelection`].
    fn attest_platform(
        &mut self,
        attesting_key: AttestingKeyChoice<'_>,
        mechanism: &PlatformMechanism,
        nonce: &[u8],
    ) -> Result<Attestation, Fault>;

    /// What an authority needs to certify the attesting key `attesting_key` (empty: the default).
    ///
    /// # Errors
    /// [`Fault::AttestingKeyUnknown`], [`Fault::NoEndorsementCertificate`].
    fn endorsement(&mut self, attesting_key: &str) -> Result<Endorsement, Fault>;

    /// What a credential for a key is made of.
    ///
    /// # Errors
    /// [`Fault::Missing`] where the module has no endorsement key of the default kind, [`Fault::BlobInvalid`].
    fn activation_parameters(&mut self, key: &KeyBlob) -> Result<ActivationParameters, Fault>;

    /// Opens a credential. Every endorsement key whose sizes fit is tried.
    ///
    /// # Errors
    /// [`Fault::ActivationRefused`], the same whatever the module disliked, and never a sign of a dead
    /// module; [`Fault::AttestingKeyUnknown`]; transport faults.
    fn activate(&mut self, activation: Activation<'_>) -> Result<Zeroizing<Vec<u8>>, Fault>;

    /// Keeps the certificates of an attesting key (empty name: the default), replacing those of the family.
    ///
    /// # Errors
    /// [`Fault::AttestingKeyUnknown`], [`Fault::CertificateMismatch`] when the first certificate's key is
    /// not the attesting key.
    fn install_certificates(&mut self, attesting_key: &str, certificates: &[FamilyCertificates]) -> Result<(), Fault>;
}
