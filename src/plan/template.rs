//! Templates: text with `{{ expression }}` in it, parsed when the test is validated, compiled to
//! byte segments before the start, rendered without a look at strings.
//!
//! `expr = atom {'.' name ['(' args ')'] | '[' int or string ']'}`; atoms are a name, a function
//! call, a string, a number, `true`, `false`, `null`; there are no operators. Names are those that
//! [`Names`] declares, `user.id`, `worker.index` and `iteration`; feeders have `take(n)`. Text that
//! holds the opening delimiter itself is written as an expression: `{{ "{{" }}`.

mod compiled;
mod delimiters;
mod escape;
mod expression;
#[cfg(test)]
pub(crate) mod fixed;
mod function;
mod json;
mod json_text;
mod random;
mod shape;
#[cfg(test)]
mod tests;
mod value_source;

use std::collections::BTreeSet;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::{Names, Slot};
use escape::escape;
use expression::Expression;

pub use compiled::Compiled;
pub use delimiters::Delimiters;
pub use json::{JsonTemplate, canonicalise};
pub use json_text::JsonText;
pub use shape::{Placeholder, Shape};

/// Destination of a rendered value, which decides how it is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A text body: values go in as they are.
    Text,
    /// A header's value: values go in as they are, but never with CR, LF or NUL.
    Header,
    /// A path or query: values are percent-encoded, all but unreserved characters; the author's own
    /// text must be a valid [`Place::Target`].
    Path,
    /// A path or query that is encoded already: values go in as they are, but never with a space, a
    /// control character, `#` or anything outside ASCII.
    Target,
    /// The value of a field of an `application/x-www-form-urlencoded` body; the author's own text
    /// is encoded as well.
    Form,
    /// The inside of a JSON string.
    JsonString,
    /// A whole JSON value: numbers stay numbers, text gets its quotes.
    JsonValue,
}

/// Values that differ from one rendering to the next.
pub trait Scope {
    /// Number of the user (closed load) or slot (open load), over the whole fleet.
    fn user(&self) -> u64;
    /// Number of the iteration, counted by the user or slot from 0.
    fn iteration(&self) -> u64;
    /// Number of the worker.
    fn worker(&self) -> u32;
    /// The next 64 uniform random bits.
    fn random(&mut self) -> u64;
    /// The next number of `seq()`, never the same twice in the fleet.
    fn sequence(&mut self) -> u64;
    /// Current time.
    fn now(&self) -> SystemTime;
    /// Value of a variable, or a feeder's current row; `None` while it is unset.
    fn value(&self, slot: Slot) -> Option<&Value>;
    /// Rows of `take(count)`: an array that the feeder gave out for it, see [`Compiled::needs`].
    fn batch(&self, slot: Slot, count: u32) -> Option<&Value>;
}

/// Rows that a feeder must give out before a template is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Slot of the feeder.
    pub slot: Slot,
    /// Number of rows of a `take`; `None`: the iteration's one row.
    pub take: Option<u32>,
}

/// Reason why a template gave nothing. No message shows a value: it may be a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The variable or row of that name has no value yet.
    #[error("{0} is not set")]
    Unset(String),
    /// A value has no such field or item.
    #[error("there is no {part} in {of}")]
    NoPart {
        /// Name of the value.
        of: String,
        /// Field or item, such as `field "id"`.
        part: String,
    },
    /// A function does not accept its arguments.
    #[error("{function}: {why}")]
    Call {
        /// Name of the function.
        function: String,
        /// Explanation, without any of the arguments.
        why: String,
    },
    /// A header's value holds CR, LF or NUL.
    #[error("a header's value may not hold CR, LF or NUL")]
    LineBreak,
    /// A path holds a character that must be encoded.
    #[error(
        "a path may not hold a space, a control character, # or what is not ASCII; percent-encode it, or put it in a variable"
    )]
    NotInTarget,
    /// A text or value is larger than a template may give, 64 MiB.
    #[error("the text is larger than 64 MiB")]
    TooLarge,
    /// A JSON template did not render to JSON.
    #[error("what is written is not JSON")]
    NotJson,
    /// A field of a message does not accept the value.
    #[error("{field}: {why}")]
    Field {
        /// Path of the field, such as `message.rows[3]`.
        field: String,
        /// Explanation, without the value.
        why: String,
    },
}

/// A parsed template; in JSON it is its source text, with its delimiters where they are not the
/// usual ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Template {
    source: String,
    delimiters: Delimiters,
    parts: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Expression(Expression),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Usual(String),
    Other {
        source: String,
        delimiters: Delimiters,
    },
}

impl Template {
    /// Parses a template with the usual delimiters, `{{` and `}}`. The error is a sentence for the
    /// test's author.
    pub fn parse(source: &str) -> Result<Self, String> {
        Self::parse_with(source, &Delimiters::default())
    }

    /// Parses a template with the delimiters that the test chose.
    pub fn parse_with(source: &str, delimiters: &Delimiters) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some(open) = rest.find(delimiters.open()) {
            if open > 0 {
                parts.push(Piece::Text(rest[..open].to_owned()));
            }
            let (expression, after) =
                expression::parse(&rest[open + delimiters.open().len()..], delimiters)?;
            parts.push(Piece::Expression(expression));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self {
            source: source.to_owned(),
            delimiters: delimiters.clone(),
            parts,
        })
    }

    /// The template as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Fails on the first name that is not declared, call that does not fit, or value that may not
    /// stand in `place`.
    pub fn check(&self, names: &Names, place: Place) -> Result<(), String> {
        self.compile(names, place).map(|_| ())
    }

    /// Works out and escapes everything that never differs; only what differs per rendering is
    /// left. Fails like [`check`](Self::check).
    pub fn compile(&self, names: &Names, place: Place) -> Result<Compiled, String> {
        let mut compiled = Compiled::default();
        self.compile_into(names, place, &mut compiled)?;
        Ok(compiled)
    }

    fn compile_into(&self, names: &Names, place: Place, out: &mut Compiled) -> Result<(), String> {
        for part in &self.parts {
            match part {
                Piece::Text(text) => {
                    let mut bytes = Vec::new();
                    let place = if place == Place::Path {
                        Place::Target
                    } else {
                        place
                    };
                    escape(text, place, &mut bytes).map_err(|why| why.to_string())?;
                    out.push_bytes(&bytes)?;
                }
                Piece::Expression(expression) => out.push_expression(expression, names, place)?,
            }
        }
        Ok(())
    }

    /// The expression, when the whole text is just one.
    fn single_expression(&self) -> Option<&Expression> {
        match self.parts.as_slice() {
            [Piece::Expression(expression)] => Some(expression),
            _ => None,
        }
    }

    fn has_expressions(&self) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Piece::Expression(_)))
    }

    /// Adds every name that the template looks up.
    fn names(&self, found: &mut BTreeSet<String>) {
        for part in &self.parts {
            if let Piece::Expression(expression) = part {
                expression.names(found);
            }
        }
    }
}

impl TryFrom<Form> for Template {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        match form {
            Form::Usual(source) => Self::parse(&source),
            Form::Other { source, delimiters } => Self::parse_with(&source, &delimiters),
        }
    }
}

impl From<Template> for Form {
    fn from(
        Template {
            source,
            delimiters,
            parts: _,
        }: Template,
    ) -> Form {
        if delimiters.are_usual() {
            Form::Usual(source)
        } else {
            Form::Other { source, delimiters }
        }
    }
}
