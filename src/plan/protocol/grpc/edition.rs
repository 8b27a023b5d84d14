//! Files of protobuf editions, rewritten as files of proto3 or proto2 that mean the same on the
//! wire and in JSON. Neither of the crates behind [`Descriptors`](super::Descriptors) knows
//! editions.
//!
//! Editions have features instead of a syntax, which messages inherit from their file and fields
//! from their message: <https://protobuf.dev/editions/features/>. Three of them change what is
//! sent; the others are left out.

use std::borrow::Cow;
use std::sync::LazyLock;

use prost::Message;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::uninterpreted_option::NamePart;
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FieldOptions, FileDescriptorProto,
    UninterpretedOption,
};
use regex::{Captures, Regex};

/// Editions with their numbers in `Edition` of `descriptor.proto`. Both have the same defaults of
/// the features that count here.
const KNOWN: [(&str, i32); 2] = [("2023", 1000), ("2024", 1001)];

/// Files with features of programming languages, which have no meaning on the wire.
const OF_LANGUAGES: [&str; 4] = [
    "google/protobuf/go_features.proto",
    "google/protobuf/java_features.proto",
    "google/protobuf/cpp_features.proto",
    "google/protobuf/java_mutable_features.proto",
];

/// Features of a file of `descriptor.proto`, decoded beside it, since `prost-types` drops all of
/// them.
#[derive(Clone, PartialEq, Message)]
struct FileFeatures {
    #[prost(message, repeated, tag = "4")]
    messages: Vec<MessageFeatures>,
    #[prost(message, repeated, tag = "7")]
    extensions: Vec<FieldFeatures>,
    #[prost(message, optional, tag = "8")]
    options: Option<FileOptionFeatures>,
    #[prost(int32, tag = "14")]
    edition: i32,
}

#[derive(Clone, PartialEq, Message)]
struct FileOptionFeatures {
    #[prost(message, optional, tag = "50")]
    features: Option<FeatureSet>,
}

#[derive(Clone, PartialEq, Message)]
struct MessageFeatures {
    #[prost(message, repeated, tag = "2")]
    fields: Vec<FieldFeatures>,
    #[prost(message, repeated, tag = "3")]
    nested: Vec<MessageFeatures>,
    #[prost(message, repeated, tag = "6")]
    extensions: Vec<FieldFeatures>,
    #[prost(message, optional, tag = "7")]
    options: Option<MessageOptionFeatures>,
}

#[derive(Clone, PartialEq, Message)]
struct MessageOptionFeatures {
    #[prost(message, optional, tag = "12")]
    features: Option<FeatureSet>,
}

#[derive(Clone, PartialEq, Message)]
struct FieldFeatures {
    #[prost(message, optional, tag = "8")]
    options: Option<FieldOptionFeatures>,
}

#[derive(Clone, PartialEq, Message)]
struct FieldOptionFeatures {
    #[prost(message, optional, tag = "21")]
    features: Option<FeatureSet>,
}

#[derive(Clone, PartialEq, Message)]
struct FeatureSet {
    #[prost(int32, optional, tag = "1")]
    field_presence: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    repeated_field_encoding: Option<i32>,
    #[prost(int32, optional, tag = "5")]
    message_encoding: Option<i32>,
}

const IMPLICIT: i32 = 2;
const EXPANDED: i32 = 2;
const DELIMITED: i32 = 2;

/// Features that hold for a field.
#[derive(Debug, Clone, Copy, Default)]
struct Features {
    /// True if the field is sent only when it is not its default.
    implicit: bool,
    /// True if each item of a list has a tag of its own.
    expanded: bool,
    /// True if a message stands between two tags, as groups did.
    delimited: bool,
}

impl Features {
    fn with(self, set: Option<&FeatureSet>) -> Self {
        let Some(FeatureSet {
            field_presence,
            repeated_field_encoding,
            message_encoding,
        }) = set
        else {
            return self;
        };
        Self {
            implicit: field_presence.map_or(self.implicit, |presence| presence == IMPLICIT),
            expanded: repeated_field_encoding
                .map_or(self.expanded, |encoding| encoding == EXPANDED),
            delimited: message_encoding.map_or(self.delimited, |encoding| encoding == DELIMITED),
        }
    }
}

/// Decodes a file as it is in a descriptor set or as reflection returns it.
pub fn decode(bytes: &[u8]) -> Result<FileDescriptorProto, String> {
    let mut file = FileDescriptorProto::decode(bytes).map_err(|e| e.to_string())?;
    if file.syntax() != "editions" {
        return Ok(file);
    }
    let features = FileFeatures::decode(bytes).map_err(|e| e.to_string())?;
    if !KNOWN.iter().any(|(_, number)| *number == features.edition) {
        return Err(unknown(
            file.name(),
            &format!("number {}", features.edition),
        ));
    }
    let name = file.name().to_owned();
    Lowering::default()
        .file(&mut file, &features)
        .map_err(|why| format!("{name}: {why}"))?;
    Ok(file)
}

/// Text of a file with `syntax = "proto3"` in place of its edition; `None` where it has none.
pub fn as_proto3(name: &str, text: &str) -> Result<Option<String>, String> {
    let Some(at) = first_word(text).filter(|at| text[*at..].starts_with("edition")) else {
        return Ok(None);
    };
    let rest = &text[at + "edition".len()..];
    let Some((_, edition)) = rest
        .split_once('=')
        .filter(|(between, _)| between.trim().is_empty())
    else {
        return Ok(None);
    };
    let edition = edition.trim_start();
    let Some((value, after)) = edition
        .strip_prefix(['"', '\''])
        .and_then(|quoted| quoted.split_once(['"', '\'']))
    else {
        return Ok(None);
    };
    if !KNOWN.iter().any(|(known, _)| *known == value) {
        return Err(unknown(name, &format!("{value:?}")));
    }
    Ok(Some(format!(
        "{}syntax = \"proto3\"{}",
        &text[..at],
        quoted(after)
    )))
}

/// Puts reserved names in quotes, which they have everywhere but in editions.
fn quoted(text: &str) -> Cow<'_, str> {
    static NAMES: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\breserved\s+([A-Za-z_][A-Za-z0-9_]*(?:\s*,\s*[A-Za-z_][A-Za-z0-9_]*)*)\s*;")
            .expect("it is one")
    });
    NAMES.replace_all(text, |found: &Captures<'_>| {
        let names: Vec<String> = found[1]
            .split(',')
            .map(|name| format!("{:?}", name.trim()))
            .collect();
        format!("reserved {};", names.join(", "))
    })
}

/// Applies the features that are named in a file parsed from such a text.
pub fn lower(mut file: FileDescriptorProto) -> Result<FileDescriptorProto, String> {
    Lowering::default().file(&mut file, &FileFeatures::default())?;
    Ok(file)
}

fn unknown(name: &str, edition: &str) -> String {
    format!(
        "{name}: edition {edition} is not known here; 2023 and 2024 are, as are proto2 and proto3"
    )
}

/// Position of the first word after white space and comments.
fn first_word(text: &str) -> Option<usize> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        rest = if let Some(comment) = rest.strip_prefix("//") {
            comment.split_once('\n')?.1
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/")?.1
        } else {
            return (!rest.is_empty()).then(|| text.len() - rest.len());
        };
    }
}

#[derive(Default)]
struct Lowering {
    /// True if the file becomes one of proto2, since enums whose first value is not 0 do not exist
    /// in proto3. All fields of proto2 have presence.
    is_proto2: bool,
}

impl Lowering {
    fn file(
        &mut self,
        file: &mut FileDescriptorProto,
        declared: &FileFeatures,
    ) -> Result<(), String> {
        self.is_proto2 = !file.enum_type.iter().all(begins_at_zero)
            || !file.message_type.iter().all(enums_begin_at_zero);
        file.syntax = Some(if self.is_proto2 { "proto2" } else { "proto3" }.to_owned());
        drop_language_imports(file);
        let named = take_features(
            file.options
                .as_mut()
                .map(|options| &mut options.uninterpreted_option),
        )?;
        let features = Features::default()
            .with(
                declared
                    .options
                    .as_ref()
                    .and_then(|options| options.features.as_ref()),
            )
            .with(Some(&named));
        for (i, field) in file.extension.iter_mut().enumerate() {
            self.field(field, declared.extensions.get(i), features)?;
        }
        for (i, message) in file.message_type.iter_mut().enumerate() {
            self.message(message, declared.messages.get(i), features)?;
        }
        file.enum_type.iter_mut().try_for_each(drop_enum_features)
    }

    fn message(
        &self,
        message: &mut DescriptorProto,
        declared: Option<&MessageFeatures>,
        above: Features,
    ) -> Result<(), String> {
        let named = take_features(
            message
                .options
                .as_mut()
                .map(|options| &mut options.uninterpreted_option),
        )?;
        let set = declared
            .and_then(|declared| declared.options.as_ref())
            .and_then(|options| options.features.as_ref());
        let features = above.with(set).with(Some(&named));
        let featured = fields_with_features(message);
        for (i, field) in message
            .field
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| featured[*i])
        {
            self.field(
                field,
                declared.and_then(|declared| declared.fields.get(i)),
                features,
            )?;
        }
        for (i, field) in message.extension.iter_mut().enumerate() {
            self.field(
                field,
                declared.and_then(|declared| declared.extensions.get(i)),
                features,
            )?;
        }
        for (i, nested) in message.nested_type.iter_mut().enumerate() {
            self.message(
                nested,
                declared.and_then(|declared| declared.nested.get(i)),
                features,
            )?;
        }
        for oneof in message
            .oneof_decl
            .iter_mut()
            .filter_map(|oneof| oneof.options.as_mut())
        {
            take_features(Some(&mut oneof.uninterpreted_option))?;
        }
        message
            .enum_type
            .iter_mut()
            .try_for_each(drop_enum_features)
    }

    fn field(
        &self,
        field: &mut FieldDescriptorProto,
        declared: Option<&FieldFeatures>,
        above: Features,
    ) -> Result<(), String> {
        let named = take_features(
            field
                .options
                .as_mut()
                .map(|options| &mut options.uninterpreted_option),
        )?;
        let set = declared
            .and_then(|declared| declared.options.as_ref())
            .and_then(|options| options.features.as_ref());
        let Features {
            implicit,
            expanded,
            delimited,
        } = above.with(set).with(Some(&named));
        // a file parsed from text does not say whether a type's name is a message or an enum
        let kind = field.r#type.and_then(|number| Type::try_from(number).ok());
        if field.label() == Label::Repeated {
            if expanded || self.is_proto2 {
                field
                    .options
                    .get_or_insert_with(FieldOptions::default)
                    .packed = Some(!expanded);
            }
        } else if field.oneof_index.is_none() && field.extendee.is_none() {
            match (implicit, self.is_proto2) {
                (false, false) => field.proto3_optional = Some(true),
                (true, true) if kind != Some(Type::Message) => return Err(mixed(field.name())),
                _ => {}
            }
        }
        match kind {
            Some(Type::Message) | None if !delimited => {}
            Some(Type::Message) => field.r#type = Some(Type::Group.into()),
            None if named.message_encoding.is_some() => field.r#type = Some(Type::Group.into()),
            None => {
                return Err(format!(
                    "features.message_encoding = DELIMITED must be said at the field {} itself",
                    field.name()
                ));
            }
            Some(_) => {}
        }
        Ok(())
    }
}

/// Tells of each field of a message whether it has features: neither maps nor the fields of their
/// entries have any.
fn fields_with_features(message: &DescriptorProto) -> Vec<bool> {
    let is_entry = |message: &DescriptorProto| {
        message
            .options
            .as_ref()
            .is_some_and(|options| options.map_entry())
    };
    let entries: Vec<&str> = message
        .nested_type
        .iter()
        .filter(|nested| is_entry(nested))
        .map(|nested| nested.name())
        .collect();
    let is_map = |field: &FieldDescriptorProto| {
        let type_name = field.type_name().rsplit('.').next();
        field.label() == Label::Repeated && type_name.is_some_and(|name| entries.contains(&name))
    };
    let is_own = !is_entry(message);
    message
        .field
        .iter()
        .map(|field| is_own && !is_map(field))
        .collect()
}

fn mixed(field: &str) -> String {
    format!(
        "{field} has features.field_presence = IMPLICIT in a file with an enum whose first value is not 0; keep them in two files"
    )
}

fn begins_at_zero(declared: &EnumDescriptorProto) -> bool {
    declared
        .value
        .first()
        .is_none_or(|value| value.number() == 0)
}

fn enums_begin_at_zero(message: &DescriptorProto) -> bool {
    message.enum_type.iter().all(begins_at_zero)
        && message.nested_type.iter().all(enums_begin_at_zero)
}

/// Drops the features of an enum, which is sent in one way whatever they are.
fn drop_enum_features(declared: &mut EnumDescriptorProto) -> Result<(), String> {
    let values = declared
        .value
        .iter_mut()
        .filter_map(|value| value.options.as_mut())
        .map(|options| &mut options.uninterpreted_option);
    declared
        .options
        .as_mut()
        .map(|options| &mut options.uninterpreted_option)
        .into_iter()
        .chain(values)
        .try_for_each(|options| take_features(Some(options)).map(drop))
}

/// Drops the imports of files that describe features of languages.
fn drop_language_imports(file: &mut FileDescriptorProto) {
    let before = std::mem::take(&mut file.dependency);
    let mut places = Vec::new();
    for name in before {
        places
            .push((!OF_LANGUAGES.contains(&name.as_str())).then_some(file.dependency.len() as i32));
        if places.last().is_some_and(Option::is_some) {
            file.dependency.push(name);
        }
    }
    for imports in [&mut file.public_dependency, &mut file.weak_dependency] {
        *imports = imports
            .iter()
            .filter_map(|place| places.get(*place as usize).copied().flatten())
            .collect();
    }
}

/// Takes the features out of options that have only been parsed.
fn take_features(options: Option<&mut Vec<UninterpretedOption>>) -> Result<FeatureSet, String> {
    let mut set = FeatureSet::default();
    let Some(options) = options else {
        return Ok(set);
    };
    let is_feature = |option: &mut UninterpretedOption| {
        option
            .name
            .first()
            .is_some_and(|part| part.name_part == "features")
    };
    let features: Vec<_> = options.extract_if(.., is_feature).collect();
    for option in features {
        match (option.name.as_slice(), option.identifier_value.as_deref()) {
            (
                [
                    _,
                    NamePart {
                        name_part,
                        is_extension: false,
                    },
                ],
                Some(value),
            ) => set_feature(&mut set, name_part, value)?,
            (
                [
                    _,
                    NamePart {
                        is_extension: true, ..
                    },
                    ..,
                ],
                _,
            ) => {}
            _ => {
                return Err(format!(
                    "{} is not understood; write one feature a line: features.field_presence = IMPLICIT",
                    option_name(&option)
                ));
            }
        }
    }
    Ok(set)
}

fn option_name(option: &UninterpretedOption) -> String {
    option
        .name
        .iter()
        .map(|part| part.name_part.as_str())
        .collect::<Vec<_>>()
        .join(".")
}

fn set_feature(set: &mut FeatureSet, feature: &str, value: &str) -> Result<(), String> {
    let (place, number) = match (feature, value) {
        ("field_presence", "EXPLICIT" | "LEGACY_REQUIRED") => (&mut set.field_presence, 1),
        ("field_presence", "IMPLICIT") => (&mut set.field_presence, IMPLICIT),
        ("repeated_field_encoding", "PACKED") => (&mut set.repeated_field_encoding, 1),
        ("repeated_field_encoding", "EXPANDED") => (&mut set.repeated_field_encoding, EXPANDED),
        ("message_encoding", "LENGTH_PREFIXED") => (&mut set.message_encoding, 1),
        ("message_encoding", "DELIMITED") => (&mut set.message_encoding, DELIMITED),
        ("field_presence" | "repeated_field_encoding" | "message_encoding", _) => {
            return Err(format!("there is no features.{feature} = {value}"));
        }
        // no other feature changes the bytes
        _ => return Ok(()),
    };
    *place = Some(number);
    Ok(())
}
