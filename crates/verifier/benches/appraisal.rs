//! What an appraisal costs beside the signature checks that it cannot do without, and what hostile input costs.
//!
//! `cargo bench -p vouchsafe-verifier --bench appraisal` prints medians, the ratio and memory, and fails when a target
//! is missed; `-- ratio`, `-- memory` and `-- hostile` measure one of them, `-- profile` runs little else than appraisals. Everything is P-256 and made here; nothing is read and nothing is measured across processes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    // A benchmark reads the clock and its own memory; the Verifier does neither.
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs
)]

#[path = "appraisal/device.rs"]
mod device;
#[path = "appraisal/hostile.rs"]
mod hostile;
#[path = "appraisal/memory.rs"]
mod memory;

use std::time::{Duration, Instant as Clock};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use device::{Device, Signed, Site};
use vouchsafe_evidence::input::{InputFile, Submission};
use vouchsafe_verifier::{Instant, Nonce, Policy, Request, TrustStore, Verdict, VerificationCache, verify};

/// An appraisal may cost this many times its signature checks.
const RATIO_MAX: f64 = 1.25;
const ROUNDS: usize = 5_000;
const BLOCK_ROUNDS: usize = 100;
const DEVICES: usize = 64;
/// Appraisals over which memory must not grow.
const STEADY_ROUNDS: usize = 100_000;
/// What the resident set may vary by between two moments of one steady process, in KiB.
const STEADY_KIB_MAX: u64 = 1_024;
const HOSTILE_TIME_MAX: Duration = Duration::from_millis(20);
const HOSTILE_KIB_MAX: u64 = 64 * 1_024;
const HOSTILE_ROUNDS: usize = 9;

/// Who judges, and by what.
struct Verifier {
    trust: TrustStore,
    policy: Policy,
    nonce: Nonce,
    at: Instant,
}

impl Verifier {
    /// From the bytes of a request to the verdict.
    fn appraise(&self, csr: &[u8], cache: &VerificationCache) -> Verdict {
        let files = [InputFile { name: "request.der", bytes: csr }];
        match Submission::recognize(&files, None) {
            Ok(submission) => {
                let request = Request::new(&submission, &self.trust, &self.policy, self.at);
                verify(&request.nonce(&self.nonce).verification_cache(cache))
            }
            Err(error) => Verdict::on_unusable_input(&error, &self.policy, self.at),
        }
    }

    /// A cache that knows the intermediate, from another device's request, and nothing of this one's.
    fn warm_cache(&self, other: &Device) -> VerificationCache {
        let cache = VerificationCache::new();
        assert!(self.appraise(&other.csr, &cache).is_accepted());
        cache
    }
}

/// The four checks that no appraisal can do without, and nothing else.
fn check_bare(signed: &[Signed]) {
    for Signed { point, message, signature } in signed {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).unwrap();
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let started = Clock::now();
    let result = work();
    (started.elapsed(), result)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The median of the ratios of medians, block by block, so that whatever else the machine does for a while weighs on both.
fn paired_ratio(appraisals: &[Duration], bare: &[Duration]) -> f64 {
    let blocks = appraisals.chunks(BLOCK_ROUNDS).zip(bare.chunks(BLOCK_ROUNDS));
    let mut ratios: Vec<f64> = blocks
        .map(|(appraisals, bare)| {
            median(&mut appraisals.to_vec()).as_secs_f64() / median(&mut bare.to_vec()).as_secs_f64()
        })
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

/// Appraisals and bare checks by turns, so that both see the same machine.
fn measure_ratio(verifier: &Verifier, devices: &[Device]) -> bool {
    let (mut appraisals, mut known, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let (device, other) = (&devices[round % DEVICES], &devices[(round + 1) % DEVICES]);
        let cache = verifier.warm_cache(other);
        let (time, verdict) = timed(|| verifier.appraise(&device.csr, &cache));
        assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
        appraisals.push(time);
        bare.push(timed(|| check_bare(&device.signed)).0);
        known.push(timed(|| verifier.appraise(&device.csr, &cache)).0);
    }
    let ratio = paired_ratio(&appraisals, &bare);
    let (appraisal, known, bare) = (median(&mut appraisals), median(&mut known), median(&mut bare));
    println!("four signature checks, bare                     {bare:>10.1?}");
    println!("appraisal under a cached intermediate           {appraisal:>10.1?}");
    println!("the same, its AK certificate cached as well      {known:>10.1?}");
    println!("ratio                                           {ratio:>10.3}  (at most {RATIO_MAX})");
    ratio <= RATIO_MAX
}

fn measure_growth(verifier: &Verifier, devices: &[Device]) -> bool {
    let cache = VerificationCache::new();
    let appraise = |rounds: usize| {
        for round in 0..rounds {
            assert!(verifier.appraise(&devices[round % DEVICES].csr, &cache).is_accepted());
        }
    };
    appraise(STEADY_ROUNDS / 20);
    let before = memory::resident_kib();
    appraise(STEADY_ROUNDS);
    let after = memory::resident_kib();
    println!("resident set before and after {STEADY_ROUNDS} appraisals  {before} KiB, {after} KiB");
    after.saturating_sub(before) <= STEADY_KIB_MAX
}

fn measure_hostile(verifier: &Verifier, site: &Site) -> bool {
    let mut met = true;
    for (what, csr) in hostile::requests(site) {
        let mut times = Vec::new();
        let before = memory::resident_kib();
        memory::forget_peak();
        let mut codes = Vec::new();
        for _ in 0..HOSTILE_ROUNDS {
            let (time, verdict) = timed(|| verifier.appraise(&csr, &VerificationCache::new()));
            assert!(!verdict.is_accepted());
            codes = verdict.reasons().iter().map(vouchsafe_verifier::Rejection::code).collect();
            times.push(time);
        }
        let peak = memory::peak_kib().saturating_sub(before);
        let time = median(&mut times);
        println!("{what:<48}{time:>10.1?}  {peak:>6} KiB  {:>8} octets  {codes:?}", csr.len());
        met &= time <= HOSTILE_TIME_MAX && peak <= HOSTILE_KIB_MAX;
    }
    met
}

fn main() {
    let site = Site::new();
    let nonce = Nonce::new(&device::NONCE).unwrap();
    let verifier = Verifier {
        trust: site.trust(),
        policy: Policy::named("default").unwrap(),
        nonce,
        at: Instant::from_unix_seconds(device::NOW),
    };
    let devices: Vec<Device> = (0..DEVICES).map(|number| site.device(number)).collect();
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    if only.as_deref() == Some("profile") {
        return profile(&verifier, &devices);
    }
    let wanted = |target: &str| only.as_deref().is_none_or(|only| only == target);
    let mut missed = Vec::new();
    let mut note = |target: &'static str, met: &dyn Fn() -> bool| {
        if wanted(target) && !met() {
            missed.push(target);
        }
    };
    note("ratio", &|| measure_ratio(&verifier, &devices));
    note("memory", &|| measure_growth(&verifier, &devices));
    note("hostile", &|| measure_hostile(&verifier, &site));
    assert!(missed.is_empty(), "targets missed: {missed:?}");
}

/// A few hundred appraisals, for a profiler.
fn profile(verifier: &Verifier, devices: &[Device]) {
    let cache = VerificationCache::new();
    for round in 0..400 {
        assert!(verifier.appraise(&devices[round % DEVICES].csr, &cache).is_accepted());
    }
}
