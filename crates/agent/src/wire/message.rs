//! The protobuf messages of requests and responses.
//!
//! Field numbers of Parsec's own operations are Parsec's. Only those members of its `oneof`s are declared
//! that this service offers: what another client puts there decodes as absent and is answered as not
//! supported. The messages of the extension are those of `proto/vouchsafe.proto`, number for number.

mod attestation;
mod detail;
mod discovery;
mod enrollment;
mod key;
mod psa;

pub use attestation::{
    AttestKeyOperation, AttestPlatformOperation, AttestationResult, AttestingKeyInfo, FamilyChain, KeyMechanism,
    ListAttestingKeysOperation, ListAttestingKeysResult, ListMechanismsOperation, ListMechanismsResult, MechanismInfo,
    PlatformMechanism, TpmCertify, TpmCertifyX509, TpmQuote,
};
pub use detail::ErrorDetail;
pub use discovery::{
    AuthenticatorInfo, ListAuthenticatorsOperation, ListAuthenticatorsResult, ListOpcodesOperation, ListOpcodesResult,
    ListProvidersOperation, ListProvidersResult, PingOperation, PingResult, ProviderInfo,
};
pub use enrollment::{
    ActivateCredentialOperation, ActivateCredentialResult, CreateAttestingKeyOperation, CreateAttestingKeyResult,
    DescribeEndorsementOperation, DescribeEndorsementResult, InstallCertificatesOperation, InstallCertificatesResult,
};
pub use key::{
    DestroyKeyOperation, DestroyKeyResult, ExportPublicKeyOperation, ExportPublicKeyResult, GenerateKeyOperation,
    GenerateKeyResult, KeyInfo, ListKeysOperation, ListKeysResult, SignHashOperation, SignHashResult,
};
pub use psa::{
    Algorithm, AlgorithmVariant, Any, AsymmetricSignature, AsymmetricSignatureVariant, EccKeyPair, KeyAttributes,
    KeyPolicy, KeyType, KeyTypeVariant, RsaKeyPair, SignHash, SignHashVariant, SignatureHash, UsageFlags, ecc_family,
    hash,
};
