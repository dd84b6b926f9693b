//! The client itself: sends a command, proves authorization, authenticates the response, and makes room where the TPM
//! has none.

use std::thread;
use std::time::Duration;

use vouchsafe_evidence::tpm::TpmtPublic;
use vouchsafe_evidence::tpm::marshal::Reader;
use zeroize::Zeroizing;

use super::frame::{self, Auth, CommandAuth, Reply, Request, Subject};
use super::kdf::random;
use super::object::{Location, Object};
use super::rc::ResponseCode;
use super::session::{AUDIT, AuthValue, CONTINUE, DECRYPT, ENCRYPT, NONCE_OCTETS, SESSION_HASH, Session};
use super::slots::{Place, SlotId, Slots};
use super::transport::{Address, Connection, FRAME_OCTETS, Transport};
use crate::provider::Fault;

/// First pause before a command is sent again.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(640);
/// How often a command is sent again while the TPM asks for it: about six seconds in all.
const RETRIES: u32 = 16;
/// Sessions that are kept: one command authorizes at most two objects.
const KEPT_SESSIONS: usize = 2;

/// The key to which session salts are encrypted.
struct SaltKey {
    handle: u32,
    public: TpmtPublic,
}

/// A TPM 2.0.
pub struct Tpm {
    transport: Box<dyn Transport>,
    ready: bool,
    salt_key: Option<SaltKey>,
    sessions: [Option<Session>; KEPT_SESSIONS],
    slots: Slots,
}

/// A session as it takes part in one command.
struct Part<'a> {
    role: Role,
    auth: Option<&'a AuthValue>,
    attributes: u8,
    nonce: [u8; NONCE_OCTETS],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Password,
    Kept(usize),
    Policy,
}

static EMPTY: std::sync::LazyLock<AuthValue> = std::sync::LazyLock::new(AuthValue::empty);

impl Tpm {
    /// Opens the TPM at `address`.
    ///
    /// # Errors
    /// [`Fault::Connection`], or [`Fault::Tpm`] when it does not start.
    pub fn open(address: &Address) -> Result<Self, Fault> {
        Self::over(Box::new(Connection::new(address.clone())))
    }

    /// Opens a TPM over `transport`.
    ///
    /// # Errors
    /// As [`Tpm::open`].
    pub fn over(transport: Box<dyn Transport>) -> Result<Self, Fault> {
        let sessions = [const { None }; KEPT_SESSIONS];
        let mut tpm = Self { transport, ready: false, salt_key: None, sessions, slots: Slots::default() };
        tpm.reopen()?;
        Ok(tpm)
    }

    /// Opens the connection anew. Transient objects and sessions of the old one are gone; a simulator, which keeps
    /// them, is told to flush them.
    ///
    /// # Errors
    /// As [`Tpm::open`].
    pub fn reopen(&mut self) -> Result<(), Fault> {
        self.ready = false;
        self.sessions = [const { None }; KEPT_SESSIONS];
        self.slots.clear();
        self.transport.open()?;
        self.ready = true;
        if !self.transport.is_managed() {
            self.start_and_flush().inspect_err(|_| self.ready = false)?;
        }
        Ok(())
    }

    /// Whether the connection stands; after a fault of connection or response it does not, until [`Tpm::reopen`].
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.ready
    }

    /// Encrypts session salts to this persistent key from now on. Until then only empty authValues can be used and
    /// responses are not authenticated.
    pub fn salt_sessions_to(&mut self, handle: u32, public: TpmtPublic) {
        self.drop_sessions();
        self.salt_key = Some(SaltKey { handle, public });
    }

    /// The key to which session salts are encrypted.
    pub(crate) fn salt_key(&self) -> Option<(u32, &TpmtPublic)> {
        self.salt_key.as_ref().map(|key| (key.handle, &key.public))
    }

    /// Ends the kept sessions and stops using any.
    pub fn forget_salt_key(&mut self) {
        self.drop_sessions();
        self.salt_key = None;
    }

    fn drop_sessions(&mut self) {
        for index in 0..KEPT_SESSIONS {
            if let Some(session) = self.sessions.get_mut(index).and_then(Option::take) {
                // One that is gone already, or a connection that is, is as good as flushed.
                let _gone = self.flush_handle(session.handle());
            }
        }
    }

    /// Whether a transient object is still known; after a reset or a lost connection it is not.
    #[must_use]
    pub fn holds(&self, object: &Object) -> bool {
        object.slot().is_none_or(|slot| self.slots.holds(slot))
    }

    pub(crate) fn adopt(&mut self, handle: u32) -> Result<SlotId, Fault> {
        let slot = self.slots.adopt(handle);
        while let Some(surplus) = self.slots.surplus() {
            self.discard(surplus)?;
        }
        Ok(slot)
    }

    pub(crate) fn discard(&mut self, slot: SlotId) -> Result<(), Fault> {
        match self.slots.forget(slot) {
            Some(handle) => self.flush_handle(handle),
            None => Ok(()),
        }
    }

    /// Sends a command until the TPM has answered it for good.
    pub(crate) fn execute(&mut self, mut request: Request<'_>) -> Result<Reply, Fault> {
        let pinned = request.slots();
        let mut pause = FIRST_PAUSE;
        let mut retries = 0;
        loop {
            match self.attempt(&mut request, &pinned) {
                Err(Fault::Tpm { code, .. }) if code.is_transient() && retries < RETRIES => {
                    retries = retries.saturating_add(1);
                    thread::sleep(pause);
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                }
                Err(Fault::Tpm { code: ResponseCode::OBJECT_MEMORY, command }) => {
                    if !self.save_one(&pinned)? {
                        return Err(Fault::Tpm { code: ResponseCode::OBJECT_MEMORY, command });
                    }
                }
                Err(fault) => {
                    self.note(&fault);
                    return Err(fault);
                }
                Ok(reply) => return Ok(reply),
            }
        }
    }

    /// After a fault that leaves it open what the TPM holds, nothing that came over this connection is used again.
    fn note(&mut self, fault: &Fault) {
        if matches!(fault, Fault::Connection { .. } | Fault::ResponseMalformed(_) | Fault::ResponseNotAuthentic { .. })
        {
            self.transport.close();
            self.ready = false;
        }
        if matches!(fault, Fault::Tpm { code, .. } if code.is_stale_session()) {
            self.drop_sessions();
        }
    }

    fn attempt(&mut self, request: &mut Request<'_>, pinned: &[SlotId]) -> Result<Reply, Fault> {
        let mut parts = self.parts(request)?;
        for part in &mut parts {
            if let Role::Kept(index) = part.role {
                self.keep_session(index)?;
            }
            if part.role != Role::Password {
                part.nonce = random()?;
            }
        }
        if request.returns == frame::Returns::Object {
            self.make_room(pinned)?;
        }
        let mut handles = Vec::new();
        for subject in &request.subjects {
            handles.push(self.handle_of(subject, pinned)?);
        }
        let parameters = self.encrypt_parameters(request, &parts)?;
        let auths = self.authorize(request, &parts, &parameters)?;
        let command = frame::command(request.command, &handles, &auths, &parameters);
        if command.len() > FRAME_OCTETS {
            return Err(Fault::Primitive("fitting the command into one frame"));
        }
        let octets = Zeroizing::new(self.exchange(&command)?);
        let response = frame::response(request.command, &octets, request.returns, auths.len())?;
        self.authenticate(request, &parts, &response)?;
        let mut parameters = Zeroizing::new(response.parameters.to_vec());
        self.decrypt_parameters(request, &parts, &mut parameters)?;
        Ok(Reply { handle: response.handle, parameters })
    }

    fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, Fault> {
        if !self.ready {
            self.transport.close();
        }
        self.transport.exchange(command)
    }

    /// Decides which sessions take part, in the order of the command's authorization area.
    fn parts<'a>(&self, request: &Request<'a>) -> Result<Vec<Part<'a>>, Fault> {
        let part = |role, auth| Part { role, auth, attributes: CONTINUE, nonce: [0; NONCE_OCTETS] };
        let salted = self.salt_key.is_some() && request.guarded;
        let mut kept = 0_usize;
        let mut parts = Vec::new();
        for auth in &request.auths {
            parts.push(match auth {
                Auth::Value(value) if salted => {
                    kept = kept.saturating_add(1);
                    part(Role::Kept(kept.saturating_sub(1)), Some(*value))
                }
                Auth::Value(value) if !value.is_empty() => {
                    return Err(Fault::Missing { what: "key for salted sessions" });
                }
                Auth::Value(_) | Auth::EmptyPassword => part(Role::Password, None),
                Auth::Policy => part(Role::Policy, None),
            });
        }
        let takes_extra = request.auths.iter().all(|auth| !matches!(auth, Auth::EmptyPassword));
        if salted && kept == 0 && takes_extra {
            parts.push(part(Role::Kept(0), None));
        }
        let first_kept = parts.iter_mut().find(|part| part.role == Role::Kept(0));
        match first_kept {
            Some(part) => {
                part.attributes |= if request.secret_in { DECRYPT } else { 0 };
                part.attributes |= if request.encrypt_out { ENCRYPT } else { 0 };
                // A session that neither authorizes nor encrypts must audit, or the TPM refuses it.
                part.attributes |= if part.auth.is_none() && part.attributes == CONTINUE { AUDIT } else { 0 };
            }
            None if request.secret_in => return Err(Fault::Missing { what: "key for salted sessions" }),
            None => {}
        }
        Ok(parts)
    }

    fn keep_session(&mut self, index: usize) -> Result<(), Fault> {
        if self.sessions.get(index).is_some_and(Option::is_none) {
            let session = self.start_hmac_session()?;
            if let Some(place) = self.sessions.get_mut(index) {
                *place = Some(session);
            }
        }
        Ok(())
    }

    fn session<'s>(&'s self, request: &'s Request<'_>, role: Role) -> Option<&'s Session> {
        match role {
            Role::Password => None,
            Role::Kept(index) => self.sessions.get(index).and_then(Option::as_ref),
            Role::Policy => request.policy.as_deref(),
        }
    }

    fn encrypt_parameters(&self, request: &Request<'_>, parts: &[Part<'_>]) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let mut parameters = request.parameters.clone();
        for part in parts.iter().filter(|part| part.attributes & DECRYPT != 0) {
            let session = self.session(request, part.role).ok_or(GONE)?;
            let range = first_tpm2b(&parameters)?;
            let contents = parameters.get_mut(range).unwrap_or_default();
            session.encrypt(part.auth.unwrap_or(&EMPTY), &part.nonce, contents)?;
        }
        Ok(parameters)
    }

    fn decrypt_parameters(
        &self,
        request: &Request<'_>,
        parts: &[Part<'_>],
        parameters: &mut [u8],
    ) -> Result<(), Fault> {
        for part in parts.iter().filter(|part| part.attributes & ENCRYPT != 0) {
            let session = self.session(request, part.role).ok_or(GONE)?;
            let range = first_tpm2b(parameters)?;
            let contents = parameters.get_mut(range).unwrap_or_default();
            session.decrypt(part.auth.unwrap_or(&EMPTY), &part.nonce, contents)?;
        }
        Ok(())
    }

    fn authorize(
        &self,
        request: &Request<'_>,
        parts: &[Part<'_>],
        parameters: &[u8],
    ) -> Result<Vec<CommandAuth>, Fault> {
        let cp_hash = SESSION_HASH.digest(&[&request.command.code.to_be_bytes(), &request.names(), parameters]);
        let mut auths = Vec::new();
        for (position, part) in parts.iter().enumerate() {
            let Some(session) = self.session(request, part.role) else {
                auths.push(CommandAuth::empty_password());
                continue;
            };
            let others = if position == 0 { self.foreign_nonces(request, parts) } else { Vec::new() };
            let auth = part.auth.unwrap_or(&EMPTY);
            auths.push(CommandAuth {
                session: session.handle(),
                nonce: part.nonce.to_vec(),
                attributes: part.attributes,
                hmac: session.command_hmac(auth, &cp_hash, &part.nonce, &others, part.attributes),
            });
        }
        Ok(auths)
    }

    /// TPM nonces that enter the first session's HMAC: of another session that decrypts or encrypts, once if it does
    /// both (Part 1, "HMAC computation").
    fn foreign_nonces(&self, request: &Request<'_>, parts: &[Part<'_>]) -> Vec<u8> {
        parts
            .iter()
            .skip(1)
            .filter(|part| part.attributes & (DECRYPT | ENCRYPT) != 0)
            .filter_map(|part| self.session(request, part.role))
            .flat_map(|session| session.nonce_tpm().to_vec())
            .collect()
    }

    fn authenticate(
        &mut self,
        request: &mut Request<'_>,
        parts: &[Part<'_>],
        response: &frame::Response<'_>,
    ) -> Result<(), Fault> {
        let command = request.command;
        let refuse = |what| Fault::ResponseNotAuthentic { command: command.name, what };
        let rp_hash = SESSION_HASH.digest(&[&[0; 4], &command.code.to_be_bytes(), response.parameters]);
        for (part, auth) in parts.iter().zip(&response.auths) {
            let session = match part.role {
                Role::Password => {
                    if !(auth.nonce.is_empty() && auth.hmac.is_empty() && auth.attributes == CONTINUE) {
                        return Err(refuse("password acknowledgment"));
                    }
                    continue;
                }
                Role::Kept(index) => self.sessions.get_mut(index).and_then(Option::as_mut),
                Role::Policy => request.policy.as_deref_mut(),
            };
            let session = session.ok_or(GONE)?;
            if !session.accept_response(part.auth.unwrap_or(&EMPTY), &rp_hash, &part.nonce, auth) {
                return Err(refuse("session HMAC"));
            }
        }
        Ok(())
    }

    fn handle_of(&mut self, subject: &Subject<'_>, pinned: &[SlotId]) -> Result<u32, Fault> {
        match subject {
            Subject::Handle(handle) | Subject::Nv(handle, _) => Ok(*handle),
            Subject::Object(object) => match object.location() {
                Location::Persistent(handle) => Ok(handle),
                Location::Transient(slot) => self.load_slot(slot, pinned),
            },
        }
    }

    fn load_slot(&mut self, slot: SlotId, pinned: &[SlotId]) -> Result<u32, Fault> {
        let context = match self.slots.touch(slot) {
            Some(Place::Loaded(handle)) => return Ok(*handle),
            Some(Place::Saved(context)) => context.clone(),
            // Forgotten here: what the TPM itself says of an object that it does not know.
            None => {
                return Err(Fault::Tpm { command: "TPM2_ContextLoad", code: ResponseCode::REFERENCE_H0 });
            }
        };
        self.make_room(pinned)?;
        let handle = loop {
            match self.context_load(&context) {
                Err(Fault::Tpm { code: ResponseCode::OBJECT_MEMORY, .. }) if self.save_one(pinned)? => {}
                Err(fault) => {
                    // The context died with a reset of the TPM.
                    self.slots.forget(slot);
                    return Err(fault);
                }
                Ok(handle) => break handle,
            }
        };
        self.slots.moved(slot, Place::Loaded(handle));
        Ok(handle)
    }

    fn make_room(&mut self, pinned: &[SlotId]) -> Result<(), Fault> {
        while !self.slots.has_room() {
            if !self.save_one(pinned)? {
                break;
            }
        }
        Ok(())
    }

    /// Saves the least recently used object and frees its slot; false if there is none to save.
    fn save_one(&mut self, pinned: &[SlotId]) -> Result<bool, Fault> {
        let Some((slot, handle)) = self.slots.victim(pinned) else {
            return Ok(false);
        };
        let context = self.context_save(handle)?;
        self.slots.moved(slot, Place::Saved(context));
        self.flush_handle(handle)?;
        Ok(true)
    }
}

/// A session that vanished between two steps of one command; cannot happen, and is refused if it does.
const GONE: Fault = Fault::Primitive("session bookkeeping");

/// Where the contents of the first parameter, a TPM2B, are.
fn first_tpm2b(parameters: &[u8]) -> Result<std::ops::Range<usize>, Fault> {
    let len = Reader::new(parameters, "first parameter").tpm2b(FRAME_OCTETS)?.len();
    Ok(2..len.saturating_add(2))
}
