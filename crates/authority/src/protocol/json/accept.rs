//! Which of two forms a client wants its answer in (RFC 9110, section 12.5.1).

use crate::error::Error;

/// Media ranges that are looked at; what stands behind them asks for nothing.
const RANGES_MAX: usize = 32;
/// The weight of what is asked for without one, in thousandths.
const WEIGHT_MAX: u16 = 1_000;

/// A form of the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The report, as JSON.
    Report,
    /// A signed attestation result.
    Ear,
}

const REPORT: MediaType = MediaType { kind: "application", subtype: "json", profile: None };
const EAR: MediaType =
    MediaType { kind: "application", subtype: "eat+jwt", profile: Some(vouchsafe_verifier::ear::PROFILE) };

struct MediaType {
    kind: &'static str,
    subtype: &'static str,
    /// The value of the parameter `eat_profile` (RFC 9782, section 3).
    profile: Option<&'static str>,
}

impl Form {
    /// The form that the values of Accept prefer; the report where they prefer none.
    ///
    /// # Errors
    /// [`Error::NotAcceptable`] if they exclude both.
    pub(crate) fn preferred(accept: &str) -> Result<Self, Error> {
        if accept.trim().is_empty() {
            return Ok(Self::Report);
        }
        match (EAR.weight(accept), REPORT.weight(accept)) {
            (0, 0) => {
                Err(Error::NotAcceptable("answers are application/json, or application/eat+jwt in the EAR profile"))
            }
            (ear, report) if ear > report => Ok(Self::Ear),
            (_, _) => Ok(Self::Report),
        }
    }
}

impl MediaType {
    /// By how much it is wanted: what the most specific range says that it is in.
    fn weight(&self, accept: &str) -> u16 {
        let ranges = split(accept, b',').take(RANGES_MAX);
        ranges
            .filter_map(|range| self.within(range))
            .max_by_key(|(specific, _)| *specific)
            .map_or(0, |(_, weight)| weight)
    }

    /// How specific a range is that it is in, and the range's weight.
    fn within(&self, range: &str) -> Option<(u8, u16)> {
        let mut parts = split(range, b';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let is = |text: &str, name: &str| text.eq_ignore_ascii_case(name);
        let mut specific = match (kind, subtype) {
            ("*", "*") => 0,
            (kind, "*") if is(kind, self.kind) => 1,
            (kind, subtype) if is(kind, self.kind) && is(subtype, self.subtype) => 2,
            (_, _) => return None,
        };
        let mut weight = WEIGHT_MAX;
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            if is(name.trim(), "q") {
                weight = thousandths(value)?;
            } else if is(name.trim(), "eat_profile") {
                // Another profile is another type.
                if self.profile != Some(value) {
                    return None;
                }
                specific = 3;
            }
        }
        Some((specific, weight))
    }
}

/// The parts of a list, whose separators do not count within quotes.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut is_quoted = false;
        let end = text.bytes().position(|octet| {
            is_quoted ^= octet == b'"';
            octet == separator && !is_quoted
        });
        let (part, behind) = match end.and_then(|end| text.split_at_checked(end)) {
            Some((part, behind)) => (part, behind.get(1..)),
            None => (text, None),
        };
        rest = behind;
        Some(part)
    })
}

/// A weight (RFC 9110, section 12.4.2): 0 to 1 with up to three digits behind the point.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(WEIGHT_MAX),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_that_is_preferred_is_given() {
        let ear = "application/eat+jwt; eat_profile=\"tag:ietf.org,2026:rats/ear#04\"";
        for (accept, wanted) in [
            ("", Form::Report),
            ("*/*", Form::Report),
            ("application/*", Form::Report),
            ("application/json", Form::Report),
            ("application/json, application/eat+jwt", Form::Report),
            ("application/eat+jwt", Form::Ear),
            ("Application/EAT+JWT", Form::Ear),
            (ear, Form::Ear),
            (&format!("{ear}, application/json;q=0.9"), Form::Ear),
            (&format!("application/json;q=1, {ear};q=0.5"), Form::Report),
            ("application/eat+jwt, */*;q=0.1", Form::Ear),
            ("application/eat+jwt;q=0, */*", Form::Report),
            ("text/html, application/json;q=0.2, application/eat+jwt;q=0.201", Form::Ear),
            ("application/json;q=0, */*", Form::Ear),
        ] {
            assert_eq!(Form::preferred(accept).ok(), Some(wanted), "{accept}");
        }
        for accept in [
            "text/html",
            "application/eat+cwt",
            "application/eat+jwt;q=0",
            "application/eat+jwt;q=2",
            "application/eat+jwt; eat_profile=\"tag:example.org,2026:other\"",
            "application/eat+jwt; eat_profile=tag:ietf.org,2026:rats/ear#04",
            ",,,;;=\"",
            "eat+jwt",
        ] {
            assert!(matches!(Form::preferred(accept), Err(Error::NotAcceptable(_))), "{accept}");
        }
        assert!(matches!(Form::preferred(&",".repeat(1_000_000)), Err(Error::NotAcceptable(_))));
    }

    #[test]
    fn weights_are_of_three_digits() {
        for (text, weight) in [("0", 0), ("1", 1_000), ("1.000", 1_000), ("0.5", 500), ("0.05", 50), ("0.", 0)] {
            assert_eq!(thousandths(text), Some(weight), "{text}");
        }
        for text in ["", "2", "1.1", "0.1234", "-1", "0,5", ".5", "1e0"] {
            assert_eq!(thousandths(text), None, "{text}");
        }
    }
}
