//! Textual encodings (RFC 7468): blocks of base64 between labelled lines, with any text around them.

use crate::{Malformed, Reason, limits};

const PRODUCTION: &str = "PEM";
const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];
/// Octets on one line that this module writes (RFC 7468, section 2).
const LINE_OCTETS: usize = 48;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What a label says that a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `CERTIFICATE` and `X509 CERTIFICATE`.
    Certificate,
    /// `CERTIFICATE REQUEST` and `NEW CERTIFICATE REQUEST`.
    CertificationRequest,
    /// `PUBLIC KEY`.
    PublicKey,
    /// Any other label.
    Other,
}

/// One block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    label: String,
    contents: Vec<u8>,
}

impl Block {
    /// The label, as it stands between the dashes.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The decoded octets.
    #[must_use]
    pub fn contents(&self) -> &[u8] {
        &self.contents
    }

    /// What the label says.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" => Kind::Certificate,
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Kind::CertificationRequest,
            "PUBLIC KEY" => Kind::PublicKey,
            _ => Kind::Other,
        }
    }
}

/// Whether a file has a line that begins a block.
#[must_use]
pub fn is_pem(file: &[u8]) -> bool {
    without_byte_order_mark(file)
        .split(|octet| *octet == b'\n')
        .any(|line| line.trim_ascii().starts_with(BEGIN.as_bytes()))
}

/// All blocks of a file, in order. Text outside blocks is ignored; inside them nothing but base64 with
/// white space at line ends is allowed.
///
/// # Errors
/// [`Malformed`] if the file is larger than [`limits::INPUT_OCTETS`], has more blocks than
/// [`limits::CERTIFICATES_PARSED`], no block at all, or a block that does not end, ends under another
/// label, has headers, or is not canonical base64.
pub fn read(file: &[u8]) -> Result<Vec<Block>, Malformed> {
    let over = |what, limit| Malformed::new(PRODUCTION, 0, Reason::OverLimit { what, limit });
    if file.len() > limits::INPUT_OCTETS {
        return Err(over("input octets", limits::INPUT_OCTETS));
    }
    let mut blocks = Vec::new();
    let mut open: Option<(String, Vec<u8>)> = None;
    let mut offset = 0_usize;
    for line in without_byte_order_mark(file).split_inclusive(|octet| *octet == b'\n') {
        let error = |reason| Malformed::new(PRODUCTION, offset, reason);
        let text = line.trim_ascii();
        match open.take() {
            None => {
                if let Some(label) = boundary(text, BEGIN) {
                    open = Some((label.to_owned(), Vec::new()));
                }
            }
            Some((label, base64)) if text.starts_with(END.as_bytes()) => {
                if boundary(text, END) != Some(label.as_str()) {
                    return Err(error(Reason::Unexpected("END with the label of BEGIN")));
                }
                if blocks.len() >= limits::CERTIFICATES_PARSED {
                    return Err(over("PEM blocks", limits::CERTIFICATES_PARSED));
                }
                let contents = decode(&base64).ok_or(error(Reason::Unexpected("base64")))?;
                blocks.push(Block { label, contents });
            }
            Some((label, mut base64)) => {
                if !text.iter().all(|octet| is_base64(*octet)) {
                    return Err(error(Reason::Unexpected("base64")));
                }
                base64.extend_from_slice(text);
                open = Some((label, base64));
            }
        }
        offset = offset.saturating_add(line.len());
    }
    let error = |reason| Malformed::new(PRODUCTION, offset, reason);
    if open.is_some() {
        return Err(error(Reason::Missing("END line")));
    }
    if blocks.is_empty() {
        return Err(error(Reason::Missing("BEGIN line")));
    }
    Ok(blocks)
}

/// One block with this label.
#[must_use]
pub fn encode(label: &str, contents: &[u8]) -> String {
    let mut text = format!("{BEGIN}{label}{DASHES}\n");
    for line in contents.chunks(LINE_OCTETS) {
        for group in line.chunks(3) {
            push_group(&mut text, group);
        }
        text.push('\n');
    }
    text.push_str(&format!("{END}{label}{DASHES}\n"));
    text
}

fn push_group(text: &mut String, group: &[u8]) {
    let bits = group.iter().chain([0, 0].iter()).take(3).fold(0_u32, |bits, octet| (bits << 8) | u32::from(*octet));
    for position in 0..4_usize {
        if position > group.len() {
            text.push('=');
            continue;
        }
        let sextet = (bits >> (18 - 6 * u32::try_from(position).unwrap_or(0))) & 0x3F;
        let digit = ALPHABET.get(usize::try_from(sextet).unwrap_or(0)).copied().unwrap_or(b'=');
        text.push(char::from(digit));
    }
}

/// The file without the mark that some editors put before UTF-8.
fn without_byte_order_mark(file: &[u8]) -> &[u8] {
    file.strip_prefix(&BYTE_ORDER_MARK).unwrap_or(file)
}

fn boundary<'a>(line: &'a [u8], prefix: &str) -> Option<&'a str> {
    let label = line.strip_prefix(prefix.as_bytes())?.strip_suffix(DASHES.as_bytes())?;
    core::str::from_utf8(label).ok()
}

const fn is_base64(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=')
}

fn sextet(digit: u8) -> Option<u32> {
    match digit {
        b'A'..=b'Z' => Some(u32::from(digit - b'A')),
        b'a'..=b'z' => Some(u32::from(digit - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(digit - b'0') + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Decodes canonical, padded base64 (RFC 4648, section 4): bits beyond the last octet are zero.
pub(crate) fn decode(base64: &[u8]) -> Option<Vec<u8>> {
    let padding = base64.iter().rev().take_while(|digit| **digit == b'=').count();
    let digits = base64.get(..base64.len().checked_sub(padding)?)?;
    if padding > 2 || !base64.len().is_multiple_of(4) {
        return None;
    }
    let mut octets = Vec::with_capacity(base64.len() / 4 * 3);
    for group in digits.chunks(4) {
        let bits = group.iter().try_fold(0_u32, |bits, digit| Some((bits << 6) | sextet(*digit)?))?;
        match group.len() {
            4 => octets.extend_from_slice(bits.to_be_bytes().get(1..)?),
            3 if bits & 0x3 == 0 => octets.extend_from_slice((bits << 6).to_be_bytes().get(1..3)?),
            2 if bits & 0xF == 0 => octets.extend_from_slice((bits << 12).to_be_bytes().get(1..2)?),
            _ => return None,
        }
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_read_back() {
        for len in 0..100_u8 {
            let contents: Vec<u8> = (0..len).map(|i| i.wrapping_mul(37)).collect();
            let text = format!("some text\n{}more\n", encode("X", &contents));
            let blocks = read(text.as_bytes()).unwrap();
            assert_eq!(blocks.len(), 1);
            assert_eq!((blocks[0].label(), blocks[0].contents()), ("X", contents.as_slice()));
        }
        assert_eq!(
            encode("X", b"any carnal pleasur"),
            "-----BEGIN X-----\nYW55IGNhcm5hbCBwbGVhc3Vy\n-----END X-----\n"
        );
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        let text = [&BYTE_ORDER_MARK, encode("X", b"a").as_bytes()].concat();
        assert!(is_pem(&text));
        assert_eq!(read(&text).unwrap()[0].contents(), b"a");
    }

    #[test]
    fn carriage_returns_and_several_blocks_are_read() {
        let text = "a\r\n-----BEGIN A-----\r\nYQ==\r\n-----END A-----\r\n-----BEGIN B-----\r\n-----END B-----";
        let blocks = read(text.as_bytes()).unwrap();
        let seen: Vec<_> = blocks.iter().map(|block| (block.label(), block.contents())).collect();
        assert_eq!(seen, [("A", &b"a"[..]), ("B", &b""[..])]);
    }

    #[test]
    fn blocks_that_are_not_strict_are_refused() {
        for inside in
            ["YQ=", "YQ", "YR==", "YWF=", "Y Q=", "Y-_=", "=YQ=", "YQ==YQ==", "Proc-Type: 4,ENCRYPTED\n\nYQ=="]
        {
            let text = format!("-----BEGIN A-----\n{inside}\n-----END A-----\n");
            assert!(read(text.as_bytes()).is_err(), "{inside}");
        }
        assert!(read(b"-----BEGIN A-----\nYQ==\n").is_err());
        assert!(read(b"-----BEGIN A-----\nYQ==\n-----END B-----\n").is_err());
        assert!(read(b"text").is_err());
    }
}
