//! Signature checks, each paid for out of one budget per request.

use std::collections::HashMap;

use aws_lc_rs::digest::{Context, SHA256};
use vouchsafe_evidence::limits;

mod algorithm;
mod check;

pub use algorithm::{PssSalt, SignatureAlgorithm, UnsupportedAlgorithm};
pub use check::{SignatureError, verify_signature, verify_tpm_signature};

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
        Self { limit, spent: 0, answers: HashMap::new() }
    }

    /// Checks made so far, those answered from memory not counted.
    #[must_use]
    pub const fn spent(&self) -> usize {
        self.spent
    }

    /// The answer of `check`, from memory or by making it and paying for it.
    fn answer(&mut self, identity: &[&[u8]], check: impl FnOnce() -> bool) -> Result<(), SignatureError> {
        let memo = memo(identity);
        let valid = match memo.as_ref().and_then(|memo| self.answers.get(memo)) {
            Some(valid) => *valid,
            None => {
                if self.spent >= self.limit {
                    return Err(SignatureError::BudgetExhausted { limit: self.limit });
                }
                self.spent += 1;
                let valid = check();
                if let Some(memo) = memo {
                    self.answers.insert(memo, valid);
                }
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
fn memo(parts: &[&[u8]]) -> Option<[u8; MEMO_OCTETS]> {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&u64::try_from(part.len()).ok()?.to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().try_into().ok()
}
