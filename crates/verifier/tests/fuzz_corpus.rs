//! The fuzz targets' properties, over every vector: the corpus as an ordinary test.
#![allow(clippy::disallowed_methods, reason = "tests read files")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::path::{Path, PathBuf};

#[path = "../../../fuzz/src/accepted.rs"]
mod accepted;
#[path = "../../../fuzz/src/checks.rs"]
mod checks;

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors"), &mut found);
    assert!(found.len() > 100, "the vectors moved");
    found.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Every parser holds for every seed, for each of its truncations to a power of two, and with a bit flipped.
#[test]
fn parsers_hold_over_the_corpus() {
    for seed in seeds() {
        let mut variants = vec![seed.clone()];
        variants.extend((0..12).map(|power| seed.iter().copied().take(1 << power).collect()));
        for place in [0, 1, seed.len() / 2, seed.len().saturating_sub(1)] {
            let mut flipped = seed.clone();
            if let Some(octet) = flipped.get_mut(place) {
                *octet ^= 1;
            }
            variants.push(flipped);
        }
        for variant in variants {
            checks::attest(&variant);
            checks::bundle(&variant);
            checks::ceremony(&variant);
            checks::certificate(&variant);
            checks::cmw(&variant);
            checks::creation(&variant);
            checks::csr(&variant);
            checks::crypto4a_qasm(&variant);
            checks::entrust_nshield(&variant);
            checks::securosys_primus(&variant);
            checks::fortanix_dsm(&variant);
            checks::gcp_cloudhsm(&variant);
            checks::input(&variant);
            checks::pkix_evidence(&variant);
            checks::public(&variant);
            checks::revocation_list(&variant);
            checks::signature(&variant);
            (0..16).for_each(|format| checks::statement(&[&[format], variant.as_slice()].concat()));
            checks::thales_luna(&variant);
            checks::webauthn_tpm(&variant);
            checks::yubihsm2(&variant);
            checks::yubikey_piv(&variant);
        }
    }
}

/// No single flipped bit of an accepted request leaves it accepted, nor does an octet put in or taken out.
#[test]
fn every_octet_of_an_accepted_request_counts() {
    for offset in 0..u16::try_from(accepted::request_octets()).unwrap() {
        let [high, low] = offset.to_be_bytes();
        accepted::verify(&[0, high, low, 0, 1 << (offset % 8)]);
        if offset % 16 == 0 {
            accepted::verify(&[0, high, low, 2, 0]);
            accepted::verify(&[0, high, low, 3, 0]);
        }
    }
}

/// Statements and certificates of accepted bundles, left out, repeated and mixed with those of others, claim no more
/// than they did.
#[test]
fn rearranged_bundles_claim_no_more() {
    for subject in 1..7 {
        for first in [4, 5, 6, 7] {
            for second in [4, 5, 6, 7] {
                for value in 0..6 {
                    accepted::verify(&[subject, 0, value, first, value, 0, 1, second, value]);
                }
            }
        }
    }
}
