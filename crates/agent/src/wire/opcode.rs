//! Operations and where they go.

use super::Status;

/// Where an operation is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// By the service itself: provider 0.
    Core,
    /// By a provider that holds keys.
    Provider,
}

/// An operation of this service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// 0x01: which wire protocol the service speaks.
    Ping,
    /// 0x02: make a key.
    PsaGenerateKey,
    /// 0x03: forget a key.
    PsaDestroyKey,
    /// 0x04: sign a digest.
    PsaSignHash,
    /// 0x05: verify the signature of a digest.
    PsaVerifyHash,
    /// 0x06: bring a public key in.
    PsaImportKey,
    /// 0x07: a key's public part.
    PsaExportPublicKey,
    /// 0x08: the providers, the default one first, Core last.
    ListProviders,
    /// 0x09: the operations of a provider.
    ListOpcodes,
    /// 0x0A: encrypt a short message to a key.
    PsaAsymmetricEncrypt,
    /// 0x0B: decrypt a short message.
    PsaAsymmetricDecrypt,
    /// 0x0D: random octets from the module.
    PsaGenerateRandom,
    /// 0x0E: the authenticators.
    ListAuthenticators,
    /// 0x18: sign a message.
    PsaSignMessage,
    /// 0x19: verify the signature of a message.
    PsaVerifyMessage,
    /// 0x1A: the caller's keys, of all providers.
    ListKeys,
    /// 0x1B: the clients that have keys.
    ListClients,
    /// 0x1C: forget a client's keys.
    DeleteClient,
    /// 0x1E: Parsec's own attestation of a key: open a credential that is bound to it.
    ParsecAttestKey,
    /// 0x1F: what such a credential is made of.
    PrepareKeyAttestation,
    /// 0x20: whether the provider does something.
    CanDoCrypto,
    /// 0x0100: attest a key.
    AttestKey,
    /// 0x0101: attest the platform.
    AttestPlatform,
    /// 0x0102: the attestation mechanisms.
    ListMechanisms,
    /// 0x0103: the attesting keys that the caller may use.
    ListAttestingKeys,
    /// 0x0104: what an authority needs to enroll an attesting key.
    DescribeEndorsement,
    /// 0x0105: answer an authority's challenge.
    ActivateCredential,
    /// 0x0106: keep the certificates of an attesting key.
    InstallCertificates,
    /// 0x0107: make an attesting key.
    CreateAttestingKey,
    /// 0x0108: take an attesting key over that was made elsewhere.
    ImportAttestingKey,
}

impl Opcode {
    /// The first number of the extension; Parsec's own numbers lie below.
    pub const FIRST_EXTENSION: u32 = 0x0100;

    /// The highest number that Parsec has assigned (`CanDoCrypto`).
    const LAST_PARSEC: u32 = 0x20;

    /// Every operation, in the order of the numbers.
    pub const ALL: [Opcode; 30] = [
        Opcode::Ping,
        Opcode::PsaGenerateKey,
        Opcode::PsaDestroyKey,
        Opcode::PsaSignHash,
        Opcode::PsaVerifyHash,
        Opcode::PsaImportKey,
        Opcode::PsaExportPublicKey,
        Opcode::ListProviders,
        Opcode::ListOpcodes,
        Opcode::PsaAsymmetricEncrypt,
        Opcode::PsaAsymmetricDecrypt,
        Opcode::PsaGenerateRandom,
        Opcode::ListAuthenticators,
        Opcode::PsaSignMessage,
        Opcode::PsaVerifyMessage,
        Opcode::ListKeys,
        Opcode::ListClients,
        Opcode::DeleteClient,
        Opcode::ParsecAttestKey,
        Opcode::PrepareKeyAttestation,
        Opcode::CanDoCrypto,
        Opcode::AttestKey,
        Opcode::AttestPlatform,
        Opcode::ListMechanisms,
        Opcode::ListAttestingKeys,
        Opcode::DescribeEndorsement,
        Opcode::ActivateCredential,
        Opcode::InstallCertificates,
        Opcode::CreateAttestingKey,
        Opcode::ImportAttestingKey,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Opcode::Ping => 0x01,
            Opcode::PsaGenerateKey => 0x02,
            Opcode::PsaDestroyKey => 0x03,
            Opcode::PsaSignHash => 0x04,
            Opcode::PsaVerifyHash => 0x05,
            Opcode::PsaImportKey => 0x06,
            Opcode::PsaExportPublicKey => 0x07,
            Opcode::ListProviders => 0x08,
            Opcode::ListOpcodes => 0x09,
            Opcode::PsaAsymmetricEncrypt => 0x0A,
            Opcode::PsaAsymmetricDecrypt => 0x0B,
            Opcode::PsaGenerateRandom => 0x0D,
            Opcode::ListAuthenticators => 0x0E,
            Opcode::PsaSignMessage => 0x18,
            Opcode::PsaVerifyMessage => 0x19,
            Opcode::ListKeys => 0x1A,
            Opcode::ListClients => 0x1B,
            Opcode::DeleteClient => 0x1C,
            Opcode::ParsecAttestKey => 0x1E,
            Opcode::PrepareKeyAttestation => 0x1F,
            Opcode::CanDoCrypto => 0x20,
            Opcode::AttestKey => 0x0100,
            Opcode::AttestPlatform => 0x0101,
            Opcode::ListMechanisms => 0x0102,
            Opcode::ListAttestingKeys => 0x0103,
            Opcode::DescribeEndorsement => 0x0104,
            Opcode::ActivateCredential => 0x0105,
            Opcode::InstallCertificates => 0x0106,
            Opcode::CreateAttestingKey => 0x0107,
            Opcode::ImportAttestingKey => 0x0108,
        }
    }

    /// The name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Opcode::Ping => "Ping",
            Opcode::PsaGenerateKey => "PsaGenerateKey",
            Opcode::PsaDestroyKey => "PsaDestroyKey",
            Opcode::PsaSignHash => "PsaSignHash",
            Opcode::PsaVerifyHash => "PsaVerifyHash",
            Opcode::PsaImportKey => "PsaImportKey",
            Opcode::PsaExportPublicKey => "PsaExportPublicKey",
            Opcode::ListProviders => "ListProviders",
            Opcode::ListOpcodes => "ListOpcodes",
            Opcode::PsaAsymmetricEncrypt => "PsaAsymmetricEncrypt",
            Opcode::PsaAsymmetricDecrypt => "PsaAsymmetricDecrypt",
            Opcode::PsaGenerateRandom => "PsaGenerateRandom",
            Opcode::ListAuthenticators => "ListAuthenticators",
            Opcode::PsaSignMessage => "PsaSignMessage",
            Opcode::PsaVerifyMessage => "PsaVerifyMessage",
            Opcode::ListKeys => "ListKeys",
            Opcode::ListClients => "ListClients",
            Opcode::DeleteClient => "DeleteClient",
            Opcode::ParsecAttestKey => "ParsecAttestKey",
            Opcode::PrepareKeyAttestation => "PrepareKeyAttestation",
            Opcode::CanDoCrypto => "CanDoCrypto",
            Opcode::AttestKey => "AttestKey",
            Opcode::AttestPlatform => "AttestPlatform",
            Opcode::ListMechanisms => "ListMechanisms",
            Opcode::ListAttestingKeys => "ListAttestingKeys",
            Opcode::DescribeEndorsement => "DescribeEndorsement",
            Opcode::ActivateCredential => "ActivateCredential",
            Opcode::InstallCertificates => "InstallCertificates",
            Opcode::CreateAttestingKey => "CreateAttestingKey",
            Opcode::ImportAttestingKey => "ImportAttestingKey",
        }
    }

    /// The operation of that number.
    ///
    /// # Errors
    ///
    /// [`Status::PsaErrorNotSupported`] for an operation that Parsec has and this service has not,
    /// [`Status::OpcodeDoesNotExist`] for any other number.
    pub fn from_number(number: u32) -> Result<Opcode, Status> {
        match Opcode::ALL.into_iter().find(|opcode| opcode.number() == number) {
            Some(opcode) => Ok(opcode),
            None if (1..=Opcode::LAST_PARSEC).contains(&number) => Err(Status::PsaErrorNotSupported),
            None => Err(Status::OpcodeDoesNotExist),
        }
    }

    /// Where the operation is answered.
    #[must_use]
    pub const fn route(self) -> Route {
        match self {
            Opcode::Ping
            | Opcode::ListProviders
            | Opcode::ListOpcodes
            | Opcode::ListAuthenticators
            | Opcode::ListKeys
            | Opcode::ListClients
            | Opcode::DeleteClient => Route::Core,
            Opcode::PsaGenerateKey
            | Opcode::PsaDestroyKey
            | Opcode::PsaSignHash
            | Opcode::PsaVerifyHash
            | Opcode::PsaImportKey
            | Opcode::PsaExportPublicKey
            | Opcode::PsaAsymmetricEncrypt
            | Opcode::PsaAsymmetricDecrypt
            | Opcode::PsaGenerateRandom
            | Opcode::PsaSignMessage
            | Opcode::PsaVerifyMessage
            | Opcode::ParsecAttestKey
            | Opcode::PrepareKeyAttestation
            | Opcode::CanDoCrypto
            | Opcode::AttestKey
            | Opcode::AttestPlatform
            | Opcode::ListMechanisms
            | Opcode::ListAttestingKeys
            | Opcode::DescribeEndorsement
            | Opcode::ActivateCredential
            | Opcode::InstallCertificates
            | Opcode::CreateAttestingKey
            | Opcode::ImportAttestingKey => Route::Provider,
        }
    }

    /// Whether the caller must be authenticated. Discovery is not: clients ask it before they choose how.
    #[must_use]
    pub const fn needs_authentication(self) -> bool {
        match self {
            Opcode::Ping
            | Opcode::ListProviders
            | Opcode::ListOpcodes
            | Opcode::ListAuthenticators
            | Opcode::ListMechanisms => false,
            Opcode::ListKeys
            | Opcode::ListClients
            | Opcode::DeleteClient
            | Opcode::PsaGenerateKey
            | Opcode::PsaDestroyKey
            | Opcode::PsaSignHash
            | Opcode::PsaVerifyHash
            | Opcode::PsaImportKey
            | Opcode::PsaExportPublicKey
            | Opcode::PsaAsymmetricEncrypt
            | Opcode::PsaAsymmetricDecrypt
            | Opcode::PsaGenerateRandom
            | Opcode::PsaSignMessage
            | Opcode::PsaVerifyMessage
            | Opcode::ParsecAttestKey
            | Opcode::PrepareKeyAttestation
            | Opcode::CanDoCrypto
            | Opcode::AttestKey
            | Opcode::AttestPlatform
            | Opcode::ListAttestingKeys
            | Opcode::DescribeEndorsement
            | Opcode::ActivateCredential
            | Opcode::InstallCertificates
            | Opcode::CreateAttestingKey
            | Opcode::ImportAttestingKey => true,
        }
    }

    /// Whether the operation is of the extension, so that a failure's body may hold an
    /// [`ErrorDetail`](super::message::ErrorDetail).
    #[must_use]
    pub const fn is_extension(self) -> bool {
        self.number() >= Opcode::FIRST_EXTENSION
    }
}

#[cfg(test)]
mod tests {
    use super::{Opcode, Status};

    #[test]
    fn every_number_up_to_the_extension_has_its_answer() {
        for opcode in Opcode::ALL {
            assert_eq!(Opcode::from_number(opcode.number()), Ok(opcode));
        }
        assert_eq!(Opcode::from_number(0), Err(Status::OpcodeDoesNotExist));
        for absent in [0x0C, 0x0F, 0x17, 0x1D] {
            assert_eq!(Opcode::from_number(absent), Err(Status::PsaErrorNotSupported));
        }
        assert_eq!(Opcode::from_number(0x21), Err(Status::OpcodeDoesNotExist));
        assert_eq!(Opcode::from_number(0x0109), Err(Status::OpcodeDoesNotExist));
    }
}
