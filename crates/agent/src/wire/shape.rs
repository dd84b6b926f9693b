//! How many fields a protobuf message has, found without making anything of them.

use thiserror::Error;

/// Octets of the longest varint.
const VARINT_OCTETS: usize = 10;

/// What a length-delimited field holds, as far as it matters for counting.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// A message; those of its fields that are messages or packed lists, by number. All others are leaves.
    Message(&'static [(u64, Shape)]),
    /// A packed list: each octet may be an element.
    PackedList,
}

/// Octets that are no protobuf message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Irregular {
    /// It ends inside a field.
    #[error("it ends inside a field")]
    Cut,
    /// A variable-length integer does not end.
    #[error("a varint of more than {VARINT_OCTETS} octets")]
    Varint,
    /// There is no such wire type.
    #[error("wire type {found}")]
    WireType {
        /// What is there.
        found: u8,
    },
}

/// The fields of `message`, of the messages in it that `shape` names, and the elements of its packed lists. Stops soon
/// after `limit`.
pub(super) fn count_fields(message: &[u8], shape: Shape, limit: usize) -> Result<usize, Irregular> {
    let fields = match shape {
        Shape::PackedList => return Ok(message.len()),
        Shape::Message(fields) => fields,
    };
    let mut rest = Cursor(message);
    let mut count = 0_usize;
    while !rest.0.is_empty() && count <= limit {
        count = count.saturating_add(1);
        let key = rest.varint()?;
        let [wire_type, ..] = (key & 7).to_le_bytes();
        match wire_type {
            0 => drop(rest.varint()?),
            1 => drop(rest.take(8)?),
            2 => {
                let octets = usize::try_from(rest.varint()?).map_err(|_| Irregular::Cut)?;
                let contents = rest.take(octets)?;
                if let Some((_, inner)) = fields.iter().find(|(number, _)| *number == key >> 3) {
                    count = count.saturating_add(count_fields(contents, *inner, limit)?);
                }
            }
            // The marks of a group, which no message of this protocol has: its contents count, then protobuf skips them.
            3 | 4 => {}
            5 => drop(rest.take(4)?),
            found => return Err(Irregular::WireType { found }),
        }
    }
    Ok(count)
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, octets: usize) -> Result<&'a [u8], Irregular> {
        let (taken, rest) = self.0.split_at_checked(octets).ok_or(Irregular::Cut)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Irregular> {
        let mut value = 0_u64;
        for position in (0_u32..).take(VARINT_OCTETS) {
            let [octet] = self.take(1)? else { return Err(Irregular::Cut) };
            value |= u64::from(octet & 0x7F).checked_shl(position * 7).unwrap_or_default();
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Irregular::Varint)
    }
}

#[cfg(test)]
mod tests {
    use super::{Irregular, Shape, count_fields};

    const SHAPE: Shape = Shape::Message(&[(2, Shape::Message(&[])), (3, Shape::PackedList)]);

    #[test]
    fn fields_are_counted_where_the_shape_says() {
        for (message, count) in [
            (&[][..], 0),
            (&[0x08, 0x96, 0x01], 1),
            // A leaf is not looked into, a message and a packed list are.
            (&[0x0A, 2, 0x08, 1], 1),
            (&[0x12, 4, 0x08, 1, 0x08, 2], 3),
            (&[0x1A, 3, 1, 2, 3], 4),
            (&[0x0D, 0, 0, 0, 0, 0x09, 0, 0, 0, 0, 0, 0, 0, 0], 2),
            (&[0x0B, 0x08, 1, 0x0C], 3),
        ] {
            assert_eq!(count_fields(message, SHAPE, 100), Ok(count), "{message:?}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for (message, irregular) in [
            (&[0x08][..], Irregular::Cut),
            (&[0x0A, 2, 1], Irregular::Cut),
            (&[0x12, 2, 0x0A, 9], Irregular::Cut),
            (&[0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], Irregular::Cut),
            (&[0x80; 11], Irregular::Varint),
            (&[0x0F], Irregular::WireType { found: 7 }),
        ] {
            assert_eq!(count_fields(message, SHAPE, 100), Err(irregular), "{message:?}");
        }
    }

    #[test]
    fn counting_stops_at_the_limit() {
        assert_eq!(count_fields(&[0x08, 1].repeat(1000), SHAPE, 10), Ok(11));
    }
}
