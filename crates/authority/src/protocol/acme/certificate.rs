//! Certificates: asked for, fetched and revoked (RFC 8555, sections 7.4, 7.4.2 and 7.6).

use std::collections::BTreeSet;
use std::sync::mpsc::sync_channel;

use serde::Deserialize;
use vouchsafe_evidence::base64url;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::der::{Reader, Tag};
use vouchsafe_evidence::x509::extensions::{GeneralName, SubjectAltName};
use vouchsafe_evidence::x509::{CertView, CsrView};

use super::account::Holder;
use super::attestation::{self, Presented, key_authorization_digest};
use super::document::{OrderDocument, Read, Stage};
use super::identifier::IdentifierKind;
use super::jws::KeyReference;
use super::order::{OrderStatus, Standing, own, view};
use super::problem::{Kind, Problem, refusals};
use super::{Answer, AnswerBody, Request, Resource};
use crate::enroll::{Applicant, CertificationRequest, EnrollmentRequest, Freshness, Intent, Issuing, Names};
use crate::error::{Error, own_codes};
use crate::init::pem;
use crate::issue::IssuedChain;
use crate::names::ProvenName;
use crate::nonce::Session;
use crate::record::sha256;
use crate::service::Service;
use crate::store::{AcmeChange, AcmeKind, DecisionKind, Outcome, Revocation, RevocationReason, StoreError};
use crate::text::to_hex;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Finalization {
    csr: String,
    /// The nonce of the order that the evidence in the request answers.
    attestation_nonce: Option<String>,
}

/// finalize: the certificate of an order whose authorizations are all valid.
pub(super) fn finalize(request: &Request<'_>, holder: &Holder) -> Result<Answer, Problem> {
    let wanted: Finalization = request.payload()?;
    let decode = |text: &str| base64url::decode(text).ok_or_else(|| refusals::CSR_MALFORMED.problem());
    let csr = decode(&wanted.csr)?;
    let nonce = wanted.attestation_nonce.as_deref().map(decode).transpose()?;
    let (order, standing) = at_hand(request, holder)?;
    match standing.status {
        OrderStatus::Ready => {}
        OrderStatus::Invalid | OrderStatus::Pending | OrderStatus::Valid => {
            return Err(refusals::ORDER_NOT_READY.problem());
        }
    }
    let csr = CsrView::parse(&csr).map_err(|_| refusals::CSR_MALFORMED.problem())?;
    let names = check_request(holder, &order.content, &csr)?;
    let evidence = match presented(&standing, &csr)? {
        Some((presented, key_authorization)) => (Some(presented), key_authorization),
        None => (None, standing.key_authorization(holder).unwrap_or_default()),
    };
    let chain = match enroll(request, holder, &order, evidence, (&csr, nonce.as_deref(), names)) {
        Ok(chain) => chain,
        // Another request for the same order was faster.
        Err(Error::NonceSpent) if recorded(request, holder, &order)?.is_some() => {
            return Err(refusals::ORDER_NOT_READY.problem());
        }
        Err(error) => return Err(Problem::of(error, Kind::BadCsr)),
    };
    let order = complete(request, holder, order, &chain)?;
    let standing = Standing::of(request, &order.content)?;
    let location = request.acme.url(Resource::Order, &order.id);
    Ok(Answer::json(view(request, holder, &order, &standing)?).at(location))
}

/// An order of the account whose key signed the request, and how it stands. One whose certificate was recorded and not yet
/// written into it, as after a fault of this server's, gets it here: an order has one certificate, and that is it.
pub(super) fn at_hand(request: &Request<'_>, holder: &Holder) -> Result<(Read<OrderDocument>, Standing), Problem> {
    let order = own(request, holder)?;
    let standing = Standing::of(request, &order.content)?;
    let is_ready = match standing.status {
        OrderStatus::Ready => true,
        OrderStatus::Invalid | OrderStatus::Pending | OrderStatus::Valid => false,
    };
    let chain = if is_ready { recorded(request, holder, &order)? } else { None };
    let Some(chain) = chain else { return Ok((order, standing)) };
    let order = complete(request, holder, order, &chain)?;
    let standing = Standing::of(request, &order.content)?;
    Ok((order, standing))
}

/// The certificate that was recorded for an order.
fn recorded(
    request: &Request<'_>,
    holder: &Holder,
    order: &Read<OrderDocument>,
) -> Result<Option<IssuedChain>, Problem> {
    Ok(request.service.certificate_of_order(&holder.bound, &order.id, order.content.expires)?)
}

/// Writes down that the order has its certificate, and whose it is.
fn complete(
    request: &Request<'_>,
    holder: &Holder,
    mut order: Read<OrderDocument>,
    chain: &IssuedChain,
) -> Result<Read<OrderDocument>, Problem> {
    let leaf = chain.certificates.first().and_then(|der| CertView::parse(der).ok());
    let leaf = leaf.ok_or_else(|| Problem::from(Error::Worker))?;
    order.content.stage = Stage::Valid { chain: chain.certificates.iter().map(|der| base64url::encode(der)).collect() };
    let of = AcmeChange::Create {
        kind: AcmeKind::Certificate,
        id: certificate_id(request.service, &leaf),
        owner: order.content.account.clone().into_bytes(),
        expires: leaf.not_after(),
        body: order.content.account.clone().into_bytes(),
    };
    match request.service.store.acme_change(vec![order.replaced(AcmeKind::Order)?, of]) {
        Ok(()) => {
            order.version = order.version.saturating_add(1);
            Ok(order)
        }
        // The same was written by another request.
        Err(StoreError::AcmeConflict) => own(request, holder),
        Err(error) => Err(error.into()),
    }
}

/// The names that the certificate gets. The request must ask for the hosts of the order and for no other name; devices it
/// may leave out (draft-ietf-acme-device-attest, section 3.2), and then the certificate does not name them either.
fn check_request(holder: &Holder, order: &OrderDocument, csr: &CsrView) -> Result<Vec<ProvenName>, Problem> {
    // RFC 8555, section 11.1: the key of an account is not the key of a certificate.
    if holder.document.content.jwk.spki()?.same_key(csr.spki()) {
        return Err(refusals::CSR_KEY.problem());
    }
    let requested = requested_names(csr)?;
    let mut names = Vec::new();
    for identifier in &order.identifiers {
        let name = identifier.general_name().ok_or_else(|| refusals::IDENTIFIER_MALFORMED.problem())?;
        let is_requested = requested.contains(&name);
        match identifier.kind {
            IdentifierKind::Dns if !is_requested => return Err(refusals::CSR_IDENTIFIERS.problem()),
            IdentifierKind::Dns | IdentifierKind::HardwareModule | IdentifierKind::PermanentIdentifier => {}
        }
        if is_requested {
            names.push(ProvenName { kind: identifier.kind.alternative_name(), name });
        }
    }
    if names.len() == requested.len() { Ok(names) } else { Err(refusals::CSR_IDENTIFIERS.problem()) }
}

/// The alternative names that a request asks for, host names in lower case.
fn requested_names(csr: &CsrView) -> Result<Vec<GeneralName>, Problem> {
    let malformed = |_| refusals::CSR_MALFORMED.problem();
    let mut names = Vec::new();
    let mut seen = BTreeSet::new();
    for attribute in csr.attributes().filter(|attribute| attribute.oid() == oid::EXTENSION_REQUEST) {
        for value in attribute.values() {
            let mut outer = Reader::new(value, "Extensions");
            let mut extensions = outer.sequence("Extensions").map_err(malformed)?;
            outer.finish().map_err(malformed)?;
            while !extensions.is_empty() {
                let mut fields = extensions.sequence("Extension").map_err(malformed)?;
                let kind = fields.oid("extnID").map_err(malformed)?;
                fields.optional(Tag::BOOLEAN).map_err(malformed)?;
                let value = fields.octet_string("extnValue").map_err(malformed)?;
                if !seen.insert(kind) {
                    return Err(refusals::CSR_MALFORMED.problem());
                }
                if kind == oid::SUBJECT_ALT_NAME {
                    names.extend(SubjectAltName::parse(value).map_err(malformed)?.names().iter().map(lowered));
                }
            }
        }
    }
    Ok(names)
}

fn lowered(name: &GeneralName) -> GeneralName {
    match name {
        GeneralName::Dns(host) => GeneralName::Dns(host.to_ascii_lowercase()),
        GeneralName::Directory(_)
        | GeneralName::Email(_)
        | GeneralName::Ip(_)
        | GeneralName::Other(_)
        | GeneralName::Uri(_) => name.clone(),
    }
}

/// Has the core decide, with the evidence that came with the request or in a challenge before it.
fn enroll(
    request: &Request<'_>,
    holder: &Holder,
    order: &Read<OrderDocument>,
    (presented, key_authorization): (Option<Presented>, String),
    (csr, nonce, names): (&CsrView, Option<&[u8]>, Vec<ProvenName>),
) -> Result<IssuedChain, Error> {
    let digest = key_authorization_digest(&key_authorization);
    let (certification, freshness) = match (&presented, nonce) {
        (Some(presented), _) => (
            CertificationRequest::Presented { csr, evidence: &presented.bundle },
            Freshness::KeyAuthorization(&presented.answer),
        ),
        (None, Some(nonce)) => (CertificationRequest::Pkcs10(csr.as_der()), Freshness::Nonce(nonce)),
        (None, None) => (CertificationRequest::Pkcs10(csr.as_der()), Freshness::NotProven),
    };
    let asked = EnrollmentRequest {
        request: certification,
        profile: &order.content.profile,
        intent: Intent::New,
        session: Session::AcmeOrder { id: &order.id, key_authorization: &digest, expires: order.content.expires },
        freshness,
    };
    let applicant = Applicant { names: Names::Proven(names), ..holder.applicant() };
    wait(request.service, request.service.enroll(&applicant, asked)?)
}

/// The evidence of the order's challenges. Where a device was asked for by several identifiers, each challenge must have
/// shown the key of the request; the first object stands for all.
fn presented(standing: &Standing, csr: &CsrView) -> Result<Option<(Presented, String)>, Problem> {
    let key = to_hex(&csr.spki().sha256());
    let mut first = None;
    for evidence in standing.authorizations.iter().filter_map(|authorization| authorization.evidence.as_ref()) {
        if evidence.key != key {
            return Err(refusals::CSR_KEY.problem());
        }
        first = first.or(Some(evidence));
    }
    let Some(evidence) = first else { return Ok(None) };
    let object = base64url::decode(&evidence.object).ok_or_else(|| Problem::from(Error::Worker))?;
    let presented = attestation::read(&object, &evidence.key_authorization)?;
    Ok(Some((presented, evidence.key_authorization.clone())))
}

/// Waits for the store to record the decision.
fn wait(service: &Service, issuing: Issuing) -> Result<IssuedChain, Error> {
    let deciding = match issuing {
        Issuing::Decided(chain) => return Ok(chain),
        Issuing::Deciding(deciding) => deciding,
    };
    let (told_to, told) = sync_channel(1);
    deciding.record(service, move |result, held| drop(told_to.send((result, held))));
    let (result, held) = told.recv().map_err(|_| Error::Worker)?;
    service.decided(held, result)
}

/// The certificate of an order with its chain.
pub(super) fn download(request: &Request<'_>, holder: &Holder) -> Result<Answer, Problem> {
    let order = own(request, holder)?;
    let chain = match &order.content.stage {
        Stage::Valid { chain } => chain,
        Stage::Open => return Err(refusals::ORDER_NOT_READY.problem()),
    };
    let text = chain
        .iter()
        .map(|text| base64url::decode(text).map(|der| pem("CERTIFICATE", &der)))
        .collect::<Option<String>>()
        .ok_or_else(|| Problem::from(Error::Worker))?;
    Ok(Answer::of(AnswerBody::Chain(text)))
}

#[derive(Deserialize)]
struct RevocationRequest {
    certificate: String,
    #[serde(default)]
    reason: u8,
}

/// revokeCert, by the account that the certificate was issued to or by the certificate's own key.
pub(super) fn revoke(request: &Request<'_>) -> Result<Answer, Problem> {
    let wanted: RevocationRequest = request.payload()?;
    let der = base64url::decode(&wanted.certificate).ok_or_else(|| refusals::PAYLOAD.problem())?;
    let certificate = CertView::parse(&der).map_err(|_| refusals::PAYLOAD.problem())?;
    let account = match &request.jws.key {
        KeyReference::Kid(_) => {
            let holder = request.holder()?;
            if owner_of(request, &certificate)?.as_deref() != Some(holder.id()) {
                return Err(refusals::REVOCATION_KEY.problem());
            }
            Some(holder.bound.name().to_owned())
        }
        KeyReference::Jwk(key) => {
            request.jws.verify(key)?;
            if !key.spki()?.same_key(certificate.spki()) || owner_of(request, &certificate)?.is_none() {
                return Err(refusals::REVOCATION_KEY.problem());
            }
            request.spend_nonce()?;
            None
        }
    };
    if request.service.upstreams.issuer_of(&certificate).is_some() {
        return Err(Problem::from(own_codes::UPSTREAM_REVOKES.refusal()));
    }
    let issued = request.service.store.issued(certificate.serial())?;
    let issued = issued.filter(|issued| issued.der == der).ok_or_else(|| refusals::UNKNOWN.problem())?;
    if issued.is_revoked {
        return Err(refusals::ALREADY_REVOKED.problem());
    }
    let reason = RevocationReason::from_number(wanted.reason).ok_or_else(|| refusals::REVOCATION_REASON.problem())?;
    let service = request.service;
    let report = format!("{{\"serial\":\"{}\"}}", to_hex(certificate.serial()));
    // The key itself has signed where no account has.
    let shown = account.is_none().then(|| certificate.spki());
    let account = account.unwrap_or(issued.account);
    service.check_reason(&account, &certificate, shown, reason)?;
    let decision = service.decision(
        DecisionKind::Revocation,
        &account,
        Outcome::Accepted,
        report.as_bytes(),
        &request.jws.payload,
    )?;
    let revocation = Revocation { at: service.now(), reason, approver: account };
    service.store.revoke_certificate(certificate.serial(), revocation, decision)?;
    Ok(Answer::of(AnswerBody::None))
}

/// By what a certificate is told from others: its serial number, which this authority gives once; of one from a CA elsewhere,
/// whose numbers may be those of another such CA, a digest, which is longer than any of them.
fn certificate_id(service: &Service, certificate: &CertView) -> Vec<u8> {
    match service.upstreams.issuer_of(certificate) {
        Some(_) => sha256(certificate.as_der()).to_vec(),
        None => certificate.serial().to_vec(),
    }
}

/// The account that a certificate was issued to; nothing for one that was not issued by this protocol.
fn owner_of(request: &Request<'_>, certificate: &CertView) -> Result<Option<String>, Problem> {
    let row =
        request.service.store.acme_document(AcmeKind::Certificate, &certificate_id(request.service, certificate))?;
    Ok(row.and_then(|row| String::from_utf8(row.body).ok()))
}
