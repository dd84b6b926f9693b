//! Base64 with the alphabet for URLs (RFC 4648, section 5).

/// The unpadded text of octets.
#[must_use]
pub fn encode(octets: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(octets.len().saturating_mul(4).div_ceil(3));
    for group in octets.chunks(3) {
        let bits = group.iter().chain([0, 0].iter()).take(3).fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet));
        for shift in [18, 12, 6, 0].into_iter().take(group.len().saturating_add(1)) {
            let digit = usize::try_from(bits >> shift & 0x3F).ok().and_then(|place| ALPHABET.get(place));
            text.push(char::from(digit.copied().unwrap_or(b'A')));
        }
    }
    text
}

/// The octets that unpadded text encodes; `None` unless it is the one encoding that they have.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    decode_with(text, value)
}

/// The octets that text in either alphabet encodes, padded or not, broken into lines or not.
#[must_use]
pub fn decode_lenient(text: &[u8]) -> Option<Vec<u8>> {
    let text = core::str::from_utf8(text).ok()?;
    let joined: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let unpadded = joined.trim_end_matches('=');
    if joined.len().saturating_sub(unpadded.len()) > 2 {
        return None;
    }
    decode_with(unpadded, |digit| match digit {
        b'+' => Some(62),
        b'/' => Some(63),
        other => value(other),
    })
}

fn value(digit: u8) -> Option<u32> {
    match digit {
        b'A'..=b'Z' => Some(u32::from(digit - b'A')),
        b'a'..=b'z' => Some(u32::from(digit - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(digit - b'0') + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

fn decode_with(text: &str, value: impl Fn(u8) -> Option<u32>) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for digits in text.as_bytes().chunks(4) {
        let bits = digits.iter().try_fold(0, |bits, digit| Some(bits << 6 | value(*digit)?))?;
        let (bits, count) = match digits.len() {
            4 => (bits << 8, 3),
            // The bits beyond the last octet must be zero, or one value had several encodings.
            3 if bits & 0x3 == 0 => (bits << 14, 2),
            2 if bits & 0xF == 0 => (bits << 20, 1),
            _ => return None,
        };
        octets.extend(bits.to_be_bytes().into_iter().take(count));
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_has_one_encoding() {
        for (text, octets) in [
            ("", Some(&b""[..])),
            ("Zg", Some(b"f")),
            ("Zm8", Some(b"fo")),
            ("Zm9v", Some(b"foo")),
            ("-_8", Some(b"\xfb\xff")),
        ] {
            assert_eq!(decode(text).as_deref(), octets, "{text}");
            assert_eq!(encode(octets.unwrap()), text);
        }
        for text in ["Zh", "Zm9", "Z", "Zg==", "+/8", "Zm 8", "Zm9v\n", "Z\u{e9}8"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    #[test]
    fn files_may_hold_either_alphabet() {
        for text in ["-_8", "+/8", "+/8=", "-_8=\n", " -_\r\n8"] {
            assert_eq!(decode_lenient(text.as_bytes()).as_deref(), Some(&b"\xfb\xff"[..]), "{text}");
        }
        assert_eq!(decode_lenient(b"-_8==="), None);
        assert_eq!(decode_lenient(b"\xff"), None);
    }
}
