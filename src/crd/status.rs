//! The status of a LoadTest, which the operator writes. Numbers that are not whole are texts with
//! their unit.
//!
//! The doc comments are descriptions of the definition, like those of [`super::spec`].

mod results;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use results::*;

/// State of a LoadTest as the operator last wrote it: phase, the run in progress or the last one,
/// and its results. Numbers that are not whole are texts with their unit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadTestStatus {
    /// Generation that the conditions describe; -1 until the operator has seen the resource.
    pub observed_generation: i64,
    /// Phase of the run in progress or, where there is none, of the resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Number of runs begun so far, from which the next run's id is made.
    pub runs: i64,
    /// Triggers at the time the last run began or, before any run, the resource was first seen.
    /// With `run.start: OnTrigger` only a change of one of them starts a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerStatus>,
    /// Run in progress, or the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunStatus>,
    /// Worker Pods of the run, as the scale subresource shows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkersStatus>,
    /// Progress of the run in progress, as last reported by its master.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressStatus>,
    /// Texts of the columns of `kubectl get`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<ColumnsStatus>,
    /// Results of the last run, shortened; the report holds all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results: Option<ResultsStatus>,
    /// Thresholds of the last run with their verdicts, at most 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub thresholds: Vec<ThresholdStatus>,
    /// Totals of the last run under the names and labels of the Prometheus metrics, in base units.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub metrics: Vec<MetricSample>,
    /// Ended runs, newest first, at most `spec.run.historyLimit`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub history: Vec<HistoryEntry>,
    /// Object that holds the whole result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_ref: Option<ReportRef>,
    /// Conditions: `Ready`, `Reconciling` and `Stalled` as GitOps tools read them, `Finished`,
    /// `Complete`, `Passed` and, with results, `GeneratorSaturated` and
    /// `LoadBelowProfile`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}

/// Phase of a LoadTest or of its run. `Succeeded`, `Failed`, `Errored` and `Aborted` are final for
/// a run.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Phase {
    /// No run yet, waiting for a trigger.
    Pending,
    /// Held by `spec.run.suspend`.
    Suspended,
    /// Objects are created and workers become ready.
    Starting,
    /// Load may exist.
    Running,
    /// Load ends and results are collected.
    Stopping,
    /// Every threshold was met.
    Succeeded,
    /// A threshold or another rule of the verdict was not met.
    Failed,
    /// The spec is invalid, or the run could not be carried out.
    Errored,
    /// Stopped by hand.
    Aborted,
}

impl Phase {
    /// All phases, in the order in which a run goes through them.
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

    /// Returns whether a run in this phase is over and stays in it.
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

/// Identity and times of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// Name of the run, from which the names of its objects are made.
    pub id: String,
    /// `metadata.generation` when the run began.
    pub generation: i64,
    /// SHA-256, in hexadecimal, of the part of the spec that matters for the load.
    pub digest: String,
    /// Annotation `starling.dev/rerun` when the run began.
    #[serde(default)]
    pub rerun: String,
    /// Id of the operator installation that began the run; other installations leave it alone.
    pub installation: String,
    /// Name of the Lease, in the namespace of the LoadTest, that this installation renews while the
    /// run is in progress. When it has expired, another installation ends the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub lease: Option<String>,
    /// Id of the install key from which the keys of the run's channel are derived.
    pub key_id: String,
    /// SHA-256, in hexadecimal, of the plan that master and workers carry out. Runs that an older
    /// release began have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub plan_hash: Option<String>,
    /// Number of workers with which the run began, those from elsewhere included.
    pub workers: u32,
    /// Number of those of them that join from elsewhere; they have the highest indexes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub external: u32,
    /// Number of worker Pods that the run is to have now, if `spec.workers.replicas` was changed
    /// since it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaled_to: Option<u32>,
    /// Most workers that the run was ever to have. Runs that an older release began have none;
    /// their number of workers does not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_workers: Option<u32>,
    /// Time at which the run's id was written; RFC 3339.
    pub created_at: String,
    /// Time by which every worker must be ready; RFC 3339.
    #[serde(default)]
    pub start_by: String,
    /// Duration after `startedAt` at which the run is ended if it has not ended by itself.
    #[serde(default)]
    pub deadline: String,
    /// Time of the grant, before which there is no load; RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// Time at which the run ended; RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// Master that holds the grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master: Option<MasterStatus>,
    /// End of the run, written once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<RunEnd>,
}

impl RunStatus {
    /// Number of worker Pods with which the run began.
    pub fn pods(&self) -> u32 {
        self.workers.saturating_sub(self.external)
    }

    /// Number of worker Pods that the run is to have now.
    pub fn wanted_pods(&self) -> u32 {
        self.scaled_to.unwrap_or(self.pods())
    }

    /// Number of workers that the run is to have now, those from elsewhere included.
    pub fn wanted_workers(&self) -> u32 {
        self.wanted_pods().saturating_add(self.external)
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Outcome of a run: phase, reason and message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunEnd {
    /// Final phase.
    pub phase: Phase,
    /// Reason in CamelCase, such as `ThresholdAborted`.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Explanation for people.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Values whose change starts a run with `run.start: OnTrigger`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TriggerStatus {
    /// Value of `spec.run.trigger`.
    pub trigger: String,
    /// Value of the annotation `starling.dev/rerun`.
    pub rerun: String,
}

/// Master that holds the grant of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MasterStatus {
    /// Number of the grant: 1 at the start, one more for each master that takes over.
    pub epoch: u32,
    /// Random id of the master's Pod, which survives a restart of its container.
    pub incarnation: String,
}

/// Worker Pods of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkersStatus {
    /// Number of workers wanted.
    pub desired: u32,
    /// Number of workers that are ready.
    pub ready: u32,
    /// Label selector of the worker Pods.
    pub selector: String,
    /// Pods of the run that ended before their time, with the cause, at most 8; those seen first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub losses: Vec<LossStatus>,
}

/// Pod of a run that ended before its time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LossStatus {
    /// Name of the Pod.
    #[schemars(length(max = 64))]
    pub pod: String,
    /// Cause in CamelCase, such as `OutOfMemory`, `Evicted` or `NodeLost`.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// The cause in words.
    #[schemars(length(max = 256))]
    pub message: String,
}

/// Progress of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProgressStatus {
    /// Elapsed share of the run, from 0 to 100.
    pub percent: u32,
    /// Users, or iterations in flight of open load.
    pub users: u64,
    /// Requests per second.
    pub rps: String,
    /// 95th percentile of the latency of successful requests, with its unit.
    pub p95: String,
    /// Share of failed requests, such as `0.5%`.
    pub failure_rate: String,
    /// Connected and planned workers, such as `3/4`.
    pub workers: String,
    /// Time of the master's answer that the figures are of; RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<String>,
    /// The figures are older than 15 seconds, since the master has not answered.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
}

/// Texts of the columns of `kubectl get`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ColumnsStatus {
    /// Elapsed share of the run, such as `40%`.
    pub progress: String,
    /// Workers there and planned, such as `3/4`.
    pub workers: String,
    /// Users, or iterations in flight.
    pub users: String,
    /// Requests per second.
    pub rps: String,
    /// 95th percentile of the latency.
    pub p95: String,
    /// Share of failed requests.
    pub failures: String,
    /// Reason of the conditions.
    pub reason: String,
}

/// Threshold with its verdict.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ThresholdStatus {
    /// Metric or record that was judged.
    pub metric: String,
    /// Selection and window in words; empty for everything in the whole run.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub select: String,
    /// Rule as written in the spec.
    pub expr: String,
    /// Value observed, with its unit.
    pub observed: String,
    /// Verdict on the threshold.
    pub verdict: String,
}

/// Value of a Prometheus metric.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricSample {
    /// Name of the metric.
    pub name: String,
    /// Labels by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub labels: BTreeMap<String, String>,
    /// Value in the metric's base unit.
    pub value: String,
}

/// One ended run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HistoryEntry {
    /// Id of the run.
    pub run: String,
    /// Final phase of the run.
    pub verdict: String,
    /// Reason of the end.
    pub reason: String,
    /// Requests per second.
    pub rps: String,
    /// 95th percentile of the latency.
    pub p95: String,
    /// Share of failed requests.
    pub failure_rate: String,
    /// Time of the end; RFC 3339.
    pub finished_at: String,
}

/// Object that holds the whole result of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportRef {
    /// Name of the ConfigMap, in the LoadTest's namespace.
    pub config_map: String,
}

/// Condition as in `metav1.Condition`, with every string bounded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type of the condition.
    #[schemars(length(max = 64))]
    pub r#type: String,
    /// Status of the condition.
    pub status: ConditionStatus,
    /// Generation that the condition describes.
    #[serde(default)]
    pub observed_generation: i64,
    /// Time at which `status` last changed; RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// Reason in CamelCase.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Explanation for people.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Status of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// Nothing is known about the condition.
    Unknown,
}
