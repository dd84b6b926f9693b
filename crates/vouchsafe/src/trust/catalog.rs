//! The roots that makers publish, by fingerprint.

use clap::Args;
use serde::Deserialize;
use serde_json::json;
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::{CertView, SpkiView};
use vouchsafe_verifier::hex;

use crate::cli::Answer;
use crate::console;
use crate::failure::Failure;

/// Show the roots that makers publish
///
/// Fingerprints and where to get each; the certificates themselves come from
/// their makers.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only those for this format of evidence
    #[arg(long, value_name = "ID")]
    format: Option<String>,
    /// One JSON array on standard output
    #[arg(long)]
    json: bool,
}

/// One root.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// What its maker calls it.
    pub name: String,
    /// Whose it is.
    pub maker: String,
    /// The formats of evidence that it is a root for.
    pub formats: Vec<String>,
    /// Where its maker publishes it.
    pub published: String,
    /// SHA-256 of the certificate's DER, in hexadecimal.
    pub certificate: String,
    /// SHA-256 of its SubjectPublicKeyInfo, in hexadecimal.
    pub key: String,
    /// Whether it stands above modules in software.
    #[serde(default, rename = "virtual")]
    pub is_virtual: bool,
    /// Why it must never be trusted, where that is so.
    pub never: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalog {
    root: Vec<Root>,
}

/// How something matches a root of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// It is that certificate.
    Certificate,
    /// It has that root's key; several roots were issued anew for one key.
    Key,
}

/// Every root.
///
/// # Errors
/// [`Failure`] if the catalog that was built in cannot be read, which a test excludes.
pub fn roots() -> Result<Vec<Root>, Failure> {
    toml::from_str::<Catalog>(include_str!("catalog.toml"))
        .map(|catalog| catalog.root)
        .map_err(|error| Failure::new("the catalog of published roots cannot be read").because(error))
}

/// The root that a certificate or a key is, best match first.
///
/// # Errors
/// As [`roots`].
pub fn find(certificate: Option<&CertView>, key: &SpkiView) -> Result<Option<(Root, Match)>, Failure> {
    let fingerprint = certificate.map(|certificate| hex::encode(&HashAlg::Sha256.digest(&[certificate.as_der()])));
    let key = hex::encode(&key.sha256());
    let roots = roots()?;
    let exact = roots.iter().find(|root| fingerprint.as_ref() == Some(&root.certificate));
    let found = exact.map(|root| (root.clone(), Match::Certificate));
    Ok(found.or_else(|| roots.iter().find(|root| root.key == key).map(|root| (root.clone(), Match::Key))))
}

/// Shows the catalog.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let wanted = |root: &&Root| arguments.format.as_ref().is_none_or(|format| root.formats.contains(format));
    let roots = roots()?;
    let shown: Vec<&Root> = roots.iter().filter(wanted).collect();
    if arguments.json {
        let all: Vec<_> = shown
            .iter()
            .map(|root| {
                json!({"name": root.name, "maker": root.maker, "formats": root.formats, "published": root.published,
                       "certificate_sha256": root.certificate, "key_sha256": root.key, "virtual": root.is_virtual,
                       "never": root.never})
            })
            .collect();
        console::out(&format!("{}\n", json!(all)))?;
        return Ok(Answer::Yes);
    }
    if shown.is_empty() {
        console::out("No root of that format is known here. It can be imported all the same.\n")?;
    }
    for root in shown {
        console::out(&format!(
            "{} ({})\n  for          {}\n  published    {}\n  certificate  {}\n  key          {}\n{}\n",
            root.name,
            root.maker,
            root.formats.join(", "),
            root.published,
            root.certificate,
            root.key,
            root.never.as_ref().map(|why| format!("  never trust  {why}\n")).unwrap_or_default(),
        ))?;
    }
    Ok(Answer::Yes)
}

#[cfg(test)]
mod tests {
    use vouchsafe_evidence::statement::FormatId;

    use super::*;

    #[test]
    fn the_catalog_names_formats_that_are_known_and_whole_fingerprints() {
        let roots = roots().unwrap();
        assert!(roots.len() > 20);
        for root in roots {
            assert!(!root.formats.is_empty() && !root.published.is_empty(), "{}", root.name);
            for format in &root.formats {
                assert!(FormatId::from_id(format).is_some(), "{} is for {format}, which is no format", root.name);
            }
            for fingerprint in [&root.certificate, &root.key] {
                assert_eq!(hex::decode(fingerprint).map(|octets| octets.len()), Some(32), "{}", root.name);
            }
        }
    }
}
