//! `vouchsafe authority inventory`: the operator's list of modules.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use vouchsafe_authority::inventory::{INVENTORY_OCTETS, InventoryReport, row_text};
use vouchsafe_evidence::text::printable;

use super::{Installation, administration, refused};
use crate::cli::Answer;
use crate::console;
use crate::failure::Failure;
use crate::files::Opened;

/// The list of modules by which attesting keys are enrolled (method inventory).
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    operation: Operation,
}

const EXAMPLES: &str = "\
Examples:
  vouchsafe authority inventory import modules.csv --by alma --dry-run
  vouchsafe authority inventory import modules.csv --by alma
  vouchsafe authority inventory list

The first line of the CSV names its columns: device,account and, of each row,
either ek_sha256 or vendor,serial; optional are model and virtual.
docs/enrolment.md has an example.";

#[derive(Debug, Subcommand)]
enum Operation {
    /// Bring rows in: all of them, or none while any stands against it.
    Import(Import),
    /// List every row.
    List(List),
    /// Remove a device's row; what was enrolled by it stays.
    Remove(Remove),
}

#[derive(Debug, Args)]
struct Import {
    /// The list (CSV).
    file: PathBuf,
    #[command(flatten)]
    installation: Installation,
    /// Who vouches for the list.
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Only report what would be added, changed and refused.
    #[arg(long)]
    dry_run: bool,
    /// JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    installation: Installation,
    /// JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Remove {
    /// The device's name.
    device: String,
    #[command(flatten)]
    installation: Installation,
    /// Who decides it.
    #[arg(long, value_name = "NAME")]
    by: String,
}

/// Does what was asked of the inventory.
///
/// # Errors
/// [`Failure`] if it cannot be done.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    match &arguments.operation {
        Operation::Import(import) => import.run(),
        Operation::List(list) => list.run(),
        Operation::Remove(remove) => remove.run(),
    }
}

impl Import {
    fn run(&self) -> Result<Answer, Failure> {
        let limit = u64::try_from(INVENTORY_OCTETS).unwrap_or(u64::MAX);
        let csv = Opened::open(&self.file)?.read(limit)?;
        let administration = administration(&self.installation)?;
        let failed = |error| refused("the inventory cannot be changed", &error);
        // What stands against it is reported in one form, whether it was to be brought in or not.
        let dry = administration.import_inventory(csv.clone(), &self.by, true).map_err(failed)?;
        let report = if self.dry_run || !dry.conflicting.is_empty() {
            dry
        } else {
            administration.import_inventory(csv, &self.by, false).map_err(failed)?
        };
        let text = if self.json { format!("{}\n", report.to_json()) } else { report_text(&report) };
        console::out(&text)?;
        Ok(if report.conflicting.is_empty() { Answer::Yes } else { Answer::No })
    }
}

impl List {
    fn run(&self) -> Result<Answer, Failure> {
        let rows = administration(&self.installation)?
            .inventory()
            .map_err(|error| refused("the inventory cannot be listed", &error))?;
        if self.json {
            let list: Vec<Value> = rows
                .iter()
                .map(|row| json!({"device": row.device, "module": row_text(row), "approver": row.approver}))
                .collect();
            console::out(&format!("{}\n", Value::from(list)))?;
        } else {
            let line = |row| format!("{}, by {}", row_text(row), row.approver);
            let text: String = rows
                .iter()
                .map(|row| console::hanging(&format!("{} ", row.device), &printable(&line(row)), 4))
                .collect();
            console::out(&text)?;
        }
        Ok(Answer::Yes)
    }
}

impl Remove {
    fn run(&self) -> Result<Answer, Failure> {
        let was_listed = administration(&self.installation)?
            .remove_listed(&self.device, &self.by)
            .map_err(|error| refused("the inventory cannot be changed", &error))?;
        let state = if was_listed { "is listed no more" } else { "was not listed" };
        console::out(&format!("{} {state}.\n", printable(&self.device)))?;
        Ok(if was_listed { Answer::Yes } else { Answer::No })
    }
}

fn report_text(report: &InventoryReport) -> String {
    let mut text = String::new();
    for device in &report.added {
        text.push_str(&format!("added       {}\n", printable(device)));
    }
    for change in &report.changed {
        let what = format!("{}: {} becomes {}", change.device, change.before, change.after);
        text.push_str(&console::hanging("changed     ", &printable(&what), 12));
    }
    for conflict in &report.conflicting {
        let what = format!("line {}: {}", conflict.line, conflict.why);
        text.push_str(&console::hanging("conflicting ", &printable(&what), 12));
    }
    text.push_str(&format!(
        "{} added, {} changed, {} unchanged, {} conflicting: {}\n",
        report.added.len(),
        report.changed.len(),
        report.unchanged,
        report.conflicting.len(),
        if report.is_applied { "brought in" } else { "nothing was changed" }
    ));
    text
}
