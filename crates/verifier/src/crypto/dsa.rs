//! DSA signatures (FIPS 186-4, section 4.7), which modules made before elliptic curves were common still make. They are
//! verified and never made; `docs/decisions/0007-dsa-and-hss.md` says why and with what.

use aws_lc_rs::digest;
use dsa::signature::hazmat::PrehashVerifier;
use dsa::{BoxedUint, Components, Signature, VerifyingKey};
use thiserror::Error;

use super::{SignatureBudget, SignatureError};

/// Smallest domain whose signatures count (NIST SP 800-131A): 2048 bits, 224 in the subgroup; of those that have been
/// standardized only 3072 and 256 are met.
const P_BITS_MIN: u32 = 2048;
const Q_BITS_MIN: u32 = 224;
/// Largest domain that is computed with, in octets.
const P_OCTETS_MAX: usize = 384;

/// A public key, its integers as magnitudes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DsaKey<'a> {
    /// The prime.
    pub p: &'a [u8],
    /// The order of the subgroup.
    pub q: &'a [u8],
    /// The generator.
    pub g: &'a [u8],
    /// The key.
    pub y: &'a [u8],
}

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum DsaError {
    /// It was not checked, or is not the key's.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The key is smaller than 2048 bits, of a size that has no standard, or no key of its domain.
    #[error("the DSA key is too small, or of no standard size")]
    WeakKey,
}

/// Checks that `r` and `s` sign the SHA-256 of `message` under `key`.
///
/// # Errors
/// [`DsaError`]; only a signature that is not the key's was paid for.
pub(crate) fn verify_dsa(
    budget: &mut SignatureBudget,
    key: DsaKey<'_>,
    message: &[u8],
    (r, s): (&[u8], &[u8]),
) -> Result<(), DsaError> {
    let oversize = [key.p, key.g, key.y].iter().any(|integer| integer.len() > P_OCTETS_MAX);
    if oversize || key.q.len() > key.p.len() || r.len() > key.q.len() || s.len() > key.q.len() {
        return Err(if oversize { DsaError::WeakKey } else { SignatureError::Invalid.into() });
    }
    let (p, q) = (BoxedUint::from_be_slice_vartime(key.p), BoxedUint::from_be_slice_vartime(key.q));
    if p.bits() < P_BITS_MIN || q.bits() < Q_BITS_MIN || key.g.len() > key.p.len() || key.y.len() > key.p.len() {
        return Err(DsaError::WeakKey);
    }
    // All integers modulo p at one width, as the arithmetic wants them.
    let width = p.bits_precision();
    let widened = |octets| BoxedUint::from_be_slice(octets, width).map_err(|_| DsaError::WeakKey);
    let (g, y) = (widened(key.g)?, widened(key.y)?);
    if y >= p {
        return Err(DsaError::WeakKey);
    }
    let components = Components::from_components(p, q, g).map_err(|_| DsaError::WeakKey)?;
    let digest = digest::digest(&digest::SHA256, message);
    let identity = [b"DSA", key.p, key.q, key.g, key.y, digest.as_ref(), r, s];
    budget.answer(&identity, || is_valid(components, y, digest.as_ref(), (r, s)))?;
    Ok(())
}

fn is_valid(components: Components, y: BoxedUint, digest: &[u8], (r, s): (&[u8], &[u8])) -> bool {
    let width = components.q().bits_precision();
    let integer = |octets| BoxedUint::from_be_slice(octets, width).ok();
    let (Some(r), Some(s)) = (integer(r), integer(s)) else { return false };
    let Some(signature) = Signature::from_components(r, s) else { return false };
    VerifyingKey::from_components(components, y).is_ok_and(|key| key.verify_prehash(digest, &signature).is_ok())
}
