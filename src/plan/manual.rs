//! Control by hand: changes of load that people make during a run, and what they may.
//!
//! A change holds its level until the next one, until "back to the profile", or to the end. Master
//! and workers apply the same list of changes to the same profile, so everything that counts users
//! or arrivals sees one profile, the effective one.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Load, Plan, Population, Profile, duration};

/// Most changes of load in one run.
pub const MAX_CHANGES: usize = 1000;
/// Highest level, in users or iterations per second over the fleet, as for a level in a test.
pub const MAX_LEVEL: f64 = 1_000_000.0;
/// Part of the planned load below which a run counts as one with less load than its profile asks
/// for.
pub const ENOUGH: f64 = 0.99;

/// Actions that people may take during a run, on the master's port for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ManualControl {
    /// The load may be changed, and the run stopped.
    #[default]
    Allowed,
    /// The run may be stopped.
    StopOnly,
}

/// Bounds of changes of load by hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Control {
    /// Actions that are allowed.
    pub allowed: ManualControl,
    /// Most iterations per second of open load over the fleet; `None` without a policy that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rate: Option<f64>,
    /// Most users of closed load over the fleet; `None` without a policy that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_users: Option<u64>,
}

impl Control {
    /// Tells whether nothing is bounded.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Change of the load of one population by hand.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadChange {
    /// Time from the run's zero, when the warm-up begins, to the change.
    #[serde(with = "duration::micros")]
    pub at: Duration,
    /// Position of the population in the plan.
    pub population: u16,
    /// Users, or iterations per second, over the fleet from then on; `None`: back to the profile.
    pub level: Option<f64>,
}

impl LoadChange {
    /// Tells whether the change is to a level that a run can have.
    pub fn is_valid(&self) -> bool {
        self.level
            .is_none_or(|level| (0.0..=MAX_LEVEL).contains(&level))
    }
}

/// Changes of load by hand, in the order in which they were made; times never shrink.
pub type LoadChanges = Vec<LoadChange>;

impl Plan {
    /// Returns the profile of the population at `place` as `changes` made it; `planned` is the one of
    /// the plan.
    pub fn changed_profile(
        &self,
        place: usize,
        planned: &Profile,
        changes: &[LoadChange],
    ) -> Profile {
        let begin = self.warmup + self.populations[place].start_after;
        let own = changes
            .iter()
            .filter(|change| usize::from(change.population) == place);
        planned.changed(own.map(|change| (change.at.saturating_sub(begin), change.level)))
    }

    /// Returns the position of the population that has a scenario of this name.
    pub fn population_of(&self, scenario: &str) -> Option<usize> {
        let has = |population: &Population| {
            let mut names = population.scenarios.iter();
            names.any(|place| self.scenarios[usize::from(*place)].name == scenario)
        };
        self.populations.iter().position(has)
    }

    /// Names of a population's scenarios, joined by commas.
    pub fn scenarios_of(&self, population: &Population) -> String {
        let names = population.scenarios.iter();
        let names: Vec<&str> = names
            .map(|place| self.scenarios[usize::from(*place)].name.as_str())
            .collect();
        names.join(", ")
    }
}

impl Load {
    /// Returns the profile of closed or open load; `None` for the others.
    pub fn profile(&self) -> Option<&Profile> {
        match self {
            Load::Closed { profile, .. } | Load::Open { profile, .. } => Some(profile),
            Load::Iterations(_) | Load::Capacity(_) => None,
        }
    }

    /// Returns the profile of closed or open load, to change it.
    pub fn profile_mut(&mut self) -> Option<&mut Profile> {
        match self {
            Load::Closed { profile, .. } | Load::Open { profile, .. } => Some(profile),
            Load::Iterations(_) | Load::Capacity(_) => None,
        }
    }
}
