//! Compressed bodies, decoded for those that read them: the codings of `Content-Encoding`, and the
//! compressions of `Transfer-Encoding`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Cursor, Read};
use std::rc::Rc;

use crate::engine::answer::capture::{MAX_BODY, headers};

/// Bytes given to a decoder at once: deflate expands a byte to at most 1,032, so that the output of
/// one piece fits [`PLAIN`].
const PIECE: usize = 16;

/// Size in bytes of the buffer for decoded output.
const PLAIN: usize = 32 * 1024;

/// Most codings of one body.
const MAX_CODINGS: usize = 8;

/// Binary logarithm of the largest window of zstd, 8 MiB (RFC 9659).
const MAX_WINDOW: u32 = 23;

/// Most characters of an unknown coding in a message.
const MAX_NAME: usize = 32;

/// Codings of a body, in the order in which they were applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Codings(Vec<Coding>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
    /// Coding that cannot be read, as the target calls it.
    Unknown(String),
}

impl Codings {
    /// Reads the codings that a kept head names.
    pub(crate) fn of(head: &[u8]) -> Self {
        let named = |name: &'static str| {
            headers(head)
                .filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
                .flat_map(|(_, value)| value.split(|byte| *byte == b','))
        };
        let all = named("content-encoding").chain(named("transfer-encoding"));
        Self(all.filter_map(Coding::of).take(MAX_CODINGS + 1).collect())
    }

    /// Returns whether the body is sent as it is.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns why the body cannot be decoded, whatever it is; `None` if it can.
    fn unreadable(&self) -> Option<String> {
        if self.0.len() > MAX_CODINGS {
            return Some(format!("the body has more than {MAX_CODINGS} codings"));
        }
        let unknown = self.0.iter().find_map(|coding| match coding {
            Coding::Unknown(name) => Some(name),
            _ => None,
        })?;
        Some(format!(
            "the body has the coding {unknown:?}, which cannot be read here"
        ))
    }

    /// Creates the decoder of bytes that `from` gives.
    fn decoder<'a>(&self, from: Box<dyn Read + 'a>) -> io::Result<Box<dyn Read + 'a>> {
        let mut codings = self.0.iter().rev();
        codings.try_fold(from, |from, coding| coding.decoder(from))
    }

    /// Decodes `body` into `out`, up to [`MAX_BODY`] bytes, and returns whether that is the whole
    /// body. What comes before a fault is left in `out`.
    ///
    /// # Errors
    ///
    /// The body is not in its codings, or one of them cannot be read: with a message that names it.
    pub(crate) fn decode(&self, body: &[u8], out: &mut Vec<u8>) -> Result<bool, String> {
        out.clear();
        // nothing is nothing in every coding: answers to HEAD, 204 and 304 name one as well
        if body.is_empty() {
            return Ok(true);
        }
        if let Some(why) = self.unreadable() {
            out.extend_from_slice(&body[..body.len().min(MAX_BODY)]);
            return Err(why);
        }
        let read = self.decoder(Box::new(body)).and_then(|decoder| {
            let most = MAX_BODY as u64 + 1;
            decoder.take(most).read_to_end(out)
        });
        let whole = out.len() <= MAX_BODY;
        out.truncate(MAX_BODY);
        read.map(|_| whole).map_err(|error| self.fault(&error))
    }

    /// Returns the message about a body that is not in its codings.
    fn fault(&self, error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                format!("the body ends before its coding, {self}, does")
            }
            _ => format!("the body is not what its coding says, {self}"),
        }
    }
}

impl std::fmt::Display for Codings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (nth, coding) in self.0.iter().enumerate() {
            let comma = if nth > 0 { ", " } else { "" };
            let name = match coding {
                Coding::Gzip => "gzip",
                Coding::Deflate => "deflate",
                Coding::Brotli => "br",
                Coding::Zstd => "zstd",
                Coding::Unknown(name) => name,
            };
            write!(f, "{comma}{name}")?;
        }
        Ok(())
    }
}

impl Coding {
    /// Reads the name of a coding; `None` if it stands for none, or for framing.
    fn of(name: &[u8]) -> Option<Self> {
        let name = name.trim_ascii().to_ascii_lowercase();
        Some(match name.as_slice() {
            // some servers name these where there is no coding
            b"" | b"identity" | b"none" | b"utf-8" | b"aws-chunked" | b"chunked" => return None,
            b"gzip" | b"x-gzip" => Self::Gzip,
            b"deflate" => Self::Deflate,
            b"br" => Self::Brotli,
            b"zstd" => Self::Zstd,
            unknown => {
                let name = String::from_utf8_lossy(unknown);
                Self::Unknown(name.chars().take(MAX_NAME).collect())
            }
        })
    }

    fn decoder<'a>(&self, from: Box<dyn Read + 'a>) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(Gzip { from, checked: 0 })),
            Self::Deflate => Box::new(Inflate::Unknown(Some(from))),
            Self::Brotli => Box::new(brotli_decompressor::Decompressor::new(from, 4096)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(from)?;
                decoder.window_log_max(MAX_WINDOW)?;
                Box::new(decoder)
            }
            Self::Unknown(_) => from,
        })
    }
}

/// Bytes of gzip, as they show by their beginning: other bytes are wrong, be they few.
struct Gzip<R> {
    from: R,
    /// Number of bytes that were compared.
    checked: usize,
}

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        const BEGINNING: [u8; 2] = [0x1f, 0x8b];

        let count = self.from.read(buffer)?;
        let wanted = &BEGINNING[self.checked..];
        let found = &buffer[..count.min(wanted.len())];
        if !wanted.starts_with(found) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.checked += found.len();
        Ok(count)
    }
}

/// Decoder of `deflate`, by which servers mean zlib (RFC 1950) or bare deflate (RFC 1951).
enum Inflate<R> {
    /// Decoder before the first byte, which tells them apart.
    Unknown(Option<R>),
    Zlib(flate2::read::ZlibDecoder<Begun<R>>),
    Bare(flate2::read::DeflateDecoder<Begun<R>>),
}

/// Source of which the first byte was read.
type Begun<R> = io::Chain<Cursor<[u8; 1]>, R>;

impl<R: Read> Read for Inflate<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Self::Unknown(from) = self {
            let mut first = [0];
            let Some(source) = from else { return Ok(0) };
            if source.read(&mut first)? == 0 {
                return Ok(0);
            }
            let Some(source) = from.take() else {
                return Ok(0);
            };
            let begun = Cursor::new(first).chain(source);
            *self = match first[0] & 0x0f == 8 {
                true => Self::Zlib(flate2::read::ZlibDecoder::new(begun)),
                false => Self::Bare(flate2::read::DeflateDecoder::new(begun)),
            };
        }
        match self {
            Self::Unknown(_) => Ok(0),
            Self::Zlib(decoder) => decoder.read(buffer),
            Self::Bare(decoder) => decoder.read(buffer),
        }
    }
}

/// Decoder of a body that comes in pieces.
pub(crate) enum Decoding {
    /// Body without a coding, passed on as it is.
    Plain,
    /// Compressed body.
    Coded {
        /// Bytes to decode.
        source: Source,
        /// Decoder that reads from `source`.
        decoder: Box<dyn Read>,
        /// Buffer for decoded bytes.
        plain: Box<[u8]>,
        /// Codings, for messages.
        codings: Codings,
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
    /// Creates the decoder of a body with these codings.
    ///
    /// # Errors
    ///
    /// A coding cannot be read: with a message that names it.
    pub(crate) fn new(codings: Codings) -> Result<Self, String> {
        if codings.is_empty() {
            return Ok(Self::Plain);
        }
        if let Some(why) = codings.unreadable() {
            return Err(why);
        }
        let source = Source::default();
        let decoder = codings
            .decoder(Box::new(source.clone()))
            .map_err(|error| codings.fault(&error))?;
        Ok(Self::Coded {
            source,
            decoder,
            plain: vec![0; PLAIN].into(),
            codings,
        })
    }

    /// Decodes `bytes` and calls `each` with every piece of output, until it returns false.
    ///
    /// # Errors
    ///
    /// The body is not in its coding: with a message that names it.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(&[u8]) -> bool,
    ) -> Result<(), String> {
        let Self::Coded {
            source,
            decoder,
            plain,
            codings,
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
                    Err(error) => return Err(codings.fault(&error)),
                }
            }
        }
        Ok(())
    }
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

    /// Codings as `Content-Encoding` names them.
    fn codings(names: &str) -> Codings {
        Codings::of(format!("HTTP/1.1 200 OK\r\nContent-Encoding: {names}\r\n\r\n").as_bytes())
    }

    fn decode(names: &str, body: &[u8]) -> (Result<bool, String>, Vec<u8>) {
        let mut out = b"left over".to_vec();
        (codings(names).decode(body, &mut out), out)
    }

    #[test]
    fn a_body_that_is_not_in_its_coding_is_told_by_the_coding() {
        for (coding, body) in [
            ("gzip", &b"not gzip"[..]),
            ("br", &[0xff; 9]),
            ("deflate", &[0xff; 9]),
            ("zstd", b"not zstd"),
            ("gzip, br", b"neither"),
        ] {
            let why = decode(coding, body).0.unwrap_err();
            assert_eq!(
                why,
                format!("the body is not what its coding says, {coding}")
            );
        }
        let cut = decode("gzip", &gzip(b"cut short")[..15]).0.unwrap_err();
        assert_eq!(cut, "the body ends before its coding, gzip, does");
        let (cut, _) = decode("zstd", &ZSTD[..ZSTD.len() - 2]);
        assert_eq!(
            cut.unwrap_err(),
            "the body ends before its coding, zstd, does"
        );
    }

    #[test]
    fn a_coding_that_cannot_be_read_is_named() {
        let (outcome, out) = decode("gzip, Compress", b"as it came");
        assert!(outcome.unwrap_err().contains("\"compress\""));
        assert_eq!(out, b"as it came");
        assert!(Decoding::new(codings("compress")).is_err_and(|why| why.contains("compress")));
        let many = vec!["gzip"; 100].join(", ");
        assert!(decode(&many, b"x").0.unwrap_err().contains("more than 8"));
    }

    #[test]
    fn a_body_that_is_absent_is_empty_in_every_coding() {
        for coding in ["gzip", "br", "zstd", "deflate", "gzip, br", "unknown"] {
            assert_eq!(decode(coding, b""), (Ok(true), vec![]), "{coding}");
        }
    }

    #[test]
    fn a_bomb_is_cut() {
        let bomb = gzip(&vec![b'x'; 64 * 1024 * 1024]);
        let twice = gzip(&bomb);
        for (coding, bomb) in [("gzip", &bomb), ("gzip, gzip", &twice)] {
            let (whole, out) = decode(coding, bomb);
            assert_eq!((whole, out.len()), (Ok(false), MAX_BODY));
        }
    }

    /// `{"a":1}`
    const ZSTD: [u8; 16] = [
        0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x07, 0x39, 0x00, 0x00, 0x7b, 0x22, 0x61, 0x22, 0x3a, 0x31,
        0x7d,
    ];

    #[test]
    fn each_coding_reads_back() {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"text").unwrap();
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(b"text").unwrap();
        let mut zlib_of_gzip = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib_of_gzip.write_all(&gzip(b"text")).unwrap();
        // a brotli stream of one uncompressed block
        let brotli = [0x8b, 0x01, 0x80, b't', b'e', b'x', b't', 0x03];
        let coded: [(&str, &[u8], &str); 10] = [
            ("gzip", &gzip(b"text"), "text"),
            ("X-GZIP", &gzip(b"text"), "text"),
            ("deflate", &zlib.finish().unwrap(), "text"),
            ("deflate", &raw.finish().unwrap(), "text"),
            ("br", &brotli, "text"),
            ("zstd", &ZSTD, "{\"a\":1}"),
            ("identity", b"text", "text"),
            ("br, gzip", &gzip(&brotli), "text"),
            ("zstd,gzip", &gzip(&ZSTD), "{\"a\":1}"),
            (
                "gzip, identity, deflate",
                &zlib_of_gzip.finish().unwrap(),
                "text",
            ),
        ];
        for (coding, body, text) in coded {
            assert_eq!(decode(coding, body), (Ok(true), text.into()), "{coding}");
            for size in 1..body.len() {
                assert_eq!(
                    fed(coding, body.chunks(size)).unwrap(),
                    text.as_bytes(),
                    "{coding} in pieces of {size}"
                );
            }
        }
    }

    #[test]
    fn codings_of_the_transfer_come_after_those_of_the_content() {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Encoding: br\r\nContent-Encoding: zstd\r\n\r\n";
        let wanted = vec![Coding::Brotli, Coding::Zstd, Coding::Gzip];
        assert_eq!(Codings::of(head), Codings(wanted));
    }

    fn fed<'a>(coding: &str, pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let mut decoding = Decoding::new(codings(coding))?;
        for piece in pieces {
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
        let mut decoding = Decoding::new(codings("gzip")).unwrap();
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
        Decoding::new(codings("gzip"))
            .unwrap()
            .feed(&bomb, &mut |part| {
                parts += 1;
                part.len() <= PLAIN && parts < 3
            })
            .unwrap();
        assert_eq!(parts, 3, "it stops when it is told to");
    }
}
