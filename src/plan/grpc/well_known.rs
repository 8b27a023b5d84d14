//! The messages that have a JSON form of their own: `google.protobuf.Timestamp`, `Struct` and their
//! like.

use jiff::Timestamp;
use prost_reflect::MessageDescriptor;
use serde_json::{Map, Value};

use super::message::{Field, FieldError, write_body, write_single};
use super::scalar::kind_of;
use super::wire::{self, WireType};

/// From 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z, as `timestamp.proto` has it.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// Some 10,000 years, as `duration.proto` has it.
const MAX_DURATION: u64 = 315_576_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WellKnown {
    Timestamp,
    Duration,
    FieldMask,
    Struct,
    Value,
    List,
    Any,
    /// One scalar in a message, so that it may be absent.
    Wrapper,
    Empty,
}

impl WellKnown {
    pub fn of(message: &MessageDescriptor) -> Option<Self> {
        Some(
            match message.full_name().strip_prefix("google.protobuf.")? {
                "Timestamp" => Self::Timestamp,
                "Duration" => Self::Duration,
                "FieldMask" => Self::FieldMask,
                "Struct" => Self::Struct,
                "Value" => Self::Value,
                "ListValue" => Self::List,
                "Any" => Self::Any,
                "Empty" => Self::Empty,
                "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value"
                | "UInt32Value" | "BoolValue" | "StringValue" | "BytesValue" => Self::Wrapper,
                _ => return None,
            },
        )
    }

    /// Writes the message, without tag and length.
    pub fn write(
        self,
        message: &MessageDescriptor,
        value: &Value,
        out: &mut Vec<u8>,
    ) -> Result<(), FieldError> {
        let not =
            |wanted: &str| FieldError::new(format!("must be {wanted}, not {}", kind_of(value)));
        match self {
            Self::Timestamp => {
                let (seconds, nanos) = value
                    .as_str()
                    .and_then(timestamp)
                    .ok_or_else(|| not("a time such as 2026-01-31T12:00:00Z"))?;
                seconds_and_nanos(seconds, nanos, out);
            }
            Self::Duration => {
                let (seconds, nanos) = value
                    .as_str()
                    .and_then(duration)
                    .ok_or_else(|| not("a duration in seconds such as 1.5s"))?;
                seconds_and_nanos(seconds, nanos, out);
            }
            Self::FieldMask => {
                let paths = value
                    .as_str()
                    .and_then(field_mask)
                    .ok_or_else(|| not("paths of fields such as user.displayName,photo"))?;
                paths.iter().for_each(|path| text(1, path, out));
            }
            Self::Struct => write_struct(value.as_object().ok_or_else(|| not("an object"))?, out),
            Self::List => write_list(value.as_array().ok_or_else(|| not("a list"))?, out),
            Self::Value => write_value(value, out),
            Self::Any => write_any(
                message,
                value
                    .as_object()
                    .ok_or_else(|| not("an object with @type"))?,
                out,
            )?,
            Self::Wrapper => {
                let field = message
                    .get_field(1)
                    .ok_or_else(|| FieldError::new("has no field 1".to_owned()))?;
                write_single(&Field::Own(field), value, out)?;
            }
            Self::Empty if value.as_object().is_some_and(Map::is_empty) => {}
            Self::Empty => return Err(not("an object without fields")),
        }
        Ok(())
    }
}

fn seconds_and_nanos(seconds: i64, nanos: i32, out: &mut Vec<u8>) {
    for (number, value) in [(1, seconds), (2, i64::from(nanos))] {
        if value != 0 {
            wire::tag(number, WireType::Varint, out);
            wire::varint(value as u64, out);
        }
    }
}

fn timestamp(text: &str) -> Option<(i64, i32)> {
    // what the form wants and the parser does not: T and Z in upper case
    let is_strict = text.as_bytes().get(10) == Some(&b'T') && !text.ends_with('z');
    let parsed: Timestamp = text.parse().ok().filter(|_| is_strict)?;
    let nanos = parsed.as_nanosecond();
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000))
        .ok()
        .filter(|seconds| TIMESTAMPS.contains(seconds))?;
    Some((seconds, nanos.rem_euclid(1_000_000_000) as i32))
}

fn duration(text: &str) -> Option<(i64, i32)> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let digits = digits.strip_suffix('s')?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > 9 {
        return None;
    }
    let seconds = whole
        .parse::<u64>()
        .ok()
        .filter(|seconds| *seconds <= MAX_DURATION)?;
    let nanos: i32 = format!("{fraction:0<9}").parse().ok()?;
    Some((sign * seconds as i64, sign as i32 * nanos))
}

/// Lower camel case in JSON, as in the `.proto` file in the message.
fn field_mask(text: &str) -> Option<Vec<String>> {
    let snake = |path: &str| {
        let mut snake = String::new();
        for c in path.chars() {
            match c {
                '_' => return None,
                c if c.is_ascii_uppercase() => snake.extend(['_', c.to_ascii_lowercase()]),
                c => snake.push(c),
            }
        }
        Some(snake)
    };
    text.split(',')
        .filter(|path| !path.is_empty())
        .map(snake)
        .collect()
}

fn text(number: u32, text: &str, out: &mut Vec<u8>) {
    wire::tag(number, WireType::Length, out);
    wire::varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn nested(number: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    wire::tag(number, WireType::Length, out);
    let written: Result<(), std::convert::Infallible> = wire::prefixed(out, |out| {
        write(out);
        Ok(())
    });
    let Ok(()) = written;
}

fn write_struct(fields: &Map<String, Value>, out: &mut Vec<u8>) {
    for (name, value) in fields {
        nested(1, out, |out| {
            text(1, name, out);
            nested(2, out, |out| write_value(value, out));
        });
    }
}

fn write_list(items: &[Value], out: &mut Vec<u8>) {
    items
        .iter()
        .for_each(|item| nested(1, out, |out| write_value(item, out)));
}

/// By the numbers of `google.protobuf.Value`.
fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => {
            wire::tag(1, WireType::Varint, out);
            wire::varint(0, out);
        }
        Value::Number(number) => {
            wire::tag(2, WireType::Fixed64, out);
            out.extend_from_slice(&number.as_f64().unwrap_or(f64::NAN).to_le_bytes());
        }
        Value::String(string) => text(3, string, out),
        Value::Bool(truth) => {
            wire::tag(4, WireType::Varint, out);
            wire::varint(u64::from(*truth), out);
        }
        Value::Object(fields) => nested(5, out, |out| write_struct(fields, out)),
        Value::Array(items) => nested(6, out, |out| write_list(items, out)),
    }
}

/// `{"@type": "type.googleapis.com/package.Message", ...}` with the fields of that message, or,
/// where it has a form of its own, with `value`.
fn write_any(
    any: &MessageDescriptor,
    fields: &Map<String, Value>,
    out: &mut Vec<u8>,
) -> Result<(), FieldError> {
    let url = fields
        .get("@type")
        .and_then(Value::as_str)
        .ok_or_else(|| FieldError::new("needs @type, the name of a message".to_owned()))?;
    let name = url.rsplit('/').next().unwrap_or_default();
    let message = any.parent_pool().get_message_by_name(name);
    let message = message.ok_or_else(|| {
        FieldError::new("there is no message as @type names it".to_owned()).under("@type")
    })?;
    text(1, url, out);
    let mut body = Vec::new();
    match WellKnown::of(&message) {
        Some(known) => known
            .write(
                &message,
                fields.get("value").unwrap_or(&Value::Null),
                &mut body,
            )
            .map_err(|error| error.under("value"))?,
        None => write_body(
            &message,
            fields.iter().filter(|(name, _)| *name != "@type"),
            &mut body,
        )?,
    }
    if !body.is_empty() {
        nested(2, out, |out| out.extend_from_slice(&body));
    }
    Ok(())
}
