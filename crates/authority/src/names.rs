//! Who may have which name.
//!
//! A profile that takes the subject from the request says whose names it takes: identities that evidence, records or the way of
//! asking show, or a condition. A name that nothing of that allows is refused.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use thiserror::Error;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::extensions::GeneralName;
use vouchsafe_evidence::x509::{CertView, NameView};
use vouchsafe_verifier::{CertifiableKey, Condition, PolicyError};

use crate::appraisal::key_digest;
use crate::enroll::{Applicant, Names};
use crate::enrolment::module_identity;
use crate::error::{Error, Violation, own_codes};
use crate::profile::Profile;
use crate::protocol::acme::{Identifier, IdentifierKind};
use crate::service::Service;
use crate::store::{Device, InventoryRow};
use crate::text::to_hex;

/// The prefixes by which a verdict names a device that no maker's serial number tells from others.
const WITHOUT_SERIAL: [&str; 2] = ["ak", "link"];

/// Why the names of a profile are refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NamesError {
    /// The condition does not compile.
    #[error("names.allow: {0}")]
    Allow(String),
    /// Nothing is allowed.
    #[error("subject = \"request\" needs names.of or names.allow: without them every name would be refused")]
    Missing,
    /// Identities that evidence shows, where nothing is appraised.
    #[error("names.of has no effect with evidence = \"registration-authority\"; names.allow has")]
    OfEvidence,
    /// Names are allowed that nobody can ask for.
    #[error("names has no effect without subject = \"request\"")]
    Unused,
}

/// What tells one device, or one applicant, from others.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// The name of the account, whatever it was recognized by.
    Account,
    /// The commonName of the certificate that the applicant showed in the TLS handshake.
    Certificate,
    /// The device's name as recorded here.
    Device,
    /// SHA-256 of the SubjectPublicKeyInfo of the device's endorsement key, in lower hexadecimal digits.
    EkDigest,
    /// The device's name in the inventory, where the inventory lists it for this account and with its module.
    Inventory,
    /// The device as the verdict names it, such as `ak:..` or `yubikey-piv:123`.
    PermanentIdentifier,
    /// The serial number that the evidence signs.
    Serial,
}

impl Identity {
    /// Its word.
    const fn label(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Certificate => "certificate",
            Self::Device => "device",
            Self::EkDigest => "ek_digest",
            Self::Inventory => "inventory",
            Self::PermanentIdentifier => "permanent_identifier",
            Self::Serial => "serial",
        }
    }

    const ALL: [Self; 7] = [
        Self::Account,
        Self::Certificate,
        Self::Device,
        Self::EkDigest,
        Self::Inventory,
        Self::PermanentIdentifier,
        Self::Serial,
    ];
}

/// A kind of alternative name that an applicant can prove (ACME).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum AlternativeName {
    /// dNSName: a host, or every host right below a name.
    Dns,
    /// hardwareModuleName (RFC 4108, section 5).
    HardwareModule,
    /// permanentIdentifier (RFC 4043).
    PermanentIdentifier,
}

impl AlternativeName {
    /// Its word in the configuration.
    const fn label(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::HardwareModule => "hardware-module",
            Self::PermanentIdentifier => "permanent-identifier",
        }
    }
}

/// An alternative name that an applicant has proven to be its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProvenName {
    /// Its kind.
    pub(crate) kind: AlternativeName,
    /// As a certificate holds it.
    pub(crate) name: GeneralName,
}

impl Names {
    /// What stands against the names that were proven: proof is the applicant's, and whether a certificate says so the
    /// profile's.
    pub(crate) fn unless_permitted(&self, profile: &Profile) -> Option<Violation> {
        let proven = match self {
            Self::Proven(names) => names,
            Self::OfAccount | Self::Only(_) => return None,
        };
        let refused = proven.iter().find(|name| !profile.has_alternative_names(name.kind))?;
        let kind = refused.kind.label();
        Some(own_codes::NAME_NOT_PERMITTED.found(format!(
            "The request asks for an alternative name of the kind {kind}, which is none of the profile's alternative_names."
        )))
    }
}

/// Whose names a profile takes, as the configuration file writes it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct NamesConfig {
    /// The subject may be one commonName that is one of these.
    #[serde(default)]
    of: Vec<Identity>,
    /// Or the condition holds of it.
    allow: Option<String>,
}

/// Whose names a profile takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRule {
    of: Vec<Identity>,
    allow: Option<Condition>,
}

impl NameRule {
    /// Checks the settings of a profile that takes its subjects from requests, or does not.
    ///
    /// # Errors
    /// Every variant of [`NamesError`].
    pub fn new(config: Option<NamesConfig>, is_of_request: bool) -> Result<Self, NamesError> {
        let NamesConfig { of, allow } = match (config, is_of_request) {
            (None, false) => NamesConfig::default(),
            (Some(_), false) => return Err(NamesError::Unused),
            (Some(config), true) if !config.of.is_empty() || config.allow.is_some() => config,
            (None | Some(_), true) => return Err(NamesError::Missing),
        };
        Self::compile(of, allow)
    }

    /// The rule of a profile that rests on the word of registration authorities: names are theirs to say, within a condition
    /// where there is one. Identities that evidence shows are none here.
    ///
    /// # Errors
    /// [`NamesError::Allow`], [`NamesError::OfEvidence`].
    pub fn of_registration(config: Option<NamesConfig>) -> Result<Self, NamesError> {
        let NamesConfig { of, allow } = config.unwrap_or_default();
        if of.is_empty() { Self::compile(of, allow) } else { Err(NamesError::OfEvidence) }
    }

    /// What stands against a subject with its alternative names that a registration authority asks for.
    pub(crate) fn unless_registered(
        &self,
        applicant: &Applicant,
        subject: &NameView,
        alternative: &[GeneralName],
    ) -> Option<Violation> {
        judge(self.allow.as_ref()?, subject, &facts(applicant, (subject, alternative), &[], None)).err()
    }

    fn compile(of: Vec<Identity>, allow: Option<String>) -> Result<Self, NamesError> {
        let allow = allow.map(|text| Condition::compile(&text)).transpose();
        let allow = allow.map_err(|error: PolicyError| NamesError::Allow(error.to_string()))?;
        Ok(Self { of, allow })
    }
}

impl Service {
    /// What stands against a subject that a request asks for.
    pub(crate) fn check_name(
        &self,
        rule: &NameRule,
        applicant: &Applicant,
        subject: &NameView,
        (key, device): (&CertifiableKey, Option<&Device>),
    ) -> Result<Option<Violation>, Error> {
        let is_asked = |identity: &Identity| rule.allow.is_some() || rule.of.contains(identity);
        let mut known = Vec::new();
        for identity in Identity::ALL.into_iter().filter(is_asked) {
            if let Some(name) = self.identity(identity, applicant, key, device)? {
                known.push((identity, name));
            }
        }
        let asked = only_common_name(subject);
        let is_of = |(identity, name): &(Identity, String)| rule.of.contains(identity) && asked.as_ref() == Some(name);
        if known.iter().any(is_of) {
            return Ok(None);
        }
        let Some(condition) = &rule.allow else { return Ok(Some(own_codes::NAME_NOT_PERMITTED.violation())) };
        let alternative = applicant.names.alternative_names();
        Ok(judge(condition, subject, &facts(applicant, (subject, &alternative), &known, Some(key))).err())
    }

    /// One identity, where it is known.
    fn identity(
        &self,
        identity: Identity,
        applicant: &Applicant,
        key: &CertifiableKey,
        device: Option<&Device>,
    ) -> Result<Option<String>, Error> {
        let account = applicant.account.name();
        let verdicts = key.verdict().device().map(|device| device.id.clone());
        Ok(match identity {
            Identity::Account => Some(account.to_owned()),
            Identity::Certificate => {
                if let Names::Only(subject) = &applicant.names {
                    only_common_name(subject)
                } else {
                    None
                }
            }
            Identity::Device => device.map(|device| device.name.clone()),
            Identity::EkDigest => self.ek_digest(key)?,
            Identity::Inventory => match device {
                None => None,
                Some(device) => self.listed_name(account, device)?,
            },
            Identity::PermanentIdentifier => verdicts,
            Identity::Serial => verdicts.and_then(|id| {
                let (format, serial) = id.split_once(':')?;
                (!WITHOUT_SERIAL.contains(&format)).then(|| serial.to_owned())
            }),
        })
    }

    fn ek_digest(&self, key: &CertifiableKey) -> Result<Option<String>, Error> {
        let Some(digest) = key_digest(key.verdict()) else { return Ok(None) };
        let Some(row) = self.store.attesting_key(&digest)? else { return Ok(None) };
        Ok(CertView::parse(&row.ek_certificate).ok().map(|certificate| to_hex(&certificate.spki().sha256())))
    }

    /// The device's name, where the inventory lists it now, for this account and with the module that it has: another one that
    /// was enrolled by its maker's word can have been given any name.
    fn listed_name(&self, account: &str, device: &Device) -> Result<Option<String>, Error> {
        let row = self.store.listed_device(&device.name)?;
        let is_meant = |row: &InventoryRow| row.account == account && module_identity(&row.identity) == device.identity;
        Ok(row.filter(is_meant).map(|row| row.device))
    }
}

/// The one commonName that a name consists of.
fn only_common_name(name: &NameView) -> Option<String> {
    let mut attributes = name.rdns().flat_map(|rdn| rdn.attributes());
    let (Some(only), None) = (attributes.next(), attributes.next()) else { return None };
    if only.oid() == oid::COMMON_NAME { only.text() } else { None }
}

/// The attributes of a subject that a condition sees, each by its word.
const ATTRIBUTES: [(oid::Oid, &str); 7] = [
    (oid::COMMON_NAME, "common_name"),
    (oid::COUNTRY_NAME, "country"),
    (oid::LOCALITY_NAME, "locality"),
    (oid::ORGANIZATION_NAME, "organization"),
    (oid::ORGANIZATIONAL_UNIT_NAME, "organizational_unit"),
    (oid::SERIAL_NUMBER, "serial_number"),
    (oid::STATE_OR_PROVINCE_NAME, "state"),
];

/// Whether a condition is true of a subject; what it would see wrongly, it is not asked about. Of an attribute that is there
/// twice it would see one alone, or none, and so take for absent what the certificate says.
fn judge(condition: &Condition, subject: &NameView, facts: &Map<String, Value>) -> Result<(), Violation> {
    let judged = match ATTRIBUTES.iter().find(|(attribute, _)| subject.attributes(*attribute).nth(1).is_some()) {
        Some((_, word)) => Err(format!("is not asked about a subject that has {word} twice")),
        None => condition.judge(facts),
    };
    judged.map_err(|why| {
        own_codes::NAME_NOT_PERMITTED
            .found(format!("The profile does not allow the name that the request asks for: its condition {why}."))
    })
}

/// What a condition sees: `name`, `account`, `identities` and `claims`.
fn facts(
    applicant: &Applicant,
    (subject, alternative): (&NameView, &[GeneralName]),
    known: &[(Identity, String)],
    key: Option<&CertifiableKey>,
) -> Map<String, Value> {
    let mut name = Map::new();
    name.insert("text".to_owned(), json!(subject.to_display()));
    for (attribute, word) in ATTRIBUTES {
        if let Some(value) = subject.attributes(attribute).next().and_then(|value| value.text()) {
            name.insert(word.to_owned(), json!(value));
        }
    }
    let all = || subject.rdns().flat_map(|rdn| rdn.attributes());
    let others = all().filter(|found| !ATTRIBUTES.iter().any(|(known, _)| *known == found.oid())).count();
    name.insert("attributes".to_owned(), json!(all().count()));
    name.insert("others".to_owned(), json!(others));
    let alternative: Vec<Identifier> = alternative.iter().filter_map(Identifier::from_general_name).collect();
    for (kind, word) in [
        (IdentifierKind::Dns, "dns"),
        (IdentifierKind::HardwareModule, "hardware_modules"),
        (IdentifierKind::PermanentIdentifier, "permanent_identifiers"),
    ] {
        let values: Vec<&str> =
            alternative.iter().filter(|found| found.kind == kind).map(|found| found.value.as_str()).collect();
        name.insert(word.to_owned(), json!(values));
    }
    let identities = known.iter().map(|(identity, name)| (identity.label().to_owned(), json!(name))).collect();
    let report = key.map_or(Value::Null, |key| key.verdict().to_json());
    let claims = |part: &str| {
        let claims = report.get(part).and_then(|part| part.get("claims")).and_then(Value::as_object);
        let claims = claims.into_iter().flatten();
        let values = claims.map(|(name, claim)| (name.clone(), claim.get("value").cloned().unwrap_or(Value::Null)));
        Value::Object(values.collect())
    };
    let parts = ["key", "platform", "attesting_key"].map(|part| (part.to_owned(), claims(part)));
    Map::from_iter([
        ("name".to_owned(), Value::Object(name)),
        ("account".to_owned(), json!(applicant.account.name())),
        ("identities".to_owned(), Value::Object(identities)),
        ("claims".to_owned(), Value::Object(Map::from_iter(parts))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str, is_of_request: bool) -> Result<NameRule, NamesError> {
        NameRule::new(Some(toml::from_str(text).unwrap()), is_of_request)
    }

    #[test]
    fn a_profile_of_requests_says_whose_names_it_takes() {
        assert!(rule("of = ['device', 'serial']", true).is_ok());
        assert!(rule("allow = \"account == 'a'\"", true).is_ok());
        assert_eq!(rule("of = ['device']", false), Err(NamesError::Unused));
        assert_eq!(rule("of = []", true), Err(NamesError::Missing));
        assert_eq!(NameRule::new(None, true), Err(NamesError::Missing));
        assert!(NameRule::new(None, false).is_ok());
        assert!(matches!(rule("allow = 'account =='", true), Err(NamesError::Allow(_))));
        assert!(toml::from_str::<NamesConfig>("of = ['everybody']").is_err());
    }
}
