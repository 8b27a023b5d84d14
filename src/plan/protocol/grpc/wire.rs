//! The wire format of protobuf: tags, varints, and lengths before content.
//!
//! Written here although `prost` has the same functions: it keeps them out of its documented
//! interface, and it sizes a message before it writes it, where here a length is put in afterwards,
//! so that a value is rendered once.

/// Encoding of a field, the low bits of its tag:
/// <https://protobuf.dev/programming-guides/encoding/#structure>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireType {
    /// A number of 1 to 10 bytes.
    Varint = 0,
    /// Eight bytes.
    Fixed64 = 1,
    /// A length and that many bytes.
    Length = 2,
    /// Begin of a group.
    StartGroup = 3,
    /// End of a group.
    EndGroup = 4,
    /// Four bytes.
    Fixed32 = 5,
}

/// Appends a field's number and encoding.
pub fn tag(number: u32, wire_type: WireType, out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | wire_type as u32), out);
}

/// Appends a number in 1 to 10 bytes.
pub fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Number whose varint is short for a small value of either sign.
pub fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

/// Appends what `write` writes, with its length before it. Short content, the usual case, is not
/// moved.
pub fn prefixed<E>(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let at = out.len();
    out.push(0);
    write(out)?;
    let length = out.len() - at - 1;
    if length < 0x80 {
        out[at] = length as u8;
        return Ok(());
    }
    let mut prefix = Vec::with_capacity(5);
    varint(length as u64, &mut prefix);
    out.splice(at..=at, prefix);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_any_size_stand_before_what_they_count() {
        for length in [0, 1, 127, 128, 129, 16_383, 16_384, 70_000] {
            let mut out = vec![7];
            prefixed(&mut out, |out| {
                out.extend(std::iter::repeat_n(9, length));
                Ok::<_, ()>(())
            })
            .unwrap();
            let mut wanted = vec![7];
            varint(length as u64, &mut wanted);
            wanted.extend(std::iter::repeat_n(9, length));
            assert!(out == wanted, "{length}");
        }
    }

    #[test]
    fn small_numbers_of_either_sign_are_short() {
        assert_eq!(
            [0, -1, 1, -2, i64::MAX, i64::MIN].map(zigzag),
            [0, 1, 2, 3, u64::MAX - 1, u64::MAX]
        );
    }
}
