//! What the engine finds where it runs, and a test may put something else for.

use crate::engine::auth::METADATA_HOST;
use crate::engine::net::resolve::NameServers;

pub(crate) struct World {
    pub(crate) names: NameServers,
    /// Host and port of Google's metadata service; `None`: where it always is.
    pub(crate) metadata_host: Option<String>,
}

impl World {
    pub(crate) fn of_process() -> Self {
        let metadata_host = std::env::var(METADATA_HOST)
            .ok()
            .filter(|host| !host.is_empty());
        Self {
            names: NameServers::of_system(),
            metadata_host,
        }
    }
}
