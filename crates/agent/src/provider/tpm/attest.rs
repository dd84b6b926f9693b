//! Attestations of keys and of the platform.

use vouchsafe_evidence::oid;
use vouchsafe_evidence::statement::{TpmCertify, TpmCertifyX509, TpmQuote};
use vouchsafe_evidence::tpm::{Attested, PcrBank, PcrSelection, TpmtPublic};
use vouchsafe_evidence::x509::SpkiView;

use super::attesting::{self, families};
use super::blob::Blob;
use super::loaded::LoadedKey;
use super::{TpmProvider, certificate};
use crate::provider::{
    Attestation, AttestationSubject, AttestingKeyChoice, CertificateTemplate, Family, Fault, FormatId, Hash, KeyBlob,
    KeyMechanism, KeyPurpose, MECHANISMS, Mechanism, MechanismName, PlatformMechanism,
};
use crate::tpm::{Object, SignScheme};

/// How often a quote is made again because a register was extended before its values were read.
const ATTEMPTS: usize = 8;

/// What a client's attesting key is able to sign.
pub(super) fn families_of(key: &KeyBlob) -> Result<Vec<Family>, Fault> {
    let blob = Blob::parse(key)?;
    Ok(if blob.purpose == KeyPurpose::Attest { families(&blob.public) } else { Vec::new() })
}

/// A TPM signs structures of its own and no Evidence.
const fn no_evidence() -> Fault {
    Fault::MechanismMissing { mechanism: MechanismName::PkixEvidence, of: "by a TPM" }
}

/// What a mechanism is refused with that an attesting key does not serve.
pub(super) const fn not_by_this_attesting_key(mechanism: MechanismName) -> Fault {
    Fault::MechanismMissing { mechanism, of: "by this attesting key" }
}

/// The key that attests, as chosen.
struct Signer {
    object: Object,
    public: TpmtPublic,
    spki: SpkiView,
    families: Vec<Family>,
    /// Its certificates for the family of the mechanism, its own first; may be empty.
    certificates: Vec<Vec<u8>>,
}

impl TpmProvider {
    /// The mechanisms of this TPM, or of one key in it, in the table's order.
    pub(super) fn offered_mechanisms(&self, key: Option<&KeyBlob>) -> Result<Vec<Mechanism>, Fault> {
        let key = key.map(Blob::parse).transpose()?;
        if key.as_ref().is_some_and(|key| key.parent != self.prepared.root.key().name()) {
            return Err(Fault::KeyLost);
        }
        let offers = |name| match name {
            MechanismName::TpmCertify | MechanismName::TpmQuote => self.has_attesting_key_for(Family::Attest),
            MechanismName::TpmCertifyX509 => {
                self.prepared.has_certify_x509 && self.has_attesting_key_for(Family::CertifyX509)
            }
            MechanismName::TpmActivateCredential => self.prepared.endorsement.has_default(),
            MechanismName::PkixEvidence => false,
        };
        let of = |row: &Mechanism| key.is_none() || row.subject == AttestationSubject::Key;
        Ok(MECHANISMS.into_iter().filter(|row| of(row) && offers(row.name)).collect())
    }

    fn has_attesting_key_for(&self, family: Family) -> bool {
        self.prepared.attesting.iter().any(|key| key.families().contains(&family))
    }

    /// The key that attests by this mechanism, which must be of that family.
    fn signer(
        &mut self,
        choice: AttestingKeyChoice<'_>,
        mechanism: MechanismName,
        family: Family,
    ) -> Result<Signer, Fault> {
        let signer = match choice {
            AttestingKeyChoice::Default => self.named_signer("", family)?,
            AttestingKeyChoice::Named(name) => self.named_signer(name, family)?,
            AttestingKeyChoice::Own { key, certificates } => {
                let LoadedKey { object, public, .. } = self.load_key(key, Some(KeyPurpose::Attest))?;
                let spki = public.spki().ok_or(Fault::PurposeMismatch)?;
                let families = families(&public);
                Signer { object, public, spki, families, certificates: certificates.to_vec() }
            }
        };
        if signer.families.contains(&family) { Ok(signer) } else { Err(not_by_this_attesting_key(mechanism)) }
    }

    fn named_signer(&self, name: &str, family: Family) -> Result<Signer, Fault> {
        let key = self.attesting_key(name)?;
        Ok(Signer {
            object: key.object.clone(),
            public: key.public.clone(),
            spki: key.spki.clone(),
            families: key.families(),
            certificates: attesting::certificates(self.store.as_ref(), key, family)?,
        })
    }

    pub(super) fn attest_key_once(
        &mut self,
        key: &KeyBlob,
        choice: AttestingKeyChoice<'_>,
        mechanism: &KeyMechanism,
        nonce: &[u8],
    ) -> Result<Attestation, Fault> {
        match mechanism {
            KeyMechanism::TpmCertify => self.certify(key, choice, nonce),
            KeyMechanism::TpmCertifyX509(template) => self.certify_x509(key, choice, template, nonce),
            KeyMechanism::PkixEvidence(_) => Err(no_evidence()),
        }
    }

    fn certify(&mut self, key: &KeyBlob, choice: AttestingKeyChoice<'_>, nonce: &[u8]) -> Result<Attestation, Fault> {
        let signer = self.signer(choice, MechanismName::TpmCertify, Family::Attest)?;
        let LoadedKey { object, public, .. } = self.load_key(key, None)?;
        let certified = self.tpm.certify(&object, &signer.object, nonce, SignScheme::KeysOwn)?;
        let statement = TpmCertify {
            attest: certified.attest.as_bytes().to_vec(),
            signature: certified.signature.to_bytes(),
            public: Some(public.as_bytes().to_vec()),
        };
        Ok(Attestation {
            format: FormatId::TpmCertify,
            statement_oid: oid::STATEMENT_TPM_CERTIFY,
            statement: statement.to_der(),
            certificates: signer.certificates,
            certificate: None,
        })
    }

    fn certify_x509(
        &mut self,
        key: &KeyBlob,
        choice: AttestingKeyChoice<'_>,
        template: &CertificateTemplate,
        nonce: &[u8],
    ) -> Result<Attestation, Fault> {
        let signer = self.signer(choice, MechanismName::TpmCertifyX509, Family::CertifyX509)?;
        let LoadedKey { object, public, .. } = self.load_key(key, None)?;
        let chain = if template.issuer_chain.is_empty() { signer.certificates } else { template.issuer_chain.clone() };
        let partial = certificate::partial(template, &chain, &signer.spki, public.attributes(), nonce)?;
        let certified = self.tpm.certify_x509(&object, &signer.object, SignScheme::KeysOwn, &partial)?;
        let hash = signer.public.signing_hash().ok_or(Fault::PurposeMismatch)?;
        let certificate = certificate::assemble(&partial, &certified, hash, &public)?;
        let der = certificate.as_der().to_vec();
        let statement = TpmCertifyX509 { certificate, public: Some(public.as_bytes().to_vec()) };
        Ok(Attestation {
            format: FormatId::TpmCertifyX509,
            statement_oid: oid::STATEMENT_TPM_CERTIFY_X509,
            statement: statement.to_der(),
            certificates: chain,
            certificate: Some(der),
        })
    }

    pub(super) fn attest_platform_once(
        &mut self,
        choice: AttestingKeyChoice<'_>,
        mechanism: &PlatformMechanism,
        nonce: &[u8],
    ) -> Result<Attestation, Fault> {
        match mechanism {
            PlatformMechanism::TpmQuote { bank, indices } => self.quote(choice, *bank, indices, nonce),
            PlatformMechanism::PkixEvidence(_) => Err(no_evidence()),
        }
    }

    fn quote(
        &mut self,
        choice: AttestingKeyChoice<'_>,
        bank: Hash,
        indices: &[u8],
        nonce: &[u8],
    ) -> Result<Attestation, Fault> {
        if indices.is_empty() {
            return Err(Fault::PcrSelection("none is selected"));
        }
        let signer = self.signer(choice, MechanismName::TpmQuote, Family::Attest)?;
        let hash = signer.public.signing_hash().ok_or(Fault::PurposeMismatch)?;
        let bank = bank.algorithm();
        let selected = PcrBank::new(bank, indices).map_err(|_| Fault::PcrSelection("only 0 to 23 can be selected"))?;
        let selection = PcrSelection::new(vec![selected]);
        for _ in 0..ATTEMPTS {
            let values = self.tpm.pcr_read(bank, indices)?.concatenated();
            let quote = self.tpm.quote(&signer.object, nonce, &selection)?;
            let covers = matches!(
                quote.attest.attested(),
                Attested::Quote { selection: quoted, pcr_digest } if *quoted == selection && *pcr_digest == hash.digest(&[&values])
            );
            if covers {
                let statement = TpmQuote {
                    attest: quote.attest.as_bytes().to_vec(),
                    signature: quote.signature.to_bytes(),
                    pcr_values: Some(values),
                };
                return Ok(Attestation {
                    format: FormatId::TpmQuote,
                    statement_oid: oid::STATEMENT_TPM_QUOTE,
                    statement: statement.to_der(),
                    certificates: signer.certificates,
                    certificate: None,
                });
            }
        }
        Err(Fault::PcrSelection("the registers change too often to be quoted with their values"))
    }
}
