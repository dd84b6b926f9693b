//! Whose a key is: which subject it is certified for, or that it attests.
//!
//! A key is told from others by its parameters, not by its encoding: an RSA key is the same key under rsaEncryption and
//! under RSASSA-PSS. A subject is the distinguished name together with every alternative name, in whatever order.

use aws_lc_rs::digest::{Context, SHA256};
use vouchsafe_evidence::Malformed;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::der::{Reader, Tag};
use vouchsafe_evidence::x509::{CertView, NameView, PublicKey, SpkiView};
use vouchsafe_verifier::Verdict;

use crate::appraisal::key_digest;
use crate::certificate::CertificateError;
use crate::enroll::Applicant;
use crate::error::{Error, Violation};
use crate::profile::{Profile, SubjectsPerKey};
use crate::service::Service;
use crate::store::{Certified, Digest, KeyHolder, StoreError};

/// The digest by which a key is told from others: SHA-256 of its SubjectPublicKeyInfo in the plainest encoding.
pub(crate) fn key_identity(spki: &SpkiView) -> Digest {
    let plain = match spki.key() {
        PublicKey::Rsa { modulus, exponent, .. } => SpkiView::from_rsa(modulus, exponent),
        PublicKey::Ec { curve, x, y } => SpkiView::from_ec(*curve, x, y),
        PublicKey::Ed25519(_) | PublicKey::MlDsa65(_) | PublicKey::Unknown { .. } => Ok(spki.clone()),
    };
    // What was read once is within the bounds of what can be read.
    plain.as_ref().unwrap_or(spki).sha256()
}

/// The digest of a subject with the alternative names of `extension`, a whole Extension.
///
/// # Errors
/// [`Malformed`] if that is none of subjectAltName.
pub(crate) fn subject_digest(subject: &NameView, extension: Option<&[u8]>) -> Result<Digest, Malformed> {
    const NAMES: &str = "subjectAltName";
    let mut names = Vec::new();
    if let Some(extension) = extension {
        let mut outer = Reader::new(extension, NAMES);
        let mut fields = outer.sequence(NAMES)?;
        outer.finish()?;
        fields.oid("extnID")?;
        fields.optional(Tag::BOOLEAN)?;
        let mut value = Reader::new(fields.octet_string("extnValue")?, NAMES);
        let mut all = value.sequence(NAMES)?;
        value.finish()?;
        while !all.is_empty() {
            names.push(all.element()?.as_der().to_vec());
        }
    }
    names.sort();
    names.dedup();
    let mut digest = Context::new(&SHA256);
    for part in std::iter::once(subject.as_der()).chain(names.iter().map(Vec::as_slice)) {
        digest.update(&part.len().to_be_bytes());
        digest.update(part);
    }
    let mut octets = Digest::default();
    octets.copy_from_slice(digest.finish().as_ref());
    Ok(octets)
}

/// Whose key a certificate says it is; `attesting` is the SHA-256 of the SubjectPublicKeyInfo of an attesting key.
///
/// # Errors
/// [`Malformed`] if it cannot be read.
pub(crate) fn holder_of(certificate: &CertView, attesting: Option<Digest>) -> Result<Certified, Malformed> {
    let key = key_identity(certificate.spki());
    if let Some(spki) = attesting {
        return Ok(Certified::attesting(key, spki));
    }
    let names = certificate.extension(oid::SUBJECT_ALT_NAME)?;
    let subject = subject_digest(certificate.subject(), names.as_ref().map(|names| names.as_der()))?;
    Ok(Certified::of_subject(key, subject, String::new(), false))
}

/// The attesting keys on whose word a key was found to live in hardware.
pub(crate) fn rests_on(verdict: &Verdict) -> Vec<Digest> {
    let mut keys: Vec<Digest> = verdict.attesting_keys().iter().map(SpkiView::sha256).collect();
    keys.extend(key_digest(verdict));
    keys.sort_unstable();
    keys.dedup();
    keys
}

impl Service {
    /// Whose key a certificate of this profile says it is.
    pub(crate) fn certified(
        &self,
        profile: &Profile,
        applicant: &Applicant,
        subject: &NameView,
        spki: &SpkiView,
    ) -> Result<Certified, Error> {
        let names = applicant.names.extension(subject);
        let subject = subject_digest(subject, names.as_deref()).map_err(CertificateError::from)?;
        let may_have_others = match profile.subjects_per_key() {
            SubjectsPerKey::One => false,
            SubjectsPerKey::Many => true,
        };
        Ok(Certified::of_subject(key_identity(spki), subject, profile.name().to_owned(), may_have_others))
    }

    /// What the records have against a certificate for a key, told before it is signed; whoever records it asks again. Without
    /// a subject the one question is whether it is an attesting key, whose signature under a request proves nothing (A7): of its
    /// own attesting keys the authority knows even what the evidence does not show.
    pub(crate) fn against_key(
        &self,
        account: &str,
        spki: &SpkiView,
        certified: Option<&Certified>,
    ) -> Result<Vec<Violation>, Error> {
        let Some(known) = self.store.key_holder(&key_identity(spki))? else { return Ok(Vec::new()) };
        let judged = match certified {
            Some(certified) => KeyHolder::judge(Some(&known), certified, account).map(drop),
            None if known.is_attesting => Err(StoreError::KeyAttests),
            None => Ok(()),
        };
        match judged.map_err(Error::from) {
            Ok(()) => Ok(Vec::new()),
            Err(Error::Rejected(violations)) => Ok(violations),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use vouchsafe_evidence::x509::build;
    use vouchsafe_evidence::x509::extensions::GeneralName;

    use super::*;

    #[test]
    fn one_key_has_one_identity_whatever_its_encoding() {
        let mut modulus = vec![0xC5; 256];
        modulus[255] = 1;
        let plain = SpkiView::from_rsa(&modulus, &[1, 0, 1]).unwrap();
        // The same key, for PSS alone: id-RSASSA-PSS without parameters in place of rsaEncryption with NULL.
        let key = plain.as_der();
        let pss = [&[0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0A][..]].concat();
        let bits = key.windows(4).position(|window| window == [0x03, 0x82, 0x01, 0x0F]).unwrap();
        let content = [&[0x30, 0x0B][..], &pss, &key[bits..]].concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        let restricted = SpkiView::parse(&[&[0x30, 0x82, length[0], length[1]][..], &content].concat()).unwrap();
        assert!(plain.same_key(&restricted) && plain.sha256() != restricted.sha256());
        assert_eq!(key_identity(&plain), key_identity(&restricted));
        modulus[255] = 3;
        assert_ne!(key_identity(&plain), key_identity(&SpkiView::from_rsa(&modulus, &[1, 0, 1]).unwrap()));
    }

    #[test]
    fn a_subject_is_the_name_with_all_alternative_names_in_any_order() {
        let name = |text| build::distinguished_name(&[(oid::COMMON_NAME, text)]).unwrap();
        let hosts = |hosts: &[&str], is_critical| {
            let names: Vec<_> = hosts.iter().map(|host| GeneralName::Dns(host.as_bytes().to_vec())).collect();
            build::subject_alt_name(is_critical, &names)
        };
        let digest =
            |subject, extension: Option<Vec<u8>>| subject_digest(&name(subject), extension.as_deref()).unwrap();
        let one = digest("a", Some(hosts(&["x.example", "y.example"], false)));
        assert_eq!(one, digest("a", Some(hosts(&["y.example", "x.example"], true))));
        assert_eq!(one, digest("a", Some(hosts(&["y.example", "x.example", "y.example"], false))));
        for other in [
            digest("b", Some(hosts(&["x.example", "y.example"], false))),
            digest("a", Some(hosts(&["x.example"], false))),
            digest("a", Some(hosts(&["x.exampley.example"], false))),
            digest("a", None),
        ] {
            assert_ne!(one, other);
        }
        assert!(subject_digest(&name("a"), Some(&[0x30, 0])).is_err());
    }
}
