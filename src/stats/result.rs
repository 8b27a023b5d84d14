//! The whole result of a run, as `--json` writes it and the report stores it.
//!
//! Names are camelCase; numbers are in base units: microseconds, bytes, per second, shares from 0
//! to 1.

mod reason;
mod stream;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::errors::ErrorClass;

pub use reason::Reason;
pub use stream::{GoodputResult, LlmResult, StreamResult, TokenRate, TokensFrom};

/// Changes when a reader of the older form would misread the newer.
pub const SCHEMA_VERSION: &str = "1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunResult {
    /// [`SCHEMA_VERSION`]
    pub schema_version: String,
    /// The run's id.
    pub run: String,
    pub name: String,
    pub namespace: Option<String>,
    pub target: String,
    pub digest: String,
    pub plan: serde_json::Value,
    pub seed: u64,
    /// What the command line changed, as written there.
    pub overrides: Vec<String>,
    /// RFC 3339; `None` when no load was started.
    pub started_at: Option<String>,
    pub finished_at: String,
    /// The profile's length, without the drain.
    pub duration_micros: u64,
    pub verdict: Verdict,
    /// One CamelCase word, such as `NoThresholds`.
    pub reason: Reason,
    pub message: String,
    pub totals: Totals,
    pub steps: Vec<StepResult>,
    /// Iterations of each task.
    #[serde(default)]
    pub tasks: Vec<TaskResult>,
    /// Numbers that the test's records found in answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordResult>,
    pub errors: Vec<ErrorResult>,
    pub thresholds: Vec<ThresholdResult>,
    /// What a search for the capacity found; the rest of the result is of the level it confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityResult>,
    /// What was in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyResult>,
    /// Where the test says what the target costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostResult>,
    pub generator: Generator,
    pub workers: Workers,
    /// Of those whose rows all workers share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub feeders: Vec<FeederResult>,
    pub series: Vec<SeriesPoint>,
    pub histograms: Vec<HistogramResult>,
    /// Not of a search for the capacity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<TimeBlocks>,
    pub events: Vec<Event>,
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Every threshold was judged and met.
    Passed,
    /// A threshold was breached.
    Failed,
    /// The run could not be carried out, or not judged.
    Errored,
    /// Someone stopped it.
    Aborted,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    pub requests: u64,
    pub failures: u64,
    /// Failures over requests.
    pub failure_rate: f64,
    /// Sent and cut at the end; not in `requests`.
    pub interrupted: u64,
    /// In `requests` and `failures`, but no byte of them was written.
    pub unsent: u64,
    pub iterations: u64,
    pub dropped: u64,
    /// Of `dropped`: for want of a feeder row.
    #[serde(default)]
    pub feeder_drops: u64,
    pub connects: u64,
    /// Requests of the warm-up that were sent; in no other count.
    #[serde(default)]
    pub warmup: u64,
    #[serde(default)]
    pub warmup_failures: u64,
    /// Requests of setup, teardown, onStart and onStop, and health checks that passed, that were
    /// sent; in no other count.
    #[serde(default)]
    pub control: u64,
    #[serde(default)]
    pub control_failures: u64,
    /// Attempts that were sent and given up for another; in no other count.
    #[serde(default)]
    pub retries: u64,
    /// Redirections that were followed; in no other count.
    #[serde(default)]
    pub redirect_hops: u64,
    /// `requests` - `unsent` + `interrupted` + `warmup` + `control` + `retries` + `redirectHops`
    #[serde(default)]
    pub received_by_target: u64,
    #[serde(default)]
    pub checks_passed: u64,
    #[serde(default)]
    pub checks_failed: u64,
    /// Requests whose data came after their second was complete: in the totals, not in the series
    /// and no window.
    #[serde(default)]
    pub late: u64,
    /// Requests over the profile's length.
    pub rps: f64,
    /// Iterations per second that the profile asks for on average; only in open load.
    pub requested_rate: Option<f64>,
    /// Iterations started over the profile's length.
    pub achieved_rate: f64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// Of successes.
    pub latency: LatencySummary,
    /// Of successes.
    pub service_time: LatencySummary,
    /// Of successes, those that happened.
    #[serde(default)]
    pub phases: Vec<PhaseResult>,
    /// Of all steps that have limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goodput: Option<GoodputResult>,
}

/// A part of the time of requests: `dns`, `connect`, `tls`, `wait` or `download`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseResult {
    pub phase: String,
    /// Requests of which it was a part: a connection is opened for few of them.
    pub count: u64,
    #[serde(flatten)]
    pub summary: LatencySummary,
}

/// Measured iterations of one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    pub scenario: String,
    pub task: String,
    pub finished: u64,
    /// Those in which a step failed.
    pub failed: u64,
    /// Intended start to the end of the last step, of those in which none failed.
    pub duration: LatencySummary,
}

/// What all records of one name found. Unlike anywhere else, the numbers are in the unit beside
/// them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordResult {
    pub name: String,
    /// `none`, `s`, `ms`, `us` or `bytes`, as the test says.
    pub unit: String,
    /// Numbers found; what follows is zero when there are none.
    pub count: u64,
    /// Good answers without such a number.
    pub missing: u64,
    /// Numbers above what can be kept apart (an hour, 3.6 GB, 3.6 million), counted as that.
    pub clamped: u64,
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// Microseconds; all zero when there is no sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencySummary {
    pub min: u64,
    pub mean: f64,
    pub p50: u64,
    pub p90: u64,
    pub p95: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepResult {
    pub scenario: String,
    pub task: String,
    pub step: String,
    pub requests: u64,
    pub failures: u64,
    pub failure_rate: f64,
    pub rps: f64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub latency: LatencySummary,
    pub service_time: LatencySummary,
    /// Intended time to the failure.
    pub failed_latency: LatencySummary,
    /// Of successes, those that happened.
    #[serde(default)]
    pub phases: Vec<PhaseResult>,
    #[serde(default)]
    pub checks_passed: u64,
    #[serde(default)]
    pub checks_failed: u64,
    /// Answers by status code, ascending.
    pub statuses: Vec<StatusCount>,
    /// Answers over gRPC by their status, 0 being OK, ascending.
    #[serde(default)]
    pub grpc_statuses: Vec<StatusCount>,
    /// Only of a step whose requests or answers are streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamResult>,
    /// Only of a step that has limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goodput: Option<GoodputResult>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCount {
    pub status: u16,
    pub count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorResult {
    /// `None`: failures that found no place in the table of errors.
    pub class: Option<ErrorClass>,
    pub scenario: String,
    pub task: String,
    pub step: String,
    pub status: Option<u16>,
    pub count: u64,
    pub sample: String,
    /// What answers asked for by `Retry-After`, if any did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<RetryAfterResult>,
}

/// Seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryAfterResult {
    /// Answers that asked.
    pub count: u64,
    pub min: u64,
    pub median: u64,
    pub max: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ThresholdVerdict {
    Passed,
    Failed,
    NotJudged,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThresholdResult {
    pub metric: String,
    pub expr: String,
    /// What it was narrowed to, as the author wrote it.
    pub select: serde_json::Value,
    /// Length of the windows it was judged over; `None`: the whole run.
    pub window_micros: Option<u64>,
    /// A breach was to end the run.
    pub abort_on_fail: bool,
    /// In the unit of the metric; of windows the worst. `None` when there was nothing to judge, or
    /// too little.
    pub observed: Option<f64>,
    /// The run second at whose end that was observed; `None`: the end of the run.
    pub observed_second: Option<u32>,
    /// For people, with the unit.
    pub observed_text: String,
    pub verdict: ThresholdVerdict,
}

/// What a search for the capacity found; rates are iterations per second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityResult {
    /// The highest rate that was confirmed to hold; `None` if none was.
    pub rate: Option<f64>,
    /// `None` if the search did not come to its end.
    pub limited_by: Option<LimitedBy>,
    /// What the rate had to be.
    pub at_least: Option<f64>,
    /// Every level in the order in which they were tried.
    pub curve: Vec<CapacityLevel>,
}

/// Limit that a search for the capacity came up against; displayed by the variant's name, as in
/// JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitedBy {
    /// The target does not hold more.
    Target,
    /// The load generator was the bottleneck, so the rate found is a lower bound.
    Generator,
    /// The highest rate that was to be tried holds.
    Max,
}

impl fmt::Display for LimitedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Users of a closed load, iterations in flight of an open one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConcurrencyResult {
    /// Of what was observed at the end of each second.
    pub mean: f64,
    pub max: u64,
    /// Requests in flight as the rate times the mean latency has it (Little's law).
    pub by_latency: f64,
}

/// What the target costs at this run's thresholds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CostResult {
    pub currency: String,
    /// Of one endpoint.
    pub per_hour: Option<f64>,
    /// Origin of `rate`.
    pub basis: CostBasis,
    /// Requests per second; `None` where `why_not` says why there is no price.
    pub rate: Option<f64>,
    pub per_million_requests: Option<f64>,
    /// Of what the tokens of a million requests cost.
    pub tokens_per_million_requests: Option<f64>,
    /// Requests per second that are to be served.
    pub wanted_rate: Option<f64>,
    /// Endpoints that serve them.
    pub endpoints: Option<u64>,
    pub why_not: String,
}

/// Origin of the rate that a cost is worked out for; displayed by the variant's name, as in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CostBasis {
    /// The rate that a search for the capacity confirmed.
    Sustainable,
    /// The rate that this load came to, which the target may exceed.
    #[default]
    Achieved,
}

impl fmt::Display for CostBasis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// One level of a search, without the time it needed to settle.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityLevel {
    pub rate: f64,
    /// Purpose of the level.
    pub purpose: Purpose,
    pub held: bool,
    /// Why it did not hold.
    pub why: String,
    /// Iterations started per second.
    pub achieved_rate: f64,
    pub requests: u64,
    pub failures: u64,
    /// Failures over requests.
    pub failure_rate: f64,
    pub dropped: u64,
    /// Latency of successes, microseconds.
    pub p50: u64,
    pub p95: u64,
    pub p99: u64,
}

/// Purpose of a level in a search for the capacity; serialised as the variant's name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// The search asks whether the rate holds.
    #[default]
    Search,
    /// The target recovers at the lowest rate after a level that did not hold.
    Recovery,
    /// The search asks whether the rate holds for twice as long.
    Confirmation,
}

/// Whether the generator itself was the bottleneck.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Generator {
    /// At least one worker was.
    pub saturated: bool,
    /// Share of the usable cores.
    pub cpu: f64,
    /// Microseconds.
    pub schedule_lag_p99: u64,
    pub start_skew_micros: u64,
    /// The first of the workers that were saturated.
    #[serde(default)]
    pub workers: Vec<SaturatedWorker>,
    /// How many were.
    #[serde(default)]
    pub saturated_workers: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SaturatedWorker {
    pub worker: u32,
    /// Share of its usable cores.
    pub cpu: f64,
    /// Share of its CPU time for which its quota held it back.
    pub throttled: f64,
    /// Microseconds.
    pub schedule_lag_p99: u64,
    /// Connections for which it had no port, file or memory left.
    pub exhausted: u64,
    /// For people.
    pub why: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workers {
    pub planned: u32,
    pub lost: u32,
    /// Workers that came back, or took a lost one's place.
    pub rejoined: u32,
}

/// What happened in one run second, or in several when a long series has been thinned.
/// Rows that the master gave out to workers, each at most once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeederResult {
    pub name: String,
    pub leased: u64,
    /// Taken by an iteration.
    pub used: u64,
    /// Leased to workers that were lost or went early, which did not report that they used them.
    pub lost: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeriesPoint {
    /// Since the common start.
    pub second: u32,
    pub requests: u64,
    pub failures: u64,
    pub users: u64,
    pub p50: u64,
    pub p95: u64,
    pub p99: u64,
}

/// The measured part in equal stretches of time: what two runs are compared by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeBlocks {
    /// Run second with which the first begins.
    pub from_second: u32,
    /// Length of each, in whole seconds where a run is short; a sample belongs to the block of the
    /// run second in which it ended, what ended after the profile to the last.
    pub block_micros: u64,
    pub total: BlockSeries,
    /// The steps with the most requests.
    pub steps: Vec<StepBlocks>,
}

/// One entry for each block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockSeries {
    pub requests: Vec<u64>,
    pub failures: Vec<u64>,
    /// Latencies of successes in the HdrHistogram V2 format, base64; empty where there is none.
    pub latency: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepBlocks {
    pub scenario: String,
    pub task: String,
    pub step: String,
    #[serde(flatten)]
    pub blocks: BlockSeries,
}

/// One histogram in the HdrHistogram V2 format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistogramResult {
    pub scenario: String,
    pub task: String,
    pub step: String,
    /// `Success` or `Failure`; `Any` of gaps in streams.
    pub outcome: String,
    /// `latency` or `serviceTime`; of streams `first` and `gap`, of a language model's `ttft`,
    /// `itl` and `tpot`
    pub metric: String,
    /// Base64.
    pub hdr_v2: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// RFC 3339.
    pub at: String,
    pub message: String,
}
