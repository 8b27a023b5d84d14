//! Load that a run was to offer, and how much of it was offered.

use serde::{Deserialize, Serialize};

/// Share of the profile below which a result says first that load was missing.
const ENOUGH: f64 = 0.99;

/// Load that the profiles asked for and how much of it was offered, over the measured part up to
/// the end of the load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadResult {
    /// Share of the profiles that was offered; of open and closed load side by side, the smaller.
    pub offered: f64,
    /// Arrivals of open load; `None` without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<ArrivalLoad>,
    /// Users of closed load; `None` without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<UserLoad>,
}

/// Arrivals that were due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrivalLoad {
    /// Arrivals that the profiles ask for.
    pub planned: u64,
    /// Arrivals that no worker was there to make, as far as anything was heard of it.
    pub missing: u64,
    /// Arrivals that became no iteration though a worker was there.
    pub dropped: u64,
}

/// Time of users, in microseconds over all users.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserLoad {
    /// Time that the profiles ask for.
    pub planned_micros: u64,
    /// Time in which users were there.
    pub there_micros: u64,
    /// Time for which the spawn rate held users back, as planned.
    pub held_back_micros: u64,
    /// Time for which users had retired, as the test says.
    pub retired_micros: u64,
    /// Time that is missing beside: no worker was there for the users, or they never started.
    pub missing_micros: u64,
}

impl LoadResult {
    /// Tells whether so much less than the profile was offered that the result says so first.
    pub fn is_below_profile(&self) -> bool {
        self.offered < ENOUGH
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
    /// Share of the planned time in which users were there.
    pub fn offered(&self) -> f64 {
        share(
            self.there_micros.min(self.planned_micros),
            self.planned_micros,
        )
    }

    /// Share of the time possible under the spawn rate that is missing.
    pub fn missing(&self) -> f64 {
        let possible = self.planned_micros.saturating_sub(self.held_back_micros);
        1.0 - share(possible.saturating_sub(self.missing_micros), possible)
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
