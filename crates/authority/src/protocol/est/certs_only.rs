//! Messages that hold certificates and nothing else: a SignedData without signers (RFC 5652, section 5; RFC 5272,
//! section 4.1).

use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build::DerWriter;
use vouchsafe_evidence::x509::der::Tag;

/// Version of a SignedData that holds X.509 certificates and data (RFC 5652, section 5.1).
const VERSION: u64 = 1;

/// The ContentInfo that holds these certificates, DER each.
///
/// ```asn1
/// ContentInfo ::= SEQUENCE { contentType id-signedData, content [0] EXPLICIT SignedData }
/// SignedData ::= SEQUENCE { version INTEGER, digestAlgorithms SET, encapContentInfo SEQUENCE { id-data },
///                           certificates [0] IMPLICIT SET OF Certificate, signerInfos SET }
/// ```
pub(super) fn to_der(certificates: &[Vec<u8>]) -> Vec<u8> {
    let mut sorted = certificates.to_vec();
    sorted.sort();
    let mut message = DerWriter::new();
    message.sequence(|info| {
        info.oid(oid::SIGNED_DATA).constructed(Tag::context_constructed(0), |content| {
            content.sequence(|data| {
                data.uint(VERSION).set_of(&[]);
                data.sequence(|encapsulated| {
                    encapsulated.oid(oid::PKCS7_DATA);
                });
                data.primitive(Tag::context_constructed(0), &sorted.concat()).set_of(&[]);
            });
        });
    });
    message.into_der()
}
