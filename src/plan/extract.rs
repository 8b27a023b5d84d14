//! Values that are taken out of an answer for later steps, and numbers for a metric of the test's
//! own.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::facts::Fact;
use super::{Cel, JsonPath, JsonTemplate, Pattern};

/// Largest number of values that a step extracts.
pub const MAX_EXTRACTS: usize = 16;

/// Largest number of records in a step.
pub const MAX_RECORDS: usize = 8;

/// Largest number of different names of records in a test.
pub const MAX_TRENDS: usize = 32;

/// A value that is kept under a name for later templates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Extract {
    /// Name that templates use.
    pub name: String,
    /// Part of the answer that holds the value.
    pub from: ExtractFrom,
    /// Value that is used when the answer has none; without a default, the request has failed.
    pub default: Option<Value>,
}

/// Source of a value that is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExtractFrom {
    /// Node of the body's JSON, or a list of nodes; an empty list counts as nothing found.
    JsonPath {
        /// Query for the nodes.
        path: JsonPath,
        /// True if all nodes are taken instead of the first.
        all: bool,
    },
    /// Text of the first match in the body: group 1 if there is one, else the whole match.
    Regex(Pattern),
    /// First value of the header of this name, in any case; text.
    Header(String),
    /// Value that the answer sets the cookie of this name to; text.
    Cookie(String),
    /// The whole body; text.
    Body,
    /// Value of expressions, made after all that comes out of the answer.
    Value(JsonTemplate),
}

/// A number of each answer that is kept as a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Name of the metric.
    pub name: String,
    /// Unit of the number.
    pub unit: Unit,
    /// Part of the answer that holds the number.
    pub from: RecordFrom,
}

/// Part of an answer that a number is read from; text is read as a number.
///
/// `X` is what an expression is: as the test writes it, or compiled (see
/// [`prepare`](RecordFrom::prepare)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RecordFrom<X = Cel> {
    /// First node of the body's JSON.
    JsonPath(JsonPath),
    /// First value of the header of this name, in any case, that is a number.
    Header(String),
    /// Text of the first match in the body: group 1 if there is one, else the whole match.
    Regex(Pattern),
    /// Value of an expression.
    Cel(X),
}

/// Unit of a recorded number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// No unit.
    #[default]
    #[serde(rename = "none")]
    One,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Microseconds.
    #[serde(rename = "us")]
    Microseconds,
    /// Bytes.
    #[serde(rename = "bytes")]
    Bytes,
}

/// A metric of the test's own, which holds all records of one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// Name of the records.
    pub name: String,
    /// Unit of the records.
    pub unit: Unit,
}

impl ExtractFrom {
    /// Fact of the answer that the value is taken from; `None` for one that is made of variables.
    pub fn fact(&self) -> Option<Fact> {
        match self {
            Self::JsonPath { .. } | Self::Regex(_) | Self::Body => Some(Fact::Body),
            Self::Header(_) => Some(Fact::Headers),
            Self::Cookie(_) => Some(Fact::Cookies),
            Self::Value(_) => None,
        }
    }
}

/// Writes the part of the answer as messages show it.
impl fmt::Display for ExtractFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JsonPath { path, .. } => write!(f, "jsonPath {}", path.source()),
            Self::Regex(pattern) => write!(f, "regex {}", pattern.source()),
            Self::Header(name) => write!(f, "header {name}"),
            Self::Cookie(name) => write!(f, "cookie {name}"),
            Self::Body => f.write_str("body"),
            Self::Value(template) => write!(f, "value {template}"),
        }
    }
}

impl<X> RecordFrom<X> {
    /// Fact of the answer that the number is read from; `None` for an expression, which reads only
    /// facts that every answer has.
    pub fn fact(&self) -> Option<Fact> {
        match self {
            Self::JsonPath(_) | Self::Regex(_) => Some(Fact::Body),
            Self::Header(_) => Some(Fact::Headers),
            Self::Cel(_) => None,
        }
    }
}

impl RecordFrom {
    /// Makes the same source with its expression prepared by `expression`; fails as that does.
    pub fn prepare<X, E>(
        &self,
        expression: impl FnOnce(&Cel) -> Result<X, E>,
    ) -> Result<RecordFrom<X>, E> {
        Ok(match self {
            Self::JsonPath(path) => RecordFrom::JsonPath(path.clone()),
            Self::Header(name) => RecordFrom::Header(name.clone()),
            Self::Regex(pattern) => RecordFrom::Regex(pattern.clone()),
            Self::Cel(cel) => RecordFrom::Cel(expression(cel)?),
        })
    }
}

/// Lists the metrics of these records, each once, in the order in which their names first appear; a
/// metric's place in the list is its number wherever statistics are kept. Fails if one name is
/// recorded in two units, or if there are more than [`MAX_TRENDS`] names.
pub fn trends<'r>(records: impl IntoIterator<Item = &'r Record>) -> Result<Vec<Trend>, String> {
    let mut trends: Vec<Trend> = Vec::new();
    for Record {
        name,
        unit,
        from: _,
    } in records
    {
        match trends.iter().find(|trend| trend.name == *name) {
            Some(trend) if trend.unit != *unit => {
                return Err(format!(
                    "{name:?} is recorded in two units; records of one name share one"
                ));
            }
            Some(_) => {}
            None => trends.push(Trend {
                name: name.clone(),
                unit: *unit,
            }),
        }
    }
    match trends.len() {
        count if count > MAX_TRENDS => Err(format!(
            "{count} names are recorded, at most {MAX_TRENDS} are allowed"
        )),
        _ => Ok(trends),
    }
}

impl Unit {
    /// The name that tests write.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "none",
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "us",
            Self::Bytes => "bytes",
        }
    }

    /// Number of base units in one of this unit. The base units of trends are microseconds, bytes,
    /// and thousandths of anything else.
    pub fn in_base(self) -> f64 {
        match self {
            Self::Seconds => 1e6,
            Self::One | Self::Milliseconds => 1e3,
            Self::Microseconds | Self::Bytes => 1.0,
        }
    }

    /// Returns whether numbers of this unit are times.
    pub fn is_time(self) -> bool {
        matches!(
            self,
            Self::Seconds | Self::Milliseconds | Self::Microseconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, unit: Unit) -> Record {
        Record {
            name: name.into(),
            unit,
            from: RecordFrom::Header("x".into()),
        }
    }

    #[test]
    fn one_name_with_two_units_or_too_many_names_are_refused() {
        assert!(trends(&[record("a", Unit::Bytes), record("a", Unit::Seconds)]).is_err());
        let many: Vec<Record> = (0..=MAX_TRENDS)
            .map(|i| record(&format!("r{i}"), Unit::One))
            .collect();
        assert!(trends(&many).is_err());
        assert!(trends(&many[1..]).is_ok());
    }

    #[test]
    fn records_of_one_name_are_one_trend() {
        let found = trends(&[
            record("b", Unit::Bytes),
            record("a", Unit::Seconds),
            record("b", Unit::Bytes),
        ])
        .unwrap();
        assert_eq!(
            found,
            [
                Trend {
                    name: "b".into(),
                    unit: Unit::Bytes
                },
                Trend {
                    name: "a".into(),
                    unit: Unit::Seconds
                }
            ]
        );
    }
}
