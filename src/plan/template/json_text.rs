//! JSON templates as text: JSON in the author's own order and spelling, with expressions in it.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::compiled::Compiled;
use super::expression::{self, Expression};
use super::{Delimiters, Place};
use crate::plan::names::Names;

/// JSON as text. It is sent as written, keys in their order and numbers in their spelling, with
/// expressions in the place of values or inside strings. A string that is wholly one expression
/// becomes the value of the expression, with its type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JsonText {
    source: String,
    #[serde(default, skip_serializing_if = "Delimiters::are_usual")]
    delimiters: Delimiters,
}

/// Piece of the text.
#[derive(Debug, PartialEq)]
enum Part {
    /// Bytes that are sent as written.
    Text(String),
    /// Expression in the place of a whole value.
    Value(Expression),
    /// Expression inside a string.
    Inside(Expression),
}

impl JsonText {
    /// Builds a template from text.
    ///
    /// # Errors
    ///
    /// The text is not JSON once values stand in the places of its expressions, or an expression
    /// cannot be read.
    pub fn new(source: &str, delimiters: &Delimiters) -> Result<Self, String> {
        let (_, skeleton) = read(source, delimiters)?;
        // not read as a value: a number may be any, of any length
        serde_json::from_str::<IgnoredAny>(&skeleton).map_err(|error| {
            format!(
                "is text that is not JSON ({error}); to send it as a JSON string, write it with quotes inside: '\"text\"'"
            )
        })?;
        Ok(Self {
            source: source.to_owned(),
            delimiters: delimiters.clone(),
        })
    }

    /// Value of the text with a constant in the place of each expression; `null` if a number is
    /// beyond what a value can hold.
    pub fn skeleton(&self) -> Value {
        let skeleton = read(&self.source, &self.delimiters).map(|(_, skeleton)| skeleton);
        skeleton
            .ok()
            .and_then(|skeleton| serde_json::from_str(&skeleton).ok())
            .unwrap_or_default()
    }

    /// Compiles the text to what is written for each request. Fails on the first name that is not
    /// declared or call that does not fit.
    pub fn compile(&self, names: &Names) -> Result<Compiled, String> {
        let mut compiled = Compiled::default();
        let (parts, _) = read(&self.source, &self.delimiters)?;
        for part in &parts {
            match part {
                Part::Text(text) => compiled.push_bytes(text.as_bytes())?,
                Part::Value(value) => compiled.push_expression(value, names, Place::JsonValue)?,
                Part::Inside(value) => compiled.push_expression(value, names, Place::JsonString)?,
            }
        }
        Ok(compiled)
    }
}

/// Takes the text apart. Beside the parts it returns the text with a constant in the place of each
/// expression, padded to the expression's length so that places in messages are right.
fn read(source: &str, delimiters: &Delimiters) -> Result<(Vec<Part>, String), String> {
    let mut reader = Reader {
        rest: source,
        delimiters,
        text: String::new(),
        parts: Vec::new(),
        skeleton: String::new(),
    };
    while !reader.rest.is_empty() {
        match reader.expression()? {
            Some((value, length)) => reader.value(value, length),
            None if reader.rest.starts_with('"') => reader.string()?,
            None => reader.take(1),
        }
    }
    reader.end_text();
    Ok((reader.parts, reader.skeleton))
}

struct Reader<'a> {
    rest: &'a str,
    delimiters: &'a Delimiters,
    /// Bytes since the last expression.
    text: String,
    parts: Vec<Part>,
    skeleton: String,
}

impl Reader<'_> {
    /// Reads an expression if one stands here, and returns it with its length in characters.
    fn expression(&mut self) -> Result<Option<(Expression, usize)>, String> {
        let Some(inside) = self.rest.strip_prefix(self.delimiters.open()) else {
            return Ok(None);
        };
        let (value, after) = expression::parse(inside, self.delimiters)?;
        let length = self.rest[..self.rest.len() - after.len()].chars().count();
        self.rest = after;
        Ok(Some((value, length)))
    }

    /// Takes characters as they are.
    fn take(&mut self, count: usize) {
        let end = self
            .rest
            .char_indices()
            .nth(count)
            .map_or(self.rest.len(), |(end, _)| end);
        let (taken, rest) = self.rest.split_at(end);
        self.text.push_str(taken);
        self.skeleton.push_str(taken);
        self.rest = rest;
    }

    /// Adds an expression in the place of a value.
    fn value(&mut self, value: Expression, length: usize) {
        self.end_text();
        self.parts.push(Part::Value(value));
        // apart from a number beside it
        let constant = format!(" {0:<1$}", 0, length.saturating_sub(1));
        self.skeleton.push_str(&constant);
    }

    fn end_text(&mut self) {
        if !self.text.is_empty() {
            self.parts.push(Part::Text(std::mem::take(&mut self.text)));
        }
    }

    /// Reads a string, from its first quote to its last.
    fn string(&mut self) -> Result<(), String> {
        let begins = (self.text.len(), self.skeleton.len());
        self.take(1);
        let mut inside: Vec<Part> = Vec::new();
        let before = std::mem::take(&mut self.text);
        loop {
            match self.expression()? {
                Some((value, length)) => {
                    if !self.text.is_empty() {
                        inside.push(Part::Text(std::mem::take(&mut self.text)));
                    }
                    inside.push(Part::Inside(value));
                    self.skeleton.push_str(&"x".repeat(length));
                }
                None if self.rest.starts_with('\\') => self.take(2),
                None if self.rest.starts_with('"') => break,
                None if self.rest.is_empty() => return Err("a string has no end".into()),
                None => self.take(1),
            }
        }
        let ends_bare = self.text.is_empty();
        self.take(1);
        if inside.is_empty() {
            self.text.insert_str(0, &before);
            return Ok(());
        }
        if self.is_key() {
            return Err("templates do not work in keys".into());
        }
        match <[Part; 1]>::try_from(inside) {
            Ok([Part::Inside(value)]) if ends_bare => {
                // the quotes go with the string
                self.text = before[..begins.0].to_owned();
                let length = self.skeleton[begins.1..].chars().count();
                self.skeleton.truncate(begins.1);
                self.value(value, length);
            }
            whole => {
                let inside = match whole {
                    Ok(only) => Vec::from(only),
                    Err(several) => several,
                };
                let end = std::mem::replace(&mut self.text, before);
                self.end_text();
                self.parts.extend(inside);
                self.text = end;
            }
        }
        Ok(())
    }

    /// Tells whether the string that ends here is a key.
    fn is_key(&self) -> bool {
        self.rest.trim_start().starts_with(':')
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::names::Declared;
    use crate::plan::template::fixed::Fixed;

    fn rendered(source: &str) -> Result<String, String> {
        let mut names = Names::default();
        names.declare("n", Declared::Value(0));
        names.declare("s", Declared::Value(1));
        let mut scope = Fixed::of([Some(json!(7)), Some(json!("a\"b"))]);
        let template = JsonText::new(source, &Delimiters::default())?;
        let mut out = Vec::new();
        template
            .compile(&names)?
            .render(&mut scope, &mut out)
            .map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn order_spelling_and_space_are_sent_as_written() {
        for text in [
            "{\"z\": 1.0, \"a\": 1e3,\n \"m\": 18446744073709551616}",
            "[]",
            " \"a\\u00e9\\\"\\\\\" ",
            "{\"a\": 1, \"a\": 2}",
            "null",
        ] {
            assert_eq!(rendered(text).unwrap(), text);
        }
    }

    #[test]
    fn expressions_are_values_or_parts_of_strings() {
        assert_eq!(rendered("{\"n\": {{ n }}}").unwrap(), "{\"n\": 7}");
        assert_eq!(rendered("{\"n\": \"{{ n }}\"}").unwrap(), "{\"n\": 7}");
        assert_eq!(
            rendered("[\"{{ s }}\", {{ s }}, \"<{{ s }}>\", \"{{ n }}{{ n }}\", \"\\n{{ n }}\"]")
                .unwrap(),
            "[\"a\\\"b\", \"a\\\"b\", \"<a\\\"b>\", \"77\", \"\\n7\"]"
        );
        assert_eq!(rendered("{{ n }}").unwrap(), "7");
        assert_eq!(rendered("\"{{ n }}\"").unwrap(), "7");
        assert_eq!(
            rendered("{\"b\": 1, \"a\": [{{ n }}]}").unwrap(),
            "{\"b\": 1, \"a\": [7]}"
        );
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place_and_with_what_to_write() {
        let said = rendered("{\"a\": {{ n }}, \"b\" 1}").unwrap_err();
        assert!(said.contains("line 1 column 20"), "{said}");
        let said = rendered("hello").unwrap_err();
        assert!(said.contains("'\"text\"'"), "{said}");
        for text in [
            "",
            "{{ n }}{{ n }}",
            "1{{ n }}",
            "{\"a\": }",
            "[1] 2",
            "\"open",
        ] {
            assert!(rendered(text).is_err(), "{text}");
        }
        let said = rendered("{\"{{ s }}\": 1}").unwrap_err();
        assert!(said.contains("do not work in keys"), "{said}");
        let said = rendered("[{{ unknown }}]").unwrap_err();
        assert!(said.contains("unknown"), "{said}");
    }
}
