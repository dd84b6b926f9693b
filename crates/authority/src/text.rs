//! Text forms of octets and errors.

use std::error::Error;

/// Lower-case hexadecimal.
pub(crate) fn to_hex(octets: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    let mut text = String::with_capacity(octets.len().saturating_mul(2));
    for octet in octets {
        text.push(digit(octet >> 4));
        text.push(digit(octet & 0x0F));
    }
    text
}

/// The octets that `text` writes in hexadecimal, of either case, or nothing if it does not.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut octets = Vec::with_capacity(pairs.len());
    for [high, low] in pairs {
        octets.push(value(*high)? << 4 | value(*low)?);
    }
    rest.is_empty().then_some(octets)
}

/// An error with everything that caused it, for the log.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_both_ways() {
        assert_eq!(to_hex(&[0, 0xab, 0xff]), "00abff");
        assert_eq!(from_hex("00ABff"), Some(vec![0, 0xab, 0xff]));
        assert_eq!(from_hex(""), Some(vec![]));
        for bad in ["0", "0g", " 00", "00 ", "+1", "é0"] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
    }
}
