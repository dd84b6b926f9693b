//! key-pop: the attested key signed this authority's challenge, as part of the request.
//!
//! The statement itself is signed by nobody; the request's own signature covers it. It counts only inside a request, and
//! whether that signature holds is checked with the request.

use vouchsafe_evidence::statement::KeyPop;

use super::Context;
use crate::rejection::{Rejection, codes};
use crate::verdict::Freshness;

/// How fresh a proof of possession makes the request that it stands in. `is_second` says that there was one before.
pub(super) fn authenticate(stmt: &[u8], context: &Context<'_>, is_second: bool) -> Result<Freshness, Rejection> {
    let proof = KeyPop::parse(stmt)
        .map_err(|e| Rejection::new(codes::POP_MALFORMED, format!("The key-pop statement is malformed: {e}.")))?;
    if is_second {
        return Err(Rejection::plain(codes::POP_SEVERAL));
    }
    if !context.in_request {
        return Err(Rejection::plain(codes::POP_NO_REQUEST));
    }
    if context.possession_context.is_some_and(|wanted| wanted != proof.context) {
        return Err(Rejection::plain(codes::POP_CONTEXT));
    }
    match context.nonce {
        None => Ok(Freshness::None),
        Some(nonce) if nonce.as_bytes() == proof.nonce => Ok(Freshness::ProofOfPossession),
        Some(_) => Err(Rejection::plain(codes::NONCE_MISMATCH)),
    }
}
