//! Attestation keys that an administrator knows: `keys/` of the format's trust folder.

use vouchsafe_evidence::pem;
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::der::Element;
use vouchsafe_evidence::x509::extensions::subject_key_identifier;
use vouchsafe_evidence::x509::{CertView, SpkiView};
use vouchsafe_evidence::{Malformed, oid};

use crate::hex;
use crate::trust::FormatTrust;

/// Octets of the truncated digests of RFC 7093, section 2, methods 1 to 3.
const TRUNCATED_OCTETS: usize = 20;

/// An attestation key that is trusted because it lies in `keys/`.
#[derive(Clone, Debug)]
pub(super) struct StoredKey {
    /// The key.
    pub key: SpkiView,
    /// Its certificate, if that is what lies there; what that says of itself then holds.
    pub certificate: Option<CertView>,
    /// Whether its file is marked as that of a module in software.
    pub is_virtual: bool,
    /// The name of its file without the ending.
    stem: String,
}

impl StoredKey {
    /// Whether this is what `key_id` identifies: by the name of the file in hexadecimal, or by the key.
    pub(super) fn has_identifier(&self, key_id: &[u8]) -> bool {
        let named = hex::decode(&self.stem).is_some_and(|name| !name.is_empty() && name == key_id);
        named || identifies(key_id, &self.key, self.certificate.as_ref())
    }
}

/// The keys of `keys/`: certificates and SubjectPublicKeyInfos in PEM or DER. Of a file that cannot be read nothing is
/// known, so that what names its key stays unresolved.
pub(super) fn keys(trust: &FormatTrust) -> Vec<StoredKey> {
    let mut keys = Vec::new();
    for file in trust.keys() {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let mut add = |der: &[u8]| {
            let certificate = CertView::parse(der).ok();
            let key = certificate.as_ref().map(|c| c.spki().clone()).or_else(|| SpkiView::parse(der).ok());
            keys.extend(key.map(|key| StoredKey {
                key,
                certificate,
                is_virtual: file.mark.is_virtual,
                stem: stem.to_owned(),
            }));
        };
        match pem::read(&file.contents) {
            Ok(blocks) if pem::is_pem(&file.contents) => blocks.iter().for_each(|block| add(block.contents())),
            Ok(_) | Err(_) => add(&file.contents),
        }
    }
    keys
}

/// Whether `key_id` identifies this key: it is the subjectKeyIdentifier of its certificate, the SHA-1 of its bits
/// (RFC 5280, 4.2.1.2, method 1), one of the truncated digests of RFC 7093 (methods 1 to 3), or the SHA-256 of the whole
/// SubjectPublicKeyInfo (method 4).
pub(super) fn identifies(key_id: &[u8], key: &SpkiView, certificate: Option<&CertView>) -> bool {
    if key_id.is_empty() {
        return false;
    }
    let extension =
        certificate.and_then(|certificate| certificate.extension(oid::SUBJECT_KEY_IDENTIFIER).ok().flatten());
    let stated = extension.and_then(|extension| subject_key_identifier(extension.value()).ok());
    if stated == Some(key_id) || key.sha256() == key_id {
        return true;
    }
    let Ok(bits) = key_bits(key.as_der()) else { return false };
    let truncated = [HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512]
        .into_iter()
        .any(|hash| hash.digest(&[bits]).get(..TRUNCATED_OCTETS) == Some(key_id));
    truncated || HashAlg::Sha1.digest(&[bits]) == key_id
}

/// The octets of subjectPublicKey.
fn key_bits(spki: &[u8]) -> Result<&[u8], Malformed> {
    let mut fields = Element::parse(spki, "SubjectPublicKeyInfo")?.reader();
    fields.element()?;
    Ok(fields.bit_string("subjectPublicKey")?.octets())
}
