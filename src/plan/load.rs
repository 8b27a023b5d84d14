//! The load models, and the populations that follow them side by side.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::share::Slice;
use super::{Capacity, Profile, duration};

/// Scenarios mixed under one load. A run has one, or several side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Population {
    /// Positions in the plan's scenarios; never empty.
    pub scenarios: Vec<u16>,
    /// Time from the end of the warm-up to this population's zero.
    #[serde(with = "duration::micros")]
    pub start_after: Duration,
    /// Users, or iterations per second, during the warm-up; ignored without one.
    pub warmup_target: f64,
    /// Most requests started per second over the fleet; never set in open load.
    pub throttle: Option<f64>,
    /// Load model, with its amount over time.
    pub load: Load,
}

/// Load model of a population.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Load {
    /// A number of users, each doing one iteration after the other.
    #[serde(rename_all = "camelCase")]
    Closed {
        /// Users over time.
        profile: Profile,
        /// Users that may start per second over the fleet; see [`SPAWN_RATE`].
        spawn_rate: Option<f64>,
        /// Largest share of users' time, 0 to 1, that may be missing in a run that passes.
        #[serde(default = "one_percent")]
        max_missing: f64,
        /// Longest pause of a user whose requests fail at once; zero for none.
        #[serde(default = "one_second", with = "duration::micros")]
        retry_pause: Duration,
    },
    /// A number of iterations started per second, whether earlier ones have ended or not.
    #[serde(rename_all = "camelCase")]
    Open {
        /// Iterations started per second, over time.
        profile: Profile,
        /// Spacing of the arrivals.
        arrival: Arrival,
        /// Most iterations in flight at once over the fleet; further arrivals are dropped.
        max_in_flight: u32,
        /// Largest share of arrivals, 0 to 1, that may be dropped in a run that passes.
        max_dropped: f64,
    },
    /// A fixed number of iterations.
    Iterations(Iterations),
    /// Open load at the levels that the master announces.
    Capacity(Capacity),
}

/// A fixed number of iterations by a fixed number of users, each doing one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Iterations {
    /// Iterations in all, or of each user if `per_user`.
    pub count: u64,
    /// Users over the whole fleet.
    pub users: u32,
    /// True if `count` is that of each user.
    pub per_user: bool,
    /// Time after which no iteration starts any more; `None`: no limit.
    #[serde(with = "duration::optional_micros")]
    pub max_duration: Option<Duration>,
    /// Longest pause of a user whose requests fail at once; zero for none.
    #[serde(default = "one_second", with = "duration::micros")]
    pub retry_pause: Duration,
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

    /// Iterations left to one shard, which has users. `done` is the number that an earlier process
    /// of the same worker has carried out.
    pub fn of(&self, slice: Slice, done: u64) -> u64 {
        let all = if self.per_user {
            slice.of(self.users.into()) * self.count
        } else {
            slice.of(self.count)
        };
        all.saturating_sub(slice.of_workers(done))
    }
}

/// Spacing of the arrivals of open load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arrival {
    /// Evenly spaced, as far as the rate allows.
    #[default]
    Constant,
    /// Random and independent of each other.
    Poisson,
}

/// Users that a worker may start per second, where the test does not say.
pub const SPAWN_RATE: f64 = 100.0;

/// Share of load that may be missing, where a plan of an older release does not say.
fn one_percent() -> f64 {
    0.01
}

/// Longest pause of a user whose requests fail at once, where a plan of an older release does not
/// say.
fn one_second() -> Duration {
    Duration::from_secs(1)
}

/// Time of users over the whole fleet, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct UserTime {
    /// Time that the profiles ask for.
    pub wanted: f64,
    /// Time that is left of it when users start no faster than the spawn rate allows.
    pub possible: f64,
}

impl Population {
    /// Builds the only population of a plan: all of `scenarios` scenarios, from the start.
    pub fn only(scenarios: usize, load: Load) -> Self {
        Self {
            scenarios: (0..scenarios as u16).collect(),
            start_after: Duration::ZERO,
            warmup_target: 0.0,
            throttle: None,
            load,
        }
    }

    /// Time from the end of the warm-up to the end of this population's load; `None` where the run
    /// itself decides it.
    pub fn length(&self) -> Option<Duration> {
        Some(self.start_after + self.load.length()?)
    }

    /// Longest time from the end of the warm-up to the end of this population's load; `None` where
    /// nothing bounds it.
    pub fn longest(&self) -> Option<Duration> {
        let longest = match &self.load {
            Load::Iterations(iterations) => iterations.max_duration,
            load => load.length(),
        };
        Some(self.start_after + longest?)
    }
}

impl Load {
    /// Length of the load; `None` where the run itself decides it.
    pub fn length(&self) -> Option<Duration> {
        match self {
            Load::Closed { profile, .. } | Load::Open { profile, .. } => Some(profile.length()),
            Load::Iterations(_) | Load::Capacity(_) => None,
        }
    }

    /// Longest pause of a user whose requests fail at once; zero for none, as in open load.
    pub fn retry_pause(&self) -> Duration {
        match self {
            Load::Closed { retry_pause, .. } => *retry_pause,
            Load::Iterations(iterations) => iterations.retry_pause,
            Load::Open { .. } | Load::Capacity(_) => Duration::ZERO,
        }
    }

    /// Arrivals due up to `at`; `None` unless the load is open with a profile.
    pub fn arrivals_until(&self, at: Duration) -> Option<u64> {
        match self {
            Load::Closed { .. } | Load::Iterations(_) | Load::Capacity(_) => None,
            Load::Open { profile, .. } => Some(profile.whole_arrivals_until(at)),
        }
    }

    /// Time of users up to `at`, on a fleet of `workers`; `None` unless the load is closed.
    pub fn user_time(&self, at: Duration, workers: u32) -> Option<UserTime> {
        match self {
            Load::Closed {
                profile,
                spawn_rate,
                ..
            } => {
                let rate = spawn_rate.unwrap_or(SPAWN_RATE * f64::from(workers));
                Some(profile.user_time(at, rate))
            }
            Load::Open { .. } | Load::Iterations(_) | Load::Capacity(_) => None,
        }
    }

    /// Most users, or iterations in flight, at once over the fleet.
    pub fn most(&self) -> u64 {
        match self {
            Load::Closed { profile, .. } => profile.max_level() as u64,
            Load::Open { max_in_flight, .. } => (*max_in_flight).into(),
            Load::Iterations(iterations) => iterations.users.into(),
            Load::Capacity(capacity) => capacity.max_in_flight.into(),
        }
    }

    /// Highest level, in users or iterations per second; of a capacity search its first.
    pub fn max_level(&self) -> f64 {
        match self {
            Load::Closed { profile, .. } | Load::Open { profile, .. } => profile.max_level(),
            Load::Iterations(iterations) => iterations.users.into(),
            // the search decides how high it goes
            Load::Capacity(capacity) => capacity.start,
        }
    }

    /// Tells whether iterations start by the clock.
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
            let iterations = Iterations { count, users, per_user, max_duration: None, retry_pause: Duration::ZERO };
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
