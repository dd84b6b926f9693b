//! Attesting keys that host software drives, such as those of a PKCS#11 token: which may be enrolled, the proof that
//! somebody holds them, and what a module's maker says of them.
//!
//! Such a key signs whatever it is given, so that nothing about it can be read from what it signs: its certificate says
//! `host`, whatever method enrolled it.

use vouchsafe_evidence::ak_possession::{AkPossession, PossessionProof, PossessionPurpose};
use vouchsafe_evidence::formats::pkix_evidence::EvidenceView;
use vouchsafe_evidence::input::{Form, Submission};
use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::{NamedCurve, PublicKey, SpkiView};

use crate::crypto::{SignatureAlgorithm, SignatureBudget, VerificationCache, verify_signature};
use crate::formats::pkix_evidence::is_signed_by;
use crate::policy::{Policy, RevocationDemand};
use crate::rejection::{Rejection, codes};
use crate::request::{Request, verify};
use crate::time::Instant;
use crate::trust::TrustStore;
use crate::verdict::Verdict;

/// Octets of the moduli of RSA keys that may attest.
const RSA_OCTETS: std::ops::RangeInclusive<usize> = 256..=512;
/// What an attesting key's own attestation must say.
const ATTESTED_AK_POLICY: &str = include_str!("attested-ak.toml");
/// Formats in which a maker vouches for keys that can sign what PKIX Evidence needs. In the others a TPM vouches, whose
/// attesting keys sign for themselves, or a key that signs assertions alone.
const FORMATS_OF_MAKERS: [&str; 9] = [
    "crypto4a-qasm",
    "entrust-nshield",
    "fortanix-dsm",
    "gcp-cloudhsm",
    "pkix-evidence",
    "securosys-primus",
    "thales-luna",
    "yubihsm2",
    "yubikey-piv",
];

/// An attesting key that host software drives, of a kind that may be enrolled.
///
/// Only [`qualify_host_ak`] makes one. That anybody holds it is for [`HostAk::verify_possession`] to show.
#[derive(Clone, Debug)]
pub struct HostAk {
    spki: SpkiView,
    algorithm: SignatureAlgorithm,
}

/// Judges whether a key of this kind may be enrolled: ECDSA on P-256, P-384 or P-521, Ed25519, ML-DSA-65, or RSA of 2048
/// to 4096 bits.
///
/// # Errors
/// `ak.key-type`.
pub fn qualify_host_ak(spki: &SpkiView) -> Result<HostAk, Rejection> {
    let algorithm = match spki.key() {
        PublicKey::Ec { curve: NamedCurve::P256, .. } => SignatureAlgorithm::Ecdsa(HashAlg::Sha256),
        PublicKey::Ec { curve: NamedCurve::P384, .. } => SignatureAlgorithm::Ecdsa(HashAlg::Sha384),
        PublicKey::Ec { curve: NamedCurve::P521, .. } => SignatureAlgorithm::Ecdsa(HashAlg::Sha512),
        PublicKey::Ed25519(_) => SignatureAlgorithm::Ed25519,
        PublicKey::MlDsa65(_) => SignatureAlgorithm::MlDsa65,
        PublicKey::Rsa { modulus, .. } if RSA_OCTETS.contains(&modulus.len()) => {
            SignatureAlgorithm::RsaPkcs1(HashAlg::Sha256)
        }
        PublicKey::Rsa { .. } | PublicKey::Unknown { .. } => return Err(Rejection::plain(codes::AK_KEY_TYPE)),
    };
    Ok(HostAk { spki: spki.clone(), algorithm })
}

impl HostAk {
    /// Its public key.
    #[must_use]
    pub const fn spki(&self) -> &SpkiView {
        &self.spki
    }

    /// The one algorithm by which it proves that somebody holds it: ECDSA with the hash of the curve's size, Ed25519,
    /// ML-DSA-65, or RSASSA-PKCS1-v1_5 with SHA-256.
    #[must_use]
    pub const fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Checks the answer to a challenge.
    ///
    /// Evidence counts where it is about no key: what a service lets its own clients have made of their keys, over a nonce
    /// of their choice, shows only that they are its clients. For a successor it never counts, since whoever may have
    /// Evidence made could then put a key of their own in this one's place.
    ///
    /// # Errors
    /// `ak.possession`.
    pub fn verify_possession(&self, possession: &AkPossession<'_>, proof: &PossessionProof) -> Result<(), Rejection> {
        let refused =
            |why: &str| Rejection::new(codes::AK_POSSESSION, format!("{} ({why})", codes::AK_POSSESSION.meaning));
        let mut budget = SignatureBudget::new();
        match proof {
            PossessionProof::Signature(signature) => {
                let message = possession.to_bytes();
                verify_signature(&mut budget, &self.spki, self.algorithm, &message, signature)
                    .map_err(|error| refused(&error.to_string()))
            }
            PossessionProof::Evidence(evidence) => {
                match possession.purpose {
                    PossessionPurpose::Enrolment | PossessionPurpose::Renewal => {}
                    PossessionPurpose::Succession => {
                        return Err(refused("for its successor the key signs itself, by no Evidence"));
                    }
                }
                let view = EvidenceView::parse(evidence).map_err(|_| refused("the Evidence is malformed"))?;
                if !view.elements().keys.is_empty() {
                    return Err(refused("the Evidence is about a key, and so may be made for any client"));
                }
                if view.elements().nonce() != Some(possession.nonce().as_slice()) {
                    return Err(refused("the Evidence answers another challenge"));
                }
                if is_signed_by(&view, &self.spki, &mut budget) {
                    Ok(())
                } else {
                    Err(refused("no signature of the Evidence is by this key"))
                }
            }
        }
    }
}

/// An attesting key that its module's maker vouches for: generated in a module, never able to leave it.
///
/// Only [`authenticate_attested_ak`] makes one.
#[derive(Clone, Debug)]
pub struct AttestedAk {
    verdict: Verdict,
}

impl AttestedAk {
    /// The verdict, for the record.
    pub const fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The module's identifier, such as `yubihsm2:7550076`, where the attestation signs one.
    #[must_use]
    pub fn device_id(&self) -> Option<&str> {
        self.verdict.device().map(|device| device.id.as_str())
    }

    /// Whether the maker's root is marked as one of software or virtual modules.
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        [&self.verdict.platform().claims, self.verdict.attesting_key()]
            .iter()
            .any(|claims| claims.is("kind", "virtual"))
    }
}

/// Judges a maker's attestation of the key that is to attest others. It must show that the key was generated in its
/// module, could never leave it and signs, by the module's own word and not by that of a host, and it must rest on the
/// maker: what an owner or another authority vouches for is no retrofit with a maker's root behind it.
///
/// Of freshness nothing is asked: the key itself answers a challenge ([`HostAk::verify_possession`]).
///
/// # Errors
/// Every violation: of the verdict, `ak.attestation-format`, `ak.attestation-not-makers`.
pub fn authenticate_attested_ak(
    evidence: &Submission,
    key: &HostAk,
    trust: &TrustStore,
    revocation: RevocationDemand,
    at: Instant,
    cache: Option<&VerificationCache>,
) -> Result<AttestedAk, Vec<Rejection>> {
    match evidence.form() {
        Form::Evidence => {}
        Form::Csr(_) | Form::Crmf(_) | Form::PublishedCertificate(_) | Form::EndorsementKey(_) => {
            return Err(vec![Rejection::plain(codes::AK_ATTESTATION_FORMAT)]);
        }
    }
    let policy =
        Policy::from_toml(ATTESTED_AK_POLICY).map_err(|_| vec![Rejection::plain(codes::AK_ATTESTATION_FORMAT)])?;
    let policy = policy.with_revocation(revocation);
    let request = Request::new(evidence, trust, &policy, at).expected_key(key.spki());
    let verdict = match cache {
        Some(cache) => verify(&request.verification_cache(cache)),
        None => verify(&request),
    };
    let mut violations = verdict.reasons().to_vec();
    if verdict.formats_by_statement().iter().flatten().any(|format| !is_of_maker(*format)) {
        violations.push(Rejection::plain(codes::AK_ATTESTATION_FORMAT));
    }
    if rests_on_another(&verdict) {
        violations.push(Rejection::plain(codes::AK_ATTESTATION_NOT_MAKERS));
    }
    if violations.is_empty() && !verdict.is_accepted() {
        violations.push(Rejection::plain(codes::BIND_NO_KEY_STATEMENT));
    }
    if violations.is_empty() { Ok(AttestedAk { verdict }) } else { Err(violations) }
}

fn is_of_maker(format: FormatId) -> bool {
    match format {
        FormatId::Listed(_) => FORMATS_OF_MAKERS.contains(&format.id()),
        FormatId::TpmCertify
        | FormatId::TpmQuote
        | FormatId::TpmCertifyX509
        | FormatId::TpmEk
        | FormatId::KeyPop
        | FormatId::Cmw => false,
    }
}

/// Whether somebody but the maker vouches for the key that signed: an owner with a signing key of their own, or an
/// authority that tied it to its module by another method. Else a key enrolled by first use could vouch for the next.
fn rests_on_another(verdict: &Verdict) -> bool {
    let claims = verdict.attesting_key();
    let is_enrolled = claims.named("bootstrap").is_some_and(|claim| claim.value != super::Method::Manufacturer.label());
    claims.is("signer", "own") || is_enrolled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_of_attested_keys_loads() {
        assert_eq!(Policy::from_toml(ATTESTED_AK_POLICY).unwrap().name(), "attested-attesting-key");
    }

    #[test]
    fn every_listed_format_is_told_apart_by_name() {
        let known: Vec<&str> = FormatId::all().map(FormatId::id).collect();
        for format in FORMATS_OF_MAKERS {
            assert!(known.contains(&format), "{format}");
            assert!(is_of_maker(FormatId::from_id(format).unwrap()));
        }
        for format in ["tpm-certify", "tpm-quote", "tpm-certify-x509", "tpm-ek", "key-pop", "cmw", "webauthn-tpm"] {
            assert!(!is_of_maker(FormatId::from_id(format).unwrap()), "{format}");
        }
    }
}
