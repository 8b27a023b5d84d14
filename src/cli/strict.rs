//! Checks of a document against the resource's schema, as an API server does them, but refusing
//! unknown fields.
//!
//! A schema of Kubernetes is a small part of JSON Schema, and this one is ours: a general validator
//! would be an eighth of the time it takes to build the program. A test holds the schema to the
//! keywords that are known here.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use crate::crd::schema;
use crate::plan::{Problem, duration};

/// Largest number of mistakes looked for in one document, which may have a hundred thousand.
const MAX_PROBLEMS: usize = 500;

const NO_SUCH_FIELD: &str = "no such field";
const MISSING: &str = "is missing";

static SCHEMA: LazyLock<Value> = LazyLock::new(schema::strict_schema);
/// Patterns of the schema by how they are written.
static PATTERNS: LazyLock<HashMap<&str, Regex>> = LazyLock::new(|| {
    let mut found = HashMap::new();
    find_patterns(&SCHEMA, &mut found);
    found
});

/// Returns the mistakes by the schema in `json`, at most [`MAX_PROBLEMS`].
pub fn problems(json: &Value) -> Vec<Problem> {
    let mut found = Found::default();
    check(&SCHEMA, json, "", &mut found);
    found.0
}

/// Returns whether a mistake of this module is about a field that is unknown or missing, and so is
/// shown beside other mistakes at the same path.
pub fn names_a_field(problem: &Problem) -> bool {
    problem.message.starts_with(NO_SUCH_FIELD) || problem.message == MISSING
}

fn find_patterns(schema: &'static Value, found: &mut HashMap<&'static str, Regex>) {
    match schema {
        Value::Object(fields) => {
            if let Some(pattern) = fields.get("pattern").and_then(Value::as_str) {
                found.entry(pattern).or_insert_with(|| {
                    Regex::new(pattern).expect("patterns of our schema are regular expressions")
                });
            }
            fields
                .values()
                .for_each(|value| find_patterns(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| find_patterns(value, found)),
        _ => {}
    }
}

/// The mistakes found so far.
#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    fn push(&mut self, path: &str, message: impl Into<String>) {
        if !self.is_full() {
            self.0.push(Problem::new(path, message.into()));
        }
    }

    fn is_full(&self) -> bool {
        self.0.len() >= MAX_PROBLEMS
    }
}

/// Checks `value`, which stands at `path`, with all that lies in it.
fn check(schema: &'static Value, value: &Value, path: &str, found: &mut Found) {
    if found.is_full() {
        return;
    }
    if let Some(wanted) = schema.get("type").and_then(Value::as_str)
        && !is_of_type(wanted, value)
    {
        return found.push(path, wrong_type(wanted, schema, value));
    }
    check_choice(schema, value, path, found);
    match value {
        Value::String(text) => check_text(schema, text, path, found),
        Value::Number(_) => check_number(schema, value, path, found),
        Value::Array(items) => check_items(schema, items, path, found),
        Value::Object(_) => check_fields(schema, value, path, found),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Checks what a value of any type may be held to: `const`, `enum`, `anyOf` and `oneOf`.
fn check_choice(schema: &'static Value, value: &Value, path: &str, found: &mut Found) {
    if let Some(only) = schema.get("const")
        && only != value
    {
        found.push(path, format!("must be {only}"));
    }
    if let Some(options) = schema.get("enum")
        && !entries(options).any(|option| option == value)
    {
        let name = value_name(value);
        found.push(path, format!("{name} is not one of {}", list(options)));
    }
    if let Some(options) = schema.get("anyOf")
        && !entries(options).any(|option| holds(option, value))
    {
        let types = entries(options).filter_map(|option| option["type"].as_str());
        let types: Vec<_> = types.map(type_name).collect();
        let name = value_name(value);
        found.push(path, format!("must be {}, not {name}", types.join(" or ")));
    }
    if let Some(options) = schema.get("oneOf")
        && entries(options)
            .filter(|option| holds(option, value))
            .count()
            != 1
    {
        found.push(path, alternatives(options));
    }
}

/// Returns whether `value` is valid by one of the alternatives of a schema.
fn holds(schema: &'static Value, value: &Value) -> bool {
    let refused = schema.get("not").is_some_and(|not| holds(not, value));
    let mut found = Found::default();
    check(schema, value, "", &mut found);
    !refused && found.0.is_empty()
}

fn check_text(schema: &Value, text: &str, path: &str, found: &mut Found) {
    let length = text.chars().count() as u64;
    match bound(schema, "minLength") {
        Some(1) if length == 0 => found.push(path, "must not be empty"),
        Some(least) if length < least => {
            found.push(path, format!("is shorter than {least} characters"));
        }
        _ => {}
    }
    if let Some(most) = bound(schema, "maxLength")
        && length > most
    {
        found.push(path, format!("is longer than {most} characters"));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && !PATTERNS[pattern].is_match(text)
    {
        found.push(path, no_match(pattern, text));
    }
}

fn no_match(pattern: &str, text: &str) -> String {
    if pattern == duration::PATTERN {
        return match duration::parse(text) {
            Err(message) => message,
            Ok(_) => "is not a duration".into(),
        };
    }
    let wanted =
        schema::pattern_in_words(pattern).map_or_else(|| format!("match {pattern}"), str::to_owned);
    format!("{} must {wanted}", text_name(text))
}

fn check_number(schema: &Value, value: &Value, path: &str, found: &mut Found) {
    if let Some(least) = schema.get("minimum")
        && less(value, least)
    {
        found.push(path, format!("must be at least {least}"));
    }
    if let Some(most) = schema.get("maximum")
        && less(most, value)
    {
        found.push(path, format!("must be at most {most}"));
    }
}

/// Returns whether `a` is less than `b`, exactly where both are whole numbers.
fn less(a: &Value, b: &Value) -> bool {
    let whole = |value: &Value| {
        let signed = value.as_i64().map(i128::from);
        signed.or_else(|| value.as_u64().map(i128::from))
    };
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a < b,
        _ => a.as_f64() < b.as_f64(),
    }
}

fn check_items(schema: &'static Value, items: &[Value], path: &str, found: &mut Found) {
    check_count(schema, ["minItems", "maxItems"], items.len(), path, found);
    let Some(of_each) = schema.get("items") else {
        return;
    };
    for (index, item) in items.iter().enumerate() {
        check(of_each, item, &format!("{path}[{index}]"), found);
    }
}

fn check_fields(schema: &'static Value, value: &Value, path: &str, found: &mut Found) {
    let Some(fields) = value.as_object() else {
        return;
    };
    let bounds = ["minProperties", "maxProperties"];
    check_count(schema, bounds, fields.len(), path, found);
    let known = schema.get("properties").and_then(Value::as_object);
    for (name, value) in fields {
        let path = below(path, name);
        match known.and_then(|known| known.get(name)) {
            Some(schema) => check(schema, value, &path, found),
            None => match schema.get("additionalProperties") {
                Some(Value::Bool(false)) => found.push(&path, no_such_field(name, known)),
                Some(of_each) => check(of_each, value, &path, found),
                None => {}
            },
        }
    }
    let required = schema.get("required").into_iter().flat_map(entries);
    for name in required.filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            found.push(&below(path, name), MISSING);
        }
    }
}

/// Checks a number of entries or fields against the keywords of its least and its most.
fn check_count(schema: &Value, [min, max]: [&str; 2], count: usize, path: &str, found: &mut Found) {
    let count = count as u64;
    if let Some(least) = bound(schema, min)
        && count < least
    {
        let things = if min == "minItems" {
            "entries"
        } else {
            "field"
        };
        found.push(path, format!("must have at least {least} {things}"));
    }
    if let Some(most) = bound(schema, max)
        && count > most
    {
        let things = if max == "maxItems" {
            "entries"
        } else {
            "fields"
        };
        found.push(path, format!("has more than {most} {things}"));
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn bound(schema: &Value, keyword: &str) -> Option<u64> {
    schema.get(keyword).and_then(Value::as_u64)
}

fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn is_of_type(wanted: &str, value: &Value) -> bool {
    match wanted {
        "integer" => {
            let whole = |number: f64| number.fract() == 0.0;
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(whole)
        }
        "number" => value.is_number(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        _ => value.is_object(),
    }
}

fn wrong_type(wanted: &str, schema: &Value, value: &Value) -> String {
    let pattern = schema.get("pattern").and_then(Value::as_str);
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

/// Describes the alternatives of a `oneOf`: `users and duration, or stages`.
fn alternatives(options: &Value) -> String {
    let names = |schema: &Value| {
        let required = schema.get("required").into_iter().flat_map(entries);
        required
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(" and ")
    };
    format!(
        "must have exactly one of: {}",
        entries(options)
            .map(names)
            .collect::<Vec<_>>()
            .join(", or ")
    )
}

fn no_such_field(name: &str, known: Option<&Map<String, Value>>) -> String {
    let known: Vec<&str> = known
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .collect();
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
        Value::String(text) => text_name(text),
        scalar => scalar.to_string(),
    }
}

fn text_name(text: &str) -> String {
    if text.chars().count() > 60 {
        let start: String = text.chars().take(60).chain(['…']).collect();
        return format!("{start:?}");
    }
    Value::from(text).to_string()
}

fn list(options: &Value) -> String {
    let name = |option: &Value| {
        let text = option.as_str().map(str::to_owned);
        text.unwrap_or_else(|| option.to_string())
    };
    entries(options).map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keywords that are checked, and those that say nothing about a single value or are an API
    /// server's own (rules in CEL are checked by the conversion to a plan).
    const KEYWORDS: &[&str] = &[
        "additionalProperties",
        "anyOf",
        "const",
        "enum",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "not",
        "oneOf",
        "pattern",
        "properties",
        "required",
        "type",
        "default",
        "description",
        "format",
        "title",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    ];

    fn each_schema(schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
        let Some(keywords) = schema.as_object() else {
            return;
        };
        for (keyword, value) in keywords {
            visit(keyword, value);
            match keyword.as_str() {
                "properties" => {
                    let fields = value.as_object().into_iter().flatten();
                    fields.for_each(|(_, schema)| each_schema(schema, visit));
                }
                "items" | "additionalProperties" | "not" => each_schema(value, visit),
                "anyOf" | "oneOf" => entries(value).for_each(|one| each_schema(one, visit)),
                _ => {}
            }
        }
    }

    #[test]
    fn every_pattern_is_told_in_words() {
        let without: Vec<_> = PATTERNS
            .keys()
            .filter(|pattern| **pattern != duration::PATTERN)
            .filter(|pattern| schema::pattern_in_words(pattern).is_none())
            .collect();
        assert!(PATTERNS.len() > 15 && without.is_empty(), "{without:#?}");
    }

    #[test]
    fn every_keyword_of_the_schema_is_known() {
        let mut unknown = Vec::new();
        each_schema(&SCHEMA, &mut |keyword, value| {
            let known = KEYWORDS.contains(&keyword);
            let types = ["array", "boolean", "integer", "number", "object", "string"];
            let plain = keyword != "type" || types.iter().any(|name| value == name);
            if !known || !plain {
                unknown.push(format!("{keyword}: {value}"));
            }
        });
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn each_kind_of_mistake_is_named_at_its_place() {
        let json = serde_json::json!({
            "apiVersion": "starling.dev/v1", "kind": "LoadTest",
            "metadata": {"name": "UPPER"},
            "spec": {
                "target": {"url": 5, "urls": "x"},
                "load": {"closed": {"users": -1, "duration": 5}, "open": {}},
                "scenarios": [{"name": "", "tasks": [{"steps": [
                    {"http": {"path": "/", "method": "FE TCH"}}]}]}],
                "thresholds": {},
            },
        });
        let found = problems(&json);
        let at = |path: &str| {
            let of_path = found.iter().filter(|problem| problem.path == path);
            of_path
                .map(|problem| problem.message.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(at("apiVersion"), [r#"must be "starling.dev/v1alpha1""#]);
        assert_eq!(at("metadata.name").len(), 1, "{found:?}");
        assert_eq!(at("spec.target.url"), ["must be text, not 5; quote it"]);
        assert_eq!(at("spec.target.urls"), ["no such field; did you mean url?"]);
        assert_eq!(at("spec.load.closed.users"), ["must be at least 1"]);
        assert_eq!(
            at("spec.load.closed.duration"),
            ["must be a duration with a unit, such as 5s"]
        );
        assert_eq!(at("spec.scenarios[0].tasks[0].name"), ["is missing"]);
        assert_eq!(
            at("spec.scenarios[0].tasks[0].steps[0].http.method"),
            [r#""FE TCH" must be a method, such as GET or PROPFIND"#]
        );
        assert_eq!(at("spec.thresholds"), ["must be a list, not a map"]);
    }

    #[test]
    fn mistakes_without_end_are_counted_to_a_bound() {
        let fields = (0..100_000).map(|n| (format!("x{n}"), Value::Null));
        let json = Value::Object(fields.collect());
        assert_eq!(problems(&json).len(), MAX_PROBLEMS);
    }
}
