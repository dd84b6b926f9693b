//! Answers: bodies, and the message around them, protected as the request was.

use aws_lc_rs::rand;
use vouchsafe_evidence::oid::Oid;
use vouchsafe_evidence::x509::build::{self, DerWriter};
use vouchsafe_evidence::x509::der::Tag;

use super::body::MessageType;
use super::message::Header;
use super::parties::{Parties, Protection};
use super::refusal::Refusal;
use super::write::{self, HeaderFields, Protector, body, directory_name, drop_ref, explicit, nobody};
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
        let (recipient, protection) = (nobody(), Protection::Signature);
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
        let (algorithm, key_id, own) = match &self.protection {
            Protection::Signature => {
                let own = signer.certificate(&self.issuer)?.as_der();
                (build::algorithm_identifier(signer.algorithm()), signer.key_id(), Some(own))
            }
            Protection::Mac { mac, reference } => (mac.to_der(), reference.clone(), None),
        };
        let fields = HeaderFields {
            version: self.version,
            recipient: &self.recipient,
            now: self.now,
            transaction_id: self.transaction_id.as_deref(),
            sender_nonce: &sender_nonce,
            recipient_nonce: self.nonce.as_deref(),
            implicit_confirm: content.implicit_confirm,
        };
        let by = Protector {
            sender: &directory_name(signer.name().as_der()),
            algorithm: &algorithm,
            key_id: Some(&key_id),
            certificates: own.into_iter().chain(content.extra_certs.iter().map(Vec::as_slice)).collect(),
        };
        let der = write::message(&fields, &by, &content.body, |part| match &self.protection {
            Protection::Signature => signer.sign(part),
            Protection::Mac { mac, .. } => Ok(mac.make(part)),
        })?;
        Ok(Answer { der, sender_nonce })
    }
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
