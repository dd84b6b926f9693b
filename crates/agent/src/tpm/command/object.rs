//! Objects (Part 3, "Object commands", "Duplication commands").

use vouchsafe_evidence::limits::{TPM_DIGEST_OCTETS, TPM_NAME_OCTETS};
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::tpm::{CreationData, TpmtPublic};
use zeroize::Zeroizing;

use super::admin::only_tpm2b;
use super::{
    ACTIVATE_CREDENTIAL, CREATE, CREATE_PRIMARY, Hierarchy, IMPORT, LOAD, LOAD_EXTERNAL, READ_PUBLIC, TPM2B_OCTETS,
    Ticket, UNSEAL,
};
use crate::provider::Fault;
use crate::tpm::frame::{Auth, Request, Returns, Subject};
use crate::tpm::import::{Duplicate, Sensitive};
use crate::tpm::session::{AuthValue, Session};
use crate::tpm::{Object, Tpm};

/// What a TPM says about the creation of an object, and what proves that it was this TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreationProof {
    /// TPMS_CREATION_DATA.
    pub data: Vec<u8>,
    /// Its digest with the object's nameAlg.
    pub hash: Vec<u8>,
    /// TPMT_TK_CREATION.
    pub ticket: Ticket,
}

/// An object as TPM2_Create makes it: not loaded.
#[derive(Clone, Debug)]
pub struct Created {
    /// Contents of the TPM2B_PRIVATE, which only its parent can read.
    pub private: Vec<u8>,
    /// The public area.
    pub public: TpmtPublic,
    /// Circumstances of its creation.
    pub creation: CreationProof,
}

/// A sealed object: data that the TPM gives back to who proves an authValue.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Contents of the TPM2B_PRIVATE.
    pub private: Vec<u8>,
    /// The public area.
    pub public: TpmtPublic,
}

impl Tpm {
    /// TPM2_CreatePrimary in a hierarchy with empty authorization. The object takes `auth`.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn create_primary(
        &mut self,
        hierarchy: Hierarchy,
        template: &TpmtPublic,
        auth: &AuthValue,
    ) -> Result<(Object, TpmtPublic), Fault> {
        let parameters = creation_parameters(auth, &[], template);
        let empty = AuthValue::empty();
        let mut request = Request::new(CREATE_PRIMARY, parameters)
            .authorized(Subject::Handle(hierarchy.handle()), Auth::Value(&empty))
            .encrypt_out()
            .returning(Returns::Object);
        // Without a secret in it, this also makes the key that later protects secrets.
        request.secret_in = !auth.is_empty();
        let reply = self.execute(request)?;
        let mut r = Reader::new(&reply.parameters, "TPM2_CreatePrimary");
        let public = TpmtPublic::parse(r.tpm2b(TPM2B_OCTETS)?)?;
        let slot = self.adopt(reply.handle.ok_or(Fault::Primitive("TPM2_CreatePrimary"))?)?;
        Ok((Object::transient(slot, &public, auth.clone()), public))
    }

    /// TPM2_Create of a key under `parent`.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn create(&mut self, parent: &Object, template: &TpmtPublic, auth: &AuthValue) -> Result<Created, Fault> {
        self.create_with(parent, template, auth, &[])
    }

    /// TPM2_Create of an object that holds `data`.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn seal(
        &mut self,
        parent: &Object,
        template: &TpmtPublic,
        auth: &AuthValue,
        data: &[u8],
    ) -> Result<Sealed, Fault> {
        let created = self.create_with(parent, template, auth, data)?;
        Ok(Sealed { private: created.private, public: created.public })
    }

    fn create_with(
        &mut self,
        parent: &Object,
        template: &TpmtPublic,
        auth: &AuthValue,
        data: &[u8],
    ) -> Result<Created, Fault> {
        let parameters = creation_parameters(auth, data, template);
        let reply = self.execute(Request::new(CREATE, parameters).by(parent).secret_in().encrypt_out())?;
        let mut r = Reader::new(&reply.parameters, "TPM2_Create");
        let private = r.tpm2b(TPM2B_OCTETS)?.to_vec();
        let public = TpmtPublic::parse(r.tpm2b(TPM2B_OCTETS)?)?;
        let data = r.tpm2b(TPM2B_OCTETS)?.to_vec();
        CreationData::parse(&data)?;
        let hash = r.tpm2b(TPM_DIGEST_OCTETS)?.to_vec();
        let ticket = Ticket::read(&mut r)?;
        r.finish()?;
        Ok(Created { private, public, creation: CreationProof { data, hash, ticket } })
    }

    /// TPM2_Load. `auth` is the object's authValue.
    ///
    /// # Errors
    /// [`Fault::Tpm`] with INTEGRITY when `parent` did not make it.
    pub fn load(
        &mut self,
        parent: &Object,
        private: &[u8],
        public: &TpmtPublic,
        auth: AuthValue,
    ) -> Result<Object, Fault> {
        let mut w = Writer::new();
        w.tpm2b(private).tpm2b(public.as_bytes());
        let request = Request::new(LOAD, w.into_bytes()).by(parent).encrypt_out().returning(Returns::Object);
        let reply = self.execute(request)?;
        self.adopt_named(reply.handle, &reply.parameters, public, auth, LOAD.name)
    }

    /// TPM2_LoadExternal: a key from outside, in the NULL hierarchy; without `sensitive` its public part alone.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn load_external(&mut self, sensitive: Option<&Sensitive>, public: &TpmtPublic) -> Result<Object, Fault> {
        let (private, auth) = match sensitive {
            Some(sensitive) => (sensitive.to_bytes(public), sensitive.auth.clone()),
            None => (Zeroizing::default(), AuthValue::empty()),
        };
        let mut w = Writer::new();
        w.tpm2b(&private).tpm2b(public.as_bytes()).u32(Hierarchy::Null.handle());
        let mut request = Request::new(LOAD_EXTERNAL, w.into_bytes()).encrypt_out().returning(Returns::Object);
        request.secret_in = sensitive.is_some();
        let reply = self.execute(request)?;
        self.adopt_named(reply.handle, &reply.parameters, public, auth, LOAD_EXTERNAL.name)
    }

    fn adopt_named(
        &mut self,
        handle: Option<u32>,
        parameters: &[u8],
        public: &TpmtPublic,
        auth: AuthValue,
        command: &'static str,
    ) -> Result<Object, Fault> {
        let slot = self.adopt(handle.ok_or(Fault::Primitive("loading an object"))?)?;
        let object = Object::transient(slot, public, auth);
        let name = only_tpm2b(parameters, "TPM2B_NAME")?;
        if name.as_slice() != object.name() {
            self.discard(slot)?;
            return Err(Fault::ResponseNotAuthentic { command, what: "Name of the object" });
        }
        Ok(object)
    }

    /// TPM2_Import under `parent`; gives the private part to load.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn import(&mut self, parent: &Object, duplicate: &Duplicate) -> Result<Vec<u8>, Fault> {
        let mut w = Writer::new();
        // No inner wrapping: empty encryptionKey, symmetricAlg TPM_ALG_NULL.
        w.tpm2b(&[]).tpm2b(duplicate.public.as_bytes()).tpm2b(&duplicate.private).tpm2b(&duplicate.seed);
        w.u16(vouchsafe_evidence::tpm::alg::NULL);
        let reply = self.execute(Request::new(IMPORT, w.into_bytes()).by(parent).encrypt_out())?;
        Ok(only_tpm2b(&reply.parameters, "TPM2_Import")?.to_vec())
    }

    /// TPM2_ReadPublic of a persistent handle. The Name is computed here and must be the TPM's.
    ///
    /// Sessions authenticate by Name, so the first answer, which brings it, cannot be authenticated. It is asked for
    /// again with that Name, and must be the same.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn read_public(&mut self, handle: u32) -> Result<TpmtPublic, Fault> {
        let request = Request::new(READ_PUBLIC, Vec::new()).on(Subject::Handle(handle)).bare();
        let first = self.execute(request)?.parameters;
        let public = public_of(&first)?;
        if self.salt_key().is_none() {
            return Ok(public);
        }
        let object = Object::persistent(handle, &public, AuthValue::empty());
        let request = Request::new(READ_PUBLIC, Vec::new()).on(Subject::Object(&object)).encrypt_out();
        let second = self.execute(request)?.parameters;
        if second == first { Ok(public) } else { Err(OTHER_NAME) }
    }

    /// TPM2_Unseal; the data comes encrypted.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn unseal(&mut self, object: &Object) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let reply = self.execute(Request::new(UNSEAL, Vec::new()).by(object).encrypt_out())?;
        only_tpm2b(&reply.parameters, "TPM2_Unseal")
    }

    /// TPM2_ActivateCredential: opens a credential made for the Name of `attesting` and the key `endorsement`; the
    /// credential comes encrypted. `credential` and `secret` are the contents of a TPM2B_ID_OBJECT and a
    /// TPM2B_ENCRYPTED_SECRET. `policy` authorizes an endorsement key that has no authValue of its own.
    ///
    /// # Errors
    /// [`Fault`]: any of several codes when the credential is not for these keys, TPM_RC_FAILURE among them.
    pub fn activate_credential(
        &mut self,
        attesting: &Object,
        endorsement: &Object,
        policy: Option<&mut Session>,
        credential: &[u8],
        secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let mut w = Writer::new();
        w.tpm2b(credential).tpm2b(secret);
        let request = Request::new(ACTIVATE_CREDENTIAL, w.into_bytes()).by(attesting).encrypt_out();
        let request = match policy {
            Some(session) => request.authorized(Subject::Object(endorsement), Auth::Policy).with_policy(session),
            None => request.by(endorsement),
        };
        let reply = self.execute(request)?;
        only_tpm2b(&reply.parameters, "TPM2_ActivateCredential")
    }
}

const OTHER_NAME: Fault = Fault::ResponseNotAuthentic { command: READ_PUBLIC.name, what: "Name of the object" };

fn public_of(parameters: &[u8]) -> Result<TpmtPublic, Fault> {
    let mut r = Reader::new(parameters, "TPM2_ReadPublic");
    let public = TpmtPublic::parse(r.tpm2b(TPM2B_OCTETS)?)?;
    let name = r.tpm2b(TPM_NAME_OCTETS)?;
    r.tpm2b(TPM_NAME_OCTETS)?;
    r.finish()?;
    if public.name().is_some_and(|computed| computed.as_bytes() == name) { Ok(public) } else { Err(OTHER_NAME) }
}

/// inSensitive, inPublic, outsideInfo (none), creationPCR (none).
fn creation_parameters(auth: &AuthValue, data: &[u8], template: &TpmtPublic) -> Vec<u8> {
    let mut sensitive = Writer::new();
    sensitive.tpm2b(auth.as_bytes()).tpm2b(data);
    let sensitive = Zeroizing::new(sensitive.into_bytes());
    let mut w = Writer::new();
    w.tpm2b(&sensitive).tpm2b(template.as_bytes()).tpm2b(&[]).u32(0);
    w.into_bytes()
}
