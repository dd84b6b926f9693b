//! Two authorities: one that knows devices and signs pseudonyms, one that knows pseudonyms and issues certificates.

#[path = "pseudonyms/masks.rs"]
mod masks;
#[path = "pseudonyms/swapped.rs"]
mod swapped;
#[path = "pseudonyms/unlinkable.rs"]
mod unlinkable;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, PLAIN_AK_ATTRIBUTES};
use vouchsafe_evidence::tpm::{Curve, EccScheme, HashAlg};
use vouchsafe_evidence::x509::CertView;

use crate::faults::SERVE;
use crate::made::{quote_statement, request, x509_statement};
use crate::module::{EndorsementKey, Module, SoftwareKey, Vendor};
use crate::process::{Served, serve_again};
use crate::site::{ALICE, NOW, Reply, Site, b64, chain, digest_hex, hex, unb64};

const DAY: i64 = 86_400;
const FORGET: &str = "link = 'forget'";

/// Both authorities, each in a process of its own, with a folder, a database and keys of its own.
struct Pair {
    enrolment: Site,
    issuing: Site,
    enroller: Served,
    issuer: Served,
}

fn account(may: &str) -> String {
    format!("[[accounts]]\nname = 'fleet'\ntoken_sha256 = '{}'\nmay = {may}\n", digest_hex(ALICE))
}

fn enrolment_site(link: &str) -> Site {
    let settings = format!("role = 'enrolment'\n[pseudonyms]\n{link}\n");
    Site::install_for(tempfile::tempdir().unwrap(), &settings, &account("['enroll']"))
}

impl Pair {
    fn start(link: &str, vendor: Option<&Vendor>) -> Self {
        let mut enrolment = enrolment_site(link);
        if let Some(vendor) = vendor {
            std::fs::write(enrolment.state().join("trust/tpm-ek/vendor.pem"), vendor.root_pem()).unwrap();
        }
        let profile = "role = 'issuing'\n[[profiles]]\nname = 'device'\ndevices = 'any'\n";
        let dir = tempfile::tempdir().unwrap();
        let mut issuing = Site::install_for(dir, profile, &account("['issue', 'appraise']"));
        // The one thing that goes from the one to the other, by the administrator's hand.
        let root = enrolment.state().join("ca/attestation-root.crt");
        std::fs::copy(root, issuing.state().join("trust/tpm-certify-x509/pseudonyms.pem")).unwrap();
        let enroller = enrolment.serve(serve_again(&SERVE)).unwrap();
        let issuer = issuing.serve(serve_again(&SERVE)).unwrap();
        Self { enrolment, issuing, enroller, issuer }
    }

    /// The chain of a pseudonym for the module's attesting key.
    async fn pseudonym(&self, module: &Module, device: &str) -> Vec<Vec<u8>> {
        let answer = self.enrolment.enroll(ALICE, module, device).await;
        let certificates = answer["certificates"].as_object().unwrap();
        assert_eq!(certificates.keys().collect::<Vec<_>>(), ["certify_x509"], "quotes tell the clock");
        chain(&certificates["certify_x509"])
    }

    /// A request for a certificate for the key, with the nonce that it answers.
    async fn certificate_request(&self, module: &Module, key: &SoftwareKey, pseudonym: &[Vec<u8>]) -> Value {
        let nonce = self.issuing.certificate_nonce(ALICE).await;
        let statement = x509_statement(module, key, &nonce, pseudonym, NOW);
        json!({"csr": b64(&request(key, vec![statement], &pseudonym[..1])), "nonce": hex(&nonce)})
    }

    async fn certificate(&self, module: &Module, pseudonym: &[Vec<u8>]) -> Reply {
        let body = self.certificate_request(module, &SoftwareKey::generate(), pseudonym).await;
        self.issuing.post("/v1/certificates", Some(ALICE), body).await
    }
}

/// Everything in the files of a folder.
fn every_octet(folder: &Path) -> Vec<u8> {
    let mut octets = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            octets.extend(every_octet(&path));
        } else {
            octets.extend(std::fs::read(&path).unwrap());
        }
    }
    octets
}

/// What of `wanted` stands in `octets`, found in one pass.
fn found<'a>(octets: &[u8], wanted: &[(&'a str, Vec<u8>)]) -> Vec<&'a str> {
    const HEAD: usize = 8;
    let head = |of: &[u8]| of.first_chunk::<HEAD>().map(|head| u64::from_be_bytes(*head));
    let mut by_head: HashMap<u64, Vec<usize>> = HashMap::new();
    for (at, (_, wanted)) in wanted.iter().enumerate() {
        by_head.entry(head(wanted).expect("8 octets or more")).or_default().push(at);
    }
    let mut found = Vec::new();
    let mut last = 0_u64;
    for (at, octet) in octets.iter().enumerate() {
        last = last << 8 | u64::from(*octet);
        let from = (at + 1).saturating_sub(HEAD);
        for candidate in by_head.get(&last).into_iter().flatten() {
            let (what, wanted) = &wanted[*candidate];
            if octets[from..].starts_with(wanted) {
                found.push(*what);
            }
        }
    }
    found
}

#[test]
fn what_stands_in_octets_is_found() {
    let wanted = vec![("one", b"01234567".to_vec()), ("two", b"012345678".to_vec()), ("no", b"0123456789x".to_vec())];
    assert_eq!(found(b"__0123456789", &wanted), ["one", "two"]);
    assert_eq!(found(b"0123456", &wanted), Vec::<&str>::new());
}

/// Octets by which a device is known to its owner, and digests of them.
fn known_by(module: &Module, device: &str) -> Vec<(&'static str, Vec<u8>)> {
    let ek = module.ek.spki();
    let point = ek.as_der()[ek.as_der().len() - 32..].to_vec();
    let digest = |octets: &[u8]| HashAlg::Sha256.digest(&[octets]);
    let certificate = CertView::parse(&module.ek_certificate).unwrap();
    let of_device = vec![
        ("name", device.as_bytes().to_vec()),
        ("endorsement key", point),
        ("endorsement certificate", module.ek_certificate.clone()),
        ("serial number", certificate.serial().to_vec()),
        ("digest of the endorsement key", ek.sha256().to_vec()),
        ("digest of the endorsement certificate", digest(&module.ek_certificate)),
        ("digest of the name", digest(device.as_bytes())),
    ];
    let in_text = of_device.clone().into_iter().flat_map(|(what, octets)| {
        [(what, hex(&octets).into_bytes()), (what, b64(&octets).trim_end_matches('=').as_bytes().to_vec())]
    });
    of_device.clone().into_iter().chain(in_text).collect()
}

/// Octets by which a pseudonym is known, and digests of them.
fn pseudonym_known_by(module: &Module, certificate: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let spki = module.ak.spki();
    let point = spki.as_der()[spki.as_der().len() - 32..].to_vec();
    let parsed = CertView::parse(certificate).unwrap();
    vec![
        ("attesting key", point),
        ("Name", module.ak_name()[2..].to_vec()),
        ("digest of the attesting key", spki.sha256().to_vec()),
        ("serial number", parsed.serial().to_vec()),
        ("serial number in text", hex(parsed.serial()).into_bytes()),
        ("signature", parsed.signature().to_vec()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pseudonym_gets_certificates_and_tells_nothing_of_its_device() {
    let pair = Pair::start(FORGET, None);
    let module = Module::new(&pair.enrolment.vendor, NOW);
    let pseudonym = pair.pseudonym(&module, "rack7-node3").await;
    let certificate = CertView::parse(&pseudonym[0]).unwrap();
    let extensions: Vec<_> = certificate.extensions().map(|extension| extension.oid()).collect();
    assert_eq!(
        extensions,
        [
            oid::BASIC_CONSTRAINTS,
            oid::KEY_USAGE,
            oid::EXTENDED_KEY_USAGE,
            oid::TPMA_OBJECT,
            oid::NAME_CONSTRAINTS,
            oid::CERTIFICATE_POLICIES,
            oid::AK_NAME,
            oid::SUBJECT_KEY_IDENTIFIER,
            oid::AUTHORITY_KEY_IDENTIFIER
        ],
        "no name of the module, no deviceLink"
    );
    let (from, until) = (certificate.not_before(), certificate.not_after());
    assert_eq!((from % DAY, until % DAY), (0, 0), "no time finer than a day");
    assert!(until - from <= 7 * DAY && (from..=until).contains(&NOW));
    assert_eq!(found(&pseudonym[0], &known_by(&module, "rack7-node3")), Vec::<&str>::new());

    let reply = pair.certificate(&module, &pseudonym).await;
    assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    let issued = CertView::parse(&chain(&reply.json()["certificates"])[0]).unwrap();
    let name = format!("ak:{}", hex(&module.ak.spki().sha256()));
    assert_eq!(issued.subject().to_display(), format!("CN={}", &name[..64]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routes_of_the_other_role_are_absent() {
    let pair = Pair::start(FORGET, None);
    let headers = [format!("Authorization: Bearer {ALICE}"), "Content-Length: 0".to_owned()];
    for route in vouchsafe_authority::ROUTES {
        for (site, role) in [
            (&pair.enrolment, vouchsafe_authority::Role::Enrolment),
            (&pair.issuing, vouchsafe_authority::Role::Issuing),
        ] {
            let path = route.path.replace("{id}", "00");
            // An issuer that is there; "00" is none anywhere.
            let path = path.replace("lists/00", "lists/issuing").replace("crl/00", "crl/issuing.crl");
            let path = path.replace("ca/00", "ca/issuing.cer");
            let reply = site.exchange(route.verb.methods()[0], &path, &headers, b"").await;
            // What answers where nothing is; a route that is there refuses in its own protocol's form.
            let kind = serde_json::from_slice::<serde_json::Value>(&reply.body).unwrap_or_default()["type"].clone();
            let is_absent = reply.status == 404 && kind == "urn:vouchsafe:problem:not-found";
            assert_eq!(is_absent, !role.performs(route.verb), "{} {path}: {}", role.label(), reply.status);
        }
    }
    for (site, purpose) in
        [(&pair.enrolment, "certificate"), (&pair.enrolment, "appraisal"), (&pair.issuing, "attestation-key")]
    {
        let reply = site.post("/v1/nonces", Some(ALICE), json!({"purpose": purpose})).await;
        assert!(matches!(reply.status, 400 | 403), "{purpose}: {}", reply.status);
    }
    // Neither has the other's keys.
    let keys = |site: &Site| -> Vec<String> {
        let files = std::fs::read_dir(site.state().join("ca")).unwrap();
        let mut names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.ends_with(".key"));
        names.sort();
        names
    };
    assert_eq!(keys(&pair.enrolment), ["attestation-root-virtual.key", "attestation-root.key", "tls-root.key"]);
    assert_eq!(keys(&pair.issuing), ["issuing-ca.key", "issuing-root.key", "tls-root.key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuing_authority_takes_the_word_of_pseudonyms_in_their_one_format_alone() {
    let pair = Pair::start(FORGET, None);
    let module = Module::new(&pair.enrolment.vendor, NOW);
    let pseudonym = pair.pseudonym(&module, "device").await;
    // TPMS_ATTEST by the same key.
    let nonce = pair.issuing.certificate_nonce(ALICE).await;
    let body = json!({"csr": b64(&module.csr(&nonce, &pseudonym, None)), "nonce": hex(&nonce)});
    let reply = pair.issuing.post("/v1/certificates", Some(ALICE), body).await;
    assert_eq!(reply.status, 422, "{}", String::from_utf8_lossy(&reply.body));
    let nonce = pair.issuing.certificate_nonce(ALICE).await;
    let key = SoftwareKey::generate();
    let statements = vec![
        x509_statement(&module, &key, &nonce, &pseudonym, NOW),
        quote_statement(&module, &[[1; 32], [2; 32]], &nonce),
    ];
    let body = json!({"csr": b64(&request(&key, statements, &pseudonym[..1])), "nonce": hex(&nonce)});
    let reply = pair.issuing.post("/v1/certificates", Some(ALICE), body).await;
    assert_eq!(reply.status, 422, "a quote tells the clock and firmware");
    // An authority that knows its devices is no source of pseudonyms.
    let known = Site::start().await;
    let other = Module::new(&known.vendor, NOW);
    let x509 = chain(&known.enroll(ALICE, &other, "device").await["certificates"]["certify_x509"]);
    let reply = pair.certificate(&other, &x509).await;
    assert_eq!(reply.codes(), ["chain.no-path"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_not_activated_beside_an_endorsement_key_gets_no_pseudonym() {
    let pair = Pair::start(FORGET, None);
    let (site, vendor) = (&pair.enrolment, &pair.enrolment.vendor);
    let [genuine, other] = [Module::new(vendor, NOW), Module::new(vendor, NOW)];
    // The key of one module is presented with the endorsement certificate of another, which opens what was made for a
    // Name only while the object of that Name is loaded in it.
    let mixed = Module { ek_certificate: genuine.ek_certificate.clone(), ..Module::new(vendor, NOW) };
    let challenge = site.challenge(ALICE, &mixed, "device").await.json();
    let (blob, secret) = (unb64(&challenge["credential_blob"]), unb64(&challenge["secret"]));
    assert_eq!(genuine.ek.activate(&genuine.ak_name(), &blob, &secret), None, "the loaded key has another Name");
    let opened = std::panic::catch_unwind(|| other.ek.activate(&mixed.ak_name(), &blob, &secret));
    assert!(!matches!(opened, Ok(Some(_))), "the other module has another endorsement key");
    let path = format!("/v1/attestation-keys/{}/activation", challenge["id"].as_str().unwrap());
    for guess in [vec![0; 32], secret.clone(), blob.clone()] {
        let reply = site.post(&path, Some(ALICE), json!({"secret": b64(&guess)})).await;
        assert_eq!((reply.status, reply.problem().as_str()), (403, "activation-failed"));
    }
    // Right after wrong is too late; and an answer counts once.
    let right = genuine.ek.activate(&mixed.ak_name(), &blob, &secret).unwrap();
    assert_eq!(site.post(&path, Some(ALICE), json!({"secret": b64(&right)})).await.status, 403);
    let challenge = site.challenge(ALICE, &genuine, "device").await.json();
    assert_eq!(site.answer(ALICE, &genuine, &challenge).await.status, 201);
    assert_eq!(site.answer(ALICE, &genuine, &challenge).await.status, 403);

    // An endorsement certificate of nobody that is trusted; a key that could sign more than CertifyX509 lets it.
    let stranger = Vendor::new("Stranger", NOW);
    assert_eq!(site.challenge(ALICE, &Module::new(&stranger, NOW), "device").await.problem(), "rejected");
    let plain = Module::with(vendor, NOW, EndorsementKey::ecc(Curve::P256), PLAIN_AK_ATTRIBUTES);
    assert_eq!(site.challenge(ALICE, &plain, "device").await.codes(), ["authority.pseudonym-x509sign"]);
    let free = Module::with(vendor, NOW, EndorsementKey::ecc(Curve::P256), AK_ATTRIBUTES & !0x10);
    assert_eq!(site.challenge(ALICE, &free, "device").await.codes(), ["ak.attributes"]);
    let mut null_scheme = Module::new(vendor, NOW);
    null_scheme.ak_public = null_scheme.ak.public(AK_ATTRIBUTES, EccScheme::Null);
    assert_eq!(site.challenge(ALICE, &null_scheme, "device").await.codes(), ["ak.scheme"]);
    // What tells of the platform is not taken.
    let nonce = site.enrolment_nonce(ALICE).await;
    let quote = genuine.quote(&[[1; 32], [2; 32]], &nonce);
    let mut body = Site::enrolment_body(&genuine, "device", &nonce);
    body["baseline"] = json!({"attest": b64(&quote.0), "signature": b64(&quote.1), "pcr_values": b64(&quote.2)});
    let reply = site.post("/v1/attestation-keys", Some(ALICE), body).await;
    assert_eq!(reply.codes(), ["authority.pseudonym-enrolment"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_is_withdrawn_gets_no_more() {
    let mut site = enrolment_site(FORGET);
    let module = Module::new(&site.vendor, NOW);
    let first = site.serve(serve_again(&SERVE)).unwrap();
    site.enroll(ALICE, &module, "device").await;
    drop(first);
    let digest = hex(&module.ek.spki().sha256());
    site.reconfigure(|config| config.replace(FORGET, &format!("{FORGET}\nwithdrawn = ['{digest}']")));
    let _second = site.serve(serve_again(&SERVE)).unwrap();
    let refused = site.challenge(ALICE, &module, "device").await;
    assert_eq!(refused.codes(), ["authority.endorsement-key-withdrawn"]);
    site.enroll(ALICE, &Module::new(&site.vendor, NOW), "device").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_forgotten_is_nowhere() {
    let pair = Pair::start(FORGET, None);
    let module = Module::new(&pair.enrolment.vendor, NOW);
    let pseudonym = pair.pseudonym(&module, "rack7-node3").await;
    let state = every_octet(&pair.enrolment.state());
    let facts = [known_by(&module, "rack7-node3"), pseudonym_known_by(&module, &pseudonym[0])].concat();
    assert_eq!(found(&state, &facts), Vec::<&str>::new(), "in the files of the enrolment authority");
    assert_eq!(found(&pair.enroller.logs(), &facts), Vec::<&str>::new(), "in its log");
    assert!(found(&pair.enroller.logs(), &[("log", b"activation".to_vec())]).len() == 1);
    // The search finds them in an authority that knows its devices.
    let known = Site::start().await;
    let other = Module::new(&known.vendor, NOW);
    known.enroll(ALICE, &other, "rack7-node3").await;
    let state = every_octet(&known.state());
    let found = found(&state, &known_by(&other, "rack7-node3"));
    for what in ["name", "endorsement certificate", "digest of the endorsement key"] {
        assert!(found.contains(&what), "{what} is not in {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_under_escrow_is_for_the_holder_of_the_key_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    openssl(&["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-out", "escrow.key"]);
    openssl(&["pkey", "-in", "escrow.key", "-pubout", "-out", "escrow.pem"]);
    let link = format!("link = 'escrow'\nescrow_key = '{}'", file("escrow.pem").display());
    let pair = Pair::start(&link, None);
    let module = Module::new(&pair.enrolment.vendor, NOW);
    let pseudonym = pair.pseudonym(&module, "rack7-node3").await;
    let state = every_octet(&pair.enrolment.state());
    let facts = [known_by(&module, "rack7-node3"), pseudonym_known_by(&module, &pseudonym[0])].concat();
    assert_eq!(found(&state, &facts), Vec::<&str>::new(), "in clear");

    let database = rusqlite::Connection::open(pair.enrolment.state().join("authority.sqlite")).unwrap();
    let sealed: Vec<u8> = database
        .query_row("SELECT sealed FROM evidence JOIN decisions ON decision = id WHERE kind = 'activation'", [], |row| {
            row.get(0)
        })
        .unwrap();
    std::fs::write(file("sealed"), &sealed).unwrap();
    let options = ["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256"];
    let opened = openssl(&[&["pkeyutl", "-decrypt", "-inkey", "escrow.key", "-in", "sealed"][..], &options].concat());
    let certificate = CertView::parse(&pseudonym[0]).unwrap();
    let expected = json!({
        "endorsement_key": hex(&module.ek.spki().sha256()),
        "device": "rack7-node3",
        "certificate": hex(certificate.serial()),
    });
    assert_eq!(serde_json::from_slice::<Value>(&opened).unwrap(), expected);

    // A key that links do not fit, or that is none, is refused at the start.
    openssl(&["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "short.key"]);
    openssl(&["pkey", "-in", "short.key", "-pubout", "-out", "short.pem"]);
    for name in ["short.pem", "absent.pem"] {
        let link = format!("link = 'escrow'\nescrow_key = '{}'", file(name).display());
        let Err(said) = enrolment_site(&link).serve(serve_again(&SERVE)) else { panic!("{name}: it starts") };
        assert!(said.contains(name), "{said}");
    }
}
