//! Certificate profiles: what a certificate issued here says, decided before any request is seen.

use serde::Deserialize;
use thiserror::Error;

use crate::config::DEFAULT_ISSUER;
use crate::names::{AlternativeName, NameRule, NamesConfig, NamesError};
use crate::publish::{self, AssuranceConfig, FormatRule, Publication, PublishConfig, PublishError};

/// Name of the profile that exists without configuration.
pub const DEFAULT_PROFILE: &str = "device";
/// Name of the profile for clients of TLS, which exists without configuration.
pub const TLS_CLIENT_PROFILE: &str = "tls-client";
/// Name of the profile for code signing, which exists without configuration and is for accounts that list it.
pub const CODE_SIGNING_PROFILE: &str = "code-signing";
/// Days of validity of a certificate for clients of TLS.
const TLS_CLIENT_DAYS: i64 = 30;
/// Days of validity of a certificate for code signing; the CA/Browser Forum allows 460.
const CODE_SIGNING_DAYS: i64 = 365;
/// Longest validity of a profile, in days.
const VALIDITY_DAYS_MAX: i64 = 3_650;
/// Octets of an organization name (RFC 5280, appendix A: ub-organization-name).
const ORGANIZATION_OCTETS_MAX: usize = 64;

/// Why a profile is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProfileError {
    /// Two profiles share the name.
    #[error("the name appears twice")]
    DuplicateName,
    /// An extended key usage appears twice (RFC 5280, section 4.2.1.12).
    #[error("extended_key_usage names one purpose twice")]
    DuplicatePurpose,
    /// Code signing beside server authentication (CA/Browser Forum, Code Signing, 7.1.2.3).
    #[error("extended_key_usage names code-signing beside server-auth, which nobody may have in one certificate")]
    MixedPurposes,
    /// Both an issuer and an upstream.
    #[error("issuer and upstream exclude each other: a certificate comes from one CA")]
    IssuerAndUpstream,
    /// The settings about names.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// No extended key usage: the certificate would be good for every purpose (RFC 5280, section 4.2.1.12).
    #[error("extended_key_usage is empty; the certificate would be good for every purpose")]
    NoPurpose,
    /// The organization is empty or longer than the upper bound (RFC 5280, appendix A).
    #[error("organization must have 1 to {ORGANIZATION_OCTETS_MAX} octets, without control characters")]
    Organization,
    /// An organization is set, yet the subject is the request's (RFC 5280, section 4.1.2.6).
    #[error("organization has no effect with subject = \"request\"")]
    OrganizationUnused,
    /// The settings about what is published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A profile on the word of registration authorities has settings about evidence, or takes no names.
    #[error(
        "evidence = \"registration-authority\" needs subject = \"request\", and {setting} has no effect with it: nothing \
         is appraised"
    )]
    Registration {
        /// The setting.
        setting: &'static str,
    },
    /// An upstream CA would be told what is published, and decides what its certificates hold.
    #[error("publish_key_attestation has no effect with upstream: what is published, this authority signs")]
    UpstreamPublishes,
    /// The validity is outside its range (RFC 5280, section 4.1.2.5).
    #[error("validity_days is {found}, allowed are 1 to {VALIDITY_DAYS_MAX}")]
    Validity {
        /// The value found.
        found: i64,
    },
}

/// A profile as the configuration file writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileConfig {
    name: String,
    #[serde(default)]
    subject: SubjectRule,
    organization: Option<String>,
    #[serde(default = "default_validity_days")]
    validity_days: i64,
    #[serde(default = "default_purposes")]
    extended_key_usage: Vec<Purpose>,
    #[serde(default)]
    devices: DeviceRule,
    #[serde(default)]
    publish_key_attestation: PublishConfig,
    assurance: Option<AssuranceConfig>,
    formats: Option<Vec<String>>,
    #[serde(default)]
    freshness: FreshnessRule,
    names: Option<NamesConfig>,
    #[serde(default)]
    alternative_names: Vec<AlternativeName>,
    issuer: Option<String>,
    upstream: Option<String>,
    #[serde(default)]
    evidence: EvidenceRule,
    #[serde(default)]
    subjects_per_key: SubjectsPerKey,
}

const fn default_validity_days() -> i64 {
    90
}

fn default_purposes() -> Vec<Purpose> {
    vec![Purpose::ClientAuth]
}

impl Default for ProfileConfig {
    fn default() -> Self {
        Self {
            name: DEFAULT_PROFILE.to_owned(),
            subject: SubjectRule::default(),
            organization: None,
            validity_days: default_validity_days(),
            extended_key_usage: default_purposes(),
            devices: DeviceRule::default(),
            publish_key_attestation: PublishConfig::default(),
            assurance: None,
            formats: None,
            freshness: FreshnessRule::default(),
            names: None,
            subjects_per_key: SubjectsPerKey::default(),
            alternative_names: Vec::new(),
            issuer: None,
            upstream: None,
            evidence: EvidenceRule::default(),
        }
    }
}

impl ProfileConfig {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The profiles that exist without configuration: for devices, for clients of TLS, and for those who sign code.
    pub(crate) fn shipped() -> Vec<Self> {
        let of = |name: &str, validity_days, purpose| Self {
            name: name.to_owned(),
            validity_days,
            extended_key_usage: vec![purpose],
            ..Self::default()
        };
        vec![
            Self::default(),
            of(TLS_CLIENT_PROFILE, TLS_CLIENT_DAYS, Purpose::ClientAuth),
            of(CODE_SIGNING_PROFILE, CODE_SIGNING_DAYS, Purpose::CodeSigning),
        ]
    }
}

/// Where the subject of a certificate comes from.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum SubjectRule {
    /// commonName is the device's name as recorded here; what the request asks for is ignored.
    #[default]
    Device,
    /// The request's subject, which must be one that `names` allows. For accounts that list the profile.
    Request,
}

/// Which devices may have certificates of the profile.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum DeviceRule {
    /// Those whose attestation key was activated here, under the account that asks.
    #[default]
    Enrolled,
    /// Every device whose evidence is accepted; one that is enrolled here must still be the account's own.
    Any,
}

/// Whether evidence must answer a nonce of the session in which the certificate is asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum FreshnessRule {
    /// It must.
    #[default]
    Required,
    /// It must where the client asked for a nonce. A client that knows of none proves that the key lives in hardware, and
    /// not when that was attested.
    WhenGiven,
}

/// What a certificate rests on.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceRule {
    /// Evidence that the Verifier has accepted.
    #[default]
    Appraised,
    /// The word of an account that is a registration authority, such as another installation of this program that has
    /// appraised evidence. Nothing is proven here. For accounts with the right to register that list the profile.
    RegistrationAuthority,
}

/// Where the certificates of a profile come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// A CA of this installation, by its name.
    Issuer(String),
    /// A CA elsewhere, by its name here.
    Upstream(String),
}

/// For how many subjects one key may be certified.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum SubjectsPerKey {
    /// For one: a name with its alternative names, of one account. It may be certified for that one again and again.
    #[default]
    One,
    /// For whoever may have it.
    Many,
}

/// A purpose that a certificate may have. The attestation purposes are none: those certificates come from
/// another root.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// id-kp-clientAuth.
    ClientAuth,
    /// id-kp-codeSigning.
    CodeSigning,
    /// id-kp-serverAuth.
    ServerAuth,
}

/// A checked profile.
#[derive(Clone, Debug)]
pub struct Profile {
    name: String,
    subject: SubjectRule,
    organization: Option<String>,
    validity_days: i64,
    purposes: Vec<Purpose>,
    devices: DeviceRule,
    publication: Publication,
    formats: FormatRule,
    freshness: FreshnessRule,
    subjects_per_key: SubjectsPerKey,
    names: NameRule,
    alternative_names: Vec<AlternativeName>,
    source: CertificateSource,
    evidence: EvidenceRule,
}

impl Profile {
    /// Checks a profile, each setting against its clause.
    ///
    /// # Errors
    /// Every variant of [`ProfileError`] but [`ProfileError::DuplicateName`].
    pub fn new(config: ProfileConfig) -> Result<Self, ProfileError> {
        if !(1..=VALIDITY_DAYS_MAX).contains(&config.validity_days) {
            return Err(ProfileError::Validity { found: config.validity_days });
        }
        if config.extended_key_usage.is_empty() {
            return Err(ProfileError::NoPurpose);
        }
        let distinct =
            |(index, purpose)| !config.extended_key_usage.iter().skip(index + 1).any(|other| other == purpose);
        if !config.extended_key_usage.iter().enumerate().all(distinct) {
            return Err(ProfileError::DuplicatePurpose);
        }
        if config.extended_key_usage.contains(&Purpose::CodeSigning)
            && config.extended_key_usage.contains(&Purpose::ServerAuth)
        {
            return Err(ProfileError::MixedPurposes);
        }
        if let Some(organization) = &config.organization {
            check_organization(organization, config.subject)?;
        }
        if config.evidence == EvidenceRule::RegistrationAuthority {
            check_registration(&config)?;
        }
        let source = match (config.issuer, config.upstream) {
            (Some(_), Some(_)) => return Err(ProfileError::IssuerAndUpstream),
            (issuer, None) => CertificateSource::Issuer(issuer.unwrap_or_else(|| DEFAULT_ISSUER.to_owned())),
            (None, Some(upstream)) => CertificateSource::Upstream(upstream),
        };
        let (publication, formats) = publish::check(&config.publish_key_attestation, config.assurance, config.formats)?;
        match (&source, &publication) {
            (CertificateSource::Issuer(_), _) | (CertificateSource::Upstream(_), Publication::None) => {}
            (CertificateSource::Upstream(_), Publication::Assurance(_) | Publication::Statement) => {
                return Err(ProfileError::UpstreamPublishes);
            }
        }
        Ok(Self {
            name: config.name,
            subject: config.subject,
            subjects_per_key: config.subjects_per_key,
            organization: config.organization,
            validity_days: config.validity_days,
            purposes: config.extended_key_usage,
            devices: config.devices,
            publication,
            formats,
            freshness: match config.evidence {
                EvidenceRule::Appraised => config.freshness,
                // There is no evidence that could answer a nonce.
                EvidenceRule::RegistrationAuthority => FreshnessRule::WhenGiven,
            },
            names: match config.evidence {
                EvidenceRule::Appraised => NameRule::new(config.names, config.subject == SubjectRule::Request)?,
                EvidenceRule::RegistrationAuthority => NameRule::of_registration(config.names)?,
            },
            alternative_names: config.alternative_names,
            source,
            evidence: config.evidence,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the subject comes from.
    #[must_use]
    pub const fn subject(&self) -> SubjectRule {
        self.subject
    }

    /// organizationName of the subject, if it is to have one.
    #[must_use]
    pub fn organization(&self) -> Option<&str> {
        self.organization.as_deref()
    }

    /// Days from issue to the end of validity.
    #[must_use]
    pub const fn validity_days(&self) -> i64 {
        self.validity_days
    }

    /// Extended key usages, at least one.
    #[must_use]
    pub fn purposes(&self) -> &[Purpose] {
        &self.purposes
    }

    /// Which devices may have certificates.
    #[must_use]
    pub const fn devices(&self) -> DeviceRule {
        self.devices
    }

    /// In which formats it takes key statements.
    #[must_use]
    pub const fn formats(&self) -> &FormatRule {
        &self.formats
    }

    /// Where its certificates come from.
    #[must_use]
    pub const fn source(&self) -> &CertificateSource {
        &self.source
    }

    /// The CA of this installation that its certificates come from, unless they come from elsewhere.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        match &self.source {
            CertificateSource::Issuer(issuer) => Some(issuer),
            CertificateSource::Upstream(_) => None,
        }
    }

    /// What its certificates rest on.
    #[must_use]
    pub const fn evidence(&self) -> EvidenceRule {
        self.evidence
    }

    /// Whose names it takes from requests.
    #[must_use]
    pub const fn names(&self) -> &NameRule {
        &self.names
    }

    /// Whether its certificates have alternative names of this kind, where such a name was proven (ACME).
    #[must_use]
    pub fn has_alternative_names(&self, kind: AlternativeName) -> bool {
        self.alternative_names.contains(&kind)
    }

    /// For how many subjects it certifies one key.
    #[must_use]
    pub const fn subjects_per_key(&self) -> SubjectsPerKey {
        self.subjects_per_key
    }

    /// Whether it is for accounts that list it alone: it takes names from requests, or its certificates speak for code.
    #[must_use]
    pub fn must_be_listed(&self) -> bool {
        self.subject == SubjectRule::Request || self.purposes.contains(&Purpose::CodeSigning)
    }

    /// Whether evidence must answer a nonce.
    #[must_use]
    pub const fn freshness(&self) -> FreshnessRule {
        self.freshness
    }

    /// What certificates publish of the key attestation.
    pub(crate) const fn publication(&self) -> &Publication {
        &self.publication
    }
}

/// What is said of evidence, devices and formats would have no effect where nothing is appraised.
fn check_registration(config: &ProfileConfig) -> Result<(), ProfileError> {
    let unused = [
        (config.subject != SubjectRule::Request, "subject = \"device\""),
        (config.devices != DeviceRule::default(), "devices"),
        (config.freshness != FreshnessRule::default(), "freshness"),
        (config.formats.is_some(), "formats"),
        (config.assurance.is_some(), "assurance"),
        (config.publish_key_attestation != PublishConfig::default(), "publish_key_attestation"),
        (config.upstream.is_some(), "upstream"),
    ];
    match unused.into_iter().find(|(is_set, _)| *is_set) {
        Some((_, setting)) => Err(ProfileError::Registration { setting }),
        None => Ok(()),
    }
}

fn check_organization(organization: &str, subject: SubjectRule) -> Result<(), ProfileError> {
    match subject {
        SubjectRule::Request => return Err(ProfileError::OrganizationUnused),
        SubjectRule::Device => {}
    }
    let fits = (1..=ORGANIZATION_OCTETS_MAX).contains(&organization.len());
    if fits && vouchsafe_evidence::text::printable(organization) == organization {
        Ok(())
    } else {
        Err(ProfileError::Organization)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(text: &str) -> Result<Profile, ProfileError> {
        Profile::new(toml::from_str(&format!("name = 'p'\n{text}")).unwrap())
    }

    #[test]
    fn the_default_profile_is_narrow() {
        let profile = Profile::new(ProfileConfig::default()).unwrap();
        assert_eq!(profile.purposes(), [Purpose::ClientAuth]);
        assert_eq!((profile.subject(), profile.devices()), (SubjectRule::Device, DeviceRule::Enrolled));
        assert_eq!((profile.validity_days(), profile.freshness()), (90, FreshnessRule::Required));
        assert_eq!(profile.subjects_per_key(), SubjectsPerKey::One);
    }

    #[test]
    fn each_setting_is_checked() {
        assert!(profile("").is_ok());
        for (text, error) in [
            ("validity_days = 0", ProfileError::Validity { found: 0 }),
            ("validity_days = 3651", ProfileError::Validity { found: 3651 }),
            ("extended_key_usage = []", ProfileError::NoPurpose),
            ("extended_key_usage = ['client-auth', 'client-auth']", ProfileError::DuplicatePurpose),
            ("organization = ''", ProfileError::Organization),
            ("organization = \"a\\u0007\"", ProfileError::Organization),
            ("organization = 'a'\nsubject = 'request'", ProfileError::OrganizationUnused),
            ("publish_key_attestation = 'statement'", PublishError::FormatsMissing.into()),
        ] {
            assert_eq!(profile(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn a_certificate_comes_from_one_ca_and_an_upstream_is_told_nothing_to_publish() {
        let issuer = |name: &str| CertificateSource::Issuer(name.to_owned());
        assert_eq!(profile("").unwrap().source(), &issuer(DEFAULT_ISSUER));
        assert_eq!(profile("issuer = 'a'").unwrap().source(), &issuer("a"));
        let upstream = profile("upstream = 'a'").unwrap();
        assert_eq!(upstream.source(), &CertificateSource::Upstream("a".to_owned()));
        assert_eq!(profile("issuer = 'a'\nupstream = 'b'").unwrap_err(), ProfileError::IssuerAndUpstream);
        let publishes = "upstream = 'a'\npublish_key_attestation = 'statement'\nformats = ['tpm-certify-x509']";
        assert_eq!(profile(publishes).unwrap_err(), ProfileError::UpstreamPublishes);
    }

    #[test]
    fn what_rests_on_a_word_has_no_settings_about_evidence() {
        const WORD: &str = "evidence = 'registration-authority'\nsubject = 'request'\n";
        let plain = profile(WORD).unwrap();
        assert!(plain.must_be_listed());
        assert_eq!(plain.evidence(), EvidenceRule::RegistrationAuthority);
        assert_eq!(profile("").unwrap().evidence(), EvidenceRule::Appraised);
        assert!(profile(&format!("{WORD}names.allow = \"name.others == 0\"")).is_ok());
        assert!(matches!(profile(&format!("{WORD}names.of = ['device']")), Err(ProfileError::Names(_))));
        for setting in [
            "devices = 'any'",
            "freshness = 'when-given'",
            "formats = ['tpm-certify']",
            "publish_key_attestation = 'assurance'",
            "upstream = 'a'",
        ] {
            let refused = profile(&format!("{WORD}{setting}")).unwrap_err();
            assert!(matches!(refused, ProfileError::Registration { .. }), "{setting}: {refused}");
        }
        let refused = profile("evidence = 'registration-authority'").unwrap_err();
        assert_eq!(refused, ProfileError::Registration { setting: "subject = \"device\"" });
    }

    #[test]
    fn attestation_purposes_cannot_be_configured() {
        for purpose in ["any", "attestation", "2.23.133.8.3"] {
            let text = format!("name = 'p'\nextended_key_usage = ['{purpose}']");
            assert!(toml::from_str::<ProfileConfig>(&text).is_err());
        }
    }
}
