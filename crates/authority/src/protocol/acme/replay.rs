//! Replay nonces (RFC 8555, section 6.5): anybody gets one, and nothing is stored before one is spent.
//!
//! One is `time (4, seconds since the epoch, big-endian) || random (12) || MAC (16)` in base64url. They guard requests
//! against being sent twice and say nothing about evidence, for which there are others.

use aws_lc_rs::{constant_time, hmac, rand};
use vouchsafe_evidence::base64url;

use crate::secret::{KeyUse, StateSecret};

/// Seconds that one may be used: as long as a client may think about an order.
pub(super) const LIFETIME_SECONDS: i64 = 3_600;
/// How far ahead of this clock another replica's clock may be, in seconds.
const SKEW_SECONDS: i64 = 60;
const TIME_OCTETS: usize = 4;
const RANDOM_OCTETS: usize = 12;
const MAC_OCTETS: usize = 16;
/// Octets of a replay nonce.
pub(super) const OCTETS: usize = TIME_OCTETS + RANDOM_OCTETS + MAC_OCTETS;

/// Makes replay nonces and knows its own.
#[derive(Debug)]
pub(super) struct ReplayMint(hmac::Key);

/// A replay nonce that was made here and is not expired; whether it was spent, the store knows.
#[derive(Debug)]
pub(super) struct ReplayNonce {
    /// Its octets, by which it is spent.
    pub(super) octets: [u8; OCTETS],
    /// After this time nobody need remember that it was spent.
    pub(super) expires: i64,
}

impl ReplayMint {
    pub(super) fn new(secret: &StateSecret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.derive(KeyUse::AcmeReplay).as_ref()))
    }

    /// A new one; nothing where the clock or the random source fails.
    pub(super) fn mint(&self, now: i64) -> Option<String> {
        let mut octets = [0; OCTETS];
        let (time, rest) = octets.split_first_chunk_mut::<TIME_OCTETS>()?;
        let (random, mac) = rest.split_first_chunk_mut::<RANDOM_OCTETS>()?;
        *time = u32::try_from(now).ok()?.to_be_bytes();
        rand::fill(random).ok()?;
        mac.copy_from_slice(&self.mac(time, random));
        Some(base64url::encode(&octets))
    }

    /// Knows its own that may still be used.
    pub(super) fn recognize(&self, text: &str, now: i64) -> Option<ReplayNonce> {
        let octets: [u8; OCTETS] = base64url::decode(text)?.try_into().ok()?;
        let (time, rest) = octets.split_first_chunk::<TIME_OCTETS>()?;
        let (random, mac) = rest.split_first_chunk::<RANDOM_OCTETS>()?;
        constant_time::verify_slices_are_equal(&self.mac(time, random), mac).ok()?;
        let minted_at = i64::from(u32::from_be_bytes(*time));
        let age_seconds = now.saturating_sub(minted_at);
        let expires = minted_at.saturating_add(LIFETIME_SECONDS).saturating_add(SKEW_SECONDS);
        (-SKEW_SECONDS..=LIFETIME_SECONDS).contains(&age_seconds).then_some(ReplayNonce { octets, expires })
    }

    fn mac(&self, time: &[u8; TIME_OCTETS], random: &[u8; RANDOM_OCTETS]) -> [u8; MAC_OCTETS] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(time);
        context.update(random);
        let mut mac = [0; MAC_OCTETS];
        for (to, from) in mac.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    #[test]
    fn one_lives_its_hour_and_only_here() {
        let mint = ReplayMint::new(&StateSecret::new([7; 32]));
        let text = mint.mint(NOW).unwrap();
        assert!(mint.recognize(&text, NOW).is_some());
        assert!(mint.recognize(&text, NOW + LIFETIME_SECONDS).is_some());
        assert!(mint.recognize(&text, NOW + LIFETIME_SECONDS + 1).is_none());
        assert!(mint.recognize(&text, NOW - SKEW_SECONDS - 1).is_none());
        assert!(ReplayMint::new(&StateSecret::new([8; 32])).recognize(&text, NOW).is_none());
        assert_ne!(text, mint.mint(NOW).unwrap());
    }

    #[test]
    fn every_altered_one_is_refused() {
        let mint = ReplayMint::new(&StateSecret::new([7; 32]));
        let octets = base64url::decode(&mint.mint(NOW).unwrap()).unwrap();
        for bit in 0..OCTETS * 8 {
            let mut altered = octets.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(mint.recognize(&base64url::encode(&altered), NOW).is_none(), "{bit}");
        }
        for text in ["", "AA", "not base64url!"] {
            assert!(mint.recognize(text, NOW).is_none(), "{text}");
        }
    }
}
