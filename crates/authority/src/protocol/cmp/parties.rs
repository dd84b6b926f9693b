//! Who speaks: the accounts by their secrets and certificates, and this authority by a key of its own.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::extensions::{BasicConstraints, KeyUsage, subject_key_identifier};
use vouchsafe_evidence::x509::{CertView, NameView, build};
use vouchsafe_verifier::crypto::{SignatureAlgorithm, SignatureBudget, verify_signature};
use zeroize::Zeroizing;

use super::conversation::refusal_of;
use super::mac::{KeyedMac, PasswordMac};
use super::message::Message;
use super::oids;
use super::refusal::{Refusal, codes};
use super::transactions::Transactions;
use crate::ca::{Hierarchy, Issuer};
use crate::certificate::{CertificateError, Content, SigningKey, key_identifier, sign};
use crate::config::{Account, CmpSecretError, Config};
use crate::enroll::{Applicant, Credential, Names};
use crate::error::Error;
use crate::lint::LintError;
use crate::service::Service;

/// Days of validity of the certificate by which answers are signed, which is made at each start.
const SIGNER_DAYS: i64 = 825;
/// commonName of that certificate.
const SIGNER_NAME: &str = "Vouchsafe CMP";

/// What CMP keeps while the server runs.
#[derive(Debug, Default)]
pub(crate) struct Parties {
    accounts: HashMap<String, Arc<Account>>,
    secrets: HashMap<Vec<u8>, SharedSecret>,
    signer: Option<Signer>,
    pub(super) transactions: Transactions,
}

/// A secret that an account shares with this authority.
#[derive(Clone)]
struct SharedSecret {
    account: Arc<Account>,
    secret: Arc<Zeroizing<Vec<u8>>>,
}

impl std::fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedSecret").field("account", &self.account.name()).finish_non_exhaustive()
    }
}

/// The key by which answers are signed.
#[derive(Debug)]
pub(super) struct Signer {
    key: SigningKey,
    name: NameView,
    /// Of this key, by each issuer that can sign.
    certificates: Vec<(String, CertView)>,
}

/// How an answer is protected: as its request was.
#[derive(Clone)]
pub(super) enum Protection {
    /// By a signature.
    Signature,
    /// By a MAC under the sender's secret, with the request's own parameters, as RFC 9810, section 5.1.3.1, recommends for
    /// the messages of a transaction: the key was derived already.
    Mac { mac: Box<KeyedMac>, reference: Vec<u8> },
}

/// Who sent a message.
pub(super) struct Sender {
    pub(super) applicant: Applicant,
    pub(super) protection: Protection,
    /// By what it is told from others that the account has.
    pub(super) identity: Vec<u8>,
    /// The certificate whose key signed the message.
    pub(super) certificate: Option<CertView>,
}

impl Parties {
    /// The accounts and their secrets, and a new key for answers where certificates are issued.
    ///
    /// # Errors
    /// [`CmpSecretError`] for a secret, [`CertificateError`] for the key's certificate.
    pub(crate) fn load(config: &Config, hierarchy: &Hierarchy, now: i64) -> Result<Self, PartiesError> {
        let accounts: HashMap<String, Arc<Account>> =
            config.accounts.iter().map(|account| (account.name.clone(), Arc::new(account.clone()))).collect();
        let mut secrets = HashMap::new();
        for account in accounts.values() {
            let Some(shared) = &account.cmp else { continue };
            let secret = Arc::new(shared.load(account.name())?);
            let shared_secret = SharedSecret { account: Arc::clone(account), secret };
            if secrets.insert(shared.reference.clone().into_bytes(), shared_secret).is_some() {
                return Err(CmpSecretError::Duplicate { account: account.name.clone() }.into());
            }
        }
        let signer = if config.role.issues() { Some(Signer::create(hierarchy, now)?) } else { None };
        Ok(Self { accounts, secrets, signer, transactions: Transactions::default() })
    }

    /// The certificates between the server's own, as this issuer signed it, and the root. Of an issuer that there is not,
    /// those of the certificate that stands in for it.
    pub(super) fn signer_chain(&self, service: &Service, issuer: &str) -> Vec<Vec<u8>> {
        let chosen = self.signer.as_ref().and_then(|signer| signer.chosen(issuer));
        let issuer = chosen.and_then(|(name, _)| service.hierarchy.issuer(name).ok());
        issuer.map(Issuer::chain_below_root).unwrap_or_default()
    }

    pub(super) fn signer(&self) -> Result<&Signer, Error> {
        self.signer.as_ref().ok_or(Error::Worker)
    }

    /// Who sent a message, by its protection (RFC 9810, section 5.1.3).
    pub(super) fn authenticate(&self, service: &Service, message: &Message<'_>) -> Result<Sender, Refusal> {
        let header = &message.header;
        match (&header.protection_algorithm, message.protection) {
            (Some(algorithm), Some(protection)) if PasswordMac::is_named_by(algorithm) => {
                self.by_mac(PasswordMac::from_algorithm(algorithm)?, message, protection)
            }
            (Some(algorithm), Some(protection)) => {
                let algorithm = SignatureAlgorithm::from_der(algorithm.as_der())
                    .map_err(|_| Refusal::of(codes::BAD_PROTECTION_ALGORITHM))?;
                self.by_signature(service, algorithm, message, protection)
            }
            (Some(_), None) | (None, Some(_)) | (None, None) => Err(Refusal::of(codes::UNPROTECTED)),
        }
    }

    fn by_mac(&self, mac: PasswordMac, message: &Message<'_>, protection: &[u8]) -> Result<Sender, Refusal> {
        let bad = || Refusal::of(codes::BAD_MAC);
        let reference = message.header.sender_key_id.ok_or_else(bad)?;
        let shared = self.secrets.get(reference).ok_or_else(bad)?;
        let mac = Box::new(mac.keyed(&shared.secret));
        if !mac.is_of(protection, &message.protected_part) {
            return Err(bad());
        }
        let applicant =
            Applicant { account: Arc::clone(&shared.account), by: Credential::CmpMac, names: Names::OfAccount };
        let (identity, reference) = ([b"mac ", reference].concat(), reference.to_vec());
        let protection = Protection::Mac { mac, reference };
        Ok(Sender { applicant, protection, identity, certificate: None })
    }

    fn by_signature(
        &self,
        service: &Service,
        algorithm: SignatureAlgorithm,
        message: &Message<'_>,
        protection: &[u8],
    ) -> Result<Sender, Refusal> {
        // RFC 9483, section 3.3: the certificate of the key that protects the message is the first.
        let not_trusted = || Refusal::of(codes::SIGNER_NOT_TRUSTED);
        let certificate = message.extra_certs.first().ok_or_else(not_trusted)?;
        let mut budget = SignatureBudget::new();
        verify_signature(&mut budget, certificate.spki(), algorithm, &message.protected_part, protection)
            .map_err(|error| Refusal::found(codes::BAD_SIGNATURE, &format!("The message's signature: {error}.")))?;
        if !may_sign(certificate) || !is_named_in(message, certificate) {
            return Err(not_trusted());
        }
        let chain: Vec<CertificateDer<'_>> =
            message.extra_certs.iter().map(|certificate| CertificateDer::from(certificate.as_der())).collect();
        let holder = service.certificate_holder(&chain).map_err(|error| match error {
            Error::ClientCertificateRevoked | Error::ClientListUnusable => refusal_of(error),
            _ => not_trusted(),
        })?;
        let account = self.accounts.get(&holder.account).ok_or_else(not_trusted)?;
        let by = if holder.is_registrar { Credential::RegistrarSignature } else { Credential::CmpSignature };
        let applicant = Applicant { account: Arc::clone(account), by, names: holder.names };
        let identity = [b"certificate ", certificate.as_der()].concat();
        let (protection, certificate) = (Protection::Signature, Some(certificate.clone()));
        Ok(Sender { applicant, protection, identity, certificate })
    }
}

/// KeyUsage, where it is there, allows signatures (RFC 9483, section 3.5).
fn may_sign(certificate: &CertView) -> bool {
    match certificate.extension(oid::KEY_USAGE) {
        Ok(None) => true,
        Ok(Some(usage)) => {
            KeyUsage::parse(usage.value()).is_ok_and(|usage| usage.contains(KeyUsage::DIGITAL_SIGNATURE))
        }
        Err(_) => false,
    }
}

/// sender and senderKID, where it is there, are those of the certificate (RFC 9483, section 3.1).
fn is_named_in(message: &Message<'_>, certificate: &CertView) -> bool {
    let sender = message.header.sender_name.as_ref();
    if !sender.is_some_and(|sender| sender.matches(certificate.subject())) {
        return false;
    }
    let Some(key_id) = message.header.sender_key_id else { return true };
    match certificate.extension(oid::SUBJECT_KEY_IDENTIFIER) {
        Ok(Some(extension)) => subject_key_identifier(extension.value()).is_ok_and(|own| own == key_id),
        Ok(None) => true,
        Err(_) => false,
    }
}

impl Signer {
    fn create(hierarchy: &Hierarchy, now: i64) -> Result<Self, CertificateError> {
        let (key, _) = SigningKey::generate()?;
        let name = build::distinguished_name(&[(oid::COMMON_NAME, SIGNER_NAME)])?;
        let mut certificates = Vec::new();
        for issuer in hierarchy.issuers() {
            match Self::certify(&key, &name, issuer, now) {
                Ok(certificate) => certificates.push((issuer.name().to_owned(), certificate)),
                // It has expired, and nothing new comes from it.
                Err(CertificateError::Lint(LintError::Validity)) => {
                    tracing::warn!(issuer = issuer.name(), "the issuer has expired; it certifies no key for CMP");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self { key, name, certificates })
    }

    fn certify(key: &SigningKey, name: &NameView, issuer: &Issuer, now: i64) -> Result<CertView, CertificateError> {
        let content = Content {
            subject: name.clone(),
            spki: key.spki(),
            now,
            validity_days: SIGNER_DAYS,
            extensions: vec![
                build::basic_constraints(true, BasicConstraints { ca: false, path_length: None }),
                build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
                build::extended_key_usage(false, &[oids::KP_CMC_CA]),
            ],
        };
        let issued = sign(&issuer.ca().issuer(), content)?;
        Ok(CertView::parse(&issued.der)?)
    }

    pub(super) const fn name(&self) -> &NameView {
        &self.name
    }

    /// The certificate by the issuer of this name, or another where there is none by it.
    fn chosen(&self, issuer: &str) -> Option<&(String, CertView)> {
        self.certificates.iter().find(|(name, _)| name == issuer).or_else(|| self.certificates.first())
    }

    /// The certificate of its key by this issuer, or another where there is none by it.
    pub(super) fn certificate(&self, issuer: &str) -> Result<&CertView, Error> {
        self.chosen(issuer).map(|(_, certificate)| certificate).ok_or(Error::Worker)
    }

    /// The identifier of its key.
    pub(super) fn key_id(&self) -> Vec<u8> {
        key_identifier(self.key.spki())
    }

    /// The algorithm of its signatures.
    pub(super) const fn algorithm(&self) -> Oid {
        self.key.algorithm()
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CertificateError> {
        self.key.sign(message)
    }
}

/// Why CMP cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartiesError {
    /// The certificate of the key that signs answers.
    #[error("the certificate by which CMP answers are signed")]
    Certificate(#[from] CertificateError),
    /// A shared secret.
    #[error(transparent)]
    Secret(#[from] CmpSecretError),
}
