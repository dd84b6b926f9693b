//! A token: found in its slot, logged in to, and found again when it was away.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use cryptoki::context::{Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use tracing::{info, warn};

use super::fault::{Loss, TokenFault};
use super::library::User;
use super::objects::Resolved;
use super::pin::PinFile;
use crate::provider::{Fault, KeyUid, StateStore};

/// Slots that are looked at.
const SLOTS: usize = 1024;
/// Keys whose objects are remembered; beyond that all are found anew.
const KEYS_REMEMBERED: usize = 4096;

/// How the configuration names a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenName {
    /// By its label.
    Label(String),
    /// By its serial number, where labels are not unique.
    Serial(String),
}

impl TokenName {
    /// Whether the token of that description is meant.
    pub(super) fn names(&self, info: &TokenInfo) -> bool {
        match self {
            Self::Label(label) => info.label() == label,
            Self::Serial(serial) => info.serial_number() == serial,
        }
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(formatter, "label {label:?}"),
            Self::Serial(serial) => write!(formatter, "serial number {serial:?}"),
        }
    }
}

/// A token with its PIN. Its session is opened when it is needed.
#[derive(Debug)]
pub(super) struct Token {
    library: Arc<User>,
    name: TokenName,
    pin: PinFile,
    open: Option<Open>,
}

/// A session that is logged in, and what is known in it.
#[derive(Debug)]
struct Open {
    generation: u64,
    slot: Slot,
    session: Session,
    keys: HashMap<KeyUid, Resolved>,
}

/// The token, while somebody works with it.
pub(super) struct Live<'a> {
    pub(super) pkcs11: &'a Pkcs11,
    pub(super) slot: Slot,
    pub(super) session: &'a Session,
    keys: &'a mut HashMap<KeyUid, Resolved>,
}

impl Live<'_> {
    /// What is known of a key in this session.
    pub(super) fn known(&self, uid: &KeyUid) -> Option<Resolved> {
        self.keys.get(uid).cloned()
    }

    /// Remembers a key for this session.
    pub(super) fn remember(&mut self, uid: KeyUid, resolved: Resolved) {
        if self.keys.len() >= KEYS_REMEMBERED {
            self.keys.clear();
        }
        self.keys.insert(uid, resolved);
    }

    /// Forgets what is known of a key.
    pub(super) fn forget(&mut self, uid: &KeyUid) {
        self.keys.remove(uid);
    }

    /// Makes sure that private objects can be seen: to a session that was logged out meanwhile they are not there, which is not
    /// that they are gone. The session is lost then, and another one is opened and logged in.
    pub(super) fn sees_private_objects(&self) -> Result<(), Fault> {
        if is_logged_in(self.session)? || !self.info()?.login_required() {
            return Ok(());
        }
        Err(Error::Pkcs11(RvError::UserNotLoggedIn, Function::FindObjects).into())
    }

    /// The token's description, asked for now.
    pub(super) fn info(&self) -> Result<TokenInfo, Fault> {
        Ok(self.pkcs11.get_token_info(self.slot)?)
    }
}

impl Token {
    pub(super) fn new(library: Arc<User>, name: TokenName, pin_file: PathBuf) -> Self {
        Self { library, name, pin: PinFile::new(pin_file), open: None }
    }

    /// Works with the token. If session or token turn out to be lost, they are looked for anew and `operation` is done once
    /// more from its beginning: it must bear that.
    pub(super) fn with<R>(
        &mut self,
        store: &dyn StateStore,
        mut operation: impl FnMut(&mut Live<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        // Each remedy once: a new session in the same token, then a new look of the library.
        let (mut may_reopen, mut may_restart) = (true, true);
        loop {
            let fault = match self.attempt(store, &mut operation) {
                Ok(done) => {
                    self.library.is_well();
                    return Ok(done);
                }
                Err(fault) => fault,
            };
            let Fault::Token(token_fault) = &fault else { return Err(fault) };
            match token_fault.loss() {
                Some(Loss::Session) if may_reopen => {
                    may_reopen = false;
                    warn!(%fault, token = %self.name, "the session is lost; opening another");
                    self.close();
                }
                Some(_) if may_restart => {
                    may_restart = false;
                    warn!(%fault, token = %self.name, "the token is lost");
                    let generation = self.library.enter().generation;
                    self.close();
                    if !self.library.restart(generation) {
                        return Err(fault);
                    }
                }
                Some(_) => {
                    self.close();
                    return Err(fault);
                }
                None => return Err(fault),
            }
        }
    }

    fn attempt<R>(
        &mut self,
        store: &dyn StateStore,
        operation: &mut impl FnMut(&mut Live<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let library = Arc::clone(&self.library);
        let state = library.enter();
        // Handles of an earlier life of the library may be somebody else's now: they are not even closed.
        let open = match self.open.take().filter(|open| open.generation == state.generation) {
            Some(open) => open,
            None => {
                let (slot, session) = open(&state.pkcs11, &self.name, &mut self.pin, store)?;
                Open { generation: state.generation, slot, session, keys: HashMap::new() }
            }
        };
        let open = self.open.insert(open);
        let (session, keys) = (&open.session, &mut open.keys);
        operation(&mut Live { pkcs11: &state.pkcs11, slot: open.slot, session, keys })
    }

    fn close(&mut self) {
        let state = self.library.enter();
        if let Some(open) = self.open.take().filter(|open| open.generation == state.generation)
            && let Err(error) = open.session.close()
        {
            tracing::debug!(fault = %Fault::from(error), token = %self.name, "closing a session");
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.close();
    }
}

/// The slot with the token of that name.
pub(super) fn find(pkcs11: &Pkcs11, name: &TokenName) -> Result<(Slot, TokenInfo), Fault> {
    let mut found = None;
    for slot in pkcs11.get_slots_with_token()?.into_iter().take(SLOTS) {
        // One slot that cannot be asked must not hide the others.
        let Ok(info) = pkcs11.get_token_info(slot) else { continue };
        if info.token_initialized() && name.names(&info) && found.replace((slot, info)).is_some() {
            return Err(Fault::Token(TokenFault::AmbiguousToken { wanted: name.to_string() }));
        }
    }
    found.ok_or_else(|| Fault::Token(TokenFault::Absent { wanted: name.to_string() }))
}

fn open(
    pkcs11: &Pkcs11,
    name: &TokenName,
    pin: &mut PinFile,
    store: &dyn StateStore,
) -> Result<(Slot, Session), Fault> {
    let (slot, token) = find(pkcs11, name)?;
    // Closed by hand: a session of an earlier life of the library must not be.
    let session = pkcs11.open_rw_session_no_drop(slot)?;
    match login(&session, &token, name, pin, store) {
        Ok(()) => {
            info!(token = %name, slot = slot.id(), "the token is open");
            Ok((slot, session))
        }
        Err(fault) => {
            if let Err(error) = session.close() {
                tracing::debug!(fault = %Fault::from(error), token = %name, "closing a session");
            }
            Err(fault)
        }
    }
}

fn login(
    session: &Session,
    token: &TokenInfo,
    name: &TokenName,
    pin: &mut PinFile,
    store: &dyn StateStore,
) -> Result<(), Fault> {
    let wanted = name.to_string();
    // The login is of the whole process: another session may have it already.
    if is_logged_in(session)? || !token.login_required() {
        return Ok(());
    }
    if let Some(fault) = untried(token, &wanted) {
        return Err(Fault::Token(fault));
    }
    let refused = TokenFault::PinRefused { wanted: wanted.clone(), path: pin.path().to_owned() };
    if pin.was_refused(store, &wanted)? {
        return Err(Fault::Token(refused));
    }
    match session.login(UserType::User, Some(&pin.read()?)) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => pin.note_success(store, &wanted),
        Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinLenRange | RvError::PinInvalid, _)) => {
            pin.note_refusal(store, &wanted)?;
            Err(Fault::Token(refused))
        }
        Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(Fault::Token(TokenFault::PinLocked { wanted })),
        Err(Error::Pkcs11(RvError::UserPinNotInitialized, _)) => Err(Fault::Token(TokenFault::PinUnset { wanted })),
        Err(error) => Err(error.into()),
    }
}

fn is_logged_in(session: &Session) -> Result<bool, Fault> {
    Ok(matches!(session.get_session_info()?.session_state(), SessionState::RwUser | SessionState::RoUser))
}

/// Why a PIN is not tried on a token of that description, if it is not.
pub(super) fn untried(token: &TokenInfo, wanted: &str) -> Option<TokenFault> {
    let wanted = wanted.to_owned();
    if token.user_pin_locked() {
        Some(TokenFault::PinLocked { wanted })
    } else if token.user_pin_final_try() {
        Some(TokenFault::PinFinalTry { wanted })
    } else if !token.user_pin_initialized() {
        Some(TokenFault::PinUnset { wanted })
    } else {
        None
    }
}
