//! The encoding of statistics: LEB128 numbers and length-prefixed pieces.
//!
//! A reader allocates nothing by a number it has read: a length is checked against what is left
//! before anything is taken.
//!
//! Written here, since it is a dozen lines: `prost` keeps its varint functions out of its
//! documented interface, and the small crates for LEB128 (`leb128`, `integer-encoding`,
//! `unsigned-varint`) read from a stream, with errors that would have to be told apart again.

use super::StatsError;

/// Bytes of statistics that are being written.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    /// Appends a number as LEB128, in 1 to 10 bytes.
    pub(super) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// Appends a length and that many bytes.
    pub(super) fn piece(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}

/// Bytes of statistics that have not been read yet.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// Reads a number of at most 64 bits.
    pub(super) fn number(&mut self) -> Result<u64, StatsError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(StatsError::Truncated)?;
            self.0 = rest;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(StatsError::Malformed("a number has more than 64 bits"))
    }

    /// Reads a number that must fit a smaller type.
    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, StatsError> {
        T::try_from(self.number()?).map_err(|_| StatsError::Malformed("a number is out of range"))
    }

    /// Reads whether an optional value follows.
    pub(super) fn is_present(&mut self) -> Result<bool, StatsError> {
        match self.number()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(StatsError::Malformed(
                "what says yes or no says something else",
            )),
        }
    }

    /// Reads a length and that many bytes.
    pub(super) fn piece(&mut self) -> Result<&'a [u8], StatsError> {
        let length: usize = self.small()?;
        let (piece, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(StatsError::Truncated)?;
        self.0 = rest;
        Ok(piece)
    }

    /// Fails unless everything has been read.
    pub(super) fn end(self) -> Result<(), StatsError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(StatsError::Malformed("there are bytes after the end"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_past_64_bits_are_refused() {
        assert!(Reader(&[0xff; 9]).number().is_err());
        assert!(
            Reader(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02])
                .number()
                .is_err()
        );
        assert_eq!(
            Reader(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).number(),
            Ok(u64::MAX)
        );
    }

    #[test]
    fn a_piece_longer_than_what_is_left_is_refused() {
        let mut writer = Writer::default();
        writer.number(u64::MAX);
        assert_eq!(Reader(&writer.0).piece(), Err(StatsError::Truncated));
    }
}
