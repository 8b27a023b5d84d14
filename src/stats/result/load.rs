//! Load that a run was to offer, and how much of it was offered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::format;

/// Share of the profile below which a result says first that load was missing.
const ENOUGH: f64 = 0.99;

/// Load that was planned and how much of it was offered, over the measured part up to the end of
/// the load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadResult {
    /// Share of the planned load that was offered; of several kinds of load side by side, the
    /// smallest.
    pub offered: f64,
    /// Arrivals of open load; `None` without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<ArrivalLoad>,
    /// Users of closed load; `None` without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<UserLoad>,
    /// A fixed number of iterations; `None` without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterations: Option<IterationLoad>,
    /// Reasons why planned load was not offered, the one that cost the most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shortfalls: Vec<Shortfall>,
}

/// Reason why a part of the planned load was not offered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Shortfall {
    /// Kind of the reason.
    pub cause: Cause,
    /// Share of the planned load that it cost, from 0 to 1.
    pub share: f64,
    /// Explanation for people.
    pub why: String,
}

/// Kind of reason why planned load was not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Cause {
    /// Users may not start faster than the spawn rate, as planned.
    SpawnRate,
    /// A worker was lost, left early or carried out only a part of its share.
    WorkersLost,
    /// A worker was itself the limit.
    GeneratorSaturated,
    /// Users or arrivals were late, or never came, though no worker was lost.
    Late,
    /// Every slot of open load was busy.
    NoFreeSlot,
    /// A feeder had no row.
    NoRow,
    /// Users paused because their requests failed at once (`retryPause`).
    RetryPause,
    /// The time for a fixed number of iterations was over.
    MaxDuration,
    /// Users retired, as the test says.
    Retired,
}

impl Cause {
    /// Tells whether the load generator itself, neither the test nor the target nor a lost worker,
    /// kept load back.
    pub fn is_of_generator(self) -> bool {
        matches!(
            self,
            Self::GeneratorSaturated | Self::Late | Self::RetryPause
        )
    }
}

/// Arrivals that were due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArrivalLoad {
    /// Arrivals that the profiles ask for.
    pub planned: u64,
    /// Arrivals that no worker was there to make, as far as anything was heard of it.
    pub missing: u64,
    /// Arrivals that became no iteration though a worker was there.
    pub dropped: u64,
}

/// Time of users, in microseconds over all users.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserLoad {
    /// Most users at once that the profiles ask for.
    #[serde(default)]
    pub planned: u64,
    /// Most users that were there at once.
    #[serde(default)]
    pub most: u64,
    /// Time that the profiles ask for.
    pub planned_micros: u64,
    /// Time in which users were there.
    pub there_micros: u64,
    /// Time for which the spawn rate held users back, as planned.
    pub held_back_micros: u64,
    /// Time for which users had retired, as the test says.
    pub retired_micros: u64,
    /// Time for which users that were there paused because their requests failed at once.
    #[serde(default)]
    pub paused_micros: u64,
    /// Time that is missing beside: no worker was there for the users, or they never started.
    pub missing_micros: u64,
}

/// A fixed number of iterations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IterationLoad {
    /// Iterations that the test asks for.
    pub planned: u64,
    /// Iterations that were begun.
    pub begun: u64,
}

impl LoadResult {
    /// Tells whether so much less than planned was offered that the result says so first: less than
    /// 99%, or a number of users that was never reached.
    pub fn is_below_profile(&self) -> bool {
        self.offered < ENOUGH || self.users.is_some_and(|users| users.was_never_reached())
    }

    /// Says in words what was planned and what was offered.
    pub fn told(&self) -> String {
        let mut parts = Vec::new();
        if let Some(arrivals) = self.arrivals {
            let made = arrivals
                .planned
                .saturating_sub(arrivals.missing + arrivals.dropped);
            parts.push(format!(
                "{} arrivals planned, {} offered",
                format::count(arrivals.planned),
                format::count(made)
            ));
        }
        if let Some(users) = self.users {
            // results of a release before do not say how many users
            if users.planned > 0 {
                parts.push(format!(
                    "{} users planned, at most {} at once",
                    format::count(users.planned),
                    format::count(users.most.min(users.planned))
                ));
            }
            parts.push(format!(
                "{} of users' time planned, {} offered",
                format::micros(users.planned_micros as f64),
                format::micros(users.active_micros() as f64)
            ));
        }
        if let Some(iterations) = self.iterations {
            parts.push(format!(
                "{} iterations planned, {} begun",
                format::count(iterations.planned),
                format::count(iterations.begun)
            ));
        }
        parts.join("; ")
    }

    /// Says in words why planned load was not offered; empty if all was.
    pub fn why(&self) -> String {
        let told = self
            .shortfalls
            .iter()
            .map(|shortfall| format!("{} ({})", shortfall.why, format::percent(shortfall.share)));
        told.collect::<Vec<_>>().join("; ")
    }
}

impl ArrivalLoad {
    /// Share of the arrivals that became iterations.
    pub fn offered(&self) -> f64 {
        share(
            self.planned.saturating_sub(self.missing + self.dropped),
            self.planned,
        )
    }

    /// Share of the arrivals that are missing or were dropped.
    pub fn not_made(&self) -> f64 {
        1.0 - self.offered()
    }
}

impl UserLoad {
    /// Share of the planned time in which users were there and made load.
    pub fn offered(&self) -> f64 {
        share(self.active_micros(), self.planned_micros)
    }

    /// Time in which users were there and did not pause because their requests failed at once.
    fn active_micros(&self) -> u64 {
        self.there_micros
            .min(self.planned_micros)
            .saturating_sub(self.paused_micros)
    }

    /// Tells whether there were never as many users as planned, give or take a hundredth.
    fn was_never_reached(&self) -> bool {
        self.most * 100 < self.planned * 99
    }

    /// Share of the time possible under the spawn rate that is missing.
    pub fn missing(&self) -> f64 {
        let possible = self.planned_micros.saturating_sub(self.held_back_micros);
        1.0 - share(possible.saturating_sub(self.missing_micros), possible)
    }
}

impl IterationLoad {
    /// Share of the iterations that were begun.
    pub fn offered(&self) -> f64 {
        share(self.begun.min(self.planned), self.planned)
    }
}

/// Part of the whole; of nothing, all of it.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        1.0
    } else {
        part as f64 / whole as f64
    }
}
