//! What a request should hold (RFC 7030, section 4.5.2).

use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build::{self, DerWriter};

/// Bits of the smallest RSA keys that are asked for.
const RSA_BITS: u64 = 2048;

/// The CsrAttrs: the attestation, and which keys may be attested.
///
/// ```asn1
/// CsrAttrs ::= SEQUENCE OF CHOICE { oid OBJECT IDENTIFIER, attribute Attribute }
/// ```
pub(super) fn to_der() -> Vec<u8> {
    let curves = [oid::SECP256R1, oid::SECP384R1].map(|curve| single(|value| value.oid(curve)));
    let bits = single(|value| value.uint(RSA_BITS));
    let mut attributes = DerWriter::new();
    attributes.sequence(|list| {
        list.oid(oid::AA_ATTESTATION)
            .raw(&build::attribute(oid::EC_PUBLIC_KEY, &curves))
            .raw(&build::attribute(oid::RSA_ENCRYPTION, &[bits]));
    });
    attributes.into_der()
}

fn single(write: impl FnOnce(&mut DerWriter) -> &mut DerWriter) -> Vec<u8> {
    let mut writer = DerWriter::new();
    write(&mut writer);
    writer.into_der()
}

#[cfg(test)]
mod tests {
    use vouchsafe_evidence::x509::der::Reader;

    use super::*;

    #[test]
    fn the_attestation_is_asked_for_first_and_then_the_kinds_of_keys() {
        let der = to_der();
        let mut outer = Reader::new(&der, "CsrAttrs");
        let mut list = outer.sequence("CsrAttrs").unwrap();
        outer.finish().unwrap();
        assert_eq!(list.oid("attestation").unwrap(), oid::AA_ATTESTATION);
        for (key, values) in [(oid::EC_PUBLIC_KEY, 2), (oid::RSA_ENCRYPTION, 1)] {
            let mut attribute = list.sequence("Attribute").unwrap();
            assert_eq!(attribute.oid("type").unwrap(), key);
            let set = attribute.element().unwrap();
            attribute.finish().unwrap();
            let mut members = set.reader();
            let count = std::iter::from_fn(|| members.element().ok()).count();
            assert_eq!(count, values);
        }
        list.finish().unwrap();
    }
}
