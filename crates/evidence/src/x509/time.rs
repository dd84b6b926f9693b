//! Time (RFC 5280, 4.1.2.5): UTCTime and GeneralizedTime as seconds since 1970-01-01T00:00:00Z.

use alloc::format;
use alloc::string::String;

use crate::x509::der::{Element, Tag};
use crate::{Malformed, Reason};

const SECONDS_PER_DAY: i64 = 86_400;
/// 9999-12-31T23:59:59Z.
const LATEST: i64 = 253_402_300_799;

/// Reads a Time: `YYMMDDHHMMSSZ` (1950 to 2049) or `YYYYMMDDHHMMSSZ`, nothing else.
pub(crate) fn seconds(element: &Element<'_>) -> Result<i64, Malformed> {
    let not_der = || element.error(Reason::NotDer("time not in the form of RFC 5280"));
    let contents = element.contents();
    let (year, rest) = match element.tag() {
        Tag::UTC_TIME => {
            let (digits, rest) = contents.split_at_checked(2).ok_or_else(not_der)?;
            let year = number(digits).ok_or_else(not_der)?;
            (if year < 50 { year + 2000 } else { year + 1900 }, rest)
        }
        Tag::GENERALIZED_TIME => {
            let (digits, rest) = contents.split_at_checked(4).ok_or_else(not_der)?;
            (number(digits).ok_or_else(not_der)?, rest)
        }
        _ => return Err(element.error(Reason::Unexpected("UTCTime or GeneralizedTime"))),
    };
    let [mon1, mon0, day1, day0, hour1, hour0, min1, min0, sec1, sec0, b'Z'] = rest else {
        return Err(not_der());
    };
    let two = |tens: &u8, ones: &u8| number(&[*tens, *ones]).ok_or_else(not_der);
    let date = (year, two(mon1, mon0)?, two(day1, day0)?);
    let time = (two(hour1, hour0)?, two(min1, min0)?, two(sec1, sec0)?);
    instant(date, time).ok_or_else(|| element.error(Reason::NotDer("time that does not exist")))
}

/// Seconds of a date and a time; `None` if they do not exist.
fn instant((year, month, day): (i64, i64, i64), (hour, minute, second): (i64, i64, i64)) -> Option<i64> {
    let day_exists = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    if !day_exists || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(days_from_epoch(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second)
}

/// Seconds of a time in fourteen digits, YYYYMMDDHHMMSS; `None` if there is no such time.
pub(crate) fn from_digits(digits: &[u8; 14]) -> Option<i64> {
    let [y3, y2, y1, y0, mon1, mon0, day1, day0, hour1, hour0, min1, min0, sec1, sec0] = digits;
    let two = |tens: &u8, ones: &u8| number(&[*tens, *ones]);
    let date = (number(&[*y3, *y2, *y1, *y0])?, two(mon1, mon0)?, two(day1, day0)?);
    instant(date, (two(hour1, hour0)?, two(min1, min0)?, two(sec1, sec0)?))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0')))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar, counted from a year that begins
/// in March, so that the leap day is the last.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The tag and text of a Time as RFC 5280 wants it: UTCTime through 2049, GeneralizedTime from 2050.
///
/// Seconds outside the years 1950 to 9999 are moved to the nearest end of that range.
pub(crate) fn encode(seconds: i64) -> (Tag, String) {
    /// 1950-01-01T00:00:00Z.
    const EARLIEST: i64 = -631_152_000;
    let seconds = seconds.clamp(EARLIEST, LATEST);
    let (year, month, day) = date(seconds.div_euclid(SECONDS_PER_DAY));
    let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let rest = format!("{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    if year < 2050 {
        (Tag::UTC_TIME, format!("{:02}{rest}", year % 100))
    } else {
        (Tag::GENERALIZED_TIME, format!("{year:04}{rest}"))
    }
}

/// The text of a GeneralizedTime; seconds outside the years 0 to 9999 are moved to the nearest end of that range.
pub(crate) fn generalized(seconds: i64) -> String {
    /// 0000-01-01T00:00:00Z.
    const EARLIEST: i64 = -62_167_219_200;
    let seconds = seconds.clamp(EARLIEST, LATEST);
    let (year, month, day) = date(seconds.div_euclid(SECONDS_PER_DAY));
    let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tag: u8, text: &str) -> Result<i64, Malformed> {
        let mut der = vec![tag, u8::try_from(text.len()).unwrap()];
        der.extend(text.as_bytes());
        seconds(&Element::parse(&der, "Time").unwrap())
    }

    #[test]
    fn times_that_exist_are_read() {
        assert_eq!(read(0x17, "700101000000Z"), Ok(0));
        assert_eq!(read(0x17, "491231235959Z"), Ok(2_524_607_999));
        assert_eq!(read(0x17, "500101000000Z"), Ok(-631_152_000));
        assert_eq!(read(0x18, "20000229120000Z"), Ok(951_825_600));
        assert_eq!(read(0x18, "99991231235959Z"), Ok(253_402_300_799));
    }

    #[test]
    fn other_forms_and_days_that_do_not_exist_are_refused() {
        for (tag, text) in [
            (0x17, "7001010000Z"),
            (0x17, "700101000000+0000"),
            (0x17, "70010100000 Z"),
            (0x18, "20230229000000Z"),
            (0x18, "21000229000000Z"),
            (0x18, "20231301000000Z"),
            (0x18, "20230100000000Z"),
            (0x18, "20230101240000Z"),
            (0x18, "20230101000060Z"),
            (0x18, "20230101000000.5Z"),
            (0x18, "20230101000000"),
            (0x0C, "20230101000000Z"),
        ] {
            assert!(read(tag, text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_in_digits_are_the_same_times() {
        assert_eq!(from_digits(b"20000229120000"), Some(951_825_600));
        for none in [b"20230229000000", b"20230101240000", b"2023010100000x"] {
            assert_eq!(from_digits(none), None);
        }
    }

    #[test]
    fn encoded_times_read_back() {
        for seconds in [0, -631_152_000, 951_825_600, 2_524_607_999, 2_524_608_000, 253_402_300_799] {
            let (tag, text) = encode(seconds);
            assert_eq!(read(tag.leading_octet(), &text), Ok(seconds), "{text}");
        }
        assert_eq!(encode(2_524_607_999).0, Tag::UTC_TIME);
        assert_eq!(encode(2_524_608_000).0, Tag::GENERALIZED_TIME);
        assert_eq!(encode(i64::MAX).1, "99991231235959Z");
        assert_eq!(generalized(951_825_600), "20000229120000Z");
        assert_eq!(
            (generalized(i64::MIN), generalized(i64::MAX)),
            ("00000101000000Z".into(), "99991231235959Z".into())
        );
    }
}
