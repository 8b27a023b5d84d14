//! Bodies that came compressed, made readable for those who look at them.

use std::io::Read;

use super::capture::MAX_BODY;

/// Appends what `body` says under a `Content-Encoding` to `out`, up to the most that is kept of a body; whether that is all. What
/// cannot be read as that coding is left out.
pub(super) fn decode(coding: &str, body: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let most = MAX_BODY as u64 + 1;
    let read = match coding.trim().to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => flate2::read::MultiGzDecoder::new(body).take(most).read_to_end(out),
        // in the wild both the format of RFC 1950 and the bare one of RFC 1951 are sent under this name
        "deflate" if body.first().is_some_and(|first| first & 0x0f == 8) => {
            flate2::read::ZlibDecoder::new(body).take(most).read_to_end(out)
        }
        "deflate" => flate2::read::DeflateDecoder::new(body).take(most).read_to_end(out),
        "br" => brotli_decompressor::Decompressor::new(body, 4096).take(most).read_to_end(out),
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
        assert!(!decode("gzip", &gzip(&vec![b'x'; 64 * 1024 * 1024]), &mut out));
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
        }
    }
}
