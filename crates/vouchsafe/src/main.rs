//! `vouchsafe`: certificates only for keys that are proven to live in hardware.
//!
//! One binary, one file per verb. Whatever has a meaning of its own lives in the libraries; here are arguments,
//! files, the terminal and the order of calls.

#![allow(rustdoc::invalid_html_tags, rustdoc::bare_urls, reason = "the comments on arguments are the help text")]

mod advice;
#[cfg(feature = "agent")]
mod agent;
#[cfg(feature = "agent")]
mod agent_socket;
#[cfg(feature = "agent")]
mod attestation;
#[cfg(feature = "agent")]
mod attestation_object;
#[cfg(feature = "authority")]
mod authority;
#[cfg(feature = "agent")]
mod authority_client;
mod ceremony;
mod cli;
mod console;
mod counter_signature;
#[cfg(feature = "agent")]
mod csr;
#[cfg(all(feature = "agent", feature = "authority"))]
mod demo;
#[cfg(feature = "agent")]
mod doctor;
#[cfg(feature = "agent")]
mod enroll;
mod failure;
mod files;
mod inspect;
#[cfg(feature = "agent")]
mod key;
#[cfg(feature = "agent")]
mod key_kind;
#[cfg(any(feature = "agent", feature = "authority"))]
mod logging;
mod policy;
mod random;
mod reasons;
mod trust;
mod trust_folder;
mod verify;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // A verdict is 0 or 1; whatever else happens, a defect of this program included, is 2.
    let outcome = std::panic::catch_unwind(|| cli::Cli::parse().run());
    match outcome {
        Ok(Ok(answer)) => answer.into(),
        Ok(Err(failure)) => {
            failure.report();
            ExitCode::from(failure::EXIT_FAILED)
        }
        Err(_) => ExitCode::from(failure::EXIT_FAILED),
    }
}
