//! What must hold for any message of CMP. The fuzz target calls it; an ordinary test of the authority runs it over
//! altered messages.

use vouchsafe_authority::protocol::cmp::{Body, Message};

/// What parses is exactly its octets, and what its protection covers are header and body as they came.
pub fn message(data: &[u8]) {
    let Ok(message) = Message::parse(data) else { return };
    let (_, shorter) = data.split_last().unwrap_or((&0, &[]));
    assert!(Message::parse(shorter).is_err(), "a message that is cut short parses");
    assert!(Message::parse(&[data, &[0]].concat()).is_err(), "a message with something after it parses");
    // The headers of the two SEQUENCEs may differ in length, what is in them begins alike.
    let covered = contents(&message.protected_part);
    assert!(contents(data).starts_with(covered), "the protection covers other octets than those that came");
    if let Body::P10cr(csr) = message.body {
        assert!(covered.ends_with(csr), "the request is not the end of the body");
    }
    drop(message.header.profiles());
}

/// The contents of a SEQUENCE.
fn contents(der: &[u8]) -> &[u8] {
    let length_octets = match der.get(1) {
        Some(length @ 0x80..) => usize::from(length & 0x7F),
        Some(_) | None => 0,
    };
    der.get(length_octets + 2..).unwrap_or_default()
}
