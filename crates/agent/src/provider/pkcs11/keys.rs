//! Keys of users: objects of the token, found by their id when they are used.

use std::sync::Arc;

use cryptoki::error::{Error, RvError};
use cryptoki::object::{ObjectClass, ObjectHandle};
use zeroize::Zeroizing;

use super::Pkcs11Provider;
use super::blob::Blob;
use super::fault::TokenFault;
use super::objects::{self, Resolved};
use super::pairing;
use super::scheme::{self, Templates};
use super::token::Live;
use crate::provider::{
    EncryptionScheme, Fault, KeyBlob, KeyKind, KeyPurpose, KeySpec, KeyUid, PublicKey, SignatureScheme,
};

/// Octets of random numbers asked for at once.
const RANDOM_OCTETS: u16 = 4096;

/// Makes a key under `uid`, after removing whatever an attempt that was cut short has left there.
pub(super) fn generate(
    live: &mut Live<'_>,
    uid: &KeyUid,
    label: &str,
    kind: KeyKind,
    purpose: KeyPurpose,
) -> Result<(Blob, Resolved), Fault> {
    if purpose == KeyPurpose::Decrypt && !kind.is_rsa() {
        return Err(Fault::Missing { what: "decryption with keys of this kind" });
    }
    if !scheme::makes(live.pkcs11, live.slot, kind)? {
        return Err(Fault::Missing { what: "such kind of key" });
    }
    objects::destroy_all(live, uid)?;
    made(live, uid, label, kind, purpose).inspect_err(|_| {
        // The caller's record would find it too; the token need not wait for that.
        if let Err(fault) = objects::destroy_all(live, uid) {
            tracing::debug!(%fault, key = %uid, "a key that could not be made whole is left in the token");
        }
    })
}

fn made(
    live: &mut Live<'_>,
    uid: &KeyUid,
    label: &str,
    kind: KeyKind,
    purpose: KeyPurpose,
) -> Result<(Blob, Resolved), Fault> {
    let Templates { mechanism, public, private } = scheme::templates(uid, label, kind, purpose);
    let (public, private) = live.session.generate_key_pair(&mechanism, &public, &private)?;
    let spki = objects::public_key(live, public)?;
    if objects::kind_of(&spki) != Some(kind) {
        return Err(Fault::Token(TokenFault::Library("C_GenerateKeyPair made another kind of key".to_owned())));
    }
    let blob = Blob::new(purpose, kind, *uid, &spki);
    let resolved = Resolved { private, public, kind, spki: Arc::new(spki), proven: None };
    live.remember(*uid, resolved.clone());
    Ok((blob, resolved))
}

/// The key's objects, as they were found in this session or else now.
pub(super) fn resolve(live: &mut Live<'_>, blob: &Blob) -> Result<Resolved, Fault> {
    match live.known(&blob.uid) {
        Some(resolved) if resolved.spki.sha256() == blob.spki_sha256 => Ok(resolved),
        Some(_) | None => resolve_anew(live, blob),
    }
}

/// The key's objects, found now, whatever is remembered: exactly one private key, and exactly one public key, the one that
/// was made with it.
pub(super) fn resolve_anew(live: &mut Live<'_>, blob: &Blob) -> Result<Resolved, Fault> {
    let known = live.known(&blob.uid);
    live.forget(&blob.uid);
    let private = objects::find_one(live, ObjectClass::PRIVATE_KEY, "private key", &blob.uid)?;
    let Some(private) = private else {
        live.sees_private_objects()?;
        return Err(Fault::KeyLost);
    };
    let replaced = || Fault::Token(TokenFault::PublicKeyReplaced { uid: blob.uid });
    let public = objects::find_one(live, ObjectClass::PUBLIC_KEY, "public key", &blob.uid)?.ok_or_else(replaced)?;
    let spki = objects::public_key(live, public)?;
    if spki.sha256() != blob.spki_sha256 || objects::kind_of(&spki) != Some(blob.kind) {
        return Err(replaced());
    }
    let proven = known.filter(|known| known.private == private).and_then(|known| known.proven);
    let resolved = Resolved { private, public, kind: blob.kind, spki: Arc::new(spki), proven };
    live.remember(blob.uid, resolved.clone());
    Ok(resolved)
}

/// A signature over a digest: `r | s` for ECDSA, as wide as the modulus for RSA.
pub(super) fn sign(live: &Live<'_>, key: &Resolved, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, Fault> {
    let (mechanism, input) = scheme::signing(key.kind, scheme, digest);
    let signature = live.session.sign(&mechanism, key.private, &input)?;
    let width = usize::from(key.kind.bits()).div_ceil(8);
    let expected = if key.kind.is_rsa() { width } else { width.saturating_mul(2) };
    if signature.len() != expected {
        let words = format!("C_Sign gave {} octets where a signature has {expected}", signature.len());
        return Err(Fault::Token(TokenFault::Library(words)));
    }
    Ok(signature)
}

/// Opens a message that was encrypted to a key.
pub(super) fn decrypt(
    live: &Live<'_>,
    key: ObjectHandle,
    scheme: EncryptionScheme,
    ciphertext: &[u8],
    label: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    match live.session.decrypt(&scheme::decrypting(scheme, label), key, ciphertext) {
        Ok(message) => Ok(Zeroizing::new(message)),
        Err(Error::Pkcs11(
            RvError::EncryptedDataInvalid
            | RvError::EncryptedDataLenRange
            | RvError::DataInvalid
            | RvError::DataLenRange,
            _,
        )) => Err(Fault::CiphertextInvalid),
        Err(Error::Pkcs11(RvError::MechanismInvalid | RvError::MechanismParamInvalid | RvError::ArgumentsBad, _)) => {
            Err(Fault::Missing { what: "such scheme of decryption" })
        }
        Err(error) => Err(error.into()),
    }
}

/// As [`decrypt`], for a message of a client's. Many tokens say of a message that was not encrypted so what they say when they are
/// broken: one that opens a message of ours a moment later is not. Which of the two it was is told to nobody.
fn decrypt_for_client(
    live: &Live<'_>,
    key: &Resolved,
    scheme: EncryptionScheme,
    ciphertext: &[u8],
    label: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    match decrypt(live, key.private, scheme, ciphertext, label) {
        Err(Fault::Token(fault)) if fault.says_nothing() && pairing::decrypts(live, key).unwrap_or(false) => {
            Err(Fault::CiphertextInvalid)
        }
        other => other,
    }
}

impl Pkcs11Provider {
    pub(super) fn generate_key(&mut self, uid: &KeyUid, spec: KeySpec) -> Result<KeyBlob, Fault> {
        if spec.purpose == KeyPurpose::Attest && !spec.kind.attests() {
            return Err(Fault::Missing { what: "attesting key of this kind" });
        }
        let label = format!("vouchsafe {uid}");
        let (store, keys) = (self.store.as_ref(), &mut self.keys);
        let (blob, _) = keys.with(store, |live| generate(live, uid, &label, spec.kind, spec.purpose))?;
        Ok(blob.to_key_blob())
    }

    pub(super) fn public_of(&mut self, key: &KeyBlob) -> Result<PublicKey, Fault> {
        let blob = Blob::parse(key)?;
        let resolved = self.keys.with(self.store.as_ref(), |live| resolve(live, &blob))?;
        Ok(PublicKey {
            kind: blob.kind,
            purpose: blob.purpose,
            spki: resolved.spki.as_der().to_vec(),
            subject_public_key: objects::subject_public_key(&resolved.spki)?,
        })
    }

    pub(super) fn sign_digest(
        &mut self,
        key: &KeyBlob,
        scheme: SignatureScheme,
        digest: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        let blob = Blob::parse(key)?;
        if blob.purpose != KeyPurpose::Sign {
            return Err(Fault::PurposeMismatch);
        }
        if !scheme.fits(blob.kind) {
            return Err(Fault::SchemeMismatch(blob.kind));
        }
        scheme.check_digest(digest)?;
        self.keys.with(self.store.as_ref(), |live| {
            let resolved = resolve(live, &blob)?;
            sign(live, &resolved, scheme, digest)
        })
    }

    pub(super) fn decrypt_message(
        &mut self,
        key: &KeyBlob,
        scheme: EncryptionScheme,
        ciphertext: &[u8],
        label: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let blob = Blob::parse(key)?;
        if blob.purpose != KeyPurpose::Decrypt {
            return Err(Fault::PurposeMismatch);
        }
        // Known beforehand, so that no token is asked with it.
        if ciphertext.len() != usize::from(blob.kind.bits()).div_ceil(8) {
            return Err(Fault::CiphertextInvalid);
        }
        self.keys.with(self.store.as_ref(), |live| {
            let resolved = resolve(live, &blob)?;
            decrypt_for_client(live, &resolved, scheme, ciphertext, label)
        })
    }

    /// Has the token decrypt what nobody has encrypted: C_GetMechanismInfo says nothing of the hashes that a token takes with
    /// OAEP. One that takes the scheme answers that the message is wrong.
    pub(super) fn try_decrypting(&mut self, key: &KeyBlob, scheme: EncryptionScheme) -> Result<(), Fault> {
        let blob = Blob::parse(key)?;
        let mut message = vec![1; usize::from(blob.kind.bits()).div_ceil(8)];
        // Less than any modulus of that size.
        if let Some(first) = message.first_mut() {
            *first = 0;
        }
        match self.decrypt_message(key, scheme, &message, &[]) {
            Ok(_) | Err(Fault::CiphertextInvalid) => Ok(()),
            // What it says of a message that is not well-formed, perhaps: the first real one tells.
            Err(Fault::Token(fault)) if fault.says_nothing() => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    pub(super) fn random_octets(&mut self, octets: u16) -> Result<Zeroizing<Vec<u8>>, Fault> {
        self.keys.with(self.store.as_ref(), |live| {
            let mut random = Zeroizing::new(Vec::with_capacity(octets.into()));
            let mut left = octets;
            while left > 0 {
                let part = left.min(RANDOM_OCTETS);
                random.extend_from_slice(&Zeroizing::new(live.session.generate_random_vec(part.into())?));
                left = left.saturating_sub(part);
            }
            Ok(random)
        })
    }

    pub(super) fn makes_kind(&mut self, kind: KeyKind) -> Result<bool, Fault> {
        self.keys.with(self.store.as_ref(), |live| scheme::makes(live.pkcs11, live.slot, kind))
    }

    pub(super) fn abandon_objects(&mut self, uid: &KeyUid) -> Result<(), Fault> {
        let may_sweep = !self.is_swept;
        self.keys.with(self.store.as_ref(), |live| {
            objects::destroy_all(live, uid)?;
            // Looks at every object of the token: once is enough, since nothing is cut short while this process lives.
            if may_sweep { objects::destroy_blank(live) } else { Ok(()) }
        })?;
        self.is_swept = true;
        Ok(())
    }

    pub(super) fn remove_objects(&mut self, uid: &KeyUid) -> Result<(), Fault> {
        self.keys.with(self.store.as_ref(), |live| objects::destroy_all(live, uid)).map(|_| ())
    }
}
