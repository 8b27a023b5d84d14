//! Checks: properties that an answer must have.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::facts::Fact;
use super::grpc::Code;
use super::{Cel, JsonPath, JsonTemplate, Pattern, duration};

/// Largest number of checks in a step.
pub const MAX_CHECKS: usize = 16;

/// One property of an answer; a request whose answer lacks it has failed.
///
/// `C` is what conditions are and `X` what an expression is: as the test writes them in a plan, or
/// prepared for judging (see [`prepare`](Check::prepare)), so that a kind is listed once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Check<C = Vec<Condition>, X = Cel> {
    /// The status is in one of these ranges. A check of this kind replaces the rule that 400 and
    /// above are failures.
    Status(Vec<StatusRange>),
    /// All conditions hold for the first node that is found in the body's JSON.
    JsonPath {
        /// Query for the node.
        path: JsonPath,
        /// Conditions for the node.
        must: C,
    },
    /// All conditions hold for one of the values of a header.
    Header {
        /// Name of the header, in any case.
        name: String,
        /// Conditions for one value.
        must: C,
    },
    /// All conditions hold for the body as text.
    Body(C),
    /// The time from the intended start to the last byte is below a bound.
    Latency {
        /// Bound, exclusive.
        #[serde(with = "duration::micros")]
        below: Duration,
    },
    /// The number of bytes of the body is within bounds.
    Size {
        /// Lower bound, exclusive.
        above: Option<u64>,
        /// Upper bound, exclusive.
        below: Option<u64>,
    },
    /// The expression gives true.
    Cel(X),
    /// The status of a gRPC call is one of these. A check of this kind replaces the rule that all
    /// but OK are failures.
    GrpcStatus(Vec<Code>),
    /// All conditions hold for one of the values of a trailer, which a gRPC server sends after its
    /// messages.
    Trailer {
        /// Name of the trailer, in any case.
        name: String,
        /// Conditions for one value.
        must: C,
    },
    /// The number of messages received in a gRPC call is within bounds.
    Messages {
        /// Lower bound, inclusive.
        at_least: Option<u64>,
        /// Upper bound, inclusive.
        at_most: Option<u64>,
    },
    /// The number of events received is within bounds.
    Events {
        /// Lower bound, inclusive.
        at_least: Option<u64>,
        /// Upper bound, inclusive.
        at_most: Option<u64>,
    },
}

/// Range of HTTP status codes, both ends included, written as `200`, `2xx` or `200-204`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StatusRange {
    /// First code of the range, at least 100.
    pub from: u16,
    /// Last code of the range, at most 599.
    pub to: u16,
}

/// Condition for a part of an answer. Values are templates; numbers are compared by value, so 1
/// equals 1.0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Condition {
    /// The part exists (`true`), or is missing (`false`). Stands alone: every other condition
    /// implies `true`.
    Exists(bool),
    /// The part equals this value.
    Equals(JsonTemplate),
    /// The part equals an item of this list.
    In(JsonTemplate),
    /// The part contains this value: a substring of text, an item of a list, the name of an
    /// object's field.
    Contains(JsonTemplate),
    /// The pattern matches somewhere in the part.
    Matches(Pattern),
    /// Exact length: characters of text, items of a list, fields of an object.
    Length(u64),
    /// Smallest allowed length.
    MinLength(u64),
    /// Largest allowed length.
    MaxLength(u64),
    /// The part is a number below this one.
    Below(JsonTemplate),
    /// The part is a number that is not above this one.
    AtMost(JsonTemplate),
    /// The part is a number above this one.
    Above(JsonTemplate),
    /// The part is a number that is not below this one.
    AtLeast(JsonTemplate),
}

impl<C, X> Check<C, X> {
    /// Fact of the answer that the check reads; `None` for an expression, which reads only facts
    /// that every answer has.
    pub fn fact(&self) -> Option<Fact> {
        Some(match self {
            Self::Status(_) => Fact::Status,
            Self::JsonPath { .. } | Self::Body(_) => Fact::Body,
            Self::Header { .. } => Fact::Headers,
            Self::Latency { .. } => Fact::Latency,
            Self::Size { .. } => Fact::Size,
            Self::Cel(_) => return None,
            Self::GrpcStatus(_) => Fact::GrpcStatus,
            Self::Trailer { .. } => Fact::Trailers,
            Self::Messages { .. } => Fact::Messages,
            Self::Events { .. } => Fact::Events,
        })
    }
}

impl Check {
    /// Makes the same check with its conditions prepared by `conditions` and its expression by
    /// `expression`; fails as these do.
    pub fn prepare<C, X, E>(
        &self,
        conditions: impl FnOnce(&[Condition]) -> Result<C, E>,
        expression: impl FnOnce(&Cel) -> Result<X, E>,
    ) -> Result<Check<C, X>, E> {
        Ok(match self {
            Self::Status(ranges) => Check::Status(ranges.clone()),
            Self::JsonPath { path, must } => Check::JsonPath {
                path: path.clone(),
                must: conditions(must)?,
            },
            Self::Header { name, must } => Check::Header {
                name: name.clone(),
                must: conditions(must)?,
            },
            Self::Body(must) => Check::Body(conditions(must)?),
            Self::Latency { below } => Check::Latency { below: *below },
            Self::Size { above, below } => Check::Size {
                above: *above,
                below: *below,
            },
            Self::Cel(cel) => Check::Cel(expression(cel)?),
            Self::GrpcStatus(codes) => Check::GrpcStatus(codes.clone()),
            Self::Trailer { name, must } => Check::Trailer {
                name: name.clone(),
                must: conditions(must)?,
            },
            Self::Messages { at_least, at_most } => Check::Messages {
                at_least: *at_least,
                at_most: *at_most,
            },
            Self::Events { at_least, at_most } => Check::Events {
                at_least: *at_least,
                at_most: *at_most,
            },
        })
    }
}

/// Writes the check as messages show it, its templates as they are written: their values are known
/// when an answer is judged.
impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let conditions = |f: &mut std::fmt::Formatter<'_>, must: &[Condition]| {
            must.iter()
                .try_for_each(|condition| write!(f, " {condition}"))
        };
        match self {
            Self::Status(ranges) => {
                let ranges: Vec<String> = ranges.iter().map(StatusRange::to_string).collect();
                write!(f, "status {}", ranges.join(", "))
            }
            Self::JsonPath { path, must } => {
                write!(f, "jsonPath {}", path.source()).and_then(|()| conditions(f, must))
            }
            Self::Header { name, must } => {
                write!(f, "header {name}").and_then(|()| conditions(f, must))
            }
            Self::Body(must) => f.write_str("body").and_then(|()| conditions(f, must)),
            Self::Latency { below } => write!(f, "latency below {}", duration::format(*below)),
            Self::Size { above, below } => {
                f.write_str("size")?;
                above
                    .iter()
                    .try_for_each(|above| write!(f, " above {above}"))?;
                below
                    .iter()
                    .try_for_each(|below| write!(f, " below {below}"))
            }
            Self::Cel(cel) => write!(f, "cel {}", cel.source()),
            Self::GrpcStatus(codes) => {
                let codes: Vec<String> = codes.iter().map(Code::to_string).collect();
                write!(f, "grpcStatus {}", codes.join(", "))
            }
            Self::Trailer { name, must } => {
                write!(f, "trailer {name}").and_then(|()| conditions(f, must))
            }
            Self::Messages { at_least, at_most } => counted(f, "messages", *at_least, *at_most),
            Self::Events { at_least, at_most } => counted(f, "events", *at_least, *at_most),
        }
    }
}

fn counted(
    f: &mut std::fmt::Formatter<'_>,
    what: &str,
    at_least: Option<u64>,
    at_most: Option<u64>,
) -> std::fmt::Result {
    f.write_str(what)?;
    at_least
        .iter()
        .try_for_each(|count| write!(f, " at least {count}"))?;
    at_most
        .iter()
        .try_for_each(|count| write!(f, " at most {count}"))
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, value) = match self {
            Self::Exists(true) => return f.write_str("exists"),
            Self::Exists(false) => return f.write_str("does not exist"),
            Self::Matches(pattern) => return write!(f, "matches {}", pattern.source()),
            Self::Length(length) => return write!(f, "length {length}"),
            Self::MinLength(length) => return write!(f, "length at least {length}"),
            Self::MaxLength(length) => return write!(f, "length at most {length}"),
            Self::Equals(value) => ("equals", value),
            Self::In(values) => ("in", values),
            Self::Contains(value) => ("contains", value),
            Self::Below(value) => ("below", value),
            Self::AtMost(value) => ("at most", value),
            Self::Above(value) => ("above", value),
            Self::AtLeast(value) => ("at least", value),
        };
        write!(f, "{name} {value}")
    }
}

impl StatusRange {
    /// Reads a code (`200`), a class (`2xx`) or a range (`200-204`) of codes from 100 to 599.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not a set of status codes; write a code such as 200, a class such as \
                 2xx or a range such as 200-204"
            )
        };
        let code = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
            text.parse()
                .ok()
                .filter(|code| digits && (100..600).contains(code))
                .ok_or_else(wrong)
        };
        if let Some(class) = text.strip_suffix("xx") {
            let from = code(&format!("{class}00"))?;
            return Ok(Self {
                from,
                to: from + 99,
            });
        }
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let range = Self {
            from: code(from.trim())?,
            to: code(to.trim())?,
        };
        if range.from <= range.to {
            Ok(range)
        } else {
            Err(wrong())
        }
    }

    /// Returns whether the code is in the range.
    pub fn contains(&self, status: u16) -> bool {
        (self.from..=self.to).contains(&status)
    }
}

impl std::fmt::Display for StatusRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, to } = self;
        match to - from {
            0 => write!(f, "{from}"),
            99 if from % 100 == 0 => write!(f, "{}xx", from / 100),
            _ => write!(f, "{from}-{to}"),
        }
    }
}

impl TryFrom<String> for StatusRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<StatusRange> for String {
    fn from(range: StatusRange) -> String {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_set_of_codes_is_refused() {
        for text in [
            "", "20", "2000", "099", "600", "2x", "xx", "6xx", "0xx", "2xx-3xx", "204-200", "-200",
            "200-", "+20", "2 xx", "ab0",
        ] {
            assert!(StatusRange::parse(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn codes_classes_and_ranges_read_back() {
        for (text, from, to) in [
            ("200", 200, 200),
            ("2xx", 200, 299),
            ("200-204", 200, 204),
            ("400-599", 400, 599),
        ] {
            let range = StatusRange::parse(text).unwrap();
            assert_eq!((range.from, range.to), (from, to));
            assert_eq!(range.to_string(), text);
            assert!(range.contains(from) && range.contains(to) && !range.contains(to + 1));
        }
    }
}
