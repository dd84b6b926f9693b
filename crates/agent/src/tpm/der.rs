//! Public keys of TPM objects as PKIX writes them.

use vouchsafe_evidence::tpm::{PublicParameters, TpmtPublic};
use vouchsafe_evidence::x509::build::DerWriter;

/// `octets` with zero octets in front, `width` in all; as it is if longer.
pub(crate) fn left_pad(octets: &[u8], width: usize) -> Vec<u8> {
    let mut out = vec![0; width.saturating_sub(octets.len())];
    out.extend_from_slice(octets);
    out
}

/// Contents of the BIT STRING in the key's SPKI: `04 | X | Y` (SEC 1) or RSAPublicKey (RFC 8017); `None` for
/// symmetric objects.
pub(crate) fn subject_public_key(public: &TpmtPublic) -> Option<Vec<u8>> {
    match public.parameters() {
        PublicParameters::Ecc { curve, x, y, .. } => {
            let width = curve.field_len();
            Some([vec![0x04], left_pad(x, width), left_pad(y, width)].concat())
        }
        PublicParameters::Rsa { modulus, .. } => {
            let exponent = public.rsa_exponent()?.to_be_bytes();
            let mut writer = DerWriter::new();
            writer.sequence(|fields| {
                fields.unsigned(modulus).unsigned(&exponent);
            });
            Some(writer.into_der())
        }
        PublicParameters::KeyedHash { .. } | PublicParameters::SymCipher { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouchsafe_evidence::tpm::template::{SigningKey, signing_key};
    use vouchsafe_evidence::tpm::{Curve, EccScheme, HashAlg, ObjectAttributes, Symmetric};

    #[test]
    fn the_bare_key_is_the_end_of_the_subject_public_key_info() {
        for (curve, octets) in [(Curve::P256, 65), (Curve::P384, 97)] {
            // Coordinates without their leading zero octets, as some TPMs give them.
            let (symmetric, scheme) = (Symmetric::Null, EccScheme::Null);
            let parameters = PublicParameters::Ecc { symmetric, scheme, curve, x: vec![1; 20], y: vec![2; 31] };
            let attributes = ObjectAttributes::from_bits(0);
            let public = TpmtPublic::build(Some(HashAlg::Sha256), attributes, &[], parameters);
            let bare = subject_public_key(&public).unwrap();
            assert_eq!(bare.len(), octets);
            assert!(public.spki().unwrap().as_der().ends_with(&bare));
        }
        let public = signing_key(SigningKey::Rsa2048, 0, Some(HashAlg::Sha256), &[0x81; 256]);
        let bare = subject_public_key(&public).unwrap();
        assert!(public.spki().unwrap().as_der().ends_with(&bare));
        assert_eq!(bare[..9], [0x30, 0x82, 0x01, 0x0A, 0x02, 0x82, 0x01, 0x01, 0x00]);
        assert_eq!(bare[bare.len() - 5..], [0x02, 0x03, 0x01, 0x00, 0x01]);
    }
}
