//! Results of streams, and of requests held against limits.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LatencySummary;

/// Streams of a step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamResult {
    /// Messages sent by the client, over gRPC.
    pub messages_sent: u64,
    /// Messages received over gRPC, or events over HTTP; also of requests that failed.
    pub messages_received: u64,
    /// Messages or events received per second, over the profile's length.
    pub received_per_second: f64,
    /// Intended time to the first message, of successes. A language model has `ttft` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<LatencySummary>,
    /// Time from one message to the next. A language model has `itl` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<LatencySummary>,
    /// Output of a language model, where one answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llm: Option<LlmResult>,
}

/// Output of a language model, in answers that succeeded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LlmResult {
    /// Intended time to the first event with content, reasoning included.
    pub ttft: LatencySummary,
    /// Intended time to the first text after the reasoning, of answers that begin by reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_answer: Option<LatencySummary>,
    /// Time between events with content: one distribution over all gaps, those of failures
    /// included.
    pub itl: LatencySummary,
    /// Time from the first to the last event with content, by the output tokens after the first:
    /// one value an answer.
    pub tpot: LatencySummary,
    /// Output tokens of an answer by its latency.
    pub answer_rate: TokenRate,
    /// Tokens of prompts; 0 where the target does not count them.
    pub input_tokens: u64,
    /// Tokens of completions.
    pub output_tokens: u64,
    /// Tokens among `output_tokens` that the answers call reasoning.
    pub reasoning_tokens: u64,
    /// Tokens of prompts per second, over the profile's length.
    pub input_tokens_per_second: f64,
    /// Tokens of completions per second, over the profile's length.
    pub output_tokens_per_second: f64,
    /// Origin of the token counts.
    pub tokens_from: TokensFrom,
}

/// Origin of token counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TokensFrom {
    /// The target counted, by `usage` in each stream.
    #[default]
    Usage,
    /// Nobody counted: each event with content is one token.
    Events,
    /// The target counted in some of the streams only.
    Both,
}

/// Output tokens per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRate {
    /// Mean.
    pub mean: f64,
    /// 5th percentile: 5% of the answers are slower.
    pub p5: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
}

/// Requests that succeeded within all limits of their step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GoodputResult {
    /// Number of good requests.
    pub good: u64,
    /// Number of intended requests: finished, failed or not, cut at the end, and each dropped
    /// arrival as one.
    pub intended: u64,
    /// Good requests per second, over the profile's length.
    pub per_second: f64,
    /// Good requests over intended ones.
    pub ratio: f64,
}
