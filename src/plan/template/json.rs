//! JSON templates: JSON values whose strings are templates.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::compiled::Compiled;
use super::shape::Shape;
use super::{Delimiters, Place, Template};
use crate::plan::names::Names;

/// A JSON value whose strings are templates; a string that is wholly one expression becomes the
/// expression's value, of any type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JsonTemplate {
    value: Value,
    #[serde(default, skip_serializing_if = "Delimiters::are_usual")]
    delimiters: Delimiters,
}

impl JsonTemplate {
    /// Builds a template with the usual delimiters, like [`new_with`](Self::new_with).
    pub fn new(value: Value) -> Result<Self, String> {
        Self::new_with(value, &Delimiters::default())
    }

    /// Builds a template, and brings `value` into the form in which an API server would return it:
    /// keys sorted, whole floats as integers. Refuses integers past 64 bits.
    pub fn new_with(mut value: Value, delimiters: &Delimiters) -> Result<Self, String> {
        canonicalise(&mut value)?;
        Ok(Self {
            value,
            delimiters: delimiters.clone(),
        })
    }

    /// Fails on the first mistake, like [`compile`](Self::compile).
    pub fn check(&self, names: &Names) -> Result<(), String> {
        self.compile(names).map(|_| ())
    }

    /// Compiles the value to JSON text. Fails on the first name that is not declared or call that
    /// does not fit, with the path to it.
    pub fn compile(&self, names: &Names) -> Result<Compiled, String> {
        let mut compiled = Compiled::default();
        self.compile_value(&self.value, names, &mut compiled)?;
        Ok(compiled)
    }

    /// Compiles the value to its parts, or returns every mistake with the path to it, such as
    /// `.rows[3]`.
    pub fn shape(&self, names: &Names) -> Result<Shape, Vec<(String, String)>> {
        let mut problems = Vec::new();
        let parse = |text: &str| Template::parse_with(text, &self.delimiters);
        let shape = Shape::of(&self.value, &parse, names, "", &mut |path, why| {
            problems.push((path.to_owned(), why))
        });
        if problems.is_empty() {
            Ok(shape)
        } else {
            Err(problems)
        }
    }

    /// Every name that the template looks up.
    pub fn names(&self) -> Result<BTreeSet<String>, String> {
        let mut found = BTreeSet::new();
        self.names_of(&self.value, &mut found)?;
        Ok(found)
    }

    /// Calls `visit` with the text of each field called `name`, however deep.
    pub fn texts_called(&self, name: &str, visit: &mut impl FnMut(&str)) {
        fn look(value: &Value, name: &str, visit: &mut impl FnMut(&str)) {
            match value {
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
                Value::Array(items) => items.iter().for_each(|item| look(item, name, visit)),
                Value::Object(fields) => {
                    if let Some(text) = fields.get(name).and_then(Value::as_str) {
                        visit(text);
                    }
                    fields.values().for_each(|item| look(item, name, visit));
                }
            }
        }
        look(&self.value, name, visit);
    }

    fn names_of(&self, value: &Value, found: &mut BTreeSet<String>) -> Result<(), String> {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
            Value::String(text) => {
                Template::parse_with(text, &self.delimiters).map(|template| template.names(found))
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.names_of(item, found)),
            Value::Object(fields) => fields
                .values()
                .try_for_each(|item| self.names_of(item, found)),
        }
    }

    fn compile_value(
        &self,
        value: &Value,
        names: &Names,
        out: &mut Compiled,
    ) -> Result<(), String> {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                out.push_bytes(value.to_string().as_bytes())?;
            }
            Value::String(text) => self.compile_string(text, names, out)?,
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    out.push_bytes(if i == 0 { b"[" } else { b"," })?;
                    self.compile_value(item, names, out)
                        .map_err(|e| format!("[{i}]: {e}"))?;
                }
                out.push_bytes(if items.is_empty() { b"[]" } else { b"]" })?;
            }
            Value::Object(fields) => {
                // sorted, whichever map serde_json was built with
                let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
                for (i, (key, item)) in sorted.into_iter().enumerate() {
                    if key.contains(self.delimiters.open()) {
                        return Err(format!("{key}: templates do not work in keys"));
                    }
                    out.push_bytes(if i == 0 { b"{" } else { b"," })?;
                    out.push_bytes(Value::from(key.as_str()).to_string().as_bytes())?;
                    out.push_bytes(b":")?;
                    self.compile_value(item, names, out)
                        .map_err(|e| format!("{key}: {e}"))?;
                }
                out.push_bytes(if fields.is_empty() { b"{}" } else { b"}" })?;
            }
        }
        Ok(())
    }

    fn compile_string(&self, text: &str, names: &Names, out: &mut Compiled) -> Result<(), String> {
        let template = Template::parse_with(text, &self.delimiters)?;
        if let Some(expression) = template.single_expression() {
            return out.push_expression(expression, names, Place::JsonValue);
        }
        out.push_bytes(b"\"")?;
        template.compile_into(names, Place::JsonString, out)?;
        out.push_bytes(b"\"")
    }
}

/// Writes the value as JSON, its templates as they are written.
impl std::fmt::Display for JsonTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.value.fmt(f)
    }
}

/// Brings a value into the form in which an API server stores it: keys are sorted, and `1.0` and
/// `1e3` are integers.
/// Refuses integers beyond a signed 64-bit one.
pub fn canonicalise(value: &mut Value) -> Result<(), String> {
    match value {
        Value::Number(number) if number.is_i64() => {}
        Value::Number(number) if number.is_u64() => {
            return Err(format!(
                "{number} does not fit a signed 64-bit integer; write it as text"
            ));
        }
        Value::Number(number) => {
            let float = number.as_f64().unwrap_or(f64::NAN);
            // past 2^53 a float is not exact, so it stays a float
            if float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 {
                *number = (float as i64).into();
            }
        }
        Value::Array(items) => items.iter_mut().try_for_each(canonicalise)?,
        Value::Object(fields) => {
            fields.sort_keys();
            fields.values_mut().try_for_each(canonicalise)?;
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
    Ok(())
}
