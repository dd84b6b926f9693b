//! device-attest-01 (draft-ietf-acme-device-attest, section 5): a key, and the device that holds it, in one attestation
//! object that answers a key authorization.
//!
//! An object is translated into the statements that the Verifier knows, and judged by it alone. `tpm` becomes
//! tpm-certify: what Web Authentication calls certInfo, sig and pubArea are TPMS_ATTEST, its signature and TPMT_PUBLIC,
//! and the nonce is SHA-256 of the key authorization. `step` becomes yubikey-piv; its evidence has no room for a nonce, so
//! that the attested key itself signs the key authorization, which is checked here.

use vouchsafe_evidence::bundle::{AttestationBundle, AttestationStatement};
use vouchsafe_evidence::cbor::Value;
use vouchsafe_evidence::formats::ListedFormat;
use vouchsafe_evidence::formats::webauthn_tpm::TpmStatement;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::statement::TpmCertify;
use vouchsafe_evidence::tpm::{HashAlg, TpmtSignature};
use vouchsafe_evidence::x509::{CertView, SpkiView};
use vouchsafe_verifier::crypto::{SignatureAlgorithm, SignatureBudget, verify_signature};

use super::identifier::{Identifier, IdentifierKind};
use super::problem::{Problem, refusals};
use crate::appraisal::AK_DEVICE_PREFIX;
use crate::record::sha256;
use crate::store::Digest;

/// Octets of an attestation object.
pub(super) const OBJECT_OCTETS_MAX: usize = 64 * 1024;
/// Certificates in `x5c`.
const CERTIFICATES_MAX: usize = 8;
/// The version of TPMs that Web Authentication knows (section 8.3).
const TPM_VERSION: &str = "2.0";
/// The format of slots of YubiKeys.
const YUBIKEY_PIV: &str = "yubikey-piv";
/// Hexadecimal digits of SHA-256, by which verdicts name attesting keys.
const DIGEST_DIGITS: usize = 64;
/// hwType of a TPM 2.0 (TCG TPM 2.0 Keys for Device Identity and Attestation, section 3.1).
const TPM_MODULE: Oid = Oid::constant("2.23.133.1.2");
/// hwType of a YubiKey's PIV application: the arc in which Yubico describes it.
const YUBIKEY_MODULE: Oid = Oid::constant("1.3.6.1.4.1.41482.3");

/// An attestation object in the Verifier's words.
#[derive(Clone, Debug)]
pub struct Presented {
    /// The key statement with its certificates.
    pub bundle: AttestationBundle,
    /// How it answers the key authorization.
    pub answer: KeyAuthorizationAnswer,
}

/// How a key statement answers a key authorization. There is none that leaves it open.
#[derive(Clone, Debug)]
pub enum KeyAuthorizationAnswer {
    /// The statement itself must hold SHA-256 of it, as its nonce; the Verifier checks that it does.
    InStatement,
    /// It has no room for one, and the attested key has signed it.
    Signed(SignedKeyAuthorization),
}

/// That a key has signed a key authorization. Only the check of the signature makes one.
#[derive(Clone, Debug)]
pub struct SignedKeyAuthorization {
    key: SpkiView,
    digest: Digest,
}

impl SignedKeyAuthorization {
    /// Whether it was this key, and the key authorization of this digest.
    #[must_use]
    pub fn is(&self, key: &SpkiView, digest: &[u8]) -> bool {
        self.key.same_key(key) && self.digest == digest
    }
}

/// SHA-256 of a key authorization.
pub(super) fn key_authorization_digest(key_authorization: &str) -> Digest {
    sha256(key_authorization.as_bytes())
}

/// Reads an attestation object; `authData`, which has no meaning here, may be there.
///
/// # Errors
/// A problem document for an object that is malformed or of another format, and for a key that did not sign the key
/// authorization.
pub fn read(object: &[u8], key_authorization: &str) -> Result<Presented, Problem> {
    if object.len() > OBJECT_OCTETS_MAX {
        return Err(refusals::ATTESTATION_OBJECT.problem());
    }
    let malformed = |_| refusals::ATTESTATION_OBJECT.problem();
    let object = Value::parse(object).map_err(malformed)?;
    let incomplete = || refusals::ATTESTATION_OBJECT.problem();
    let format = object.member("fmt").and_then(Value::text).ok_or_else(incomplete)?;
    let statement = object.member("attStmt").ok_or_else(incomplete)?;
    match format {
        "tpm" => read_tpm(statement),
        "step" => read_step(statement, key_authorization),
        _ => Err(refusals::ATTESTATION_FORMAT.problem()),
    }
}

fn read_tpm(statement: &Value<'_>) -> Result<Presented, Problem> {
    let statement = TpmStatement::read(statement).map_err(|malformed| {
        refusals::ATTESTATION_OBJECT.found(format!("The tpm statement is malformed: {malformed}."))
    })?;
    if statement.version != TPM_VERSION {
        return Err(refusals::ATTESTATION_OBJECT.found("The tpm statement is not of version 2.0.".to_owned()));
    }
    if !is_of_algorithm(statement.signature, statement.algorithm) {
        return Err(refusals::ATTESTATION_OBJECT.found("The tpm statement's alg is not the signature's.".to_owned()));
    }
    let certify = TpmCertify {
        attest: statement.cert_info.to_vec(),
        signature: statement.signature.to_vec(),
        public: Some(statement.pub_area.to_vec()),
    };
    let key = AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY, certify.to_der());
    bundle(key, statement.certificates).map(|bundle| Presented { bundle, answer: KeyAuthorizationAnswer::InStatement })
}

/// Whether a TPMT_SIGNATURE is by the algorithm of this number in COSE (RFC 9053, section 2; RFC 8812, section 2; RFC 8230,
/// section 2). A bare signature, as some TPMs' drivers give it, says of itself nothing that could be compared; the
/// Verifier judges it under the attesting key.
fn is_of_algorithm(signature: &[u8], algorithm: i128) -> bool {
    let Ok(signature) = TpmtSignature::parse(signature) else { return true };
    let own = match (&signature, signature.hash()) {
        (TpmtSignature::Ecdsa { .. }, HashAlg::Sha256) => -7,
        (TpmtSignature::Ecdsa { .. }, HashAlg::Sha384) => -35,
        (TpmtSignature::Ecdsa { .. }, HashAlg::Sha512) => -36,
        (TpmtSignature::Rsapss { .. }, HashAlg::Sha256) => -37,
        (TpmtSignature::Rsapss { .. }, HashAlg::Sha384) => -38,
        (TpmtSignature::Rsapss { .. }, HashAlg::Sha512) => -39,
        (TpmtSignature::Rsassa { .. }, HashAlg::Sha256) => -257,
        (TpmtSignature::Rsassa { .. }, HashAlg::Sha384) => -258,
        (TpmtSignature::Rsassa { .. }, HashAlg::Sha512) => -259,
        (_, HashAlg::Sha1) => return false,
    };
    own == algorithm
}

fn read_step(statement: &Value<'_>, key_authorization: &str) -> Result<Presented, Problem> {
    let incomplete = || refusals::ATTESTATION_OBJECT.found("The step statement lacks alg, sig or x5c.".to_owned());
    let algorithm = statement.member("alg").and_then(Value::integer).ok_or_else(incomplete)?;
    let signature = statement.member("sig").and_then(Value::bytes).ok_or_else(incomplete)?;
    let Some(Value::Array(chain)) = statement.member("x5c") else { return Err(incomplete()) };
    if chain.len() > CERTIFICATES_MAX {
        return Err(incomplete());
    }
    let mut certificates = Vec::with_capacity(chain.len());
    for certificate in chain {
        let der = certificate.bytes().ok_or_else(incomplete)?;
        certificates.push(CertView::parse(der).map_err(|_| incomplete())?);
    }
    let Some((slot, others)) = certificates.split_first() else { return Err(incomplete()) };
    let signed = check_possession(slot, algorithm, key_authorization, signature)?;
    let format = ListedFormat::from_id(YUBIKEY_PIV).ok_or_else(incomplete)?;
    let bundle = bundle(format.statement(slot.as_der()), others.to_vec())?;
    Ok(Presented { bundle, answer: KeyAuthorizationAnswer::Signed(signed) })
}

fn bundle(statement: AttestationStatement, certificates: Vec<CertView>) -> Result<AttestationBundle, Problem> {
    AttestationBundle::new(vec![statement], certificates).map_err(|_| refusals::ATTESTATION_OBJECT.problem())
}

/// That the attested key signed the key authorization. Clients wrap the signature in a CBOR string of its own, or do not.
fn check_possession(
    slot: &CertView,
    algorithm: i128,
    message: &str,
    signature: &[u8],
) -> Result<SignedKeyAuthorization, Problem> {
    let refused = || refusals::ATTESTATION_POSSESSION.problem();
    // The registered numbers of RFC 9053, section 2, and RFC 8812, section 2.
    let algorithm = match algorithm {
        -7 => SignatureAlgorithm::Ecdsa(HashAlg::Sha256),
        -35 => SignatureAlgorithm::Ecdsa(HashAlg::Sha384),
        -8 => SignatureAlgorithm::Ed25519,
        -257 => SignatureAlgorithm::RsaPkcs1(HashAlg::Sha256),
        _ => return Err(refused()),
    };
    let wrapped = Value::parse(signature).ok().and_then(|value| value.bytes());
    let mut budget = SignatureBudget::with_limit(1);
    verify_signature(&mut budget, slot.spki(), algorithm, message.as_bytes(), wrapped.unwrap_or(signature))
        .map_err(|_| refused())?;
    Ok(SignedKeyAuthorization { key: slot.spki().clone(), digest: key_authorization_digest(message) })
}

/// Whether the identifier of an order is the device of a verdict, whose identifier is `id` and whose name on record is
/// `name`. Of nothing else does the evidence tell, so no assigner is right.
pub(super) fn names_device(identifier: &Identifier, id: &str, name: Option<&str>) -> bool {
    let serial = id.split_once(':').map(|(_, serial)| serial);
    match identifier.kind {
        IdentifierKind::PermanentIdentifier => {
            let name = name.filter(|name| !looks_like_serial(name));
            [Some(id), name, serial].into_iter().flatten().any(|known| known == identifier.value)
        }
        IdentifierKind::HardwareModule => {
            let module = if id.starts_with(AK_DEVICE_PREFIX) {
                TPM_MODULE
            } else if id.strip_prefix(YUBIKEY_PIV).is_some_and(|rest| rest.starts_with(':')) {
                YUBIKEY_MODULE
            } else {
                return false;
            };
            serial.is_some_and(|serial| identifier.value == format!("{serial}/{module}"))
        }
        IdentifierKind::Dns => false,
    }
}

/// Whether a name could be read as what tells one module from others, a serial number or a digest in hexadecimal. Accounts
/// name their devices themselves, and one that is called as another's YubiKey is numbered would have that one's identifier.
fn looks_like_serial(name: &str) -> bool {
    let is_number = name.bytes().all(|octet| octet.is_ascii_digit());
    let is_digest = name.len() == DIGEST_DIGITS && name.bytes().all(|octet| octet.is_ascii_hexdigit());
    is_number || is_digest
}

#[cfg(test)]
mod tests {
    use vouchsafe_evidence::x509::NamedCurve;

    use super::*;

    #[test]
    fn an_identifier_is_what_the_evidence_says_and_nothing_near_it() {
        let names =
            |kind, value: &str, id: &str, name| names_device(&Identifier { kind, value: value.to_owned() }, id, name);
        use IdentifierKind::{Dns, HardwareModule, PermanentIdentifier};
        assert!(names(PermanentIdentifier, "12345678", "yubikey-piv:12345678", None));
        assert!(names(PermanentIdentifier, "yubikey-piv:12345678", "yubikey-piv:12345678", None));
        assert!(names(PermanentIdentifier, "device-1", "ak:00ff", Some("device-1")));
        assert!(names(HardwareModule, "00ff/2.23.133.1.2", "ak:00ff", None));
        assert!(names(HardwareModule, "12345678/1.3.6.1.4.1.41482.3", "yubikey-piv:12345678", None));
        for (kind, value) in [
            (PermanentIdentifier, "1234567"),
            (PermanentIdentifier, "12345678/1.2.3"),
            (PermanentIdentifier, "yubikey-piv"),
            (PermanentIdentifier, ""),
            (HardwareModule, "12345678/2.23.133.1.2"),
            (HardwareModule, "12345678"),
            (Dns, "12345678"),
        ] {
            assert!(!names(kind, value, "yubikey-piv:12345678", None), "{value}");
        }
        assert!(!names(PermanentIdentifier, "device-2", "ak:00ff", Some("device-1")));
        // A device that its account called by the number of another's YubiKey, or by the digest of another's key.
        let digest = "00ff".repeat(16);
        let upper = digest.to_uppercase();
        for name in ["12345678", &digest, &upper] {
            assert!(!names(PermanentIdentifier, name, "ak:aaaa", Some(name)), "{name}");
        }
        assert!(names(PermanentIdentifier, &digest, &format!("ak:{digest}"), Some("12345678")));
        assert!(names(PermanentIdentifier, "line-3.7", "ak:00ff", Some("line-3.7")));
    }

    #[test]
    fn a_signature_is_one_key_s_over_one_key_authorization() {
        let [own, other] = [[1; 32], [2; 32]].map(|x| SpkiView::from_ec(NamedCurve::P256, &x, &x).unwrap());
        let signed = SignedKeyAuthorization { key: own.clone(), digest: key_authorization_digest("token.thumbprint") };
        assert!(signed.is(&own, &key_authorization_digest("token.thumbprint")));
        assert!(!signed.is(&other, &key_authorization_digest("token.thumbprint")));
        assert!(!signed.is(&own, &key_authorization_digest("token.other")));
        assert!(!signed.is(&own, b""));
    }

    #[test]
    fn a_signature_is_by_the_algorithm_that_the_statement_names() {
        let ecdsa = |hash| TpmtSignature::Ecdsa { hash, r: vec![1; 32], s: vec![2; 32] }.to_bytes();
        let rsassa = TpmtSignature::Rsassa { hash: HashAlg::Sha256, signature: vec![1; 256] }.to_bytes();
        let rsapss = TpmtSignature::Rsapss { hash: HashAlg::Sha256, signature: vec![1; 256] }.to_bytes();
        for (signature, own) in
            [(ecdsa(HashAlg::Sha256), -7), (ecdsa(HashAlg::Sha384), -35), (rsassa, -257), (rsapss, -37)]
        {
            for algorithm in [-7, -35, -36, -37, -257, -65_535, 7, 0] {
                assert_eq!(is_of_algorithm(&signature, algorithm), algorithm == own, "{own} as {algorithm}");
            }
        }
        assert!(!is_of_algorithm(&ecdsa(HashAlg::Sha1), -65_535));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for object in [&b""[..], b"\xA0", b"\xA1\x63fmt\x63tpm", b"\xA2\x63fmt\x63tpm\x67attStmt\xA0"] {
            let code = read(object, "k").unwrap_err().to_json()["subproblems"][0]["type"].clone();
            assert_eq!(code, "urn:vouchsafe:problem:acme.attestation-object", "{object:?}");
        }
        let code = read(b"\xA2\x63fmt\x65apple\x67attStmt\xA0", "k").unwrap_err().to_json();
        assert_eq!(code["subproblems"][0]["type"], "urn:vouchsafe:problem:acme.attestation-format");
        assert!(read(&vec![0; OBJECT_OCTETS_MAX + 1], "k").is_err());
    }
}
