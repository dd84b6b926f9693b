//! What authentication yields: statements whose signature, chain and nonce were checked, and what they are about.

use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::tpm::{HashAlg, Name, ObjectAttributes, TpmsAttest, TpmtPublic};
use vouchsafe_evidence::x509::SpkiView;

use super::signer::AttestingKey;
use crate::bind::Device;
use crate::claims::{Claim, Claims, Source};
use crate::rejection::Rejection;
use crate::time::Instant;
use crate::verdict::Freshness;

/// A statement whose signature, chain and nonce were checked. Only [`super::authenticate`] makes one.
#[derive(Clone, Debug)]
pub(crate) struct Authenticated {
    pub(super) index: usize,
    pub(super) format: FormatId,
    pub(super) signer: Signer,
    pub(super) qualifying: Vec<u8>,
    pub(super) freshness: Freshness,
    pub(super) dated: Option<Dated>,
    pub(super) keys: Vec<AttestedKey>,
    pub(super) platform: Option<AttestedPlatform>,
}

impl Authenticated {
    /// Its place in the bundle, counted from zero.
    pub(crate) const fn index(&self) -> usize {
        self.index
    }

    /// Its format.
    pub(crate) const fn format(&self) -> FormatId {
        self.format
    }

    /// The key that signed it, and on whose word that key speaks for a module.
    pub(crate) const fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Its qualifying data, in which a nonce would stand.
    pub(crate) fn qualifying(&self) -> &[u8] {
        &self.qualifying
    }

    /// How fresh it is known to be.
    pub(crate) const fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// When its module says that it was made. A TPM's clock tells no date.
    pub(crate) const fn dated(&self) -> Option<Dated> {
        self.dated
    }

    /// The keys it is about, if it is a key statement.
    pub(crate) fn keys(&self) -> &[AttestedKey] {
        &self.keys
    }

    /// Whether it is about some key.
    pub(crate) const fn is_about_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Whether it is about a platform and no key.
    pub(crate) const fn is_about_platform_alone(&self) -> bool {
        self.keys.is_empty() && self.platform.is_some()
    }

    /// The platform state it reports, if it reports any.
    pub(crate) const fn platform(&self) -> Option<&AttestedPlatform> {
        self.platform.as_ref()
    }
}

/// When evidence says that it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dated {
    /// The time, by the clock of whoever says so.
    pub time: Instant,
    /// On whose word.
    pub source: Source,
    /// By which claim.
    pub claim: &'static str,
}

impl Dated {
    /// What the two claims by which evidence says its time say: the earlier one.
    pub(crate) fn from_claims(attesting_key: &Claims, platform: Option<&Claims>) -> Option<Self> {
        Self::earlier(attesting_key.named("timestamp"), platform.and_then(|claims| claims.named("attested_at")))
    }

    fn earlier(timestamp: Option<&Claim>, attested_at: Option<&Claim>) -> Option<Self> {
        let timestamp = Self::from_claim("attesting_key.timestamp", timestamp);
        let attested_at = Self::from_claim("platform.attested_at", attested_at);
        timestamp.into_iter().chain(attested_at).min_by_key(|dated| dated.time)
    }

    /// What stored claims say of when one statement was made.
    pub(crate) fn of_statement(statement: usize, attesting_key: &Claims, platform: &Claims) -> Option<Self> {
        let of = |claims: &Claims, name| claims.named(name).filter(|claim| claim.statement == statement).cloned();
        let timestamp = of(attesting_key, "timestamp");
        let attested_at = of(platform, "attested_at");
        Self::earlier(timestamp.as_ref(), attested_at.as_ref())
    }

    fn from_claim(name: &'static str, claim: Option<&Claim>) -> Option<Self> {
        let claim = claim?;
        let time = Instant::from_rfc3339(claim.value.as_str()?).ok()?;
        Some(Self { time, source: claim.source, claim: name })
    }
}

/// Who signed a statement.
#[derive(Clone, Debug)]
pub(crate) enum Signer {
    /// The attestation key of a TPM.
    Tpm(Box<AttestingKey>),
    /// A module of a listed format.
    Module(ModuleSigner),
}

/// A key that speaks for one module of a listed format.
#[derive(Clone, Debug)]
pub(crate) struct ModuleSigner {
    /// The key that signed.
    pub key: SpkiView,
    /// Other keys that the evidence shows to be attesting keys, because they signed beside it, or are named or certified as
    /// such: none of them is a key to be certified.
    pub attesting_keys: Vec<SpkiView>,
    /// What tells this module from others whose statements the same key signs (a batch's, a partition's); `None` where
    /// one module alone has the key. Two statements are of one module only if key and this are equal.
    pub module: Option<Vec<u8>>,
    /// What is known of the key and of its certificates.
    pub claims: Claims,
    /// The module's identity for others to refer to.
    pub device: Option<Device>,
    /// Whether its trust anchor is marked as one of modules in software.
    pub is_virtual: bool,
}

impl Signer {
    /// Its public key.
    pub(crate) fn key(&self) -> &SpkiView {
        match self {
            Self::Tpm(key) => key.spki(),
            Self::Module(signer) => &signer.key,
        }
    }

    /// The key that signed, then others that are shown to be attesting keys, one of them perhaps twice.
    pub(crate) fn attesting_keys(&self) -> impl Iterator<Item = &SpkiView> {
        let others = match self {
            Self::Tpm(_) => [].as_slice(),
            Self::Module(signer) => signer.attesting_keys.as_slice(),
        };
        core::iter::once(self.key()).chain(others)
    }

    /// Whether this is the key that signed, or another that is shown to be an attesting key.
    pub(crate) fn shows_attesting(&self, key: &SpkiView) -> bool {
        self.attesting_keys().any(|shown| shown.same_key(key))
    }

    /// The attestation key, if it is one of a TPM.
    pub(crate) fn tpm(&self) -> Option<&AttestingKey> {
        match self {
            Self::Tpm(key) => Some(key),
            Self::Module(_) => None,
        }
    }

    /// Whether both are one key that speaks for one module (DESIGN, "Binding graph", rule 1).
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let module = |signer: &Self| match signer {
            Self::Tpm(_) => None,
            Self::Module(signer) => signer.module.clone(),
        };
        self.key().same_key(other.key()) && module(self) == module(other)
    }

    /// Whether it rests on an anchor that is marked as one of software.
    pub(crate) fn is_virtual(&self) -> bool {
        match self {
            Self::Tpm(key) => key.root().is_virtual(),
            Self::Module(signer) => signer.is_virtual,
        }
    }
}

/// A key that a module vouches for.
#[derive(Clone, Debug)]
pub(crate) struct AttestedKey {
    /// The key; symmetric keys, and private keys of which nothing public is told, have none.
    pub spki: Option<SpkiView>,
    /// What is said of it.
    pub properties: KeyProperties,
}

/// What a statement says of a key, in the terms of its format.
#[derive(Clone, Debug)]
pub(crate) enum KeyProperties {
    /// A TPM's.
    Tpm(Box<TpmKey>),
    /// A listed format's, brought into the common vocabulary already.
    Claims {
        /// The claims.
        claims: Claims,
        /// Whether the module says that the key is one that attests.
        is_attesting: bool,
    },
}

impl AttestedKey {
    /// Whether this is that key.
    pub(crate) fn is(&self, key: &SpkiView) -> bool {
        self.spki.as_ref().is_some_and(|spki| spki.same_key(key))
    }

    /// What a TPM says of it, if it is a TPM's.
    pub(crate) fn tpm(&self) -> Option<&TpmKey> {
        match &self.properties {
            KeyProperties::Tpm(key) => Some(key),
            KeyProperties::Claims { .. } => None,
        }
    }

    /// Whether it is a key that attests others.
    pub(crate) fn is_attesting(&self) -> bool {
        match &self.properties {
            KeyProperties::Tpm(key) => key.is_restricted_signer(),
            KeyProperties::Claims { is_attesting, .. } => *is_attesting,
        }
    }

    /// Whether it can never leave the module that vouches for it: the only keys that name a device.
    pub(crate) fn is_device_bound(&self) -> bool {
        match &self.properties {
            KeyProperties::Tpm(key) => key.is_device_bound(),
            KeyProperties::Claims { claims, .. } => claims.is("device_bound", true),
        }
    }
}

/// A key of a TPM.
#[derive(Clone, Debug)]
pub(crate) struct TpmKey {
    /// What its TPM lets happen to it.
    pub attributes: ObjectAttributes,
    /// Its public area, where the Name authenticates it.
    pub public: Option<TpmtPublic>,
    /// Its qualified name, where the TPM signed one.
    pub qualified_name: Option<Name>,
    /// The TPM's firmwareVersion, where the TPM signed it beside the key. Of attesting keys outside the endorsement
    /// hierarchy it is obfuscated (TPM 2.0 Part 1, Attestation).
    pub firmware_version: Option<u64>,
}

impl TpmKey {
    /// Whether the attributes come from a certificate extension alone, since nothing authenticates a Name.
    pub(crate) const fn is_extension_only(&self) -> bool {
        self.public.is_none()
    }

    /// Whether the key is an attestation key: restricted and signing.
    pub(crate) const fn is_restricted_signer(&self) -> bool {
        self.attributes.contains(ObjectAttributes::RESTRICTED | ObjectAttributes::SIGN)
    }

    /// Whether the key was made in this TPM and can never leave it.
    pub(crate) const fn is_device_bound(&self) -> bool {
        self.attributes.contains(
            ObjectAttributes::FIXED_TPM | ObjectAttributes::FIXED_PARENT | ObjectAttributes::SENSITIVE_DATA_ORIGIN,
        )
    }
}

/// A platform state that a module vouches for.
#[derive(Clone, Debug)]
pub(crate) enum AttestedPlatform {
    /// A TPM's quote.
    Quote(Box<Quoted>),
    /// What a listed format tells, brought into the common vocabulary already.
    Claims(Claims),
}

impl AttestedPlatform {
    /// The quote, if it is one.
    pub(crate) fn quote(&self) -> Option<&Quoted> {
        match self {
            Self::Quote(quoted) => Some(quoted),
            Self::Claims(_) => None,
        }
    }
}

/// What a quote says.
#[derive(Clone, Debug)]
pub(crate) struct Quoted {
    /// The quote.
    pub attest: TpmsAttest,
    /// The registers that the quote covers, each with its value where the statement carries values.
    pub registers: Vec<(HashAlg, u8)>,
    /// The values, in the order of `registers`; their digest is the quote's.
    pub values: Option<Vec<Vec<u8>>>,
}

/// A statement that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its place in the bundle, counted from zero.
    pub statement: usize,
    /// Its type, in dotted decimal.
    pub oid: String,
    /// Why, as one sentence.
    pub why: String,
}

/// The outcome for all statements of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authentication {
    /// Those that passed.
    pub statements: Vec<Authenticated>,
    /// The place of the proof of possession that the request's signature covers, and how fresh it makes the request.
    pub possession: Option<(usize, Freshness)>,
    /// The first failure of each that did not, with its format.
    pub failures: Vec<(FormatId, Rejection)>,
    /// Those of types that are not known, or not asked for.
    pub skipped: Vec<Skipped>,
}

impl Authentication {
    /// The formats of those that passed, by their places; of a wrapper several.
    pub fn formats(&self) -> Vec<(usize, FormatId)> {
        self.statements.iter().map(|found| (found.index, found.format)).collect()
    }
}
