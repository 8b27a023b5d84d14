//! The demo service: what the users of Starling test.
//!
//! A text categoriser over REST and gRPC, models behind the protocols that model servers speak,
//! chat completions, and a token endpoint, all on one port, with faults on request and an exact
//! count of what arrived, so that a test can compare requests sent with requests received.

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

/// Generated from `categorization.proto`: messages, server and client.
pub mod wire {
    tonic::include_proto!("categorization");
}

/// Generated from `inference.proto`: messages, server and client.
pub mod inference_wire {
    tonic::include_proto!("inference");
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

/// Requests under way get this long when the service shuts down.
const DRAIN: Duration = Duration::from_secs(5);

/// When a connection cannot be accepted (no file left, say), trying again at once would only burn
/// the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("the demo service cannot listen on {address}: {source}")]
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
}

/// A running demo service. Dropping it stops it as `shut_down` does, without waiting.
pub struct DemoService {
    address: SocketAddr,
    service: Arc<Service>,
    stop: DropGuard,
    serving: JoinHandle<()>,
}

impl DemoService {
    /// Listens (on a free port if the port is 0) and serves on the current tokio runtime.
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

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests whose head has arrived since the start or the last `POST /_reset`; the `total` of
    /// `GET /_count`.
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

/// Ends at most `drain` after the stop.
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

/// Speaks HTTP/1.1 or HTTP/2, whichever the client's first bytes are. An idle client may stay: it
/// decides when to leave.
async fn serve_connection(stream: TcpStream, service: Arc<Service>, stop: CancellationToken) {
    // Without it, an answer may wait for the acknowledgement of the one before; the connection
    // works all the same.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| Arc::clone(&service).answer(request));
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), answer));
    // An error is a client that broke off or did not speak HTTP; its requests, if any, are counted.
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
