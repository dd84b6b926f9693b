//! Keys of users: made under the storage root key, loaded when used.

use vouchsafe_evidence::limits::TPM_STRUCTURE_OCTETS;
use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, PLAIN_AK_ATTRIBUTES, USER_KEY_ATTRIBUTES};
use vouchsafe_evidence::tpm::{Curve, PublicParameters, TpmtPublic, TpmtSignature};

use super::TpmProvider;
use super::blob::Blob;
use super::kind;
use super::loaded::{LoadedKey, Tag};
use crate::provider::{EncryptionScheme, Fault, KeyBlob, KeyKind, KeyPurpose, KeySpec, PublicKey, SignatureScheme};
use crate::tpm::kdf::random;
use crate::tpm::{Blamed, ResponseCode, Ticket, der};
use zeroize::Zeroizing;

/// Attributes of a user's decryption key: fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, decrypt.
const DECRYPTION_KEY_ATTRIBUTES: u32 = 0x0002_0472;

const UNKNOWN_KIND: Fault = Fault::Missing { what: "such kind of key" };

/// The public half that a blob holds.
pub(super) fn public_of(key: &KeyBlob) -> Result<PublicKey, Fault> {
    let blob = Blob::parse(key)?;
    let parts = (kind::kind_of(&blob.public), blob.public.spki(), der::subject_public_key(&blob.public));
    let (Some(kind), Some(spki), Some(subject_public_key)) = parts else {
        return Err(UNKNOWN_KIND);
    };
    Ok(PublicKey { kind, purpose: blob.purpose, spki: spki.as_der().to_vec(), subject_public_key })
}

impl TpmProvider {
    pub(super) fn generate_key(&mut self, spec: KeySpec) -> Result<KeyBlob, Fault> {
        let salt = random()?;
        let auth = self.prepared.root.auth(&salt);
        let (attributes, fixed) = match spec.purpose {
            KeyPurpose::Sign => (USER_KEY_ATTRIBUTES, None),
            KeyPurpose::Attest if self.prepared.has_certify_x509 => {
                (AK_ATTRIBUTES, Some(kind::attesting_hash(spec.kind)?))
            }
            KeyPurpose::Attest => (PLAIN_AK_ATTRIBUTES, Some(kind::attesting_hash(spec.kind)?)),
            KeyPurpose::Decrypt if spec.kind.is_rsa() => (DECRYPTION_KEY_ATTRIBUTES, None),
            KeyPurpose::Decrypt => return Err(Fault::Missing { what: "decryption with keys of this kind" }),
        };
        if !self.makes_kind(spec.kind)? {
            return Err(UNKNOWN_KIND);
        }
        let template = kind::template(spec.kind, attributes, fixed, &[]);
        let parent = self.prepared.root.key();
        let created = self.tpm.create(parent, &template, &auth)?;
        let blob = Blob {
            purpose: spec.purpose,
            parent: parent.name().to_vec(),
            salt,
            public: created.public,
            private: created.private,
            creation: created.creation,
        };
        Ok(blob.to_key_blob())
    }

    /// The key, loaded if it is not. Its parent must be the storage root key of now.
    pub(super) fn load_key(&mut self, key: &KeyBlob, purpose: Option<KeyPurpose>) -> Result<LoadedKey, Fault> {
        let tag = Tag::of(key);
        let loaded = match self.loaded.find(tag).filter(|loaded| self.tpm.holds(&loaded.object)) {
            Some(loaded) => loaded.clone(),
            None => self.load_blob(tag, key, purpose)?,
        };
        fits(loaded.purpose, purpose)?;
        Ok(loaded)
    }

    fn load_blob(&mut self, tag: Tag, key: &KeyBlob, purpose: Option<KeyPurpose>) -> Result<LoadedKey, Fault> {
        let blob = Blob::parse(key)?;
        // Before the TPM is troubled.
        fits(blob.purpose, purpose)?;
        if blob.parent != self.prepared.root.key().name() {
            return Err(Fault::KeyLost);
        }
        let kind = kind::kind_of(&blob.public).ok_or(UNKNOWN_KIND)?;
        if let Some(unused) = self.loaded.make_room(tag) {
            self.tpm.flush(&unused.object)?;
        }
        let auth = self.prepared.root.auth(&blob.salt);
        let object = self.tpm.load(self.prepared.root.key(), &blob.private, &blob.public, auth)?;
        let loaded = LoadedKey { object, public: blob.public, purpose: blob.purpose, kind };
        // One whose object the TPM has lost may still be there.
        self.loaded.remove(tag);
        self.loaded.insert(tag, loaded.clone());
        Ok(loaded)
    }

    /// Makes room for a key of the next request, where the one that was just answered had to.
    pub(super) fn make_room_ahead(&mut self) {
        if !self.tpm.is_ready() {
            return;
        }
        if let Some(unused) = self.loaded.make_room_ahead()
            && let Err(fault) = self.tpm.flush(&unused.object)
        {
            // The next request finds out as well, and tells its requester.
            tracing::debug!(%fault, "no room could be made ahead");
        }
    }

    /// Whether the TPM makes keys of this kind. It is asked once for each kind.
    pub(super) fn makes_kind(&mut self, kind: KeyKind) -> Result<bool, Fault> {
        if let Some((_, makes)) = self.kinds.iter().find(|(known, _)| *known == kind) {
            return Ok(*makes);
        }
        let makes = self.tpm.test_parameters(&kind::template(kind, USER_KEY_ATTRIBUTES, None, &[]))?;
        self.kinds.push((kind, makes));
        Ok(makes)
    }

    pub(super) fn decrypt_message(
        &mut self,
        key: &KeyBlob,
        scheme: EncryptionScheme,
        ciphertext: &[u8],
        label: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        // Part 1, "RSAES_OAEP": the label ends with a zero octet, which is part of it.
        if label.last().is_some_and(|last| *last != 0) {
            return Err(Fault::Missing { what: "OAEP with a label that does not end with a zero octet" });
        }
        if ciphertext.is_empty() || ciphertext.len() > TPM_STRUCTURE_OCTETS {
            return Err(Fault::CiphertextInvalid);
        }
        let key = self.load_key(key, Some(KeyPurpose::Decrypt))?;
        match self.tpm.rsa_decrypt(&key.object, ciphertext, kind::decrypt_scheme(scheme), label) {
            Err(Fault::Tpm { code, .. }) if refuses_message(code) => Err(Fault::CiphertextInvalid),
            // So some TPMs call a message that does not open, and all of them their own failure mode, in which they do nothing
            // any more.
            Err(Fault::Tpm { code: ResponseCode::FAILURE, .. }) => {
                self.tpm.random(1)?;
                Err(Fault::CiphertextInvalid)
            }
            other => other,
        }
    }

    pub(super) fn sign_digest(
        &mut self,
        key: &KeyBlob,
        scheme: SignatureScheme,
        digest: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        scheme.check_digest(digest)?;
        // Before the TPM is troubled.
        let kind = match self.loaded.find(Tag::of(key)) {
            Some(loaded) => loaded.kind,
            None => public_of(key)?.kind,
        };
        let scheme = kind::sign_scheme(kind, scheme).ok_or(Fault::SchemeMismatch(kind))?;
        let key = self.load_key(key, Some(KeyPurpose::Sign))?;
        let signature = self.tpm.sign(&key.object, digest, scheme, &Ticket::null_hash_check())?;
        Ok(bare_signature(&key.public, &signature))
    }
}

fn fits(found: KeyPurpose, expected: Option<KeyPurpose>) -> Result<(), Fault> {
    if expected.is_none_or(|expected| expected == found) { Ok(()) } else { Err(Fault::PurposeMismatch) }
}

/// TPM_RC_VALUE, TPM_RC_SIZE or TPM_RC_BINDING of the message, or of nothing in particular: how TPMs say that a message was
/// not encrypted to the key.
const fn refuses_message(code: ResponseCode) -> bool {
    matches!(code.format_one(), Some((0x04 | 0x15 | 0x25, Blamed::Parameter(0 | 1) | Blamed::Handle(0))))
}

/// The signature without TPM wrapping: r and s side by side as wide as the field, or an RSA signature as wide as the modulus.
fn bare_signature(public: &TpmtPublic, signature: &TpmtSignature) -> Vec<u8> {
    match signature {
        TpmtSignature::Ecdsa { r, s, .. } => {
            let width = match public.parameters() {
                PublicParameters::Ecc { curve, .. } => curve.field_len(),
                PublicParameters::Rsa { .. }
                | PublicParameters::KeyedHash { .. }
                | PublicParameters::SymCipher { .. } => Curve::P256.field_len(),
            };
            [der::left_pad(r, width), der::left_pad(s, width)].concat()
        }
        TpmtSignature::Rsassa { signature, .. } | TpmtSignature::Rsapss { signature, .. } => {
            let width = match public.parameters() {
                PublicParameters::Rsa { key_bits, .. } => usize::from(key_bits.div_ceil(8)),
                PublicParameters::Ecc { .. }
                | PublicParameters::KeyedHash { .. }
                | PublicParameters::SymCipher { .. } => 0,
            };
            der::left_pad(signature, width)
        }
    }
}
