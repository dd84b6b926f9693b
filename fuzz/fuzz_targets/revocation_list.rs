#![no_main]

#[path = "../src/allocation.rs"]
mod allocation;
#[path = "../src/checks.rs"]
mod checks;
#[path = "../src/parsers.rs"]
mod parsers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    allocation::within(allocation::parse_octets(data.len()), || parsers::revocation_list(data));
    checks::revocation_list(data);
});
