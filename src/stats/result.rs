//! The whole result of a run, as `--json` writes it and the report stores it.
//!
//! Names are camelCase; numbers are in base units: microseconds, bytes, per second, shares from 0
//! to 1.

mod load;
mod manual;
mod reason;
mod stream;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::errors::ErrorClass;

pub use load::{ArrivalLoad, Cause, IterationLoad, LoadResult, Shortfall, UserLoad};
pub use manual::{LoadUnit, ManualChange};
pub use reason::Reason;
pub use stream::{GoodputResult, LlmResult, StreamResult, TokenRate, TokensFrom};

/// Version of the form; it changes when a reader of the older one would misread the newer.
pub const SCHEMA_VERSION: &str = "1";

/// Result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunResult {
    /// Version of the form, which is `1`.
    pub schema_version: String,
    /// Id of the run.
    pub run: String,
    /// Name of the test.
    pub name: String,
    /// Namespace of the test; `None` for a run outside a cluster.
    pub namespace: Option<String>,
    /// URL of the default target.
    pub target: String,
    /// Digest of the test's specification, the same for runs of the same test.
    pub digest: String,
    /// The plan as JSON.
    pub plan: serde_json::Value,
    /// Seed of everything random.
    pub seed: u64,
    /// Changes made by the command line, as written there.
    pub overrides: Vec<String>,
    /// Begin of the load in RFC 3339; `None` when no load was started.
    pub started_at: Option<String>,
    /// End of the run in RFC 3339.
    pub finished_at: String,
    /// Length of the profile, without the time for iterations to end.
    pub duration_micros: u64,
    /// Outcome of the run.
    pub verdict: Verdict,
    /// Reason of the verdict in one CamelCase word, such as `NoThresholds`.
    #[schemars(with = "String")]
    pub reason: Reason,
    /// Reason of the verdict in a sentence.
    pub message: String,
    /// Sums over all steps.
    pub totals: Totals,
    /// Load that was asked for and offered; `None` where no profile says how much it is, and before
    /// the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadResult>,
    /// Results of each step, in the order of the plan.
    pub steps: Vec<StepResult>,
    /// Iterations of each task.
    #[serde(default)]
    pub tasks: Vec<TaskResult>,
    /// Numbers that the test's records found in answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordResult>,
    /// Failures by class, step and status, the most frequent first.
    pub errors: Vec<ErrorResult>,
    /// Judgement of each threshold.
    pub thresholds: Vec<ThresholdResult>,
    /// Outcome of a capacity search; the rest of the result is of the level it confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityResult>,
    /// Requests in flight, users and busy slots over the measured part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyResult>,
    /// Costs, where the test states prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostResult>,
    /// Condition of the load generator.
    pub generator: Generator,
    /// Number of workers.
    pub workers: Workers,
    /// Samples that were lost with a master; `None` if none were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<Incomplete>,
    /// Measurements of each worker, and the place where it ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fleet: Vec<WorkerResult>,
    /// Rows given out, of feeders whose rows all workers share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub feeders: Vec<FeederResult>,
    /// Course of the run over time.
    pub series: Vec<SeriesPoint>,
    /// Distributions of each step.
    pub histograms: Vec<HistogramResult>,
    /// The measured part in blocks of time; `None` for a capacity search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<TimeBlocks>,
    /// Changes of load that people made during the run, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manual_changes: Vec<ManualChange>,
    /// Notable moments, in order.
    pub events: Vec<Event>,
    /// Warnings about the test or the run, as sentences.
    pub warnings: Vec<String>,
}

/// Outcome of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// Every threshold was judged and met.
    Passed,
    /// A threshold was breached.
    Failed,
    /// The run could not be carried out, or not judged.
    Errored,
    /// A person or a command stopped the run.
    Aborted,
}

/// Sums over all steps of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Finished measured requests.
    pub requests: u64,
    /// Failed requests among them.
    pub failures: u64,
    /// Failures over requests.
    pub failure_rate: f64,
    /// Requests sent and cut at the end; not in `requests`.
    pub interrupted: u64,
    /// Requests in `requests` and `failures` of which no byte was written.
    pub unsent: u64,
    /// Measured iterations that started.
    pub iterations: u64,
    /// Measured arrivals that became no iteration.
    pub dropped: u64,
    /// Arrivals in `dropped` for which no feeder row could be had.
    #[serde(default)]
    pub feeder_drops: u64,
    /// Connections that were opened.
    pub connects: u64,
    /// Requests of the warm-up that were sent; in no other count.
    #[serde(default)]
    pub warmup: u64,
    /// Requests of the warm-up that failed, sent or not.
    #[serde(default)]
    pub warmup_failures: u64,
    /// Requests of `setup`, `teardown`, `onStart` and `onStop`, and health checks that passed, that
    /// were sent; in no other count.
    #[serde(default)]
    pub control: u64,
    /// Requests of `setup`, `teardown`, `onStart` and `onStop` that failed, sent or not.
    #[serde(default)]
    pub control_failures: u64,
    /// Attempts that were sent and given up for another; in no other count.
    #[serde(default)]
    pub retries: u64,
    /// Time over all users for which they paused because requests failed at once (`retryPause` of
    /// the load).
    #[serde(default)]
    pub retry_pause_micros: u64,
    /// Redirections that were followed; in no other count.
    #[serde(default)]
    pub redirect_hops: u64,
    /// Requests that the target must have received: `requests` - `unsent` + `interrupted` +
    /// `warmup` + `control` + `retries` + `redirectHops`.
    #[serde(default)]
    pub received_by_target: u64,
    /// Checks of answers that passed.
    #[serde(default)]
    pub checks_passed: u64,
    /// Checks of answers that failed.
    #[serde(default)]
    pub checks_failed: u64,
    /// Requests whose data came after their second was complete: in the totals, but neither in the
    /// series nor in any window.
    #[serde(default)]
    pub late: u64,
    /// Requests per second, over the profile's length.
    pub rps: f64,
    /// Iterations per second that the profile asks for on average; only in open load.
    pub requested_rate: Option<f64>,
    /// Iterations started per second, over the profile's length.
    pub achieved_rate: f64,
    /// Bytes of heads and bodies sent, before TLS.
    pub sent_bytes: u64,
    /// Bytes of heads and bodies received, after TLS.
    pub received_bytes: u64,
    /// Intended time to last byte, of successes.
    pub latency: LatencySummary,
    /// First byte written to last byte, of successes.
    pub service_time: LatencySummary,
    /// Phases of successes, as far as they happened.
    #[serde(default)]
    pub phases: Vec<PhaseResult>,
    /// Good requests over all steps that have limits; `None` where none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goodput: Option<GoodputResult>,
}

/// A phase of requests: `dns`, `connect`, `tls`, `wait` or `download`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseResult {
    /// Name of the phase.
    pub phase: String,
    /// Requests that had the phase: a connection is opened for few of them.
    pub count: u64,
    /// Times of the phase.
    #[serde(flatten)]
    pub summary: LatencySummary,
}

/// Measured iterations of one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskResult {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the task.
    pub task: String,
    /// Iterations that came to their end, failed ones included.
    pub finished: u64,
    /// Iterations in which a step failed.
    pub failed: u64,
    /// Intended start to the end of the last step, of iterations in which no step failed.
    pub duration: LatencySummary,
}

/// Numbers that all records of one name found. Unlike anywhere else, the numbers are in the unit
/// beside them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordResult {
    /// Name of the records.
    pub name: String,
    /// Unit of the numbers: `none`, `s`, `ms`, `us` or `bytes`, as the test says.
    pub unit: String,
    /// Count of numbers found; the statistics of them are zero when there are none.
    pub count: u64,
    /// Successful answers without such a number.
    pub missing: u64,
    /// Count of numbers above the largest that can be kept apart (an hour, 3.6 GB, 3.6 million),
    /// counted as that.
    pub clamped: u64,
    /// Smallest number.
    pub min: f64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Largest number.
    pub max: f64,
}

/// Statistics of times in microseconds; all zero when there is no sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencySummary {
    /// Shortest time.
    pub min: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 95th percentile.
    pub p95: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// Longest time.
    pub max: u64,
}

/// Results of one step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepResult {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the task, block or section.
    pub task: String,
    /// Name of the step.
    pub step: String,
    /// Finished measured requests, failed ones included.
    pub requests: u64,
    /// Failed requests.
    pub failures: u64,
    /// Failures over requests.
    pub failure_rate: f64,
    /// Requests per second, over the profile's length.
    pub rps: f64,
    /// Bytes of heads and bodies sent, before TLS.
    pub sent_bytes: u64,
    /// Bytes of heads and bodies received, after TLS.
    pub received_bytes: u64,
    /// Intended time to last byte, of successes.
    pub latency: LatencySummary,
    /// First byte written to last byte, of successes.
    pub service_time: LatencySummary,
    /// Intended time to the failure, of failures.
    pub failed_latency: LatencySummary,
    /// Phases of successes, as far as they happened.
    #[serde(default)]
    pub phases: Vec<PhaseResult>,
    /// Checks of answers that passed.
    #[serde(default)]
    pub checks_passed: u64,
    /// Checks of answers that failed.
    #[serde(default)]
    pub checks_failed: u64,
    /// Answers by HTTP status code, ascending.
    pub statuses: Vec<StatusCount>,
    /// Answers over gRPC by their status, 0 being OK, ascending.
    #[serde(default)]
    pub grpc_statuses: Vec<StatusCount>,
    /// Messages, where the step's requests or answers are streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamResult>,
    /// Good requests, where the step has limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goodput: Option<GoodputResult>,
}

/// Number of answers with one status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusCount {
    /// Status code.
    pub status: u16,
    /// Number of answers.
    pub count: u64,
}

/// Failures of one class, step and status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorResult {
    /// Class; `None`: failures that found no place in the table of errors.
    pub class: Option<ErrorClass>,
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the task, block or section.
    pub task: String,
    /// Name of the step.
    pub step: String,
    /// Status that was answered, of HTTP or of gRPC; `None` without an answer.
    pub status: Option<u16>,
    /// Number of failures.
    pub count: u64,
    /// Message of one of the failures, at most 256 characters.
    pub sample: String,
    /// Waits that answers asked for by `Retry-After`, if any did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<RetryAfterResult>,
}

/// Waits that answers asked for, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RetryAfterResult {
    /// Answers that asked for one.
    pub count: u64,
    /// Shortest wait.
    pub min: u64,
    /// Median of the waits.
    pub median: u64,
    /// Longest wait.
    pub max: u64,
}

/// Judgement of a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ThresholdVerdict {
    /// The threshold was met.
    Passed,
    /// The threshold was breached.
    Failed,
    /// No samples, or too few, were there to judge.
    NotJudged,
}

/// Judgement of a threshold, with the number that decided it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ThresholdResult {
    /// Name of the metric.
    pub metric: String,
    /// Condition on the metric, as the author wrote it.
    pub expr: String,
    /// Selection of scenarios, steps or tags that it was narrowed to, as the author wrote it.
    pub select: serde_json::Value,
    /// Length of the windows it was judged over; `None`: the whole run.
    pub window_micros: Option<u64>,
    /// True if a breach was to end the run.
    pub abort_on_fail: bool,
    /// Number in the unit of the metric; of windows the worst. `None` when there was nothing to
    /// judge, or too little.
    pub observed: Option<f64>,
    /// Run second at whose end the number was observed; `None`: the end of the run.
    pub observed_second: Option<u32>,
    /// The number for people, with its unit.
    pub observed_text: String,
    /// Judgement.
    pub verdict: ThresholdVerdict,
}

/// Outcome of a capacity search; rates are iterations per second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapacityResult {
    /// Highest rate that was confirmed to hold; `None` if none was.
    pub rate: Option<f64>,
    /// Limit of the rate; `None` if the search did not come to its end.
    pub limited_by: Option<LimitedBy>,
    /// Lowest rate with which the run passes.
    pub at_least: Option<f64>,
    /// Every level, in the order in which they were tried.
    pub curve: Vec<CapacityLevel>,
}

/// Limit that a search for the capacity came up against; displayed by the variant's name, as in
/// JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// Requests, users and slots that were there at once, over the measured part up to the end of the
/// load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConcurrencyResult {
    /// Requests in flight: sent and not answered. `None` in results of a release that did not
    /// measure them.
    #[serde(default)]
    pub in_flight: Option<LevelResult>,
    /// Users of closed load and of a number of iterations, whether or not they pause; `None`
    /// without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<LevelResult>,
    /// Slots of open load with an iteration, whether or not it pauses; `None` without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<LevelResult>,
    /// Requests in flight by Little's law: the rate times the mean latency.
    pub by_latency: f64,
}

/// Number of things that were there at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LevelResult {
    /// Mean over time: the integral of the number, divided by the length.
    pub mean: f64,
    /// Largest number at any time. Those of several threads and workers are added for each tenth of
    /// a second, so with several it may be larger than the truth, and never is smaller.
    pub max: u64,
}

/// Costs of the target at this run's rate; amounts are in `currency`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostResult {
    /// Currency of all prices, as the test states it.
    pub currency: String,
    /// Price of one endpoint for an hour.
    pub per_hour: Option<f64>,
    /// Origin of `rate`.
    pub basis: CostBasis,
    /// Requests per second that the price is computed from; `None` where `why_not` says why there
    /// is no price.
    pub rate: Option<f64>,
    /// Price of a million requests by the hour.
    pub per_million_requests: Option<f64>,
    /// Price of the tokens of a million requests.
    pub tokens_per_million_requests: Option<f64>,
    /// Requests per second that the service is to serve in production.
    pub wanted_rate: Option<f64>,
    /// Number of endpoints that serve the wanted rate.
    pub endpoints: Option<u64>,
    /// Reason why there is no price; empty if there is one.
    pub why_not: String,
}

/// Origin of the rate that a cost is worked out for; displayed by the variant's name, as in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapacityLevel {
    /// Iterations per second that the level asked for.
    pub rate: f64,
    /// Purpose of the level.
    pub purpose: Purpose,
    /// True if every threshold was met.
    pub held: bool,
    /// Reason why the level did not hold; empty if it did.
    pub why: String,
    /// Iterations started per second.
    pub achieved_rate: f64,
    /// Finished requests.
    pub requests: u64,
    /// Failed requests.
    pub failures: u64,
    /// Failures over requests.
    pub failure_rate: f64,
    /// Arrivals that became no iteration.
    pub dropped: u64,
    /// Median latency of successes, in microseconds.
    pub p50: u64,
    /// 95th percentile of the latency of successes, in microseconds.
    pub p95: u64,
    /// 99th percentile of the latency of successes, in microseconds.
    pub p99: u64,
}

/// Purpose of a level in a search for the capacity; serialised as the variant's name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Purpose {
    /// The search asks whether the rate holds.
    #[default]
    Search,
    /// The target recovers at the lowest rate after a level that did not hold.
    Recovery,
    /// The search asks whether the rate holds for twice as long.
    Confirmation,
}

/// Condition of the load generator, which tells whether it was the bottleneck itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Generator {
    /// True if at least one worker was the bottleneck.
    pub saturated: bool,
    /// CPU time used, as a share of the usable cores.
    pub cpu: f64,
    /// 99th percentile of the schedule lag, in microseconds.
    pub schedule_lag_p99: u64,
    /// Time between the first and the last worker's start, in microseconds.
    pub start_skew_micros: u64,
    /// Saturated workers, the first few of them.
    #[serde(default)]
    pub workers: Vec<SaturatedWorker>,
    /// Number of saturated workers.
    #[serde(default)]
    pub saturated_workers: u32,
}

/// A worker that was the bottleneck.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SaturatedWorker {
    /// Number of the worker.
    pub worker: u32,
    /// CPU time used, as a share of the worker's usable cores.
    pub cpu: f64,
    /// Share of the worker's CPU time for which its quota held it back.
    pub throttled: f64,
    /// 99th percentile of the schedule lag, in microseconds.
    pub schedule_lag_p99: u64,
    /// Connections for which the worker had no port, file or memory left.
    pub exhausted: u64,
    /// Explanation for people.
    pub why: String,
}

/// Number of workers of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workers {
    /// Workers that the run asked for.
    pub planned: u32,
    /// Workers that were lost.
    pub lost: u32,
    /// Workers that came back, or took a lost one's place.
    pub rejoined: u32,
    /// Iterations of a fixed number that were given out again, since no report of a lost worker
    /// covered them: some may have been carried out twice.
    #[serde(default, skip_serializing_if = "is_none")]
    pub reissued: u64,
    /// Bytes of samples that each worker sent to the master in a second of the run, on average.
    #[serde(default, skip_serializing_if = "is_none")]
    pub bytes_per_second: u64,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Samples that a master had when it was lost with its Pod, and that nobody else holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Incomplete {
    /// Worker processes that had died before.
    pub workers: u32,
    /// Requests that they had reported.
    pub requests: u64,
}

/// Measurements of one worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerResult {
    /// Share of the worker, from 0.
    pub worker: u32,
    /// Region or host that it ran in, as it said itself; may be empty.
    pub place: String,
    /// Finished requests of the measured part.
    pub requests: u64,
    /// Finished requests that failed.
    pub failures: u64,
    /// 95th percentile of the latency of those that succeeded, in microseconds.
    pub p95: u64,
}

/// Rows that the master gave out to workers, each at most once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeederResult {
    /// Name of the feeder.
    pub name: String,
    /// Rows leased to workers.
    pub leased: u64,
    /// Rows taken by an iteration.
    pub used: u64,
    /// Rows leased to workers that were lost or left early, which did not report that they used
    /// them.
    pub lost: u64,
}

/// One run second, or several when a long series has been thinned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeriesPoint {
    /// Number of the second since the common start.
    pub second: u32,
    /// Finished requests.
    pub requests: u64,
    /// Failed requests.
    pub failures: u64,
    /// Users alive, or busy slots of open load, at the end.
    pub users: u64,
    /// Median latency of successes, in microseconds.
    pub p50: u64,
    /// 95th percentile of the latency of successes, in microseconds.
    pub p95: u64,
    /// 99th percentile of the latency of successes, in microseconds.
    pub p99: u64,
}

/// The measured part in equal stretches of time, by which two runs are compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimeBlocks {
    /// Run second with which the first block begins.
    pub from_second: u32,
    /// Length of each block, in whole seconds where a run is short; a sample belongs to the block
    /// of the run second in which it ended, and to the last if it ended after the profile.
    pub block_micros: u64,
    /// Samples of all steps.
    pub total: BlockSeries,
    /// Samples of the steps with the most requests.
    pub steps: Vec<StepBlocks>,
}

/// Samples by block, one entry for each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockSeries {
    /// Finished requests.
    pub requests: Vec<u64>,
    /// Failed requests.
    pub failures: Vec<u64>,
    /// Latencies of successes in the HdrHistogram V2 format, base64; empty where there is none.
    pub latency: Vec<String>,
}

/// Samples of one step, by block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepBlocks {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the task or block.
    pub task: String,
    /// Name of the step.
    pub step: String,
    /// Samples.
    #[serde(flatten)]
    pub blocks: BlockSeries,
}

/// One histogram in the HdrHistogram V2 format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistogramResult {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the task or block.
    pub task: String,
    /// Name of the step.
    pub step: String,
    /// Outcome of the requests: `Success` or `Failure`; `Any` for gaps in streams.
    pub outcome: String,
    /// Time that is measured: `latency` or `serviceTime`; of streams `first` and `gap`, with a
    /// language model `ttft`, `itl` and `tpot`.
    pub metric: String,
    /// Histogram in base64.
    pub hdr_v2: String,
}

/// A notable moment of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Time in RFC 3339.
    pub at: String,
    /// Description for people.
    pub message: String,
}
