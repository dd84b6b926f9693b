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
use vouchsafe_evidence::tpm::HashAlg;
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
/// [`Problem`] for an object that is malformed or of another format, and for a key that did not sign the key
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
    let certify = TpmCertify {
        attest: statement.cert_info.to_vec(),
        signature: statement.signature.to_vec(),
        public: Some(statement.pub_area.to_vec()),
    };
    let key = AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY, certify.to_der());
    bundle(key, statement.certificates).map(|bundle| Presented { bundle, answer: KeyAuthorizationAnswer::InStatement })
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
