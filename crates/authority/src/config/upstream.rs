//! `[[upstreams]]`: CAs elsewhere that certificates may come from, reached by CMP or EST.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use super::is_name;
use crate::issuing_key::TokenKeyConfig;
use crate::profile::{CertificateSource, Profile};
use crate::protocol::cmp::limits::KEY_ID_OCTETS_MAX;

/// Upstreams in one configuration.
const UPSTREAMS_MAX: usize = 64;
/// Seconds that one exchange may take.
const TIMEOUT_SECONDS: std::ops::RangeInclusive<u64> = 1..=60;
/// Octets of a URL.
const URL_OCTETS_MAX: usize = 1024;
/// The port of HTTPS.
const HTTPS_PORT: u16 = 443;

/// Why the upstreams are refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpstreamsError {
    /// The credential is neither a shared secret nor a certificate with its key, or both.
    #[error(
        "upstream {0}: cmp needs reference and secret, or certificate and key (or pkcs11); est needs name and \
         password, or certificate and key"
    )]
    Credential(String),
    /// A name appears twice, or is none.
    #[error("upstream {0:?}: the name must be 1 to 64 letters, digits, '-', '_', '.' or '@', once")]
    Name(String),
    /// Neither protocol, or both.
    #[error("upstream {0}: it needs either cmp or est")]
    Protocol(String),
    /// The time that an exchange may take.
    #[error("upstream {name}: timeout_seconds is {found}, allowed are 1 to 60")]
    Timeout {
        /// The upstream.
        name: String,
        /// The value found.
        found: u64,
    },
    /// More than are taken.
    #[error("more than {UPSTREAMS_MAX} upstreams")]
    TooMany,
    /// A profile names an upstream that there is not.
    #[error("profile {profile}: there is no upstream {upstream}")]
    Unknown {
        /// The profile.
        profile: String,
        /// The upstream it names.
        upstream: String,
    },
    /// Not a URL that can be used.
    #[error("upstream {0}: url must be https://HOST[:PORT]/PATH, without user, query and fragment")]
    Url(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpstreamFile {
    name: String,
    url: String,
    tls_roots: PathBuf,
    ca: PathBuf,
    #[serde(default = "default_timeout_seconds")]
    timeout_seconds: u64,
    cmp: Option<CmpFile>,
    est: Option<EstFile>,
}

const fn default_timeout_seconds() -> u64 {
    10
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CmpFile {
    reference: Option<String>,
    secret: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    pkcs11: Option<TokenKeyConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EstFile {
    name: Option<String>,
    password: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// A CA elsewhere, and how it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// Its name, by which profiles name it.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) url: UpstreamUrl,
    /// The roots of its TLS server, PEM.
    pub(crate) tls_roots: PathBuf,
    /// Its certificate, then those between it and the root, PEM.
    pub(crate) ca: PathBuf,
    /// How long one exchange may take.
    pub(crate) timeout: Duration,
    /// By which protocol, and who asks.
    pub(crate) protocol: UpstreamProtocol,
}

/// Where an upstream is: HTTPS alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamUrl {
    /// Host name or address.
    pub(crate) host: String,
    /// The port.
    pub(crate) port: u16,
    /// The path as it is written.
    pub(crate) path: String,
}

/// By which protocol an upstream is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// CMP: this authority says that it has verified the request (raVerified).
    Cmp(CmpCredential),
    /// EST: the client's own request is handed on where it holds nothing but what was decided.
    Est(EstCredential),
}

/// By what messages of CMP are this authority's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CmpCredential {
    /// A shared secret.
    Secret {
        /// senderKID.
        reference: String,
        /// The file of the secret.
        path: PathBuf,
    },
    /// A certificate.
    Certificate {
        /// It and its chain, PEM.
        certificate: PathBuf,
        /// Where its key is.
        key: RegistrarKey,
    },
}

/// Where the key is by which this authority signs messages to an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistrarKey {
    /// In a file (PKCS#8, PEM).
    File(PathBuf),
    /// In a token.
    Token(TokenKeyConfig),
}

/// By what requests of EST are this authority's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EstCredential {
    /// HTTP Basic.
    Password {
        /// The name.
        name: String,
        /// The file of the password.
        path: PathBuf,
    },
    /// A client certificate.
    Certificate {
        /// It and its chain, PEM.
        certificate: PathBuf,
        /// Its key (PKCS#8, PEM).
        key: PathBuf,
    },
}

impl UpstreamUrl {
    fn parse(text: &str) -> Option<Self> {
        let is_plain = |octet: u8| octet.is_ascii_graphic() && !b"?#@\\\"<>%".contains(&octet);
        if text.len() > URL_OCTETS_MAX || !text.bytes().all(is_plain) {
            return None;
        }
        let rest = text.strip_prefix("https://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            // The colons of an address of IPv6 are in brackets.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port != 0)?),
            Some(_) | None => (authority, HTTPS_PORT),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        rustls::pki_types::ServerName::try_from(host.to_owned()).ok()?;
        Some(Self { host: host.to_owned(), port, path: path.to_owned() })
    }

    /// The value of the header Host.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == HTTPS_PORT { host } else { format!("{host}:{}", self.port) }
    }
}

impl CmpFile {
    fn check(self) -> Option<CmpCredential> {
        let Self { reference, secret, certificate, key, pkcs11 } = self;
        match (reference, secret, certificate, key, pkcs11) {
            (Some(reference), Some(path), None, None, None) if (1..=KEY_ID_OCTETS_MAX).contains(&reference.len()) => {
                Some(CmpCredential::Secret { reference, path })
            }
            (None, None, Some(certificate), Some(key), None) => {
                Some(CmpCredential::Certificate { certificate, key: RegistrarKey::File(key) })
            }
            (None, None, Some(certificate), None, Some(token)) => {
                Some(CmpCredential::Certificate { certificate, key: RegistrarKey::Token(token) })
            }
            _ => None,
        }
    }
}

impl EstFile {
    fn check(self) -> Option<EstCredential> {
        let Self { name, password, certificate, key } = self;
        match (name, password, certificate, key) {
            // RFC 7617, section 2: a name has no colon.
            (Some(name), Some(path), None, None) if !name.is_empty() && !name.contains(':') => {
                Some(EstCredential::Password { name, path })
            }
            (None, None, Some(certificate), Some(key)) => Some(EstCredential::Certificate { certificate, key }),
            _ => None,
        }
    }
}

impl UpstreamFile {
    fn check(self) -> Result<UpstreamConfig, UpstreamsError> {
        let name = self.name;
        let url = UpstreamUrl::parse(&self.url).ok_or_else(|| UpstreamsError::Url(name.clone()))?;
        if !TIMEOUT_SECONDS.contains(&self.timeout_seconds) {
            return Err(UpstreamsError::Timeout { name, found: self.timeout_seconds });
        }
        let protocol = match (self.cmp, self.est) {
            (Some(cmp), None) => cmp.check().map(UpstreamProtocol::Cmp),
            (None, Some(est)) => est.check().map(UpstreamProtocol::Est),
            (None, None) | (Some(_), Some(_)) => return Err(UpstreamsError::Protocol(name)),
        };
        let protocol = protocol.ok_or_else(|| UpstreamsError::Credential(name.clone()))?;
        let timeout = Duration::from_secs(self.timeout_seconds);
        Ok(UpstreamConfig { name, url, tls_roots: self.tls_roots, ca: self.ca, timeout, protocol })
    }
}

pub(super) fn check(files: Vec<UpstreamFile>, profiles: &[Profile]) -> Result<Vec<UpstreamConfig>, UpstreamsError> {
    if files.len() > UPSTREAMS_MAX {
        return Err(UpstreamsError::TooMany);
    }
    let mut upstreams: Vec<UpstreamConfig> = Vec::with_capacity(files.len());
    for file in files {
        if !is_name(&file.name) || upstreams.iter().any(|known| known.name == file.name) {
            return Err(UpstreamsError::Name(file.name));
        }
        upstreams.push(file.check()?);
    }
    for profile in profiles {
        match profile.source() {
            CertificateSource::Issuer(_) => {}
            CertificateSource::Upstream(upstream) if upstreams.iter().any(|known| known.name == *upstream) => {}
            CertificateSource::Upstream(upstream) => {
                let (profile, upstream) = (profile.name().to_owned(), upstream.clone());
                return Err(UpstreamsError::Unknown { profile, upstream });
            }
        }
    }
    Ok(upstreams)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ConfigError};
    use super::*;

    fn config(text: &str) -> Result<Config, ConfigError> {
        Config::from_toml(&format!("{text}\n[tls]\nself_signed = true\n"))
    }

    fn refused(text: &str) -> UpstreamsError {
        match config(text) {
            Err(ConfigError::Upstreams(error)) => error,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn upstream(name: &str, url: &str, protocol: &str) -> String {
        format!("[[upstreams]]\nname = '{name}'\nurl = '{url}'\ntls_roots = 'r'\nca = 'c'\n{protocol}\n")
    }

    const CMP: &str = "cmp = { reference = 'ra', secret = 's' }";
    const URL: &str = "https://ca.example/.well-known/cmp";

    #[test]
    fn an_upstream_is_asked_by_one_protocol_with_one_credential() {
        for (protocol, wanted) in [
            (CMP, true),
            ("cmp = { certificate = 'c', key = 'k' }", true),
            ("cmp = { reference = 'ra' }", false),
            ("cmp = { reference = '', secret = 's' }", false),
            ("cmp = { reference = 'ra', secret = 's', key = 'k' }", false),
            ("cmp = { certificate = 'c' }", false),
            ("est = { name = 'ra', password = 'p' }", true),
            ("est = { certificate = 'c', key = 'k' }", true),
            ("est = { name = 'r:a', password = 'p' }", false),
            ("est = { name = 'ra' }", false),
        ] {
            let config = config(&upstream("u", URL, protocol));
            match (wanted, config) {
                (true, Ok(config)) => assert_eq!(config.upstreams.len(), 1),
                (false, Err(ConfigError::Upstreams(UpstreamsError::Credential(_)))) => {}
                (_, other) => panic!("{protocol}: {other:?}"),
            }
        }
        assert_eq!(refused(&upstream("u", URL, "")), UpstreamsError::Protocol("u".to_owned()));
        let both = format!("{CMP}\nest = {{ name = 'ra', password = 'p' }}");
        assert_eq!(refused(&upstream("u", URL, &both)), UpstreamsError::Protocol("u".to_owned()));
        let slow = format!("{CMP}\ntimeout_seconds = 61");
        assert_eq!(refused(&upstream("u", URL, &slow)), UpstreamsError::Timeout { name: "u".to_owned(), found: 61 });
    }

    #[test]
    fn an_upstream_is_reached_by_https_alone() {
        for url in [
            "http://ca.example/cmp",
            "https:///cmp",
            "https://u@ca.example/cmp",
            "https://ca.example/cmp?x",
            "https://ca.example:0/cmp",
            "https://ca.example/c mp",
            "https://ca.example/c\u{e9}",
            "ca.example",
        ] {
            assert_eq!(refused(&upstream("u", url, CMP)), UpstreamsError::Url("u".to_owned()), "{url}");
        }
        let url = |text| UpstreamUrl::parse(text).unwrap();
        assert_eq!(url("https://ca.example").authority(), "ca.example");
        assert_eq!(url("https://[::1]:8443/a/").authority(), "[::1]:8443");
        assert_eq!(url("https://[::1]:8443/a/").path, "/a/");
    }

    #[test]
    fn profiles_name_upstreams_that_are_there() {
        let profile = "[[profiles]]\nname = 'p'\nupstream = 'u'\n";
        assert!(config(&(upstream("u", URL, CMP) + profile)).is_ok());
        assert!(matches!(refused(profile), UpstreamsError::Unknown { .. }));
        let twice = upstream("u", URL, CMP) + &upstream("u", URL, CMP);
        assert_eq!(refused(&twice), UpstreamsError::Name("u".to_owned()));
        assert_eq!(refused(&upstream("u u", URL, CMP)), UpstreamsError::Name("u u".to_owned()));
    }
}
