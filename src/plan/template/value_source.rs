//! Resolved expressions: where the value of each comes from, a constant or something that differs
//! per rendering.

use std::borrow::Cow;
use std::io::Write as _;
use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::Value;

use super::escape::{write_text, write_value};
use super::expression::{Expression, Part, Suffix};
use super::function::{self, Function};
use super::random::{self, Random};
use super::{Need, Place, RenderError, Scope};
use crate::plan::budget;
use crate::plan::names::{self, Declared, Names, Slot};

/// Most rows of a `take`.
const MAX_ROWS: i64 = 10_000;

/// Origin of an expression's value.
#[derive(Clone, PartialEq)]
pub enum ValueSource {
    /// A value that never differs.
    Constant(Value),
    /// The text of the variable of that name, which is not known yet; see [`Declared::External`].
    External(String),
    /// A value or a feeder's current row, and the part of it that is looked up.
    Slot {
        /// Slot of the value.
        slot: Slot,
        /// True for a feeder's row, which must be fetched first.
        row: bool,
        /// Name for messages.
        name: String,
        /// Fields and items that are looked up, one in the other.
        parts: Vec<Part>,
    },
    /// Rows of `take`. A field of them is the list of that field of each.
    Batch {
        /// Slot of the feeder.
        slot: Slot,
        /// Number of rows.
        count: u32,
        /// Name for messages.
        name: String,
        /// Fields and items that are looked up, one in the other.
        parts: Vec<Part>,
    },
    /// Part of a value that is computed.
    Parts(Box<ValueSource>, Vec<Part>),
    /// `user.id`
    UserId,
    /// `iteration`
    Iteration,
    /// `worker.index`
    WorkerIndex,
    /// `seq()`
    Sequence,
    /// `uuid()`
    Uuid,
    /// `randInt` with bounds that never differ, both included.
    RandInt {
        /// Smallest number.
        min: i64,
        /// Largest number.
        max: i64,
    },
    /// `randString` with arguments that never differ.
    RandString {
        /// Length in characters.
        length: usize,
        /// Characters to choose from, at least one.
        alphabet: Vec<char>,
    },
    /// `now()`, written in this format.
    Now(Format),
    /// One of several values, all equally likely.
    Pick(Vec<ValueSource>),
    /// A function of values that differ.
    Apply(Function, Vec<ValueSource>),
    /// A random value whose arguments differ.
    Random(Random, Vec<ValueSource>),
}

/// Format in which `now` writes the time.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// Seconds since 1970.
    Unix,
    /// Milliseconds since 1970.
    UnixMillis,
    /// RFC 3339 in UTC, with milliseconds.
    Rfc3339,
    /// Format with `%` like that of C's `strftime`, in UTC.
    Strftime(String),
}

impl Expression {
    /// Resolves the names and works out everything that never differs. The error is a sentence for
    /// the test's author.
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

/// Resolves a value together with the suffixes that belong to its name: `user.id`, `rows.take(8)`.
/// Returns the other suffixes.
fn resolve_root<'a>(
    of: &Expression,
    suffixes: &'a [Suffix],
    names: &Names,
) -> Result<(ValueSource, &'a [Suffix]), String> {
    let Expression::Name(name) = of else {
        return Ok((of.resolve(names)?, suffixes));
    };
    if let Some(Declared::Constant(value)) = names.get(name)
        && !matches!(suffixes, [Suffix::Method(..), ..])
    {
        return resolve_part(value, suffixes);
    }
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

/// Resolves a constant to the part of it that is looked up, without a copy of the rest. Returns the
/// other suffixes.
fn resolve_part<'a>(
    value: &Value,
    suffixes: &'a [Suffix],
) -> Result<(ValueSource, &'a [Suffix]), String> {
    let (mut part, mut rest) = (value, suffixes);
    while let [Suffix::Part(step), after @ ..] = rest {
        part = step
            .of(part)
            .ok_or_else(|| format!("there is no {step} in this value"))?;
        rest = after;
    }
    constant(part).map(|source| (source, rest))
}

/// Copies a constant into an expression. Fails beyond the budget of the check.
fn constant(value: &Value) -> Result<ValueSource, String> {
    budget::hold(budget::size(value))?;
    Ok(ValueSource::Constant(value.clone()))
}

/// Checks that a field of a row is a column, where the feeder's data is known.
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
        (_, Some(Declared::Constant(value))) => constant(value),
        (_, Some(Declared::External)) => Ok(ValueSource::External(name.to_owned())),
        (_, Some(Declared::Value(number))) => Ok(slot(*number, false)),
        (_, Some(Declared::Row(number))) => Ok(slot(*number, true)),
        (_, None) if function::find(name, 0).is_ok() => {
            Err(format!("{name} is a function; write {name}()"))
        }
        (_, None) => {
            let known =
                names
                    .iter()
                    .map(|(name, _)| name)
                    .chain(["user.id", "iteration", "worker.index"]);
            Err(format!(
                "{name:?} is not declared; known names are {}",
                names::list(known)
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
        (Some(function), Some(constants)) => {
            let value = function.apply(&constants).map_err(refused)?;
            budget::hold(budget::size(&value))?;
            Ok(ValueSource::Constant(value))
        }
        (Some(function), None) => Ok(ValueSource::Apply(function, resolved)),
        (None, constants) => match (name, constants.as_deref()) {
            ("uuid", _) => Ok(ValueSource::Uuid),
            ("seq", _) => Ok(ValueSource::Sequence),
            ("now", Some([])) => Ok(ValueSource::Now(Format::Rfc3339)),
            ("now", Some([format])) => Format::parse(&function::text(format)).map(ValueSource::Now),
            ("now", _) => Err("now's format must be written out".into()),
            ("raw", _) => Err("raw(x) must enclose the whole expression".into()),
            ("pick", _) => resolve_pick(resolved),
            ("randInt", Some([min, max])) => random::range(min, max)
                .map(|(min, max)| ValueSource::RandInt { min, max })
                .map_err(refused),
            ("randInt", _) => Ok(ValueSource::Random(Random::Int, resolved)),
            ("randString", Some([length, rest @ ..])) => {
                let (length, alphabet) =
                    random::letters(length, rest.first().copied()).map_err(refused)?;
                Ok(ValueSource::RandString { length, alphabet })
            }
            ("randString", _) => Ok(ValueSource::Random(Random::String, resolved)),
            // drawn once, so that a mistake is found at validation
            ("randFloat", Some(constants)) => {
                random::float(constants, 0).map_err(refused)?;
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
    /// The value, if it never differs.
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

    /// Bytes that the source takes, about, with the constants in it.
    pub fn size(&self) -> usize {
        let inner = |sources: &[ValueSource]| sources.iter().map(ValueSource::size).sum();
        size_of::<Self>()
            + match self {
                ValueSource::Constant(value) => budget::size(value),
                ValueSource::RandString { alphabet, .. } => size_of_val(alphabet.as_slice()),
                ValueSource::Parts(of, _) => of.size(),
                ValueSource::Pick(sources)
                | ValueSource::Apply(_, sources)
                | ValueSource::Random(_, sources) => inner(sources),
                _ => 0,
            }
    }

    /// Adds the rows that feeders must give out first.
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

    /// The value. Fails where a name has no value, a part does not exist, or a function does not
    /// accept its arguments.
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
                let at = random::below(options.len(), scope.random());
                return options[at].value(scope);
            }
            ValueSource::Random(Random::Item, list) => {
                let bits = scope.random();
                return random::item(list[0].value(scope)?, bits);
            }
            ValueSource::External(name) => return Err(RenderError::Unset(name.clone())),
            ValueSource::UserId => scope.user().into(),
            ValueSource::Iteration => scope.iteration().into(),
            ValueSource::WorkerIndex => scope.worker().into(),
            ValueSource::Sequence => scope.sequence().into(),
            ValueSource::RandInt { min, max } => random::between(*min, *max, scope.random()).into(),
            ValueSource::Now(Format::Unix) => (unix_millis(scope.now()).div_euclid(1000)).into(),
            ValueSource::Now(Format::UnixMillis) => unix_millis(scope.now()).into(),
            ValueSource::Uuid | ValueSource::RandString { .. } | ValueSource::Now(_) => {
                let mut text = Vec::new();
                self.write_plain(scope, &mut text)?;
                String::from_utf8_lossy(&text).into_owned().into()
            }
            ValueSource::Apply(Function::Append, arguments) => {
                let list = match arguments[0].value(scope) {
                    // a list that grows begins somewhere
                    Err(RenderError::Unset(_)) => Value::Array(vec![]),
                    list => list?.into_owned(),
                };
                let more = owned(&arguments[1..], scope)?;
                let arguments: Vec<&Value> = std::iter::once(&list).chain(&more).collect();
                Function::Append.apply(&arguments)?
            }
            ValueSource::Apply(function, arguments) => match arguments.as_slice() {
                [only] => function.apply(&[&*only.value(scope)?])?,
                several => function.apply(&owned(several, scope)?.iter().collect::<Vec<_>>())?,
            },
            ValueSource::Random(kind, bounds) => kind.value(&owned(bounds, scope)?, scope)?,
        }))
    }

    /// Appends the value, escaped for `place`. Constants were written when the template was
    /// compiled.
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

    /// Appends text that is made letter by letter, unescaped.
    fn write_plain(&self, scope: &mut impl Scope, out: &mut Vec<u8>) -> Result<(), RenderError> {
        match self {
            ValueSource::Uuid => random::write_uuid(scope, out),
            ValueSource::RandString { length, alphabet } => {
                random::write_letters(*length, alphabet, scope, out)
            }
            ValueSource::Now(format) => {
                let now = Timestamp::try_from(scope.now()).unwrap_or(Timestamp::UNIX_EPOCH);
                // writing to a vector cannot fail, and the format was tried when the template was compiled
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

fn unix_millis(now: SystemTime) -> i64 {
    Timestamp::try_from(now).map_or(0, Timestamp::as_millisecond)
}
