//! Load profiles: users, arrivals or iterations over time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Amount;

/// Load profile: exactly one of `closed`, `open`, `iterations` and `capacity`; none where the
/// scenarios have loads of their own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(
    extend(
        "oneOf" = [
            {"required": ["closed"]},
            {"required": ["open"]},
            {"required": ["iterations"]},
            {"required": ["capacity"]},
            {"not": {"anyOf": [
                {"required": ["closed"]},
                {"required": ["open"]},
                {"required": ["iterations"]},
                {"required": ["capacity"]}
            ]}}
        ]
    )
)]
pub struct LoadSpec {
    /// Number of users over time, each of whom does one iteration after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<ClosedSpec>,
    /// Number of iterations started per second over time, whether earlier ones have ended or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenSpec>,
    /// Fixed number of iterations, done as fast as a number of users can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<IterationsSpec>,
    /// Search for the highest rate that meets the thresholds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacitySpec>,
    /// Cap on the requests per second. Not in open load, where waiting would hide what is asked
    /// for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<ThrottleSpec>,
    /// Seed of all random choices. If unset, it is derived from the run's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub seed: Option<i64>,
}

impl LoadSpec {
    /// Returns whether nothing is set, as where the scenarios have loads of their own.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Load of one scenario, beside those of the others: exactly one of `closed`, `open` and
/// `iterations`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    extend(
        "oneOf" = [{"required": ["closed"]}, {"required": ["open"]}, {"required": ["iterations"]}]
    )
)]
pub struct ScenarioLoadSpec {
    /// Time from the start of the run (after the warm-up) to the start of this load.
    #[serde(default = "at_once")]
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub start_after: String,
    /// Number of users over time; see `spec.load.closed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<ClosedSpec>,
    /// Number of iterations started per second over time; see `spec.load.open`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenSpec>,
    /// Fixed number of iterations; see `spec.load.iterations`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<IterationsSpec>,
    /// Cap on the requests per second of this scenario; see `spec.load.throttle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<ThrottleSpec>,
}

/// Fixed number of iterations by a fixed number of users, after which the run ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IterationsSpec {
    /// Number of iterations, of the whole fleet or, with `perUser`, of each user.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub count: u32,
    /// Users over the whole fleet that share the work; all start at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub users: u32,
    /// Gives each user `count` iterations, instead of all together.
    #[serde(default)]
    pub per_user: bool,
    /// Time after which no iteration starts; those that are left are counted as dropped. If unset,
    /// only `spec.run.deadline` ends a run that hangs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub max_duration: Option<String>,
    /// Longest pause of a user after an iteration in which a request got no whole answer at once, as
    /// where nobody listens: it spares this machine, not the target. The first pause is 10 ms, each
    /// after it is twice as long, and the next answer ends them. There is none after an iteration
    /// that took 5 ms or more, nor after a timeout. `0s`: never.
    #[serde(default = "a_second")]
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub retry_pause: String,
}

/// Open load whose rate grows from level to level until one does not hold; a bisection then narrows
/// the rate down, and the answer is confirmed once, held for twice as long. A level holds if over
/// its judged part every threshold is met, 99% of the rate is achieved (give or take one arrival of
/// each worker), and no worker is saturated. After a level that does not hold, the load returns to
/// `start` until that holds. The results are those of the confirmed level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapacitySpec {
    /// First rate, in iterations per `per`; one that the target holds.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub start: Amount,
    /// Highest rate that is tried, in iterations per `per`; at least `start`.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub max: Amount,
    /// Unit of time of `start`, `max` and `atLeast`.
    #[serde(default)]
    pub per: Per,
    /// Growth from one level to the next, as a share of the rate, while levels hold; at least `1%`.
    #[serde(default = "a_quarter")]
    #[schemars(schema_with = "crate::crd::schema::percent")]
    pub step: String,
    /// Length of a level; whole seconds, longer than `settle` and at most 24h.
    #[serde(default = "a_minute")]
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub hold: String,
    /// First part of a level, which is not judged; whole seconds, shorter than `hold`.
    #[serde(default = "ten_seconds")]
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub settle: String,
    /// Largest distance of the answer from a rate that does not hold, as a share of that rate; at
    /// least `1%`.
    #[serde(default = "five_percent")]
    #[schemars(schema_with = "crate::crd::schema::percent")]
    pub precision: String,
    /// Iterations that may run at once over the whole fleet; an arrival that finds no room is
    /// dropped.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_in_flight: u32,
    /// Rate, in iterations per `per`, that the answer must reach for the run to pass; at most
    /// `max`. If unset, the run passes if any rate holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub at_least: Option<Amount>,
}

/// Cap on the requests per second. A request above it waits for its turn, which is not part of its
/// latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ThrottleSpec {
    /// Requests that may start per second over the whole fleet.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub rps: Amount,
}

/// Load before the measured part of the run: it fills caches and opens connections, and is in no
/// result and no threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WarmupSpec {
    /// Length of the warm-up, after which the load's own time begins.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub duration: String,
    /// Users, or iterations in the unit of `rate`. If unset, a tenth of the load's highest level,
    /// and at least 1. Not where scenarios have loads of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub target: Option<u32>,
}

/// Number of users over time: either `users` and `duration` (after a linear `rampUp`), or `stages`.
/// At most 7 days.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["users", "duration"]}, {"required": ["stages"]}]))]
pub struct ClosedSpec {
    /// Users over the whole fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub users: Option<u32>,
    /// Time for which `users` are held, after the ramp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub duration: Option<String>,
    /// Length of a linear ramp from no user, before `duration`. If unset, all users start at once,
    /// as `spawnRate` allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub ramp_up: Option<String>,
    /// Users before the first of `stages`. If unset, 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub start_at: Option<u32>,
    /// Stages of the load, each moving linearly from the level before it. Excludes `users`,
    /// `duration` and `rampUp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub stages: Option<Vec<StageSpec>>,
    /// Users that may start per second over the whole fleet, also where the level jumps. If unset,
    /// 100 for each worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub spawn_rate: Option<Amount>,
    /// Largest share of the users' time that may be missing, as after the loss of a worker, in a
    /// run that can pass; time for which `spawnRate` holds users back is not missing, nor are 25 ms
    /// for each user, by which one may start late.
    #[serde(default = "one_percent")]
    #[schemars(schema_with = "crate::crd::schema::percent")]
    pub max_missing: String,
    /// Longest pause of a user after an iteration in which a request got no whole answer at once, as
    /// where nobody listens: it spares this machine, not the target. The first pause is 10 ms, each
    /// after it is twice as long, and the next answer ends them. There is none after an iteration
    /// that took 5 ms or more, nor after a timeout. `0s`: never.
    #[serde(default = "a_second")]
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub retry_pause: String,
}

/// Number of iterations started per second over time: either `rate` and `duration` (after a linear
/// `rampUp`), or `stages`. At most 7 days.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["rate", "duration"]}, {"required": ["stages"]}]))]
pub struct OpenSpec {
    /// Iterations started per `per`; may be a fraction, such as `0.5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub rate: Option<Amount>,
    /// Unit of time of `rate`, `startAt` and the stages' targets.
    #[serde(default)]
    pub per: Per,
    /// Time for which `rate` is held, after the ramp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub duration: Option<String>,
    /// Length of a linear ramp from 0, before `duration`. If unset, there is no ramp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub ramp_up: Option<String>,
    /// Rate before the first of `stages`. If unset, 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub start_at: Option<Amount>,
    /// Stages of the load, each moving linearly from the rate before it. Excludes `rate`,
    /// `duration` and `rampUp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub stages: Option<Vec<StageSpec>>,
    /// Distribution of the arrivals.
    #[serde(default)]
    pub arrival: ArrivalSpec,
    /// Iterations that may run at once over the whole fleet; an arrival that finds no room is
    /// dropped and counted.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_in_flight: u32,
    /// Largest share of dropped arrivals with which a run can pass.
    #[serde(default = "one_percent")]
    #[schemars(schema_with = "crate::crd::schema::percent")]
    pub max_dropped: String,
}

/// Unit of time of a rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Per {
    /// Rate per second.
    #[default]
    #[serde(rename = "1s")]
    Second,
    /// Rate per minute.
    #[serde(rename = "1m")]
    Minute,
    /// Rate per hour.
    #[serde(rename = "1h")]
    Hour,
}

/// Distribution of the arrivals of open load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ArrivalSpec {
    /// Even spacing, as far as the rate allows.
    #[default]
    Constant,
    /// Random spacing: arrivals are independent of each other, like those of many people.
    Poisson,
}

/// Stage of a load, in which the level moves linearly from that of the stage before to `target`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageSpec {
    /// Length of the stage. `0s`: the level jumps.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub duration: String,
    /// Users, which are whole, or rate in open load, at the end of the stage.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub target: Amount,
}

fn a_quarter() -> String {
    "25%".into()
}

fn five_percent() -> String {
    "5%".into()
}

fn a_second() -> String {
    "1s".into()
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
