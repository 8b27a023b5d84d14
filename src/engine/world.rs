//! Surroundings of the process that the engine depends on. Tests replace them.

use crate::engine::net::resolve::NameServers;

/// Environment variable with host and port of Google's metadata service.
pub(crate) const METADATA_HOST: &str = "GCE_METADATA_HOST";

/// Name servers and services of the machine that the engine runs on.
pub(crate) struct World {
    /// Name servers that resolve targets' hosts.
    pub(crate) names: NameServers,
    /// Host and port of Google's metadata service; `None` for its usual address.
    pub(crate) metadata_host: Option<String>,
}

impl World {
    /// Reads the surroundings of this process.
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
