//! Known flaws of genuine modules: which of them concern a key or the module that holds it.
//!
//! What is known is data (`advisory/advisories.toml`), which operators may replace. An advisory concerns a key that
//! shows its fingerprint, or a module of a vendor, model and firmware that it names. Policy says what is made of it.

mod roca;
mod version;

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vouchsafe_evidence::x509::{PublicKey, SpkiView};

pub(crate) use version::Version;

use crate::claims::{Claim, Claims};
use crate::hex;

/// The advisories that come with the program.
const SHIPPED: &str = include_str!("advisory/advisories.toml");
/// Octets of a file of advisories.
const FILE_OCTETS: usize = 1 << 20;

/// A file of advisories that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the advisories cannot be used: {0}")]
pub struct AdvisoryError(String);

/// What is known of flaws.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advisories {
    entries: Vec<Entry>,
}

/// An advisory that concerns evidence, as verdicts report it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advisory {
    /// Its public identifier, such as a CVE number.
    pub id: String,
    /// What it is.
    pub title: String,
    /// What of the evidence it concerns, as one sentence.
    pub why: String,
    /// On what that rests: a key, or a claim with its source.
    pub source: String,
    /// Whether the key itself shows the flaw, rather than its module being of a kind that has it.
    #[serde(skip)]
    pub(crate) of_key: bool,
}

/// A kind of key that a flaw concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeyKind {
    #[default]
    Any,
    Rsa,
    Ec,
}

/// A test of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Fingerprint {
    Roca,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    #[serde(default)]
    advisory: Vec<EntryText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryText {
    id: String,
    title: String,
    #[serde(default)]
    reference: String,
    #[serde(default)]
    key: KeyKind,
    fingerprint: Option<Fingerprint>,
    #[serde(default)]
    spki_sha256: Vec<String>,
    #[serde(default)]
    modules: Vec<ModulesText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModulesText {
    vendor: String,
    model: Option<String>,
    from: Option<String>,
    below: Option<String>,
    #[serde(default)]
    firmware: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    id: String,
    title: String,
    key: KeyKind,
    fingerprint: Option<Fingerprint>,
    spki_sha256: Vec<[u8; 32]>,
    modules: Vec<Modules>,
}

/// Modules by vendor, model and firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Modules {
    vendor: String,
    model: Option<String>,
    firmware: Firmware,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Firmware {
    /// From the first, which is among them, to below the second.
    Range(Option<Version>, Version),
    /// Those that begin with one of these.
    OneOf(Vec<Version>),
}

/// What advisories are compared with.
pub(crate) struct Subjects<'a> {
    /// The attested keys.
    pub keys: Vec<&'a SpkiView>,
    /// The key that attested them.
    pub attesting_key: Option<&'a SpkiView>,
    /// What is said of the module, in the order in which it is asked.
    pub module: [&'a Claims; 2],
}

impl Advisories {
    /// Those that come with the program.
    #[must_use]
    pub fn shipped() -> &'static Self {
        static ADVISORIES: LazyLock<Advisories> = LazyLock::new(|| Advisories::from_toml(SHIPPED).unwrap_or_default());
        &ADVISORIES
    }

    /// None.
    #[must_use]
    pub const fn none() -> Self {
        Self { entries: Vec::new() }
    }

    /// Reads a file of advisories.
    ///
    /// # Errors
    /// [`AdvisoryError`] for what is not of the form of the one that is shipped.
    pub fn from_toml(text: &str) -> Result<Self, AdvisoryError> {
        if text.len() > FILE_OCTETS {
            return Err(AdvisoryError(format!("the file has more than {FILE_OCTETS} octets")));
        }
        let file: FileText = toml::from_str(text).map_err(|error| AdvisoryError(error.to_string()))?;
        let entries = file.advisory.into_iter().map(|entry| {
            let id = entry.id.clone();
            entry.check().map_err(|why| AdvisoryError(format!("{id}: {why}")))
        });
        Ok(Self { entries: entries.collect::<Result<_, _>>()? })
    }

    /// Their identifiers.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.id.as_str())
    }

    /// Those that concern these subjects, each once.
    pub(crate) fn concerning(&self, subjects: &Subjects<'_>) -> Vec<Advisory> {
        let module = Module::of(subjects);
        self.entries.iter().filter_map(|entry| entry.concern(subjects, module.as_ref())).collect()
    }
}

impl EntryText {
    fn check(self) -> Result<Entry, String> {
        if self.fingerprint.is_none() && self.spki_sha256.is_empty() && self.modules.is_empty() {
            return Err("it concerns nothing".to_owned());
        }
        let digest = |text: &String| {
            hex::decode(text).and_then(|octets| octets.try_into().ok()).ok_or(format!("{text} is no SHA-256"))
        };
        let title = match self.reference.is_empty() {
            true => self.title,
            false => format!("{} ({})", self.title, self.reference),
        };
        Ok(Entry {
            id: self.id,
            title,
            key: self.key,
            fingerprint: self.fingerprint,
            spki_sha256: self.spki_sha256.iter().map(digest).collect::<Result<_, _>>()?,
            modules: self.modules.into_iter().map(ModulesText::check).collect::<Result<_, _>>()?,
        })
    }
}

impl ModulesText {
    fn check(self) -> Result<Modules, String> {
        let version = |text: &String| Version::parse(text).ok_or(format!("{text} is no version"));
        let listed: Vec<Version> = self.firmware.iter().map(version).collect::<Result<_, _>>()?;
        let from = self.from.as_ref().map(version).transpose()?;
        let firmware = match (self.below.as_ref().map(version).transpose()?, listed.is_empty()) {
            (Some(below), true) => Firmware::Range(from, below),
            (None, false) if from.is_none() => Firmware::OneOf(listed),
            _ => return Err("modules have either `below` (and `from`) or `firmware`".to_owned()),
        };
        Ok(Modules { vendor: vendor_name(&self.vendor), model: self.model.map(|model| model.to_lowercase()), firmware })
    }
}

/// A vendor's name, folded; the TCG identifier of a TPM's vendor in letters.
pub(crate) fn vendor_name(text: &str) -> String {
    let text = text.trim().to_lowercase();
    let octets = text.strip_prefix("id:").and_then(hex::decode);
    let letters = octets.and_then(|octets| String::from_utf8(octets).ok());
    letters.map_or(text, |letters| letters.trim_end_matches(['\0', ' ']).to_lowercase())
}

impl Entry {
    fn concern(&self, subjects: &Subjects<'_>, module: Option<&Module<'_>>) -> Option<Advisory> {
        if subjects.keys.iter().any(|key| self.is_shown_by(key)) {
            return Some(self.advisory("The key itself shows the flaw.", "the attested key".to_owned(), true));
        }
        if subjects.attesting_key.is_some_and(|key| self.is_shown_by(key)) {
            let why = "The key that attested it shows the flaw, so anyone may have attested.";
            return Some(self.advisory(why, "the attesting key".to_owned(), true));
        }
        let concerned = |key: &&SpkiView| self.key.is_of(key.key());
        if !subjects.keys.is_empty() && !subjects.keys.iter().any(concerned) {
            return None;
        }
        let Module { vendor, model, firmware, version } = module?;
        let modules = self.modules.iter().find(|modules| modules.have(vendor, model, version))?;
        let why =
            format!("Firmware {version} of {} has the flaw.", modules.model.as_deref().unwrap_or(&modules.vendor));
        Some(self.advisory(&why, format!("fw_version ({})", firmware.source.label()), false))
    }

    fn is_shown_by(&self, key: &SpkiView) -> bool {
        let fingerprint = match (self.fingerprint, key.key()) {
            (Some(Fingerprint::Roca), PublicKey::Rsa { modulus, .. }) => roca::has_fingerprint(modulus),
            _ => false,
        };
        fingerprint || (!self.spki_sha256.is_empty() && self.spki_sha256.contains(&key.sha256()))
    }

    fn advisory(&self, why: &str, source: String, of_key: bool) -> Advisory {
        Advisory { id: self.id.clone(), title: self.title.clone(), why: why.to_owned(), source, of_key }
    }
}

/// The module that subjects tell of, its names folded once for all advisories.
struct Module<'a> {
    vendor: String,
    model: String,
    firmware: &'a Claim,
    version: Version,
}

impl<'a> Module<'a> {
    fn of(subjects: &Subjects<'a>) -> Option<Self> {
        let claim = |name: &str| subjects.module.iter().find_map(|claims| claims.named(name));
        let (vendor, firmware) = (claim("vendor")?, claim("fw_version")?);
        let model = claim("model").and_then(text_of).unwrap_or_default().to_lowercase();
        let version = text_of(firmware).and_then(Version::parse)?;
        Some(Self { vendor: vendor_name(text_of(vendor)?), model, firmware, version })
    }
}

fn text_of(claim: &Claim) -> Option<&str> {
    claim.value.as_str()
}

impl KeyKind {
    fn is_of(self, key: &PublicKey) -> bool {
        match self {
            Self::Any => true,
            Self::Rsa => matches!(key, PublicKey::Rsa { .. }),
            Self::Ec => matches!(key, PublicKey::Ec { .. } | PublicKey::Unknown { .. }),
        }
    }
}

impl Modules {
    fn have(&self, vendor: &str, model: &str, version: &Version) -> bool {
        let firmware = match &self.firmware {
            Firmware::Range(from, below) => from.as_ref().is_none_or(|from| version >= from) && version < below,
            Firmware::OneOf(listed) => listed.iter().any(|listed| version.begins_with(listed)),
        };
        let model = self.model.as_ref().is_none_or(|wanted| model.contains(wanted.as_str()));
        firmware && model && self.vendor == vendor
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Source;

    fn concerning(vendor: &str, model: &str, firmware: &str) -> Vec<String> {
        let mut module = Claims::new();
        module.put("vendor", vendor, Source::Endorsed, 0);
        module.put("model", model, Source::Endorsed, 0);
        module.put("fw_version", firmware, Source::Signed, 0);
        let none = Claims::new();
        let subjects = Subjects { keys: Vec::new(), attesting_key: None, module: [&none, &module] };
        Advisories::shipped().concerning(&subjects).into_iter().map(|advisory| advisory.id).collect()
    }

    #[test]
    fn the_shipped_advisories_are_read() {
        assert!(Advisories::from_toml(SHIPPED).is_ok());
        for id in ["CVE-2017-15361", "CVE-2024-45678", "CVE-2019-11090", "CVE-2019-16863", "CVE-2023-1017"] {
            assert!(Advisories::shipped().ids().any(|found| found == id), "{id}");
        }
    }

    #[test]
    fn firmware_is_compared_number_by_number() {
        let none: [String; 0] = [];
        assert_eq!(concerning("Yubico", "YubiKey 5 NFC", "5.4.3"), ["CVE-2024-45678"]);
        assert_eq!(concerning("Yubico", "YubiKey 5 NFC", "5.7.0"), none);
        assert_eq!(concerning("Yubico", "YubiKey 5 NFC", "5.10.0"), none);
        assert_eq!(concerning("Yubico", "YubiHSM 2", "2.3.2"), ["CVE-2024-45678"]);
        assert_eq!(concerning("Yubico", "YubiHSM 2", "2.4.0"), none);
        assert_eq!(concerning("Yubico", "YubiKey 4", "4.3.4"), ["CVE-2017-15361"]);
        assert_eq!(concerning("Yubico", "YubiKey 4", "4.3.5"), none);
        assert_eq!(concerning("id:49465800", "SLB9670", "0007003d0a3b0000"), ["CVE-2017-15361"]);
        assert_eq!(concerning("id:49465800", "SLB9670", "0007003e0a3b0000"), none);
        assert_eq!(concerning("id:53544D20", "ST33TPHF2ESPI", "0047000c44a02104"), ["CVE-2019-16863"]);
        assert_eq!(concerning("id:53544D20", "ST33TPHF2ESPI", "0047001044a02104"), none);
        assert_eq!(concerning("id:4E544300", "NPCT6xx", "0001000300020008"), ["CVE-2023-1017"]);
        assert_eq!(concerning("id:494E5443", "Intel", "000b000800320d47"), ["CVE-2019-11090"]);
        assert_eq!(concerning("id:494E5443", "Intel", "000b000800460d47"), none);
    }

    #[test]
    fn what_concerns_nothing_is_refused() {
        for text in [
            "[[advisory]]\nid = 'X'\ntitle = 'x'",
            "[[advisory]]\nid = 'X'\ntitle = 'x'\n[[advisory.modules]]\nvendor = 'A'",
            "[[advisory]]\nid = 'X'\ntitle = 'x'\n[[advisory.modules]]\nvendor = 'A'\nbelow = 'new'",
            "[[advisory]]\nid = 'X'\ntitle = 'x'\nspki_sha256 = ['00']",
            "[[advisory]]\nid = 'X'\ntitle = 'x'\nfingerprint = 'roce'",
        ] {
            assert!(Advisories::from_toml(text).is_err(), "{text}");
        }
    }
}
