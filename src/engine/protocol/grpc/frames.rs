//! Messages in the bytes of a stream: each has a flag, a length of four bytes, and its content.
//!
//! Pure: no socket here.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::engine::protocol::grpc::fault::Fault;

const PREFIX: usize = 5;

/// Largest buffer, in bytes, that is kept after an answer has been checked; larger ones are freed
/// so that idle users stay small.
const WORTH_KEEPING: usize = 4 * 1024;

/// Reader of messages from bytes as they come.
#[derive(Debug, Default)]
pub(super) struct Frames {
    most: u32,
    /// True if the last message is needed after it came.
    keeps: bool,
    /// True if `grpc-encoding` is gzip, so that messages may be compressed.
    pub(super) gzip: bool,
    prefix: [u8; PREFIX],
    /// Bytes of the prefix that came.
    filled: usize,
    /// Bytes of the message still to come.
    left: usize,
    /// Bytes so far of the message that is coming, if it is kept.
    coming: Vec<u8>,
    /// Last whole message, if it is kept.
    last: Vec<u8>,
    last_is_compressed: bool,
    /// Number of whole messages.
    pub(super) count: u64,
}

impl Frames {
    /// Prepares for the next answer. `most` is the largest message in bytes; `keeps` keeps the last
    /// message.
    pub(super) fn begin(&mut self, most: u32, keeps: bool) {
        let (coming, last) = (
            std::mem::take(&mut self.coming),
            std::mem::take(&mut self.last),
        );
        *self = Self {
            most,
            keeps,
            coming,
            last,
            ..Self::default()
        };
        self.coming.clear();
        self.last.clear();
    }

    /// Takes the next bytes of a stream and returns how many messages they complete. Fails on a
    /// message that is too large or has an invalid prefix.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<u32, Fault> {
        let mut whole = 0;
        while !bytes.is_empty() {
            if self.filled < PREFIX {
                let taken = (PREFIX - self.filled).min(bytes.len());
                self.prefix[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
                self.filled += taken;
                bytes = &bytes[taken..];
                if self.filled < PREFIX {
                    break;
                }
                self.announce()?;
            }
            let taken = self.left.min(bytes.len());
            if self.keeps {
                self.coming.extend_from_slice(&bytes[..taken]);
            }
            self.left -= taken;
            bytes = &bytes[taken..];
            // an empty message is whole with its prefix
            if self.left == 0 {
                whole += 1;
                self.filled = 0;
                self.last_is_compressed = self.prefix[0] == 1;
                std::mem::swap(&mut self.coming, &mut self.last);
                self.coming.clear();
            }
        }
        self.count += u64::from(whole);
        Ok(whole)
    }

    /// Checks a prefix that is whole, and notes the length of its message.
    fn announce(&mut self) -> Result<(), Fault> {
        let [flag, length @ ..] = self.prefix;
        let length = u32::from_be_bytes(length);
        match flag {
            0 => {}
            1 if self.gzip => {}
            1 => return Err(Fault::NoEncoding),
            other => return Err(Fault::Flag(other)),
        }
        if length > self.most {
            return Err(Fault::TooLarge {
                length: length.into(),
                most: self.most,
            });
        }
        self.left = length as usize;
        Ok(())
    }

    /// Returns whether the bytes so far end with a whole message.
    pub(super) fn are_whole(&self) -> bool {
        self.filled == 0
    }

    /// Returns the last whole message, uncompressed into `out` if it came compressed. Fails if it
    /// cannot be uncompressed or becomes larger than a message may be.
    pub(super) fn last<'a>(&'a self, out: &'a mut Vec<u8>) -> Result<&'a [u8], Fault> {
        if !self.last_is_compressed {
            return Ok(&self.last);
        }
        out.clear();
        let most = u64::from(self.most) + 1;
        let read = MultiGzDecoder::new(self.last.as_slice())
            .take(most)
            .read_to_end(out);
        read.map_err(|error| Fault::NotGzip(error.to_string()))?;
        if out.len() as u64 == most {
            return Err(Fault::TooLarge {
                length: most,
                most: self.most,
            });
        }
        Ok(out)
    }

    /// Frees large buffers once the answer has been checked.
    pub(super) fn free_large_buffers(&mut self) {
        for buffer in [&mut self.coming, &mut self.last] {
            if buffer.capacity() > WORTH_KEEPING {
                *buffer = Vec::new();
            }
        }
    }
}

/// Completes a message in `out`, which [`open`] began, by writing its prefix. Returns `None` if it
/// is longer than a prefix can say.
pub(super) fn close(out: &mut Vec<u8>, gzip: bool) -> Option<()> {
    if gzip {
        let mut encoder = GzEncoder::new(vec![1, 0, 0, 0, 0], Compression::fast());
        // writing to memory does not fail
        encoder.write_all(&out[PREFIX..]).ok()?;
        *out = encoder.finish().ok()?;
    }
    let length = u32::try_from(out.len() - PREFIX).ok()?;
    out[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    Some(())
}

/// Calls `visit` with each message of `frames`, uncompressed. `frames` must be whole messages that
/// this module made.
pub(super) fn each(mut frames: &[u8], mut visit: impl FnMut(&[u8])) {
    let (mut reader, mut unpacked) = (Frames::default(), Vec::new());
    reader.begin(u32::MAX, true);
    reader.gzip = true;
    while let Some([_, length @ ..]) = frames.first_chunk::<PREFIX>() {
        let end = PREFIX + u32::from_be_bytes(*length) as usize;
        let Some((frame, rest)) = frames.split_at_checked(end) else {
            return;
        };
        if reader.feed(frame) == Ok(1)
            && let Ok(message) = reader.last(&mut unpacked)
        {
            visit(message);
        }
        frames = rest;
    }
}

/// Begins a message in `out`: the caller appends its bytes and then calls [`close`].
pub(super) fn open(out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[0; PREFIX]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(message: &[u8], gzip: bool) -> Vec<u8> {
        let mut out = Vec::new();
        open(&mut out);
        out.extend_from_slice(message);
        close(&mut out, gzip).unwrap();
        out
    }

    fn frames(most: u32, gzip: bool) -> Frames {
        let mut frames = Frames::default();
        frames.begin(most, true);
        frames.gzip = gzip;
        frames
    }

    #[test]
    fn what_is_too_large_compressed_unasked_or_no_message_is_an_error() {
        assert_eq!(
            frames(9, false).feed(&framed(b"0123456789", false)),
            Err(Fault::TooLarge {
                length: 10,
                most: 9
            })
        );
        assert_eq!(
            frames(99, false).feed(&framed(b"x", true)),
            Err(Fault::NoEncoding)
        );
        assert_eq!(frames(99, true).feed(&[7, 0, 0, 0, 0]), Err(Fault::Flag(7)));
        let mut cut = frames(99, false);
        assert_eq!(cut.feed(&framed(b"abc", false)[..7]), Ok(0));
        assert!(!cut.are_whole());
    }

    #[test]
    fn a_small_message_that_becomes_too_large_or_is_no_gzip_is_an_error() {
        let bomb = framed(&vec![0; 100_000], true);
        let mut reader = frames(50_000, true);
        assert_eq!(reader.feed(&bomb), Ok(1));
        assert_eq!(
            reader.last(&mut Vec::new()),
            Err(Fault::TooLarge {
                length: 50_001,
                most: 50_000
            })
        );
        let mut reader = frames(50_000, true);
        reader.feed(&[1, 0, 0, 0, 2, 1, 2]).unwrap();
        assert!(matches!(
            reader.last(&mut Vec::new()),
            Err(Fault::NotGzip(_))
        ));
    }

    #[test]
    fn our_own_messages_are_read_back() {
        let texts: [&[u8]; 4] = [b"one", b"", &[7; 70_000], b"last"];
        for gzip in [false, true] {
            let all: Vec<u8> = texts.iter().flat_map(|text| framed(text, gzip)).collect();
            let mut read = Vec::new();
            each(&all, |message| read.push(message.to_vec()));
            assert_eq!(read, texts);
        }
    }

    #[test]
    fn what_nobody_looks_at_is_not_kept() {
        let mut reader = Frames::default();
        reader.begin(99, false);
        assert_eq!(reader.feed(&framed(b"abc", false)), Ok(1));
        assert_eq!((reader.count, reader.last.len()), (1, 0));
    }

    proptest! {
        #[test]
        fn messages_are_the_same_however_they_are_cut(
            messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 1..6),
            cut in 1usize..9,
        ) {
            let all: Vec<u8> = messages.iter().flat_map(|(message, gzip)| framed(message, *gzip)).collect();
            let mut reader = frames(1000, true);
            let mut seen = 0;
            for part in all.chunks(cut) {
                let whole = reader.feed(part).unwrap();
                seen += whole as usize;
                if whole > 0 {
                    let mut unpacked = Vec::new();
                    prop_assert_eq!(reader.last(&mut unpacked).unwrap(), messages[seen - 1].0.as_slice());
                }
            }
            prop_assert_eq!(seen, messages.len());
            prop_assert!(reader.are_whole());
        }
    }
}
