//! Text with `{{ expression }}` in it: parsed when the test is validated, compiled to byte segments before the start, rendered without a look at strings.
//!
//! `expr = atom {'.' name | '[' int or string ']'}`; atoms are a name, a function call, a string, a number, `true`, `false`, `null`. Names
//! are the test's variables, `user.id` and `iteration`; functions are `uuid()`, `randInt(min, max)` and `raw(x)`.

mod expression;

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::{Names, Slot};
use expression::{Expression, Folded};

/// The test's constants, by name.
pub type Variables = BTreeMap<String, Value>;

/// What a rendered value is put into, hence how it is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A text body: as it is.
    Text,
    /// A header's value: as it is, but never with CR, LF or NUL.
    Header,
    /// A path or query: all but unreserved characters are percent-encoded.
    Path,
    /// Inside a JSON string.
    JsonString,
    /// A whole JSON value: numbers stay numbers, text gets its quotes.
    JsonValue,
}

/// What differs from one rendering to the next.
pub trait Scope {
    /// Number of the user (closed load) or slot (open load), over the whole fleet.
    fn user(&self) -> u64;
    /// Number of the iteration, counted by the user or slot from 0.
    fn iteration(&self) -> u64;
    /// Number of the worker.
    fn worker(&self) -> u32;
    /// 64 uniform random bits.
    fn random(&mut self) -> u64;
    /// `seq()`: never twice in the fleet.
    fn sequence(&mut self) -> u64;
    fn now(&self) -> SystemTime;
    /// A value, or a feeder's current row; `None` while it is unset.
    fn value(&self, slot: Slot) -> Option<&Value>;
    /// `take(count)`: an array of rows that the feeder gave out for it, see [`Compiled::needs`].
    fn batch(&self, slot: Slot, count: u32) -> Option<&Value>;
}

/// Rows that a feeder must give out before a template is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    pub slot: Slot,
    /// `None`: the iteration's one row; else the rows of a `take`.
    pub take: Option<u32>,
}

/// Why a template gave nothing. No message holds a value: it may be a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unrendered {
    #[error("{0} is not set")]
    Unset(String),
    #[error("there is no {part} in {of}")]
    NoPart { of: String, part: String },
    #[error("a header's value may not hold CR, LF or NUL")]
    LineBreak,
}

/// A parsed template; in JSON it is its source text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Expression(Expression),
}

impl Template {
    pub fn parse(source: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some(open) = rest.find("{{") {
            if open > 0 {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            let (expression, after) = expression::parse(&rest[open + 2..])?;
            parts.push(Part::Expression(expression));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { source: source.to_owned(), parts })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// The author's own text around the expressions.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Expression(_) => None,
        })
    }

    /// The error for the first name that is not declared, call that does not fit or value that may not stand in `place`.
    pub fn check(&self, names: &Names, place: Place) -> Result<(), String> {
        self.compile(names, place).map(|_| ())
    }

    /// Constants are folded and escaped now; only what differs per rendering is left.
    pub fn compile(&self, names: &Names, place: Place) -> Result<Compiled, String> {
        let mut compiled = Compiled::default();
        self.compile_into(names, place, &mut compiled)?;
        Ok(compiled)
    }

    fn compile_into(&self, names: &Names, place: Place, out: &mut Compiled) -> Result<(), String> {
        for part in &self.parts {
            match part {
                // the author's own text in a path is a path already
                Part::Text(text) if place == Place::Path => out.push_text(text.as_bytes()),
                Part::Text(text) => {
                    let mut bytes = Vec::new();
                    escape(text, place, &mut bytes).map_err(|e| e.to_string())?;
                    out.push_text(&bytes);
                }
                Part::Expression(expression) => out.push_expression(expression.fold(names)?, place)?,
            }
        }
        Ok(())
    }

    /// The expression, when the whole text is just one.
    fn single_expression(&self) -> Option<&Expression> {
        match self.parts.as_slice() {
            [Part::Expression(expression)] => Some(expression),
            _ => None,
        }
    }
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(source: String) -> Result<Self, String> {
        Self::parse(&source)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> String {
        template.source
    }
}

/// A JSON value whose strings are templates; a string that is wholly one expression becomes what the expression is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonTemplate(Value);

impl JsonTemplate {
    /// Brings `value` into the form an API server would give it back in: keys sorted, whole floats as integers. Integers past 64 bits are refused.
    pub fn new(mut value: Value) -> Result<Self, String> {
        canonicalise(&mut value)?;
        Ok(Self(value))
    }

    pub fn check(&self, names: &Names) -> Result<(), String> {
        self.compile(names).map(|_| ())
    }

    pub fn compile(&self, names: &Names) -> Result<Compiled, String> {
        let mut compiled = Compiled::default();
        compile_json(&self.0, names, &mut compiled)?;
        Ok(compiled)
    }
}

/// Numbers as an API server stores them: `1.0` and `1e3` are integers, nothing is beyond a signed 64-bit integer.
pub fn canonicalise(value: &mut Value) -> Result<(), String> {
    match value {
        Value::Number(number) if number.is_i64() => {}
        Value::Number(number) if number.is_u64() => return Err(format!("{number} does not fit a signed 64-bit integer; write it as text")),
        Value::Number(number) => {
            let float = number.as_f64().unwrap_or(f64::NAN);
            // past 2^53 a float is not exact, so it stays a float
            if float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 {
                *number = (float as i64).into();
            }
        }
        Value::Array(items) => items.iter_mut().try_for_each(canonicalise)?,
        Value::Object(fields) => fields.values_mut().try_for_each(canonicalise)?,
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
    Ok(())
}

fn compile_json(value: &Value, names: &Names, out: &mut Compiled) -> Result<(), String> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_text(value.to_string().as_bytes()),
        Value::String(text) => compile_json_string(text, names, out)?,
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                out.push_text(if i == 0 { b"[" } else { b"," });
                compile_json(item, names, out).map_err(|e| format!("[{i}]: {e}"))?;
            }
            out.push_text(if items.is_empty() { b"[]" } else { b"]" });
        }
        Value::Object(fields) => {
            // sorted whatever map serde_json was built with
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            for (i, (key, item)) in sorted.into_iter().enumerate() {
                out.push_text(if i == 0 { b"{" } else { b"," });
                out.push_text(Value::from(key.as_str()).to_string().as_bytes());
                out.push_text(b":");
                compile_json(item, names, out).map_err(|e| format!("{key}: {e}"))?;
            }
            out.push_text(if fields.is_empty() { b"{}" } else { b"}" });
        }
    }
    Ok(())
}

fn compile_json_string(text: &str, names: &Names, out: &mut Compiled) -> Result<(), String> {
    let template = Template::parse(text)?;
    if let Some(expression) = template.single_expression() {
        return out.push_expression(expression.fold(names)?, Place::JsonValue);
    }
    out.push_text(b"\"");
    template.compile_into(names, Place::JsonString, out)?;
    out.push_text(b"\"");
    Ok(())
}

/// Byte segments, ready to be put together.
#[derive(Debug, Clone, Default)]
pub struct Compiled {
    segments: Vec<Segment>,
    needs: Vec<Need>,
}

#[derive(Debug, Clone)]
enum Segment {
    Bytes(Vec<u8>),
    Dynamic(Folded, Place),
}

impl Compiled {
    /// The whole of it, when nothing differs per rendering.
    pub fn as_static(&self) -> Option<&[u8]> {
        match self.segments.as_slice() {
            [] => Some(b""),
            [Segment::Bytes(bytes)] => Some(bytes),
            _ => None,
        }
    }

    /// What stands between the parts that differ, beginning with what comes before the first, even if that is empty.
    pub fn fixed(&self) -> Vec<&[u8]> {
        let starts_dynamic = matches!(self.segments.first(), Some(Segment::Dynamic(..)));
        let fixed = self.segments.iter().filter_map(|segment| match segment {
            Segment::Bytes(bytes) => Some(bytes.as_slice()),
            Segment::Dynamic(..) => None,
        });
        starts_dynamic.then_some(&b""[..]).into_iter().chain(fixed).collect()
    }

    /// The rows to fetch before rendering, each once.
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// Appends the rendered text. Only what is known no sooner than now can fail; then `out` holds a part of it.
    pub fn render(&self, scope: &mut impl Scope, out: &mut Vec<u8>) -> Result<(), Unrendered> {
        for segment in &self.segments {
            match segment {
                Segment::Bytes(bytes) => out.extend_from_slice(bytes),
                Segment::Dynamic(expression, place) => expression.render(*place, scope, out)?,
            }
        }
        Ok(())
    }

    fn push_text(&mut self, bytes: &[u8]) {
        match self.segments.last_mut() {
            Some(Segment::Bytes(last)) => last.extend_from_slice(bytes),
            _ => self.segments.push(Segment::Bytes(bytes.to_vec())),
        }
    }

    fn push_expression(&mut self, folded: Folded, place: Place) -> Result<(), String> {
        match folded {
            Folded::Constant { value, raw } => {
                let mut bytes = Vec::new();
                write_value(&value, if raw && place != Place::Header { Place::Text } else { place }, &mut bytes)
                    .map_err(|e| e.to_string())?;
                self.push_text(&bytes);
            }
            dynamic => {
                if let Some(need) = dynamic.need().filter(|need| !self.needs.contains(need)) {
                    self.needs.push(need);
                }
                self.segments.push(Segment::Dynamic(dynamic, place));
            }
        }
        Ok(())
    }
}

fn write_value(value: &Value, place: Place, out: &mut Vec<u8>) -> Result<(), Unrendered> {
    match (value, place) {
        (_, Place::JsonValue) => out.extend_from_slice(value.to_string().as_bytes()),
        (Value::String(text), _) => escape(text, place, out)?,
        (_, _) => escape(&value.to_string(), place, out)?,
    }
    Ok(())
}

fn escape(text: &str, place: Place, out: &mut Vec<u8>) -> Result<(), Unrendered> {
    match place {
        Place::Text => out.extend_from_slice(text.as_bytes()),
        Place::Header if text.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)) => {
            return Err(Unrendered::LineBreak);
        }
        Place::Header => out.extend_from_slice(text.as_bytes()),
        Place::Path => {
            for part in percent_encoding::percent_encode(text.as_bytes(), expression::NOT_UNRESERVED) {
                out.extend_from_slice(part.as_bytes());
            }
        }
        Place::JsonString => {
            let quoted = Value::from(text).to_string();
            out.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
        }
        Place::JsonValue => out.extend_from_slice(Value::from(text).to_string().as_bytes()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    struct Fixed;

    impl Scope for Fixed {
        fn user(&self) -> u64 {
            7
        }
        fn iteration(&self) -> u64 {
            3
        }
        fn worker(&self) -> u32 {
            2
        }
        fn random(&mut self) -> u64 {
            0x0123_4567_89ab_cdef
        }
        fn sequence(&mut self) -> u64 {
            11
        }
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }
        fn value(&self, _slot: Slot) -> Option<&Value> {
            None
        }
        fn batch(&self, _slot: Slot, _count: u32) -> Option<&Value> {
            None
        }
    }

    fn names() -> Names {
        let variables: Variables =
            [("name".to_owned(), json!("a \"b\"/ü")), ("n".to_owned(), json!(5)), ("rows".to_owned(), json!([{"x": 1.5}]))].into();
        Names::from(&variables)
    }

    fn rendered(source: &str, place: Place) -> Result<String, String> {
        let compiled = Template::parse(source)?.compile(&names(), place)?;
        let mut out = Vec::new();
        compiled.render(&mut Fixed, &mut out).map_err(|e| e.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn rendered_json(value: Value) -> Result<String, String> {
        let compiled = JsonTemplate::new(value)?.compile(&names())?;
        let mut out = Vec::new();
        compiled.render(&mut Fixed, &mut out).map_err(|e| e.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn mistakes_are_found_before_anything_is_sent() {
        for source in [
            "{{ name",
            "{{ }}",
            "{{ nobody }}",
            "{{ name.x }}",
            "{{ rows[1] }}",
            "{{ launch() }}",
            "{{ randInt(1) }}",
            "{{ randInt(2, 1) }}",
            "{{ uuid }}",
            "{{ n + 1 }}",
            "{{ \"a }}",
            "{{ user }}",
        ] {
            assert!(rendered(source, Place::Text).is_err(), "{source} was accepted");
        }
    }

    #[test]
    fn a_header_never_holds_a_line_break() {
        let names = Names::from(&[("v".to_owned(), json!("a\r\nX: y"))].into());
        let template = Template::parse("{{ v }}").unwrap();
        assert!(template.compile(&names, Place::Header).is_err());
        assert!(Template::parse("{{ raw(v) }}").unwrap().compile(&names, Place::Header).is_err());
    }

    #[test]
    fn values_are_escaped_by_place() {
        assert_eq!(rendered("x={{ name }}", Place::Text).unwrap(), "x=a \"b\"/ü");
        assert_eq!(rendered("/a/{{ name }}", Place::Path).unwrap(), "/a/a%20%22b%22%2F%C3%BC");
        assert_eq!(rendered("/a/{{ raw(name) }}", Place::Path).unwrap(), "/a/a \"b\"/ü");
        assert_eq!(rendered("{{ rows[0].x }}-{{ user.id }}-{{ iteration }}", Place::Text).unwrap(), "1.5-7-3");
    }

    #[test]
    fn a_whole_expression_keeps_its_type_in_json() {
        assert_eq!(
            rendered_json(json!({"b": "{{ n }}", "a": "n={{ n }}", "c": "{{ name }}", "d": "{{ rows }}"})).unwrap(),
            r#"{"a":"n=5","b":5,"c":"a \"b\"/ü","d":[{"x":1.5}]}"#
        );
        assert_eq!(
            rendered_json(json!({"user": "{{ user.id }}", "id": "{{ uuid() }}"})).unwrap(),
            r#"{"id":"01234567-89ab-4def-8123-456789abcdef","user":7}"#
        );
    }

    #[test]
    fn json_is_as_an_api_server_gives_it_back() {
        assert_eq!(
            rendered_json(json!({"z": 1.0, "a": 1e3, "m": 1.5, "e": [], "o": {}})).unwrap(),
            r#"{"a":1000,"e":[],"m":1.5,"o":{},"z":1}"#
        );
        assert!(rendered_json(json!({"big": u64::MAX})).is_err());
    }

    #[test]
    fn what_never_differs_is_one_piece() {
        let compiled = JsonTemplate::new(json!({"a": "{{ name }}", "b": [1, "x"]})).unwrap().compile(&names()).unwrap();
        assert!(compiled.as_static().is_some());
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(source in ".{0,60}") {
            let _outcome = rendered(&source, Place::Path);
            let _outcome = rendered(&format!("{{{{{source}}}}}"), Place::Text);
        }

        #[test]
        fn text_without_braces_is_itself(source in "[^{}]{0,60}") {
            prop_assert_eq!(rendered(&source, Place::Text).unwrap(), source);
        }

        #[test]
        fn json_strings_survive(text in "[^{}]{0,60}") {
            let out: Value = serde_json::from_str(&rendered_json(json!({"t": text.clone()})).unwrap()).unwrap();
            prop_assert_eq!(out["t"].as_str().unwrap(), text);
        }
    }
}
