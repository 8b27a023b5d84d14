//! What the engine finds where it runs, and a test may put something else for.

use super::auth::METADATA_HOST;
use super::resolve::NameServers;

pub(super) struct World {
    pub(super) names: NameServers,
    /// Host and port of Google's metadata service; `None`: where it always is.
    pub(super) metadata_host: Option<String>,
}

impl World {
    pub(super) fn of_process() -> Self {
        let metadata_host = std::env::var(METADATA_HOST)
            .ok()
            .filter(|host| !host.is_empty());
        Self {
            names: NameServers::of_system(),
            metadata_host,
        }
    }
}
