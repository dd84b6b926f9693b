//! Key ceremonies: whether enough of the named witnesses signed one true record of how an attesting key came to be.
//!
//! Everything is checked over the original octets of one file, which needs nothing beside it but the witnesses' public
//! keys, so that it can be checked again years later:
//!
//! 1. the file and the transcript in it are in their one encoding, within bounds;
//! 2. **every** signature is that of a witness whom the transcript names and whom the caller knows, none counted twice;
//! 3. there are as many as the caller demands, and as the transcript itself demands;
//! 4. the script was followed to its end: each step in its place, of its kind, on one machine, committing to the step
//!    before, its clock never behind;
//! 5. the attesting key signed the record up to there itself, so that somebody held it in their module.
//!
//! What witnesses saw is not evidence of a module: a ceremony says who vouches for a key. It never makes a claim that
//! the module's own attestation would have to make.

pub mod codes;
mod proof;
mod script;

use vouchsafe_evidence::ceremony::{
    AkFamily, DIGEST_OCTETS, FILE_OCTETS, JoseAlgorithm, ModuleIdentity, NamedKey, SignedTranscript, Time, Transcript,
    WITNESSES, WitnessSignature, sha256, thumbprint,
};
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::{PublicKey, SpkiView, build};
use vouchsafe_evidence::{Malformed, Reason};

use crate::crypto::{PssSalt, SignatureAlgorithm, SignatureBudget, SignatureError, verify_signature};
use crate::rejection::Rejection;
use crate::time::Instant;

/// Signature checks of one file: those of all witnesses, and of the attesting key's proof.
const SIGNATURE_CHECKS: usize = WITNESSES + 8;

/// Octets of the shortest RSA modulus whose signatures count (NIST SP 800-131A).
const RSA_OCTETS_MIN: usize = 256;

/// The witnesses whom a relying party knows, and how many of them it wants to have signed.
#[derive(Clone, Debug)]
pub struct Witnesses {
    keys: Vec<NamedKey>,
    threshold: usize,
}

impl Witnesses {
    /// These witnesses, of whom `threshold` must have signed.
    ///
    /// # Errors
    /// `ceremony.threshold` unless it is at least one and at most as many as there are witnesses,
    /// `ceremony.witness-twice` if two have one name or one key, `ceremony.witness-key` if one's key is of a kind that
    /// signs no JWS, `ceremony.oversize` beyond [`WITNESSES`].
    pub fn new(keys: Vec<NamedKey>, threshold: usize) -> Result<Self, Rejection> {
        check_list(&keys)?;
        check_threshold(u64::try_from(threshold).unwrap_or(u64::MAX), keys.len())?;
        Ok(Self { keys, threshold })
    }

    /// Who they are.
    #[must_use]
    pub fn keys(&self) -> &[NamedKey] {
        &self.keys
    }

    /// How many must have signed.
    #[must_use]
    pub const fn threshold(&self) -> usize {
        self.threshold
    }
}

/// An attesting key for which enough witnesses vouch.
///
/// Only [`verify`] makes one.
#[derive(Clone, Debug)]
pub struct Witnessed {
    file: SignedTranscript,
    sha256: [u8; DIGEST_OCTETS],
    witnesses: Vec<String>,
    module: ModuleIdentity,
    key: SpkiView,
    family: AkFamily,
    ended: Time,
}

impl Witnessed {
    /// The attesting key.
    #[must_use]
    pub const fn attesting_key(&self) -> &SpkiView {
        &self.key
    }

    /// The family of statements that the witnesses say it is for.
    #[must_use]
    pub const fn family(&self) -> AkFamily {
        self.family
    }

    /// Vendor, model, serial number and firmware of the module, as the witnesses saw them.
    #[must_use]
    pub const fn module(&self) -> &ModuleIdentity {
        &self.module
    }

    /// SHA-256 of the whole file.
    #[must_use]
    pub const fn sha256(&self) -> &[u8; DIGEST_OCTETS] {
        &self.sha256
    }

    /// Who signed, by the names under which the caller knows them, in the order of the signatures: the approvers.
    #[must_use]
    pub fn witnesses(&self) -> &[String] {
        &self.witnesses
    }

    /// When the last step was done.
    #[must_use]
    pub const fn ended(&self) -> &Time {
        &self.ended
    }

    /// Everything that was recorded.
    #[must_use]
    pub const fn transcript(&self) -> &Transcript {
        self.file.transcript()
    }

    /// The record with its signatures, all of which hold.
    #[must_use]
    pub const fn file(&self) -> &SignedTranscript {
        &self.file
    }
}

/// Verifies the file of a ceremony.
///
/// # Errors
/// The first `ceremony.*` that applies, in the order of this module's list.
pub fn verify(bytes: &[u8], witnesses: &Witnesses, at: Instant) -> Result<Witnessed, Rejection> {
    let file = read(bytes)?;
    let names = check_signatures(&file, witnesses)?;
    let told = script::check(file.transcript(), at)?;
    let (module, key, family, ended) = (told.module.clone(), told.key.clone(), told.family, told.ended.clone());
    Ok(Witnessed { sha256: sha256(bytes), witnesses: names, module, key, family, ended, file })
}

/// Reads a file, signed by whomever.
///
/// # Errors
/// `ceremony.oversize` or `ceremony.malformed`.
pub fn read(bytes: &[u8]) -> Result<SignedTranscript, Rejection> {
    if bytes.len() > FILE_OCTETS {
        let found = format!("The file has {} octets; {FILE_OCTETS} are read.", bytes.len());
        return Err(Rejection::new(codes::OVERSIZE, found));
    }
    SignedTranscript::parse(bytes).map_err(unreadable)
}

/// The refusal of a transcript or a file that cannot be read.
#[must_use]
pub fn unreadable(defect: Malformed) -> Rejection {
    match defect.reason {
        Reason::OverLimit { .. } => {
            Rejection::new(codes::OVERSIZE, format!("The record of the ceremony is larger than is read: {defect}."))
        }
        Reason::BadValue(_)
        | Reason::Duplicate(_)
        | Reason::NotDer(_)
        | Reason::Missing(_)
        | Reason::Trailing(_)
        | Reason::Truncated(_)
        | Reason::Unexpected(_) => {
            Rejection::new(codes::MALFORMED, format!("The record of the ceremony cannot be read: {defect}."))
        }
    }
}

/// Whether a transcript, signed or not, is one that a witness may sign: the script was followed to its end.
///
/// # Errors
/// The first `ceremony.*` that applies.
pub fn check_transcript(transcript: &Transcript, at: Instant) -> Result<(), Rejection> {
    script::check(transcript, at).map(|_| ())
}

/// Whether what was recorded so far follows the script, one machine and its clock; more steps may follow.
///
/// # Errors
/// The first `ceremony.*` that applies.
pub fn check_so_far(transcript: &Transcript) -> Result<(), Rejection> {
    script::check_so_far(transcript)
}

/// Checks every signature, and that there are as many as the caller and the transcript demand; who signed.
///
/// # Errors
/// The first `ceremony.*` that applies.
pub fn check_signatures(file: &SignedTranscript, witnesses: &Witnesses) -> Result<Vec<String>, Rejection> {
    let head = &file.transcript().head;
    check_list(&head.witnesses)?;
    check_threshold(head.threshold, head.witnesses.len())?;
    let mut budget = SignatureBudget::with_limit(SIGNATURE_CHECKS);
    let mut signers: Vec<[u8; DIGEST_OCTETS]> = Vec::new();
    let mut names = Vec::new();
    for signature in file.signatures() {
        let named = witness_of(&head.witnesses, signature)
            .ok_or_else(|| Rejection::new(codes::UNKNOWN_WITNESS, unknown(signature, "the ceremony names")))?;
        let known = witness_of(&witnesses.keys, signature)
            .ok_or_else(|| Rejection::new(codes::UNKNOWN_WITNESS, unknown(signature, "are known here")))?;
        if signers.contains(&signature.key_id) {
            let message = format!("{} signed twice, and counts once.", named.name);
            return Err(Rejection::new(codes::WITNESS_TWICE, message));
        }
        check_signature(&mut budget, file, signature, known)?;
        signers.push(signature.key_id);
        names.push(known.name.clone());
    }
    let demanded = usize::try_from(head.threshold).unwrap_or(usize::MAX).max(witnesses.threshold);
    if names.len() < demanded {
        let found = format!("{} witnesses signed; {demanded} are wanted.", names.len());
        return Err(Rejection::new(codes::TOO_FEW, found));
    }
    Ok(names)
}

fn unknown(signature: &WitnessSignature, of: &str) -> String {
    let thumbprint = vouchsafe_evidence::base64url::encode(&signature.key_id);
    format!("The key with thumbprint {thumbprint} signed, and is of none of the witnesses who {of}.")
}

fn witness_of<'a>(witnesses: &'a [NamedKey], signature: &WitnessSignature) -> Option<&'a NamedKey> {
    witnesses.iter().find(|witness| thumbprint(&witness.key) == Some(signature.key_id))
}

/// Checks one signature with the key of the witness who is said to have made it, before it is put into the file.
///
/// # Errors
/// `ceremony.bad-signature`, `ceremony.witness-key`, or `ceremony.malformed` where it is not in its one form.
pub fn check_witness(
    file: &SignedTranscript,
    signature: &WitnessSignature,
    witness: &NamedKey,
) -> Result<(), Rejection> {
    check_signature(&mut SignatureBudget::with_limit(1), file, signature, witness)
}

fn check_signature(
    budget: &mut SignatureBudget,
    file: &SignedTranscript,
    signature: &WitnessSignature,
    witness: &NamedKey,
) -> Result<(), Rejection> {
    // Of two signatures that verify one counts, or the file would have two encodings.
    if !signature.is_in_one_form() {
        let message =
            format!("The signature of {} has the larger s of two; s must be at most half the order.", witness.name);
        return Err(Rejection::new(codes::MALFORMED, message));
    }
    let input = file.signing_input(signature.algorithm, &signature.key_id);
    check_jose(budget, &witness.key, signature.algorithm, &input, &signature.signature).map_err(|error| {
        let code = if error == SignatureError::Invalid { codes::BAD_SIGNATURE } else { codes::WITNESS_KEY };
        Rejection::new(code, format!("The signature of {} does not count: {error}.", witness.name))
    })
}

/// Checks a signature in the form that JOSE has: that of ECDSA is r and s, each as wide as the field (RFC 7518, 3.4).
fn check_jose(
    budget: &mut SignatureBudget,
    key: &SpkiView,
    jose: JoseAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let algorithm = match jose {
        JoseAlgorithm::EdDsa => SignatureAlgorithm::Ed25519,
        JoseAlgorithm::Es256 => SignatureAlgorithm::Ecdsa(HashAlg::Sha256),
        JoseAlgorithm::Es384 => SignatureAlgorithm::Ecdsa(HashAlg::Sha384),
        JoseAlgorithm::Es512 => SignatureAlgorithm::Ecdsa(HashAlg::Sha512),
        JoseAlgorithm::Ps256 => SignatureAlgorithm::RsaPss(HashAlg::Sha256, PssSalt::Digest),
        JoseAlgorithm::Rs256 => SignatureAlgorithm::RsaPkcs1(HashAlg::Sha256),
    };
    if !jose.fits(key) {
        return Err(SignatureError::KeyMismatch { algorithm });
    }
    let Some(curve) = jose.ecdsa_curve() else {
        return verify_signature(budget, key, algorithm, message, signature);
    };
    let (r, s) = signature.split_at_checked(curve.field_octets()).ok_or(SignatureError::Invalid)?;
    if s.len() != curve.field_octets() {
        return Err(SignatureError::Invalid);
    }
    verify_signature(budget, key, algorithm, message, &build::ecdsa_signature(r, s))
}

fn check_threshold(threshold: u64, witnesses: usize) -> Result<(), Rejection> {
    if threshold == 0 || usize::try_from(threshold).is_ok_and(|threshold| threshold > witnesses) {
        let message = format!(
            "{threshold} of {witnesses} witnesses must sign; it has to be at least one, and no more than there are."
        );
        return Err(Rejection::new(codes::THRESHOLD, message));
    }
    Ok(())
}

/// Whether it is an RSA key whose signatures would not count: better said before a ceremony than after it.
fn is_short(key: &SpkiView) -> bool {
    match key.key() {
        PublicKey::Rsa { modulus, .. } => modulus.len() < RSA_OCTETS_MIN,
        PublicKey::Ec { .. } | PublicKey::Ed25519(_) | PublicKey::MlDsa65(_) | PublicKey::Unknown { .. } => false,
    }
}

/// Nobody is in a list twice, by name or by key.
fn check_list(witnesses: &[NamedKey]) -> Result<(), Rejection> {
    if witnesses.len() > WITNESSES {
        let message = format!("There are {} witnesses; {WITNESSES} are read.", witnesses.len());
        return Err(Rejection::new(codes::OVERSIZE, message));
    }
    for (place, witness) in witnesses.iter().enumerate() {
        if JoseAlgorithm::of_key(&witness.key).is_none() || is_short(&witness.key) {
            let message =
                format!("The key of {} is too short, or of a kind with which witnesses do not sign.", witness.name);
            return Err(Rejection::new(codes::WITNESS_KEY, message));
        }
        for other in witnesses.iter().take(place) {
            if other.name == witness.name {
                let message = format!("Two witnesses are called {}.", witness.name);
                return Err(Rejection::new(codes::WITNESS_TWICE, message));
            }
            if other.key.same_key(&witness.key) {
                let message = format!("{} and {} are two names for one key.", other.name, witness.name);
                return Err(Rejection::new(codes::WITNESS_TWICE, message));
            }
        }
    }
    Ok(())
}
