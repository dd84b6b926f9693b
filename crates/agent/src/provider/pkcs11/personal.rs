//! A key that a person has on a token of their own, such as a smart card: it signs one message, and nothing of it is kept.

use std::path::PathBuf;

use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::library::User;
use super::scheme;
use super::token::{Token, TokenName};
use crate::provider::{Fault, KeyKind, MemoryStore, SignatureScheme};

/// Which key on which token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonalKey {
    /// The maker's library.
    pub module: PathBuf,
    /// The token.
    pub token: TokenName,
    /// The file with its PIN: one line, readable by its owner alone.
    pub pin_file: PathBuf,
    /// The label (CKA_LABEL) of the private key. There must be one of that label alone.
    pub label: String,
    /// Its kind.
    pub kind: KeyKind,
}

impl PersonalKey {
    /// A signature over `message`, whose hash the scheme names; that of ECDSA is r and s side by side.
    ///
    /// The public object is not asked: whoever uses the signature checks it with the public key that they expect. The PIN is
    /// given to the token once, and not where that is its last try.
    ///
    /// # Errors
    /// [`Fault::Token`]: no such library or token, a PIN that is not there or was refused. [`Fault::Missing`]: no private
    /// key of that label, or several.
    pub fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let library = User::of(&self.module)?;
        let mut token = Token::new(library, self.token.clone(), self.pin_file.clone());
        let digest = scheme.hash().algorithm().digest(&[message]);
        // A PIN that was refused is not remembered beyond this call; the token's own warning of its last try is heeded.
        token.with(&MemoryStore::default(), |live| {
            let private = self.find(live.session)?;
            let (mechanism, input) = scheme::signing(self.kind, scheme, &digest);
            Ok(live.session.sign(&mechanism, private, &input)?)
        })
    }

    fn find(&self, session: &Session) -> Result<ObjectHandle, Fault> {
        let template = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(self.label.as_bytes().to_vec())];
        let mut found = session.iter_objects(&template)?.take(2);
        match (found.next().transpose()?, found.next().transpose()?) {
            (Some(private), None) => Ok(private),
            (None, _) => Err(Fault::Missing { what: "private key of that label" }),
            (Some(_), Some(_)) => Err(Fault::Missing { what: "label that one private key alone has" }),
        }
    }
}
