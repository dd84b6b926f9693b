//! Emitting PKIX Evidence (draft-ietf-rats-pkix-key-attestation) from a module: what a maker's firmware needs.
//!
//! This needs an allocator and nothing else (`no_std`, without the crate's feature `std`), holds no keys and makes no
//! signatures: it writes what is to be signed, and puts the signatures beside it. Each claim can be said once in its
//! element, since that is all that the methods allow; claims of other makers' own go through [`Claims::claim`].
//!
//! ```
//! use vouchsafe_evidence::emit::{Evidence, Purpose, TbsEvidence};
//! let tbs = TbsEvidence::new()
//!     .transaction(|claims| claims.nonce(&[7; 32]))
//!     .platform(|claims| claims.vendor("Example").fips_boot(true))
//!     .key("key-1", |claims| claims.extractable(false).purposes(&[Purpose::Sign]));
//! let to_be_signed = tbs.to_der();
//! # let (algorithm, signature) = (vec![0x30, 0x00], vec![0; 64]);
//! let evidence = Evidence::new(to_be_signed).signed_by_key_id(&[1, 2, 3], &algorithm, &signature).to_der();
//! assert_eq!(evidence.first(), Some(&0x30));
//! ```

use alloc::vec::Vec;

use crate::oid::{self, Oid};
use crate::x509::build::DerWriter;
use crate::x509::der::Tag;

/// The version that is written (section 5).
const VERSION: u64 = 1;

const fn element(number: u32) -> Oid {
    oid::within(oid::EVIDENCE_ARC, &[0, number])
}

const fn claim(of: u32, number: u32) -> Oid {
    oid::within(oid::EVIDENCE_ARC, &[1, of, number])
}

/// What is signed: elements, each with its claims.
///
/// There is at most one transaction and at most one platform element in Evidence (5.1, 5.3): a second call of those
/// methods replaces what the first wrote. Identifiers of keys are the caller's to keep apart (5.2).
#[derive(Clone, Debug, Default)]
pub struct TbsEvidence {
    transaction: Vec<u8>,
    platform: Vec<u8>,
    others: Vec<u8>,
}

impl TbsEvidence {
    /// Nothing is said yet. Evidence has at least one element.
    #[must_use]
    pub const fn new() -> Self {
        Self { transaction: Vec::new(), platform: Vec::new(), others: Vec::new() }
    }

    /// The transaction element (5.3): the challenge above all.
    #[must_use]
    pub fn transaction(mut self, say: impl FnOnce(TransactionClaims) -> TransactionClaims) -> Self {
        self.transaction = say(TransactionClaims(Claims::new())).0.into_element(element(0));
        self
    }

    /// The platform element (5.1): the module and its state, as far as the module itself observes it.
    #[must_use]
    pub fn platform(mut self, say: impl FnOnce(PlatformClaims) -> PlatformClaims) -> Self {
        self.platform = say(PlatformClaims(Claims::new())).0.into_element(element(1));
        self
    }

    /// A key element (5.2), for the key that the module calls `identifier`.
    #[must_use]
    pub fn key(mut self, identifier: &str, say: impl FnOnce(KeyClaims) -> KeyClaims) -> Self {
        let claims = KeyClaims(Claims::new().text(claim(2, 0), identifier));
        self.others.extend(say(claims).0.into_element(element(2)));
        self
    }

    /// An element of a type of the maker's own.
    #[must_use]
    pub fn element(mut self, element_type: Oid, say: impl FnOnce(Claims) -> Claims) -> Self {
        self.others.extend(say(Claims::new()).into_element(element_type));
        self
    }

    /// The DER of TbsEvidence: exactly these octets are to be signed.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let mut writer = DerWriter::new();
        writer.sequence(|tbs| {
            tbs.uint(VERSION).sequence(|elements| {
                elements.raw(&self.transaction).raw(&self.platform).raw(&self.others);
            });
        });
        writer.into_der()
    }
}

/// Claims of one element, by the types of their values.
#[derive(Clone, Debug, Default)]
pub struct Claims(DerWriter);

impl Claims {
    const fn new() -> Self {
        Self(DerWriter::new())
    }

    /// A claim of any type, its value being DER.
    #[must_use]
    pub fn claim(mut self, claim_type: Oid, value: &[u8]) -> Self {
        self.0.sequence(|claim| {
            claim.oid(claim_type).raw(value);
        });
        self
    }

    /// A claim whose value is a UTF8String.
    #[must_use]
    pub fn text(self, claim_type: Oid, text: &str) -> Self {
        self.primitive(claim_type, Tag::UTF8_STRING, text.as_bytes())
    }

    /// A claim whose value is an OCTET STRING.
    #[must_use]
    pub fn octets(self, claim_type: Oid, octets: &[u8]) -> Self {
        self.primitive(claim_type, Tag::OCTET_STRING, octets)
    }

    /// A claim whose value is a BOOLEAN.
    #[must_use]
    pub fn boolean(self, claim_type: Oid, value: bool) -> Self {
        let mut der = DerWriter::new();
        der.boolean(value);
        self.claim(claim_type, &der.into_der())
    }

    /// A claim whose value is an INTEGER.
    #[must_use]
    pub fn number(self, claim_type: Oid, value: u64) -> Self {
        let mut der = DerWriter::new();
        der.uint(value);
        self.claim(claim_type, &der.into_der())
    }

    /// A claim whose value is a GeneralizedTime of seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn time(self, claim_type: Oid, seconds: i64) -> Self {
        let mut der = DerWriter::new();
        der.generalized_time(seconds);
        self.claim(claim_type, &der.into_der())
    }

    fn primitive(self, claim_type: Oid, tag: Tag, contents: &[u8]) -> Self {
        let mut der = DerWriter::new();
        der.primitive(tag, contents);
        self.claim(claim_type, &der.into_der())
    }

    fn into_element(self, element_type: Oid) -> Vec<u8> {
        let claims = self.0.into_der();
        let mut writer = DerWriter::new();
        writer.sequence(|element| {
            element.oid(element_type).primitive(Tag::SEQUENCE, &claims);
        });
        writer.into_der()
    }
}

macro_rules! claims {
    ($(#[$about:meta])* $name:ident of $element:literal {
        $($(#[$doc:meta])* $method:ident($argument:ident: $type:ty) = $number:literal by $how:ident;)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default)]
        pub struct $name(Claims);

        impl $name {
            $($(#[$doc])*
            #[must_use]
            pub fn $method(self, $argument: $type) -> Self {
                Self(self.0.$how(claim($element, $number), $argument))
            })*

            /// A claim of the maker's own.
            #[must_use]
            pub fn other(self, say: impl FnOnce(Claims) -> Claims) -> Self {
                Self(say(self.0))
            }
        }
    };
}

claims! {
    /// Claims of the transaction element.
    TransactionClaims of 0 {
        /// nonce: the challenge, as it was given.
        nonce(octets: &[u8]) = 0 by octets;
        /// timestamp: the module's own clock, in seconds since 1970-01-01T00:00:00Z.
        timestamp(seconds: i64) = 1 by time;
        /// ak-spki: the DER SubjectPublicKeyInfo of a key that signs this; once for each of them.
        attestation_key(spki: &[u8]) = 2 by octets;
    }
}

claims! {
    /// Claims of the platform element.
    PlatformClaims of 1 {
        /// vendor.
        vendor(text: &str) = 0 by text;
        /// oemid (RFC 9711, 4.2.3).
        oem_id(octets: &[u8]) = 1 by octets;
        /// hwmodel, unique among those of one oemid (RFC 9711, 4.2.4).
        hw_model(octets: &[u8]) = 2 by octets;
        /// hwversion.
        hw_version(text: &str) = 3 by text;
        /// hwserial.
        hw_serial(text: &str) = 4 by text;
        /// swname: name of the firmware.
        sw_name(text: &str) = 5 by text;
        /// swversion: version of the firmware.
        sw_version(text: &str) = 6 by text;
        /// dbgstat (RFC 9711, 4.2.9): 0 enabled, 1 disabled, 2 since boot, 3 permanently, 4 fully and permanently.
        debug_status(number: u64) = 7 by number;
        /// uptime: seconds since boot.
        uptime_seconds(number: u64) = 8 by number;
        /// bootcount.
        boot_count(number: u64) = 9 by number;
        /// fipsboot: whether the module runs in FIPS mode now.
        fips_boot(value: bool) = 10 by boolean;
        /// fipsver: "FIPS 140-2" or "FIPS 140-3".
        fips_version(text: &str) = 11 by text;
        /// fipslevel: 1 to 4.
        fips_level(number: u64) = 12 by number;
        /// fipsmodule: the module's name in its CMVP certificate.
        fips_module(text: &str) = 13 by text;
    }
}

claims! {
    /// Claims of a key element. The attributes are those of PKCS #11.
    KeyClaims of 2 {
        /// A further identifier of the key.
        identifier(text: &str) = 0 by text;
        /// spki: the DER SubjectPublicKeyInfo.
        spki(der: &[u8]) = 1 by octets;
        /// CKA_EXTRACTABLE.
        extractable(value: bool) = 2 by boolean;
        /// CKA_SENSITIVE.
        sensitive(value: bool) = 3 by boolean;
        /// CKA_NEVER_EXTRACTABLE.
        never_extractable(value: bool) = 4 by boolean;
        /// CKA_LOCAL.
        local(value: bool) = 5 by boolean;
        /// expiry, in seconds since 1970-01-01T00:00:00Z.
        expiry(seconds: i64) = 6 by time;
    }
}

/// What a key may be used for (5.2.5), by the last arc of the purpose's identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Encrypt.
    Encrypt,
    /// Decrypt.
    Decrypt,
    /// Wrap keys.
    Wrap,
    /// Unwrap keys.
    Unwrap,
    /// Sign.
    Sign,
    /// Sign with message recovery.
    SignRecover,
    /// Verify.
    Verify,
    /// Verify with message recovery.
    VerifyRecover,
    /// Derive keys, agreement included.
    Derive,
}

impl Purpose {
    /// Its identifier.
    #[must_use]
    pub const fn oid(self) -> Oid {
        let number = match self {
            Self::Encrypt => 0,
            Self::Decrypt => 1,
            Self::Wrap => 2,
            Self::Unwrap => 3,
            Self::Sign => 4,
            Self::SignRecover => 5,
            Self::Verify => 6,
            Self::VerifyRecover => 7,
            Self::Derive => 8,
        };
        oid::within(oid::EVIDENCE_ARC, &[2, number])
    }
}

impl KeyClaims {
    /// purpose: everything that the key may be used for.
    #[must_use]
    pub fn purposes(self, purposes: &[Purpose]) -> Self {
        let mut list = DerWriter::new();
        list.sequence(|list| {
            for purpose in purposes {
                list.oid(purpose.oid());
            }
        });
        Self(self.0.claim(claim(2, 7), &list.into_der()))
    }
}

/// Evidence: what was signed, and the signatures over it.
#[derive(Clone, Debug)]
pub struct Evidence {
    tbs: Vec<u8>,
    signatures: DerWriter,
    intermediates: Vec<u8>,
}

impl Evidence {
    /// Evidence of a TbsEvidence, as [`TbsEvidence::to_der`] gave it, without a signature yet.
    #[must_use]
    pub const fn new(tbs: Vec<u8>) -> Self {
        Self { tbs, signatures: DerWriter::new(), intermediates: Vec::new() }
    }

    /// A signature, with the DER of the signing key's certificate. `algorithm` is the DER of the AlgorithmIdentifier,
    /// `signature` has the form that certificates give it (for ECDSA an ECDSA-Sig-Value).
    #[must_use]
    pub fn signed_by_certificate(self, certificate: &[u8], algorithm: &[u8], signature: &[u8]) -> Self {
        self.signed(2, certificate, algorithm, signature)
    }

    /// A signature, with the DER of the signing key's SubjectPublicKeyInfo.
    #[must_use]
    pub fn signed_by_key(self, spki: &[u8], algorithm: &[u8], signature: &[u8]) -> Self {
        self.signed(1, spki, algorithm, signature)
    }

    /// A signature of a key that the Verifier is known to know by this identifier.
    #[must_use]
    pub fn signed_by_key_id(self, key_id: &[u8], algorithm: &[u8], signature: &[u8]) -> Self {
        let mut octets = DerWriter::new();
        octets.octet_string(key_id);
        self.signed(0, &octets.into_der(), algorithm, signature)
    }

    fn signed(mut self, member: u8, signer: &[u8], algorithm: &[u8], signature: &[u8]) -> Self {
        self.signatures.sequence(|block| {
            block.sequence(|identifier| {
                identifier.primitive(Tag::context_constructed(member), signer);
            });
            block.raw(algorithm).octet_string(signature);
        });
        self
    }

    /// The DER of a certificate between the attestation key's and the root.
    #[must_use]
    pub fn intermediate(mut self, certificate: &[u8]) -> Self {
        self.intermediates.extend_from_slice(certificate);
        self
    }

    /// The DER of Evidence. intermediateCertificates get an IMPLICIT tag, as in the draft's samples, which readers of
    /// either reading of the draft have seen.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let signatures = self.signatures.clone().into_der();
        let mut writer = DerWriter::new();
        writer.sequence(|evidence| {
            evidence.raw(&self.tbs).primitive(Tag::SEQUENCE, &signatures);
            if !self.intermediates.is_empty() {
                evidence.primitive(Tag::context_constructed(0), &self.intermediates);
            }
        });
        writer.into_der()
    }
}
