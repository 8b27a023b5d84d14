//! Decoding of messages to JSON, for checks, extracts and people.
//!
//! A part that has no JSON form, such as an `Any` of an unknown type or a time out of range, is shown
//! as what it is and keeps nobody from reading the rest. Fields have the names of the `.proto` file,
//! which the author of a check has before them. `prost-reflect` has a serializer too, which gives up
//! the whole message for one such part.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use prost_reflect::{
    DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, Kind, MapKey,
    MessageDescriptor, ReflectMessage, Value as Field,
};
use serde_json::{Map, Number, Value};

use super::built_in::find_message;
use super::well_known::{Form, MAX_DURATION, TIMESTAMPS, WellKnown};

/// Most `Any`s within each other that are looked into.
const MAX_ANY: usize = 16;

/// Spelling of numbers in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Numbers are numbers, so that they can be compared and calculated with.
    Plain,
    /// Numbers are as in protobuf's own JSON form: those of 64 bits are text, and whole ones have no
    /// point.
    Mapped,
}

/// Finder of types by their full names, beside those that the message's own descriptors know.
pub type MoreTypes<'a> = &'a dyn Fn(&str) -> Option<MessageDescriptor>;

/// Decoded message.
pub struct Decoded(DynamicMessage);

impl Decoded {
    /// Decodes a message. The error shows nothing of it.
    pub fn new(message: &MessageDescriptor, bytes: &[u8]) -> Result<Self, String> {
        DynamicMessage::decode(message.clone(), bytes)
            .map(Self)
            .map_err(|_| format!("what came is not a {}", message.full_name()))
    }

    /// Returns the JSON form, its fields sorted by name; those that were not sent have their
    /// default.
    pub fn json(&self, numbers: Numbers) -> Value {
        self.json_with(numbers, &|_| None)
    }

    /// Returns the JSON form like [`json`](Self::json); `more` knows further types that an `Any` may
    /// hold.
    pub fn json_with(&self, numbers: Numbers, more: MoreTypes<'_>) -> Value {
        self.shown(numbers, false, more)
    }

    fn shown(&self, numbers: Numbers, is_sparse: bool, more: MoreTypes<'_>) -> Value {
        let shape = Shape {
            numbers,
            is_sparse,
            depth: 0,
            more,
        };
        let mut json = shape.message(&self.0);
        json.sort_all_objects();
        json
    }
}

/// JSON form of an encoded message with plain numbers. The error shows nothing of it.
pub fn to_json(message: &MessageDescriptor, bytes: &[u8]) -> Result<Value, String> {
    Decoded::new(message, bytes).map(|decoded| decoded.json(Numbers::Plain))
}

/// JSON form of an encoded message without the fields that were not sent. The error shows nothing
/// of it.
pub fn to_sparse_json(message: &MessageDescriptor, bytes: &[u8]) -> Result<Value, String> {
    Decoded::new(message, bytes).map(|decoded| decoded.shown(Numbers::Plain, true, &|_| None))
}

/// Form in which messages are written.
#[derive(Clone, Copy)]
struct Shape<'a> {
    numbers: Numbers,
    /// True if fields that were not sent are left out.
    is_sparse: bool,
    /// Number of `Any`s around the message.
    depth: usize,
    more: MoreTypes<'a>,
}

impl Shape<'_> {
    fn message(self, message: &DynamicMessage) -> Value {
        let known = match WellKnown::of(&message.descriptor()) {
            Some(WellKnown::Any) => Some(self.any(message)),
            Some(WellKnown::Wrapper) => self.wrapped(message),
            Some(WellKnown::Form(form)) => self.of_form(form, message),
            None => None,
        };
        known.unwrap_or_else(|| Value::Object(self.fields(message)))
    }

    fn fields(self, message: &DynamicMessage) -> Map<String, Value> {
        let mut json = Map::new();
        for field in message.descriptor().fields() {
            let is_shown =
                message.has_field(&field) || !self.is_sparse && !field.supports_presence();
            if is_shown {
                let value = message.get_field(&field);
                json.insert(field.name().to_owned(), self.field(&field, &value));
            }
        }
        for (extension, value) in message.extensions() {
            json.insert(
                extension.json_name().to_owned(),
                self.extension(&extension, value),
            );
        }
        json
    }

    fn field(self, field: &FieldDescriptor, value: &Field) -> Value {
        self.value(&field.kind(), value)
    }

    fn extension(self, field: &ExtensionDescriptor, value: &Field) -> Value {
        self.value(&field.kind(), value)
    }

    fn value(self, kind: &Kind, value: &Field) -> Value {
        match value {
            Field::Bool(truth) => (*truth).into(),
            Field::I32(number) => (*number).into(),
            Field::U32(number) => (*number).into(),
            Field::I64(number) => self.wide(*number),
            Field::U64(number) => self.wide(*number),
            Field::F32(number) => self.float(shortest(*number)),
            Field::F64(number) => self.float(*number),
            Field::String(text) => text.as_str().into(),
            Field::Bytes(bytes) => STANDARD.encode(bytes).into(),
            Field::EnumNumber(number) => named(kind.as_enum(), *number),
            Field::Message(message) => self.message(message),
            Field::List(items) => items.iter().map(|item| self.value(kind, item)).collect(),
            Field::Map(entries) => {
                let entry = kind.as_message();
                let of = entry.map(|entry| entry.map_entry_value_field().kind());
                let of = of.as_ref().unwrap_or(kind);
                let entries = entries
                    .iter()
                    .map(|(key, value)| (key_text(key), self.value(of, value)));
                Value::Object(entries.collect())
            }
        }
    }

    /// Writes a number of 64 bits.
    fn wide<T: ToString + Into<Value>>(self, number: T) -> Value {
        match self.numbers {
            Numbers::Plain => number.into(),
            Numbers::Mapped => number.to_string().into(),
        }
    }

    fn float(self, number: f64) -> Value {
        /// Largest number below which each whole one is exact.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let is_whole = number.fract() == 0.0 && number.abs() < EXACT;
        match Number::from_f64(number) {
            Some(_) if is_whole && self.numbers == Numbers::Mapped => (number as i64).into(),
            Some(number) => number.into(),
            None if number.is_nan() => "NaN".into(),
            None if number > 0.0 => "Infinity".into(),
            None => "-Infinity".into(),
        }
    }

    /// Writes the message within an `Any`, or its bytes if its type is not known or it is not of it.
    fn any(self, any: &DynamicMessage) -> Value {
        let (url, bytes) = (text_of(any, 1), bytes_of(any, 2));
        let mut json = Map::new();
        if !url.is_empty() {
            json.insert("@type".to_owned(), url.as_str().into());
        }
        let kind = self.type_of(any, &url);
        let has_own_form = kind
            .as_ref()
            .is_some_and(|kind| WellKnown::of(kind).is_some());
        match kind.and_then(|kind| self.within_any(kind, &bytes)) {
            Some(Value::Object(fields)) if !has_own_form => json.extend(fields),
            Some(value) => drop(json.insert("value".to_owned(), value)),
            None if bytes.is_empty() => {}
            None => drop(json.insert("value".to_owned(), STANDARD.encode(&bytes).into())),
        }
        Value::Object(json)
    }

    fn type_of(self, any: &DynamicMessage, url: &str) -> Option<MessageDescriptor> {
        let name = url.rsplit('/').next().filter(|name| !name.is_empty())?;
        let known = find_message(any.descriptor().parent_pool(), name);
        known.or_else(|| (self.more)(name))
    }

    fn within_any(self, kind: MessageDescriptor, bytes: &[u8]) -> Option<Value> {
        if self.depth == MAX_ANY {
            return None;
        }
        let message = DynamicMessage::decode(kind, bytes).ok()?;
        let inner = Self {
            depth: self.depth + 1,
            ..self
        };
        Some(inner.message(&message))
    }

    fn wrapped(self, message: &DynamicMessage) -> Option<Value> {
        let field = message.descriptor().get_field(1)?;
        Some(self.field(&field, &message.get_field(&field)))
    }

    /// Writes a message that has a JSON form of its own; `None` if this one has none.
    fn of_form(self, form: Form, message: &DynamicMessage) -> Option<Value> {
        match form {
            Form::Timestamp => timestamp(message).map(Value::from),
            Form::Duration => duration(message).map(Value::from),
            Form::FieldMask => field_mask(message).map(Value::from),
            Form::Empty => None,
            Form::Struct | Form::List => message
                .get_field_by_number(1)
                .and_then(|value| Some(self.field(&message.descriptor().get_field(1)?, &value))),
            Form::Value => Some(match message.fields().next() {
                Some((field, value)) if field.number() != 1 => self.field(&field, value),
                // one without any is as good as null
                _ => Value::Null,
            }),
        }
    }
}

/// Returns the number whose shortest decimal form is that of `number`, not one with digits that 32
/// bits cannot hold.
fn shortest(number: f32) -> f64 {
    if number.is_finite() {
        number.to_string().parse().unwrap_or(f64::from(number))
    } else {
        f64::from(number)
    }
}

fn named(of: Option<&EnumDescriptor>, number: i32) -> Value {
    match of {
        Some(of) if of.full_name() == "google.protobuf.NullValue" => Value::Null,
        Some(of) => of
            .get_value(number)
            .map_or_else(|| number.into(), |value| value.name().into()),
        None => number.into(),
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

fn text_of(message: &DynamicMessage, number: u32) -> String {
    let value = message.get_field_by_number(number);
    let text = value.as_ref().and_then(|value| value.as_str());
    text.unwrap_or_default().to_owned()
}

fn bytes_of(message: &DynamicMessage, number: u32) -> Vec<u8> {
    let value = message.get_field_by_number(number);
    let bytes = value.as_ref().and_then(|value| value.as_bytes());
    bytes.map(|bytes| bytes.to_vec()).unwrap_or_default()
}

/// Returns seconds and nanoseconds, fields 1 and 2.
fn seconds_of(message: &DynamicMessage) -> Option<(i64, i32)> {
    let (seconds, nanos) = (
        message.get_field_by_number(1)?.as_i64()?,
        message.get_field_by_number(2)?.as_i32()?,
    );
    Some((seconds, nanos))
}

/// Writes the fraction of a second with 0, 3, 6 or 9 digits.
fn fraction(nanos: u32) -> String {
    match nanos {
        0 => String::new(),
        nanos if nanos % 1_000_000 == 0 => format!(".{:03}", nanos / 1_000_000),
        nanos if nanos % 1_000 == 0 => format!(".{:06}", nanos / 1_000),
        nanos => format!(".{nanos:09}"),
    }
}

fn timestamp(message: &DynamicMessage) -> Option<String> {
    let (seconds, nanos) = seconds_of(message)?;
    let nanos = u32::try_from(nanos).ok().filter(|n| *n < 1_000_000_000)?;
    let whole = Timestamp::from_second(seconds)
        .ok()
        .filter(|_| TIMESTAMPS.contains(&seconds))?;
    let text = whole.to_string();
    Some(format!("{}{}Z", text.strip_suffix('Z')?, fraction(nanos)))
}

fn duration(message: &DynamicMessage) -> Option<String> {
    let (seconds, nanos) = seconds_of(message)?;
    let is_one_way = seconds.signum() * i64::from(nanos.signum()) >= 0;
    let is_valid = seconds.unsigned_abs() <= MAX_DURATION && nanos.unsigned_abs() < 1_000_000_000;
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    (is_one_way && is_valid).then(|| {
        format!(
            "{sign}{}{}s",
            seconds.unsigned_abs(),
            fraction(nanos.unsigned_abs())
        )
    })
}

/// Writes paths in lower camel case; `None` if one would not come back as it was.
fn field_mask(message: &DynamicMessage) -> Option<String> {
    let paths = message.get_field_by_number(1)?;
    let camel = |path: &str| {
        let mut camel = String::new();
        let mut rest = path.chars();
        while let Some(c) = rest.next() {
            match c {
                '_' => camel.push(
                    rest.next()
                        .filter(char::is_ascii_lowercase)?
                        .to_ascii_uppercase(),
                ),
                c if c.is_ascii_uppercase() => return None,
                c => camel.push(c),
            }
        }
        Some(camel)
    };
    let paths: Option<Vec<String>> = paths
        .as_list()?
        .iter()
        .map(|path| camel(path.as_str()?))
        .collect();
    paths.map(|paths| paths.join(","))
}
