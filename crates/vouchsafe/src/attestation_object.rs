//! The attestation object of device-attest-01 (draft-ietf-acme-device-attest, section 5), format `tpm`: what TPM2_Certify said
//! of a key, in CBOR, as an ACME client sends it.
//!
//! Its statement is that of Web Authentication Level 3, section 8.3: certInfo, sig and pubArea are TPMS_ATTEST, its
//! TPMT_SIGNATURE and TPMT_PUBLIC. `authData` has no meaning in ACME and is left out.

use vouchsafe_evidence::bundle::AttestationBundle;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::statement::TpmCertify;
use vouchsafe_evidence::tpm::{HashAlg, TpmtSignature};

use crate::failure::Failure;

/// Octets of a key authorization: a token and a thumbprint, with room.
const KEY_AUTHORIZATION_OCTETS_MAX: usize = 1024;
/// Octets of a thumbprint in base64url (RFC 8555, section 8.1).
const THUMBPRINT_OCTETS: usize = 43;

/// CBOR's major types (RFC 8949, section 3.1).
#[derive(Clone, Copy, Debug)]
enum Major {
    Negative,
    Bytes,
    Text,
    Array,
    Map,
}

/// What TPM2_Certify answers for a key authorization: its SHA-256.
///
/// # Errors
/// [`Failure`] unless the text is a token and a thumbprint, as a client makes it of a challenge.
pub fn nonce(key_authorization: &str) -> Result<Vec<u8>, Failure> {
    let is_base64url = |text: &str| text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet));
    let is_well_formed = key_authorization.len() <= KEY_AUTHORIZATION_OCTETS_MAX
        && key_authorization.split_once('.').is_some_and(|(token, thumbprint)| {
            !token.is_empty()
                && is_base64url(token)
                && thumbprint.len() == THUMBPRINT_OCTETS
                && is_base64url(thumbprint)
        });
    if is_well_formed {
        return Ok(HashAlg::Sha256.digest(&[key_authorization.as_bytes()]));
    }
    Err(Failure::new("--key-authorization cannot be used")
        .because("it is no token and thumbprint with a point between them")
        .next("give TOKEN.THUMBPRINT as the ACME client made it of the challenge's token and its account's key"))
}

/// The object, from the one statement of a bundle.
///
/// # Errors
/// [`Failure`] if the key was attested in another way than by TPM2_Certify, or nobody certified the attesting key yet.
pub fn of(bundle: &AttestationBundle) -> Result<Vec<u8>, Failure> {
    let other = |why: &str| {
        Failure::new("there is no attestation object for this")
            .because(why.to_owned())
            .next("attest a key of the TPM alone, by tpm-certify")
    };
    let [statement] = bundle.statements() else { return Err(other("more than the key was attested")) };
    if statement.oid() != oid::STATEMENT_TPM_CERTIFY {
        return Err(other("the key was not attested by TPM2_Certify"));
    }
    let certify = TpmCertify::parse(statement.stmt()).map_err(|error| other(&error.to_string()))?;
    let public = certify.public.ok_or_else(|| other("the agent left the key's public area out"))?;
    let signature = TpmtSignature::parse(&certify.signature).map_err(|error| other(&error.to_string()))?;
    let algorithm = cose(&signature).ok_or_else(|| other("the attesting key's algorithm has no number in COSE"))?;
    let certificates: Vec<&[u8]> = bundle.certificates().map(|certificate| certificate.as_der()).collect();
    if certificates.is_empty() {
        return Err(Failure::new("nobody can verify this")
            .because("the attesting key has no certificate yet")
            .next("vouchsafe enroll ak --device NAME"));
    }
    let mut object = Vec::new();
    head(&mut object, Major::Map, 2);
    text(&mut object, "fmt");
    text(&mut object, "tpm");
    text(&mut object, "attStmt");
    head(&mut object, Major::Map, 6);
    text(&mut object, "alg");
    head(&mut object, Major::Negative, algorithm);
    text(&mut object, "sig");
    bytes(&mut object, &certify.signature);
    text(&mut object, "ver");
    text(&mut object, "2.0");
    text(&mut object, "x5c");
    head(&mut object, Major::Array, certificates.len());
    for certificate in certificates {
        bytes(&mut object, certificate);
    }
    text(&mut object, "pubArea");
    bytes(&mut object, &public);
    text(&mut object, "certInfo");
    bytes(&mut object, &certify.attest);
    Ok(object)
}

/// -1 minus the number of a signature's algorithm (RFC 9053, section 2; RFC 8812, section 2; RFC 8230, section 2).
const fn cose(signature: &TpmtSignature) -> Option<usize> {
    match (signature, signature.hash()) {
        (TpmtSignature::Ecdsa { .. }, HashAlg::Sha256) => Some(6),
        (TpmtSignature::Ecdsa { .. }, HashAlg::Sha384) => Some(34),
        (TpmtSignature::Ecdsa { .. }, HashAlg::Sha512) => Some(35),
        (TpmtSignature::Rsapss { .. }, HashAlg::Sha256) => Some(36),
        (TpmtSignature::Rsapss { .. }, HashAlg::Sha384) => Some(37),
        (TpmtSignature::Rsapss { .. }, HashAlg::Sha512) => Some(38),
        (TpmtSignature::Rsassa { .. }, HashAlg::Sha256) => Some(256),
        (TpmtSignature::Rsassa { .. }, HashAlg::Sha384) => Some(257),
        (TpmtSignature::Rsassa { .. }, HashAlg::Sha512) => Some(258),
        (_, HashAlg::Sha1) => None,
    }
}

/// The head of an item, its argument in the shortest form (RFC 8949, section 4.2.1).
fn head(object: &mut Vec<u8>, major: Major, argument: usize) {
    let major = match major {
        Major::Negative => 1 << 5,
        Major::Bytes => 2 << 5,
        Major::Text => 3 << 5,
        Major::Array => 4 << 5,
        Major::Map => 5 << 5,
    };
    if let Ok(small) = u8::try_from(argument) {
        if small < 24 {
            object.push(major | small);
        } else {
            object.extend([major | 24, small]);
        }
    } else if let Ok(short) = u16::try_from(argument) {
        object.push(major | 25);
        object.extend(short.to_be_bytes());
    } else {
        object.push(major | 27);
        object.extend(u64::try_from(argument).unwrap_or(u64::MAX).to_be_bytes());
    }
}

fn bytes(object: &mut Vec<u8>, octets: &[u8]) {
    head(object, Major::Bytes, octets.len());
    object.extend_from_slice(octets);
}

fn text(object: &mut Vec<u8>, value: &str) {
    head(object, Major::Text, value.len());
    object.extend_from_slice(value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouchsafe_evidence::bundle::AttestationStatement;
    use vouchsafe_evidence::cbor::Value;

    const THUMBPRINT: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

    #[test]
    fn a_key_authorization_is_a_token_and_a_thumbprint() {
        let good = format!("DGyRejmCefe7v4NfDGDKfA.{THUMBPRINT}");
        assert_eq!(nonce(&good).unwrap(), HashAlg::Sha256.digest(&[good.as_bytes()]));
        for bad in ["", "token", ".", "token.", &format!(".{THUMBPRINT}"), &format!("{good} "), &format!("{good}.")] {
            assert!(nonce(bad).is_err(), "{bad}");
        }
        assert!(nonce(&format!("{}.{THUMBPRINT}", "a".repeat(KEY_AUTHORIZATION_OCTETS_MAX))).is_err());
    }

    #[test]
    fn heads_are_the_shortest() {
        let encoded = |argument| {
            let mut object = Vec::new();
            head(&mut object, Major::Bytes, argument);
            object
        };
        assert_eq!(encoded(23), [0x57]);
        assert_eq!(encoded(24), [0x58, 24]);
        assert_eq!(encoded(256), [0x59, 1, 0]);
        assert_eq!(encoded(0x1_0000), [0x5B, 0, 0, 0, 0, 0, 1, 0, 0]);
        for length in [0, 23, 24, 255, 256, 65_535, 65_536] {
            let mut object = Vec::new();
            bytes(&mut object, &vec![7; length]);
            assert_eq!(Value::parse(&object).unwrap().bytes().map(<[u8]>::len), Some(length));
        }
    }

    #[test]
    fn what_tpm2_certify_did_not_say_makes_no_object() {
        let signature = TpmtSignature::Ecdsa { hash: HashAlg::Sha256, r: vec![1; 32], s: vec![2; 32] };
        let certify = |public| TpmCertify { attest: vec![1], signature: signature.to_bytes(), public }.to_der();
        let key = |der| AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY, der);
        let bundle = |statements| AttestationBundle::new(statements, Vec::new()).unwrap();
        let whole = key(certify(Some(vec![3])));
        for (statements, why) in [
            (vec![whole.clone(), whole.clone()], "more than the key"),
            (vec![AttestationStatement::new(oid::STATEMENT_TPM_QUOTE, certify(None))], "not attested by TPM2_Certify"),
            (vec![key(certify(None))], "public area"),
            (vec![whole], "no certificate yet"),
        ] {
            let failure = format!("{:?}", of(&bundle(statements)).unwrap_err());
            assert!(failure.contains(why), "{failure}");
        }
    }

    #[test]
    fn algorithms_have_the_numbers_of_the_registry() {
        let number = |signature: &TpmtSignature| cose(signature).map(|number| -1 - i64::try_from(number).unwrap());
        let ecdsa = |hash| TpmtSignature::Ecdsa { hash, r: Vec::new(), s: Vec::new() };
        let rsassa = |hash| TpmtSignature::Rsassa { hash, signature: Vec::new() };
        let rsapss = |hash| TpmtSignature::Rsapss { hash, signature: Vec::new() };
        assert_eq!(
            [HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512].map(ecdsa).map(|s| number(&s)),
            [-7, -35, -36].map(Some)
        );
        assert_eq!(
            [HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512].map(rsapss).map(|s| number(&s)),
            [-37, -38, -39].map(Some)
        );
        assert_eq!(
            [HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512].map(rsassa).map(|s| number(&s)),
            [-257, -258, -259].map(Some)
        );
        assert_eq!(number(&ecdsa(HashAlg::Sha1)), None);
    }
}
