//! `[[issuers]]`: CAs that certificates may come from, besides the one that `init` makes.

use std::path::PathBuf;

use serde::Deserialize;
use thiserror::Error;

use super::is_name;
use crate::issuing_key::TokenKeyConfig;
use crate::profile::Profile;

/// Name of the issuing CA that `init` makes.
pub const DEFAULT_ISSUER: &str = "issuing";
/// Issuers in one configuration.
const ISSUERS_MAX: usize = 64;
/// Names that revocation lists have already.
const TAKEN: [&str; 3] = [DEFAULT_ISSUER, "attestation", "attestation-virtual"];

/// Why the issuers are refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum IssuersError {
    /// A name is taken, appears twice, or is none.
    #[error(
        "issuer {0:?}: the name must be 1 to 64 letters, digits, '-', '_', '.' or '@', once, and not one that is taken"
    )]
    Name(String),
    /// The key is neither in a file nor in a token, or in both.
    #[error("issuer {0}: it needs either key or pkcs11")]
    Key(String),
    /// More than are taken.
    #[error("more than {ISSUERS_MAX} issuers")]
    TooMany,
    /// A profile names an issuer that there is not.
    #[error("profile {profile}: there is no issuer {issuer}")]
    Unknown {
        /// The profile.
        profile: String,
        /// The issuer it names.
        issuer: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerFile {
    name: String,
    certificate: PathBuf,
    key: Option<PathBuf>,
    pkcs11: Option<TokenKeyConfig>,
}

/// A CA that certificates may come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerConfig {
    /// Its name, by which profiles and revocation lists name it.
    pub(crate) name: String,
    /// Its certificate and those between it and the root, PEM.
    pub(crate) certificate: PathBuf,
    /// Where its key is.
    pub(crate) key: IssuerKey,
}

/// Where an issuer's key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerKey {
    /// In a file (PKCS#8, PEM): for labs.
    File(PathBuf),
    /// In a token.
    Token(TokenKeyConfig),
}

pub(super) fn check(files: Vec<IssuerFile>, profiles: &[Profile]) -> Result<Vec<IssuerConfig>, IssuersError> {
    if files.len() > ISSUERS_MAX {
        return Err(IssuersError::TooMany);
    }
    let mut issuers: Vec<IssuerConfig> = Vec::with_capacity(files.len());
    for IssuerFile { name, certificate, key, pkcs11 } in files {
        let is_taken = TAKEN.contains(&name.as_str()) || issuers.iter().any(|issuer| issuer.name == name);
        if is_taken || !is_name(&name) {
            return Err(IssuersError::Name(name));
        }
        let key = match (key, pkcs11) {
            (Some(file), None) => IssuerKey::File(file),
            (None, Some(token)) => IssuerKey::Token(token),
            (None, None) | (Some(_), Some(_)) => return Err(IssuersError::Key(name)),
        };
        issuers.push(IssuerConfig { name, certificate, key });
    }
    for profile in profiles {
        let issuer = profile.issuer();
        if issuer != DEFAULT_ISSUER && !issuers.iter().any(|known| known.name == issuer) {
            let (profile, issuer) = (profile.name().to_owned(), issuer.to_owned());
            return Err(IssuersError::Unknown { profile, issuer });
        }
    }
    Ok(issuers)
}
