//! Random octets.

use crate::failure::Failure;

/// So many octets that nobody can guess.
///
/// # Errors
/// [`Failure`] if the random source fails.
pub fn random<const OCTETS: usize>() -> Result<[u8; OCTETS], Failure> {
    let mut octets = [0; OCTETS];
    aws_lc_rs::rand::fill(&mut octets).map_err(|_| Failure::new("the random source failed"))?;
    Ok(octets)
}
