//! What was done.

use super::encode::Object;
use super::read::Members;
use super::{AkFamily, DIGEST_OCTETS, Proof, Time};
use crate::json::Value;
use crate::tpm::HashAlg;
use crate::x509::SpkiView;
use crate::{Malformed, Reason};

const PRODUCTION: &str = "step of a ceremony";

/// Which module it is, as people read it off its case or its tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleIdentity {
    /// Who made it.
    pub vendor: String,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// The version of its firmware.
    pub firmware: String,
}

/// A file that is part of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its name, without folders.
    pub name: String,
    /// Its digest.
    pub sha256: [u8; DIGEST_OCTETS],
    /// How long it is.
    pub octets: u64,
}

/// What a step left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Of `ask`.
    Asked {
        /// What was typed.
        typed: String,
    },
    /// Of `attach`.
    Attached(Attachment),
    /// Of `key`.
    Key {
        /// The attesting key.
        key: SpkiView,
        /// What it is for.
        family: AkFamily,
    },
    /// Of `module`.
    Module(ModuleIdentity),
    /// Of `prove`.
    Proved(Proof),
    /// Of `run`.
    Ran {
        /// Its exit code; 256 and the number of the signal that ended it.
        status: u64,
        /// What it said, standard output before standard error.
        answered: String,
    },
    /// Of `say`.
    Said {
        /// What was typed to confirm it.
        typed: String,
    },
    /// Of `secret`: that it was answered, not how.
    Withheld,
}

impl Record {
    /// The label of the task that it is the record of.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Asked { .. } => "ask",
            Self::Attached(_) => "attach",
            Self::Key { .. } => "key",
            Self::Module(_) => "module",
            Self::Proved(_) => "prove",
            Self::Ran { .. } => "run",
            Self::Said { .. } => "say",
            Self::Withheld => "secret",
        }
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its place in the script, from one.
    pub number: u64,
    /// The digest of the step before, of the head before the first.
    pub previous: [u8; DIGEST_OCTETS],
    /// When it was recorded.
    pub time: Time,
    /// The machine on which it was recorded: HMAC-SHA256 of the ceremony's identifier under the machine's.
    pub host: [u8; DIGEST_OCTETS],
    /// Who did it.
    pub by: String,
    /// What was not as planned; mostly empty.
    pub note: String,
    /// What it left behind.
    pub record: Record,
}

impl Step {
    /// SHA-256 of its JSON, to which the next step commits.
    #[must_use]
    pub fn digest(&self) -> [u8; DIGEST_OCTETS] {
        sha256(self.to_json().as_bytes())
    }

    pub(super) fn to_json(&self) -> String {
        let object = Object::new()
            .number("number", self.number)
            .octets("previous", &self.previous)
            .text("time", self.time.as_str())
            .octets("host", &self.host)
            .text("by", &self.by)
            .text("note", &self.note)
            .text("kind", self.record.label());
        match &self.record {
            Record::Asked { typed } | Record::Said { typed } => object.text("typed", typed),
            Record::Attached(attachment) => object
                .text("name", &attachment.name)
                .octets("sha256", &attachment.sha256)
                .number("octets", attachment.octets),
            Record::Key { key, family } => object.octets("key", key.as_der()).text("family", family.label()),
            Record::Module(module) => object
                .text("vendor", &module.vendor)
                .text("model", &module.model)
                .text("serial", &module.serial)
                .text("firmware", &module.firmware),
            Record::Proved(proof) => proof.write(object),
            Record::Ran { status, answered } => object.number("status", *status).text("answered", answered),
            Record::Withheld => object,
        }
        .end()
    }

    pub(super) fn read(value: &Value) -> Result<Self, Malformed> {
        let members = Members::new(value, PRODUCTION);
        Ok(Self {
            number: members.number("number")?,
            previous: members.digest("previous")?,
            time: members.time("time")?,
            host: members.digest("host")?,
            by: members.name("by")?,
            note: members.text("note")?,
            record: read_record(members)?,
        })
    }
}

fn read_record(members: Members<'_>) -> Result<Record, Malformed> {
    Ok(match members.text("kind")?.as_str() {
        "ask" => Record::Asked { typed: members.text("typed")? },
        "attach" => Record::Attached(Attachment {
            name: read_file_name(members)?,
            sha256: members.digest("sha256")?,
            octets: members.number("octets")?,
        }),
        "key" => {
            let family = AkFamily::from_label(&members.text("family")?)
                .ok_or_else(|| members.error(Reason::Unexpected("a family that is known")))?;
            Record::Key { key: members.key("key")?, family }
        }
        "module" => Record::Module(ModuleIdentity {
            vendor: members.name("vendor")?,
            model: members.name("model")?,
            serial: members.name("serial")?,
            firmware: members.name("firmware")?,
        }),
        "prove" => Record::Proved(Proof::read(members)?),
        "run" => Record::Ran { status: members.number("status")?, answered: members.text("answered")? },
        "say" => Record::Said { typed: members.text("typed")? },
        "secret" => Record::Withheld,
        _ => return Err(members.error(Reason::Unexpected("a kind of step that is known"))),
    })
}

/// The name of a file in whatever folder: nothing that leads out of it, or hides in it.
fn read_file_name(members: Members<'_>) -> Result<String, Malformed> {
    let name = members.name("name")?;
    if name.starts_with('.') || name.contains(['/', '\\']) {
        return Err(members.error(Reason::Unexpected("the name of a file without folders")));
    }
    Ok(name)
}

/// SHA-256, by which a ceremony names its script, its steps and its file.
#[must_use]
pub fn sha256(octets: &[u8]) -> [u8; DIGEST_OCTETS] {
    let mut digest = [0; DIGEST_OCTETS];
    digest.copy_from_slice(&HashAlg::Sha256.digest(&[octets]));
    digest
}
