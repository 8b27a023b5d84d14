//! Escaping: a value is written so that it stays one value in the place it is put into.

use data_encoding::HEXLOWER;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use serde_json::Value;

use super::{Place, RenderError};

/// All but the unreserved characters of RFC 3986.
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// All but the unreserved characters and the space, which a form writes as `+`.
const NOT_IN_FORM: &AsciiSet = &NOT_UNRESERVED.remove(b' ');

/// Appends a value: text as it is, anything else as JSON; in [`Place::JsonValue`] text is JSON as
/// well.
pub fn write_value(value: &Value, place: Place, out: &mut Vec<u8>) -> Result<(), RenderError> {
    match (value, place) {
        (Value::String(text), _) => return escape(text, place, out),
        (
            Value::Array(_) | Value::Object(_),
            Place::JsonString | Place::Path | Place::Form | Place::Target,
        ) => {
            return escape(&value.to_string(), place, out);
        }
        // numbers, truth values and null need no escaping anywhere
        _ => serde_json::to_writer(out, value).expect("a value is JSON, and a vector takes all"),
    }
    Ok(())
}

/// Appends text, escaped for `place`. Fails where the place cannot hold it.
pub fn escape(text: &str, place: Place, out: &mut Vec<u8>) -> Result<(), RenderError> {
    match place {
        Place::Text => out.extend_from_slice(text.as_bytes()),
        Place::Header if text.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)) => {
            return Err(RenderError::LineBreak);
        }
        Place::Header => out.extend_from_slice(text.as_bytes()),
        Place::Path => percent_encode(text, NOT_UNRESERVED, out),
        Place::Form => {
            let start = out.len();
            percent_encode(text, NOT_IN_FORM, out);
            out[start..]
                .iter_mut()
                .filter(|byte| **byte == b' ')
                .for_each(|byte| *byte = b'+');
        }
        Place::Target
            if text
                .bytes()
                .any(|b| !(0x21..=0x7e).contains(&b) || b == b'#') =>
        {
            return Err(RenderError::NotInTarget);
        }
        Place::Target => out.extend_from_slice(text.as_bytes()),
        Place::JsonString => json_string(text, out),
        Place::JsonValue => {
            out.push(b'"');
            json_string(text, out);
            out.push(b'"');
        }
    }
    Ok(())
}

fn percent_encode(text: &str, set: &'static AsciiSet, out: &mut Vec<u8>) {
    for part in percent_encoding::percent_encode(text.as_bytes(), set) {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends the bytes that `serde_json` writes between the quotes. It has no function that leaves
/// them out.
fn json_string(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            0x00..=0x1f => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[copied..at]);
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            out.extend_from_slice(b"00");
            let mut hex = [0; 2];
            HEXLOWER.encode_mut(&[*byte], &mut hex);
            out.extend_from_slice(&hex);
        }
        copied = at + 1;
    }
    out.extend_from_slice(&bytes[copied..]);
}

/// Appends the text that `write` writes, escaped where it must be. Where that changes nothing, as
/// nearly always, nothing is copied.
pub fn write_text(
    place: Place,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), RenderError>,
) -> Result<(), RenderError> {
    let quoted = place == Place::JsonValue;
    out.extend(quoted.then_some(b'"'));
    let start = out.len();
    write(out)?;
    let harmless = |b: &u8| b.is_ascii_alphanumeric() || b"-._".contains(b);
    let plain = match place {
        Place::Text => true,
        Place::JsonString | Place::JsonValue => out[start..]
            .iter()
            .all(|b| *b >= 0x20 && !b"\"\\".contains(b)),
        Place::Path | Place::Form | Place::Target | Place::Header => {
            out[start..].iter().all(harmless)
        }
    };
    if !plain {
        let text = String::from_utf8_lossy(&out[start..]).into_owned();
        out.truncate(start);
        escape(&text, if quoted { Place::JsonString } else { place }, out)?;
    }
    out.extend(quoted.then_some(b'"'));
    Ok(())
}
