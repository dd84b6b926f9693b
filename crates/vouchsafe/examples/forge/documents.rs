//! `docs/rejections.md`, from the table of codes and the cases that show each.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use vouchsafe_verifier::all_codes;

/// Folders beside the formats.
const NOT_FORMATS: [&str; 3] = ["keys", "recordings", "trust"];

#[derive(Deserialize)]
struct Case {
    expect: toml::Value,
    why: String,
}

/// The folder of each case, by its path such as `tpm-certify/wrong-name`.
pub fn case_folders(vectors: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for (format, folder) in folders(vectors)?.into_iter().filter(|(name, _)| !NOT_FORMATS.contains(&name.as_str())) {
        for (case, path) in folders(&folder)? {
            found.insert(format!("{format}/{case}"), path);
        }
    }
    Ok(found)
}

fn folders(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    Ok(found)
}

/// The page of all codes.
pub fn rejections(vectors: &Path) -> Result<String> {
    let mut by_code: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (id, folder) in case_folders(vectors)? {
        let case: Case = toml::from_str(&fs::read_to_string(folder.join("case.toml"))?).with_context(|| id.clone())?;
        let codes = match &case.expect {
            toml::Value::Array(codes) => codes.clone(),
            one => vec![one.clone()],
        };
        for code in codes.iter().filter_map(toml::Value::as_str) {
            by_code.entry(code.to_owned()).or_default().push((id.clone(), case.why.trim().to_owned()));
        }
    }
    let path = vectors.join("uncovered.toml");
    let uncovered: BTreeMap<String, String> = toml::from_str(&fs::read_to_string(path)?)?;
    let mut page = String::from(
        "# Rejections\n\n\
         Every reason for which evidence or an enrolment is refused: its stable code, what it means, the clause it rests on, and the\n\
         vectors that show it. A verdict lists all reasons that it finds after authentication; authentication of a statement stops at\n\
         its first. Written by `cargo run -p vouchsafe --example forge -- docs` from the table of codes and from `vectors/`.\n",
    );
    let mut family = "";
    for code in all_codes() {
        let (next, _) = code.id.split_once('.').unwrap_or((code.id, ""));
        if next != family {
            family = next;
            write!(page, "\n## {family}\n")?;
        }
        write!(page, "\n### `{}`\n\n{} ({})\n\n", code.id, code.meaning, code.clause)?;
        for (id, why) in by_code.get(code.id).into_iter().flatten() {
            writeln!(page, "- [{id}](../vectors/{id}/case.toml): {why}")?;
        }
        if let Some(reason) = uncovered.get(code.id) {
            writeln!(page, "- no vector: {reason}")?;
        }
    }
    Ok(page)
}
