//! The spec of a LoadTest, as users write it and the API server's schema has it; [`super::convert`]
//! turns it into a plan.
//!
//! The doc comments are the descriptions of the definition, which `kubectl explain` and
//! docs/loadtest.md show, so they are written for users. [`super::schema`] adds the meaning of an
//! enum's values and the default of a scalar.

#![allow(
    clippy::duplicated_attributes,
    reason = "clippy takes two columns of one type for the same attribute written twice"
)]

mod amount;
mod auth;
mod check;
mod cost;
mod extract;
mod feeder;
mod fields;
mod load;
mod pace;
mod pods;
mod run;
mod samples;
mod scenario;
mod step;
mod stream;
mod target;
mod template;
mod threshold;
mod transport;

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::status::LoadTestStatus;

pub use amount::Amount;
pub use auth::*;
pub use check::*;
pub use cost::*;
pub use extract::*;
pub use feeder::*;
pub use fields::*;
pub use load::*;
pub use pace::*;
pub use pods::*;
pub use run::*;
pub use samples::*;
pub use scenario::*;
pub use step::*;
pub use stream::*;
pub use target::*;
pub use template::*;
pub use threshold::*;
pub use transport::*;

/// Test definition: what to send, how hard, and what counts as passing. Each change that matters
/// for the load starts one run; its merged results and its verdict are in the status.
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
    scale(
        spec_replicas_path = ".spec.workers.replicas",
        status_replicas_path = ".status.workers.ready",
        label_selector_path = ".status.workers.selector"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Progress",
        type_ = "string",
        json_path = ".status.columns.progress"
    ),
    printcolumn(
        name = "Workers",
        type_ = "string",
        json_path = ".status.columns.workers"
    ),
    printcolumn(name = "Users", type_ = "string", json_path = ".status.columns.users"),
    printcolumn(name = "RPS", type_ = "string", json_path = ".status.columns.rps"),
    printcolumn(name = "P95", type_ = "string", json_path = ".status.columns.p95"),
    printcolumn(
        name = "Failures",
        type_ = "string",
        json_path = ".status.columns.failures"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Target",
        type_ = "string",
        json_path = ".spec.target.url",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.columns.reason",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct LoadTestSpec {
    /// System under test: requests go here unless their step names one of `targets`.
    pub target: TargetSpec,
    /// Further targets by name, for steps that say `target: NAME`; each has its own headers,
    /// credentials and TLS, which are sent to no other origin. A name begins with a lower case
    /// letter and holds lower case letters, digits and dashes. A redirect to the origin of one of
    /// them is followed with that target's headers and credentials.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub targets: BTreeMap<String, TargetSpec>,
    /// Settings of HTTP requests: timeout, version, connections, redirects, cookies.
    #[serde(default)]
    pub http: HttpSpec,
    /// Settings of gRPC calls: channels, message size, keep-alive.
    #[serde(default, skip_serializing_if = "GrpcSpec::is_default")]
    pub grpc: GrpcSpec,
    /// Source of the descriptors of gRPC services. If unset, each worker asks the target by server
    /// reflection (`grpc.reflection.v1`, else `v1alpha`) before it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protos: Option<ProtosSpec>,
    /// Values by name that templates use as `{{ NAME }}`, each at most 64 KiB as JSON. Strings in
    /// them are templates themselves, over functions and other variables. A variable that always
    /// gives the same value is a constant of the run; any other, such as `"{{ uuid() }}"`, is
    /// evaluated when an iteration starts and is the same throughout that iteration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::schema::free_map", extend("maxProperties" = 64))]
    pub variables: BTreeMap<String, Value>,
    /// Further variables, by name, whose values are texts of Secrets and ConfigMaps in the
    /// LoadTest's namespace, without their final line break. Results and logs do not show them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub variables_from: BTreeMap<String, FileSource>,
    /// Delimiters around expressions in all templates of the test, for files that pass through Helm
    /// or another tool that uses `{{ }}` itself.
    #[serde(default, skip_serializing_if = "TemplateDelimitersSpec::are_usual")]
    pub template_delimiters: TemplateDelimitersSpec,
    /// Rows of test data that templates use, such as `{{ texts.text }}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub feeders: Vec<FeederSpec>,
    /// Steps carried out once, by one worker, when all workers are ready and before any load, such
    /// as the creation of test data. When a step fails, no load is sent and the run ends `Errored`,
    /// reason `SetupFailed`. The values that the steps extract, at most 64 KiB together, are
    /// variables of all scenarios and of `teardown`; they are held in memory only and shown
    /// nowhere. The steps may use variables, but no feeders, and call no blocks. Their requests
    /// count as `control`. If the worker dies before the end, another worker starts from the first
    /// step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub setup: Vec<StepSpec>,
    /// Steps carried out once after the load, by any worker, within `run.stopTimeout`; also when
    /// the run was aborted or `setup` failed, but not when nothing had been sent. They must be
    /// idempotent: if the worker dies, another repeats them. A failed step is a warning. Variables,
    /// blocks and counts are as in `setup`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub teardown: Vec<StepSpec>,
    /// Steps of each iteration, for a test in which all users do the same: the short form of
    /// `scenarios`, with one scenario and one task, both called `default`. Exactly one of the two is
    /// set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<StepSpec>,
    /// Behaviours of the users, each a set of tasks; users or arrivals are divided among them by
    /// weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub scenarios: Vec<ScenarioSpec>,
    /// Load profile: how many users, arrivals per second or iterations, over time.
    #[serde(default, skip_serializing_if = "LoadSpec::is_empty")]
    pub load: LoadSpec,
    /// Load before the measured part of the run. If unset, the measured part starts at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<WarmupSpec>,
    /// Rules that decide between passed and failed. Without any, a run with at least one successful
    /// request passes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub thresholds: Vec<ThresholdSpec>,
    /// Request log: which requests are written down in full. If unset, none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<SamplesSpec>,
    /// Prices of the system under test, for the cost in the result. Changing them starts no run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostSpec>,
    /// Worker Pods, which generate the load.
    #[serde(default)]
    pub workers: WorkersSpec,
    /// Master Pod, which coordinates the workers and merges their results.
    #[serde(default)]
    pub master: MasterSpec,
    /// Start, end and retention of a run.
    #[serde(default)]
    pub run: RunSpec,
}
