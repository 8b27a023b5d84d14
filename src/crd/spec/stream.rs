//! Streams of events, and the limits of a good request.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::{StreamFormat, StreamPreset};

/// Reading of an answer event by event while it arrives: time to the first event, gaps between
/// events, and what a language model wrote. The step's timeout covers the whole stream. A stream
/// that breaks off is a failure; one that is open at the end of the run is cut after
/// `run.stopTimeout`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpStreamSpec {
    /// Format of the stream.
    pub format: StreamFormat,
    /// Kind of service behind the stream, which decides what is measured. If unset, events are
    /// events, whatever they hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<StreamPreset>,
    /// Mark of the last event. A stream that ends without it is a failure, and anything after it is
    /// not awaited. If unset, the stream ends with the body, and with a `preset` as that says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<UntilSpec>,
}

/// Mark of a stream's last event: exactly one of `text`, `event` and `jsonPath`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(
    extend("oneOf" = [{"required": ["text"]}, {"required": ["event"]}, {"required": ["jsonPath"]}])
)]
pub struct UntilSpec {
    /// Data of the last event, as a whole. Such an event is a mark only and is not counted as an
    /// event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub text: Option<String>,
    /// Name of the last event, as `event:` gives it. Not with `format: Lines`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub event: Option<String>,
    /// JSONPath (RFC 9535) into the data of each event; the last event is the one whose first node
    /// is neither `false` nor `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub json_path: Option<String>,
}

/// Limits of a good request, at least one: a request that succeeds within all of them counts as
/// good. The result says how many good requests there were per second, and which share of all
/// intended requests they are, with failed and interrupted requests and dropped arrivals among the
/// intended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct GoodputSpec {
    /// Longest time from the intended start of the request to the last byte of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub latency: Option<String>,
    /// Longest time from the intended start to the first event of an `http.stream` without
    /// `preset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub first_event: Option<String>,
    /// Longest time from the intended start to the first message of a gRPC call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub first_message: Option<String>,
    /// Longest time from the intended start to a language model's first event with content; needs
    /// `http.stream.preset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub ttft: Option<String>,
    /// Longest time per output token after the first; needs `http.stream.preset`. An answer of one
    /// token meets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub tpot: Option<String>,
}
