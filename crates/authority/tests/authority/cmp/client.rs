//! A small client of CMP, written from RFC 9810 apart from the code under test.

use aws_lc_rs::{digest, hmac};
use vouchsafe_evidence::bundle::{AttestationBundle, AttestationStatement};
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::build::{self, DerWriter};
use vouchsafe_evidence::x509::der::{Element, Tag};
use vouchsafe_evidence::x509::{CertView, NameView};

use crate::module::SoftwareKey;
use crate::site::Site;

pub const MEDIA_TYPE: &str = "application/pkixcmp";
pub const IMPLICIT_CONFIRM: Oid = Oid::constant("1.3.6.1.5.5.7.4.13");
pub const CERT_PROFILE: Oid = Oid::constant("1.3.6.1.5.5.7.4.21");
const PASSWORD_BASED_MAC: Oid = Oid::constant("1.2.840.113533.7.66.13");
const PBMAC1: Oid = Oid::constant("1.2.840.113549.1.5.14");
const PBKDF2: Oid = Oid::constant("1.2.840.113549.1.5.12");
const HMAC_SHA256: Oid = Oid::constant("1.2.840.113549.2.9");
const SHA256: Oid = Oid::constant("2.16.840.1.101.3.4.2.1");

/// Numbers of bodies.
pub const IR: u8 = 0;
pub const IP: u8 = 1;
pub const CR: u8 = 2;
pub const CP: u8 = 3;
pub const P10CR: u8 = 4;
pub const KUR: u8 = 7;
pub const RR: u8 = 11;
pub const RP: u8 = 12;
pub const PKICONF: u8 = 19;
pub const GENM: u8 = 21;
pub const GENP: u8 = 22;
pub const ERROR: u8 = 23;
pub const CERT_CONF: u8 = 24;

#[derive(Clone)]
pub enum Protection {
    None,
    Pbm { reference: String, secret: String, iterations: u64 },
    Pbmac1 { reference: String, secret: String },
    Signature { key: std::sync::Arc<SoftwareKey>, chain: Vec<Vec<u8>> },
}

impl Protection {
    pub fn pbm(reference: &str, secret: &str) -> Self {
        Self::Pbm { reference: reference.to_owned(), secret: secret.to_owned(), iterations: 500 }
    }
}

/// One transaction.
#[derive(Clone)]
pub struct Client {
    pub protection: Protection,
    pub transaction: Vec<u8>,
    pub path: String,
    pub version: u64,
    pub sender_nonce: Vec<u8>,
    /// senderNonce of the last answer.
    pub answers: Option<Vec<u8>>,
    pub info: Vec<(Oid, Vec<u8>)>,
}

pub struct Answer {
    pub number: u8,
    pub body: Vec<u8>,
    pub sender_nonce: Vec<u8>,
    pub der: Vec<u8>,
}

pub fn write(write: impl FnOnce(&mut DerWriter)) -> Vec<u8> {
    let mut writer = DerWriter::new();
    write(&mut writer);
    writer.into_der()
}

fn explicit(writer: &mut DerWriter, number: u8, der: &[u8]) {
    writer.primitive(Tag::context_constructed(number), der);
}

pub fn sequence(contents: &[u8]) -> Vec<u8> {
    write(|writer| {
        writer.primitive(Tag::SEQUENCE, contents);
    })
}

fn octets(contents: &[u8]) -> Vec<u8> {
    build::octet_string(contents)
}

impl Client {
    pub fn new(protection: Protection) -> Self {
        let mut transaction = vec![0; 16];
        aws_lc_rs::rand::fill(&mut transaction).unwrap();
        let path = "/.well-known/cmp".to_owned();
        Self { protection, transaction, path, version: 2, sender_nonce: vec![3; 16], answers: None, info: Vec::new() }
    }

    pub fn on(self, path: &str) -> Self {
        Self { path: format!("/.well-known/cmp{path}"), ..self }
    }

    /// The DER of a message with this body.
    pub fn message(&self, number: u8, body: &[u8]) -> Vec<u8> {
        let body = write(|writer| explicit(writer, number, body));
        let (algorithm, key_id, sender) = self.header_of_protection();
        let header = write(|writer| {
            writer.sequence(|header| {
                header.uint(self.version);
                explicit(header, 4, sender.as_der());
                explicit(header, 4, &sequence(&[]));
                if let Some(algorithm) = &algorithm {
                    explicit(header, 1, algorithm);
                }
                if let Some(key_id) = &key_id {
                    explicit(header, 2, &octets(key_id));
                }
                explicit(header, 4, &octets(&self.transaction));
                explicit(header, 5, &octets(&self.sender_nonce));
                if let Some(nonce) = &self.answers {
                    explicit(header, 6, &octets(nonce));
                }
                if !self.info.is_empty() {
                    let values: Vec<u8> = self.info.iter().flat_map(|(oid, value)| info(*oid, value)).collect();
                    explicit(header, 8, &sequence(&values));
                }
            });
        });
        let part = sequence(&[&header[..], &body].concat());
        let protection = self.protect(&part);
        write(|writer| {
            writer.sequence(|message| {
                message.raw(&header).raw(&body);
                if let Some(protection) = &protection {
                    explicit(message, 0, &write(|bits| drop(bits.bit_string(protection, 0).clone())));
                }
                if let Protection::Signature { chain, .. } = &self.protection {
                    explicit(message, 1, &sequence(&chain.concat()));
                }
            });
        })
    }

    fn header_of_protection(&self) -> (Option<Vec<u8>>, Option<Vec<u8>>, NameView) {
        let nobody = NameView::parse(&sequence(&[])).unwrap();
        let plain = |oid: Oid| build::algorithm_identifier_null(oid);
        match &self.protection {
            Protection::None => (None, None, nobody),
            Protection::Pbm { reference, iterations, .. } => {
                let count = write(|writer| drop(writer.uint(*iterations).clone()));
                let parameters = sequence(&[octets(&[9; 16]), plain(SHA256), count, plain(HMAC_SHA256)].concat());
                let oid = write(|writer| drop(writer.oid(PASSWORD_BASED_MAC).clone()));
                (Some(sequence(&[oid, parameters].concat())), Some(reference.clone().into_bytes()), nobody)
            }
            Protection::Pbmac1 { reference, .. } => {
                let algorithm = write(|writer| {
                    writer.sequence(|algorithm| {
                        algorithm.oid(PBMAC1).sequence(|parameters| {
                            parameters.sequence(|function| {
                                function.oid(PBKDF2).sequence(|kdf| {
                                    kdf.octet_string(&[9; 16]).uint(1000).uint(32).raw(&plain(HMAC_SHA256));
                                });
                            });
                            parameters.raw(&plain(HMAC_SHA256));
                        });
                    });
                });
                (Some(algorithm), Some(reference.clone().into_bytes()), nobody)
            }
            Protection::Signature { chain, .. } => {
                let subject = CertView::parse(&chain[0]).unwrap().subject().clone();
                (Some(build::algorithm_identifier(oid::ECDSA_WITH_SHA256)), None, subject)
            }
        }
    }

    fn protect(&self, part: &[u8]) -> Option<Vec<u8>> {
        match &self.protection {
            Protection::None => None,
            Protection::Pbm { secret, iterations, .. } => {
                let mut key = digest::digest(&digest::SHA256, &[secret.as_bytes(), &[9; 16]].concat());
                for _ in 1..*iterations {
                    key = digest::digest(&digest::SHA256, key.as_ref());
                }
                let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_ref());
                Some(hmac::sign(&key, part).as_ref().to_vec())
            }
            Protection::Pbmac1 { secret, .. } => {
                let mut key = [0; 32];
                let count = std::num::NonZeroU32::new(1000).unwrap();
                let prf = aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256;
                aws_lc_rs::pbkdf2::derive(prf, count, &[9; 16], secret.as_bytes(), &mut key);
                Some(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part).as_ref().to_vec())
            }
            Protection::Signature { key, .. } => Some(key.sign_der(part)),
        }
    }

    /// Sends a message of this body, and remembers what the next one answers.
    pub async fn send(&mut self, site: &Site, number: u8, body: &[u8]) -> Answer {
        let answer = deliver(site, &self.path, &self.message(number, body)).await;
        self.answers = Some(answer.sender_nonce.clone());
        answer
    }

    /// The nonce of a genm.
    pub async fn nonce(&mut self, site: &Site) -> Vec<u8> {
        self.send(site, GENM, &nonce_request()).await.nonce()
    }

    /// Confirms a certificate by its SHA-256.
    pub async fn confirm(&mut self, site: &Site, certificate: &[u8], id: u8) -> Answer {
        self.send(site, CERT_CONF, &confirmation(certificate, id)).await
    }
}

pub async fn deliver(site: &Site, path: &str, message: &[u8]) -> Answer {
    let reply = site.send(path, None, MEDIA_TYPE, message).await;
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    assert!(reply.head.to_lowercase().contains("content-type: application/pkixcmp"), "{}", reply.head);
    Answer::read(&reply.body)
}

fn info(oid: Oid, value: &[u8]) -> Vec<u8> {
    write(|writer| {
        writer.sequence(|info| {
            info.oid(oid).raw(value);
        });
    })
}

pub fn nonce_request() -> Vec<u8> {
    sequence(&info(vouchsafe_authority::protocol::cmp::oids::NONCE_REQUEST, &[0x30, 0x03, 0x02, 0x01, 0x20]))
}

pub fn confirmation(certificate: &[u8], id: u8) -> Vec<u8> {
    let hash = digest::digest(&digest::SHA256, certificate);
    let id = write(|writer| drop(writer.primitive(Tag::INTEGER, &[id]).clone()));
    sequence(&sequence(&[octets(hash.as_ref()), id].concat()))
}

/// CertReqMessages with one request; `sign` makes the proof from the CertRequest.
pub fn requests(
    common_name: &str,
    key: &SoftwareKey,
    statements: Vec<AttestationStatement>,
    certificates: &[Vec<u8>],
    proof: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let certificates = certificates.iter().map(|der| CertView::parse(der).unwrap()).collect();
    let bundle = AttestationBundle::new(statements, certificates).unwrap();
    let extension = build::extension(oid::AA_ATTESTATION, false, &bundle.to_der());
    let subject = build::distinguished_name(&[(oid::COMMON_NAME, common_name)]).unwrap();
    let spki = key.spki();
    let spki = Element::parse(spki.as_der(), "SPKI").unwrap().contents().to_vec();
    let request = write(|writer| {
        writer.sequence(|request| {
            request.uint(0).sequence(|template| {
                explicit(template, 5, subject.as_der());
                explicit(template, 6, &spki);
                explicit(template, 9, &extension);
            });
        });
    });
    sequence(&sequence(&[request.clone(), proof(&request)].concat()))
}

/// POPOSigningKey of a key.
pub fn popo(key: &SoftwareKey, request: &[u8]) -> Vec<u8> {
    let bits = write(|writer| drop(writer.bit_string(&key.sign_der(request), 0).clone()));
    let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
    write(|writer| explicit(writer, 1, &[algorithm, bits].concat()))
}

/// RevReqContent about a certificate.
pub fn revocation(certificate: &CertView, reason: u8) -> Vec<u8> {
    revocation_by(certificate.issuer(), certificate.serial(), reason)
}

/// RevReqContent about the certificate of this number that this issuer signed.
pub fn revocation_by(issuer: &NameView, serial: &[u8], reason: u8) -> Vec<u8> {
    let template = write(|writer| {
        writer.sequence(|template| {
            template.primitive(Tag::context(1), serial);
            explicit(template, 3, issuer.as_der());
        });
    });
    let reason = build::extension(oid::CRL_REASON, false, &[0x0A, 1, reason]);
    sequence(&sequence(&[template, sequence(&reason)].concat()))
}

impl Answer {
    pub fn read(der: &[u8]) -> Self {
        let mut message = Element::parse(der, "PKIMessage").unwrap().reader();
        let header = message.sequence("header").unwrap();
        let body = message.element().unwrap();
        assert!(message.next_is(Tag::context_constructed(0)), "every answer is protected");
        let mut header = header;
        let mut sender_nonce = Vec::new();
        for _ in ["pvno", "sender", "recipient"] {
            header.element().unwrap();
        }
        while !header.is_empty() {
            let field = header.element().unwrap();
            if field.tag() == Tag::context_constructed(5) {
                sender_nonce = field.reader().octet_string("senderNonce").unwrap().to_vec();
            }
        }
        let number = body.tag().leading_octet() & 0x1F;
        Self { number, body: body.contents().to_vec(), sender_nonce, der: der.to_vec() }
    }

    /// extraCerts, DER each.
    pub fn extra_certificates(&self) -> Vec<Vec<u8>> {
        let mut message = Element::parse(&self.der, "PKIMessage").unwrap().reader();
        for _ in ["header", "body", "protection"] {
            message.element().unwrap();
        }
        let mut certificates = message.element().unwrap().reader().sequence("extraCerts").unwrap();
        std::iter::from_fn(|| certificates.element().ok().map(|certificate| certificate.as_der().to_vec())).collect()
    }

    /// The nonce of a genp.
    pub fn nonce(&self) -> Vec<u8> {
        assert_eq!(self.number, GENP, "{:?}", self.reasons());
        let list = Element::parse(&self.body, "genp").unwrap();
        let mut fields = list.reader().sequence("info").unwrap();
        assert_eq!(fields.oid("type").unwrap(), vouchsafe_authority::protocol::cmp::oids::NONCE_RESPONSE);
        let mut response = fields.sequence("NonceResponse").unwrap();
        let nonce = response.octet_string("nonce").unwrap().to_vec();
        assert_eq!(response.uint("expiry").unwrap(), 300);
        nonce
    }

    /// The sentences of statusString.
    pub fn reasons(&self) -> Vec<String> {
        fn walk(element: &Element<'_>, found: &mut Vec<String>) {
            if element.tag() == Tag::UTF8_STRING {
                found.push(String::from_utf8(element.contents().to_vec()).unwrap());
            }
            if element.tag().is_constructed() {
                let mut members = element.reader();
                while !members.is_empty() {
                    walk(&members.element().unwrap(), found);
                }
            }
        }
        let mut found = Vec::new();
        // What is granted holds certificates, whose names are no reasons.
        if !self.der.is_empty() && self.certificate().is_none() {
            walk(&Element::parse(&self.body, "body").unwrap(), &mut found);
        }
        found
    }

    /// The codes of the reasons.
    pub fn codes(&self) -> Vec<String> {
        self.reasons().iter().map(|reason| reason.split(':').next().unwrap().to_owned()).collect()
    }

    /// The certificate of an ip, cp or kup.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        if ![IP, CP, 8].contains(&self.number) {
            return None;
        }
        let mut message = Element::parse(&self.body, "CertRepMessage").unwrap().reader();
        message.optional(Tag::context_constructed(1)).unwrap();
        let mut response = message.sequence("responses").unwrap().sequence("response").unwrap();
        response.element().unwrap();
        response.element().unwrap();
        if response.is_empty() {
            return None;
        }
        let mut pair = response.sequence("certifiedKeyPair").unwrap();
        let choice = pair.expect(Tag::context_constructed(0), "certificate").unwrap();
        Some(choice.contents().to_vec())
    }
}
