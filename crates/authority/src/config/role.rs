//! `role` and `[pseudonyms]`: which half of the authority this installation is.

use std::path::PathBuf;

use serde::Deserialize;
use thiserror::Error;

use super::{Account, Capability, ConfigError, in_range, sha256_from_hex};
use crate::profile::{DeviceRule, EvidenceRule, Profile};
use crate::protocol::Verb;
use crate::protocol::json::Operation;
use crate::store::Digest;

/// Days that a pseudonym is valid, at most.
const PSEUDONYM_DAYS_MAX: i64 = 7;
/// Endorsement keys that get no more pseudonyms.
const WITHDRAWN_MAX: usize = 100_000;

/// Which half of the authority an installation is (`docs/anonymity.md`).
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Both: the one knows its devices by their names.
    #[default]
    Both,
    /// Activates attesting keys beside their endorsement keys and signs pseudonyms for them. Issues nothing else.
    Enrolment,
    /// Issues certificates on the word of pseudonyms. Sees no endorsement key.
    Issuing,
}

impl Role {
    /// Whether it does this; the routes of what it does not do are absent.
    #[must_use]
    pub const fn performs(self, verb: Verb) -> bool {
        match verb {
            Verb::Json(operation) => self.answers(operation),
            // Each is about certificates.
            Verb::Acme(_) | Verb::Est(_) | Verb::Cmp(_) | Verb::Distribution(_) => self.issues(),
        }
    }

    const fn answers(self, operation: Operation) -> bool {
        match operation {
            Operation::Description | Operation::MintNonce | Operation::Trust => true,
            Operation::Revoke | Operation::Metrics => self.issues(),
            Operation::OpenChallenge | Operation::Activate => self.enrolls(),
            // A pseudonym is neither renewed nor revoked, and is in no inventory.
            Operation::Renew | Operation::ImportInventory => matches!(self, Self::Both),
            Operation::RevocationList | Operation::Issue | Operation::Appraise | Operation::ResultKeys => self.issues(),
        }
    }

    /// Whether attesting keys are enrolled.
    pub(crate) const fn enrolls(self) -> bool {
        matches!(self, Self::Both | Self::Enrolment)
    }

    /// Whether certificates are issued.
    pub(crate) const fn issues(self) -> bool {
        matches!(self, Self::Both | Self::Issuing)
    }

    const fn allows(self, capability: Capability) -> bool {
        match capability {
            // Certificates are revoked where they are issued.
            Capability::Administer => self.issues(),
            Capability::Enroll => self.enrolls(),
            Capability::Appraise | Capability::Issue | Capability::Monitor | Capability::Register => self.issues(),
        }
    }

    /// Its word in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Enrolment => "enrolment",
            Self::Issuing => "issuing",
        }
    }
}

/// What a configuration asks for that its role does not do.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoleError {
    /// An account has a right that nobody has here.
    #[error("account {account}: nobody may {capability:?} with role = \"{}\"", role.label())]
    Capability {
        /// The account.
        account: String,
        /// The right.
        capability: Capability,
        /// The role.
        role: Role,
    },
    /// A profile asks for devices that are enrolled here; none are.
    #[error("profile {profile}: role = \"issuing\" enrolls no device; write devices = \"any\"")]
    Devices {
        /// The profile.
        profile: String,
    },
    /// A withdrawn endorsement key is not 64 hexadecimal digits, or there are more than the limit.
    #[error("[pseudonyms] withdrawn must be up to {WITHDRAWN_MAX} digests of 64 hexadecimal digits")]
    Withdrawn,
    /// `link = "escrow"` and no key, or a key without it.
    #[error("[pseudonyms] escrow_key is needed with link = \"escrow\" and has no effect otherwise")]
    EscrowKey,
    /// `role = "enrolment"` without the section, or the section without it.
    #[error("[pseudonyms] is needed with role = \"enrolment\" and has no effect otherwise")]
    Pseudonyms,
    /// Methods, ceremonies or profiles, which this role does not use.
    #[error("{section} has no effect with role = \"{}\"", role.label())]
    Unused {
        /// The section.
        section: &'static str,
        /// The role.
        role: Role,
    },
}

/// What remains of the link between a pseudonym and its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Nothing.
    Forget,
    /// It is encrypted to the public key in this file, whose private part is kept elsewhere.
    Escrow(PathBuf),
}

/// How pseudonyms are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PseudonymConfig {
    pub(crate) link: Link,
    pub(crate) validity_days: i64,
    /// Digests of endorsement keys that get no more.
    pub(crate) withdrawn: Vec<Digest>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LinkName {
    Forget,
    Escrow,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PseudonymFile {
    link: LinkName,
    escrow_key: Option<PathBuf>,
    #[serde(default = "default_validity_days")]
    validity_days: i64,
    #[serde(default)]
    withdrawn: Vec<String>,
}

const fn default_validity_days() -> i64 {
    PSEUDONYM_DAYS_MAX
}

impl PseudonymFile {
    fn check(self) -> Result<PseudonymConfig, ConfigError> {
        let link = match (self.link, self.escrow_key) {
            (LinkName::Forget, None) => Link::Forget,
            (LinkName::Escrow, Some(key)) => Link::Escrow(key),
            (LinkName::Forget, Some(_)) | (LinkName::Escrow, None) => return Err(RoleError::EscrowKey.into()),
        };
        if self.withdrawn.len() > WITHDRAWN_MAX {
            return Err(RoleError::Withdrawn.into());
        }
        let withdrawn: Option<Vec<Digest>> = self.withdrawn.iter().map(|digits| sha256_from_hex(digits)).collect();
        Ok(PseudonymConfig {
            link,
            validity_days: in_range("validity_days", self.validity_days, 1, PSEUDONYM_DAYS_MAX)?,
            withdrawn: withdrawn.ok_or(RoleError::Withdrawn)?,
        })
    }
}

/// What there is of other sections.
pub(super) struct Others<'a> {
    pub(super) profiles: &'a [Profile],
    pub(super) has_profiles: bool,
    pub(super) has_enrolment: bool,
    pub(super) accounts: &'a [Account],
}

/// Whether a profile is for devices that are enrolled here.
fn rests_on_enrolled(profile: &Profile) -> bool {
    match (profile.evidence(), profile.devices()) {
        (EvidenceRule::Appraised, DeviceRule::Enrolled) => true,
        (EvidenceRule::Appraised, DeviceRule::Any) | (EvidenceRule::RegistrationAuthority, _) => false,
    }
}

/// Checks that everything in the configuration is of the role. A setting without effect may be one that somebody relies
/// on.
pub(super) fn check(
    role: Role,
    pseudonyms: Option<PseudonymFile>,
    others: &Others<'_>,
) -> Result<Option<PseudonymConfig>, ConfigError> {
    for account in others.accounts {
        if let Some(capability) = account.may.iter().find(|capability| !role.allows(**capability)) {
            let (account, capability) = (account.name.clone(), *capability);
            return Err(RoleError::Capability { account, capability, role }.into());
        }
    }
    let unused = |section| Err(RoleError::Unused { section, role }.into());
    match (role, pseudonyms) {
        (Role::Both, None) => Ok(None),
        (Role::Issuing, None) if others.has_enrolment => unused("[enrolment] or [ceremony]"),
        (Role::Issuing, None) => match others.profiles.iter().find(|profile| rests_on_enrolled(profile)) {
            Some(profile) => Err(RoleError::Devices { profile: profile.name().to_owned() }.into()),
            None => Ok(None),
        },
        (Role::Enrolment, Some(_)) if others.has_enrolment => unused("[enrolment] or [ceremony]"),
        (Role::Enrolment, Some(_)) if others.has_profiles => unused("[[profiles]]"),
        (Role::Enrolment, Some(file)) => file.check().map(Some),
        (Role::Enrolment, None) | (Role::Both | Role::Issuing, Some(_)) => Err(RoleError::Pseudonyms.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn refused(text: &str) -> RoleError {
        match Config::from_toml(&format!("{text}\n[tls]\nself_signed = true\n")) {
            Err(ConfigError::Role(error)) => error,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn accepted(text: &str) -> Config {
        Config::from_toml(&format!("{text}\n[tls]\nself_signed = true\n")).unwrap()
    }

    fn account(may: &str) -> String {
        format!("[[accounts]]\nname = 'a'\ntoken_sha256 = '{}'\nmay = ['{may}']\n", "1".repeat(64))
    }

    const FORGET: &str = "role = 'enrolment'\n[pseudonyms]\nlink = 'forget'\n";
    const ISSUING: &str = "role = 'issuing'\n[[profiles]]\nname = 'device'\ndevices = 'any'\n";

    #[test]
    fn each_role_has_its_settings_and_no_others() {
        assert_eq!(accepted("").role, Role::Both);
        let enrolment = accepted(&(FORGET.to_owned() + &account("enroll")));
        let config = PseudonymConfig { link: Link::Forget, validity_days: 7, withdrawn: Vec::new() };
        assert_eq!((enrolment.role, enrolment.pseudonyms), (Role::Enrolment, Some(config)));
        assert_eq!(accepted(&(ISSUING.to_owned() + &account("issue"))).role, Role::Issuing);

        assert_eq!(refused("role = 'enrolment'"), RoleError::Pseudonyms);
        assert_eq!(refused("[pseudonyms]\nlink = 'forget'"), RoleError::Pseudonyms);
        assert_eq!(refused(&format!("{ISSUING}[pseudonyms]\nlink = 'forget'")), RoleError::Pseudonyms);
        assert!(matches!(refused("role = 'issuing'"), RoleError::Devices { .. }));
        assert!(matches!(refused(&format!("{FORGET}[[profiles]]\nname = 'p'")), RoleError::Unused { .. }));
        assert!(matches!(refused(&format!("{FORGET}[enrolment]\nfirst_use = true")), RoleError::Unused { .. }));
        assert!(matches!(refused(&format!("{ISSUING}[enrolment]\nfirst_use = true")), RoleError::Unused { .. }));
        for (settings, may) in [(FORGET, "issue"), (FORGET, "administer"), (ISSUING, "enroll")] {
            let refused = refused(&(settings.to_owned() + &account(may)));
            assert!(matches!(refused, RoleError::Capability { .. }), "{may}: {refused}");
        }
    }

    #[test]
    fn pseudonyms_are_short_and_escrow_needs_a_key() {
        assert_eq!(refused(&format!("{FORGET}escrow_key = 'k.pem'")), RoleError::EscrowKey);
        assert_eq!(refused("role = 'enrolment'\n[pseudonyms]\nlink = 'escrow'"), RoleError::EscrowKey);
        let escrow = accepted("role = 'enrolment'\n[pseudonyms]\nlink = 'escrow'\nescrow_key = 'k.pem'");
        assert_eq!(escrow.pseudonyms.unwrap().link, Link::Escrow(PathBuf::from("k.pem")));
        assert_eq!(refused(&format!("{FORGET}withdrawn = ['00']")), RoleError::Withdrawn);
        for days in [0, 8] {
            let text = format!("{FORGET}validity_days = {days}\n[tls]\nself_signed = true\n");
            let refused = Config::from_toml(&text).unwrap_err();
            assert!(matches!(refused, ConfigError::OutOfRange { field: "validity_days", least: 1, most: 7, .. }));
        }
    }

    #[test]
    fn no_operation_is_of_neither_role() {
        for route in crate::ROUTES {
            let performs = [Role::Enrolment, Role::Issuing].map(|role| role.performs(route.verb));
            assert!(Role::Both.performs(route.verb), "{}", route.path);
            let alone = matches!(route.verb, Verb::Json(Operation::Renew | Operation::ImportInventory));
            assert_eq!(performs.contains(&true), !alone, "{}", route.path);
        }
    }
}
