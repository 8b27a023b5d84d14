//! The gRPC service of workers: streams turned into messages for the coordinator. The token is
//! checked before.

use std::pin::Pin;
use std::time::Instant;

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Shared;
use super::roster::OUTBOUND;
use crate::wire::fleet::{FromMaster, FromWorker, Hello, fleet_server, from_master, from_worker};

/// Time in which a connection's first message must come.
const HELLO_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// The gRPC service that workers call.
pub struct FleetService {
    master: Shared,
}

impl FleetService {
    /// Serves the workers of one run.
    pub fn new(master: Shared) -> Self {
        Self { master }
    }
}

#[tonic::async_trait]
impl fleet_server::Fleet for FleetService {
    type JoinStream = Pin<Box<dyn Stream<Item = Result<FromMaster, Status>> + Send>>;

    async fn join(
        &self,
        request: Request<Streaming<FromWorker>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        let inbound = request
            .into_inner()
            .filter_map(|message| async {
                // an error is the last item of a stream, so the coordinator learns that the worker
                // is gone
                message
                    .inspect_err(|status| tracing::warn!("a worker's stream broke: {status}"))
                    .ok()
            })
            .boxed();
        let (outbound, messages) = mpsc::channel(OUTBOUND);
        tokio::spawn(serve_worker(self.master.clone(), inbound, outbound));
        Ok(Response::new(ReceiverStream::new(messages).map(Ok).boxed()))
    }
}

/// Serves one worker until either side ends. The same for a worker in this process and one behind a
/// socket.
pub async fn serve_worker(
    master: Shared,
    mut inbound: impl Stream<Item = FromWorker> + Unpin,
    outbound: mpsc::Sender<FromMaster>,
) {
    let Some(hello) = first_message(&mut inbound).await else {
        return;
    };
    let joined = master.with(|coordinator| coordinator.join(&hello, outbound.clone()));
    let id = match joined {
        Ok(id) => id,
        Err(refused) => {
            tracing::warn!(
                index = hello.index,
                "turned a worker away: {}",
                refused.reason
            );
            // the stream ends either way
            let _ = outbound
                .send(FromMaster {
                    message: Some(from_master::Message::Refused(refused)),
                })
                .await;
            return;
        }
    };
    // the coordinator holds the only sender now: when it drops the session, the stream ends
    let closed = outbound.downgrade();
    drop(outbound);
    while let Some(message) = next(&mut inbound, &closed).await {
        master.with(|coordinator| coordinator.on_message(id, message, Instant::now()));
    }
    master.with(|coordinator| coordinator.leave(id, Instant::now()));
}

/// Waits for Hello, which must come first; logs what came instead.
async fn first_message(inbound: &mut (impl Stream<Item = FromWorker> + Unpin)) -> Option<Hello> {
    match tokio::time::timeout(HELLO_WITHIN, inbound.next()).await {
        Ok(Some(FromWorker {
            message: Some(from_worker::Message::Hello(hello)),
        })) => Some(hello),
        other => {
            let what = match other {
                Ok(Some(_)) => "its first message was not Hello",
                Ok(None) => "it ended before a first message",
                Err(_) => "no first message came in time",
            };
            tracing::warn!("closed a worker's connection: {what}");
            None
        }
    }
}

/// Waits for the next message; `None` when the connection is over or a newer one has taken its
/// seat.
async fn next(
    inbound: &mut (impl Stream<Item = FromWorker> + Unpin),
    outbound: &mpsc::WeakSender<FromMaster>,
) -> Option<from_worker::Message> {
    loop {
        // messages of a session that a newer connection has replaced are not read
        outbound.upgrade().filter(|sender| !sender.is_closed())?;
        if let Some(message) = inbound.next().await?.message {
            return Some(message);
        }
    }
}
