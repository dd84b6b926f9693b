//! Requests about attesting keys: enrolment by each method, the answer to a challenge, renewal.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use vouchsafe_evidence::ak_possession::PossessionProof;
use vouchsafe_evidence::limits::CERTIFICATES_PARSED;
use vouchsafe_verifier::enrolment::Method;
use zeroize::Zeroizing;

use super::{EVIDENCE_PARTS, Texts, nonce, octets, texts};
use crate::appraisal::{AK_DEVICE_PREFIX, device_id};
use crate::error::Error;
use crate::text::{from_hex, to_hex};

/// Octets of a vendor's name or a serial number.
pub const MODULE_NAME_OCTETS: usize = 128;

/// A request for a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengeRequest {
    /// The device's name.
    pub device: String,
    /// The nonce, minted for this purpose and account.
    pub nonce: Vec<u8>,
    /// The key, and what ties it to its module.
    pub offer: Offer,
}

/// A key that is offered, and what ties it to its module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// A key of a TPM, which answers for it by TPM2_ActivateCredential.
    Tpm {
        /// TPMT_PUBLIC of the attesting key.
        ak_public: Vec<u8>,
        /// The endorsement key, and who vouches for it.
        ek: EkOffer,
        /// A quote by the attesting key over the nonce.
        baseline: Option<QuoteParts>,
    },
    /// A key that host software drives, which answers by a signature.
    Host {
        /// SubjectPublicKeyInfo of the attesting key, DER.
        ak_spki: Vec<u8>,
        /// Who vouches for it.
        voucher: Voucher,
    },
}

/// An endorsement key, and who vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EkOffer {
    /// `manufacturer`: the endorsement certificate and helpers for its path, DER, in any order.
    Certified(Vec<Vec<u8>>),
    /// `inventory`: the key alone (SubjectPublicKeyInfo, DER), which the operator's list names.
    Listed(Vec<u8>),
    /// `first-use`: the key alone, which nobody vouches for.
    FirstUse(Vec<u8>),
}

/// Who vouches for a key that host software drives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Voucher {
    /// `manufacturer`: the maker's attestation of this key, 1 to [`EVIDENCE_PARTS`] parts in any order.
    Maker(Vec<Vec<u8>>),
    /// `inventory`: the operator's list names the module's serial number.
    Listed {
        /// The maker.
        vendor: String,
        /// The number.
        serial: String,
    },
    /// `ceremony`: the file of a ceremony.
    Witnesses(Vec<u8>),
    /// `first-use`: nobody.
    FirstUse,
}

impl Offer {
    /// The method by which the key is to be enrolled.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self {
            Self::Tpm { ek: EkOffer::Certified(_), .. } | Self::Host { voucher: Voucher::Maker(_), .. } => {
                Method::Manufacturer
            }
            Self::Tpm { ek: EkOffer::Listed(_), .. } | Self::Host { voucher: Voucher::Listed { .. }, .. } => {
                Method::Inventory
            }
            Self::Host { voucher: Voucher::Witnesses(_), .. } => Method::Ceremony,
            Self::Tpm { ek: EkOffer::FirstUse(_), .. } | Self::Host { voucher: Voucher::FirstUse, .. } => {
                Method::FirstUse
            }
        }
    }

    /// Every octet string of it, in a fixed order, for the record.
    pub(crate) fn parts(&self) -> Vec<&[u8]> {
        match self {
            Self::Tpm { ak_public, ek, baseline } => {
                let mut parts: Vec<&[u8]> = vec![ak_public];
                match ek {
                    EkOffer::Certified(certificates) => parts.extend(certificates.iter().map(Vec::as_slice)),
                    EkOffer::Listed(key) | EkOffer::FirstUse(key) => parts.push(key),
                }
                if let Some(quote) = baseline {
                    parts.extend([quote.attest.as_slice(), &quote.signature, &quote.pcr_values]);
                }
                parts
            }
            Self::Host { ak_spki, voucher } => {
                let mut parts: Vec<&[u8]> = vec![ak_spki];
                match voucher {
                    Voucher::Maker(evidence) => parts.extend(evidence.iter().map(Vec::as_slice)),
                    Voucher::Listed { vendor, serial } => parts.extend([vendor.as_bytes(), serial.as_bytes()]),
                    Voucher::Witnesses(file) => parts.push(file),
                    Voucher::FirstUse => {}
                }
                parts
            }
        }
    }
}

/// The parts of a quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuoteParts {
    /// TPMS_ATTEST.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
    /// The values, concatenated in the order of the selection.
    pub pcr_values: Vec<u8>,
}

/// The answer to a challenge.
#[derive(Clone, PartialEq, Eq)]
pub enum ActivationRequest {
    /// What TPM2_ActivateCredential returned.
    Credential(Zeroizing<Vec<u8>>),
    /// A proof by the attesting key about [`vouchsafe_evidence::ak_possession::AkPossession`].
    Possession(PossessionProof),
}

impl fmt::Debug for ActivationRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActivationRequest").finish_non_exhaustive()
    }
}

/// A request for new certificates, signed by the attesting key that has certificates now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalRequest {
    /// The device's name.
    pub device: String,
    /// The nonce, minted for enrolments and this account.
    pub nonce: Vec<u8>,
    /// SHA-256 of the SubjectPublicKeyInfo of the key that has certificates.
    pub key: [u8; 32],
    /// By what it vouches, and for which key.
    pub vouching: Vouching,
}

/// By what an attesting key vouches for the key of the next certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vouching {
    /// TPMS_ATTEST: a quote over the nonce, or TPM2_Certify of the successor.
    Tpm {
        /// TPMS_ATTEST.
        attest: Vec<u8>,
        /// TPMT_SIGNATURE.
        signature: Vec<u8>,
        /// TPMT_PUBLIC of the successor, if it is another key.
        successor: Option<Vec<u8>>,
    },
    /// A proof about [`vouchsafe_evidence::ak_possession::AkPossession`].
    Host {
        /// By the old key.
        proof: PossessionProof,
        /// The successor, if it is another key.
        successor: Option<HostSuccessor>,
    },
}

/// A key that takes the place of another, host software driving both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSuccessor {
    /// SubjectPublicKeyInfo, DER.
    pub ak_spki: Vec<u8>,
    /// A proof by it, as for an enrolment, with the nonce as the challenge.
    pub proof: PossessionProof,
}

/// A method as requests and the configuration file write it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MethodName {
    #[default]
    Manufacturer,
    Inventory,
    Ceremony,
    FirstUse,
}

impl From<Method> for MethodName {
    fn from(method: Method) -> Self {
        match method {
            Method::Manufacturer => Self::Manufacturer,
            Method::Inventory => Self::Inventory,
            Method::Ceremony => Self::Ceremony,
            Method::FirstUse => Self::FirstUse,
        }
    }
}

impl From<MethodName> for Method {
    fn from(name: MethodName) -> Self {
        match name {
            MethodName::Manufacturer => Self::Manufacturer,
            MethodName::Inventory => Self::Inventory,
            MethodName::Ceremony => Self::Ceremony,
            MethodName::FirstUse => Self::FirstUse,
        }
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChallengeBody {
    device: String,
    nonce: String,
    #[serde(default)]
    method: MethodName,
    #[serde(skip_serializing_if = "Option::is_none")]
    ak_public: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ak_spki: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ek_certificates: Option<Texts<CERTIFICATES_PARSED>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ek_public: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Texts<EVIDENCE_PARTS>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transcript: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<BaselineBody>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct BaselineBody {
    attest: String,
    signature: String,
    pcr_values: String,
}

/// What a method needs beside the key, and nothing else.
const EXPECTED: &str = "what the method needs and nothing else: with ak_public ek_certificates (manufacturer) or ek_public \
                        (inventory, first-use); with ak_spki evidence (manufacturer), vendor and serial (inventory), transcript \
                        (ceremony), or nothing (first-use)";

impl TryFrom<ChallengeBody> for ChallengeRequest {
    type Error = Error;

    fn try_from(body: ChallengeBody) -> Result<Self, Error> {
        let misfit = Error::Malformed { field: "method", expected: EXPECTED };
        let baseline = match body.baseline {
            None => None,
            Some(quote) => Some(QuoteParts {
                attest: octets("baseline.attest", &quote.attest)?,
                signature: octets("baseline.signature", &quote.signature)?,
                pcr_values: octets("baseline.pcr_values", &quote.pcr_values)?,
            }),
        };
        let certificates = body.ek_certificates.map(|texts| all("ek_certificates", &texts.0)).transpose()?;
        let ek_public = body.ek_public.map(|text| octets("ek_public", &text)).transpose()?;
        let evidence = body.evidence.map(|texts| all("evidence", &texts.0)).transpose()?;
        let transcript = body.transcript.map(|text| octets("transcript", &text)).transpose()?;
        let listed = (body.vendor, body.serial);
        let offer = match (body.ak_public, body.ak_spki) {
            (Some(public), None) => {
                let ek = match (body.method, certificates, ek_public) {
                    (MethodName::Manufacturer, Some(certificates), None) => EkOffer::Certified(certificates),
                    (MethodName::Inventory, None, Some(key)) => EkOffer::Listed(key),
                    (MethodName::FirstUse, None, Some(key)) => EkOffer::FirstUse(key),
                    (
                        MethodName::Manufacturer | MethodName::Inventory | MethodName::Ceremony | MethodName::FirstUse,
                        ..,
                    ) => return Err(misfit),
                };
                if evidence.is_some() || transcript.is_some() || listed != (None, None) {
                    return Err(misfit);
                }
                Offer::Tpm { ak_public: octets("ak_public", &public)?, ek, baseline }
            }
            (None, Some(spki)) if certificates.is_none() && ek_public.is_none() && baseline.is_none() => {
                let voucher = match (body.method, evidence, listed, transcript) {
                    (MethodName::Manufacturer, Some(parts), (None, None), None) if !parts.is_empty() => {
                        Voucher::Maker(parts)
                    }
                    (MethodName::Inventory, None, (Some(vendor), Some(serial)), None) => {
                        Voucher::Listed { vendor: name("vendor", vendor)?, serial: name("serial", serial)? }
                    }
                    (MethodName::Ceremony, None, (None, None), Some(file)) => Voucher::Witnesses(file),
                    (MethodName::FirstUse, None, (None, None), None) => Voucher::FirstUse,
                    (
                        MethodName::Manufacturer | MethodName::Inventory | MethodName::Ceremony | MethodName::FirstUse,
                        ..,
                    ) => return Err(misfit),
                };
                Offer::Host { ak_spki: octets("ak_spki", &spki)?, voucher }
            }
            (Some(_) | None, Some(_)) | (None, None) => return Err(misfit),
        };
        Ok(Self { device: body.device, nonce: nonce(&body.nonce)?, offer })
    }
}

impl From<&ChallengeRequest> for ChallengeBody {
    fn from(request: &ChallengeRequest) -> Self {
        let mut body = Self {
            device: request.device.clone(),
            nonce: to_hex(&request.nonce),
            method: request.offer.method().into(),
            ..Self::default()
        };
        match &request.offer {
            Offer::Tpm { ak_public, ek, baseline } => {
                body.ak_public = Some(STANDARD.encode(ak_public));
                match ek {
                    EkOffer::Certified(certificates) => body.ek_certificates = Some(Texts(texts(certificates))),
                    EkOffer::Listed(key) | EkOffer::FirstUse(key) => body.ek_public = Some(STANDARD.encode(key)),
                }
                body.baseline = baseline.as_ref().map(|quote| BaselineBody {
                    attest: STANDARD.encode(&quote.attest),
                    signature: STANDARD.encode(&quote.signature),
                    pcr_values: STANDARD.encode(&quote.pcr_values),
                });
            }
            Offer::Host { ak_spki, voucher } => {
                body.ak_spki = Some(STANDARD.encode(ak_spki));
                match voucher {
                    Voucher::Maker(evidence) => body.evidence = Some(Texts(texts(evidence))),
                    Voucher::Listed { vendor, serial } => {
                        (body.vendor, body.serial) = (Some(vendor.clone()), Some(serial.clone()));
                    }
                    Voucher::Witnesses(file) => body.transcript = Some(STANDARD.encode(file)),
                    Voucher::FirstUse => {}
                }
            }
        }
        body
    }
}

/// One of them.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActivationBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<String>,
}

impl TryFrom<ActivationBody> for ActivationRequest {
    type Error = Error;

    fn try_from(body: ActivationBody) -> Result<Self, Error> {
        match (body.secret.map(Zeroizing::new), body.signature, body.evidence) {
            (Some(secret), None, None) => Ok(Self::Credential(Zeroizing::new(octets("secret", &secret)?))),
            (None, signature, evidence) => Ok(Self::Possession(possession(signature, evidence)?)),
            (Some(_), ..) => Err(Error::Malformed { field: "secret, signature, evidence", expected: "one of them" }),
        }
    }
}

impl From<&ActivationRequest> for ActivationBody {
    fn from(request: &ActivationRequest) -> Self {
        match request {
            ActivationRequest::Credential(secret) => {
                Self { secret: Some(STANDARD.encode(&**secret)), signature: None, evidence: None }
            }
            ActivationRequest::Possession(proof) => {
                let (signature, evidence) = possession_texts(proof);
                Self { secret: None, signature, evidence }
            }
        }
    }
}

/// A proof of possession in one of its two forms.
fn possession(signature: Option<String>, evidence: Option<String>) -> Result<PossessionProof, Error> {
    match (signature, evidence) {
        (Some(signature), None) => Ok(PossessionProof::Signature(octets("signature", &signature)?)),
        (None, Some(evidence)) => Ok(PossessionProof::Evidence(octets("evidence", &evidence)?)),
        (Some(_), Some(_)) | (None, None) => {
            Err(Error::Malformed { field: "signature, evidence", expected: "one of the two" })
        }
    }
}

fn possession_texts(proof: &PossessionProof) -> (Option<String>, Option<String>) {
    match proof {
        PossessionProof::Signature(signature) => (Some(STANDARD.encode(signature)), None),
        PossessionProof::Evidence(evidence) => (None, Some(STANDARD.encode(evidence))),
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RenewalBody {
    device: String,
    nonce: String,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    attest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ak_public: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    successor: Option<SuccessorBody>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct SuccessorBody {
    ak_spki: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<String>,
}

impl TryFrom<RenewalBody> for RenewalRequest {
    type Error = Error;

    fn try_from(body: RenewalBody) -> Result<Self, Error> {
        const KEY: &str = "ak: and SHA-256 of its public key in hexadecimal";
        const EXPECTED: &str = "of a TPM's key: attest, signature, and ak_public of a successor; of another: signature or evidence, \
                                and successor";
        let key = from_hex(body.key.strip_prefix(AK_DEVICE_PREFIX).unwrap_or(&body.key))
            .and_then(|octets| octets.try_into().ok());
        let key = key.ok_or(Error::Malformed { field: "key", expected: KEY })?;
        let vouching = match (body.attest, body.ak_public, body.successor) {
            (Some(attest), successor, None) => match (body.signature, body.evidence) {
                (Some(signature), None) => Vouching::Tpm {
                    attest: octets("attest", &attest)?,
                    signature: octets("signature", &signature)?,
                    successor: successor.map(|text| octets("ak_public", &text)).transpose()?,
                },
                (Some(_) | None, _) => return Err(Error::Malformed { field: "attest", expected: EXPECTED }),
            },
            (None, None, successor) => Vouching::Host {
                proof: possession(body.signature, body.evidence)?,
                successor: successor.map(HostSuccessor::try_from).transpose()?,
            },
            (Some(_) | None, ..) => return Err(Error::Malformed { field: "attest", expected: EXPECTED }),
        };
        Ok(Self { device: body.device, nonce: nonce(&body.nonce)?, key, vouching })
    }
}

impl TryFrom<SuccessorBody> for HostSuccessor {
    type Error = Error;

    fn try_from(body: SuccessorBody) -> Result<Self, Error> {
        Ok(Self { ak_spki: octets("ak_spki", &body.ak_spki)?, proof: possession(body.signature, body.evidence)? })
    }
}

impl From<&RenewalRequest> for RenewalBody {
    fn from(request: &RenewalRequest) -> Self {
        let body = Self {
            device: request.device.clone(),
            nonce: to_hex(&request.nonce),
            key: device_id(&request.key),
            ..Self::default()
        };
        match &request.vouching {
            Vouching::Tpm { attest, signature, successor } => Self {
                attest: Some(STANDARD.encode(attest)),
                signature: Some(STANDARD.encode(signature)),
                ak_public: successor.as_ref().map(|public| STANDARD.encode(public)),
                ..body
            },
            Vouching::Host { proof, successor } => {
                let (signature, evidence) = possession_texts(proof);
                let successor = successor.as_ref().map(|successor| {
                    let (signature, evidence) = possession_texts(&successor.proof);
                    SuccessorBody { ak_spki: STANDARD.encode(&successor.ak_spki), signature, evidence }
                });
                Self { signature, evidence, successor, ..body }
            }
        }
    }
}

fn all(field: &'static str, texts: &[String]) -> Result<Vec<Vec<u8>>, Error> {
    texts.iter().map(|text| octets(field, text)).collect()
}

/// A vendor's name or a serial number: short, printable ASCII.
fn name(field: &'static str, text: String) -> Result<String, Error> {
    let fits =
        (1..=MODULE_NAME_OCTETS).contains(&text.len()) && text.bytes().all(|octet| (0x20..0x7F).contains(&octet));
    if fits { Ok(text) } else { Err(Error::Malformed { field, expected: "1 to 128 printable ASCII characters" }) }
}
