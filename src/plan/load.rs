//! The load models.

use serde::{Deserialize, Serialize};

use super::Profile;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Load {
    /// So many users, each one iteration after the other.
    Closed { profile: Profile },
    /// So many iterations started per second, whether earlier ones have ended or not.
    #[serde(rename_all = "camelCase")]
    Open { profile: Profile, max_in_flight: u32, max_dropped: f64 },
}

impl Load {
    /// Levels over time: users (closed) or iterations per second (open).
    pub fn profile(&self) -> &Profile {
        match self {
            Load::Closed { profile } | Load::Open { profile, .. } => profile,
        }
    }
}
