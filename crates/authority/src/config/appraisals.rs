//! `[appraisals.ear]`: the key that signs attestation results, so that others can rely on what was appraised here.

use std::path::PathBuf;

use serde::Deserialize;
use thiserror::Error;

use super::{ConfigError, Role, RoleError, in_range};
use crate::issuing_key::TokenKeyConfig;

/// Public keys that are published besides the one in use.
const FORMER_KEYS_MAX: usize = 8;
/// Seconds for which a result may be relied on, unless the configuration says otherwise.
const LIFETIME_SECONDS_DEFAULT: i64 = 300;
/// The longest that may be chosen: whatever is revoked meanwhile, a result goes on saying what it says.
const LIFETIME_SECONDS_MAX: i64 = 86_400;

/// Why `[appraisals.ear]` is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppraisalsError {
    /// The key is neither in a file nor in a token, or in both.
    #[error("[appraisals.ear] needs either key, or pkcs11 with public_key")]
    Key,
    /// More former keys than are published.
    #[error("[appraisals.ear] former_keys has more than {FORMER_KEYS_MAX} keys")]
    FormerKeys,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppraisalsFile {
    ear: EarFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EarFile {
    key: Option<PathBuf>,
    pkcs11: Option<TokenKeyConfig>,
    public_key: Option<PathBuf>,
    #[serde(default = "default_lifetime_seconds")]
    lifetime_seconds: i64,
    #[serde(default)]
    former_keys: Vec<PathBuf>,
}

const fn default_lifetime_seconds() -> i64 {
    LIFETIME_SECONDS_DEFAULT
}

/// What attestation results are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarConfig {
    /// Where the key is.
    pub(crate) key: EarKey,
    /// For how long a result may be relied on.
    pub(crate) lifetime_seconds: i64,
    /// Files of public keys that are no longer used, or not yet, and are published besides.
    pub(crate) former_keys: Vec<PathBuf>,
}

/// Where the key is that signs attestation results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EarKey {
    /// In a file (PKCS #8, PEM), which nobody else may read.
    File(PathBuf),
    /// In a token.
    Token {
        /// Where in which.
        token: TokenKeyConfig,
        /// Its public key, or a certificate of it, PEM.
        public_key: PathBuf,
    },
}

impl AppraisalsFile {
    pub(super) fn check(self, role: Role) -> Result<EarConfig, ConfigError> {
        // One role appraises nothing.
        if !role.issues() {
            return Err(RoleError::Unused { section: "[appraisals.ear]", role }.into());
        }
        let EarFile { key, pkcs11, public_key, lifetime_seconds, former_keys } = self.ear;
        let key = match (key, pkcs11, public_key) {
            (Some(file), None, None) => EarKey::File(file),
            (None, Some(token), Some(public_key)) => EarKey::Token { token, public_key },
            (Some(_) | None, Some(_) | None, Some(_) | None) => return Err(AppraisalsError::Key.into()),
        };
        if former_keys.len() > FORMER_KEYS_MAX {
            return Err(AppraisalsError::FormerKeys.into());
        }
        let lifetime_seconds = in_range("lifetime_seconds", lifetime_seconds, 10, LIFETIME_SECONDS_MAX)?;
        Ok(EarConfig { key, lifetime_seconds, former_keys })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn section(text: &str) -> Result<Option<EarConfig>, ConfigError> {
        let text = format!("[tls]\nself_signed = true\n[appraisals.ear]\n{text}");
        Config::from_toml(&text).map(|config| config.ear)
    }

    const TOKEN: &str = "pkcs11 = { module = 'm', token = 't', key = 'k', pin_file = 'p' }\n";

    #[test]
    fn the_key_is_in_a_file_or_in_a_token() {
        let config = section("key = 'ear.key'").unwrap().unwrap();
        assert_eq!((config.key, config.lifetime_seconds), (EarKey::File("ear.key".into()), 300));
        let in_token = section(&format!("{TOKEN}public_key = 'ear.pub'")).unwrap().unwrap();
        assert!(matches!(in_token.key, EarKey::Token { .. }));
        for text in ["", TOKEN, "public_key = 'x'", "key = 'x'\npublic_key = 'x'", &format!("{TOKEN}key = 'x'")] {
            assert!(matches!(section(text), Err(ConfigError::Appraisals(AppraisalsError::Key))), "{text}");
        }
        assert!(Config::from_toml("[tls]\nself_signed = true\n[appraisals]\n").is_err());
        assert!(section("key = 'x'\ncolour = 1").is_err());
    }

    #[test]
    fn results_are_short_lived_and_keys_are_few() {
        for seconds in [9, 86_401] {
            let refused = section(&format!("key = 'x'\nlifetime_seconds = {seconds}")).unwrap_err();
            assert!(matches!(refused, ConfigError::OutOfRange { field: "lifetime_seconds", .. }));
        }
        assert!(section("key = 'x'\nlifetime_seconds = 86400\nformer_keys = ['a', 'b']").is_ok());
        let many = section(&format!("key = 'x'\nformer_keys = [{}]", "'a', ".repeat(9)));
        assert!(matches!(many, Err(ConfigError::Appraisals(AppraisalsError::FormerKeys))));
    }

    #[test]
    fn who_appraises_nothing_signs_no_results() {
        let text =
            "role = 'enrolment'\n[pseudonyms]\nlink = 'forget'\n[tls]\nself_signed = true\n[appraisals.ear]\nkey = 'x'";
        assert!(matches!(Config::from_toml(text), Err(ConfigError::Role(RoleError::Unused { .. }))));
    }
}
