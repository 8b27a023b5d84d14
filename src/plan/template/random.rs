//! Random values of templates: numbers, texts, items and UUIDs, from the bits of a [`Scope`].
//!
//! Bits become numbers here and not by `rand`'s distributions: a run's `seed` promises the same
//! values in every version, and `rand` may change how many bits a distribution takes, and for
//! which value, between releases.

use std::borrow::Cow;

use serde_json::{Number, Value};

use super::function;
use super::{RenderError, Scope};

/// Longest text of `randString`, in characters.
const MAX_LENGTH: i64 = 65_536;
/// Alphabet of `randString`, where the test names none.
const LETTERS_AND_DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Function that draws a random value from arguments that are known only when it is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Random {
    /// `randInt`
    Int,
    /// `randFloat`
    Float,
    /// `randString`
    String,
    /// `pick` of one list.
    Item,
}

impl Random {
    /// Draws a value from `bounds`, the arguments. Fails where they do not fit.
    pub fn value(self, bounds: &[Value], scope: &mut impl Scope) -> Result<Value, RenderError> {
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
            _ => float(&bounds.iter().collect::<Vec<_>>(), scope.random()),
        }
    }
}

/// Item of a list, all equally likely. Fails where `list` is none, or empty.
pub fn item(list: Cow<'_, Value>, random: u64) -> Result<Cow<'_, Value>, RenderError> {
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

/// Error of a function that does not accept its arguments.
fn wrong(function: &str, why: &str) -> RenderError {
    RenderError::Call {
        function: function.into(),
        why: why.into(),
    }
}

/// Bounds of `randInt`.
pub fn range(min: &Value, max: &Value) -> Result<(i64, i64), RenderError> {
    match (function::int(min), function::int(max)) {
        (Ok(min), Ok(max)) if min <= max => Ok((min, max)),
        _ => Err(wrong(
            "randInt",
            "it needs two whole numbers, the smaller first",
        )),
    }
}

/// Float from `min` to `max`, the first two of `bounds`, rounded to as many decimals as the third
/// says, if there is one.
pub fn float(bounds: &[&Value], random: u64) -> Result<Value, RenderError> {
    let unordered = || wrong("randFloat", "it needs two numbers, the smaller first");
    let bound = |at: usize| bounds.get(at).and_then(|bound| function::float(bound));
    let (min, max) = bound(0)
        .zip(bound(1))
        .filter(|(min, max)| min <= max && (max - min).is_finite())
        .ok_or_else(unordered)?;
    // 53 bits are all that a float has
    let drawn = min + (max - min) * ((random >> 11) as f64 / ((1u64 << 53) - 1) as f64);
    let drawn = match bounds.get(2) {
        Some(digits) => rounded(drawn, digits)?,
        None => drawn,
    };
    Number::from_f64(drawn.clamp(min, max))
        .map(Value::Number)
        .ok_or_else(|| wrong("randFloat", "the result is no number"))
}

/// Float rounded to `digits` decimals, at most 15; unrounded where it is too large for that.
fn rounded(float: f64, digits: &Value) -> Result<f64, RenderError> {
    let digits = function::int(digits)
        .ok()
        .filter(|digits| (0..=15).contains(digits))
        .ok_or_else(|| {
            wrong(
                "randFloat",
                "the digits must be a whole number from 0 to 15",
            )
        })?;
    let scale = 10f64.powi(digits as i32);
    let rounded = (float * scale).round() / scale;
    Ok(if rounded.is_finite() { rounded } else { float })
}

/// Length and alphabet of `randString`.
pub fn letters(
    length: &Value,
    alphabet: Option<&Value>,
) -> Result<(usize, Vec<char>), RenderError> {
    let length = function::int(length)
        .ok()
        .filter(|length| (0..=MAX_LENGTH).contains(length));
    let length = length.ok_or_else(|| {
        wrong(
            "randString",
            "the length must be a whole number from 0 to 65536",
        )
    })?;
    let alphabet = match alphabet {
        None => LETTERS_AND_DIGITS,
        Some(Value::String(listed)) => listed.as_str(),
        Some(_) => return Err(wrong("randString", "the alphabet must be text")),
    };
    let letters: Vec<char> = alphabet.chars().collect();
    if letters.is_empty() {
        Err(wrong("randString", "the alphabet is empty"))
    } else if stands_for_others(alphabet, &letters) {
        Err(wrong(
            "randString",
            "the alphabet must list its characters, as \"abcdef\" does: there are no ranges, classes or names of alphabets (a - that is meant goes to one end)",
        ))
    } else {
        Ok((length as usize, letters))
    }
}

/// Names that other tools give to alphabets.
const NAMES: [&str; 18] = [
    "alnum",
    "alpha",
    "alphabetic",
    "alphanum",
    "alphanumeric",
    "ascii",
    "base64",
    "digit",
    "digits",
    "hex",
    "letters",
    "lower",
    "lowercase",
    "numeric",
    "printable",
    "upper",
    "uppercase",
    "word",
];

/// Tells whether a text is meant for characters that it does not list: a range such as `a-z`, a
/// class such as `[:alpha:]` or `\d`, or the name of an alphabet.
fn stands_for_others(alphabet: &str, letters: &[char]) -> bool {
    let is_range = |part: &[char]| matches!(part, [from, '-', to] if from < to && from.is_alphanumeric() && to.is_alphanumeric());
    let is_class = |part: &[char]| matches!(part, ['\\', 'd' | 'w' | 's' | 'D' | 'W' | 'S']);
    letters.windows(3).any(is_range)
        || letters.windows(2).any(is_class)
        || alphabet.contains("[:")
        || NAMES.contains(&alphabet.to_lowercase().as_str())
}

/// Number below `count`, uniform to `count` parts in 2^64.
pub fn below(count: usize, random: u64) -> usize {
    ((u128::from(random) * count as u128) >> 64) as usize
}

/// Number from `min` to `max`, both included.
pub fn between(min: i64, max: i64, random: u64) -> i64 {
    let width = (i128::from(max) - i128::from(min) + 1) as u128;
    (i128::from(min) + ((u128::from(random) * width) >> 64) as i128) as i64
}

/// Appends `length` random characters of the alphabet.
pub fn write_letters(length: usize, alphabet: &[char], scope: &mut impl Scope, out: &mut Vec<u8>) {
    // four letters from each random number: the bits left after each are still close to uniform
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

/// Appends a UUID of version 4 (RFC 9562) in lower case.
pub fn write_uuid(scope: &mut impl Scope, out: &mut Vec<u8>) {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&scope.random().to_be_bytes());
    bytes[8..].copy_from_slice(&scope.random().to_be_bytes());
    let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
    let mut text = uuid::Uuid::encode_buffer();
    out.extend_from_slice(uuid.hyphenated().encode_lower(&mut text).as_bytes());
}
