//! Points in time. There is no clock here: time is an argument of every judgement.

use std::fmt;

use thiserror::Error;

const SECONDS_PER_DAY: i64 = 86_400;

/// A point in time, in whole seconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(i64);

/// Text that is no RFC 3339 date-time.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not an RFC 3339 date-time such as 2026-12-01T12:00:00Z")]
pub struct NotRfc3339;

impl Instant {
    /// The point `seconds` seconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.0
    }

    /// Parses an RFC 3339 `date-time` (section 5.6), with `Z` or a numeric offset.
    ///
    /// A fraction of a second is dropped. A leap second (`:60`) is taken as the second that follows it.
    ///
    /// # Errors
    /// [`NotRfc3339`] for any other text, a date that does not exist included.
    pub fn from_rfc3339(text: &str) -> Result<Self, NotRfc3339> {
        let mut scan = Scan(text.as_bytes());
        let (year, month, day) = scan.date()?;
        if !matches!(scan.octet()?, b'T' | b't' | b' ') {
            return Err(NotRfc3339);
        }
        let second_of_day = scan.time_of_day()?;
        scan.fraction()?;
        let offset = scan.offset()?;
        if !scan.0.is_empty() {
            return Err(NotRfc3339);
        }
        Ok(Self(days_from_civil(year, month, day) * SECONDS_PER_DAY + second_of_day - offset))
    }
}

impl fmt::Display for Instant {
    /// RFC 3339 in UTC: `2026-12-01T12:00:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(SECONDS_PER_DAY));
        let second = self.0.rem_euclid(SECONDS_PER_DAY);
        let (hour, minute) = (second / 3600, second / 60 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
    }
}

/// What is left of a text that is being read from the front.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn octet(&mut self) -> Result<u8, NotRfc3339> {
        let (first, rest) = self.0.split_first().ok_or(NotRfc3339)?;
        self.0 = rest;
        Ok(*first)
    }

    fn expect(&mut self, octet: u8) -> Result<(), NotRfc3339> {
        if self.octet()? == octet { Ok(()) } else { Err(NotRfc3339) }
    }

    fn digits(&mut self, count: usize) -> Result<i64, NotRfc3339> {
        let mut value = 0;
        for _ in 0..count {
            let octet = self.octet()?;
            if !octet.is_ascii_digit() {
                return Err(NotRfc3339);
            }
            value = value * 10 + i64::from(octet - b'0');
        }
        Ok(value)
    }

    fn date(&mut self) -> Result<(i64, i64, i64), NotRfc3339> {
        let year = self.digits(4)?;
        self.expect(b'-')?;
        let month = self.digits(2)?;
        self.expect(b'-')?;
        let day = self.digits(2)?;
        if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
            return Err(NotRfc3339);
        }
        Ok((year, month, day))
    }

    fn time_of_day(&mut self) -> Result<i64, NotRfc3339> {
        let hour = self.digits(2)?;
        self.expect(b':')?;
        let minute = self.digits(2)?;
        self.expect(b':')?;
        let second = self.digits(2)?;
        if hour > 23 || minute > 59 || second > 60 {
            return Err(NotRfc3339);
        }
        Ok(hour * 3600 + minute * 60 + second)
    }

    fn fraction(&mut self) -> Result<(), NotRfc3339> {
        if self.0.first() != Some(&b'.') {
            return Ok(());
        }
        self.octet()?;
        self.digits(1)?;
        while self.0.first().is_some_and(u8::is_ascii_digit) {
            self.octet()?;
        }
        Ok(())
    }

    /// Seconds that local time is ahead of UTC.
    fn offset(&mut self) -> Result<i64, NotRfc3339> {
        let sign = match self.octet()? {
            b'Z' | b'z' => return Ok(0),
            b'+' => 1,
            b'-' => -1,
            _ => return Err(NotRfc3339),
        };
        let hours = self.digits(2)?;
        self.expect(b':')?;
        let minutes = self.digits(2)?;
        if hours > 23 || minutes > 59 {
            return Err(NotRfc3339);
        }
        Ok(sign * (hours * 3600 + minutes * 60))
    }
}

const fn is_leap_year(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap_year(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days in the 400 years after which the Gregorian calendar repeats.
const DAYS_PER_ERA: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_UNIX_EPOCH: i64 = 719_468;

/// Days since 1970-01-01. Years are counted from March, so that the leap day ends a year.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let march_year = if month <= 2 { year - 1 } else { year };
    let era = march_year.div_euclid(400);
    let year_of_era = march_year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * DAYS_PER_ERA + day_of_era - DAYS_TO_UNIX_EPOCH
}

/// Year, month and day of a day counted from 1970-01-01.
const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + DAYS_TO_UNIX_EPOCH;
    let era = shifted.div_euclid(DAYS_PER_ERA);
    let day_of_era = shifted.rem_euclid(DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::{Instant, NotRfc3339};

    #[test]
    fn rfc3339_texts_are_read_and_written() {
        for (text, seconds, written) in [
            ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z"),
            ("2026-12-01T12:30:45Z", 1_796_128_245, "2026-12-01T12:30:45Z"),
            ("2026-12-01T12:30:45.999z", 1_796_128_245, "2026-12-01T12:30:45Z"),
            ("2026-12-01t13:30:45+01:00", 1_796_128_245, "2026-12-01T12:30:45Z"),
            ("2026-12-01 02:00:45-10:30", 1_796_128_245, "2026-12-01T12:30:45Z"),
            ("2024-02-29T23:59:60Z", 1_709_251_200, "2024-03-01T00:00:00Z"),
            ("2000-02-29T00:00:00Z", 951_782_400, "2000-02-29T00:00:00Z"),
            ("1969-12-31T23:59:59Z", -1, "1969-12-31T23:59:59Z"),
            ("9999-12-31T23:59:59Z", 253_402_300_799, "9999-12-31T23:59:59Z"),
            ("0000-03-01T00:00:00Z", -62_162_035_200, "0000-03-01T00:00:00Z"),
        ] {
            let instant = Instant::from_rfc3339(text).unwrap();
            assert_eq!(instant.unix_seconds(), seconds, "{text}");
            assert_eq!(instant.to_string(), written);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "2026-12-01",
            "2026-12-01T12:30:45",
            "2026-12-01T12:30:45ZZ",
            "2026-13-01T12:30:45Z",
            "2026-00-01T12:30:45Z",
            "2026-02-29T12:30:45Z",
            "1900-02-29T12:30:45Z",
            "2026-04-31T12:30:45Z",
            "2026-12-00T12:30:45Z",
            "2026-12-01T24:00:00Z",
            "2026-12-01T12:60:00Z",
            "2026-12-01T12:00:61Z",
            "2026-12-01T12:00:00.Z",
            "2026-12-01T12:00:00+1:00",
            "2026-12-01T12:00:00+24:00",
            "+026-12-01T12:00:00Z",
            "2026/12/01T12:00:00Z",
            "2026-12-01T12:00:00\u{ff}",
        ] {
            assert_eq!(Instant::from_rfc3339(text), Err(NotRfc3339), "{text}");
        }
    }

    #[test]
    fn every_day_of_eight_centuries_survives_the_round_trip() {
        for day in -150_000..150_000_i64 {
            let instant = Instant::from_unix_seconds(day * 86_400 + 3_723);
            assert_eq!(Instant::from_rfc3339(&instant.to_string()), Ok(instant));
        }
    }
}
