//! Schemes under which modules are certified, and their levels.

use std::fmt;

use serde::Deserialize;

/// Levels of FIPS 140-2 and FIPS 140-3.
const FIPS_LEVELS: std::ops::RangeInclusive<u8> = 1..=4;
/// Evaluation assurance levels of Common Criteria.
const ASSURANCE_LEVELS: std::ops::RangeInclusive<u8> = 1..=7;

/// A scheme that rows name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Fips140Dash2,
    Fips140Dash3,
    CommonCriteria,
}

/// Schemes that policies ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum WantedScheme {
    /// Any version of FIPS 140 that rows may name.
    AnyFips140,
    /// This one.
    Only(Scheme),
}

impl Scheme {
    const ALL: [Self; 3] = [Self::Fips140Dash2, Self::Fips140Dash3, Self::CommonCriteria];

    /// Its name, which lists give in full: a part of it, or more than it, is another scheme.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fips140Dash2 => "FIPS 140-2",
            Self::Fips140Dash3 => "FIPS 140-3",
            Self::CommonCriteria => "CC",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.name().eq_ignore_ascii_case(name.trim()))
    }

    pub const fn is_fips(self) -> bool {
        match self {
            Self::Fips140Dash2 | Self::Fips140Dash3 => true,
            Self::CommonCriteria => false,
        }
    }

    /// A level as lists write it: a number for FIPS, `EAL4` or `EAL4+` for Common Criteria. A level of the other scheme
    /// is none.
    pub fn level(self, text: &str) -> Option<u8> {
        if self.is_fips() { fips_level(text) } else { assurance_level(text) }
    }

    /// How its levels are written.
    pub const fn levels_in_words(self) -> &'static str {
        if self.is_fips() { "a number from 1 to 4" } else { "one of EAL1 to EAL7, with or without a +" }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl WantedScheme {
    const FIPS_140: &str = "FIPS 140";

    pub fn includes(self, scheme: Scheme) -> bool {
        match self {
            Self::AnyFips140 => scheme.is_fips(),
            Self::Only(wanted) => wanted == scheme,
        }
    }
}

impl TryFrom<String> for WantedScheme {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if name.trim().eq_ignore_ascii_case(Self::FIPS_140) {
            return Ok(Self::AnyFips140);
        }
        let only = Scheme::named(&name).map(Self::Only);
        only.ok_or_else(|| {
            format!("{name:?} is no scheme: it may be FIPS 140 (any version), FIPS 140-2, FIPS 140-3 or CC")
        })
    }
}

impl fmt::Display for WantedScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyFips140 => f.write_str(Self::FIPS_140),
            Self::Only(scheme) => scheme.fmt(f),
        }
    }
}

/// The level that a claim says: `2`, or `EAL4+`. Nothing else is a level: `FIPS 140-2 Level 1` is not 140.
pub(crate) fn level_of(text: &str) -> Option<u8> {
    fips_level(text).or_else(|| assurance_level(text))
}

fn fips_level(text: &str) -> Option<u8> {
    digit(text.trim()).filter(|level| FIPS_LEVELS.contains(level))
}

fn assurance_level(text: &str) -> Option<u8> {
    let text = text.trim();
    let (word, level) = (text.get(..3)?, text.get(3..)?);
    let level = level.strip_prefix(' ').unwrap_or(level);
    let level = digit(level.strip_suffix('+').unwrap_or(level));
    level.filter(|level| word.eq_ignore_ascii_case("EAL") && ASSURANCE_LEVELS.contains(level))
}

/// One decimal digit, alone.
fn digit(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [digit @ b'0'..=b'9'] => Some(digit.saturating_sub(b'0')),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_of_its_scheme_and_nothing_else() {
        for scheme in [Scheme::Fips140Dash2, Scheme::Fips140Dash3] {
            assert_eq!((scheme.level("1"), scheme.level(" 4 ")), (Some(1), Some(4)));
            for text in
                ["0", "5", "14", "+2", "", "two", "EAL 4", "EAL4+", "FIPS 140-2 Level 1", "Overall 1, Physical 3"]
            {
                assert_eq!(scheme.level(text), None, "{text}");
            }
        }
        let scheme = Scheme::CommonCriteria;
        for text in ["EAL4", "EAL4+", "EAL 4", "eal 4+"] {
            assert_eq!(scheme.level(text), Some(4), "{text}");
        }
        for text in
            ["4", "EAL0", "EAL8", "EAL14", "EAL4++", "EAL  4", "EAL", "CC v3.1 EAL4", "cPP ND 2.2e", "EAL4 or so"]
        {
            assert_eq!(scheme.level(text), None, "{text}");
        }
        assert_eq!((level_of("3"), level_of("EAL4+"), level_of("FIPS 140-2 Level 1")), (Some(3), Some(4), None));
    }

    #[test]
    fn a_scheme_is_named_in_full() {
        assert_eq!(Scheme::named(" fips 140-3 "), Some(Scheme::Fips140Dash3));
        for name in ["FIPS 140", "FIPS 140-1", "FIPS 140-22", "CCxyz", "C", "Common Criteria", ""] {
            assert_eq!(Scheme::named(name), None, "{name}");
        }
        let wanted = |name: &str| WantedScheme::try_from(name.to_owned());
        assert!(wanted("FIPS 140").is_ok_and(|any| any.includes(Scheme::Fips140Dash2)));
        assert!(wanted("FIPS 140").is_ok_and(|any| any.includes(Scheme::Fips140Dash3)));
        assert!(wanted("FIPS 140").is_ok_and(|any| !any.includes(Scheme::CommonCriteria)));
        assert!(wanted("FIPS 140-3").is_ok_and(|only| !only.includes(Scheme::Fips140Dash2)));
        for name in ["FIPS", "FIPS 140-1", "CCxyz", ""] {
            assert!(wanted(name).is_err(), "{name}");
        }
    }
}
