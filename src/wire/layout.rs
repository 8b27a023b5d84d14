//! Layout of a run in a cluster: names, ports and files that the operator writes, and master and
//! workers read.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::{Kind, OnLoss, Plan, Reference, duration};

/// TLS port of a master: workers (gRPC) and operator (REST).
pub const CONTROL_PORT: u16 = 8443;
/// HTTP port of a master for people, with the read token or the control token.
pub const UI_PORT: u16 = 8080;
/// HTTP port of `/metrics`, `/livez` and `/readyz`.
pub const ADMIN_PORT: u16 = 9090;

/// Mount of the plan ConfigMap in the master.
pub const RUN_DIR: &str = "/etc/starling/run";
/// Key in the plan ConfigMap, hence file name: a [`RunFile`] as JSON.
pub const RUN_FILE: &str = "run.json";
/// Mount of the parts of the channel Secret that a role needs.
pub const CHANNEL_DIR: &str = "/etc/starling/channel";
/// Mount of the objects that the test refers to, in a worker; see [`input_path`].
pub const INPUTS_DIR: &str = "/etc/starling/inputs";
/// Mount of the certificate of a master's ports for people and for Prometheus, if it has one.
pub const TLS_DIR: &str = "/etc/starling/tls";
/// Mount of the master's emptyDir: survives a restart of the container, not a new Pod.
pub const STATE_DIR: &str = "/var/lib/starling";

/// Variable with the region or host of a worker, which results show.
pub const REGION: &str = "STARLING_REGION";

/// Keys of the channel Secret, hence file names.
pub mod channel {
    /// PEM certificate of the run's own authority.
    pub const CA: &str = "ca.crt";
    /// Token that lets a worker in, as a file. Runs of older releases have it under this key, one
    /// for all workers; newer ones have a key for each worker, see [`worker_key`].
    pub const WORKER_TOKEN: &str = "worker.token";
    /// Key that the master computes the tokens of workers with.
    pub const WORKERS_KEY: &str = "workers.key";

    /// Key of the token of the worker with this index.
    pub fn worker_key(index: u32) -> String {
        format!("worker-{index}")
    }

    /// [`worker_key`] of the Pod's own index, in the form that a `subPathExpr` takes.
    pub const WORKER_KEY_EXPR: &str = "worker-$(JOB_COMPLETION_INDEX)";

    /// PEM leaf certificate of the master.
    pub const MASTER_CERT: &str = "tls.crt";
    /// PEM key (PKCS #8) of that certificate.
    pub const MASTER_KEY: &str = "tls.key";
    /// Token that lets the operator in.
    pub const OPERATOR_TOKEN: &str = "operator.token";
    /// Token that lets people read progress and result.
    pub const READ_TOKEN: &str = "read.token";
    /// Token that lets people change the load and stop the run as well; runs of older releases have
    /// none.
    pub const CONTROL_TOKEN: &str = "control.token";
}

/// All a master needs to know of its run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunFile {
    /// Id of the run.
    pub run: String,
    /// Name of the LoadTest.
    pub name: String,
    /// Namespace of the LoadTest; `None` outside a cluster.
    pub namespace: Option<String>,
    /// SHA-256 of what matters for the load, in hexadecimal.
    pub digest: String,
    /// Number of workers, hence shares.
    pub workers: u32,
    /// Time for which a worker that has lost its master goes on.
    #[serde(with = "duration::micros")]
    pub grace: Duration,
    /// Consequence of the loss of a worker.
    #[serde(default)]
    pub on_loss: OnLoss,
    /// Arguments by which the command line changed the test.
    #[serde(default)]
    pub overrides: Vec<String>,
    /// Warnings found when the test was checked.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The validated test.
    pub plan: Plan,
}

/// Name in the master's certificate.
pub fn server_name(run: &str) -> String {
    format!("{run}.starling")
}

/// Name of a run's child: `<run id>-master` and so on.
pub fn child_name(run: &str, role: &str) -> String {
    format!("{run}-{role}")
}

/// Path of a reference's value below [`INPUTS_DIR`]: `<kind>/<name>/<key>`.
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

/// Exit codes of a worker; the Job's podFailurePolicy reads them.
pub mod exit {
    /// The master released the worker.
    pub const RELEASED: u8 = 0;
    /// The worker could not do its work: the master never came back, a socket could not be made.
    pub const FAILED: u8 = 1;
    /// The configuration is wrong in a way that no retry mends.
    pub const BAD_CONFIG: u8 = 42;
    /// The worker was told to go before it was released, so it is to be replaced.
    pub const DRAINED: u8 = 44;
}
