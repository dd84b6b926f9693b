//! The other end of the socket: a blocking client.
//!
//! One connection, one request at a time. Keys belong to the Unix user who runs the client.
//!
//! ```no_run
//! use vouchsafe_agent::client::{Client, Endpoint};
//! use vouchsafe_agent::wire::message::{KeyMechanism, TpmCertify};
//!
//! # fn main() -> Result<(), vouchsafe_agent::client::ClientFault> {
//! let mut client = Client::connect(&Endpoint::from_environment()?)?;
//! let nonce = [0x2A; 32];
//! let attestation = client.attest_key("web", "", &nonce, KeyMechanism::TpmCertify(TpmCertify {}))?;
//! println!("{} octets of {}", attestation.statement.len(), attestation.format);
//! # Ok(())
//! # }
//! ```

mod crypto;
mod endpoint;
mod fault;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use prost::Message;

pub use endpoint::Endpoint;
pub use fault::ClientFault;

use crate::wire::header::{AuthType, HEADER_OCTETS, RequestHeader, ResponseHeader};
use crate::wire::message::{
    ActivateCredentialOperation, ActivateCredentialResult, AsymmetricSignature, AttestKeyOperation,
    AttestPlatformOperation, AttestationResult, AttestingKeyInfo, AuthenticatorInfo, CreateAttestingKeyOperation,
    CreateAttestingKeyResult, DescribeEndorsementOperation, DescribeEndorsementResult, DestroyKeyOperation,
    DestroyKeyResult, ErrorDetail, ExportPublicKeyOperation, ExportPublicKeyResult, FamilyChain, GenerateKeyOperation,
    GenerateKeyResult, ImportAttestingKeyOperation, ImportAttestingKeyResult, InstallCertificatesOperation,
    InstallCertificatesResult, KeyAttributes, KeyInfo, KeyMechanism, ListAttestingKeysOperation,
    ListAttestingKeysResult, ListAuthenticatorsOperation, ListAuthenticatorsResult, ListKeysOperation, ListKeysResult,
    ListMechanismsOperation, ListMechanismsResult, ListOpcodesOperation, ListOpcodesResult, ListProvidersOperation,
    ListProvidersResult, MechanismInfo, PingOperation, PingResult, PlatformMechanism, ProviderInfo, SignHashOperation,
    SignHashResult,
};
use crate::wire::{MAX_BODY_OCTETS, Opcode, ProviderId, Route, Status};

/// How long an answer may take: longer than the service's own limit, so that its refusal arrives.
const ANSWER_LIMIT: Duration = Duration::from_secs(150);

/// A connection to the service.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    provider: ProviderId,
    uid: u32,
}

impl Client {
    /// Connects. Operations on keys go to the TPM provider unless [`Client::with_provider`] says otherwise.
    ///
    /// # Errors
    ///
    /// [`ClientFault::Connect`] where no service listens.
    pub fn connect(endpoint: &Endpoint) -> Result<Client, ClientFault> {
        let path = endpoint.path();
        let connect = |source| ClientFault::Connect { path: path.to_owned(), source };
        let stream = UnixStream::connect(path).map_err(connect)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT)).map_err(connect)?;
        stream.set_write_timeout(Some(ANSWER_LIMIT)).map_err(connect)?;
        let uid = rustix::process::geteuid().as_raw();
        Ok(Client { stream, provider: ProviderId::TPM, uid })
    }

    /// The same connection, with another provider for operations on keys.
    #[must_use]
    pub fn with_provider(self, provider: ProviderId) -> Client {
        Client { provider, ..self }
    }

    /// The same connection, with the provider of that name in the service's configuration for operations on keys; without a
    /// name with the service's default.
    ///
    /// # Errors
    ///
    /// [`ClientFault::ProviderUnknown`] where there is none.
    pub fn with_provider_named(mut self, name: Option<&str>) -> Result<Client, ClientFault> {
        let is_asked = |provider: &ProviderInfo| match name {
            Some(name) => provider.name == name,
            None => provider.id != u32::from(ProviderId::CORE.0),
        };
        let providers = self.list_providers()?;
        let id = providers.iter().find(|provider| is_asked(provider)).and_then(|found| u8::try_from(found.id).ok());
        match id {
            Some(id) => Ok(self.with_provider(ProviderId(id))),
            None => Err(ClientFault::ProviderUnknown {
                name: name.unwrap_or_default().to_owned(),
                served: providers.into_iter().map(|provider| provider.name).collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// The provider for operations on keys.
    #[must_use]
    pub const fn provider(&self) -> ProviderId {
        self.provider
    }

    /// Asks whether the service is there; its wire protocol version.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn ping(&mut self) -> Result<(u32, u32), ClientFault> {
        let result: PingResult = self.call(Opcode::Ping, &PingOperation {})?;
        Ok((result.wire_protocol_version_maj, result.wire_protocol_version_min))
    }

    /// The providers: the default one first, Core last of those that Parsec's clients see, then further ones.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn list_providers(&mut self) -> Result<Vec<ProviderInfo>, ClientFault> {
        let result: ListProvidersResult = self.call(Opcode::ListProviders, &ListProvidersOperation {})?;
        Ok([result.providers, result.extension_providers].concat())
    }

    /// The authenticators.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn list_authenticators(&mut self) -> Result<Vec<AuthenticatorInfo>, ClientFault> {
        let result: ListAuthenticatorsResult =
            self.call(Opcode::ListAuthenticators, &ListAuthenticatorsOperation {})?;
        Ok(result.authenticators)
    }

    /// The numbers of a provider's operations.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn list_opcodes(&mut self, provider: ProviderId) -> Result<Vec<u32>, ClientFault> {
        let operation = ListOpcodesOperation { provider_id: provider.0.into() };
        let result: ListOpcodesResult = self.call(Opcode::ListOpcodes, &operation)?;
        Ok([result.opcodes, result.extension_opcodes].concat())
    }

    /// The caller's keys, without its attesting keys.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn list_keys(&mut self) -> Result<Vec<KeyInfo>, ClientFault> {
        let result: ListKeysResult = self.call(Opcode::ListKeys, &ListKeysOperation {})?;
        Ok([result.keys, result.extension_keys].concat())
    }

    /// Makes a key.
    ///
    /// # Errors
    ///
    /// [`ClientFault`]; [`Status::PsaErrorAlreadyExists`] if the name is taken.
    pub fn generate_key(&mut self, key_name: &str, attributes: KeyAttributes) -> Result<(), ClientFault> {
        let operation = GenerateKeyOperation { key_name: key_name.to_owned(), attributes: Some(attributes) };
        self.call(Opcode::PsaGenerateKey, &operation).map(|GenerateKeyResult {}| ())
    }

    /// Forgets a key.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn destroy_key(&mut self, key_name: &str) -> Result<(), ClientFault> {
        let operation = DestroyKeyOperation { key_name: key_name.to_owned() };
        self.call(Opcode::PsaDestroyKey, &operation).map(|DestroyKeyResult {}| ())
    }

    /// A key's public part: `04 | X | Y` for ECC (SEC 1), DER RSAPublicKey for RSA (RFC 8017).
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn export_public_key(&mut self, key_name: &str) -> Result<Vec<u8>, ClientFault> {
        let operation = ExportPublicKeyOperation { key_name: key_name.to_owned() };
        let result: ExportPublicKeyResult = self.call(Opcode::PsaExportPublicKey, &operation)?;
        Ok(result.data)
    }

    /// Signs a digest: `r | s` for ECDSA, as wide as the modulus for RSA.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn sign_hash(
        &mut self,
        key_name: &str,
        algorithm: AsymmetricSignature,
        digest: &[u8],
    ) -> Result<Vec<u8>, ClientFault> {
        let operation =
            SignHashOperation { key_name: key_name.to_owned(), alg: Some(algorithm), hash: digest.to_vec() };
        let result: SignHashResult = self.call(Opcode::PsaSignHash, &operation)?;
        Ok(result.signature)
    }

    /// Attests a key. An empty `attesting_key` is the administrator's default, an empty `nonce` none.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn attest_key(
        &mut self,
        key_name: &str,
        attesting_key: &str,
        nonce: &[u8],
        mechanism: KeyMechanism,
    ) -> Result<AttestationResult, ClientFault> {
        let operation = AttestKeyOperation {
            key_name: key_name.to_owned(),
            attesting_key: attesting_key.to_owned(),
            nonce: nonce.to_vec(),
            mechanism: Some(mechanism),
        };
        self.call(Opcode::AttestKey, &operation)
    }

    /// Attests the platform. An empty `attesting_key` is the administrator's default, an empty `nonce` none.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn attest_platform(
        &mut self,
        attesting_key: &str,
        nonce: &[u8],
        mechanism: PlatformMechanism,
    ) -> Result<AttestationResult, ClientFault> {
        let operation = AttestPlatformOperation {
            attesting_key: attesting_key.to_owned(),
            nonce: nonce.to_vec(),
            mechanism: Some(mechanism),
        };
        self.call(Opcode::AttestPlatform, &operation)
    }

    /// What the provider attests.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn list_mechanisms(&mut self) -> Result<Vec<MechanismInfo>, ClientFault> {
        let result: ListMechanismsResult = self.call(Opcode::ListMechanisms, &ListMechanismsOperation::default())?;
        Ok(result.mechanisms)
    }

    /// What attests one of the caller's keys.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn list_mechanisms_of_key(&mut self, key_name: &str) -> Result<Vec<MechanismInfo>, ClientFault> {
        let operation = ListMechanismsOperation { key_name: key_name.to_owned() };
        let result: ListMechanismsResult = self.call(Opcode::ListMechanisms, &operation)?;
        Ok(result.mechanisms)
    }

    /// The attesting keys that the caller may use.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn list_attesting_keys(&mut self) -> Result<Vec<AttestingKeyInfo>, ClientFault> {
        let result: ListAttestingKeysResult = self.call(Opcode::ListAttestingKeys, &ListAttestingKeysOperation {})?;
        Ok(result.keys)
    }

    /// What an authority needs to certify an attesting key of the machine (empty: the default).
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn describe_endorsement(&mut self, attesting_key: &str) -> Result<DescribeEndorsementResult, ClientFault> {
        let operation = DescribeEndorsementOperation { attesting_key: attesting_key.to_owned() };
        self.call(Opcode::DescribeEndorsement, &operation)
    }

    /// Answers an authority's challenge: TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, with size fields.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn activate_credential(
        &mut self,
        attesting_key: &str,
        credential: &[u8],
        secret: &[u8],
    ) -> Result<Vec<u8>, ClientFault> {
        let operation = ActivateCredentialOperation {
            attesting_key: attesting_key.to_owned(),
            credential: credential.to_vec(),
            secret: secret.to_vec(),
        };
        let result: ActivateCredentialResult = self.call(Opcode::ActivateCredential, &operation)?;
        Ok(result.credential)
    }

    /// Keeps the certificates of an attesting key (empty: the machine's default).
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn install_certificates(
        &mut self,
        attesting_key: &str,
        certificates: Vec<FamilyChain>,
    ) -> Result<(), ClientFault> {
        let operation = InstallCertificatesOperation { attesting_key: attesting_key.to_owned(), certificates };
        self.call(Opcode::InstallCertificates, &operation).map(|InstallCertificatesResult {}| ())
    }

    /// Makes an attesting key, of the caller's own or `for_machine`.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn create_attesting_key(
        &mut self,
        name: &str,
        algorithm: &str,
        for_machine: bool,
    ) -> Result<AttestingKeyInfo, ClientFault> {
        let operation = CreateAttestingKeyOperation {
            name: name.to_owned(),
            algorithm: algorithm.to_owned(),
            for_machine,
            pseudonym: false,
        };
        let result: CreateAttestingKeyResult = self.call(Opcode::CreateAttestingKey, &operation)?;
        result.key.ok_or(ClientFault::Empty)
    }

    /// Makes a pseudonymous attesting key for the machine.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn create_pseudonym(&mut self, name: &str, algorithm: &str) -> Result<AttestingKeyInfo, ClientFault> {
        let operation = CreateAttestingKeyOperation {
            name: name.to_owned(),
            algorithm: algorithm.to_owned(),
            for_machine: true,
            pseudonym: true,
        };
        let result: CreateAttestingKeyResult = self.call(Opcode::CreateAttestingKey, &operation)?;
        result.key.ok_or(ClientFault::Empty)
    }

    /// Takes an attesting key for the machine over that was made elsewhere.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn import_attesting_key(
        &mut self,
        operation: &ImportAttestingKeyOperation,
    ) -> Result<AttestingKeyInfo, ClientFault> {
        let result: ImportAttestingKeyResult = self.call(Opcode::ImportAttestingKey, operation)?;
        result.key.ok_or(ClientFault::Empty)
    }

    /// Sends a request and reads its response.
    fn call<R: Message + Default>(&mut self, opcode: Opcode, operation: &impl Message) -> Result<R, ClientFault> {
        let provider = match opcode.route() {
            Route::Core => ProviderId::CORE,
            Route::Provider => self.provider,
        };
        let (status, body) = self.exchange(provider, opcode, &operation.encode_to_vec())?;
        match status {
            Status::Success => Ok(R::decode(body.as_slice())?),
            _ => Err(refused(opcode, status, &body)),
        }
    }

    fn exchange(
        &mut self,
        provider: ProviderId,
        opcode: Opcode,
        body: &[u8],
    ) -> Result<(Status, Vec<u8>), ClientFault> {
        let auth_type = if opcode.needs_authentication() { AuthType::UnixPeerCredentials } else { AuthType::None };
        let header = RequestHeader { provider, auth_type, body_octets: body.len(), opcode: opcode.number() };
        let too_long = ClientFault::BodyLength { found: body.len(), limit: MAX_BODY_OCTETS };
        let mut request = header.to_octets().ok_or(too_long)?.to_vec();
        request.extend_from_slice(body);
        if auth_type == AuthType::UnixPeerCredentials {
            request.extend_from_slice(&self.uid.to_le_bytes());
        }
        match self.stream.write_all(&request) {
            // A service that turns a connection away says why before it closes it.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        let mut octets = [0; HEADER_OCTETS];
        self.stream.read_exact(&mut octets)?;
        let response = ResponseHeader::parse(&octets)?;
        let mut body = vec![0; response.body_octets];
        self.stream.read_exact(&mut body)?;
        if response.status == Status::Success && response.opcode != opcode.number() {
            return Err(ClientFault::OtherAnswer { expected: opcode.number(), found: response.opcode });
        }
        Ok((response.status, body))
    }
}

/// The fault of a response that is not Success.
fn refused(opcode: Opcode, status: Status, body: &[u8]) -> ClientFault {
    // A body that is no detail is as good as none: the status says enough.
    let detail = if opcode.is_extension() && !body.is_empty() { ErrorDetail::decode(body).ok() } else { None };
    ClientFault::Refused { opcode, status, detail }
}
