//! How old evidence may be.

use std::fmt;

/// Digits of the number, which keep it far from overflow.
const DIGITS_MAX: usize = 6;
/// Seconds by which the clock of a module may be ahead of the Verifier's.
pub(crate) const CLOCK_SKEW_SECONDS: i64 = 300;

/// An age: a number of up to six digits, not zero, with its unit, `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    number: i64,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

impl Unit {
    const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    const fn letter(self) -> char {
        match self {
            Self::Second => 's',
            Self::Minute => 'm',
            Self::Hour => 'h',
            Self::Day => 'd',
        }
    }

    const fn seconds(self) -> i64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }
}

impl Age {
    /// The age that is written so, such as `30d`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let unit = Unit::ALL.into_iter().find(|unit| text.ends_with(unit.letter()))?;
        let digits = text.strip_suffix(unit.letter())?;
        let is_number = (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
        let number = digits.parse().ok().filter(|number| is_number && *number > 0)?;
        Some(Self { number, unit })
    }

    /// In seconds.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.number.saturating_mul(self.unit.seconds())
    }
}

impl fmt::Display for Age {
    /// As policies write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, self.unit.letter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_with_its_unit() {
        for (text, seconds) in
            [("1s", 1), ("15m", 900), ("24h", 86_400), ("30d", 2_592_000), ("999999d", 86_399_913_600)]
        {
            let age = Age::parse(text).unwrap();
            assert_eq!((age.seconds(), age.to_string().as_str()), (seconds, text));
        }
        for text in
            ["", "d", "30", "0d", "00d", "-1d", "+1d", " 1d", "1 d", "1D", "1.5h", "1000000d", "1w", "1dd", "\u{661}d"]
        {
            assert_eq!(Age::parse(text), None, "{text:?}");
        }
    }
}
