#![no_main]

#[path = "../src/accepted.rs"]
mod accepted;
#[path = "../src/allocation.rs"]
mod allocation;

libfuzzer_sys::fuzz_target!(|data: &[u8]| allocation::within(allocation::VERIFY_OCTETS, || accepted::verify(data)));
