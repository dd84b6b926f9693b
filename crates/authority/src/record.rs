//! What is kept of a decision: a salted commitment in clear, the evidence encrypted.
//!
//! The commitment is SHA-256 over a random salt, the report and the request. Without the salt nobody can
//! try guesses against it; the salt lies inside the sealed evidence, so erasing the evidence erases what
//! the commitment could be opened with.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, hmac, rand};
use thiserror::Error;

use crate::secret::{KeyUse, StateSecret};
use crate::store::Digest;

const SALT_OCTETS: usize = 32;
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
        let commitment: Digest = copied(digest::digest(&digest::SHA256, &octets).as_ref());

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
        let (_salt, rest) = plain.split_at_checked(SALT_OCTETS).ok_or(RecordError::Altered)?;
        let (length, rest) = rest.split_first_chunk::<LENGTH_OCTETS>().ok_or(RecordError::Altered)?;
        let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| RecordError::Altered)?;
        let (report, request) = rest.split_at_checked(length).ok_or(RecordError::Altered)?;
        Ok(Opened { report: report.to_vec(), request: request.to_vec() })
    }
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
    fn request_digests_are_keyed_and_unambiguous() {
        let digest = recorder(1).request_digest(&[b"ab", b"c"]);
        assert_eq!(digest, recorder(1).request_digest(&[b"ab", b"c"]));
        assert_ne!(digest, recorder(1).request_digest(&[b"a", b"bc"]));
        assert_ne!(digest, recorder(2).request_digest(&[b"ab", b"c"]));
    }
}
