//! The bytes of statistics: LEB128 numbers and length-prefixed pieces.
//!
//! A reader allocates nothing by a number it has read: a length is checked against what is left
//! before anything is taken.

use super::StatsError;

#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(super) fn piece(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
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

    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, StatsError> {
        T::try_from(self.number()?).map_err(|_| StatsError::Malformed("a number is out of range"))
    }

    /// Whether what may be missing follows.
    pub(super) fn is_there(&mut self) -> Result<bool, StatsError> {
        match self.number()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(StatsError::Malformed(
                "what says yes or no says something else",
            )),
        }
    }

    pub(super) fn piece(&mut self) -> Result<&'a [u8], StatsError> {
        let length: usize = self.small()?;
        let (piece, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(StatsError::Truncated)?;
        self.0 = rest;
        Ok(piece)
    }

    /// Everything must have been read.
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
