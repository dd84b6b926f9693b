//! What parsing may take of the heap: an allocator that counts, and the bound.
//!
//! Whoever includes this file counts every allocation of the process, so nothing else may run at the same time.

#![allow(clippy::panic, reason = "what exceeds its bound is to be seen")]

use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Octets on the heap for each octet of input, at most.
const PER_INPUT_OCTET: usize = 4;
/// Octets on the heap beyond those.
const BASE_OCTETS: usize = 64 * 1024;
/// Octets on the heap while one submission is verified.
#[allow(dead_code, reason = "not every includer verifies")]
pub const VERIFY_OCTETS: usize = 256 * 1024 * 1024;

/// Octets on the heap while an input of this length is parsed, at most.
pub const fn parse_octets(input_octets: usize) -> usize {
    PER_INPUT_OCTET * input_octets + BASE_OCTETS
}

/// The most that `work` holds on the heap at once, beyond what was there before. A block that grows counts twice
/// while its contents move.
pub fn peak(work: impl FnOnce()) -> usize {
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    work();
    HEAP.peak_usage().saturating_sub(before)
}

/// Does `work` and fails if it holds more than `limit` octets at once.
#[allow(dead_code, reason = "who compares several inputs measures alone")]
pub fn within(limit: usize, work: impl FnOnce()) {
    let peak = peak(work);
    assert!(peak <= limit, "{peak} octets on the heap, {limit} allowed");
}
