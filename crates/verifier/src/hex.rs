//! Lower-case hexadecimal text.

/// Octets as lower-case hexadecimal digits.
#[must_use]
pub fn encode(octets: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
    octets.iter().flat_map(|octet| [digit(octet >> 4), digit(octet & 0x0F)]).collect()
}

/// The octets of an even number of hexadecimal digits of either case; `None` for anything else.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|c| c.to_digit(16)).collect::<Option<Vec<u32>>>()?;
    if digits.len() % 2 != 0 {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| pair.iter().try_fold(0_u8, |octet, digit| u8::try_from(*digit).ok().map(|low| octet << 4 | low)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_it_encodes_and_nothing_else() {
        assert_eq!(decode(&encode(&[0, 0x9f, 0xff])), Some(vec![0, 0x9f, 0xff]));
        assert_eq!(decode("ABcd"), Some(vec![0xab, 0xcd]));
        for bad in ["a", "0g", "0x00", " 00", "é0"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
