//! Evidence that is told apart and that nothing here verifies: it is refused by name, not guessed at.

use super::Offer;
use crate::oid::Oid;

/// Extensions that only the evidence of some maker has.
const EXTENSIONS: [(Oid, &str); 5] = [
    (Oid::constant("1.3.6.1.4.1.11129.2.1.17"), "Android Keystore key attestation"),
    (Oid::constant("1.2.840.113635.100.8.2"), "Apple anonymous attestation or App Attest"),
    (Oid::constant("1.2.840.113635.100.8.9.1"), "Apple Managed Device Attestation"),
    (Oid::constant("1.2.840.113635.100.8.9.2"), "Apple Managed Device Attestation"),
    (Oid::constant("2.23.133.5.4.1"), "DICE attestation"),
];

/// How files begin that are no certificates: a card verifiable certificate (BSI TR-03110), an attestation document of
/// Nitro Enclaves (an array of four, the first being the protected header that names ES384).
const BEGINNINGS: [(&[u8], &str); 3] = [
    (&[0x7F, 0x21], "SmartCard-HSM device authentication"),
    (&[0x84, 0x44, 0xA1, 0x01, 0x38, 0x22], "AWS Nitro Enclaves attestation"),
    (&[0xD2, 0x84, 0x44, 0xA1, 0x01, 0x38, 0x22], "AWS Nitro Enclaves attestation"),
];

/// What the offered files are, if they are evidence that nothing here verifies.
#[must_use]
pub fn name_of(offer: &Offer<'_>) -> Option<&'static str> {
    let by_extension = offer.certificates.iter().find_map(|offered| {
        let mut extensions = offered.certificate.extensions();
        extensions.find_map(|found| EXTENSIONS.iter().find(|(oid, _)| *oid == found.oid()).map(|(_, name)| *name))
    });
    by_extension.or_else(|| {
        let mut files = offer.files.iter();
        files.find_map(|file| BEGINNINGS.iter().find(|(start, _)| file.bytes.starts_with(start)).map(|(_, name)| *name))
    })
}
