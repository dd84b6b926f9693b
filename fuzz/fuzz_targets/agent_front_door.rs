#![no_main]

#[path = "../src/agent.rs"]
mod agent;
#[path = "../src/allocation.rs"]
mod allocation;

use vouchsafe_agent::wire::{Opcode, Operation, Request};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let limit = allocation::parse_octets(data.len());
    allocation::within(limit, || drop(std::hint::black_box(Request::parse(data))));
    for opcode in Opcode::ALL {
        allocation::within(limit, || drop(std::hint::black_box(Operation::decode(opcode, data))));
    }
    agent::front_door(data);
});
