//! The load models, and the populations that follow them side by side.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Profile, duration};

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
    Open { profile: Profile, arrival: Arrival, max_in_flight: u32, max_dropped: f64 },
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
        Self { scenarios: (0..scenarios as u16).collect(), start_after: Duration::ZERO, warmup_target: 0.0, load }
    }

    /// From the end of the warm-up to the end of this population's load; `None` where only the run itself will tell.
    pub fn length(&self) -> Option<Duration> {
        Some(self.start_after + self.load.length()?)
    }
}

impl Load {
    /// `None` where only the run itself will tell.
    pub fn length(&self) -> Option<Duration> {
        match self {
            Load::Closed { profile, .. } | Load::Open { profile, .. } => Some(profile.length()),
        }
    }

    /// Arrivals due up to `at`; only in open load.
    pub fn arrivals_until(&self, at: Duration) -> Option<u64> {
        match self {
            Load::Closed { .. } => None,
            Load::Open { profile, .. } => Some(profile.whole_arrivals_until(at)),
        }
    }

    /// Users, or iterations in flight, that there may be at once over the fleet.
    pub fn most(&self) -> u64 {
        match self {
            Load::Closed { profile, .. } => profile.max_level() as u64,
            Load::Open { max_in_flight, .. } => (*max_in_flight).into(),
        }
    }

    /// Iterations start by the clock.
    pub fn is_open(&self) -> bool {
        matches!(self, Load::Open { .. })
    }
}
