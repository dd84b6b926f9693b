//! With what a witness signs: a key file, or a key on a token.

use std::path::PathBuf;

use clap::Args;
use vouchsafe_evidence::ceremony::{JoseAlgorithm, NamedKey, SignedTranscript};
#[cfg(feature = "agent")]
use vouchsafe_evidence::x509::PublicKey;
use vouchsafe_verifier::Rejection;
use vouchsafe_verifier::ceremony::codes;

use super::Stop;
use super::key_file::PrivateKey;
use crate::failure::Failure;

/// Whose key it is and where.
#[derive(Debug, Args)]
pub struct Signer {
    /// Your private key (PEM, PKCS #8)
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A file with its passphrase, in place of asking for it
    #[arg(long, value_name = "FILE", requires = "key")]
    passphrase_file: Option<PathBuf>,
    #[cfg(feature = "agent")]
    #[command(flatten)]
    token: TokenKey,
}

/// A key on a token.
#[cfg(feature = "agent")]
#[derive(Debug, Args)]
struct TokenKey {
    /// The label of the PKCS #11 token with your key
    #[arg(long, value_name = "LABEL", conflicts_with = "key", requires_all = ["pkcs11_module", "pin_file", "key_label", "name"])]
    token: Option<String>,
    /// The library of the token's maker
    #[arg(long, value_name = "FILE", requires = "token")]
    pkcs11_module: Option<PathBuf>,
    /// A file with the token's PIN, readable by you alone
    #[arg(long, value_name = "FILE", requires = "token")]
    pin_file: Option<PathBuf>,
    /// The label of your key on the token
    #[arg(long, value_name = "LABEL", requires = "token")]
    key_label: Option<String>,
    /// Which of the witnesses you are
    #[arg(long = "as", value_name = "NAME", requires = "token")]
    name: Option<String>,
}

/// A key that is ready to sign for one witness.
pub enum Ready {
    /// From a file.
    File(Box<PrivateKey>),
    /// On a token.
    #[cfg(feature = "agent")]
    Token(Box<vouchsafe_agent::provider::pkcs11::PersonalKey>),
}

impl Signer {
    /// The witness whose key this is, and the key.
    ///
    /// # Errors
    /// `ceremony.unknown-witness`, or a failure if there is no such key.
    pub fn open(&self, file: &SignedTranscript) -> Result<(NamedKey, Ready), Stop> {
        let witnesses = &file.transcript().head.witnesses;
        #[cfg(feature = "agent")]
        if let Some((name, label, key_label, module, pin_file)) = self.token.whole() {
            let witness = witnesses.iter().find(|witness| witness.name == *name).ok_or_else(unknown)?;
            let key = vouchsafe_agent::provider::pkcs11::PersonalKey {
                module: module.clone(),
                token: vouchsafe_agent::provider::pkcs11::TokenName::Label(label.clone()),
                pin_file: pin_file.clone(),
                label: key_label.clone(),
                kind: kind(witness)?,
            };
            return Ok((witness.clone(), Ready::Token(Box::new(key))));
        }
        let Some(path) = &self.key else {
            return Err(Failure::new("it is not said with which key to sign")
                .next("add --key FILE, or --token LABEL")
                .into());
        };
        let private = PrivateKey::read(path, self.passphrase_file.as_deref())?;
        let public = private.public()?;
        let witness = witnesses.iter().find(|witness| witness.key.same_key(&public)).ok_or_else(unknown)?;
        Ok((witness.clone(), Ready::File(Box::new(private))))
    }
}

#[cfg(feature = "agent")]
impl TokenKey {
    /// All of it, if it is a token that signs.
    fn whole(&self) -> Option<(&String, &String, &String, &PathBuf, &PathBuf)> {
        Some((
            self.name.as_ref()?,
            self.token.as_ref()?,
            self.key_label.as_ref()?,
            self.pkcs11_module.as_ref()?,
            self.pin_file.as_ref()?,
        ))
    }
}

impl Ready {
    /// The signature over `message`, by the algorithm of the witness's key.
    ///
    /// # Errors
    /// A failure if the key does not sign, `ceremony.witness-key` if it signs otherwise.
    pub fn sign(&self, algorithm: JoseAlgorithm, message: &[u8]) -> Result<Vec<u8>, Stop> {
        match self {
            Self::File(private) => match private.sign(message)? {
                (found, signature) if found == algorithm => Ok(signature),
                _ => Err(Rejection::plain(codes::WITNESS_KEY).into()),
            },
            #[cfg(feature = "agent")]
            Self::Token(key) => {
                let scheme = scheme(algorithm).ok_or_else(|| Rejection::plain(codes::WITNESS_KEY))?;
                key.sign(scheme, message).map_err(|fault| {
                    let next = fault.next_step().to_owned();
                    Failure::new("the token did not sign").because(fault).next(next).into()
                })
            }
        }
    }
}

fn unknown() -> Rejection {
    Rejection::new(codes::UNKNOWN_WITNESS, "This key is of none of the witnesses whom the ceremony names.")
}

/// The kind of a witness's key, of those that tokens have.
#[cfg(feature = "agent")]
fn kind(witness: &NamedKey) -> Result<vouchsafe_agent::provider::KeyKind, Stop> {
    use vouchsafe_agent::provider::KeyKind;
    let found = match (JoseAlgorithm::of_key(&witness.key), witness.key.key()) {
        (Some(JoseAlgorithm::Es256), _) => Some(KeyKind::EcP256),
        (Some(JoseAlgorithm::Es384), _) => Some(KeyKind::EcP384),
        (Some(JoseAlgorithm::Es512), _) => Some(KeyKind::EcP521),
        (Some(JoseAlgorithm::Ps256), PublicKey::Rsa { modulus, .. }) => match modulus.len() {
            256 => Some(KeyKind::Rsa2048),
            384 => Some(KeyKind::Rsa3072),
            512 => Some(KeyKind::Rsa4096),
            _ => None,
        },
        (Some(JoseAlgorithm::EdDsa | JoseAlgorithm::Ps256 | JoseAlgorithm::Rs256) | None, _) => None,
    };
    found.ok_or_else(|| {
        Failure::new(format!("a key like that of {} does not sign on a token here", witness.name))
            .next("use an EC key of P-256, P-384 or P-521, or RSA of 2048, 3072 or 4096 bits")
            .into()
    })
}

/// How a token signs by this algorithm.
#[cfg(feature = "agent")]
const fn scheme(algorithm: JoseAlgorithm) -> Option<vouchsafe_agent::provider::SignatureScheme> {
    use vouchsafe_agent::provider::{Hash, SignatureScheme};
    match algorithm {
        JoseAlgorithm::Es256 => Some(SignatureScheme::Ecdsa(Hash::Sha256)),
        JoseAlgorithm::Es384 => Some(SignatureScheme::Ecdsa(Hash::Sha384)),
        JoseAlgorithm::Es512 => Some(SignatureScheme::Ecdsa(Hash::Sha512)),
        JoseAlgorithm::Ps256 => Some(SignatureScheme::RsaPss(Hash::Sha256)),
        JoseAlgorithm::EdDsa | JoseAlgorithm::Rs256 => None,
    }
}
