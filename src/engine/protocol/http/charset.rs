//! Text of answers that is not in UTF-8, which all rules read.

use encoding_rs::{Encoding, UTF_8};

use crate::engine::answer::capture::header_texts;

/// Mark with which some programs begin UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Returns a body without the mark with which some programs begin UTF-8.
pub(crate) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)
}

/// Returns `body` in UTF-8; `None` if it is so already, or is not known to be text in another
/// charset.
///
/// The charset is that of a byte order mark, or else the one that `Content-Type` names. JSON is in
/// UTF-8 whatever the header says (RFC 8259, 8.1), unless it cannot be.
pub(crate) fn recode(head: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    if let Some((encoding, _)) = Encoding::for_bom(body) {
        return (encoding != UTF_8).then(|| recoded(encoding, body));
    }
    let content_type = header_texts(head, "content-type").last()?;
    let (kind, label) = (kind(content_type), charset(content_type)?);
    let encoding = Encoding::for_label(label.as_bytes()).filter(|encoding| *encoding != UTF_8)?;
    if body.is_ascii() && encoding.is_ascii_compatible() {
        return None;
    }
    // ASCII means that nobody thought of anything else
    let is_loose = is_json(&kind) || label.to_ascii_lowercase().contains("ascii");
    if is_loose && encoding.is_ascii_compatible() && std::str::from_utf8(body).is_ok() {
        return None;
    }
    Some(recoded(encoding, body))
}

fn recoded(encoding: &'static Encoding, body: &[u8]) -> Vec<u8> {
    let (text, _) = encoding.decode_with_bom_removal(body);
    text.into_owned().into_bytes()
}

fn kind(content_type: &str) -> String {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

fn is_json(kind: &str) -> bool {
    kind.ends_with("/json") || kind.ends_with("+json")
}

/// Returns the charset that a value of `Content-Type` names, without its quotes.
fn charset(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches(['"', '\'']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: &str, body: &[u8]) -> Option<String> {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n");
        let text = recode(head.as_bytes(), body)?;
        Some(String::from_utf8(text).unwrap())
    }

    #[test]
    fn what_is_in_utf8_or_of_no_known_charset_stays() {
        for (content_type, body) in [
            ("text/plain", &b"caf\xe9"[..]),
            ("text/plain; charset=utf-8", "café".as_bytes()),
            ("text/plain; charset=klingon", b"caf\xe9"),
            ("text/plain; charset=latin1", b"plain"),
            ("text/plain; charset=us-ascii", "café".as_bytes()),
            (
                "application/json; charset=iso-8859-1",
                "\"café\"".as_bytes(),
            ),
            ("application/octet-stream", b"\xff\x00"),
            ("text/plain; charset=latin1", b"\xef\xbb\xbf\xc3\xa9"),
        ] {
            assert_eq!(read(content_type, body), None, "{content_type}");
        }
    }

    #[test]
    fn a_mark_is_no_part_of_the_text() {
        assert_eq!(without_mark(b"\xef\xbb\xbf{}"), b"{}");
        assert_eq!(without_mark(b"{}"), b"{}");
    }

    #[test]
    fn other_charsets_are_read_as_they_are_named_or_marked() {
        for (content_type, body, text) in [
            ("text/plain; charset=ISO-8859-1", &b"caf\xe9"[..], "café"),
            ("text/html;Charset=\"windows-1252\"", b"\x80 5", "€ 5"),
            (
                "text/plain; a=b; charset=Shift_JIS",
                b"\x93\xfa\x96{",
                "日本",
            ),
            ("text/plain; charset=gb18030", b"\xd6\xd0", "中"),
            ("application/json; charset=latin1", b"\"\xe9\"", "\"é\""),
            (
                "application/problem+json;charset=utf-16",
                b"\"\0a\0\"\0",
                "\"a\"",
            ),
            ("application/json", b"\xff\xfe1\0", "1"),
            ("application/json", b"\xfe\xff\x001", "1"),
        ] {
            assert_eq!(
                read(content_type, body).as_deref(),
                Some(text),
                "{content_type}"
            );
        }
    }
}
