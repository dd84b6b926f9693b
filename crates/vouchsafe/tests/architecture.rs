//! The rules of the architecture that no compiler keeps: who may depend on whom, and what the sources may say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The packages that `name` is built with, however far down; packages for its tests left out.
fn closure(metadata: &Value, name: &str) -> BTreeSet<String> {
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package["name"].as_str().unwrap()))
        .collect();
    let edges: BTreeMap<&str, Vec<&str>> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            let normal = node["deps"].as_array().unwrap().iter().filter(|dependency| {
                dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null())
            });
            (node["id"].as_str().unwrap(), normal.map(|dependency| dependency["pkg"].as_str().unwrap()).collect())
        })
        .collect();
    let start = names.iter().find(|(_, found)| **found == name).map(|(id, _)| *id).unwrap();
    let mut open = vec![start];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        for below in &edges[id] {
            if seen.insert(names[below].to_owned()) {
                open.push(below);
            }
        }
    }
    seen
}

fn refuse(metadata: &Value, package: &str, forbidden: &[&str]) {
    let found = closure(metadata, package);
    for name in forbidden {
        assert!(!found.contains(*name), "{package} depends on {name}");
    }
}

#[test]
fn the_workspace_is_the_five_crates() {
    let metadata = metadata();
    let members: BTreeSet<String> = metadata["workspace_members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| {
            let package = metadata["packages"].as_array().unwrap().iter().find(|package| package["id"] == *id).unwrap();
            package["name"].as_str().unwrap().to_owned()
        })
        .collect();
    let wanted = ["vouchsafe", "vouchsafe-agent", "vouchsafe-authority", "vouchsafe-evidence", "vouchsafe-verifier"];
    assert_eq!(members, wanted.into_iter().map(str::to_owned).collect());
}

#[test]
fn evidence_and_the_verifier_do_no_io() {
    let metadata = metadata();
    let io = [
        "tokio",
        "mio",
        "socket2",
        "hyper",
        "axum",
        "rustls",
        "rusqlite",
        "ureq",
        "rustix",
        "vouchsafe-agent",
        "vouchsafe-authority",
    ];
    refuse(&metadata, "vouchsafe-evidence", &io);
    refuse(&metadata, "vouchsafe-evidence", &["vouchsafe-verifier"]);
    refuse(&metadata, "vouchsafe-verifier", &io);
    // What the forge adds to packages that both are built with counts in the metadata, and in nothing that is linked.
    for package in ["vouchsafe-evidence", "vouchsafe-verifier"] {
        assert!(!linked(package).contains("getrandom"), "{package} is built with getrandom");
    }
}

#[test]
fn a_device_never_judges_itself_and_the_authority_drives_no_device() {
    let metadata = metadata();
    refuse(&metadata, "vouchsafe-agent", &["vouchsafe-verifier", "vouchsafe-authority"]);
    refuse(&metadata, "vouchsafe-authority", &["vouchsafe-agent"]);
}

/// What is really compiled into `package`: unlike the metadata, without packages behind features that are off.
fn linked(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--package", package])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn no_second_cryptography_and_no_openssl_is_linked() {
    for package in ["vouchsafe", "vouchsafe-agent", "vouchsafe-authority"] {
        let linked = linked(package);
        assert!(linked.contains("aws-lc-rs"), "the tree of {package} was not read");
        for name in ["openssl-sys", "native-tls", "ring", "rsa", "tss-esapi-sys", "p256", "p384"] {
            assert!(!linked.contains(name), "{package} is built with {name}");
        }
    }
}

fn rust_sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            rust_sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_verifier_names_no_file_network_clock_or_randomness() {
    let mut sources = Vec::new();
    rust_sources(&root().join("crates/verifier/src"), &mut sources);
    assert!(sources.len() > 20, "the sources moved");
    for source in sources {
        let text = std::fs::read_to_string(&source).unwrap();
        for word in
            ["std::fs", "std::net", "SystemTime", "std::env", "std::thread", "async fn", "SystemRandom", "rand::"]
        {
            assert!(!text.contains(word), "{} says {word}", source.display());
        }
    }
}

#[test]
fn only_the_verifier_concludes_and_certifies() {
    let mut sources = Vec::new();
    rust_sources(&root().join("crates"), &mut sources);
    let mentions = |needle: &str| -> Vec<String> {
        let mut places: Vec<String> = sources
            .iter()
            .filter(|path| !path.ends_with("architecture.rs"))
            .filter(|path| std::fs::read_to_string(path).unwrap().contains(needle))
            .map(|path| path.strip_prefix(root()).unwrap().display().to_string())
            .collect();
        places.sort();
        places
    };
    // The other way to a certificate, for profiles that name it.
    assert_eq!(mentions("RegisteredKey {"), ["crates/authority/src/registration.rs"]);
    assert_eq!(mentions("Ok(CertifiableKey {"), ["crates/verifier/src/verdict.rs"]);
    assert_eq!(mentions("Verdict::conclude("), ["crates/verifier/src/request.rs"]);
    assert_eq!(mentions("Ok(Authenticated {"), ["crates/verifier/src/authenticate.rs"]);
}

#[test]
fn sources_stay_short_and_name_no_registry_host() {
    let mut sources = Vec::new();
    rust_sources(&root().join("crates"), &mut sources);
    rust_sources(&root().join("fuzz"), &mut sources);
    for source in sources {
        let text = std::fs::read_to_string(&source).unwrap();
        assert!(text.lines().count() <= 700, "{} has over 700 lines", source.display());
        let host = ["crates", ".io"].concat();
        assert!(!text.contains(&host), "{} names a registry host", source.display());
    }
}

/// The places where a path in the pages may begin.
fn bases() -> Vec<PathBuf> {
    let mut bases = vec![root(), root().join("crates")];
    for crate_folder in std::fs::read_dir(root().join("crates")).unwrap() {
        bases.push(crate_folder.unwrap().path().join("src"));
    }
    bases
}

#[test]
fn pages_name_files_that_are_there() {
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let code = text.split('`').skip(1).step_by(2);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let named =
            code.chain(links).filter(|name| !name.contains([' ', '*', '{', '<', '(']) && !name.starts_with("./"));
        let paths: Vec<&str> = named.filter(|name| name.ends_with(".rs") || name.contains('/')).collect();
        assert!(page == "SECURITY.md" || paths.len() > 3, "{page} was not read");
        for path in paths {
            let found = bases().iter().any(|base| base.join(path.trim_start_matches("src/")).exists());
            assert!(found, "{page} names {path}, which is not there");
        }
    }
}

/// Classes of bugs that touch TPM evidence, enrolment, chains or parsers.
const BUG_CLASSES: [u32; 41] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 27, 28, 29, 30, 31, 32,
    33, 34, 35, 36, 37, 38, 39, 40, 41, 42,
];

/// Attacks on the parts that exist.
const ATTACKS: [&str; 43] = [
    "A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9", "A10", "A11", "A12", "A13", "A14", "A15", "A16", "A20",
    "A21", "A22", "A23", "A24", "A25", "A26", "A27", "A28", "A29", "A40", "A41", "A42", "A43", "A44", "A45", "A46",
    "A47", "A48", "A49", "A50", "A51", "A52", "A53", "A54", "A55", "A56",
];

#[test]
fn every_bug_class_is_kept_out_by_something_that_is_there() {
    let classes: Vec<u32> = kept_rows("docs/bug-classes.md").iter().map(|row| row.parse().unwrap()).collect();
    assert_eq!(classes, BUG_CLASSES);
}

#[test]
fn every_attack_is_carried_out_by_something_that_is_there() {
    assert_eq!(kept_rows("docs/attacks.md"), ATTACKS);
}

/// The first cells of a page's table, once what its last cells name was found.
fn kept_rows(page: &str) -> Vec<String> {
    let page = std::fs::read_to_string(root().join(page)).unwrap();
    let mut rows = Vec::new();
    for row in
        page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| #") && !line.starts_with("| id"))
    {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        rows.push(cells[0].to_owned());
        let keepers: Vec<&str> = cells[3].split('`').skip(1).step_by(2).collect();
        assert!(!keepers.is_empty(), "{} is kept out by nothing", cells[0]);
        for keeper in keepers {
            let (file, test) = keeper.split_once("::").unwrap_or((keeper, ""));
            let path = bases().iter().map(|base| base.join(file)).find(|path| path.exists());
            let path = path.unwrap_or_else(|| panic!("{} names {file}, which is not there", cells[0]));
            if path.is_dir() {
                assert!(path.join("case.toml").is_file(), "{keeper} is no vector");
            } else {
                let source = std::fs::read_to_string(path).unwrap();
                assert!(source.contains(&format!("fn {test}(")), "{keeper} is no test");
            }
        }
    }
    rows
}

#[test]
fn every_rule_of_our_own_that_a_code_cites_is_written_down() {
    let pages = [("Vouchsafe DESIGN, ", "docs/design.md"), ("Vouchsafe CONTRACT, ", "docs/contract.md")];
    let mut cited = 0;
    for code in vouchsafe_verifier::all_codes() {
        for (prefix, page) in pages {
            let text = std::fs::read_to_string(root().join(page)).unwrap();
            for rest in code.clause.split("; ").filter_map(|clause| clause.strip_prefix(prefix)) {
                assert!(text.contains(&format!("\n## {rest}\n")), "{} cites {rest}, which {page} lacks", code.id);
                cited += 1;
            }
        }
    }
    assert!(cited > 30, "the codes cite nothing of ours");
}

#[test]
fn secrets_are_compared_in_constant_time() {
    for file in [
        "agent/src/tpm/session.rs",
        "authority/src/enrolment.rs",
        "authority/src/enrolment/pseudonym.rs",
        "authority/src/nonce.rs",
    ] {
        let source = std::fs::read_to_string(root().join("crates").join(file)).unwrap();
        assert!(source.contains("verify_slices_are_equal("), "{file} compares a secret by other means");
    }
}
