//! Contexts and persistent handles (Part 3, "Context management").

use vouchsafe_evidence::tpm::TpmtPublic;
use vouchsafe_evidence::tpm::marshal::Writer;

use super::{CONTEXT_LOAD, CONTEXT_SAVE, EVICT_CONTROL, Hierarchy};
use crate::provider::Fault;
use crate::tpm::frame::{Auth, Request, Returns, Subject};
use crate::tpm::session::AuthValue;
use crate::tpm::{Object, Tpm};

impl Tpm {
    /// TPM2_ContextSave: a TPMS_CONTEXT, which only this TPM can read, until its next reset.
    pub(crate) fn context_save(&mut self, handle: u32) -> Result<Vec<u8>, Fault> {
        let reply = self.execute(Request::new(CONTEXT_SAVE, Vec::new()).on(Subject::Handle(handle)).bare())?;
        Ok(reply.parameters.to_vec())
    }

    /// TPM2_ContextLoad of what [`Tpm::context_save`] gave.
    pub(crate) fn context_load(&mut self, context: &[u8]) -> Result<u32, Fault> {
        // Its response begins with a handle, but the object is one that has its slot already.
        let reply = self.execute(Request::new(CONTEXT_LOAD, context.to_vec()).bare().returning(Returns::Session))?;
        reply.handle.ok_or(Fault::Primitive("TPM2_ContextLoad"))
    }

    /// TPM2_FlushContext of a transient object; a persistent one stays.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn flush(&mut self, object: &Object) -> Result<(), Fault> {
        object.slot().map_or(Ok(()), |slot| self.discard(slot))
    }

    /// TPM2_EvictControl by the owner: makes a transient object persistent under `handle`. The transient one stays.
    ///
    /// # Errors
    /// [`Fault::Tpm`] with NV_DEFINED if the handle is in use.
    pub fn persist(&mut self, object: &Object, handle: u32, public: &TpmtPublic) -> Result<Object, Fault> {
        let owner = Subject::Handle(Hierarchy::Owner.handle());
        let empty = AuthValue::empty();
        let mut w = Writer::new();
        w.u32(handle);
        let request = Request::new(EVICT_CONTROL, w.into_bytes())
            .authorized(owner, Auth::Value(&empty))
            .on(Subject::Object(object));
        self.execute(request)?;
        Ok(Object::persistent(handle, public, object.auth().clone()))
    }

    /// TPM2_EvictControl by the owner: removes a persistent object.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn unpersist(&mut self, object: &Object) -> Result<(), Fault> {
        let Some(handle) = object.persistent_handle() else {
            return Ok(());
        };
        let owner = Subject::Handle(Hierarchy::Owner.handle());
        let mut w = Writer::new();
        w.u32(handle);
        let request = Request::new(EVICT_CONTROL, w.into_bytes())
            .authorized(owner, Auth::EmptyPassword)
            .on(Subject::Object(object));
        self.execute(request).map(drop)
    }
}
