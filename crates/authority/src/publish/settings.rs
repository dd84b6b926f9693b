//! The settings of a profile about what it publishes, and their checks.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use vouchsafe_evidence::oid::{self, Oid, PRIVATE_ARC};
use vouchsafe_evidence::statement::FormatId;
use vouchsafe_verifier::{About, Claim, Source, Term, VOCABULARY, Verdict};

use super::key_statements;

/// Assurance levels of one profile.
const LEVELS_MAX: usize = 16;
/// Claims of one assurance level.
const LEVEL_CLAIMS_MAX: usize = 16;
/// The word for the levels of Active Directory Certificate Services.
const AD_CS: &str = "ad-cs";
/// The issuance policies of Active Directory Certificate Services for attested keys (\[MS-WCCE\], "TPM key attestation"),
/// the highest first: the endorsement key is in a list of the administrator's, has a certificate, was trusted on its
/// user's word. A ceremony has none.
const AD_CS_LEVELS: [(&str, &str); 3] = [
    ("1.3.6.1.4.1.311.21.30", "inventory"),
    ("1.3.6.1.4.1.311.21.31", "manufacturer"),
    ("1.3.6.1.4.1.311.21.32", "first-use"),
];

/// Why the settings about publishing are refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// A claim of an assurance level is not in the vocabulary.
    #[error("assurance: there is no claim {claim}; docs/claims lists them")]
    ClaimUnknown {
        /// The claim.
        claim: String,
    },
    /// An assurance level rests on a claim about the platform, which the certificate would tell the world.
    #[error(
        "assurance: {claim} is about the platform, which a certificate must not tell; name claims of key or attesting_key"
    )]
    ClaimOfPlatform {
        /// The claim.
        claim: String,
    },
    /// A claim has a value of another type than the vocabulary gives.
    #[error("assurance: {claim} has no such value; it is {form}")]
    ClaimValue {
        /// The claim.
        claim: String,
        /// What values it has.
        form: &'static str,
    },
    /// A format appears twice.
    #[error("formats names {format} twice")]
    FormatTwice {
        /// The format.
        format: String,
    },
    /// There is no such format, or its statements are not about keys.
    #[error("formats: {format} is no format of key statements")]
    FormatUnknown {
        /// The format.
        format: String,
    },
    /// `formats` is there and empty: no request could be granted.
    #[error("formats names no format; no request could be granted")]
    NoFormat,
    /// Statements are to be published and no format is named.
    #[error(
        "publish_key_attestation = \"statement\" needs formats: name those whose statements may be published, such as formats = [\"tpm-certify-x509\"]"
    )]
    FormatsMissing,
    /// Statements of the format tell more than the key.
    #[error("publish_key_attestation = \"statement\" cannot be used with formats = [\"{format}\"]: {why}")]
    FormatTellsMore {
        /// The format.
        format: &'static str,
        /// What they tell.
        why: &'static str,
    },
    /// `publish_key_attestation = "assurance"` without levels.
    #[error("publish_key_attestation = \"assurance\" needs assurance: a list of levels, or \"{AD_CS}\"")]
    LevelsMissing,
    /// Levels, yet assurance is not published.
    #[error("assurance has no effect without publish_key_attestation = \"assurance\"")]
    LevelsUnused,
    /// No level, or more than the limit.
    #[error("assurance has {found} levels, allowed are 1 to {LEVELS_MAX}")]
    LevelsCount {
        /// Levels found.
        found: usize,
    },
    /// A level without claims, which everything would reach, or with more than the limit.
    #[error("the assurance level {oid} has {found} claims, allowed are 1 to {LEVEL_CLAIMS_MAX}")]
    LevelClaims {
        /// The level.
        oid: String,
        /// Claims found.
        found: usize,
    },
    /// Not an object identifier.
    #[error("assurance: {oid:?} is no object identifier")]
    Oid {
        /// What stands there.
        oid: String,
    },
    /// anyPolicy, or an identifier that has another meaning.
    #[error("assurance: {oid} has another meaning and is no assurance level")]
    OidReserved {
        /// The identifier.
        oid: String,
    },
    /// An identifier appears twice.
    #[error("assurance names {oid} twice")]
    OidTwice {
        /// The identifier.
        oid: String,
    },
    /// Not a word for a set of levels.
    #[error("assurance = {word:?} is unknown; write a list of levels, or \"{AD_CS}\"")]
    Word {
        /// The word.
        word: String,
    },
}

/// What is published, as the configuration file writes it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum PublishConfig {
    /// The assurance level that was reached, as a certificate policy.
    Assurance,
    /// Nothing.
    #[default]
    None,
    /// The one statement about the key.
    Statement,
}

/// Assurance levels as the configuration file writes them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum AssuranceConfig {
    /// A word for a set of levels.
    Word(String),
    /// Levels, the highest first.
    Levels(Vec<LevelConfig>),
}

/// An assurance level as the configuration file writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelConfig {
    oid: String,
    claims: BTreeMap<String, ClaimValue>,
}

/// The value of a claim.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum ClaimValue {
    Truth(bool),
    Number(i64),
    Text(String),
}

impl From<ClaimValue> for Value {
    fn from(value: ClaimValue) -> Self {
        match value {
            ClaimValue::Truth(truth) => truth.into(),
            ClaimValue::Number(number) => number.into(),
            ClaimValue::Text(text) => text.into(),
        }
    }
}

/// In which formats a profile takes key statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatRule {
    /// In every format that policy accepts.
    Any,
    /// In these alone: every statement about the key is of one of them.
    Listed(Vec<FormatId>),
}

/// What a profile publishes of the key attestation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Publication {
    /// The highest of these levels that the attestation reached, if it reached one.
    Assurance(Vec<AssuranceLevel>),
    /// Nothing.
    None,
    /// The one statement about the key.
    Statement,
}

/// A certificate policy and the claims that are worth it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AssuranceLevel {
    oid: Oid,
    claims: Vec<(About, &'static str, Value)>,
}

impl AssuranceLevel {
    pub(crate) const fn oid(&self) -> Oid {
        self.oid
    }

    /// Whether every claim of the level is made, with its value, by the module or those who vouch for it. What host
    /// software asserts counts for no level.
    pub(crate) fn is_reached(&self, verdict: &Verdict) -> bool {
        self.claims.iter().all(|(about, name, value)| {
            let claims = match about {
                About::Key => &verdict.key().claims,
                About::AttestingKey => verdict.attesting_key(),
                About::Platform => return false,
            };
            claims.named(name).is_some_and(|claim| counts(claim) && claim.value == *value)
        })
    }
}

const fn counts(claim: &Claim) -> bool {
    match claim.source {
        Source::Endorsed | Source::Implied | Source::Signed => true,
        Source::HostAsserted => false,
    }
}

impl FormatRule {
    /// Whether the statements about the key are of formats that the rule takes.
    pub(crate) fn allows(&self, verdict: &Verdict) -> bool {
        let listed = match self {
            Self::Any => return true,
            Self::Listed(listed) => listed,
        };
        let formats = verdict.formats_by_statement();
        let mut any = false;
        for place in key_statements(verdict) {
            any = true;
            let fits = formats.get(place).is_some_and(|of| !of.is_empty() && of.iter().all(|id| listed.contains(id)));
            if !fits {
                return false;
            }
        }
        any
    }
}

/// Checks the settings of one profile that concern what it publishes.
///
/// # Errors
/// Every variant of [`PublishError`].
pub(crate) fn check(
    publish: &PublishConfig,
    assurance: Option<AssuranceConfig>,
    formats: Option<Vec<String>>,
) -> Result<(Publication, FormatRule), PublishError> {
    let formats = formats.map_or(Ok(FormatRule::Any), check_formats)?;
    let publication = match (publish, assurance) {
        (PublishConfig::Assurance, Some(levels)) => Publication::Assurance(check_levels(levels)?),
        (PublishConfig::Assurance, None) => return Err(PublishError::LevelsMissing),
        (PublishConfig::None | PublishConfig::Statement, Some(_)) => return Err(PublishError::LevelsUnused),
        (PublishConfig::None, None) => Publication::None,
        (PublishConfig::Statement, None) => match &formats {
            FormatRule::Any => return Err(PublishError::FormatsMissing),
            FormatRule::Listed(listed) => {
                listed.iter().try_for_each(|format| check_publishable(*format))?;
                Publication::Statement
            }
        },
    };
    Ok((publication, formats))
}

fn check_formats(names: Vec<String>) -> Result<FormatRule, PublishError> {
    if names.is_empty() {
        return Err(PublishError::NoFormat);
    }
    let mut formats = Vec::with_capacity(names.len());
    for name in names {
        let format = FormatId::from_id(&name).filter(|format| is_of_keys(*format));
        let Some(format) = format else { return Err(PublishError::FormatUnknown { format: name }) };
        if formats.contains(&format) {
            return Err(PublishError::FormatTwice { format: name });
        }
        formats.push(format);
    }
    Ok(FormatRule::Listed(formats))
}

/// Whether statements of the format are about keys, by themselves.
const fn is_of_keys(format: FormatId) -> bool {
    match format {
        FormatId::TpmCertify | FormatId::TpmCertifyX509 | FormatId::Listed(_) => true,
        FormatId::Cmw | FormatId::KeyPop | FormatId::TpmEk | FormatId::TpmQuote => false,
    }
}

/// Whether a statement of the format can say nothing but what its key is.
fn check_publishable(format: FormatId) -> Result<(), PublishError> {
    let tells_more = |why| Err(PublishError::FormatTellsMore { format: format.id(), why });
    match format {
        FormatId::TpmCertifyX509 => Ok(()),
        FormatId::Listed(listed) if listed.row().id == super::statement::PKIX_EVIDENCE => Ok(()),
        FormatId::TpmCertify => {
            tells_more("its TPMS_ATTEST tells the firmware version, the clock and how often the TPM was reset")
        }
        FormatId::Listed(_) => tells_more("its statements tell of the module too, such as its serial number"),
        FormatId::Cmw | FormatId::KeyPop | FormatId::TpmEk | FormatId::TpmQuote => {
            tells_more("its statements are not about a key alone")
        }
    }
}

fn check_levels(levels: AssuranceConfig) -> Result<Vec<AssuranceLevel>, PublishError> {
    let levels = match levels {
        AssuranceConfig::Word(word) if word == AD_CS => AD_CS_LEVELS.iter().map(ad_cs_level).collect(),
        AssuranceConfig::Word(word) => return Err(PublishError::Word { word }),
        AssuranceConfig::Levels(levels) => levels,
    };
    if !(1..=LEVELS_MAX).contains(&levels.len()) {
        return Err(PublishError::LevelsCount { found: levels.len() });
    }
    let mut checked: Vec<AssuranceLevel> = Vec::with_capacity(levels.len());
    for level in levels {
        let level = level.check()?;
        if checked.iter().any(|other| other.oid == level.oid) {
            return Err(PublishError::OidTwice { oid: level.oid.to_string() });
        }
        checked.push(level);
    }
    Ok(checked)
}

fn ad_cs_level((oid, method): &(&str, &str)) -> LevelConfig {
    let claims = BTreeMap::from([("attesting_key.bootstrap".to_owned(), ClaimValue::Text((*method).to_owned()))]);
    LevelConfig { oid: (*oid).to_owned(), claims }
}

impl LevelConfig {
    fn check(self) -> Result<AssuranceLevel, PublishError> {
        let oid = Oid::from_dotted(&self.oid).ok_or_else(|| PublishError::Oid { oid: self.oid.clone() })?;
        // What this project's arc means in certificates of attesting keys must not be said of others.
        if oid.is_within(&Oid::constant(PRIVATE_ARC)) || oid == oid::ANY_POLICY {
            return Err(PublishError::OidReserved { oid: self.oid });
        }
        if !(1..=LEVEL_CLAIMS_MAX).contains(&self.claims.len()) {
            return Err(PublishError::LevelClaims { oid: self.oid, found: self.claims.len() });
        }
        let claims = self.claims.into_iter().map(|(claim, value)| check_claim(claim, value.into()));
        Ok(AssuranceLevel { oid, claims: claims.collect::<Result<_, _>>()? })
    }
}

fn check_claim(claim: String, value: Value) -> Result<(About, &'static str, Value), PublishError> {
    let is_named = |term: &&Term| claim.split_once('.') == Some((term.about.label(), term.name));
    let Some(term) = VOCABULARY.iter().find(is_named) else { return Err(PublishError::ClaimUnknown { claim }) };
    // The maker, model and versions of the module, told by the attesting key's certificate, are the platform's.
    let of_platform = VOCABULARY.iter().any(|other| other.about == About::Platform && other.name == term.name);
    if term.about == About::Platform || (term.about == About::AttestingKey && of_platform) {
        return Err(PublishError::ClaimOfPlatform { claim });
    }
    let fits = match (term.value, &value) {
        ("boolean", value) => value.is_boolean(),
        ("number", value) => value.is_number(),
        // Claims that are lists or objects have no single value to compare.
        (form, _) if form.starts_with("list") || form == "object" => false,
        (_, value) => value.is_string(),
    };
    if fits { Ok((term.about, term.name, value)) } else { Err(PublishError::ClaimValue { claim, form: term.value }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Settings {
        #[serde(default)]
        publish_key_attestation: PublishConfig,
        assurance: Option<AssuranceConfig>,
        formats: Option<Vec<String>>,
    }

    fn checked(text: &str) -> Result<(Publication, FormatRule), PublishError> {
        let settings: Settings = toml::from_str(text).unwrap();
        check(&settings.publish_key_attestation, settings.assurance, settings.formats)
    }

    fn levels(text: &str) -> PublishError {
        checked(&format!("publish_key_attestation = 'assurance'\nassurance = {text}")).unwrap_err()
    }

    #[test]
    fn nothing_is_published_unless_asked_for() {
        assert_eq!(checked(""), Ok((Publication::None, FormatRule::Any)));
        assert_eq!(checked("assurance = 'ad-cs'"), Err(PublishError::LevelsUnused));
    }

    #[test]
    fn statements_need_formats_that_tell_of_the_key_alone() {
        let statement = |formats: &str| checked(&format!("publish_key_attestation = 'statement'\n{formats}"));
        assert_eq!(statement(""), Err(PublishError::FormatsMissing));
        let both = "formats = ['tpm-certify-x509', 'pkix-evidence']";
        assert_eq!(statement(both).unwrap().0, Publication::Statement);
        let refused = statement("formats = ['tpm-certify-x509', 'tpm-certify']").unwrap_err();
        assert!(matches!(refused, PublishError::FormatTellsMore { format: "tpm-certify", .. }));
        let sentence = refused.to_string();
        for word in ["tpm-certify", "firmware version", "clock", "reset"] {
            assert!(sentence.contains(word), "{sentence}");
        }
        for format in FormatId::all().filter(|format| is_of_keys(*format)) {
            let published = ["tpm-certify-x509", "pkix-evidence"].contains(&format.id());
            assert_eq!(statement(&format!("formats = ['{}']", format.id())).is_ok(), published, "{format}");
        }
        for format in ["tpm-quote", "tpm-ek", "cmw", "key-pop", "tpm"] {
            let refused = checked(&format!("formats = ['{format}']"));
            assert_eq!(refused, Err(PublishError::FormatUnknown { format: format.to_owned() }));
        }
        assert_eq!(checked("formats = []"), Err(PublishError::NoFormat));
        let twice = PublishError::FormatTwice { format: "tpm-certify".to_owned() };
        assert_eq!(checked("formats = ['tpm-certify', 'tpm-certify']"), Err(twice));
    }

    #[test]
    fn levels_are_checked_against_the_vocabulary() {
        assert_eq!(checked("publish_key_attestation = 'assurance'"), Err(PublishError::LevelsMissing));
        let ad_cs = checked("publish_key_attestation = 'assurance'\nassurance = 'ad-cs'").unwrap().0;
        let Publication::Assurance(ad_cs) = ad_cs else { panic!("{ad_cs:?}") };
        let oids: Vec<String> = ad_cs.iter().map(|level| level.oid().to_string()).collect();
        assert_eq!(oids, ["1.3.6.1.4.1.311.21.30", "1.3.6.1.4.1.311.21.31", "1.3.6.1.4.1.311.21.32"]);

        let level = |oid: &str, claims: &str| levels(&format!("[{{ oid = '{oid}', claims = {{ {claims} }} }}]"));
        let local = "'key.local' = true";
        assert_eq!(level("1.2.x", local), PublishError::Oid { oid: "1.2.x".to_owned() });
        for reserved in ["2.5.29.32.0", "1.3.6.1.4.1.32473.1.10.1"] {
            assert_eq!(level(reserved, local), PublishError::OidReserved { oid: reserved.to_owned() });
        }
        assert!(matches!(level("1.2.3", ""), PublishError::LevelClaims { found: 0, .. }));
        assert!(matches!(level("1.2.3", "'key.lokal' = true"), PublishError::ClaimUnknown { .. }));
        for of_platform in ["platform.vendor", "platform.boot_count", "attesting_key.model", "attesting_key.fw_version"]
        {
            let refused = level("1.2.3", &format!("'{of_platform}' = 'x'"));
            assert_eq!(refused, PublishError::ClaimOfPlatform { claim: of_platform.to_owned() });
        }
        for (claim, value) in [("key.local", "'true'"), ("key.purposes", "'sign'"), ("key.origin", "1")] {
            let refused = level("1.2.3", &format!("'{claim}' = {value}"));
            assert!(matches!(refused, PublishError::ClaimValue { .. }), "{claim}: {refused}");
        }
        assert_eq!(levels("[]"), PublishError::LevelsCount { found: 0 });
        assert_eq!(levels("'highest'"), PublishError::Word { word: "highest".to_owned() });
        let twice = "[{ oid = '1.2.3', claims = { 'key.local' = true } }, { oid = '1.2.3', claims = { 'key.sensitive' = true } }]";
        assert_eq!(levels(twice), PublishError::OidTwice { oid: "1.2.3".to_owned() });
    }
}
