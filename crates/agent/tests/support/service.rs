//! What the tests of the service share: an agent on a socket of its own, and a provider without hardware
//! that can be held up, for what concerns the service alone.

#![allow(dead_code)]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use vouchsafe_agent::Agent;
use vouchsafe_agent::client::{Client, Endpoint};
use vouchsafe_agent::config::{CertifyX509Config, Config, Limits};
use vouchsafe_agent::provider::{
    Activation, ActivationParameters, Attestation, Attester, AttestingKey, AttestingKeyChoice, AttestingKeySource,
    AttestingKeySpec, EncryptionScheme, Endorsement, Family, FamilyCertificates, Fault, FormatId, KeyBlob, KeyKind,
    KeyMechanism, KeyProvider, KeySpec, KeyUid, MECHANISMS, Mechanism, PlatformMechanism, PublicKey, SignatureScheme,
    Unfit,
};
use vouchsafe_agent::provider_identity::{ProviderIdentity, ProviderKind};
use vouchsafe_agent::service::ProviderSlot;
use vouchsafe_agent::wire::header::{AuthType, HEADER_OCTETS, RequestHeader, ResponseHeader};
use vouchsafe_agent::wire::message::{
    Algorithm, AlgorithmVariant, AsymmetricSignature, AsymmetricSignatureVariant, EccKeyPair, KeyAttributes, KeyPolicy,
    KeyType, KeyTypeVariant, SignHash, SignHashVariant, SignatureHash, UsageFlags, ecc_family, hash,
};
use vouchsafe_agent::wire::{ProviderId, Status};
use vouchsafe_evidence::oid;

/// What a test holds of the provider.
#[derive(Debug, Default)]
pub struct Control {
    held: Mutex<bool>,
    released: Condvar,
    /// Calls of `generate` that have begun.
    pub begun: AtomicUsize,
    /// Keys and platforms that were attested.
    pub attested: AtomicUsize,
    /// Public keys that were asked for.
    pub exported: AtomicUsize,
    /// Times that the provider was opened.
    pub opened: AtomicUsize,
    /// Whether opening fails.
    pub absent: AtomicBool,
    /// Blobs that were destroyed.
    pub destroyed: Mutex<Vec<Vec<u8>>>,
    /// What the module keeps: ids of keys.
    pub objects: Mutex<BTreeSet<KeyUid>>,
    /// Whether making, destroying and abandoning fail, once they have begun.
    pub failing: AtomicBool,
    /// Ids of keys that were abandoned.
    pub abandoned: Mutex<Vec<KeyUid>>,
}

impl Control {
    pub fn hold(&self) {
        *self.held.lock().unwrap() = true;
    }

    pub fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.released.notify_all();
    }

    fn fail(&self) -> Result<(), Fault> {
        if self.failing.load(Ordering::SeqCst) {
            let source = std::io::ErrorKind::BrokenPipe.into();
            return Err(Fault::Connection { address: "nowhere".to_owned(), source });
        }
        Ok(())
    }

    fn pass(&self) {
        let mut held = self.held.lock().unwrap();
        while *held {
            held = self.released.wait(held).unwrap();
        }
    }

    pub fn wait_for_begun(&self, count: usize) {
        for _ in 0..5000 {
            if self.begun.load(Ordering::SeqCst) >= count {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("no work begun");
    }
}

/// A provider whose keys are numbers and whose signatures are digests. It panics over a digest of 0xFF.
struct Numbers {
    control: Arc<Control>,
    made: u32,
}

impl KeyProvider for Numbers {
    fn generate(&mut self, uid: &KeyUid, spec: KeySpec) -> Result<KeyBlob, Fault> {
        let number = self.control.begun.fetch_add(1, Ordering::SeqCst);
        self.control.pass();
        self.made += 1;
        self.control.objects.lock().unwrap().insert(*uid);
        self.control.fail()?;
        let text = format!("{:?}/{number}/{uid}", spec.purpose);
        Ok(KeyBlob::from_bytes(text.into_bytes()))
    }

    fn export_public(&mut self, key: &KeyBlob) -> Result<PublicKey, Fault> {
        self.control.exported.fetch_add(1, Ordering::SeqCst);
        let purpose = if key.as_bytes().starts_with(b"Sign") {
            vouchsafe_agent::provider::KeyPurpose::Sign
        } else {
            vouchsafe_agent::provider::KeyPurpose::Attest
        };
        Ok(PublicKey {
            kind: KeyKind::EcP256,
            purpose,
            spki: key.as_bytes().to_vec(),
            subject_public_key: key.as_bytes().to_vec(),
        })
    }

    fn sign_hash(&mut self, _: &KeyBlob, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, Fault> {
        assert_ne!(digest, [0xFF; 32], "a defect, on purpose");
        let expected = scheme.hash().digest_len();
        if digest.len() != expected {
            return Err(Fault::DigestLength { expected, found: digest.len() });
        }
        Ok(digest.to_vec())
    }

    fn decrypt(
        &mut self,
        _: &KeyBlob,
        _: EncryptionScheme,
        _: &[u8],
        _: &[u8],
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, Fault> {
        Err(Fault::CiphertextInvalid)
    }

    fn random(&mut self, octets: u16) -> Result<zeroize::Zeroizing<Vec<u8>>, Fault> {
        Ok(vec![4; usize::from(octets)].into())
    }

    fn makes(&mut self, kind: KeyKind) -> Result<bool, Fault> {
        Ok(kind == KeyKind::EcP256)
    }

    fn destroy(&mut self, key: &KeyBlob) -> Result<(), Fault> {
        self.control.fail()?;
        self.control.destroyed.lock().unwrap().push(key.as_bytes().to_vec());
        let text = String::from_utf8(key.as_bytes().to_vec()).unwrap();
        self.control.objects.lock().unwrap().retain(|uid| !text.ends_with(&uid.to_string()));
        Ok(())
    }

    fn abandon(&mut self, uid: &KeyUid) -> Result<(), Fault> {
        self.control.fail()?;
        self.control.objects.lock().unwrap().remove(uid);
        self.control.abandoned.lock().unwrap().push(*uid);
        Ok(())
    }
}

impl Attester for Numbers {
    fn mechanisms(&mut self, _: Option<&KeyBlob>) -> Result<Vec<Mechanism>, Fault> {
        // Every one there is: whether the service offers it is the service's own business.
        Ok(MECHANISMS.to_vec())
    }

    fn families(&mut self, _: &KeyBlob) -> Result<Vec<Family>, Fault> {
        Ok(vec![Family::Attest])
    }

    fn is_pseudonym(&self, _: &str) -> bool {
        false
    }

    fn attesting_keys(&mut self) -> Result<Vec<AttestingKey>, Fault> {
        Ok(vec![AttestingKey {
            name: "machine".to_owned(),
            is_default: true,
            kind: KeyKind::EcP256,
            public: vec![1],
            spki: vec![2],
            families: vec![Family::Attest],
            certificates: Vec::new(),
            made_here: true,
            is_pseudonym: false,
        }])
    }

    fn create_attesting_key(&mut self, name: &str, _: AttestingKeySpec) -> Result<AttestingKey, Fault> {
        Err(Fault::AttestingKeyExists { name: name.to_owned() })
    }

    fn adopt_attesting_key(
        &mut self,
        _: &str,
        _: AttestingKeySource,
        clients_keys: &[Vec<u8>],
    ) -> Result<AttestingKey, Fault> {
        // What the service hands over is what a test wants to see.
        Err(Fault::AttestingKeyUnfit(if clients_keys.is_empty() { Unfit::Missing } else { Unfit::ClientKey }))
    }

    fn attest_key(
        &mut self,
        _: &KeyBlob,
        attesting_key: AttestingKeyChoice<'_>,
        _: &KeyMechanism,
        nonce: &[u8],
    ) -> Result<Attestation, Fault> {
        self.control.attested.fetch_add(1, Ordering::SeqCst);
        let statement = match attesting_key {
            AttestingKeyChoice::Default => b"default".to_vec(),
            AttestingKeyChoice::Named(name) => name.as_bytes().to_vec(),
            AttestingKeyChoice::Own { key, .. } => key.as_bytes().to_vec(),
        };
        Ok(attestation(FormatId::TpmCertify, [statement, nonce.to_vec()].concat()))
    }

    fn attest_platform(
        &mut self,
        _: AttestingKeyChoice<'_>,
        _: &PlatformMechanism,
        nonce: &[u8],
    ) -> Result<Attestation, Fault> {
        Ok(attestation(FormatId::TpmQuote, nonce.to_vec()))
    }

    fn endorsement(&mut self, name: &str) -> Result<Endorsement, Fault> {
        if name != "token" {
            return Err(Fault::NoEndorsementCertificate);
        }
        // As a module without endorsement keys has it: Evidence of the attesting key by itself.
        Ok(Endorsement {
            certificates: Vec::new(),
            keys: Vec::new(),
            chain: Vec::new(),
            attesting_key: name.to_owned(),
            spki: vec![2],
            public: Vec::new(),
            name: Vec::new(),
            attestation: FormatId::from_oid(oid::STATEMENT_PKIX_EVIDENCE).map(|format| Attestation {
                statement_oid: oid::STATEMENT_PKIX_EVIDENCE,
                ..attestation(format, vec![1])
            }),
        })
    }

    fn activation_parameters(&mut self, _: &KeyBlob) -> Result<ActivationParameters, Fault> {
        Err(Fault::NoEndorsementCertificate)
    }

    fn activate(&mut self, _: Activation<'_>) -> Result<zeroize::Zeroizing<Vec<u8>>, Fault> {
        Err(Fault::ActivationRefused)
    }

    fn install_certificates(&mut self, _: &str, _: &[FamilyCertificates]) -> Result<(), Fault> {
        Err(Fault::CertificateMismatch)
    }
}

fn attestation(format: FormatId, statement: Vec<u8>) -> Attestation {
    Attestation {
        format,
        statement_oid: oid::STATEMENT_TPM_CERTIFY,
        statement,
        certificates: Vec::new(),
        certificate: None,
    }
}

/// An agent on a socket of its own, stopped when dropped.
pub struct Bench {
    pub agent: Option<Agent>,
    pub control: Arc<Control>,
    pub directory: TempDir,
}

impl Bench {
    pub fn start() -> Bench {
        Bench::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Bench {
        Bench::of(Arc::default(), |config| config.limits = limits)
    }

    pub fn of(control: Arc<Control>, change: impl FnOnce(&mut Config)) -> Bench {
        Bench::of_modules(vec![("tpm", ProviderKind::Tpm, control)], change)
    }

    /// With these providers, in this order; the first one's control is the bench's.
    pub fn of_modules(modules: Vec<(&str, ProviderKind, Arc<Control>)>, change: impl FnOnce(&mut Config)) -> Bench {
        Bench::in_directory(tempfile::tempdir().unwrap(), modules, change)
    }

    /// The same with a state directory that may have been used before.
    pub fn in_directory(
        directory: TempDir,
        modules: Vec<(&str, ProviderKind, Arc<Control>)>,
        change: impl FnOnce(&mut Config),
    ) -> Bench {
        let mut config = Config::with_defaults();
        config.state = directory.path().join("state");
        config.socket.path = directory.path().join("s");
        change(&mut config);
        let control = Arc::clone(&modules[0].2);
        let named: Vec<_> = modules.iter().map(|(name, kind, _)| (name.parse().unwrap(), *kind)).collect();
        let identities = ProviderIdentity::assign(&named);
        let slots = identities.into_iter().zip(modules).map(|(identity, (_, _, control))| slot(identity, control));
        let agent = Agent::start_with(config, slots.collect()).unwrap();
        Bench { agent: Some(agent), control, directory }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    pub fn client(&self) -> Client {
        client(&self.socket())
    }

    pub fn raw(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    pub fn assert_alive(&self) {
        assert_eq!(self.client().ping().unwrap(), (1, 0));
    }
}

fn slot(identity: ProviderIdentity, control: Arc<Control>) -> ProviderSlot {
    ProviderSlot::new(identity, "machine", CertifyX509Config::default(), move |_| {
        control.opened.fetch_add(1, Ordering::SeqCst);
        if control.absent.load(Ordering::SeqCst) {
            return Err(Fault::Connection {
                address: "nowhere".to_owned(),
                source: std::io::ErrorKind::NotFound.into(),
            });
        }
        Ok(Numbers { control: Arc::clone(&control), made: 0 })
    })
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Work that a failed test holds up must not hold up its end.
        self.control.release();
    }
}

pub fn client(socket: &Path) -> Client {
    Client::connect(&Endpoint::at(socket)).unwrap()
}

/// A request without authentication.
pub fn request(provider: ProviderId, opcode: u32, body: &[u8]) -> Vec<u8> {
    let header = RequestHeader { provider, auth_type: AuthType::None, body_octets: body.len(), opcode };
    [header.to_octets().unwrap().as_slice(), body].concat()
}

/// A request that authenticates as this user.
pub fn authenticated(provider: ProviderId, opcode: u32, body: &[u8], uid: u32) -> Vec<u8> {
    let auth_type = AuthType::UnixPeerCredentials;
    let header = RequestHeader { provider, auth_type, body_octets: body.len(), opcode };
    [header.to_octets().unwrap().as_slice(), body, &uid.to_le_bytes()].concat()
}

/// A request under a name that its sender gives itself.
pub fn named(provider: ProviderId, opcode: u32, body: &[u8], name: &str) -> Vec<u8> {
    let auth_type = AuthType::Direct { octets: name.len().try_into().unwrap() };
    let header = RequestHeader { provider, auth_type, body_octets: body.len(), opcode };
    [header.to_octets().unwrap().as_slice(), body, name.as_bytes()].concat()
}

/// The next response.
pub fn response(stream: &mut UnixStream) -> (ResponseHeader, Vec<u8>) {
    let mut octets = [0; HEADER_OCTETS];
    stream.read_exact(&mut octets).unwrap();
    let header = ResponseHeader::parse(&octets).unwrap();
    let mut body = vec![0; header.body_octets];
    stream.read_exact(&mut body).unwrap();
    (header, body)
}

/// The status of one request.
pub fn status(stream: &mut UnixStream, request: &[u8]) -> Status {
    stream.write_all(request).unwrap();
    response(stream).0.status
}

/// Whether the service has closed the connection.
pub fn is_closed(stream: &mut UnixStream) -> bool {
    stream.read(&mut [0; 1]).unwrap() == 0
}

pub fn ecdsa(hash_number: i32) -> AsymmetricSignature {
    let hash_alg = SignHash { variant: Some(SignHashVariant::Specific(hash_number)) };
    let parameters = SignatureHash { hash_alg: Some(hash_alg) };
    AsymmetricSignature { variant: Some(AsymmetricSignatureVariant::Ecdsa(parameters)) }
}

/// A P-256 key that signs digests by ECDSA with SHA-256.
pub fn p256() -> KeyAttributes {
    attributes(KeyTypeVariant::EccKeyPair(EccKeyPair { curve_family: ecc_family::SECP_R1 }), 256, ecdsa(hash::SHA_256))
}

/// A key of this type that signs digests by this algorithm.
pub fn attributes(variant: KeyTypeVariant, key_bits: u32, algorithm: AsymmetricSignature) -> KeyAttributes {
    KeyAttributes {
        key_type: Some(KeyType { variant: Some(variant) }),
        key_bits,
        key_policy: Some(KeyPolicy {
            key_usage_flags: Some(UsageFlags { sign_hash: true, ..UsageFlags::default() }),
            key_algorithm: Some(Algorithm { variant: Some(AlgorithmVariant::AsymmetricSignature(algorithm)) }),
        }),
    }
}
