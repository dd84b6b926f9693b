//! A machine whose owner drives its TPM by hand, as every owner may: nothing here goes through the agent, and nothing is
//! forbidden but by the TPM itself.

use vouchsafe_agent::provider::Fault;
use vouchsafe_agent::swtpm::Swtpm;
use vouchsafe_agent::tpm::{AuthValue, Certified, Duplicate, Hierarchy, Object, Sensitive, SignScheme, Ticket, Tpm};
use vouchsafe_evidence::bundle::AttestationStatement;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::statement::{TpmCertify, TpmQuote};
use vouchsafe_evidence::tpm::template::{EkTemplate, SigningKey, signing_key, storage_root_key};
use vouchsafe_evidence::tpm::{
    Curve, EccScheme, HashAlg, ObjectAttributes, PcrBank, PcrSelection, PublicParameters, Symmetric, TpmtPublic,
    TpmtSignature,
};
use vouchsafe_evidence::x509::build::{self, CertificateTemplate, PartialCertificate};
use vouchsafe_evidence::x509::{CertView, SpkiView};

use super::software::{SoftwareKey, algorithm, view};
use crate::authority_client::{AuthorityClient, Challenge, ChallengeRequest, NoAnswer, NoncePurpose, octets};
use crate::failure::Failure;

/// Where the storage root key is persisted.
const SRK_HANDLE: u32 = 0x8100_0001;
/// Where software TPMs keep their RSA endorsement key.
const EK_HANDLE: u32 = 0x8101_0001;
/// Octets of a TPM2B's size.
const SIZE_OCTETS: usize = 2;

/// The machine.
pub struct Machine {
    tpm: Tpm,
    storage: Object,
    storage_public: TpmtPublic,
    endorsement: Object,
    ek_certificate: Vec<u8>,
}

/// A key in the machine's TPM.
#[derive(Debug)]
pub struct LoadedKey {
    object: Object,
    /// The public area.
    pub public: TpmtPublic,
}

/// The certificates that an authority gave to an attestation key, its own first.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// For TPMS_ATTEST.
    pub attest: Vec<CertView>,
    /// For TPM2_CertifyX509, if the key may have one.
    pub certify_x509: Option<Vec<CertView>>,
}

fn failed(what: &'static str) -> impl FnOnce(Fault) -> Failure {
    move |fault| Failure::new(what).because(fault)
}

impl Machine {
    /// The machine with this TPM, which nobody else uses.
    ///
    /// # Errors
    /// [`Failure`] if the TPM refuses.
    pub fn new(swtpm: &Swtpm) -> Result<Self, Failure> {
        let open = || -> Result<Self, Fault> {
            let mut tpm = swtpm.connect()?;
            let empty = AuthValue::empty();
            let (made, public) = tpm.create_primary(Hierarchy::Owner, &storage_root_key(), &empty)?;
            let storage = tpm.persist(&made, SRK_HANDLE, &public)?;
            tpm.flush(&made)?;
            tpm.salt_sessions_to(SRK_HANDLE, public.clone());
            let endorsement = tpm.read_public(EK_HANDLE)?;
            let index = tpm.nv_read_public(EkTemplate::L1.certificate_index())?;
            let ek_certificate = tpm.nv_read(&index)?;
            let endorsement = Object::persistent(EK_HANDLE, &endorsement, AuthValue::empty());
            Ok(Self { tpm, storage, storage_public: public, endorsement, ek_certificate })
        };
        open().map_err(failed("the second TPM cannot be used"))
    }

    /// Makes an attestation key with these attributes.
    ///
    /// # Errors
    /// [`Failure`] if the TPM refuses.
    pub fn attestation_key(&mut self, attributes: u32) -> Result<LoadedKey, Failure> {
        let template = signing_key(SigningKey::EccP256, attributes, Some(HashAlg::Sha256), &attributes.to_be_bytes());
        self.make(&template).map_err(failed("an attestation key cannot be made"))
    }

    /// Makes a primary key of the endorsement hierarchy.
    ///
    /// # Errors
    /// [`Fault`] if the TPM refuses.
    pub fn make(&mut self, template: &TpmtPublic) -> Result<LoadedKey, Fault> {
        let (object, public) = self.tpm.create_primary(Hierarchy::Endorsement, template, &AuthValue::empty())?;
        Ok(LoadedKey { object, public })
    }

    /// Enrolls an attestation key under a device name: the authority challenges, this TPM answers.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn enroll(&mut self, authority: &AuthorityClient, device: &str, key: &LoadedKey) -> Result<Enrolled, NoAnswer> {
        let challenge = authority.challenge(&ChallengeRequest {
            device: device.to_owned(),
            ek_certificates: vec![self.ek_certificate.clone()],
            ek_keys: Vec::new(),
            ak_public: key.public.as_bytes().to_vec(),
            nonce: authority.nonce(NoncePurpose::AttestationKey)?,
            baseline: None,
        })?;
        let answer = self.answer(key, &challenge)?;
        let made = authority.activate(&challenge.id, &answer)?;
        let chain = |texts: &[String]| texts.iter().map(|text| view(&octets(text)?)).collect::<Result<Vec<_>, _>>();
        Ok(Enrolled {
            attest: chain(made.certificates.attest.as_deref().unwrap_or_default())?,
            certify_x509: made.certificates.certify_x509.as_deref().map(chain).transpose()?,
        })
    }

    /// Opens a challenge to a key.
    ///
    /// # Errors
    /// [`Failure`] if it was not made for this key in this TPM.
    pub fn answer(&mut self, key: &LoadedKey, challenge: &Challenge) -> Result<Vec<u8>, Failure> {
        let contents = |text: &str| Ok::<_, Failure>(octets(text)?.split_off(SIZE_OCTETS));
        let (credential, secret) = (contents(&challenge.credential_blob)?, contents(&challenge.secret)?);
        self.activate(&key.object, &credential, &secret).map_err(failed("the challenge was not met"))
    }

    fn activate(&mut self, key: &Object, credential: &[u8], secret: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut session = self.tpm.start_policy_session()?;
        self.tpm.policy_secret_endorsement(&session)?;
        let opened =
            self.tpm.activate_credential(key, &self.endorsement, Some(&mut session), credential, secret)?.to_vec();
        // The session has served; a leftover would only take up one of the TPM's few places.
        let _ended = self.tpm.end_session(&session);
        Ok(opened)
    }

    /// Imports a software key under the storage root key. The TPM notes where it comes from.
    ///
    /// # Errors
    /// [`Failure`] if the TPM refuses.
    pub fn import(&mut self, key: &SoftwareKey) -> Result<LoadedKey, Failure> {
        let (public, sensitive) = (public_from_outside(key), sensitive_of(key)?);
        let mut import = || -> Result<Object, Fault> {
            let duplicate = Duplicate::wrap(&self.storage_public, &public, &sensitive)?;
            let private = self.tpm.import(&self.storage, &duplicate)?;
            self.tpm.load(&self.storage, &private, &public, AuthValue::empty())
        };
        let object = import().map_err(failed("the key cannot be imported"))?;
        Ok(LoadedKey { object, public })
    }

    /// Loads a software key with its private part, without any parent, under this public area.
    ///
    /// # Errors
    /// [`Failure`] if the TPM refuses.
    pub fn load_external(&mut self, key: &SoftwareKey, public: TpmtPublic) -> Result<LoadedKey, Failure> {
        let sensitive = sensitive_of(key)?;
        let object = self.tpm.load_external(Some(&sensitive), &public).map_err(failed("the key cannot be loaded"))?;
        Ok(LoadedKey { object, public })
    }

    /// Frees the place that a key takes up in the TPM.
    ///
    /// # Errors
    /// [`Failure`] if the TPM refuses.
    pub fn flush(&mut self, key: &LoadedKey) -> Result<(), Failure> {
        self.tpm.flush(&key.object).map_err(failed("the key cannot be flushed"))
    }

    /// TPM2_Certify: a key statement.
    ///
    /// # Errors
    /// [`Failure`] if the TPM refuses.
    pub fn certify(&mut self, key: &LoadedKey, by: &LoadedKey, nonce: &[u8]) -> Result<AttestationStatement, Failure> {
        let Certified { attest, signature } = self
            .tpm
            .certify(&key.object, &by.object, nonce, SignScheme::KeysOwn)
            .map_err(failed("the TPM did not certify the key"))?;
        let statement = TpmCertify {
            attest: attest.as_bytes().to_vec(),
            signature: signature.to_bytes(),
            public: Some(key.public.as_bytes().to_vec()),
        };
        Ok(AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY, statement.to_der()))
    }

    /// TPM2_Quote: a platform statement.
    ///
    /// # Errors
    /// [`Failure`] if the TPM refuses.
    pub fn quote(&mut self, key: &LoadedKey, nonce: &[u8]) -> Result<AttestationStatement, Failure> {
        const PCRS: [u8; 4] = [0, 1, 2, 7];
        let bank = PcrBank::new(HashAlg::Sha256, &PCRS)
            .map_err(|error| Failure::new("the selection of PCRs is wrong").because(error))?;
        let quote = || -> Result<(Certified, Vec<u8>), Fault> {
            let values = self.tpm.pcr_read(HashAlg::Sha256, &PCRS)?.concatenated();
            Ok((self.tpm.quote(&key.object, nonce, &PcrSelection::new(vec![bank]))?, values))
        };
        let (Certified { attest, signature }, values) = quote().map_err(failed("the TPM did not quote"))?;
        let statement =
            TpmQuote { attest: attest.as_bytes().to_vec(), signature: signature.to_bytes(), pcr_values: Some(values) };
        Ok(AttestationStatement::new(oid::STATEMENT_TPM_QUOTE, statement.to_der()))
    }

    /// TPM2_CertifyX509: a certificate that the attestation key signs for a loaded object.
    ///
    /// # Errors
    /// [`Failure`] if the TPM refuses.
    pub fn certify_x509(
        &mut self,
        key: &LoadedKey,
        by: &LoadedKey,
        partial: &PartialCertificate,
    ) -> Result<CertView, Failure> {
        let partial = partial.to_der();
        let made = self
            .tpm
            .certify_x509(&key.object, &by.object, SignScheme::KeysOwn, &partial)
            .map_err(failed("the TPM did not make the certificate"))?;
        let tbs = build::merge_partial(&partial, &made.added)
            .map_err(|error| Failure::new("the TPM's certificate cannot be read").because(error))?;
        view(&build::assemble(&tbs, &algorithm(), &x509_signature(&made.signature)?))
    }

    /// TPM2_Hash and TPM2_Sign: a certificate that the attestation key signs because its bytes are not such as only a
    /// TPM makes.
    ///
    /// # Errors
    /// [`Failure`] if the TPM refuses.
    pub fn hash_and_sign(&mut self, key: &LoadedKey, template: &CertificateTemplate) -> Result<CertView, Failure> {
        let tbs = template.tbs_der();
        let mut sign = || -> Result<TpmtSignature, Fault> {
            let (digest, ticket): (Vec<u8>, Ticket) = self.tpm.hash(HashAlg::Sha256, &tbs)?;
            self.tpm.sign(&key.object, &digest, SignScheme::KeysOwn, &ticket)
        };
        let signature = sign().map_err(failed("the TPM did not sign"))?;
        view(&build::assemble(&tbs, &algorithm(), &x509_signature(&signature)?))
    }
}

impl LoadedKey {
    /// Its public key as certificates carry it.
    ///
    /// # Errors
    /// [`Failure`] if it has none.
    pub fn spki(&self) -> Result<SpkiView, Failure> {
        self.public.spki().ok_or_else(|| Failure::new("the attestation key has no public key"))
    }
}

/// The public area of a software key, as a TPM takes it: it refuses fixedTPM and fixedParent.
pub fn public_from_outside(key: &SoftwareKey) -> TpmtPublic {
    let attributes = ObjectAttributes::USER_WITH_AUTH | ObjectAttributes::NO_DA | ObjectAttributes::SIGN;
    public_with(key, attributes)
}

/// A public area that claims whatever is wanted of it.
pub fn public_with(key: &SoftwareKey, attributes: u32) -> TpmtPublic {
    let (x, y) = key.point();
    let parameters =
        PublicParameters::Ecc { symmetric: Symmetric::Null, scheme: EccScheme::Null, curve: Curve::P256, x, y };
    TpmtPublic::build(Some(HashAlg::Sha256), ObjectAttributes::from_bits(attributes), &[], parameters)
}

/// The private part of a software key, as a TPM takes it.
fn sensitive_of(key: &SoftwareKey) -> Result<Sensitive, Failure> {
    Ok(Sensitive { auth: AuthValue::empty(), private: key.scalar()?.into() })
}

fn x509_signature(signature: &TpmtSignature) -> Result<Vec<u8>, Failure> {
    match signature {
        TpmtSignature::Ecdsa { r, s, .. } => Ok(build::ecdsa_signature(r, s)),
        TpmtSignature::Rsapss { .. } | TpmtSignature::Rsassa { .. } => {
            Err(Failure::new("the attestation key is not of the kind that was asked for"))
        }
    }
}
