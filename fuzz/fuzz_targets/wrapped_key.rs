#![no_main]

#[path = "../src/allocation.rs"]
mod allocation;
#[path = "../src/wrapped_key.rs"]
mod wrapped_key;

use vouchsafe_agent::provider::tpm::read_wrapped_attesting_key;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    allocation::within(allocation::parse_octets(data.len()), || {
        drop(std::hint::black_box(read_wrapped_attesting_key(data)));
    });
    wrapped_key::wrapped_key(data);
});
