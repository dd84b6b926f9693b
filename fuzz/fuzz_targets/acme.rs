#![no_main]

#[path = "../src/allocation.rs"]
mod allocation;

use vouchsafe_authority::protocol::acme::{Jwk, Jws, KeyReference};

// A signed request is read within bounds, and the key in it survives being written and read again.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    allocation::within(allocation::parse_octets(data.len()), || drop(std::hint::black_box(Jws::parse(data))));
    let Ok(jws) = Jws::parse(data) else { return };
    let KeyReference::Jwk(key) = &jws.key else { return };
    let text = serde_json::to_string(key).unwrap_or_default();
    match serde_json::from_str::<Jwk>(&text) {
        Ok(again) => assert_eq!(&again, key),
        Err(error) => panic!("{text} does not parse: {error}"),
    }
    let _ = jws.verify(key);
});
