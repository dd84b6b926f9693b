//! What must hold for any protectionAlg of a CMP message. The fuzz target calls it; an ordinary test of the authority runs
//! it over seeds and altered ones.

#![allow(clippy::unwrap_used)]

use vouchsafe_authority::protocol::cmp::{PasswordMac, limits};
use vouchsafe_evidence::x509::AlgorithmIdentifier;

/// The parameters that are taken cost no more work than is allowed, and mean the same once they are written.
pub fn parameters(data: &[u8]) {
    let Ok(algorithm) = AlgorithmIdentifier::parse(data) else { return };
    let Ok(mac) = PasswordMac::from_algorithm(&algorithm) else { return };
    assert!(limits::ITERATIONS.contains(&u64::from(mac.iterations())), "{} iterations", mac.iterations());
    let der = mac.to_der();
    assert_eq!(PasswordMac::from_algorithm(&AlgorithmIdentifier::parse(&der).unwrap()).unwrap(), mac);
}
