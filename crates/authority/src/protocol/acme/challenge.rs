//! Authorizations and their challenges (RFC 8555, sections 7.1.4, 7.1.5 and 7.5).
//!
//! A challenge is validated while its answer is waited for, once: whoever was wrong makes a new order.

use serde::Deserialize;
use serde_json::{Value, json};
use vouchsafe_evidence::base64url;
use vouchsafe_evidence::input::Submission;
use vouchsafe_verifier::Instant;

use super::account::Holder;
use super::attestation::{self, KeyAuthorizationAnswer, Presented, key_authorization_digest, names_device};
use super::document::{AuthorizationDocument, ChallengeDocument, ChallengeKind, EvidenceDocument, Read, Status, read};
use super::order::key_authorization;
use super::problem::{Kind, Problem, refusals};
use super::{Answer, Request, Resource};
use crate::appraisal::{Appraised, Freshness};
use crate::error::{Error, own_codes};
use crate::service::violations;
use crate::store::{AcmeKind, DecisionKind, Outcome};
use crate::text::to_hex;

fn own(request: &Request<'_>, holder: &Holder, id: &str) -> Result<Read<AuthorizationDocument>, Problem> {
    let authorization: Read<AuthorizationDocument> = read(request.service, AcmeKind::Authorization, id)?;
    holder.check_owns(&authorization.content.account)?;
    Ok(authorization)
}

fn time(seconds: i64) -> String {
    Instant::from_unix_seconds(seconds).to_string()
}

fn view(request: &Request<'_>, authorization: &Read<AuthorizationDocument>) -> Value {
    let content = &authorization.content;
    let is_over = content.status == Status::Pending && request.service.now() > content.expires;
    let challenges: Vec<Value> =
        content.challenges.iter().map(|challenge| challenge_view(request, &authorization.id, challenge)).collect();
    let mut view = json!({
        "status": if is_over { "expired" } else { content.status.label() },
        "expires": time(content.expires),
        "identifier": { "type": content.identifier.kind, "value": content.identifier.host() },
        "challenges": challenges,
    });
    if let (true, Value::Object(members)) = (content.identifier.is_wildcard(), &mut view) {
        members.insert("wildcard".to_owned(), json!(true));
    }
    view
}

fn challenge_view(request: &Request<'_>, authorization: &str, challenge: &ChallengeDocument) -> Value {
    let id = format!("{authorization}.{}", challenge.kind.label());
    let mut view = json!({
        "type": challenge.kind.label(),
        "url": request.acme.url(Resource::Challenge, &id),
        "status": challenge.status.label(),
        "token": challenge.token,
    });
    if let Value::Object(members) = &mut view {
        if let Some(at) = challenge.validated {
            members.insert("validated".to_owned(), json!(time(at)));
        }
        if let Some(error) = &challenge.error {
            members.insert("error".to_owned(), error.clone());
        }
    }
    view
}

#[derive(Deserialize)]
struct AuthorizationUpdate {
    status: String,
}

/// An authorization, read or ended (RFC 8555, section 7.5.2).
pub(super) fn authorization(request: &Request<'_>, holder: &Holder) -> Result<Answer, Problem> {
    let mut authorization = own(request, holder, request.id)?;
    if !request.is_read() {
        let update: AuthorizationUpdate = request.payload()?;
        if update.status != "deactivated" {
            let detail = "status may become deactivated and nothing else.";
            return Err(refusals::PAYLOAD.found(detail.to_owned()));
        }
        authorization.content.status = Status::Deactivated;
        request.service.store.acme_change(vec![authorization.replaced(AcmeKind::Authorization)?])?;
    }
    Ok(Answer::json(view(request, &authorization)))
}

/// A challenge, read or answered.
pub(super) fn respond(request: &Request<'_>, holder: &Holder) -> Result<Answer, Problem> {
    let unknown = || refusals::UNKNOWN.problem();
    let (id, label) = request.id.split_once('.').ok_or_else(unknown)?;
    let kind = ChallengeKind::from_label(label).ok_or_else(unknown)?;
    let mut authorization = own(request, holder, id)?;
    let challenge =
        authorization.content.challenges.iter().find(|challenge| challenge.kind == kind).ok_or_else(unknown)?;
    let open = authorization.content.status == Status::Pending && challenge.status == Status::Pending;
    if !request.is_read() && open {
        if request.service.now() > authorization.content.expires {
            return Err(refusals::EXPIRED.problem());
        }
        let token = challenge.token.clone();
        let outcome = validate(request, holder, &authorization.content, kind, &token);
        conclude(request, &mut authorization, kind, outcome)?;
    }
    let up = request.acme.url(Resource::Authorization, id);
    let challenge =
        authorization.content.challenges.iter().find(|challenge| challenge.kind == kind).ok_or_else(unknown)?;
    Ok(Answer { up: Some(up), ..Answer::json(challenge_view(request, id, challenge)) })
}

/// What a validation has shown.
enum Shown {
    Name,
    Device(EvidenceDocument),
}

fn validate(
    request: &Request<'_>,
    holder: &Holder,
    authorization: &AuthorizationDocument,
    kind: ChallengeKind,
    token: &str,
) -> Result<Shown, Problem> {
    let key_authorization = key_authorization(holder, token);
    let (host, validation) = (authorization.identifier.host(), &request.acme.validation);
    match kind {
        ChallengeKind::Http01 => {
            let _at_work = validation.begin(holder.bound.name())?;
            validation.http(host, token, &key_authorization).map(|()| Shown::Name)
        }
        ChallengeKind::Dns01 => {
            let _at_work = validation.begin(holder.bound.name())?;
            validation.dns(host, &key_authorization).map(|()| Shown::Name)
        }
        ChallengeKind::DeviceAttest01 => attest(request, holder, authorization, key_authorization).map(Shown::Device),
    }
}

/// Writes down what came of a validation. A fault of this server's own leaves the challenge as it is.
fn conclude(
    request: &Request<'_>,
    authorization: &mut Read<AuthorizationDocument>,
    kind: ChallengeKind,
    outcome: Result<Shown, Problem>,
) -> Result<(), Problem> {
    let (status, error, refusal) = match outcome {
        Ok(Shown::Name) => (Status::Valid, None, None),
        Ok(Shown::Device(evidence)) => {
            authorization.content.evidence = Some(evidence);
            (Status::Valid, None, None)
        }
        Err(problem) if problem.status().is_server_error() => return Err(problem),
        Err(problem) => (Status::Invalid, Some(problem.to_json()), Some(problem)),
    };
    authorization.content.status = status;
    let now = request.service.now();
    for challenge in authorization.content.challenges.iter_mut().filter(|challenge| challenge.kind == kind) {
        challenge.status = status;
        challenge.error.clone_from(&error);
        challenge.validated = (status == Status::Valid).then_some(now);
    }
    request.service.store.acme_change(vec![authorization.replaced(AcmeKind::Authorization)?])?;
    match (kind, refusal) {
        // draft-ietf-acme-device-attest, section 5: the refusal is the answer.
        (ChallengeKind::DeviceAttest01, Some(problem)) => Err(problem),
        (ChallengeKind::DeviceAttest01 | ChallengeKind::Dns01 | ChallengeKind::Http01, _) => Ok(()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AttestationResponse {
    att_obj: String,
}

/// Has the attestation object judged, and recorded with its verdict.
fn attest(
    request: &Request<'_>,
    holder: &Holder,
    authorization: &AuthorizationDocument,
    key_authorization: String,
) -> Result<EvidenceDocument, Problem> {
    let response: AttestationResponse = request.payload()?;
    let object = base64url::decode(&response.att_obj).ok_or_else(|| refusals::ATTESTATION_OBJECT.problem())?;
    let presented = attestation::read(&object, &key_authorization)?;
    let service = request.service;
    let appraised = appraise(request, &presented, &key_authorization)?;
    let mut found = violations(appraised.verdict.reasons());
    let device = appraised.device.as_ref();
    if device.is_some_and(|device| device.account != holder.bound.name()) {
        found.push(own_codes::OTHER_ACCOUNT.violation());
    }
    let name = device.map(|device| device.name.as_str());
    let is_named =
        appraised.verdict.device().is_some_and(|known| names_device(&authorization.identifier, &known.id, name));
    let accepted = found.is_empty() && is_named && appraised.verdict.is_accepted();
    let outcome = if accepted { Outcome::Accepted } else { Outcome::Refused };
    let report = appraised.verdict.to_json().to_string();
    let decision =
        service.decision(DecisionKind::Appraisal, holder.bound.name(), outcome, report.as_bytes(), &object)?;
    service.store.record(decision)?;
    if accepted {
        let key = appraised.verdict.subject().map(|key| to_hex(&key.sha256())).ok_or(Error::Worker)?;
        return Ok(EvidenceDocument { object: response.att_obj, key, key_authorization });
    }
    if found.is_empty() {
        return Err(refusals::ATTESTATION_IDENTIFIER.problem());
    }
    Err(Problem::of(Error::Rejected(found), Kind::BadAttestationStatement))
}

fn appraise(request: &Request<'_>, presented: &Presented, key_authorization: &str) -> Result<Appraised, Problem> {
    let digest = key_authorization_digest(key_authorization);
    let nonce = match &presented.answer {
        KeyAuthorizationAnswer::InStatement => Some(&digest[..]),
        KeyAuthorizationAnswer::Signed(_) => None,
    };
    let submission = Submission::from_bundle(presented.bundle.clone());
    Ok(request.service.judge(Ok(submission), Freshness { nonce, possession_context: &[] }, None)?)
}
