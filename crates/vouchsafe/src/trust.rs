//! `vouchsafe trust`: the folder of trust anchors, filed, shown and checked.

mod catalog;
mod check;
mod import;
mod list;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::Answer;
use crate::failure::Failure;

/// File, show and check the anchors that evidence is verified against.
///
/// A trust folder holds one folder for each format of evidence. What lies in
/// one is nothing for another: a root is trusted for what it was imported for.
///
/// Roots are not shipped. The program knows the fingerprints of those that
/// makers publish, and says whether what it is given is one of them; what is
/// not known can be imported all the same, on your word.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  vouchsafe trust catalog --format yubikey-piv
  vouchsafe trust import yubico-piv-ca-1.pem --format yubikey-piv \\
      --trust trust --source developers.yubico.com --vouched-by 'J. Doe'
  vouchsafe trust list --trust trust
  vouchsafe trust check --trust trust && vouchsafe verify ...";

#[derive(Debug, Subcommand)]
enum Verb {
    Import(import::Arguments),
    List(list::Arguments),
    Show(list::ShowArguments),
    Check(check::Arguments),
    Catalog(catalog::Arguments),
}

/// The trust folder, as every verb names it.
#[derive(Debug, Args)]
struct Folder {
    /// The trust folder
    #[arg(long, value_name = "DIR", default_value = "trust")]
    trust: PathBuf,
}

/// Does what was asked.
///
/// # Errors
/// [`Failure`] when it could not be done at all.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    match &arguments.verb {
        Verb::Import(arguments) => import::run(arguments),
        Verb::List(arguments) => list::run(arguments),
        Verb::Show(arguments) => list::show(arguments),
        Verb::Check(arguments) => check::run(arguments),
        Verb::Catalog(arguments) => catalog::run(arguments),
    }
}
