//! Nonces that cost the server nothing until they are spent.
//!
//! A nonce is 32 octets: `time (4, seconds since the epoch, big-endian) || random (12) || MAC (16)`.
//! The MAC is HMAC-SHA-256, truncated, over the purpose, the account, the time and the random, so that a
//! nonce works for one purpose, one profile, one session and one account alone. Nothing is stored when one is
//! minted; spending it is one row in the transaction that uses it.

use aws_lc_rs::{constant_time, hmac, rand};
use thiserror::Error;

use crate::secret::{KeyUse, StateSecret};

/// Octets of a nonce; within the 16 to 64 that TPMs and verifiers take.
pub const NONCE_OCTETS: usize = 32;
const TIME_OCTETS: usize = 4;
const RANDOM_OCTETS: usize = 12;
const MAC_OCTETS: usize = 16;
/// What the MAC begins with where there was no nonce.
const UNPROVEN_TAG: u8 = 255;
/// What the MAC begins with for the one certificate of an ACME order.
const ORDER_TAG: u8 = 254;
/// What the MAC begins with for a request to a CA elsewhere, and for the identifier of its transaction.
const FORWARDING_TAG: u8 = 253;
const TRANSACTION_TAG: u8 = 252;
/// How far ahead of this clock another replica's clock may be, in seconds.
const SKEW_SECONDS: i64 = 60;

/// Seconds in which a request without a nonce counts as one and the same.
const UNPROVEN_WINDOW_SECONDS: i64 = 600;
/// Octets of what a TLS exporter gives (RFC 8446, section 7.5).
pub const EXPORTER_OCTETS: usize = 32;

/// The protocol and the session in which a certificate is asked for. A nonce of one is none in any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session<'a> {
    /// HTTPS with JSON: the account alone.
    Json,
    /// A TLS connection, by its exporter (EST).
    Tls(&'a [u8; EXPORTER_OCTETS]),
    /// A CMP transaction, by its transactionID.
    CmpTransaction(&'a [u8]),
    /// An ACME order.
    AcmeOrder {
        /// Its identifier.
        id: &'a str,
        /// SHA-256 of the key authorization (RFC 8555, section 8.1). The account's key is in it, and a proof of possession
        /// names it; a nonce is bound to the order, and so to the account, without it.
        key_authorization: &'a [u8; 32],
        /// When it ends, seconds since the epoch.
        expires: i64,
    },
}

impl<'a> Session<'a> {
    const fn parts(self) -> (u8, &'a [u8]) {
        match self {
            Self::Json => (1, b""),
            Self::Tls(exporter) => (2, exporter),
            Self::CmpTransaction(id) => (3, id),
            Self::AcmeOrder { id, .. } => (4, id.as_bytes()),
        }
    }

    /// What a proof of possession (`key-pop`) in this session must hold as its context.
    #[must_use]
    pub const fn possession_context(self) -> &'a [u8] {
        match self {
            Self::Json => b"",
            Self::Tls(exporter) => exporter,
            Self::CmpTransaction(id) => id,
            Self::AcmeOrder { key_authorization, .. } => key_authorization,
        }
    }
}

/// What a nonce may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// Enrolling an attestation key.
    AttestationKey,
    /// A certificate request under the named profile.
    Certificate {
        /// The profile's name.
        profile: &'a str,
        /// Where it is asked for.
        session: Session<'a>,
    },
    /// An appraisal without a certificate.
    Appraisal,
}

impl<'a> Purpose<'a> {
    const fn parts(self) -> (u8, &'a str, Session<'a>) {
        match self {
            Self::AttestationKey => (1, "", Session::Json),
            Self::Certificate { profile, session } => (2, profile, session),
            Self::Appraisal => (3, "", Session::Json),
        }
    }
}

/// Why a nonce cannot be used.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NonceError {
    /// The clock is outside what the time field can say (1970 to 2106).
    #[error("the clock is outside the range of the nonce's time field")]
    Clock,
    /// It was minted too long ago.
    #[error("nonce minted {age_seconds} s ago; it lives {lifetime_seconds} s")]
    Expired {
        /// Seconds since it was minted.
        age_seconds: i64,
        /// Seconds a nonce may be used.
        lifetime_seconds: i64,
    },
    /// Its MAC is false: not from here, altered, or meant for another purpose, profile, session or account.
    #[error("nonce is not one of this authority for this account, purpose and session")]
    Foreign,
    /// Its length is wrong.
    #[error("nonce has {found} octets, expected {NONCE_OCTETS}")]
    Length {
        /// Octets found.
        found: usize,
    },
    /// The system's random source failed.
    #[error("the random source failed")]
    Random,
}

/// Mints nonces and recognizes its own.
#[derive(Debug)]
pub struct Mint {
    key: hmac::Key,
    lifetime_seconds: i64,
}

/// A nonce of this authority, for this account and purpose, of any age, spent or not.
#[derive(Debug)]
pub struct MintedNonce {
    octets: [u8; NONCE_OCTETS],
    minted_at: i64,
    lifetime_seconds: i64,
}

/// A nonce that is authentic and not expired. Not `Clone`: the store consumes it when it is spent.
#[derive(Debug)]
pub struct Nonce {
    octets: [u8; NONCE_OCTETS],
}

impl Mint {
    pub(crate) fn new(secret: &StateSecret, lifetime_seconds: i64) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.derive(KeyUse::Nonce).as_ref());
        Self { key, lifetime_seconds }
    }

    /// Seconds that a nonce may be used.
    #[must_use]
    pub const fn lifetime_seconds(&self) -> i64 {
        self.lifetime_seconds
    }

    /// A new nonce for `account` and `purpose`.
    ///
    /// # Errors
    /// [`NonceError::Clock`] and [`NonceError::Random`].
    pub fn mint(&self, purpose: Purpose<'_>, account: &str, now: i64) -> Result<[u8; NONCE_OCTETS], NonceError> {
        let time = u32::try_from(now).map_err(|_| NonceError::Clock)?.to_be_bytes();
        let mut random = [0; RANDOM_OCTETS];
        rand::fill(&mut random).map_err(|_| NonceError::Random)?;
        let mac = self.mac(purpose, account, &time, &random);
        Ok(leading(time.iter().chain(&random).chain(&mac)))
    }

    /// Recognizes a nonce as one of its own for this purpose and account; the comparison takes constant time.
    ///
    /// # Errors
    /// [`NonceError::Length`] and [`NonceError::Foreign`].
    pub fn recognize(&self, octets: &[u8], purpose: Purpose<'_>, account: &str) -> Result<MintedNonce, NonceError> {
        let wrong_length = NonceError::Length { found: octets.len() };
        let octets: [u8; NONCE_OCTETS] = octets.try_into().map_err(|_| wrong_length)?;
        let (time, rest) = octets.split_first_chunk::<TIME_OCTETS>().ok_or(wrong_length)?;
        let (random, mac) = rest.split_first_chunk::<RANDOM_OCTETS>().ok_or(wrong_length)?;
        let expected = self.mac(purpose, account, time, random);
        constant_time::verify_slices_are_equal(&expected, mac).map_err(|_| NonceError::Foreign)?;
        let minted_at = i64::from(u32::from_be_bytes(*time));
        Ok(MintedNonce { octets, minted_at, lifetime_seconds: self.lifetime_seconds })
    }

    /// What is spent for an accepted request that answers no nonce: within ten minutes the same request gets the same
    /// answer, as one with a nonce does. No client has seen it, and it proves nothing.
    pub(crate) fn unproven(&self, request: &[u8; 32], account: &str, now: i64) -> Result<Nonce, NonceError> {
        let time = u32::try_from(now - now.rem_euclid(UNPROVEN_WINDOW_SECONDS)).map_err(|_| NonceError::Clock)?;
        let time = time.to_be_bytes();
        let mut context = hmac::Context::with_key(&self.key);
        // No purpose has this tag.
        context.update(&[UNPROVEN_TAG]);
        context.update(account.as_bytes());
        context.update(request);
        context.update(&time);
        Ok(Nonce { octets: leading(time.iter().chain(context.sign().as_ref())) })
    }

    /// What is spent for the certificate of an ACME order, whichever request gets it: an order has one. It is remembered for
    /// as long as the order is open, since what is spent is removed by the time that it begins with.
    pub(crate) fn of_order(&self, id: &str, account: &str, expires: i64) -> Result<Nonce, NonceError> {
        let time = u32::try_from(expires).map_err(|_| NonceError::Clock)?.to_be_bytes();
        let mut context = hmac::Context::with_key(&self.key);
        // No purpose has this tag.
        context.update(&[ORDER_TAG]);
        for octets in [account.as_bytes(), id.as_bytes()] {
            context.update(&octets.len().to_be_bytes());
            context.update(octets);
        }
        context.update(&time);
        Ok(Nonce { octets: leading(time.iter().chain(context.sign().as_ref())) })
    }

    /// What stands in the records for a request to a CA elsewhere that is about to be sent for this nonce, and the
    /// identifier of its transaction: the same whenever it is sent.
    pub(crate) fn forwarding(&self, nonce: &[u8; NONCE_OCTETS]) -> (Nonce, [u8; MAC_OCTETS]) {
        let of = |tag: u8| {
            let mut context = hmac::Context::with_key(&self.key);
            // No purpose has this tag.
            context.update(&[tag]);
            context.update(nonce);
            context.sign()
        };
        let octets = leading(nonce.iter().take(TIME_OCTETS).chain(of(FORWARDING_TAG).as_ref()));
        (Nonce { octets }, leading(of(TRANSACTION_TAG).as_ref()))
    }

    /// What is spent for a refused request that answers no nonce: the next such request is judged anew.
    pub(crate) fn unrepeated(&self, now: i64) -> Result<Nonce, NonceError> {
        Ok(Nonce { octets: self.mint(Purpose::Appraisal, "", now)? })
    }

    fn mac(&self, purpose: Purpose<'_>, account: &str, time: &[u8], random: &[u8]) -> [u8; MAC_OCTETS] {
        let (tag, profile, session) = purpose.parts();
        let (session_tag, session) = session.parts();
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&[tag, session_tag]);
        for octets in [profile.as_bytes(), account.as_bytes(), session] {
            // Lengths first, so that no two lists read as the same octets.
            context.update(&octets.len().to_be_bytes());
            context.update(octets);
        }
        context.update(time);
        context.update(random);
        leading(context.sign().as_ref())
    }
}

impl MintedNonce {
    /// Its octets, for looking up whether it is spent.
    #[must_use]
    pub const fn octets(&self) -> &[u8; NONCE_OCTETS] {
        &self.octets
    }

    /// The nonce as one that may be spent now.
    ///
    /// # Errors
    /// [`NonceError::Expired`]; [`NonceError::Clock`] when it was minted in the future.
    pub fn fresh(self, now: i64) -> Result<Nonce, NonceError> {
        let age_seconds = now.saturating_sub(self.minted_at);
        if age_seconds < -SKEW_SECONDS {
            return Err(NonceError::Clock);
        }
        if age_seconds > self.lifetime_seconds {
            return Err(NonceError::Expired { age_seconds, lifetime_seconds: self.lifetime_seconds });
        }
        Ok(Nonce { octets: self.octets })
    }
}

impl Nonce {
    /// Its octets, as evidence must repeat them.
    #[must_use]
    pub const fn octets(&self) -> &[u8; NONCE_OCTETS] {
        &self.octets
    }
}

/// As many octets as are wanted, of which there must be so many.
fn leading<'a, const N: usize>(octets: impl IntoIterator<Item = &'a u8>) -> [u8; N] {
    let mut leading = [0; N];
    for (to, from) in leading.iter_mut().zip(octets) {
        *to = *from;
    }
    leading
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn mint() -> Mint {
        Mint::new(&StateSecret::new([7; 32]), 300)
    }

    #[test]
    fn ten_thousand_nonces_differ() {
        let mint = mint();
        let nonces: HashSet<_> = (0..10_000).map(|_| mint.mint(Purpose::Appraisal, "a", NOW).unwrap()).collect();
        assert_eq!(nonces.len(), 10_000);
    }

    #[test]
    fn a_nonce_lives_its_lifetime_and_no_longer() {
        let mint = mint();
        let octets = mint.mint(Purpose::AttestationKey, "a", NOW).unwrap();
        let recognized = || mint.recognize(&octets, Purpose::AttestationKey, "a").unwrap();
        assert_eq!(recognized().fresh(NOW + 300).unwrap().octets(), &octets);
        let expired = NonceError::Expired { age_seconds: 301, lifetime_seconds: 300 };
        assert_eq!(recognized().fresh(NOW + 301).unwrap_err(), expired);
        assert_eq!(recognized().fresh(NOW - 61).unwrap_err(), NonceError::Clock);
        assert!(recognized().fresh(NOW - 60).is_ok());
    }

    #[test]
    fn a_nonce_is_bound_to_account_purpose_and_profile() {
        let mint = mint();
        let certificate = |profile| Purpose::Certificate { profile, session: Session::Json };
        let device = certificate("device");
        let octets = mint.mint(device, "a", NOW).unwrap();
        assert!(mint.recognize(&octets, device, "a").is_ok());
        for (purpose, account) in
            [(device, "b"), (certificate("other"), "a"), (Purpose::AttestationKey, "a"), (Purpose::Appraisal, "a")]
        {
            assert_eq!(mint.recognize(&octets, purpose, account).unwrap_err(), NonceError::Foreign);
        }
        let moved = mint.mint(certificate("ab"), "c", NOW).unwrap();
        assert!(mint.recognize(&moved, certificate("a"), "bc").is_err());
    }

    #[test]
    fn a_nonce_of_one_session_is_none_in_any_other() {
        let mint = mint();
        let order = |id| Session::AcmeOrder { id, key_authorization: &[0; 32], expires: NOW };
        let (one, other) = ([b'a'; EXPORTER_OCTETS], [b'b'; EXPORTER_OCTETS]);
        let text = "a".repeat(EXPORTER_OCTETS);
        let sessions = [
            Session::Json,
            Session::Tls(&one),
            Session::Tls(&other),
            Session::CmpTransaction(&one),
            Session::CmpTransaction(&other),
            Session::CmpTransaction(b""),
            order(&text),
            order("2"),
            order(""),
        ];
        let purpose = |session| Purpose::Certificate { profile: "device", session };
        for from in sessions {
            let octets = mint.mint(purpose(from), "a", NOW).unwrap();
            for to in sessions {
                let recognized = mint.recognize(&octets, purpose(to), "a");
                assert_eq!(recognized.is_ok(), from == to, "{from:?} in {to:?}");
            }
        }
        // Nor can what one field ends with begin the next.
        let octets = mint.mint(purpose(order("xy")), "a", NOW).unwrap();
        assert!(mint.recognize(&octets, purpose(order("y")), "ax").is_err());
    }

    #[test]
    fn what_is_spent_without_a_nonce_is_one_request_for_ten_minutes_and_nothing_a_client_could_send() {
        let mint = mint();
        let spent = |request, account, now| *mint.unproven(&[request; 32], account, now).unwrap().octets();
        let start = NOW - NOW.rem_euclid(UNPROVEN_WINDOW_SECONDS);
        let first = spent(1, "a", start);
        assert_eq!(first, spent(1, "a", start + 599));
        for other in [spent(1, "a", start + 600), spent(2, "a", start), spent(1, "b", start)] {
            assert_ne!(first, other);
        }
        assert_eq!(mint.recognize(&first, Purpose::Appraisal, "a").unwrap_err(), NonceError::Foreign);
        assert_ne!(mint.unrepeated(NOW).unwrap().octets(), mint.unrepeated(NOW).unwrap().octets());
    }

    #[test]
    fn the_certificate_of_an_order_is_one_whoever_asks_and_is_remembered_until_the_order_ends() {
        let mint = mint();
        let spent = |id, account, expires| *mint.of_order(id, account, expires).unwrap().octets();
        let first = spent("o", "a", NOW + 9);
        assert_eq!(first, spent("o", "a", NOW + 9));
        for other in [spent("p", "a", NOW + 9), spent("o", "b", NOW + 9), spent("", "ao", NOW + 9)] {
            assert_ne!(first, other);
        }
        assert_eq!(first[..4], u32::try_from(NOW + 9).unwrap().to_be_bytes());
        assert_eq!(mint.recognize(&first, Purpose::Appraisal, "a").unwrap_err(), NonceError::Foreign);
        assert_eq!(mint.of_order("o", "a", i64::MAX).unwrap_err(), NonceError::Clock);
    }

    #[test]
    fn what_is_sent_elsewhere_for_a_nonce_has_one_transaction_and_is_kept_as_long_as_the_nonce() {
        let mint = mint();
        let nonce = mint.mint(Purpose::Appraisal, "a", NOW).unwrap();
        let (sent, transaction) = mint.forwarding(&nonce);
        assert_eq!(mint.forwarding(&nonce).1, transaction);
        assert_eq!(mint.forwarding(&nonce).0.octets(), sent.octets());
        assert_eq!(sent.octets()[..TIME_OCTETS], nonce[..TIME_OCTETS]);
        assert!(
            !sent.octets().windows(MAC_OCTETS).any(|window| window == transaction),
            "one says nothing of the other"
        );
        let (other, another) = mint.forwarding(&mint.mint(Purpose::Appraisal, "a", NOW).unwrap());
        assert!(other.octets() != sent.octets() && another != transaction);
        assert_eq!(mint.recognize(sent.octets(), Purpose::Appraisal, "a").unwrap_err(), NonceError::Foreign);
        let stranger = Mint::new(&StateSecret::new([8; 32]), 300);
        assert_ne!(stranger.forwarding(&nonce).1, transaction);
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_refused() {
        let mint = mint();
        let octets = mint.mint(Purpose::Appraisal, "a", NOW).unwrap();
        for bit in 0..NONCE_OCTETS * 8 {
            let mut altered = octets;
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(mint.recognize(&altered, Purpose::Appraisal, "a").unwrap_err(), NonceError::Foreign);
        }
        for altered in [&octets[..31], &[&octets[..], &[0]].concat(), &[]] {
            let length = NonceError::Length { found: altered.len() };
            assert_eq!(mint.recognize(altered, Purpose::Appraisal, "a").unwrap_err(), length);
        }
    }

    #[test]
    fn another_secret_mints_other_nonces() {
        let octets = mint().mint(Purpose::Appraisal, "a", NOW).unwrap();
        let other = Mint::new(&StateSecret::new([8; 32]), 300);
        assert_eq!(other.recognize(&octets, Purpose::Appraisal, "a").unwrap_err(), NonceError::Foreign);
    }

    #[test]
    fn clocks_outside_the_time_field_are_refused() {
        assert_eq!(mint().mint(Purpose::Appraisal, "a", -1).unwrap_err(), NonceError::Clock);
        assert_eq!(mint().mint(Purpose::Appraisal, "a", 1 << 32).unwrap_err(), NonceError::Clock);
    }
}
