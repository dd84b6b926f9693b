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
    /// An issuer follows one that there is not, itself, or one that another follows, or issuers follow one another in a ring.
    #[error(
        "issuer {issuer} follows {follows}: that must be another issuer, followed by one, and none may follow itself"
    )]
    Follows {
        /// The issuer.
        issuer: String,
        /// The one it follows.
        follows: String,
    },
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
    follows: Option<String>,
    links: Option<PathBuf>,
}

/// A CA that certificates may come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerConfig {
    /// Its name, by which profiles and revocation lists name it.
    pub(crate) name: String,
    /// Its certificate, those between it and the root, and the root where that is another than this installation's; PEM.
    pub(crate) certificate: PathBuf,
    /// Where its key is.
    pub(crate) key: IssuerKey,
    /// The issuer in whose place it is, or will be.
    pub(crate) follows: Option<String>,
    /// Certificates that link its root to the one before, PEM (RFC 4210, section 4.4).
    pub(crate) links: Option<PathBuf>,
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
    for IssuerFile { name, certificate, key, pkcs11, follows, links } in files {
        let is_taken = TAKEN.contains(&name.as_str()) || issuers.iter().any(|issuer| issuer.name == name);
        if is_taken || !is_name(&name) {
            return Err(IssuersError::Name(name));
        }
        let key = match (key, pkcs11) {
            (Some(file), None) => IssuerKey::File(file),
            (None, Some(token)) => IssuerKey::Token(token),
            (None, None) | (Some(_), Some(_)) => return Err(IssuersError::Key(name)),
        };
        issuers.push(IssuerConfig { name, certificate, key, follows, links });
    }
    check_succession(&issuers)?;
    for profile in profiles {
        let Some(issuer) = profile.issuer() else { continue };
        if issuer != DEFAULT_ISSUER && !issuers.iter().any(|known| known.name == issuer) {
            let (profile, issuer) = (profile.name().to_owned(), issuer.to_owned());
            return Err(IssuersError::Unknown { profile, issuer });
        }
    }
    Ok(issuers)
}

/// The issuer that one `follows`, the one that this follows, and so on: no more than there are issuers, lest it be a ring.
pub(crate) fn predecessors<'a>(issuers: &'a [IssuerConfig], follows: Option<&'a str>) -> impl Iterator<Item = &'a str> {
    let before = |name: &&str| issuers.iter().find(|issuer| issuer.name == *name)?.follows.as_deref();
    std::iter::successors(follows, before).take(issuers.len())
}

/// Each issuer follows at most one and is followed by at most one, so that those of one succession stand in a row. Every row
/// ends: with more steps than issuers it would be a ring.
fn check_succession(issuers: &[IssuerConfig]) -> Result<(), IssuersError> {
    for issuer in issuers {
        let Some(follows) = issuer.follows.as_deref() else { continue };
        let wrong = || IssuersError::Follows { issuer: issuer.name.clone(), follows: follows.to_owned() };
        let is_there = follows == DEFAULT_ISSUER || issuers.iter().any(|known| known.name == follows);
        let followers = issuers.iter().filter(|other| other.follows.as_deref() == Some(follows)).count();
        if !is_there || followers > 1 || predecessors(issuers, Some(follows)).any(|name| name == issuer.name) {
            return Err(wrong());
        }
    }
    Ok(())
}
