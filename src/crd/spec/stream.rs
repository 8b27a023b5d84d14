//! Answers that are read event by event, and the limits that make a request a good one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::{StreamFormat, StreamPreset};

/// Reads the answer event by event while it comes: time to the first event, gaps between events,
/// and what a language model wrote. The step's timeout covers the whole stream. One that breaks off
/// has failed; one that goes on when the run ends is cut after `run.stopTimeout`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpStreamSpec {
    /// `SSE`: server-sent events. `Lines`: each line that is not empty is an event, as in JSON
    /// Lines.
    pub format: StreamFormat,
    /// `OpenAI`: the events are those of a language model's completions or chat completions, so
    /// that TTFT, ITL, TPOT and tokens are measured, over the events that bear content;
    /// reasoning is content, and is shown apart. `stream: true` and `stream_options.include_usage`
    /// are put into the `json` body unless it says so itself, and the stream must end with
    /// `[DONE]` unless `until` says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<StreamPreset>,
    /// The last event; a stream that ends without it has failed, and what comes after it is not
    /// waited for. If unset the stream goes to the end of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<UntilSpec>,
}

/// What the last event is known by.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("oneOf" = [{"required": ["text"]}, {"required": ["event"]}, {"required": ["jsonPath"]}]))]
pub struct UntilSpec {
    /// Its data is this text; such an event is a mark, and no event that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub text: Option<String>,
    /// Its name, as `event:` gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub event: Option<String>,
    /// JSONPath (RFC 9535) into its data; the first node found is neither `false` nor `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub json_path: Option<String>,
}

/// A request that succeeds within all limits that are set is a good one. The result tells how many
/// there are per second, and what share of all intended requests they are: failed ones, those cut
/// at the end of the run and dropped arrivals included.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct GoodputSpec {
    /// From when the request should have been sent to the last byte of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub latency: Option<String>,
    /// From then to the first event of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub first_event: Option<String>,
    /// From then to the first message of a gRPC stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub first_message: Option<String>,
    /// From then to a language model's first event with content.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub ttft: Option<String>,
    /// Per output token of a language model, after the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub tpot: Option<String>,
}
