//! Behaviour of the users: scenarios, tasks, steps.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::load::ScenarioLoadSpec;
use super::pace::ThinkTimeSpec;
use super::{CheckSpec, ExtractSpec, GoodputSpec, GrpcStepSpec, HttpStepSpec, RecordSpec};
use crate::plan::protocol::AnswerKind;
use crate::plan::{OnFailure, Order};

/// Behaviour of a kind of user: tasks, pauses between them, and steps before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScenarioSpec {
    /// Name in results and thresholds, unlike that of any other scenario.
    #[schemars(schema_with = "crate::crd::schema::name")]
    pub name: String,
    /// Share of the users or arrivals, relative to the other scenarios. `0`: none.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: u32,
    /// Number of users over the whole fleet that play this scenario, before the others are divided
    /// by weight; `weight` is ignored then. Not in open load.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub fixed_users: Option<u32>,
    /// Pause of a user between two iterations. If unset, none. Excludes `pacing`; not in open load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think_time: Option<ThinkTimeSpec>,
    /// Shortest time from the start of a user's iteration to the start of its next, which follows
    /// at once if the first took longer. Excludes `thinkTime`; not in open load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub pacing: Option<String>,
    /// Tasks that make an iteration.
    #[serde(default)]
    pub order: Order,
    /// Steps carried out once by each user before its first iteration, such as a login. The values
    /// they extract last as long as the user. Their requests count as `control` and are in no
    /// latency. In open load each slot carries them out once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub on_start: Vec<StepSpec>,
    /// Steps carried out once by each user that had started, after its last iteration. Their
    /// requests count as `control`. Not in open load.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub on_stop: Vec<StepSpec>,
    /// Load of this scenario, beside those of the others. If one scenario has a load, all have one,
    /// and `spec.load` has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<ScenarioLoadSpec>,
    /// Tasks of the scenario, which make its iterations.
    #[schemars(
        length(min = 1, max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub tasks: Vec<TaskSpec>,
    /// Named lists of steps, carried out where a step says `call`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub blocks: Vec<BlockSpec>,
}

impl ScenarioSpec {
    /// Returns all steps of the scenario: those of `onStart`, `onStop`, tasks and blocks.
    pub fn steps(&self) -> impl Iterator<Item = &StepSpec> {
        let of_tasks = self.tasks.iter().flat_map(|task| &task.steps);
        self.on_start
            .iter()
            .chain(&self.on_stop)
            .chain(of_tasks)
            .chain(self.blocks.iter().flat_map(|block| &block.steps))
    }
}

/// Steps of an iteration, carried out in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskSpec {
    /// Name in results and thresholds, unlike that of any other task or block of the scenario, and
    /// neither `onStart` nor `onStop`.
    #[schemars(schema_with = "crate::crd::schema::name")]
    pub name: String,
    /// Share of the iterations, relative to the other tasks of the scenario. `0`: none. Ignored
    /// with `order: Sequential`.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: u32,
    /// Steps, carried out in order; one that fails ends the iteration, unless its `onFailure` says
    /// otherwise.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<StepSpec>,
}

/// Named list of steps that other steps call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockSpec {
    /// Name in `call`, and in results the task of the block's requests.
    #[schemars(schema_with = "crate::crd::schema::name")]
    pub name: String,
    /// Steps, carried out in order.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<StepSpec>,
}

/// One step: exactly one of `http`, `grpc`, `call` and `pause`; the other fields say when and how
/// often it is carried out, and what follows from the answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    extend(
        "oneOf" = [
            {"required": ["http"]}, {"required": ["grpc"]}, {"required": ["call"]},
            {"required": ["pause"]},
        ]
    )
)]
pub struct StepSpec {
    /// Name of the request in results and thresholds, unlike that of any other in the same list. If
    /// unset, the method and the path, of gRPC the method.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
    /// Tags of the request: any names and values, by which `thresholds[].select.tags`, `--tags` and
    /// `--exclude-tags` choose requests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub tags: BTreeMap<String, String>,
    /// CEL expression; the step is skipped unless it gives `true`. It may use the answer before it
    /// (`status`, `headers`, `body`, `json`, `latency` in milliseconds), `vars.NAME`,
    /// `feeders.NAME`, `user` and `iteration`. An expression that cannot be evaluated fails the
    /// step.
    #[serde(rename = "if", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub condition: Option<String>,
    /// Repetition of the step. Excludes `forEach`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<RepeatSpec>,
    /// Repetition of the step for each item of an array. Excludes `repeat`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEachSpec>,
    /// Consequence of a failure of this step.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Name of one of `spec.targets` that the request goes to. If unset, `spec.target`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub target: Option<String>,
    /// HTTP request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpStepSpec>,
    /// gRPC call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcStepSpec>,
    /// Name of a block of this scenario, whose steps are carried out here. Blocks call others at
    /// most 4 deep, and never themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub call: Option<String>,
    /// Wait of this length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<ThinkTimeSpec>,
    /// Conditions on the answer, all of which must hold; otherwise the request is a failure of
    /// class `check`. A check of `status` replaces the rule that 400 and above are failures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub checks: Vec<CheckSpec>,
    /// Values taken out of the answer, by the name that later steps use: `{{ NAME }}`. They last
    /// for the iteration, those of `onStart` as long as the user.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub extract: BTreeMap<String, ExtractSpec>,
    /// Numbers of the answer, such as the time that a model says it took, each kept as a metric of
    /// the test. Not in `onStart`, `onStop`, `setup` and `teardown`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub record: Vec<RecordSpec>,
    /// Limits of a good request of this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goodput: Option<GoodputSpec>,
    /// Longest time from the intended start to the last byte of the answer; overrides
    /// `spec.http.timeout`. A gRPC server is told of it as the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub timeout: Option<String>,
}

impl StepSpec {
    /// Returns whether the step sends a request, by whatever protocol.
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

/// Repetition of a step: either `count`, or `until` with `max`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["count"]}, {"required": ["until", "max"]}]))]
pub struct RepeatSpec {
    /// Number of times.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub count: Option<u32>,
    /// CEL expression, evaluated after each time; the repetition ends when it gives `true`. It may
    /// use what `if` uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub until: Option<String>,
    /// Highest number of times; if `until` has not become true by then, the step has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max: Option<u32>,
    /// Pause between two times. If unset, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub every: Option<String>,
}

/// Repetition of a step for each item of an array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForEachSpec {
    /// Array, or a template of a single expression that gives one.
    #[serde(rename = "in")]
    #[schemars(schema_with = "crate::crd::schema::free_value")]
    pub items: Value,
    /// Name of the current item in the step's templates.
    #[serde(rename = "as")]
    #[schemars(length(min = 1, max = 63), extend("pattern" = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
}

fn one() -> u32 {
    1
}
