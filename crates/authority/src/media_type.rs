//! Media types as Content-Type has them.

use crate::error::Error;

/// The media type without its parameters, which say nothing.
pub(crate) fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Checks the media type, whose parameters and case say nothing.
pub(crate) fn expect(found: &str, expected: &'static str) -> Result<(), Error> {
    if essence(found).eq_ignore_ascii_case(expected) { Ok(()) } else { Err(Error::UnsupportedMediaType { expected }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_compared_without_its_parameters() {
        for found in ["application/pkcs10", "Application/PKCS10 ; charset=x"] {
            assert!(expect(found, "application/pkcs10").is_ok(), "{found}");
        }
        for found in ["", "application/pkcs10x", "application/json", "x application/pkcs10"] {
            assert!(expect(found, "application/pkcs10").is_err(), "{found}");
        }
    }
}
