//! One message and its answer: who sends it, whether it may come now, and what it asks of the core.

use std::sync::Arc;

use aws_lc_rs::digest;
use vouchsafe_evidence::x509::der::{Element, Tag};
use vouchsafe_evidence::x509::{AlgorithmIdentifier, CertView, CrmfView, SignedCrmf};
use vouchsafe_verifier::crypto::SignatureAlgorithm;

use super::body::{Body, Confirmation, MessageAccess, MessageType, RevocationDetails};
use super::freshness::{NonceRequest, nonce_response};
use super::mac::Hash;
use super::message::{Header, InfoTypeAndValue, Message};
use super::parties::{Parties, Protection, Sender};
use super::refusal::{FailInfo, Refusal, codes};
use super::reply::{self, Content, ReplyTo};
use super::transactions::{Place, Unconfirmed};
use super::{Operation, elsewhere, limits, oids, response};
use crate::ca::Hierarchy;
use crate::config::Capability;
use crate::enroll::{CertificationRequest, EnrollmentRequest, Freshness, Intent, Names};
use crate::error::Error;
use crate::issue::IssuedChain;
use crate::nonce::{Mint, NONCE_OCTETS, Session};
use crate::profile::DEFAULT_PROFILE;
use crate::protocol::Decided;
use crate::protocol::refusal::{class, detail, violations};
use crate::registration::{self, RaVerifiedRequest};
use crate::service::Service;
use crate::store::RevocationReason;

/// certReqId of requests in CRMF, and of those in PKCS #10 (RFC 9483, sections 4.1.1 and 4.1.4).
const CRMF_ID: i64 = 0;
const PKCS10_ID: i64 = -1;

/// A message in its transaction, and how it is answered.
pub(super) struct Conversation {
    parties: Arc<Parties>,
    reply: ReplyTo,
    place: Place,
    mint: Arc<Mint>,
    now: i64,
    /// Whose certificates and roots answers hold.
    hierarchy: Arc<Hierarchy>,
    /// Below the root, for whoever checks a signature of this server's.
    chain: Vec<Vec<u8>>,
    /// What the clients of the profile trust and build chains with.
    authorities: Vec<Vec<u8>>,
}

/// What the sender is to do next.
enum Next {
    Nothing,
    Request([u8; NONCE_OCTETS]),
    Confirm(Unconfirmed),
}

impl Conversation {
    /// Answers a message, as far as that goes before anything is recorded.
    pub(super) fn hold(
        service: &Service,
        message: &Message<'_>,
        operation: Operation,
        label: &str,
    ) -> Result<Decided, Error> {
        let (parties, now) = (Arc::clone(&service.cmp), service.now());
        let profile = profile(service, &message.header, label);
        // Its clients know the issuer of the profile, and of no other.
        let issuer = profile.as_ref().ok().and_then(|name| service.issuer_of_profile(name)).unwrap_or_default();
        let strangers = ReplyTo::header(&message.header, Protection::Signature, now).certified_by(issuer);
        let chain = parties.signer_chain(service, issuer);
        let sender = admissible(message, operation).and_then(|()| parties.authenticate(service, message));
        let sender = match sender {
            Ok(sender) => sender,
            Err(refusal) => {
                let content = Content { body: reply::error(&refusal), extra_certs: chain, ..Content::default() };
                let response = response(strangers.message(&parties, &content)?.der);
                return Ok(Decided::Answer(refusal.refused().beside(response)));
            }
        };
        let place = Place {
            account: sender.applicant.account.name().to_owned(),
            id: message.header.transaction_id.unwrap_or_default().to_vec(),
            sender: sender.identity.clone(),
            recipient_nonce: message.header.recipient_nonce.map(<[u8]>::to_vec),
            work: Arc::default(),
        };
        let conversation = Self {
            parties,
            reply: strangers.protected_by(sender.protection.clone()),
            place,
            mint: Arc::clone(&service.mint),
            now,
            hierarchy: Arc::clone(&service.hierarchy),
            chain,
            authorities: match &profile {
                Ok(name) => service.profile_authorities(service.profile(name)?)?,
                Err(_) => Vec::new(),
            },
        };
        match permitted(message, &sender).and(profile) {
            Ok(profile) => conversation.perform(service, message, &sender, profile),
            Err(refusal) => conversation.refused(&refusal),
        }
    }

    fn perform(
        self,
        service: &Service,
        message: &Message<'_>,
        sender: &Sender,
        profile: &str,
    ) -> Result<Decided, Error> {
        let implicit = message.header.asks_for_implicit_confirmation();
        match &message.body {
            Body::Ir(request) => {
                self.certify(service, sender, profile, Wanted::crmf(MessageType::Ip, request, implicit))
            }
            Body::Cr(request) => {
                self.certify(service, sender, profile, Wanted::crmf(MessageType::Cp, request, implicit))
            }
            Body::Kur(request) => {
                self.certify(service, sender, profile, Wanted::crmf(MessageType::Kup, request, implicit))
            }
            Body::P10cr(csr) => self.certify(service, sender, profile, Wanted::pkcs10(csr, implicit)),
            Body::Rr(details) => self.revoke(service, sender, details),
            Body::CertConf(confirmation) => self.confirm(service, confirmation),
            Body::Genm(values) => self.inform(service, sender, profile, values),
            Body::Error => match self.parties.transactions.give_up(&self.place, self.now) {
                Ok(()) => self.answered(&reply::confirmed()),
                Err(refusal) => self.refused(&refusal),
            },
            Body::NotServed(_) => self.refused(&Refusal::of(codes::MESSAGE_TYPE)),
        }
    }

    /// ir, cr, kur and p10cr.
    fn certify(self, service: &Service, sender: &Sender, profile: &str, wanted: Wanted<'_>) -> Result<Decided, Error> {
        let nonce = match self.parties.transactions.request(&self.place, self.now) {
            Ok(nonce) => nonce,
            Err(refusal) => return self.refused(&refusal),
        };
        let (id, kind, implicit) = (wanted.id, wanted.answer, wanted.implicit);
        let is_registrar = registration::may_say_verified(&sender.applicant, service.profile(profile)?);
        let request = match wanted.request(sender, is_registrar) {
            Ok(request) => request,
            Err(refusal) => {
                return self.told(rejected(kind, id, &refusal));
            }
        };
        let transaction = self.place.id.clone();
        let issuing = service.enroll(
            &sender.applicant,
            EnrollmentRequest {
                request: request.as_request(),
                profile,
                intent: if kind == MessageType::Kup { Intent::Renewal } else { Intent::New },
                session: Session::CmpTransaction(&transaction),
                freshness: nonce.as_ref().map_or(Freshness::NotProven, |nonce| Freshness::Nonce(nonce)),
            },
        );
        match issuing {
            Ok(issuing) => {
                Decided::from_issuing(issuing, Box::new(move |chain| self.certified(kind, id, implicit, chain)))
            }
            Err(error) => self.certified(kind, id, implicit, Err(error)).map(Decided::Answer),
        }
    }

    /// ip, cp or kup, now that it is recorded or could not be.
    fn certified(
        self,
        kind: MessageType,
        id: i64,
        implicit: bool,
        chain: Result<IssuedChain, Error>,
    ) -> Result<axum::response::Response, Error> {
        let issued = chain.and_then(|chain| {
            let mut certificates = chain.certificates.into_iter();
            Ok((certificates.next().ok_or(Error::Worker)?, certificates.collect::<Vec<_>>()))
        });
        let (certificate, above) = match issued {
            Ok(issued) => issued,
            Err(error) => {
                return self.send(rejected(kind, id, &refusal_of(error)), Next::Nothing);
            }
        };
        // A secret makes a root trustworthy; a signature that chains to it does not (RFC 9483, section 4.1.1).
        let roots = match (&self.reply.protection, kind) {
            (Protection::Mac { .. }, MessageType::Ip) => self.root_of(&certificate).into_iter().collect(),
            _ => Vec::new(),
        };
        let body = reply::granted(kind, id, &certificate, &roots);
        let next = if implicit { Next::Nothing } else { Next::Confirm(Unconfirmed { certificate, id }) };
        // The chain of the issuer that it came from, which need not be the one that the server's own certificate came from.
        let mut extra_certs = above;
        extra_certs.extend(self.chain.iter().filter(|own| !extra_certs.contains(own)).cloned().collect::<Vec<_>>());
        self.send(Content { body, implicit_confirm: implicit, extra_certs, refused: None, sender_nonce: None }, next)
    }

    /// certConf.
    fn confirm(self, service: &Service, confirmation: &Confirmation<'_>) -> Result<Decided, Error> {
        let transactions = &self.parties.transactions;
        let awaited = match transactions.confirmation(&self.place, self.now) {
            Ok(Some(unconfirmed)) => Ok(unconfirmed),
            Ok(None) => match elsewhere::unconfirmed(service, &self.place)? {
                Some(unconfirmed) => transactions.begin(&self.place, self.now).map(|()| unconfirmed),
                None => Err(Refusal::of(codes::OUT_OF_ORDER)),
            },
            Err(refusal) => Err(refusal),
        };
        let unconfirmed = match awaited {
            Ok(unconfirmed) => unconfirmed,
            Err(refusal) => return self.refused(&refusal),
        };
        let is_meant = confirmation.id == unconfirmed.id && is_hash(confirmation, &unconfirmed.certificate);
        if !is_meant {
            return self.ended(&Refusal::of(codes::BAD_CERT_HASH));
        }
        if !confirmation.accepted {
            // RFC 9483, section 4.1.1: what a client does not take is not left valid.
            let serial = CertView::parse(&unconfirmed.certificate).map(|view| view.serial().to_vec());
            let serial = serial.map_err(|_| Error::Worker)?;
            let reason = RevocationReason::CessationOfOperation;
            if let Err(error) = service.revoke_issued(&self.place.account, (None, None), without_zeros(&serial), reason)
            {
                return self.ended(&refusal_of(error));
            }
        }
        self.answered(&reply::confirmed())
    }

    /// genm.
    fn inform(
        self,
        service: &Service,
        sender: &Sender,
        profile: &str,
        values: &[InfoTypeAndValue<'_>],
    ) -> Result<Decided, Error> {
        if let Err(refusal) = self.parties.transactions.begin(&self.place, self.now) {
            return self.refused(&refusal);
        }
        let (mut told, mut next) = (Vec::new(), Next::Nothing);
        for value in values {
            if value.info_type == oids::NONCE_REQUEST {
                // How long a nonce should be is a wish; these have one length (the draft's section 3).
                if let Err(malformed) = NonceRequest::parse(value.value.unwrap_or_default()) {
                    return self.ended(&malformed.into());
                }
                let session = Session::CmpTransaction(&self.place.id);
                let minted = match service.mint_session_nonce(&sender.applicant.account, profile, session) {
                    Ok(minted) => minted,
                    Err(error) => return self.ended(&refusal_of(error)),
                };
                let seconds = u64::try_from(service.mint.lifetime_seconds()).unwrap_or_default();
                told.push((oids::NONCE_RESPONSE, nonce_response(&minted.octets, seconds)));
                next = Next::Request(minted.octets);
            } else if value.info_type == oids::CA_CERTS {
                told.push((oids::CA_CERTS, reply::certificate_list(&self.authorities)));
            }
        }
        if told.is_empty() {
            return self.ended(&Refusal::of(codes::UNKNOWN_INFO));
        }
        let content = Content { body: reply::general(&told), extra_certs: self.helpful(), ..Content::default() };
        self.send(content, next).map(Decided::Answer)
    }

    /// rr: of a certificate that was issued here to this account.
    fn revoke(self, service: &Service, sender: &Sender, details: &RevocationDetails) -> Result<Decided, Error> {
        if let Err(refusal) = self.parties.transactions.begin(&self.place, self.now) {
            return self.refused(&refusal);
        }
        let refusal = super::revocation::revoke(service, sender, details).err();
        let refused = refusal.as_ref().map(Refusal::refused);
        let body = reply::revoked(refusal.as_ref());
        let content = Content { body, extra_certs: self.helpful(), refused, ..Content::default() };
        self.told(content)
    }

    /// The root of the issuer of a certificate, DER, where it is known here.
    fn root_of(&self, certificate: &[u8]) -> Option<Vec<u8>> {
        let certificate = CertView::parse(certificate).ok()?;
        let root = self.hierarchy.issuer_of(&certificate).ok()?.root()?;
        Some(root.as_der().to_vec())
    }

    /// What a client needs to check a signature; a MAC needs nothing.
    fn helpful(&self) -> Vec<Vec<u8>> {
        match self.reply.protection {
            Protection::Signature => self.chain.clone(),
            Protection::Mac { .. } => Vec::new(),
        }
    }

    /// An error; the transaction is where it was.
    fn refused(self, refusal: &Refusal) -> Result<Decided, Error> {
        let content = Content { body: reply::error(refusal), extra_certs: self.helpful(), ..Content::default() };
        let response = response(self.reply.message(&self.parties, &content)?.der);
        Ok(Decided::Answer(refusal.refused().told_to(&self.place.account).beside(response)))
    }

    /// An error that ends the transaction.
    fn ended(self, refusal: &Refusal) -> Result<Decided, Error> {
        let (extra_certs, refused) = (self.helpful(), Some(refusal.refused()));
        self.told(Content { body: reply::error(refusal), extra_certs, refused, ..Content::default() })
    }

    fn answered(self, body: &[u8]) -> Result<Decided, Error> {
        let content = Content { body: body.to_vec(), extra_certs: self.helpful(), ..Content::default() };
        self.told(content)
    }

    /// An answer after which nothing follows.
    fn told(self, content: Content) -> Result<Decided, Error> {
        self.send(content, Next::Nothing).map(Decided::Answer)
    }

    fn send(self, mut content: Content, next: Next) -> Result<axum::response::Response, Error> {
        if content.extra_certs.is_empty() {
            content.extra_certs = self.helpful();
        }
        content.sender_nonce = match &next {
            Next::Nothing => None,
            Next::Request(nonce) => Some(nonce.to_vec()),
            Next::Confirm(unconfirmed) => {
                Some(elsewhere::awaiting_confirmation(&self.mint, &self.place, unconfirmed, self.now)?)
            }
        };
        let answer = self.reply.message(&self.parties, &content)?;
        let transactions = &self.parties.transactions;
        match next {
            Next::Nothing => transactions.end(&self.place, self.now),
            Next::Request(nonce) => transactions.await_request(&self.place, self.now, nonce, &answer.sender_nonce),
            Next::Confirm(unconfirmed) => {
                transactions.await_confirmation(&self.place, self.now, unconfirmed, &answer.sender_nonce);
            }
        }
        let response = response(answer.der);
        Ok(match content.refused {
            Some(refused) => refused.told_to(&self.place.account).beside(response),
            None => response,
        })
    }
}

/// What is wanted, and in what it is answered.
struct Wanted<'a> {
    answer: MessageType,
    id: i64,
    implicit: bool,
    form: Form<'a>,
}

enum Form<'a> {
    Crmf(&'a CrmfView),
    Pkcs10(&'a [u8]),
}

/// A request that the core can judge.
enum Judgeable<'a> {
    Crmf(SignedCrmf),
    RaVerified(RaVerifiedRequest),
    Pkcs10(&'a [u8]),
}

impl Judgeable<'_> {
    const fn as_request(&self) -> CertificationRequest<'_> {
        match self {
            Self::Crmf(request) => CertificationRequest::Crmf(request),
            Self::RaVerified(request) => CertificationRequest::RaVerified(request),
            Self::Pkcs10(csr) => CertificationRequest::Pkcs10(csr),
        }
    }
}

impl<'a> Wanted<'a> {
    const fn crmf(answer: MessageType, request: &'a CrmfView, implicit: bool) -> Self {
        Self { answer, id: CRMF_ID, implicit, form: Form::Crmf(request) }
    }

    const fn pkcs10(csr: &'a [u8], implicit: bool) -> Self {
        Self { answer: MessageType::Cp, id: PKCS10_ID, implicit, form: Form::Pkcs10(csr) }
    }

    /// The request, if it is one that may be judged: a signature proves possession or a registration authority says that it
    /// is proven, no control asks for what is not given, and a key update is signed by what it replaces.
    fn request(self, sender: &Sender, is_registrar: bool) -> Result<Judgeable<'a>, Refusal> {
        let request = match self.form {
            Form::Pkcs10(csr) => return Ok(Judgeable::Pkcs10(csr)),
            Form::Crmf(request) => request,
        };
        if i64::from(request.id()) != CRMF_ID {
            return Err(Refusal::found(codes::BAD_CERT_TEMPLATE, "certReqId is not 0."));
        }
        let is_update = self.answer == MessageType::Kup;
        let own = match (&sender.certificate, &sender.applicant.names) {
            (Some(certificate), Names::Only(_)) => Some(certificate),
            (Some(_), Names::OfAccount | Names::Proven(_)) | (None, _) => None,
        };
        if is_update && own.is_none() {
            let sentence = "A key update is signed by the key of the certificate that it replaces.";
            return Err(Refusal::found(codes::NOT_THE_OWNER, sentence));
        }
        for control in request.controls() {
            if !is_update || control.oid != oids::OLD_CERT_ID {
                return Err(Refusal::found(codes::CONTROL, &format!("The control {} is not given here.", control.oid)));
            }
            if !own.is_some_and(|own| is_certificate_id(&control.value, own)) {
                return Err(Refusal::found(codes::NOT_THE_OWNER, "oldCertID names another certificate."));
            }
        }
        match RaVerifiedRequest::new(request).filter(|_| is_registrar) {
            Some(request) => Ok(Judgeable::RaVerified(request)),
            None => Ok(Judgeable::Crmf(SignedCrmf::new(request.clone())?)),
        }
    }
}

/// CertId ::= SEQUENCE { issuer GeneralName, serialNumber INTEGER }
fn is_certificate_id(der: &[u8], certificate: &CertView) -> bool {
    let read = || -> Result<bool, vouchsafe_evidence::Malformed> {
        let mut fields = Element::parse(der, "CertId")?.reader();
        let issuer = fields.expect(Tag::context_constructed(4), "issuer")?;
        let serial = fields.expect(Tag::INTEGER, "serialNumber")?;
        fields.finish()?;
        Ok(issuer.contents() == certificate.issuer().as_der()
            && without_zeros(serial.contents()) == without_zeros(certificate.serial()))
    };
    read().unwrap_or(false)
}

/// A magnitude without the octet that keeps it positive.
pub(super) fn without_zeros(magnitude: &[u8]) -> &[u8] {
    let zeros = magnitude.iter().take_while(|octet| **octet == 0).count();
    magnitude.get(zeros..).unwrap_or_default()
}

/// Whether a confirmation names this certificate: by the hash that it names, or by that of the certificate's signature.
fn is_hash(confirmation: &Confirmation<'_>, certificate: &[u8]) -> bool {
    let named = match confirmation.hash_algorithm {
        Some(algorithm) => AlgorithmIdentifier::parse(algorithm).ok().and_then(|algorithm| {
            let hash = Hash::from_oid(algorithm.oid())?;
            Some(digest::digest(hash.digest(), certificate).as_ref().to_vec())
        }),
        None => CertView::parse(certificate).ok().and_then(|view| {
            let algorithm = SignatureAlgorithm::from_der(view.outer_algorithm().as_der()).ok()?;
            algorithm.hash().map(|hash| hash.digest(&[certificate]))
        }),
    };
    named.is_some_and(|hash| hash == confirmation.cert_hash)
}

/// What can be told of a message before its sender is known.
fn admissible(message: &Message<'_>, operation: Operation) -> Result<(), Refusal> {
    let header = &message.header;
    if !matches!(header.version, 2 | 3) {
        return Err(Refusal::of(codes::UNSUPPORTED_VERSION));
    }
    let kind = message.body.message_type();
    match kind.access() {
        MessageAccess::Nobody => {
            let sentence = format!("Messages of the type {kind:?} are not served.");
            return Err(Refusal::found(codes::MESSAGE_TYPE, &sentence));
        }
        MessageAccess::Begins(_) | MessageAccess::Continues(_) => {}
    }
    if !operation.takes(kind) {
        return Err(Refusal::of(codes::OPERATION));
    }
    if header.transaction_id.is_none_or(|id| id.len() < limits::TRANSACTION_ID_OCTETS_MIN) {
        return Err(Refusal::of(codes::BAD_TRANSACTION_ID));
    }
    if header.sender_nonce.is_none_or(|nonce| nonce.len() < limits::SENDER_NONCE_OCTETS_MIN) {
        return Err(Refusal::of(codes::BAD_SENDER_NONCE));
    }
    Ok(())
}

/// Whether the account may send messages of this type at all.
fn permitted(message: &Message<'_>, sender: &Sender) -> Result<(), Refusal> {
    let capability: Capability = match message.body.message_type().access() {
        MessageAccess::Begins(capability) | MessageAccess::Continues(capability) => capability,
        MessageAccess::Nobody => return Err(Refusal::of(codes::MESSAGE_TYPE)),
    };
    if sender.applicant.account.may(capability) { Ok(()) } else { Err(refusal_of(Error::NotPermitted(capability))) }
}

/// The profile that path and message name, one at most between them.
fn profile<'a>(service: &'a Service, header: &Header<'_>, label: &str) -> Result<&'a str, Refusal> {
    let named = header.profiles()?;
    let name = match (label, named.as_slice()) {
        ("", []) => DEFAULT_PROFILE,
        ("", [one]) => one,
        (label, []) => label,
        (label, [one]) if label == *one => label,
        (_, _) => return Err(Refusal::of(codes::PROFILE)),
    };
    Ok(service.profile(name).map_err(refusal_of)?.name())
}

/// ip, cp or kup without a certificate.
fn rejected(kind: MessageType, id: i64, refusal: &Refusal) -> Content {
    Content { body: reply::rejected(kind, id, refusal), refused: Some(refusal.refused()), ..Content::default() }
}

/// A refusal of the core, in CMP's words.
pub(super) fn refusal_of(error: Error) -> Refusal {
    let class = class(&error);
    let sentence = detail(&error, class.status);
    let found = violations(error);
    let fail_info = match class.status.as_u16() {
        401 | 403 => FailInfo::NotAuthorized,
        413 => FailInfo::BadDataFormat,
        422 if found.iter().any(|violation| violation.code == "csr.bad-signature") => FailInfo::BadPop,
        422 => FailInfo::IncorrectData,
        503 => FailInfo::SystemUnavailable,
        500..=599 => FailInfo::SystemFailure,
        _ => FailInfo::BadRequest,
    };
    if found.is_empty() {
        return Refusal::because(fail_info, [(class.code.to_owned(), sentence)]);
    }
    Refusal::because(fail_info, found.into_iter().map(|violation| (violation.code, violation.message)))
}
