//! `tpm-certify-x509`: the caller's part of a certificate that the module signs.

/// Subject of a certificate that the module makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectName {
    /// A DER Name, which must lie beneath the issuer's.
    Absolute(Vec<u8>),
    /// A DER Name whose RDNs are put behind the issuer's.
    BeneathIssuer(Vec<u8>),
}

/// KeyUsage bits of a certificate (RFC 5280 section 4.2.1.3) that an attested key may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUsage(u16);

impl KeyUsage {
    /// digitalSignature.
    pub const DIGITAL_SIGNATURE: Self = Self(0x8000);
    /// nonRepudiation (contentCommitment).
    pub const NON_REPUDIATION: Self = Self(0x4000);
    /// keyEncipherment.
    pub const KEY_ENCIPHERMENT: Self = Self(0x2000);
    /// dataEncipherment.
    pub const DATA_ENCIPHERMENT: Self = Self(0x1000);
    /// keyAgreement.
    pub const KEY_AGREEMENT: Self = Self(0x0800);

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits, bit 0 of the BIT STRING as the most significant of 16.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The usage of that RFC 5280 name. keyCertSign and cRLSign are not among them: a key that is attested
    /// by a certificate is never an issuer.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "digitalSignature" => Some(Self::DIGITAL_SIGNATURE),
            "nonRepudiation" | "contentCommitment" => Some(Self::NON_REPUDIATION),
            "keyEncipherment" => Some(Self::KEY_ENCIPHERMENT),
            "dataEncipherment" => Some(Self::DATA_ENCIPHERMENT),
            "keyAgreement" => Some(Self::KEY_AGREEMENT),
            _ => None,
        }
    }
}

/// The caller's part of a certificate that the module signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateTemplate {
    /// The subject.
    pub subject: SubjectName,
    /// Start of validity, seconds since the Unix epoch.
    pub not_before: i64,
    /// End of validity, seconds since the Unix epoch.
    pub not_after: i64,
    /// Key usage; at least one bit.
    pub key_usage: KeyUsage,
    /// DER GeneralNames for a SAN extension; `None` makes no such extension.
    pub subject_alt_names: Option<Vec<u8>>,
    /// DER certificates to hang under: the first one's subject becomes the issuer and its key must be the
    /// attesting key. Empty: the attesting key's own certificates of its family.
    pub issuer_chain: Vec<Vec<u8>>,
}
