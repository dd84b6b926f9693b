//! From a request to its response.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use prost::Message;
use tokio::time::timeout;

use super::frame::{Authentication, Request, Response};
use super::monitoring::Metrics;
use super::pace::Pace;
use super::peer::{Caller, Peer};
use super::queue::Full;
use super::refusal::Refusal;
use super::slot::Provider;
use super::turns::Turns;
use super::worker::Worker;
use super::{
    activation, attestation, audited, capability, clients, discovery, encryption, enrollment, keys, signatures,
};
use crate::audit::{AuditLog, Durability, Event};
use crate::client_id::DirectName;
use crate::config::{AuthenticatorsConfig, CertifyX509Config, Limits};
use crate::grants::Grants;
use crate::provider::{KeyUid, MechanismName};
use crate::provider_identity::ProviderIdentity;
use crate::store::{KeyId, Store};
use crate::wire::message::ListKeysResult;
use crate::wire::{CoreOperation, Opcode, Operation, ProviderId, ProviderOperation, Status};

/// Lists of keys that are made at one time. The store is one for all: who waits for a list must not keep others from it.
const LISTINGS: usize = 4;

/// Those of one user.
const LISTINGS_PER_USER: usize = 1;

/// What answers requests.
#[derive(Debug)]
pub(super) struct Service {
    /// What all requests share.
    pub(super) shared: Arc<Shared>,
    /// The providers, the default one first.
    pub(super) workers: Vec<Worker>,
    metrics: Metrics,
    listings: Turns,
    recorded: Pace,
}

/// What handlers need that is the same for all requests. Work that is queued at a provider holds it, so it
/// holds no provider.
#[derive(Debug)]
pub(super) struct Shared {
    /// The keys.
    pub(super) store: Store,
    /// The grants.
    pub(super) grants: Grants,
    /// The limits.
    pub(super) limits: Limits,
    /// What is recorded.
    pub(super) audit: AuditLog,
    /// By what clients may authenticate.
    pub(super) authenticators: AuthenticatorsConfig,
    /// The experimental mechanisms that are served.
    pub(super) enabled_mechanisms: Vec<MechanismName>,
}

/// One request to a provider, authenticated if its operation needs that.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// What all requests share.
    pub(super) shared: Arc<Shared>,
    /// Who asks.
    pub(super) caller: Caller,
    /// Which provider is asked.
    pub(super) provider: Arc<ProviderIdentity>,
    /// Defaults of certificates that its module makes.
    pub(super) certify_x509: Arc<CertifyX509Config>,
    /// Name of the machine's attesting key that attests when nobody chooses.
    pub(super) default_attesting_key: Arc<str>,
    /// The id of the key that it is about, once that is known.
    pub(super) noted: OnceLock<KeyUid>,
    /// The key that it is about, if that is another client's.
    pub(super) lent: OnceLock<(KeyId, KeyUid)>,
    /// The caller's own attesting key that attests or is certified, if it is no key of the machine's.
    pub(super) own_attesting_key: OnceLock<KeyId>,
}

impl Service {
    /// A service of these providers.
    pub(super) fn new(shared: Shared, workers: Vec<Worker>) -> Service {
        let listings = Turns::new(LISTINGS, LISTINGS_PER_USER);
        let recorded = Pace::new(shared.limits.recorded_per_minute);
        Service { shared: Arc::new(shared), workers, metrics: Metrics::default(), listings, recorded }
    }

    /// The limits.
    pub(super) fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// What was answered so far.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Answers a request, whatever it is.
    pub(super) async fn answer(&self, peer: Peer, request: Request) -> Response {
        let begun = Instant::now();
        let response = self.respond(peer, request).await;
        self.metrics.count(response.opcode, response.status, begun.elapsed());
        response
    }

    async fn respond(&self, peer: Peer, request: Request) -> Response {
        let (provider, opcode) = (request.header.provider, request.header.opcode);
        match self.handle(peer, request).await {
            Ok(body) => Response { provider, opcode, status: Status::Success, body },
            Err(refusal) => {
                let status = refusal.status();
                tracing::debug!(uid = peer.uid, opcode, %status, %refusal, "request refused");
                Response { provider, opcode, status, body: refusal.body(opcode) }
            }
        }
    }

    async fn handle(&self, peer: Peer, request: Request) -> Result<Vec<u8>, Refusal> {
        let opcode = Opcode::from_number(request.header.opcode).map_err(Refusal::Protocol)?;
        let route = self.route_of(request.header.provider)?;
        if opcode.route() != route {
            return Err(Refusal::NotSupported { what: "this operation by this provider" });
        }
        let caller = Service::authenticate(peer, opcode, &request.authentication)?;
        match Operation::decode(opcode, &request.body)? {
            Operation::Core(operation) => self.core(caller, operation).await,
            Operation::Provider(operation) => self.provider(caller, request.header.provider, operation).await,
        }
    }

    async fn core(&self, caller: Caller, operation: CoreOperation) -> Result<Vec<u8>, Refusal> {
        Ok(match operation {
            CoreOperation::Ping => discovery::ping().encode_to_vec(),
            CoreOperation::ListProviders => discovery::list_providers(self).encode_to_vec(),
            CoreOperation::ListAuthenticators => discovery::list_authenticators(self).encode_to_vec(),
            CoreOperation::ListOpcodes(operation) => {
                discovery::list_opcodes(self, operation.provider_id)?.encode_to_vec()
            }
            CoreOperation::ListKeys => self.list_keys(&caller).await?.encode_to_vec(),
            CoreOperation::ListClients => clients::list(self, &caller).await?.encode_to_vec(),
            CoreOperation::DeleteClient(operation) => clients::delete(self, &caller, operation).await?.encode_to_vec(),
        })
    }

    async fn list_keys(&self, caller: &Caller) -> Result<ListKeysResult, Refusal> {
        let Limits { request: limit, waiting_requests_per_user: waiting, .. } = self.shared.limits;
        let turn = timeout(limit, self.listings.take_behind(caller.peer().uid, waiting)).await;
        let _turn = turn.map_err(|_| Refusal::Deadline { limit })?.ok_or(Refusal::Busy { full: Full::User })?;
        let (store, numbers, client) = (self.shared.store.clone(), self.numbers(), caller.client());
        let listed = tokio::task::spawn_blocking(move || discovery::list_keys(&store, &numbers, &client));
        listed.await.map_err(|_| Refusal::ProviderFailed)?
    }

    async fn provider(&self, caller: Caller, id: ProviderId, operation: ProviderOperation) -> Result<Vec<u8>, Refusal> {
        let worker = self.worker(id)?;
        let uid = caller.peer().uid;
        let call = Call {
            shared: Arc::clone(&self.shared),
            caller,
            provider: Arc::clone(&worker.identity),
            certify_x509: Arc::clone(&worker.certify_x509),
            default_attesting_key: Arc::clone(&worker.default_attesting_key),
            noted: OnceLock::new(),
            lent: OnceLock::new(),
            own_attesting_key: OnceLock::new(),
        };
        let Some(event) = audited::event(&call, &operation) else {
            let work = move |provider: &mut dyn Provider| {
                let answer = perform(&call, provider, operation);
                audited::record_lent(&call, answer)
            };
            return worker.run(uid, work).await;
        };
        let audit = self.shared.audit.clone();
        if let Err(refusal) = self.keep_pace(&call.caller) {
            return audited::record(&audit, &Event { durability: Durability::Soon, ..event }, None, Err(refusal));
        }
        let begun = Arc::new(AtomicBool::new(false));
        let work = {
            let (begun, mut event) = (Arc::clone(&begun), event.clone());
            move |provider: &mut dyn Provider| {
                begun.store(true, Ordering::SeqCst);
                call.shared.audit.admit()?;
                let answer = perform(&call, provider, operation);
                if let Some((lent, _)) = call.lent.get() {
                    event.client.clone_from(&lent.client);
                }
                if let Some(own) = call.own_attesting_key.get() {
                    event.attesting_key = Some(own.to_string());
                }
                audited::record(&call.shared.audit, &event, call.noted.get().copied(), answer)
            }
        };
        let answer = worker.run(uid, work).await;
        if begun.load(Ordering::SeqCst) {
            return answer;
        }
        // What did not reach the module is on record as well. It changed nothing, and this thread waits for no disk.
        audited::record(&audit, &Event { durability: Durability::Soon, ..event }, None, answer)
    }

    /// Refuses what would be recorded of a user who had too much recorded of late. Who has a grant was trusted with more.
    fn keep_pace(&self, caller: &Caller) -> Result<(), Refusal> {
        if self.recorded.count(caller.peer().uid, Instant::now()) || self.shared.grants.allow_any(caller) {
            return Ok(());
        }
        Err(Refusal::TooOften { limit: self.shared.limits.recorded_per_minute })
    }

    /// The provider of that id.
    pub(super) fn worker(&self, id: ProviderId) -> Result<&Worker, Refusal> {
        let missing = if id.is_assigned() { Status::ProviderNotRegistered } else { Status::ProviderDoesNotExist };
        self.workers.iter().find(|worker| worker.identity.id == id).ok_or(Refusal::Protocol(missing))
    }

    /// Who asks. Who claims to be a user must be that one, whatever the operation needs.
    fn authenticate(peer: Peer, opcode: Opcode, claimed: &Authentication) -> Result<Caller, Refusal> {
        match claimed {
            Authentication::None if opcode.needs_authentication() => Err(Refusal::NotAuthenticated),
            Authentication::None => Ok(Caller::user(peer)),
            Authentication::UnixPeer { uid } if *uid == peer.uid => Ok(Caller::user(peer)),
            Authentication::UnixPeer { uid } => Err(Refusal::AuthenticationFalse { claimed: *uid, peer: peer.uid }),
            Authentication::Direct { name } => {
                let name = std::str::from_utf8(name).map_err(|_| Refusal::NameNotUtf8)?;
                Ok(Caller::named(peer, DirectName::new(name)?))
            }
        }
    }
}

/// Has an operation done and encodes its result.
fn perform(call: &Call, provider: &mut dyn Provider, operation: ProviderOperation) -> Result<Vec<u8>, Refusal> {
    Ok(match operation {
        ProviderOperation::GenerateKey(op) => keys::generate(call, provider, op)?.encode_to_vec(),
        ProviderOperation::DestroyKey(op) => keys::destroy(call, provider, op)?.encode_to_vec(),
        ProviderOperation::ExportPublicKey(op) => keys::export_public(call, provider, op)?.encode_to_vec(),
        ProviderOperation::ImportKey(op) => keys::import(call, provider, op)?.encode_to_vec(),
        ProviderOperation::SignHash(op) => signatures::sign_hash(call, provider, op)?.encode_to_vec(),
        ProviderOperation::VerifyHash(op) => signatures::verify_hash(call, provider, op)?.encode_to_vec(),
        ProviderOperation::SignMessage(op) => signatures::sign_message(call, provider, op)?.encode_to_vec(),
        ProviderOperation::VerifyMessage(op) => signatures::verify_message(call, provider, op)?.encode_to_vec(),
        ProviderOperation::AsymmetricEncrypt(op) => encryption::encrypt(call, provider, op)?.encode_to_vec(),
        ProviderOperation::AsymmetricDecrypt(op) => encryption::decrypt(call, provider, op)?.encode_to_vec(),
        ProviderOperation::GenerateRandom(op) => encryption::random(provider, &op)?.encode_to_vec(),
        ProviderOperation::CanDoCrypto(op) => capability::can_do_crypto(provider, &op)?.encode_to_vec(),
        ProviderOperation::PrepareKeyAttestation(op) => activation::prepare(call, provider, op)?.encode_to_vec(),
        ProviderOperation::ParsecAttestKey(op) => activation::attest(call, provider, op)?.encode_to_vec(),
        ProviderOperation::AttestKey(op) => attestation::attest_key(call, provider, op)?.encode_to_vec(),
        ProviderOperation::AttestPlatform(op) => attestation::attest_platform(call, provider, op)?.encode_to_vec(),
        ProviderOperation::ListMechanisms(op) => attestation::list_mechanisms(call, provider, op)?.encode_to_vec(),
        ProviderOperation::ListAttestingKeys => attestation::list_attesting_keys(call, provider)?.encode_to_vec(),
        ProviderOperation::DescribeEndorsement(op) => enrollment::describe(call, provider, &op)?.encode_to_vec(),
        ProviderOperation::ActivateCredential(op) => enrollment::activate(call, provider, &op)?.encode_to_vec(),
        ProviderOperation::InstallCertificates(op) => enrollment::install(call, provider, op)?.encode_to_vec(),
        ProviderOperation::CreateAttestingKey(op) => {
            enrollment::create_attesting_key(call, provider, op)?.encode_to_vec()
        }
        ProviderOperation::ImportAttestingKey(op) => {
            enrollment::import_attesting_key(call, provider, op)?.encode_to_vec()
        }
    })
}
