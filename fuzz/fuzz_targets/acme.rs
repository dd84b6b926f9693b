#![no_main]

#[path = "../src/acme.rs"]
mod acme;
#[path = "../src/allocation.rs"]
mod allocation;

use vouchsafe_authority::protocol::acme::Jws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    allocation::within(allocation::parse_octets(data.len()), || drop(std::hint::black_box(Jws::parse(data))));
    acme::jws(data);
});
