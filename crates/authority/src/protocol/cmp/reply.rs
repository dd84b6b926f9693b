//! Answers: bodies, and the message around them, protected as the request was.

use aws_lc_rs::rand;
use vouchsafe_evidence::oid::Oid;
use vouchsafe_evidence::x509::build::{self, DerWriter};
use vouchsafe_evidence::x509::der::Tag;

use super::body::MessageType;
use super::message::Header;
use super::oids;
use super::parties::{Parties, Protection};
use super::refusal::Refusal;
use crate::certificate::CertificateError;
use crate::error::Error;
use crate::protocol::refusal::Refused;

/// Octets of a senderNonce: 128 bits (RFC 9483, section 3.1).
const SENDER_NONCE_OCTETS: usize = 16;
/// PKIStatus accepted.
const ACCEPTED: u64 = 0;

/// What an answer repeats of its request.
pub(super) struct ReplyTo {
    version: u64,
    recipient: Vec<u8>,
    transaction_id: Option<Vec<u8>>,
    nonce: Option<Vec<u8>>,
    pub(super) protection: Protection,
    now: i64,
    /// By which issuer the server's own certificate is, in answers that are signed.
    issuer: String,
}

/// What goes into an answer.
#[derive(Default)]
pub(super) struct Content {
    pub(super) body: Vec<u8>,
    /// Whether no confirmation is awaited.
    pub(super) implicit_confirm: bool,
    /// Certificates that help the client, DER.
    pub(super) extra_certs: Vec<Vec<u8>>,
    /// Why the body refuses, if it does.
    pub(super) refused: Option<Refused>,
    /// senderNonce, where it says more than a random one ([`super::elsewhere`]).
    pub(super) sender_nonce: Option<Vec<u8>>,
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) der: Vec<u8>,
    pub(super) sender_nonce: Vec<u8>,
}

impl ReplyTo {
    /// The answer to a message with this header.
    pub(super) fn header(header: &Header<'_>, protection: Protection, now: i64) -> Self {
        Self {
            // The version of the request, where that is one (RFC 9810, section 7).
            version: if header.version == 3 { 3 } else { 2 },
            recipient: header.sender.to_vec(),
            transaction_id: header.transaction_id.map(<[u8]>::to_vec),
            nonce: header.sender_nonce.map(<[u8]>::to_vec),
            protection,
            now,
            issuer: String::new(),
        }
    }

    /// The answer to what is no message.
    pub(super) fn nobody(now: i64) -> Self {
        let mut name = DerWriter::new();
        name.constructed(Tag::context_constructed(4), |name| {
            name.sequence(|_| {});
        });
        let protection = Protection::Signature;
        let recipient = name.into_der();
        Self { version: 2, recipient, transaction_id: None, nonce: None, protection, now, issuer: String::new() }
    }

    /// The same, with the server's certificate by this issuer where it is signed.
    pub(super) fn certified_by(self, issuer: &str) -> Self {
        Self { issuer: issuer.to_owned(), ..self }
    }

    /// The same, protected otherwise.
    pub(super) fn protected_by(self, protection: Protection) -> Self {
        Self { protection, ..self }
    }

    /// The whole message.
    pub(super) fn message(&self, parties: &Parties, content: &Content) -> Result<Answer, Error> {
        let signer = parties.signer()?;
        let sender_nonce = match &content.sender_nonce {
            Some(nonce) => nonce.clone(),
            None => {
                let mut nonce = vec![0; SENDER_NONCE_OCTETS];
                rand::fill(&mut nonce).map_err(|_| CertificateError::Operation("the random source"))?;
                nonce
            }
        };
        let (algorithm, key_id) = match &self.protection {
            Protection::Signature => (build::algorithm_identifier(signer.algorithm()), signer.key_id()),
            Protection::Mac { mac, reference } => (mac.to_der(), reference.clone()),
        };
        let mut header = DerWriter::new();
        header.sequence(|header| {
            header.uint(self.version);
            header.constructed(Tag::context_constructed(4), |sender| {
                sender.raw(signer.name().as_der());
            });
            header.raw(&self.recipient);
            explicit(header, 0, |time| drop_ref(time.generalized_time(self.now)));
            explicit(header, 1, |field| drop_ref(field.raw(&algorithm)));
            explicit(header, 2, |field| drop_ref(field.octet_string(&key_id)));
            if let Some(id) = &self.transaction_id {
                explicit(header, 4, |field| drop_ref(field.octet_string(id)));
            }
            explicit(header, 5, |field| drop_ref(field.octet_string(&sender_nonce)));
            if let Some(nonce) = &self.nonce {
                explicit(header, 6, |field| drop_ref(field.octet_string(nonce)));
            }
            if content.implicit_confirm {
                explicit(header, 8, |field| {
                    field.sequence(|list| {
                        list.sequence(|info| drop_ref(info.oid(oids::IMPLICIT_CONFIRM).null()));
                    });
                });
            }
        });
        let header = header.into_der();
        let mut part = DerWriter::new();
        part.sequence(|part| drop_ref(part.raw(&header).raw(&content.body)));
        let part = part.into_der();
        let (protection, own) = match &self.protection {
            Protection::Signature => (signer.sign(&part)?, Some(signer.certificate(&self.issuer)?.as_der())),
            Protection::Mac { mac, .. } => (mac.make(&part), None),
        };
        let mut message = DerWriter::new();
        message.sequence(|message| {
            message.raw(&header).raw(&content.body);
            explicit(message, 0, |field| drop_ref(field.bit_string(&protection, 0)));
            if own.is_some() || !content.extra_certs.is_empty() {
                explicit(message, 1, |field| {
                    field.sequence(|list| {
                        for certificate in own.into_iter().chain(content.extra_certs.iter().map(Vec::as_slice)) {
                            list.raw(certificate);
                        }
                    });
                });
            }
        });
        Ok(Answer { der: message.into_der(), sender_nonce })
    }
}

/// The writer's methods return the writer, which closures must not.
const fn drop_ref(_: &mut DerWriter) {}

fn explicit(writer: &mut DerWriter, number: u8, write: impl FnOnce(&mut DerWriter)) {
    writer.constructed(Tag::context_constructed(number), write);
}

fn body(kind: MessageType, write: impl FnOnce(&mut DerWriter)) -> Vec<u8> {
    let mut writer = DerWriter::new();
    explicit(&mut writer, kind.number(), write);
    writer.into_der()
}

/// error.
pub(super) fn error(refusal: &Refusal) -> Vec<u8> {
    body(MessageType::Error, |body| {
        body.sequence(|content| refusal.write(content));
    })
}

/// pkiconf.
pub(super) fn confirmed() -> Vec<u8> {
    body(MessageType::Pkiconf, |body| drop_ref(body.null()))
}

/// genp with values by their types.
pub(super) fn general(values: &[(Oid, Vec<u8>)]) -> Vec<u8> {
    body(MessageType::Genp, |body| {
        body.sequence(|list| {
            for (info_type, value) in values {
                list.sequence(|info| drop_ref(info.oid(*info_type).raw(value)));
            }
        });
    })
}

/// The DER of a SEQUENCE OF certificates.
pub(super) fn certificate_list(certificates: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = DerWriter::new();
    writer.sequence(|list| {
        for certificate in certificates {
            list.raw(certificate);
        }
    });
    writer.into_der()
}

/// ip, cp or kup with a certificate, and with roots that the secret makes trustworthy.
pub(super) fn granted(kind: MessageType, id: i64, certificate: &[u8], roots: &[Vec<u8>]) -> Vec<u8> {
    responses(kind, id, roots, |response| {
        response.sequence(|status| drop_ref(status.uint(ACCEPTED)));
        response.sequence(|pair| explicit(pair, 0, |choice| drop_ref(choice.raw(certificate))));
    })
}

/// ip, cp or kup without a certificate.
pub(super) fn rejected(kind: MessageType, id: i64, refusal: &Refusal) -> Vec<u8> {
    responses(kind, id, &[], |response| refusal.write(response))
}

/// CertRepMessage ::= SEQUENCE { caPubs [1] OPTIONAL, response SEQUENCE OF CertResponse }
fn responses(kind: MessageType, id: i64, roots: &[Vec<u8>], write: impl FnOnce(&mut DerWriter)) -> Vec<u8> {
    body(kind, |body| {
        body.sequence(|message| {
            if !roots.is_empty() {
                explicit(message, 1, |field| drop_ref(field.raw(&certificate_list(roots))));
            }
            message.sequence(|list| {
                list.sequence(|response| {
                    write_id(response, id);
                    write(response);
                });
            });
        });
    })
}

/// certReqId, which is -1 for a request in PKCS #10.
fn write_id(writer: &mut DerWriter, id: i64) {
    match u64::try_from(id) {
        Ok(id) => writer.uint(id),
        Err(_) => writer.primitive(Tag::INTEGER, &[0xFF]),
    };
}

/// rp about one certificate.
pub(super) fn revoked(refusal: Option<&Refusal>) -> Vec<u8> {
    body(MessageType::Rp, |body| {
        body.sequence(|content| {
            content.sequence(|statuses| match refusal {
                Some(refusal) => refusal.write(statuses),
                None => {
                    statuses.sequence(|status| drop_ref(status.uint(ACCEPTED)));
                }
            });
        });
    })
}
