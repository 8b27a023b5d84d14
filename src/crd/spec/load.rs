//! How much load, over time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Users over the whole fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub users: Option<u32>,
    /// How long `users` are held, after the ramp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub duration: Option<String>,
    /// A linear ramp from no user before `duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub ramp_up: Option<String>,
    /// Users before the first stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub start_at: Option<u32>,
    /// A course of load in stages, each moving linearly from the level before it; instead of `users`, `duration` and `rampUp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub stages: Option<Vec<StageSpec>>,
    /// Users that may start per second over the whole fleet, also where the level jumps; 100 for each worker if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub spawn_rate: Option<u32>,
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
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub duration: Option<String>,
    /// A linear ramp from nothing before `duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub ramp_up: Option<String>,
    /// Rate before the first stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub start_at: Option<u32>,
    /// A course of load in stages, each moving linearly from the rate before it; instead of `rate`, `duration` and `rampUp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub stages: Option<Vec<StageSpec>>,
    /// How arrivals follow each other: `Constant` as evenly as the rate allows, `Poisson` at random and independent of each other, as those
    /// of many people are.
    #[serde(default)]
    pub arrival: ArrivalSpec,
    /// Iterations that may run at once over the whole fleet; an arrival that finds no room is dropped and counted.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_in_flight: u32,
    /// Share of the arrivals that may be dropped in a run that passes.
    #[serde(default = "one_percent")]
    #[schemars(schema_with = "crate::crd::schema::percent")]
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

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ArrivalSpec {
    #[default]
    Constant,
    Poisson,
}

/// The level moves linearly from that of the stage before to `target`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageSpec {
    /// `0s` jumps.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub duration: String,
    /// Users, or rate in open load, at the end of the stage.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub target: u32,
}

fn one_percent() -> String {
    "1%".into()
}
