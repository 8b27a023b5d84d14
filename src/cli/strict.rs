//! Checks of a document against the resource's schema, as an API server does them, but refusing
//! unknown fields.

use std::sync::LazyLock;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::yaml::Node;
use crate::crd::schema;
use crate::plan::{Problem, duration};

/// Largest number of mistakes looked for in one document, which may have a hundred thousand.
const MAX_PROBLEMS: usize = 500;

const NO_SUCH_FIELD: &str = "no such field";
const MISSING: &str = "is missing";

static SCHEMA: LazyLock<Value> = LazyLock::new(schema::strict_schema);
static VALIDATOR: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::validator_for(&SCHEMA).expect("our schema is a JSON Schema"));

/// Returns the mistakes by the schema in `json`, which is the content of `node`.
pub fn problems(node: &Node, json: &Value) -> Vec<Problem> {
    VALIDATOR
        .iter_errors(json)
        .flat_map(|error| explain(node, &error))
        .take(MAX_PROBLEMS)
        .collect()
}

/// Returns whether a mistake of this module is about a field that is unknown or missing, and so is
/// shown beside other mistakes at the same path.
pub fn names_a_field(problem: &Problem) -> bool {
    problem.message.starts_with(NO_SUCH_FIELD) || problem.message == MISSING
}

fn explain(node: &Node, error: &ValidationError<'_>) -> Vec<Problem> {
    use ValidationErrorKind as Kind;
    let path = node.field_path(error.instance_path().as_str());
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    let one = |message: String| vec![Problem::new(path.clone(), message)];
    match error.kind() {
        Kind::AdditionalProperties { unexpected } => {
            let known = known_fields(error);
            unexpected
                .iter()
                .map(|name| Problem::new(below(name), no_such_field(name, &known)))
                .collect()
        }
        Kind::Required { property } => vec![Problem::new(
            below(property.as_str().unwrap_or_default()),
            MISSING,
        )],
        Kind::Type {
            kind: TypeKind::Single(wanted),
        } => one(wrong_type(&wanted.to_string(), error)),
        Kind::Enum { options } => one(format!(
            "{} is not one of {}",
            value_name(error.instance()),
            list(options)
        )),
        Kind::Constant { expected_value } => one(format!("must be {expected_value}")),
        Kind::OneOfNotValid { .. } | Kind::OneOfMultipleValid { .. } => one(alternatives(error)),
        Kind::Minimum { limit } => one(format!("must be at least {limit}")),
        Kind::Maximum { limit } => one(format!("must be at most {limit}")),
        Kind::MinLength { limit: 1 } => one("must not be empty".into()),
        Kind::MaxLength { limit } => one(format!("is longer than {limit} characters")),
        Kind::MinItems { limit } => one(format!("must have at least {limit} entries")),
        Kind::MaxItems { limit } => one(format!("has more than {limit} entries")),
        Kind::MaxProperties { limit } => one(format!("has more than {limit} fields")),
        Kind::MinProperties { limit } => one(format!("must have at least {limit} field")),
        Kind::Pattern { pattern } if pattern == duration::PATTERN => {
            match error.instance().as_str().map(duration::parse) {
                Some(Err(message)) => one(message),
                _ => one("is not a duration".into()),
            }
        }
        Kind::Pattern { pattern } => {
            let wanted = schema::pattern_in_words(pattern)
                .map_or_else(|| format!("match {pattern}"), str::to_owned);
            one(format!("{} must {wanted}", value_name(error.instance())))
        }
        _ => one(error.to_string().chars().take(200).collect()),
    }
}

fn wrong_type(wanted: &str, error: &ValidationError<'_>) -> String {
    let value: &Value = error.instance();
    let pattern = parent_schema(error).and_then(|schema| schema["pattern"].as_str());
    match (wanted, value) {
        ("string", Value::Number(number)) if pattern == Some(duration::PATTERN) => {
            format!("must be a duration with a unit, such as {number}s")
        }
        ("string", Value::Number(_) | Value::Bool(_)) => {
            format!("must be text, not {value}; quote it")
        }
        _ => format!("must be {}, not {}", type_name(wanted), value_name(value)),
    }
}

/// Returns the fields that the schema has at the place of `error`.
fn known_fields(error: &ValidationError<'_>) -> Vec<String> {
    let parent = parent_schema(error);
    parent
        .and_then(|schema| schema["properties"].as_object())
        .map(|fields| fields.keys().cloned().collect())
        .unwrap_or_default()
}

/// Returns the schema with the keyword that `error` is about.
fn parent_schema(error: &ValidationError<'_>) -> Option<&'static Value> {
    let schema: &'static Value = &SCHEMA;
    schema.pointer(error.schema_path().as_str().rsplit_once('/')?.0)
}

/// Describes the alternatives of a `oneOf`: `users and duration, or stages`.
fn alternatives(error: &ValidationError<'_>) -> String {
    let names = |schema: &Value| {
        let required = schema["required"].as_array().into_iter().flatten();
        required
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(" and ")
    };
    let options = parent_schema(error)
        .and_then(|schema| schema["oneOf"].as_array())
        .into_iter()
        .flatten();
    format!(
        "must have exactly one of: {}",
        options.map(names).collect::<Vec<_>>().join(", or ")
    )
}

fn no_such_field(name: &str, known: &[String]) -> String {
    let nearest = known
        .iter()
        .map(|field| (distance(name, field), field))
        .min();
    match nearest {
        Some((distance, field)) if distance <= 1 + field.len() / 4 => {
            format!("{NO_SUCH_FIELD}; did you mean {field}?")
        }
        _ if known.is_empty() => NO_SUCH_FIELD.into(),
        _ => format!("{NO_SUCH_FIELD}; there are {}", known.join(", ")),
    }
}

/// Returns the number of letters to insert, remove or replace between `a` and `b`, without regard
/// to case (Levenshtein distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (
        a.to_lowercase().chars().take(64).collect(),
        b.to_lowercase().chars().collect(),
    );
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = corner + usize::from(from != to);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

fn type_name(json_type: &str) -> &str {
    match json_type {
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "text",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a map",
        other => other,
    }
}

fn value_name(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a map".into(),
        Value::String(text) if text.chars().count() > 60 => format!(
            "{:?}",
            text.chars().take(60).chain(['…']).collect::<String>()
        ),
        scalar => scalar.to_string(),
    }
}

fn list(options: &Value) -> String {
    let options = options.as_array().into_iter().flatten();
    options
        .map(|option| {
            option
                .as_str()
                .map_or_else(|| option.to_string(), str::to_owned)
        })
        .collect::<Vec<_>>()
        .join(", ")
}
