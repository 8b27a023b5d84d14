//! Changes of load that people made during a run.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::format;

/// Unit of the level of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LoadUnit {
    /// Users at once, of closed load.
    Users,
    /// Iterations started per second, of open load.
    Rate,
}

impl LoadUnit {
    /// Writes a level with its unit, such as `20 users` or `250/s`.
    pub fn written(self, level: f64) -> String {
        match self {
            LoadUnit::Users => match format::count(level.floor() as u64).as_str() {
                "1" => "1 user".to_owned(),
                count => format!("{count} users"),
            },
            LoadUnit::Rate => format!("{}/s", format::rate(level)),
        }
    }
}

/// Change of load that a person made during the run, on the master.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManualChange {
    /// Time of the change in RFC 3339.
    pub at: String,
    /// Time from the run's zero, when the warm-up begins, to the change, in microseconds.
    pub after_micros: u64,
    /// Names of the scenarios whose load was changed, joined by commas.
    pub scenario: String,
    /// Unit of the levels.
    pub unit: LoadUnit,
    /// Level before, over the fleet.
    pub before: f64,
    /// Level from then on, over the fleet; `None`: that of the profile again.
    pub level: Option<f64>,
    /// Name that the person gave; empty without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

/// Writes the change as a clause, such as `browse from 20 users to 50 users`.
impl fmt::Display for ManualChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.unit.written(self.before);
        match self.level {
            Some(level) => write!(
                f,
                "{} from {before} to {}",
                self.scenario,
                self.unit.written(level)
            )?,
            None => write!(f, "{} from {before} back to the profile", self.scenario)?,
        }
        match self.by.as_str() {
            "" => Ok(()),
            by => write!(f, ", by {by}"),
        }
    }
}
