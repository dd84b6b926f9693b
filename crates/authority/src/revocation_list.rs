//! Revocation lists (RFC 5280, section 5): one for each of this installation's authorities that sign certificates.
//!
//! A list is made when it is asked for and kept for a minute, or until something is revoked. The certificates of pseudonyms are in none: they are valid for
//! days, and a list of them would link what they keep apart.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_evidence::x509::build::{self, CrlTemplate, DerWriter, RevokedEntry};

use crate::ca::{CertificationAuthority, Hierarchy, Issuer};
use crate::certificate::{CertificateError, DAY_SECONDS, sign_list};
use crate::config::DEFAULT_ISSUER;
use crate::error::Error;
use crate::service::Service;
use crate::store::{RevocationReason, Revoked};

/// For how long a list is current.
const CURRENT_SECONDS: i64 = 7 * DAY_SECONDS;
/// For how long a list that was made is handed out, unless something is revoked meanwhile, by whichever instance.
const KEPT_SECONDS: i64 = 60;
/// ENUMERATED, which only these lists use.
const ENUMERATED: u8 = 0x0A;

/// Whose certificates a list is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListName {
    /// AK certificates of modules that are chips.
    Attestation,
    /// AK certificates of modules that are, or may be, software.
    AttestationVirtual,
    /// Certificates of devices' keys.
    Issuing,
}

impl ListName {
    /// Every list.
    pub const ALL: [Self; 3] = [Self::Attestation, Self::AttestationVirtual, Self::Issuing];

    /// Its name in paths.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Attestation => "attestation",
            Self::AttestationVirtual => "attestation-virtual",
            Self::Issuing => "issuing",
        }
    }

    fn authority(self, hierarchy: &Hierarchy) -> Result<&CertificationAuthority, CertificateError> {
        match self {
            Self::Attestation => hierarchy.attestation_root(false),
            Self::AttestationVirtual => hierarchy.attestation_root(true),
            Self::Issuing => hierarchy.issuer(DEFAULT_ISSUER).map(Issuer::ca),
        }
    }
}

/// Lists that were made less than a minute ago.
#[derive(Debug, Default)]
pub(crate) struct RevocationLists(Mutex<HashMap<String, Kept>>);

/// A list that was made.
#[derive(Debug)]
struct Kept {
    made: i64,
    /// How many revocations were recorded by then.
    count: i64,
    der: Bytes,
}

impl Service {
    /// The revocation list of this name, DER. Whoever fetches it, however many and however slowly, has the same octets.
    pub(crate) fn revocation_list(&self, name: &str) -> Result<Bytes, Error> {
        // Every issuer of the configuration has a list of its own name, for as long as it is there.
        let authority = match ListName::ALL.into_iter().find(|list| list.label() == name) {
            Some(list) => list.authority(&self.hierarchy),
            None => self.hierarchy.issuer(name).map(Issuer::ca),
        };
        let authority = authority.map_err(|_| Error::NotFound)?;
        let now = self.now();
        let mut kept = self.revocation_lists.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = self.store.revocation_count()?;
        let is_current =
            |kept: &&Kept| kept.count == count && (0..KEPT_SECONDS).contains(&now.saturating_sub(kept.made));
        match kept.get(name).filter(is_current) {
            Some(kept) => Ok(kept.der.clone()),
            None => {
                let revocations = self.store.revocations(now)?;
                let der = Bytes::from(sign(authority, &revocations, now)?);
                kept.insert(name.to_owned(), Kept { made: now, count: revocations.0, der: der.clone() });
                Ok(der)
            }
        }
    }
}

/// Makes a list of what is revoked, with how many revocations were ever recorded.
pub(crate) fn make(
    hierarchy: &Hierarchy,
    list: ListName,
    revocations: &(i64, Vec<Revoked>),
    now: i64,
) -> Result<Vec<u8>, CertificateError> {
    sign(list.authority(hierarchy)?, revocations, now)
}

fn sign(
    authority: &CertificationAuthority,
    (count, revoked): &(i64, Vec<Revoked>),
    now: i64,
) -> Result<Vec<u8>, CertificateError> {
    let mut entries = Vec::new();
    for revoked in revoked {
        let certificate = CertView::parse(&revoked.der)?;
        if certificate.issuer() == authority.certificate().subject() {
            let serial = certificate.serial().to_vec();
            entries.push(RevokedEntry { serial, revoked_at: revoked.at.min(now), extensions: reason(revoked.reason) });
        }
    }
    let mut number = DerWriter::new();
    number.unsigned(&number_octets(*count, now));
    let issuer = authority.issuer();
    let template = CrlTemplate {
        algorithm: issuer.algorithm(),
        issuer: issuer.name.clone(),
        this_update: now,
        next_update: Some(now.saturating_add(CURRENT_SECONDS)),
        entries,
        extensions: vec![
            build::authority_key_identifier(issuer.key_identifier),
            build::extension(oid::CRL_NUMBER, false, &number.into_der()),
        ],
    };
    sign_list(&issuer, &template)
}

/// The number of a list: how many revocations were ever recorded, then the time. So a list that knows of more has the higher
/// number, whichever instance made it and by whatever clock, before a restart or after; and of two with the same
/// revocations the later one has.
fn number_octets(count: i64, now: i64) -> Vec<u8> {
    // Five octets of the time last for 34,000 years; where nothing was revoked, the number is the time.
    let [_, _, _, time @ ..] = now.max(0).to_be_bytes();
    [&count.max(0).to_be_bytes()[..], &time[..]].concat()
}

/// The extension reasonCode; RFC 5280, section 5.3.1, wants none that says nothing.
fn reason(reason: RevocationReason) -> Vec<Vec<u8>> {
    match reason {
        RevocationReason::Unspecified => Vec::new(),
        RevocationReason::KeyCompromise
        | RevocationReason::AffiliationChanged
        | RevocationReason::Superseded
        | RevocationReason::CessationOfOperation => {
            vec![build::extension(oid::CRL_REASON, false, &[ENUMERATED, 1, reason.number()])]
        }
    }
}
