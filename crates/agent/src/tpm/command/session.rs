//! Sessions and policy (Part 3, "Session commands", "Enhanced authorization commands").

use vouchsafe_evidence::limits::TPM_DIGEST_OCTETS;
use vouchsafe_evidence::tpm::alg;
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};

use super::{Hierarchy, POLICY_SECRET, START_AUTH_SESSION};
use crate::provider::Fault;
use crate::tpm::Tpm;
use crate::tpm::frame::{Auth, Request, Returns, Subject};
use crate::tpm::kdf::random;
use crate::tpm::session::{AES_OCTETS, AuthValue, NONCE_OCTETS, SESSION_HASH, Session, share_secret};

/// TPM_SE_HMAC.
const HMAC: u8 = 0;
/// TPM_SE_POLICY.
const POLICY: u8 = 1;

impl Tpm {
    pub(crate) fn start_hmac_session(&mut self) -> Result<Session, Fault> {
        self.start_session(HMAC)
    }

    /// TPM2_StartAuthSession of a policy session, salted so that its responses are authenticated.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn start_policy_session(&mut self) -> Result<Session, Fault> {
        self.start_session(POLICY)
    }

    fn start_session(&mut self, kind: u8) -> Result<Session, Fault> {
        let (salt_handle, public) = self.salt_key().ok_or(Fault::Missing { what: "key for salted sessions" })?;
        let salt = share_secret(public, b"SECRET")?;
        let nonce_caller: [u8; NONCE_OCTETS] = random()?;
        let aes_bits = u16::try_from(AES_OCTETS.saturating_mul(8)).unwrap_or_default();
        let mut w = Writer::new();
        w.tpm2b(&nonce_caller).tpm2b(&salt.encrypted).u8(kind);
        w.u16(alg::AES).u16(aes_bits).u16(alg::CFB).u16(SESSION_HASH.id());
        let request = Request::new(START_AUTH_SESSION, w.into_bytes())
            .on(Subject::Handle(salt_handle))
            .on(Subject::Handle(Hierarchy::Null.handle()))
            .bare()
            .returning(Returns::Session);
        let reply = self.execute(request)?;
        let mut r = Reader::new(&reply.parameters, "TPM2_StartAuthSession");
        let nonce_tpm = r.tpm2b(TPM_DIGEST_OCTETS)?;
        r.finish()?;
        let handle = reply.handle.ok_or(Fault::Primitive("TPM2_StartAuthSession"))?;
        Ok(Session::new(handle, &salt.value, &nonce_caller, nonce_tpm))
    }

    /// TPM2_FlushContext of a session.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn end_session(&mut self, session: &Session) -> Result<(), Fault> {
        self.flush_handle(session.handle())
    }

    /// TPM2_PolicySecret(TPM_RH_ENDORSEMENT), with the hierarchy's empty authValue: what PolicyA of an endorsement key
    /// asks for. The policy digest is spent with each use of the session.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn policy_secret_endorsement(&mut self, session: &Session) -> Result<(), Fault> {
        let mut w = Writer::new();
        // nonceTPM, cpHashA, policyRef: none; expiration: 0.
        w.tpm2b(&[]).tpm2b(&[]).tpm2b(&[]).u32(0);
        let empty = AuthValue::empty();
        let request = Request::new(POLICY_SECRET, w.into_bytes())
            .authorized(Subject::Handle(Hierarchy::Endorsement.handle()), Auth::Value(&empty))
            .on(Subject::Handle(session.handle()));
        self.execute(request).map(drop)
    }
}
