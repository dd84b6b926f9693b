//! key-pop: a challenge that the attested key signs, as part of the certification request that carries it.

use crate::limits;
use crate::x509::build::DerWriter;
use crate::x509::der::{Element, Tag};
use crate::{Malformed, Reason};

const PRODUCTION: &str = "KeyPop";

/// Octets of the longest context.
pub const KEY_POP_CONTEXT_OCTETS: usize = 64;

/// SEQUENCE { nonce OCTET STRING (SIZE (16..64)), context OCTET STRING (SIZE (0..64)) } (DESIGN, "Statement types").
///
/// It proves nothing by itself: the signature that covers it is the request's, by the request's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPop {
    /// The challenge.
    pub nonce: Vec<u8>,
    /// What the challenge is bound to besides: a digest of the session, transaction or account.
    pub context: Vec<u8>,
}

impl KeyPop {
    /// Reads the DER of one statement.
    ///
    /// # Errors
    /// [`Malformed`] unless `stmt` is exactly that, in strict DER.
    pub fn parse(stmt: &[u8]) -> Result<Self, Malformed> {
        let element = Element::parse(stmt, PRODUCTION)?;
        if element.tag() != Tag::SEQUENCE {
            return Err(element.error(Reason::Unexpected(PRODUCTION)));
        }
        let mut fields = element.reader();
        let nonce = fields.octet_string("nonce")?;
        let context = fields.octet_string("context")?;
        fields.finish()?;
        if !(limits::NONCE_OCTETS_MIN..=limits::NONCE_OCTETS_MAX).contains(&nonce.len()) {
            return Err(element.error(Reason::Unexpected("nonce of 16 to 64 octets")));
        }
        if context.len() > KEY_POP_CONTEXT_OCTETS {
            return Err(element.error(Reason::Unexpected("context of at most 64 octets")));
        }
        element.check_strict()?;
        Ok(Self { nonce: nonce.to_vec(), context: context.to_vec() })
    }

    /// The DER of `stmt`.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let mut writer = DerWriter::new();
        writer.sequence(|fields| {
            fields.octet_string(&self.nonce).octet_string(&self.context);
        });
        writer.into_der()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_and_bounds_hold() {
        let pop = |nonce: usize, context: usize| KeyPop { nonce: vec![7; nonce], context: vec![9; context] };
        for good in [pop(16, 0), pop(64, 64), pop(32, 32)] {
            assert_eq!(KeyPop::parse(&good.to_der()), Ok(good));
        }
        for bad in [pop(15, 0), pop(65, 0), pop(16, 65)] {
            assert!(KeyPop::parse(&bad.to_der()).is_err());
        }
        let mut trailing = pop(16, 0).to_der();
        trailing.push(0);
        assert!(KeyPop::parse(&trailing).is_err());
    }
}
