//! Conditions on one part of an answer, prepared once. Values that are templates are rendered for
//! each answer.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;

use serde_json::{Number, Value};

use super::unfit::Unfit;
use crate::plan::template::{Compiled, Need, Scope};
use crate::plan::{Condition, JsonTemplate, Names, Pattern};

/// Longest text that a message shows of a value, in characters.
const MAX_SHOWN: usize = 60;

/// Condition that is ready to be evaluated.
pub(super) enum PreparedCondition {
    /// Requires that the part exists, or that it does not.
    Exists(bool),
    /// Requires that the part equals the value.
    Equals(Expected),
    /// Requires that the part equals one item of a list.
    In(Expected),
    /// Requires that the part contains the value.
    Contains(Expected),
    /// Requires that the part's text matches the pattern.
    Matches(Pattern),
    /// Requires a length from `min` to `max`.
    Length { min: u64, max: u64 },
    /// Requires that the part's order relative to the value satisfies the function.
    Compared(fn(Ordering) -> bool, Expected),
}

/// Value that a part of an answer is compared with.
pub(super) struct Expected {
    value: ExpectedValue,
    /// Text that the test has for it, where that is not the value itself.
    written: Option<String>,
}

enum ExpectedValue {
    /// Value that is the same for each answer.
    Known(Value),
    /// Template that is rendered for each answer.
    Rendered(Compiled),
}

/// Part of an answer that conditions are evaluated on.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    /// JSON value.
    Json(&'a Value),
    /// Text, not necessarily UTF-8.
    Text(&'a [u8]),
}

impl Expected {
    fn new(template: &JsonTemplate, names: &Names) -> Result<Self, String> {
        let compiled = template.compile(names)?;
        let value = match compiled.as_static() {
            Some(json) => ExpectedValue::Known(
                serde_json::from_slice(json).map_err(|error| error.to_string())?,
            ),
            None => ExpectedValue::Rendered(compiled),
        };
        let written = template.to_string();
        let is_value = match &value {
            ExpectedValue::Known(value) => {
                serde_json::to_string(value).is_ok_and(|text| text == written)
            }
            ExpectedValue::Rendered(_) => false,
        };
        Ok(Self {
            value,
            written: (!is_value).then_some(written),
        })
    }

    fn get(&self, scope: &mut impl Scope) -> Result<Cow<'_, Value>, String> {
        match &self.value {
            ExpectedValue::Known(value) => Ok(Cow::Borrowed(value)),
            ExpectedValue::Rendered(compiled) => {
                let mut json = Vec::new();
                compiled
                    .render(scope, &mut json)
                    .map_err(|why| why.to_string())?;
                serde_json::from_slice(&json)
                    .map(Cow::Owned)
                    .map_err(|_| "the value to compare with is not JSON".into())
            }
        }
    }
}

impl PreparedCondition {
    /// Prepares a condition; fails where a template names something that `names` does not declare.
    pub(super) fn new(condition: &Condition, names: &Names) -> Result<Self, String> {
        let expected = |template| Expected::new(template, names);
        Ok(match condition {
            Condition::Exists(exists) => Self::Exists(*exists),
            Condition::Equals(value) => Self::Equals(expected(value)?),
            Condition::In(values) => Self::In(expected(values)?),
            Condition::Contains(value) => Self::Contains(expected(value)?),
            Condition::Matches(pattern) => Self::Matches(pattern.clone()),
            Condition::Length(length) => Self::Length {
                min: *length,
                max: *length,
            },
            Condition::MinLength(min) => Self::Length {
                min: *min,
                max: u64::MAX,
            },
            Condition::MaxLength(max) => Self::Length { min: 0, max: *max },
            Condition::Below(value) => Self::Compared(Ordering::is_lt, expected(value)?),
            Condition::AtMost(value) => Self::Compared(Ordering::is_le, expected(value)?),
            Condition::Above(value) => Self::Compared(Ordering::is_gt, expected(value)?),
            Condition::AtLeast(value) => Self::Compared(Ordering::is_ge, expected(value)?),
        })
    }

    /// Returns whether the condition requires that the part is missing.
    pub(super) fn wants_nothing(&self) -> bool {
        matches!(self, Self::Exists(false))
    }

    /// Returns whether the condition is about the whole part, so that it cannot hold if only the
    /// beginning was kept.
    pub(super) fn is_of_whole(&self) -> bool {
        !matches!(self, Self::Exists(_) | Self::Contains(_) | Self::Matches(_))
    }

    /// Returns the value that the condition compares with, if it has one.
    fn expected(&self) -> Option<&Expected> {
        match self {
            Self::Equals(expected)
            | Self::In(expected)
            | Self::Contains(expected)
            | Self::Compared(_, expected) => Some(expected),
            Self::Exists(_) | Self::Matches(_) | Self::Length { .. } => None,
        }
    }

    /// Returns the feeder rows that the condition reads.
    pub(super) fn needs(&self) -> &[Need] {
        match self.expected().map(|expected| &expected.value) {
            Some(ExpectedValue::Rendered(compiled)) => compiled.needs(),
            Some(ExpectedValue::Known(_)) | None => &[],
        }
    }

    /// Evaluates the condition on `part`; fails with what was found, and with the value of an
    /// expression that it was compared with.
    pub(super) fn judge(&self, part: Part<'_>, scope: &mut impl Scope) -> Result<(), Unfit> {
        let expected = self.expected();
        let value = expected.map(|expected| expected.get(scope)).transpose()?;
        let value = value.as_deref().unwrap_or(&Value::Null);
        let written = expected.and_then(|expected| expected.written.clone());
        self.compare(part, value).map_err(|found| match written {
            Some(written) => Unfit::Differs {
                found,
                written,
                given: beginning(value),
            },
            None => Unfit::Found(found),
        })
    }

    /// Evaluates the condition on `part` with the value that it compares with.
    fn compare(&self, part: Part<'_>, expected: &Value) -> Result<(), String> {
        let (holds, hint) = match self {
            Self::Exists(exists) => (*exists, ""),
            Self::Equals(_) => (part.equals(expected), part.kind_unless_as(expected)),
            Self::In(_) => {
                let items = expected
                    .as_array()
                    .ok_or("the value to look in is not a list")?;
                (items.iter().any(|item| part.equals(item)), "")
            }
            Self::Contains(_) => (part.contains(expected), ""),
            Self::Matches(pattern) => (pattern.matches(&part.text()), ""),
            Self::Length { min, max } => match part.length() {
                Some(length) if (*min..=*max).contains(&length) => (true, ""),
                Some(length) => return Err(format!("found a length of {length}")),
                None => (false, "which has no length"),
            },
            Self::Compared(fits, _) => {
                let bound =
                    number_of(expected).ok_or("the value to compare with is not a number")?;
                match part.number() {
                    Some(number) => (compare(&number, &bound).is_some_and(fits), ""),
                    None => (false, "which is not a number"),
                }
            }
        };
        match (holds, hint) {
            (true, _) => Ok(()),
            (false, "") => Err(format!("found {}", part.shown())),
            (false, hint) => Err(format!("found {}, {hint}", part.shown())),
        }
    }
}

impl Part<'_> {
    fn equals(self, expected: &Value) -> bool {
        match (self, expected) {
            (Part::Json(found), _) => equal(found, expected),
            (Part::Text(text), Value::String(expected)) => text == expected.as_bytes(),
            (Part::Text(_), Value::Number(bound)) => self
                .number()
                .is_some_and(|number| compare(&number, bound) == Some(Ordering::Equal)),
            (Part::Text(text), Value::Bool(truth)) => {
                text == if *truth { &b"true"[..] } else { b"false" }
            }
            (Part::Text(_), _) => false,
        }
    }

    fn contains(self, expected: &Value) -> bool {
        match (self, expected) {
            (Part::Json(Value::Array(items)), _) => items.iter().any(|item| equal(item, expected)),
            (Part::Json(Value::Object(fields)), Value::String(name)) => fields.contains_key(name),
            (Part::Json(Value::String(text)), Value::String(expected)) => text.contains(expected),
            (Part::Json(_), _) => false,
            (Part::Text(text), Value::String(expected)) => contains(text, expected.as_bytes()),
            (Part::Text(text), _) => contains(text, expected.to_string().as_bytes()),
        }
    }

    fn length(self) -> Option<u64> {
        match self {
            Part::Json(Value::Array(items)) => Some(items.len() as u64),
            Part::Json(Value::Object(fields)) => Some(fields.len() as u64),
            Part::Json(Value::String(text)) => Some(text.chars().count() as u64),
            Part::Json(_) => None,
            Part::Text(text) => Some(String::from_utf8_lossy(text).chars().count() as u64),
        }
    }

    fn number(self) -> Option<Number> {
        match self {
            // text within JSON is meant to be text
            Part::Json(Value::Number(number)) => Some(number.clone()),
            Part::Json(_) => None,
            Part::Text(text) => number_in(std::str::from_utf8(text).ok()?),
        }
    }

    /// Returns the text to match with a pattern: text as it is, any other value as JSON.
    fn text(&self) -> Cow<'_, [u8]> {
        match self {
            Part::Json(Value::String(text)) => Cow::Borrowed(text.as_bytes()),
            Part::Json(value) => Cow::Owned(value.to_string().into_bytes()),
            Part::Text(text) => Cow::Borrowed(text),
        }
    }

    fn kind_unless_as(self, expected: &Value) -> &'static str {
        match (self, expected) {
            (Part::Json(Value::String(_)), Value::Number(_)) => "which is text, not a number",
            (Part::Json(Value::Number(_)), Value::String(_)) => "which is a number, not text",
            _ => "",
        }
    }

    fn shown(self) -> String {
        // a large value is not written out only to be cut
        let text = match self {
            Part::Json(Value::Array(items)) => return format!("a list of {}", items.len()),
            Part::Json(Value::Object(fields)) => {
                let plural = if fields.len() == 1 { "" } else { "s" };
                return format!("an object of {} field{plural}", fields.len());
            }
            Part::Json(Value::String(text)) => Cow::Borrowed(text.as_str()),
            Part::Json(value) => return value.to_string(),
            Part::Text(text) => String::from_utf8_lossy(&text[..text.len().min(4 * MAX_SHOWN)]),
        };
        let start: String = text.chars().take(MAX_SHOWN).collect();
        if start.len() < text.len() {
            format!("{start:?}…")
        } else {
            format!("{start:?}")
        }
    }
}

/// Writes the first [`MAX_SHOWN`] characters of a value as JSON, and `…` if there are more.
fn beginning(value: &Value) -> String {
    let mut shown = Beginning {
        text: String::new(),
        left: MAX_SHOWN,
    };
    // fails where there is no room left, so that a large value is not written out only to be cut
    match write!(shown, "{value}") {
        Ok(()) => shown.text,
        Err(_) => shown.text + "…",
    }
}

/// Text that has room for so many more characters.
struct Beginning {
    text: String,
    left: usize,
}

impl std::fmt::Write for Beginning {
    fn write_str(&mut self, more: &str) -> std::fmt::Result {
        for c in more.chars() {
            self.left = self.left.checked_sub(1).ok_or(std::fmt::Error)?;
            self.text.push(c);
        }
        Ok(())
    }
}

/// Compares numbers by value at any depth, so that 1 equals 1.0.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(name, a)| b.get(name).is_some_and(|b| equal(a, b)))
        }
        (a, b) => a == b,
    }
}

fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    let whole = |number: &Number| {
        number
            .as_i64()
            .map(i128::from)
            .or_else(|| number.as_u64().map(i128::from))
    };
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// Reads a number; text is read too, since a value of the test may have come out of an answer.
fn number_of(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => Some(number.clone()),
        Value::String(text) => number_in(text),
        _ => None,
    }
}

/// Reads text as a number, ignoring the space around it.
pub(super) fn number_in(text: &str) -> Option<Number> {
    let text = text.trim();
    let whole = || {
        text.parse::<i64>()
            .ok()
            .map(Number::from)
            .or_else(|| text.parse::<u64>().ok().map(Number::from))
    };
    whole().or_else(|| text.parse().ok().and_then(Number::from_f64))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    match (std::str::from_utf8(text), std::str::from_utf8(part)) {
        (Ok(text), Ok(part)) => text.contains(part),
        // the standard library has no quick search in bytes that are no text
        _ => part.is_empty() || text.windows(part.len()).any(|window| window == part),
    }
}
