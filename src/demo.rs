//! The demo service: something to send load to.
//!
//! A text categoriser over REST and gRPC, models behind the protocols that model servers speak,
//! chat completions, and a token endpoint share one port. The service makes faults on request and
//! counts exactly what arrives, so that a test can compare requests sent with requests received.
//!
//! Read `options` for what can be asked of it, `routes` for its paths, then `service` for the way
//! of one request. `grpc`, `chat`, `scoring` and `v2` hold one protocol each; `faults` and `gate`
//! decide how badly a request fares.

mod body;
mod categories;
mod chat;
mod counts;
mod faults;
mod gate;
mod grpc;
mod options;
mod predictions;
mod refusal;
mod routes;
mod scoring;
mod service;
mod shared;
mod tensors;
mod tokens;
mod v2;

/// Messages, server and client of the text categoriser, generated from `categorization.proto`.
#[allow(
    missing_docs,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod wire {
    include!("generated/categorization.rs");
}

/// Messages, server and client of the V2 inference protocol, generated from `inference.proto`.
#[allow(
    missing_docs,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod inference_wire {
    include!("generated/inference.rs");
}

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use options::{Client, Latency, OptionError, Options, Reflection, Stall, Token};
use service::Service;

/// Time that requests under way get when the service shuts down.
const DRAIN: Duration = Duration::from_secs(5);

/// Pause after a connection could not be accepted, for lack of file handles for example: trying
/// again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Error of starting the demo service.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The address is taken, or is not one of this machine.
    #[error("the demo service cannot listen on {address}: {source}")]
    Bind {
        /// Address that was asked for.
        address: SocketAddr,
        /// Reason that the operating system gave.
        source: io::Error,
    },
}

/// A running demo service. Dropping it stops it as [`DemoService::shut_down`] does, without
/// waiting for requests under way.
pub struct DemoService {
    address: SocketAddr,
    service: Arc<Service>,
    stop: DropGuard,
    serving: JoinHandle<()>,
}

impl DemoService {
    /// Starts to listen, on a free port if the port is 0, and serves on the current tokio runtime.
    ///
    /// # Errors
    /// Fails if the address cannot be listened on.
    pub async fn start(options: Options) -> Result<DemoService, DemoError> {
        let cannot_listen = |source| DemoError::Bind {
            address: options.listen,
            source,
        };
        let listener = TcpListener::bind(options.listen)
            .await
            .map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        let service = Arc::new(Service::new(&options));
        let stop = CancellationToken::new();
        service.grpc.open(options.ready_after, stop.clone()).await;
        let serving = tokio::spawn(accept(listener, Arc::clone(&service), stop.clone(), DRAIN));
        Ok(DemoService {
            address,
            service,
            stop: stop.drop_guard(),
            serving,
        })
    }

    /// Returns the address that the service listens on, with the port that was chosen if the
    /// options asked for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of requests whose head has arrived since the start or the last
    /// `POST /_reset`: the `total` of `GET /_count`.
    pub fn count(&self) -> u64 {
        self.service.shared.counts.total()
    }

    /// Stops accepting, lets running requests finish, and cuts what is left after five seconds.
    pub async fn shut_down(self) {
        drop(self.stop);
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the demo service broke down");
        }
    }
}

/// Accepts connections until `stop`, then lets those that are busy finish for at most `drain`.
async fn accept(
    listener: TcpListener,
    service: Arc<Service>,
    stop: CancellationToken,
    drain: Duration,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&service), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the demo service cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => report_panic(ended),
            () = stop.cancelled() => break,
        }
    }
    drop(listener);
    let drained = timeout(drain, async {
        while let Some(ended) = connections.join_next().await {
            report_panic(ended);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(
            left = connections.len(),
            "the demo service cuts connections that are still busy"
        );
    }
}

fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection of the demo service broke down");
    }
}

/// Serves one connection with HTTP/1.1 or HTTP/2, whichever the client's first bytes ask for. An
/// idle connection stays open until its client closes it.
async fn serve_connection(stream: TcpStream, service: Arc<Service>, stop: CancellationToken) {
    // Without TCP_NODELAY an answer may wait for the acknowledgement of the one before. The
    // connection works all the same, so a failure to set it is ignored.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| Arc::clone(&service).answer(request));
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), answer));
    // An error means that the client broke off or did not speak HTTP. Its requests, if any, are
    // counted, and nobody is left to tell.
    let _ = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
}

#[cfg(test)]
mod tests;
