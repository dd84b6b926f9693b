//! The description of what is served over JSON: answers are what it says, and a client that is made from it finds nothing
//! that the server cannot take.

use std::cell::RefCell;
use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use vouchsafe_authority::{ROUTES, Verb};
use vouchsafe_evidence::tpm::EccScheme;
use vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES;

use crate::host::{DAVE, every_method};
use crate::module::{Module, SoftwareKey};
use crate::results::with_ear;
use crate::site::{CAROL, Reply, Site, b64, chain, digest_hex, hex};

/// Where `scripts/peers` puts packages for Python.
const PYTHON_PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers/python");
const VALIDATOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/python/description.py");

/// A client that keeps what it was answered.
struct Recording<'a> {
    site: &'a Site,
    exchanges: RefCell<Vec<Value>>,
}

impl Recording<'_> {
    async fn ask(&self, method: &str, path: &str, token: Option<&str>, headers: &[&str], body: &Value) -> Reply {
        let octets = match body {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            body => body.to_string(),
        };
        let mut lines: Vec<String> = headers.iter().map(|line| (*line).to_owned()).collect();
        lines.push(format!("Content-Length: {}", octets.len()));
        if !headers.iter().any(|line| line.starts_with("Content-Type")) {
            lines.push("Content-Type: application/json".to_owned());
        }
        lines.extend(token.map(|token| format!("Authorization: Bearer {token}")));
        let reply = self.site.exchange(method, path, &lines, octets.as_bytes()).await;
        let kind = reply.head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap().to_owned();
        let answer = if kind.contains("json") { reply.json() } else { Value::Null };
        let request = if body.is_object() { body.clone() } else { Value::Null };
        self.exchanges.borrow_mut().push(json!({
            "method": method, "path": path, "request": request, "status": reply.status, "type": kind, "answer": answer,
        }));
        reply
    }

    async fn post(&self, path: &str, token: &str, body: Value) -> Reply {
        self.ask("POST", path, Some(token), &[], &body).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, None, &[], &Value::Null).await
    }

    async fn nonce(&self, purpose: &str) -> Value {
        self.post("/v1/nonces", DAVE, json!({"purpose": purpose})).await.json()["nonce"].clone()
    }

    /// What the validator says of these exchanges.
    fn judged(&self, description: &Value) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| {
            fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name)
        };
        let lines: Vec<String> = self.exchanges.borrow().iter().map(Value::to_string).collect();
        let files = [write("openapi.json", description.to_string()), write("exchanges", lines.join("\n"))];
        let output = Command::new("python3").arg(VALIDATOR).args(files).env("PYTHONPATH", PYTHON_PACKAGES).output();
        let output = output.unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

fn unhex(nonce: &Value) -> Vec<u8> {
    crate::site::unhex(nonce.as_str().unwrap())
}

/// Enrolment of a TPM's key and of a host's; the certificates of the first.
async fn enrolments(client: &Recording<'_>, module: &Module) -> Vec<Vec<u8>> {
    let nonce = client.nonce("attestation-key").await;
    let body = Site::enrolment_body(module, "device-1", &unhex(&nonce));
    let challenge = client.post("/v1/attestation-keys", DAVE, body.clone()).await;
    assert_eq!(challenge.status, 201);
    assert_eq!(client.post("/v1/attestation-keys", DAVE, body).await.status, 409);
    let challenge = challenge.json();
    let (name, field) = (module.ak_name(), |name: &str| crate::site::unb64(&challenge[name]));
    let secret = module.ek.activate(&name, &field("credential_blob"), &field("secret")).unwrap();
    let path = format!("/v1/attestation-keys/{}/activation", challenge["id"].as_str().unwrap());
    let activation = client.post(&path, DAVE, json!({"secret": b64(&secret)})).await;
    assert_eq!(client.post(&path, DAVE, json!({"secret": b64(&secret)})).await.status, 403);

    let nonce = client.nonce("attestation-key").await;
    let (attest, signature, _) = module.quote(&[[1; 32], [2; 32]], &unhex(&nonce));
    let key = format!("ak:{}", hex(&module.ak.spki().sha256()));
    let renewal =
        json!({"device": "device-1", "nonce": nonce, "key": key, "attest": b64(&attest), "signature": b64(&signature)});
    assert_eq!(client.post("/v1/attestation-keys/renewals", DAVE, renewal).await.status, 201);

    let (nonce, ak) = (client.nonce("attestation-key").await, SoftwareKey::generate());
    let body = json!({"device": "hsm", "nonce": nonce, "ak_spki": b64(ak.spki().as_der()), "method": "first-use"});
    assert_eq!(client.post("/v1/attestation-keys", DAVE, body).await.status, 201);
    chain(&activation.json()["certificates"]["attest"])
}

/// Certificates and verdicts, given and refused.
async fn decisions(client: &Recording<'_>, module: &Module, ak_chain: &[Vec<u8>]) {
    let weak = SoftwareKey::generate();
    let weak_public = weak.public(USER_KEY_ATTRIBUTES & !0x32, EccScheme::Null);
    for (path, purpose) in [("/v1/certificates", "certificate"), ("/v1/appraisals", "appraisal")] {
        for is_true in [true, false] {
            let nonce = client.nonce(purpose).await;
            let csr = match is_true {
                true => module.csr(&unhex(&nonce), ak_chain, Some(&[[1; 32], [2; 32]])),
                false => module.csr_for(&weak, &weak_public, &unhex(&nonce), ak_chain, None),
            };
            let body = json!({"csr": b64(&csr), "nonce": nonce});
            let reply = client.post(path, DAVE, body.clone()).await;
            let (given, refused) = if purpose == "certificate" { (201, 422) } else { (200, 200) };
            assert_eq!(reply.status, if is_true { given } else { refused }, "{}", String::from_utf8_lossy(&reply.body));
        }
    }
    for accept in ["application/eat+jwt", "application/json", "image/png"] {
        for token in [Some(DAVE), None] {
            let purpose = json!({"purpose": "appraisal"});
            let nonce = client.ask("POST", "/v1/nonces", token, &[], &purpose).await.json()["nonce"].clone();
            let body = json!({"csr": b64(&module.csr(&unhex(&nonce), ak_chain, None)), "nonce": nonce});
            client.ask("POST", "/v1/appraisals", token, &[&format!("Accept: {accept}")], &body).await;
        }
    }
    let nonce = client.nonce("certificate").await;
    let body = json!({"csr": b64(&module.csr(&unhex(&nonce), ak_chain, None)), "nonce": nonce});
    let pem = client.ask("POST", "/v1/certificates", Some(DAVE), &["Accept: application/pem-certificate-chain"], &body);
    assert!(pem.await.head.contains("application/pem-certificate-chain"));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_what_the_description_says() {
    let mut site = Site::install(tempfile::tempdir().unwrap(), &every_method("anonymous_appraisals = true"));
    with_ear(&mut site, &SoftwareKey::generate());
    site.restart().await;
    let client = Recording { site: &site, exchanges: RefCell::default() };
    let description = client.get("/v1/openapi.json").await.json();
    assert_eq!(description["openapi"], "3.1.0");
    let module = Module::new(&site.vendor, site.clock.now());
    let ak_chain = enrolments(&client, &module).await;
    decisions(&client, &module, &ak_chain).await;
    for path in ["/v1/trust", "/v1/appraisals/keys", "/v1/revocation-lists/attestation", "/v1/revocation-lists/none"] {
        client.get(path).await;
    }
    let list = json!("device,vendor,serial,ek_sha256\nhsm-9,Example,123,\n");
    for query in ["?dry_run=true", "", "?dry_run=perhaps"] {
        client.ask("POST", &format!("/v1/inventory{query}"), Some(DAVE), &["Content-Type: text/csv"], &list).await;
    }
    // Refusals of each kind.
    client.post("/v1/nonces", CAROL, json!({"purpose": "certificate"})).await;
    client.post("/v1/nonces", DAVE, json!({"purpose": "everything"})).await;
    client.post("/v1/nonces", "nobody", json!({"purpose": "certificate"})).await;
    client.ask("POST", "/v1/nonces", Some(DAVE), &["Content-Type: text/plain"], &json!({})).await;
    client.ask("POST", "/v1/nonces", Some(DAVE), &[], &json!("x".repeat(20_000))).await;
    client.ask("GET", "/v1/trust", Some("nobody"), &[], &Value::Null).await;
    client.post("/v1/certificates", DAVE, json!({"csr": "AA==", "nonce": "00"})).await;
    let count = client.exchanges.borrow().len();
    assert_eq!(client.judged(&description), Ok(count.to_string()));
    let statuses: Vec<i64> =
        client.exchanges.borrow().iter().map(|exchange| exchange["status"].as_i64().unwrap()).collect();
    for status in [200, 201, 400, 401, 403, 404, 406, 409, 413, 415, 422] {
        assert!(statuses.contains(&status), "{status} was not seen");
    }

    // The validator sees what is otherwise.
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut exchanges = client.exchanges.borrow().clone();
        exchanges.iter_mut().for_each(change);
        let changed = Recording { site: &site, exchanges: RefCell::new(exchanges) };
        changed.judged(&description).unwrap_err()
    };
    let at = |exchange: &Value, path: &str| exchange["path"] == path;
    let said = refused(&|exchange| {
        if at(exchange, "/v1/trust") {
            exchange["answer"]["more"] = json!(1);
        }
    });
    assert!(said.starts_with("get /v1/trust 200: Additional properties"), "{said}");
    let said = refused(&|exchange| {
        if at(exchange, "/v1/trust") {
            exchange["path"] = json!("/v1/trusted");
        }
    });
    assert!(said.ends_with("is not described"), "{said}");
    let said = refused(&|exchange| {
        if exchange["status"] == 201 && at(exchange, "/v1/certificates") && exchange["request"].is_object() {
            exchange["request"]["nonce"] = json!("no hexadecimal");
        }
    });
    assert!(said.contains("/v1/certificates 201, request"), "{said}");
}

/// Requests for each operation that schemathesis makes of the description, good ones and bad ones.
const EXAMPLES: &str = "25";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_made_from_the_description_finds_no_fault() {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let accounts = format!(
        "[[accounts]]\nname = 'dave'\ntoken_sha256 = '{}'\nmay = ['administer', 'enroll', 'appraise', 'issue']\n\
         enroll_methods = ['manufacturer', 'inventory', 'ceremony', 'first-use']\n",
        digest_hex(DAVE)
    );
    let settings = "anonymous_appraisals = true\n[enrolment]\nfirst_use = true\n";
    let mut site = Site::install_at(tempfile::tempdir().unwrap(), now, settings, &accounts);
    with_ear(&mut site, &SoftwareKey::generate());
    site.restart().await;
    let arguments = [
        "--checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
         negative_data_rejection,missing_required_header,unsupported_method",
        "--phases=coverage,fuzzing",
        &format!("--max-examples={EXAMPLES}"),
        "--mode=all",
        "--seed=1",
        "--no-color",
        "--generation-database=none",
    ]
    .map(str::to_owned);
    let url = format!("https://localhost:{}/v1/openapi.json", site.address().port());
    let mut command = tokio::process::Command::new("python3");
    command.args(["-m", "schemathesis.cli", "run", &url]).args(arguments);
    command.arg(format!("--header=Authorization: Bearer {DAVE}"));
    command.arg(format!("--tls-verify={}", site.tls_root().display()));
    command.env("PYTHONPATH", PYTHON_PACKAGES).env("PYTHONDONTWRITEBYTECODE", "1").current_dir(site.dir.path());
    let output = command.output().await.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    // It looked at every operation but that by which it got the description, and at more than a handful of requests.
    let served = ROUTES.iter().filter(|route| matches!(route.verb, Verb::Json(_)));
    let operations = served.map(|route| route.verb.methods().len()).sum::<usize>() - 1;
    assert!(said.contains(&format!("{operations} selected / {operations} total")), "{said}");
    let cases = said.lines().find_map(|line| line.trim().strip_suffix(" passed")?.split_once(" generated, "));
    let cases: usize = cases.map(|(generated, _)| generated.parse().unwrap()).expect("a summary");
    assert!(cases > 400, "{said}");
}
