//! Message templates as bytes: everything that never differs is encoded once, the rest is segments
//! with typed placeholders.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost_reflect::{Kind, MessageDescriptor};
use serde_json::Value;

use super::field_error::FieldError;
use super::message::{self, Field, choice_of, excluded, find_field, takes_null};
use super::scalar::{Origin, Scalar, kind_of};
use super::well_known::WellKnown;
use super::wire::{self, WireType};
use crate::plan::template::{Compiled, Need, Placeholder, RenderError, Scope, Shape};
use crate::plan::{JsonTemplate, Names, Problem};

/// Encoder of the messages of a step.
#[derive(Debug, Clone)]
pub struct MessageEncoder {
    form: Form,
    needs: Vec<Need>,
}

#[derive(Debug, Clone)]
enum Form {
    Static(Bytes),
    Dynamic(Vec<Segment>),
}

#[derive(Debug, Clone)]
enum Segment {
    Bytes(Vec<u8>),
    /// One of several encodings, all equally likely.
    OneOf(Vec<Vec<u8>>),
    /// A field, or an item of a list, that is no message.
    Scalar(Box<ScalarPlaceholder>),
    /// A field with the length of its segments before them; `tag` is the field's.
    Nested {
        tag: Vec<u8>,
        segments: Vec<Segment>,
    },
    /// A whole list, map or message from one expression, which is encoded by its descriptor once
    /// its value is there.
    Whole(Box<WholePlaceholder>),
}

/// A field, or an item of a list, that is no message.
#[derive(Debug, Clone)]
struct ScalarField {
    /// Tag of the field; empty within a packed list.
    tag: Vec<u8>,
    scalar: Scalar,
    absence: Absence,
}

/// A scalar whose value differs per message.
#[derive(Debug, Clone)]
struct ScalarPlaceholder {
    field: ScalarField,
    source: Source,
    /// Path from the message on, for messages.
    path: String,
}

#[derive(Debug, Clone)]
enum Source {
    Placeholder(Placeholder),
    Text(Compiled),
}

/// Condition under which a field is not written at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absence {
    /// The field is always written, as items of a list are; null is no value of it.
    Never,
    /// Null leaves the field out.
    Null,
    /// Null and the default leave the field out, since its default says the same as its absence.
    NullAndDefault,
}

/// A list, map or message whose value differs per message.
#[derive(Debug, Clone)]
struct WholePlaceholder {
    target: Target,
    shape: Shape,
    path: String,
}

#[derive(Debug, Clone)]
enum Target {
    Field(Field),
    Item(Field),
    /// The message itself.
    Content(MessageDescriptor),
}

impl MessageEncoder {
    /// Builds the encoder of a message without fields.
    pub fn empty() -> Self {
        Self {
            form: Form::Static(Bytes::new()),
            needs: vec![],
        }
    }

    /// Compiles a template; `path` is that of the template, for problems.
    pub fn compile(
        template: &JsonTemplate,
        message: &MessageDescriptor,
        names: &Names,
        path: &str,
    ) -> Result<Self, Vec<Problem>> {
        let at = |(below, why): (String, String)| Problem::new(format!("{path}{below}"), why);
        let shape = template
            .shape(names)
            .map_err(|problems| problems.into_iter().map(at).collect::<Vec<_>>())?;
        let mut compiler = Compiler::default();
        let mut segments = Segments::default();
        compiler.content(message, &shape, "", &mut segments);
        if !compiler.problems.is_empty() {
            return Err(compiler.problems.into_iter().map(at).collect());
        }
        let mut needs = Vec::new();
        shape.needs(&mut needs);
        Ok(Self {
            form: segments.into_form(),
            needs,
        })
    }

    /// The whole message, when nothing in it differs.
    pub fn as_static(&self) -> Option<&Bytes> {
        match &self.form {
            Form::Static(bytes) => Some(bytes),
            Form::Dynamic(_) => None,
        }
    }

    /// Rows to fetch before encoding, each once.
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// Appends the encoded message. A failure leaves a part of it in `out`.
    pub fn encode(&self, scope: &mut impl Scope, out: &mut Vec<u8>) -> Result<(), RenderError> {
        match &self.form {
            Form::Static(bytes) => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            Form::Dynamic(segments) => write_all(segments, scope, out),
        }
    }
}

fn write_all(
    segments: &[Segment],
    scope: &mut impl Scope,
    out: &mut Vec<u8>,
) -> Result<(), RenderError> {
    for segment in segments {
        match segment {
            Segment::Bytes(bytes) => out.extend_from_slice(bytes),
            Segment::OneOf(options) => {
                let at = (u128::from(scope.random()) * options.len() as u128) >> 64;
                out.extend_from_slice(&options[at as usize]);
            }
            Segment::Scalar(placeholder) => placeholder.write(scope, out)?,
            Segment::Nested { tag, segments } => {
                out.extend_from_slice(tag);
                wire::prefixed(out, |out| write_all(segments, scope, out))?;
            }
            Segment::Whole(placeholder) => placeholder.write(scope, out)?,
        }
    }
    Ok(())
}

impl ScalarField {
    /// Appends the field with its tag, unless the value leaves it out.
    fn write(&self, value: &Value, origin: Origin, out: &mut Vec<u8>) -> Result<(), String> {
        if value.is_null() && self.absence != Absence::Never {
            return Ok(());
        }
        let wire_value = self.scalar.to_wire(value, origin)?;
        if !(self.absence == Absence::NullAndDefault && wire_value.is_default()) {
            out.extend_from_slice(&self.tag);
            wire_value.write(out);
        }
        Ok(())
    }

    /// The field with its tag; empty if the value leaves it out.
    fn encoded(&self, value: &Value, origin: Origin) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        self.write(value, origin, &mut bytes)?;
        Ok(bytes)
    }
}

impl ScalarPlaceholder {
    fn write(&self, scope: &mut impl Scope, out: &mut Vec<u8>) -> Result<(), RenderError> {
        match (&self.source, &self.field.scalar) {
            (Source::Placeholder(placeholder), Scalar::String) if placeholder.is_text() => {
                self.write_text(out, |out| placeholder.write(scope, out))
            }
            (Source::Text(text), Scalar::String) => {
                self.write_text(out, |out| text.render(scope, out))
            }
            (Source::Placeholder(placeholder), _) => {
                self.write_value(&*placeholder.value(scope)?, out)
            }
            (Source::Text(text), _) => {
                let mut bytes = Vec::new();
                text.render(scope, &mut bytes)?;
                self.write_value(&Value::from(String::from_utf8_lossy(&bytes)), out)
            }
        }
    }

    fn write_value(&self, value: &Value, out: &mut Vec<u8>) -> Result<(), RenderError> {
        self.field
            .write(value, Origin::Expression, out)
            .map_err(|why| render_error(&self.path, why))
    }

    /// Writes text into `out` as it is made.
    fn write_text(
        &self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), RenderError>,
    ) -> Result<(), RenderError> {
        let before = out.len();
        out.extend_from_slice(&self.field.tag);
        let begun = out.len();
        wire::prefixed(out, write)?;
        // the text is empty: only its length was written, which is 0
        if self.field.absence == Absence::NullAndDefault && out.len() == begun + 1 {
            out.truncate(before);
        }
        Ok(())
    }
}

impl WholePlaceholder {
    fn write(&self, scope: &mut impl Scope, out: &mut Vec<u8>) -> Result<(), RenderError> {
        let written = match &self.shape {
            // borrowed where it can be: it may be a batch of rows
            Shape::Placeholder(placeholder) => self.target.write(&*placeholder.value(scope)?, out),
            shape => self.target.write(&shape.value(scope)?, out),
        };
        written
            .map_err(|FieldError { path, why }| render_error(&format!("{}{path}", self.path), why))
    }
}

impl Target {
    fn write(&self, value: &Value, out: &mut Vec<u8>) -> Result<(), FieldError> {
        match self {
            Self::Field(field) => message::write_field(field, value, out),
            Self::Item(field) => message::write_item(field, value, out),
            Self::Content(message) => message::write_content(message, value, out),
        }
    }
}

fn render_error(path: &str, why: String) -> RenderError {
    RenderError::Field {
        field: format!("message{path}"),
        why,
    }
}

/// Segments of a message being compiled; constants beside each other are joined.
#[derive(Default)]
struct Segments(Vec<Segment>);

impl Segments {
    fn bytes(&mut self) -> &mut Vec<u8> {
        if !matches!(self.0.last(), Some(Segment::Bytes(_))) {
            self.0.push(Segment::Bytes(Vec::new()));
        }
        match self.0.last_mut() {
            Some(Segment::Bytes(bytes)) => bytes,
            _ => unreachable!("it was pushed if it was not there"),
        }
    }

    /// Appends a field or entry with its length before it.
    fn nested(&mut self, tag: Vec<u8>, inner: Segments) {
        match inner.into_form() {
            Form::Static(inner) => {
                let bytes = self.bytes();
                bytes.extend_from_slice(&tag);
                wire::varint(inner.len() as u64, bytes);
                bytes.extend_from_slice(&inner);
            }
            Form::Dynamic(segments) => self.0.push(Segment::Nested { tag, segments }),
        }
    }

    fn into_form(mut self) -> Form {
        self.0
            .retain(|segment| !matches!(segment, Segment::Bytes(bytes) if bytes.is_empty()));
        match self.0.as_mut_slice() {
            [] => Form::Static(Bytes::new()),
            [Segment::Bytes(bytes)] => Form::Static(std::mem::take(bytes).into()),
            _ => Form::Dynamic(self.0),
        }
    }
}

fn tag(field: &Field, wire_type: WireType) -> Vec<u8> {
    let mut tag = Vec::new();
    wire::tag(field.number(), wire_type, &mut tag);
    tag
}

/// Collects all mistakes of a template, each with its path from the message on.
#[derive(Default)]
struct Compiler {
    problems: Vec<(String, String)>,
}

impl Compiler {
    fn wrong(&mut self, path: &str, why: impl Into<String>) {
        self.problems.push((path.to_owned(), why.into()));
    }

    fn field_error(&mut self, path: &str, FieldError { path: below, why }: FieldError) {
        self.wrong(&format!("{path}{below}"), why);
    }

    /// Compiles the content of a message, without tag and length.
    fn content(
        &mut self,
        message: &MessageDescriptor,
        shape: &Shape,
        path: &str,
        out: &mut Segments,
    ) {
        match shape {
            Shape::Object(fields) if WellKnown::of(message).is_none() => {
                self.fields(message, fields, path, out)
            }
            shape
                if WellKnown::of(message).is_some()
                    || matches!(shape, Shape::Placeholder(_) | Shape::Constant(_)) =>
            {
                self.whole(Target::Content(message.clone()), shape, path, out);
            }
            shape => self.wrong(path, message::not_a_message(message, &example_of(shape))),
        }
    }

    fn fields(
        &mut self,
        message: &MessageDescriptor,
        shapes: &BTreeMap<String, Shape>,
        path: &str,
        out: &mut Segments,
    ) {
        let mut by_number: BTreeMap<u32, (Field, &Shape, String)> = BTreeMap::new();
        let mut chosen: Vec<Field> = Vec::new();
        for (name, shape) in shapes {
            let path = format!("{path}.{name}");
            let field = match find_field(message, name) {
                Ok(field) => field,
                Err(why) => {
                    self.wrong(&path, why);
                    continue;
                }
            };
            let absent = is_null(shape) && !takes_null(&field);
            if let Some(oneof) = choice_of(&field).filter(|_| !absent) {
                if let Some(other) = chosen
                    .iter()
                    .find(|other| choice_of(other).as_ref() == Some(&oneof))
                {
                    let why = excluded(&oneof, other, &field);
                    self.wrong(&path, why);
                }
                chosen.push(field.clone());
            }
            if by_number.contains_key(&field.number()) {
                self.wrong(
                    &path,
                    format!(
                        "is there twice, as {} and as {}",
                        field.name(),
                        field.json_name()
                    ),
                );
            }
            if !absent {
                by_number.insert(field.number(), (field, shape, path));
            }
        }
        // in the order of their numbers, as other encoders write them
        for (field, shape, path) in by_number.into_values() {
            self.field(&field, shape, &path, out);
        }
    }

    fn field(&mut self, field: &Field, shape: &Shape, path: &str, out: &mut Segments) {
        match shape {
            Shape::Object(entries) if field.is_map() => self.map(field, entries, path, out),
            Shape::Array(items) if field.is_list() => self.list(field, items, path, out),
            shape if field.is_map() || field.is_list() => match shape {
                Shape::Placeholder(_) | Shape::Constant(_) => {
                    self.whole(Target::Field(field.clone()), shape, path, out)
                }
                _ => {
                    let wanted = if field.is_map() {
                        "an object"
                    } else {
                        "a list"
                    };
                    self.wrong(
                        path,
                        format!("must be {wanted}, not {}", kind_of(&example_of(shape))),
                    );
                }
            },
            shape => {
                let absence = if field.supports_presence() {
                    Absence::Null
                } else {
                    Absence::NullAndDefault
                };
                self.single(field, shape, absence, path, out);
            }
        }
    }

    /// Compiles a field that is no list, or an item of one that is not packed.
    fn single(
        &mut self,
        field: &Field,
        shape: &Shape,
        absence: Absence,
        path: &str,
        out: &mut Segments,
    ) {
        let Kind::Message(message) = field.kind() else {
            let Some(scalar) = Scalar::of(&field.kind()) else {
                return;
            };
            let field = ScalarField {
                tag: tag(field, scalar.wire_type()),
                scalar,
                absence,
            };
            return self.scalar(field, shape, path, out);
        };
        let has_own_form = WellKnown::of(&message).is_some();
        match shape {
            Shape::Object(_) if !has_own_form && field.is_group() => {
                out.bytes().extend(tag(field, WireType::StartGroup));
                self.content(&message, shape, path, out);
                out.bytes().extend(tag(field, WireType::EndGroup));
            }
            Shape::Object(_) if !has_own_form => {
                let mut inner = Segments::default();
                self.content(&message, shape, path, &mut inner);
                out.nested(tag(field, WireType::Length), inner);
            }
            shape
                if has_own_form || matches!(shape, Shape::Placeholder(_) | Shape::Constant(_)) =>
            {
                let target = if absence == Absence::Never {
                    Target::Item(field.clone())
                } else {
                    Target::Field(field.clone())
                };
                self.whole(target, shape, path, out);
            }
            shape => self.wrong(path, message::not_a_message(&message, &example_of(shape))),
        }
    }

    fn list(&mut self, field: &Field, items: &[Shape], path: &str, out: &mut Segments) {
        let at = |i: usize| format!("{path}[{i}]");
        match Scalar::of(&field.kind()).filter(|_| field.is_packed()) {
            Some(_) if items.is_empty() => {}
            Some(scalar) => {
                let mut inner = Segments::default();
                for (i, item) in items.iter().enumerate() {
                    let field = ScalarField {
                        tag: Vec::new(),
                        scalar: scalar.clone(),
                        absence: Absence::Never,
                    };
                    self.scalar(field, item, &at(i), &mut inner);
                }
                out.nested(tag(field, WireType::Length), inner);
            }
            None => items
                .iter()
                .enumerate()
                .for_each(|(i, item)| self.single(field, item, Absence::Never, &at(i), out)),
        }
    }

    fn map(
        &mut self,
        field: &Field,
        entries: &BTreeMap<String, Shape>,
        path: &str,
        out: &mut Segments,
    ) {
        let Kind::Message(entry) = field.kind() else {
            return;
        };
        let value_field = Field::Own(entry.map_entry_value_field());
        for (key, shape) in entries {
            let path = format!("{path}.{key}");
            let mut inner = Segments::default();
            if let Err(why) = message::write_key(&entry, key, inner.bytes()) {
                self.wrong(&path, why);
            }
            self.single(&value_field, shape, Absence::Never, &path, &mut inner);
            out.nested(tag(field, WireType::Length), inner);
        }
    }

    /// Compiles a field, or an item of a list, that is no message.
    fn scalar(&mut self, field: ScalarField, shape: &Shape, path: &str, out: &mut Segments) {
        let source = match shape {
            Shape::Literal(value) => {
                return self.constant(&field, value, Origin::Literal, path, out);
            }
            Shape::Constant(value) => {
                return self.constant(&field, value, Origin::Expression, path, out);
            }
            Shape::Placeholder(placeholder) => {
                if let Some(why) = placeholder
                    .examples()
                    .iter()
                    .find_map(|example| field.encoded(example, Origin::Expression).err())
                {
                    return self.wrong(path, why);
                }
                if let Some(options) = placeholder.options() {
                    let options = options
                        .into_iter()
                        .filter_map(|option| field.encoded(option, Origin::Expression).ok())
                        .collect();
                    return out.0.push(Segment::OneOf(options));
                }
                Source::Placeholder(placeholder.clone())
            }
            Shape::Text(text) => Source::Text(text.clone()),
            Shape::Array(_) | Shape::Object(_) => {
                let why = field.encoded(&example_of(shape), Origin::Literal).err();
                return self.wrong(path, why.unwrap_or_default());
            }
        };
        out.0.push(Segment::Scalar(Box::new(ScalarPlaceholder {
            field,
            source,
            path: path.to_owned(),
        })));
    }

    /// Encodes a scalar that never differs.
    fn constant(
        &mut self,
        field: &ScalarField,
        value: &Value,
        origin: Origin,
        path: &str,
        out: &mut Segments,
    ) {
        match field.encoded(value, origin) {
            Ok(bytes) => out.bytes().extend(bytes),
            Err(why) => self.wrong(path, why),
        }
    }

    /// Compiles a value that is encoded by its descriptor: now if it never differs.
    fn whole(&mut self, target: Target, shape: &Shape, path: &str, out: &mut Segments) {
        if let Some(value) = shape.constant() {
            let mut bytes = Vec::new();
            return match target.write(&value, &mut bytes) {
                Ok(()) => out.bytes().extend(bytes),
                Err(error) => self.field_error(path, error),
            };
        }
        if let Shape::Placeholder(placeholder) = shape
            && let Some(error) = placeholder
                .examples()
                .iter()
                .find_map(|example| target.write(example, &mut Vec::new()).err())
        {
            return self.field_error(path, error);
        }
        out.0.push(Segment::Whole(Box::new(WholePlaceholder {
            target,
            shape: shape.clone(),
            path: path.to_owned(),
        })));
    }
}

fn is_null(shape: &Shape) -> bool {
    matches!(
        shape,
        Shape::Literal(Value::Null) | Shape::Constant(Value::Null)
    )
}

/// A value of the same kind, for a message that says which kind that is.
fn example_of(shape: &Shape) -> Value {
    match shape {
        Shape::Literal(value) | Shape::Constant(value) => value.clone(),
        Shape::Text(_) | Shape::Placeholder(_) => Value::String(String::new()),
        Shape::Array(_) => Value::Array(vec![]),
        Shape::Object(_) => Value::Object(serde_json::Map::new()),
    }
}
