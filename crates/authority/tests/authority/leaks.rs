//! Nothing of the platform attestation leaves the authority: every octet that strangers can have is searched for every
//! platform claim, and every digest in it tried against a dictionary (A49, A50).

use std::collections::HashSet;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use vouchsafe_evidence::bundle::AttestationStatement;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::{CertView, build};

use crate::faults::SERVE;
use crate::made::{CLOCK, FIRMWARE, RESETS, RESTARTS, request, telling_quote, x509_statement};
use crate::module::{Module, SoftwareKey, sign_certificate};
use crate::process::{Served, serve_again};
use crate::site::{ALICE, BOB, NOW, Site, b64, chain, hex, unhex};

const MODES: [&str; 3] = [
    "publish_key_attestation = 'none'",
    "publish_key_attestation = 'assurance'\nassurance = 'ad-cs'",
    "publish_key_attestation = 'statement'\nformats = ['tpm-certify-x509']",
];
/// Values of fewer octets are found everywhere.
const TELLING_OCTETS: usize = 4;
const REGISTERS: [[u8; 32]; 2] = [[0xA7; 32], [0x3C; 32]];
const OTHER_REGISTERS: [[u8; 32]; 2] = [[0xA7; 32], [0x5D; 32]];

/// A fact about a platform, in every form in which it might be told.
struct Fact {
    what: String,
    forms: Vec<Vec<u8>>,
}

impl Fact {
    fn octets(what: &str, octets: &[u8]) -> Self {
        let mut forms = vec![octets.to_vec(), hex(octets).into_bytes(), hex(octets).to_uppercase().into_bytes()];
        forms.extend(in_base64(octets));
        Self { what: what.to_owned(), forms }
    }

    fn text(what: &str, text: &str) -> Self {
        let mut fact = Self::octets(what, text.as_bytes());
        if text.len().is_multiple_of(2)
            && text.len() >= 2 * TELLING_OCTETS
            && text.bytes().all(|of| of.is_ascii_hexdigit())
        {
            fact.forms.extend(Self::octets(what, &unhex(text)).forms);
        }
        fact
    }

    fn number(what: &str, number: u64) -> Self {
        let octets = number.to_be_bytes();
        let significant = &octets[octets.iter().position(|octet| *octet != 0).unwrap_or(7)..];
        let mut fact = Self::octets(what, significant);
        fact.forms.push(number.to_string().into_bytes());
        fact
    }

    /// Which of the forms stands in `octets`.
    fn found_in(&self, octets: &[u8]) -> Option<&[u8]> {
        let forms = self.forms.iter().filter(|form| form.len() >= TELLING_OCTETS);
        forms.map(Vec::as_slice).find(|form| octets.windows(form.len()).any(|window| window == *form))
    }
}

/// The letters of base64 that are the same whatever surrounds the octets, for each of the three places where they may
/// begin.
fn in_base64(octets: &[u8]) -> Vec<Vec<u8>> {
    let forms = (0..3).map(|before| {
        let text = STANDARD.encode([&vec![0; before][..], octets].concat());
        let (from, until) = (before * 8_usize, (before + octets.len()) * 8);
        text.as_bytes()[from.div_ceil(6)..until / 6].to_vec()
    });
    forms.filter(|form| form.len() >= 6).collect()
}

/// Every value among the claims, those of lists and objects one by one.
fn facts_of(what: &str, value: &Value, found: &mut Vec<Fact>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, of)| facts_of(&format!("{what}.{name}"), of, found)),
        Value::Array(values) => values.iter().for_each(|of| facts_of(what, of, found)),
        Value::String(text) => found.push(Fact::text(what, text)),
        Value::Number(number) => found.extend(number.as_u64().map(|number| Fact::number(what, number))),
        Value::Bool(_) | Value::Null => {}
    }
}

/// The facts about the platform in a report for the device's owner.
fn facts(report: &Value) -> Vec<Fact> {
    let mut found = vec![
        Fact::number("clock", CLOCK),
        Fact::number("resetCount", RESETS.into()),
        Fact::number("restartCount", RESTARTS.into()),
        Fact::number("firmwareVersion", FIRMWARE),
    ];
    for (name, claim) in report["platform"]["claims"].as_object().unwrap() {
        facts_of(name, &claim["value"], &mut found);
    }
    for name in ["vendor", "model", "hw_version", "fw_version"] {
        facts_of(name, &report["attesting_key"]["claims"][name]["value"], &mut found);
    }
    found.retain(|fact| fact.forms.iter().any(|form| form.len() >= TELLING_OCTETS));
    // The name of an algorithm is no fact about a platform.
    found.retain(|fact| !fact.forms.contains(&b"sha256".to_vec()));
    found
}

/// What strangers can have, each with a name for it, decoded as far as it is encoded.
#[derive(Default)]
struct Public(Vec<(String, Vec<u8>)>);

impl Public {
    fn add(&mut self, what: &str, octets: &[u8]) {
        if let Ok(value) = serde_json::from_slice::<Value>(octets) {
            self.add_decoded(what, &value);
        }
        self.0.push((what.to_owned(), octets.to_vec()));
    }

    fn add_decoded(&mut self, what: &str, value: &Value) {
        match value {
            Value::Object(members) => members.values().for_each(|of| self.add_decoded(what, of)),
            Value::Array(values) => values.iter().for_each(|of| self.add_decoded(what, of)),
            Value::String(text) => self.0.extend(STANDARD.decode(text).ok().map(|octets| (what.to_owned(), octets))),
            Value::Bool(_) | Value::Number(_) | Value::Null => {}
        }
    }

    /// Every place where one of the facts is told.
    fn told(&self, facts: &[Fact]) -> Vec<String> {
        let told = |(what, octets): &(String, Vec<u8>)| -> Vec<String> {
            let found = facts.iter().filter_map(|fact| Some((fact, fact.found_in(octets)?)));
            found.map(|(fact, form)| format!("{what} tells {} as {}", fact.what, hex(form))).collect()
        };
        self.0.iter().flat_map(told).collect()
    }

    /// Every run of octets that could be a digest.
    fn digests(&self) -> HashSet<Vec<u8>> {
        let of = |(_, octets): &(String, Vec<u8>)| -> Vec<Vec<u8>> {
            [20, 32, 48, 64].iter().flat_map(|length| octets.windows(*length).map(<[u8]>::to_vec)).collect()
        };
        self.0.iter().flat_map(of).collect()
    }
}

struct World {
    site: Site,
    served: Served,
    module: Module,
    attest: Vec<Vec<u8>>,
    x509: Vec<Vec<u8>>,
}

impl World {
    async fn with(mode: &str) -> Self {
        let settings = format!("anonymous_appraisals = true\n[[profiles]]\nname = 'device'\n{mode}\n");
        let mut site = Site::install(tempfile::tempdir().unwrap(), &settings);
        let served = site.serve(serve_again(&SERVE)).unwrap();
        let module = Module::new(&site.vendor, NOW);
        let nonce = site.enrolment_nonce(ALICE).await;
        let quote = telling_quote(&module, &REGISTERS, &nonce);
        let mut body = Site::enrolment_body(&module, "device-1", &nonce);
        let values = quote.pcr_values.unwrap();
        body["baseline"] =
            json!({"attest": b64(&quote.attest), "signature": b64(&quote.signature), "pcr_values": b64(&values)});
        let challenge = site.post("/v1/attestation-keys", Some(ALICE), body).await.json();
        let certificates = site.answer(ALICE, &module, &challenge).await.json()["certificates"].clone();
        let (attest, x509) = (chain(&certificates["attest"]), chain(&certificates["certify_x509"]));
        Self { site, served, module, attest, x509 }
    }

    /// A request with key statement and quote.
    fn csr(&self, nonce: &[u8], registers: &[[u8; 32]; 2]) -> Vec<u8> {
        let key = SoftwareKey::generate();
        let quote = telling_quote(&self.module, registers, nonce).to_der();
        let statements = vec![
            x509_statement(&self.module, &key, nonce, &self.x509, NOW),
            AttestationStatement::new(oid::STATEMENT_TPM_QUOTE, quote),
        ];
        request(&key, statements, &[self.attest[0].clone(), self.x509[0].clone()])
    }

    async fn appraised(&self, token: Option<&str>, registers: &[[u8; 32]; 2]) -> (Vec<u8>, Vec<u8>) {
        let reply = self.site.post("/v1/nonces", token, json!({"purpose": "appraisal"})).await;
        let nonce = unhex(reply.json()["nonce"].as_str().unwrap());
        let csr = self.csr(&nonce, registers);
        let body = json!({"csr": b64(&csr), "nonce": hex(&nonce)});
        (csr, self.site.post("/v1/appraisals", token, body).await.body)
    }

    /// Everything that strangers can have of this authority.
    async fn public(&self) -> Public {
        let mut public = Public::default();
        let nonce = self.site.certificate_nonce(ALICE).await;
        let csr = self.csr(&nonce, &REGISTERS);
        let body = json!({"csr": b64(&csr), "nonce": hex(&nonce)});
        let reply = self.site.post("/v1/certificates", Some(ALICE), body.clone()).await;
        assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
        public.add("certificates", &reply.body);
        for path in vouchsafe_authority::ROUTES.iter().map(|route| route.path.replace("{id}", "00")) {
            public.add(&path, &self.site.exchange("GET", &path, &[], b"").await.body);
            public.add(&path, &self.site.post(&path, None, body.clone()).await.body);
            public.add(&path, &self.site.post(&path, Some("guessed"), body.clone()).await.body);
            public.add(&path, &self.site.post(&path, Some(BOB), json!({"nonce": hex(&nonce)})).await.body);
        }
        for list in ["attestation", "attestation-virtual", "issuing"] {
            let reply = self.site.exchange("GET", &format!("/v1/revocation-lists/{list}"), &[], b"").await;
            assert_eq!(reply.status, 200);
            public.add(list, &reply.body);
        }
        let (_, accepted) = self.appraised(None, &REGISTERS).await;
        public.add("an accepted appraisal", &accepted);
        let (_, refused) = self.appraised(None, &OTHER_REGISTERS).await;
        public.add("a refused appraisal", &refused);
        let verdicts = [&accepted, &refused].map(|of| serde_json::from_slice::<Value>(of).unwrap()["verdict"].clone());
        assert_eq!(verdicts, ["accepted", "rejected"]);
        public.add("logs", &self.served.logs());
        assert!(self.served.logs().windows(7).any(|window| window == b"decided"), "the logs are looked at");
        let logs = String::from_utf8_lossy(&self.served.logs()).into_owned();
        let is_refusal = |line: &str| line.contains("INFO") && line.contains("refused protocol=\"JSON\" account=");
        assert!(logs.lines().any(is_refusal), "an account's refusals are logged");
        public
    }

    /// The salted commitments of the records.
    fn commitments(&self) -> Vec<u8> {
        let database = rusqlite::Connection::open(self.site.state().join("authority.sqlite")).unwrap();
        let mut rows = database.prepare("SELECT commitment FROM decisions").unwrap();
        let commitments = rows.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
        commitments.flat_map(Result::unwrap).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_public_tells_a_fact_about_a_platform() {
    for mode in MODES {
        let world = World::with(mode).await;
        let (csr, report) = world.appraised(Some(ALICE), &REGISTERS).await;
        let facts = facts(&serde_json::from_slice(&report).unwrap());
        let named: HashSet<&str> = facts.iter().map(|fact| fact.what.as_str()).collect();
        for known in ["clock", "resetCount", "firmwareVersion", "vendor", "model", "fw_version"] {
            assert!(named.contains(known), "{known} is not among {named:?}");
        }
        assert!(facts.iter().any(|fact| fact.found_in(&REGISTERS[1]).is_some()), "registers are among them");
        // The search finds each of them where it stands.
        let mut own = Public::default();
        own.add("report", &report);
        own.add("evidence", &csr);
        let told = own.told(&facts).join("\n");
        for fact in &facts {
            assert!(told.contains(&format!(" tells {} as ", fact.what)), "{} is not found", fact.what);
        }
        assert_eq!(world.public().await.told(&facts), Vec::<String>::new(), "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_statement_of_the_other_format_would_be_found() {
    let world = World::with(MODES[0]).await;
    let (_, report) = world.appraised(Some(ALICE), &REGISTERS).await;
    let facts = facts(&serde_json::from_slice(&report).unwrap());
    let quote = telling_quote(&world.module, &REGISTERS, &[7; 32]);
    let extension = build::extension(oid::AA_ATTESTATION, false, &quote.attest);
    let (name, key) = (build::distinguished_name(&[(oid::COMMON_NAME, "CA")]).unwrap(), SoftwareKey::generate());
    let certificate = sign_certificate((&name, &key), name.clone(), key.spki(), NOW, vec![extension]);
    let mut public = Public::default();
    public.add("in JSON", json!({"certificates": [b64(&certificate)]}).to_string().as_bytes());
    public.add("its attesting key", &world.x509[0]);
    assert!(CertView::parse(&world.x509[0]).unwrap().extension(oid::SUBJECT_ALT_NAME).unwrap().is_some());
    let told = public.told(&facts).join("\n");
    for what in ["clock", "resetCount", "restartCount", "firmwareVersion", "vendor", "model"] {
        assert!(told.contains(&format!(" tells {what} as ")), "{what}: {told}");
    }
}

/// Digests of everything that can be guessed about a platform: each value alone, as JSON, with its name, and together.
fn dictionary(report: &Value, facts: &[Fact]) -> HashSet<Vec<u8>> {
    let mut guesses: Vec<Vec<u8>> = facts.iter().flat_map(|fact| fact.forms.clone()).collect();
    guesses.extend((0..=u16::MAX).map(|number| number.to_string().into_bytes()));
    guesses.extend((0..=u16::MAX).map(|number| number.to_be_bytes().to_vec()));
    guesses.extend(["true", "false", "accepted", "rejected", "refused", "null", "{}"].map(|word| word.into()));
    let mut parts = vec![report.clone()];
    while let Some(part) = parts.pop() {
        guesses.push(part.to_string().into_bytes());
        if let Value::Object(members) = &part {
            for (name, value) in members {
                guesses.push(json!({name: value}).to_string().into_bytes());
                guesses.push(format!("{name}={value}").into_bytes());
                guesses.push(format!("{name}{value}").into_bytes());
            }
            parts.extend(members.values().cloned());
        }
    }
    let algorithms: [&'static digest::Algorithm; 4] =
        [&digest::SHA1_FOR_LEGACY_USE_ONLY, &digest::SHA256, &digest::SHA384, &digest::SHA512];
    let digests = |guess: Vec<u8>| algorithms.map(|of| digest::digest(of, &guess).as_ref().to_vec());
    guesses.into_iter().flat_map(digests).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_public_digest_is_in_a_dictionary_of_what_can_be_guessed() {
    for mode in MODES {
        let world = World::with(mode).await;
        let (_, report) = world.appraised(Some(ALICE), &REGISTERS).await;
        let report: Value = serde_json::from_slice(&report).unwrap();
        let dictionary = dictionary(&report, &facts(&report));
        assert!(dictionary.len() > 500_000);
        let mut public = world.public().await;
        public.add("commitments", &world.commitments());
        let hits = |public: &Public| public.digests().intersection(&dictionary).count();
        assert_eq!(hits(&public), 0, "{mode}");
        // A digest without salt is found, wherever it stands.
        let platform = report["platform"].to_string();
        let unsalted = digest::digest(&digest::SHA256, platform.as_bytes());
        public.add("a digest", &[b"before", unsalted.as_ref(), b"behind"].concat());
        assert_eq!(hits(&public), 1);
    }
}
