//! The form of what the page is told: one [`State`] when it opens, then one [`Frame`] a second.
//!
//! `web/src/contract.ts` has the same types. Names are camelCase; numbers are in base units:
//! microseconds, bytes, per second, shares from 0 to 1.

use serde::Serialize;

use crate::master::heat::Column;
use crate::plan::threshold::Quantity;
use crate::stats::ErrorClass;
use crate::stats::result::{CapacityResult, Event, PhaseResult, Reason, ThresholdVerdict, Verdict};
use crate::wire::control::Progress;

/// Version of the form; it changes when a page of another release would misread it.
pub const VERSION: u32 = 1;

/// Whole state of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the form.
    pub version: u32,
    /// True if this login may stop the run and change its load.
    pub may_control: bool,
    /// True if the server ends soon after the run.
    pub ends_with_run: bool,
    /// Facts that are known before the start.
    pub run: Run,
    /// Names of the steps with samples; a step's place is its position in this list.
    pub step_names: Vec<StepName>,
    /// Rules of the thresholds, in the order of the plan.
    pub thresholds: Vec<Rule>,
    /// Course of the run so far.
    pub series: Vec<Point>,
    /// Files that are there when the run is over.
    pub downloads: Vec<Download>,
    /// Everything that changes, with every step and every event so far.
    pub frame: Frame,
}

/// Facts of a run that are known before it starts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Id of the run.
    pub id: String,
    /// Name of the LoadTest.
    pub name: String,
    /// Namespace of the LoadTest; `None` outside a cluster.
    pub namespace: Option<String>,
    /// URL of the default target.
    pub target: String,
    /// Digest of the test.
    pub digest: String,
    /// Seed of what is random, as text: a reader of JSON may hold numbers as floats.
    pub seed: String,
    /// Arguments by which the command line changed the test.
    pub overrides: Vec<String>,
    /// Warnings found when the test was checked.
    pub warnings: Vec<String>,
    /// Length of the warm-up.
    pub warmup_micros: u64,
    /// The plan.
    pub plan: serde_json::Value,
    /// True if iterations start at a rate, whether or not earlier ones have ended.
    pub open: bool,
}

/// Names of a step.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct StepName {
    /// Method of HTTP, or `gRPC`.
    pub r#type: String,
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the task or block.
    pub task: String,
    /// Name of the step.
    pub step: String,
}

/// Rule of a threshold.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Name of the metric.
    pub metric: String,
    /// Condition on the metric, as written.
    pub expr: String,
    /// Selection that it is narrowed to, as written.
    pub select: serde_json::Value,
    /// Length of the windows it is judged over; `None`: the whole run.
    pub window_micros: Option<u64>,
    /// True if a breach ends the run.
    pub abort_on_fail: bool,
    /// Quantity of the bound.
    pub quantity: Quantity,
    /// Bound, in the unit of its quantity.
    pub bound: f64,
    /// True if the bound must not be exceeded, false if it must be reached.
    pub ceiling: bool,
}

/// File to download.
#[derive(Debug, Serialize)]
pub struct Download {
    /// Words of the link.
    pub label: &'static str,
    /// Address, relative to the page.
    pub href: &'static str,
    /// Name under which the file is kept.
    pub file: String,
}

/// One second of the run, or several when a long series has been thinned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// Number of the first second, since the run's zero.
    pub second: u32,
    /// Seconds from the first to the last that are summed up.
    pub seconds: u32,
    /// Finished requests.
    pub requests: u64,
    /// Failed requests.
    pub failures: u64,
    /// Users alive, or busy slots of open load, at the end.
    pub users: u64,
    /// Measured iterations that started.
    pub iterations: u64,
    /// Arrivals that became no iteration.
    pub dropped: u64,
    /// Largest number of requests in flight at once.
    pub in_flight: u64,
    /// Median latency of successes.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 95th percentile.
    pub p95: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// Longest latency.
    pub max: u64,
    /// Iterations that the profiles ask for; `None` where they do not say.
    pub wanted_iterations: Option<u64>,
    /// Users that the profiles ask for at the end; `None` where they do not say.
    pub wanted_users: Option<u64>,
}

/// Numbers that have changed within a second; the same bytes go to every viewer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Frame {
    /// Number of the frame, 1 more than that of the one before.
    pub id: u64,
    /// Seconds that one point of the series stands for.
    pub resolution: u32,
    /// State and counts.
    pub progress: Progress,
    /// Begin of the load in RFC 3339; `None` before.
    pub started_at: Option<String>,
    /// Verdict.
    pub verdict: VerdictSoFar,
    /// Points that are new or have changed; a point replaces the one of the same second.
    pub points: Vec<Point>,
    /// Latencies over time.
    pub heat: HeatMap,
    /// Courses of single steps.
    pub courses: CoursePoints,
    /// Sum of all steps.
    pub total: Step,
    /// Steps with new samples.
    pub steps: Vec<Step>,
    /// Phases of successes, as far as they happened.
    pub phases: Vec<PhaseResult>,
    /// Answers of all steps.
    pub answers: Answers,
    /// Failures, the most frequent first.
    pub errors: Vec<ErrorLine>,
    /// Failures that are not in `errors`.
    pub errors_left_out: u64,
    /// Judgements of the thresholds, in the order of their rules.
    pub thresholds: Vec<Judgement>,
    /// The fleet.
    pub workers: Workers,
    /// Levels of a search for the capacity.
    pub capacity: Option<CapacityResult>,
    /// Latency and service time of successes at rising percentiles: percent, and microseconds of
    /// each.
    pub curve: Vec<(f64, u64, u64)>,
    /// Place of the first of `events` in the log.
    pub events_from: usize,
    /// Events that are new.
    pub events: Vec<Event>,
}

/// Points of the courses of single steps.
#[derive(Debug, Serialize)]
pub struct CoursePoints {
    /// Seconds that one point stands for.
    pub resolution: u32,
    /// Points that are new or have changed; a point replaces the one of the same step and second.
    pub points: Vec<CoursePoint>,
}

/// Point of a step, short since there are many: place of the step, first second, number of seconds,
/// requests, failures, and the 50th, 95th and 99th percentile of the latency of successes.
pub type CoursePoint = (i32, u32, u32, u64, u64, u64, u64, u64);

/// Latencies over time, in cells.
#[derive(Debug, Serialize)]
pub struct HeatMap {
    /// Seconds that one column stands for.
    pub resolution: u32,
    /// Columns that are new or have changed; a column replaces the one of the same second.
    pub columns: Vec<Column>,
}

/// Verdict, once there is one.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct VerdictSoFar {
    /// True once the result is final.
    pub r#final: bool,
    /// Outcome.
    pub verdict: Option<Verdict>,
    /// Reason in one word.
    pub reason: Option<Reason>,
    /// Reason in a sentence.
    pub message: Option<String>,
}

/// Sums of a step, or of all.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Position in the list of names; -1 for the sum of all steps.
    pub place: i32,
    /// Finished measured requests.
    pub requests: u64,
    /// Failed requests.
    pub failures: u64,
    /// Requests per second over the measured part so far.
    pub rps: f64,
    /// Bytes received.
    pub bytes: u64,
    /// Checks that failed.
    pub checks_failed: u64,
    /// Mean latency of successes.
    pub mean: f64,
    /// Shortest latency.
    pub min: u64,
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
    /// Longest latency.
    pub max: u64,
}

/// Answers by status, ascending: status and count.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answers {
    /// Answers of HTTP.
    pub http: Vec<(u16, u64)>,
    /// Answers of gRPC.
    pub grpc: Vec<(u16, u64)>,
}

/// Failures of one class, step and status.
#[derive(Debug, PartialEq, Serialize)]
pub struct ErrorLine {
    /// Class; `None`: failures that found no place in the table of errors.
    pub class: Option<ErrorClass>,
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the task.
    pub task: String,
    /// Name of the step.
    pub step: String,
    /// Status that was answered.
    pub status: Option<u16>,
    /// Number of failures.
    pub count: u64,
    /// Message of one of them.
    pub sample: String,
}

/// Judgement of a threshold.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// The number that decides, with its unit.
    pub observed_text: String,
    /// Judgement of what was observed so far.
    pub verdict: ThresholdVerdict,
}

/// The fleet.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workers {
    /// Workers that were lost.
    pub lost: u32,
    /// Share of their cores that all of them used.
    pub cpu: f64,
    /// The busiest, by index.
    pub list: Vec<Worker>,
    /// Workers that are not in the list.
    pub left_out: usize,
}

/// A worker process.
#[derive(Debug, PartialEq, Serialize)]
pub struct Worker {
    /// Share of the worker, from 0.
    pub worker: u32,
    /// Region or host, as the worker says.
    pub place: String,
    /// State of its work.
    pub state: WorkerState,
    /// Users, or busy slots.
    pub users: u64,
    /// Finished requests.
    pub requests: u64,
    /// Failed requests.
    pub failures: u64,
    /// 95th percentile of the latency of successes.
    pub p95: u64,
    /// CPU time used, as a share of its cores.
    pub cpu: f64,
    /// 99th percentile of the schedule lag.
    pub lag: u64,
    /// Reason why it limits the load itself; empty if it does not.
    pub why: String,
}

/// States of a worker process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum WorkerState {
    /// Connected, and not ready.
    Connected,
    /// Ready to start.
    Ready,
    /// Making load.
    Working,
    /// Done: its load is over.
    Done,
    /// Lost, or replaced.
    Gone,
}
