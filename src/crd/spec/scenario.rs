//! Behaviour of the users: scenarios, tasks, blocks of steps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::load::ScenarioLoadSpec;
use super::pace::ThinkTimeSpec;
use super::step::StepSpec;
use crate::plan::Order;

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
    /// Steps of each iteration, for a scenario with a single task, which is called `default`: the
    /// short form of `tasks`. Exactly one of the two is set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<StepSpec>,
    /// Tasks of the scenario, which make its iterations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
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
            .chain(&self.steps)
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

fn one() -> u32 {
    1
}
