//! Checks: properties that an answer must have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AnyOf, OneOf};

/// One property that the answer must have. Exactly one of the fields `status`, `jsonPath`,
/// `header`, `body`, `latency`, `size`, `cel`, `grpcStatus`, `trailer`, `messages` and `events`
/// names the part of the answer. `jsonPath`, `header` and `trailer` stand with any of the other
/// fields, which are conditions: all must hold, and without any the part must exist. A failed check
/// makes the request a failure of class `check`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckSpec {
    /// Part of the answer that is checked.
    #[serde(flatten)]
    pub kind: OneOf<CheckKindSpec>,
    /// Conditions for the part, where the kind takes any.
    #[serde(flatten)]
    pub must: AnyOf<ConditionSpec>,
}

/// Part of an answer that a check is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CheckKindSpec {
    /// Status codes such as `200`, classes such as `2xx` or ranges such as `200-204`, one of which
    /// the answer must have. A check of this kind replaces the rule that 400 and above are
    /// failures. Not with `grpc`.
    Status(#[schemars(schema_with = "crate::crd::schema::status_codes")] Vec<Value>),
    /// JSONPath (RFC 9535) into the body. With `grpc` it is into the last message as JSON, whose
    /// fields are named as in the `.proto` file and whose whole numbers of 64 bits equal numbers and
    /// texts; with `http.stream.preset` into the answer as it was put together: `text`, `reasoning`,
    /// `toolCalls` (`id`, `name`, `arguments`), `finishReason`, `usage` (`inputTokens`,
    /// `outputTokens`, `reasoningTokens`), and `message`, in the form in which a conversation sends
    /// it back. Conditions hold for the first node.
    JsonPath(#[schemars(length(min = 1, max = 512))] String),
    /// Name of a header, in any case. Where the answer has several of the name, conditions must
    /// hold for one of them.
    Header(#[schemars(length(min = 1, max = 128))] String),
    /// The body as text.
    Body(BodyCheckSpec),
    /// Time from the intended start of the request to the last byte of the answer.
    Latency(LatencyCheckSpec),
    /// Bytes of the body as the target sent it, which may be compressed.
    Size(SizeCheckSpec),
    /// An expression in CEL that must be true. It reads `status` (of gRPC the number of the code),
    /// `headers` (names in lower case), `body`, `json` (what a JSONPath goes into), `rawEvents` (those
    /// of a stream, each with `event`, `data` and `json`), `latency` (in milliseconds), `vars.NAME`,
    /// `feeders.NAME.COLUMN`, `iteration` and `user.id`.
    Cel(#[schemars(length(min = 1, max = 1024))] String),
    /// Numbers or names of gRPC status codes, such as `5` or `OK`, one of which the call must end
    /// with. A check of this kind replaces the rule that all but `OK` are failures. Only with
    /// `grpc`.
    GrpcStatus(#[schemars(schema_with = "crate::crd::schema::status_codes")] Vec<Value>),
    /// Name of a trailer, which a gRPC server sends after its messages; otherwise like `header`.
    /// Only with `grpc`.
    Trailer(#[schemars(length(min = 1, max = 128))] String),
    /// Number of messages received. Only with `grpc`.
    Messages(CountCheckSpec),
    /// Number of events received, including events without content and the last one, unless that
    /// one is only the mark of `until.text`. Only with `http.stream`.
    Events(CountCheckSpec),
}

/// Condition for one part of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ConditionSpec {
    /// Existence of the part: `false` requires that it is missing, `true`, which is the default,
    /// that it is there. A value of `null` is there.
    Exists(bool),
    /// Value that the part must have. Strings are templates; numbers are compared by value, so `1`
    /// equals `1.0`.
    Equals(#[schemars(schema_with = "crate::crd::schema::free_value")] Value),
    /// Values of which the part must have one, each compared like `equals`.
    In(#[schemars(schema_with = "crate::crd::schema::free_list")] Vec<Value>),
    /// Content of the part: a substring of text, an item of a list, or the name of an object's
    /// field.
    Contains(#[schemars(schema_with = "crate::crd::schema::free_value")] Value),
    /// Number that the part must be below, or a template that gives one.
    Below(#[schemars(schema_with = "crate::crd::schema::free_value")] Value),
    /// Largest number that the part may be, or a template that gives one.
    AtMost(#[schemars(schema_with = "crate::crd::schema::free_value")] Value),
    /// Number that the part must be above, or a template that gives one.
    Above(#[schemars(schema_with = "crate::crd::schema::free_value")] Value),
    /// Smallest number that the part may be, or a template that gives one.
    AtLeast(#[schemars(schema_with = "crate::crd::schema::free_value")] Value),
    /// A regular expression (RE2 syntax) that must match somewhere in the part; a value other than
    /// text is matched as JSON.
    Matches(#[schemars(length(min = 1, max = 512))] String),
    /// Exact length: items of a list, characters of text, fields of an object.
    Length(#[schemars(range(min = 0))] u32),
    /// Smallest allowed length, inclusive, counted like `length`.
    MinLength(#[schemars(range(min = 0))] u32),
    /// Largest allowed length, inclusive, counted like `length`.
    MaxLength(#[schemars(range(min = 0))] u32),
}

impl CheckKindSpec {
    /// Returns whether conditions may stand beside the kind.
    pub(in crate::crd) fn takes_conditions(&self) -> bool {
        matches!(self, Self::JsonPath(_) | Self::Header(_) | Self::Trailer(_))
    }
}

/// Conditions for the body as text; all that are set must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("minProperties" = 1))]
pub struct BodyCheckSpec {
    /// Text that the whole body must equal; a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub equals: Option<String>,
    /// Text that the body must contain; a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub contains: Option<String>,
    /// A regular expression (RE2 syntax) that must match somewhere in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub matches: Option<String>,
}

/// Bound of an answer's latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyCheckSpec {
    /// Duration that the latency must stay below.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub below: String,
}

/// Bounds of the size of a body; at least one must be set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("minProperties" = 1))]
pub struct SizeCheckSpec {
    /// Number of bytes that the size must be above.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub above: Option<i64>,
    /// Number of bytes that the size must be below.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub below: Option<i64>,
}

/// Bounds of a number of messages or events; at least one must be set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct CountCheckSpec {
    /// Smallest allowed number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub at_least: Option<u32>,
    /// Largest allowed number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub at_most: Option<u32>,
}
