//! Framing of a chunked body: lines with the lengths of chunks, and the trailers after the last.

use crate::engine::protocol::http::response::Malformed;
use crate::plan::HeadLimits;

/// Longest line in bytes that gives a chunk's length.
const MAX_LINE: usize = 4096;

/// Position within a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Line with a chunk's length.
    Length(LengthLine),
    /// Data of a chunk with this many bytes left.
    Data(u64),
    /// Line break after the data of a chunk.
    DataEnd,
    /// Lines after the last chunk, which end with an empty one.
    Trailers(Trailers),
    /// End of the body.
    End,
}

/// Line with a chunk's length, as far as it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LengthLine {
    length: u64,
    /// True once a digit came.
    has_digits: bool,
    /// True once the number is over; extensions after it mean nothing here.
    in_extension: bool,
    /// Bytes of the line.
    bytes: usize,
}

/// Trailers, as far as they have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailers {
    /// Bytes of the current line.
    line: usize,
    /// Bytes of all lines, without their breaks.
    all: usize,
}

/// Position after some bytes were taken, and the bytes after those.
type Taken<'a> = (Chunk, &'a [u8]);

impl Chunk {
    /// Beginning of a chunk.
    pub(super) const BEGIN: Self = Self::Length(LengthLine {
        length: 0,
        has_digits: false,
        in_extension: false,
        bytes: 0,
    });

    /// Takes a byte of the line break after a chunk's data.
    pub(super) fn data_end(byte: u8) -> Result<Self, Malformed> {
        match byte {
            b'\r' => Ok(Self::DataEnd),
            b'\n' => Ok(Self::BEGIN),
            _ => Err(Malformed::Chunk),
        }
    }
}

impl LengthLine {
    /// Takes bytes up to the end of the line.
    pub(super) fn take(mut self, bytes: &[u8]) -> Result<Taken<'_>, Malformed> {
        for (at, byte) in bytes.iter().enumerate() {
            match *byte {
                b'\n' if self.has_digits => return Ok((self.next(), &bytes[at + 1..])),
                _ if self.bytes >= MAX_LINE => return Err(Malformed::Chunk),
                _ if self.in_extension => {}
                b'\r' | b';' | b' ' | b'\t' if self.has_digits => self.in_extension = true,
                digit => {
                    self.length = with_digit(self.length, digit).ok_or(Malformed::Chunk)?;
                    self.has_digits = true;
                }
            }
            self.bytes += 1;
        }
        Ok((Chunk::Length(self), &[]))
    }

    /// Returns what follows the line.
    fn next(self) -> Chunk {
        match self.length {
            // the last chunk has no data, and no line break after it
            0 => Chunk::Trailers(Trailers { line: 0, all: 0 }),
            length => Chunk::Data(length),
        }
    }
}

/// Appends a hexadecimal digit to a number; `None` if it is none, or the number gets too large.
fn with_digit(number: u64, digit: u8) -> Option<u64> {
    let digit = char::from(digit).to_digit(16)?;
    let number = number.checked_mul(16)?.checked_add(digit.into())?;
    (number <= i64::MAX as u64).then_some(number)
}

impl Trailers {
    /// Takes bytes up to the end of the trailers.
    pub(super) fn take(mut self, bytes: &[u8], limits: HeadLimits) -> Result<Taken<'_>, Malformed> {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if self.line == 0 => return Ok((Chunk::End, &bytes[at + 1..])),
                b'\n' => self.line = 0,
                b'\r' if self.line == 0 => {}
                _ if self.all >= limits.bytes as usize => {
                    return Err(Malformed::HeadTooLong(limits.bytes));
                }
                _ => {
                    self.line += 1;
                    self.all += 1;
                }
            }
        }
        Ok((Chunk::Trailers(self), &[]))
    }
}
