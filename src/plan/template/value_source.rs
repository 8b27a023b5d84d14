//! An expression with its constants known: a value, or what must be made anew each time.

use std::borrow::Cow;
use std::io::Write as _;
use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::{Number, Value};

use super::escape::{HEX, write_text, write_value};
use super::expression::{Expression, Part, Suffix};
use super::function::{self, Function};
use super::{Need, Place, RenderError, Scope};
use crate::plan::names::{Declared, Names, Slot};

/// `take` and `randString` make at most so many.
const MAX_ROWS: i64 = 10_000;
const MAX_LENGTH: i64 = 65_536;
const LETTERS_AND_DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

#[derive(Clone, PartialEq)]
pub enum ValueSource {
    Constant(Value),
    /// Some text that is not known yet; see [`Declared::External`].
    External(String),
    Slot {
        slot: Slot,
        /// A feeder's row, hence fetched before.
        row: bool,
        name: String,
        parts: Vec<Part>,
    },
    /// Rows of `take`; a field of them is the list of that field of each.
    Batch {
        slot: Slot,
        count: u32,
        name: String,
        parts: Vec<Part>,
    },
    Parts(Box<ValueSource>, Vec<Part>),
    UserId,
    Iteration,
    WorkerIndex,
    Sequence,
    Uuid,
    RandInt {
        min: i64,
        max: i64,
    },
    RandString {
        length: usize,
        alphabet: Vec<char>,
    },
    Now(Format),
    /// One of them, all equally likely.
    Pick(Vec<ValueSource>),
    Apply(Function, Vec<ValueSource>),
    /// Random values whose bounds are known no sooner than now.
    Random(Random, Vec<ValueSource>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Random {
    Int,
    Float,
    String,
    Item,
}

/// How `now` writes the time.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    Unix,
    UnixMillis,
    Rfc3339,
    /// With `%` as in C's `strftime`, in UTC.
    Strftime(String),
}

impl Expression {
    pub fn resolve(&self, names: &Names) -> Result<ValueSource, String> {
        match self {
            Expression::Literal(value) => Ok(ValueSource::Constant(value.clone())),
            Expression::Name(name) => resolve_name(name, names),
            Expression::Call(name, arguments) => resolve_call(name, arguments, names),
            Expression::Path(of, suffixes) => {
                let (mut source, suffixes) = resolve_root(of, suffixes, names)?;
                check_column(&source, suffixes, names)?;
                for suffix in suffixes {
                    match suffix {
                        Suffix::Part(part) => source = source.part(part)?,
                        Suffix::Method(name, _) => {
                            return Err(format!(
                                "there is no {name}(...) here; only feeders have take(n)"
                            ));
                        }
                    }
                }
                Ok(source)
            }
        }
    }
}

/// Names whose first suffix belongs to them: `user.id`, `rows.take(8)`.
fn resolve_root<'a>(
    of: &Expression,
    suffixes: &'a [Suffix],
    names: &Names,
) -> Result<(ValueSource, &'a [Suffix]), String> {
    let Expression::Name(name) = of else {
        return Ok((of.resolve(names)?, suffixes));
    };
    match (name.as_str(), suffixes) {
        ("user", [Suffix::Part(Part::Field(field)), rest @ ..]) if field == "id" => {
            Ok((ValueSource::UserId, rest))
        }
        ("worker", [Suffix::Part(Part::Field(field)), rest @ ..]) if field == "index" => {
            Ok((ValueSource::WorkerIndex, rest))
        }
        (_, [Suffix::Method(method, arguments), rest @ ..]) if method == "take" => {
            let Some(Declared::Row(slot)) = names.get(name) else {
                return Err(format!("{name:?} is no feeder, so it has no take(n)"));
            };
            let count = match arguments.as_slice() {
                [count] => match count.resolve(names)? {
                    ValueSource::Constant(Value::Number(n)) => {
                        n.as_i64().filter(|n| (1..=MAX_ROWS).contains(n))
                    }
                    _ => None,
                },
                _ => None,
            };
            let count = count.ok_or_else(|| {
                format!("take(n) takes one whole number, from 1 to {MAX_ROWS}, written out")
            })?;
            Ok((
                ValueSource::Batch {
                    slot: *slot,
                    count: count as u32,
                    name: name.clone(),
                    parts: vec![],
                },
                rest,
            ))
        }
        _ => Ok((resolve_name(name, names)?, suffixes)),
    }
}

/// Where the data of a feeder are known, a field of its rows must be a column.
fn check_column(source: &ValueSource, suffixes: &[Suffix], names: &Names) -> Result<(), String> {
    match (source, suffixes) {
        (
            ValueSource::Slot {
                slot,
                row: true,
                name,
                ..
            },
            [Suffix::Part(Part::Field(field)), ..],
        )
        | (ValueSource::Batch { slot, name, .. }, [Suffix::Part(Part::Field(field)), ..])
        | (
            ValueSource::Batch { slot, name, .. },
            [
                Suffix::Part(Part::Index(_)),
                Suffix::Part(Part::Field(field)),
                ..,
            ],
        ) => names.check_column(*slot, name, field),
        _ => Ok(()),
    }
}

fn resolve_name(name: &str, names: &Names) -> Result<ValueSource, String> {
    let slot = |slot: Slot, row| ValueSource::Slot {
        slot,
        row,
        name: name.to_owned(),
        parts: vec![],
    };
    match (name, names.get(name)) {
        ("iteration", _) => Ok(ValueSource::Iteration),
        ("user", _) => Err("user has only user.id".into()),
        ("worker", _) => Err("worker has only worker.index".into()),
        (_, Some(Declared::Constant(value))) => Ok(ValueSource::Constant(value.clone())),
        (_, Some(Declared::External)) => Ok(ValueSource::External(name.to_owned())),
        (_, Some(Declared::Value(number))) => Ok(slot(*number, false)),
        (_, Some(Declared::Row(number))) => Ok(slot(*number, true)),
        (_, None) if function::find(name, 0).is_ok() => {
            Err(format!("{name} is a function; write {name}()"))
        }
        (_, None) => {
            let known: Vec<&str> = names
                .iter()
                .map(|(name, _)| name)
                .chain(["user.id", "iteration", "worker.index"])
                .collect();
            Err(format!(
                "{name:?} is not declared; known names are {}",
                known.join(", ")
            ))
        }
    }
}

fn resolve_call(
    name: &str,
    arguments: &[Expression],
    names: &Names,
) -> Result<ValueSource, String> {
    let function = function::find(name, arguments.len())?;
    let resolved = arguments
        .iter()
        .map(|argument| argument.resolve(names))
        .collect::<Result<Vec<_>, _>>()?;
    let constants: Option<Vec<&Value>> = resolved.iter().map(ValueSource::constant).collect();
    let refused = |why: RenderError| why.to_string();
    match (function, constants) {
        (Some(function), Some(constants)) => function
            .apply(&constants)
            .map(ValueSource::Constant)
            .map_err(refused),
        (Some(function), None) => Ok(ValueSource::Apply(function, resolved)),
        (None, constants) => match (name, constants.as_deref()) {
            ("uuid", _) => Ok(ValueSource::Uuid),
            ("seq", _) => Ok(ValueSource::Sequence),
            ("now", Some([])) => Ok(ValueSource::Now(Format::Rfc3339)),
            ("now", Some([format])) => Format::parse(&function::text(format)).map(ValueSource::Now),
            ("now", _) => Err("now's format must be written out".into()),
            ("raw", _) => Err("raw(x) must enclose the whole expression".into()),
            ("pick", _) => resolve_pick(resolved),
            ("randInt", Some([min, max])) => range(min, max)
                .map(|(min, max)| ValueSource::RandInt { min, max })
                .map_err(refused),
            ("randInt", _) => Ok(ValueSource::Random(Random::Int, resolved)),
            ("randString", Some([length, rest @ ..])) => {
                let (length, alphabet) = letters(length, rest.first().copied()).map_err(refused)?;
                Ok(ValueSource::RandString { length, alphabet })
            }
            ("randString", _) => Ok(ValueSource::Random(Random::String, resolved)),
            // tried out now, so that a mistake is found now
            ("randFloat", Some(constants)) => {
                rand_float(constants, 0).map_err(refused)?;
                Ok(ValueSource::Random(Random::Float, resolved))
            }
            (_, _) => Ok(ValueSource::Random(Random::Float, resolved)),
        },
    }
}

fn resolve_pick(mut options: Vec<ValueSource>) -> Result<ValueSource, String> {
    match options.as_mut_slice() {
        [ValueSource::Constant(Value::Array(items))] if items.is_empty() => {
            Err("pick has nothing to pick from".into())
        }
        [ValueSource::Constant(Value::Array(items))] => Ok(ValueSource::Pick(
            std::mem::take(items)
                .into_iter()
                .map(ValueSource::Constant)
                .collect(),
        )),
        [ValueSource::Constant(_) | ValueSource::External(_)] => {
            Err("pick takes a list, or several values".into())
        }
        [_] => Ok(ValueSource::Random(Random::Item, options)),
        _ => Ok(ValueSource::Pick(options)),
    }
}

impl Format {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "unix" => Ok(Format::Unix),
            "unixMillis" => Ok(Format::UnixMillis),
            "rfc3339" => Ok(Format::Rfc3339),
            _ if text.contains('%') && jiff::fmt::strtime::format(text, Timestamp::UNIX_EPOCH).is_ok() => {
                Ok(Format::Strftime(text.to_owned()))
            }
            _ => Err("now knows no such format; write unix, unixMillis, rfc3339 or one as in strftime, such as %Y-%m-%d".into()),
        }
    }
}

impl ValueSource {
    pub fn constant(&self) -> Option<&Value> {
        match self {
            ValueSource::Constant(value) => Some(value),
            _ => None,
        }
    }

    fn part(mut self, part: &Part) -> Result<ValueSource, String> {
        match &mut self {
            ValueSource::Constant(value) => match part.of(value) {
                Some(value) => Ok(ValueSource::Constant(value.clone())),
                None => Err(format!("there is no {part} in this value")),
            },
            ValueSource::Slot { parts, .. }
            | ValueSource::Batch { parts, .. }
            | ValueSource::Parts(_, parts) => {
                parts.push(part.clone());
                Ok(self)
            }
            ValueSource::Pick(_)
            | ValueSource::Random(Random::Item, _)
            | ValueSource::Apply(Function::JsonDecode, _) => {
                Ok(ValueSource::Parts(Box::new(self), vec![part.clone()]))
            }
            ValueSource::External(name) => Err(format!("{name} is text, which has no {part}")),
            _ => Err(format!("a generated value has no {part}")),
        }
    }

    /// Adds what feeders must have given out before.
    pub fn needs(&self, needs: &mut Vec<Need>) {
        let mut need = |slot: Slot, take| {
            let need = Need { slot, take };
            if !needs.contains(&need) {
                needs.push(need);
            }
        };
        match self {
            ValueSource::Slot {
                slot, row: true, ..
            } => need(*slot, None),
            ValueSource::Batch { slot, count, .. } => need(*slot, Some(*count)),
            ValueSource::Parts(of, _) => of.needs(needs),
            ValueSource::Pick(inner)
            | ValueSource::Apply(_, inner)
            | ValueSource::Random(_, inner) => inner.iter().for_each(|source| source.needs(needs)),
            _ => {}
        }
    }

    /// The value itself.
    pub fn value<'s>(&'s self, scope: &'s mut impl Scope) -> Result<Cow<'s, Value>, RenderError> {
        Ok(Cow::Owned(match self {
            ValueSource::Constant(value) => return Ok(Cow::Borrowed(value)),
            ValueSource::Slot {
                slot, name, parts, ..
            } => return walk(slot_value(scope, *slot, name)?, parts, name).map(Cow::Borrowed),
            ValueSource::Batch {
                slot,
                count,
                name,
                parts,
            } => return batch_value(scope, *slot, *count, name, parts),
            ValueSource::Parts(of, parts) => match of.value(scope)? {
                Cow::Borrowed(value) => return walk(value, parts, "the value").map(Cow::Borrowed),
                Cow::Owned(value) => walk(&value, parts, "the value")?.clone(),
            },
            ValueSource::Pick(options) => {
                let at = below(options.len(), scope.random());
                return options[at].value(scope);
            }
            ValueSource::Random(Random::Item, list) => {
                let random = scope.random();
                return item(list[0].value(scope)?, random);
            }
            ValueSource::External(name) => return Err(RenderError::Unset(name.clone())),
            ValueSource::UserId => scope.user().into(),
            ValueSource::Iteration => scope.iteration().into(),
            ValueSource::WorkerIndex => scope.worker().into(),
            ValueSource::Sequence => scope.sequence().into(),
            ValueSource::RandInt { min, max } => between(*min, *max, scope.random()).into(),
            ValueSource::Now(Format::Unix) => (unix_millis(scope.now()).div_euclid(1000)).into(),
            ValueSource::Now(Format::UnixMillis) => unix_millis(scope.now()).into(),
            ValueSource::Uuid | ValueSource::RandString { .. } | ValueSource::Now(_) => {
                let mut text = Vec::new();
                self.write_plain(scope, &mut text)?;
                String::from_utf8_lossy(&text).into_owned().into()
            }
            ValueSource::Apply(function, arguments) => match arguments.as_slice() {
                [only] => function.apply(&[&*only.value(scope)?])?,
                several => function.apply(&owned(several, scope)?.iter().collect::<Vec<_>>())?,
            },
            ValueSource::Random(kind, bounds) => kind.value(&owned(bounds, scope)?, scope)?,
        }))
    }

    /// Appends what is generated. Constants were written when the template was compiled.
    pub fn write(
        &self,
        place: Place,
        scope: &mut impl Scope,
        out: &mut Vec<u8>,
    ) -> Result<(), RenderError> {
        match self {
            ValueSource::Uuid
            | ValueSource::RandString { .. }
            | ValueSource::Now(Format::Rfc3339 | Format::Strftime(_)) => {
                write_text(place, out, |out| self.write_plain(scope, out))
            }
            _ => write_value(&*self.value(scope)?, place, out),
        }
    }

    /// Text that is made letter by letter.
    fn write_plain(&self, scope: &mut impl Scope, out: &mut Vec<u8>) -> Result<(), RenderError> {
        match self {
            ValueSource::Uuid => write_uuid(scope, out),
            ValueSource::RandString { length, alphabet } => {
                write_letters(*length, alphabet, scope, out)
            }
            ValueSource::Now(format) => {
                let now = Timestamp::try_from(scope.now()).unwrap_or(Timestamp::UNIX_EPOCH);
                // a vector takes all, and the format was tried when the template was compiled
                let _ = match format {
                    Format::Strftime(format) => write!(out, "{}", now.strftime(format)),
                    _ => write!(out, "{now:.3}"),
                };
            }
            _ => {}
        }
        Ok(())
    }
}

fn owned(arguments: &[ValueSource], scope: &mut impl Scope) -> Result<Vec<Value>, RenderError> {
    arguments
        .iter()
        .map(|argument| argument.value(scope).map(Cow::into_owned))
        .collect()
}

fn slot_value<'s>(scope: &'s impl Scope, slot: Slot, name: &str) -> Result<&'s Value, RenderError> {
    scope
        .value(slot)
        .ok_or_else(|| RenderError::Unset(name.to_owned()))
}

fn walk<'v>(value: &'v Value, parts: &[Part], name: &str) -> Result<&'v Value, RenderError> {
    let no_part = |part: &Part| RenderError::NoPart {
        of: name.to_owned(),
        part: part.to_string(),
    };
    parts.iter().try_fold(value, |value, part| {
        part.of(value).ok_or_else(|| no_part(part))
    })
}

fn batch_value<'s>(
    scope: &'s impl Scope,
    slot: Slot,
    count: u32,
    name: &str,
    parts: &[Part],
) -> Result<Cow<'s, Value>, RenderError> {
    let rows = scope
        .batch(slot, count)
        .ok_or_else(|| RenderError::Unset(name.to_owned()))?;
    match (rows, parts.first()) {
        (Value::Array(rows), Some(Part::Field(_))) => {
            let column: Result<Vec<Value>, RenderError> = rows
                .iter()
                .map(|row| walk(row, parts, name).cloned())
                .collect();
            column.map(|column| Cow::Owned(column.into()))
        }
        _ => walk(rows, parts, name).map(Cow::Borrowed),
    }
}

fn item(list: Cow<'_, Value>, random: u64) -> Result<Cow<'_, Value>, RenderError> {
    let nothing = || RenderError::Call {
        function: "pick".into(),
        why: "this is no list, or an empty one".into(),
    };
    let at = |items: &[Value]| {
        if items.is_empty() {
            Err(nothing())
        } else {
            Ok(below(items.len(), random))
        }
    };
    match list {
        Cow::Borrowed(Value::Array(items)) => Ok(Cow::Borrowed(&items[at(items)?])),
        Cow::Owned(Value::Array(mut items)) => {
            let at = at(&items)?;
            Ok(Cow::Owned(items.swap_remove(at)))
        }
        _ => Err(nothing()),
    }
}

impl Random {
    fn value(self, bounds: &[Value], scope: &mut impl Scope) -> Result<Value, RenderError> {
        match (self, bounds) {
            (Random::Int, [min, max]) => {
                range(min, max).map(|(min, max)| between(min, max, scope.random()).into())
            }
            (Random::String, [length, rest @ ..]) => {
                let (length, alphabet) = letters(length, rest.first())?;
                let mut text = Vec::new();
                write_letters(length, &alphabet, scope, &mut text);
                Ok(String::from_utf8_lossy(&text).into_owned().into())
            }
            _ => rand_float(&bounds.iter().collect::<Vec<_>>(), scope.random()),
        }
    }
}

fn wrong(function: &str, why: &str) -> RenderError {
    RenderError::Call {
        function: function.into(),
        why: why.into(),
    }
}

fn range(min: &Value, max: &Value) -> Result<(i64, i64), RenderError> {
    match (function::int(min), function::int(max)) {
        (Ok(min), Ok(max)) if min <= max => Ok((min, max)),
        _ => Err(wrong(
            "randInt",
            "it needs two whole numbers, the smaller first",
        )),
    }
}

/// From `min` to `max`, rounded to so many digits behind the point if that is given.
fn rand_float(bounds: &[&Value], random: u64) -> Result<Value, RenderError> {
    let (Some(min), Some(max)) = (
        bounds.first().and_then(|min| function::float(min)),
        bounds.get(1).and_then(|max| function::float(max)),
    ) else {
        return Err(wrong(
            "randFloat",
            "it needs two numbers, the smaller first",
        ));
    };
    if min > max || !(max - min).is_finite() {
        return Err(wrong(
            "randFloat",
            "it needs two numbers, the smaller first",
        ));
    }
    // 53 bits are all that a float has
    let mut float = min + (max - min) * ((random >> 11) as f64 / ((1u64 << 53) - 1) as f64);
    if let Some(digits) = bounds.get(2) {
        let digits = function::int(digits)
            .ok()
            .filter(|digits| (0..=15).contains(digits));
        let scale = 10f64.powi(digits.ok_or_else(|| {
            wrong(
                "randFloat",
                "the digits must be a whole number from 0 to 15",
            )
        })? as i32);
        let rounded = (float * scale).round() / scale;
        float = if rounded.is_finite() { rounded } else { float };
    }
    Number::from_f64(float.clamp(min, max))
        .map(Value::Number)
        .ok_or_else(|| wrong("randFloat", "the result is no number"))
}

fn letters(length: &Value, alphabet: Option<&Value>) -> Result<(usize, Vec<char>), RenderError> {
    let length = function::int(length)
        .ok()
        .filter(|length| (0..=MAX_LENGTH).contains(length));
    let length = length.ok_or_else(|| {
        wrong(
            "randString",
            "the length must be a whole number from 0 to 65536",
        )
    })?;
    let alphabet: Vec<char> = alphabet
        .map_or(Cow::Borrowed(LETTERS_AND_DIGITS), function::text)
        .chars()
        .collect();
    if alphabet.is_empty() {
        Err(wrong("randString", "the alphabet is empty"))
    } else {
        Ok((length as usize, alphabet))
    }
}

/// Multiplies and shifts: uniform to `count` parts in 2^64.
fn below(count: usize, random: u64) -> usize {
    ((u128::from(random) * count as u128) >> 64) as usize
}

fn between(min: i64, max: i64, random: u64) -> i64 {
    let width = (i128::from(max) - i128::from(min) + 1) as u128;
    (i128::from(min) + ((u128::from(random) * width) >> 64) as i128) as i64
}

fn write_letters(length: usize, alphabet: &[char], scope: &mut impl Scope, out: &mut Vec<u8>) {
    // four letters of each random number: what is left of it then is still as good as uniform
    let mut random = 0;
    for nth in 0..length {
        if nth % 4 == 0 {
            random = scope.random();
        }
        let wide = u128::from(random) * alphabet.len() as u128;
        random = wide as u64;
        let mut buffer = [0; 4];
        out.extend_from_slice(
            alphabet[(wide >> 64) as usize]
                .encode_utf8(&mut buffer)
                .as_bytes(),
        );
    }
}

/// Version 4, RFC 9562.
fn write_uuid(scope: &mut impl Scope, out: &mut Vec<u8>) {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&scope.random().to_be_bytes());
    bytes[8..].copy_from_slice(&scope.random().to_be_bytes());
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(&HEX[usize::from(*byte)]);
    }
}

fn unix_millis(now: SystemTime) -> i64 {
    Timestamp::try_from(now).map_or(0, Timestamp::as_millisecond)
}
