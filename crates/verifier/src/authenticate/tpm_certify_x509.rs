//! tpm-certify-x509: a certificate that TPM2_CertifyX509 made (DESIGN, "TPM2_CertifyX509", leaf profile).
//!
//! A TPM checks almost nothing of what it signs here, so a path that validates proves almost nothing. The
//! statement counts only if the certificate has exactly the profile below, hangs directly under an AK
//! certificate of the CertifyX509 family, and the key's attributes are authenticated.

use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::statement::{FormatId, TpmCertifyX509};
use vouchsafe_evidence::tpm::{HashAlg, Name, ObjectAttributes, TpmtPublic};
use vouchsafe_evidence::x509::der::{Element, Reader};
use vouchsafe_evidence::x509::extensions::{self, KeyUsage};
use vouchsafe_evidence::x509::{CertView, Version};

use super::tpm_certify::strong_name;
use super::{AkCertificates, AttestedKey, AttestingKey, Context, KeyProperties, Subject, TpmKey, signer};
use crate::crypto::SignatureAlgorithm;
use crate::rejection::{Code, Rejection, codes};
use crate::time::Instant;

/// The extensions that the profile knows. SAN is allowed and ignored: it is the caller's text.
const ALLOWED: [Oid; 6] = [
    oid::KEY_USAGE,
    oid::TPMA_OBJECT,
    oid::NONCE,
    oid::SUBJECT_KEY_IDENTIFIER,
    oid::AUTHORITY_KEY_IDENTIFIER,
    oid::SUBJECT_ALT_NAME,
];
/// Named bits of a KeyUsage (RFC 5280, 4.2.1.3).
const KEY_USAGE_BITS: usize = 9;
/// Octets of digest that TPM2_CertifyX509 takes for the serial number.
const SERIAL_DIGEST_OCTETS: usize = 20;

/// A parsed statement, not yet believed.
pub(super) struct CertifyX509 {
    leaf: CertView,
    public: Option<TpmtPublic>,
    nonce: Vec<u8>,
    tpma_object: Option<ObjectAttributes>,
}

impl CertifyX509 {
    /// Parses the statement and checks of the leaf profile whatever needs no other certificate.
    pub(super) fn parse(stmt: &[u8]) -> Result<Self, Rejection> {
        let statement = TpmCertifyX509::parse(stmt).map_err(|e| {
            let code =
                if e.production == "Certificate" { codes::CX509_NOT_DER } else { codes::TPM_MALFORMED_STATEMENT };
            Rejection::new(code, format!("{} ({e})", code.meaning))
        })?;
        let public =
            statement.public.map(|bytes| TpmtPublic::parse(&bytes)).transpose().map_err(|e| {
                Rejection::new(codes::TPM_MALFORMED_PUBLIC, format!("The public area is malformed: {e}."))
            })?;
        let leaf = statement.certificate;
        check_encoding(&leaf)?;
        check_extensions(&leaf)?;
        check_end_entity(&leaf)?;
        let nonce = nonce_of(&leaf)?;
        let tpma_object = tpma_object_of(&leaf)?;
        Ok(Self { leaf, public, nonce, tpma_object })
    }

    /// The attestation key whose certificate's key signed the leaf directly.
    pub(super) fn signer(&self, context: &mut Context<'_>) -> Result<AttestingKey, Rejection> {
        let algorithm = self.algorithm()?;
        check_validity(&self.leaf, context.at)?;
        signer::certificate_issuer(FormatId::TpmCertifyX509, &self.leaf, algorithm, context)
    }

    /// The signature algorithm, named alike inside and outside the signed part.
    fn algorithm(&self) -> Result<SignatureAlgorithm, Rejection> {
        let outer = self.leaf.outer_algorithm();
        if self.leaf.inner_algorithm().as_der() != outer.as_der() {
            return Err(Rejection::plain(codes::CX509_ALGORITHM));
        }
        let algorithm =
            SignatureAlgorithm::from_der(outer.as_der()).map_err(|_| Rejection::plain(codes::CX509_ALGORITHM))?;
        match algorithm.hash() {
            Some(HashAlg::Sha1) => Err(Rejection::plain(codes::CX509_WEAK_HASH)),
            Some(HashAlg::Sha256 | HashAlg::Sha384 | HashAlg::Sha512) | None => Ok(algorithm),
        }
    }

    /// The key with its attributes, from the Name where the AK certificate pins the AK's, else from the
    /// tcg-tpmaObject alone; with neither there is no statement.
    pub(super) fn conclude(self, signer: &AttestingKey) -> Result<(Vec<u8>, Subject), Rejection> {
        check_names(&self.leaf, signer)?;
        let ak_name = signer.certificates().and_then(AkCertificates::name);
        let (attributes, public) = match (self.public, ak_name, self.tpma_object) {
            (Some(public), Some(ak_name), extension) => {
                check_name_and_serial(&self.leaf, &public, ak_name)?;
                check_agreement(public.attributes(), extension)?;
                (public.attributes(), Some(public))
            }
            (Some(public), None, Some(extension)) => {
                check_key(&self.leaf, &public)?;
                check_agreement(public.attributes(), Some(extension))?;
                (extension, None)
            }
            (None, _, Some(extension)) => (extension, None),
            (_, _, None) => return Err(Rejection::plain(codes::CX509_ATTRIBUTES_MISSING)),
        };
        let properties =
            KeyProperties::Tpm(Box::new(TpmKey { attributes, public, qualified_name: None, firmware_version: None }));
        Ok((self.nonce, Subject::Key(AttestedKey { spki: Some(self.leaf.spki().clone()), properties })))
    }
}

/// Strict DER of the whole certificate, version 3: what the TPM signed, it did not parse (A3).
fn check_encoding(leaf: &CertView) -> Result<(), Rejection> {
    let strict = Element::parse(leaf.as_der(), "Certificate").and_then(|element| element.check_strict());
    match strict {
        Ok(()) if leaf.is_strict_der() && leaf.version() == Version::V3 => Ok(()),
        Ok(()) => Err(Rejection::plain(codes::CX509_NOT_DER)),
        Err(e) => {
            Err(Rejection::new(codes::CX509_NOT_DER, format!("The TPM-made certificate is not strict DER: {e}.")))
        }
    }
}

/// No extension twice (A2, A4, A5), and none that the profile does not know (A5).
fn check_extensions(leaf: &CertView) -> Result<(), Rejection> {
    let mut seen: Vec<Oid> = Vec::new();
    for extension in leaf.extensions() {
        if seen.contains(&extension.oid()) {
            return Err(Rejection::new(
                codes::CX509_DUPLICATE_EXTENSION,
                format!("The TPM-made certificate has extension {} twice.", extension.oid()),
            ));
        }
        seen.push(extension.oid());
    }
    if seen.contains(&oid::BASIC_CONSTRAINTS) {
        return Err(Rejection::new(codes::CX509_CA, "The TPM-made certificate has BasicConstraints."));
    }
    match seen.iter().find(|found| !ALLOWED.contains(found)) {
        Some(found) => Err(Rejection::new(
            codes::CX509_EXTENSION,
            format!("The TPM-made certificate has extension {found}, which its profile does not know."),
        )),
        None => Ok(()),
    }
}

/// An end entity and nothing else (A1): no certificate or CRL signing, not issued to its own issuer.
fn check_end_entity(leaf: &CertView) -> Result<(), Rejection> {
    let usage = extension_value(leaf, oid::KEY_USAGE, codes::CX509_KEY_USAGE)?
        .ok_or_else(|| Rejection::plain(codes::CX509_KEY_USAGE))?;
    let usage = KeyUsage::parse(usage)
        .map_err(|e| Rejection::new(codes::CX509_KEY_USAGE, format!("The key usage is malformed: {e}.")))?;
    if usage.bit_count() > KEY_USAGE_BITS {
        return Err(Rejection::new(
            codes::CX509_KEY_USAGE,
            format!("The key usage has {} bits; {KEY_USAGE_BITS} are defined.", usage.bit_count()),
        ));
    }
    if usage.contains(KeyUsage::KEY_CERT_SIGN) || usage.contains(KeyUsage::CRL_SIGN) {
        return Err(Rejection::new(codes::CX509_CA, "The TPM-made certificate may sign certificates or CRLs."));
    }
    if leaf.subject().matches(leaf.issuer()) {
        return Err(Rejection::new(codes::CX509_CA, "The TPM-made certificate is self-issued."));
    }
    Ok(())
}

fn check_validity(leaf: &CertView, at: Instant) -> Result<(), Rejection> {
    let validity = leaf.not_before()..=leaf.not_after();
    if validity.contains(&at.unix_seconds()) {
        return Ok(());
    }
    Err(Rejection::new(
        codes::CX509_EXPIRED,
        format!(
            "The TPM-made certificate is valid from {} to {}, not at {at}.",
            Instant::from_unix_seconds(leaf.not_before()),
            Instant::from_unix_seconds(leaf.not_after())
        ),
    ))
}

/// Issued by the attestation key's name, to a name beneath it: a device names its keys within itself only.
fn check_names(leaf: &CertView, signer: &AttestingKey) -> Result<(), Rejection> {
    let ak = signer.certificates().ok_or_else(|| Rejection::plain(codes::AK_CERTIFICATE_MISSING))?.first().view();
    // Every name lies beneath the empty one.
    let beneath =
        !ak.subject().is_empty() && leaf.subject().is_within(ak.subject()) && !leaf.subject().matches(ak.subject());
    if beneath {
        return Ok(());
    }
    Err(Rejection::new(
        codes::CX509_SUBJECT,
        format!("The subject {:?} does not lie beneath {:?}.", leaf.subject().to_display(), ak.subject().to_display()),
    ))
}

/// The public area is of the certificate's key.
fn check_key(leaf: &CertView, public: &TpmtPublic) -> Result<(), Rejection> {
    let spki = public.spki().ok_or_else(|| Rejection::plain(codes::TPM_KEY_TYPE))?;
    if spki.same_key(leaf.spki()) { Ok(()) } else { Err(Rejection::plain(codes::CX509_SPKI_MISMATCH)) }
}

/// The serial number ties the certificate to the Names of this attestation key and of this public area.
fn check_name_and_serial(leaf: &CertView, public: &TpmtPublic, ak_name: &Name) -> Result<(), Rejection> {
    let name = strong_name(public)?;
    check_key(leaf, public)?;
    if !ak_name.alg().is_strong() {
        return Err(Rejection::plain(codes::AK_NAME_ALGORITHM));
    }
    let expected = serial(leaf, ak_name, &name)?;
    if leaf.serial() == expected { Ok(()) } else { Err(Rejection::plain(codes::CX509_SERIAL)) }
}

/// The serial number's content octets: the first 20 octets of
/// `H_nameAlg(AK)(sigAlg || issuer || validity || subject || SPKI || [3] extensions || Name(AK) || Name(object))`
/// as a positive INTEGER (as tried on libtpms; half of them begin with a zero octet and have 21).
fn serial(leaf: &CertView, ak_name: &Name, object_name: &Name) -> Result<Vec<u8>, Rejection> {
    let signed = signed_fields(leaf).map_err(|e| Rejection::new(codes::CX509_NOT_DER, e.to_string()))?;
    let mut parts = signed;
    parts.push(ak_name.as_bytes());
    parts.push(object_name.as_bytes());
    let digest = ak_name.alg().digest(&parts);
    let magnitude: Vec<u8> = digest.into_iter().take(SERIAL_DIGEST_OCTETS).skip_while(|octet| *octet == 0).collect();
    let negative = magnitude.first().is_none_or(|octet| *octet >= 0x80);
    Ok(if negative { [&[0], magnitude.as_slice()].concat() } else { magnitude })
}

/// The original DER of everything in the TBSCertificate that follows the serial number.
fn signed_fields(leaf: &CertView) -> Result<Vec<&[u8]>, vouchsafe_evidence::Malformed> {
    let mut outer = Reader::new(leaf.tbs(), "TBSCertificate");
    let mut fields = outer.sequence("TBSCertificate")?;
    let _version = fields.element()?;
    let _serial = fields.element()?;
    let mut rest = Vec::new();
    while !fields.is_empty() {
        rest.push(fields.element()?.as_der());
    }
    Ok(rest)
}

/// Two sources of attributes must say the same.
fn check_agreement(public: ObjectAttributes, extension: Option<ObjectAttributes>) -> Result<(), Rejection> {
    match extension {
        Some(extension) if extension != public => Err(Rejection::new(
            codes::CX509_ATTRIBUTES_DISAGREE,
            format!("The public area has attributes {public:?}, the certificate's tcg-tpmaObject {extension:?}."),
        )),
        Some(_) | None => Ok(()),
    }
}

fn extension_value(leaf: &CertView, oid: Oid, code: Code) -> Result<Option<&[u8]>, Rejection> {
    leaf.extension(oid)
        .map(|found| found.map(|extension| extension.value()))
        .map_err(|e| Rejection::new(code, format!("{} ({e})", code.meaning)))
}

/// The qualifying data: the nonce extension's contents, empty where there is none.
fn nonce_of(leaf: &CertView) -> Result<Vec<u8>, Rejection> {
    match extension_value(leaf, oid::NONCE, codes::NONCE_MALFORMED)? {
        None => Ok(Vec::new()),
        Some(value) => extensions::nonce(value)
            .map(<[u8]>::to_vec)
            .map_err(|e| Rejection::new(codes::NONCE_MALFORMED, format!("The nonce extension is malformed: {e}."))),
    }
}

/// The attributes that the TPM compared with the object's: exactly 32 bits, none of them reserved.
fn tpma_object_of(leaf: &CertView) -> Result<Option<ObjectAttributes>, Rejection> {
    let Some(value) = extension_value(leaf, oid::TPMA_OBJECT, codes::CX509_TPMA_OBJECT)? else {
        return Ok(None);
    };
    let attributes = extensions::tpma_object(value)
        .map(ObjectAttributes::from_bits)
        .map_err(|e| Rejection::new(codes::CX509_TPMA_OBJECT, format!("The tcg-tpmaObject is malformed: {e}.")))?;
    if attributes.has_reserved() {
        return Err(Rejection::new(
            codes::CX509_TPMA_OBJECT,
            format!("The tcg-tpmaObject {attributes:?} has reserved bits set."),
        ));
    }
    Ok(Some(attributes))
}
