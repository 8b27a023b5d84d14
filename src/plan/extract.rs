//! What is taken out of an answer: values for later steps, and numbers for a metric of the test's
//! own.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Cel, JsonPath, Pattern};

/// At most so many values a step.
pub const MAX_EXTRACTS: usize = 16;

/// At most so many numbers a step.
pub const MAX_RECORDS: usize = 8;

/// At most so many names of records in a test.
pub const MAX_TRENDS: usize = 32;

/// A value kept under a name that later templates may use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Extract {
    pub name: String,
    pub from: ExtractFrom,
    /// Taken when nothing is found; without one, the request has failed then.
    pub default: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExtractFrom {
    /// The first node, or a list of all; none is nothing found.
    JsonPath { path: JsonPath, all: bool },
    /// Group 1 of the first match in the body if there is one, else the match; text.
    Regex(Pattern),
    /// The first value of this name in any case; text.
    Header(String),
    /// The value that the answer sets this cookie to; text.
    Cookie(String),
    /// The whole body; text.
    Body,
}

/// A number of each answer that is kept as a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub name: String,
    pub unit: Unit,
    pub from: RecordFrom,
}

/// Where the number is; text is read as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RecordFrom {
    JsonPath(JsonPath),
    Header(String),
    Regex(Pattern),
    Cel(Cel),
}

/// What the number counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Nothing in particular.
    #[default]
    #[serde(rename = "none")]
    One,
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "us")]
    Microseconds,
    #[serde(rename = "bytes")]
    Bytes,
}

/// A metric of the test's own: what all records of one name make together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    pub name: String,
    pub unit: Unit,
}

/// The metrics of these records, each once, in the order of its first; its place is its number
/// wherever statistics are kept.
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
    /// As the test writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "none",
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "us",
            Self::Bytes => "bytes",
        }
    }

    /// Base units of trends (microseconds, bytes, thousandths of anything else) in one of these.
    pub fn in_base(self) -> f64 {
        match self {
            Self::Seconds => 1e6,
            Self::One | Self::Milliseconds => 1e3,
            Self::Microseconds | Self::Bytes => 1.0,
        }
    }

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
