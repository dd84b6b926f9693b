#![no_main]

#[path = "../src/allocation.rs"]
mod allocation;
#[path = "../src/cmp.rs"]
mod cmp;

use vouchsafe_authority::protocol::cmp::{Message, NonceRequest};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    allocation::within(allocation::parse_octets(data.len()), || {
        drop(std::hint::black_box(Message::parse(data)));
        drop(std::hint::black_box(NonceRequest::parse(data)));
    });
    cmp::message(data);
});
