//! What the certificate of an attesting key holds, item by item, and why: the list that an authority issues by.
//!
//! Endorsers are taken at face value, so that such a certificate says next to nothing; whatever it says beyond this list
//! is no claim. `docs/claims/ak-certificates.md` is written from it, and the authority's certificates are compared with it.

use vouchsafe_evidence::oid::{self, Oid};

/// In which certificates an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In all of them.
    All,
    /// In those of keys of TPMs: for TPMS_ATTEST and for TPM2_CertifyX509.
    Tpm,
    /// In those for TPMS_ATTEST and for PKIX Evidence, which are of end entities.
    EndEntity,
    /// In those for TPMS_ATTEST alone.
    Attest,
    /// In those for PKIX Evidence alone, of keys that host software drives.
    PkixEvidence,
    /// In those under which TPM2_CertifyX509 makes certificates, alone.
    CertifyX509,
}

/// One item.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// What it is called.
    pub name: &'static str,
    /// The extension, where it is one, and whether it is critical.
    pub extension: Option<(Oid, bool)>,
    /// Where it stands.
    pub place: Place,
    /// Its content.
    pub content: &'static str,
    /// Why it is there.
    pub reason: &'static str,
}

const fn field(name: &'static str, content: &'static str, reason: &'static str) -> Item {
    Item { name, extension: None, place: Place::All, content, reason }
}

const fn extension(
    name: &'static str,
    extension: (Oid, bool),
    place: Place,
    content: &'static str,
    reason: &'static str,
) -> Item {
    Item { name, extension: Some(extension), place, content, reason }
}

/// The whole content, in the order of the certificate.
pub const CONTENT: &[Item] = &[
    field("serialNumber", "158 random bits", "Identification"),
    field(
        "validity",
        "90 days, from 5 minutes before; of pseudonyms whole days, 7 at most",
        "Short, so that no revocation list links the pseudonyms of a device",
    ),
    field(
        "subject",
        "CN=ak- and 128 random bits",
        "Unique and not empty: issuer names must not be ambiguous. It names nobody",
    ),
    field("subjectPublicKeyInfo", "The attesting key", "It is what is certified"),
    extension(
        "basicConstraints",
        (oid::BASIC_CONSTRAINTS, true),
        Place::EndEntity,
        "cA FALSE",
        "The key signs attestations, never certificates",
    ),
    extension("keyUsage", (oid::KEY_USAGE, true), Place::EndEntity, "digitalSignature", "As before"),
    extension(
        "extKeyUsage",
        (oid::EXTENDED_KEY_USAGE, false),
        Place::Attest,
        "2.23.133.8.3 (tcg-kp-AIKCertificate) alone",
        "One certificate, one family of statements: a restricted key signs whatever does not begin as TPM structures do",
    ),
    extension(
        "extKeyUsage",
        (oid::EXTENDED_KEY_USAGE, true),
        Place::PkixEvidence,
        "1.3.6.1.5.5.7.3.999 (id-kp-attestationKey) alone, critical",
        "As before; critical, since it stands alone (draft-ietf-rats-pkix-key-attestation, 3.2)",
    ),
    extension(
        "basicConstraints",
        (oid::BASIC_CONSTRAINTS, true),
        Place::CertifyX509,
        "cA TRUE, pathLen 0",
        "Plain RFC 5280 software must find the path to the TPM-made certificate",
    ),
    extension("keyUsage", (oid::KEY_USAGE, true), Place::CertifyX509, "keyCertSign", "Nothing but certificates"),
    extension(
        "extKeyUsage",
        (oid::EXTENDED_KEY_USAGE, true),
        Place::CertifyX509,
        "1.3.6.1.4.1.32473.1.6 alone, critical",
        "As above; critical, so that nobody takes what hangs beneath for a TLS certificate",
    ),
    extension(
        "tcg-tpmaObject",
        (oid::TPMA_OBJECT, false),
        Place::CertifyX509,
        "The attributes of the attesting key",
        "Shows restricted, x509sign and sensitiveDataOrigin to those who know no Names",
    ),
    extension(
        "nameConstraints",
        (oid::NAME_CONSTRAINTS, true),
        Place::CertifyX509,
        "Permitted: its own subject, and no rfc822Name or URI but of a host that is none. Excluded: every dNSName, iPAddress",
        "The client writes the subject of a TPM-made certificate",
    ),
    extension(
        "certificatePolicies",
        (oid::CERTIFICATE_POLICIES, false),
        Place::All,
        "1.3.6.1.4.1.32473.1.10.N (bootstrap method) and .1.11.1 or .2 (environment)",
        "Policy asks how the key was tied to its module, and whether software beside the module can use it",
    ),
    extension(
        "AK Name",
        (oid::AK_NAME, false),
        Place::Tpm,
        "1.3.6.1.4.1.32473.1.5: nameAlg and digest of the public area",
        "Pins every attribute; the serial number of a TPM-made certificate is recomputed with it",
    ),
    extension(
        "subjectAltName",
        (oid::SUBJECT_ALT_NAME, false),
        Place::Tpm,
        "TPM manufacturer, model and version, copied from the EK certificate; left out without one and in pseudonyms",
        "Lists of certified modules and advisories are looked up by them",
    ),
    extension(
        "subjectKeyIdentifier",
        (oid::SUBJECT_KEY_IDENTIFIER, false),
        Place::All,
        "The first 160 bits of SHA-256 over the key",
        "Paths",
    ),
    extension(
        "authorityKeyIdentifier",
        (oid::AUTHORITY_KEY_IDENTIFIER, false),
        Place::All,
        "That of the attestation root",
        "Paths",
    ),
];

/// A family of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFamily {
    /// For TPMS_ATTEST.
    Attest,
    /// For TPM2_CertifyX509.
    CertifyX509,
    /// For PKIX Evidence.
    PkixEvidence,
}

impl CertificateFamily {
    /// Every family.
    pub const ALL: [Self; 3] = [Self::Attest, Self::CertifyX509, Self::PkixEvidence];
}

impl Place {
    /// Whether certificates of this family are among them.
    #[must_use]
    pub const fn includes(self, family: CertificateFamily) -> bool {
        match self {
            Self::All => true,
            Self::Tpm => matches!(family, CertificateFamily::Attest | CertificateFamily::CertifyX509),
            Self::EndEntity => matches!(family, CertificateFamily::Attest | CertificateFamily::PkixEvidence),
            Self::Attest => matches!(family, CertificateFamily::Attest),
            Self::PkixEvidence => matches!(family, CertificateFamily::PkixEvidence),
            Self::CertifyX509 => matches!(family, CertificateFamily::CertifyX509),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_extension_stands_twice_in_one_family() {
        for family in CertificateFamily::ALL {
            let of_family = CONTENT.iter().filter(|item| item.place.includes(family));
            let mut oids: Vec<String> =
                of_family.filter_map(|item| item.extension).map(|(oid, _)| oid.to_string()).collect();
            let all = oids.len();
            oids.sort_unstable();
            oids.dedup();
            assert_eq!(oids.len(), all);
        }
    }
}
