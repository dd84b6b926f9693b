//! The client of the certification side's HTTPS interface.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use vouchsafe_evidence::text::printable;
use vouchsafe_verifier::hex;

use crate::advice::Situation;
use crate::failure::Failure;
use crate::files;
use crate::reasons::Reason;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Octets of an answer.
const ANSWER_OCTETS: u64 = 8 * 1024 * 1024;

/// Where the authority is, and who asks.
#[derive(Clone, Debug, Args)]
pub struct AuthorityAddress {
    /// The authority's URL, such as https://ca.example:8443.
    #[arg(long, value_name = "URL", env = "VOUCHSAFE_AUTHORITY")]
    pub authority: String,
    /// The root of the authority's TLS certificate (PEM).
    #[arg(long, value_name = "FILE", env = "VOUCHSAFE_CA")]
    pub ca: PathBuf,
    /// A file with the account's token.
    #[arg(long, value_name = "FILE", env = "VOUCHSAFE_TOKEN_FILE")]
    pub token_file: PathBuf,
}

/// The token in a file.
fn token(path: &Path) -> Result<String, Failure> {
    let text = files::read_small_text(path)?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Err(Failure::new(format!("the token file {} does not hold a token", path.display()))
            .because("a token is one line of letters and digits, without blanks")
            .next("leave in it only what `vouchsafe authority token` said after \"token: \""));
    }
    Ok(token.to_owned())
}

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// The authority refused.
    Refused(Problem),
    /// It could not be asked, or its answer makes no sense.
    Failed(Failure),
}

impl From<Failure> for NoAnswer {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A refusal (RFC 9457).
#[derive(Clone, Debug, Deserialize)]
pub struct Problem {
    /// `urn:vouchsafe:problem:` and the code.
    #[serde(rename = "type", default)]
    kind: String,
    /// What it is, in a few words.
    #[serde(default)]
    title: String,
    /// What happened.
    #[serde(default)]
    detail: String,
    /// Every violation that was found.
    #[serde(default)]
    pub violations: Vec<Reason>,
}

impl Problem {
    /// The stable code, such as `nonce-expired`.
    pub fn code(&self) -> &str {
        self.kind.strip_prefix("urn:vouchsafe:problem:").unwrap_or(&self.kind)
    }

    /// It in words, with advice for this situation.
    pub fn to_text(&self, situation: Situation) -> String {
        let mut text =
            format!("{}: {} [{}]\n", printable(&self.title), printable(&self.detail), printable(self.code()));
        text.push_str(&crate::reasons::text(&self.violations, situation));
        if let Some(next) = self.next_step() {
            text.push_str(&format!("next: {next}\n"));
        }
        text
    }

    fn next_step(&self) -> Option<&'static str> {
        Some(match self.code() {
            "unauthenticated" => "check the token file: it holds the token alone, of an account of this authority",
            "not-permitted" => "ask the administrator for the right (`may` of the account)",
            "device-conflict" | "endorsement-key-conflict" | "attestation-key-conflict" => {
                "choose the name under which this device was enrolled; a new module in its place takes an administrator's leave \
                 (`vouchsafe authority attesting-keys replace`)"
            }
            "device-not-permitted" => "use a device name that the account may use",
            "method-not-permitted" => {
                "enroll by a method that the authority offers to the account (`enroll_methods`; docs/enrolment.md)"
            }
            "device-has-key" => {
                "the account has an attesting key on this device: have it revoked (`vouchsafe authority attesting-keys revoke`)"
            }
            "nonce-expired" | "nonce-spent" | "nonce-unknown" | "activation-failed" => "run the same command again",
            "baseline-conflict" => {
                "the platform's PCR values are not those on record: enroll with --no-baseline to keep the record, or have it \
                 removed"
            }
            "baseline-refused" => "select PCRs that the device has with --pcrs, or enroll with --no-baseline",
            "internal" => "look at the authority's log",
            "busy" => "try again in a moment",
            "unknown-profile" => "use a profile of the authority's configuration",
            _ => return None,
        })
    }
}

/// What a nonce is for.
#[derive(Clone, Copy, Debug)]
pub enum NoncePurpose<'a> {
    /// Enrolling an attestation key.
    AttestationKey,
    /// A certificate under this profile.
    Certificate(&'a str),
}

/// A quote that is recorded as the device's baseline.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// TPMS_ATTEST.
    pub attest: Vec<u8>,
    /// Its signature.
    pub signature: Vec<u8>,
    /// The PCR values.
    pub pcr_values: Vec<u8>,
}

/// A request for a challenge.
#[derive(Clone, Debug)]
pub struct ChallengeRequest {
    /// The device's name in the account's namespace.
    pub device: String,
    /// Certificates of endorsement keys and helpers, DER.
    pub ek_certificates: Vec<Vec<u8>>,
    /// SubjectPublicKeyInfo of the endorsement keys, DER.
    pub ek_keys: Vec<Vec<u8>>,
    /// TPMT_PUBLIC of the attestation key.
    pub ak_public: Vec<u8>,
    /// The nonce.
    pub nonce: Vec<u8>,
    /// The baseline to record, if any.
    pub baseline: Option<Baseline>,
}

/// A challenge that only the TPM can answer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct Challenge {
    /// Its identifier.
    pub id: String,
    /// TPM2B_ID_OBJECT, base64.
    pub credential_blob: String,
    /// TPM2B_ENCRYPTED_SECRET, base64.
    pub secret: String,
    /// Until when it may be answered.
    pub expires: String,
}

/// The certificates of an attestation key.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct AkCertificates {
    /// By family of statements.
    pub certificates: FamilyCertificates,
    /// How verdicts call the device.
    pub device_id: String,
}

/// Chains by family, base64 of DER, the attestation key's certificate first.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct FamilyCertificates {
    /// For TPMS_ATTEST; not for pseudonyms.
    pub attest: Option<Vec<String>>,
    /// For TPM2_CertifyX509.
    pub certify_x509: Option<Vec<String>>,
    /// For PKIX Evidence, of keys that host software drives.
    pub pkix_evidence: Option<Vec<String>>,
}

/// Who vouches for an endorsement key without a certificate.
#[derive(Clone, Copy, Debug)]
pub enum EkVoucher {
    /// The operator's list.
    Listed,
    /// Nobody.
    FirstUse,
}

/// Who vouches for a key that host software drives.
#[derive(Clone, Debug)]
pub enum HostVoucher {
    /// The module's maker, by evidence in parts.
    Maker(Vec<Vec<u8>>),
    /// The operator's list.
    Listed {
        /// The maker.
        vendor: String,
        /// The serial number.
        serial: String,
    },
    /// The witnesses of a ceremony, by its file.
    Witnesses(Vec<u8>),
    /// Nobody.
    FirstUse,
}

/// A request for a challenge for a key that host software drives.
#[derive(Clone, Debug)]
pub struct HostChallengeRequest {
    /// The device's name.
    pub device: String,
    /// SubjectPublicKeyInfo of the attesting key, DER.
    pub ak_spki: Vec<u8>,
    /// The nonce.
    pub nonce: Vec<u8>,
    /// Who vouches for it.
    pub voucher: HostVoucher,
}

/// A challenge that only the holder of the key can answer.
#[derive(Clone, Debug, Deserialize)]
pub struct HostChallenge {
    /// Its identifier.
    pub id: String,
    /// Base64.
    challenge: String,
}

impl HostChallenge {
    /// Its octets.
    ///
    /// # Errors
    /// [`Failure`] if they are not base64.
    pub fn octets(&self) -> Result<Vec<u8>, Failure> {
        octets(&self.challenge)
    }
}

/// By what an attesting key vouches for itself.
#[derive(Clone, Debug)]
pub enum RenewalProof {
    /// A quote over the nonce.
    Tpm {
        /// TPMS_ATTEST.
        attest: Vec<u8>,
        /// Its signature.
        signature: Vec<u8>,
    },
    /// PKIX Evidence.
    Evidence(Vec<u8>),
}

/// A request for new certificates.
#[derive(Clone, Debug)]
pub struct RenewalRequest {
    /// The device's name.
    pub device: String,
    /// The nonce.
    pub nonce: Vec<u8>,
    /// SHA-256 of the key's SubjectPublicKeyInfo.
    pub key: [u8; 32],
    /// By what it vouches for itself.
    pub proof: RenewalProof,
}

/// A connection to the authority.
pub struct AuthorityClient {
    http: ureq::Agent,
    url: String,
    token: String,
}

impl AuthorityClient {
    /// Prepares to ask; nothing is sent yet.
    ///
    /// # Errors
    /// [`Failure`] if a file cannot be used or the URL is not HTTPS.
    pub fn new(address: &AuthorityAddress) -> Result<Self, Failure> {
        if !address.authority.starts_with("https://") {
            return Err(Failure::new(format!("{} is no HTTPS URL", address.authority))
                .next("give the authority's URL, such as https://ca.example:8443"));
        }
        let roots = files::read_certificates(&address.ca)?;
        let roots = roots.iter().map(|root| Certificate::from_der(root.as_der()).to_owned());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .root_certs(RootCerts::from(roots.collect::<Vec<_>>()))
            .build();
        let http = ureq::Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .build()
            .new_agent();
        Ok(Self { http, url: address.authority.trim_end_matches('/').to_owned(), token: token(&address.token_file)? })
    }

    /// The authority's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `POST /v1/nonces`.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn nonce(&self, purpose: NoncePurpose<'_>) -> Result<Vec<u8>, NoAnswer> {
        #[derive(Deserialize)]
        struct Answer {
            nonce: String,
        }
        let body = match purpose {
            NoncePurpose::AttestationKey => json!({ "purpose": "attestation-key" }),
            NoncePurpose::Certificate(profile) => json!({ "purpose": "certificate", "profile": profile }),
        };
        let answer: Answer = self.post("/v1/nonces", &body)?;
        hex::decode(&answer.nonce).ok_or_else(|| self.strange("its nonce is not hexadecimal").into())
    }

    /// `POST /v1/attestation-keys`.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn challenge(&self, request: &ChallengeRequest) -> Result<Challenge, NoAnswer> {
        let mut body = json!({
            "device": request.device,
            "ek_certificates": request.ek_certificates.iter().map(|der| STANDARD.encode(der)).collect::<Vec<_>>(),
            "ak_public": STANDARD.encode(&request.ak_public),
            "nonce": hex::encode(&request.nonce),
        });
        add_baseline(&mut body, request);
        self.post("/v1/attestation-keys", &body)
    }

    /// The same for an endorsement key that somebody else than its maker vouches for: the TPM's first.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn challenge_for(&self, request: &ChallengeRequest, voucher: EkVoucher) -> Result<Challenge, NoAnswer> {
        let ek = request.ek_keys.first().ok_or_else(|| {
            Failure::new("the agent tells of no endorsement key").next(
                "`vouchsafe doctor` shows what the TPM holds; an authority needs the endorsement key's public part",
            )
        })?;
        let mut body = json!({
            "device": request.device,
            "method": match voucher { EkVoucher::Listed => "inventory", EkVoucher::FirstUse => "first-use" },
            "ek_public": STANDARD.encode(ek),
            "ak_public": STANDARD.encode(&request.ak_public),
            "nonce": hex::encode(&request.nonce),
        });
        add_baseline(&mut body, request);
        self.post("/v1/attestation-keys", &body)
    }

    /// `POST /v1/attestation-keys` for a key that host software drives.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn host_challenge(&self, request: &HostChallengeRequest) -> Result<HostChallenge, NoAnswer> {
        let mut body = match &request.voucher {
            HostVoucher::Maker(parts) => {
                json!({"method": "manufacturer", "evidence": parts.iter().map(|part| STANDARD.encode(part)).collect::<Vec<_>>()})
            }
            HostVoucher::Listed { vendor, serial } => {
                json!({"method": "inventory", "vendor": vendor, "serial": serial})
            }
            HostVoucher::Witnesses(file) => json!({"method": "ceremony", "transcript": STANDARD.encode(file)}),
            HostVoucher::FirstUse => json!({"method": "first-use"}),
        };
        if let Some(object) = body.as_object_mut() {
            object.insert("device".to_owned(), json!(request.device));
            object.insert("ak_spki".to_owned(), json!(STANDARD.encode(&request.ak_spki)));
            object.insert("nonce".to_owned(), json!(hex::encode(&request.nonce)));
        }
        self.post("/v1/attestation-keys", &body)
    }

    /// `POST /v1/attestation-keys/{id}/activation` with PKIX Evidence that shows possession.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn prove(&self, id: &str, evidence: &[u8]) -> Result<AkCertificates, NoAnswer> {
        self.post(&format!("/v1/attestation-keys/{id}/activation"), &json!({ "evidence": STANDARD.encode(evidence) }))
    }

    /// `POST /v1/attestation-keys/renewals`.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn renew(&self, request: &RenewalRequest) -> Result<AkCertificates, NoAnswer> {
        let mut body = match &request.proof {
            RenewalProof::Tpm { attest, signature } => {
                json!({"attest": STANDARD.encode(attest), "signature": STANDARD.encode(signature)})
            }
            RenewalProof::Evidence(evidence) => json!({"evidence": STANDARD.encode(evidence)}),
        };
        if let Some(object) = body.as_object_mut() {
            object.insert("device".to_owned(), json!(request.device));
            object.insert("key".to_owned(), json!(format!("ak:{}", hex::encode(&request.key))));
            object.insert("nonce".to_owned(), json!(hex::encode(&request.nonce)));
        }
        self.post("/v1/attestation-keys/renewals", &body)
    }

    /// `POST /v1/attestation-keys/{id}/activation`.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn activate(&self, id: &str, secret: &[u8]) -> Result<AkCertificates, NoAnswer> {
        self.post(&format!("/v1/attestation-keys/{id}/activation"), &json!({ "secret": STANDARD.encode(secret) }))
    }

    /// `POST /v1/certificates`: the chain, leaf first, without the root; DER.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn certificate(&self, csr: &[u8], nonce: &[u8], profile: &str) -> Result<Vec<Vec<u8>>, NoAnswer> {
        #[derive(Deserialize)]
        struct Answer {
            certificates: Vec<String>,
        }
        let body = json!({ "csr": STANDARD.encode(csr), "nonce": hex::encode(nonce), "profile": profile });
        let answer: Answer = self.post("/v1/certificates", &body)?;
        Ok(answer.certificates.iter().map(|text| octets(text)).collect::<Result<_, _>>()?)
    }

    fn post<T: serde::de::DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, NoAnswer> {
        let url = format!("{}{path}", self.url);
        let sent = self
            .http
            .post(&url)
            .header("Authorization", &format!("Bearer {}", self.token))
            .header("Content-Type", "application/json")
            .send(body.to_string().as_bytes());
        let mut response = sent.map_err(|error| {
            Failure::new(format!("the authority at {} cannot be asked", self.url))
                .because(error)
                .next("check the URL, that it runs, and that --ca names the root of its TLS certificate")
        })?;
        let status = response.status();
        let octets = response
            .body_mut()
            .with_config()
            .limit(ANSWER_OCTETS)
            .read_to_vec()
            .map_err(|error| self.strange(&error.to_string()))?;
        if !status.is_success() {
            let problem: Problem = serde_json::from_slice(&octets).map_err(|_| self.strange(&status.to_string()))?;
            return Err(NoAnswer::Refused(problem));
        }
        serde_json::from_slice(&octets).map_err(|error| self.strange(&error.to_string()).into())
    }

    fn strange(&self, why: &str) -> Failure {
        Failure::new(format!("{} does not answer as an authority does", self.url))
            .because(why)
            .next("check the URL, and that client and authority are of the same version")
    }
}

fn add_baseline(body: &mut Value, request: &ChallengeRequest) {
    if let (Some(baseline), Some(object)) = (&request.baseline, body.as_object_mut()) {
        let quote = json!({
            "attest": STANDARD.encode(&baseline.attest),
            "signature": STANDARD.encode(&baseline.signature),
            "pcr_values": STANDARD.encode(&baseline.pcr_values),
        });
        object.insert("baseline".to_owned(), quote);
    }
}

/// Octets of base64 in an answer.
///
/// # Errors
/// [`Failure`] if it is not that.
pub fn octets(text: &str) -> Result<Vec<u8>, Failure> {
    STANDARD.decode(text).map_err(|error| {
        Failure::new("the authority's answer cannot be read")
            .because(error)
            .next("use a client of the same version as the authority")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_more_than_a_token_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "a-token_1\n").unwrap();
        assert_eq!(token(&path).unwrap(), "a-token_1");
        for text in ["", "\n", "token: a-token_1\n", "one\ntwo\n", "caf\u{e9}"] {
            std::fs::write(&path, text).unwrap();
            let failure = format!("{:?}", token(&path).unwrap_err());
            assert!(failure.contains(path.to_str().unwrap()), "{text:?}: {failure}");
        }
    }
}
