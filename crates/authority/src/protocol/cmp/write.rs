//! How messages are written (RFC 9810, section 5.1): this authority's answers, and what it asks of a CA elsewhere.

use vouchsafe_evidence::x509::build::DerWriter;
use vouchsafe_evidence::x509::der::Tag;

use super::body::MessageType;
use super::oids;

/// A Name without attributes, DER.
const NO_NAME: [u8; 2] = [0x30, 0];

/// What a header says besides who protects the message.
pub(crate) struct HeaderFields<'a> {
    pub(crate) version: u64,
    /// A GeneralName, DER.
    pub(crate) recipient: &'a [u8],
    pub(crate) now: i64,
    pub(crate) transaction_id: Option<&'a [u8]>,
    pub(crate) sender_nonce: &'a [u8],
    pub(crate) recipient_nonce: Option<&'a [u8]>,
    pub(crate) implicit_confirm: bool,
}

/// Who protects a message, and by what.
pub(crate) struct Protector<'a> {
    /// A GeneralName, DER.
    pub(crate) sender: &'a [u8],
    /// protectionAlg, DER.
    pub(crate) algorithm: &'a [u8],
    pub(crate) key_id: Option<&'a [u8]>,
    /// extraCerts, DER.
    pub(crate) certificates: Vec<&'a [u8]>,
}

/// The DER of a whole message; `protect` makes the protection of header and body.
pub(crate) fn message<E>(
    fields: &HeaderFields<'_>,
    by: &Protector<'_>,
    body: &[u8],
    protect: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let header = header(fields, by);
    let mut part = DerWriter::new();
    part.sequence(|part| drop_ref(part.raw(&header).raw(body)));
    let protection = protect(&part.into_der())?;
    let mut message = DerWriter::new();
    message.sequence(|message| {
        message.raw(&header).raw(body);
        explicit(message, 0, |field| drop_ref(field.bit_string(&protection, 0)));
        if !by.certificates.is_empty() {
            explicit(message, 1, |field| {
                field.sequence(|list| {
                    for certificate in &by.certificates {
                        list.raw(certificate);
                    }
                });
            });
        }
    });
    Ok(message.into_der())
}

fn header(fields: &HeaderFields<'_>, by: &Protector<'_>) -> Vec<u8> {
    let mut header = DerWriter::new();
    header.sequence(|header| {
        header.uint(fields.version).raw(by.sender).raw(fields.recipient);
        explicit(header, 0, |time| drop_ref(time.generalized_time(fields.now)));
        explicit(header, 1, |field| drop_ref(field.raw(by.algorithm)));
        if let Some(key_id) = by.key_id {
            explicit(header, 2, |field| drop_ref(field.octet_string(key_id)));
        }
        if let Some(id) = fields.transaction_id {
            explicit(header, 4, |field| drop_ref(field.octet_string(id)));
        }
        explicit(header, 5, |field| drop_ref(field.octet_string(fields.sender_nonce)));
        if let Some(nonce) = fields.recipient_nonce {
            explicit(header, 6, |field| drop_ref(field.octet_string(nonce)));
        }
        if fields.implicit_confirm {
            explicit(header, 8, |field| {
                field.sequence(|list| {
                    list.sequence(|info| drop_ref(info.oid(oids::IMPLICIT_CONFIRM).null()));
                });
            });
        }
    });
    header.into_der()
}

/// The DER of a body.
pub(crate) fn body(kind: MessageType, write: impl FnOnce(&mut DerWriter)) -> Vec<u8> {
    let mut writer = DerWriter::new();
    explicit(&mut writer, kind.number(), write);
    writer.into_der()
}

/// directoryName, a GeneralName, of the DER of a Name.
pub(crate) fn directory_name(name: &[u8]) -> Vec<u8> {
    let mut writer = DerWriter::new();
    explicit(&mut writer, 4, |field| drop_ref(field.raw(name)));
    writer.into_der()
}

/// The GeneralName of who is known by no name, DER.
pub(crate) fn nobody() -> Vec<u8> {
    directory_name(&NO_NAME)
}

/// The writer's methods return the writer, which closures must not.
pub(crate) const fn drop_ref(_: &mut DerWriter) {}

/// An explicitly tagged field.
pub(crate) fn explicit(writer: &mut DerWriter, number: u8, write: impl FnOnce(&mut DerWriter)) {
    writer.constructed(Tag::context_constructed(number), write);
}
