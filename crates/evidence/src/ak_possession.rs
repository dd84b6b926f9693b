//! What an attesting key that host software drives signs when it is enrolled: a challenge, bound to what it is for.
//!
//! Such a key signs DER of PKIX Evidence besides. This begins with a text that no DER begins with, so that neither is ever
//! read as the other; and it names device and key, so that a challenge passed on by somebody else enrolls nothing of theirs.

use crate::tpm::HashAlg;
use crate::x509::SpkiView;

/// The first octets of what is signed, with the octet that ends them.
pub const CONTEXT: &[u8] = b"Vouchsafe attesting key possession v1\0";

/// What the signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PossessionPurpose {
    /// The key is enrolled.
    Enrolment,
    /// The key's certificate is renewed.
    Renewal,
    /// The key vouches for its successor, which is the key named.
    Succession,
}

impl PossessionPurpose {
    const fn octet(self) -> u8 {
        match self {
            Self::Enrolment => 1,
            Self::Renewal => 2,
            Self::Succession => 3,
        }
    }
}

/// A challenge with everything that it is bound to.
#[derive(Clone, Copy, Debug)]
pub struct AkPossession<'a> {
    /// What the signature is for.
    pub purpose: PossessionPurpose,
    /// The device's name, as the authority is asked for it.
    pub device: &'a str,
    /// The key that is to be certified.
    pub key: &'a SpkiView,
    /// The authority's challenge, or its nonce.
    pub challenge: &'a [u8],
}

impl AkPossession<'_> {
    /// SHA-256 of [`AkPossession::to_bytes`], for statements with a place for a nonce.
    #[must_use]
    pub fn nonce(&self) -> Vec<u8> {
        HashAlg::Sha256.digest(&[&self.to_bytes()])
    }

    /// The octets that are signed: context, purpose (one octet), length of the device's name (four octets, big-endian), the
    /// name, SHA-256 of the key's SubjectPublicKeyInfo, the challenge.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.device.len()).unwrap_or(u32::MAX);
        [
            CONTEXT,
            &[self.purpose.octet()],
            &length.to_be_bytes(),
            self.device.as_bytes(),
            &self.key.sha256(),
            self.challenge,
        ]
        .concat()
    }
}

/// How somebody shows that they hold the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PossessionProof {
    /// A signature over [`AkPossession::to_bytes`].
    Signature(Vec<u8>),
    /// PKIX Evidence, signed with the key, whose nonce is [`AkPossession::nonce`]: what a service makes that lets its
    /// attesting keys sign nothing else.
    Evidence(Vec<u8>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509::NamedCurve;

    #[test]
    fn everything_it_is_bound_to_is_signed() {
        let key = |x: u8| SpkiView::from_ec(NamedCurve::P256, &[x; 32], &[2; 32]).unwrap();
        let (one, two) = (key(1), key(3));
        let base = AkPossession { purpose: PossessionPurpose::Enrolment, device: "a", key: &one, challenge: b"nonce" };
        let octets = base.to_bytes();
        assert!(octets.starts_with(CONTEXT));
        assert_ne!(octets.first(), Some(&0x30));
        assert_eq!(octets.len(), CONTEXT.len() + 1 + 4 + 1 + 32 + 5);
        let others = [
            AkPossession { purpose: PossessionPurpose::Renewal, ..base },
            AkPossession { purpose: PossessionPurpose::Succession, ..base },
            AkPossession { device: "b", ..base },
            AkPossession { key: &two, ..base },
            AkPossession { challenge: b"Nonce", ..base },
        ];
        for other in others {
            assert_ne!(other.to_bytes(), octets, "{other:?}");
        }
    }
}
