//! What the operator puts where, and master and workers find it: names, ports, files.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::{Kind, Plan, Reference, duration};

/// TLS: workers (gRPC) and operator (REST).
pub const CONTROL_PORT: u16 = 8443;
/// HTTP: people, with the read token.
pub const UI_PORT: u16 = 8080;
/// HTTP: `/metrics`, `/livez`, `/readyz`.
pub const ADMIN_PORT: u16 = 9090;

/// Where the plan ConfigMap is mounted in the master.
pub const RUN_DIR: &str = "/etc/starling/run";
/// Key in the plan ConfigMap, hence file name: a [`RunFile`] as JSON.
pub const RUN_FILE: &str = "run.json";
/// Where the parts of the channel Secret that a role needs are mounted.
pub const CHANNEL_DIR: &str = "/etc/starling/channel";
/// Where a worker finds the objects the test refers to; see [`input_path`].
pub const INPUTS_DIR: &str = "/etc/starling/inputs";
/// The master's emptyDir: survives a restart of the container, not a new Pod.
pub const STATE_DIR: &str = "/var/lib/starling";

/// Keys of the channel Secret, hence file names.
pub mod channel {
    /// PEM certificate of the run's own authority.
    pub const CA: &str = "ca.crt";
    pub const WORKER_TOKEN: &str = "worker.token";
    /// PEM leaf certificate and PKCS #8 key of the master.
    pub const MASTER_CERT: &str = "tls.crt";
    pub const MASTER_KEY: &str = "tls.key";
    pub const OPERATOR_TOKEN: &str = "operator.token";
    /// Lets people read progress and result.
    pub const READ_TOKEN: &str = "read.token";
}

/// All a master needs to know of its run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunFile {
    pub run: String,
    pub name: String,
    pub namespace: Option<String>,
    /// SHA-256 of what matters for the load.
    pub digest: String,
    pub workers: u32,
    /// How long a worker that has lost its master goes on.
    #[serde(with = "duration::micros")]
    pub grace: Duration,
    /// What the command line changed.
    #[serde(default)]
    pub overrides: Vec<String>,
    #[serde(default)]
    pub warnings: Vec<String>,
    pub plan: Plan,
}

/// The name in the master's certificate.
pub fn server_name(run: &str) -> String {
    format!("{run}.starling")
}

/// Names of a run's children: `<run id>-master` and so on.
pub fn child_name(run: &str, role: &str) -> String {
    format!("{run}-{role}")
}

/// Where the value of a reference lies below [`INPUTS_DIR`]: `<kind>/<name>/<key>`.
pub fn input_path(reference: &Reference) -> String {
    format!(
        "{}/{}/{}",
        input_kind(reference.kind),
        reference.name,
        reference.key
    )
}

/// Folder of all objects of one kind below [`INPUTS_DIR`].
pub fn input_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Secret => "secret",
        Kind::ConfigMap => "configmap",
    }
}

/// Folder of the test's volumes below [`INPUTS_DIR`], each under its name.
pub const FILES: &str = "files";

/// What a worker's exit code says; the Job's podFailurePolicy reads them.
pub mod exit {
    /// Released by the master.
    pub const RELEASED: u8 = 0;
    /// Could not do its work (the master never came back, a socket could not be made).
    pub const FAILED: u8 = 1;
    /// Configuration that no retry mends.
    pub const BAD_CONFIG: u8 = 42;
    /// Told to go before it was released: to be replaced.
    pub const DRAINED: u8 = 44;
}
