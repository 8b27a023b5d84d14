//! JSON and plain values as CEL sees them, borrowed where that is possible.

use std::borrow::Cow;
use std::collections::HashMap;

use ::cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use ::cel::common::value::Val;
use serde_json::Value;

use super::references::Wanted;
use super::{Subject, steps};

/// An int, or a uint where it does not fit one.
pub(super) fn whole<'v>(number: u64) -> Box<dyn Val + 'v> {
    // an int where it fits: CEL's arithmetic does not mix it with uint
    match i64::try_from(number) {
        Ok(number) => Box::new(CelInt::from(number)),
        Err(_) => Box::new(CelUInt::from(number)),
    }
}

/// A double.
pub(super) fn broken<'v>(number: f64) -> Box<dyn Val + 'v> {
    Box::new(CelDouble::from(number))
}

/// A string; bytes that are no UTF-8 are replaced.
pub(super) fn text(bytes: &[u8]) -> Box<dyn Val + '_> {
    Box::new(CelString::from(String::from_utf8_lossy(bytes)))
}

/// Headers as a map with names in lower case; values of one name are joined by `, `.
pub(super) fn headers<'v>(subject: &dyn Subject) -> Box<dyn Val + 'v> {
    let mut joined: HashMap<String, String> = HashMap::new();
    subject.headers(&mut |name, value| {
        let value = String::from_utf8_lossy(value);
        joined
            .entry(name.to_ascii_lowercase())
            .and_modify(|before| *before = format!("{before}, {value}"))
            .or_insert_with(|| value.into_owned());
    });
    let fields = joined.into_iter().map(|(name, value)| {
        (
            CelMapKey::from(name),
            Box::new(CelString::from(value)) as Box<dyn Val + 'v>,
        )
    });
    Box::new(CelMap::from(fields.collect::<HashMap<_, _>>()))
}

/// A map with these fields.
pub(super) fn fields<'v>(
    fields: impl Iterator<Item = (&'v str, Box<dyn Val + 'v>)>,
) -> Box<dyn Val + 'v> {
    Box::new(CelMap::from(
        fields
            .map(|(name, value)| (CelMapKey::from(name), value))
            .collect::<HashMap<_, _>>(),
    ))
}

/// The wanted fields of an object; any other value whole.
pub(super) fn part<'v>(value: &'v Value, wanted: &'v Wanted) -> Box<dyn Val + 'v> {
    match (value, wanted.fields()) {
        (Value::Object(object), Some(wanted)) => {
            fields(wanted.iter().filter_map(|(name, wanted)| {
                Some((name.as_str(), part(object.get(name)?, wanted)))
            }))
        }
        _ => json(value),
    }
}

/// Any JSON.
pub(super) fn json(value: &Value) -> Box<dyn Val + '_> {
    // what is too much is an error at the end
    let _ = steps::take(1);
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(truth) => Box::new(CelBool::from(*truth)),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Box::new(CelInt::from(number)),
            (None, Some(number)) => Box::new(CelUInt::from(number)),
            (None, None) => broken(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Box::new(CelString::from(Cow::Borrowed(text.as_str()))),
        Value::Array(items) => Box::new(CelList::from(items.iter().map(json).collect::<Vec<_>>())),
        Value::Object(object) => fields(
            object
                .iter()
                .map(|(name, value)| (name.as_str(), json(value))),
        ),
    }
}
