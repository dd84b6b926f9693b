//! Accounts (RFC 8555, section 7.3): a key, bound to an account of this authority.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::document::{AccountDocument, Read, find, read, to_body};
use super::jwk::Jwk;
use super::jws::{Jws, KeyReference};
use super::problem::{Problem, refusals};
use super::{Answer, Request, Resource, random_id};
use crate::config::{Account, Capability};
use crate::enroll::{Applicant, Credential, Names};
use crate::error::Error;
use crate::store::{AcmeChange, AcmeKind, StoreError};

/// Addresses of one account, and octets of one.
const CONTACTS_MAX: usize = 8;
const CONTACT_OCTETS_MAX: usize = 256;
/// Accounts are kept.
const NEVER: i64 = i64::MAX;

/// The account whose key signed a request.
#[derive(Debug)]
pub(super) struct Holder {
    /// What stands of it.
    pub(super) document: Read<AccountDocument>,
    /// The account of this authority that it is bound to.
    pub(super) bound: Arc<Account>,
}

impl Holder {
    /// Whoever signed `request`; spends its replay nonce.
    pub(super) fn of(request: &Request<'_>) -> Result<Self, Problem> {
        let kid = match &request.jws.key {
            KeyReference::Kid(kid) => kid,
            KeyReference::Jwk(_) => return Err(refusals::JWS_SIGNER.problem()),
        };
        let prefix = request.acme.url(Resource::Account, "");
        let id = kid.strip_prefix(&prefix).ok_or_else(|| refusals::ACCOUNT_UNKNOWN.problem())?;
        let document: Read<AccountDocument> =
            find(request.service, AcmeKind::Account, id)?.ok_or_else(|| refusals::ACCOUNT_UNKNOWN.problem())?;
        request.jws.verify(&document.content.jwk)?;
        if document.content.is_deactivated {
            return Err(refusals::ACCOUNT_DEACTIVATED.problem());
        }
        let bound = bound(request, &document.content.account)?;
        request.spend_nonce()?;
        Ok(Self { document, bound })
    }

    pub(super) fn id(&self) -> &str {
        &self.document.id
    }

    /// Who asks, for the core.
    pub(super) fn applicant(&self) -> Applicant {
        Applicant { account: Arc::clone(&self.bound), by: Credential::AcmeAccount, names: Names::OfAccount }
    }

    /// Whether an object of `owner` is this account's.
    pub(super) fn check_owns(&self, owner: &str) -> Result<(), Problem> {
        if owner == self.id() { Ok(()) } else { Err(refusals::OTHER_ACCOUNT.problem()) }
    }
}

/// The account of this authority, as long as it may have certificates.
fn bound(request: &Request<'_>, name: &str) -> Result<Arc<Account>, Problem> {
    let known = request.acme.external.get(name).map(|(account, _)| account);
    let entitled = known.filter(|account| account.may(Capability::Issue));
    entitled.cloned().ok_or_else(|| refusals::ACCOUNT_WITHDRAWN.problem())
}

fn view(request: &Request<'_>, document: &Read<AccountDocument>) -> Value {
    json!({
        "status": if document.content.is_deactivated { "deactivated" } else { "valid" },
        "contact": document.content.contact,
        "orders": request.acme.url(Resource::Orders, &document.id),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewAccount {
    #[serde(default)]
    contact: Vec<String>,
    #[serde(default)]
    only_return_existing: bool,
    external_account_binding: Option<Value>,
}

/// newAccount.
pub(super) fn create(request: &Request<'_>) -> Result<Answer, Problem> {
    let key = match &request.jws.key {
        KeyReference::Jwk(key) => key,
        KeyReference::Kid(_) => return Err(refusals::JWS_SIGNER.problem()),
    };
    request.jws.verify(key)?;
    let wanted: NewAccount = request.payload()?;
    if let Some(existing) = of_key(request, key)? {
        request.spend_nonce()?;
        if existing.content.is_deactivated {
            return Err(refusals::ACCOUNT_DEACTIVATED.problem());
        }
        bound(request, &existing.content.account)?;
        return Ok(Answer::json(view(request, &existing)).at(request.acme.url(Resource::Account, &existing.id)));
    }
    if wanted.only_return_existing {
        return Err(refusals::ACCOUNT_UNKNOWN.problem());
    }
    check_contact(&wanted.contact)?;
    let account = binding(request, key, wanted.external_account_binding.as_ref())?;
    request.spend_nonce()?;
    let (owner, limit) = (account.clone().into_bytes(), request.acme.accounts_max);
    if request.service.store.acme_owned(AcmeKind::Account, &owner, limit)?.len() >= limit {
        return Err(refusals::ACCOUNTS_TOO_MANY.problem());
    }
    let content = AccountDocument { jwk: key.clone(), account, is_deactivated: false, contact: wanted.contact };
    let document = Read { id: random_id()?, version: 0, content };
    let created = request.service.store.acme_change(vec![
        // Several may come at once.
        AcmeChange::Below { kind: AcmeKind::Account, owner: owner.clone(), limit },
        AcmeChange::Create {
            kind: AcmeKind::Account,
            id: document.id.clone().into_bytes(),
            owner,
            expires: NEVER,
            body: to_body(&document.content)?,
        },
        key_row(key, &document.id),
    ]);
    created?;
    Ok(Answer::created(view(request, &document), request.acme.url(Resource::Account, &document.id)))
}

fn key_row(key: &Jwk, account: &str) -> AcmeChange {
    AcmeChange::Create {
        kind: AcmeKind::AccountKey,
        id: key.thumbprint().to_vec(),
        owner: account.as_bytes().to_vec(),
        expires: NEVER,
        body: account.as_bytes().to_vec(),
    }
}

/// The account that has this key.
fn of_key(request: &Request<'_>, key: &Jwk) -> Result<Option<Read<AccountDocument>>, Problem> {
    let Some(row) = request.service.store.acme_document(AcmeKind::AccountKey, &key.thumbprint())? else {
        return Ok(None);
    };
    let id = String::from_utf8(row.body).map_err(|_| Problem::from(Error::Worker))?;
    read(request.service, AcmeKind::Account, &id).map(Some)
}

/// The name of the external account whose key vouches for this one (RFC 8555, section 7.3.4).
fn binding(request: &Request<'_>, key: &Jwk, binding: Option<&Value>) -> Result<String, Problem> {
    let Some(binding) = binding else { return Err(refusals::BINDING_REQUIRED.problem()) };
    let refused = || refusals::BINDING_KEY.problem();
    let jws = Jws::parse(binding.to_string().as_bytes())?;
    let KeyReference::Kid(name) = &jws.key else { return Err(refused()) };
    let Some((account, secret)) = request.acme.external.get(name) else { return Err(refused()) };
    jws.verify_mac(secret).map_err(|_| refused())?;
    let names_key = serde_json::from_slice::<Jwk>(&jws.payload).is_ok_and(|named| named == *key);
    if !names_key || jws.url != request.jws.url || jws.nonce.is_some() {
        return Err(refused());
    }
    bound(request, account.name())?;
    Ok(account.name().to_owned())
}

fn check_contact(contact: &[String]) -> Result<(), Problem> {
    let fits = |address: &String| {
        address.len() <= CONTACT_OCTETS_MAX && vouchsafe_evidence::text::printable(address) == *address
    };
    if contact.len() <= CONTACTS_MAX && contact.iter().all(fits) {
        Ok(())
    } else {
        Err(refusals::PAYLOAD.found(format!("contact must be at most {CONTACTS_MAX} addresses in printable text.")))
    }
}

#[derive(Deserialize)]
struct AccountUpdate {
    status: Option<String>,
    contact: Option<Vec<String>>,
}

/// An account, read, changed or ended (RFC 8555, sections 7.3.2 and 7.3.6).
pub(super) fn update(request: &Request<'_>, holder: &Holder) -> Result<Answer, Problem> {
    holder.check_owns(request.id)?;
    let mut document = holder.document.clone();
    if !request.is_read() {
        let update: AccountUpdate = request.payload()?;
        match update.status.as_deref() {
            None | Some("valid") => {}
            Some("deactivated") => document.content.is_deactivated = true,
            Some(_) => {
                return Err(refusals::PAYLOAD.found("status may become deactivated and nothing else.".to_owned()));
            }
        }
        if let Some(contact) = update.contact {
            check_contact(&contact)?;
            document.content.contact = contact;
        }
        request.service.store.acme_change(vec![document.replaced(AcmeKind::Account)?])?;
    }
    Ok(Answer::json(view(request, &document)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyChange {
    account: String,
    old_key: Jwk,
}

/// keyChange (RFC 8555, section 7.3.5): the present key signs what the new key has signed.
pub(super) fn change_key(request: &Request<'_>, holder: &Holder) -> Result<Answer, Problem> {
    let refused = || refusals::KEY_CHANGE.problem();
    let inner = Jws::parse(&request.jws.payload)?;
    let KeyReference::Jwk(key) = &inner.key else { return Err(refused()) };
    inner.verify(key)?;
    let change: KeyChange = serde_json::from_slice(&inner.payload).map_err(|_| refused())?;
    let account = request.acme.url(Resource::Account, holder.id());
    let is_right = inner.url == request.jws.url
        && inner.nonce.is_none()
        && change.account == account
        && change.old_key == holder.document.content.jwk;
    if !is_right {
        return Err(refused());
    }
    if let Some(other) = of_key(request, key)? {
        return Err(refusals::KEY_IN_USE.problem().at(request.acme.url(Resource::Account, &other.id)));
    }
    let mut document = holder.document.clone();
    let old = std::mem::replace(&mut document.content.jwk, key.clone());
    let changed = request.service.store.acme_change(vec![
        key_row(key, holder.id()),
        AcmeChange::Remove { kind: AcmeKind::AccountKey, id: old.thumbprint().to_vec() },
        document.replaced(AcmeKind::Account)?,
    ]);
    match changed {
        Ok(()) => Ok(Answer::json(view(request, &document)).at(account)),
        Err(StoreError::AcmeConflict) => Err(refusals::CHANGED_MEANWHILE.problem()),
        Err(error) => Err(error.into()),
    }
}
