//! Values and numbers that are taken out of an answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::OneOf;
use crate::plan::Unit;

/// Source of a value: exactly one of `jsonPath`, `regex`, `header`, `cookie`, `body` and `value`. An
/// answer without the value makes the request a failure of class `extract`, unless there is a
/// `default`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExtractSpec {
    /// Part of the answer that holds the value.
    #[serde(flatten)]
    pub from: OneOf<ExtractFromSpec>,
    /// Takes a list of all nodes instead of the first; only with `jsonPath`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// Value that is used when the answer has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::free_value")]
    pub default: Option<Value>,
}

/// Source of a value that is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ExtractFromSpec {
    /// JSONPath (RFC 9535) into the body; takes the first node, which keeps its type.
    JsonPath(#[schemars(length(min = 1, max = 512))] String),
    /// A regular expression (RE2 syntax) over the body; takes group 1 of the first match, or the
    /// whole match if the expression has no group.
    Regex(#[schemars(length(min = 1, max = 512))] String),
    /// Name of a header, in any case; takes its first value.
    Header(#[schemars(length(min = 1, max = 128))] String),
    /// Name of a cookie that the answer sets. Not with `grpc`.
    Cookie(#[schemars(length(min = 1, max = 128))] String),
    /// `true` takes the whole body, as text.
    Body(bool),
    /// Any value, whose text is a template, in place of one of the answer. It may use what the step
    /// took out of the answer, and the value that the name had before: `"{{ append(history, answer)
    /// }}"` makes a list that grows. Several are made in the order of their names.
    Value(#[schemars(schema_with = "crate::crd::schema::free_value")] Value),
}

/// A number of each successful answer, kept as a metric of its own that thresholds may judge. An
/// answer without the number is counted and is no failure. Values are kept within 0.1%: times from
/// 1 us to an hour, sizes from 1 byte to 3.6 GB, and other numbers from 0.001 to 3.6 million.
/// Smaller values count as the smallest, larger ones as the largest, and a negative value counts as
/// no number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordSpec {
    /// Name of the metric; steps that record under one name share it.
    #[schemars(length(min = 1, max = 63), extend("pattern" = "^[A-Za-z][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Unit of the number: time in `s`, `ms` or `us`, `bytes`, or `none` of these.
    #[serde(default)]
    #[schemars(schema_with = "crate::crd::schema::unit")]
    pub unit: Unit,
    /// Source of the number in the answer.
    pub from: OneOf<RecordFromSpec>,
}

/// Source of a number in an answer: exactly one of `jsonPath`, `header`, `regex` and `cel`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RecordFromSpec {
    /// JSONPath (RFC 9535) into the body; the first node must be a number, or text that is one.
    JsonPath(#[schemars(length(min = 1, max = 512))] String),
    /// Name of a header, in any case.
    Header(#[schemars(length(min = 1, max = 128))] String),
    /// A regular expression (RE2 syntax) over the body; takes group 1 of the first match, or the
    /// whole match if the expression has no group.
    Regex(#[schemars(length(min = 1, max = 512))] String),
    /// An expression in CEL that gives a number.
    Cel(#[schemars(length(min = 1, max = 1024))] String),
}
