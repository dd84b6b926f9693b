//! Whom a key belongs to.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A client's name space. Its text is `unix:1000` for a user and `direct:NAME` for a name that a client gave itself, so that
/// one never is the other, whatever name is given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientId {
    /// A Unix user, as the kernel knows it.
    Unix(u32),
    /// A name that its bearer claimed and nobody proved (AuthType Direct).
    Direct(DirectName),
}

impl ClientId {
    /// The text that ListClients has: a user's bare decimal uid, as Parsec names it, else the client's own text.
    #[must_use]
    pub fn listed(&self) -> String {
        match self {
            ClientId::Unix(uid) => uid.to_string(),
            ClientId::Direct(_) => self.to_string(),
        }
    }

    /// The client of that text as [`ClientId::listed`] or `Display` gives it.
    ///
    /// # Errors
    ///
    /// [`ClientIdFault`].
    pub fn from_listed(text: &str) -> Result<ClientId, ClientIdFault> {
        match decimal(text) {
            Some(uid) => Ok(ClientId::Unix(uid)),
            None => text.parse(),
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientId::Unix(uid) => write!(formatter, "unix:{uid}"),
            ClientId::Direct(name) => write!(formatter, "direct:{}", name.as_str()),
        }
    }
}

impl FromStr for ClientId {
    type Err = ClientIdFault;

    fn from_str(text: &str) -> Result<ClientId, ClientIdFault> {
        match text.split_once(':') {
            Some(("unix", uid)) => decimal(uid).map(ClientId::Unix).ok_or(ClientIdFault::Uid),
            Some(("direct", name)) => DirectName::new(name).map(ClientId::Direct),
            Some(_) | None => Err(ClientIdFault::Kind),
        }
    }
}

/// A uid as it is printed: no sign, no leading zeros.
fn decimal(text: &str) -> Option<u32> {
    text.parse().ok().filter(|uid: &u32| uid.to_string() == text)
}

/// A name that a client claims under AuthType Direct.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectName(String);

impl DirectName {
    /// Longest name, in octets of UTF-8.
    pub const MAX_OCTETS: usize = 255;

    /// The name of that text.
    ///
    /// # Errors
    ///
    /// [`ClientIdFault::NameLength`], [`ClientIdFault::NameControl`].
    pub fn new(name: &str) -> Result<DirectName, ClientIdFault> {
        if !(1..=DirectName::MAX_OCTETS).contains(&name.len()) {
            return Err(ClientIdFault::NameLength { found: name.len() });
        }
        if name.chars().any(char::is_control) {
            return Err(ClientIdFault::NameControl);
        }
        Ok(DirectName(name.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text names no client.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClientIdFault {
    /// Neither of the two kinds.
    #[error("a client is named unix:UID or direct:NAME")]
    Kind,
    /// A name has control characters.
    #[error("a name that a client claims has no control characters")]
    NameControl,
    /// A name is empty or too long.
    #[error("a name of {found} octets; 1 to {limit} are allowed", limit = DirectName::MAX_OCTETS)]
    NameLength {
        /// Its octets.
        found: usize,
    },
    /// Not a uid in decimal.
    #[error("a uid is a decimal number of 32 bits, without sign and leading zeros")]
    Uid,
}

#[cfg(test)]
mod tests {
    use super::{ClientId, ClientIdFault, DirectName};

    fn direct(name: &str) -> ClientId {
        ClientId::Direct(DirectName::new(name).unwrap())
    }

    #[test]
    fn texts_never_collide_and_come_back() {
        let clients = [
            ClientId::Unix(0),
            ClientId::Unix(1000),
            direct("1000"),
            direct("unix:1000"),
            direct("direct:1000"),
            direct(":"),
        ];
        for (index, client) in clients.iter().enumerate() {
            assert_eq!(client.to_string().parse(), Ok(client.clone()));
            assert_eq!(ClientId::from_listed(&client.listed()), Ok(client.clone()));
            assert_eq!(ClientId::from_listed(&client.to_string()), Ok(client.clone()));
            for other in &clients[..index] {
                assert_ne!(client.to_string(), other.to_string());
                assert_ne!(client.listed(), other.listed());
            }
        }
        assert_eq!(
            (ClientId::Unix(1000).listed(), direct("1000").listed()),
            ("1000".to_owned(), "direct:1000".to_owned())
        );
    }

    #[test]
    fn other_texts_are_refused() {
        let refusal = |text: &str| ClientId::from_listed(text).unwrap_err();
        for text in ["", "unix", "Unix:1", "root", "+1", "01", "4294967296"] {
            assert_eq!(refusal(text), ClientIdFault::Kind, "{text}");
        }
        for text in ["unix:", "unix:+1", "unix:01", "unix:-1", "unix: 1", "unix:4294967296"] {
            assert_eq!(refusal(text), ClientIdFault::Uid, "{text}");
        }
        assert_eq!(refusal("direct:"), ClientIdFault::NameLength { found: 0 });
        assert_eq!(refusal("direct:a\nb"), ClientIdFault::NameControl);
        assert_eq!(DirectName::new(&"a".repeat(256)), Err(ClientIdFault::NameLength { found: 256 }));
        assert!(DirectName::new(&"a".repeat(255)).is_ok());
    }
}
