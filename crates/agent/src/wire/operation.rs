//! What a request asks, decoded at the door: nothing behind it sees the octets of a body.

use prost::Message;
use thiserror::Error;

use super::Opcode;
use super::message::{
    ActivateCredentialOperation, AsymmetricDecryptOperation, AsymmetricEncryptOperation, AttestKeyOperation,
    AttestPlatformOperation, CanDoCryptoOperation, CreateAttestingKeyOperation, DeleteClientOperation,
    DescribeEndorsementOperation, DestroyKeyOperation, ExportPublicKeyOperation, GenerateKeyOperation,
    GenerateRandomOperation, ImportAttestingKeyOperation, ImportKeyOperation, InstallCertificatesOperation,
    ListAttestingKeysOperation, ListAuthenticatorsOperation, ListClientsOperation, ListKeysOperation,
    ListMechanismsOperation, ListOpcodesOperation, ListProvidersOperation, ParsecAttestKeyOperation, PingOperation,
    PrepareKeyAttestationOperation, SignHashOperation, SignMessageOperation, VerifyHashOperation,
    VerifyMessageOperation,
};
use super::shape::{self, Irregular, Shape};

/// Protobuf fields of one body, nested ones and elements of packed lists included, that are decoded.
///
/// An element of a list takes two octets on the wire and many more in memory.
pub const MAX_FIELDS: usize = 256;

/// Why a body is not the operation's message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyFault {
    /// It is no protobuf message.
    #[error("the body is not protobuf: {0}")]
    Irregular(#[from] Irregular),
    /// A field is not of its type.
    #[error("the body is not the operation's message: {0}")]
    Message(#[from] prost::DecodeError),
    /// It has more fields than are decoded.
    #[error("the body has more than {limit} fields")]
    TooManyFields {
        /// The limit.
        limit: usize,
    },
}

/// What a request asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Something that the service answers by itself.
    Core(CoreOperation),
    /// Something that a provider does.
    Provider(ProviderOperation),
}

/// What the service answers by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoreOperation {
    /// Which wire protocol the service speaks.
    Ping,
    /// The providers.
    ListProviders,
    /// The operations of a provider.
    ListOpcodes(ListOpcodesOperation),
    /// The authenticators.
    ListAuthenticators,
    /// The caller's keys.
    ListKeys,
    /// The clients that have keys.
    ListClients,
    /// Forget a client's keys.
    DeleteClient(DeleteClientOperation),
}

/// What a provider does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderOperation {
    /// Make a key.
    GenerateKey(GenerateKeyOperation),
    /// Forget a key.
    DestroyKey(DestroyKeyOperation),
    /// Bring a public key in.
    ImportKey(ImportKeyOperation),
    /// A key's public part.
    ExportPublicKey(ExportPublicKeyOperation),
    /// Sign a digest.
    SignHash(SignHashOperation),
    /// Verify the signature of a digest.
    VerifyHash(VerifyHashOperation),
    /// Sign a message.
    SignMessage(SignMessageOperation),
    /// Verify the signature of a message.
    VerifyMessage(VerifyMessageOperation),
    /// Encrypt a short message.
    AsymmetricEncrypt(AsymmetricEncryptOperation),
    /// Decrypt a short message.
    AsymmetricDecrypt(AsymmetricDecryptOperation),
    /// Random octets.
    GenerateRandom(GenerateRandomOperation),
    /// Whether the provider does something.
    CanDoCrypto(CanDoCryptoOperation),
    /// What a credential for a key is made of.
    PrepareKeyAttestation(PrepareKeyAttestationOperation),
    /// Open a credential that is bound to a key.
    ParsecAttestKey(ParsecAttestKeyOperation),
    /// Attest a key.
    AttestKey(AttestKeyOperation),
    /// Attest the platform.
    AttestPlatform(AttestPlatformOperation),
    /// The attestation mechanisms.
    ListMechanisms(ListMechanismsOperation),
    /// The attesting keys that the caller may use.
    ListAttestingKeys,
    /// What an authority needs to enroll an attesting key.
    DescribeEndorsement(DescribeEndorsementOperation),
    /// Answer an authority's challenge.
    ActivateCredential(ActivateCredentialOperation),
    /// Keep the certificates of an attesting key.
    InstallCertificates(InstallCertificatesOperation),
    /// Make an attesting key.
    CreateAttestingKey(CreateAttestingKeyOperation),
    /// Take an attesting key over.
    ImportAttestingKey(ImportAttestingKeyOperation),
}

impl Operation {
    /// Decodes the body of a request for `opcode`. Takes memory in proportion to the body.
    ///
    /// # Errors
    ///
    /// [`BodyFault`].
    pub fn decode(opcode: Opcode, body: &[u8]) -> Result<Operation, BodyFault> {
        if shape::count_fields(body, shape_of(opcode), MAX_FIELDS)? > MAX_FIELDS {
            return Err(BodyFault::TooManyFields { limit: MAX_FIELDS });
        }
        let decoded = match opcode {
            Opcode::Ping => core(body, |PingOperation {}| CoreOperation::Ping),
            Opcode::ListProviders => core(body, |ListProvidersOperation {}| CoreOperation::ListProviders),
            Opcode::ListOpcodes => core(body, CoreOperation::ListOpcodes),
            Opcode::ListAuthenticators => {
                core(body, |ListAuthenticatorsOperation {}| CoreOperation::ListAuthenticators)
            }
            Opcode::ListKeys => core(body, |ListKeysOperation {}| CoreOperation::ListKeys),
            Opcode::ListClients => core(body, |ListClientsOperation {}| CoreOperation::ListClients),
            Opcode::DeleteClient => core(body, CoreOperation::DeleteClient),
            Opcode::PsaGenerateKey => provider(body, ProviderOperation::GenerateKey),
            Opcode::PsaDestroyKey => provider(body, ProviderOperation::DestroyKey),
            Opcode::PsaImportKey => provider(body, ProviderOperation::ImportKey),
            Opcode::PsaExportPublicKey => provider(body, ProviderOperation::ExportPublicKey),
            Opcode::PsaSignHash => provider(body, ProviderOperation::SignHash),
            Opcode::PsaVerifyHash => provider(body, ProviderOperation::VerifyHash),
            Opcode::PsaSignMessage => provider(body, ProviderOperation::SignMessage),
            Opcode::PsaVerifyMessage => provider(body, ProviderOperation::VerifyMessage),
            Opcode::PsaAsymmetricEncrypt => provider(body, ProviderOperation::AsymmetricEncrypt),
            Opcode::PsaAsymmetricDecrypt => provider(body, ProviderOperation::AsymmetricDecrypt),
            Opcode::PsaGenerateRandom => provider(body, ProviderOperation::GenerateRandom),
            Opcode::CanDoCrypto => provider(body, ProviderOperation::CanDoCrypto),
            Opcode::PrepareKeyAttestation => provider(body, ProviderOperation::PrepareKeyAttestation),
            Opcode::ParsecAttestKey => provider(body, ProviderOperation::ParsecAttestKey),
            Opcode::AttestKey => provider(body, ProviderOperation::AttestKey),
            Opcode::AttestPlatform => provider(body, ProviderOperation::AttestPlatform),
            Opcode::ListMechanisms => provider(body, ProviderOperation::ListMechanisms),
            Opcode::ListAttestingKeys => {
                provider(body, |ListAttestingKeysOperation {}| ProviderOperation::ListAttestingKeys)
            }
            Opcode::DescribeEndorsement => provider(body, ProviderOperation::DescribeEndorsement),
            Opcode::ActivateCredential => provider(body, ProviderOperation::ActivateCredential),
            Opcode::InstallCertificates => provider(body, ProviderOperation::InstallCertificates),
            Opcode::CreateAttestingKey => provider(body, ProviderOperation::CreateAttestingKey),
            Opcode::ImportAttestingKey => provider(body, ProviderOperation::ImportAttestingKey),
        };
        Ok(decoded?)
    }
}

fn core<O: Message + Default>(
    body: &[u8],
    operation: impl FnOnce(O) -> CoreOperation,
) -> Result<Operation, prost::DecodeError> {
    O::decode(body).map(|decoded| Operation::Core(operation(decoded)))
}

fn provider<O: Message + Default>(
    body: &[u8],
    operation: impl FnOnce(O) -> ProviderOperation,
) -> Result<Operation, prost::DecodeError> {
    O::decode(body).map(|decoded| Operation::Provider(operation(decoded)))
}

/// Where the lists of an operation's message are; all else is singular.
const fn shape_of(opcode: Opcode) -> Shape {
    match opcode {
        Opcode::AttestKey => Shape::Message(&[(101, Shape::Message(&[])), (102, Shape::Message(&[]))]),
        Opcode::AttestPlatform => {
            Shape::Message(&[(100, Shape::Message(&[(2, Shape::PackedList)])), (101, Shape::Message(&[]))])
        }
        Opcode::InstallCertificates => Shape::Message(&[(2, Shape::Message(&[]))]),
        Opcode::Ping
        | Opcode::ListProviders
        | Opcode::ListOpcodes
        | Opcode::ListAuthenticators
        | Opcode::ListKeys
        | Opcode::ListClients
        | Opcode::DeleteClient
        | Opcode::PsaGenerateKey
        | Opcode::PsaDestroyKey
        | Opcode::PsaImportKey
        | Opcode::PsaExportPublicKey
        | Opcode::PsaSignHash
        | Opcode::PsaVerifyHash
        | Opcode::PsaSignMessage
        | Opcode::PsaVerifyMessage
        | Opcode::PsaAsymmetricEncrypt
        | Opcode::PsaAsymmetricDecrypt
        | Opcode::PsaGenerateRandom
        | Opcode::CanDoCrypto
        | Opcode::PrepareKeyAttestation
        | Opcode::ParsecAttestKey
        | Opcode::ListMechanisms
        | Opcode::ListAttestingKeys
        | Opcode::DescribeEndorsement
        | Opcode::ActivateCredential
        | Opcode::CreateAttestingKey
        | Opcode::ImportAttestingKey => Shape::Message(&[]),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::{BodyFault, MAX_FIELDS, Operation, ProviderOperation};
    use crate::wire::Opcode;
    use crate::wire::message::{
        AttestKeyOperation, AttestPlatformOperation, FamilyChain, InstallCertificatesOperation, KeyMechanism,
        PkixEvidence, PlatformMechanism, TpmCertifyX509, TpmQuote,
    };

    fn is_too_many(opcode: Opcode, body: &[u8]) -> bool {
        matches!(Operation::decode(opcode, body), Err(BodyFault::TooManyFields { limit: MAX_FIELDS }))
    }

    fn chains(count: usize, certificates: usize) -> Vec<u8> {
        let chain = FamilyChain { family: String::new(), certificates: vec![Vec::new(); certificates] };
        InstallCertificatesOperation { attesting_key: String::new(), certificates: vec![chain; count] }.encode_to_vec()
    }

    #[test]
    fn lists_of_next_to_nothing_are_not_decoded() {
        // Two octets each on the wire, a vector each in memory.
        assert!(is_too_many(Opcode::InstallCertificates, &[0x12, 0x00].repeat(500_000)));
        assert!(is_too_many(Opcode::InstallCertificates, &chains(1, MAX_FIELDS)));
        assert!(!is_too_many(Opcode::InstallCertificates, &chains(2, 8)));
        let x509 = |count: usize| {
            let parameters = TpmCertifyX509 { san: vec![String::new(); count], ..TpmCertifyX509::default() };
            let mechanism = Some(KeyMechanism::TpmCertifyX509(parameters));
            AttestKeyOperation { mechanism, ..AttestKeyOperation::default() }.encode_to_vec()
        };
        assert!(is_too_many(Opcode::AttestKey, &x509(MAX_FIELDS)));
        // A message that comes twice is merged.
        assert!(is_too_many(Opcode::AttestKey, &x509(MAX_FIELDS / 2).repeat(2)));
        assert!(!is_too_many(Opcode::AttestKey, &x509(MAX_FIELDS / 2)));
        let quote = |count: usize| {
            let mechanism =
                Some(PlatformMechanism::TpmQuote(TpmQuote { bank: String::new(), indices: vec![1; count] }));
            AttestPlatformOperation { mechanism, ..AttestPlatformOperation::default() }.encode_to_vec()
        };
        assert!(is_too_many(Opcode::AttestPlatform, &quote(1 << 20)));
        assert!(!is_too_many(Opcode::AttestPlatform, &quote(24)));
        let evidence = |count: usize| {
            let parameters = PkixEvidence { claims: vec![String::new(); count], ..PkixEvidence::default() };
            let (of_key, of_platform) =
                (KeyMechanism::PkixEvidence(parameters.clone()), PlatformMechanism::PkixEvidence(parameters));
            let of_key = AttestKeyOperation { mechanism: Some(of_key), ..AttestKeyOperation::default() };
            let of_platform =
                AttestPlatformOperation { mechanism: Some(of_platform), ..AttestPlatformOperation::default() };
            [(Opcode::AttestKey, of_key.encode_to_vec()), (Opcode::AttestPlatform, of_platform.encode_to_vec())]
        };
        assert!(evidence(MAX_FIELDS).iter().all(|(opcode, body)| is_too_many(*opcode, body)));
        assert!(evidence(64).iter().all(|(opcode, body)| !is_too_many(*opcode, body)));
    }

    #[test]
    fn what_is_decoded_is_what_was_encoded() {
        let operation = AttestKeyOperation { key_name: "k".to_owned(), ..AttestKeyOperation::default() };
        let decoded = Operation::decode(Opcode::AttestKey, &operation.encode_to_vec());
        assert_eq!(decoded, Ok(Operation::Provider(ProviderOperation::AttestKey(operation))));
        for body in [&[0x0A][..], &[0x0A, 5, b'x'], &[0x07], &[0x08; 11]] {
            assert!(Operation::decode(Opcode::PsaGenerateKey, body).is_err(), "{body:?}");
        }
    }
}
