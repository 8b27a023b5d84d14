//! Results of a run in the status, shortened for people.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Results of a run over its measured part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ResultsStatus {
    /// Measured requests.
    pub requests: u64,
    /// Failed requests.
    pub failures: u64,
    /// Share of failed requests, such as `0.5%`.
    pub failure_rate: String,
    /// Requests per second over the length of the load profile.
    pub rps: String,
    /// Iterations that ended.
    pub iterations: u64,
    /// Requests sent but cut off at the end of the run.
    pub interrupted: u64,
    /// Iterations per second that open load asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_rate: Option<String>,
    /// Iterations per second that open load started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub achieved_rate: Option<String>,
    /// Arrivals or iterations that were due and not started.
    pub dropped: u64,
    /// Load offered, compared with the profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadStatus>,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Answer of a search for the capacity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityStatus>,
    /// Requests of steps with `goodput` that met all limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goodput: Option<GoodputStatus>,
    /// Requests in flight, users and busy slots over the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyStatus>,
    /// Cost of the target at this run's thresholds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostStatus>,
    /// Latency of successful requests, from the intended start to the last byte.
    pub latency: LatencyStatus,
    /// Service time of successful requests, from the first byte written to the last byte.
    pub service_time: LatencyStatus,
    /// Steps with the most requests, at most 20.
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<StepStatus>,
    /// Metrics of the test's own records, at most 8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub records: Vec<RecordStatus>,
    /// Most frequent errors, at most 10.
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub errors: Vec<ErrorStatus>,
    /// Load of the workers themselves.
    pub generator: GeneratorStatus,
    /// Workers planned and lost.
    pub workers: ResultWorkersStatus,
    /// Samples that were lost with the Pod of a master; absent if none were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<IncompleteStatus>,
    /// Says that something was left out here that the report holds.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Number of entries left out, by list.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub omitted: BTreeMap<String, u64>,
}

/// Load offered, compared with the profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadStatus {
    /// Share of the profile that was offered.
    pub offered: String,
    /// Warning that less than 99% of the planned load was offered, or that a planned number of users
    /// was never reached.
    pub below_profile: bool,
    /// Load that was planned and load that was offered, in words.
    #[schemars(length(max = 256))]
    pub told: String,
    /// Reasons why planned load was not offered, in words; empty if all was.
    #[schemars(length(max = 512))]
    pub why: String,
    /// Arrivals that no worker was there to make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_arrivals: Option<u64>,
    /// Share of the users' time for which they were missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_users: Option<String>,
}

/// Answer of a search for the capacity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CapacityStatus {
    /// Confirmed rate in iterations per second; empty if none was confirmed.
    pub rate: String,
    /// Limit that ended the search: `Target`, `Generator` (the rate is then a lower bound) or
    /// `Max`.
    pub limited_by: String,
    /// Levels tried, by rate; the last 24 of them.
    #[schemars(length(max = 24), extend("x-kubernetes-list-type" = "atomic"))]
    pub levels: Vec<CapacityLevelStatus>,
}

/// Concurrency: what was there at once, measured over time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ConcurrencyStatus {
    /// Requests in flight, sent and not answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<AtOnceStatus>,
    /// Users of closed load and of a number of iterations, whether or not they pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<AtOnceStatus>,
    /// Slots of open load with an iteration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots: Option<AtOnceStatus>,
    /// Requests in flight by Little's law: rate times mean latency.
    pub by_latency: String,
}

/// Number of things that were there at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct AtOnceStatus {
    /// Mean over time.
    pub mean: String,
    /// Largest number at any time; with several workers it may be a little larger than the truth.
    pub max: u64,
}

/// Cost of the target at this run's thresholds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CostStatus {
    /// Price of a million requests, with the currency; empty if there is none.
    pub per_million_requests: String,
    /// Price of the tokens of a million requests, with the currency.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tokens_per_million_requests: String,
    /// Requests per second on which the price is based.
    pub rate: String,
    /// Origin of `rate`: `Sustainable` (found by a search) or `Achieved`.
    pub basis: String,
    /// Number of endpoints that serve the wanted rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<u64>,
    /// Reason for which there is no price; empty if there is one.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub why_not: String,
}

/// One level of a search for the capacity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CapacityLevelStatus {
    /// Iterations per second of the level.
    pub rate: String,
    /// Verdict on the level: `true` if it held.
    pub held: bool,
    /// Median latency.
    pub p50: String,
    /// 95th percentile of the latency.
    pub p95: String,
    /// 99th percentile of the latency.
    pub p99: String,
    /// Share of failed requests.
    pub failure_rate: String,
}

/// Distribution of a time over successful requests, each with its unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LatencyStatus {
    /// Minimum.
    pub min: String,
    /// Mean.
    pub mean: String,
    /// Median.
    pub p50: String,
    /// 90th percentile.
    pub p90: String,
    /// 95th percentile.
    pub p95: String,
    /// 99th percentile.
    pub p99: String,
    /// 99.9th percentile.
    pub p999: String,
    /// Maximum.
    pub max: String,
}

/// Results of a step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StepStatus {
    /// Name of the scenario.
    #[schemars(length(max = 128))]
    pub scenario: String,
    /// Name of the task or block.
    #[schemars(length(max = 128))]
    pub task: String,
    /// Name of the step.
    #[schemars(length(max = 128))]
    pub step: String,
    /// Measured requests.
    pub requests: u64,
    /// Failed requests.
    pub failures: u64,
    /// Requests per second over the length of the load profile.
    pub rps: String,
    /// Median latency of successful requests.
    pub p50: String,
    /// 95th percentile of the latency.
    pub p95: String,
    /// 99th percentile of the latency.
    pub p99: String,
    /// Highest latency.
    pub max: String,
    /// Measures of a step whose requests or answers are streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamStatus>,
}

/// Streams of a step: with `http.stream.preset` the measures of a language model, otherwise those
/// of events or messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamStatus {
    /// Time to the first event or message, 99th percentile.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub first_p99: String,
    /// Gap between events or messages, 99th percentile.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gap_p99: String,
    /// Time to the first event with content (TTFT), median.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ttft_p50: String,
    /// Time to the first event with content (TTFT), 99th percentile.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ttft_p99: String,
    /// Gap between events with content (ITL), 99th percentile.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub itl_p99: String,
    /// Time per output token after the first (TPOT), median.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tpot_p50: String,
    /// Output tokens per second over the length of the load profile.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output_tokens: String,
    /// Origin of the token counts: `Usage` (reported by the target), `Events` (each event with
    /// content counts as one) or `Both` (reported in some streams only).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tokens_from: String,
}

/// Requests that met all limits of their step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GoodputStatus {
    /// Good requests per second.
    pub per_second: String,
    /// Share of good requests among all intended ones.
    pub ratio: String,
}

/// Numbers of one record, each with its unit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RecordStatus {
    /// Name of the record.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Number of values.
    pub count: u64,
    /// Mean.
    pub mean: String,
    /// Median.
    pub p50: String,
    /// 95th percentile.
    pub p95: String,
    /// 99th percentile.
    pub p99: String,
    /// Maximum.
    pub max: String,
}

/// One kind of error.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ErrorStatus {
    /// Class of the error, such as `timeout`.
    pub class: String,
    /// Name of the step.
    #[schemars(length(max = 128))]
    pub step: String,
    /// Status code of the answer, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Number of such errors.
    pub count: u64,
    /// Message of one of them.
    #[schemars(length(max = 256))]
    pub sample: String,
}

/// Load of the workers themselves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GeneratorStatus {
    /// Warning that the workers, not the target, were the limit: the numbers are not the target's.
    pub saturated: bool,
    /// Share of the workers' cores in use.
    pub cpu: String,
    /// Delay of actions behind their intended time, 99th percentile.
    pub schedule_lag_p99: String,
    /// Time between the first and the last worker's start.
    pub start_skew: String,
    /// Number of workers that were the limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub saturated_workers: u32,
    /// Reason for which the first of them was the limit.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub why: String,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Workers of an ended run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResultWorkersStatus {
    /// Number of workers with which the run began.
    pub planned: u32,
    /// Number of workers lost during the run.
    pub lost: u32,
    /// Iterations of a fixed number that were given out again after the loss of a worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reissued: Option<u64>,
    /// Regions or hosts that the workers ran in, at most 8, those with the most requests first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub places: Vec<PlaceStatus>,
}

/// Samples that only a master had when its Pod was lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IncompleteStatus {
    /// Number of worker processes that had died before.
    pub workers: u32,
    /// Requests that they had reported.
    pub requests: u64,
}

/// Workers of one region or host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PlaceStatus {
    /// Name of the region or host.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Number of workers.
    pub workers: u32,
    /// Finished requests.
    pub requests: u64,
    /// Requests that failed.
    pub failures: u64,
}
