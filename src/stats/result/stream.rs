//! What a result says of streams, and of requests that met their limits.

use serde::{Deserialize, Serialize};

use super::LatencySummary;

/// The streams of a step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamResult {
    /// By the client, over gRPC.
    pub messages_sent: u64,
    /// Messages over gRPC, events over HTTP; also of requests that failed.
    pub messages_received: u64,
    /// Of those per second, over the profile's length.
    pub received_per_second: f64,
    /// Intended time to the first of them, of successes. A language model has `ttft` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<LatencySummary>,
    /// From one to the next. A language model has `itl` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<LatencySummary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llm: Option<LlmResult>,
}

/// What a language model wrote, in answers that succeeded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LlmResult {
    /// Intended time to the first event with content, reasoning included.
    pub ttft: LatencySummary,
    /// Likewise, to the first text that is no reasoning, of answers that begin by reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_answer: Option<LatencySummary>,
    /// Between events with content: one distribution over all gaps, those of failures included.
    pub itl: LatencySummary,
    /// From the first to the last event with content, by the output tokens after the first: one
    /// value an answer.
    pub tpot: LatencySummary,
    /// Of one answer: output tokens by its latency.
    pub answer_rate: TokenRate,
    /// 0 where the target does not count them.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Of the output.
    pub reasoning_tokens: u64,
    /// Over the profile's length, as is the next.
    pub input_tokens_per_second: f64,
    pub output_tokens_per_second: f64,
    pub tokens_from: TokensFrom,
}

/// Who counted the tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokensFrom {
    /// The target, by `usage` in each stream.
    #[default]
    Usage,
    /// Nobody did: each event with content counts as one token.
    Events,
    /// The target, in some of the streams only.
    Both,
}

/// Output tokens per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenRate {
    pub mean: f64,
    /// 5% of the answers are slower.
    pub p5: f64,
    pub p50: f64,
    pub p95: f64,
}

/// Requests that succeeded within all limits of their step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GoodputResult {
    pub good: u64,
    /// All that were intended: finished, failed or not, cut at the end, and each dropped arrival
    /// as one.
    pub intended: u64,
    /// Good ones, over the profile's length.
    pub per_second: f64,
    /// Good ones over those intended.
    pub ratio: f64,
}
