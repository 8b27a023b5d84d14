//! Expressions of templates: their syntax tree and their parser.
//!
//! The parser is written by hand: the grammar has six rules, and its errors name what the test's
//! author can do about them, which a parser generator would have to be taught case by case.

use std::collections::BTreeSet;

use serde_json::{Number, Value};

use super::Delimiters;

/// An expression as it was written.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// A constant.
    Literal(Value),
    /// A name.
    Name(String),
    /// A function by its name, with its arguments.
    Call(String, Vec<Expression>),
    /// A value with the parts of it that are looked up.
    Path(Box<Expression>, Vec<Suffix>),
}

/// A lookup after a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Suffix {
    /// A field or an item.
    Part(Part),
    /// A call such as `take(8)`.
    Method(String, Vec<Expression>),
}

/// One step into a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// A field of an object, by its name.
    Field(String),
    /// An item of an array, from 0.
    Index(usize),
}

impl Part {
    /// The part of `value`; `None` if it has no such part.
    pub fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match self {
            Part::Field(name) => value.get(name.as_str()),
            Part::Index(index) => value.get(*index),
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Part::Field(name) => write!(f, "field {name:?}"),
            Part::Index(index) => write!(f, "item [{index}]"),
        }
    }
}

impl Expression {
    /// Adds every name that the expression looks up.
    pub fn names(&self, found: &mut BTreeSet<String>) {
        match self {
            Expression::Literal(_) => {}
            Expression::Name(name) => drop(found.insert(name.clone())),
            Expression::Call(_, arguments) => {
                arguments.iter().for_each(|argument| argument.names(found))
            }
            Expression::Path(of, suffixes) => {
                of.names(found);
                for suffix in suffixes {
                    if let Suffix::Method(_, arguments) = suffix {
                        arguments.iter().for_each(|argument| argument.names(found));
                    }
                }
            }
        }
    }
}

/// Most calls within each other.
const MAX_DEPTH: usize = 8;

/// Reads an expression and the delimiter that closes it; returns the rest of the text.
pub fn parse<'a>(text: &'a str, delimiters: &Delimiters) -> Result<(Expression, &'a str), String> {
    let (open, close) = (delimiters.open(), delimiters.close());
    let mut reader = Reader { rest: text };
    reader.skip_space();
    if reader.rest.starts_with(close) {
        return Err(format!("there is no expression in {open} {close}"));
    }
    let expression = reader
        .expression(0)
        .map_err(|message| format!("{message}, in {open} {close}"))?;
    reader.skip_space();
    match reader.rest.strip_prefix(close) {
        Some(after) => Ok((expression, after)),
        None if reader.rest.is_empty() => Err(format!("{open} is not closed by {close}")),
        None => Err(format!(
            "unexpected {:?} in {open} {close}; there are no operators",
            reader.next()
        )),
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn next(&self) -> char {
        self.rest.chars().next().unwrap_or(' ')
    }

    fn take(&mut self, symbol: char) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(symbol) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expression(&mut self, depth: usize) -> Result<Expression, String> {
        if depth > MAX_DEPTH {
            return Err("calls are nested too deep".into());
        }
        let atom = self.atom(depth)?;
        let mut suffixes = Vec::new();
        loop {
            if self.rest.starts_with('.') {
                self.rest = &self.rest[1..];
                let name = self.word().ok_or("a name must follow the dot")?.to_owned();
                suffixes.push(match self.rest.starts_with('(') {
                    true => Suffix::Method(name.clone(), self.arguments(&name, depth)?),
                    false => Suffix::Part(Part::Field(name)),
                });
            } else if self.rest.starts_with('[') {
                self.rest = &self.rest[1..];
                suffixes.push(Suffix::Part(self.index()?));
            } else if suffixes.is_empty() {
                return Ok(atom);
            } else {
                return Ok(Expression::Path(Box::new(atom), suffixes));
            }
        }
    }

    fn index(&mut self) -> Result<Part, String> {
        self.skip_space();
        let part = match self.atom(MAX_DEPTH) {
            Ok(Expression::Literal(Value::String(name))) => Part::Field(name),
            Ok(Expression::Literal(Value::Number(n))) if n.is_u64() => {
                Part::Index(n.as_u64().unwrap_or(0) as usize)
            }
            _ => return Err("only a whole number from 0 or a string may stand in [ ]".into()),
        };
        if self.take(']') {
            Ok(part)
        } else {
            Err("[ is not closed by ]".into())
        }
    }

    fn atom(&mut self, depth: usize) -> Result<Expression, String> {
        self.skip_space();
        match self.rest.chars().next() {
            None => Err("something is missing at the end".into()),
            Some('"' | '\'') => self.string(),
            Some(c) if c.is_ascii_digit() || c == '-' => self.number(),
            Some(_) => self.name_or_call(depth),
        }
    }

    fn string(&mut self) -> Result<Expression, String> {
        let quote = self.next();
        let mut text = String::new();
        let mut chars = self.rest[1..].char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[1 + at + 1..];
                    return Ok(Expression::Literal(text.into()));
                }
                '\\' => text.push(match chars.next().map(|(_, c)| c) {
                    Some(c @ ('\\' | '"' | '\'')) => c,
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    _ => return Err("after \\ in a string must come one of \\ \" ' n r t".into()),
                }),
                c => text.push(c),
            }
        }
        Err(format!("a string is not closed by {quote}"))
    }

    /// Reads a number in the syntax of JSON.
    fn number(&mut self) -> Result<Expression, String> {
        let end = number_end(self.rest.as_bytes());
        let (digits, rest) = self.rest.split_at(end);
        let number: Number =
            serde_json::from_str(digits).map_err(|_| format!("{digits:?} is not a number"))?;
        if rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!(
                "{digits:?} is followed by {:?}",
                rest.chars().next().unwrap_or(' ')
            ));
        }
        self.rest = rest;
        Ok(Expression::Literal(Value::Number(number)))
    }

    fn word(&mut self) -> Option<&'a str> {
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn name_or_call(&mut self, depth: usize) -> Result<Expression, String> {
        let Some(name) = self.word() else {
            return Err(format!("unexpected {:?}", self.next()));
        };
        if self.rest.starts_with('(') {
            return Ok(Expression::Call(
                name.to_owned(),
                self.arguments(name, depth)?,
            ));
        }
        Ok(match name {
            "true" => Expression::Literal(true.into()),
            "false" => Expression::Literal(false.into()),
            "null" => Expression::Literal(Value::Null),
            _ => Expression::Name(name.to_owned()),
        })
    }

    /// Reads arguments in parentheses, the first of which is next.
    fn arguments(&mut self, name: &str, depth: usize) -> Result<Vec<Expression>, String> {
        self.rest = &self.rest[1..];
        let mut arguments = Vec::new();
        while !self.take(')') {
            if !arguments.is_empty() && !self.take(',') {
                return Err(format!(
                    "the arguments of {name} are not separated by commas or not closed by )"
                ));
            }
            arguments.push(self.expression(depth + 1)?);
        }
        Ok(arguments)
    }
}

/// Length of the number that `text` begins with.
fn number_end(text: &[u8]) -> usize {
    let digits = |mut at: usize| {
        while text.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let mut at = digits(usize::from(text.first() == Some(&b'-')));
    if text.get(at) == Some(&b'.') && text.get(at + 1).is_some_and(u8::is_ascii_digit) {
        at = digits(at + 1);
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'-' | b'+')));
        let end = digits(at + 1 + sign);
        if end > at + 1 + sign {
            at = end;
        }
    }
    at
}
