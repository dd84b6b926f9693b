#![no_main]

#[path = "../src/acme.rs"]
mod acme;
#[path = "../src/allocation.rs"]
mod allocation;

use vouchsafe_authority::protocol::acme::read_dns_answer;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((question, query, message)) = acme::dns_parts(data) else { return };
    allocation::within(allocation::parse_octets(data.len()), || {
        drop(std::hint::black_box(read_dns_answer(message, query, acme::ASKED, question)));
    });
    acme::dns_answer(data);
});
