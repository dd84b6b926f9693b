//! Bodies: base64 of DER, broken into lines or not (RFC 8951, section 3.1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::Error;

/// The octets of a body in base64. Line breaks, blanks and tabs say nothing; any other octet outside the alphabet is
/// refused, and so is padding that is not as long as it must be.
///
/// # Errors
/// [`Error::Malformed`].
pub fn decode_body(body: &[u8]) -> Result<Vec<u8>, Error> {
    let expected = Error::Malformed { field: "the body", expected: "base64 with padding (RFC 8951, section 3.1)" };
    let digits: Vec<u8> = body.iter().copied().filter(|octet| !b"\r\n \t".contains(octet)).collect();
    STANDARD.decode(digits).map_err(|_| expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_nothing_and_everything_else_does() {
        for text in ["AAEC", "AAE\r\nC\r\n", " A\tA E C\n"] {
            assert_eq!(decode_body(text.as_bytes()).unwrap(), [0, 1, 2], "{text:?}");
        }
        assert_eq!(decode_body(b"AAE=").unwrap(), [0, 1]);
        for text in ["AAE", "AAF=", "AA-_", "AA==AA==", "-----BEGIN CERTIFICATE REQUEST-----", "AAEC\0", "AAE=="] {
            assert!(decode_body(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
