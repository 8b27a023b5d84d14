//! How much load, over time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Exactly one of `closed`, `open`, `iterations` and `capacity`; none where the scenarios have
/// loads of their own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("oneOf" = [{"required": ["closed"]}, {"required": ["open"]}, {"required": ["iterations"]}, {"required": ["capacity"]},
    {"not": {"anyOf": [{"required": ["closed"]}, {"required": ["open"]}, {"required": ["iterations"]}, {"required": ["capacity"]}]}}]))]
pub struct LoadSpec {
    /// So many users, each doing one iteration after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<ClosedSpec>,
    /// So many iterations started per second, whether earlier ones have ended or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenSpec>,
    /// So many iterations, as fast as some users do them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<IterationsSpec>,
    /// A search for the highest rate that meets the thresholds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacitySpec>,
    /// A cap on the requests per second; not in open load, where waiting would hide what is asked
    /// for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<ThrottleSpec>,
    /// Seeds all that is random; taken from the run's id if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub seed: Option<i64>,
}

impl LoadSpec {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The load of one scenario, beside those of the others: exactly one of `closed`, `open` and
/// `iterations`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["closed"]}, {"required": ["open"]}, {"required": ["iterations"]}]))]
pub struct ScenarioLoadSpec {
    /// From the start of the run (after the warm-up) to the start of this load.
    #[serde(default = "at_once")]
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub start_after: String,
    /// As `spec.load.closed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<ClosedSpec>,
    /// As `spec.load.open`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenSpec>,
    /// As `spec.load.iterations`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<IterationsSpec>,
    /// As `spec.load.throttle`, of this scenario alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<ThrottleSpec>,
}

/// So many iterations by so many users, then the run ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IterationsSpec {
    /// In all over the whole fleet, or of each user with `perUser`.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub count: u32,
    /// So many users share the work; all start at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub users: u32,
    /// Each user does `count` iterations, instead of all together.
    #[serde(default)]
    pub per_user: bool,
    /// No iteration starts later; those that are left are counted as dropped. Without it only
    /// `spec.run.deadline` ends a run that hangs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub max_duration: Option<String>,
}

/// Open load whose rate grows from level to level until one does not hold; then the rate in between
/// is sought, and the answer held once more, for twice as long. A level holds if over its judged
/// part every threshold is met, 99% of the rate (but for one arrival of each worker) is achieved,
/// and no worker is saturated. After one that did not, the target gets `start` until that holds
/// again. The results are those of the confirmed level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapacitySpec {
    /// The first rate, iterations per `per`; the target must hold it.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub start: u32,
    /// No higher rate is tried.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max: u32,
    /// The unit of time of `start`, `max` and `atLeast`.
    #[serde(default)]
    pub per: Per,
    /// How much higher the next level is, as long as levels hold.
    #[serde(default = "a_quarter")]
    #[schemars(schema_with = "crate::crd::schema::percent")]
    pub step: String,
    /// How long each level is held; whole seconds.
    #[serde(default = "a_minute")]
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub hold: String,
    /// The first part of a level, which is not judged; whole seconds, less than `hold`.
    #[serde(default = "ten_seconds")]
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub settle: String,
    /// The answer is at most so far below a rate that does not hold.
    #[serde(default = "five_percent")]
    #[schemars(schema_with = "crate::crd::schema::percent")]
    pub precision: String,
    /// Iterations that may run at once over the whole fleet; an arrival that finds no room is
    /// dropped.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_in_flight: u32,
    /// The run passes if the answer is at least this rate; without it, if any rate holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub at_least: Option<u32>,
}

/// Requests that find the second full wait for their turn; that they do is not part of their
/// latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ThrottleSpec {
    /// Requests that may start per second over the whole fleet.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub rps: u32,
}

/// Load before the part of the run that is measured: it fills caches and opens connections, and is
/// in no result and no threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WarmupSpec {
    /// How long; the load's own time begins after it.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub duration: String,
    /// Users, or iterations in the unit of `rate`; a tenth of the load's highest level if unset,
    /// and at least 1. Not where scenarios have loads of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub target: Option<u32>,
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
    /// A course of load in stages, each moving linearly from the level before it; instead of
    /// `users`, `duration` and `rampUp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub stages: Option<Vec<StageSpec>>,
    /// Users that may start per second over the whole fleet, also where the level jumps; 100 for
    /// each worker if unset.
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
    /// A course of load in stages, each moving linearly from the rate before it; instead of
    /// `rate`, `duration` and `rampUp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub stages: Option<Vec<StageSpec>>,
    /// How arrivals follow each other: `Constant` as evenly as the rate allows, `Poisson` at
    /// random and independent of each other, as those of many people are.
    #[serde(default)]
    pub arrival: ArrivalSpec,
    /// Iterations that may run at once over the whole fleet; an arrival that finds no room is
    /// dropped and counted.
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

fn a_quarter() -> String {
    "25%".into()
}

fn five_percent() -> String {
    "5%".into()
}

fn a_minute() -> String {
    "1m".into()
}

fn ten_seconds() -> String {
    "10s".into()
}

fn at_once() -> String {
    "0s".into()
}

fn one_percent() -> String {
    "1%".into()
}
