//! Building: a DER writer, and the structures that this project emits. Signing happens elsewhere: what is
//! to be signed comes out of here, and [`assemble`] puts the signature beside it.

mod crl;
mod extensions;
mod name;
mod writer;

pub use crl::{CrlTemplate, RevokedEntry};
pub use extensions::{
    ak_name, authority_info_access, authority_key_identifier, basic_constraints, certificate_policies,
    crl_distribution_points, device_link, extended_key_usage, extension, key_usage, name_constraints, nonce,
    subject_alt_name, subject_key_identifier, tpma_object,
};
pub use name::{NameTextError, distinguished_name, name_from_attributes, name_from_text};
pub use writer::DerWriter;

use crate::bundle::AttestationBundle;
use crate::oid::{self, Oid};
use crate::x509::der::{Element, Reader, Tag};
use crate::x509::spki::significant;
use crate::x509::{NameView, NamedCurve, SpkiView};
use crate::{Malformed, Reason};

/// The DER of one OCTET STRING.
#[must_use]
pub fn octet_string(contents: &[u8]) -> Vec<u8> {
    let mut writer = DerWriter::new();
    writer.octet_string(contents);
    writer.into_der()
}

/// The DER of an AlgorithmIdentifier of an algorithm without parameters.
#[must_use]
pub fn algorithm_identifier(algorithm: Oid) -> Vec<u8> {
    let mut writer = DerWriter::new();
    writer.sequence(|fields| {
        fields.oid(algorithm);
    });
    writer.into_der()
}

/// The DER of an AlgorithmIdentifier whose parameters are NULL, as RSA with PKCS #1 v1.5 wants it
/// (RFC 4055, section 5).
#[must_use]
pub fn algorithm_identifier_null(algorithm: Oid) -> Vec<u8> {
    let mut writer = DerWriter::new();
    writer.sequence(|fields| {
        fields.oid(algorithm).null();
    });
    writer.into_der()
}

pub(crate) fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let mut key = DerWriter::new();
    key.sequence(|fields| {
        fields.unsigned(modulus).unsigned(exponent);
    });
    let mut writer = DerWriter::new();
    writer.sequence(|spki| {
        spki.raw(&algorithm_identifier_null(oid::RSA_ENCRYPTION)).bit_string(&key.into_der(), 0);
    });
    writer.into_der()
}

pub(crate) fn ec_spki(curve: NamedCurve, x: &[u8], y: &[u8]) -> Vec<u8> {
    let mut writer = DerWriter::new();
    writer.sequence(|spki| {
        spki.sequence(|algorithm| {
            algorithm.oid(oid::EC_PUBLIC_KEY).oid(curve.oid());
        });
        spki.bit_string(&[&[0x04], x, y].concat(), 0);
    });
    writer.into_der()
}

/// What a version 3 certificate says.
#[derive(Clone, Debug)]
pub struct CertificateTemplate {
    /// The serial number as a big-endian magnitude, not zero.
    pub serial: Vec<u8>,
    /// The DER of the signature's AlgorithmIdentifier.
    pub algorithm: Vec<u8>,
    /// The issuer's name.
    pub issuer: NameView,
    /// The first second of validity, in seconds since 1970-01-01T00:00:00Z.
    pub not_before: i64,
    /// The last second of validity, in seconds since 1970-01-01T00:00:00Z.
    pub not_after: i64,
    /// The subject's name.
    pub subject: NameView,
    /// The subject's public key.
    pub spki: SpkiView,
    /// The DER of each extension, as the functions of this module give it.
    pub extensions: Vec<Vec<u8>>,
}

impl CertificateTemplate {
    /// The DER of the TBSCertificate: what is to be signed.
    #[must_use]
    pub fn tbs_der(&self) -> Vec<u8> {
        let mut writer = DerWriter::new();
        writer.sequence(|tbs| {
            write_version(tbs);
            tbs.unsigned(&self.serial).raw(&self.algorithm).raw(self.issuer.as_der());
            write_validity(tbs, self.not_before, self.not_after);
            tbs.raw(self.subject.as_der()).raw(self.spki.as_der());
            write_extensions(tbs, &self.extensions);
        });
        writer.into_der()
    }
}

/// What a client hands to TPM2_CertifyX509 (TPM 2.0 Library, Part 3): the rest the TPM adds.
#[derive(Clone, Debug)]
pub struct PartialCertificate {
    /// The issuer's name.
    pub issuer: NameView,
    /// The first second of validity, in seconds since 1970-01-01T00:00:00Z.
    pub not_before: i64,
    /// The last second of validity, in seconds since 1970-01-01T00:00:00Z.
    pub not_after: i64,
    /// The subject's name.
    pub subject: NameView,
    /// The DER of each extension; KeyUsage must be among them.
    pub extensions: Vec<Vec<u8>>,
}

impl PartialCertificate {
    /// The DER: `SEQUENCE { issuer, validity, subject, [3] extensions }`.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let mut writer = DerWriter::new();
        writer.sequence(|partial| {
            partial.raw(self.issuer.as_der());
            write_validity(partial, self.not_before, self.not_after);
            partial.raw(self.subject.as_der());
            write_extensions(partial, &self.extensions);
        });
        writer.into_der()
    }
}

/// Puts together the TBSCertificate that TPM2_CertifyX509 signed, from the partial certificate that was
/// sent (without an algorithm) and addedToCertificate, `SEQUENCE { [0] version, serialNumber, signature,
/// subjectPublicKeyInfo }`.
///
/// # Errors
/// [`Malformed`] if either does not have that form.
pub fn merge_partial(partial: &[u8], added: &[u8]) -> Result<Vec<u8>, Malformed> {
    let read = |input, production, tags: [(Tag, &'static str); 4]| -> Result<Vec<Element<'_>>, Malformed> {
        let mut outer = Reader::new(input, production);
        let mut fields = outer.sequence(production)?;
        outer.finish()?;
        let elements: Result<Vec<_>, _> = tags.into_iter().map(|(tag, what)| fields.expect(tag, what)).collect();
        fields.finish()?;
        elements
    };
    let partial_fields = [
        (Tag::SEQUENCE, "issuer"),
        (Tag::SEQUENCE, "validity"),
        (Tag::SEQUENCE, "subject"),
        (Tag::context_constructed(3), "extensions"),
    ];
    let added_fields = [
        (Tag::context_constructed(0), "version"),
        (Tag::INTEGER, "serialNumber"),
        (Tag::SEQUENCE, "signature"),
        (Tag::SEQUENCE, "subjectPublicKeyInfo"),
    ];
    let partial = read(partial, "partialCertificate", partial_fields)?;
    let added = read(added, "addedToCertificate", added_fields)?;
    let ([issuer, validity, subject, extensions], [version, serial, algorithm, spki]) =
        (partial.as_slice(), added.as_slice())
    else {
        return Err(Malformed::new("addedToCertificate", 0, Reason::Missing("field")));
    };
    let mut writer = DerWriter::new();
    writer.sequence(|tbs| {
        for element in [version, serial, algorithm, issuer, validity, subject, spki, extensions] {
            tbs.raw(element.as_der());
        }
    });
    Ok(writer.into_der())
}

/// What a certification request says.
#[derive(Clone, Debug)]
pub struct CsrTemplate {
    /// The subject's name.
    pub subject: NameView,
    /// The subject's public key.
    pub spki: SpkiView,
    /// The DER of each attribute; see [`attestation_attribute`].
    pub attributes: Vec<Vec<u8>>,
}

impl CsrTemplate {
    /// The DER of the CertificationRequestInfo: what is to be signed.
    #[must_use]
    pub fn info_der(&self) -> Vec<u8> {
        let mut attributes = self.attributes.clone();
        attributes.sort();
        let mut writer = DerWriter::new();
        writer.sequence(|info| {
            info.uint(0).raw(self.subject.as_der()).raw(self.spki.as_der());
            info.constructed(Tag::context_constructed(0), |set| {
                for attribute in &attributes {
                    set.raw(attribute);
                }
            });
        });
        writer.into_der()
    }
}

/// The DER of a request's attribute with these values, each DER.
#[must_use]
pub fn attribute(oid: Oid, values: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = DerWriter::new();
    writer.sequence(|attribute| {
        attribute.oid(oid).set_of(values);
    });
    writer.into_der()
}

/// The DER of the attribute id-aa-attestation that holds this bundle.
#[must_use]
pub fn attestation_attribute(bundle: &AttestationBundle) -> Vec<u8> {
    attribute(oid::AA_ATTESTATION, &[bundle.to_der()])
}

/// The DER of the attribute extensionRequest that asks for these extensions.
#[must_use]
pub fn extension_request_attribute(extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = DerWriter::new();
    writer.sequence(|list| {
        for extension in extensions {
            list.raw(extension);
        }
    });
    attribute(oid::EXTENSION_REQUEST, &[writer.into_der()])
}

/// The DER of a signed structure, certificate or request: what was signed, the algorithm, the signature.
#[must_use]
pub fn assemble(signed: &[u8], algorithm: &[u8], signature: &[u8]) -> Vec<u8> {
    let mut writer = DerWriter::new();
    writer.sequence(|outer| {
        outer.raw(signed).raw(algorithm).bit_string(signature, 0);
    });
    writer.into_der()
}

/// The DER of an ECDSA-Sig-Value (RFC 3279, 2.2.3) of two big-endian magnitudes.
#[must_use]
pub fn ecdsa_signature(r: &[u8], s: &[u8]) -> Vec<u8> {
    let mut writer = DerWriter::new();
    writer.sequence(|value| {
        value.unsigned(significant(r)).unsigned(significant(s));
    });
    writer.into_der()
}

fn write_version(tbs: &mut DerWriter) {
    tbs.constructed(Tag::context_constructed(0), |version| {
        version.uint(2);
    });
}

fn write_validity(tbs: &mut DerWriter, not_before: i64, not_after: i64) {
    tbs.sequence(|validity| {
        validity.time(not_before).time(not_after);
    });
}

fn write_extensions(tbs: &mut DerWriter, extensions: &[Vec<u8>]) {
    if extensions.is_empty() {
        return;
    }
    tbs.constructed(Tag::context_constructed(3), |tagged| {
        tagged.sequence(|list| {
            for extension in extensions {
                list.raw(extension);
            }
        });
    });
}
