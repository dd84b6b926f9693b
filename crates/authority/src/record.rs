//! What is kept of a decision: a salted commitment in clear, the evidence encrypted.
//!
//! The commitment is a digest over commitments to each field of the record: the request, and every member of the report
//! (`key`, `platform`, `reasons` ...). Each field has a salt of its own, derived from the random salt of the record:
//!
//! ```text
//! salt(name)  = HMAC-SHA-256(salt, name)
//! field(name) = SHA-256(len(name) || name || salt(name) || value)
//! commitment  = SHA-256("vouchsafe record 1" || number of fields || field || field ...)       in the order of the names
//! ```
//!
//! Without the salts nobody can try guesses against it, equal values have different commitments everywhere, and one
//! field can be opened to a third party (its salt, its value and the other fields' commitments) while the others stay
//! closed. The salt lies inside the sealed evidence, so erasing the evidence erases what the commitment could be opened
//! with.

use std::collections::BTreeMap;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, hmac, rand};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::secret::{KeyUse, StateSecret};
use crate::store::Digest;

const SALT_OCTETS: usize = 32;
/// What the digest over a record's fields begins with.
const DOMAIN: &[u8] = b"vouchsafe record 1";
/// The field that is the request.
const REQUEST_FIELD: &str = "request";
/// The field that is a whole report, where that has no members to be fields.
const REPORT_FIELD: &str = "report";
const LENGTH_OCTETS: usize = 8;
const TAG_OCTETS: usize = 16;
/// What sealing adds to a report and a request.
const AROUND_OCTETS: usize = SALT_OCTETS + LENGTH_OCTETS + TAG_OCTETS + NONCE_LEN;

/// Why evidence could not be sealed or opened.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// The cryptographic library refused an operation.
    #[error("{0} failed")]
    Operation(&'static str),
    /// The sealed octets are not what was sealed under this key and commitment.
    #[error("the kept evidence was altered or belongs to another record")]
    Altered,
}

/// Seals and opens kept evidence, and gives requests their keyed digest.
#[derive(Debug)]
pub(crate) struct Recorder {
    sealing: LessSafeKey,
    requests: hmac::Key,
}

/// A request and the report about it, sealed.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) commitment: Digest,
    pub(crate) octets: Vec<u8>,
}

/// What was sealed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) report: Vec<u8>,
    pub(crate) request: Vec<u8>,
}

impl Recorder {
    pub(crate) fn new(secret: &StateSecret) -> Result<Self, RecordError> {
        let key = UnboundKey::new(&AES_256_GCM, secret.derive(KeyUse::Evidence).as_ref())
            .map_err(|_| RecordError::Operation("AES-256-GCM"))?;
        let requests = hmac::Key::new(hmac::HMAC_SHA256, secret.derive(KeyUse::Request).as_ref());
        Ok(Self { sealing: LessSafeKey::new(key), requests })
    }

    /// A value that equal requests share and nobody without the key can compute.
    pub(crate) fn request_digest(&self, parts: &[&[u8]]) -> Digest {
        let mut context = hmac::Context::with_key(&self.requests);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        copied(context.sign().as_ref())
    }

    pub(crate) fn seal(&self, report: &[u8], request: &[u8]) -> Result<Sealed, RecordError> {
        // The source is asked once for both: each question costs it as much as its answer.
        let mut random = [0; SALT_OCTETS + NONCE_LEN];
        rand::fill(&mut random).map_err(|_| RecordError::Operation("the random source"))?;
        let (salt, nonce) = random.split_at(SALT_OCTETS);
        let nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| RecordError::Operation("the random source"))?;
        let mut octets = Vec::with_capacity(AROUND_OCTETS + report.len() + request.len());
        octets.extend_from_slice(salt);
        octets.extend_from_slice(&report.len().to_be_bytes());
        octets.extend_from_slice(report);
        octets.extend_from_slice(request);
        let commitment = commit(salt, report, request);

        self.sealing
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(commitment), &mut octets)
            .map_err(|_| RecordError::Operation("AES-256-GCM"))?;
        octets.extend_from_slice(&nonce);
        Ok(Sealed { commitment, octets })
    }

    pub(crate) fn open(&self, commitment: &Digest, mut octets: Vec<u8>) -> Result<Opened, RecordError> {
        let nonce_at = octets.len().checked_sub(NONCE_LEN).ok_or(RecordError::Altered)?;
        let nonce: [u8; NONCE_LEN] = octets.split_off(nonce_at).try_into().map_err(|_| RecordError::Altered)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let plain = self.sealing.open_in_place(nonce, Aad::from(*commitment), &mut octets);
        let plain: &[u8] = plain.map_err(|_| RecordError::Altered)?;
        let (salt, rest) = plain.split_at_checked(SALT_OCTETS).ok_or(RecordError::Altered)?;
        let (length, rest) = rest.split_first_chunk::<LENGTH_OCTETS>().ok_or(RecordError::Altered)?;
        let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| RecordError::Altered)?;
        let (report, request) = rest.split_at_checked(length).ok_or(RecordError::Altered)?;
        if commit(salt, report, request) != *commitment {
            return Err(RecordError::Altered);
        }
        Ok(Opened { report: report.to_vec(), request: request.to_vec() })
    }
}

/// The commitment to a record, by that to each of its fields.
fn commit(salt: &[u8], report: &[u8], request: &[u8]) -> Digest {
    let salt = hmac::Key::new(hmac::HMAC_SHA256, salt);
    // As it stands, without making a tree of it: the values are committed to by their octets.
    let members: Result<BTreeMap<&str, &RawValue>, _> = serde_json::from_slice(report);
    let mut fields: BTreeMap<&str, &[u8]> = match &members {
        Ok(members) if !members.contains_key(REQUEST_FIELD) => {
            members.iter().map(|(name, value)| (*name, value.get().as_bytes())).collect()
        }
        Ok(_) | Err(_) => BTreeMap::from([(REPORT_FIELD, report)]),
    };
    fields.insert(REQUEST_FIELD, request);
    let mut all = digest::Context::new(&digest::SHA256);
    all.update(DOMAIN);
    all.update(&fields.len().to_be_bytes());
    for (name, value) in fields {
        all.update(&commit_field(&salt, name, value));
    }
    copied(all.finish().as_ref())
}

fn commit_field(salt: &hmac::Key, name: &str, value: &[u8]) -> Digest {
    let mut field = digest::Context::new(&digest::SHA256);
    field.update(&name.len().to_be_bytes());
    field.update(name.as_bytes());
    field.update(hmac::sign(salt, name.as_bytes()).as_ref());
    field.update(value);
    copied(field.finish().as_ref())
}

/// The first 32 octets of a digest or MAC that has 32.
fn copied(octets: &[u8]) -> Digest {
    let mut digest = Digest::default();
    for (to, from) in digest.iter_mut().zip(octets) {
        *to = *from;
    }
    digest
}

/// SHA-256.
pub(crate) fn sha256(octets: &[u8]) -> Digest {
    copied(digest::digest(&digest::SHA256, octets).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder(octet: u8) -> Recorder {
        Recorder::new(&StateSecret::new([octet; 32])).unwrap()
    }

    #[test]
    fn sealed_evidence_opens_under_its_own_commitment_and_key_alone() {
        let recorder_1 = recorder(1);
        let sealed = recorder_1.seal(b"report", b"request").unwrap();
        assert!(!sealed.octets.windows(6).any(|window| window == b"report"));
        let opened = recorder_1.open(&sealed.commitment, sealed.octets.clone()).unwrap();
        assert_eq!(opened, Opened { report: b"report".to_vec(), request: b"request".to_vec() });
        assert_eq!(recorder_1.open(&[0; 32], sealed.octets.clone()), Err(RecordError::Altered));
        assert_eq!(recorder(2).open(&sealed.commitment, sealed.octets.clone()), Err(RecordError::Altered));
        for at in 0..sealed.octets.len() {
            let mut altered = sealed.octets.clone();
            altered[at] ^= 1;
            assert_eq!(recorder_1.open(&sealed.commitment, altered), Err(RecordError::Altered), "octet {at}");
            let cut = sealed.octets[..at].to_vec();
            assert_eq!(recorder_1.open(&sealed.commitment, cut), Err(RecordError::Altered), "cut {at}");
        }
    }

    #[test]
    fn equal_records_have_different_commitments() {
        let recorder = recorder(1);
        let commitments =
            [recorder.seal(b"r", b"q").unwrap(), recorder.seal(b"r", b"q").unwrap()].map(|s| s.commitment);
        assert_ne!(commitments[0], commitments[1]);
    }

    #[test]
    fn a_field_can_be_opened_while_the_others_stay_closed() {
        let recorder = recorder(1);
        let report = br#"{"key":{"local":true},"platform":{"serial":"4711"},"verdict":"accepted"}"#;
        let sealed = recorder.seal(report, b"request").unwrap();
        let opened = recorder.open(&sealed.commitment, sealed.octets.clone()).unwrap();
        assert_eq!(opened.report, report);

        // What a third party is given: of `key` salt and value, of the others their commitments.
        let mut plain = sealed.octets.clone();
        let nonce = plain.split_off(plain.len() - NONCE_LEN).try_into().unwrap();
        let key = recorder.sealing.open_in_place(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(sealed.commitment),
            &mut plain,
        );
        let salt = hmac::Key::new(hmac::HMAC_SHA256, &key.unwrap()[..SALT_OCTETS]);
        let closed =
            [("platform", &br#"{"serial":"4711"}"#[..]), ("request", b"request"), ("verdict", b"\"accepted\"")]
                .map(|(name, value)| commit_field(&salt, name, value));
        let third_party = |value: &[u8]| {
            let salt_of_key = hmac::sign(&salt, b"key");
            let octets = [&3_usize.to_be_bytes(), &b"key"[..], salt_of_key.as_ref(), value].concat();
            let fields = [&sha256(&octets)[..], &closed[0], &closed[1], &closed[2]].concat();
            sha256(&[DOMAIN, &4_usize.to_be_bytes(), &fields].concat())
        };
        assert_eq!(third_party(br#"{"local":true}"#), sealed.commitment);
        assert_ne!(third_party(br#"{"local":false}"#), sealed.commitment);

        // Equal fields of two records have different commitments: each has a salt of its own.
        let other = hmac::Key::new(hmac::HMAC_SHA256, &[9; SALT_OCTETS]);
        assert_ne!(commit_field(&other, "verdict", b"\"accepted\""), closed[2]);
        assert_ne!(closed[2], sha256(b"\"accepted\""));
    }

    #[test]
    fn a_commitment_is_of_one_report_and_one_request() {
        let salt = [3; SALT_OCTETS];
        let records: [(&[u8], &[u8]); 7] = [
            (b"{}", b""),
            (b"{}", b"{}"),
            (br#"{"a":1}"#, b""),
            (br#"{"a":1,"b":2}"#, b""),
            (b"not json", b""),
            (b"", b"not json"),
            (br#"{"request":1}"#, b""),
        ];
        let commitments: std::collections::HashSet<Digest> =
            records.iter().map(|(report, request)| commit(&salt, report, request)).collect();
        assert_eq!(commitments.len(), records.len());
    }

    #[test]
    fn request_digests_are_keyed_and_unambiguous() {
        let digest = recorder(1).request_digest(&[b"ab", b"c"]);
        assert_eq!(digest, recorder(1).request_digest(&[b"ab", b"c"]));
        assert_ne!(digest, recorder(1).request_digest(&[b"a", b"bc"]));
        assert_ne!(digest, recorder(2).request_digest(&[b"ab", b"c"]));
    }
}
