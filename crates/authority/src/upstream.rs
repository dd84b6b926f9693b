//! In front of a CA that is there already: the evidence is appraised here, and the certificate comes from elsewhere, by CMP
//! or by EST.
//!
//! ```text
//! judge -> record what is sent -> ask -> compare the certificate with what was decided -> record it -> confirm it
//! ```
//!
//! The upstream sees what this authority decided and nothing that the client wrote besides. Everything before the recording
//! of the certificate can be done again: the transaction has the same identifier each time, so that an upstream which has
//! had it says so instead of issuing twice.
//!
//! Read first: [`Upstreams::forward`] (docs/decisions/0015-upstream.md says why).

mod check;
mod cmp;
mod est;
mod http;
mod load;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use tokio::sync::{Semaphore, oneshot};
use vouchsafe_evidence::oid::Oid;
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::x509::extensions::GeneralName;
use vouchsafe_evidence::x509::{CertView, NameView, SpkiView};

use self::check::Issuers;
use self::cmp::{CmpClient, Unconfirmed};
use self::est::EstClient;
use crate::certificate::CertificateError;
use crate::clock::Clock;
use crate::config::UpstreamProtocol;
use crate::enroll::CertificationRequest;
use crate::enrolment::refusal_report;
use crate::error::{Error, own_codes};
use crate::issue::{Grounds, HeldAnswer, IssuedChain};
use crate::nonce::NONCE_OCTETS;
use crate::record::Recorder;
use crate::service::{Service, decision};
use crate::store::{
    CertificateRecord, Certified, Decision, DecisionKind, Digest, KeyUse, Outcome, Spending, Store, StoreError,
};
use crate::text::{chain, to_hex};

pub use check::CertificateDefect;
pub(crate) use est::NotBare;
pub use load::LoadError;

/// Octets of the identifier of a transaction: 128 bits (RFC 9483, section 3.1).
pub(crate) const TRANSACTION_OCTETS: usize = 16;
/// Requests that one upstream is asked for at once, and those of one account: a CA that is slow is so for nobody alone.
const AT_ONCE: usize = 32;
const AT_ONCE_OF_ONE: usize = AT_ONCE / 2;
/// Characters that are repeated of what an upstream says.
const WORDS_CHARACTERS: usize = 300;
/// Times that a confirmation is sent.
const CONFIRMATIONS: usize = 2;
/// First octet of the key under which a certificate from elsewhere is recorded; the serial numbers of this authority's own
/// are positive.
const ELSEWHERE: u8 = 0xFF;
/// Octets of the digest of the issuer's name in that key.
const ISSUER_OCTETS: usize = 16;

/// What an upstream said, in text that can be shown, of a bounded length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Words(String);

impl Words {
    fn new(text: &str) -> Self {
        Self(printable(text).chars().take(WORDS_CHARACTERS).collect())
    }
}

/// What became of asking.
#[derive(Debug)]
enum Asked {
    /// A certificate, not looked at yet.
    Certificate { certificate: Vec<u8>, confirmation: Confirmation },
    /// The upstream has had this transaction before.
    Before,
    /// It refuses, in these words.
    Refused(Words),
    /// It says that it cannot answer at the moment.
    Unavailable(Words),
}

/// How the upstream is told what became of its certificate.
#[derive(Debug)]
enum Confirmation {
    /// Not at all (EST).
    None,
    /// By certConf.
    Cmp(Box<Unconfirmed>),
}

/// A certificate that is wanted from elsewhere: what was decided here. Made of the proof that the key may have one, which
/// is used up by it.
#[derive(Debug)]
pub(crate) struct Order {
    upstream: Arc<Upstream>,
    grounds: Grounds,
    wanted: Wanted,
    /// The client's request, which is kept with the decision.
    kept: Vec<u8>,
    /// What is sent: the request that was made here, or the client's own.
    message: Vec<u8>,
}

/// What a certificate from elsewhere is to hold.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) subject: NameView,
    pub(crate) names: Vec<GeneralName>,
    pub(crate) purposes: Vec<Oid>,
    pub(crate) not_after: i64,
    pub(crate) key_use: KeyUse,
    pub(crate) certified: Certified,
}

impl Wanted {
    /// Whether these are the alternative names, in whatever order.
    fn has_names(&self, names: &[GeneralName]) -> bool {
        names.iter().all(|name| self.names.contains(name)) && self.names.iter().all(|name| names.contains(name))
    }
}

impl Order {
    /// The order of a certificate, if the upstream can be asked for it.
    ///
    /// # Errors
    /// [`Error::Rejected`] where the upstream is asked by EST, and the request is none that may be handed on.
    pub(crate) fn new(
        upstream: &Arc<Upstream>,
        grounds: Grounds,
        wanted: Wanted,
        request: CertificationRequest<'_>,
    ) -> Result<Self, Error> {
        let message = match upstream.client {
            Client::Cmp(_) => cmp::request(grounds.spki(), &wanted).map_err(CertificateError::from)?,
            Client::Est(_) => est::bare(request, grounds.spki(), &wanted)
                .map_err(|why| Error::Rejected(vec![not_forwardable(why)]))?,
        };
        let kept = request.octets().to_vec();
        Ok(Self { upstream: Arc::clone(upstream), grounds, wanted, kept, message })
    }

    fn spki(&self) -> &SpkiView {
        self.grounds.spki()
    }
}

fn not_forwardable(why: NotBare) -> crate::error::Violation {
    own_codes::NOT_FORWARDABLE.found(format!(
        "The profile's upstream is asked by EST, which takes the request as the client signed it, and this one cannot be \
         handed on: {why}. Present the evidence beside the request (ACME, device-attest-01), or have the upstream asked by \
         CMP."
    ))
}

/// A CA elsewhere.
#[derive(Debug)]
pub(crate) struct Upstream {
    name: String,
    issuers: Issuers,
    client: Client,
    places: Arc<Semaphore>,
    /// For whom something is being asked for at this moment, by the nonce that it spends.
    asking: Mutex<HashMap<[u8; NONCE_OCTETS], String>>,
}

#[derive(Debug)]
enum Client {
    Cmp(CmpClient),
    Est(EstClient),
}

/// Every CA elsewhere that profiles name.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    upstreams: Vec<Arc<Upstream>>,
    runtime: Option<tokio::runtime::Handle>,
}

/// A decision that is recorded once its certificate has come.
#[derive(Debug)]
pub(crate) struct Awaiting {
    pub(crate) order: Box<Order>,
    pub(crate) decision: Decision,
    pub(crate) spending: Spending,
    /// What stands for the order before its certificate is there.
    pub(crate) sent: Spending,
    pub(crate) transaction: [u8; TRANSACTION_OCTETS],
    pub(crate) nonce: [u8; NONCE_OCTETS],
    pub(crate) digest: Digest,
}

/// What is told once an order has an end: the store's answer, and this authority's.
type Told = (Result<(), StoreError>, Result<IssuedChain, Error>);

/// What forwarding needs of the service.
struct Parts {
    store: Arc<dyn Store>,
    recorder: Arc<Recorder>,
    clock: Arc<dyn Clock>,
}

impl Upstreams {
    /// The upstream of this name.
    pub(crate) fn named(&self, name: &str) -> Result<&Arc<Upstream>, Error> {
        self.upstreams.iter().find(|upstream| upstream.name == name).ok_or(Error::Worker)
    }

    /// Whose certificate it is, where it came from one of these.
    pub(crate) fn issuer_of(&self, certificate: &CertView) -> Option<&Arc<Upstream>> {
        self.upstreams.iter().find(|upstream| upstream.issuers.include_issuer_of(certificate))
    }

    /// Whether a name is that of a CA elsewhere.
    pub(crate) fn have_issuer(&self, name: &NameView) -> bool {
        self.upstreams.iter().any(|upstream| upstream.issuers.have_name(name))
    }

    /// Has an order filled; `done` is told how that ended, on a thread that it must not hold up.
    pub(crate) fn forward(
        &self,
        service: &Service,
        awaiting: Awaiting,
        done: impl FnOnce(Result<(), StoreError>, HeldAnswer) + Send + 'static,
    ) {
        let (nonce, digest) = (awaiting.nonce, awaiting.digest);
        let held = move |answer| HeldAnswer::new(answer, nonce, digest);
        let Some(runtime) = &self.runtime else { return done(Ok(()), held(Err(Error::Worker))) };
        let parts = Parts {
            store: Arc::clone(&service.store),
            recorder: Arc::clone(&service.recorder),
            clock: Arc::clone(&service.clock),
        };
        runtime.spawn(async move {
            let upstream = Arc::clone(&awaiting.order.upstream);
            match fill(&upstream, &parts, awaiting).await {
                Ok((recorded, answer)) => done(recorded, held(answer)),
                Err(error) => done(Ok(()), held(Err(error))),
            }
        });
    }
}

impl Upstream {
    /// The certificates between one of its certificates and the root.
    pub(crate) fn chain_of(&self, leaf: &CertView) -> Vec<Vec<u8>> {
        self.issuers.chain_of(leaf)
    }

    /// Its certificates, for whoever asks for those of the CA.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.issuers.certificates()
    }

    /// Asks for the certificate of an order.
    async fn ask(&self, order: &Order, transaction: [u8; TRANSACTION_OCTETS], now: i64) -> Asked {
        let failed = |error: &(dyn std::error::Error + 'static)| Asked::Unavailable(Words::new(&chain(error)));
        match &self.client {
            Client::Cmp(client) => match client.certificate(&order.message, transaction, &self.issuers, now).await {
                Ok(asked) => asked,
                Err(error) => failed(&error),
            },
            Client::Est(client) => match client.certificate(&order.message, order.spki()).await {
                Ok(asked) => asked,
                Err(error) => failed(&error),
            },
        }
    }

    /// Tells the upstream what became of its certificate. That it is on record stands, whatever comes of this: an upstream
    /// that hears nothing may revoke it, which the log says.
    async fn confirm(&self, confirmation: &Confirmation, refused: Option<&str>, now: i64) {
        let (Client::Cmp(client), Confirmation::Cmp(unconfirmed)) = (&self.client, confirmation) else { return };
        for attempt in 1..=CONFIRMATIONS {
            match client.confirm(unconfirmed, refused, &self.issuers, now).await {
                Ok(()) => return,
                Err(error) => {
                    let upstream = self.name.as_str();
                    tracing::error!(upstream, attempt, error = chain(&error), "the confirmation was not taken");
                }
            }
        }
    }
}

/// An order that is being filled, told from others by the nonce that it spends.
struct Filling<'a> {
    upstream: &'a Upstream,
    nonce: [u8; NONCE_OCTETS],
}

impl<'a> Filling<'a> {
    /// Nothing if the same order is being filled already, or as many of this account as may be.
    fn begin(upstream: &'a Upstream, nonce: [u8; NONCE_OCTETS], account: &str) -> Option<Self> {
        let mut asking = upstream.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let own = asking.values().filter(|other| *other == account).count();
        if own >= AT_ONCE_OF_ONE || asking.contains_key(&nonce) {
            return None;
        }
        asking.insert(nonce, account.to_owned());
        // Made where it is the first alone: whatever is made is dropped, and takes the nonce with it.
        Some(Self { upstream, nonce })
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        self.upstream.asking.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.nonce);
    }
}

/// From the decision to a certificate on record, or to why there is none.
async fn fill(upstream: &Upstream, parts: &Parts, awaiting: Awaiting) -> Result<Told, Error> {
    // No more wait for an upstream than may, so that a slow one takes no places from other profiles.
    let _place = upstream.places.try_acquire().map_err(|_| Error::Busy)?;
    let _filling = Filling::begin(upstream, awaiting.nonce, &awaiting.decision.account).ok_or(Error::Busy)?;
    let Awaiting { order, decision, spending, sent, transaction, nonce, digest } = awaiting;
    // What was decided before is told again, and nobody is asked.
    if parts.spent(nonce).await?.is_some() {
        return Ok((Err(StoreError::NonceSpent), Err(Error::NonceSpent)));
    }
    let is_again = parts.announce(&order, (sent, transaction), &decision, &digest).await?;
    let (name, id) = (upstream.name.as_str(), to_hex(&transaction));
    tracing::info!(upstream = name, transaction = id, again = is_again, "the upstream CA is asked for a certificate");
    if is_again && matches!(upstream.client, Client::Est(_)) {
        tracing::warn!(upstream = name, transaction = id, "it may have issued one before, whose answer was lost");
    }
    let (certificate, confirmation) = match upstream.ask(&order, transaction, parts.clock.now_unix_seconds()).await {
        Asked::Certificate { certificate, confirmation } => (certificate, confirmation),
        Asked::Refused(words) => {
            tracing::warn!(upstream = name, transaction = id, words = words.0, "the upstream CA refuses");
            let sentence = format!("The upstream CA refuses the certificate: {}.", words.0);
            let error = Error::Rejected(vec![own_codes::UPSTREAM_REJECTED.found(sentence)]);
            return parts.refuse(&order, &decision, spending, error).await;
        }
        Asked::Unavailable(words) => {
            tracing::error!(upstream = name, transaction = id, words = words.0, "the upstream CA does not answer");
            return Err(Error::UpstreamUnavailable);
        }
        Asked::Before => {
            // Another instance may have been faster, and its answer is this one's.
            return match parts.spent(nonce).await? {
                Some(_) => Ok((Err(StoreError::NonceSpent), Err(Error::NonceSpent))),
                None => {
                    tracing::error!(upstream = name, transaction = id, "the upstream CA has had this transaction");
                    Err(Error::UpstreamUncertain)
                }
            };
        }
    };
    let now = parts.clock.now_unix_seconds();
    let leaf = match check::ordered(&certificate, &order, &upstream.issuers, now) {
        Ok(leaf) => leaf,
        Err(defect) => {
            let sentence = format!("The upstream CA's certificate is not what was decided here: {defect}.");
            tracing::error!(upstream = name, transaction = id, %defect, "the upstream CA's certificate is not taken");
            upstream.confirm(&confirmation, Some(&sentence), now).await;
            let error = Error::Rejected(vec![own_codes::UPSTREAM_CERTIFICATE.found(sentence)]);
            return parts.refuse(&order, &decision, spending, error).await;
        }
    };
    let record = record_of(&leaf, &order);
    let recorded = parts.decide(spending, decision, vec![record]).await;
    let refused = recorded.as_ref().err().map(|_| "The certificate could not be recorded.");
    upstream.confirm(&confirmation, refused, now).await;
    let serial = to_hex(leaf.serial());
    if recorded.is_ok() {
        tracing::info!(upstream = name, transaction = id, serial, "the certificate is on record");
    } else {
        tracing::error!(upstream = name, transaction = id, serial, "the upstream CA's certificate was not recorded");
    }
    let certificates = std::iter::once(certificate).chain(upstream.chain_of(&leaf)).collect();
    Ok((recorded, Ok(IssuedChain { certificates })))
}

/// How a certificate from elsewhere is recorded. Its serial number tells it from others of its issuer alone, and of the same
/// issuer with this authority's own nothing is known: the key is made of both.
fn record_of(leaf: &CertView, order: &Order) -> CertificateRecord {
    let issuer = digest::digest(&digest::SHA256, leaf.issuer().as_der());
    let serial: Vec<u8> = std::iter::once(ELSEWHERE)
        .chain(issuer.as_ref().iter().copied().take(ISSUER_OCTETS))
        .chain(leaf.serial().iter().copied().skip_while(|octet| *octet == 0))
        .collect();
    CertificateRecord {
        serial,
        der: leaf.as_der().to_vec(),
        not_after: leaf.not_after(),
        key_use: order.wanted.key_use,
        certified: order.wanted.certified.clone(),
    }
}

impl Parts {
    /// Puts on record what is about to be sent. Whether that was done before, for the same request.
    async fn announce(
        &self,
        order: &Order,
        (sent, transaction): (Spending, [u8; TRANSACTION_OCTETS]),
        decided: &Decision,
        digest: &Digest,
    ) -> Result<bool, Error> {
        let report = serde_json::json!({
            "upstream": order.upstream.name,
            "transaction": to_hex(&transaction),
            "subject": order.wanted.subject.to_display(),
        });
        let report = report.to_string().into_bytes();
        let of = (DecisionKind::Forwarding, decided.account.as_str(), Outcome::Accepted);
        let announced = decision(&self.recorder, self.clock.now_unix_seconds(), of, &report, &order.message)?;
        let nonce = *sent.nonce();
        match self.decide(sent, announced, Vec::new()).await {
            Ok(()) => Ok(false),
            Err(StoreError::NonceSpent) => match self.spent(nonce).await? {
                Some(spent) if spent.request == *digest => Ok(true),
                Some(_) | None => Err(Error::NonceSpent),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Records the refusal of an order, which spends the nonce.
    async fn refuse(&self, order: &Order, decided: &Decision, spending: Spending, error: Error) -> Result<Told, Error> {
        let of = (DecisionKind::Certificate, decided.account.as_str(), Outcome::Refused);
        let refused =
            decision(&self.recorder, self.clock.now_unix_seconds(), of, &refusal_report(&error), &order.kept)?;
        let recorded = self.decide(spending, refused, Vec::new()).await;
        Ok((recorded, Err(error)))
    }

    async fn decide(
        &self,
        spending: Spending,
        decision: Decision,
        certificates: Vec<CertificateRecord>,
    ) -> Result<(), StoreError> {
        let (told_to, told) = oneshot::channel();
        let done = Box::new(move |result: Result<i64, StoreError>| drop(told_to.send(result)));
        self.store.decide_later(spending, decision, certificates, done);
        told.await.map_err(|_| StoreError::Stopped)?.map(|_| ())
    }

    async fn spent(&self, nonce: [u8; NONCE_OCTETS]) -> Result<Option<crate::store::Spent>, Error> {
        let store = Arc::clone(&self.store);
        let spent = tokio::task::spawn_blocking(move || store.spent(&nonce));
        Ok(spent.await.map_err(|_| Error::Worker)??)
    }
}
