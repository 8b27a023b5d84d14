//! What a user writes: the spec of a LoadTest, as the API server's schema has it. [`super::convert`] turns it into a plan.

// clippy takes two columns of one type for the same attribute written twice
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::status::LoadTestStatus;
use crate::plan::threshold::{Metric, Outcome};

/// A load test: what to send, how hard, and what counts as passing. Each change that matters for the load starts one run; its merged results and verdict are in the status.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "starling.dev",
    version = "v1alpha1",
    kind = "LoadTest",
    namespaced,
    status = "LoadTestStatus",
    shortname = "lt",
    category = "starling",
    derive = "PartialEq",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.columns.progress"),
    printcolumn(name = "Workers", type_ = "string", json_path = ".status.columns.workers"),
    printcolumn(name = "Users", type_ = "string", json_path = ".status.columns.users"),
    printcolumn(name = "RPS", type_ = "string", json_path = ".status.columns.rps"),
    printcolumn(name = "P95", type_ = "string", json_path = ".status.columns.p95"),
    printcolumn(name = "Failures", type_ = "string", json_path = ".status.columns.failures"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.url", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.columns.reason", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct LoadTestSpec {
    /// The system under test.
    pub target: TargetSpec,
    /// How requests are made.
    #[serde(default)]
    pub http: HttpSpec,
    /// Constants that templates may name: `{{ endpoint }}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::schema::free_map", extend("maxProperties" = 64))]
    pub variables: BTreeMap<String, Value>,
    /// What the users do.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub scenarios: Vec<ScenarioSpec>,
    /// How much of it, over time.
    pub load: LoadSpec,
    /// The rules that decide between passed and failed. Without any, a run with at least one success passes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub thresholds: Vec<ThresholdSpec>,
    /// The Pods that make the load.
    #[serde(default)]
    pub workers: WorkersSpec,
    /// The Pod that merges the results.
    #[serde(default)]
    pub master: MasterSpec,
    /// When a run starts, how it ends, and what is kept of it.
    #[serde(default)]
    pub run: RunSpec,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetSpec {
    /// `http://` or `https://` with a host, optionally a port and a path that is put before every step's path.
    #[schemars(length(max = 2048), extend("pattern" = "^https?://[^@?#{}\\s]+$",
        "x-kubernetes-validations" = [{"rule": "isURL(self) && url(self).getHostname() != ''", "message": "must be a URL with a host, such as http://categorizer.ml.svc:8000"}]))]
    pub url: String,
    /// Headers of every request; values are templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub headers: BTreeMap<String, String>,
    /// Credentials of every request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
}

/// Exactly one of `bearer`, `basic` and `header`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct AuthSpec {
    /// `Authorization: Bearer <token>`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<BearerSpec>,
    /// `Authorization: Basic <username and password>`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicSpec>,
    /// A header of any name, such as `X-Api-Key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderAuthSpec>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BearerSpec {
    pub token_from: SecretSource,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasicSpec {
    pub username_from: SecretSource,
    pub password_from: SecretSource,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderAuthSpec {
    #[schemars(extend("pattern" = "^[-!#$%&'*+.^_`|~0-9A-Za-z]{1,128}$"))]
    pub name: String,
    pub value_from: SecretSource,
}

/// A key of a Secret in the LoadTest's namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretSource {
    pub secret_key_ref: KeyRef,
}

/// A key of a Secret or of a ConfigMap in the LoadTest's namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct FileSource {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRef {
    #[schemars(length(max = 253), extend("pattern" = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    #[schemars(length(max = 253), extend("pattern" = "^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsSpec {
    /// PEM certificates to trust instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_from: Option<FileSource>,
    /// PEM certificate chain shown to the target; needs `keyFrom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_from: Option<FileSource>,
    /// PEM key of `certFrom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_from: Option<SecretSource>,
    /// The name to ask for and to check, instead of the URL's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
    /// Accept any certificate.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpSpec {
    /// From the intended time of a request to the last byte of its answer; a step may set its own.
    #[schemars(schema_with = "super::schema::duration")]
    pub timeout: String,
}

impl Default for HttpSpec {
    fn default() -> Self {
        Self { timeout: "30s".into() }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScenarioSpec {
    #[schemars(schema_with = "super::schema::name")]
    pub name: String,
    /// Share of users (or arrivals) relative to the other scenarios.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: u32,
    /// Pause of a user between two iterations, uniform between `min` and `max`; closed load only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think_time: Option<ThinkTimeSpec>,
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub tasks: Vec<TaskSpec>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThinkTimeSpec {
    #[schemars(schema_with = "super::schema::duration")]
    pub min: String,
    #[schemars(schema_with = "super::schema::duration")]
    pub max: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskSpec {
    #[schemars(schema_with = "super::schema::name")]
    pub name: String,
    /// How often the task is chosen relative to the scenario's others.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: u32,
    /// Carried out in order; the first that fails ends the iteration.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<StepSpec>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepSpec {
    /// Name in results and thresholds; without one, the method and the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
    pub http: HttpStepSpec,
    /// Overrides `spec.http.timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::optional_duration")]
    pub timeout: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpStepSpec {
    #[serde(default = "get")]
    #[schemars(extend("enum" = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]))]
    pub method: String,
    /// A template that starts with `/`; may hold a query.
    #[schemars(length(max = 2048), extend("pattern" = "^/[^\\s#]*( *\\{\\{.*\\}\\}[^\\s#]*)*$"))]
    pub path: String,
    /// Values are templates; they replace the target's headers of the same name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub headers: BTreeMap<String, String>,
    /// A JSON body; its strings are templates, and a string that is wholly one expression becomes that value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::free_value")]
    pub json: Option<Value>,
    /// A text body, a template; not together with `json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub body: Option<String>,
}

/// Exactly one of `closed` and `open`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["closed"]}, {"required": ["open"]}]))]
pub struct LoadSpec {
    /// So many users, each doing one iteration after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<ClosedSpec>,
    /// So many iterations started per second, whether earlier ones have ended or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenSpec>,
    /// Seeds all that is random; taken from the run's id if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub seed: Option<i64>,
}

/// Either `users` and `duration` (after a linear `rampUp`), or `stages`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["users", "duration"]}, {"required": ["stages"]}]))]
pub struct ClosedSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub users: Option<u32>,
    /// How long `users` are held, after the ramp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::optional_duration")]
    pub duration: Option<String>,
    /// A linear ramp from no user before `duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::optional_duration")]
    pub ramp_up: Option<String>,
    /// Users before the first stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub start_at: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub stages: Option<Vec<StageSpec>>,
}

/// Either `rate` and `duration` (after a linear `rampUp`), or `stages`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["rate", "duration"]}, {"required": ["stages"]}]))]
pub struct OpenSpec {
    /// Iterations per `per`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub rate: Option<u32>,
    /// The unit of time of `rate`, `startAt` and the stages' targets.
    #[serde(default)]
    pub per: Per,
    /// How long `rate` is held, after the ramp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::optional_duration")]
    pub duration: Option<String>,
    /// A linear ramp from nothing before `duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::optional_duration")]
    pub ramp_up: Option<String>,
    /// Rate before the first stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub start_at: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub stages: Option<Vec<StageSpec>>,
    /// Iterations that may run at once over the whole fleet; an arrival that finds no room is dropped and counted.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_in_flight: u32,
    /// Share of the arrivals that may be dropped in a run that passes.
    #[serde(default = "one_percent")]
    #[schemars(schema_with = "super::schema::percent")]
    pub max_dropped: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Per {
    #[default]
    #[serde(rename = "1s")]
    Second,
    #[serde(rename = "1m")]
    Minute,
    #[serde(rename = "1h")]
    Hour,
}

/// The level moves linearly from that of the stage before to `target`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageSpec {
    /// `0s` jumps.
    #[schemars(schema_with = "super::schema::duration")]
    pub duration: String,
    #[schemars(range(min = 0, max = 10_000_000))]
    pub target: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThresholdSpec {
    #[schemars(schema_with = "super::schema::metric")]
    pub metric: Metric,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<SelectSpec>,
    /// Aggregate, comparison and a number with its unit: `p(99) < 250ms`, `rate < 1%`, `rate >= 500/s`.
    #[schemars(length(max = 64), extend("pattern" = "^(p\\((100|[1-9]?[0-9](\\.[0-9]{1,3})?)\\)|avg|min|med|max|rate) *(<|<=|>|>=) *[0-9][0-9.]*[a-z0-9%/]*$"))]
    pub expr: String,
}

/// Only samples whose names match all that is set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SelectSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub scenario: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub task: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub step: Option<String>,
    /// Latencies of successes, of failures or of both.
    #[schemars(schema_with = "super::schema::outcome")]
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkersSpec {
    /// Worker Pods; the load is split over them exactly.
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: u32,
    /// From the run's begin until every worker is ready, else the run ends `Errored`.
    #[schemars(schema_with = "super::schema::duration")]
    pub start_deadline: String,
    /// How long a worker that has lost its master goes on before it stops its load by itself.
    #[schemars(schema_with = "super::schema::duration")]
    pub grace: String,
    /// CPU and memory; requests are made equal to limits, since a load generator that bursts lies about latency.
    pub resources: ResourcesSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodSpec>,
}

impl Default for WorkersSpec {
    fn default() -> Self {
        Self { replicas: 1, start_deadline: "10m".into(), grace: "90s".into(), resources: ResourcesSpec::default(), pod: None }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MasterSpec {
    pub resources: ResourcesSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodSpec>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResourcesSpec {
    #[schemars(schema_with = "super::schema::quantity")]
    pub cpu: String,
    #[schemars(schema_with = "super::schema::quantity")]
    pub memory: String,
}

impl Default for ResourcesSpec {
    fn default() -> Self {
        Self { cpu: "500m".into(), memory: "512Mi".into() }
    }
}

/// What may be said about a Pod; all else is fixed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<TolerationSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TolerationSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 316))]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Exists", "Equal"]))]
    pub operator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["NoSchedule", "PreferNoSchedule", "NoExecute"]))]
    pub effect: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RunSpec {
    /// `OnApply`: each change that matters for the load starts a run. `OnTrigger`: only a changed `trigger` or `starling.dev/rerun` annotation does.
    pub start: StartPolicy,
    /// Any text; changing it starts a new run.
    #[schemars(length(max = 128))]
    pub trigger: String,
    /// How long iterations that run at the end may go on before they are cut.
    #[schemars(schema_with = "super::schema::duration")]
    pub stop_timeout: String,
    /// A run that has not ended by then ends `Errored`; the planned length, `stopTimeout` and 10 minutes if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::optional_duration")]
    pub deadline: Option<String>,
    /// How long the master is kept after the end.
    #[schemars(schema_with = "super::schema::duration")]
    pub ttl_after_finished: String,
    /// Holds a run that has not started; ends one that has.
    pub suspend: bool,
    /// Ended runs shown in `status.history`.
    #[schemars(range(min = 0, max = 10))]
    pub history_limit: u32,
}

impl Default for RunSpec {
    fn default() -> Self {
        Self {
            start: StartPolicy::OnApply,
            trigger: String::new(),
            stop_timeout: "30s".into(),
            deadline: None,
            ttl_after_finished: "1h".into(),
            suspend: false,
            history_limit: 10,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StartPolicy {
    #[default]
    OnApply,
    OnTrigger,
}

fn one() -> u32 {
    1
}

fn get() -> String {
    "GET".into()
}

fn one_percent() -> String {
    "1%".into()
}
