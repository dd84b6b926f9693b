//! Modules whose attesting key host software drives, in software: enrolment, ceremonies, evidence.

use std::path::PathBuf;

use serde_json::{Value, json};
use vouchsafe_evidence::ak_possession::{AkPossession, PossessionPurpose};
use vouchsafe_evidence::bundle::AttestationStatement;
use vouchsafe_evidence::ceremony::{
    AkFamily, Head, JoseAlgorithm, ModuleIdentity, NamedKey, PlannedStep, Proof, Record, SignedTranscript, Step, Task,
    Time, Transcript, WitnessSignature, proof_message, thumbprint,
};
use vouchsafe_evidence::emit::{Evidence, Purpose, TbsEvidence};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::{SpkiView, build};

use crate::made::request;
use crate::module::SoftwareKey;
use crate::site::{Reply, Site, b64, hex, unb64};

/// May do everything, by every method.
pub const DAVE: &str = "dave-token";

/// Settings that offer every method, to dave alone; with these lines more.
pub fn every_method(more: &str) -> String {
    format!(
        "{more}\n[enrolment]\nfirst_use = true\n[[accounts]]\nname = 'dave'\ntoken_sha256 = '{}'\n\
         may = ['administer', 'enroll', 'appraise', 'issue']\n\
         enroll_methods = ['manufacturer', 'inventory', 'ceremony', 'first-use']\n",
        crate::site::digest_hex(DAVE)
    )
}

/// Asks for a challenge for a key that host software drives; `fields` say the method and what it needs.
pub async fn challenge(site: &Site, token: &str, ak: &SoftwareKey, device: &str, fields: Value) -> Reply {
    let nonce = site.enrolment_nonce(token).await;
    let mut body = json!({"device": device, "nonce": hex(&nonce), "ak_spki": b64(ak.spki().as_der())});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    site.post("/v1/attestation-keys", Some(token), body).await
}

/// Answers a challenge with `signer`, for the key and the device named.
pub async fn answer(
    site: &Site,
    token: &str,
    (signer, ak): (&SoftwareKey, &SoftwareKey),
    device: &str,
    challenge: &Value,
) -> Reply {
    let possession = AkPossession {
        purpose: PossessionPurpose::Enrolment,
        device,
        key: &ak.spki(),
        challenge: &unb64(&challenge["challenge"]),
    };
    let path = format!("/v1/attestation-keys/{}/activation", challenge["id"].as_str().unwrap());
    site.post(&path, Some(token), json!({"signature": b64(&signer.sign_der(&possession.to_bytes()))})).await
}

/// PKIX Evidence about nothing but its nonce.
pub fn evidence_over(ak: &SoftwareKey, nonce: &[u8]) -> Vec<u8> {
    let tbs =
        TbsEvidence::new().transaction(|claims| claims.nonce(nonce)).platform(|claims| claims.vendor("Maker")).to_der();
    let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
    let signature = ak.sign_der(&tbs);
    Evidence::new(tbs).signed_by_key(ak.spki().as_der(), &algorithm, &signature).to_der()
}

pub async fn enroll(site: &Site, token: &str, ak: &SoftwareKey, device: &str, fields: Value) -> Value {
    let challenge = challenge(site, token, ak, device, fields).await;
    assert_eq!(challenge.status, 201, "{}", String::from_utf8_lossy(&challenge.body));
    let reply = answer(site, token, (ak, ak), device, &challenge.json()).await;
    assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    reply.json()
}

/// PKIX Evidence about a key, by an attesting key with or without its certificate.
pub fn evidence_about(spki: &SpkiView, (ak, certificate): (&SoftwareKey, Option<&[u8]>), nonce: &[u8]) -> Vec<u8> {
    let tbs = TbsEvidence::new().transaction(|claims| claims.nonce(nonce)).key("key-1", |claims| {
        let claims = claims.spki(spki.as_der()).extractable(false).sensitive(true);
        claims.never_extractable(true).local(true).purposes(&[Purpose::Sign])
    });
    let tbs = tbs.to_der();
    let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
    let signature = ak.sign_der(&tbs);
    let evidence = Evidence::new(tbs);
    match certificate {
        Some(certificate) => evidence.signed_by_certificate(certificate, &algorithm, &signature),
        None => evidence.signed_by_key(ak.spki().as_der(), &algorithm, &signature),
    }
    .to_der()
}

/// A request for a fresh key, with PKIX Evidence about it.
pub fn csr(ak: &SoftwareKey, certificate: &[u8], nonce: &[u8]) -> Vec<u8> {
    let key = SoftwareKey::generate();
    let evidence = evidence_about(&key.spki(), (ak, Some(certificate)), nonce);
    request(&key, vec![AttestationStatement::new(oid::STATEMENT_PKIX_EVIDENCE, evidence)], &[])
}

/// The witnesses of ceremonies, and a folder with their keys.
pub struct Witnesses {
    pub keys: Vec<(String, SoftwareKey)>,
    pub folder: tempfile::TempDir,
}

impl Witnesses {
    pub fn new(names: &[&str]) -> Self {
        let keys: Vec<(String, SoftwareKey)> =
            names.iter().map(|name| ((*name).to_owned(), SoftwareKey::generate())).collect();
        let folder = tempfile::tempdir().unwrap();
        for (name, key) in &keys {
            let path: PathBuf = folder.path().join(format!("{name}.pem"));
            let text = crate::module::pem(key.spki().as_der()).replace("CERTIFICATE", "PUBLIC KEY");
            std::fs::write(path, text).unwrap();
        }
        Self { keys, folder }
    }

    /// The lines of the configuration.
    pub fn settings(&self, threshold: usize) -> String {
        format!("[ceremony]\nthreshold = {threshold}\nwitnesses = '{}'\n", self.folder.path().display())
    }

    /// The file of a ceremony about this key, signed by the first `signers` of the witnesses.
    pub fn ceremony(&self, ak: &SoftwareKey, signers: usize) -> Vec<u8> {
        self.ceremony_for(None, ak, signers)
    }

    /// The same for a device that the transcript names.
    pub fn ceremony_for(&self, device: Option<&str>, ak: &SoftwareKey, signers: usize) -> Vec<u8> {
        let transcript = self.transcript(device, ak);
        let mut file = SignedTranscript::unsigned(transcript);
        for (_, key) in self.keys.iter().take(signers) {
            let key_id = thumbprint(&key.spki()).unwrap();
            let signature = key.sign_fixed(&file.signing_input(JoseAlgorithm::Es256, &key_id));
            let signature = WitnessSignature { algorithm: JoseAlgorithm::Es256, key_id, signature };
            file = file.with_signature(signature.in_one_form());
        }
        file.to_json().into_bytes()
    }

    fn transcript(&self, device: Option<&str>, ak: &SoftwareKey) -> Transcript {
        let time = Time::parse("2026-11-30T10:00:00Z").unwrap();
        let planned = |task| PlannedStep { task, prompt: "Do so.".to_owned() };
        let head = Head {
            id: [7; 32],
            title: "Attesting key".to_owned(),
            purpose: "A key of a token for tests".to_owned(),
            operator: "Operator".to_owned(),
            device: device.map(ToOwned::to_owned),
            host: [8; 32],
            threshold: 1,
            witnesses: self.keys.iter().map(|(name, key)| NamedKey { name: name.clone(), key: key.spki() }).collect(),
            script: [9; 32],
            plan: vec![planned(Task::Module), planned(Task::Key), planned(Task::Prove)],
            started: time.clone(),
        };
        let module = ModuleIdentity {
            vendor: "Maker".to_owned(),
            model: "Token".to_owned(),
            serial: "4711".to_owned(),
            firmware: "1.0".to_owned(),
        };
        let mut transcript = Transcript { head, steps: Vec::new(), ended: None };
        let step = |transcript: &Transcript, record| Step {
            number: transcript.steps.len() as u64 + 1,
            previous: transcript.last_digest(),
            time: time.clone(),
            host: [8; 32],
            by: "Operator".to_owned(),
            note: String::new(),
            record,
        };
        let next = step(&transcript, Record::Module(module));
        transcript.steps.push(next);
        let next = step(&transcript, Record::Key { key: ak.spki(), family: AkFamily::PkixEvidence });
        transcript.steps.push(next);
        let message = proof_message(&transcript.last_digest(), &ak.spki());
        let proof = Proof::Signature { algorithm: JoseAlgorithm::Es256, signature: ak.sign_fixed(&message) };
        let next = step(&transcript, Record::Proved(proof));
        transcript.steps.push(next);
        transcript.ended = Some(time);
        transcript
    }
}
