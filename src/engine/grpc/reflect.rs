//! Asks a server what its services are: server reflection, v1 or the older v1alpha.
//!
//! Once a worker, before load, on a connection of its own; none of it is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures::future::poll_fn;
use h2::client::{Builder, SendRequest};
use h2::{RecvStream, SendStream};
use prost::Message;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::frames;
use super::head::Head;
use super::reply::{Expected, Reply};
use crate::engine::route::Route;
use crate::plan::grpc::{Code, Descriptors, Method};

/// The whole conversation.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of one answer, and of all files together.
const MAX_ANSWER: u32 = 16 << 20;
const MAX_ALL: usize = 64 << 20;

/// Files that one server may have.
const MAX_FILES: usize = 10_000;

/// Both have the same messages.
const SERVICES: [&str; 2] = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// See <https://github.com/grpc/grpc/blob/master/src/proto/grpc/reflection/v1/reflection.proto>.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    host: String,
    #[prost(oneof = "Question", tags = "3, 4")]
    question: Option<Question>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Question {
    #[prost(string, tag = "3")]
    File(String),
    #[prost(string, tag = "4")]
    Symbol(String),
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(oneof = "Answer", tags = "4, 7")]
    answer: Option<Answer>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Answer {
    #[prost(message, tag = "4")]
    Files(Files),
    #[prost(message, tag = "7")]
    Error(Refusal),
}

#[derive(Clone, PartialEq, Message)]
struct Files {
    #[prost(bytes = "vec", repeated, tag = "1")]
    files: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Refusal {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// What is read of a `FileDescriptorProto` here.
#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, repeated, tag = "3")]
    dependencies: Vec<String>,
}

/// Why a server's services are not known.
#[derive(Debug, thiserror::Error)]
pub(in crate::engine) enum Unreflected {
    /// It may be well in a moment.
    #[error("asking the target for its services by reflection: {0}")]
    Unreached(String),
    #[error("the target offers no server reflection ({0}); give the services' .proto files in spec.protos")]
    Refused(String),
    #[error("server reflection: {0}")]
    Wrong(String),
}

/// The descriptors of `services` and all they refer to. `head_of` makes the head of a call of a method, with the target's metadata.
pub(in crate::engine) async fn reflect(
    route: &Route,
    services: &BTreeSet<&str>,
    head_of: impl Fn(&Method) -> Result<Head, String>,
) -> Result<Descriptors, Unreflected> {
    let asking = async {
        let mut refused = String::new();
        for service in SERVICES {
            let method = Method { service: service.to_owned(), name: "ServerReflectionInfo".to_owned() };
            let head = head_of(&method).map_err(Unreflected::Wrong)?;
            match Conversation::open(route, &head).await?.all(services).await {
                Err(Unreflected::Refused(why)) => refused = why,
                outcome => return outcome,
            }
        }
        Err(Unreflected::Refused(refused))
    };
    match timeout(PATIENCE, asking).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Unreflected::Unreached(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// A stream of questions and answers.
struct Conversation {
    sending: SendStream<Bytes>,
    receiving: Option<RecvStream>,
    answer: Option<h2::client::ResponseFuture>,
    reply: Reply,
    /// Messages that were read of those that came.
    scratch: Vec<u8>,
    _connection: Driven,
}

/// The task that drives a connection, which ends with its owner.
struct Driven(JoinHandle<()>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Conversation {
    async fn open(route: &Route, head: &Head) -> Result<Self, Unreflected> {
        let unreached = |why: &dyn std::fmt::Display| Unreflected::Unreached(why.to_string());
        let (stream, _) = route.open(0).await.map_err(|failure| unreached(&failure))?;
        route.is_http2(&stream).map_err(|failure| unreached(&failure))?;
        let handshake = Builder::new().enable_push(false).handshake::<_, Bytes>(stream).await;
        let (mut sender, connection): (SendRequest<Bytes>, _) = handshake.map_err(|error| unreached(&error))?;
        // what goes wrong with it shows in the stream
        let driven = Driven(tokio::spawn(async move { drop(connection.await) }));
        let (answer, sending) =
            sender.send_request(head.plain().map_err(|failure| unreached(&failure))?, false).map_err(|error| unreached(&error))?;
        let mut reply = Reply::default();
        reply.begin(Expected { streams: true, most: MAX_ANSWER, message: true, trailers: false });
        Ok(Self { sending, receiving: None, answer: Some(answer), reply, scratch: Vec::new(), _connection: driven })
    }

    /// The files of all services, with what these import.
    async fn all(mut self, services: &BTreeSet<&str>) -> Result<Descriptors, Unreflected> {
        let mut found = BTreeMap::new();
        let mut size = 0;
        let mut wanted: Vec<Question> = services.iter().map(|service| Question::Symbol((*service).to_owned())).collect();
        let mut asked = BTreeSet::new();
        while let Some(question) = wanted.pop() {
            if let Question::File(name) = &question
                // what is well known is known here, and not to every server
                && (name.starts_with("google/protobuf/") || found.contains_key(name) || !asked.insert(name.clone()))
            {
                continue;
            }
            for bytes in match self.ask(question).await? {
                Answer::Files(Files { files }) => files,
                Answer::Error(Refusal { code, message }) => {
                    let code = u8::try_from(code).map_or_else(|_| code.to_string(), |code| Code(code).to_string());
                    return Err(Unreflected::Wrong(format!("the target says {code}: {message}")));
                }
            } {
                let file = File::decode(bytes.as_slice()).map_err(|e| Unreflected::Wrong(format!("what came is no file: {e}")))?;
                size += bytes.len();
                wanted.extend(file.dependencies.into_iter().map(Question::File));
                found.insert(file.name, bytes);
            }
            if size > MAX_ALL || found.len() > MAX_FILES {
                return Err(Unreflected::Wrong("the files are too large or too many".into()));
            }
        }
        Descriptors::of_reflection(found.into_values()).map_err(Unreflected::Wrong)
    }

    async fn ask(&mut self, question: Question) -> Result<Answer, Unreflected> {
        let request = Request { host: String::new(), question: Some(question) };
        let mut message = Vec::new();
        frames::open(&mut message);
        message.extend_from_slice(&request.encode_to_vec());
        if frames::close(&mut message, false).is_some() {
            // an error shows in the answer
            let _ = self.sending.send_data(message.into(), false);
        }
        self.next_message().await?;
        let bytes = self.reply.last(&mut self.scratch).map_err(|fault| Unreflected::Wrong(fault.to_string()))?;
        let response = Response::decode(bytes).map_err(|e| Unreflected::Wrong(format!("the answer cannot be read: {e}")))?;
        response.answer.ok_or_else(|| Unreflected::Wrong("the answer is none to the question".into()))
    }

    /// Waits for the next message.
    async fn next_message(&mut self) -> Result<(), Unreflected> {
        let unreached = |error: h2::Error| Unreflected::Unreached(error.to_string());
        let wrong = |fault: super::Fault| Unreflected::Wrong(fault.to_string());
        if let Some(answer) = self.answer.take() {
            let (head, body) = answer.await.map_err(unreached)?.into_parts();
            self.reply.take_head(head.status.as_u16(), &head.headers).map_err(|fault| Unreflected::Refused(fault.to_string()))?;
            self.receiving = Some(body);
        }
        let Some(body) = &mut self.receiving else { return Err(Unreflected::Wrong("nothing came".into())) };
        let before = self.reply.count();
        while self.reply.count() == before {
            match poll_fn(|cx| body.poll_data(cx)).await {
                Some(data) => {
                    let data = data.map_err(unreached)?;
                    let _ = body.flow_control().release_capacity(data.len());
                    self.reply.frames.feed(&data).map_err(wrong)?;
                }
                None => {
                    if let Some(trailers) = poll_fn(|cx| body.poll_trailers(cx)).await.map_err(unreached)? {
                        self.reply.take_trailers(&trailers).map_err(wrong)?;
                    }
                    return Err(match self.reply.code() {
                        None | Some(Code::OK) => Unreflected::Wrong("the target ended the conversation".into()),
                        Some(Code::UNAVAILABLE) => Unreflected::Unreached(self.reply.status_line()),
                        Some(Code::UNIMPLEMENTED) => Unreflected::Refused(self.reply.status_line()),
                        Some(_) => {
                            Unreflected::Wrong(format!("{}: {}", self.reply.status_line(), self.reply.message().unwrap_or_default()))
                        }
                    });
                }
            }
        }
        Ok(())
    }
}
