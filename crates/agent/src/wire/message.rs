//! The protobuf messages of requests and responses.
//!
//! Field numbers of Parsec's own operations are Parsec's. Only those members of its `oneof`s are declared
//! that this service offers: what another client puts there decodes as absent and is answered as not
//! supported. The messages of the extension are those of `proto/vouchsafe.proto`, number for number.

mod activation;
mod administration;
mod attestation;
mod crypto;
mod detail;
mod discovery;
mod enrollment;
mod key;
mod psa;

pub use activation::{
    ParsecActivateCredential, ParsecAttestKeyOperation, ParsecAttestKeyParameters, ParsecAttestKeyResult,
    ParsecAttestation, ParsecAttestationOutput, ParsecCredential, ParsecMechanism, PrepareActivateCredential,
    PrepareKeyAttestationOperation, PrepareKeyAttestationOutput, PrepareKeyAttestationParameters,
    PrepareKeyAttestationResult, PrepareMechanism, PreparedActivateCredential, PreparedMechanism,
};
pub use administration::{DeleteClientOperation, DeleteClientResult, ListClientsOperation, ListClientsResult};
pub use attestation::{
    AttestKeyOperation, AttestPlatformOperation, AttestationResult, AttestingKeyInfo, FamilyChain, KeyMechanism,
    ListAttestingKeysOperation, ListAttestingKeysResult, ListMechanismsOperation, ListMechanismsResult, MechanismInfo,
    PkixEvidence, PlatformMechanism, TpmCertify, TpmCertifyX509, TpmQuote,
};
pub use crypto::{
    AsymmetricDecryptOperation, AsymmetricDecryptResult, AsymmetricEncryptOperation, AsymmetricEncryptResult,
    CanDoCryptoOperation, CanDoCryptoResult, GenerateRandomOperation, GenerateRandomResult, SignMessageOperation,
    SignMessageResult, VerifyHashOperation, VerifyHashResult, VerifyMessageOperation, VerifyMessageResult, check_type,
};
pub use detail::ErrorDetail;
pub use discovery::{
    AuthenticatorInfo, ListAuthenticatorsOperation, ListAuthenticatorsResult, ListOpcodesOperation, ListOpcodesResult,
    ListProvidersOperation, ListProvidersResult, PingOperation, PingResult, ProviderInfo,
};
pub use enrollment::{
    ActivateCredentialOperation, ActivateCredentialResult, CreateAttestingKeyOperation, CreateAttestingKeyResult,
    DescribeEndorsementOperation, DescribeEndorsementResult, ImportAttestingKeyOperation, ImportAttestingKeyResult,
    InstallCertificatesOperation, InstallCertificatesResult,
};
pub use key::{
    DestroyKeyOperation, DestroyKeyResult, ExportPublicKeyOperation, ExportPublicKeyResult, GenerateKeyOperation,
    GenerateKeyResult, ImportKeyOperation, ImportKeyResult, KeyInfo, ListKeysOperation, ListKeysResult,
    SignHashOperation, SignHashResult,
};
pub use psa::{
    Algorithm, AlgorithmVariant, Any, AsymmetricEncryption, AsymmetricEncryptionVariant, AsymmetricSignature,
    AsymmetricSignatureVariant, EccKeyPair, EccPublicKey, KeyAttributes, KeyPolicy, KeyType, KeyTypeVariant,
    RsaKeyPair, RsaOaep, RsaPkcs1v15Crypt, RsaPublicKey, SignHash, SignHashVariant, SignatureHash, UsageFlags,
    ecc_family, hash,
};
