//! The expressions of templates: their grammar, what can be folded beforehand, and how the rest is written out.

use std::io::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use serde_json::Value;

use super::{Need, Place, Scope, Unrendered, write_value};
use crate::plan::names::{Declared, Names, Slot};

/// All but the unreserved characters of RFC 3986.
pub const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    Literal(Value),
    Name(String),
    Call(String, Vec<Expression>),
    Field(Box<Expression>, String),
    Index(Box<Expression>, usize),
}

/// An expression with its constants known: a value, or what must be made anew each time.
#[derive(Debug, Clone, PartialEq)]
pub enum Folded {
    Constant {
        value: Value,
        /// Asked for by `raw(x)`: not escaped.
        raw: bool,
    },
    Uuid,
    RandInt {
        min: i64,
        max: i64,
    },
    UserId,
    Iteration,
    /// Some text that is not known yet.
    Given(String),
    Slot {
        slot: Slot,
        /// A feeder's row, hence fetched before.
        row: bool,
        name: String,
        parts: Vec<Part>,
    },
}

impl Expression {
    pub fn fold(&self, names: &Names) -> Result<Folded, String> {
        let constant = |value: Value| Folded::Constant { value, raw: false };
        match self {
            Expression::Literal(value) => Ok(constant(value.clone())),
            Expression::Name(name) if name == "iteration" => Ok(Folded::Iteration),
            Expression::Name(name) => match names.get(name) {
                Some(Declared::Constant(value)) => Ok(constant(value.clone())),
                Some(Declared::Given) => Ok(Folded::Given(name.clone())),
                Some(Declared::Value(slot)) => Ok(Folded::Slot { slot: *slot, row: false, name: name.clone(), parts: vec![] }),
                Some(Declared::Row(slot)) => Ok(Folded::Slot { slot: *slot, row: true, name: name.clone(), parts: vec![] }),
                None => {
                    let known: Vec<&str> = names.iter().map(|(name, _)| name).chain(["user.id", "iteration"]).collect();
                    Err(format!("{name:?} is not declared; known names are {}", known.join(", ")))
                }
            },
            Expression::Call(name, arguments) => fold_call(name, arguments, names),
            Expression::Field(of, name) if matches!(&**of, Expression::Name(user) if user == "user") && name == "id" => Ok(Folded::UserId),
            Expression::Field(of, name) => part_of(of, names, Part::Field(name.clone())),
            Expression::Index(of, index) => part_of(of, names, Part::Index(*index)),
        }
    }
}

/// One step into a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Field(String),
    Index(usize),
}

impl Part {
    fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match self {
            Part::Field(name) => value.get(name.as_str()),
            Part::Index(index) => value.get(*index),
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Part::Field(name) => write!(f, "{name}"),
            Part::Index(index) => write!(f, "[{index}]"),
        }
    }
}

fn part_of(of: &Expression, names: &Names, part: Part) -> Result<Folded, String> {
    match of.fold(names)? {
        Folded::Constant { value, raw } => match part.of(&value) {
            Some(value) => Ok(Folded::Constant { value: value.clone(), raw }),
            None => Err(format!("there is no {part} in the value")),
        },
        Folded::Slot { slot, row, name, mut parts } => {
            parts.push(part);
            Ok(Folded::Slot { slot, row, name, parts })
        }
        _ => Err(format!("a generated value has no part {part}")),
    }
}

fn fold_call(name: &str, arguments: &[Expression], names: &Names) -> Result<Folded, String> {
    let folded = arguments.iter().map(|argument| argument.fold(names)).collect::<Result<Vec<_>, _>>()?;
    match (name, folded.as_slice()) {
        ("uuid", []) => Ok(Folded::Uuid),
        ("randInt", [Folded::Constant { value: min, .. }, Folded::Constant { value: max, .. }]) => match (min.as_i64(), max.as_i64()) {
            (Some(min), Some(max)) if min <= max => Ok(Folded::RandInt { min, max }),
            _ => Err(format!("randInt({min}, {max}) needs two whole numbers, the smaller first")),
        },
        ("raw", [Folded::Constant { value, .. }]) => Ok(Folded::Constant { value: value.clone(), raw: true }),
        // a generated value holds no character that would be escaped
        ("raw", [generated]) => Ok(generated.clone()),
        ("uuid" | "randInt" | "raw", _) => {
            Err(format!("{name} does not take {} arguments of that kind; write uuid(), randInt(min, max), raw(x)", arguments.len()))
        }
        _ => Err(format!("there is no function {name:?}; there are uuid(), randInt(min, max), raw(x)")),
    }
}

impl Folded {
    /// What a feeder must have given out before.
    pub fn need(&self) -> Option<Need> {
        match self {
            Folded::Slot { slot, row: true, .. } => Some(Need { slot: *slot, take: None }),
            _ => None,
        }
    }

    /// Appends a generated value. Constants were written when the template was compiled.
    pub fn render(&self, place: Place, scope: &mut impl Scope, out: &mut Vec<u8>) -> Result<(), Unrendered> {
        let quoted = place == Place::JsonValue && *self == Folded::Uuid;
        if quoted {
            out.push(b'"');
        }
        // writing to a Vec cannot fail
        let _ = match self {
            Folded::Constant { .. } => Ok(()),
            Folded::Given(name) => return Err(Unrendered::Unset(name.clone())),
            Folded::Slot { slot, row: _, name, parts } => {
                let mut value = scope.value(*slot).ok_or_else(|| Unrendered::Unset(name.clone()))?;
                for part in parts {
                    value = part.of(value).ok_or_else(|| Unrendered::NoPart { of: name.clone(), part: part.to_string() })?;
                }
                return write_value(value, place, out);
            }
            Folded::Uuid => write_uuid(scope, out),
            Folded::RandInt { min, max } => write!(out, "{}", between(*min, *max, scope.random())),
            Folded::UserId => write!(out, "{}", scope.user()),
            Folded::Iteration => write!(out, "{}", scope.iteration()),
        };
        if quoted {
            out.push(b'"');
        }
        Ok(())
    }
}

fn between(min: i64, max: i64, random: u64) -> i64 {
    let width = (i128::from(max) - i128::from(min) + 1) as u128;
    // multiply and shift: uniform to one part in 2^64
    (i128::from(min) + ((u128::from(random) * width) >> 64) as i128) as i64
}

/// Version 4, RFC 9562.
fn write_uuid(scope: &mut impl Scope, out: &mut Vec<u8>) -> std::io::Result<()> {
    let (high, low) = (scope.random(), scope.random());
    let low = (low & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
    write!(out, "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xffff, high & 0xfff, low >> 48, low & 0xffff_ffff_ffff)
}

/// Reads an expression and its closing braces; gives back what follows them.
pub fn parse(text: &str) -> Result<(Expression, &str), String> {
    let mut reader = Reader { rest: text };
    let expression = reader.expression(0)?;
    reader.skip_space();
    match reader.rest.strip_prefix("}}") {
        Some(after) => Ok((expression, after)),
        None if reader.rest.is_empty() => Err("{{ is not closed by }}".into()),
        None => Err(format!("unexpected {:?} in {{{{ }}}}; there are no operators", reader.rest.chars().next().unwrap_or(' '))),
    }
}

/// Calls nest at most so deep.
const MAX_DEPTH: usize = 8;

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
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
        let mut expression = self.atom(depth)?;
        loop {
            if self.rest.starts_with('.') {
                self.rest = &self.rest[1..];
                let name = self.word().ok_or("a name must follow the dot")?;
                expression = Expression::Field(Box::new(expression), name.to_owned());
            } else if self.take('[') {
                expression = self.index(expression)?;
            } else {
                return Ok(expression);
            }
        }
    }

    fn index(&mut self, of: Expression) -> Result<Expression, String> {
        self.skip_space();
        let part = match self.atom(MAX_DEPTH)? {
            Expression::Literal(Value::String(name)) => Expression::Field(Box::new(of), name),
            Expression::Literal(Value::Number(n)) if n.is_u64() => Expression::Index(Box::new(of), n.as_u64().unwrap_or(0) as usize),
            _ => return Err("only a whole number or a string may stand in [ ]".into()),
        };
        if self.take(']') { Ok(part) } else { Err("[ is not closed by ]".into()) }
    }

    fn atom(&mut self, depth: usize) -> Result<Expression, String> {
        self.skip_space();
        match self.rest.chars().next() {
            None | Some('}') => Err("there is no expression in {{ }}".into()),
            Some('"' | '\'') => self.string(),
            Some(c) if c.is_ascii_digit() || c == '-' => self.number(),
            Some(_) => self.name_or_call(depth),
        }
    }

    fn string(&mut self) -> Result<Expression, String> {
        let quote = &self.rest[..1];
        let inner = &self.rest[1..];
        let end = inner.find(quote).ok_or_else(|| format!("a string is not closed by {quote}"))?;
        self.rest = &inner[end + 1..];
        Ok(Expression::Literal(inner[..end].into()))
    }

    fn number(&mut self) -> Result<Expression, String> {
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'))).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        let value: serde_json::Number = serde_json::from_str(digits).map_err(|_| format!("{digits:?} is not a number"))?;
        Ok(Expression::Literal(Value::Number(value)))
    }

    fn word(&mut self) -> Option<&'a str> {
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn name_or_call(&mut self, depth: usize) -> Result<Expression, String> {
        let Some(name) = self.word() else {
            return Err(format!("unexpected {:?} in {{{{ }}}}", self.rest.chars().next().unwrap_or(' ')));
        };
        if !self.rest.starts_with('(') {
            return Ok(match name {
                "true" => Expression::Literal(true.into()),
                "false" => Expression::Literal(false.into()),
                "null" => Expression::Literal(Value::Null),
                _ => Expression::Name(name.to_owned()),
            });
        }
        self.rest = &self.rest[1..];
        let mut arguments = Vec::new();
        while !self.take(')') {
            if !arguments.is_empty() && !self.take(',') {
                return Err(format!("the arguments of {name} are not separated by commas or not closed by )"));
            }
            arguments.push(self.expression(depth + 1)?);
        }
        Ok(Expression::Call(name.to_owned(), arguments))
    }
}
