//! Signature checks, each paid for out of one budget per request.

use std::collections::HashMap;

use aws_lc_rs::digest::{Context, SHA256};
use vouchsafe_evidence::limits;

mod algorithm;
mod cache;
mod check;
mod dsa;

pub use algorithm::{PssSalt, SignatureAlgorithm, UnsupportedAlgorithm};
pub use cache::VerificationCache;
pub(crate) use check::{Legacy, verify_authority_signature, verify_legacy_signature};
pub use check::{SignatureError, verify_signature, verify_tpm_signature};
pub(crate) use dsa::{DsaError, DsaKey, verify_dsa};

/// Octets of the digest by which a signature check is remembered.
const MEMO_OCTETS: usize = 32;

/// The signature checks that one request may still cost.
///
/// One budget is made per request and lent to everything that checks a signature. A check that was already
/// made with the same key, algorithm, message and signature is answered from memory and costs nothing.
#[derive(Debug)]
pub struct SignatureBudget {
    limit: usize,
    spent: usize,
    answers: HashMap<[u8; MEMO_OCTETS], bool>,
    shared: Option<(VerificationCache, [u8; MEMO_OCTETS])>,
}

impl SignatureBudget {
    /// The budget of one request: [`limits::SIGNATURE_CHECKS`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(limits::SIGNATURE_CHECKS)
    }

    /// A budget of `limit` checks.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self { limit, spent: 0, answers: HashMap::new(), shared: None }
    }

    /// Lets good signatures of certification authorities be answered from, and added to, a cache that outlives the
    /// request. `trust_version` is that of the trust store of the request.
    #[must_use]
    pub fn with_cache(mut self, cache: &VerificationCache, trust_version: [u8; MEMO_OCTETS]) -> Self {
        self.shared = Some((cache.clone(), trust_version));
        self
    }

    /// Checks made so far, those answered from memory not counted.
    #[must_use]
    pub const fn spent(&self) -> usize {
        self.spent
    }

    /// The answer of `check`, from memory or by making it and paying for it.
    fn answer(&mut self, identity: &[&[u8]], check: impl FnOnce() -> bool) -> Result<(), SignatureError> {
        self.answer_memo(memo(identity), check)
    }

    /// As [`SignatureBudget::answer`], also from what other requests found good.
    fn answer_shared(&mut self, identity: &[&[u8]], check: impl FnOnce() -> bool) -> Result<(), SignatureError> {
        let memo = memo(identity);
        let shared = self.shared.clone();
        let Some((cache, version)) = shared else { return self.answer_memo(memo, check) };
        if cache.contains(&(version, memo)) {
            return Ok(());
        }
        self.answer_memo(memo, check)?;
        cache.insert((version, memo));
        Ok(())
    }

    fn answer_memo(&mut self, memo: [u8; MEMO_OCTETS], check: impl FnOnce() -> bool) -> Result<(), SignatureError> {
        let valid = match self.answers.get(&memo) {
            Some(valid) => *valid,
            None => {
                if self.spent >= self.limit {
                    return Err(SignatureError::BudgetExhausted { limit: self.limit });
                }
                self.spent += 1;
                let valid = check();
                self.answers.insert(memo, valid);
                valid
            }
        };
        if valid { Ok(()) } else { Err(SignatureError::Invalid) }
    }
}

impl Default for SignatureBudget {
    fn default() -> Self {
        Self::new()
    }
}

/// A digest of the parts, each preceded by its length so that no two lists run into one another.
fn memo(parts: &[&[u8]]) -> [u8; MEMO_OCTETS] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        // A length that does not fit cannot occur: nothing in memory is that long.
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    let mut memo = [0; MEMO_OCTETS];
    memo.copy_from_slice(context.finish().as_ref());
    memo
}
