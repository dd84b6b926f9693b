//! Endorsement keys and their certificates (TCG EK Credential Profile).

use std::mem::discriminant;

use tracing::{info, warn};
use vouchsafe_evidence::limits::{CERTIFICATE_OCTETS, CERTIFICATES_PARSED};
use vouchsafe_evidence::tpm::credential::IdObject;
use vouchsafe_evidence::tpm::marshal::Reader;
use vouchsafe_evidence::tpm::template::EkTemplate;
use vouchsafe_evidence::tpm::{PublicParameters, TpmtPublic};
use vouchsafe_evidence::x509::der::Reader as DerReader;
use vouchsafe_evidence::x509::{CertView, SpkiView};
use zeroize::Zeroizing;

use super::TpmProvider;
use super::attesting::AttestationKey;
use super::blob::Blob;
use super::root::free_handle;
use crate::provider::{ActivatedKey, Activation, ActivationParameters, Endorsement, Fault, KeyBlob};
use crate::tpm::{AuthValue, Hierarchy, Object, ResponseCode, Tpm, der};

/// NV indices of the endorsement hierarchy's certificates, templates and nonces.
const FIRST_INDEX: u32 = 0x01C0_0000;
/// NV indices of the certificate chain.
const CHAIN_INDICES: std::ops::RangeInclusive<u32> = 0x01C0_0100..=0x01C0_01FF;
/// Persistent handles of endorsement keys.
const FIRST_HANDLE: u32 = 0x8101_0001;
const LAST_HANDLE: u32 = 0x8101_00FF;
/// Octets of a TPM2B_ID_OBJECT and of a TPM2B_ENCRYPTED_SECRET, above any that a TPM makes or takes.
const CREDENTIAL_OCTETS: usize = 1024;

/// The template of the endorsement key of a TPM that has no certificate for any: what owners of such TPMs have listed.
const UNCERTIFIED: EkTemplate = EkTemplate::L1;

/// An endorsement key that this TPM holds.
pub(super) struct EndorsementKey {
    template: EkTemplate,
    object: Object,
    public: TpmtPublic,
    /// Its certificate; none for the one key of a TPM that holds no certificate for any.
    certificate: Option<Vec<u8>>,
}

/// Every endorsement key with a certificate, and the helpers stored beside them; else the default key without one.
pub(super) struct EndorsementKeys {
    keys: Vec<EndorsementKey>,
    chain: Vec<Vec<u8>>,
}

impl EndorsementKeys {
    /// Reads certificates from NV, and finds or makes the key of each.
    pub(super) fn find(tpm: &mut Tpm) -> Result<Self, Fault> {
        let indices = tpm.handles(FIRST_INDEX)?;
        let mut keys = Vec::new();
        for template in EkTemplate::ALL {
            if !indices.contains(&template.certificate_index()) {
                continue;
            }
            let Some(certificate) = certificate_at(tpm, template.certificate_index())? else {
                continue;
            };
            match key_of(tpm, template, &indices, Some(certificate.spki()))? {
                Some((object, public)) => {
                    let certificate = certificate.as_der().to_vec();
                    keys.push(EndorsementKey { template, object, public, certificate: Some(certificate) });
                }
                None => warn!(
                    template = template.label(),
                    "no endorsement key of this TPM fits the certificate in its NV memory"
                ),
            }
        }
        if keys.is_empty()
            && let Some((object, public)) = key_of(tpm, UNCERTIFIED, &indices, None)?
        {
            keys.push(EndorsementKey { template: UNCERTIFIED, object, public, certificate: None });
        }
        let chain = read_chain(tpm, &indices)?;
        Ok(Self { keys, chain })
    }

    /// What an authority needs to certify `attesting_key`.
    pub(super) fn describe(&self, attesting_key: &AttestationKey) -> Result<Endorsement, Fault> {
        if self.keys.is_empty() {
            return Err(Fault::NoEndorsementCertificate);
        }
        Ok(Endorsement {
            certificates: self.keys.iter().filter_map(|key| key.certificate.clone()).collect(),
            keys: self.keys.iter().filter_map(|key| key.public.spki()).map(|spki| spki.as_der().to_vec()).collect(),
            chain: self.chain.clone(),
            attesting_key: attesting_key.name.clone(),
            spki: attesting_key.spki.as_der().to_vec(),
            public: attesting_key.public.as_bytes().to_vec(),
            name: attesting_key.object.name().to_vec(),
            attestation: None,
        })
    }
}

impl EndorsementKeys {
    /// Whether there is the key that Parsec's clients make credentials for.
    pub(super) fn has_default(&self) -> bool {
        self.keys.iter().any(|key| key.template == EkTemplate::L1)
    }

    /// Whether a public area is that of one of them.
    pub(super) fn contains(&self, public: &TpmtPublic) -> bool {
        self.keys.iter().any(|key| key.public == *public)
    }

    /// What a credential for a key of a user is made of.
    pub(super) fn activation_parameters(&self, key: &KeyBlob) -> Result<ActivationParameters, Fault> {
        let missing = Fault::Missing { what: "endorsement key of RSA 2048" };
        let endorsement = self.keys.iter().find(|key| key.template == EkTemplate::L1).ok_or(missing)?;
        let blob = Blob::parse(key)?;
        let name = blob.public.name().ok_or(Fault::PurposeMismatch)?;
        Ok(ActivationParameters {
            name: name.as_bytes().to_vec(),
            public: blob.public.as_bytes().to_vec(),
            endorsement_key: der::subject_public_key(&endorsement.public).ok_or(Fault::PurposeMismatch)?,
        })
    }
}

fn certificate_at(tpm: &mut Tpm, index: u32) -> Result<Option<CertView>, Fault> {
    let Some(contents) = read_index(tpm, index)? else {
        return Ok(None);
    };
    match CertView::parse_padded(&contents) {
        Ok(certificate) => Ok(Some(certificate)),
        Err(malformed) => {
            warn!(index = format!("{index:#010x}"), %malformed, "unreadable endorsement certificate");
            Ok(None)
        }
    }
}

/// What an index holds; `None` if it may not be read or was never written, which is no reason to stop.
fn read_index(tpm: &mut Tpm, index: u32) -> Result<Option<Vec<u8>>, Fault> {
    let public = tpm.nv_read_public(index)?;
    match tpm.nv_read(&public) {
        Ok(contents) => Ok(Some(contents)),
        Err(Fault::Tpm { code, .. }) if !code.is_stale_handle() && code != ResponseCode::FAILURE => {
            warn!(index = format!("{index:#010x}"), %code, "unreadable NV index");
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

/// The key that the certificate speaks of, or without one the key of the template: a persistent one, or one made by the
/// template and then persisted.
fn key_of(
    tpm: &mut Tpm,
    template: EkTemplate,
    indices: &[u32],
    certified: Option<&SpkiView>,
) -> Result<Option<(Object, TpmtPublic)>, Fault> {
    let wanted = template_public(tpm, template, indices)?;
    let is_it = |public: &TpmtPublic| {
        public.spki().is_some_and(|spki| certified.is_none_or(|certified| spki.same_key(certified)))
            && public.attributes() == wanted.attributes()
            && public.auth_policy() == wanted.auth_policy()
            && discriminant(public.parameters()) == discriminant(wanted.parameters())
    };
    let persistent: Vec<u32> = tpm.handles(FIRST_HANDLE)?.into_iter().filter(|handle| *handle <= LAST_HANDLE).collect();
    for handle in &persistent {
        // A key of a kind not known here cannot be the one.
        match tpm.read_public(*handle) {
            Ok(public) if is_it(&public) => {
                return Ok(Some((Object::persistent(*handle, &public, AuthValue::empty()), public)));
            }
            Ok(_) => {}
            Err(fault @ Fault::Tpm { code: ResponseCode::FAILURE, .. }) => return Err(fault),
            Err(Fault::Tpm { .. } | Fault::ResponseMalformed(_)) if tpm.is_ready() => {}
            Err(fault) => return Err(fault),
        }
    }
    let (made, public) = match tpm.create_primary(Hierarchy::Endorsement, &wanted, &AuthValue::empty()) {
        Ok(made) => made,
        Err(Fault::Tpm { code, .. }) if code != ResponseCode::FAILURE => {
            warn!(template = template.label(), %code, "the TPM does not make this endorsement key");
            return Ok(None);
        }
        Err(fault) => return Err(fault),
    };
    if !is_it(&public) {
        tpm.flush(&made)?;
        return Ok(None);
    }
    let handle = free_handle(FIRST_HANDLE..=LAST_HANDLE, &persistent)?;
    let object = tpm.persist(&made, handle, &public)?;
    tpm.flush(&made)?;
    info!(template = template.label(), "endorsement key persisted");
    Ok(Some((object, public)))
}

/// The template with what the low range keeps in NV: another template altogether, or a nonce for its `unique` field.
fn template_public(tpm: &mut Tpm, template: EkTemplate, indices: &[u32]) -> Result<TpmtPublic, Fault> {
    let default = template.public();
    let Some((nonce_index, template_index)) = template.nonce_and_template_indices() else {
        return Ok(default);
    };
    let mut public = default;
    if indices.contains(&template_index)
        && let Some(contents) = read_index(tpm, template_index)?
    {
        match TpmtPublic::parse(&contents) {
            Ok(stored) => public = stored,
            Err(malformed) => warn!(template = template.label(), %malformed, "unreadable template in NV memory"),
        }
    }
    if indices.contains(&nonce_index)
        && let Some(nonce) = read_index(tpm, nonce_index)?
    {
        public = with_nonce(&public, &nonce);
    }
    Ok(public)
}

/// `nonce` at the start of `unique`, the rest of it as it was.
fn with_nonce(public: &TpmtPublic, nonce: &[u8]) -> TpmtPublic {
    let over = |field: &[u8]| -> Vec<u8> {
        let tail = field.get(nonce.len()..).unwrap_or_default();
        [nonce, tail].concat()
    };
    let mut parameters = public.parameters().clone();
    match &mut parameters {
        PublicParameters::Rsa { modulus, .. } => *modulus = over(modulus),
        PublicParameters::Ecc { x, .. } => *x = over(x),
        PublicParameters::KeyedHash { .. } | PublicParameters::SymCipher { .. } => {}
    }
    TpmtPublic::build(public.name_alg(), public.attributes(), public.auth_policy(), parameters)
}

/// The chain: indices ascending until the first gap, concatenated, split by the certificates' own lengths.
fn read_chain(tpm: &mut Tpm, indices: &[u32]) -> Result<Vec<Vec<u8>>, Fault> {
    let mut all = Vec::new();
    for index in CHAIN_INDICES {
        if !indices.contains(&index) {
            break;
        }
        match read_index(tpm, index)? {
            Some(contents) => all.extend(contents),
            None => break,
        }
    }
    Ok(split_certificates(&all))
}

/// The certificates at the start of `all`; what follows the last one, padding mostly, is left out.
fn split_certificates(all: &[u8]) -> Vec<Vec<u8>> {
    let mut certificates = Vec::new();
    let mut rest = all;
    while certificates.len() < CERTIFICATES_PARSED {
        let element = DerReader::new(rest, "endorsement certificate chain").element();
        let Some(der) = element.ok().map(|element| element.as_der()).filter(|der| der.len() <= CERTIFICATE_OCTETS)
        else {
            break;
        };
        if CertView::parse(der).is_err() {
            break;
        }
        certificates.push(der.to_vec());
        rest = rest.get(der.len()..).unwrap_or_default();
    }
    certificates
}

impl TpmProvider {
    pub(super) fn activate_once(&mut self, activation: Activation<'_>) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let activated = match activation.key {
            ActivatedKey::Attesting(name) => self.attesting_key(name)?.object.clone(),
            ActivatedKey::Own(key) => self.load_key(key, None)?.object,
        };
        let (Some(credential), Some(secret)) = (only_tpm2b(activation.credential), only_tpm2b(activation.secret))
        else {
            return Err(Fault::ActivationRefused);
        };
        let Ok(id_object) = IdObject::parse(credential) else {
            return Err(Fault::ActivationRefused);
        };
        for key in self.prepared.endorsement.keys.iter().filter(|key| fits(key, &id_object, secret)) {
            match open_credential(&mut self.tpm, key, &activated, credential, secret) {
                Ok(opened) => return Ok(opened),
                // Any code may come of a credential that is not for these keys, TPM_RC_FAILURE among them (A25): it says
                // nothing about the TPM.
                Err(Fault::Tpm { command: "TPM2_ActivateCredential", code }) if !code.is_stale_handle() => {}
                Err(fault) => return Err(fault),
            }
        }
        Err(Fault::ActivationRefused)
    }
}

fn open_credential(
    tpm: &mut Tpm,
    key: &EndorsementKey,
    activated: &Object,
    credential: &[u8],
    secret: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    if !key.template.needs_policy() {
        return tpm.activate_credential(activated, &key.object, None, credential, secret);
    }
    let mut session = tpm.start_policy_session()?;
    let opened = tpm
        .policy_secret_endorsement(&session)
        .and_then(|()| tpm.activate_credential(activated, &key.object, Some(&mut session), credential, secret));
    if tpm.is_ready() {
        tpm.end_session(&session)?;
    }
    opened
}

/// Whether a credential can be for this key, going by sizes alone.
fn fits(key: &EndorsementKey, credential: &IdObject, secret: &[u8]) -> bool {
    let secret_len = match key.public.parameters() {
        PublicParameters::Rsa { key_bits, .. } => usize::from(*key_bits) / 8,
        PublicParameters::Ecc { curve, .. } => curve.field_len().saturating_add(2).saturating_mul(2),
        PublicParameters::KeyedHash { .. } | PublicParameters::SymCipher { .. } => return false,
    };
    secret.len() == secret_len && credential.integrity_hmac.len() == key.template.name_alg().digest_len()
}

fn only_tpm2b(input: &[u8]) -> Option<&[u8]> {
    let mut r = Reader::new(input, "TPM2B");
    let contents = r.tpm2b(CREDENTIAL_OCTETS).ok()?;
    r.finish().ok()?;
    Some(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_overwrites_the_start_of_unique() {
        let PublicParameters::Rsa { modulus, .. } = with_nonce(&EkTemplate::L1.public(), &[7; 3]).parameters().clone()
        else {
            panic!("not RSA");
        };
        assert_eq!(modulus.len(), 256);
        assert_eq!(modulus[..5], [7, 7, 7, 0, 0]);
        let PublicParameters::Ecc { x, y, .. } = with_nonce(&EkTemplate::L2.public(), &[7; 32]).parameters().clone()
        else {
            panic!("not ECC");
        };
        assert_eq!((x, y), (vec![7; 32], vec![0; 32]));
    }

    #[test]
    fn padding_is_no_certificate() {
        assert!(split_certificates(&[]).is_empty());
        assert!(split_certificates(&[0; 100]).is_empty());
        assert!(split_certificates(&[0xFF; 100]).is_empty());
    }
}
