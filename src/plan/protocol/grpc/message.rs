//! JSON values as the fields of messages, by their descriptors: values of expressions, known only
//! when a message is made.

use prost_reflect::{
    ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor,
};
use serde_json::{Map, Value};

use super::built_in::find_message;
use super::field_error::FieldError;
use super::listed;
use super::scalar::{Origin, Scalar, kind_of};
use super::well_known::{self, WellKnown};
use super::wire::{self, WireType};

/// A field of a message: its own, or one by which another file extends it.
#[derive(Debug, Clone)]
pub enum Field {
    /// A field that the message declares.
    Own(FieldDescriptor),
    /// A field that another file adds.
    Extension(ExtensionDescriptor),
}

/// The same question to either.
macro_rules! either {
    ($self:ident, $field:ident => $answer:expr) => {
        match $self {
            Self::Own($field) => $answer,
            Self::Extension($field) => $answer,
        }
    };
}

impl Field {
    /// Number of the field.
    pub fn number(&self) -> u32 {
        either!(self, field => field.number())
    }

    /// Type of the field's values.
    pub fn kind(&self) -> Kind {
        either!(self, field => field.kind())
    }

    /// Tells whether the field is repeated and no map.
    pub fn is_list(&self) -> bool {
        either!(self, field => field.is_list())
    }

    /// Tells whether the field is a map.
    pub fn is_map(&self) -> bool {
        either!(self, field => field.is_map())
    }

    /// Tells whether items of a list share one tag.
    pub fn is_packed(&self) -> bool {
        either!(self, field => field.is_packed())
    }

    /// Tells whether a message stands between two tags.
    pub fn is_group(&self) -> bool {
        either!(self, field => field.is_group())
    }

    /// Tells whether an absent field differs from one with its default.
    pub fn supports_presence(&self) -> bool {
        either!(self, field => field.supports_presence())
    }

    /// Name in the `.proto` file.
    pub fn name(&self) -> &str {
        either!(self, field => field.name())
    }

    /// Name in lower camel case.
    pub fn json_name(&self) -> &str {
        either!(self, field => field.json_name())
    }
}

/// Finds the field called `name` in either of its two ways, or the extension `[name.of.extension]`.
/// The error names the fields that exist.
pub fn find_field(message: &MessageDescriptor, name: &str) -> Result<Field, String> {
    if name.starts_with('[') {
        return message
            .get_extension_by_json_name(name)
            .map(Field::Extension)
            .ok_or_else(|| {
                let known: Vec<ExtensionDescriptor> = message.extensions().collect();
                let known = listed(known.iter().map(ExtensionDescriptor::json_name));
                format!(
                    "no file that is known extends {} by this; known extensions: {known}",
                    message.full_name()
                )
            });
    }
    let own = message
        .get_field_by_json_name(name)
        .or_else(|| message.get_field_by_name(name));
    own.map(Field::Own).ok_or_else(|| {
        let fields: Vec<FieldDescriptor> = message.fields().collect();
        match fields.is_empty() {
            true => format!("{} has no fields", message.full_name()),
            false => format!(
                "{} has no such field; it has {}",
                message.full_name(),
                listed(fields.iter().map(FieldDescriptor::name))
            ),
        }
    })
}

/// The `oneof` that the field belongs to, if it does.
pub fn choice_of(field: &Field) -> Option<OneofDescriptor> {
    match field {
        // an optional field of proto3 is alone in a oneof that the compiler makes
        Field::Own(field) => field
            .containing_oneof()
            .filter(|oneof| !oneof.is_synthetic()),
        Field::Extension(_) => None,
    }
}

/// Tells whether null is a value of the field, and not its absence.
pub fn takes_null(field: &Field) -> bool {
    if field.is_list() || field.is_map() {
        return false;
    }
    match field.kind() {
        Kind::Message(message) => message.full_name() == "google.protobuf.Value",
        Kind::Enum(of) => of.full_name() == "google.protobuf.NullValue",
        _ => false,
    }
}

/// Appends a field with its tag; null writes nothing.
pub fn write_field(field: &Field, value: &Value, out: &mut Vec<u8>) -> Result<(), FieldError> {
    if value.is_null() && !takes_null(field) {
        return Ok(());
    }
    if field.is_map() {
        write_map(field, value, out)
    } else if field.is_list() {
        write_list(field, value, out)
    } else {
        write_single(field, value, out)
    }
}

/// Appends a field that is no list and no map.
pub fn write_single(field: &Field, value: &Value, out: &mut Vec<u8>) -> Result<(), FieldError> {
    match field.kind() {
        Kind::Message(message) => write_message(field, &message, value, out),
        kind => write_scalar(field, &kind, value, !field.supports_presence(), out),
    }
}

/// Appends one item of a list, which is never left out.
pub fn write_item(field: &Field, value: &Value, out: &mut Vec<u8>) -> Result<(), FieldError> {
    match field.kind() {
        Kind::Message(message) => write_message(field, &message, value, out),
        kind => write_scalar(field, &kind, value, false, out),
    }
}

/// Appends the fields of a message that has no JSON form of its own.
pub fn write_body<'v>(
    message: &MessageDescriptor,
    fields: impl Iterator<Item = (&'v String, &'v Value)>,
    out: &mut Vec<u8>,
) -> Result<(), FieldError> {
    let mut chosen: Vec<(Field, OneofDescriptor)> = Vec::new();
    let mut seen: Vec<u32> = Vec::new();
    for (name, value) in fields {
        let field = find_field(message, name).map_err(|why| FieldError::new(why).under(name))?;
        if seen.contains(&field.number()) {
            return Err(FieldError::new(format!(
                "{} is there twice, as {} and as {}",
                field.name(),
                field.name(),
                field.json_name()
            )));
        }
        seen.push(field.number());
        if value.is_null() && !takes_null(&field) {
            continue;
        }
        if let Some(oneof) = choice_of(&field) {
            if let Some((other, _)) = chosen.iter().find(|(_, known)| *known == oneof) {
                return Err(FieldError::new(excluded(&oneof, other, &field)));
            }
            chosen.push((field.clone(), oneof));
        }
        write_field(&field, value, out).map_err(|error| error.under(name))?;
    }
    Ok(())
}

/// Message about two fields of one `oneof`.
pub fn excluded(oneof: &OneofDescriptor, one: &Field, other: &Field) -> String {
    format!(
        "{} and {} exclude each other: they are of the oneof {}",
        one.name(),
        other.name(),
        oneof.name()
    )
}

/// Appends a message without tag and length.
pub fn write_content(
    message: &MessageDescriptor,
    value: &Value,
    out: &mut Vec<u8>,
) -> Result<(), FieldError> {
    match (WellKnown::of(message), value) {
        (Some(WellKnown::Form(form)), _) => form.write(value, out),
        (Some(WellKnown::Wrapper), _) => write_wrapper(message, value, out),
        (Some(WellKnown::Any), _) => write_any(message, value, out),
        (None, Value::Object(fields)) => write_body(message, fields.iter(), out),
        (None, _) => Err(FieldError::new(not_a_message(message, value))),
    }
}

/// Appends a wrapper such as `google.protobuf.Int64Value`, whose JSON form is that of its only
/// field.
fn write_wrapper(
    message: &MessageDescriptor,
    value: &Value,
    out: &mut Vec<u8>,
) -> Result<(), FieldError> {
    let field = message
        .get_field(1)
        .ok_or_else(|| FieldError::new("has no field 1".to_owned()))?;
    write_single(&Field::Own(field), value, out)
}

/// Appends a `google.protobuf.Any` from `{"@type": "type.googleapis.com/package.Message", ...}`
/// with the fields of that message, or, where it has a JSON form of its own, with `value`.
fn write_any(any: &MessageDescriptor, value: &Value, out: &mut Vec<u8>) -> Result<(), FieldError> {
    let fields: &Map<String, Value> = value.as_object().ok_or_else(|| {
        FieldError::new(format!(
            "must be an object with @type, not {}",
            kind_of(value)
        ))
    })?;
    let url = fields
        .get("@type")
        .and_then(Value::as_str)
        .ok_or_else(|| FieldError::new("needs @type, the name of a message".to_owned()))?;
    let name = url.rsplit('/').next().unwrap_or_default();
    let message = find_message(any.parent_pool(), name);
    let message = message.ok_or_else(|| {
        FieldError::new("there is no message as @type names it".to_owned()).under("@type")
    })?;
    well_known::write_text(1, url, out);
    let mut body = Vec::new();
    match WellKnown::of(&message) {
        Some(_) => {
            let value = fields.get("value").unwrap_or(&Value::Null);
            write_content(&message, value, &mut body).map_err(|error| error.under("value"))?;
        }
        None => {
            let fields = fields.iter().filter(|(name, _)| *name != "@type");
            write_body(&message, fields, &mut body)?;
        }
    }
    if !body.is_empty() {
        well_known::write_nested(2, out, |out| out.extend_from_slice(&body));
    }
    Ok(())
}

/// Message about a value that is no object.
pub fn not_a_message(message: &MessageDescriptor, value: &Value) -> String {
    format!(
        "must be an object, a {}, not {}",
        message.full_name(),
        kind_of(value)
    )
}

fn write_message(
    field: &Field,
    message: &MessageDescriptor,
    value: &Value,
    out: &mut Vec<u8>,
) -> Result<(), FieldError> {
    if field.is_group() {
        wire::tag(field.number(), WireType::StartGroup, out);
        write_content(message, value, out)?;
        wire::tag(field.number(), WireType::EndGroup, out);
        return Ok(());
    }
    wire::tag(field.number(), WireType::Length, out);
    wire::prefixed(out, |out| write_content(message, value, out))
}

fn write_scalar(
    field: &Field,
    kind: &Kind,
    value: &Value,
    leave_out: bool,
    out: &mut Vec<u8>,
) -> Result<(), FieldError> {
    let Some(scalar) = Scalar::of(kind) else {
        return Ok(());
    };
    let wire_value = scalar
        .to_wire(value, Origin::Expression)
        .map_err(FieldError::new)?;
    if !(leave_out && wire_value.is_default()) {
        wire::tag(field.number(), scalar.wire_type(), out);
        wire_value.write(out);
    }
    Ok(())
}

fn write_list(field: &Field, value: &Value, out: &mut Vec<u8>) -> Result<(), FieldError> {
    let Value::Array(items) = value else {
        return Err(FieldError::new(format!(
            "must be a list, not {}",
            kind_of(value)
        )));
    };
    match Scalar::of(&field.kind()).filter(|_| field.is_packed()) {
        Some(_) if items.is_empty() => Ok(()),
        Some(scalar) => {
            wire::tag(field.number(), WireType::Length, out);
            wire::prefixed(out, |out| {
                items.iter().enumerate().try_for_each(|(i, item)| {
                    scalar
                        .to_wire(item, Origin::Expression)
                        .map(|wire_value| wire_value.write(out))
                        .map_err(|why| FieldError::new(why).at(i))
                })
            })
        }
        None => items
            .iter()
            .enumerate()
            .try_for_each(|(i, item)| write_item(field, item, out).map_err(|error| error.at(i))),
    }
}

fn write_map(field: &Field, value: &Value, out: &mut Vec<u8>) -> Result<(), FieldError> {
    let Value::Object(entries) = value else {
        return Err(FieldError::new(format!(
            "must be an object, not {}",
            kind_of(value)
        )));
    };
    let Kind::Message(entry) = field.kind() else {
        return Ok(());
    };
    let value_field = Field::Own(entry.map_entry_value_field());
    for (key, value) in entries {
        wire::tag(field.number(), WireType::Length, out);
        let written = wire::prefixed(out, |out| {
            write_key(&entry, key, out).map_err(FieldError::new)?;
            write_item(&value_field, value, out)
        });
        written.map_err(|error| error.under(key))?;
    }
    Ok(())
}

/// Appends the key of an entry of a map, which in JSON is always text.
pub fn write_key(entry: &MessageDescriptor, key: &str, out: &mut Vec<u8>) -> Result<(), String> {
    let field = entry.map_entry_key_field();
    let Some(scalar) = Scalar::of(&field.kind()) else {
        return Ok(());
    };
    let key = Value::from(key);
    let wire_value = scalar
        .to_wire(&key, Origin::Expression)
        .map_err(|why| format!("the key {why}"))?;
    wire::tag(field.number(), scalar.wire_type(), out);
    wire_value.write(out);
    Ok(())
}
