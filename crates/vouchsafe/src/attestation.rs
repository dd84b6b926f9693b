//! Having a key and the platform attested by the agent, and putting the answers into one bundle.

use clap::{Args, ValueEnum};
use vouchsafe_agent::client::Client;
use vouchsafe_agent::grants::KeyReference;
use vouchsafe_agent::wire::Status;
use vouchsafe_agent::wire::message::{
    AttestationResult, KeyMechanism, PkixEvidence, PlatformMechanism, TpmCertify, TpmCertifyX509, TpmQuote,
};
use vouchsafe_evidence::bundle::{AttestationBundle, AttestationStatement};
use vouchsafe_evidence::limits::{NONCE_OCTETS_MAX, NONCE_OCTETS_MIN};
use vouchsafe_evidence::oid::Oid;
use vouchsafe_evidence::x509::{CertView, SpkiView};
use vouchsafe_verifier::hex;

use crate::agent_socket::failure;
use crate::failure::Failure;
use crate::key_kind::KeyKind;

/// PCRs that are quoted unless said otherwise: firmware, its configuration, boot loader and Secure Boot policy.
const DEFAULT_PCRS: &str = "sha256:0,1,2,3,4,5,6,7";

/// How keys are attested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mechanism {
    /// TPM2_Certify.
    TpmCertify,
    /// TPM2_CertifyX509: the TPM itself signs a certificate.
    TpmCertifyX509,
    /// PKIX Evidence: of modules that are no TPMs, where the agent's configuration enables it.
    PkixEvidence,
}

/// What is attested, and with what.
#[derive(Clone, Debug, Default, Args)]
pub struct Choice {
    /// How the key is attested; as its module can, if it is not given: by tpm-certify in a TPM, else by pkix-evidence.
    #[arg(long, value_enum)]
    pub mechanism: Option<Mechanism>,
    /// The key that attests; the administrator's default, if it is not given.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub attesting_key: String,
    /// Have the platform attested too: a TPM by a quote over PCRs, with which it tells its firmware version and clock; others
    /// by pkix-evidence (needs the grant attest-platform).
    #[arg(long)]
    pub platform: bool,
    /// The PCRs to be quoted: a bank and indices.
    #[arg(long, value_name = "BANK:N,N..", default_value = DEFAULT_PCRS)]
    pub pcrs: String,
    /// For pkix-evidence: the type of a claim to ask for, dotted decimal; what the module discloses by default, if none is
    /// given. May be repeated.
    #[arg(long, value_name = "OID")]
    pub claim: Vec<String>,
    /// For pkix-evidence with --platform: one Evidence about both in place of two.
    #[arg(long, requires = "platform")]
    pub one_evidence: bool,
}

impl Choice {
    /// The PCRs that are quoted unless said otherwise.
    pub const fn default_pcrs() -> &'static str {
        DEFAULT_PCRS
    }

    /// Whether one Evidence is to speak of key and platform.
    const fn is_one(&self) -> bool {
        match self.mechanism {
            Some(Mechanism::PkixEvidence) => self.platform && self.one_evidence,
            Some(Mechanism::TpmCertify | Mechanism::TpmCertifyX509) | None => false,
        }
    }

    /// This choice with a mechanism: the one that is named, or the first by which the agent can attest this key.
    fn resolved(&self, client: &mut Client, key: &str) -> Result<Self, Failure> {
        let mut resolved = self.clone();
        if resolved.mechanism.is_none() {
            let listed = client
                .list_mechanisms_of_key(key)
                .map_err(|fault| failure(format!("the key {key} was not attested"), &fault))?;
            let names = |mechanism: &Mechanism| {
                listed
                    .iter()
                    .any(|row| row.subject == "key" && Mechanism::from_str(&row.name, false).as_ref() == Ok(mechanism))
            };
            // Of a key that nothing attests the agent itself says why.
            let known = Mechanism::value_variants().iter().copied().find(names);
            resolved.mechanism = Some(known.unwrap_or(Mechanism::TpmCertify));
        }
        Ok(resolved)
    }

    fn evidence(&self) -> PkixEvidence {
        PkixEvidence { claims: self.claim.clone(), with_platform: self.is_one(), request: Vec::new() }
    }
}

/// Attestations of one key, and perhaps of the platform.
#[derive(Clone, Debug)]
pub struct Attested {
    /// The answers as a CSR carries them.
    pub bundle: AttestationBundle,
    /// The certificate that the TPM made with its chain, leaf first; empty for mechanisms that make none.
    pub tpm_made: Vec<CertView>,
}

/// Has `key` attested, and the platform if `choice` says so.
///
/// # Errors
/// [`Failure`] if the agent refuses.
pub fn attest(
    client: &mut Client,
    key: &str,
    nonce: &[u8],
    choice: &Choice,
    certificate: TpmCertifyX509,
) -> Result<Attested, Failure> {
    let choice = choice.resolved(client, key)?;
    let mechanism = match choice.mechanism {
        Some(Mechanism::TpmCertify) | None => KeyMechanism::TpmCertify(TpmCertify {}),
        Some(Mechanism::TpmCertifyX509) => KeyMechanism::TpmCertifyX509(certificate),
        Some(Mechanism::PkixEvidence) => KeyMechanism::PkixEvidence(choice.evidence()),
    };
    let of_key = client
        .attest_key(key, &choice.attesting_key, nonce, mechanism)
        .map_err(|fault| failure(format!("the key {key} was not attested"), &fault))?;
    let mut answers = vec![of_key];
    if choice.platform && !choice.is_one() {
        answers.push(attest_platform(client, &choice, nonce)?);
    }
    bundle(&answers)
}

/// Has the platform attested, by what goes with the mechanism for the key: a quote, where none is named.
///
/// # Errors
/// [`Failure`] if the agent refuses.
pub fn attest_platform(client: &mut Client, choice: &Choice, nonce: &[u8]) -> Result<AttestationResult, Failure> {
    let mechanism = match choice.mechanism {
        Some(Mechanism::TpmCertify | Mechanism::TpmCertifyX509) | None => {
            PlatformMechanism::TpmQuote(pcrs(&choice.pcrs)?)
        }
        Some(Mechanism::PkixEvidence) => PlatformMechanism::PkixEvidence(choice.evidence()),
    };
    client
        .attest_platform(&choice.attesting_key, nonce, mechanism)
        .map_err(|fault| failure("the platform was not attested", &fault))
}

/// The attestations in one bundle, each certificate once.
///
/// # Errors
/// [`Failure`] if the agent's answers are not what they must be.
pub fn bundle(answers: &[AttestationResult]) -> Result<Attested, Failure> {
    let strange = |why: String| {
        Failure::new("the agent's attestation cannot be read")
            .because(why)
            .next("use a client of the same version as the agent")
    };
    let read = |der: &Vec<u8>| CertView::parse(der).map_err(|error| strange(error.to_string()));
    let mut statements = Vec::new();
    let mut certificates: Vec<CertView> = Vec::new();
    let mut tpm_made = Vec::new();
    for answer in answers {
        let oid = Oid::from_dotted(&answer.statement_oid).ok_or_else(|| strange(answer.statement_oid.clone()))?;
        statements.push(AttestationStatement::new(oid, answer.statement.clone()));
        let chain = answer.certificates.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if !answer.certificate.is_empty() {
            tpm_made.push(read(&answer.certificate)?);
            tpm_made.extend(chain.iter().cloned());
        }
        for certificate in chain {
            if !certificates.contains(&certificate) {
                certificates.push(certificate);
            }
        }
    }
    let bundle = AttestationBundle::new(statements, certificates).map_err(|defect| strange(defect.to_string()))?;
    Ok(Attested { bundle, tpm_made })
}

/// A bank and indices such as `sha256:0,2,7`.
fn pcrs(text: &str) -> Result<TpmQuote, Failure> {
    let wrong =
        || Failure::new(format!("--pcrs {text} is no selection")).next("write a bank and indices: sha256:0,2,7");
    let (bank, indices) = text.split_once(':').ok_or_else(wrong)?;
    let indices: Result<Vec<u32>, _> = indices.split(',').map(str::parse).collect();
    Ok(TpmQuote { bank: bank.to_owned(), indices: indices.map_err(|_| wrong())? })
}

/// A nonce in hexadecimal; nothing for none.
///
/// # Errors
/// [`Failure`] unless it is 16 to 64 octets.
pub fn nonce(text: Option<&str>) -> Result<Vec<u8>, Failure> {
    let Some(text) = text else { return Ok(Vec::new()) };
    hex::decode(text).filter(|octets| (NONCE_OCTETS_MIN..=NONCE_OCTETS_MAX).contains(&octets.len())).ok_or_else(|| {
        Failure::new("--nonce cannot be used").next("give 16 to 64 octets in hexadecimal, as the Verifier sent them")
    })
}

/// A key of the caller's, or one that is lent to it, as the agent knows it.
#[derive(Clone, Debug)]
pub struct OwnKey {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: KeyKind,
    /// Its public part.
    pub spki: SpkiView,
}

impl OwnKey {
    /// The caller's key of this name, or the one that is lent to it: `CLIENT/NAME`, or `CLIENT/PROVIDER/NAME`.
    ///
    /// # Errors
    /// [`Failure`] if there is none, or one of a kind that other clients make.
    pub fn find(client: &mut Client, name: &str) -> Result<Self, Failure> {
        Self::look_up(client, name)?.ok_or_else(|| {
            Failure::new(format!("you have no key {name}"))
                .next(format!("`vouchsafe key create {name}` makes one, `vouchsafe key list` shows those you have"))
        })
    }

    /// The caller's key of this name, if there is one.
    ///
    /// # Errors
    /// [`Failure`] if it is of a kind that is not known here.
    pub fn look_up(client: &mut Client, name: &str) -> Result<Option<Self>, Failure> {
        let keys = client.list_keys().map_err(|fault| failure("the keys cannot be listed", &fault))?;
        // A key of that name at another provider is another key.
        let provider = u32::from(client.provider().0);
        let Some(info) = keys.iter().find(|info| info.name == name && info.provider_id == provider) else {
            return Self::lent(client, name);
        };
        let kind = KeyKind::of(info).ok_or_else(|| {
            Failure::new(format!("the key {name} has a type or algorithm that is not used here"))
                .next("use the client that made it, or another key")
        })?;
        let exported = client
            .export_public_key(name)
            .map_err(|fault| failure(format!("the key {name} cannot be shown"), &fault))?;
        Ok(Some(Self { name: name.to_owned(), kind, spki: kind.spki(&exported)? }))
    }

    /// The key that is lent to the caller as `CLIENT/NAME`, if that is a name of this form and there is one. No listing shows
    /// such keys; which kind it is, its public half says, and the agent refuses an algorithm that its owner did not give it.
    fn lent(client: &mut Client, name: &str) -> Result<Option<Self>, Failure> {
        if name.parse::<KeyReference>().is_err() {
            return Ok(None);
        }
        let exported = match client.export_public_key(name) {
            Ok(exported) => exported,
            Err(fault) if fault.status() == Some(Status::PsaErrorDoesNotExist) => return Ok(None),
            Err(fault) => return Err(failure(format!("the key {name} cannot be shown"), &fault)),
        };
        let kind = KeyKind::of_public(&exported).ok_or_else(|| {
            Failure::new(format!("the key {name} is of a kind that is not used here"))
                .next("use the client that made it, or another key")
        })?;
        Ok(Some(Self { name: name.to_owned(), kind, spki: kind.spki(&exported)? }))
    }

    /// Signs `message`; the signature in the form that certificates carry.
    ///
    /// # Errors
    /// [`Failure`] if the agent refuses.
    pub fn sign(&self, client: &mut Client, message: &[u8]) -> Result<Vec<u8>, Failure> {
        let digest = self.kind.hash().digest(&[message]);
        let signature = client
            .sign_hash(&self.name, self.kind.signature(), &digest)
            .map_err(|fault| failure(format!("the key {} did not sign", self.name), &fault))?;
        Ok(self.kind.x509_signature(&signature))
    }
}
