//! Firmware versions that can be compared.

use std::cmp::Ordering;
use std::fmt;

/// Digits of the firmwareVersion of a TPM, as a claim gives it.
const TPM_DIGITS: usize = 16;
/// Numbers of one version.
const NUMBERS: usize = 8;

/// A version: numbers, the first being the most significant. What is not said counts as zero.
#[derive(Clone, Debug)]
pub(crate) struct Version(Vec<u64>);

impl Version {
    /// Reads `5.7.4`, or the 16 hexadecimal digits of a TPM's firmwareVersion as four numbers of 16 bits.
    ///
    /// What follows the numbers, as in 5.7.4-rc1, is left out: a flaw of 5.7.4 is then found in 5.7.4-rc1 too. Where a
    /// version is to be trusted and not feared, [`Self::dotted`] and [`Self::tpm`] read the whole text or nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches(['v', 'V']);
        if let Some(version) = Self::tpm(text) {
            return Some(version);
        }
        let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
        Self::numbers(text.get(..end)?.trim_end_matches('.'))
    }

    /// Reads the 16 hexadecimal digits of a TPM's firmwareVersion, and nothing else.
    pub fn tpm(text: &str) -> Option<Self> {
        if text.len() != TPM_DIGITS || !text.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return None;
        }
        let word = |place: usize| text.get(place..place.saturating_add(4));
        let words = [0, 4, 8, 12].into_iter().map(|place| u64::from_str_radix(word(place)?, 16).ok());
        words.collect::<Option<_>>().map(Self)
    }

    /// Reads decimal numbers with points between them, none with a leading zero, and nothing else.
    pub fn dotted(text: &str) -> Option<Self> {
        let is_number = |number: &str| {
            let is_padded = number.len() > 1 && number.starts_with('0');
            !is_padded && !number.is_empty() && number.bytes().all(|octet| octet.is_ascii_digit())
        };
        if text.split('.').all(is_number) { Self::numbers(text) } else { None }
    }

    fn numbers(text: &str) -> Option<Self> {
        let numbers: Option<Vec<u64>> = text.split('.').map(|number| number.parse().ok()).collect();
        numbers.filter(|numbers| numbers.len() <= NUMBERS).map(Self)
    }

    /// Whether its first numbers are those of `other`.
    pub fn begins_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    fn number(&self, place: usize) -> u64 {
        self.0.get(place).copied().unwrap_or(0)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        (0..NUMBERS)
            .map(|place| self.number(place).cmp(&other.number(place)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u64::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        let version = |text: &str| Version::parse(text).unwrap();
        assert!(version("5.7.0") < version("5.10"));
        assert_eq!(version("5.7"), version("5.7.0"));
        assert!(version("5.7.4-beta").begins_with(&version("5.7")));
        assert!(!version("7.85").begins_with(&version("7.8")));
        assert_eq!(version("0007005511cb0000").to_string(), "7.85.4555.0");
        assert!(Version::parse("new").is_none());
        assert!(Version::parse("").is_none());
        assert!(Version::parse("1.2.3.4.5.6.7.8.9").is_none());
    }

    #[test]
    fn a_version_to_be_trusted_is_read_whole() {
        assert_eq!(Version::dotted("7.2.1").unwrap().to_string(), "7.2.1");
        assert_eq!(Version::dotted("7.0.10").unwrap().to_string(), "7.0.10");
        for text in ["07.2.1", "7.2.1-rc1", "7.2.1debug", "v7.2.1", "7.2.1 ", "7..1", "7.2.", "", "7.+2", "7.02"] {
            assert!(Version::dotted(text).is_none(), "{text:?}");
        }
        assert_eq!(Version::tpm("0007005511CB0000").unwrap().to_string(), "7.85.4555.0");
        for text in ["7.85", "0007005511cb000", "0007005511cb00000", "0007005511cb000g", " 007005511cb0000"] {
            assert!(Version::tpm(text).is_none(), "{text:?}");
        }
    }
}
