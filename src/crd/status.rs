//! What the operator writes back: the status of a LoadTest. Numbers that are not whole are text
//! with their unit.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadTestStatus {
    /// The generation that the conditions speak of; -1 until the operator has seen the resource.
    pub observed_generation: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Runs begun so far; part of the next run's id.
    pub runs: i64,
    /// What could have started a run when the last one began, or when the resource was first seen:
    /// only a change of it does with `OnTrigger`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerStatus>,
    /// The run in progress, or the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkersStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressStatus>,
    /// What `kubectl get` shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<ColumnsStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results: Option<ResultsStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub thresholds: Vec<ThresholdStatus>,
    /// Samples under the names and labels that Prometheus sees.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub metrics: Vec<MetricSample>,
    /// Ended runs, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub history: Vec<HistoryEntry>,
    /// Where the whole result is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_ref: Option<ReportRef>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Phase {
    Pending,
    Suspended,
    Starting,
    Running,
    Stopping,
    Succeeded,
    Failed,
    Errored,
    Aborted,
}

impl Phase {
    pub const ALL: [Phase; 9] = [
        Phase::Pending,
        Phase::Suspended,
        Phase::Starting,
        Phase::Running,
        Phase::Stopping,
        Phase::Succeeded,
        Phase::Failed,
        Phase::Errored,
        Phase::Aborted,
    ];

    /// The run is over and will not change any more.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Phase::Succeeded | Phase::Failed | Phase::Errored | Phase::Aborted
        )
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    pub id: String,
    /// `metadata.generation` when the run began.
    pub generation: i64,
    /// SHA-256 of what matters for the load.
    pub digest: String,
    /// The `starling.dev/rerun` annotation when the run began.
    #[serde(default)]
    pub rerun: String,
    /// The operator installation that began the run; another leaves it alone.
    pub installation: String,
    /// Id of the install key the channel's keys come from.
    pub key_id: String,
    /// Workers the run began with.
    pub workers: u32,
    /// When the run id was written.
    pub created_at: String,
    /// Every worker has to be ready by then.
    #[serde(default)]
    pub start_by: String,
    /// How long after `startedAt` the run is ended if it has not ended by itself.
    #[serde(default)]
    pub deadline: String,
    /// When the grant was written: from here on load may exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master: Option<MasterStatus>,
    /// Set once, in the write that ends the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<RunEnd>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunEnd {
    pub phase: Phase,
    #[schemars(length(max = 64))]
    pub reason: String,
    #[schemars(length(max = 1024))]
    pub message: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TriggerStatus {
    /// `spec.run.trigger`
    pub trigger: String,
    /// The `starling.dev/rerun` annotation.
    pub rerun: String,
}

/// The master that holds the grant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MasterStatus {
    pub epoch: u32,
    pub incarnation: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkersStatus {
    pub desired: u32,
    pub ready: u32,
    pub selector: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProgressStatus {
    pub percent: u32,
    pub users: u64,
    pub rps: String,
    pub p95: String,
    pub failure_rate: String,
    pub workers: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ColumnsStatus {
    pub progress: String,
    pub workers: String,
    pub users: String,
    pub rps: String,
    pub p95: String,
    pub failures: String,
    pub reason: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ResultsStatus {
    pub requests: u64,
    pub failures: u64,
    pub failure_rate: String,
    /// Requests per second over the profile's length.
    pub rps: String,
    pub iterations: u64,
    /// Sent but cut off at the end.
    pub interrupted: u64,
    /// Open load: iterations asked for per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_rate: Option<String>,
    /// Open load: iterations started per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub achieved_rate: Option<String>,
    pub dropped: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// What a search for the capacity found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityStatus>,
    /// Of the steps that have limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goodput: Option<GoodputStatus>,
    /// What was in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyStatus>,
    /// What the target costs at this run's thresholds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostStatus>,
    pub latency: LatencyStatus,
    pub service_time: LatencyStatus,
    /// The steps with the most requests.
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<StepStatus>,
    /// The first numbers that the test's records found in answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub records: Vec<RecordStatus>,
    /// The most frequent errors.
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub errors: Vec<ErrorStatus>,
    pub generator: GeneratorStatus,
    pub workers: ResultWorkersStatus,
    /// Something was left out here; the report has it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub omitted: BTreeMap<String, u64>,
}

/// What a search for the capacity found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CapacityStatus {
    /// Iterations per second that were confirmed to hold; empty if none were.
    pub rate: String,
    /// `Target`, `Generator` (then the rate is a lower bound) or `Max`.
    pub limited_by: String,
    /// The levels by rate, those tried last where there are too many.
    #[schemars(length(max = 24), extend("x-kubernetes-list-type" = "atomic"))]
    pub levels: Vec<CapacityLevelStatus>,
}

/// Users of a closed load, iterations in flight of an open one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ConcurrencyStatus {
    pub mean: String,
    pub max: u64,
    /// Requests in flight as the rate times the mean latency has it.
    pub by_latency: String,
}

/// What the target costs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CostStatus {
    /// With the currency.
    pub per_million_requests: String,
    /// What the tokens of a million requests cost.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tokens_per_million_requests: String,
    /// Requests per second that it is the price of.
    pub rate: String,
    /// `Sustainable` (a search found it) or `Achieved`.
    pub basis: String,
    /// Endpoints that serve the wanted rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<u64>,
    /// Why there is no price.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub why_not: String,
}

/// One level of a search.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CapacityLevelStatus {
    pub rate: String,
    pub held: bool,
    pub p50: String,
    pub p95: String,
    pub p99: String,
    pub failure_rate: String,
}

/// Of successful requests, each with its unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LatencyStatus {
    pub min: String,
    pub mean: String,
    pub p50: String,
    pub p90: String,
    pub p95: String,
    pub p99: String,
    pub p999: String,
    pub max: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StepStatus {
    #[schemars(length(max = 128))]
    pub scenario: String,
    #[schemars(length(max = 128))]
    pub task: String,
    #[schemars(length(max = 128))]
    pub step: String,
    pub requests: u64,
    pub failures: u64,
    pub rps: String,
    pub p50: String,
    pub p95: String,
    pub p99: String,
    pub max: String,
    /// Only of a step whose requests or answers are streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamStatus>,
}

/// The streams of a step: of a language model's its own measures, of others those of messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamStatus {
    /// To the first message or event.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub first_p99: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gap_p99: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ttft_p50: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ttft_p99: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub itl_p99: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tpot_p50: String,
    /// Per second, over the profile's length.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output_tokens: String,
    /// `Usage`: counted by the target. `Events`: each event with content is taken for one. `Both`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tokens_from: String,
}

/// Requests that met all limits of their step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GoodputStatus {
    pub per_second: String,
    /// Their share of all that were intended.
    pub ratio: String,
}

/// Numbers of one record, each with its unit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RecordStatus {
    #[schemars(length(max = 63))]
    pub name: String,
    pub count: u64,
    pub mean: String,
    pub p50: String,
    pub p95: String,
    pub p99: String,
    pub max: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ErrorStatus {
    pub class: String,
    #[schemars(length(max = 128))]
    pub step: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    pub count: u64,
    #[schemars(length(max = 256))]
    pub sample: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GeneratorStatus {
    /// The workers, not the target, were the limit; the numbers are not the target's.
    pub saturated: bool,
    /// Share of the workers' cores in use.
    pub cpu: String,
    /// How late actions began, 99th percentile.
    pub schedule_lag_p99: String,
    /// Between the first and the last worker's start.
    pub start_skew: String,
    /// How many workers were the limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub saturated_workers: u32,
    /// Why the first of them was.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub why: String,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResultWorkersStatus {
    pub planned: u32,
    pub lost: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ThresholdStatus {
    pub metric: String,
    /// The selection in words; empty for everything.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub select: String,
    pub expr: String,
    pub observed: String,
    pub verdict: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricSample {
    pub name: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub labels: BTreeMap<String, String>,
    pub value: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HistoryEntry {
    pub run: String,
    /// The phase it ended in.
    pub verdict: String,
    pub reason: String,
    pub rps: String,
    pub p95: String,
    pub failure_rate: String,
    pub finished_at: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportRef {
    pub config_map: String,
}

/// As `metav1.Condition`, with every string bounded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[schemars(length(max = 64))]
    pub r#type: String,
    pub status: ConditionStatus,
    #[serde(default)]
    pub observed_generation: i64,
    /// When `status` last changed.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    #[schemars(length(max = 64))]
    pub reason: String,
    #[schemars(length(max = 1024))]
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}
