//! What a user writes: the spec of a LoadTest, as the API server's schema has it.
//! [`super::convert`] turns it into a plan.

// clippy takes two columns of one type for the same attribute written twice
#![allow(clippy::duplicated_attributes)]

mod auth;
mod check;
mod cost;
mod extract;
mod feeder;
mod fields;
mod grpc;
mod http;
mod load;
mod pace;
mod pods;
mod run;
mod samples;
mod scenario;
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

pub use auth::*;
pub use check::*;
pub use cost::*;
pub use extract::*;
pub use feeder::*;
pub use fields::*;
pub use grpc::*;
pub use http::*;
pub use load::*;
pub use pace::*;
pub use pods::*;
pub use run::*;
pub use samples::*;
pub use scenario::*;
pub use stream::*;
pub use target::*;
pub use template::*;
pub use threshold::*;
pub use transport::*;

/// A load test: what to send, how hard, and what counts as passing. Each change that matters for
/// the load starts one run; its merged results and verdict are in the status.
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
    /// The system under test: where steps go unless they name another of `targets`.
    pub target: TargetSpec,
    /// Further targets by name, for steps that say `target: NAME`, each with headers, credentials
    /// and TLS of its own. They are sent to no other origin. A redirect to the origin of one
    /// of them is followed there, with its headers and credentials.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub targets: BTreeMap<String, TargetSpec>,
    /// How requests are made.
    #[serde(default)]
    pub http: HttpSpec,
    /// How gRPC calls are made.
    #[serde(default, skip_serializing_if = "GrpcSpec::is_default")]
    pub grpc: GrpcSpec,
    /// Where the descriptors of gRPC services come from. Unset: each worker asks the target by
    /// server reflection (`grpc.reflection.v1`, else `v1alpha`) before it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protos: Option<ProtosSpec>,
    /// Values that templates may name: `{{ endpoint }}`. Their strings are templates themselves,
    /// over functions and other variables. A variable in which nothing differs is a constant
    /// of the run; any other, such as `"{{ uuid() }}"`, is made anew at the beginning of each
    /// iteration and is the same wherever that iteration uses it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::schema::free_map", extend("maxProperties" = 64))]
    pub variables: BTreeMap<String, Value>,
    /// Further variables, whose values are texts of Secrets and ConfigMaps in the LoadTest's
    /// namespace, without the line break at their end. Results and logs do not show them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub variables_from: BTreeMap<String, FileSource>,
    /// What encloses expressions in all templates of the test, where Helm or another tool takes
    /// `{{ }}` for its own.
    #[serde(default, skip_serializing_if = "TemplateDelimitersSpec::are_usual")]
    pub template_delimiters: TemplateDelimitersSpec,
    /// Rows of test data that templates name: `{{ texts.text }}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub feeders: Vec<FeederSpec>,
    /// Carried out once, by one worker, when all are ready and before any load, such as the
    /// creation of test data. When a step fails, no load is sent and the run ends `Errored`,
    /// reason `SetupFailed`. What the steps extract, at most 64 KiB together, the templates of all
    /// scenarios and of `teardown` may name; it is held in memory only and shown nowhere. The
    /// steps may name variables, but no feeders, and call no blocks. Their requests count as
    /// `control`. If the worker dies before it is done, another begins anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub setup: Vec<StepSpec>,
    /// Carried out once when the load is over, also when the run was aborted or `setup` failed,
    /// but not when nothing was sent before, by any worker and within `run.stopTimeout`. It may be
    /// carried out twice when a worker dies, and must bear that. A step that fails is a warning.
    /// Names, blocks and counts as in `setup`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub teardown: Vec<StepSpec>,
    /// What the users do.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub scenarios: Vec<ScenarioSpec>,
    /// How much of it, over time.
    #[serde(default, skip_serializing_if = "LoadSpec::is_empty")]
    pub load: LoadSpec,
    /// Load before the measured part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<WarmupSpec>,
    /// The rules that decide between passed and failed. Without any, a run with at least one
    /// success passes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub thresholds: Vec<ThresholdSpec>,
    /// Requests that are written down as they are made; none if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<SamplesSpec>,
    /// What the system under test costs. Changing it starts no run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostSpec>,
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
