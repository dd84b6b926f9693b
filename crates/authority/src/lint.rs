//! What is checked of a certificate or a revocation list before it is signed.
//!
//! What is to be signed is read back as a relying party would read it and held against RFC 5280 and the baseline
//! requirements of the CA/Browser Forum, as far as these apply to certificates of devices. What fails is not signed.
//! Nothing here relies on how the content came about: it is the last look, not the first.

mod list;
mod name;

use thiserror::Error;
use vouchsafe_evidence::Malformed;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::build;
use vouchsafe_evidence::x509::extensions::{
    AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies, CrlDistributionPoints, DistributionPoint,
    ExtendedKeyUsage, GeneralName, KeyUsage, NameConstraints, SubjectAltName, subject_key_identifier,
};
use vouchsafe_evidence::x509::{CertView, Extension, NameView, PublicKey, SpkiView, Version};

use crate::certificate::IssuerView;

pub(crate) use list::check_list;

/// Octets of a serial number, at least: 64 random bits and the sign (CA/Browser Forum, 7.1); 20 are the most that RFC 5280
/// allows (section 4.1.2.2).
const SERIAL_OCTETS: std::ops::RangeInclusive<usize> = 9..=20;
/// Bits of an RSA modulus, at least (CA/Browser Forum, 6.1.5).
const RSA_BITS_MIN: usize = 2048;
/// Extensions about where something is had.
const DISTRIBUTION: [Oid; 2] = [oid::AUTHORITY_INFO_ACCESS, oid::CRL_DISTRIBUTION_POINTS];
/// Bits in an octet.
const OCTET_BITS: usize = 8;
/// What the last look takes for a signature while there is none.
const NO_SIGNATURE: [u8; 1] = [0];

/// Why something is not signed. Each says the rule and where it stands.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LintError {
    /// The algorithm inside is not that of the issuer's key.
    #[error("the signature algorithm is not that of the issuer's key (RFC 5280, 4.1.1.2)")]
    Algorithm,
    /// authorityKeyIdentifier is absent, critical or of another key.
    #[error("authorityKeyIdentifier does not name the issuer's key (RFC 5280, 4.2.1.1)")]
    AuthorityKeyIdentifier,
    /// basicConstraints is absent, not critical, or does not fit keyUsage.
    #[error("basicConstraints must be there, be critical and agree with keyUsage (RFC 5280, 4.2.1.9)")]
    BasicConstraints,
    /// Where list and issuer are had is not what the issuer says of itself, or nothing that can be fetched.
    #[error(
        "cRLDistributionPoints and authorityInfoAccess must be the issuer's own, with one http URI (RFC 5280, 4.2.1.13, \
         4.2.2.1, 8)"
    )]
    Distribution,
    /// An extension is critical that must not be, or is not that must be.
    #[error("extension {0} must be critical, or must not be (RFC 5280, 4.2)")]
    Criticality(Oid),
    /// An entry of a revocation list.
    #[error("an entry of the revocation list {0} (RFC 5280, 5.1.2.6, 5.3)")]
    Entry(&'static str),
    /// An extension appears twice.
    #[error("extension {0} appears twice (RFC 5280, 4.2)")]
    DuplicateExtension(Oid),
    /// The issuer's name is empty or not the issuer's subject.
    #[error("the issuer is not named as in its own certificate (RFC 5280, 4.1.2.4)")]
    Issuer,
    /// A key that is not to be certified.
    #[error("the public key {0} (CA/Browser Forum, 6.1.5, 6.1.6)")]
    Key(&'static str),
    /// extKeyUsage is absent, holds a purpose twice or purposes that do not go together.
    #[error("extKeyUsage {0} (RFC 5280, 4.2.1.12)")]
    ExtendedKeyUsage(&'static str),
    /// keyUsage is absent, not critical, or not for this kind of key or purpose.
    #[error("keyUsage {0} (RFC 5280, 4.2.1.3)")]
    KeyUsage(&'static str),
    /// It cannot be read back.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A name has an attribute that is empty, too long or of the wrong type.
    #[error(
        "{0} of a name is empty, too long, of another string type, or holds a control character (RFC 5280, appendix A)"
    )]
    Name(&'static str),
    /// nameConstraints in a certificate that is no CA's.
    #[error("nameConstraints are for CAs (RFC 5280, 4.2.1.10)")]
    NameConstraints,
    /// The number of a revocation list.
    #[error("cRLNumber must be there, not critical and of at most 20 octets (RFC 5280, 5.2.3)")]
    Number,
    /// The serial number is zero, negative, too short or too long.
    #[error("the serial number must be positive and have 9 to 20 octets (RFC 5280, 4.1.2.2)")]
    Serial,
    /// The subject is empty and so is the alternative name.
    #[error("neither the subject nor its alternative name names anything (RFC 5280, 4.1.2.6)")]
    SubjectEmpty,
    /// subjectKeyIdentifier is absent, critical or of another key.
    #[error("subjectKeyIdentifier is not that of the key (RFC 5280, 4.2.1.2)")]
    SubjectKeyIdentifier,
    /// An alternative name that no relying party would match.
    #[error("{0} of the alternative name is not well-formed (RFC 5280, 4.2.1.6)")]
    SubjectAltName(&'static str),
    /// The times.
    #[error("the times are in the wrong order or outlive the issuer (RFC 5280, 4.1.2.5)")]
    Validity,
    /// Not version 3, or not strict DER.
    #[error("not a certificate of version 3 in DER (RFC 5280, 4.1)")]
    Version,
}

/// Checks what a request alone decides about a certificate: its subject and its key.
///
/// # Errors
/// [`LintError::Name`], [`LintError::Key`].
pub(crate) fn check_requested(subject: &NameView, spki: &SpkiView) -> Result<(), LintError> {
    name::check(subject)?;
    check_key(spki)
}

/// Checks a certificate that is to be signed by `issuer`.
///
/// # Errors
/// The first rule that it breaks.
pub(crate) fn check_certificate(tbs: &[u8], issuer: &IssuerView<'_>) -> Result<(), LintError> {
    let certificate = CertView::parse(&build::assemble(tbs, &issuer.algorithm(), &NO_SIGNATURE))?;
    if certificate.version() != Version::V3 || !certificate.is_strict_der() {
        return Err(LintError::Version);
    }
    if certificate.inner_algorithm().as_der() != issuer.algorithm() {
        return Err(LintError::Algorithm);
    }
    check_serial(certificate.serial())?;
    if issuer.name.is_empty() || certificate.issuer() != issuer.name {
        return Err(LintError::Issuer);
    }
    if certificate.not_before() >= certificate.not_after() || certificate.not_after() > issuer.not_after {
        return Err(LintError::Validity);
    }
    check_requested(certificate.subject(), certificate.spki())?;
    check_unique(certificate.extensions().map(|extension| extension.oid()))?;
    check_identifiers(&certificate, issuer)?;
    let is_ca = check_usage(&certificate)?;
    check_subject(&certificate, is_ca)?;
    check_distribution(&certificate, issuer)?;
    check_rest(&certificate, is_ca)
}

fn check_serial(serial: &[u8]) -> Result<(), LintError> {
    let is_positive = serial.first().is_some_and(|first| (1..0x80).contains(first));
    if is_positive && SERIAL_OCTETS.contains(&serial.len()) { Ok(()) } else { Err(LintError::Serial) }
}

fn check_unique(extensions: impl Iterator<Item = Oid>) -> Result<(), LintError> {
    let mut seen = Vec::new();
    for extension in extensions {
        if seen.contains(&extension) {
            return Err(LintError::DuplicateExtension(extension));
        }
        seen.push(extension);
    }
    Ok(())
}

fn check_key(spki: &SpkiView) -> Result<(), LintError> {
    match spki.key() {
        PublicKey::Rsa { modulus, exponent, scheme: _ } => {
            let leading =
                modulus.first().map_or(0, |first| usize::try_from(first.leading_zeros()).unwrap_or(OCTET_BITS));
            if modulus.len().saturating_mul(OCTET_BITS).saturating_sub(leading) < RSA_BITS_MIN {
                return Err(LintError::Key("is of RSA with fewer than 2048 bits"));
            }
            let is_odd = exponent.last().is_some_and(|last| last & 1 == 1);
            if !is_odd || exponent.as_slice() == [1] {
                return Err(LintError::Key("is of RSA with an exponent that is even, or 1"));
            }
            Ok(())
        }
        PublicKey::Ec { .. } | PublicKey::Ed25519(_) | PublicKey::MlDsa65(_) => Ok(()),
        PublicKey::Unknown { .. } => Err(LintError::Key("is of an unknown algorithm or curve")),
    }
}

fn required<'a>(certificate: &'a CertView, oid: Oid, missing: LintError) -> Result<Extension<'a>, LintError> {
    certificate.extension(oid)?.ok_or(missing)
}

fn check_identifiers(certificate: &CertView, issuer: &IssuerView<'_>) -> Result<(), LintError> {
    let own = required(certificate, oid::SUBJECT_KEY_IDENTIFIER, LintError::SubjectKeyIdentifier)?;
    let expected = crate::certificate::key_identifier(certificate.spki());
    if own.is_critical() || subject_key_identifier(own.value())? != expected {
        return Err(LintError::SubjectKeyIdentifier);
    }
    let authority = required(certificate, oid::AUTHORITY_KEY_IDENTIFIER, LintError::AuthorityKeyIdentifier)?;
    let named = AuthorityKeyIdentifier::parse(authority.value())?;
    if authority.is_critical() || named.key_identifier() != Some(issuer.key_identifier) {
        return Err(LintError::AuthorityKeyIdentifier);
    }
    Ok(())
}

/// Checks basicConstraints, keyUsage and extKeyUsage against one another. Whether the certificate is a CA's.
fn check_usage(certificate: &CertView) -> Result<bool, LintError> {
    let constraints = required(certificate, oid::BASIC_CONSTRAINTS, LintError::BasicConstraints)?;
    let is_ca = BasicConstraints::parse(constraints.value())?.ca;
    let usage = required(certificate, oid::KEY_USAGE, LintError::KeyUsage("is absent"))?;
    let bits = KeyUsage::parse(usage.value())?;
    if !usage.is_critical() {
        return Err(LintError::KeyUsage("is not critical"));
    }
    if !constraints.is_critical() || bits.contains(KeyUsage::KEY_CERT_SIGN) != is_ca {
        return Err(LintError::BasicConstraints);
    }
    if bits != KeyUsage::from_bits(bits.bits()) {
        return Err(LintError::KeyUsage("has trailing zero bits"));
    }
    let transports = KeyUsage::KEY_ENCIPHERMENT | KeyUsage::DATA_ENCIPHERMENT;
    let agrees = KeyUsage::KEY_AGREEMENT | KeyUsage::ENCIPHER_ONLY | KeyUsage::DECIPHER_ONLY;
    let unfit = match certificate.spki().key() {
        PublicKey::Rsa { .. } => agrees,
        PublicKey::Ec { .. } => transports,
        PublicKey::Ed25519(_) | PublicKey::MlDsa65(_) | PublicKey::Unknown { .. } => transports | agrees,
    };
    if bits.bits() & unfit != 0 {
        return Err(LintError::KeyUsage("is not for this kind of key"));
    }
    check_purposes(certificate, is_ca, bits)?;
    Ok(is_ca)
}

fn check_purposes(certificate: &CertView, is_ca: bool, bits: KeyUsage) -> Result<(), LintError> {
    let Some(extension) = certificate.extension(oid::EXTENDED_KEY_USAGE)? else {
        return if is_ca { Ok(()) } else { Err(LintError::ExtendedKeyUsage("is absent")) };
    };
    let purposes = ExtendedKeyUsage::parse(extension.value())?;
    for (index, purpose) in purposes.purposes().iter().enumerate() {
        if purposes.purposes().iter().skip(index + 1).any(|other| other == purpose) {
            return Err(LintError::ExtendedKeyUsage("holds a purpose twice"));
        }
    }
    if purposes.contains(oid::ANY_EXTENDED_KEY_USAGE) {
        return Err(LintError::ExtendedKeyUsage("holds anyExtendedKeyUsage"));
    }
    if purposes.contains(oid::KP_CODE_SIGNING) && purposes.contains(oid::KP_SERVER_AUTH) {
        return Err(LintError::ExtendedKeyUsage("holds code signing beside server authentication"));
    }
    // Critical where the key signs statements of one family alone: whoever does not know the purpose must refuse it.
    let is_family = purposes.contains(oid::KP_CERTIFY_X509) || purposes.contains(oid::KP_ATTESTATION_KEY);
    if extension.is_critical() != is_family {
        return Err(LintError::Criticality(oid::EXTENDED_KEY_USAGE));
    }
    if !is_ca && !bits.contains(KeyUsage::DIGITAL_SIGNATURE) {
        return Err(LintError::KeyUsage("lacks digitalSignature, which every purpose here needs"));
    }
    Ok(())
}

fn check_subject(certificate: &CertView, is_ca: bool) -> Result<(), LintError> {
    let is_empty = certificate.subject().is_empty();
    let Some(extension) = certificate.extension(oid::SUBJECT_ALT_NAME)? else {
        return if is_empty { Err(LintError::SubjectEmpty) } else { Ok(()) };
    };
    if is_empty && is_ca {
        return Err(LintError::SubjectEmpty);
    }
    if extension.is_critical() != is_empty {
        return Err(LintError::Criticality(oid::SUBJECT_ALT_NAME));
    }
    for name in SubjectAltName::parse(extension.value())?.names() {
        name::check_general(name)?;
    }
    Ok(())
}

/// Of where the list and the certificate of the issuer are had, a certificate says what the issuer does, and nothing else.
fn check_distribution(certificate: &CertView, issuer: &IssuerView<'_>) -> Result<(), LintError> {
    let is_about = |extension: &Extension<'_>| DISTRIBUTION.contains(&extension.oid());
    let found: Vec<&[u8]> = certificate.extensions().filter(is_about).map(|extension| extension.as_der()).collect();
    let is_issuers = issuer.published.iter().all(|own| found.contains(&own.as_slice()));
    if found.len() != issuer.published.len() || !is_issuers {
        return Err(LintError::Distribution);
    }
    let Some(extension) = certificate.extension(oid::CRL_DISTRIBUTION_POINTS)? else { return Ok(()) };
    let points = CrlDistributionPoints::parse(extension.value())?;
    let [point] = points.points() else { return Err(LintError::Distribution) };
    let point = DistributionPoint::parse(point)?;
    // One list for every reason, of the issuer itself.
    let is_whole = !point.is_relative && !point.has_reasons && point.crl_issuer.is_empty();
    match point.full_names.as_slice() {
        [GeneralName::Uri(uri)] if is_whole && !extension.is_critical() && uri.starts_with(b"http://") => Ok(()),
        _ => Err(LintError::Distribution),
    }
}

/// The extensions that remain: of known ones criticality and form, and no unknown one is critical.
fn check_rest(certificate: &CertView, is_ca: bool) -> Result<(), LintError> {
    for extension in certificate.extensions() {
        let oid = extension.oid();
        if oid == oid::NAME_CONSTRAINTS {
            NameConstraints::parse(extension.value())?;
            if !is_ca {
                return Err(LintError::NameConstraints);
            }
            if !extension.is_critical() {
                return Err(LintError::Criticality(oid));
            }
        } else if oid == oid::CERTIFICATE_POLICIES {
            CertificatePolicies::parse(extension.value())?;
            if extension.is_critical() {
                return Err(LintError::Criticality(oid));
            }
        } else {
            let was_checked =
                [oid::BASIC_CONSTRAINTS, oid::KEY_USAGE, oid::EXTENDED_KEY_USAGE, oid::SUBJECT_ALT_NAME].contains(&oid);
            if extension.is_critical() && !was_checked {
                return Err(LintError::Criticality(oid));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "lint/tests.rs"]
mod tests;
