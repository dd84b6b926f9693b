//! Specifications in, files out.

mod claim_pages;
mod device;
mod documents;
mod expression;
mod object;
mod recording;
mod software;
mod tpm;
mod value;
mod words;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use device::Device;
use expression::Expression;
use object::ObjectDefinition;
use value::{Arguments, Key, Value};

/// Where answers of TPMs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// From the recordings alone.
    Replay,
    /// From the recordings, and from a software TPM what is missing in them.
    Record,
    /// All from a software TPM.
    RecordAfresh,
}

/// `vectors/definitions.toml`: what all cases share.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Definitions {
    devices: Vec<String>,
    objects: BTreeMap<String, ObjectDefinition>,
    #[serde(rename = "let")]
    names: BTreeMap<String, String>,
    /// Files of the trust stores, beneath `vectors/trust`.
    trust: BTreeMap<String, String>,
}

/// What of a case file concerns the forge.
#[derive(Deserialize)]
struct CaseFile {
    #[serde(default)]
    make: BTreeMap<String, String>,
    #[serde(default, rename = "let")]
    names: BTreeMap<String, String>,
}

/// Everything that is needed to make the vectors.
pub struct Workshop {
    vectors: PathBuf,
    definitions: Definitions,
    devices: BTreeMap<String, Device>,
    known: RefCell<BTreeMap<String, Value>>,
}

/// The folder of the repository.
pub fn repository() -> Option<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|path| path.join("vectors").is_dir()).map(Path::to_path_buf)
}

/// Today's date, as recordings note it.
pub fn today() -> String {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let instant = vouchsafe_verifier::Instant::from_unix_seconds(i64::try_from(seconds).unwrap_or_default());
    instant.to_string().chars().take(10).collect()
}

impl Workshop {
    pub fn open(root: &Path, mode: Mode) -> Result<Self> {
        let vectors = root.join("vectors");
        let path = vectors.join("definitions.toml");
        let definitions: Definitions =
            toml::from_str(&fs::read_to_string(&path)?).with_context(|| path.display().to_string())?;
        let mut devices = BTreeMap::new();
        for name in &definitions.devices {
            let device = Device::open(name, vectors.join("recordings"), mode, &definitions.objects)?;
            devices.insert(name.clone(), device);
        }
        Ok(Self { vectors, definitions, devices, known: RefCell::default() })
    }

    /// Every file that specifications make, by its path beneath `vectors`.
    pub fn make(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut files = BTreeMap::new();
        for (path, text) in &self.definitions.trust {
            let octets = self.octets(text).with_context(|| format!("trust/{path}"))?;
            files.insert(format!("trust/{path}"), octets);
        }
        for (id, path) in documents::case_folders(&self.vectors)? {
            let text = fs::read_to_string(path.join("case.toml")).with_context(|| id.clone())?;
            let case: CaseFile = toml::from_str(&text).with_context(|| id.clone())?;
            for (file, text) in &case.make {
                let scope = Scope { workshop: self, names: &case.names };
                let made = Expression::parse(text).and_then(|expression| scope.evaluate(&expression)?.octets());
                files.insert(format!("{id}/{file}"), made.with_context(|| format!("{id}/{file}"))?);
            }
        }
        Ok(files)
    }

    /// The files that are not what `make` makes, or that nothing makes.
    pub fn differences(&self) -> Result<Vec<String>> {
        let made = self.make()?;
        let differing = made.iter().filter(|(path, octets)| {
            fs::read(self.vectors.join(path.as_str())).map_or(true, |found| found != **octets)
        });
        Ok(differing.map(|(path, _)| path.clone()).collect())
    }

    /// Answers that nothing needed, after [`Workshop::make`].
    pub fn unused_answers(&self) -> Vec<String> {
        self.devices.values().flat_map(Device::unused_answers).collect()
    }

    /// The text of `docs/rejections.md`.
    pub fn rejections(&self) -> Result<String> {
        documents::rejections(&self.vectors)
    }

    /// The pages of `docs/claims`, by their paths beneath `docs`.
    pub fn claim_pages(&self) -> Result<[(&'static str, String); 3]> {
        claim_pages::pages()
    }

    /// The octets that an expression gives, outside of any case.
    pub fn octets(&self, text: &str) -> Result<Vec<u8>> {
        let names = BTreeMap::new();
        Scope { workshop: self, names: &names }.evaluate(&Expression::parse(text)?)?.octets()
    }

    /// Writes recordings; gives how many answers are new.
    pub fn save_recordings(&self) -> Result<usize> {
        let mut asked = 0_usize;
        for device in self.devices.values() {
            asked = asked.saturating_add(device.save()?);
        }
        Ok(asked)
    }

    fn device(&self, name: &str) -> Result<&Device> {
        self.devices.get(name).with_context(|| format!("{name} is no device"))
    }
}

/// Where names are looked up: the case's own first, then everybody's.
pub struct Scope<'a> {
    workshop: &'a Workshop,
    names: &'a BTreeMap<String, String>,
}

impl<'a> Scope<'a> {
    fn evaluate(&self, expression: &Expression) -> Result<Value> {
        Ok(match expression {
            Expression::Call(word, arguments) => {
                let mut values = Vec::new();
                for (label, argument) in arguments {
                    values.push((label.clone(), self.evaluate(argument)?));
                }
                let mut values = Arguments::new(values);
                let value = words::call(self, word, &mut values).with_context(|| format!("in {word}(..)"))?;
                values.finish().with_context(|| format!("in {word}(..)"))?;
                value
            }
            Expression::Field(call, field) => self.evaluate(call)?.field(field)?,
            Expression::List(members) => {
                Value::List(members.iter().map(|member| self.evaluate(member)).collect::<Result<_>>()?)
            }
            Expression::Name(name) => self.named(name).with_context(|| name.clone())?,
            Expression::Number(number) => Value::Number(*number),
            Expression::Octets(octets) => Value::Octets(octets.clone()),
            Expression::Text(text) => Value::Text(text.clone()),
        })
    }

    fn named(&self, name: &str) -> Result<Value> {
        match name {
            "none" => return Ok(Value::None),
            "yes" => return Ok(Value::Flag(true)),
            "no" => return Ok(Value::Flag(false)),
            _ => {}
        }
        let (first, fields) = name.split_once('.').map_or((name, ""), |(first, fields)| (first, fields));
        if let Some(device) = self.workshop.devices.get(first) {
            if let Some(certificate) = device.certificate(fields) {
                return Ok(Value::Octets(certificate));
            }
            device.definition(fields)?;
            return Ok(Value::Key(Key::Tpm { device: first.to_owned(), object: fields.to_owned() }));
        }
        let value = self.definition(first)?;
        fields.split('.').filter(|field| !field.is_empty()).try_fold(value, |value, field| value.field(field))
    }

    fn definition(&self, name: &str) -> Result<Value> {
        if let Some(text) = self.names.get(name) {
            return self.evaluate(&Expression::parse(text)?);
        }
        if let Some(value) = self.workshop.known.borrow().get(name) {
            return Ok(value.clone());
        }
        let Some(text) = self.workshop.definitions.names.get(name) else { bail!("{name} is not defined") };
        let names = BTreeMap::new();
        let value = Scope { workshop: self.workshop, names: &names }.evaluate(&Expression::parse(text)?)?;
        self.workshop.known.borrow_mut().insert(name.to_owned(), value.clone());
        Ok(value)
    }

    fn device(&self, name: &str) -> Result<&'a Device> {
        self.workshop.device(name)
    }

    /// The PrivateKeyInfo in `vectors/keys` of this name.
    fn private_key(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.workshop.vectors.join("keys").join(format!("{name}.der"));
        fs::read(&path).with_context(|| path.display().to_string())
    }
}
