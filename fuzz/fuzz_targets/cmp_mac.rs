#![no_main]

#[path = "../src/allocation.rs"]
mod allocation;
#[path = "../src/cmp_mac.rs"]
mod cmp_mac;

use vouchsafe_authority::protocol::cmp::PasswordMac;
use vouchsafe_evidence::x509::AlgorithmIdentifier;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    allocation::within(allocation::parse_octets(data.len()), || {
        let algorithm = AlgorithmIdentifier::parse(data);
        drop(std::hint::black_box(algorithm.as_ref().ok().map(PasswordMac::from_algorithm)));
    });
    cmp_mac::parameters(data);
});
