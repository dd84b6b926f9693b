//! NAME.toml: what an administrator notes about an anchor, an intermediate or a key of `keys/`.

use serde::Deserialize;

use super::{SHA256_OCTETS, TrustDefect};

/// Provenance and marks of an anchor, or of an intermediate that is pinned by having marks at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnchorMark {
    /// Whether it certifies TPMs in software (swtpm, vTPM), or is the key of a module in software. For anchors and for
    /// keys of `keys/`.
    pub is_virtual: bool,
    /// Whether it certifies attesting keys that their owner put in the place of the maker's: what the maker promises of
    /// its own keys is then the owner's promise. For anchors alone.
    pub own_signer: bool,
    /// What its key, and no other, may do that keys otherwise may not.
    pub allowances: Allowances,
    /// Where it was obtained, as free text.
    pub source: Option<String>,
    /// When it was obtained, as free text or a TOML date.
    pub date: Option<String>,
    /// SHA-256 of the anchor file, or of the DER of an anchor in it; checked when the store is read.
    pub sha256: Option<[u8; SHA256_OCTETS]>,
    /// Who vouches for it, as free text.
    pub vouched_by: Option<String>,
}

/// What one pinned key may do although others may not. Each is used where the profile of the chain knows it, and
/// is then reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowances {
    /// `sha1 = "accept"`: it may have signed certificates by RSASSA-PKCS1-v1_5 with SHA-1.
    pub sha1: bool,
    /// `missing_ek_purpose = "accept"`: EK certificates that it issued may lack the extension that says so.
    pub missing_ek_purpose: bool,
    /// `missing_basic_constraints = "accept"`: certificates that it issued to attesting keys may lack the extension.
    pub missing_basic_constraints: bool,
    /// `small_exponent = "accept"`: its RSA signatures count although its public exponent is 3.
    pub small_exponent: bool,
    /// `reissued = "accept"`: its maker issued the root's certificate anew with the same key, so the dates of the one
    /// that is at hand say nothing.
    pub reissued: bool,
}

impl Allowances {
    /// Nothing out of the ordinary.
    pub const NONE: Self = Self {
        sha1: false,
        missing_ek_purpose: false,
        missing_basic_constraints: false,
        small_exponent: false,
        reissued: false,
    };

    /// What either allows.
    pub(crate) const fn or(self, other: Self) -> Self {
        Self {
            sha1: self.sha1 || other.sha1,
            missing_ek_purpose: self.missing_ek_purpose || other.missing_ek_purpose,
            missing_basic_constraints: self.missing_basic_constraints || other.missing_basic_constraints,
            small_exponent: self.small_exponent || other.small_exponent,
            reissued: self.reissued || other.reissued,
        }
    }
}

/// A choice that a mark names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Choice {
    Accept,
    #[default]
    Reject,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkFile {
    #[serde(default, rename = "virtual")]
    is_virtual: bool,
    #[serde(default)]
    own_signer: bool,
    #[serde(default)]
    sha1: Choice,
    #[serde(default)]
    missing_ek_purpose: Choice,
    #[serde(default)]
    missing_basic_constraints: Choice,
    #[serde(default)]
    small_exponent: Choice,
    #[serde(default)]
    reissued: Choice,
    source: Option<String>,
    date: Option<DateText>,
    sha256: Option<String>,
    vouched_by: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum DateText {
    Date(toml::value::Datetime),
    Text(String),
}

impl AnchorMark {
    /// Reads the TOML text of a mark; a field it does not know is an error, since a misspelled `virtual` would
    /// make a software TPM look like a chip.
    pub(super) fn from_toml(contents: &[u8]) -> Result<Self, TrustDefect> {
        let text = std::str::from_utf8(contents).map_err(|error| TrustDefect::Mark(error.to_string()))?;
        let file: MarkFile = toml::from_str(text).map_err(|error| TrustDefect::Mark(error.message().to_owned()))?;
        let sha256 = file.sha256.map(|hex| sha256_from_hex(&hex)).transpose()?;
        let date = file.date.map(|date| match date {
            DateText::Date(date) => date.to_string(),
            DateText::Text(text) => text,
        });
        let allowances = Allowances {
            sha1: file.sha1 == Choice::Accept,
            missing_ek_purpose: file.missing_ek_purpose == Choice::Accept,
            missing_basic_constraints: file.missing_basic_constraints == Choice::Accept,
            small_exponent: file.small_exponent == Choice::Accept,
            reissued: file.reissued == Choice::Accept,
        };
        Ok(Self {
            is_virtual: file.is_virtual,
            own_signer: file.own_signer,
            allowances,
            source: file.source,
            date,
            sha256,
            vouched_by: file.vouched_by,
        })
    }
}

fn sha256_from_hex(hex: &str) -> Result<[u8; SHA256_OCTETS], TrustDefect> {
    let digits: Option<Vec<u8>> = hex
        .chars()
        .filter(|character| *character != ':')
        .map(|character| character.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    digits
        .map(|digits| digits.chunks(2).filter_map(octet).collect::<Vec<u8>>())
        .filter(|_| hex.chars().filter(|character| *character != ':').count() == 2 * SHA256_OCTETS)
        .and_then(|octets| octets.try_into().ok())
        .ok_or_else(|| TrustDefect::Mark("sha256 is not 64 hexadecimal digits".to_owned()))
}

fn octet(digits: &[u8]) -> Option<u8> {
    match digits {
        [high, low] => Some(high << 4 | low),
        _ => None,
    }
}
