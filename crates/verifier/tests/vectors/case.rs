//! Cases as they are written: `vectors/<format>/<case>/case.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// Folders beside the formats.
const NOT_FORMATS: [&str; 3] = ["keys", "recordings", "trust"];

/// What is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A submission to `verify`.
    #[default]
    Evidence,
    /// Certificates of an endorsement key, at enrolment.
    Ek,
    /// The public area of an attestation key, at enrolment.
    Ak,
    /// The file of a ceremony, which vouches for an attestation key.
    Ceremony,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "OneOrMany")]
pub enum Expect {
    Accept,
    /// Exactly these codes.
    Reject(BTreeSet<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Expect {
    fn from(text: OneOrMany) -> Self {
        match text {
            OneOrMany::One(word) if word == "accept" => Self::Accept,
            OneOrMany::One(code) => Self::Reject(BTreeSet::from([code])),
            OneOrMany::Many(codes) => Self::Reject(codes.into_iter().collect()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Importance {
    Low,
    Medium,
    High,
    Critical,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    #[serde(skip)]
    pub folder: PathBuf,
    #[serde(default)]
    pub kind: Kind,
    pub expect: Expect,
    pub twin: Option<String>,
    pub clause: String,
    pub why: String,
    #[allow(dead_code)]
    pub importance: Importance,
    #[serde(default)]
    #[allow(dead_code)]
    pub features: Vec<String>,
    pub nonce: Option<String>,
    /// What a proof of possession must be bound to, in hexadecimal.
    pub possession_context: Option<String>,
    /// A file of the case: the client data of web authentication.
    pub client_data: Option<String>,
    #[serde(default = "default_at")]
    pub at: String,
    pub key: Option<String>,
    pub device: Option<String>,
    /// A file in the folder, or the name of a shipped policy.
    #[serde(default = "default_policy")]
    pub policy: String,
    /// Files of the case: lists of certified modules.
    #[serde(default)]
    pub modules: Vec<String>,
    /// A file of the case: advisories instead of those that come with the program.
    pub advisories: Option<String>,
    /// Bank, register, value in hexadecimal.
    #[serde(default)]
    pub baseline: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default = "default_trust")]
    pub trust: String,
    pub files: Vec<String>,
    /// How the input is made larger than is worth storing.
    pub generate: Option<String>,
    /// A format forced upon bare evidence.
    pub format: Option<String>,
    /// Files of the case: the public keys of the witnesses of a ceremony whom the caller knows, each by its name.
    #[serde(default)]
    pub witnesses: Vec<String>,
    /// How many witnesses of a ceremony the caller wants.
    #[serde(default = "default_threshold")]
    pub threshold: usize,
    /// Dotted paths into the report, with the values that must stand there.
    #[serde(default)]
    pub report: BTreeMap<String, toml::Value>,
    /// For the forge alone.
    #[serde(default)]
    #[allow(dead_code)]
    pub make: BTreeMap<String, String>,
    /// For the forge alone.
    #[serde(default, rename = "let")]
    #[allow(dead_code)]
    pub definitions: BTreeMap<String, String>,
}

fn default_at() -> String {
    "2026-12-01T00:00:00Z".to_owned()
}

fn default_policy() -> String {
    "default".to_owned()
}

fn default_trust() -> String {
    "default".to_owned()
}

fn default_threshold() -> usize {
    2
}

/// The folder of vectors.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors")
}

fn folders(path: &Path) -> Vec<(String, PathBuf)> {
    let mut found: Vec<_> = fs::read_dir(path)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .collect();
    found.sort();
    found
}

/// Every case by its path.
pub fn read_all() -> BTreeMap<String, Case> {
    let mut cases = BTreeMap::new();
    for (format, folder) in folders(&root()).into_iter().filter(|(name, _)| !NOT_FORMATS.contains(&name.as_str())) {
        for (name, folder) in folders(&folder) {
            let id = format!("{format}/{name}");
            let text = fs::read_to_string(folder.join("case.toml")).unwrap_or_else(|e| panic!("{id}: {e}"));
            let mut case: Case = toml::from_str(&text).unwrap_or_else(|e| panic!("{id}: {e}"));
            case.folder = folder;
            assert!(!case.why.trim().is_empty() && !case.clause.trim().is_empty(), "{id} says no why or no clause");
            cases.insert(id, case);
        }
    }
    cases
}

/// Codes that no case can have, with the reason.
pub fn uncovered() -> BTreeMap<String, String> {
    toml::from_str(&fs::read_to_string(root().join("uncovered.toml")).unwrap()).unwrap()
}

impl Case {
    pub fn expected_codes(&self) -> BTreeSet<String> {
        match &self.expect {
            Expect::Accept => BTreeSet::new(),
            Expect::Reject(codes) => codes.clone(),
        }
    }

    pub fn read(&self, file: &str) -> Vec<u8> {
        let path = self.folder.join(file);
        fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Files in the folder that the case does not mention.
    pub fn unlisted_files(&self) -> Vec<String> {
        let mentioned = |name: &str| {
            name == "case.toml"
                || self.files.iter().any(|file| file == name)
                || self.key.as_deref() == Some(name)
                || self.client_data.as_deref() == Some(name)
                || self.advisories.as_deref() == Some(name)
                || self.modules.iter().any(|file| file == name)
                || self.witnesses.iter().any(|file| file == name)
                || self.policy == name
        };
        fs::read_dir(&self.folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !mentioned(name))
            .collect()
    }

    /// What the report says otherwise than the case demands.
    pub fn report_problems(&self, report: &Value) -> Vec<String> {
        self.report
            .iter()
            .filter_map(|(path, wanted)| {
                let wanted = serde_json::to_value(wanted).unwrap();
                let found = at_path(report, path);
                (found != wanted).then(|| format!("report {path} is {found}, expected {wanted}"))
            })
            .collect()
    }
}

/// What stands at a dotted path: a member of the report, `edges` and `notes` as sorted texts, `(none)` for nothing.
fn at_path(report: &Value, path: &str) -> Value {
    let texts = |text: &dyn Fn(&Value) -> Option<String>| {
        let mut texts: Vec<String> = report["binding"]["edges"].as_array().unwrap().iter().filter_map(text).collect();
        texts.sort();
        Value::from(texts)
    };
    let word = |edge: &Value, key: &str| edge[key].as_str().unwrap().to_owned();
    match path {
        "edges" => texts(&|edge| Some(format!("{} {} {}", word(edge, "from"), word(edge, "by"), word(edge, "to")))),
        "notes" => texts(&|edge| edge.get("note").and_then(Value::as_str).map(ToOwned::to_owned)),
        _ => {
            let found = path.split('.').try_fold(report, |value, key| match value {
                Value::Array(members) => key.parse::<usize>().ok().and_then(|index| members.get(index)),
                other => other.get(key),
            });
            found.filter(|value| !value.is_null()).cloned().unwrap_or_else(|| Value::from("(none)"))
        }
    }
}
