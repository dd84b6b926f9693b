//! A certificate by CMP (RFC 9483, sections 4.1.2 and 5.2): cr with a request that was made here, raVerified, then certConf
//! once the certificate is on record, or one that rejects it.
//!
//! The request is not the client's: it has what was decided, and nothing that the client wrote besides. Answers count if they
//! are protected by the shared secret, or by a key that the upstream CA speaks through.

use std::sync::Arc;

use aws_lc_rs::rand;
use thiserror::Error;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::build::{self, DerWriter};
use vouchsafe_evidence::x509::der::{Element, Reader, Tag};
use vouchsafe_evidence::x509::extensions::{KeyUsage, subject_key_identifier};
use vouchsafe_evidence::x509::{CertView, NameView, SpkiView};
use vouchsafe_evidence::{Malformed, Reason};
use vouchsafe_verifier::crypto::{SignatureAlgorithm, SignatureBudget, verify_signature};
use zeroize::Zeroizing;

use super::check::Issuers;
use super::http::{HttpError, Server};
use super::{Asked, Confirmation, TRANSACTION_OCTETS, Wanted, Words};
use crate::certificate::SigningKey;
use crate::protocol::cmp::write::{self, HeaderFields, Protector, body, directory_name, drop_ref, explicit};
use crate::protocol::cmp::{FailInfo, Message, MessageType, PasswordMac, oids, write_rejection};

/// The media type of messages (RFC 9811, section 3.3).
const MEDIA_TYPE: &str = "Content-Type: application/pkixcmp\r\nAccept: application/pkixcmp\r\n";
/// Octets of a senderNonce: 128 bits (RFC 9483, section 3.1).
const NONCE_OCTETS: usize = 16;
/// Texts of a PKIFreeText that are repeated.
const TEXTS_MAX: usize = 16;

/// By what messages are this authority's.
pub(super) enum Protection {
    Mac { reference: Vec<u8>, secret: Arc<Zeroizing<Vec<u8>>> },
    Signature { key: Box<SigningKey>, chain: Vec<CertView> },
}

/// An upstream that is asked by CMP.
pub(super) struct CmpClient {
    pub(super) server: Server,
    pub(super) protection: Protection,
    pub(super) recipient: NameView,
}

impl std::fmt::Debug for CmpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CmpClient").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Why an answer does not count.
#[derive(Debug, Error)]
pub(super) enum CmpError {
    /// There is none.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It is not a message of this protocol.
    #[error("the answer is no message of CMP")]
    Malformed(#[from] Malformed),
    /// A message of this type was not awaited.
    #[error("the answer is a message of the type {}", .0.number())]
    MessageType(MessageType),
    /// This authority's own message could not be made.
    #[error("the message could not be protected")]
    Own,
    /// HTTP says that the request was not answered.
    #[error("the answer has the HTTP status {0}")]
    Status(u16),
    /// It belongs to another transaction, or answers another message.
    #[error("the answer is of another transaction, or to another message")]
    Transaction,
    /// It is not protected by who must have made it.
    #[error("the answer is not protected by the upstream CA")]
    Unprotected,
}

/// What a message says.
enum Answer {
    /// A certificate, DER.
    Certificate(Vec<u8>),
    /// pkiconf.
    Confirmed,
    /// A refusal.
    Refused { words: Words, fail_info: Vec<u8> },
}

/// A certificate that awaits its confirmation.
#[derive(Debug)]
pub(super) struct Unconfirmed {
    transaction: [u8; TRANSACTION_OCTETS],
    recipient_nonce: Option<Vec<u8>>,
    certificate: Vec<u8>,
}

/// The DER of the CertReqMsg for an order: the same whenever it is made.
///
/// ```asn1
/// CertReqMsg ::= SEQUENCE { CertRequest { certReqId 0, CertTemplate { subject [5], publicKey [6], extensions [9] } },
///                           popo raVerified [0] NULL }
/// ```
///
/// How long the certificate is valid, RFC 9483 leaves to the CA; it is looked at in the answer.
pub(super) fn request(spki: &SpkiView, wanted: &Wanted) -> Result<Vec<u8>, Malformed> {
    let spki = Element::parse(spki.as_der(), "SubjectPublicKeyInfo")?;
    let mut extensions = vec![
        build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
        build::extended_key_usage(false, &wanted.purposes),
    ];
    if !wanted.names.is_empty() {
        extensions.push(build::subject_alt_name(wanted.subject.is_empty(), &wanted.names));
    }
    let mut writer = DerWriter::new();
    writer.sequence(|message| {
        message.sequence(|request| {
            request.uint(0).sequence(|template| {
                explicit(template, 5, |subject| drop_ref(subject.raw(wanted.subject.as_der())));
                template.primitive(Tag::context_constructed(6), spki.contents());
                template.constructed(Tag::context_constructed(9), |list| {
                    for extension in &extensions {
                        list.raw(extension);
                    }
                });
            });
        });
        message.primitive(Tag::context(0), &[]);
    });
    Ok(writer.into_der())
}

impl CmpClient {
    /// Asks for the certificate of a request that [`request`] made.
    pub(super) async fn certificate(
        &self,
        request: &[u8],
        transaction: [u8; TRANSACTION_OCTETS],
        issuers: &Issuers,
        now: i64,
    ) -> Result<Asked, CmpError> {
        let body = body(MessageType::Cr, |body| {
            body.sequence(|list| drop_ref(list.raw(request)));
        });
        let (answer, recipient_nonce) = self.exchange(&body, (transaction, None), 2, issuers, now).await?;
        Ok(match answer {
            Answer::Certificate(certificate) => {
                let unconfirmed = Unconfirmed { transaction, recipient_nonce, certificate: certificate.clone() };
                Asked::Certificate { certificate, confirmation: Confirmation::Cmp(Box::new(unconfirmed)) }
            }
            Answer::Confirmed => return Err(CmpError::MessageType(MessageType::Pkiconf)),
            Answer::Refused { fail_info, .. } if has_bit(&fail_info, FailInfo::TransactionIdInUse) => Asked::Before,
            Answer::Refused { words, fail_info } if has_bit(&fail_info, FailInfo::SystemUnavailable) => {
                Asked::Unavailable(words)
            }
            Answer::Refused { words, .. } => Asked::Refused(words),
        })
    }

    /// Says that the certificate is on record here, or that it is not taken, and why (RFC 9483, section 4.1.1).
    pub(super) async fn confirm(
        &self,
        unconfirmed: &Unconfirmed,
        refused: Option<&str>,
        issuers: &Issuers,
        now: i64,
    ) -> Result<(), CmpError> {
        let (hash, named) = certificate_hash(&unconfirmed.certificate)?;
        let body = body(MessageType::CertConf, |body| {
            body.sequence(|list| {
                list.sequence(|status| {
                    status.octet_string(&hash).uint(0);
                    if let Some(sentence) = refused {
                        write_rejection(status, FailInfo::BadCertTemplate, [sentence]);
                    }
                    if named {
                        explicit(status, 0, |field| {
                            drop_ref(field.raw(&build::algorithm_identifier(oids::SHA256)));
                        });
                    }
                });
            });
        });
        let place = (unconfirmed.transaction, unconfirmed.recipient_nonce.as_deref());
        // hashAlg is of version 3 (RFC 9810, section 5.3.18).
        match self.exchange(&body, place, if named { 3 } else { 2 }, issuers, now).await? {
            (Answer::Confirmed, _) => Ok(()),
            (Answer::Certificate(_), _) => Err(CmpError::MessageType(MessageType::Cp)),
            (Answer::Refused { .. }, _) => Err(CmpError::MessageType(MessageType::Error)),
        }
    }

    async fn exchange(
        &self,
        body: &[u8],
        (transaction, recipient_nonce): ([u8; TRANSACTION_OCTETS], Option<&[u8]>),
        version: u64,
        issuers: &Issuers,
        now: i64,
    ) -> Result<(Answer, Option<Vec<u8>>), CmpError> {
        let mut nonce = [0; NONCE_OCTETS];
        rand::fill(&mut nonce).map_err(|_| CmpError::Own)?;
        let fields = HeaderFields {
            version,
            recipient: &directory_name(self.recipient.as_der()),
            now,
            transaction_id: Some(&transaction),
            sender_nonce: &nonce,
            recipient_nonce,
            implicit_confirm: false,
        };
        let message = self.message(&fields, body)?;
        let reply = self.server.post("", MEDIA_TYPE, &message).await?;
        if reply.status != 200 {
            return Err(CmpError::Status(reply.status));
        }
        let answer = Message::parse(&reply.body)?;
        if !self.is_protected(&answer, issuers, now) {
            return Err(CmpError::Unprotected);
        }
        let is_answer =
            answer.header.transaction_id == Some(&transaction[..]) && answer.header.recipient_nonce == Some(&nonce[..]);
        if !is_answer {
            return Err(CmpError::Transaction);
        }
        let sender_nonce = answer.header.sender_nonce.map(<[u8]>::to_vec);
        Ok((read_answer(answer.body.message_type(), &answer.protected_part)?, sender_nonce))
    }

    /// Whether a message is protected by the secret, or signed in the name of the upstream CA.
    fn is_protected(&self, message: &Message<'_>, issuers: &Issuers, now: i64) -> bool {
        let (Some(algorithm), Some(protection)) = (&message.header.protection_algorithm, message.protection) else {
            return false;
        };
        if PasswordMac::is_named_by(algorithm) {
            let Protection::Mac { secret, .. } = &self.protection else { return false };
            return PasswordMac::from_algorithm(algorithm)
                .is_ok_and(|mac| mac.keyed(secret).is_of(protection, &message.protected_part));
        }
        let Some(signer) = message.extra_certs.first() else { return false };
        let Ok(algorithm) = SignatureAlgorithm::from_der(algorithm.as_der()) else { return false };
        let mut budget = SignatureBudget::new();
        verify_signature(&mut budget, signer.spki(), algorithm, &message.protected_part, protection).is_ok()
            && issuers.vouch_for(signer, now)
    }

    /// A whole message.
    fn message(&self, fields: &HeaderFields<'_>, body: &[u8]) -> Result<Vec<u8>, CmpError> {
        match &self.protection {
            Protection::Mac { reference, secret } => {
                let mac = PasswordMac::for_requests().ok_or(CmpError::Own)?.keyed(secret);
                let by = Protector {
                    sender: &write::nobody(),
                    algorithm: &mac.to_der(),
                    key_id: Some(reference),
                    certificates: Vec::new(),
                };
                write::message(fields, &by, body, |part| Ok(mac.make(part)))
            }
            Protection::Signature { key, chain } => {
                let own = chain.first().ok_or(CmpError::Own)?;
                let key_id = own.extension(oid::SUBJECT_KEY_IDENTIFIER)?;
                let key_id = key_id.map(|extension| subject_key_identifier(extension.value())).transpose()?;
                let by = Protector {
                    sender: &directory_name(own.subject().as_der()),
                    algorithm: &build::algorithm_identifier(key.algorithm()),
                    key_id,
                    certificates: chain.iter().map(CertView::as_der).collect(),
                };
                write::message(fields, &by, body, |part| key.sign(part).map_err(|_| CmpError::Own))
            }
        }
    }
}

/// The digest of a certificate by the hash of its signature, and whether that must be named since the signature has none
/// (RFC 9810, section 5.3.18).
fn certificate_hash(certificate: &[u8]) -> Result<(Vec<u8>, bool), Malformed> {
    let view = CertView::parse(certificate)?;
    let algorithm = SignatureAlgorithm::from_der(view.outer_algorithm().as_der()).ok();
    let hash = algorithm.and_then(SignatureAlgorithm::hash);
    Ok((hash.unwrap_or(HashAlg::Sha256).digest(&[certificate]), hash.is_none()))
}

fn has_bit(fail_info: &[u8], bit: FailInfo) -> bool {
    let bit = usize::from(bit.bit());
    fail_info.get(bit / 8).is_some_and(|octet| octet & (0x80 >> (bit % 8)) != 0)
}

/// What the body of a protected part says, which is of this type.
fn read_answer(kind: MessageType, part: &[u8]) -> Result<Answer, CmpError> {
    let mut fields = Element::parse(part, "ProtectedPart")?.reader();
    fields.expect(Tag::SEQUENCE, "header")?;
    let body = fields.element()?;
    body.check_strict()?;
    let mut contents = body.reader();
    if kind == MessageType::Cp {
        let mut message = contents.sequence("CertRepMessage")?;
        message.optional(Tag::context_constructed(1))?;
        let mut responses = message.sequence("response")?;
        let response = responses.expect(Tag::SEQUENCE, "CertResponse")?;
        responses.finish()?;
        read_response(response.reader())
    } else if kind == MessageType::Error {
        let mut error = contents.sequence("ErrorMsgContent")?;
        let (_, words, fail_info) = read_status(error.sequence("pKIStatusInfo")?)?;
        Ok(Answer::Refused { words, fail_info })
    } else if kind == MessageType::Pkiconf {
        Ok(Answer::Confirmed)
    } else {
        Err(CmpError::MessageType(kind))
    }
}

/// CertResponse ::= SEQUENCE { certReqId INTEGER, status PKIStatusInfo, certifiedKeyPair OPTIONAL, rspInfo OPTIONAL }
fn read_response(mut response: Reader<'_>) -> Result<Answer, CmpError> {
    const GRANTED: [u64; 2] = [0, 1];
    const WAITING: u64 = 3;
    let id = response.expect(Tag::INTEGER, "certReqId")?;
    if id.integer()? != [0] {
        return Err(id.error(Reason::Unexpected("certReqId of 0")).into());
    }
    let (status, words, fail_info) = read_status(response.sequence("status")?)?;
    if status == WAITING {
        let words = Words::new("it wants to be asked again later, which is not done here");
        return Ok(Answer::Refused { words, fail_info });
    }
    if !GRANTED.contains(&status) {
        return Ok(Answer::Refused { words, fail_info });
    }
    let mut pair = response.sequence("certifiedKeyPair")?;
    let choice = pair.expect(Tag::context_constructed(0), "certificate")?;
    let mut inner = choice.reader();
    let certificate = inner.expect(Tag::SEQUENCE, "CMPCertificate")?;
    inner.finish()?;
    Ok(Answer::Certificate(certificate.as_der().to_vec()))
}

/// The status, what statusString says, and the octets of failInfo.
fn read_status(mut info: Reader<'_>) -> Result<(u64, Words, Vec<u8>), Malformed> {
    let status = info.uint("status")?;
    let mut texts = Vec::new();
    if let Some(list) = info.optional(Tag::SEQUENCE)? {
        let mut members = list.reader();
        while !members.is_empty() && texts.len() < TEXTS_MAX {
            let text = members.expect(Tag::UTF8_STRING, "PKIFreeText")?;
            texts.push(String::from_utf8_lossy(text.contents()).into_owned());
        }
    }
    let fail_info = match info.optional(Tag::BIT_STRING)? {
        Some(bits) => bits.bit_string()?.octets().to_vec(),
        None => Vec::new(),
    };
    Ok((status, Words::new(&texts.join("; ")), fail_info))
}
