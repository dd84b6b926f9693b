#![no_main]

#[path = "../src/allocation.rs"]
mod allocation;
#[path = "../src/est.rs"]
mod est;

use vouchsafe_authority::protocol::est::{NonceRequest, decode_body};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    allocation::within(allocation::parse_octets(data.len()), || {
        drop(std::hint::black_box(decode_body(data)));
        drop(std::hint::black_box(NonceRequest::parse("POST", "application/est-attestation-freshness+json", data)));
    });
    est::body(data);
});
