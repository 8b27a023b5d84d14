//! Compressed bodies, decoded for those that read them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::rc::Rc;

use crate::engine::answer::capture::MAX_BODY;

/// Bytes given to a decoder at once: deflate expands a byte to at most 1,032, so that the output of
/// one piece fits [`PLAIN`].
const PIECE: usize = 16;

/// Size in bytes of the buffer for decoded output.
const PLAIN: usize = 32 * 1024;

/// Decoder of a body that comes in pieces.
pub(crate) enum Decoding {
    /// Body without a known compression, passed on as it is.
    Plain,
    /// Compressed body.
    Coded {
        /// Bytes to decode.
        source: Source,
        /// Decoder that reads from `source`.
        decoder: Box<dyn Read>,
        /// Buffer for decoded bytes.
        plain: Box<[u8]>,
    },
}

/// Bytes that came and were not decoded yet. A decoder that reads them all gets `WouldBlock`.
#[derive(Clone, Default)]
pub(crate) struct Source(Rc<RefCell<VecDeque<u8>>>);

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.0.borrow_mut();
        if bytes.is_empty() {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            bytes.read(buffer)
        }
    }
}

impl Decoding {
    /// Creates the decoder of a body with this `Content-Encoding`. `first` is the beginning of the
    /// body.
    pub(crate) fn new(coding: Option<&str>, first: &[u8]) -> Self {
        let source = Source::default();
        let from = source.clone();
        let decoder: Box<dyn Read> = match coding
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
            .as_str()
        {
            "gzip" | "x-gzip" => Box::new(flate2::read::MultiGzDecoder::new(from)),
            "deflate" if is_zlib(first) => Box::new(flate2::read::ZlibDecoder::new(from)),
            "deflate" => Box::new(flate2::read::DeflateDecoder::new(from)),
            "br" => Box::new(brotli_decompressor::Decompressor::new(from, 4096)),
            _ => return Self::Plain,
        };
        Self::Coded {
            source,
            decoder,
            plain: vec![0; PLAIN].into(),
        }
    }

    /// Decodes `bytes` and calls `each` with every piece of output, until it returns false. Fails
    /// if the body is not in its coding.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(&[u8]) -> bool,
    ) -> io::Result<()> {
        let Self::Coded {
            source,
            decoder,
            plain,
        } = self
        else {
            each(bytes);
            return Ok(());
        };
        for piece in bytes.chunks(PIECE) {
            source.0.borrow_mut().extend(piece);
            loop {
                match decoder.read(plain) {
                    Ok(0) => break,
                    Ok(count) if each(&plain[..count]) => {}
                    Ok(_) => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// Distinguishes zlib (RFC 1950) from bare deflate (RFC 1951), since servers send either as
/// `deflate`.
fn is_zlib(body: &[u8]) -> bool {
    body.first().is_some_and(|first| first & 0x0f == 8)
}

/// Decodes `body` by its `Content-Encoding` into `out`, up to [`MAX_BODY`] bytes, and returns
/// whether that is the whole body. What cannot be decoded is left out.
pub(crate) fn decode(coding: &str, body: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let most = MAX_BODY as u64 + 1;
    let read = match coding.trim().to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => flate2::read::MultiGzDecoder::new(body)
            .take(most)
            .read_to_end(out),
        "deflate" if is_zlib(body) => flate2::read::ZlibDecoder::new(body)
            .take(most)
            .read_to_end(out),
        "deflate" => flate2::read::DeflateDecoder::new(body)
            .take(most)
            .read_to_end(out),
        "br" => brotli_decompressor::Decompressor::new(body, 4096)
            .take(most)
            .read_to_end(out),
        _ => {
            out.extend_from_slice(body);
            Ok(body.len())
        }
    };
    let whole = read.is_ok() && out.len() <= MAX_BODY;
    out.truncate(MAX_BODY);
    whole
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_is_not_of_the_coding_is_not_whole() {
        let mut out = Vec::new();
        assert!(!decode("gzip", b"not gzip", &mut out));
        assert!(!decode("gzip", &gzip(b"cut short")[..15], &mut out));
        assert!(!decode("br", &[0xff; 9], &mut out));
    }

    #[test]
    fn a_bomb_is_cut() {
        let mut out = Vec::new();
        assert!(!decode(
            "gzip",
            &gzip(&vec![b'x'; 64 * 1024 * 1024]),
            &mut out
        ));
        assert_eq!(out.len(), MAX_BODY);
    }

    #[test]
    fn each_coding_reads_back() {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"text").unwrap();
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(b"text").unwrap();
        // a brotli stream of one uncompressed block
        let brotli = [0x8b, 0x01, 0x80, b't', b'e', b'x', b't', 0x03];
        let coded: [(&str, &[u8]); 5] = [
            ("gzip", &gzip(b"text")),
            ("deflate", &zlib.finish().unwrap()),
            ("deflate", &raw.finish().unwrap()),
            ("br", &brotli),
            ("identity", b"text"),
        ];
        for (coding, body) in coded {
            let mut out = Vec::new();
            assert!(decode(coding, body, &mut out), "{coding}");
            assert_eq!(out, b"text", "{coding}");
            for size in 1..body.len() {
                assert_eq!(
                    fed(coding, body.chunks(size)).unwrap(),
                    b"text",
                    "{coding} in pieces of {size}"
                );
            }
        }
    }

    fn fed<'a>(coding: &str, pieces: impl Iterator<Item = &'a [u8]>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut decoding = None;
        for piece in pieces {
            let decoding = decoding.get_or_insert_with(|| Decoding::new(Some(coding), piece));
            decoding.feed(piece, &mut |part| {
                out.extend_from_slice(part);
                true
            })?;
        }
        Ok(out)
    }

    #[test]
    fn what_a_target_flushes_can_be_read_at_once() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
        let mut decoding = Decoding::new(Some("gzip"), &[]);
        for event in ["data: one\n\n", "data: two\n\n", &"x".repeat(1 << 20)] {
            encoder.write_all(event.as_bytes()).unwrap();
            encoder.flush().unwrap();
            let mut out = Vec::new();
            let sent = std::mem::take(encoder.get_mut());
            decoding
                .feed(&sent, &mut |part| {
                    out.extend_from_slice(part);
                    true
                })
                .unwrap();
            assert!(
                out == event.as_bytes(),
                "{} of {} bytes",
                out.len(),
                event.len()
            );
        }
    }

    #[test]
    fn a_stream_that_is_not_of_its_coding_fails_and_a_bomb_is_given_in_parts() {
        assert!(
            fed(
                "gzip",
                [b"not gzip, and long enough".as_slice()].into_iter()
            )
            .is_err()
        );
        assert!(fed("br", [[0xff; 64].as_slice()].into_iter()).is_err());
        let mut parts = 0;
        let bomb = gzip(&vec![b'x'; 1 << 20]);
        Decoding::new(Some("gzip"), &bomb)
            .feed(&bomb, &mut |part| {
                parts += 1;
                part.len() <= PLAIN && parts < 3
            })
            .unwrap();
        assert_eq!(parts, 3, "it stops when it is told to");
    }
}
