//! The whole record.

use super::encode::Object;
use super::read::{Members, check_canonical};
use super::step::sha256;
use super::{
    AkFamily, Attachment, DIGEST_OCTETS, ModuleIdentity, OCTETS_PER_VALUE, PlannedStep, Proof, Record, STEPS, Step,
    TRANSCRIPT_OCTETS, Time, VALUES_MIN, VERSION, WITNESSES,
};
use crate::json::Value;
use crate::x509::SpkiView;
use crate::{Malformed, Reason};

const PRODUCTION: &str = "transcript of a ceremony";

/// A witness, as the ceremony names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedKey {
    /// Their name.
    pub name: String,
    /// The key with which they sign.
    pub key: SpkiView,
}

/// What is settled before the first step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The identifier of the ceremony: random octets.
    pub id: [u8; DIGEST_OCTETS],
    /// What it is called.
    pub title: String,
    /// What it is for.
    pub purpose: String,
    /// Who types.
    pub operator: String,
    /// The name of the device that the attesting key is for, where the script says it: what the witnesses saw is then of
    /// use for no other. The member `device` is there only if it is.
    pub device: Option<String>,
    /// The machine on which it began; see [`Step::host`].
    pub host: [u8; DIGEST_OCTETS],
    /// How many of the witnesses have to sign.
    pub threshold: u64,
    /// Who may.
    pub witnesses: Vec<NamedKey>,
    /// SHA-256 of the script's file.
    pub script: [u8; DIGEST_OCTETS],
    /// What the script says will be done.
    pub plan: Vec<PlannedStep>,
    /// When it began.
    pub started: Time,
}

impl Head {
    /// SHA-256 of its JSON, to which the first step commits.
    #[must_use]
    pub fn digest(&self) -> [u8; DIGEST_OCTETS] {
        sha256(self.to_json().as_bytes())
    }

    fn to_json(&self) -> String {
        let witness = |of: &NamedKey| Object::new().text("name", &of.name).octets("key", of.key.as_der()).end();
        let object = Object::new()
            .octets("id", &self.id)
            .text("title", &self.title)
            .text("purpose", &self.purpose)
            .text("operator", &self.operator);
        match &self.device {
            Some(device) => object.text("device", device),
            None => object,
        }
        .octets("host", &self.host)
        .number("threshold", self.threshold)
        .list("witnesses", self.witnesses.iter().map(witness))
        .octets("script", &self.script)
        .list("plan", self.plan.iter().map(PlannedStep::to_json))
        .text("started", self.started.as_str())
        .end()
    }

    fn read(value: &Value) -> Result<Self, Malformed> {
        let members = Members::new(value, PRODUCTION);
        let witness = |value: &Value| -> Result<NamedKey, Malformed> {
            let members = Members::new(value, "witness of a ceremony");
            Ok(NamedKey { name: members.name("name")?, key: members.key("key")? })
        };
        Ok(Self {
            id: members.digest("id")?,
            title: members.name("title")?,
            purpose: members.text("purpose")?,
            operator: members.name("operator")?,
            device: members.optional_name("device")?,
            host: members.digest("host")?,
            threshold: members.number("threshold")?,
            witnesses: members.list("witnesses", WITNESSES)?.iter().map(witness).collect::<Result<_, _>>()?,
            script: members.digest("script")?,
            plan: members.list("plan", STEPS)?.iter().map(PlannedStep::read).collect::<Result<_, _>>()?,
            started: members.time("started")?,
        })
    }
}

/// The record of a ceremony, finished or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// What was settled before the first step.
    pub head: Head,
    /// What was done, in order.
    pub steps: Vec<Step>,
    /// When the last step was done; `None` while there are steps to do.
    pub ended: Option<Time>,
}

impl Transcript {
    /// Reads one.
    ///
    /// # Errors
    /// [`Malformed`] beyond a bound, and for every text that [`Transcript::to_json`] would not write.
    pub fn parse(input: &[u8]) -> Result<Self, Malformed> {
        if input.len() > TRANSCRIPT_OCTETS {
            let reason = Reason::OverLimit { what: "octets of the transcript", limit: TRANSCRIPT_OCTETS };
            return Err(Malformed::new(PRODUCTION, 0, reason));
        }
        let transcript = Self::read(input)?;
        check_canonical(PRODUCTION, input, &transcript.to_json())?;
        Ok(transcript)
    }

    /// What the JSON says; the tree of its values is gone when it is written again.
    fn read(input: &[u8]) -> Result<Self, Malformed> {
        let value = Value::parse_within(input, VALUES_MIN.saturating_add(input.len() / OCTETS_PER_VALUE))?;
        let members = Members::new(&value, PRODUCTION);
        if members.number("version")? != VERSION {
            return Err(members.error(Reason::Unexpected("version 1")));
        }
        Ok(Self {
            head: Head::read(members.value("head")?)?,
            steps: members.list("steps", STEPS)?.iter().map(Step::read).collect::<Result<_, _>>()?,
            ended: if *members.value("ended")? == Value::Null { None } else { Some(members.time("ended")?) },
        })
    }

    /// Its one encoding.
    #[must_use]
    pub fn to_json(&self) -> String {
        let object = Object::new()
            .number("version", VERSION)
            .raw("head", &self.head.to_json())
            .list("steps", self.steps.iter().map(Step::to_json));
        match &self.ended {
            Some(time) => object.text("ended", time.as_str()),
            None => object.raw("ended", "null"),
        }
        .end()
    }

    /// The digest to which the step after the last one commits.
    #[must_use]
    pub fn last_digest(&self) -> [u8; DIGEST_OCTETS] {
        self.steps.last().map_or_else(|| self.head.digest(), Step::digest)
    }

    /// What the script wants next; `None` where nothing is left.
    #[must_use]
    pub fn next_planned(&self) -> Option<&PlannedStep> {
        self.head.plan.get(self.steps.len())
    }

    /// The time before which nothing more can happen: that of the last step, or of the beginning.
    #[must_use]
    pub fn latest(&self) -> &Time {
        self.steps.last().map_or(&self.head.started, |step| &step.time)
    }

    /// The module, where it was recorded.
    #[must_use]
    pub fn module(&self) -> Option<&ModuleIdentity> {
        self.steps.iter().find_map(|step| {
            let Record::Module(module) = &step.record else { return None };
            Some(module)
        })
    }

    /// The attesting key, where it was recorded.
    #[must_use]
    pub fn attesting_key(&self) -> Option<(&SpkiView, AkFamily)> {
        self.steps.iter().find_map(|step| {
            let Record::Key { key, family } = &step.record else { return None };
            Some((key, *family))
        })
    }

    /// The attesting key's proof, with the digest that it has to be over, where it was recorded.
    #[must_use]
    pub fn proof(&self) -> Option<(&Proof, &[u8; DIGEST_OCTETS])> {
        self.steps.iter().find_map(|step| {
            let Record::Proved(proof) = &step.record else { return None };
            Some((proof, &step.previous))
        })
    }

    /// The files that are part of the record.
    pub fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.steps.iter().filter_map(|step| {
            let Record::Attached(attachment) = &step.record else { return None };
            Some(attachment)
        })
    }
}
