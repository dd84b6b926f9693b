//! The memory of this process, as the kernel counts it.

use std::fs;

fn status_kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The resident set, in KiB.
pub fn resident_kib() -> u64 {
    status_kib("VmRSS:")
}

/// The largest resident set since [`forget_peak`], in KiB.
pub fn peak_kib() -> u64 {
    status_kib("VmHWM:")
}

/// Lets the peak begin anew.
pub fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}
