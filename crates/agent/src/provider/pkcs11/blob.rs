//! The layout of key blobs: which objects the key is. Nothing in them is secret, and nothing is of use without the token.

use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::x509::SpkiView;
use vouchsafe_evidence::{Malformed, Reason};

use crate::provider::{Fault, KeyBlob, KeyKind, KeyPurpose, KeyUid};

/// Version of the layout, which the first octet gives.
const VERSION: u8 = 1;
/// After the version: tells these blobs from those of other providers.
const MARK: &[u8; 3] = b"p11";
const PRODUCTION: &str = "PKCS #11 key blob";

/// A key in a token.
///
/// ```text
/// version u8 (1) | "p11" | purpose u8 (1 sign, 2 attest, 3 decrypt) | kind u8 (1 to 7) | CKA_ID 16 octets
/// | SHA-256 of the SubjectPublicKeyInfo
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) purpose: KeyPurpose,
    pub(super) kind: KeyKind,
    pub(super) uid: KeyUid,
    /// Which public key was made with it.
    pub(super) spki_sha256: [u8; 32],
}

impl Blob {
    pub(super) fn new(purpose: KeyPurpose, kind: KeyKind, uid: KeyUid, spki: &SpkiView) -> Self {
        Self { purpose, kind, uid, spki_sha256: spki.sha256() }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION).bytes(MARK).u8(purpose_id(self.purpose)).u8(kind_id(self.kind));
        w.bytes(self.uid.as_octets()).bytes(&self.spki_sha256);
        w.into_bytes()
    }

    pub(super) fn to_key_blob(self) -> KeyBlob {
        KeyBlob::from_bytes(self.to_bytes())
    }

    pub(super) fn parse(blob: &KeyBlob) -> Result<Self, Fault> {
        Self::read(blob.as_bytes()).map_err(Fault::BlobInvalid)
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let bad = |offset, value: u8| Malformed::new(PRODUCTION, offset, Reason::BadValue(value.into()));
        let mut r = Reader::new(bytes, PRODUCTION);
        let version = r.u8()?;
        if version != VERSION {
            return Err(bad(0, version));
        }
        if r.array::<3>()? != *MARK {
            return Err(Malformed::new(PRODUCTION, 1, Reason::Unexpected("a blob of a PKCS #11 provider")));
        }
        let (purpose, kind) = (r.u8()?, r.u8()?);
        let blob = Self {
            purpose: [KeyPurpose::Sign, KeyPurpose::Attest, KeyPurpose::Decrypt]
                .into_iter()
                .find(|known| purpose_id(*known) == purpose)
                .ok_or(bad(4, purpose))?,
            kind: KeyKind::ALL.into_iter().find(|known| kind_id(*known) == kind).ok_or(bad(5, kind))?,
            uid: KeyUid::from_octets(r.array()?),
            spki_sha256: r.array()?,
        };
        r.finish()?;
        Ok(blob)
    }
}

const fn purpose_id(purpose: KeyPurpose) -> u8 {
    match purpose {
        KeyPurpose::Sign => 1,
        KeyPurpose::Attest => 2,
        KeyPurpose::Decrypt => 3,
    }
}

const fn kind_id(kind: KeyKind) -> u8 {
    match kind {
        KeyKind::EcP256 => 1,
        KeyKind::EcP384 => 2,
        KeyKind::EcP521 => 3,
        KeyKind::Rsa1024 => 4,
        KeyKind::Rsa2048 => 5,
        KeyKind::Rsa3072 => 6,
        KeyKind::Rsa4096 => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_read_as_it_was_written_and_no_other_is_read() {
        for kind in KeyKind::ALL {
            for purpose in [KeyPurpose::Sign, KeyPurpose::Attest, KeyPurpose::Decrypt] {
                let blob = Blob { purpose, kind, uid: KeyUid::from_octets([7; 16]), spki_sha256: [9; 32] };
                assert_eq!(Blob::parse(&blob.to_key_blob()).unwrap(), blob);
            }
        }
        let uid = KeyUid::from_octets([7; 16]);
        let whole = Blob { purpose: KeyPurpose::Sign, kind: KeyKind::EcP256, uid, spki_sha256: [9; 32] }.to_bytes();
        assert_eq!(whole.len(), 54);
        for len in 0..whole.len() {
            assert!(Blob::read(&whole[..len]).is_err(), "{len} octets");
        }
        assert!(Blob::read(&[whole.clone(), vec![0]].concat()).is_err());
        for (position, value) in [(0, 2), (1, b'P'), (4, 0), (4, 4), (5, 0), (5, 8)] {
            let mut other = whole.clone();
            other[position] = value;
            assert!(Blob::read(&other).is_err(), "{value} at {position}");
        }
    }
}
