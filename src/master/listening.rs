//! The port for workers of a run that is coordinated outside of a cluster: the same protocol, the
//! same tokens and the same TLS as in one, without an operator.

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Identity;

use super::fleet::WorkerTokens;
use super::{MasterError, STRANGERS, Shared, serve_control};
use crate::runtime::door::Door;
use crate::wire::tokens::WorkerKey;

/// Proofs of a controller and of its workers.
pub struct Proofs {
    /// Certificate of the controller, as PEM.
    pub certificate: String,
    /// Private key of that certificate, as PEM.
    pub key: String,
    /// Key of the workers' tokens.
    pub workers: WorkerKey,
}

/// Serves the workers of a run until `stop` is cancelled.
///
/// # Errors
///
/// A certificate that cannot be used, and a socket that fails.
pub async fn serve_workers(
    master: Shared,
    proofs: Proofs,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), MasterError> {
    let Proofs {
        certificate,
        key,
        workers,
    } = proofs;
    let fleet = master.with(|coordinator| coordinator.file().workers);
    let door = Door::new(listener, STRANGERS + 2 * fleet as usize);
    let identity = Identity::from_pem(certificate, key);
    let tokens = WorkerTokens::PerIndex(workers);
    serve_control(master, identity, tokens, axum::Router::new(), door, stop).await
}
