//! How an attesting key proves that its module holds it.

use super::encode::Object;
use super::read::Members;
use super::{DIGEST_OCTETS, JoseAlgorithm};
use crate::tpm::HashAlg;
use crate::x509::SpkiView;
use crate::{Malformed, Reason};

/// What the message of every proof begins with. No TPMS_ATTEST, no certificate and no TbsEvidence begins so.
pub const PROOF_CONTEXT: &[u8] = b"vouchsafe ceremony proof v1\0";

/// The family of statements that an attesting key is for, on which it depends what it may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AkFamily {
    /// `pkix-evidence`: a signing key of any module, used by software that reads the module's attributes.
    PkixEvidence,
    /// `tpm`: a restricted key of a TPM, which signs what the TPM made and nothing else.
    Tpm,
}

impl AkFamily {
    /// As a transcript writes it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::PkixEvidence => "pkix-evidence",
            Self::Tpm => "tpm",
        }
    }

    /// The family of this label.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        [Self::PkixEvidence, Self::Tpm].into_iter().find(|family| family.label() == label)
    }
}

/// A proof of possession.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// PKIX Evidence with [`proof_nonce`] as its nonce, signed by the attesting key.
    Evidence(Vec<u8>),
    /// A signature over [`proof_message`]; that of ECDSA is r and s side by side, as JOSE and PKCS #11 have it.
    Signature {
        /// By which algorithm.
        algorithm: JoseAlgorithm,
        /// Its octets.
        signature: Vec<u8>,
    },
    /// A TPMS_ATTEST with [`proof_nonce`] as its extraData, and its TPMT_SIGNATURE.
    TpmAttest {
        /// The TPMS_ATTEST.
        attest: Vec<u8>,
        /// The TPMT_SIGNATURE.
        signature: Vec<u8>,
    },
}

impl Proof {
    /// The name of its form.
    #[must_use]
    pub const fn form(&self) -> &'static str {
        match self {
            Self::Evidence(_) => "evidence",
            Self::Signature { .. } => "signature",
            Self::TpmAttest { .. } => "tpm-attest",
        }
    }

    pub(super) fn write(&self, object: Object) -> Object {
        let object = object.text("form", self.form());
        match self {
            Self::Evidence(evidence) => object.octets("evidence", evidence),
            Self::Signature { algorithm, signature } => {
                object.text("algorithm", algorithm.name()).octets("signature", signature)
            }
            Self::TpmAttest { attest, signature } => object.octets("attest", attest).octets("signature", signature),
        }
    }

    pub(super) fn read(members: Members<'_>) -> Result<Self, Malformed> {
        match members.text("form")?.as_str() {
            "evidence" => Ok(Self::Evidence(members.octets("evidence")?)),
            "signature" => {
                let algorithm = JoseAlgorithm::from_name(&members.text("algorithm")?)
                    .ok_or_else(|| members.error(Reason::Unexpected("an algorithm that is known")))?;
                Ok(Self::Signature { algorithm, signature: members.octets("signature")? })
            }
            "tpm-attest" => {
                Ok(Self::TpmAttest { attest: members.octets("attest")?, signature: members.octets("signature")? })
            }
            _ => Err(members.error(Reason::Unexpected("a form of proof that is known"))),
        }
    }
}

/// What an attesting key signs to prove possession: [`PROOF_CONTEXT`], the digest of the step before, SHA-256 of its
/// SubjectPublicKeyInfo.
///
/// The digest of the step before commits to all that came before it, the identifier of the ceremony and its witnesses
/// included: a proof made in one ceremony is none in another.
#[must_use]
pub fn proof_message(previous: &[u8; DIGEST_OCTETS], key: &SpkiView) -> Vec<u8> {
    [PROOF_CONTEXT, previous, &key.sha256()].concat()
}

/// SHA-256 of [`proof_message`], for statements with a place for a nonce.
#[must_use]
pub fn proof_nonce(previous: &[u8; DIGEST_OCTETS], key: &SpkiView) -> Vec<u8> {
    HashAlg::Sha256.digest(&[&proof_message(previous, key)])
}
