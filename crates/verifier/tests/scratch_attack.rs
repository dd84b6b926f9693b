#![allow(warnings, missing_docs)]
#[path = "path/pki.rs"]
mod pki;
use std::time::Instant as Clock;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, KeyPair as _, RsaKeyPair};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::Signature;
use pki::*;
use vouchsafe_evidence::bundle::*;
use vouchsafe_evidence::input::*;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::statement::*;
use vouchsafe_evidence::tpm::marshal::Writer;
use vouchsafe_evidence::tpm::*;
use vouchsafe_evidence::x509::build::{self, *};
use vouchsafe_evidence::x509::der::Tag;
use vouchsafe_evidence::x509::extensions::*;
use vouchsafe_evidence::x509::*;
use vouchsafe_verifier::*;

const KEY_ATTR: u32 = 0x0004_0072; // fixedTPM fixedParent sDO userWithAuth sign
fn ec_public(n: u8, attr: u32, scheme: EccScheme) -> TpmtPublic {
    let s = spki(n);
    let PublicKey::Ec { x, y, .. } = s.key().clone() else { panic!() };
    TpmtPublic::build(Some(HashAlg::Sha256), ObjectAttributes::from_bits(attr), &[],
        PublicParameters::Ecc { symmetric: Symmetric::Null, scheme, curve: Curve::P256, x, y })
}
fn head(kind: u16, q: &[u8]) -> Writer {
    let mut w = Writer::new();
    let n = ec_public(9, KEY_ATTR, EccScheme::Null).name().unwrap();
    w.u32(0xFF54_4347).u16(kind).tpm2b(n.as_bytes()).tpm2b(q);
    w.u64(1).u32(1).u32(0).u8(1).u64(1);
    w
}
fn certify_attest(p: &TpmtPublic, q: &[u8]) -> Vec<u8> {
    let n = p.name().unwrap();
    let mut w = head(0x8017, q);
    w.tpm2b(n.as_bytes()).tpm2b(n.as_bytes());
    w.into_bytes()
}
fn quote_attest(bank: HashAlg, idx: &[u8], values: &[u8], q: &[u8]) -> Vec<u8> {
    let sel = PcrSelection::new(vec![PcrBank::new(bank, idx).unwrap()]);
    let mut w = head(0x8018, q);
    sel.write(&mut w);
    w.tpm2b(&HashAlg::Sha256.digest(&[values]));
    w.into_bytes()
}
fn ec_sig(n: u8, m: &[u8]) -> Vec<u8> {
    let s: Signature = key(n).sign(m);
    let b = s.to_bytes();
    TpmtSignature::Ecdsa { hash: HashAlg::Sha256, r: b[..32].to_vec(), s: b[32..].to_vec() }.to_bytes()
}
fn ec_raw(n: u8, m: &[u8]) -> Vec<u8> { let s: Signature = key(n).sign(m); s.to_der().as_bytes().to_vec() }
fn st_certify(a: Vec<u8>, s: Vec<u8>, p: &TpmtPublic) -> AttestationStatement {
    AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY, TpmCertify { attest: a, signature: s, public: Some(p.as_bytes().to_vec()) }.to_der())
}
fn st_quote(a: Vec<u8>, s: Vec<u8>, v: Option<Vec<u8>>) -> AttestationStatement {
    AttestationStatement::new(oid::STATEMENT_TPM_QUOTE, TpmQuote { attest: a, signature: s, pcr_values: v }.to_der())
}
fn csr(n: u8, sts: Vec<AttestationStatement>, certs: Vec<CertView>) -> Vec<u8> {
    let b = AttestationBundle::new(sts, certs).unwrap();
    csr_raw(n, vec![build::attestation_attribute(&b)])
}
fn csr_raw(n: u8, attributes: Vec<Vec<u8>>) -> Vec<u8> {
    let t = CsrTemplate { subject: name("CN=x"), spki: spki(n), attributes };
    let info = t.info_der();
    let s: Signature = key(n).sign(&info);
    build::assemble(&info, &build::algorithm_identifier(oid::ECDSA_WITH_SHA256), s.to_der().as_bytes())
}
fn store(root: &CertView) -> TrustStore {
    TrustStore::from_files(["tpm-certify", "tpm-quote", "tpm-certify-x509", "tpm-ek"].map(|f| (format!("{f}/r.der"), root.as_der().to_vec()))).unwrap()
}
fn run(bytes: &[u8], trust: &TrustStore) -> Verdict { run_with(bytes, trust, ReferenceValues::none()) }
fn run_with(bytes: &[u8], trust: &TrustStore, refs: ReferenceValues) -> Verdict {
    let policy = Policy::named("default").unwrap();
    let sub = Submission::recognize(&[InputFile { name: "f", bytes }], None).unwrap();
    verify(&Request::new(&sub, trust, &policy, Instant::from_unix_seconds(NOW)).baseline(refs))
}
fn show(what: &str, v: &Verdict) {
    println!("{what}: accepted={} device={:?} platform={:?} reasons={:?}", v.is_accepted(), v.device().map(|d| d.id.clone()), v.platform().outcome,
        v.reasons().iter().map(|r| format!("{}: {}", r.code(), &r.message()[..r.message().len().min(140)])).collect::<Vec<_>>());
}
fn root() -> CertView { Cert::root("CN=Root", 1).build() }

fn rsa_spki_der(modulus: &[u8], exponent: &[u8], alg: Vec<u8>) -> Vec<u8> {
    let mut k = DerWriter::new();
    k.sequence(|f| { f.unsigned(modulus).unsigned(exponent); });
    let mut w = DerWriter::new();
    w.sequence(|s| { s.raw(&alg).bit_string(&k.into_der(), 0); });
    w.into_der()
}

fn me(kp: &RsaKeyPair) -> (Vec<u8>, Vec<u8>) {
    let mut w = DerWriter::new();
    w.sequence(|s| { s.raw(&build::algorithm_identifier_null(oid::RSA_ENCRYPTION)).bit_string(kp.public_key().as_ref(), 0); });
    match SpkiView::parse(&w.into_der()).unwrap().key().clone() { PublicKey::Rsa { modulus, exponent, .. } => (modulus, exponent), _ => panic!() }
}

#[test]
fn t01_device_id_by_reencoding() {
    let kp = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let (m, e) = me(&kp);
    let good = SpkiView::from_rsa(&m, &e).unwrap();
    let other = SpkiView::parse(&rsa_spki_der(&m, &e, build::algorithm_identifier(oid::RSA_ENCRYPTION))).unwrap();
    let pss = SpkiView::parse(&rsa_spki_der(&m, &e, build::algorithm_identifier(oid::RSASSA_PSS))).unwrap();
    let oaep = SpkiView::parse(&rsa_spki_der(&m, &e, build::algorithm_identifier(oid::RSAES_OAEP))).unwrap();
    let ak = Cert::ak("CN=AK", 2, "CN=Root", 1).subject_spki(good).build();
    let p = ec_public(3, KEY_ATTR, EccScheme::Null);
    for (scheme, label) in [(0, "rsassa"), (1, "rsapss")] {
        let a = certify_attest(&p, b"");
        let q = quote_attest(HashAlg::Sha256, &[16], &[0; 32], b"");
        let sign = |m: &[u8]| { let mut s = vec![0; 256];
            kp.sign(if scheme == 0 { &signature::RSA_PKCS1_SHA256 } else { &signature::RSA_PSS_SHA256 }, &SystemRandom::new(), m, &mut s).unwrap(); s };
        for raw in [true, false] {
            let wrap = |s: Vec<u8>| if raw { s } else if scheme == 0 { TpmtSignature::Rsassa { hash: HashAlg::Sha256, signature: s }.to_bytes() } else { TpmtSignature::Rsapss { hash: HashAlg::Sha256, signature: s }.to_bytes() };
            let sts = vec![st_certify(a.clone(), wrap(sign(&a)), &p), st_quote(q.clone(), wrap(sign(&q)), Some(vec![0; 32]))];
            let v = run(&csr(3, sts.clone(), vec![ak.clone()]), &store(&root()));
            show(&format!("{label} raw={raw} honest"), &v);
            for (n, s) in [("nonull", &other), ("pss", &pss), ("oaep", &oaep)] {
                // certificate made by the attacker under nobody's root
                let bogus = Cert::ak("CN=bogus", 2, "CN=nobody", 7).subject_spki(s.clone()).build();
                let v = run(&csr(3, sts.clone(), vec![bogus.clone(), ak.clone()]), &store(&root()));
                show(&format!("{label} raw={raw} bogus {n} first"), &v);
                let v = run(&csr(3, sts.clone(), vec![ak.clone(), bogus]), &store(&root()));
                show(&format!("{label} raw={raw} bogus {n} last"), &v);
            }
        }
    }
}

#[test]
fn t02_order_of_ak_certs() {
    let p = ec_public(3, KEY_ATTR, EccScheme::Null);
    let a = certify_attest(&p, b"");
    let sts = vec![st_certify(a.clone(), ec_sig(2, &a), &p)];
    let plain = Cert::ak("CN=AK", 2, "CN=Root", 1).build();
    let link = Cert::ak("CN=AK", 2, "CN=Root", 1).with(build::device_link(b"dev")).build();
    show("plain,link", &run(&csr(3, sts.clone(), vec![plain.clone(), link.clone()]), &store(&root())));
    show("link,plain", &run(&csr(3, sts.clone(), vec![link.clone(), plain.clone()]), &store(&root())));
    // two AKs of one device by deviceLink; one AK has a second certificate
    let link2 = Cert::ak("CN=AK2", 4, "CN=Root", 1).with(build::device_link(b"dev")).build();
    let q = quote_attest(HashAlg::Sha256, &[0], &[0; 32], b"");
    let sts = vec![st_certify(a.clone(), ec_sig(2, &a), &p), st_quote(q.clone(), ec_sig(4, &q), Some(vec![0; 32]))];
    show("2ak link,plain,link2", &run(&csr(3, sts.clone(), vec![link.clone(), plain.clone(), link2.clone()]), &store(&root())));
    show("2ak plain,link,link2", &run(&csr(3, sts.clone(), vec![plain.clone(), link.clone(), link2.clone()]), &store(&root())));
    // malformed name certificate first, valid path; then good one
    let badname = Cert::ak("CN=AK", 2, "CN=Root", 1).with(build::ak_name(b"xx")).build();
    let sts = vec![st_certify(a.clone(), ec_sig(2, &a), &p)];
    show("badname,plain", &run(&csr(3, sts.clone(), vec![badname.clone(), plain.clone()]), &store(&root())));
    show("plain,badname", &run(&csr(3, sts.clone(), vec![plain.clone(), badname.clone()]), &store(&root())));
}

fn cx509(ak_key: u8, ak_subject: &str, obj: &TpmtPublic, obj_key: u8, ak_name: &Name, tpma: bool) -> CertView {
    let mut t = Cert::new(&format!("CN=k,{ak_subject}"), obj_key, ak_subject, ak_key).key_usage(KeyUsage::DIGITAL_SIGNATURE);
    if tpma { t = t.with(build::tpma_object(false, obj.attributes().bits())); }
    // serial
    let mut f = DerWriter::new();
    let tpl = t.template.clone();
    let tbs = tpl.tbs_der();
    let mut outer = vouchsafe_evidence::x509::der::Reader::new(&tbs, "t");
    let mut fields = outer.sequence("t").unwrap();
    fields.element().unwrap(); fields.element().unwrap();
    let mut parts = vec![];
    while !fields.is_empty() { parts.push(fields.element().unwrap().as_der().to_vec()); }
    parts.push(ak_name.as_bytes().to_vec()); parts.push(obj.name().unwrap().as_bytes().to_vec());
    let refs: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let d = HashAlg::Sha256.digest(&refs)[..20].to_vec();
    t.serial(&d).build()
}
fn st_x509(c: CertView, p: Option<&TpmtPublic>) -> AttestationStatement {
    AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY_X509, TpmCertifyX509 { certificate: c, public: p.map(|p| p.as_bytes().to_vec()) }.to_der())
}

#[test]
fn t02b_order_of_cx509_certs() {
    let p = ec_public(3, KEY_ATTR, EccScheme::Null);
    let akp = ec_public(2, 0x000D_0072, EccScheme::Ecdsa(HashAlg::Sha256));
    let n = akp.name().unwrap();
    let named = Cert::ak_certify_x509("CN=AK", 2, "CN=Root", 1).with(build::ak_name(n.as_bytes())).build();
    let nameless = Cert::ak_certify_x509("CN=AK", 2, "CN=Root", 1).build();
    let leaf = cx509(2, "CN=AK", &p, 3, &n, false);
    let sts = vec![st_x509(leaf, Some(&p))];
    show("named", &run(&csr(3, sts.clone(), vec![named.clone()]), &store(&root())));
    show("named,nameless", &run(&csr(3, sts.clone(), vec![named.clone(), nameless.clone()]), &store(&root())));
    show("nameless,named", &run(&csr(3, sts.clone(), vec![nameless.clone(), named.clone()]), &store(&root())));
}

#[test]
fn t03_unbound_platform_section() {
    let p = ec_public(3, KEY_ATTR, EccScheme::Null);
    let a = certify_attest(&p, b"");
    let q = quote_attest(HashAlg::Sha256, &[0], &[0; 32], b"");
    let ak = Cert::ak("CN=AK", 2, "CN=Root", 1).build();
    let ak2 = Cert::ak("CN=AK2", 4, "CN=Root", 1).build();
    let sts = vec![st_certify(a.clone(), ec_sig(2, &a), &p), st_quote(q.clone(), ec_sig(4, &q), Some(vec![0; 32]))];
    let v = run(&csr(3, sts, vec![ak.clone(), ak2.clone()]), &store(&root()));
    show("unbound quote", &v);
    println!("{}", v.to_json()["platform"]);
    // same key by two AKs
    let sts = vec![st_certify(a.clone(), ec_sig(2, &a), &p), st_certify(a.clone(), ec_sig(4, &a), &p)];
    show("one key, two AKs", &run(&csr(3, sts, vec![ak.clone(), ak2.clone()]), &store(&root())));
    // only a quote
    let sts = vec![st_quote(q.clone(), ec_sig(4, &q), Some(vec![0; 32]))];
    let v = run(&csr(3, sts, vec![ak2.clone()]), &store(&root()));
    show("only quote", &v);
    println!("{}", v.to_json());
}

#[test]
fn t06_baseline_evasion() {
    let p = ec_public(3, KEY_ATTR, EccScheme::Null);
    let a = certify_attest(&p, b"");
    let ak = Cert::ak("CN=AK", 2, "CN=Root", 1).build();
    let mut refs = ReferenceValues::none();
    refs.insert(HashAlg::Sha256, 0, &[1; 32]).unwrap();
    refs.insert(HashAlg::Sha256, 7, &[2; 32]).unwrap();
    for (bank, idx, vals, l) in [(HashAlg::Sha256, vec![0u8], Some(vec![0; 32]), "changed pcr0"), (HashAlg::Sha256, vec![16], Some(vec![0; 32]), "pcr16 only"), (HashAlg::Sha1, vec![0, 7], Some(vec![0; 40]), "sha1 bank"), (HashAlg::Sha384, vec![0], None, "sha384 no values")] {
        let q = quote_attest(bank, &idx, &vals.clone().unwrap_or_default(), b"");
        let sts = vec![st_certify(a.clone(), ec_sig(2, &a), &p), st_quote(q.clone(), ec_sig(2, &q), vals)];
        show(l, &run_with(&csr(3, sts, vec![ak.clone()]), &store(&root()), refs.clone()));
    }
}

#[test]
fn t10_third_party_ak() {
    let p = ec_public(3, KEY_ATTR, EccScheme::Null);
    let a = certify_attest(&p, b"");
    let base = Cert::ak("CN=AK", 2, "CN=Root", 1);
    let mut empty = base.clone(); empty.template.subject = NameView::parse(&[0x30, 0]).unwrap();
    for (l, c) in [
        ("plain", base.clone()),
        ("no KU", base.clone().without(oid::KEY_USAGE)),
        ("KU dS+keyEnc", base.clone().key_usage(KeyUsage::DIGITAL_SIGNATURE | KeyUsage::KEY_ENCIPHERMENT)),
        ("EKU + clientAuth", base.clone().purposes(false, &[oid::KP_AIK_CERTIFICATE, oid::KP_CLIENT_AUTH])),
        ("EKU AIK+EK", base.clone().purposes(false, &[oid::KP_AIK_CERTIFICATE, oid::KP_EK_CERTIFICATE])),
        ("empty subject, critical SAN", empty.with(build::subject_alt_name(true, &[GeneralName::Directory(name("CN=tpm"))]))),
        ("two families", base.clone().purposes(false, &[oid::KP_AIK_CERTIFICATE, oid::KP_CERTIFY_X509])),
        ("any", base.clone().purposes(false, &[oid::KP_AIK_CERTIFICATE, oid::ANY_EXTENDED_KEY_USAGE])),
        ("no EKU", base.clone().without(oid::EXTENDED_KEY_USAGE)),
        ("unknown noncritical ext", base.clone().with(build::extension(oid::Oid::from_dotted("1.3.6.1.4.1.311.21.10").unwrap(), false, &[0x30, 0]))),
        ("serial 0", base.clone().serial(&[0])),
    ] {
        for (enc, s) in [("tpmt", ec_sig(2, &a)), ("raw", ec_raw(2, &a))] {
            show(&format!("{l}/{enc}"), &run(&csr(3, vec![st_certify(a.clone(), s, &p)], vec![c.build()]), &store(&root())));
        }
    }
    let rs = { let s: Signature = key(2).sign(&a); s.to_bytes().to_vec() };
    show("raw r||s", &run(&csr(3, vec![st_certify(a.clone(), rs, &p)], vec![base.build()]), &store(&root())));
    // anchor = the AK certificate itself
    show("AK cert as anchor", &run(&csr(3, vec![st_certify(a.clone(), ec_sig(2, &a), &p)], vec![base.build()]), &store(&base.build())));
    // CSR without certs, AK certificate in intermediates
    let t = TrustStore::from_files([("tpm-certify/r.der".into(), root().as_der().to_vec()), ("tpm-certify/intermediates/a.der".into(), base.build().as_der().to_vec())]).unwrap();
    show("AK cert in trust intermediates only", &run(&csr(3, vec![st_certify(a.clone(), ec_sig(2, &a), &p)], vec![]), &t));
    let files = csr(3, vec![st_certify(a.clone(), ec_sig(2, &a), &p)], vec![]);
    let ak = base.build();
    let policy = Policy::named("default").unwrap();
    let s = store(&root());
    let sub = Submission::recognize(&[InputFile { name: "a", bytes: ak.as_der() }, InputFile { name: "f", bytes: &files }], None).unwrap();
    show("CSR + AK cert file", &verify(&Request::new(&sub, &s, &policy, Instant::from_unix_seconds(NOW))));
}

fn long_name(tag: &str, upper: bool, n: usize, len: usize, last: &str) -> NameView {
    let mut rdns = vec![];
    for i in 0..n {
        let mut w = DerWriter::new();
        let text = if i + 1 == n { last.to_string() } else { let c = if upper { "A " } else { "a " }; format!("{tag}{i}{}", c.repeat(len / 2)) };
        w.sequence(|f| { f.oid(oid::COMMON_NAME).string(Tag::UTF8_STRING, &text); });
        rdns.push(vec![w.into_der()]);
    }
    build::name_from_attributes(&rdns).unwrap()
}

#[test]
fn t04_dos_names() {
    // Attacker has no certificate of anybody: software AKs, self-made certificates, one real anchor in the store.
    let sts_n: usize = std::env::var("STS").ok().and_then(|s| s.parse().ok()).unwrap_or(16);
    let p = ec_public(3, KEY_ATTR, EccScheme::Null);
    let a = certify_attest(&p, b"");
    let mut certs = vec![];
    let len: usize = std::env::var("LEN").ok().and_then(|s| s.parse().ok()).unwrap_or(60);
    let n = 20;
    // a chain of 55 names N0 <- N1 <- ...
    let nm = |i: usize, upper| long_name("x", upper, n, len, &format!("{}{i}", if upper { "N" } else { "n" }));
    for k in 0..8u8 { // eight certificates of one AK
        let mut c = Cert::ak("CN=AK", 2, "CN=whoever", 7).serial(&[1, k]);
        c.template.issuer = nm(0, true);
        certs.push(c.build());
    }
    for i in 0..55 {
        let mut c = Cert::ca("CN=i", 8, "CN=j", 8).serial(&[2, i as u8]);
        c.template.subject = nm(i, false);
        c.template.issuer = nm(i + 1, true);
        certs.push(c.build());
    }
    let mut size: usize = certs.iter().map(|c| c.as_der().len()).sum();
    let mut i = 1000;
    while certs.len() < 512 {
        let mut c = Cert::ca("CN=i", 8, "CN=j", 8).serial(&[3, (i >> 8) as u8, i as u8]);
        c.template.subject = nm(i, false);
        c.template.issuer = name("CN=z");
        let c = c.build();
        size += c.as_der().len();
        if size > 1_990_000 { break; }
        certs.push(c);
        i += 1;
    }
    println!("certs {} octets {size}", certs.len());
    let sts: Vec<_> = (0..sts_n).map(|_| st_certify(a.clone(), ec_sig(2, &a), &p)).collect();
    let req = csr(3, sts, certs);
    println!("csr {} octets", req.len());
    let s = store(&root());
    let t = Clock::now();
    let v = run(&req, &s);
    println!("took {:?}", t.elapsed());
    println!("{:?}", v.reasons().iter().map(|r| r.code()).collect::<Vec<_>>());
}

#[test]
fn t07_ek_order() {
    let kp = RsaKeyPair::generate(KeySize::Rsa3072).unwrap();
    let (m, _) = me(&kp);
    let big = Cert::ek("CN=ek3072", 5, "CN=Root", 1).key_usage(KeyUsage::KEY_ENCIPHERMENT).subject_spki(SpkiView::from_rsa(&m, &[1, 0, 1]).unwrap()).build();
    let ec = Cert::ek("CN=ek256", 5, "CN=Root", 1).build();
    let s = store(&root());
    let at = Instant::from_unix_seconds(NOW);
    for (l, v) in [("3072,256", vec![big.clone(), ec.clone()]), ("256,3072", vec![ec, big])] {
        println!("{l}: {:?}", vouchsafe_verifier::enrolment::authenticate_ek(&v, &s, at).map(|e| e.parameters()).map_err(|e| e.to_string()));
    }
}

#[test]
fn t08_ek_dos() {
    let n = 6; let len = 40;
    let nm = |i: usize, upper| long_name("x", upper, n, len, &format!("{}{i}", if upper { "N" } else { "n" }));
    let mut certs = vec![];
    let mut size = 0;
    for i in 0..512usize {
        let mut c = Cert::new("CN=i", 8, "CN=j", 8).serial(&[3, (i >> 8) as u8, i as u8]);
        c.template.spki = spki((i % 250 + 2) as u8);
        c.template.subject = nm(i, false);
        c.template.issuer = nm(if i % 60 == 59 { 9999 } else { i + 1 }, true);
        let c = c.build();
        size += c.as_der().len();
        certs.push(c);
    }
    println!("octets {size}");
    let s = store(&root());
    let t = Clock::now();
    let r = vouchsafe_verifier::enrolment::authenticate_ek(&certs, &s, Instant::from_unix_seconds(NOW));
    println!("took {:?} {:?}", t.elapsed(), r.map(|_| ()).map_err(|e| e.to_string()));
}

#[test]
fn t11_big_exponent() {
    let mut m = vec![0xC5u8; 1024]; m[1023] = 0x33;
    let e = { let mut e = vec![0xC1u8; 1024]; e[1023] = 1; e };
    let sp = SpkiView::from_rsa(&m, &e).unwrap();
    let mut b = vouchsafe_verifier::crypto::SignatureBudget::new();
    let t = Clock::now();
    for i in 0..20u8 {
        let mut s = vec![0x11u8; 1024]; s[1023] = i;
        let _ = vouchsafe_verifier::crypto::verify_signature(&mut b, &sp, vouchsafe_verifier::crypto::SignatureAlgorithm::RsaPss(HashAlg::Sha256, vouchsafe_verifier::crypto::PssSalt::DigestOrLongest), b"m", &s);
    }
    println!("20 checks with 8192-bit exponent: {:?}", t.elapsed());
    let sp = SpkiView::from_rsa(&m, &[1, 0, 1]).unwrap();
    let t = Clock::now();
    for i in 0..20u8 {
        let mut s = vec![0x11u8; 1024]; s[1023] = i;
        let _ = vouchsafe_verifier::crypto::verify_signature(&mut b, &sp, vouchsafe_verifier::crypto::SignatureAlgorithm::RsaPss(HashAlg::Sha256, vouchsafe_verifier::crypto::PssSalt::DigestOrLongest), b"m", &s);
    }
    println!("20 checks with 65537: {:?}", t.elapsed());
}

#[test]
fn t05_published() {
    let p = ec_public(3, KEY_ATTR, EccScheme::Null);
    let akp = ec_public(2, 0x000D_0072, EccScheme::Ecdsa(HashAlg::Sha256));
    let n = akp.name().unwrap();
    let named = Cert::ak_certify_x509("CN=AK", 2, "CN=Root", 1).with(build::ak_name(n.as_bytes())).with(build::tpma_object(false, akp.attributes().bits())).build();
    let leaf = cx509(2, "CN=AK", &p, 3, &n, true);
    let b = AttestationBundle::new(vec![st_x509(leaf, Some(&p))], vec![]).unwrap();
    let publ = Cert::new("CN=me", 3, "CN=CA", 6).with(build::extension(oid::AA_ATTESTATION, false, &b.to_der())).build();
    let b2 = AttestationBundle::new(b.statements().to_vec(), vec![named.clone()]).unwrap();
    let publ2 = Cert::new("CN=me", 3, "CN=CA", 6).with(build::extension(oid::AA_ATTESTATION, false, &b2.to_der())).build();
    let policy = Policy::named("default").unwrap();
    let s = store(&root());
    for (l, files) in [("published with certs inside", vec![publ2.as_der()]), ("published, AK cert beside", vec![publ.as_der(), named.as_der()])] {
        let fs: Vec<_> = files.iter().enumerate().map(|(i, b)| InputFile { name: "f", bytes: b }).collect();
        match Submission::recognize(&fs, None) {
            Ok(sub) => show(l, &verify(&Request::new(&sub, &s, &policy, Instant::from_unix_seconds(NOW)))),
            Err(e) => println!("{l}: {e}"),
        }
    }
}
