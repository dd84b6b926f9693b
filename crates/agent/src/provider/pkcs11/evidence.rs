//! `pkix-evidence`: what the token says of a key and of itself, signed by an attesting key (draft-ietf-rats-pkix-key-attestation).
//!
//! The agent reads the attributes and has the token sign them: the attesting environment is this host and not the module's
//! firmware. The certificate of the attesting key says so, and verifiers treat every claim accordingly. Nothing is claimed that
//! the token did not say, and of that only what was asked for; nonce and attesting key always stand in it, since they bind it.

use std::sync::Arc;

use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::types::Date;
use vouchsafe_evidence::emit::{Evidence, KeyClaims, PlatformClaims, Purpose, TbsEvidence};
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::{CertView, SpkiView};

use super::Pkcs11Provider;
use super::attesting::{self, AttestationKey, ready_to_sign};
use super::blob::Blob;
use super::objects::Attributes;
use super::platform::PlatformFacts;
use super::token::Live;
use super::{keys, pairing, scheme};
use crate::provider::mechanism::check_nonce;
use crate::provider::{
    Attestation, AttestationSubject, AttestingKeyChoice, ClaimSelection, Endorsement, EvidenceRequest, Fault, FormatId,
    KeyBlob, KeyKind, Mechanism, MechanismName,
};

/// A claim of the key element.
const fn key(number: u32) -> Oid {
    oid::within(oid::EVIDENCE_ARC, &[1, 2, number])
}

/// What is known of a key, each part if the token says it.
struct KeyFacts {
    identifier: String,
    spki: Arc<SpkiView>,
    attributes: Attributes,
    expiry: Option<i64>,
}

fn key_facts(live: &mut Live<'_>, blob: &Blob) -> Result<KeyFacts, Fault> {
    const TYPES: [AttributeType; 9] = [
        AttributeType::Extractable,
        AttributeType::Sensitive,
        AttributeType::NeverExtractable,
        AttributeType::Local,
        AttributeType::Sign,
        AttributeType::SignRecover,
        AttributeType::Decrypt,
        AttributeType::Unwrap,
        AttributeType::Derive,
    ];
    let resolved = keys::resolve_anew(live, blob)?;
    pairing::prove(live, blob, &resolved)?;
    // Either half may have a date; the key is good for no longer than the earlier of them.
    let dates = [end_date(live, resolved.private)?, end_date(live, resolved.public)?];
    let attributes = Attributes::read(live, resolved.private, &TYPES)?;
    let expiry = dates.into_iter().flatten().min();
    Ok(KeyFacts { identifier: blob.uid.to_string(), spki: resolved.spki, attributes, expiry })
}

/// CKA_END_DATE of an object. Some tokens keep one that they cannot show: that is none.
fn end_date(live: &Live<'_>, object: ObjectHandle) -> Result<Option<i64>, Fault> {
    match Attributes::read(live, object, &[AttributeType::EndDate]) {
        Ok(attributes) => Ok(attributes.iter().find_map(|attribute| match attribute {
            Attribute::EndDate(date) => end_of(date),
            _ => None,
        })),
        // A token that is lost fails at the next question too.
        Err(Fault::Token(fault)) if fault.says_nothing() => Ok(None),
        Err(fault) => Err(fault),
    }
}

impl KeyFacts {
    fn say(&self, mut claims: KeyClaims, asked: &ClaimSelection) -> KeyClaims {
        let flag = |number, attribute| self.attributes.flag(attribute).filter(|_| asked.asks_for(key(number), true));
        if asked.asks_for(key(1), true) {
            claims = claims.spki(self.spki.as_der());
        }
        if let Some(value) = flag(2, AttributeType::Extractable) {
            claims = claims.extractable(value);
        }
        if let Some(value) = flag(3, AttributeType::Sensitive) {
            claims = claims.sensitive(value);
        }
        if let Some(value) = flag(4, AttributeType::NeverExtractable) {
            claims = claims.never_extractable(value);
        }
        if let Some(value) = flag(5, AttributeType::Local) {
            claims = claims.local(value);
        }
        if let Some(seconds) = self.expiry.filter(|_| asked.asks_for(key(6), true)) {
            claims = claims.expiry(seconds);
        }
        match self.purposes() {
            Some(purposes) if asked.asks_for(key(7), true) => claims.purposes(&purposes),
            Some(_) | None => claims,
        }
    }

    /// Everything that the private key may be used for. None where the token keeps back a part of that: a list that is not
    /// complete would say that the rest is forbidden.
    fn purposes(&self) -> Option<Vec<Purpose>> {
        let mut purposes = Vec::new();
        for (attribute, purpose) in [
            (AttributeType::Decrypt, Purpose::Decrypt),
            (AttributeType::Unwrap, Purpose::Unwrap),
            (AttributeType::Sign, Purpose::Sign),
            (AttributeType::Derive, Purpose::Derive),
        ] {
            if self.attributes.flag(attribute)? {
                purposes.push(purpose);
            }
        }
        // Keys of curves have no such attribute.
        if self.attributes.flag(AttributeType::SignRecover) == Some(true) {
            purposes.push(Purpose::SignRecover);
        }
        Some(purposes)
    }
}

/// The last second of a day, in seconds since 1970-01-01T00:00:00Z; `None` for a date that is not set or none.
fn end_of(date: &Date) -> Option<i64> {
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<i64>().ok();
    let (year, month, day) = (number(&date.year)?, number(&date.month)?, number(&date.day)?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years from March on, so that the leap day is the last of its year (days from civil, proleptic Gregorian calendar).
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + 86_399)
}

/// The key that attests, as chosen.
struct Signer {
    blob: Blob,
    spki: Arc<SpkiView>,
    certificates: Vec<Vec<u8>>,
    /// Whether it is a user's, in the token of the users' keys.
    is_own: bool,
}

impl Pkcs11Provider {
    pub(super) fn offered_mechanisms(&self, key: Option<&KeyBlob>) -> Result<Vec<Mechanism>, Fault> {
        let row = |subject| MechanismName::PkixEvidence.row(subject);
        let kind = key.map(Blob::parse).transpose()?.map(|blob| blob.kind);
        let subjects = match kind {
            None => vec![AttestationSubject::Key, AttestationSubject::Platform],
            // Keys of that size are there for clients that still need them; nobody should rely on one.
            Some(KeyKind::Rsa1024) => Vec::new(),
            Some(_) => vec![AttestationSubject::Key],
        };
        Ok(subjects.into_iter().filter_map(row).collect())
    }

    pub(super) fn evidence_of_key(
        &mut self,
        key: &KeyBlob,
        choice: AttestingKeyChoice<'_>,
        request: &EvidenceRequest,
        nonce: &[u8],
    ) -> Result<Attestation, Fault> {
        check_nonce(nonce)?;
        let blob = Blob::parse(key)?;
        if blob.kind == KeyKind::Rsa1024 {
            return Err(Fault::MechanismMissing {
                mechanism: MechanismName::PkixEvidence,
                of: "for keys of this kind",
            });
        }
        let signer = self.signer(choice)?;
        let (facts, platform) = self.keys.with(self.store.as_ref(), |live| {
            let facts = key_facts(live, &blob)?;
            let platform = if request.with_platform { Some(PlatformFacts::read(live)?) } else { None };
            Ok((facts, platform))
        })?;
        let tbs = begin(&signer, nonce, platform.as_ref(), &request.claims)?.0;
        let tbs = tbs.key(&facts.identifier, |claims| facts.say(claims, &request.claims));
        self.signed(&signer, &tbs)
    }

    pub(super) fn evidence_of_platform(
        &mut self,
        choice: AttestingKeyChoice<'_>,
        request: &EvidenceRequest,
        nonce: &[u8],
    ) -> Result<Attestation, Fault> {
        check_nonce(nonce)?;
        let signer = self.signer(choice)?;
        let platform = self.keys.with(self.store.as_ref(), |live| PlatformFacts::read(live))?;
        let (tbs, said) = begin(&signer, nonce, Some(&platform), &request.claims)?;
        if said == 0 {
            return Err(Fault::Missing { what: "claim of those that were asked for" });
        }
        self.signed(&signer, &tbs)
    }

    /// What an authority is given to certify the attesting key of that name: the key, and what it says of itself.
    pub(super) fn endorse(&mut self, name: &str) -> Result<Endorsement, Fault> {
        let key = self.attesting_key(name)?;
        let signer = Signer { blob: key.blob, spki: key.spki, certificates: Vec::new(), is_own: false };
        let (token, store) = self.attesting_token();
        let facts = token.with(store, |live| {
            let facts = key_facts(live, &signer.blob)?;
            Ok((facts, PlatformFacts::read(live)?))
        })?;
        let (facts, platform) = facts;
        let everything = ClaimSelection::Default;
        let tbs = begin(&signer, &[], Some(&platform), &everything)?.0;
        let tbs = tbs.key(&facts.identifier, |claims| facts.say(claims, &everything));
        let attestation = self.signed(&signer, &tbs)?;
        Ok(Endorsement {
            keys: Vec::new(),
            certificates: Vec::new(),
            chain: Vec::new(),
            attesting_key: key.name,
            spki: signer.spki.as_der().to_vec(),
            public: Vec::new(),
            name: Vec::new(),
            attestation: Some(attestation),
        })
    }

    fn signer(&mut self, choice: AttestingKeyChoice<'_>) -> Result<Signer, Fault> {
        let name = match choice {
            AttestingKeyChoice::Default => "",
            AttestingKeyChoice::Named(name) => name,
            AttestingKeyChoice::Own { key, certificates } => {
                let blob = Blob::parse(key)?;
                let resolved = self.keys.with(self.store.as_ref(), |live| ready_to_sign(live, &blob))?;
                return Ok(Signer { blob, spki: resolved.spki, certificates: certificates.to_vec(), is_own: true });
            }
        };
        let key = match self.ready_attesting_key(name) {
            Err(Fault::KeyLost) => {
                // The token was initialized anew: the keys on record are looked for, and the default one is made again.
                self.attesting = None;
                self.ready_attesting_key(name)?
            }
            other => other?,
        };
        let certificates = attesting::certificates(self.store.as_ref(), &key.name)?;
        Ok(Signer { blob: key.blob, spki: key.spki, certificates, is_own: false })
    }

    fn ready_attesting_key(&mut self, name: &str) -> Result<AttestationKey, Fault> {
        let key = self.attesting_key(name)?;
        let (token, store) = self.attesting_token();
        token.with(store, |live| ready_to_sign(live, &key.blob))?;
        Ok(key)
    }

    fn signed(&mut self, signer: &Signer, tbs: &TbsEvidence) -> Result<Attestation, Fault> {
        let tbs = tbs.to_der();
        let unfit = Fault::Missing { what: "attesting key of this kind" };
        let Some(scheme) = scheme::attesting(signer.blob.kind) else { return Err(unfit) };
        let Some(algorithm) = scheme::algorithm_identifier(scheme) else { return Err(unfit) };
        let digest = scheme.hash().algorithm().digest(&[&tbs]);
        let (token, store) = if signer.is_own { (&mut self.keys, self.store.as_ref()) } else { self.attesting_token() };
        let signature = token.with(store, |live| {
            let key = ready_to_sign(live, &signer.blob)?;
            keys::sign(live, &key, scheme, &digest)
        })?;
        let signature = scheme::x509_signature(scheme, &signature);
        let mut evidence = Evidence::new(tbs);
        evidence = match signer.certificates.split_first() {
            Some((own, issuers)) => issuers
                .iter()
                .filter(|der| !is_self_issued(der))
                .fold(evidence.signed_by_certificate(own, &algorithm, &signature), |evidence, der| {
                    evidence.intermediate(der)
                }),
            None => evidence.signed_by_key(signer.spki.as_der(), &algorithm, &signature),
        };
        Ok(Attestation {
            format: FormatId::from_oid(oid::STATEMENT_PKIX_EVIDENCE).ok_or(Fault::Primitive("the table of formats"))?,
            statement_oid: oid::STATEMENT_PKIX_EVIDENCE,
            statement: evidence.to_der(),
            certificates: signer.certificates.clone(),
            certificate: None,
        })
    }
}

/// Whether it is a root, which whoever verifies has and others need not.
fn is_self_issued(der: &[u8]) -> bool {
    CertView::parse(der).is_ok_and(|certificate| certificate.issuer() == certificate.subject())
}

/// Evidence with its transaction, and with what was asked for of the platform; how many claims that are.
fn begin(
    signer: &Signer,
    nonce: &[u8],
    platform: Option<&PlatformFacts>,
    asked: &ClaimSelection,
) -> Result<(TbsEvidence, usize), Fault> {
    let mut tbs = TbsEvidence::new().transaction(|claims| {
        let claims = if nonce.is_empty() { claims } else { claims.nonce(nonce) };
        claims.attestation_key(signer.spki.as_der())
    });
    let mut said = 0;
    if let Some(platform) = platform {
        let (_, count) = platform.say(PlatformClaims::default(), asked);
        said = count;
        // An element has at least one claim.
        if count > 0 {
            tbs = tbs.platform(|claims| platform.say(claims, asked).0);
        }
    }
    Ok((tbs, said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_expires_with_the_last_second_of_its_end_date() {
        let date = |year: &str, month: &str, day: &str| Date::new_from_str_slice(year, month, day).unwrap();
        for (date, seconds) in [
            (date("1970", "01", "01"), Some(86_399)),
            (date("2000", "02", "29"), Some(951_868_799)),
            (date("2026", "12", "31"), Some(1_798_761_599)),
            (date("2026", "13", "01"), None),
            (date("20x6", "12", "01"), None),
            (Date::new_empty(), None),
        ] {
            assert_eq!(end_of(&date), seconds, "{date:?}");
        }
    }
}
