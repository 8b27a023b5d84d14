//! JSON values as the scalars of protobuf, by the rules of its JSON form:
//! <https://protobuf.dev/programming-guides/json/>.

use std::borrow::Cow;

use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine as _, GeneralPurpose, GeneralPurposeConfig};
use prost_reflect::{EnumDescriptor, Kind};
use serde_json::Value;

use super::listed;
use super::wire::{self, WireType};

/// Type of a field that is no message.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// `double`
    Double,
    /// `float`
    Float,
    /// `int32`
    Int32,
    /// `int64`
    Int64,
    /// `uint32`
    Uint32,
    /// `uint64`
    Uint64,
    /// `sint32`
    Sint32,
    /// `sint64`
    Sint64,
    /// `fixed32`
    Fixed32,
    /// `fixed64`
    Fixed64,
    /// `sfixed32`
    Sfixed32,
    /// `sfixed64`
    Sfixed64,
    /// `bool`
    Bool,
    /// `string`
    String,
    /// `bytes`
    Bytes,
    /// An enum, sent by number.
    Enum(EnumDescriptor),
}

/// Origin of a value. A literal of the author must have the field's type; the value of an
/// expression is brought to it where that is plain: a number becomes text, and text a number or a
/// truth value, as it comes from a CSV file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Written out by the test's author.
    Literal,
    /// Value of an expression.
    Expression,
}

/// A value as it is sent.
#[derive(Debug, PartialEq)]
pub enum WireValue<'v> {
    /// A number of 1 to 10 bytes.
    Varint(u64),
    /// Four bytes.
    Fixed32([u8; 4]),
    /// Eight bytes.
    Fixed64([u8; 8]),
    /// Bytes with their length before them.
    Bytes(Cow<'v, [u8]>),
}

/// Decoding with or without padding.
const BASE64: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, BASE64);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, BASE64);

impl Scalar {
    /// Scalar type of a field; `None` for a message.
    pub fn of(kind: &Kind) -> Option<Self> {
        Some(match kind {
            Kind::Double => Self::Double,
            Kind::Float => Self::Float,
            Kind::Int32 => Self::Int32,
            Kind::Int64 => Self::Int64,
            Kind::Uint32 => Self::Uint32,
            Kind::Uint64 => Self::Uint64,
            Kind::Sint32 => Self::Sint32,
            Kind::Sint64 => Self::Sint64,
            Kind::Fixed32 => Self::Fixed32,
            Kind::Fixed64 => Self::Fixed64,
            Kind::Sfixed32 => Self::Sfixed32,
            Kind::Sfixed64 => Self::Sfixed64,
            Kind::Bool => Self::Bool,
            Kind::String => Self::String,
            Kind::Bytes => Self::Bytes,
            Kind::Enum(of) => Self::Enum(of.clone()),
            Kind::Message(_) => return None,
        })
    }

    /// Encoding of the type.
    pub fn wire_type(&self) -> WireType {
        match self {
            Self::Double | Self::Fixed64 | Self::Sfixed64 => WireType::Fixed64,
            Self::Float | Self::Fixed32 | Self::Sfixed32 => WireType::Fixed32,
            Self::String | Self::Bytes => WireType::Length,
            _ => WireType::Varint,
        }
    }

    /// Converts a value. The error says what is wanted and shows nothing of the value, which may be
    /// a credential.
    pub fn to_wire<'v>(&self, value: &'v Value, origin: Origin) -> Result<WireValue<'v>, String> {
        let wrong = || format!("must be {}, not {}", self.in_words(), kind_of(value));
        let signed = |min: i64, max: i64| {
            whole(value)
                .and_then(|n| i64::try_from(n).ok())
                .filter(|n| (min..=max).contains(n))
                .ok_or_else(wrong)
        };
        let unsigned = |max: u64| {
            whole(value)
                .and_then(|n| u64::try_from(n).ok())
                .filter(|n| *n <= max)
                .ok_or_else(wrong)
        };
        let (min, max) = (i64::from(i32::MIN), i64::from(i32::MAX));
        Ok(match self {
            Self::Int32 => WireValue::Varint(signed(min, max)? as u64),
            Self::Int64 => WireValue::Varint(signed(i64::MIN, i64::MAX)? as u64),
            Self::Uint32 => WireValue::Varint(unsigned(u32::MAX.into())?),
            Self::Uint64 => WireValue::Varint(unsigned(u64::MAX)?),
            Self::Sint32 => WireValue::Varint(wire::zigzag(signed(min, max)?)),
            Self::Sint64 => WireValue::Varint(wire::zigzag(signed(i64::MIN, i64::MAX)?)),
            Self::Fixed32 => WireValue::Fixed32((unsigned(u32::MAX.into())? as u32).to_le_bytes()),
            Self::Fixed64 => WireValue::Fixed64(unsigned(u64::MAX)?.to_le_bytes()),
            Self::Sfixed32 => WireValue::Fixed32((signed(min, max)? as i32).to_le_bytes()),
            Self::Sfixed64 => WireValue::Fixed64(signed(i64::MIN, i64::MAX)?.to_le_bytes()),
            Self::Double => WireValue::Fixed64(float(value).ok_or_else(wrong)?.to_le_bytes()),
            Self::Float => {
                let wide = float(value).ok_or_else(wrong)?;
                // infinity itself is allowed, a number that becomes infinite is not
                let narrow = wide as f32;
                if narrow.is_infinite() && wide.is_finite() && wide.abs() > f64::from(f32::MAX) {
                    return Err(wrong());
                }
                WireValue::Fixed32(narrow.to_le_bytes())
            }
            Self::Bool => WireValue::Varint(u64::from(truth(value, origin).ok_or_else(wrong)?)),
            Self::String => WireValue::Bytes(text(value, origin).ok_or_else(wrong)?),
            Self::Bytes => WireValue::Bytes(bytes(value).ok_or_else(wrong)?.into()),
            Self::Enum(of) => {
                WireValue::Varint(i64::from(variant(of, value).ok_or_else(wrong)?) as u64)
            }
        })
    }

    fn in_words(&self) -> String {
        match self {
            Self::Int32 | Self::Sint32 | Self::Sfixed32 => "a whole number of 32 bits".to_owned(),
            Self::Int64 | Self::Sint64 | Self::Sfixed64 => "a whole number of 64 bits".to_owned(),
            Self::Uint32 | Self::Fixed32 => "a whole number of 32 bits, 0 or above".to_owned(),
            Self::Uint64 | Self::Fixed64 => "a whole number of 64 bits, 0 or above".to_owned(),
            Self::Double => "a number".to_owned(),
            Self::Float => "a number of 32 bits".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::String => "text".to_owned(),
            Self::Bytes => "bytes as text in base64".to_owned(),
            Self::Enum(of) => {
                let names: Vec<String> = of.values().map(|value| value.name().to_owned()).collect();
                format!("one of {}", listed(names.iter().map(String::as_str)))
            }
        }
    }
}

impl WireValue<'_> {
    /// Tells whether the value is that of a field that was not set.
    pub fn is_default(&self) -> bool {
        match self {
            Self::Varint(value) => *value == 0,
            Self::Fixed32(bytes) => *bytes == [0; 4],
            Self::Fixed64(bytes) => *bytes == [0; 8],
            Self::Bytes(bytes) => bytes.is_empty(),
        }
    }

    /// Appends the value without a tag.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Varint(value) => wire::varint(*value, out),
            Self::Fixed32(bytes) => out.extend_from_slice(bytes),
            Self::Fixed64(bytes) => out.extend_from_slice(bytes),
            Self::Bytes(bytes) => {
                wire::varint(bytes.len() as u64, out);
                out.extend_from_slice(bytes);
            }
        }
    }
}

/// Kind of a value, in words that show nothing of it.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a point",
        Value::Number(_) => "this number",
        Value::String(_) => "this text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Whole number, wider than any field, so that each finds out whether it fits.
fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => Some(number.into()),
            (_, Some(number), _) => Some(number.into()),
            (.., Some(float)) if float.fract() == 0.0 && float.abs() < 1e19 => Some(float as i128),
            _ => None,
        },
        Value::String(text) => text.parse().ok().filter(|_| !text.starts_with('+')),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            // Rust knows "inf" and "nan" too, which are no JSON
            text => text.parse().ok().filter(|float: &f64| float.is_finite()),
        },
        _ => None,
    }
}

fn truth(value: &Value, origin: Origin) -> Option<bool> {
    match (value, origin) {
        (Value::Bool(truth), _) => Some(*truth),
        (Value::String(text), Origin::Expression) => text.parse().ok(),
        _ => None,
    }
}

fn text(value: &Value, origin: Origin) -> Option<Cow<'_, [u8]>> {
    match (value, origin) {
        (Value::String(text), _) => Some(Cow::Borrowed(text.as_bytes())),
        (Value::Number(_) | Value::Bool(_), Origin::Expression) => {
            Some(Cow::Owned(value.to_string().into_bytes()))
        }
        _ => None,
    }
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    let text = value.as_str()?;
    STANDARD
        .decode(text)
        .or_else(|_| URL_SAFE.decode(text))
        .ok()
}

/// A name, or a number whether it has a name or not.
fn variant(of: &EnumDescriptor, value: &Value) -> Option<i32> {
    match value {
        Value::Null if of.full_name() == "google.protobuf.NullValue" => Some(0),
        Value::String(name) => of.get_value_by_name(name).map(|value| value.number()),
        Value::Number(_) => whole(value).and_then(|number| i32::try_from(number).ok()),
        _ => None,
    }
}
