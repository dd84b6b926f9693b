//! What must hold for any octets at the agent's door. The fuzz target calls this; a property test of the agent as well.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use vouchsafe_agent::provider::{ClaimSelection, REQUESTED_CLAIMS, RequestForm};
use vouchsafe_agent::wire::header::HEADER_OCTETS;
use vouchsafe_agent::wire::{Opcode, Operation, Request};

/// A request that parses has the length that its header announces, and that header is the only one for it.
///
/// Since few octets make a header, the same octets are also taken for the body of every operation.
pub fn front_door(data: &[u8]) {
    if let Ok(request) = Request::parse(data) {
        assert_eq!(request.header.to_octets().unwrap(), data[..HEADER_OCTETS]);
        assert_eq!(HEADER_OCTETS + request.header.body_octets + request.auth.len(), data.len());
    }
    for opcode in Opcode::ALL {
        let first = Operation::decode(opcode, data);
        assert_eq!(first, Operation::decode(opcode, data));
    }
    // A request for Evidence in the draft's form is octets within octets: nobody has looked at them before.
    if let Ok(form) = RequestForm::parse(data) {
        match form.request.claims {
            ClaimSelection::Default => panic!("a request in the draft's form asks for something"),
            ClaimSelection::Only(claims) => assert!(claims.len() <= REQUESTED_CLAIMS),
        }
        assert!(form.nonce.is_none_or(|nonce| (16..=64).contains(&nonce.len())));
    }
}
