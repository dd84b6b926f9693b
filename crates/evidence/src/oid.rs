//! Object identifiers: the type, and every identifier that the project uses, in one table.

use core::fmt;

use const_oid::ObjectIdentifier;

use crate::Reason;

/// Largest number of content octets of an [`Oid`].
const OID_OCTETS: usize = 39;

/// An OBJECT IDENTIFIER: the content octets of its DER encoding.
///
/// Holds any identifier of at most 39 content octets whose arcs fit in 128 bits, so that identifiers
/// derived from UUIDs (2.25) can be read, skipped and reported.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid {
    octets: [u8; OID_OCTETS],
    len: u8,
}

impl Oid {
    /// The identifier that `text` names, dotted. For constants: malformed text fails the build.
    #[must_use]
    pub const fn constant(text: &str) -> Self {
        Self::from_constant(ObjectIdentifier::new_unwrap(text))
    }

    const fn from_constant(constant: ObjectIdentifier) -> Self {
        let contents = constant.as_bytes();
        let mut octets = [0; OID_OCTETS];
        let (head, _) = octets.split_at_mut(contents.len());
        head.copy_from_slice(contents);
        // A constant has at most 39 octets, which its type guarantees.
        #[allow(clippy::as_conversions)]
        let len = contents.len() as u8;
        Self { octets, len }
    }

    /// Reads the content octets of an OBJECT IDENTIFIER (X.690, 8.19).
    ///
    /// # Errors
    /// [`Reason::NotDer`] if an arc is padded or cut short, [`Reason::OverLimit`] if the identifier is
    /// longer than 39 octets or an arc exceeds 128 bits.
    pub fn from_der_contents(contents: &[u8]) -> Result<Self, Reason> {
        let mut octets = [0; OID_OCTETS];
        octets
            .get_mut(..contents.len())
            .ok_or(Reason::OverLimit { what: "octets of an object identifier", limit: OID_OCTETS })?
            .copy_from_slice(contents);
        let mut arc: u128 = 0;
        let mut at_start = true;
        for octet in contents {
            if at_start && *octet == 0x80 {
                return Err(Reason::NotDer("padded arc in an object identifier"));
            }
            arc = arc.checked_mul(128).ok_or(Reason::OverLimit { what: "bits of an arc", limit: 128 })?
                | u128::from(octet & 0x7F);
            at_start = octet & 0x80 == 0;
            if at_start {
                arc = 0;
            }
        }
        if !at_start || contents.is_empty() {
            return Err(Reason::NotDer("object identifier cut short"));
        }
        let len = u8::try_from(contents.len()).unwrap_or(u8::MAX);
        Ok(Self { octets, len })
    }

    /// The identifier of content octets that [`Oid::from_der_contents`] has read before.
    pub(crate) fn reread(contents: &[u8]) -> Self {
        let mut octets = [0; OID_OCTETS];
        octets.iter_mut().zip(contents).for_each(|(octet, read)| *octet = *read);
        Self { octets, len: u8::try_from(contents.len().min(OID_OCTETS)).unwrap_or(u8::MAX) }
    }

    /// The identifier that dotted decimal text names, or `None` if it names none.
    #[must_use]
    pub fn from_dotted(text: &str) -> Option<Self> {
        ObjectIdentifier::new(text).ok().map(Self::from_constant)
    }

    /// The content octets of the DER encoding.
    #[must_use]
    pub fn as_der_contents(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Whether this identifier is `ancestor` or stands in its arc.
    #[must_use]
    pub fn is_within(&self, ancestor: &Self) -> bool {
        self.as_der_contents().starts_with(ancestor.as_der_contents())
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut arc: u128 = 0;
        let mut first = true;
        for octet in self.as_der_contents() {
            arc = (arc << 7) | u128::from(octet & 0x7F);
            if octet & 0x80 != 0 {
                continue;
            }
            if first {
                let root = (arc / 40).min(2);
                write!(f, "{root}.{}", arc.saturating_sub(root * 40))?;
                first = false;
            } else {
                write!(f, ".{arc}")?;
            }
            arc = 0;
        }
        Ok(())
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({self})")
    }
}

/// The arc of this project's own identifiers. 32473 is the documentation arc (RFC 5612); it stands
/// here, in one place, until an enterprise number is assigned.
pub const PRIVATE_ARC: &str = "1.3.6.1.4.1.32473";

/// The arc of id-evidence (draft-ietf-rats-pkix-key-attestation); the draft left it open, this is the
/// placeholder of its reference code.
pub const EVIDENCE_ARC: &str = "1.3.6.1.5.5.999";

/// The identifier `below` an arc of this module; for constants.
///
/// # Panics
/// If `arc` is not dotted decimal or the whole is longer than an [`Oid`] can be, which stops the build where the result is a
/// constant.
#[must_use]
pub const fn within(arc: &str, below: &[u32]) -> Oid {
    Oid::from_constant(append(ObjectIdentifier::new_unwrap(arc), below))
}

const fn append(parent: ObjectIdentifier, below: &[u32]) -> ObjectIdentifier {
    match below {
        [] => parent,
        [arc, rest @ ..] => match parent.push_arc(*arc) {
            Ok(child) => append(child, rest),
            // Reached only while constants are evaluated: the build fails.
            Err(_) => ObjectIdentifier::new_unwrap(""),
        },
    }
}

macro_rules! oids {
    ($($(#[$doc:meta])* $name:ident = $value:expr;)*) => {
        $($(#[$doc])* pub const $name: Oid = $value;)*

        /// Every identifier of this module beside its constant's name.
        pub const ALL: &[(&str, Oid)] = &[$((stringify!($name), $name)),*];
    };
}

oids! {
    // Certification requests (draft-ietf-lamps-csr-attestation-29).
    /// id-aa-attestation: the attribute or extension that holds one AttestationBundle.
    AA_ATTESTATION = Oid::constant("1.2.840.113549.1.9.16.2.59");
    /// pkcs-9-at-extensionRequest (RFC 2985).
    EXTENSION_REQUEST = Oid::constant("1.2.840.113549.1.9.14");

    // Attestation statements.
    /// tcg-attest-tpm-certify: TPM2_Certify over the key (TCG CSR statements).
    STATEMENT_TPM_CERTIFY = Oid::constant("2.23.133.20.1");
    /// TPM2_Quote over PCRs; a provisional identifier.
    STATEMENT_TPM_QUOTE = Oid::constant("2.23.133.20.2");
    /// A certificate that TPM2_CertifyX509 made.
    STATEMENT_TPM_CERTIFY_X509 = within(PRIVATE_ARC, &[1, 1]);
    /// PKIX Evidence (draft-ietf-rats-pkix-key-attestation).
    STATEMENT_PKIX_EVIDENCE = within(PRIVATE_ARC, &[1, 3]);
    /// A challenge that the attested key signs, as part of the request.
    STATEMENT_KEY_POP = within(PRIVATE_ARC, &[1, 4]);
    /// id-pe-cmw: a Conceptual Message Wrapper (RFC 9999).
    CMW = Oid::constant("1.3.6.1.5.5.7.1.35");
    /// Arc of vendor formats: one arc below per format.
    STATEMENT_VENDOR = within(PRIVATE_ARC, &[1, 16]);
    /// Statements of yubikey-piv evidence.
    STATEMENT_YUBIKEY_PIV = within(PRIVATE_ARC, &[1, 16, 1]);
    /// Statements of yubihsm2 evidence.
    STATEMENT_YUBIHSM2 = within(PRIVATE_ARC, &[1, 16, 2]);
    /// Statements of webauthn-tpm evidence.
    STATEMENT_WEBAUTHN_TPM = within(PRIVATE_ARC, &[1, 16, 3]);
    /// Statements of crypto4a-qasm evidence.
    STATEMENT_CRYPTO4A_QASM = within(PRIVATE_ARC, &[1, 16, 4]);
    /// Statements of entrust-nshield evidence.
    STATEMENT_ENTRUST_NSHIELD = within(PRIVATE_ARC, &[1, 16, 5]);
    /// Statements of thales-luna evidence.
    STATEMENT_THALES_LUNA = within(PRIVATE_ARC, &[1, 16, 6]);
    /// Statements of fortanix-dsm evidence.
    STATEMENT_FORTANIX_DSM = within(PRIVATE_ARC, &[1, 16, 7]);
    /// Statements of gcp-cloudhsm evidence.
    STATEMENT_GCP_CLOUDHSM = within(PRIVATE_ARC, &[1, 16, 8]);
    /// Statements of securosys-primus evidence.
    STATEMENT_SECUROSYS_PRIMUS = within(PRIVATE_ARC, &[1, 16, 9]);

    // Extensions and policies of this project.
    /// Nonce in a TPM-signed certificate: extnValue holds an OCTET STRING.
    NONCE = within(PRIVATE_ARC, &[1, 2]);
    /// Name of the AK that an AK certificate is for: extnValue holds an OCTET STRING.
    AK_NAME = within(PRIVATE_ARC, &[1, 5]);
    /// Extended key usage: the key issues certificates through TPM2_CertifyX509 alone.
    KP_CERTIFY_X509 = within(PRIVATE_ARC, &[1, 6]);
    /// deviceLink: a value of the issuer's own that two AK certificates of one device share.
    DEVICE_LINK = within(PRIVATE_ARC, &[1, 7]);
    /// Bootstrap by the manufacturer's endorsement.
    BOOTSTRAP_MANUFACTURER = within(PRIVATE_ARC, &[1, 10, 1]);
    /// Bootstrap from an inventory.
    BOOTSTRAP_INVENTORY = within(PRIVATE_ARC, &[1, 10, 2]);
    /// Bootstrap in a ceremony.
    BOOTSTRAP_CEREMONY = within(PRIVATE_ARC, &[1, 10, 3]);
    /// Bootstrap on first use.
    BOOTSTRAP_FIRST_USE = within(PRIVATE_ARC, &[1, 10, 4]);
    /// The attesting environment is the module itself.
    ENVIRONMENT_MODULE = within(PRIVATE_ARC, &[1, 11, 1]);
    /// The attesting environment is software on the host.
    ENVIRONMENT_HOST = within(PRIVATE_ARC, &[1, 11, 2]);

    // PKIX Evidence.
    /// id-evidence, a placeholder until it is assigned.
    EVIDENCE = within(EVIDENCE_ARC, &[]);
    /// id-kp-attestationKey, a placeholder until it is assigned.
    KP_ATTESTATION_KEY = Oid::constant("1.3.6.1.5.5.7.3.999");

    // Names in certificates (RFC 4043, RFC 4108).
    /// id-on-permanentIdentifier: the identity of a device, among alternative names.
    ON_PERMANENT_IDENTIFIER = Oid::constant("1.3.6.1.5.5.7.8.3");
    /// id-on-hardwareModuleName: the type and serial number of a module, among alternative names.
    ON_HARDWARE_MODULE_NAME = Oid::constant("1.3.6.1.5.5.7.8.4");

    // TCG.
    /// tcg-kp-EKCertificate.
    KP_EK_CERTIFICATE = Oid::constant("2.23.133.8.1");
    /// tcg-kp-AIKCertificate.
    KP_AIK_CERTIFICATE = Oid::constant("2.23.133.8.3");
    /// The purpose of a CA that certifies attesting keys (Microsoft's szOID_KP_PRIVACY_CA).
    KP_PRIVACY_CA = Oid::constant("1.3.6.1.4.1.311.21.36");
    /// id-fido-gen-ce-aaguid: the kind of authenticator that a certificate is for.
    FIDO_AAGUID = Oid::constant("1.3.6.1.4.1.45724.1.1.4");
    /// tcg-at-tpmManufacturer.
    TPM_MANUFACTURER = Oid::constant("2.23.133.2.1");
    /// tcg-at-tpmModel.
    TPM_MODEL = Oid::constant("2.23.133.2.2");
    /// tcg-at-tpmVersion.
    TPM_VERSION = Oid::constant("2.23.133.2.3");
    /// tcg-at-tpmSpecification.
    TPM_SPECIFICATION = Oid::constant("2.23.133.2.16");
    /// tcg-tpmaObject: the attributes of the certified object.
    TPMA_OBJECT = Oid::constant("2.23.133.10.1.1.1");

    // Certificate extensions (RFC 5280).
    /// id-ce-subjectDirectoryAttributes.
    SUBJECT_DIRECTORY_ATTRIBUTES = Oid::constant("2.5.29.9");
    /// id-ce-subjectKeyIdentifier.
    SUBJECT_KEY_IDENTIFIER = Oid::constant("2.5.29.14");
    /// id-ce-keyUsage.
    KEY_USAGE = Oid::constant("2.5.29.15");
    /// id-ce-subjectAltName.
    SUBJECT_ALT_NAME = Oid::constant("2.5.29.17");
    /// id-ce-issuerAltName.
    ISSUER_ALT_NAME = Oid::constant("2.5.29.18");
    /// id-ce-basicConstraints.
    BASIC_CONSTRAINTS = Oid::constant("2.5.29.19");
    /// id-ce-cRLNumber.
    CRL_NUMBER = Oid::constant("2.5.29.20");
    /// id-ce-cRLReasons.
    CRL_REASON = Oid::constant("2.5.29.21");
    /// id-ce-invalidityDate.
    INVALIDITY_DATE = Oid::constant("2.5.29.24");
    /// id-ce-deltaCRLIndicator.
    DELTA_CRL_INDICATOR = Oid::constant("2.5.29.27");
    /// id-ce-issuingDistributionPoint.
    ISSUING_DISTRIBUTION_POINT = Oid::constant("2.5.29.28");
    /// id-ce-certificateIssuer.
    CERTIFICATE_ISSUER = Oid::constant("2.5.29.29");
    /// id-ce-nameConstraints.
    NAME_CONSTRAINTS = Oid::constant("2.5.29.30");
    /// id-ce-cRLDistributionPoints.
    CRL_DISTRIBUTION_POINTS = Oid::constant("2.5.29.31");
    /// id-ce-certificatePolicies.
    CERTIFICATE_POLICIES = Oid::constant("2.5.29.32");
    /// anyPolicy.
    ANY_POLICY = Oid::constant("2.5.29.32.0");
    /// id-ce-policyMappings.
    POLICY_MAPPINGS = Oid::constant("2.5.29.33");
    /// id-ce-authorityKeyIdentifier.
    AUTHORITY_KEY_IDENTIFIER = Oid::constant("2.5.29.35");
    /// id-ce-policyConstraints.
    POLICY_CONSTRAINTS = Oid::constant("2.5.29.36");
    /// id-ce-extKeyUsage.
    EXTENDED_KEY_USAGE = Oid::constant("2.5.29.37");
    /// anyExtendedKeyUsage.
    ANY_EXTENDED_KEY_USAGE = Oid::constant("2.5.29.37.0");
    /// id-ce-freshestCRL.
    FRESHEST_CRL = Oid::constant("2.5.29.46");
    /// id-ce-inhibitAnyPolicy.
    INHIBIT_ANY_POLICY = Oid::constant("2.5.29.54");
    /// id-pe-authorityInfoAccess.
    AUTHORITY_INFO_ACCESS = Oid::constant("1.3.6.1.5.5.7.1.1");
    /// id-ad-caIssuers.
    AD_CA_ISSUERS = Oid::constant("1.3.6.1.5.5.7.48.2");
    /// id-kp-serverAuth.
    KP_SERVER_AUTH = Oid::constant("1.3.6.1.5.5.7.3.1");
    /// id-kp-clientAuth.
    KP_CLIENT_AUTH = Oid::constant("1.3.6.1.5.5.7.3.2");
    /// id-kp-codeSigning.
    KP_CODE_SIGNING = Oid::constant("1.3.6.1.5.5.7.3.3");

    // Keys and signatures (RFC 3279, 4055, 5480, 5758, 8410).
    /// rsaEncryption.
    RSA_ENCRYPTION = Oid::constant("1.2.840.113549.1.1.1");
    /// sha1WithRSAEncryption.
    SHA1_WITH_RSA = Oid::constant("1.2.840.113549.1.1.5");
    /// id-RSAES-OAEP.
    RSAES_OAEP = Oid::constant("1.2.840.113549.1.1.7");
    /// id-mgf1.
    MGF1 = Oid::constant("1.2.840.113549.1.1.8");
    /// id-pSpecified.
    P_SPECIFIED = Oid::constant("1.2.840.113549.1.1.9");
    /// id-RSASSA-PSS.
    RSASSA_PSS = Oid::constant("1.2.840.113549.1.1.10");
    /// sha256WithRSAEncryption.
    SHA256_WITH_RSA = Oid::constant("1.2.840.113549.1.1.11");
    /// sha384WithRSAEncryption.
    SHA384_WITH_RSA = Oid::constant("1.2.840.113549.1.1.12");
    /// sha512WithRSAEncryption.
    SHA512_WITH_RSA = Oid::constant("1.2.840.113549.1.1.13");
    /// id-dsa: DSA keys (RFC 3279, 2.3.2).
    DSA = Oid::constant("1.2.840.10040.4.1");
    /// id-ecPublicKey.
    EC_PUBLIC_KEY = Oid::constant("1.2.840.10045.2.1");
    /// secp256r1.
    SECP256R1 = Oid::constant("1.2.840.10045.3.1.7");
    /// secp384r1.
    SECP384R1 = Oid::constant("1.3.132.0.34");
    /// secp521r1.
    SECP521R1 = Oid::constant("1.3.132.0.35");
    /// ecdsa-with-SHA1.
    ECDSA_WITH_SHA1 = Oid::constant("1.2.840.10045.4.1");
    /// ecdsa-with-SHA256.
    ECDSA_WITH_SHA256 = Oid::constant("1.2.840.10045.4.3.2");
    /// ecdsa-with-SHA384.
    ECDSA_WITH_SHA384 = Oid::constant("1.2.840.10045.4.3.3");
    /// ecdsa-with-SHA512.
    ECDSA_WITH_SHA512 = Oid::constant("1.2.840.10045.4.3.4");
    /// id-Ed25519.
    ED25519 = Oid::constant("1.3.101.112");
    /// id-ml-dsa-65 (RFC 9881), of keys and of signatures.
    ML_DSA_65 = Oid::constant("2.16.840.1.101.3.4.3.18");
    /// id-sha1.
    SHA1 = Oid::constant("1.3.14.3.2.26");
    /// id-sha256.
    SHA256 = Oid::constant("2.16.840.1.101.3.4.2.1");
    /// id-sha384.
    SHA384 = Oid::constant("2.16.840.1.101.3.4.2.2");
    /// id-sha512.
    SHA512 = Oid::constant("2.16.840.1.101.3.4.2.3");

    // YubiKey PIV attestation (Yubico, "PIV attestation"), and where requests carry it.
    /// The slot certificate in a certification request, as one generation of tools spelled it.
    YUBIKEY_PIV_REQUEST_SLOT = Oid::constant("1.3.6.1.4.1.41482.3.1");
    /// The certificate of slot F9 in a certification request.
    YUBIKEY_PIV_REQUEST_SIGNER = Oid::constant("1.3.6.1.4.1.41482.3.2");
    /// Firmware version: three octets.
    YUBIKEY_PIV_FIRMWARE = Oid::constant("1.3.6.1.4.1.41482.3.3");
    /// Serial number: INTEGER.
    YUBIKEY_PIV_SERIAL = Oid::constant("1.3.6.1.4.1.41482.3.7");
    /// PIN policy and touch policy: two octets.
    YUBIKEY_PIV_POLICIES = Oid::constant("1.3.6.1.4.1.41482.3.8");
    /// Form factor: one octet.
    YUBIKEY_PIV_FORM_FACTOR = Oid::constant("1.3.6.1.4.1.41482.3.9");
    /// FIPS certified, in the certificate of slot F9.
    YUBIKEY_PIV_FIPS = Oid::constant("1.3.6.1.4.1.41482.3.10");
    /// CSPN certified, in the certificate of slot F9; the slot certificate in a request, as another generation of
    /// tools spelled it.
    YUBIKEY_PIV_CSPN = Oid::constant("1.3.6.1.4.1.41482.3.11");
    /// The registered identifier of U2F devices of Yubico, in their attestation certificates.
    YUBICO_U2F_DEVICE = Oid::constant("1.3.6.1.4.1.41482.2");
    /// Transports of a FIDO authenticator (FIDO U2F Authenticator Transports Extension).
    FIDO_U2F_TRANSPORTS = Oid::constant("1.3.6.1.4.1.45724.2.1.1");

    // YubiHSM 2 attestation (Yubico, "YubiHSM 2: Attestation").
    /// Firmware version: OCTET STRING.
    YUBIHSM2_FIRMWARE = Oid::constant("1.3.6.1.4.1.41482.4.1");
    /// Serial number: INTEGER.
    YUBIHSM2_SERIAL = Oid::constant("1.3.6.1.4.1.41482.4.2");
    /// Origin: BIT STRING.
    YUBIHSM2_ORIGIN = Oid::constant("1.3.6.1.4.1.41482.4.3");
    /// Domains: BIT STRING.
    YUBIHSM2_DOMAINS = Oid::constant("1.3.6.1.4.1.41482.4.4");
    /// Capabilities: BIT STRING.
    YUBIHSM2_CAPABILITIES = Oid::constant("1.3.6.1.4.1.41482.4.5");
    /// Object id: INTEGER.
    YUBIHSM2_OBJECT_ID = Oid::constant("1.3.6.1.4.1.41482.4.6");
    /// Label: UTF8String.
    YUBIHSM2_LABEL = Oid::constant("1.3.6.1.4.1.41482.4.9");

    // Public keys that agree on secrets alone (RFC 8410).
    /// id-X25519.
    X25519 = Oid::constant("1.3.101.110");

    // Name attributes (X.520, RFC 4519).
    /// commonName.
    COMMON_NAME = Oid::constant("2.5.4.3");
    /// surname.
    SURNAME = Oid::constant("2.5.4.4");
    /// serialNumber.
    SERIAL_NUMBER = Oid::constant("2.5.4.5");
    /// countryName.
    COUNTRY_NAME = Oid::constant("2.5.4.6");
    /// localityName.
    LOCALITY_NAME = Oid::constant("2.5.4.7");
    /// stateOrProvinceName.
    STATE_OR_PROVINCE_NAME = Oid::constant("2.5.4.8");
    /// streetAddress.
    STREET_ADDRESS = Oid::constant("2.5.4.9");
    /// organizationName.
    ORGANIZATION_NAME = Oid::constant("2.5.4.10");
    /// organizationalUnitName.
    ORGANIZATIONAL_UNIT_NAME = Oid::constant("2.5.4.11");
    /// title.
    TITLE = Oid::constant("2.5.4.12");
    /// givenName.
    GIVEN_NAME = Oid::constant("2.5.4.42");
    /// domainComponent.
    DOMAIN_COMPONENT = Oid::constant("0.9.2342.19200300.100.1.25");
    /// userId.
    USER_ID = Oid::constant("0.9.2342.19200300.100.1.1");
    /// emailAddress (PKCS #9).
    EMAIL_ADDRESS = Oid::constant("1.2.840.113549.1.9.1");

    // Fortanix DSM (its article on verifying key attestation statements).
    /// A statement's extension: DSM generated the key.
    FORTANIX_GENERATED = Oid::constant("1.3.6.1.4.1.49690.2.4.1.1");
    /// A statement's extension: the key was never exportable.
    FORTANIX_NEVER_EXPORTABLE = Oid::constant("1.3.6.1.4.1.49690.2.4.1.2");
    /// The arc of a statement's extensions.
    FORTANIX_KEY_CLAIMS = Oid::constant("1.3.6.1.4.1.49690.2.4.1");
    /// An authority's extension: what its cluster demands of its nodes.
    FORTANIX_NODE_POLICY = Oid::constant("1.3.6.1.4.1.49690.2.5");
    /// Item of that: the least protection that a node has.
    FORTANIX_MINIMUM_PROTECTION = Oid::constant("1.3.6.1.4.1.49690.2.5.1");
    /// Value of that: an FX2200 appliance.
    FORTANIX_FX2200 = Oid::constant("1.3.6.1.4.1.49690.2.5.1.1");
    /// Attribute of a statement's subject: the UUID of the key.
    FORTANIX_KEY_ID = Oid::constant("1.3.6.1.4.1.49690.1.2.2");
    /// Policy of certificates for key attestation.
    FORTANIX_KEY_ATTESTATION_POLICY = Oid::constant("1.3.6.1.4.1.49690.6.1.2");
    /// Purpose: the key attests keys of its cluster.
    KP_FORTANIX_KEY_ATTESTATION = Oid::constant("1.3.6.1.4.1.49690.8.1");

    // Thales Luna public key confirmations (luna-pkc-validator).
    /// The arc of Luna's purposes.
    LUNA_PURPOSES = Oid::constant("1.3.6.1.4.1.12383.1");
    /// Purpose: the root.
    KP_LUNA_ROOT = Oid::constant("1.3.6.1.4.1.12383.1.1");
    /// Purpose: manufacturing integrity.
    KP_LUNA_MANUFACTURING = Oid::constant("1.3.6.1.4.1.12383.1.7");
    /// Purpose: hardware origin.
    KP_LUNA_HARDWARE_ORIGIN = Oid::constant("1.3.6.1.4.1.12383.1.8");
    /// Purpose: device authentication.
    KP_LUNA_DEVICE_AUTHENTICATION = Oid::constant("1.3.6.1.4.1.12383.1.12");
    /// Purpose: proof of origin, of a key.
    KP_LUNA_PROOF_OF_ORIGIN = Oid::constant("1.3.6.1.4.1.12383.1.13");
    /// Purpose: manufacturing integrity, of the hierarchy for elliptic curves.
    KP_LUNA_MANUFACTURING_ECC = Oid::constant("1.3.6.1.4.1.12383.1.14");
    /// Purpose: hardware origin, of the hierarchy for elliptic curves.
    KP_LUNA_HARDWARE_ORIGIN_ECC = Oid::constant("1.3.6.1.4.1.12383.1.15");
    /// Extension: serial number of the module, four octets, the least significant first.
    LUNA_SERIAL = Oid::constant("1.3.6.1.4.1.12383.2.1");
    /// The arc of identifiers of TC TrustCenter, whose style of confirmations Luna modules also make.
    TC_TRUSTCENTER = Oid::constant("1.2.276.0.44");
    /// id-signedData (RFC 5652).
    SIGNED_DATA = Oid::constant("1.2.840.113549.1.7.2");
    /// id-data (RFC 5652).
    PKCS7_DATA = Oid::constant("1.2.840.113549.1.7.1");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_identifiers_stand_in_one_arc() {
        assert_eq!(NONCE.to_string(), "1.3.6.1.4.1.32473.1.2");
        assert_eq!(NONCE.as_der_contents(), hex("2B0601040181FD590102"));
        assert_eq!(ENVIRONMENT_HOST.to_string(), format!("{PRIVATE_ARC}.1.11.2"));
        assert!(ENVIRONMENT_HOST.is_within(&Oid::constant(PRIVATE_ARC)));
        assert_eq!(TPMA_OBJECT.as_der_contents(), hex("6781050A010101"));
    }

    #[test]
    fn every_identifier_is_unique_and_reads_back() {
        for (index, (name, oid)) in ALL.iter().enumerate() {
            assert_eq!(Oid::from_der_contents(oid.as_der_contents()), Ok(*oid), "{name}");
            assert_eq!(Oid::from_dotted(&oid.to_string()), Some(*oid), "{name}");
            assert!(ALL.iter().skip(index + 1).all(|(_, other)| other != oid), "{name}");
        }
    }

    #[test]
    fn padded_and_cut_arcs_are_refused() {
        for (contents, ok) in [
            (&b"\x55\x1d\x0f"[..], true),
            (b"\x55\x80\x1d\x0f", false),
            (b"\x80\x55\x1d", false),
            (b"\x55\x1d\x8f", false),
            (b"", false),
        ] {
            assert_eq!(Oid::from_der_contents(contents).is_ok(), ok, "{contents:02x?}");
        }
    }

    #[test]
    fn identifiers_from_uuids_are_read() {
        let contents = hex("6983F8F4E3A1E2D3C4B5A697887F");
        let oid = Oid::from_der_contents(&contents).unwrap();
        assert!(oid.to_string().starts_with("2.25."));
        assert!(Oid::from_der_contents(&[0xFF; 40]).is_err());
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }
}
