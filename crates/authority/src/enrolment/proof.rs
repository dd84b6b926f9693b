//! What each method asks for, and what it establishes about the module that holds a key.

use vouchsafe_evidence::ceremony::AkFamily;
use vouchsafe_evidence::limits::CERTIFICATES_PARSED;
use vouchsafe_evidence::x509::{CertView, SpkiView};
use vouchsafe_verifier::enrolment::{
    AuthenticatedEk, Environment, HostAk, Method, authenticate_attested_ak, authenticate_ek_under, ek_parameters,
};
use vouchsafe_verifier::{Instant, Verdict, ceremony};

use super::{ChallengedEk, CheckedKey, delimited, endorsement_key};
use crate::ak_certificate;
use crate::appraisal::recognize;
use crate::config::Account;
use crate::error::{Error, own_codes};
use crate::record::sha256;
use crate::request::{ChallengeRequest, EkOffer, Offer, Voucher};
use crate::service::{Service, rejected};
use crate::store::{Digest, InventoryRow, ListedIdentity, Proof};

/// Prefix of what identities of modules without an endorsement key are digests of.
const IDENTITY_CONTEXT: &[u8] = b"Vouchsafe module identity";

/// What a method established.
#[derive(Debug)]
pub(crate) struct Established {
    /// What tells the module from others.
    pub(crate) identity: Digest,
    /// The endorsement key to be challenged, of a TPM.
    pub(crate) ek: Option<ChallengedEk>,
    /// The endorsement certificate; empty where there is none.
    pub(crate) ek_certificate: Vec<u8>,
    /// Whether the module is known to be, or may be, one in software.
    pub(crate) is_virtual: bool,
    /// For the record.
    pub(crate) proof: Proof,
}

impl Service {
    /// What the request's method establishes about the module. `key` is the key if its kind is one that may be enrolled;
    /// where it is not, what else is wrong is found first, as for its endorsement key.
    pub(super) fn establish(
        &self,
        account: &Account,
        request: &ChallengeRequest,
        key: Option<&CheckedKey>,
    ) -> Result<Established, Error> {
        match (&request.offer, key) {
            (Offer::Tpm { ek: EkOffer::Certified(certificates), .. }, _) => self.certified_ek(certificates),
            (Offer::Tpm { ek: EkOffer::Listed(spki), .. }, _) => self.listed_ek(account, &request.device, spki),
            (Offer::Tpm { ek: EkOffer::FirstUse(spki), .. }, _) => first_ek(spki),
            (Offer::Host { voucher, .. }, Some(CheckedKey::Host(ak))) => match voucher {
                Voucher::Maker(evidence) => self.attested_key(evidence, ak),
                Voucher::Listed { vendor, serial } => self.listed_serial(account, &request.device, vendor, serial),
                Voucher::Witnesses(file) => self.witnessed_key(&request.device, file, ak),
                Voucher::FirstUse => Ok(first_key(ak)),
            },
            (Offer::Host { ak_spki, .. }, Some(CheckedKey::Tpm(_)) | None) => {
                CheckedKey::host(ak_spki).and(Err(Error::Worker))
            }
        }
    }

    /// `manufacturer`, of a TPM: a path from the endorsement certificate to a vendor root.
    fn certified_ek(&self, certificates: &[Vec<u8>]) -> Result<Established, Error> {
        let ek = self.authenticate_ek(certificates)?;
        let (key, identity) = endorsement_key(ek.spki())?;
        let certificate = ek.certificate().as_der().to_vec();
        // One whose names cannot be copied is found now, not after the TPM answered.
        ak_certificate::module_name(&certificate)
            .map_err(|_| Error::Malformed { field: "ek_certificates", expected: "module names that are there once" })?;
        Ok(Established {
            identity,
            ek: Some(ChallengedEk { key, parameters: ek.parameters() }),
            is_virtual: ek.is_virtual(),
            proof: proof(Method::Manufacturer, Environment::Module, sha256(&certificate), Vec::new()),
            ek_certificate: certificate,
        })
    }

    fn authenticate_ek(&self, certificates: &[Vec<u8>]) -> Result<AuthenticatedEk, Error> {
        const EXPECTED: &str = "1 to 512 certificates, base64 of DER";
        if !(1..=CERTIFICATES_PARSED).contains(&certificates.len()) {
            return Err(Error::Malformed { field: "ek_certificates", expected: EXPECTED });
        }
        // Real endorsement certificates are read from NV with padding behind the DER.
        let certificates: Result<Vec<CertView>, _> =
            certificates.iter().map(|der| CertView::parse_padded(der)).collect();
        let malformed = |_| Error::Malformed { field: "ek_certificates", expected: EXPECTED };
        let certificates = certificates.map_err(malformed)?;
        let at = Instant::from_unix_seconds(self.now());
        let revocation = self.policy.revocation();
        authenticate_ek_under(&certificates, &self.trust_store(), revocation, at, Some(&self.signatures))
            .map_err(|rejection| rejected(&[rejection]))
    }

    /// `inventory`, of a TPM: the operator's list names the endorsement key.
    fn listed_ek(&self, account: &Account, device: &str, spki: &[u8]) -> Result<Established, Error> {
        let (ek, identity) = bare_ek(spki)?;
        let row = self.listed(account, device, &ListedIdentity::EndorsementKey(identity))?;
        Ok(Established {
            identity,
            ek: Some(ek),
            ek_certificate: Vec::new(),
            is_virtual: row.is_virtual,
            proof: proof(Method::Inventory, Environment::Module, row.digest, vec![row.approver]),
        })
    }

    /// `inventory`, of another module: the operator's list names a serial number. Nothing shows who presents it, so that the
    /// first key stands until it is revoked.
    fn listed_serial(&self, account: &Account, device: &str, vendor: &str, serial: &str) -> Result<Established, Error> {
        let named = ListedIdentity::Serial { vendor: vendor.to_owned(), serial: serial.to_owned() };
        let row = self.listed(account, device, &named)?;
        Ok(Established {
            identity: module_identity(&named),
            ek: None,
            ek_certificate: Vec::new(),
            is_virtual: row.is_virtual,
            proof: proof(Method::Inventory, Environment::Host, row.digest, vec![row.approver]),
        })
    }

    fn listed(&self, account: &Account, device: &str, named: &ListedIdentity) -> Result<InventoryRow, Error> {
        let row = self.store.listed(named)?;
        // One answer, so that nobody reads the list by asking.
        let row = row.filter(|row| row.device == device && row.account == account.name());
        row.ok_or_else(|| own_codes::NOT_LISTED.refusal())
    }

    /// `manufacturer`, of another module: its maker attests the very key.
    fn attested_key(&self, evidence: &[Vec<u8>], key: &HostAk) -> Result<Established, Error> {
        let at = Instant::from_unix_seconds(self.now());
        let submission = recognize(evidence)
            .map_err(|error| rejected(Verdict::on_unusable_input(&error, &self.policy, at).reasons()))?;
        let (trust, revocation) = (self.trust_store(), self.policy.revocation());
        let attested = authenticate_attested_ak(&submission, key, &trust, revocation, at, Some(&self.signatures))
            .map_err(|rejections| rejected(&rejections))?;
        let parts: Vec<&[u8]> = evidence.iter().map(Vec::as_slice).collect();
        let identity = match attested.device_id() {
            Some(id) => identity("evidence", &[id.as_bytes()]),
            None => identity("key", &[&key.spki().sha256()]),
        };
        Ok(Established {
            identity,
            ek: None,
            ek_certificate: Vec::new(),
            is_virtual: attested.is_virtual(),
            proof: proof(Method::Manufacturer, Environment::Host, sha256(&delimited(&parts)), Vec::new()),
        })
    }

    /// `ceremony`: enough of the configured witnesses signed what they saw of this very key.
    fn witnessed_key(&self, device: &str, file: &[u8], key: &HostAk) -> Result<Established, Error> {
        // Without witnesses the method is not offered, which was checked before.
        let witnesses = self.enrolment.witnesses.as_ref().ok_or(Error::MethodNotPermitted(Method::Ceremony))?;
        let at = Instant::from_unix_seconds(self.now());
        let witnessed = ceremony::verify(file, witnesses, at).map_err(|rejection| rejected(&[rejection]))?;
        match witnessed.family() {
            AkFamily::PkixEvidence => {}
            AkFamily::Tpm => return Err(own_codes::KEY_NOT_OF_METHOD.refusal()),
        }
        if !witnessed.attesting_key().same_key(key.spki()) {
            return Err(own_codes::CEREMONY_OTHER_KEY.refusal());
        }
        if witnessed.transcript().head.device.as_ref().is_some_and(|named| named != device) {
            return Err(own_codes::CEREMONY_OTHER_DEVICE.refusal());
        }
        let module = witnessed.module();
        Ok(Established {
            identity: identity("serial", &[module.vendor.as_bytes(), module.serial.as_bytes()]),
            ek: None,
            ek_certificate: Vec::new(),
            is_virtual: self.enrolment.virtual_ceremonies,
            proof: proof(Method::Ceremony, Environment::Host, *witnessed.sha256(), witnessed.witnesses().to_vec()),
        })
    }
}

/// `first-use`, of a TPM: nobody vouches for the endorsement key. That it is a chip's nobody says either.
fn first_ek(spki: &[u8]) -> Result<Established, Error> {
    let (ek, identity) = bare_ek(spki)?;
    Ok(Established {
        identity,
        ek: Some(ek),
        ek_certificate: Vec::new(),
        is_virtual: true,
        proof: proof(Method::FirstUse, Environment::Module, identity, Vec::new()),
    })
}

/// `first-use`, of another module: the key is all that is known of it.
fn first_key(key: &HostAk) -> Established {
    let digest = key.spki().sha256();
    Established {
        identity: identity("key", &[&digest]),
        ek: None,
        ek_certificate: Vec::new(),
        is_virtual: true,
        proof: proof(Method::FirstUse, Environment::Host, digest, Vec::new()),
    }
}

fn bare_ek(spki: &[u8]) -> Result<(ChallengedEk, Digest), Error> {
    const EXPECTED: &str = "base64 of a SubjectPublicKeyInfo";
    let spki = SpkiView::parse(spki).map_err(|_| Error::Malformed { field: "ek_public", expected: EXPECTED })?;
    let parameters = ek_parameters(&spki).map_err(|rejection| rejected(&[rejection]))?;
    let (key, identity) = endorsement_key(&spki)?;
    Ok((ChallengedEk { key, parameters }, identity))
}

/// Whether the method vouches for one key of the account on a device at a time: nothing tells the module of a key that host
/// software drives from others but a name, or the key.
pub(super) const fn stands_alone(proof: &Proof) -> bool {
    match proof.environment {
        Environment::Module => false,
        Environment::Host => match proof.method {
            Method::Inventory | Method::FirstUse => true,
            Method::Manufacturer | Method::Ceremony => false,
        },
    }
}

const fn proof(method: Method, environment: Environment, digest: Digest, approvers: Vec<String>) -> Proof {
    Proof { method, environment, digest, approvers }
}

/// The identity of the module that the inventory lists so.
pub(crate) fn module_identity(listed: &ListedIdentity) -> Digest {
    match listed {
        ListedIdentity::EndorsementKey(digest) => *digest,
        ListedIdentity::Serial { vendor, serial } => identity("serial", &[vendor.as_bytes(), serial.as_bytes()]),
    }
}

/// The identity of a module by something else than its endorsement key. What kind of name it is belongs to it, so that
/// no two kinds meet.
fn identity(kind: &str, parts: &[&[u8]]) -> Digest {
    let mut all: Vec<&[u8]> = vec![IDENTITY_CONTEXT, kind.as_bytes()];
    all.extend(parts);
    sha256(&delimited(&all))
}
