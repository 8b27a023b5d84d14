//! The gRPC service of workers: streams turned into messages for the coordinator. The token is
//! checked before.

use std::pin::Pin;
use std::time::Instant;

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Shared;
use super::api::Token;
use super::roster::OUTBOUND;
use crate::wire::fleet::{
    FromMaster, FromWorker, Hello, Refused, fleet_server, from_master, from_worker,
};
use crate::wire::tokens::WorkerKey;

/// Time in which a connection's first message must come.
const HELLO_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// Tokens that let workers in.
#[derive(Clone)]
pub enum WorkerTokens {
    /// One for each worker, bound to its index.
    PerIndex(WorkerKey),
    /// One for all workers, in runs that an older release began.
    Shared(Token),
}

/// Identity that a token lets a worker claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The worker of this index alone.
    Index(u32),
    /// Any worker of the run.
    Any,
}

impl WorkerTokens {
    /// Returns what the token in `authorization`, a whole header, lets its holder be; `None` for a
    /// token of no worker.
    pub fn admits(&self, authorization: Option<&[u8]>) -> Option<Admission> {
        match self {
            WorkerTokens::Shared(token) => token.admits(authorization).then_some(Admission::Any),
            WorkerTokens::PerIndex(key) => {
                let presented = authorization?.strip_prefix(b"Bearer ")?;
                key.admits(presented).map(Admission::Index)
            }
        }
    }
}

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
        let admission = request.extensions().get::<Admission>().copied();
        let admission =
            admission.ok_or_else(|| Status::unauthenticated("the worker token is needed"))?;
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
        tokio::spawn(serve_worker(
            self.master.clone(),
            admission,
            inbound,
            outbound,
        ));
        Ok(Response::new(ReceiverStream::new(messages).map(Ok).boxed()))
    }
}

/// Serves one worker until either side ends. The same for a worker in this process and one behind a
/// socket.
pub async fn serve_worker(
    master: Shared,
    admission: Admission,
    mut inbound: impl Stream<Item = FromWorker> + Unpin,
    outbound: mpsc::Sender<FromMaster>,
) {
    let Some(hello) = first_message(&mut inbound).await else {
        return;
    };
    let joined = match admission {
        Admission::Index(index) if index != hello.index => Err(Refused {
            reason: format!(
                "the token is that of worker {index}, not of {}",
                hello.index
            ),
            permanent: true,
        }),
        Admission::Index(_) | Admission::Any => {
            master.with(|coordinator| coordinator.join(&hello, outbound.clone(), Instant::now()))
        }
    };
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
                    heard_micros: 0,
                })
                .await;
            return;
        }
    };
    // the coordinator holds the only sender now: when it drops the session, the stream ends
    let closed = outbound.downgrade();
    drop(outbound);
    while let Some((sent, message)) = next(&mut inbound, &closed).await {
        master.with(|coordinator| coordinator.on_message(id, message, sent, Instant::now()));
    }
    master.with(|coordinator| coordinator.leave(id, Instant::now()));
}

/// Waits for Hello, which must come first; logs what came instead.
async fn first_message(inbound: &mut (impl Stream<Item = FromWorker> + Unpin)) -> Option<Hello> {
    match tokio::time::timeout(HELLO_WITHIN, inbound.next()).await {
        Ok(Some(FromWorker {
            message: Some(from_worker::Message::Hello(hello)),
            sent_micros: _,
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
) -> Option<(u64, from_worker::Message)> {
    loop {
        // messages of a session that a newer connection has replaced are not read
        outbound.upgrade().filter(|sender| !sender.is_closed())?;
        let FromWorker {
            message,
            sent_micros,
        } = inbound.next().await?;
        if let Some(message) = message {
            return Some((sent_micros, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::{Coordinator, Memory};
    use crate::wire::layout::RunFile;

    fn run_file() -> RunFile {
        let spec = serde_json::json!({
            "target": {"url": "http://t"},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
            "load": {"closed": {"users": 2, "duration": "1s"}},
        });
        RunFile {
            run: "r".into(),
            name: "r".into(),
            namespace: None,
            digest: String::new(),
            workers: 2,
            grace: std::time::Duration::from_secs(90),
            on_loss: Default::default(),
            overrides: vec![],
            warnings: vec![],
            plan: crate::crd::check(&serde_json::from_value(spec).unwrap())
                .unwrap()
                .plan,
        }
    }

    /// First message that a worker gets whose token is good for `admission` and that says hello as
    /// index 1.
    async fn answer(admission: Admission) -> from_master::Message {
        let coordinator = Coordinator::new(run_file(), Memory::none(), Instant::now()).unwrap();
        let hello = Hello {
            protocol: crate::wire::PROTOCOL_VERSION,
            run: "r".into(),
            index: 1,
            instance: "one".into(),
            ..Hello::default()
        };
        let hello = FromWorker {
            message: Some(from_worker::Message::Hello(hello)),
            sent_micros: 1,
        };
        let (outbound, mut messages) = mpsc::channel(OUTBOUND);
        let inbound = futures::stream::iter([hello]);
        serve_worker(Shared::new(coordinator), admission, inbound, outbound).await;
        messages.recv().await.unwrap().message.unwrap()
    }

    #[tokio::test]
    async fn a_worker_speaks_as_the_index_of_its_token_and_as_no_other() {
        for good in [Admission::Index(1), Admission::Any] {
            let message = answer(good).await;
            assert!(matches!(message, from_master::Message::Welcome(_)));
        }
        let from_master::Message::Refused(refused) = answer(Admission::Index(0)).await else {
            panic!("let in");
        };
        assert!(refused.permanent && refused.reason.contains("worker 0"));
    }

    #[test]
    fn the_token_of_a_worker_is_known_from_its_header() {
        let key = WorkerKey::new([7; 32]);
        let header = |token: &str| format!("Bearer {token}").into_bytes();
        let per_index = WorkerTokens::PerIndex(key.clone());
        let token = key.token(3);
        assert_eq!(
            per_index.admits(Some(&header(&token))),
            Some(Admission::Index(3))
        );
        for none in [
            None,
            Some(token.as_bytes()),
            Some(b"Bearer shared".as_slice()),
        ] {
            assert_eq!(per_index.admits(none), None);
        }
        let shared = WorkerTokens::Shared(Token::new("shared"));
        assert_eq!(shared.admits(Some(b"Bearer shared")), Some(Admission::Any));
        assert_eq!(shared.admits(Some(&header(&token))), None);
    }
}
