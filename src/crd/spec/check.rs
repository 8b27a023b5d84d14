//! What is asked of an answer, and what is taken out of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::Unit;

/// One property that the answer must have. Exactly one of `status`, `jsonPath`, `header`, `body`,
/// `latency`, `size`, `cel`, `grpcStatus`, `trailer`, `messages` and `events` says of what; with
/// `jsonPath`, `header` and `trailer`, the other fields say how it must be, all of them, and
/// without any it must exist. A failed check makes the request a failure of class `check`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("oneOf" = [{"required": ["status"]}, {"required": ["jsonPath"]}, {"required": ["header"]}, {"required": ["body"]},
    {"required": ["latency"]}, {"required": ["size"]}, {"required": ["cel"]},
    {"required": ["grpcStatus"]}, {"required": ["trailer"]}, {"required": ["messages"]}, {"required": ["events"]}]))]
pub struct CheckSpec {
    /// Codes such as `200`, classes such as `2xx` or ranges such as `200-204`; one of them must be
    /// answered. A check of this kind replaces the rule that 400 and above are failures.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::status_codes")]
    pub status: Option<Vec<Value>>,
    /// JSONPath (RFC 9535) into the body; of several nodes the first is looked at. Of gRPC the
    /// body is the last message as JSON, with fields named as in the `.proto` file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub json_path: Option<String>,
    /// A header's name, in any case; of several values one must be as asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub header: Option<String>,
    /// The body as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<BodyCheckSpec>,
    /// The time from when the request should have been sent to the last byte of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyCheckSpec>,
    /// Bytes of the body, as the target sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<SizeCheckSpec>,
    /// An expression in CEL that must give true. It may name `status` (of gRPC the number of its
    /// code), `headers` (names in lower case), `body`, `json`, `latency` (in milliseconds),
    /// `vars.NAME`, `feeders.NAME.COLUMN`, `iteration` and `user.id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub cel: Option<String>,
    /// Numbers or names of gRPC status codes, such as `OK` or `5`; one of them must be answered. A
    /// check of this kind replaces the rule that all but `OK` are failures.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::status_codes")]
    pub grpc_status: Option<Vec<Value>>,
    /// As `header`, of what a gRPC server sends after its messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub trailer: Option<String>,
    /// The messages received in a gRPC call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<CountCheckSpec>,
    /// The events received of an `http.stream`, those without content and the one that ends it
    /// included, but for a mark as of `until.text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<CountCheckSpec>,
    /// Whether it must be there at all; `null` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
    /// The value it must have. Strings are templates; a number is equal to any way of writing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::free_value")]
    pub equals: Option<Value>,
    /// The values of which it must have one, each as in `equals`.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::free_list")]
    pub one_of: Option<Vec<Value>>,
    /// What it must contain: a part of text, an item of a list, or the name of an object's field.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::free_value")]
    pub contains: Option<Value>,
    /// A regular expression (RE2 syntax) that must match somewhere in it; what is no text is
    /// matched as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub matches: Option<String>,
    /// Its length: items of a list, characters of text, fields of an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub length: Option<u32>,
    /// At least this length.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_length: Option<u32>,
    /// At most this length.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_length: Option<u32>,
    /// A number it must be below, or a template that gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::free_value")]
    pub below: Option<Value>,
    /// A number it must not be above, or a template that gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::free_value")]
    pub at_most: Option<Value>,
    /// A number it must be above, or a template that gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::free_value")]
    pub above: Option<Value>,
    /// A number it must not be below, or a template that gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::free_value")]
    pub at_least: Option<Value>,
}

/// All that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("minProperties" = 1))]
pub struct BodyCheckSpec {
    /// The whole body; a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub equals: Option<String>,
    /// A part of the body; a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub contains: Option<String>,
    /// A regular expression (RE2 syntax) that must match somewhere in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub matches: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyCheckSpec {
    /// It must be shorter than this.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub below: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("minProperties" = 1))]
pub struct SizeCheckSpec {
    /// More bytes than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub above: Option<i64>,
    /// Fewer bytes than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub below: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct CountCheckSpec {
    /// So many or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub at_least: Option<u32>,
    /// So many or fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub at_most: Option<u32>,
}

/// Where in the answer a value is: exactly one of `jsonPath`, `regex`, `header`, `cookie` and
/// `body`. Nothing found makes the request a failure of class `extract`, unless there is a
/// `default`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("oneOf" = [{"required": ["jsonPath"]}, {"required": ["regex"]}, {"required": ["header"]}, {"required": ["cookie"]},
    {"required": ["body"]}]))]
pub struct ExtractSpec {
    /// JSONPath (RFC 9535) into the body: the first node, which keeps its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub json_path: Option<String>,
    /// A regular expression (RE2 syntax) over the body: group 1 of the first match if there is
    /// one, else the whole match.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub regex: Option<String>,
    /// A header's name, in any case: its first value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub header: Option<String>,
    /// The name of a cookie that the answer sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub cookie: Option<String>,
    /// `true`: the whole body, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<bool>,
    /// With `jsonPath`: a list of all nodes instead of the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// Taken when nothing is found.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::free_value")]
    pub default: Option<Value>,
}

/// A number of each good answer, kept as a metric of its own that thresholds may judge. An answer
/// without it is counted, and is no failure. Kept apart within 0.1% are times from 1 us to an hour,
/// sizes from 1 byte to 3.6 GB, and other numbers from 0.001 to 3.6 million; smaller ones count as
/// the smallest, larger ones as the largest, and negative ones as none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordSpec {
    /// The metric's name; steps that record under one name share it.
    #[schemars(length(min = 1, max = 63), extend("pattern" = "^[A-Za-z][A-Za-z0-9_]*$"))]
    pub name: String,
    /// What the number counts: time in `s`, `ms` or `us`, `bytes`, or `none` of these.
    #[serde(default)]
    #[schemars(schema_with = "crate::crd::schema::unit")]
    pub unit: Unit,
    /// Where the number is.
    pub from: RecordFromSpec,
}

/// Where in the answer the number is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct RecordFromSpec {
    /// JSONPath (RFC 9535) into the body: the first node, a number or text that is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub json_path: Option<String>,
    /// A header's name, in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub header: Option<String>,
    /// A regular expression (RE2 syntax) over the body: group 1 of the first match if there is
    /// one, else the whole match.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub regex: Option<String>,
    /// An expression in CEL that gives a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub cel: Option<String>,
}

impl CheckSpec {
    /// It says something of what only answers over gRPC have, or only streams of events.
    pub(in crate::crd) fn is_of_one_protocol(&self) -> bool {
        self.grpc_status.is_some()
            || self.trailer.is_some()
            || self.messages.is_some()
            || self.events.is_some()
    }

    /// It says something of what other answers have as well.
    pub(in crate::crd) fn is_of_http_too(&self) -> bool {
        let Self {
            status,
            json_path,
            header,
            body,
            latency,
            size,
            cel,
            ..
        } = self;
        [
            status.is_some(),
            json_path.is_some(),
            header.is_some(),
            body.is_some(),
            latency.is_some(),
            size.is_some(),
            cel.is_some(),
        ]
        .contains(&true)
    }
}
