//! Times, their quantiles, and what is compared with a target.

use std::process::ExitCode;
use std::time::{Duration, Instant};

pub fn timed<R>(times: &mut Vec<Duration>, work: impl FnOnce() -> R) -> R {
    let started = Instant::now();
    let result = work();
    times.push(started.elapsed());
    result
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Median and 95th percentile in milliseconds.
pub fn quantiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    (milliseconds(times[times.len() / 2]), milliseconds(times[times.len() * 95 / 100]))
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The targets, and how many were missed.
#[derive(Default)]
pub struct Report {
    missed: usize,
}

impl Report {
    pub fn at_most(&mut self, what: &str, found: f64, target: f64, unit: &str) {
        self.line(what, found, found <= target, &format!("at most {target}"), unit);
    }

    pub fn at_least(&mut self, what: &str, found: f64, target: f64, unit: &str) {
        self.line(what, found, found >= target, &format!("at least {target}"), unit);
    }

    fn line(&mut self, what: &str, found: f64, is_met: bool, target: &str, unit: &str) {
        self.missed += usize::from(!is_met);
        println!("{what:<64} {found:>10.3}{unit}  {target}{unit}  {}", if is_met { "met" } else { "MISSED" });
    }

    /// Fails where a target was missed.
    pub fn end(self) -> ExitCode {
        if let Ok(load) = std::fs::read_to_string("/proc/loadavg") {
            println!("load of the machine at the end: {}", load.split(' ').next().unwrap_or_default());
        }
        if self.missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
