//! Bounds of the server: how much it holds at once, and how long it waits for a client.

use std::time::Duration;

use serde::Deserialize;

use crate::config::{ConfigError, in_range};

/// Octets in a MiB.
const MEBIBYTE: usize = 1024 * 1024;

/// The `[limits]` table as the configuration file writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsFile {
    connections: i64,
    requests: i64,
    body_mebibytes: i64,
    handshake_seconds: i64,
    head_seconds: i64,
    body_seconds: i64,
    queue_seconds: i64,
}

impl Default for LimitsFile {
    fn default() -> Self {
        Self {
            connections: 512,
            requests: 64,
            body_mebibytes: 64,
            handshake_seconds: 10,
            head_seconds: 15,
            body_seconds: 30,
            queue_seconds: 5,
        }
    }
}

/// Checked bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once. When all are taken, the one that has kept the server waiting longest goes.
    pub(crate) connections: usize,
    /// Requests that are worked on at once; more wait.
    pub(crate) requests: usize,
    /// Octets of bodies that are held at once, those that have not arrived whole included. One caller gets half.
    pub(crate) body_octets: usize,
    /// Time for the TLS handshake.
    pub(crate) handshake: Duration,
    /// Time for the head of a request, the pause before it included.
    pub(crate) head: Duration,
    /// Time in which the whole body must have arrived.
    pub(crate) body: Duration,
    /// Time that a request waits to be worked on before it is told that the server is busy.
    pub(crate) queue: Duration,
}

impl LimitsFile {
    pub(crate) fn check(&self) -> Result<Limits, ConfigError> {
        let count = |field, value, least, most| {
            // The range is one that every platform's usize holds.
            in_range(field, value, least, most).map(|value| usize::try_from(value).unwrap_or(usize::MAX))
        };
        let seconds = |field, value| {
            in_range(field, value, 1, 600).map(|value| Duration::from_secs(u64::try_from(value).unwrap_or(1)))
        };
        // Half of it must hold the largest body of any route.
        let mebibytes = count("body_mebibytes", self.body_mebibytes, 16, 65_536)?;
        Ok(Limits {
            connections: count("connections", self.connections, 2, 100_000)?,
            requests: count("requests", self.requests, 2, 1_024)?,
            body_octets: mebibytes.saturating_mul(MEBIBYTE),
            handshake: seconds("handshake_seconds", self.handshake_seconds)?,
            head: seconds("head_seconds", self.head_seconds)?,
            body: seconds("body_seconds", self.body_seconds)?,
            queue: seconds("queue_seconds", self.queue_seconds)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_defaults_and_bounds() {
        let check = |text: &str| toml::from_str::<LimitsFile>(text).unwrap().check();
        let default = check("").unwrap();
        assert_eq!((default.connections, default.requests, default.body_octets), (512, 64, 64 * MEBIBYTE));
        assert_eq!(check("head_seconds = 2").unwrap().head, Duration::from_secs(2));
        for text in ["connections = 1", "requests = 1", "body_mebibytes = 15", "body_seconds = 0", "head_seconds = 601"]
        {
            assert!(matches!(check(text).unwrap_err(), ConfigError::OutOfRange { .. }), "{text}");
        }
        assert!(toml::from_str::<LimitsFile>("depth = 1").is_err());
    }
}
