//! Messages that have a JSON form of their own: `google.protobuf.Timestamp`, `Struct` and their
//! like.

use jiff::Timestamp;
use prost_reflect::MessageDescriptor;
use serde_json::{Map, Value};

use super::field_error::FieldError;
use super::scalar::kind_of;
use super::wire::{self, WireType};

/// Range of seconds, from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z, as `timestamp.proto` has
/// it.
pub const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// Longest duration in seconds, some 10,000 years, as `duration.proto` has it.
pub const MAX_DURATION: u64 = 315_576_000_000;

/// A message that has a JSON form of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WellKnown {
    /// A form that needs no descriptor.
    Form(Form),
    /// `Any`: a message of any type, named beside its fields.
    Any,
    /// One scalar in a message, so that it may be absent.
    Wrapper,
}

/// JSON form of a message that is written without its descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `Timestamp`: a time in RFC 3339.
    Timestamp,
    /// `Duration`: seconds, such as `1.5s`.
    Duration,
    /// `FieldMask`: paths of fields in lower camel case, separated by commas.
    FieldMask,
    /// `Struct`: any object.
    Struct,
    /// `Value`: any JSON.
    Value,
    /// `ListValue`: any list.
    List,
    /// `Empty`: an object without fields.
    Empty,
}

impl WellKnown {
    /// Form of a message, if it has one of its own.
    pub fn of(message: &MessageDescriptor) -> Option<Self> {
        Some(
            match message.full_name().strip_prefix("google.protobuf.")? {
                "Timestamp" => Self::Form(Form::Timestamp),
                "Duration" => Self::Form(Form::Duration),
                "FieldMask" => Self::Form(Form::FieldMask),
                "Struct" => Self::Form(Form::Struct),
                "Value" => Self::Form(Form::Value),
                "ListValue" => Self::Form(Form::List),
                "Empty" => Self::Form(Form::Empty),
                "Any" => Self::Any,
                "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value"
                | "UInt32Value" | "BoolValue" | "StringValue" | "BytesValue" => Self::Wrapper,
                _ => return None,
            },
        )
    }
}

impl Form {
    /// Appends the message, without tag and length.
    pub fn write(self, value: &Value, out: &mut Vec<u8>) -> Result<(), FieldError> {
        let not =
            |wanted: &str| FieldError::new(format!("must be {wanted}, not {}", kind_of(value)));
        let text = value.as_str();
        match self {
            Self::Timestamp => {
                let wanted = "a time such as 2026-01-31T12:00:00Z";
                let (seconds, nanos) = text.and_then(timestamp).ok_or_else(|| not(wanted))?;
                write_seconds(seconds, nanos, out);
            }
            Self::Duration => {
                let wanted = "a duration in seconds such as 1.5s";
                let (seconds, nanos) = text.and_then(duration).ok_or_else(|| not(wanted))?;
                write_seconds(seconds, nanos, out);
            }
            Self::FieldMask => {
                let wanted = "paths of fields such as user.displayName,photo";
                let paths = text.and_then(field_mask).ok_or_else(|| not(wanted))?;
                paths.iter().for_each(|path| write_text(1, path, out));
            }
            Self::Struct => write_struct(value.as_object().ok_or_else(|| not("an object"))?, out),
            Self::List => write_list(value.as_array().ok_or_else(|| not("a list"))?, out),
            Self::Value => write_value(value, out),
            Self::Empty if value.as_object().is_some_and(Map::is_empty) => {}
            Self::Empty => return Err(not("an object without fields")),
        }
        Ok(())
    }
}

/// Appends seconds and nanoseconds as fields 1 and 2, each unless it is 0.
fn write_seconds(seconds: i64, nanos: i32, out: &mut Vec<u8>) {
    for (number, value) in [(1, seconds), (2, i64::from(nanos))] {
        if value != 0 {
            wire::tag(number, WireType::Varint, out);
            wire::varint(value as u64, out);
        }
    }
}

/// Seconds since 1970 and nanoseconds of a time in RFC 3339.
fn timestamp(text: &str) -> Option<(i64, i32)> {
    // the form wants T and Z in upper case, jiff takes either
    let is_strict = text.as_bytes().get(10) == Some(&b'T') && !text.ends_with('z');
    let parsed: Timestamp = text.parse().ok().filter(|_| is_strict)?;
    let nanos = parsed.as_nanosecond();
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000))
        .ok()
        .filter(|seconds| TIMESTAMPS.contains(seconds))?;
    Some((seconds, nanos.rem_euclid(1_000_000_000) as i32))
}

/// Seconds and nanoseconds of a duration in protobuf's JSON form: decimal seconds with up to nine
/// digits after the point. Neither `jiff` nor `humantime` knows that form alone.
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

/// Paths of a field mask, in lower camel case in JSON, in snake case in the message.
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

/// Appends a field of text.
pub fn write_text(number: u32, text: &str, out: &mut Vec<u8>) {
    wire::tag(number, WireType::Length, out);
    wire::varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// Appends a field whose content `write` appends, with its length before it.
pub fn write_nested(number: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    wire::tag(number, WireType::Length, out);
    let written: Result<(), std::convert::Infallible> = wire::prefixed(out, |out| {
        write(out);
        Ok(())
    });
    let Ok(()) = written;
}

fn write_struct(fields: &Map<String, Value>, out: &mut Vec<u8>) {
    for (name, value) in fields {
        write_nested(1, out, |out| {
            write_text(1, name, out);
            write_nested(2, out, |out| write_value(value, out));
        });
    }
}

fn write_list(items: &[Value], out: &mut Vec<u8>) {
    items
        .iter()
        .for_each(|item| write_nested(1, out, |out| write_value(item, out)));
}

/// Appends a `google.protobuf.Value`; the numbers are those of its fields.
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
        Value::String(string) => write_text(3, string, out),
        Value::Bool(truth) => {
            wire::tag(4, WireType::Varint, out);
            wire::varint(u64::from(*truth), out);
        }
        Value::Object(fields) => write_nested(5, out, |out| write_struct(fields, out)),
        Value::Array(items) => write_nested(6, out, |out| write_list(items, out)),
    }
}
