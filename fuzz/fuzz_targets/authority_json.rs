#![no_main]

#[path = "../src/allocation.rs"]
mod allocation;
#[path = "../src/authority.rs"]
mod authority;

use vouchsafe_authority::request::Request;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((operation, head, body)) = authority::select(data) {
        allocation::within(allocation::parse_octets(data.len()), || {
            drop(std::hint::black_box(Request::parse(operation, head, body)));
        });
    }
    authority::body(data);
});
