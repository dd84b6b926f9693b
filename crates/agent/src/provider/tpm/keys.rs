//! Keys of users: made under the storage root key, loaded when used.

use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, PLAIN_AK_ATTRIBUTES, USER_KEY_ATTRIBUTES, signing_key};
use vouchsafe_evidence::tpm::{Curve, HashAlg, PublicParameters, TpmtPublic, TpmtSignature};

use super::TpmProvider;
use super::blob::Blob;
use super::kind;
use crate::provider::{Fault, KeyBlob, KeyPurpose, KeySpec, PublicKey, SignatureScheme};
use crate::tpm::der;
use crate::tpm::kdf::random;
use crate::tpm::{Object, Ticket};

/// What distinguishes one blob from all others, for the cache of loaded keys.
pub(super) fn cache_key(blob: &KeyBlob) -> [u8; 32] {
    HashAlg::Sha256.digest(&[blob.as_bytes()]).try_into().unwrap_or_default()
}

/// The public half that a blob holds.
pub(super) fn public_of(key: &KeyBlob) -> Result<PublicKey, Fault> {
    let blob = Blob::parse(key)?;
    let parts = (kind::kind_of(&blob.public), der::spki(&blob.public), der::subject_public_key(&blob.public));
    let (Some(kind), Some(spki), Some(subject_public_key)) = parts else {
        return Err(Fault::Missing { what: "such kind of key" });
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
                (AK_ATTRIBUTES, Some(kind::attesting_hash(spec.kind)))
            }
            KeyPurpose::Attest => (PLAIN_AK_ATTRIBUTES, Some(kind::attesting_hash(spec.kind))),
        };
        let template = signing_key(kind::signing_key(spec.kind), attributes, fixed, &[]);
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
    pub(super) fn load_key(
        &mut self,
        key: &KeyBlob,
        purpose: Option<KeyPurpose>,
    ) -> Result<(Object, TpmtPublic), Fault> {
        let blob = Blob::parse(key)?;
        if purpose.is_some_and(|purpose| purpose != blob.purpose) {
            return Err(Fault::PurposeMismatch);
        }
        if blob.parent != self.prepared.root.key().name() {
            return Err(Fault::KeyLost);
        }
        let cached = self.loaded.get(&cache_key(key)).filter(|(object, _)| self.tpm.holds(object));
        if let Some(found) = cached {
            return Ok(found.clone());
        }
        let auth = self.prepared.root.auth(&blob.salt);
        let object = self.tpm.load(self.prepared.root.key(), &blob.private, &blob.public, auth)?;
        self.loaded.retain(|_, (object, _)| self.tpm.holds(object));
        self.loaded.insert(cache_key(key), (object.clone(), blob.public.clone()));
        Ok((object, blob.public))
    }

    pub(super) fn sign_digest(
        &mut self,
        key: &KeyBlob,
        scheme: SignatureScheme,
        digest: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        let expected = scheme.hash().digest_len();
        if digest.len() != expected {
            return Err(Fault::DigestLength { expected, found: digest.len() });
        }
        let kind = public_of(key)?.kind;
        let scheme = kind::sign_scheme(kind, scheme).ok_or(Fault::SchemeMismatch(kind))?;
        let (object, public) = self.load_key(key, Some(KeyPurpose::Sign))?;
        let signature = self.tpm.sign(&object, digest, scheme, &Ticket::null_hash_check())?;
        Ok(bare_signature(&public, &signature))
    }
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
