//! Commands and responses (Part 1, "Command/Response structure"): what a command consists of, and how it is framed.

use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::{Malformed, Reason};
use zeroize::Zeroizing;

use super::object::Object;
use super::rc::ResponseCode;
use super::session::{AuthValue, CONTINUE, ResponseAuth, Session};
use super::slots::SlotId;
use super::transport::{FRAME_OCTETS, HEADER_OCTETS};
use crate::provider::Fault;

/// TPM_ST_NO_SESSIONS.
const NO_SESSIONS: u16 = 0x8001;
/// TPM_ST_SESSIONS.
const SESSIONS: u16 = 0x8002;
/// TPM_RS_PW: the password authorization.
pub(crate) const PASSWORD: u32 = 0x4000_0009;

/// A TPM_CC with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandCode {
    /// The number.
    pub code: u32,
    /// The name, for messages.
    pub name: &'static str,
}

/// Something a command names by handle.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// An object, which may have to be loaded first.
    Object(&'a Object),
    /// A hierarchy, PCR or session: its Name is its handle.
    Handle(u32),
    /// An NV index with its Name.
    Nv(u32, &'a [u8]),
}

impl Subject<'_> {
    pub(crate) fn name(&self) -> Vec<u8> {
        match self {
            Self::Object(object) => object.name().to_vec(),
            Self::Handle(handle) => handle.to_be_bytes().to_vec(),
            Self::Nv(_, name) => name.to_vec(),
        }
    }

    pub(crate) const fn slot(&self) -> Option<SlotId> {
        match self {
            Self::Object(object) => object.slot(),
            Self::Handle(_) | Self::Nv(..) => None,
        }
    }
}

/// How a handle is authorized.
#[derive(Clone, Copy)]
pub(crate) enum Auth<'a> {
    /// By its authValue, proven by a kept salted session; as a password only where it is empty.
    Value(&'a AuthValue),
    /// By its empty authValue, as a password: for commands that change what an HMAC would be made with.
    EmptyPassword,
    /// By the policy session of the request.
    Policy,
}

/// What a response begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Returns {
    /// No handle.
    Parameters,
    /// The handle of a new transient object.
    Object,
    /// The handle of a new session.
    Session,
}

/// A command to be sent.
pub(crate) struct Request<'a> {
    pub(crate) command: CommandCode,
    pub(crate) subjects: Vec<Subject<'a>>,
    /// One for each of the first subjects.
    pub(crate) auths: Vec<Auth<'a>>,
    pub(crate) policy: Option<&'a mut Session>,
    pub(crate) parameters: Zeroizing<Vec<u8>>,
    /// The first parameter is a TPM2B that must not be seen on the way.
    pub(crate) secret_in: bool,
    /// The first response parameter is a TPM2B, so that it can be encrypted on the way.
    pub(crate) encrypt_out: bool,
    /// The command takes sessions; without one its response could be forged.
    pub(crate) guarded: bool,
    pub(crate) returns: Returns,
}

impl<'a> Request<'a> {
    /// A command without handles, authorizations and secrets, guarded by a session.
    pub(crate) fn new(command: CommandCode, parameters: Vec<u8>) -> Self {
        Self {
            command,
            subjects: Vec::new(),
            auths: Vec::new(),
            policy: None,
            parameters: Zeroizing::new(parameters),
            secret_in: false,
            encrypt_out: false,
            guarded: true,
            returns: Returns::Parameters,
        }
    }

    pub(crate) fn on(mut self, subject: Subject<'a>) -> Self {
        self.subjects.push(subject);
        self
    }

    /// Adds a handle and its authorization; such handles come first.
    pub(crate) fn authorized(mut self, subject: Subject<'a>, auth: Auth<'a>) -> Self {
        self.subjects.push(subject);
        self.auths.push(auth);
        self
    }

    /// Adds an object and proves its authValue.
    pub(crate) fn by(self, object: &'a Object) -> Self {
        self.authorized(Subject::Object(object), Auth::Value(object.auth()))
    }

    pub(crate) fn with_policy(mut self, session: &'a mut Session) -> Self {
        self.policy = Some(session);
        self
    }

    pub(crate) const fn secret_in(mut self) -> Self {
        self.secret_in = true;
        self
    }

    pub(crate) const fn encrypt_out(mut self) -> Self {
        self.encrypt_out = true;
        self
    }

    /// For commands that take no sessions.
    pub(crate) const fn bare(mut self) -> Self {
        self.guarded = false;
        self
    }

    pub(crate) const fn returning(mut self, returns: Returns) -> Self {
        self.returns = returns;
        self
    }

    pub(crate) fn names(&self) -> Vec<u8> {
        self.subjects.iter().flat_map(Subject::name).collect()
    }

    pub(crate) fn slots(&self) -> Vec<SlotId> {
        self.subjects.iter().filter_map(Subject::slot).collect()
    }
}

/// One TPMS_AUTH_COMMAND.
pub(crate) struct CommandAuth {
    pub(crate) session: u32,
    pub(crate) nonce: Vec<u8>,
    pub(crate) attributes: u8,
    pub(crate) hmac: Vec<u8>,
}

impl CommandAuth {
    pub(crate) const fn empty_password() -> Self {
        Self { session: PASSWORD, nonce: Vec::new(), attributes: CONTINUE, hmac: Vec::new() }
    }
}

/// The command's octets.
pub(crate) fn command(code: CommandCode, handles: &[u32], auths: &[CommandAuth], parameters: &[u8]) -> Vec<u8> {
    let mut body = Writer::new();
    for handle in handles {
        body.u32(*handle);
    }
    if !auths.is_empty() {
        let mut area = Writer::new();
        for auth in auths {
            area.u32(auth.session).tpm2b(&auth.nonce).u8(auth.attributes).tpm2b(&auth.hmac);
        }
        let area = area.into_bytes();
        body.u32(u32_len(area.len())).bytes(&area);
    }
    body.bytes(parameters);
    let body = body.into_bytes();
    let mut frame = Writer::new();
    frame
        .u16(if auths.is_empty() { NO_SESSIONS } else { SESSIONS })
        .u32(u32_len(body.len().saturating_add(HEADER_OCTETS)))
        .u32(code.code)
        .bytes(&body);
    frame.into_bytes()
}

/// A length as the TPM writes it. Frames are a few kilobytes; a TPM refuses a size that is not the frame's.
pub(crate) fn u32_len(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// A response, taken apart but not yet authenticated.
pub(crate) struct Response<'a> {
    pub(crate) handle: Option<u32>,
    pub(crate) parameters: &'a [u8],
    pub(crate) auths: Vec<ResponseAuth<'a>>,
}

/// Takes a response apart: exactly the shape that the command calls for.
pub(crate) fn response<'a>(
    command: CommandCode,
    octets: &'a [u8],
    returns: Returns,
    sessions: usize,
) -> Result<Response<'a>, Fault> {
    let mut r = Reader::new(octets, "TPM response");
    let tag = r.u16()?;
    let size = r.u32()?;
    if usize::try_from(size) != Ok(octets.len()) {
        return Err(Malformed::new("TPM response", 2, Reason::BadValue(size.into())).into());
    }
    let code = ResponseCode::new(r.u32()?);
    if code != ResponseCode::SUCCESS {
        // Part 1: an error response is a header without sessions, whatever the command was.
        return match (tag, r.finish()) {
            (NO_SESSIONS, Ok(())) => Err(Fault::Tpm { command: command.name, code }),
            (_, Err(malformed)) => Err(malformed.into()),
            (other, Ok(())) => Err(Malformed::new("TPM response", 0, Reason::BadValue(other.into())).into()),
        };
    }
    let expected = if sessions == 0 { NO_SESSIONS } else { SESSIONS };
    if tag != expected {
        return Err(Malformed::new("TPM response", 0, Reason::BadValue(tag.into())).into());
    }
    let handle = match returns {
        Returns::Parameters => None,
        Returns::Object | Returns::Session => Some(r.u32()?),
    };
    if sessions == 0 {
        return Ok(Response { handle, parameters: r.rest(), auths: Vec::new() });
    }
    let len = usize::try_from(r.u32()?).ok().filter(|len| *len <= FRAME_OCTETS);
    let len = len.ok_or_else(|| r.error(Reason::OverLimit { what: "response parameters", limit: FRAME_OCTETS }))?;
    let parameters = r.take(len)?;
    let mut auths = Vec::new();
    for _ in 0..sessions {
        let nonce = r.tpm2b(64)?;
        let attributes = r.u8()?;
        auths.push(ResponseAuth { nonce, attributes, hmac: r.tpm2b(64)? });
    }
    r.finish()?;
    Ok(Response { handle, parameters, auths })
}

/// What a command brought, authenticated and decrypted.
pub(crate) struct Reply {
    pub(crate) handle: Option<u32>,
    pub(crate) parameters: Zeroizing<Vec<u8>>,
}
