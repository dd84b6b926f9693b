//! `[distribution]`: where the world finds revocation lists and the certificates of issuers.

use std::net::SocketAddr;

use serde::Deserialize;
use thiserror::Error;

/// Octets of the base URL, with room for path and name within what certificates should hold.
const URL_OCTETS_MAX: usize = 200;
/// The one scheme: who fetches a list by HTTPS would first need one for the certificate of that connection (RFC 5280,
/// section 8).
const SCHEME: &str = "http://";

/// Why the section is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DistributionError {
    /// The URL cannot stand in certificates.
    #[error(
        "[distribution] url {0:?} must be http://HOST, a port and a path if need be, without a slash at the end: at most \
         {URL_OCTETS_MAX} letters, digits, '-', '.', '_', '~', '/', ':', '[' and ']' (RFC 5280, sections 4.2.1.13 and 8)"
    )]
    Url(String),
    /// A role that issues nothing has nothing to publish.
    #[error("[distribution] has no effect with role = \"enrolment\"")]
    Role,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DistributionFile {
    url: String,
    listen: Option<SocketAddr>,
}

/// Where revocation lists and issuers' certificates are had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistributionConfig {
    url: String,
    /// Where this server itself serves them by plain HTTP.
    pub(crate) listen: Option<SocketAddr>,
}

impl DistributionFile {
    pub(super) fn check(self, issues: bool) -> Result<DistributionConfig, DistributionError> {
        if !issues {
            return Err(DistributionError::Role);
        }
        let is_allowed = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~/:[]".contains(&octet);
        let rest = self.url.strip_prefix(SCHEME).unwrap_or_default();
        let has_host = !rest.is_empty() && !rest.starts_with(['/', ':']);
        let fits = self.url.len() <= URL_OCTETS_MAX && rest.bytes().all(is_allowed) && !rest.ends_with('/');
        if has_host && fits {
            Ok(DistributionConfig { url: self.url, listen: self.listen })
        } else {
            Err(DistributionError::Url(self.url))
        }
    }
}

impl DistributionConfig {
    /// The URL of the revocation list of an issuer.
    pub(crate) fn revocation_list(&self, issuer: &str) -> String {
        format!("{}/crl/{issuer}.crl", self.url)
    }

    /// The URL of the certificate of an issuer.
    pub(crate) fn certificate(&self, issuer: &str) -> String {
        format!("{}/ca/{issuer}.cer", self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_one_that_certificates_may_hold() {
        let check = |url: &str| DistributionFile { url: url.to_owned(), listen: None }.check(true);
        for url in ["http://pki.example", "http://pki.example:8080/a/b", "http://[2001:db8::1]:80", "http://192.0.2.1"]
        {
            let checked = check(url).unwrap();
            assert_eq!(checked.revocation_list("a"), format!("{url}/crl/a.crl"));
            assert_eq!(checked.certificate("a"), format!("{url}/ca/a.cer"));
        }
        let long = format!("http://{}", "a".repeat(URL_OCTETS_MAX));
        for url in [
            "",
            "http://",
            "https://pki.example",
            "ldap://pki.example",
            "pki.example",
            "http://pki.example/",
            "http:///crl",
            "http://:80",
            "http://user@pki.example",
            "http://pki.example/?a=b",
            "http://pki.example#a",
            "http://pki.example/a b",
            "http://pki.example/\u{e9}",
            "http://pki.example\n",
            &long,
        ] {
            assert_eq!(check(url), Err(DistributionError::Url(url.to_owned())), "{url}");
        }
        let file = DistributionFile { url: "http://pki.example".to_owned(), listen: None };
        assert_eq!(file.check(false), Err(DistributionError::Role));
    }
}
