//! What the users do: scenarios, tasks, steps.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::load::ScenarioLoadSpec;
use super::pace::ThinkTimeSpec;
use super::{CheckSpec, ExtractSpec, GoodputSpec, GrpcStepSpec, HttpStepSpec, RecordSpec};
use crate::plan::facts::AnswerKind;
use crate::plan::{OnFailure, Order};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScenarioSpec {
    /// Name in results and thresholds.
    #[schemars(schema_with = "crate::crd::schema::name")]
    pub name: String,
    /// Share of users (or arrivals) relative to the other scenarios.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: u32,
    /// So many users, over the whole fleet, play this scenario before any are dealt out by weight;
    /// `weight` is not looked at then. Not in open load.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub fixed_users: Option<u32>,
    /// Pause of a user between two iterations; not in open load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think_time: Option<ThinkTimeSpec>,
    /// A user's iteration begins at the earliest so long after the beginning of its last, and at
    /// once when that took longer. Not together with `thinkTime`, and not in open load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub pacing: Option<String>,
    /// `Weighted`: an iteration is one task, chosen by weight. `Sequential`: it is all tasks, each
    /// once, in the order of the file.
    #[serde(default)]
    pub order: Order,
    /// Carried out once by each user before its first iteration, such as a login; what they
    /// extract is known to the user for its life. Their requests count as `control` and are in
    /// no latency. In open load they are carried out once by each slot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub on_start: Vec<StepSpec>,
    /// Carried out once by each user that had started, after its last iteration. Counted as those
    /// of `onStart` are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub on_stop: Vec<StepSpec>,
    /// A load of this scenario's own, beside those of the others; then every scenario has one, and
    /// `spec.load` has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<ScenarioLoadSpec>,
    /// What a user does: each iteration is one of them.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub tasks: Vec<TaskSpec>,
    /// Lists of steps under a name, carried out where a step says `call`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub blocks: Vec<BlockSpec>,
}

impl ScenarioSpec {
    /// All its steps, wherever they stand.
    pub fn steps(&self) -> impl Iterator<Item = &StepSpec> {
        let of_tasks = self.tasks.iter().flat_map(|task| &task.steps);
        self.on_start
            .iter()
            .chain(&self.on_stop)
            .chain(of_tasks)
            .chain(self.blocks.iter().flat_map(|block| &block.steps))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskSpec {
    /// Name in results and thresholds.
    #[schemars(schema_with = "crate::crd::schema::name")]
    pub name: String,
    /// How often the task is chosen relative to the scenario's others.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: u32,
    /// Carried out in order; the first that fails ends the iteration, unless it says otherwise by
    /// `onFailure`.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<StepSpec>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockSpec {
    /// The name in `call`, and in results that of the task of the block's requests.
    #[schemars(schema_with = "crate::crd::schema::name")]
    pub name: String,
    /// Carried out in order.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<StepSpec>,
}

/// Exactly one of `http`, `grpc`, `call` and `pause`; the rest says when, how often, and what comes
/// of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["http"]}, {"required": ["grpc"]}, {"required": ["call"]}, {"required": ["pause"]}]))]
pub struct StepSpec {
    /// Name of a request in results and thresholds; without one, the method and the path, of gRPC
    /// the method.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
    /// Any names and values; `thresholds[].select.tags`, `--tags` and `--exclude-tags` choose
    /// requests by them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub tags: BTreeMap<String, String>,
    /// A CEL expression; the step is left out unless it is true. It sees the answer before it
    /// (`status`, `headers`, `body`, `json`, `latency` in milliseconds), `vars.NAME`,
    /// `feeders.NAME`, `user` and `iteration`. One that cannot be told fails the step.
    #[serde(rename = "if", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub condition: Option<String>,
    /// Carries the step out several times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<RepeatSpec>,
    /// Carries the step out once for each item of an array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEachSpec>,
    /// What a failure means: go on with the next step, end the iteration, or end the user (in open
    /// load: the iteration).
    #[serde(default)]
    pub on_failure: OnFailure,
    /// The name of one of `spec.targets`, where the request goes instead of to `spec.target`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub target: Option<String>,
    /// An HTTP request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpStepSpec>,
    /// A gRPC call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcStepSpec>,
    /// The name of a block of this scenario, whose steps are carried out here. Blocks call others
    /// at most 4 deep, and never themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub call: Option<String>,
    /// Waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<ThinkTimeSpec>,
    /// What the answer must be; one that is not fails the request. A `status` among them replaces
    /// the rule that 400 and above have failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub checks: Vec<CheckSpec>,
    /// Values taken out of the answer, by the name that later steps use: `{{ NAME }}`. They live
    /// for the iteration, those of `onStart` for the user.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub extract: BTreeMap<String, ExtractSpec>,
    /// Numbers of the answer, such as the time that a model says it took, each kept as a metric of
    /// its own. Not in `onStart` and `onStop`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub record: Vec<RecordSpec>,
    /// Limits that make a request of this step a good one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goodput: Option<GoodputSpec>,
    /// Overrides `spec.http.timeout`; a gRPC server is told of it as the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub timeout: Option<String>,
}

impl StepSpec {
    /// It asks something of a target, by whatever protocol.
    pub fn is_request(&self) -> bool {
        self.http.is_some() || self.grpc.is_some()
    }

    /// Kind of the answers to a step that is a request.
    pub(in crate::crd) fn answer_kind(&self) -> AnswerKind {
        match &self.http {
            _ if self.grpc.is_some() => AnswerKind::Grpc,
            Some(http) if http.stream.is_some() => AnswerKind::HttpStream,
            _ => AnswerKind::Http,
        }
    }
}

/// Either `count`, or `until` with `max`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["count"]}, {"required": ["until", "max"]}]))]
pub struct RepeatSpec {
    /// So many times.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub count: Option<u32>,
    /// A CEL expression, looked at after each time; when it is true the step is done. It sees what
    /// `if` sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub until: Option<String>,
    /// Times at most; when `until` has not become true by then, the step has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max: Option<u32>,
    /// Pause between one time and the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub every: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForEachSpec {
    /// An array, or a template that is wholly one expression and yields one.
    #[serde(rename = "in")]
    #[schemars(schema_with = "crate::crd::schema::free_value")]
    pub items: Value,
    /// The name of the item in the step's templates.
    #[serde(rename = "as")]
    #[schemars(length(min = 1, max = 63), extend("pattern" = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
}

fn one() -> u32 {
    1
}
