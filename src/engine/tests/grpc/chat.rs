//! A tonic server that does what its messages say, and counts.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService};
use tonic::{Code, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::engine::tests::grpc::*;

/// `Missing` is not served.
pub(super) const PROTO: &str = r#"
    syntax = "proto3";
    package test;
    service Chat {
      rpc Say(Note) returns (Note);
      rpc Listen(Note) returns (stream Note);
      rpc Tell(stream Note) returns (Note);
      rpc Talk(stream Note) returns (stream Note);
      rpc Missing(Note) returns (Note);
    }
    message Note { string text = 1; uint32 number = 2; }
"#;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Note {
    #[prost(string, tag = "1")]
    pub(super) text: String,
    #[prost(uint32, tag = "2")]
    pub(super) number: u32,
}

#[derive(Default)]
pub(in crate::engine::tests) struct Seen {
    calls: AtomicU64,
    messages: AtomicU64,
    /// Of the latest call.
    metadata: Mutex<BTreeMap<String, String>>,
    open: AtomicU64,
    pub(super) most_open: AtomicU64,
}

impl Seen {
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// That came.
    pub(super) fn messages(&self) -> u64 {
        self.messages.load(Ordering::SeqCst)
    }

    pub(super) fn metadata(&self, name: &str) -> Option<String> {
        self.metadata.lock().unwrap().get(name).cloned()
    }

    fn message(&self) {
        self.messages.fetch_add(1, Ordering::SeqCst);
    }
}

/// Lives as long as the test's runtime.
pub(in crate::engine::tests) struct Chat {
    pub(in crate::engine::tests) url: String,
    pub(in crate::engine::tests) seen: Arc<Seen>,
}

impl Chat {
    pub(in crate::engine::tests) async fn start() -> Self {
        Self::start_at("127.0.0.1:0", None).await
    }

    /// With at most so many streams a connection.
    pub(super) async fn start_at(address: &str, streams: Option<u32>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Seen::default());
        let server = tonic::transport::Server::builder()
            .max_concurrent_streams(streams)
            .add_service(Script::new(&seen));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { url, seen }
    }
}

#[derive(Clone)]
pub(super) struct Script {
    seen: Arc<Seen>,
}

impl Script {
    pub(super) fn new(seen: &Arc<Seen>) -> Self {
        Self { seen: seen.clone() }
    }
}

impl NamedService for Script {
    const NAME: &'static str = "test.Chat";
}

type Notes = Pin<Box<dyn Stream<Item = Result<Note, Status>> + Send>>;

/// `fail CODE WHY`, `wait MILLIS`, `large BYTES`, or anything else, which comes back.
async fn obey(text: &str) -> Result<String, Status> {
    let mut words = text.splitn(3, ' ');
    let number = |word: Option<&str>| word.and_then(|word| word.parse().ok()).unwrap_or(0);
    match words.next() {
        Some("fail") => {
            let code = Code::from_i32(number(words.next()) as i32);
            Err(Status::new(code, words.next().unwrap_or_default()))
        }
        Some("wait") => {
            tokio::time::sleep(Duration::from_millis(number(words.next()))).await;
            Ok(text.to_owned())
        }
        Some("large") => Ok("x".repeat(number(words.next()) as usize)),
        _ => Ok(text.to_owned()),
    }
}

async fn say(seen: Arc<Seen>, note: Note) -> Result<Response<Note>, Status> {
    seen.message();
    let mut response = Response::new(Note {
        text: obey(&note.text).await?,
        number: note.number + 1,
    });
    response
        .metadata_mut()
        .insert("x-served-by", "chat".parse().unwrap());
    Ok(response)
}

/// So many notes as the number says, each after what the text says; then a failure, if it says so.
fn listen(seen: &Seen, note: Note) -> Notes {
    seen.message();
    let text = note.text.clone();
    Box::pin(futures::stream::iter(1..=note.number).then(move |number| {
        let text = text.clone();
        async move {
            match text.strip_prefix("until ") {
                Some(last) if last == number.to_string() => Err(Status::aborted("enough")),
                Some(_) => Ok(Note { text, number }),
                None => Ok(Note {
                    text: obey(&text).await?,
                    number,
                }),
            }
        }
    }))
}

async fn tell(seen: Arc<Seen>, mut notes: Streaming<Note>) -> Result<Response<Note>, Status> {
    let (mut text, mut number) = (String::new(), 0);
    while let Some(note) = notes.message().await? {
        seen.message();
        text = obey(&note.text).await?;
        number += 1;
    }
    Ok(Response::new(Note { text, number }))
}

fn talk(seen: Arc<Seen>, notes: Streaming<Note>) -> Notes {
    Box::pin(notes.then(move |note| {
        let seen = seen.clone();
        async move {
            let note = note?;
            seen.message();
            Ok(Note {
                text: obey(&note.text).await?,
                number: note.number,
            })
        }
    }))
}

impl Service<http::Request<Body>> for Script {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let seen = self.seen.clone();
        seen.calls.fetch_add(1, Ordering::SeqCst);
        let metadata = request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        *seen.metadata.lock().unwrap() = metadata.collect();
        let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_open.fetch_max(open, Ordering::SeqCst);
        Box::pin(async move {
            let _leaving = Leaving(seen.clone());
            let mut grpc = Grpc::new(ProstCodec::<Note, Note>::default());
            let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
            let response = match method.as_str() {
                "Say" => {
                    grpc.unary(
                        service_fn(|r: tonic::Request<Note>| say(seen.clone(), r.into_inner())),
                        request,
                    )
                    .await
                }
                "Listen" => {
                    let listen = |r: tonic::Request<Note>| {
                        let notes = listen(&seen, r.into_inner());
                        async { Ok::<_, Status>(Response::new(notes)) }
                    };
                    grpc.server_streaming(service_fn(listen), request).await
                }
                "Tell" => {
                    let tell =
                        |r: tonic::Request<Streaming<Note>>| tell(seen.clone(), r.into_inner());
                    grpc.client_streaming(service_fn(tell), request).await
                }
                "Talk" => {
                    let talk = |r: tonic::Request<Streaming<Note>>| {
                        let notes = talk(seen.clone(), r.into_inner());
                        async { Ok::<_, Status>(Response::new(notes)) }
                    };
                    grpc.streaming(service_fn(talk), request).await
                }
                _ => Status::unimplemented("no such method").into_http(),
            };
            Ok(response)
        })
    }
}

struct Leaving(Arc<Seen>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}
