//! A recorded TPM as expressions see it: objects, and what their TPM says and signs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use vouchsafe_evidence::limits::TPM_STRUCTURE_OCTETS;
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::tpm::{HashAlg, ObjectAttributes, PcrSelection, TpmtPublic, TpmtSignature, alg};

use super::Mode;
use super::object::{Making, ObjectDefinition};
use super::recording::{Question, Recording};
use super::tpm::{LiveTpm, TpmCommand, excerpt, hierarchy};

/// One device.
pub struct Device {
    name: String,
    folder: PathBuf,
    mode: Mode,
    objects: BTreeMap<String, ObjectDefinition>,
    recording: RefCell<Recording>,
    used: RefCell<BTreeSet<Question>>,
    asked: RefCell<usize>,
    live: RefCell<Option<LiveTpm>>,
}

/// Which object authorizes and what goes in: a command about loaded objects.
struct About<'a> {
    command: &'static str,
    code: u32,
    objects: &'a [&'a str],
    parameters: Vec<u8>,
}

impl Device {
    pub fn open(name: &str, folder: PathBuf, mode: Mode, objects: &BTreeMap<String, ObjectDefinition>) -> Result<Self> {
        let path = folder.join(format!("{name}.toml"));
        let recording = match (mode, path.exists()) {
            (Mode::Replay, _) | (Mode::Record, true) => Recording::read(&path)?,
            (Mode::RecordAfresh, true) => {
                let old = Recording::read(&path)?;
                Recording { answers: BTreeMap::new(), ..old }
            }
            (Mode::Record | Mode::RecordAfresh, false) => Recording::default(),
        };
        let device = Self {
            name: name.to_owned(),
            folder,
            mode,
            objects: objects.clone(),
            recording: RefCell::new(recording),
            used: RefCell::default(),
            asked: RefCell::new(0),
            live: RefCell::new(None),
        };
        if mode != Mode::Replay && device.recording.borrow().certificates.is_empty() {
            device.start()?;
        }
        Ok(device)
    }

    fn start(&self) -> Result<()> {
        if self.live.borrow().is_none() {
            let date = super::today();
            let state = self.folder.join(format!("{}.state", self.name));
            let tpm = LiveTpm::start(&state, &mut self.recording.borrow_mut(), &date)?;
            *self.live.borrow_mut() = Some(tpm);
        }
        Ok(())
    }

    /// Writes what was answered; gives how many answers are new.
    pub fn save(&self) -> Result<usize> {
        let path = self.folder.join(format!("{}.toml", self.name));
        self.recording.borrow().write(&path, &self.used.borrow())?;
        Ok(*self.asked.borrow())
    }

    /// What was recorded and not needed.
    pub fn unused_answers(&self) -> Vec<String> {
        let used = self.used.borrow();
        let recording = self.recording.borrow();
        let unused = recording.answers.keys().filter(|question| !used.contains(*question));
        unused
            .map(|question| format!("{} of {} on {}", question.command, question.objects.join(", "), self.name))
            .collect()
    }

    pub fn certificate(&self, name: &str) -> Option<Vec<u8>> {
        self.recording.borrow().certificates.get(name).cloned()
    }

    pub fn definition(&self, object: &str) -> Result<&ObjectDefinition> {
        self.objects.get(object).with_context(|| format!("{object} is no object of definitions.toml"))
    }

    /// The answer to a question, from the recording or from the TPM.
    fn ask(&self, question: Question, ask: impl FnOnce(&mut LiveTpm) -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        self.used.borrow_mut().insert(question.clone());
        if let Some(answer) = self.recording.borrow().answers.get(&question) {
            return Ok(answer.clone());
        }
        let what = format!("{} of {} on {}", question.command, question.objects.join(", "), self.name);
        if self.mode == Mode::Replay {
            bail!("{what} is not recorded (input {}); run forge record", excerpt(&question.input));
        }
        self.start()?;
        let mut live = self.live.borrow_mut();
        let answer = ask(live.as_mut().context("no TPM")?).context(what)?;
        self.recording.borrow_mut().answers.insert(question, answer.clone());
        *self.asked.borrow_mut() += 1;
        Ok(answer)
    }

    /// The public area of an object, as its TPM has it.
    pub fn public(&self, object: &str) -> Result<TpmtPublic> {
        let definition = self.definition(object)?;
        let octets = match definition.made {
            Making::External | Making::Imported => return definition.public(object),
            Making::Primary => Reader::new(&self.made(object)?, "made").tpm2b(TPM_STRUCTURE_OCTETS)?.to_vec(),
            Making::Created | Making::Derived => {
                let answer = self.made(object)?;
                let mut r = Reader::new(&answer, "made");
                r.tpm2b(TPM_STRUCTURE_OCTETS)?;
                r.tpm2b(TPM_STRUCTURE_OCTETS)?.to_vec()
            }
        };
        Ok(TpmtPublic::parse(&octets)?)
    }

    /// The answer to the command that made an object: for a primary, the public area first, else the private.
    fn made(&self, object: &str) -> Result<Vec<u8>> {
        let definition = self.definition(object)?;
        let template = definition.public(object)?;
        let mut input = Writer::new();
        let (command, objects) = match definition.made {
            Making::Primary => {
                input.tpm2b(&EMPTY_SENSITIVE).tpm2b(template.as_bytes()).tpm2b(&[]).u32(0);
                ("TPM2_CreatePrimary", vec![object.to_owned()])
            }
            Making::Created => {
                input.tpm2b(&EMPTY_SENSITIVE).tpm2b(template.as_bytes()).tpm2b(&[]).u32(0);
                ("TPM2_Create", vec![object.to_owned(), definition.parent.clone()])
            }
            Making::Derived => {
                input.tpm2b(&EMPTY_SENSITIVE).tpm2b(template.as_bytes());
                ("TPM2_CreateLoaded", vec![object.to_owned(), definition.parent.clone()])
            }
            Making::Imported => {
                // Neither inner nor outer wrapping: the duplicate is the sensitive area in clear.
                let mut sensitive = Writer::new();
                sensitive.tpm2b(&definition.sensitive(object)?);
                input.tpm2b(&[]).tpm2b(template.as_bytes()).tpm2b(&sensitive.into_bytes()).tpm2b(&[]).u16(alg::NULL);
                ("TPM2_Import", vec![object.to_owned(), definition.parent.clone()])
            }
            Making::External => bail!("{object} is not made by a TPM"),
        };
        let parameters = input.into_bytes();
        let question = Question { command: command.to_owned(), objects, input: parameters.clone() };
        // A parent is made first: its own answer must be there when its child is asked for.
        if definition.made != Making::Primary {
            self.public(&definition.parent)?;
            if self.definition(&definition.parent)?.made == Making::Imported {
                self.made(&definition.parent)?;
            }
        }
        self.ask(question, |tpm| match definition.made {
            Making::Primary => {
                let handles = [hierarchy(&definition.hierarchy)?];
                let command =
                    TpmCommand { code: 0x131, handles: &handles, authorized: 1, parameters, returns_handle: true };
                let (handle, answer) = tpm.execute(&command)?;
                tpm.flush(handle.context("no handle")?)?;
                Ok(answer)
            }
            Making::Created | Making::Derived | Making::Imported | Making::External => {
                let code = match definition.made {
                    Making::Derived => 0x191,
                    Making::Imported => 0x156,
                    Making::Created | Making::External | Making::Primary => 0x153,
                };
                let parent = self.load(tpm, &definition.parent)?;
                let returns_handle = definition.made == Making::Derived;
                let command = TpmCommand { code, handles: &[parent], authorized: 1, parameters, returns_handle };
                let (handle, answer) = tpm.execute(&command)?;
                if let Some(handle) = handle {
                    tpm.flush(handle)?;
                }
                tpm.flush(parent)?;
                Ok(answer)
            }
        })
    }

    /// Loads an object, with its parents in turn.
    fn load(&self, tpm: &mut LiveTpm, object: &str) -> Result<u32> {
        let definition = self.definition(object)?;
        let template = definition.public(object)?;
        let mut w = Writer::new();
        let (code, handles, authorized, parent) = match definition.made {
            Making::Primary => {
                w.tpm2b(&EMPTY_SENSITIVE).tpm2b(template.as_bytes()).tpm2b(&[]).u32(0);
                (0x131, vec![hierarchy(&definition.hierarchy)?], 1, None)
            }
            Making::External => {
                w.tpm2b(&definition.sensitive(object)?).tpm2b(template.as_bytes()).u32(hierarchy("null")?);
                (0x167, Vec::new(), 0, None)
            }
            Making::Derived => {
                w.tpm2b(&EMPTY_SENSITIVE).tpm2b(template.as_bytes());
                let parent = self.load(tpm, &definition.parent)?;
                (0x191, vec![parent], 1, Some(parent))
            }
            Making::Created | Making::Imported => {
                let answer = self.recorded_making(object)?;
                let private = Reader::new(&answer, "made").tpm2b(TPM_STRUCTURE_OCTETS)?.to_vec();
                w.tpm2b(&private).tpm2b(self.public(object)?.as_bytes());
                let parent = self.load(tpm, &definition.parent)?;
                (0x157, vec![parent], 1, Some(parent))
            }
        };
        let parameters = w.into_bytes();
        let command = TpmCommand { code, handles: &handles, authorized, parameters, returns_handle: true };
        let (handle, _) = tpm.execute(&command)?;
        if let Some(parent) = parent {
            tpm.flush(parent)?;
        }
        handle.context("no handle")
    }

    /// The answer that made an object, which was asked for before.
    fn recorded_making(&self, object: &str) -> Result<Vec<u8>> {
        let recording = self.recording.borrow();
        let makes = |question: &&Question| {
            matches!(question.command.as_str(), "TPM2_Create" | "TPM2_Import")
                && question.objects.first().is_some_and(|first| first == object)
                && self.used.borrow().contains(*question)
        };
        let (_, answer) = recording
            .answers
            .iter()
            .find(|(question, _)| makes(question))
            .with_context(|| format!("{object} was not made yet"))?;
        Ok(answer.clone())
    }

    /// Runs a command on loaded objects, each of which authorizes it.
    fn about(&self, about: About<'_>) -> Result<Vec<u8>> {
        for object in about.objects {
            if self.definition(object)?.made != Making::External {
                self.made(object)?;
            }
        }
        let objects = about.objects.iter().map(|object| (*object).to_owned()).collect();
        let question = Question { command: about.command.to_owned(), objects, input: about.parameters.clone() };
        self.ask(question, |tpm| {
            let mut handles = Vec::new();
            for object in about.objects {
                handles.push(self.load(tpm, object)?);
            }
            let answer = tpm.execute(&TpmCommand {
                code: about.code,
                handles: &handles,
                authorized: handles.len(),
                parameters: about.parameters,
                returns_handle: false,
            });
            for handle in handles {
                tpm.flush(handle)?;
            }
            answer.map(|(_, parameters)| parameters)
        })
    }

    /// TPM2_Certify: the attestation and the TPMT_SIGNATURE.
    pub fn certify(&self, object: &str, signer: &str, data: &[u8], scheme: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut w = Writer::new();
        w.tpm2b(data).bytes(scheme);
        let objects = [object, signer];
        let parameters = w.into_bytes();
        attestation(&self.about(About { command: "TPM2_Certify", code: 0x148, objects: &objects, parameters })?)
    }

    /// TPM2_Quote: the attestation and the TPMT_SIGNATURE.
    pub fn quote(&self, signer: &str, data: &[u8], selection: &PcrSelection) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut w = Writer::new();
        w.tpm2b(data).u16(alg::NULL);
        selection.write(&mut w);
        let parameters = w.into_bytes();
        attestation(&self.about(About { command: "TPM2_Quote", code: 0x158, objects: &[signer], parameters })?)
    }

    /// TPM2_GetTime by an attesting key: an attestation of yet another type.
    pub fn time(&self, signer: &str, data: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        self.made(signer)?;
        let mut w = Writer::new();
        w.tpm2b(data).u16(alg::NULL);
        let parameters = w.into_bytes();
        let question = Question {
            command: "TPM2_GetTime".to_owned(),
            objects: vec![signer.to_owned()],
            input: parameters.clone(),
        };
        let answer = self.ask(question, |tpm| {
            let handle = self.load(tpm, signer)?;
            let handles = [hierarchy("endorsement")?, handle];
            let command =
                TpmCommand { code: 0x14C, handles: &handles, authorized: 2, parameters, returns_handle: false };
            let answer = tpm.execute(&command);
            tpm.flush(handle)?;
            answer.map(|(_, parameters)| parameters)
        })?;
        attestation(&answer)
    }

    /// TPM2_CertifyX509: addedToCertificate, tbsDigest and the TPMT_SIGNATURE.
    pub fn certify_x509(&self, object: &str, signer: &str, scheme: &[u8], partial: &[u8]) -> Result<[Vec<u8>; 3]> {
        let mut w = Writer::new();
        w.tpm2b(&[]).bytes(scheme).tpm2b(partial);
        let objects = [object, signer];
        let parameters = w.into_bytes();
        let about = About { command: "TPM2_CertifyX509", code: 0x197, objects: &objects, parameters };
        let answer = self.about(about)?;
        let mut r = Reader::new(&answer, "TPM2_CertifyX509");
        let added = r.tpm2b(TPM_STRUCTURE_OCTETS)?.to_vec();
        let digest = r.tpm2b(TPM_STRUCTURE_OCTETS)?.to_vec();
        Ok([added, digest, r.rest().to_vec()])
    }

    /// A signature over `message`: TPM2_Sign, by a restricted key with the ticket of TPM2_Hash.
    pub fn sign(&self, signer: &str, hash: HashAlg, message: &[u8]) -> Result<TpmtSignature> {
        let public = self.public(signer)?;
        let digest = hash.digest(&[message]);
        let restricted = public.attributes().contains(ObjectAttributes::RESTRICTED | ObjectAttributes::SIGN);
        let answer = if restricted {
            self.sign_with_ticket(signer, hash, message)?
        } else {
            let mut w = Writer::new();
            w.tpm2b(&digest).bytes(&scheme_of(&public, hash)).u16(0x8024).u32(hierarchy("null")?).tpm2b(&[]);
            let parameters = w.into_bytes();
            self.about(About { command: "TPM2_Sign", code: 0x15D, objects: &[signer], parameters })?
        };
        Ok(TpmtSignature::parse(&answer)?)
    }

    fn sign_with_ticket(&self, signer: &str, hash: HashAlg, message: &[u8]) -> Result<Vec<u8>> {
        self.made(signer)?;
        let question = Question {
            command: "TPM2_Hash, TPM2_Sign".to_owned(),
            objects: vec![signer.to_owned()],
            input: [&hash.id().to_be_bytes(), message].concat(),
        };
        self.ask(question, |tpm| {
            let hashed = tpm.hash(hash, message)?;
            let mut r = Reader::new(&hashed, "TPM2_Hash");
            let digest = r.tpm2b(TPM_STRUCTURE_OCTETS)?.to_vec();
            let mut w = Writer::new();
            w.tpm2b(&digest).u16(alg::NULL).bytes(r.rest());
            let handle = self.load(tpm, signer)?;
            let parameters = w.into_bytes();
            let command =
                TpmCommand { code: 0x15D, handles: &[handle], authorized: 1, parameters, returns_handle: false };
            let answer = tpm.execute(&command);
            tpm.flush(handle)?;
            answer.map(|(_, parameters)| parameters)
        })
    }

    /// TPM2_PCR_Read of one register.
    pub fn register(&self, bank: HashAlg, index: u8) -> Result<Vec<u8>> {
        let selection = PcrSelection::new(vec![vouchsafe_evidence::tpm::PcrBank::new(bank, &[index])?]);
        let mut w = Writer::new();
        selection.write(&mut w);
        let parameters = w.into_bytes();
        let question = Question {
            command: "TPM2_PCR_Read".to_owned(),
            objects: vec![format!("{}:{index}", bank.label())],
            input: parameters.clone(),
        };
        let answer = self.ask(question, |tpm| {
            let command = TpmCommand { code: 0x17E, handles: &[], authorized: 0, parameters, returns_handle: false };
            tpm.execute(&command).map(|(_, parameters)| parameters)
        })?;
        let mut r = Reader::new(&answer, "TPM2_PCR_Read");
        r.u32()?;
        PcrSelection::read(&mut r)?;
        r.u32()?;
        Ok(r.tpm2b(TPM_STRUCTURE_OCTETS)?.to_vec())
    }
}

/// A TPMS_SENSITIVE_CREATE without authValue and data.
const EMPTY_SENSITIVE: [u8; 4] = [0; 4];

fn attestation(answer: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut r = Reader::new(answer, "attestation");
    let attest = r.tpm2b(TPM_STRUCTURE_OCTETS)?.to_vec();
    Ok((attest, r.rest().to_vec()))
}

/// The TPMT_SIG_SCHEME for a key: its own where it has one.
pub fn scheme_of(public: &TpmtPublic, hash: HashAlg) -> Vec<u8> {
    if public.signing_hash().is_some() {
        return alg::NULL.to_be_bytes().to_vec();
    }
    let scheme = match public.parameters() {
        vouchsafe_evidence::tpm::PublicParameters::Rsa { .. } => alg::RSASSA,
        vouchsafe_evidence::tpm::PublicParameters::Ecc { .. }
        | vouchsafe_evidence::tpm::PublicParameters::KeyedHash { .. }
        | vouchsafe_evidence::tpm::PublicParameters::SymCipher { .. } => alg::ECDSA,
    };
    [scheme.to_be_bytes(), hash.id().to_be_bytes()].concat()
}
