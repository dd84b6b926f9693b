//! Makes the test vectors of `vectors/` from the specifications in them.
//!
//! ```text
//! cargo run -p vouchsafe --example forge -- make [FOLDER]     files of every case, in place or into FOLDER
//! cargo run -p vouchsafe --example forge -- record [--fresh]  asks a software TPM for answers that are missing
//! cargo run -p vouchsafe --example forge -- check             whether the files are what `make` makes
//! cargo run -p vouchsafe --example forge -- docs              writes docs/rejections.md and docs/claims
//! cargo run -p vouchsafe --example forge -- show EXPRESSION   the octets that an expression gives, in hexadecimal
//! ```

#[path = "workshop.rs"]
mod workshop;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use workshop::{Mode, Workshop};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forge: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    let root = workshop::repository().context("the repository has no vectors folder")?;
    match arguments {
        ["make"] => write(&Workshop::open(&root, Mode::Replay)?, &root.join("vectors")),
        ["make", folder] => write(&Workshop::open(&root, Mode::Replay)?, &PathBuf::from(folder)),
        ["record"] => record(&root, Mode::Record),
        ["record", "--fresh"] => record(&root, Mode::RecordAfresh),
        ["check"] => {
            let workshop = Workshop::open(&root, Mode::Replay)?;
            let differing = workshop.differences()?;
            let unused = workshop.unused_answers();
            for line in differing.iter().chain(&unused) {
                println!("{line}");
            }
            match (differing.len(), unused.len()) {
                (0, 0) => Ok(()),
                (files, answers) => bail!("{files} files differ, {answers} answers are not used; run forge record"),
            }
        }
        ["docs"] => {
            let workshop = Workshop::open(&root, Mode::Replay)?;
            let docs = root.join("docs");
            std::fs::create_dir_all(docs.join("claims")).context("docs/claims")?;
            for (path, text) in workshop.claim_pages()? {
                std::fs::write(docs.join(path), text).context(path)?;
            }
            std::fs::write(docs.join("rejections.md"), workshop.rejections()?).context("docs/rejections.md")
        }
        ["show", expression] => {
            let octets = Workshop::open(&root, Mode::Replay)?.octets(expression)?;
            println!("{}", vouchsafe_verifier::hex::encode(&octets));
            Ok(())
        }
        _ => bail!("usage: forge make [FOLDER] | record [--fresh] | check | docs | show EXPRESSION"),
    }
}

fn write(workshop: &Workshop, folder: &std::path::Path) -> Result<()> {
    let files = workshop.make()?;
    for (path, octets) in &files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, octets).with_context(|| path.display().to_string())?;
    }
    println!("{} files", files.len());
    Ok(())
}

fn record(root: &std::path::Path, mode: Mode) -> Result<()> {
    let workshop = Workshop::open(root, mode)?;
    let files = workshop.make()?;
    let asked = workshop.save_recordings()?;
    println!("{} files, {asked} new answers", files.len());
    write(&Workshop::open(root, Mode::Replay)?, &root.join("vectors"))
}
