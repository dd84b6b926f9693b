//! Points in time, as transcripts write them.

use core::fmt;

use crate::x509::time::from_digits;
use crate::{Malformed, Reason};

/// A point in time to the second, in UTC: `2026-12-01T12:30:45Z` and no other form of RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Time {
    text: String,
    seconds: i64,
}

impl Time {
    /// Reads one.
    ///
    /// # Errors
    /// [`Malformed`] for every other form and for times that do not exist.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        Self::read(text).ok_or(Malformed::new(
            "time of a transcript",
            0,
            Reason::Unexpected("a time such as 2026-12-01T12:30:45Z"),
        ))
    }

    fn read(text: &str) -> Option<Self> {
        const FORM: &[u8] = b"dddd-dd-ddTdd:dd:ddZ";
        let octets = text.as_bytes();
        let fits = |(octet, form): (&u8, &u8)| if *form == b'd' { octet.is_ascii_digit() } else { octet == form };
        if octets.len() != FORM.len() || !octets.iter().zip(FORM).all(fits) {
            return None;
        }
        let digits: Vec<u8> = octets.iter().copied().filter(u8::is_ascii_digit).collect();
        let seconds = from_digits(&digits.try_into().ok()?)?;
        Some(Self { text: text.to_owned(), seconds })
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn unix_seconds(&self) -> i64 {
        self.seconds
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::Time;

    #[test]
    fn one_form_is_read() {
        assert_eq!(Time::parse("2026-12-01T12:30:45Z").unwrap().unix_seconds(), 1_796_128_245);
        for text in
            ["", "2026-12-01T12:30:45", "2026-12-01t12:30:45z", "2026-12-01T12:30:45+00:00", "2026-02-30T00:00:00Z"]
        {
            assert!(Time::parse(text).is_err(), "{text}");
        }
    }
}
