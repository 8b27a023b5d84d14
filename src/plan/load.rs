//! The load models, and the populations that follow them side by side.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::share::Slice;
use super::{Capacity, Profile, duration};

/// Scenarios mixed under one load. A run has one, or several that go on side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Population {
    /// Places among the plan's scenarios; never empty.
    pub scenarios: Vec<u16>,
    /// From the end of the warm-up to this population's zero.
    #[serde(with = "duration::micros")]
    pub start_after: Duration,
    /// Users, or iterations per second, during the warm-up; of no meaning without one.
    pub warmup_target: f64,
    /// Requests that may start per second over the fleet; never set in open load.
    pub throttle: Option<f64>,
    pub load: Load,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Load {
    /// So many users, each one iteration after the other.
    #[serde(rename_all = "camelCase")]
    Closed {
        profile: Profile,
        /// Users that may start per second over the fleet; see [`SPAWN_RATE`].
        spawn_rate: Option<f64>,
    },
    /// So many iterations started per second, whether earlier ones have ended or not.
    #[serde(rename_all = "camelCase")]
    Open {
        profile: Profile,
        arrival: Arrival,
        max_in_flight: u32,
        max_dropped: f64,
    },
    Iterations(Iterations),
    /// Open load at the levels that the master announces.
    Capacity(Capacity),
}

/// So many iterations, by so many users, each one iteration after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Iterations {
    /// In all, or of each user.
    pub count: u64,
    pub users: u32,
    pub per_user: bool,
    /// No iteration starts later.
    #[serde(with = "duration::optional_micros")]
    pub max_duration: Option<Duration>,
}

impl Iterations {
    /// Iterations of the whole fleet.
    pub fn total(&self) -> u64 {
        if self.per_user {
            self.count * u64::from(self.users)
        } else {
            self.count
        }
    }

    /// Those of one shard, which has users; `done` is how many of its worker's another process has
    /// carried out.
    pub fn of(&self, slice: Slice, done: u64) -> u64 {
        let all = if self.per_user {
            slice.of(self.users.into()) * self.count
        } else {
            slice.of(self.count)
        };
        all.saturating_sub(slice.of_workers(done))
    }
}

/// How the arrivals of open load follow each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arrival {
    /// As evenly as the rate allows.
    #[default]
    Constant,
    /// At random, independent of each other.
    Poisson,
}

/// Users that a worker may start per second, where the test does not say.
pub const SPAWN_RATE: f64 = 100.0;

impl Population {
    /// The only one: all of so many scenarios, from the start.
    pub fn only(scenarios: usize, load: Load) -> Self {
        Self {
            scenarios: (0..scenarios as u16).collect(),
            start_after: Duration::ZERO,
            warmup_target: 0.0,
            throttle: None,
            load,
        }
    }

    /// From the end of the warm-up to the end of this population's load; `None` where only the run
    /// itself will tell.
    pub fn length(&self) -> Option<Duration> {
        Some(self.start_after + self.load.length()?)
    }

    /// As [`length`](Self::length), but what it is at most where only the run will tell.
    pub fn longest(&self) -> Option<Duration> {
        let longest = match &self.load {
            Load::Iterations(iterations) => iterations.max_duration,
            load => load.length(),
        };
        Some(self.start_after + longest?)
    }
}

impl Load {
    /// `None` where only the run itself will tell.
    pub fn length(&self) -> Option<Duration> {
        match self {
            Load::Closed { profile, .. } | Load::Open { profile, .. } => Some(profile.length()),
            Load::Iterations(_) | Load::Capacity(_) => None,
        }
    }

    /// Arrivals due up to `at`; only in open load.
    pub fn arrivals_until(&self, at: Duration) -> Option<u64> {
        match self {
            Load::Closed { .. } | Load::Iterations(_) | Load::Capacity(_) => None,
            Load::Open { profile, .. } => Some(profile.whole_arrivals_until(at)),
        }
    }

    /// Users, or iterations in flight, that there may be at once over the fleet.
    pub fn most(&self) -> u64 {
        match self {
            Load::Closed { profile, .. } => profile.max_level() as u64,
            Load::Open { max_in_flight, .. } => (*max_in_flight).into(),
            Load::Iterations(iterations) => iterations.users.into(),
            Load::Capacity(capacity) => capacity.max_in_flight.into(),
        }
    }

    /// The highest level, users or iterations per second.
    pub fn max_level(&self) -> f64 {
        match self {
            Load::Closed { profile, .. } | Load::Open { profile, .. } => profile.max_level(),
            Load::Iterations(iterations) => iterations.users.into(),
            // nobody knows how far it will come
            Load::Capacity(capacity) => capacity.start,
        }
    }

    /// Iterations start by the clock.
    pub fn is_open(&self) -> bool {
        matches!(self, Load::Open { .. } | Load::Capacity(_))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::Share;

    proptest! {
        #[test]
        fn iterations_add_up_over_any_split(
            count in 0u64..1000, users in 1u32..40, per_user: bool, workers in 1u32..9, shards in 1u32..5, part in 0.0..1.0f64,
        ) {
            let iterations = Iterations { count, users, per_user, max_duration: None };
            let total = iterations.total();
            let (mut dealt, mut dealt_again) = (0, 0);
            for worker in 0..workers {
                let slices = (0..shards).filter_map(|shard| Share { worker, workers }.slice(shard, shards).among(users.into()));
                let slices: Vec<Slice> = slices.collect();
                let own: u64 = slices.iter().map(|slice| iterations.of(*slice, 0)).sum();
                // a replacement of a worker that had done a part of its own does the rest
                let done = (own as f64 * part) as u64;
                let rest: u64 = slices.iter().map(|slice| iterations.of(*slice, done)).sum();
                prop_assert!(per_user || rest == own - done, "{rest} of {own}, {done} are done");
                (dealt, dealt_again) = (dealt + own, dealt_again + rest + done);
            }
            prop_assert_eq!(dealt, total);
            prop_assert!(dealt_again >= total);
        }
    }
}
