//! Operations of Parsec's beyond making keys and signing digests.

use super::{Client, ClientFault};
use crate::wire::Opcode;
use crate::wire::message::{
    AsymmetricDecryptOperation, AsymmetricDecryptResult, AsymmetricEncryptOperation, AsymmetricEncryptResult,
    AsymmetricEncryption, AsymmetricSignature, CanDoCryptoOperation, CanDoCryptoResult, DeleteClientOperation,
    DeleteClientResult, GenerateRandomOperation, GenerateRandomResult, ImportKeyOperation, ImportKeyResult,
    KeyAttributes, ListClientsOperation, ListClientsResult, ParsecActivateCredential, ParsecAttestKeyOperation,
    ParsecAttestKeyParameters, ParsecAttestKeyResult, ParsecAttestation, ParsecMechanism, PrepareActivateCredential,
    PrepareKeyAttestationOperation, PrepareKeyAttestationParameters, PrepareKeyAttestationResult, PrepareMechanism,
    PreparedActivateCredential, PreparedMechanism, SignMessageOperation, SignMessageResult, VerifyHashOperation,
    VerifyHashResult, VerifyMessageOperation, VerifyMessageResult,
};

impl Client {
    /// Brings a public key in, in the format that [`Client::export_public_key`] gives.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn import_key(&mut self, key_name: &str, attributes: KeyAttributes, data: &[u8]) -> Result<(), ClientFault> {
        let operation =
            ImportKeyOperation { key_name: key_name.to_owned(), attributes: Some(attributes), data: data.to_vec() };
        self.call(Opcode::PsaImportKey, &operation).map(|ImportKeyResult {}| ())
    }

    /// Verifies the signature of a digest.
    ///
    /// # Errors
    ///
    /// [`ClientFault`], with [`PsaErrorInvalidSignature`](crate::wire::Status::PsaErrorInvalidSignature) where it is none.
    pub fn verify_hash(
        &mut self,
        key_name: &str,
        algorithm: AsymmetricSignature,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<(), ClientFault> {
        let operation = VerifyHashOperation {
            key_name: key_name.to_owned(),
            alg: Some(algorithm),
            hash: digest.to_vec(),
            signature: signature.to_vec(),
        };
        self.call(Opcode::PsaVerifyHash, &operation).map(|VerifyHashResult {}| ())
    }

    /// Signs a message.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn sign_message(
        &mut self,
        key_name: &str,
        algorithm: AsymmetricSignature,
        message: &[u8],
    ) -> Result<Vec<u8>, ClientFault> {
        let operation =
            SignMessageOperation { key_name: key_name.to_owned(), alg: Some(algorithm), message: message.to_vec() };
        let result: SignMessageResult = self.call(Opcode::PsaSignMessage, &operation)?;
        Ok(result.signature)
    }

    /// Verifies the signature of a message.
    ///
    /// # Errors
    ///
    /// As [`Client::verify_hash`].
    pub fn verify_message(
        &mut self,
        key_name: &str,
        algorithm: AsymmetricSignature,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), ClientFault> {
        let operation = VerifyMessageOperation {
            key_name: key_name.to_owned(),
            alg: Some(algorithm),
            message: message.to_vec(),
            signature: signature.to_vec(),
        };
        self.call(Opcode::PsaVerifyMessage, &operation).map(|VerifyMessageResult {}| ())
    }

    /// Encrypts a short message. `label` is OAEP's and may be empty.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn encrypt(
        &mut self,
        key_name: &str,
        algorithm: AsymmetricEncryption,
        plaintext: &[u8],
        label: &[u8],
    ) -> Result<Vec<u8>, ClientFault> {
        let operation = AsymmetricEncryptOperation {
            key_name: key_name.to_owned(),
            alg: Some(algorithm),
            plaintext: plaintext.to_vec(),
            salt: label.to_vec(),
        };
        let result: AsymmetricEncryptResult = self.call(Opcode::PsaAsymmetricEncrypt, &operation)?;
        Ok(result.ciphertext)
    }

    /// Decrypts a short message. A TPM takes a label only if it is empty or ends with a zero octet.
    ///
    /// # Errors
    ///
    /// [`ClientFault`], with [`PsaErrorInvalidPadding`](crate::wire::Status::PsaErrorInvalidPadding) for a message that was
    /// not encrypted so.
    pub fn decrypt(
        &mut self,
        key_name: &str,
        algorithm: AsymmetricEncryption,
        ciphertext: &[u8],
        label: &[u8],
    ) -> Result<Vec<u8>, ClientFault> {
        let operation = AsymmetricDecryptOperation {
            key_name: key_name.to_owned(),
            alg: Some(algorithm),
            ciphertext: ciphertext.to_vec(),
            salt: label.to_vec(),
        };
        let result: AsymmetricDecryptResult = self.call(Opcode::PsaAsymmetricDecrypt, &operation)?;
        Ok(result.plaintext)
    }

    /// Random octets from the module, at most 16384.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn random(&mut self, octets: u64) -> Result<Vec<u8>, ClientFault> {
        let result: GenerateRandomResult =
            self.call(Opcode::PsaGenerateRandom, &GenerateRandomOperation { size: octets })?;
        Ok(result.random_bytes)
    }

    /// Asks whether the provider does something; `check` is of [`check_type`](crate::wire::message::check_type).
    ///
    /// # Errors
    ///
    /// [`ClientFault`], with [`PsaErrorNotSupported`](crate::wire::Status::PsaErrorNotSupported) where it does not.
    pub fn can_do_crypto(&mut self, check: i32, attributes: KeyAttributes) -> Result<(), ClientFault> {
        let operation = CanDoCryptoOperation { check_type: check, attributes: Some(attributes) };
        self.call(Opcode::CanDoCrypto, &operation).map(|CanDoCryptoResult {}| ())
    }

    /// What a credential that is bound to a key is made of, by Parsec's PrepareKeyAttestation.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn prepare_key_attestation(&mut self, key_name: &str) -> Result<PreparedActivateCredential, ClientFault> {
        let asked =
            PrepareActivateCredential { attested_key_name: key_name.to_owned(), attesting_key_name: String::new() };
        let mechanism = Some(PrepareMechanism::ActivateCredential(asked));
        let operation =
            PrepareKeyAttestationOperation { parameters: Some(PrepareKeyAttestationParameters { mechanism }) };
        let result: PrepareKeyAttestationResult = self.call(Opcode::PrepareKeyAttestation, &operation)?;
        match result.output.and_then(|output| output.mechanism) {
            Some(PreparedMechanism::ActivateCredential(prepared)) => Ok(prepared),
            None => Err(ClientFault::Empty),
        }
    }

    /// Opens a credential that is bound to a key, by Parsec's AttestKey. Neither part has a size field in front.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn open_key_credential(
        &mut self,
        key_name: &str,
        credential_blob: &[u8],
        secret: &[u8],
    ) -> Result<Vec<u8>, ClientFault> {
        let asked = ParsecActivateCredential { credential_blob: credential_blob.to_vec(), secret: secret.to_vec() };
        let mechanism = Some(ParsecMechanism::ActivateCredential(asked));
        let operation = ParsecAttestKeyOperation {
            attested_key_name: key_name.to_owned(),
            parameters: Some(ParsecAttestKeyParameters { mechanism }),
            attesting_key_name: String::new(),
        };
        let result: ParsecAttestKeyResult = self.call(Opcode::ParsecAttestKey, &operation)?;
        match result.output.and_then(|output| output.mechanism) {
            Some(ParsecAttestation::ActivateCredential(opened)) => Ok(opened.credential),
            None => Err(ClientFault::Empty),
        }
    }

    /// The users that have keys, by uid. Needs the grant `manage-clients`.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn list_clients(&mut self) -> Result<Vec<String>, ClientFault> {
        let result: ListClientsResult = self.call(Opcode::ListClients, &ListClientsOperation {})?;
        Ok(result.clients)
    }

    /// Destroys all keys of a user. Needs the grant `manage-clients`.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn delete_client(&mut self, client: &str) -> Result<(), ClientFault> {
        let operation = DeleteClientOperation { client: client.to_owned() };
        self.call(Opcode::DeleteClient, &operation).map(|DeleteClientResult {}| ())
    }
}
