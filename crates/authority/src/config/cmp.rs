//! What an account needs for CMP with a shared secret.

use std::path::PathBuf;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::protocol::cmp::limits::{KEY_ID_OCTETS_MAX, SECRET_OCTETS_MAX, SECRET_OCTETS_MIN};
use crate::secret::is_open_to_others;

/// Why a shared secret for CMP is refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CmpSecretError {
    /// Two accounts share a reference.
    #[error("account {account}: cmp_reference appears twice")]
    Duplicate {
        /// The account.
        account: String,
    },
    /// The secret's file cannot be read.
    #[error("account {account}: cmp_secret {}", path.display())]
    Io {
        /// The account.
        account: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// The secret is too short or too long.
    #[error(
        "account {account}: the secret in {} must have {SECRET_OCTETS_MIN} to {SECRET_OCTETS_MAX} octets", path.display()
    )]
    Length {
        /// The account.
        account: String,
        /// The file.
        path: PathBuf,
    },
    /// One of `cmp_reference` and `cmp_secret` without the other.
    #[error("account {account}: cmp_reference and cmp_secret go together")]
    Pair {
        /// The account.
        account: String,
    },
    /// Others than its owner may read the file.
    #[error("account {account}: {} is open to others than its owner; chmod 600", path.display())]
    Permissions {
        /// The account.
        account: String,
        /// The file.
        path: PathBuf,
    },
    /// The reference is empty or too long.
    #[error("account {account}: cmp_reference must have 1 to {KEY_ID_OCTETS_MAX} octets")]
    Reference {
        /// The account.
        account: String,
    },
}

/// A shared secret by its reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CmpSecret {
    /// What the client sends as senderKID.
    pub(crate) reference: String,
    /// Where the secret lies; a line end after it is not part of it.
    pub(crate) path: PathBuf,
}

impl CmpSecret {
    /// Both settings of an account, or neither.
    pub(super) fn check(
        account: &str,
        reference: Option<String>,
        path: Option<PathBuf>,
    ) -> Result<Option<Self>, CmpSecretError> {
        match (reference, path) {
            (None, None) => Ok(None),
            (Some(reference), Some(path)) if (1..=KEY_ID_OCTETS_MAX).contains(&reference.len()) => {
                Ok(Some(Self { reference, path }))
            }
            (Some(_), Some(_)) => Err(CmpSecretError::Reference { account: account.to_owned() }),
            (Some(_), None) | (None, Some(_)) => Err(CmpSecretError::Pair { account: account.to_owned() }),
        }
    }

    /// The secret, from a file that its owner alone may read.
    pub(crate) fn load(&self, account: &str) -> Result<Zeroizing<Vec<u8>>, CmpSecretError> {
        let (account, path) = (account.to_owned(), self.path.clone());
        let unreadable = |error| CmpSecretError::Io { account: account.clone(), path: path.clone(), error };
        let metadata = std::fs::metadata(&path).map_err(unreadable)?;
        if is_open_to_others(&metadata) {
            return Err(CmpSecretError::Permissions { account, path });
        }
        // The line end comes on top.
        if metadata.len() > u64::try_from(SECRET_OCTETS_MAX + 2).unwrap_or(0) {
            return Err(CmpSecretError::Length { account, path });
        }
        let mut secret = Zeroizing::new(std::fs::read(&path).map_err(unreadable)?);
        while secret.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
            secret.pop();
        }
        if (SECRET_OCTETS_MIN..=SECRET_OCTETS_MAX).contains(&secret.len()) {
            Ok(secret)
        } else {
            Err(CmpSecretError::Length { account, path })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_and_secret_go_together() {
        let check = |reference: Option<&str>, path: Option<&str>| {
            CmpSecret::check("a", reference.map(str::to_owned), path.map(PathBuf::from))
        };
        assert_eq!(check(None, None).unwrap(), None);
        assert!(check(Some("r"), Some("p")).unwrap().is_some());
        assert!(matches!(check(Some("r"), None), Err(CmpSecretError::Pair { .. })));
        assert!(matches!(check(None, Some("p")), Err(CmpSecretError::Pair { .. })));
        assert!(matches!(check(Some(""), Some("p")), Err(CmpSecretError::Reference { .. })));
        assert!(matches!(check(Some(&"r".repeat(129)), Some("p")), Err(CmpSecretError::Reference { .. })));
    }

    #[test]
    fn a_secret_is_its_owners_and_long_enough() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let secret = CmpSecret { reference: "r".to_owned(), path: folder.path().join("secret") };
        let write = |text: &str, mode| {
            std::fs::write(&secret.path, text).unwrap();
            std::fs::set_permissions(&secret.path, std::fs::Permissions::from_mode(mode)).unwrap();
            secret.load("a")
        };
        assert!(matches!(secret.load("a"), Err(CmpSecretError::Io { .. })));
        assert_eq!(write("0123456789abcdef\n", 0o600).unwrap().as_slice(), b"0123456789abcdef");
        assert!(matches!(write("0123456789abcdef", 0o640), Err(CmpSecretError::Permissions { .. })));
        assert!(matches!(write("0123456789abcde\n", 0o600), Err(CmpSecretError::Length { .. })));
        assert!(matches!(write(&"x".repeat(1025), 0o600), Err(CmpSecretError::Length { .. })));
    }
}
