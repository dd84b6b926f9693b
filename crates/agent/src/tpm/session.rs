//! Authorization sessions (Part 1, "Session-based authorizations"): salted, with HMACs over every command and response
//! and AES-128-CFB over secret parameters.

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521, UnparsedPublicKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepAlgorithm, OaepPublicEncryptingKey,
    PublicEncryptingKey,
};
use vouchsafe_evidence::tpm::marshal::Writer;
use vouchsafe_evidence::tpm::{Curve, HashAlg, PublicParameters, TpmtPublic};
use zeroize::Zeroizing;

use super::der;
use super::kdf::{IV_OCTETS, cfb_decrypt, cfb_encrypt, hmac, kdfa, kdfe, random};
use crate::provider::Fault;

/// The hash of every session here.
pub(crate) const SESSION_HASH: HashAlg = HashAlg::Sha256;
/// Octets of a caller nonce; the TPM answers with as many.
pub(crate) const NONCE_OCTETS: usize = 16;
/// Octets of the AES key of parameter encryption.
pub(crate) const AES_OCTETS: usize = 16;

/// TPMA_SESSION.continueSession.
pub(crate) const CONTINUE: u8 = 0x01;
/// TPMA_SESSION.decrypt: the TPM decrypts the first command parameter.
pub(crate) const DECRYPT: u8 = 0x20;
/// TPMA_SESSION.encrypt: the TPM encrypts the first response parameter.
pub(crate) const ENCRYPT: u8 = 0x40;
/// TPMA_SESSION.audit: what lets a session guard a response when nothing else would.
pub(crate) const AUDIT: u8 = 0x80;

/// The authValue of an object or hierarchy; wiped when dropped.
///
/// TPMs drop trailing zero octets of an authValue, so this does too: the HMAC keys must agree.
#[derive(Clone, Default)]
pub struct AuthValue(Zeroizing<Vec<u8>>);

impl AuthValue {
    /// The empty authValue.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// An authValue of these octets.
    #[must_use]
    pub fn new(octets: &[u8]) -> Self {
        let significant = octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last.saturating_add(1));
        Self(Zeroizing::new(octets.get(..significant).unwrap_or_default().to_vec()))
    }

    /// Whether there is nothing to prove.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for AuthValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthValue(..)")
    }
}

/// A session that is open in the TPM.
pub struct Session {
    handle: u32,
    key: Zeroizing<Vec<u8>>,
    nonce_tpm: Vec<u8>,
}

impl Session {
    /// A session whose key derives from `salt` and both nonces of its start.
    pub(crate) fn new(handle: u32, salt: &[u8], nonce_caller: &[u8], nonce_tpm: &[u8]) -> Self {
        let key = kdfa(SESSION_HASH, salt, b"ATH", nonce_tpm, nonce_caller, SESSION_HASH.digest_len());
        Self { handle, key, nonce_tpm: nonce_tpm.to_vec() }
    }

    /// Its handle, which is also its Name.
    #[must_use]
    pub const fn handle(&self) -> u32 {
        self.handle
    }

    /// The TPM's newest nonce.
    pub(crate) fn nonce_tpm(&self) -> &[u8] {
        &self.nonce_tpm
    }

    fn key_with(&self, auth: &AuthValue) -> Zeroizing<Vec<u8>> {
        let mut key = Zeroizing::new(Vec::with_capacity(self.key.len().saturating_add(auth.as_bytes().len())));
        key.extend_from_slice(&self.key);
        key.extend_from_slice(auth.as_bytes());
        key
    }

    /// The HMAC of a command. `auth` is empty where the session does not authorize with an authValue; `others` are the
    /// TPM nonces of decrypting and encrypting sessions, for the first session of a command only.
    pub(crate) fn command_hmac(
        &self,
        auth: &AuthValue,
        cp_hash: &[u8],
        nonce_caller: &[u8],
        others: &[u8],
        attributes: u8,
    ) -> Vec<u8> {
        let parts = [cp_hash, nonce_caller, &self.nonce_tpm, others, &[attributes]];
        hmac(SESSION_HASH, &self.key_with(auth), &parts)
    }

    /// Checks the HMAC of a response in constant time and takes over the TPM's new nonce.
    pub(crate) fn accept_response(
        &mut self,
        auth: &AuthValue,
        rp_hash: &[u8],
        nonce_caller: &[u8],
        response: &ResponseAuth<'_>,
    ) -> bool {
        let parts = [rp_hash, response.nonce, nonce_caller, &[response.attributes]];
        let expected = hmac(SESSION_HASH, &self.key_with(auth), &parts);
        let authentic = verify_slices_are_equal(&expected, response.hmac).is_ok();
        if authentic {
            self.nonce_tpm = response.nonce.to_vec();
        }
        authentic
    }

    fn parameter_key(&self, auth: &AuthValue, newer: &[u8], older: &[u8]) -> (Zeroizing<Vec<u8>>, [u8; IV_OCTETS]) {
        let derived = kdfa(SESSION_HASH, &self.key_with(auth), b"CFB", newer, older, AES_OCTETS + IV_OCTETS);
        let (key, iv) = derived.split_at_checked(AES_OCTETS).unwrap_or_default();
        (Zeroizing::new(key.to_vec()), iv.try_into().unwrap_or_default())
    }

    /// Encrypts the contents of the first command parameter.
    pub(crate) fn encrypt(&self, auth: &AuthValue, nonce_caller: &[u8], data: &mut [u8]) -> Result<(), Fault> {
        let (key, iv) = self.parameter_key(auth, nonce_caller, &self.nonce_tpm);
        cfb_encrypt(&key, iv, data)
    }

    /// Decrypts the contents of the first response parameter, after [`Session::accept_response`].
    pub(crate) fn decrypt(&self, auth: &AuthValue, nonce_caller: &[u8], data: &mut [u8]) -> Result<(), Fault> {
        let (key, iv) = self.parameter_key(auth, &self.nonce_tpm, nonce_caller);
        cfb_decrypt(&key, iv, data)
    }
}

/// One TPMS_AUTH_RESPONSE.
pub(crate) struct ResponseAuth<'a> {
    pub(crate) nonce: &'a [u8],
    pub(crate) attributes: u8,
    pub(crate) hmac: &'a [u8],
}

/// A salt, and what the TPM gets of it.
pub(crate) struct Salt {
    pub(crate) value: Zeroizing<Vec<u8>>,
    /// Contents of the TPM2B_ENCRYPTED_SECRET.
    pub(crate) encrypted: Vec<u8>,
}

/// Makes a secret that only the holder of the private part of `public` learns (Part 1, annexes "RSA" and "ECC", "Secret
/// sharing"): for session salts (label `SECRET`), credentials (`IDENTITY`) and imports (`DUPLICATE`).
pub(crate) fn share_secret(public: &TpmtPublic, label: &'static [u8]) -> Result<Salt, Fault> {
    let hash = public.name_alg().ok_or(Fault::Primitive("sharing a secret with a key without nameAlg"))?;
    match public.parameters() {
        PublicParameters::Ecc { curve, x, y, .. } => share_by_ecdh(*curve, hash, x, y, label),
        PublicParameters::Rsa { .. } => share_by_oaep(public, hash, label),
        PublicParameters::KeyedHash { .. } | PublicParameters::SymCipher { .. } => {
            Err(Fault::Primitive("sharing a secret with a symmetric object"))
        }
    }
}

fn share_by_ecdh(curve: Curve, hash: HashAlg, x: &[u8], y: &[u8], label: &[u8]) -> Result<Salt, Fault> {
    const FAILED: Fault = Fault::Primitive("ECDH");
    let algorithm = match curve {
        Curve::P256 => &ECDH_P256,
        Curve::P384 => &ECDH_P384,
        Curve::P521 => &ECDH_P521,
    };
    let width = curve.field_len();
    let (x, y) = (der::left_pad(x, width), der::left_pad(y, width));
    let ephemeral = agreement::PrivateKey::generate(algorithm).map_err(|_| FAILED)?;
    let ephemeral_public = ephemeral.compute_public_key().map_err(|_| FAILED)?;
    let coordinates = ephemeral_public.as_ref().get(1..).unwrap_or_default();
    let (ephemeral_x, ephemeral_y) = coordinates.split_at_checked(width).ok_or(FAILED)?;
    let peer = UnparsedPublicKey::new(algorithm, [vec![0x04], x.clone(), y].concat());
    let value =
        agreement::agree(&ephemeral, peer, FAILED, |z| Ok(kdfe(hash, z, label, ephemeral_x, &x, hash.digest_len())))?;
    let mut encrypted = Writer::new();
    encrypted.tpm2b(ephemeral_x).tpm2b(ephemeral_y);
    Ok(Salt { value, encrypted: encrypted.into_bytes() })
}

fn share_by_oaep(public: &TpmtPublic, hash: HashAlg, label: &[u8]) -> Result<Salt, Fault> {
    const FAILED: Fault = Fault::Primitive("RSA OAEP");
    let algorithm: &'static OaepAlgorithm = match hash {
        HashAlg::Sha256 => &OAEP_SHA256_MGF1SHA256,
        HashAlg::Sha384 => &OAEP_SHA384_MGF1SHA384,
        HashAlg::Sha512 => &OAEP_SHA512_MGF1SHA512,
        HashAlg::Sha1 => return Err(FAILED),
    };
    let spki = public.spki().ok_or(FAILED)?;
    let key = PublicEncryptingKey::from_der(spki.as_der()).map_err(|_| FAILED)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| FAILED)?;
    let mut value = Zeroizing::new(random::<64>()?.to_vec());
    value.truncate(hash.digest_len());
    let mut encrypted = vec![0; key.ciphertext_size()];
    // The label is hashed with its terminating zero octet.
    let label = [label, &[0]].concat();
    let len = key.encrypt(algorithm, &value, &mut encrypted, Some(&label)).map_err(|_| FAILED)?.len();
    encrypted.truncate(len);
    Ok(Salt { value, encrypted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_zeros_of_an_auth_value_do_not_count() {
        assert_eq!(AuthValue::new(b"pw\0\0").as_bytes(), b"pw");
        assert_eq!(AuthValue::new(b"\0pw").as_bytes(), b"\0pw");
        assert!(AuthValue::new(&[0; 32]).is_empty());
    }

    #[test]
    fn a_response_is_accepted_once_and_only_as_it_was_made() {
        let auth = AuthValue::new(b"value");
        let make = || Session::new(0x0200_0000, b"salt", &[1; 16], &[2; 16]);
        let tpm = make();
        let nonce = [3; 16];
        let parts: [&[u8]; 4] = [b"rp", &nonce, &[4; 16], &[CONTINUE]];
        let mac = hmac(SESSION_HASH, &tpm.key_with(&auth), &parts);
        let accept = |session: &mut Session, rp: &[u8], caller: &[u8], attributes| {
            let response = ResponseAuth { nonce: &nonce, attributes, hmac: &mac };
            session.accept_response(&auth, rp, caller, &response)
        };
        let mut session = make();
        assert!(!accept(&mut session, b"other", &[4; 16], CONTINUE));
        assert!(!accept(&mut session, b"rp", &[5; 16], CONTINUE));
        assert!(!accept(&mut session, b"rp", &[4; 16], 0));
        assert_eq!(session.nonce_tpm(), [2; 16]);
        assert!(accept(&mut session, b"rp", &[4; 16], CONTINUE));
        assert_eq!(session.nonce_tpm(), nonce);
    }
}
