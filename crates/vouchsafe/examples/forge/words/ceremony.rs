//! Records of ceremonies, signed by witnesses whose keys everybody can compute, well held and otherwise.

use anyhow::{Context, Result, bail};
use vouchsafe_evidence::ceremony::{
    AkFamily, Attachment, Head, JoseAlgorithm, ModuleIdentity, NamedKey, PlannedStep, Proof, Record, SignedTranscript,
    Step, Task, Time, Transcript, WitnessSignature, proof_message, proof_nonce, thumbprint,
};
use vouchsafe_evidence::emit::{Evidence, TbsEvidence};
use vouchsafe_evidence::tpm::{HashAlg, TpmtSignature};
use vouchsafe_evidence::x509::der::Reader;
use vouchsafe_evidence::x509::{NamedCurve, SpkiView};

use super::super::Scope;
use super::super::software::SoftwareKey;
use super::super::value::{Arguments, Key, Value};

/// The serial number that people record.
const SERIAL: &str = "0007";

pub fn call(_: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Value>> {
    Ok(Some(Value::Octets(match word {
        // ceremony(key, witnesses: ["Alice", "Bob"], signers: ["Alice"], threshold: 2, proof: "evidence", flaw: "..."): the
        // file; a witness "Bob=Alice" is called Bob and has the key of Alice. Flaws are the arms of `spoil` and `sign`
        "ceremony" => ceremony(arguments)?,
        _ => return Ok(None),
    })))
}

fn ceremony(arguments: &mut Arguments) -> Result<Vec<u8>> {
    let ak = software(&arguments.at(0)?.key()?)?;
    let names = |value: Option<Value>, usual: &[&str]| -> Result<Vec<String>> {
        match value {
            Some(value) => value.list()?.iter().map(|name| name.text().map(ToOwned::to_owned)).collect(),
            None => Ok(usual.iter().map(|name| (*name).to_owned()).collect()),
        }
    };
    let witnesses = names(arguments.labelled("witnesses"), &["Alice", "Bob", "Carol"])?;
    let signers = names(arguments.labelled("signers"), &["Alice", "Bob"])?;
    let threshold = arguments.labelled("threshold").map_or(Ok(2), |value| value.number())?;
    let proof = arguments.text_or("proof", "signature")?;
    let flaw = arguments.text_or("flaw", "")?;
    let mut transcript = Transcript { head: head(&witnesses, threshold, &flaw)?, steps: Vec::new(), ended: None };
    for record in records(&ak)? {
        push(&mut transcript, record)?;
    }
    spoil(&mut transcript, &flaw)?;
    let record = Record::Proved(prove(&ak, &transcript, &proof)?);
    if flaw != "unfinished" && flaw != "script" {
        push(&mut transcript, record)?;
    }
    transcript.ended = match flaw.as_str() {
        "unfinished" => None,
        "ended-early" => Some(transcript.head.started.clone()),
        _ => Some(transcript.latest().clone()),
    };
    sign(SignedTranscript::unsigned(transcript), &signers, &flaw)
}

fn software(key: &Key) -> Result<SoftwareKey> {
    match key {
        Key::Software(key) => Ok(key.clone()),
        Key::Public(_) | Key::Rsa(_) | Key::Tpm { .. } => bail!("keys of ceremonies are elliptic and in software"),
    }
}

/// The key of a witness, by the name, or by what follows `=` in it.
fn witness_key(name: &str) -> Result<SoftwareKey> {
    let (_, of) = name.split_once('=').unwrap_or((name, name));
    SoftwareKey::new(&format!("witness {of}"), NamedCurve::P256)
}

fn digest(parts: &[&[u8]]) -> Result<[u8; 32]> {
    HashAlg::Sha256.digest(parts).try_into().ok().context("SHA-256 has 32 octets")
}

fn head(witnesses: &[String], threshold: u64, flaw: &str) -> Result<Head> {
    let named = |name: &String| -> Result<NamedKey> {
        let shown = name.split('=').next().unwrap_or_default().to_owned();
        Ok(NamedKey { name: shown, key: witness_key(name)?.spki()? })
    };
    let tasks = [Task::Say, Task::Ask, Task::Run { command: vec!["lsmod".to_owned()] }, Task::Secret, Task::Attach];
    let rest = [Task::Module, Task::Key, Task::Prove];
    let prompts =
        ["Show passports.", "Number on the seal?", "", "PIN, on the keypad.", "Photograph of the seal.", "", "", ""];
    let mut plan: Vec<PlannedStep> = tasks
        .into_iter()
        .chain(rest)
        .zip(prompts)
        .map(|(task, prompt)| PlannedStep { task, prompt: prompt.to_owned() })
        .collect();
    if flaw == "script" {
        plan.pop();
    }
    Ok(Head {
        id: digest(&[b"the ceremony of the vectors"])?,
        title: if flaw == "oversize" { "t".repeat(300) } else { "Attesting key of module 7".to_owned() },
        purpose: "A vector.".to_owned(),
        operator: "Olga".to_owned(),
        device: (flaw == "device").then(|| "hsm-7".to_owned()),
        host: digest(&[b"machine"])?,
        threshold,
        witnesses: witnesses.iter().map(named).collect::<Result<_>>()?,
        script: digest(&[b"script"])?,
        plan,
        started: Time::parse("2026-11-02T09:00:00Z")?,
    })
}

/// What was recorded before the attesting key signs.
fn records(ak: &SoftwareKey) -> Result<Vec<Record>> {
    let attachment = Attachment { name: "seal.jpg".to_owned(), sha256: digest(&[b"seal"])?, octets: 4 };
    Ok(vec![
        Record::Said { typed: "done".to_owned() },
        Record::Asked { typed: "4711".to_owned() },
        Record::Ran { status: 0, answered: "tpm_tis\n\u{1b}[31mred\u{1b}[0m\n".to_owned() },
        Record::Withheld,
        Record::Attached(attachment),
        Record::Module(ModuleIdentity {
            vendor: "ACME".to_owned(),
            model: "Box".to_owned(),
            serial: SERIAL.to_owned(),
            firmware: "1.2".to_owned(),
        }),
        Record::Key { key: ak.spki()?, family: AkFamily::PkixEvidence },
    ])
}

fn push(transcript: &mut Transcript, record: Record) -> Result<()> {
    let minute = transcript.steps.len().saturating_add(1);
    let step = Step {
        number: u64::try_from(minute)?,
        previous: transcript.last_digest(),
        time: Time::parse(&format!("2026-11-02T09:{minute:02}:00Z"))?,
        host: transcript.head.host,
        by: "Olga".to_owned(),
        note: String::new(),
        record,
    };
    transcript.steps.push(step);
    Ok(())
}

/// Spoils what was recorded, before the attesting key and the witnesses sign it.
fn spoil(transcript: &mut Transcript, flaw: &str) -> Result<()> {
    let [say, ask, .., key] = transcript.steps.as_mut_slice() else { bail!("a ceremony has steps") };
    match flaw {
        "chain" => ask.record = Record::Asked { typed: "4712".to_owned() },
        "other-machine" => key.host = digest(&[b"another machine"])?,
        "clock" => key.time = Time::parse("2026-11-02T09:02:00Z")?,
        "order" => std::mem::swap(&mut say.record, &mut ask.record),
        "number" => key.number = 9,
        "tpm-family" | "tpm-attest" | "tpm-other-nonce" => {
            if let Record::Key { family, .. } = &mut key.record {
                *family = AkFamily::Tpm;
            }
        }
        _ => {}
    }
    Ok(())
}

fn prove(ak: &SoftwareKey, transcript: &Transcript, form: &str) -> Result<Proof> {
    let previous = transcript.last_digest();
    let spki = ak.spki()?;
    let nonce = proof_nonce(&previous, &spki);
    Ok(match form {
        "signature" => signature(ak, &proof_message(&previous, &spki))?,
        "other-key" => signature(&witness_key("Carol")?, &proof_message(&previous, &spki))?,
        "other-ceremony" => signature(ak, &proof_message(&[7; 32], &spki))?,
        "evidence" => evidence(ak, &spki, &nonce, SERIAL)?,
        "evidence-of-other-module" => evidence(ak, &spki, &nonce, "0008")?,
        "evidence-with-other-nonce" => evidence(ak, &spki, &[7; 32], SERIAL)?,
        "evidence-of-other-key" => evidence(&witness_key("Carol")?, &spki, &nonce, SERIAL)?,
        "tpm-attest" => tpm_attest(ak, &nonce)?,
        "tpm-attest-with-other-nonce" => tpm_attest(ak, &[7; 32])?,
        other => bail!("{other} is no form of proof"),
    })
}

fn signature(key: &SoftwareKey, message: &[u8]) -> Result<Proof> {
    let algorithm = JoseAlgorithm::Es256;
    Ok(Proof::Signature { algorithm, signature: jose(key, message)? })
}

/// r and s side by side.
fn jose(key: &SoftwareKey, message: &[u8]) -> Result<Vec<u8>> {
    let (r, s) = integers(&key.sign(&HashAlg::Sha256.digest(&[message]))?)?;
    let padded = |number: Vec<u8>| [vec![0; 32_usize.saturating_sub(number.len())], number].concat();
    Ok([padded(r), padded(s)].concat())
}

fn integers(der: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut fields = Reader::new(der, "ECDSA-Sig-Value").sequence("ECDSA-Sig-Value")?;
    Ok((fields.unsigned("r")?.to_vec(), fields.unsigned("s")?.to_vec()))
}

fn evidence(key: &SoftwareKey, named: &SpkiView, nonce: &[u8], serial: &str) -> Result<Proof> {
    let tbs = TbsEvidence::new()
        .transaction(|claims| claims.nonce(nonce).attestation_key(named.as_der()))
        .platform(|claims| claims.vendor("ACME").hw_serial(serial))
        .to_der();
    let signature = key.sign(&HashAlg::Sha256.digest(&[&tbs]))?;
    let evidence = Evidence::new(tbs).signed_by_key(named.as_der(), &key.algorithm(None), &signature);
    Ok(Proof::Evidence(evidence.to_der()))
}

/// A quote of no register, as a TPM would sign it.
fn tpm_attest(key: &SoftwareKey, nonce: &[u8]) -> Result<Proof> {
    let nonce_octets = u8::try_from(nonce.len())?;
    let attest = [
        // magic, TPM_ST_ATTEST_QUOTE, a qualifiedSigner with SHA-256.
        &[0xFF, 0x54, 0x43, 0x47, 0x80, 0x18, 0x00, 0x22, 0x00, 0x0B][..],
        &[7; 32],
        &[0x00, nonce_octets],
        nonce,
        // TPMS_CLOCK_INFO, firmwareVersion, no PCR selection, no digest.
        &[0; 17],
        &[0; 8],
        &[0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let (r, s) = integers(&key.sign(&HashAlg::Sha256.digest(&[&attest]))?)?;
    Ok(Proof::TpmAttest { attest, signature: TpmtSignature::Ecdsa { hash: HashAlg::Sha256, r, s }.to_bytes() })
}

/// (r, n - s) of P-256 in place of (r, s): both verify.
fn twin(signature: &[u8]) -> Result<Vec<u8>> {
    let order = [0xFFFF_FFFF_0000_0000_FFFF_FFFF_FFFF_FFFF_u128, 0xBCE6_FAAD_A717_9E84_F3B9_CAC2_FC63_2551];
    let (r, s) = signature.split_at_checked(32).context("r and s of 32 octets")?;
    let (high, low) = s.split_at_checked(16).context("s of 32 octets")?;
    let (high, low) = (u128::from_be_bytes(high.try_into()?), u128::from_be_bytes(low.try_into()?));
    let (low, borrow) = order[1].overflowing_sub(low);
    let high = order[0].wrapping_sub(high).wrapping_sub(u128::from(borrow));
    Ok([r, &high.to_be_bytes(), &low.to_be_bytes()].concat())
}

fn sign(mut file: SignedTranscript, signers: &[String], flaw: &str) -> Result<Vec<u8>> {
    for name in signers {
        let key = witness_key(name)?;
        let key_id = thumbprint(&key.spki()?).context("elliptic keys have thumbprints")?;
        let algorithm = if flaw == "algorithm" { JoseAlgorithm::Es384 } else { JoseAlgorithm::Es256 };
        let mut signature = jose(&key, &file.signing_input(algorithm, &key_id))?;
        if let ("bad-signature", Some(first)) = (flaw, signature.first_mut()) {
            *first ^= 1;
        }
        if flaw == "short-signature" {
            signature.pop();
        }
        let signature = WitnessSignature { algorithm: JoseAlgorithm::Es256, key_id, signature }.in_one_form();
        let mut signature = WitnessSignature { algorithm, ..signature };
        if flaw == "larger-s" {
            signature.signature = twin(&signature.signature)?;
        }
        file = file.with_signature(signature);
    }
    let json = file.to_json();
    Ok(match flaw {
        "blank" => json.replacen(',', ", ", 1),
        "more-members" => json.replacen('{', "{\"header\":{},", 1),
        _ => json,
    }
    .into_bytes())
}
