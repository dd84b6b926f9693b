//! A witness's private key in a file: PKCS #8 in PEM, in clear or under a passphrase.

use std::io::{BufRead, IsTerminal, Read};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Command, Stdio};

use aws_lc_rs::cipher::{AES_128, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, RSA_PSS_SHA256,
};
use vouchsafe_evidence::ceremony::JoseAlgorithm;
use vouchsafe_evidence::oid::Oid;
use vouchsafe_evidence::x509::SpkiView;
use vouchsafe_evidence::x509::der::{Element, Reader, Tag};
use vouchsafe_evidence::{Malformed, Reason, pem};
use zeroize::Zeroizing;

use crate::console;
use crate::failure::Failure;
use crate::files;

/// id-PBES2, id-PBKDF2 (RFC 8018, A.4 and A.2).
const PBES2: Oid = Oid::constant("1.2.840.113549.1.5.13");
const PBKDF2: Oid = Oid::constant("1.2.840.113549.1.5.12");
const HMAC_WITH_SHA256: Oid = Oid::constant("1.2.840.113549.2.9");
const HMAC_WITH_SHA512: Oid = Oid::constant("1.2.840.113549.2.11");
const AES128_CBC: Oid = Oid::constant("2.16.840.1.101.3.4.1.2");
const AES256_CBC: Oid = Oid::constant("2.16.840.1.101.3.4.1.42");
/// Iterations of a key derivation: more would keep a witness waiting for minutes.
const ITERATIONS_MAX: u64 = 10_000_000;
/// Octets of a passphrase.
const PASSPHRASE_OCTETS: u64 = 1024;

/// A private key that signs.
pub enum PrivateKey {
    /// ECDSA.
    Ec(EcdsaKeyPair, JoseAlgorithm),
    /// Ed25519.
    Ed25519(Ed25519KeyPair),
    /// RSASSA-PSS.
    Rsa(rsa::KeyPair),
}

impl PrivateKey {
    /// Reads a key. A passphrase is the first line of its file; without a file it is asked for on the terminal.
    ///
    /// # Errors
    /// [`Failure`] if there is no such key in it, or the passphrase is wrong.
    pub fn read(path: &Path, passphrase: Option<&Path>) -> Result<Self, Failure> {
        let strange = |why: String| {
            Failure::new(format!("{} holds no private key that signs here", path.display())).because(why).next(
                "a PEM file as `openssl genpkey` writes it: EC P-256, P-384 or P-521, RSA of 2048 bits or more, Ed25519; others are converted \
                 by `openssl pkcs8 -topk8 -v2 aes-256-cbc`",
            )
        };
        let text = Zeroizing::new(files::read_small(path)?);
        let blocks = pem::read(&text).map_err(|error| strange(error.to_string()))?;
        let [block] = blocks.as_slice() else { return Err(strange("it has several PEM blocks".to_owned())) };
        let pkcs8 = match block.label() {
            "PRIVATE KEY" => {
                console::err("warning: this private key lies on the disk in clear\n");
                Zeroizing::new(block.contents().to_vec())
            }
            "ENCRYPTED PRIVATE KEY" => {
                let envelope = Envelope::parse(block.contents()).map_err(|error| strange(error.to_string()))?;
                let secret = match passphrase {
                    Some(path) => first_line(Zeroizing::new(files::read_small(path)?)),
                    None => ask_passphrase(path)?,
                };
                envelope.open(&secret).ok_or_else(|| {
                    Failure::new(format!("{} cannot be opened", path.display()))
                        .because("the passphrase is wrong, or the file is damaged")
                        .next("try again; nothing was signed")
                })?
            }
            other => return Err(strange(format!("it is labelled {other}"))),
        };
        Self::from_pkcs8(&pkcs8).ok_or_else(|| strange("its kind of key is not known, or it is too short".to_owned()))
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let curves = [
            (&ECDSA_P256_SHA256_FIXED_SIGNING, JoseAlgorithm::Es256),
            (&ECDSA_P384_SHA384_FIXED_SIGNING, JoseAlgorithm::Es384),
            (&ECDSA_P521_SHA512_FIXED_SIGNING, JoseAlgorithm::Es512),
        ];
        for (signing, algorithm) in curves {
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(signing, pkcs8) {
                return Some(Self::Ec(pair, algorithm));
            }
        }
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8(pkcs8) {
            return Some(Self::Ed25519(pair));
        }
        rsa::KeyPair::from_pkcs8(pkcs8).ok().map(Self::Rsa)
    }

    /// Its public half.
    ///
    /// # Errors
    /// [`Failure`] if the library cannot write it.
    pub fn public(&self) -> Result<SpkiView, Failure> {
        let der = match self {
            Self::Ec(pair, _) => pair.public_key().as_der(),
            Self::Ed25519(pair) => pair.public_key().as_der(),
            Self::Rsa(pair) => pair.public_key().as_der(),
        };
        der.ok()
            .and_then(|der| SpkiView::parse(der.as_ref()).ok())
            .ok_or_else(|| Failure::new("the public half of the key cannot be computed"))
    }

    /// A signature in JOSE's form, with the algorithm that it is by.
    ///
    /// # Errors
    /// [`Failure`] if the library cannot sign.
    pub fn sign(&self, message: &[u8]) -> Result<(JoseAlgorithm, Vec<u8>), Failure> {
        let failed = |_| Failure::new("the key did not sign");
        let random = SystemRandom::new();
        Ok(match self {
            Self::Ec(pair, algorithm) => (*algorithm, pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Self::Ed25519(pair) => (JoseAlgorithm::EdDsa, pair.sign(message).as_ref().to_vec()),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PSS_SHA256, &random, message, &mut signature).map_err(failed)?;
                (JoseAlgorithm::Ps256, signature)
            }
        })
    }
}

/// An EncryptedPrivateKeyInfo (RFC 5958, 3) under PBES2 with PBKDF2 and AES in CBC mode, as OpenSSL writes it.
struct Envelope<'a> {
    salt: &'a [u8],
    iterations: NonZeroU32,
    derivation: pbkdf2::Algorithm,
    key_octets: usize,
    iv: [u8; 16],
    sealed: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn parse(der: &'a [u8]) -> Result<Self, Malformed> {
        let outer = Element::parse(der, "EncryptedPrivateKeyInfo")?;
        let unknown = |what| outer.error(Reason::Unexpected(what));
        if outer.tag() != Tag::SEQUENCE {
            return Err(unknown("EncryptedPrivateKeyInfo"));
        }
        let mut fields = outer.reader();
        let mut scheme = fields.sequence("encryptionAlgorithm")?;
        if scheme.oid("algorithm")? != PBES2 {
            return Err(unknown("PBES2"));
        }
        let mut parameters = scheme.sequence("PBES2-params")?;
        let mut derivation = parameters.sequence("keyDerivationFunc")?;
        if derivation.oid("algorithm")? != PBKDF2 {
            return Err(unknown("PBKDF2"));
        }
        let mut derivation = derivation.sequence("PBKDF2-params")?;
        let salt = derivation.octet_string("salt")?;
        let iterations = derivation.uint("iterationCount")?;
        if derivation.next_is(Tag::INTEGER) {
            // The cipher says how long its key is.
            derivation.uint("keyLength")?;
        }
        let iterations = u32::try_from(iterations).ok().filter(|count| u64::from(*count) <= ITERATIONS_MAX);
        let iterations = iterations.and_then(NonZeroU32::new).ok_or_else(|| unknown("a usual number of iterations"))?;
        let derivation = pseudo_random(derivation)?.ok_or_else(|| unknown("HMAC with SHA-256 or SHA-512"))?;
        let mut cipher = parameters.sequence("encryptionScheme")?;
        let key_octets = match cipher.oid("algorithm")? {
            AES128_CBC => 16,
            AES256_CBC => 32,
            _ => return Err(unknown("AES-128 or AES-256 in CBC mode")),
        };
        let iv = cipher.octet_string("iv")?.try_into().map_err(|_| unknown("16 octets of IV"))?;
        let sealed = fields.octet_string("encryptedData")?;
        fields.finish()?;
        Ok(Self { salt, iterations, derivation, key_octets, iv, sealed })
    }

    fn open(&self, passphrase: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut key = Zeroizing::new(vec![0; self.key_octets]);
        pbkdf2::derive(self.derivation, self.iterations, self.salt, passphrase, &mut key);
        let cipher = if self.key_octets == 16 { &AES_128 } else { &AES_256 };
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(cipher, &key).ok()?).ok()?;
        let mut clear = Zeroizing::new(self.sealed.to_vec());
        let context = DecryptionContext::Iv128(FixedLength::from(self.iv));
        let length = key.decrypt(&mut clear, context).ok()?.len();
        clear.truncate(length);
        Some(clear)
    }
}

/// The pseudo-random function of PBKDF2; absent it is SHA-1's, which is not taken.
fn pseudo_random(mut fields: Reader<'_>) -> Result<Option<pbkdf2::Algorithm>, Malformed> {
    if fields.is_empty() {
        return Ok(None);
    }
    Ok(match fields.sequence("prf")?.oid("algorithm")? {
        HMAC_WITH_SHA256 => Some(pbkdf2::PBKDF2_HMAC_SHA256),
        HMAC_WITH_SHA512 => Some(pbkdf2::PBKDF2_HMAC_SHA512),
        _ => None,
    })
}

/// A signature by this algorithm in JOSE's form, from that form or, of ECDSA, from an ECDSA-Sig-Value in DER.
pub fn jose_signature(algorithm: JoseAlgorithm, signature: &[u8]) -> Option<Vec<u8>> {
    let Some(curve) = algorithm.ecdsa_curve() else { return Some(signature.to_vec()) };
    let width = curve.field_octets();
    if signature.len() == width.saturating_mul(2) {
        return Some(signature.to_vec());
    }
    let mut outer = Reader::new(signature, "ECDSA-Sig-Value");
    let mut fields = outer.sequence("ECDSA-Sig-Value").ok()?;
    let mut padded = Vec::new();
    for name in ["r", "s"] {
        let number = fields.unsigned(name).ok()?;
        padded.extend(std::iter::repeat_n(0, width.checked_sub(number.len())?));
        padded.extend_from_slice(number);
    }
    fields.finish().ok()?;
    outer.finish().ok()?;
    Some(padded)
}

fn first_line(mut text: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let end = text.iter().position(|octet| matches!(octet, b'\n' | b'\r')).unwrap_or(text.len());
    text.truncate(end);
    text
}

/// The terminal without echo, until it is dropped.
struct Silence;

impl Silence {
    fn keep() -> Self {
        stty("-echo");
        Self
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        stty("echo");
        console::err("\n");
    }
}

fn stty(setting: &str) {
    // Where there is no stty the passphrase is seen by whoever looks, and still works.
    let _ = Command::new("stty").arg(setting).stdin(Stdio::inherit()).status();
}

fn ask_passphrase(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    console::err(&format!("Passphrase of {}: ", path.display()));
    let silence = std::io::stdin().is_terminal().then(Silence::keep);
    let mut typed = Zeroizing::new(Vec::new());
    let read = std::io::stdin().lock().take(PASSPHRASE_OCTETS).read_until(b'\n', &mut typed);
    drop(silence);
    read.map_err(|error| Failure::new("the passphrase cannot be read").because(error).next("use --passphrase-file"))?;
    Ok(first_line(typed))
}
