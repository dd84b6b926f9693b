//! Big-endian marshaling of TPM structures (TPM 2.0 Library, Part 2, "Data representation").

use crate::{Malformed, Reason};

/// A cursor over marshaled TPM bytes that refuses to read past their end.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    production: &'static str,
    input: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Reads `input` as `production`, which errors will name.
    #[must_use]
    pub const fn new(input: &'a [u8], production: &'static str) -> Self {
        Self { production, input, offset: 0 }
    }

    /// An error at the current offset.
    #[must_use]
    pub const fn error(&self, reason: Reason) -> Malformed {
        Malformed::new(self.production, self.offset, reason)
    }

    /// Octets not yet read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.input.len().saturating_sub(self.offset)
    }

    /// Octets read so far.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// The next `len` octets.
    ///
    /// # Errors
    /// [`Reason::Truncated`] if fewer are left.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let taken = self
            .offset
            .checked_add(len)
            .and_then(|end| self.input.get(self.offset..end))
            .ok_or_else(|| self.error(Reason::Truncated(len.saturating_sub(self.remaining()))))?;
        self.offset = self.offset.saturating_add(len);
        Ok(taken)
    }

    /// The next `N` octets as an array.
    ///
    /// # Errors
    /// [`Reason::Truncated`] if fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let short = self.error(Reason::Truncated(N));
        self.take(N)?.try_into().map_err(|_| short)
    }

    /// A UINT8.
    ///
    /// # Errors
    /// [`Reason::Truncated`].
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    /// A UINT16.
    ///
    /// # Errors
    /// [`Reason::Truncated`].
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// A UINT32.
    ///
    /// # Errors
    /// [`Reason::Truncated`].
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// A UINT64.
    ///
    /// # Errors
    /// [`Reason::Truncated`].
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// The contents of a TPM2B: a UINT16 size, then that many octets, at most `max`.
    ///
    /// # Errors
    /// [`Reason::OverLimit`] when the size exceeds `max`, [`Reason::Truncated`].
    pub fn tpm2b(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        let size = usize::from(self.u16()?);
        if size > max {
            return Err(self.error(Reason::OverLimit { what: "TPM2B size", limit: max }));
        }
        self.take(size)
    }

    /// Everything not yet read.
    #[must_use]
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.input.get(self.offset..).unwrap_or_default();
        self.offset = self.input.len();
        rest
    }

    /// Ends the structure.
    ///
    /// # Errors
    /// [`Reason::Trailing`] if octets are left: a structure is exactly its bytes.
    pub fn finish(self) -> Result<(), Malformed> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(self.error(Reason::Trailing(left))),
        }
    }
}

/// Marshals TPM structures into a growing buffer.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Appends a UINT8.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// Appends a UINT16.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends a UINT32.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends a UINT64.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends octets as they are.
    pub fn bytes(&mut self, octets: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(octets);
        self
    }

    /// Appends a TPM2B: size and contents.
    ///
    /// Contents above 65,535 octets have no such encoding. They are cut, which no caller does: every
    /// buffer of this crate is bounded far below, and a TPM refuses anything above a few kilobytes.
    pub fn tpm2b(&mut self, contents: &[u8]) -> &mut Self {
        let size = u16::try_from(contents.len()).unwrap_or(u16::MAX);
        self.u16(size).bytes(contents.get(..usize::from(size)).unwrap_or_default())
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// What was written so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written_and_nothing_more() {
        let mut writer = Writer::new();
        writer.u8(1).u16(2).u32(3).u64(4).tpm2b(b"five");
        let bytes = writer.into_bytes();
        let mut reader = Reader::new(&bytes, "test");
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.u32(), Ok(3));
        assert_eq!(reader.u64(), Ok(4));
        assert_eq!(reader.tpm2b(4), Ok(&b"five"[..]));
        assert_eq!(reader.u8().map_err(|e| e.reason), Err(Reason::Truncated(1)));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_size_beyond_its_limit_is_refused_before_it_is_read() {
        let mut reader = Reader::new(&[0xFF, 0xFF], "test");
        assert_eq!(reader.tpm2b(64).map_err(|e| e.reason), Err(Reason::OverLimit { what: "TPM2B size", limit: 64 }));
    }

    #[test]
    fn trailing_octets_are_refused() {
        assert_eq!(Reader::new(b"x", "test").finish().map_err(|e| e.reason), Err(Reason::Trailing(1)));
    }
}
