//! Files that gzip compressed (RFC 1952): one member, and a bound on what comes out of it.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use crate::{Malformed, Reason};

const PRODUCTION: &str = "gzip member";
/// What every member begins with.
pub(super) const MAGIC: [u8; 2] = [0x1F, 0x8B];
/// The one compression method.
const DEFLATE: u8 = 8;
const HEADER_OCTETS: usize = 10;
/// CRC-32 and length of what was compressed.
const TRAILER_OCTETS: usize = 8;
const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;
/// The polynomial of CRC-32, the lowest power first.
const POLYNOMIAL: u32 = 0xEDB8_8320;

/// What a member holds, if that is at most `limit` octets. Names and comments in its header are passed over.
///
/// # Errors
/// [`Malformed`] unless `input` is exactly one member whose checksum and length are right.
pub(super) fn expand(input: &[u8], limit: usize) -> Result<Vec<u8>, Malformed> {
    let error = |offset, reason| Malformed::new(PRODUCTION, offset, reason);
    let start = header_end(input)?;
    let body = input.get(start..).unwrap_or_default();
    let mut output = vec![0; limit];
    let mut decompressor = Box::new(DecompressorOxide::new());
    let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, consumed, written) = decompress(&mut decompressor, body, &mut output, 0, flags);
    match status {
        TINFLStatus::Done => {}
        TINFLStatus::HasMoreOutput => {
            return Err(error(start, Reason::OverLimit { what: "octets that come out", limit }));
        }
        TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => {
            return Err(error(input.len(), Reason::Truncated(1)));
        }
        // Failed, and what later versions of the decompressor may tell.
        _ => {
            return Err(error(start, Reason::Unexpected("deflated octets")));
        }
    }
    output.truncate(written);
    let end = start.saturating_add(consumed);
    let trailer = input.get(end..).unwrap_or_default();
    let (crc, length) = match trailer {
        [a, b, c, d, e, f, g, h] => (u32::from_le_bytes([*a, *b, *c, *d]), u32::from_le_bytes([*e, *f, *g, *h])),
        short if short.len() < TRAILER_OCTETS => {
            return Err(error(end, Reason::Truncated(TRAILER_OCTETS.saturating_sub(short.len()))));
        }
        long => return Err(error(end, Reason::Trailing(long.len().saturating_sub(TRAILER_OCTETS)))),
    };
    if crc != crc32(&output) || u32::try_from(written) != Ok(length) {
        return Err(error(end, Reason::Unexpected("the checksum and the length of what came out")));
    }
    Ok(output)
}

/// Where the header ends.
fn header_end(input: &[u8]) -> Result<usize, Malformed> {
    let truncated = Malformed::new(PRODUCTION, input.len(), Reason::Truncated(1));
    let header = input.get(..HEADER_OCTETS).ok_or(truncated)?;
    let [first, second, method, flags, ..] = header else { return Err(truncated) };
    if [*first, *second] != MAGIC || *method != DEFLATE || flags & RESERVED != 0 {
        return Err(Malformed::new(PRODUCTION, 0, Reason::Unexpected("a header of gzip")));
    }
    let mut end = HEADER_OCTETS;
    if flags & FEXTRA != 0 {
        let length = input.get(end..end.saturating_add(2)).ok_or(truncated)?;
        let length: [u8; 2] = length.try_into().map_err(|_| truncated)?;
        end = end.saturating_add(2).saturating_add(usize::from(u16::from_le_bytes(length)));
    }
    for text in [FNAME, FCOMMENT] {
        if flags & text != 0 {
            let rest = input.get(end..).ok_or(truncated)?;
            let zero = rest.iter().position(|octet| *octet == 0).ok_or(truncated)?;
            end = end.saturating_add(zero).saturating_add(1);
        }
    }
    if flags & FHCRC != 0 {
        let sum = input.get(end..end.saturating_add(2)).ok_or(truncated)?;
        let sum: [u8; 2] = sum.try_into().map_err(|_| truncated)?;
        let header = input.get(..end).ok_or(truncated)?;
        if crc32(header) & 0xFFFF != u32::from(u16::from_le_bytes(sum)) {
            return Err(Malformed::new(PRODUCTION, end, Reason::Unexpected("the checksum of the header")));
        }
        end = end.saturating_add(2);
    }
    if end > input.len() { Err(truncated) } else { Ok(end) }
}

/// CRC-32 (RFC 1952, section 8), bit by bit: what is summed is short.
fn crc32(octets: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ POLYNOMIAL };
    !octets.iter().fold(u32::MAX, |crc, octet| (0..8).fold(crc ^ u32::from(*octet), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 64;

    /// A member whose contents are stored, with these flags and header fields.
    fn member(flags: u8, fields: &[u8], contents: &[u8]) -> Vec<u8> {
        let length = u16::try_from(contents.len()).unwrap();
        let mut octets = [&[0x1F, 0x8B, 8, flags, 0, 0, 0, 0, 0, 3], fields].concat();
        octets.push(1);
        octets.extend([length.to_le_bytes(), (!length).to_le_bytes()].concat());
        octets.extend(contents);
        octets.extend(crc32(contents).to_le_bytes());
        octets.extend(u32::from(length).to_le_bytes());
        octets
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn members_with_all_header_fields_expand() {
        assert_eq!(expand(&member(0, &[], b"abc"), LIMIT).unwrap(), b"abc");
        let fields = b"\x02\0xyname\0comment\0";
        let plain = [&[0x1F, 0x8B, 8, 0x1E, 0, 0, 0, 0, 0, 3], &fields[..]].concat();
        let sum = u16::try_from(crc32(&plain) & 0xFFFF).unwrap().to_le_bytes();
        let fields = [&fields[..], &sum].concat();
        assert_eq!(expand(&member(0x1E, &fields, b"abc"), LIMIT).unwrap(), b"abc");
        let other = [&fields[..fields.len() - 1], &[sum[1] ^ 1]].concat();
        assert!(expand(&member(0x1E, &other, b"abc"), LIMIT).is_err());
    }

    #[test]
    fn what_is_not_exactly_one_member_is_refused() {
        let good = member(0, &[], b"abc");
        for length in 0..good.len() {
            assert!(expand(&good[..length], LIMIT).is_err(), "{length}");
        }
        assert_eq!(expand(&[good.clone(), vec![0]].concat(), LIMIT).unwrap_err().reason, Reason::Trailing(1));
        for place in [0, 1, 2, 15, 17, 18, good.len() - 1] {
            let mut bad = good.clone();
            bad[place] ^= 0x40;
            assert!(expand(&bad, LIMIT).is_err(), "{place}");
        }
        assert!(expand(&member(0x20, &[], b"abc"), LIMIT).is_err());
    }

    #[test]
    fn what_comes_out_is_bounded() {
        let long = member(0, &[], &[0; LIMIT + 1]);
        assert!(matches!(expand(&long, LIMIT).unwrap_err().reason, Reason::OverLimit { limit: LIMIT, .. }));
        assert_eq!(expand(&member(0, &[], &[0; LIMIT]), LIMIT).unwrap().len(), LIMIT);
    }
}
