#![allow(warnings, missing_docs)]
#[path = "authority/module.rs"]
mod module;
#[path = "authority/site.rs"]
mod site;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, KeyPair as _, RsaKeyPair};
use module::*;
use serde_json::json;
use site::*;
use tokio::io::AsyncWriteExt;
use vouchsafe_evidence::bundle::*;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::statement::*;
use vouchsafe_evidence::tpm::marshal::Writer;
use vouchsafe_evidence::tpm::template::*;
use vouchsafe_evidence::tpm::*;
use vouchsafe_evidence::x509::build::{self, *};
use vouchsafe_evidence::x509::*;

async fn enrolled(site: &Site, token: &str, device: &str) -> (Module, Vec<Vec<u8>>) {
    let module = Module::new(&site.vendor, NOW);
    let answer = site.enroll(token, &module, device).await;
    (module, chain(&answer["certificates"]["attest"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_same_name_two_accounts() {
    let site = Site::start().await;
    for token in [ALICE, BOB] {
        let (m, c) = enrolled(&site, token, "prod-db").await;
        let nonce = site.certificate_nonce(token).await;
        let csr = m.csr(&nonce, &c, None);
        let r = site.post("/v1/certificates", Some(token), json!({"csr": b64(&csr), "nonce": hex(&nonce)})).await;
        let leaf = CertView::parse(&chain(&r.json()["certificates"])[0]).unwrap();
        println!("{token}: {} {} issuer {}", r.status, leaf.subject().to_display(), leaf.issuer().to_display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_any_account_any_profile() {
    let site = Site::start_with("[[profiles]]\nname='device'\n[[profiles]]\nname='sign'\nsubject='request'\nextended_key_usage=['code-signing']\n").await;
    let (m, c) = enrolled(&site, BOB, "d").await;
    let nonce = site.nonce(BOB, json!({"purpose":"certificate","profile":"sign"})).await;
    let csr = m.csr(&nonce, &c, None);
    let r = site.post("/v1/certificates", Some(BOB), json!({"csr": b64(&csr), "nonce": hex(&nonce), "profile":"sign"})).await;
    println!("{} {}", r.status, String::from_utf8_lossy(&r.body).chars().take(100).collect::<String>());
    let leaf = CertView::parse(&chain(&r.json()["certificates"])[0]).unwrap();
    println!("subject {}", leaf.subject().to_display());
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_public_route_starves() {
    let site = Site::start().await;
    let mut held = vec![];
    for _ in 0..64 {
        let mut s = site.connect().await;
        s.write_all(b"GET /v1/trust HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        s.flush().await.unwrap();
        held.push(s);
    }
    {
        use tokio::io::AsyncReadExt;
        let mut b = vec![0; 400];
        let r = tokio::time::timeout(std::time::Duration::from_secs(2), held[0].read(&mut b)).await;
        println!("first held: {:?} {}", r, String::from_utf8_lossy(&b).chars().take(200).collect::<String>());
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let r = site.post("/v1/nonces", Some(ALICE), json!({"purpose": "certificate"})).await;
    println!("alice while 64 anonymous bodies hang: {} {}", r.status, String::from_utf8_lossy(&r.body));
    let t = std::time::Instant::now();
    loop {
        let r = site.post("/v1/nonces", Some(ALICE), json!({"purpose": "certificate"})).await;
        if r.status == 201 { break; }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        if t.elapsed().as_secs() > 45 { break; }
    }
    println!("served again after {:?}", t.elapsed());
    drop(held);
}

fn rsa_public(spki: &SpkiView) -> TpmtPublic {
    let PublicKey::Rsa { modulus, .. } = spki.key().clone() else { panic!() };
    TpmtPublic::build(Some(HashAlg::Sha256), ObjectAttributes::from_bits(AK_ATTRIBUTES), &[],
        PublicParameters::Rsa { symmetric: Symmetric::Null, scheme: RsaScheme::Rsassa(HashAlg::Sha256), key_bits: 2048, exponent: 0, modulus })
}

#[tokio::test(flavor = "multi_thread")]
async fn a4_rsa_reencoding_evades_account_and_baseline() {
    use vouchsafe_evidence::tpm::RsaScheme;
    let site = Site::start_with("[[profiles]]\nname='device'\ndevices='any'\n").await;
    let kp = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let mk = |alg: Vec<u8>| { let mut w = DerWriter::new(); w.sequence(|s| { s.raw(&alg).bit_string(kp.public_key().as_ref(), 0); }); SpkiView::parse(&w.into_der()).unwrap() };
    let good = mk(build::algorithm_identifier_null(oid::RSA_ENCRYPTION));
    let odd = mk(build::algorithm_identifier(oid::RSA_ENCRYPTION));
    let sign = |m: &[u8]| { let mut s = vec![0; 256]; kp.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), m, &mut s).unwrap(); TpmtSignature::Rsassa { hash: HashAlg::Sha256, signature: s }.to_bytes() };
    let mut module = Module::new(&site.vendor, NOW);
    module.ak_public = rsa_public(&good);
    let nonce = site.enrolment_nonce(ALICE).await;
    let mut body = Site::enrolment_body(&module, "alices", &nonce);
    let (q, _, v) = module.quote(&[[1; 32], [2; 32]], &nonce);
    body["baseline"] = json!({"attest": b64(&q), "signature": b64(&sign(&q)), "pcr_values": b64(&v)});
    let ch = site.post("/v1/attestation-keys", Some(ALICE), body).await;
    println!("challenge {}", ch.status);
    let act = site.answer(ALICE, &module, &ch.json()).await;
    println!("activation {}", act.status);
    let ak_chain = chain(&act.json()["certificates"]["attest"]);

    // bogus certificate: anybody's signature, the AK's modulus, parameters left out
    let vendor_key = SoftwareKey::generate();
    let nobody = build::distinguished_name(&[(oid::COMMON_NAME, "nobody")]).unwrap();
    let bogus = sign_certificate((&nobody, &vendor_key), nobody.clone(), odd, NOW, vec![build::extended_key_usage(false, &[oid::KP_AIK_CERTIFICATE])]);

    for (label, certs) in [("plain", ak_chain.clone()), ("with bogus first", [vec![bogus.clone()], ak_chain.clone()].concat())] {
        for token in [ALICE, BOB] {
            let nonce = site.certificate_nonce(token).await;
            let key = SoftwareKey::generate();
            let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
            let (a, _) = module.certify(&public, &nonce);
            let (q, _, v) = module.quote(&[[9; 32], [9; 32]], &nonce); // other PCRs than the baseline
            let st = vec![
                AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY, TpmCertify { signature: sign(&a), attest: a, public: Some(public.as_bytes().to_vec()) }.to_der()),
                AttestationStatement::new(oid::STATEMENT_TPM_QUOTE, TpmQuote { signature: sign(&q), attest: q, pcr_values: Some(v) }.to_der()),
            ];
            let bundle = AttestationBundle::new(st, certs.iter().map(|d| CertView::parse(d).unwrap()).collect()).unwrap();
            let t = CsrTemplate { subject: nobody.clone(), spki: key.spki(), attributes: vec![build::attestation_attribute(&bundle)] };
            let info = t.info_der();
            let csr = build::assemble(&info, &build::algorithm_identifier(oid::ECDSA_WITH_SHA256), &key.sign_der(&info));
            let r = site.post("/v1/certificates", Some(token), json!({"csr": b64(&csr), "nonce": hex(&nonce)})).await;
            let subject = if r.status == 201 { CertView::parse(&chain(&r.json()["certificates"])[0]).unwrap().subject().to_display() } else { format!("{:?}", r.codes()) };
            println!("{label} {token}: {} {subject}", r.status);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_baseline_evasion_by_selection() {
    let site = Site::start_with("policy = '/tmp/scratch_required.toml'").await;
    let m = Module::new(&site.vendor, NOW);
    let nonce = site.enrolment_nonce(ALICE).await;
    let mut body = Site::enrolment_body(&m, "d", &nonce);
    let (q, s, v) = m.quote(&[[1; 32], [2; 32]], &nonce);
    body["baseline"] = json!({"attest": b64(&q), "signature": b64(&s), "pcr_values": b64(&v)});
    let ch = site.post("/v1/attestation-keys", Some(ALICE), body).await;
    let act = site.answer(ALICE, &m, &ch.json()).await;
    println!("activation {}", act.status);
    let c = chain(&act.json()["certificates"]["attest"]);
    for idx in [0u8, 16] {
        let nonce = site.certificate_nonce(ALICE).await;
        let key = SoftwareKey::generate();
        let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
        let (a, sa) = m.certify(&public, &nonce);
        let sel = PcrSelection::new(vec![PcrBank::new(HashAlg::Sha256, &[idx]).unwrap()]);
        let name = m.ak_public.name().unwrap();
        let mut w = Writer::new();
        w.u32(0xFF54_4347).u16(0x8018).tpm2b(name.as_bytes()).tpm2b(&nonce).u64(1).u32(1).u32(0).u8(1).u64(4);
        sel.write(&mut w);
        w.tpm2b(&HashAlg::Sha256.digest(&[&[9; 32]]));
        let q = w.into_bytes();
        let st = vec![
            AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY, TpmCertify { signature: sa, attest: a, public: Some(public.as_bytes().to_vec()) }.to_der()),
            AttestationStatement::new(oid::STATEMENT_TPM_QUOTE, TpmQuote { signature: m.ak.sign_tpmt(&q), attest: q, pcr_values: Some(vec![9; 32]) }.to_der()),
        ];
        let bundle = AttestationBundle::new(st, c.iter().map(|d| CertView::parse(d).unwrap()).collect()).unwrap();
        let t = CsrTemplate { subject: NameView::parse(&[0x30, 0]).unwrap(), spki: key.spki(), attributes: vec![build::attestation_attribute(&bundle)] };
        let info = t.info_der();
        let csr = build::assemble(&info, &build::algorithm_identifier(oid::ECDSA_WITH_SHA256), &key.sign_der(&info));
        let r = site.post("/v1/certificates", Some(ALICE), json!({"csr": b64(&csr), "nonce": hex(&nonce)})).await;
        println!("platform required, changed PCRs, quote over PCR {idx}: {} {:?}", r.status, if r.status == 201 { vec![] } else { r.codes() });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_ek_probe_and_lost_activation() {
    let site = Site::start().await;
    let m = Module::new(&site.vendor, NOW);
    site.enroll(ALICE, &m, "d").await;
    // bob holds only the public EK certificate
    let mut other = Module::new(&site.vendor, NOW);
    other.ek_certificate = m.ek_certificate.clone();
    let r = site.challenge(BOB, &other, "x").await;
    println!("bob probes alice's EK: {} {}", r.status, r.problem());
    // fresh EK, AK of alice
    let mut thief = Module::new(&site.vendor, NOW);
    thief.ak_public = m.ak_public.clone();
    let ch = site.challenge(BOB, &thief, "y").await;
    println!("bob with alice's AK public under his EK: challenge {}", ch.status);
    let a = site.answer(BOB, &thief, &ch.json()).await;
    println!("activation {} {}", a.status, a.problem());
}
