//! What each kind of chain demands beyond RFC 5280.

use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::extensions::KeyUsage;
use vouchsafe_evidence::x509::{Quirk, SpkiView};

use super::certificate::{Deviation, Examined};
use super::error::PathDefect;
use crate::trust::Allowances;

mod pins;

/// The kind of a chain: what its last certificate is for.
///
/// One attesting key's certificate serves one family of statements. A restricted key signs any bytes that do
/// not begin like a TPM structure, so a key whose certificate served two families could forge one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChainProfile {
    /// The certificate of an attesting key that signs TPMS_ATTEST: purpose 2.23.133.8.3 alone, key usage
    /// digitalSignature (and nonRepudiation at most), no CA.
    AkAttest,
    /// The certificate of an attesting key under which TPM2_CertifyX509 makes certificates: critical purpose
    /// CertifyX509 alone, a CA with a path length of 0, key usage keyCertSign alone. It is the last
    /// certificate of the validated path; the one that the TPM made hangs beneath and is judged elsewhere.
    AkCertifyX509,
    /// The certificate of an endorsement key: purpose 2.23.133.8.1, key usage keyEncipherment or keyAgreement
    /// where it is stated, no CA.
    Ek,
    /// The same where it is only shown, to tell which module there is: makers of virtual modules issue it for keys that
    /// sign, too. Nothing may be enrolled by it.
    EkShown,
    /// The certificate of an attesting key that platforms use for web authentication (Web Authentication Level 3,
    /// 8.3.1): purpose 2.23.133.8.3 among others, no CA. Its issuers may name that purpose too, if they say that they
    /// certify attesting keys.
    WebauthnAk,
    /// A certificate of whatever kind and purpose: RFC 5280, section 6.1, and no more.
    Unprofiled,
    /// A chain of a listed format's makers, by the rules of that format's module.
    Vendor(VendorProfile),
}

/// The rules for a chain of a listed format's makers. Each format's module has its own, one for each kind of chain.
#[derive(Clone, Copy, Debug)]
pub struct VendorProfile(&'static VendorRules);

/// What a kind of vendor chain demands beyond RFC 5280, and what is tolerated of it.
#[derive(Debug)]
pub(crate) struct VendorRules {
    /// What tells this kind of chain from all others.
    pub name: &'static str,
    /// Deviations from strict DER that the makers' certificates are known to show.
    pub quirks: &'static [Quirk],
    /// Extensions of the makers' own that the module reads, or that mislead nobody: they may be critical.
    pub processed: &'static [Oid],
    /// Whether the last certificate is what the module wants, and what is tolerated of it. The second argument is what
    /// the key right above is allowed.
    pub check_last: fn(&Examined, Allowances) -> Result<Vec<Deviation>, PathDefect>,
    /// Keys of the makers that may do what others may not: SHA-256 of their SubjectPublicKeyInfo, and what.
    pub pinned: &'static [Pin],
}

/// A key that may do what others may not: SHA-256 of its SubjectPublicKeyInfo, and what.
pub(crate) type Pin = ([u8; 32], Allowances);

impl VendorProfile {
    /// The profile with these rules.
    pub(crate) const fn new(rules: &'static VendorRules) -> Self {
        Self(rules)
    }
}

impl PartialEq for VendorProfile {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for VendorProfile {}

impl std::hash::Hash for VendorProfile {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

/// Purposes of which an attesting key's certificate holds exactly one. One that holds any never issues.
pub(crate) const ATTESTING_FAMILIES: [Oid; 3] =
    [oid::KP_AIK_CERTIFICATE, oid::KP_CERTIFY_X509, oid::KP_ATTESTATION_KEY];

/// Deviations of encoding that mislead nobody, since signatures are checked over original bytes; the makers of
/// AK certificates that are in use show them.
const AK_QUIRKS: [Quirk; 4] =
    [Quirk::ExplicitDefault, Quirk::GeneralizedTimeBefore2050, Quirk::NonMinimalKeyUsage, Quirk::UnsortedRdnSet];

/// Deviations that EK certificates and CA certificates of TPM vendors are known to show.
const EK_QUIRKS: [Quirk; 9] = [
    Quirk::ExplicitDefault,
    Quirk::ExtensionNotDer,
    Quirk::GeneralizedTimeBefore2050,
    Quirk::NegativeOrZeroSerial,
    Quirk::NonMinimalKeyUsage,
    Quirk::NonMinimalSerial,
    Quirk::OaepSpki,
    Quirk::TrailingPadding,
    Quirk::UnsortedRdnSet,
];

impl ChainProfile {
    /// Certificates that hang beneath the last one of the path and count against path lengths.
    pub(super) const fn certificates_beneath(self) -> usize {
        match self {
            Self::AkAttest | Self::Ek | Self::EkShown | Self::WebauthnAk | Self::Unprofiled | Self::Vendor(_) => 0,
            Self::AkCertifyX509 => 1,
        }
    }

    /// Deviations from strict DER that certificates of such a chain may show.
    pub(super) const fn allowed_quirks(self) -> &'static [Quirk] {
        match self {
            Self::AkAttest | Self::WebauthnAk => &AK_QUIRKS,
            Self::AkCertifyX509 => &[],
            Self::Unprofiled => &AK_QUIRKS,
            Self::Ek | Self::EkShown => &EK_QUIRKS,
            Self::Vendor(profile) => profile.0.quirks,
        }
    }

    /// Extensions beyond those of RFC 5280 that may be critical in such a chain.
    pub(super) const fn processed(self) -> &'static [Oid] {
        match self {
            Self::AkAttest | Self::AkCertifyX509 | Self::Ek | Self::EkShown | Self::WebauthnAk | Self::Unprofiled => {
                &[]
            }
            Self::Vendor(profile) => profile.0.processed,
        }
    }

    /// What this issuer's key is allowed in such a chain: of the vendors' chains what vendors are known to do, or an
    /// administrator accepted by a mark; of our own nothing.
    pub(super) fn usable(self, key: &SpkiView, marked: Allowances) -> Allowances {
        match self {
            Self::AkAttest | Self::AkCertifyX509 | Self::Unprofiled => Allowances::NONE,
            Self::Ek | Self::EkShown => with_pins(&pins::EK_ISSUERS, key, marked),
            Self::WebauthnAk => marked,
            Self::Vendor(profile) => with_pins(profile.0.pinned, key, marked),
        }
    }

    /// Whether a certificate may issue others in such a chain.
    ///
    /// A certificate made for an attesting key, or by a TPM, never may: the TPM can be made to sign a
    /// certificate for a key in software, and neither path length nor name constraints stop it.
    ///
    /// Platforms' own CAs for attesting keys repeat that purpose, as some applications want it on the whole path; they
    /// are told from attesting keys by the purpose of a CA that certifies these.
    pub(super) fn check_issuer(self, certificate: &Examined) -> Result<(), PathDefect> {
        let purposes = certificate.purposes();
        let repeats_purpose = self == Self::WebauthnAk && purposes.contains(&oid::KP_PRIVACY_CA);
        let mut foreign = ATTESTING_FAMILIES.iter().filter(|family| **family != oid::KP_AIK_CERTIFICATE);
        let of_attesting_key = foreign.any(|family| purposes.contains(family))
            || (purposes.contains(&oid::KP_AIK_CERTIFICATE) && !repeats_purpose);
        if of_attesting_key || certificate.has_tpma_object() {
            return Err(PathDefect::AttestingKeyAsIssuer);
        }
        Ok(())
    }

    /// Whether the last certificate of the path is what this profile says, and what it tolerates of it. `issuer` is
    /// what the key right above is allowed, as far as [`ChainProfile::usable`].
    pub(super) fn check_last(self, certificate: &Examined, issuer: Allowances) -> Result<Vec<Deviation>, PathDefect> {
        match self {
            Self::AkAttest => check_ak_attest(certificate),
            Self::AkCertifyX509 => check_ak_certify_x509(certificate),
            Self::Ek => check_ek(certificate, issuer, KeyUsage::KEY_ENCIPHERMENT | KeyUsage::KEY_AGREEMENT),
            Self::EkShown => check_ek(
                certificate,
                issuer,
                KeyUsage::KEY_ENCIPHERMENT | KeyUsage::KEY_AGREEMENT | KeyUsage::DIGITAL_SIGNATURE,
            ),
            Self::WebauthnAk => check_webauthn_ak(certificate),
            Self::Unprofiled => Ok(Vec::new()),
            Self::Vendor(profile) => (profile.0.check_last)(certificate, issuer),
        }
    }
}

/// What a key may do by the marks on it and by its fingerprint among `pins`.
fn with_pins(pins: &[Pin], key: &SpkiView, marked: Allowances) -> Allowances {
    if pins.is_empty() {
        return marked;
    }
    let fingerprint = key.sha256();
    let pinned = pins.iter().filter(|(pinned, _)| *pinned == fingerprint);
    pinned.fold(marked, |all, (_, allowances)| all.or(*allowances))
}

fn check_ak_attest(certificate: &Examined) -> Result<Vec<Deviation>, PathDefect> {
    if certificate.purposes() != [oid::KP_AIK_CERTIFICATE] {
        return Err(PathDefect::WrongFamily);
    }
    if certificate.is_ca() {
        return Err(PathDefect::IsCa);
    }
    // RFC 5280, 4.2.1.3: a certificate that does not state its key usage does not restrict it.
    let Some(usage) = certificate.key_usage() else { return Ok(vec![Deviation::KeyUsageAbsent]) };
    let allowed = KeyUsage::DIGITAL_SIGNATURE | KeyUsage::NON_REPUDIATION;
    if !usage.contains(KeyUsage::DIGITAL_SIGNATURE) || usage.bits() & !allowed != 0 {
        return Err(PathDefect::KeyUsage);
    }
    Ok(Vec::new())
}

fn check_ak_certify_x509(certificate: &Examined) -> Result<Vec<Deviation>, PathDefect> {
    if certificate.purposes() != [oid::KP_CERTIFY_X509] || !certificate.purposes_are_critical() {
        return Err(PathDefect::WrongFamily);
    }
    if !certificate.is_ca() {
        return Err(PathDefect::NotCa);
    }
    if certificate.path_length() != Some(0) {
        return Err(PathDefect::PathLength);
    }
    match certificate.key_usage() {
        Some(usage) if usage.bits() == KeyUsage::KEY_CERT_SIGN => Ok(Vec::new()),
        Some(_) | None => Err(PathDefect::KeyUsage),
    }
}

fn check_webauthn_ak(certificate: &Examined) -> Result<Vec<Deviation>, PathDefect> {
    let purposes = certificate.purposes();
    let foreign = [oid::KP_CERTIFY_X509, oid::KP_ATTESTATION_KEY, oid::KP_EK_CERTIFICATE, oid::ANY_EXTENDED_KEY_USAGE];
    if !purposes.contains(&oid::KP_AIK_CERTIFICATE) || foreign.iter().any(|purpose| purposes.contains(purpose)) {
        return Err(PathDefect::WrongFamily);
    }
    if certificate.is_ca() || !certificate.states_basic_constraints() {
        return Err(PathDefect::IsCa);
    }
    match certificate.key_usage() {
        None => Ok(vec![Deviation::KeyUsageAbsent]),
        Some(usage) if usage.contains(KeyUsage::DIGITAL_SIGNATURE) => Ok(Vec::new()),
        Some(_) => Err(PathDefect::KeyUsage),
    }
}

fn check_ek(certificate: &Examined, issuer: Allowances, usages: u16) -> Result<Vec<Deviation>, PathDefect> {
    if certificate.is_ca() {
        return Err(PathDefect::IsCa);
    }
    let purposes = certificate.purposes();
    let mut foreign = ATTESTING_FAMILIES.iter().chain([&oid::ANY_EXTENDED_KEY_USAGE]);
    let purpose_is_absent = !certificate.states_purposes();
    if !purpose_is_absent
        && (!purposes.contains(&oid::KP_EK_CERTIFICATE) || foreign.any(|purpose| purposes.contains(purpose)))
    {
        return Err(PathDefect::WrongEkPurpose);
    }
    if purpose_is_absent && !issuer.missing_ek_purpose {
        return Err(PathDefect::WrongEkPurpose);
    }
    match certificate.key_usage() {
        // Then nothing at all would tell it from the certificate of a key that signs.
        None if purpose_is_absent => Err(PathDefect::WrongEkPurpose),
        None => Ok(vec![Deviation::KeyUsageAbsent]),
        Some(usage) if usage.bits() & usages == 0 => Err(PathDefect::KeyUsage),
        Some(_) if purpose_is_absent => Ok(vec![Deviation::EkPurposeAbsent]),
        Some(_) => Ok(Vec::new()),
    }
}
