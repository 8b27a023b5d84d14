//! What an answer must be like.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::grpc::Code;
use super::{Cel, JsonPath, JsonTemplate, Pattern, duration};

/// At most so many checks a step.
pub const MAX_CHECKS: usize = 16;

/// One property of an answer; a request whose answer lacks it has failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Check {
    /// The status is among these. A check of this kind replaces the rule that 400 and above are
    /// failures.
    Status(Vec<StatusRange>),
    /// All hold for the first node found in the body's JSON.
    JsonPath {
        path: JsonPath,
        must: Vec<Condition>,
    },
    /// All hold for one of the header's values; its name in any case.
    Header { name: String, must: Vec<Condition> },
    /// All hold for the body as text.
    Body(Vec<Condition>),
    /// From the intended time to the last byte, exclusive.
    Latency {
        #[serde(with = "duration::micros")]
        below: Duration,
    },
    /// Bytes of the body, exclusive.
    Size {
        above: Option<u64>,
        below: Option<u64>,
    },
    /// Gives true.
    Cel(Cel),
    /// The status of a gRPC call is among these. A check of this kind replaces the rule that all
    /// but OK are failures.
    GrpcStatus(Vec<Code>),
    /// As `Header`, of what a gRPC server sends after its messages.
    Trailer { name: String, must: Vec<Condition> },
    /// Messages received in a gRPC call, both bounds included.
    Messages {
        at_least: Option<u64>,
        at_most: Option<u64>,
    },
    /// Events of an answer that is read as a stream, both bounds included.
    Events {
        at_least: Option<u64>,
        at_most: Option<u64>,
    },
}

/// Codes from `from` to `to`, both included: `200`, `2xx`, `200-204`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StatusRange {
    pub from: u16,
    pub to: u16,
}

/// What a part of an answer must be like. Values are templates; numbers are equal by value, so that
/// 1 is 1.0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Condition {
    /// Stands alone; every other condition implies `true`.
    Exists(bool),
    Equals(JsonTemplate),
    /// Equals an item of this list.
    In(JsonTemplate),
    /// Of text a part, of a list an item, of an object a field's name.
    Contains(JsonTemplate),
    Matches(Pattern),
    /// Characters of text, items of a list, fields of an object.
    Length(u64),
    MinLength(u64),
    MaxLength(u64),
    Below(JsonTemplate),
    AtMost(JsonTemplate),
    Above(JsonTemplate),
    AtLeast(JsonTemplate),
}

/// What is asked for, as a message says it: templates as they are written, since what they give may
/// be a credential.
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
        write!(
            f,
            "{name} {}",
            serde_json::to_string(value).unwrap_or_default()
        )
    }
}

impl StatusRange {
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not a set of status codes; write a code such as 200, a class such as 2xx or a range such as 200-204"
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
