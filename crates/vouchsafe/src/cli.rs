//! The command line: which verbs there are.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[cfg(feature = "authority")]
use crate::authority;
#[cfg(all(feature = "agent", feature = "authority"))]
use crate::demo;
use crate::failure::{EXIT_REFUSED, Failure};
#[cfg(feature = "agent")]
use crate::{agent, csr, doctor, enroll, key};
use crate::{ceremony, inspect, policy, trust, verify};

/// What a verb came to, when it could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done; evidence was accepted.
    Yes,
    /// It was refused; evidence was rejected.
    No,
}

impl From<Answer> for ExitCode {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Yes => Self::SUCCESS,
            Answer::No => Self::from(EXIT_REFUSED),
        }
    }
}

/// Certificates only for keys that are proven to live in hardware.
#[derive(Debug, Parser)]
#[command(name = "vouchsafe", version, about, max_term_width = 80, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done or accepted, 1 refused or rejected (always with a reason),
2 usage, unreadable files, or a service that cannot be reached.";

#[derive(Debug, Subcommand)]
enum Verb {
    #[cfg(all(feature = "agent", feature = "authority"))]
    Demo(demo::Arguments),
    #[cfg(feature = "agent")]
    Key(key::Arguments),
    #[cfg(feature = "agent")]
    Csr(csr::Arguments),
    #[cfg(feature = "agent")]
    Enroll(enroll::Arguments),
    Verify(Box<verify::Arguments>),
    Inspect(inspect::Arguments),
    Policy(policy::Arguments),
    Trust(trust::Arguments),
    Ceremony(ceremony::Arguments),
    #[cfg(feature = "agent")]
    Agent(agent::Arguments),
    #[cfg(feature = "agent")]
    Doctor(doctor::Arguments),
    #[cfg(feature = "authority")]
    Authority(authority::Arguments),
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// [`Failure`] when it could not be done at all.
    pub fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            #[cfg(all(feature = "agent", feature = "authority"))]
            Verb::Demo(arguments) => demo::run(&arguments),
            #[cfg(feature = "agent")]
            Verb::Key(arguments) => key::run(&arguments),
            #[cfg(feature = "agent")]
            Verb::Csr(arguments) => csr::run(&arguments),
            #[cfg(feature = "agent")]
            Verb::Enroll(arguments) => enroll::run(&arguments),
            #[cfg(feature = "agent")]
            Verb::Agent(arguments) => agent::run(&arguments),
            #[cfg(feature = "agent")]
            Verb::Doctor(arguments) => doctor::run(&arguments),
            #[cfg(feature = "authority")]
            Verb::Authority(arguments) => authority::run(&arguments),
            Verb::Verify(arguments) => verify::run(&arguments),
            Verb::Inspect(arguments) => inspect::run(&arguments),
            Verb::Policy(arguments) => policy::run(&arguments),
            Verb::Trust(arguments) => trust::run(&arguments),
            Verb::Ceremony(arguments) => ceremony::run(&arguments),
        }
    }
}
