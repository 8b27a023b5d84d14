//! Asks a server for the descriptors of its services by server reflection, v1 or the older v1alpha.
//!
//! Each worker does so once before the load, on a separate connection; none of it is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures::future::poll_fn;
use h2::client::{Builder, SendRequest};
use h2::{RecvStream, SendStream};
use prost::Message;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::engine::net::route::Route;
use crate::engine::protocol::grpc::fault::Fault;
use crate::engine::protocol::grpc::frames;
use crate::engine::protocol::grpc::head::Head;
use crate::engine::protocol::grpc::reply::{Expected, Reply};
use crate::plan::grpc::{Code, Descriptors, Method, is_built_in};

/// Longest time for the whole conversation with one target.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Largest message of an answer in bytes.
const MAX_ANSWER: u32 = 16 << 20;
/// Largest size of all files together, in bytes.
const MAX_ALL: usize = 64 << 20;

/// Most files that one server may have.
const MAX_FILES: usize = 10_000;

/// Reflection services, newest first. Both have the same messages.
const SERVICES: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// File of `google.protobuf.Any`.
const ANY: &str = "google/protobuf/any.proto";

/// Prefix of the reflection services, which are left out of the list of what a server offers.
const REFLECTION_PREFIX: &str = "grpc.reflection.";

/// Request of server reflection; see
/// <https://github.com/grpc/grpc/blob/master/src/proto/grpc/reflection/v1/reflection.proto>.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    host: String,
    #[prost(oneof = "Question", tags = "3, 4, 7")]
    question: Option<Question>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Question {
    #[prost(string, tag = "3")]
    File(String),
    #[prost(string, tag = "4")]
    Symbol(String),
    /// List of all services; the text has no meaning.
    #[prost(string, tag = "7")]
    Services(String),
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(oneof = "Answer", tags = "4, 6, 7")]
    answer: Option<Answer>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Answer {
    #[prost(message, tag = "4")]
    Files(Files),
    #[prost(message, tag = "6")]
    Services(Services),
    #[prost(message, tag = "7")]
    Error(Refusal),
}

#[derive(Clone, PartialEq, Message)]
struct Services {
    #[prost(message, repeated, tag = "1")]
    services: Vec<ServiceName>,
}

#[derive(Clone, PartialEq, Message)]
struct ServiceName {
    #[prost(string, tag = "1")]
    name: String,
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

/// Fields of a `FileDescriptorProto` that are read here.
#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, repeated, tag = "3")]
    dependencies: Vec<String>,
}

/// Reason why a target's services could not be found by reflection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreflected {
    /// Target that could not be reached; a retry may succeed.
    #[error("asking the target for its services by reflection: {0}")]
    Unreached(String),
    /// Target without server reflection.
    #[error(
        "the target offers no server reflection ({0}); give the services' .proto files in spec.protos"
    )]
    Unoffered(String),
    /// Target that refuses reflection with these credentials.
    #[error(
        "the target does not let these credentials use its server reflection ({0}); \
         let them, or give the services' .proto files in spec.protos"
    )]
    Denied(String),
    /// Answer that is not valid, or another error of the target.
    #[error("server reflection: {0}; the services' .proto files in spec.protos make it needless")]
    Wrong(String),
}

impl Unreflected {
    /// Adds what became of the version that was asked first.
    fn beside(self, first: &Self) -> Self {
        let (Self::Unoffered(before) | Self::Denied(before)) = first else {
            return self;
        };
        let both = |why: &str| format!("v1: {before}; v1alpha: {why}");
        match self {
            Self::Unoffered(why) if matches!(first, Self::Denied(_)) => Self::Denied(both(&why)),
            Self::Unoffered(why) => Self::Unoffered(both(&why)),
            Self::Denied(why) => Self::Denied(both(&why)),
            Self::Wrong(why) => Self::Wrong(both(&why)),
            Self::Unreached(why) => Self::Unreached(both(&why)),
        }
    }
}

/// Methods of server reflection, newest first.
pub(super) fn methods() -> impl Iterator<Item = Method> {
    SERVICES.into_iter().map(|service| Method {
        service: service.to_owned(),
        name: "ServerReflectionInfo".to_owned(),
    })
}

/// Asks the target for the descriptors of `services` and, for what is in an `Any`, of `types`, as far
/// as it knows them, and all that they refer to. `heads` are those of calls of each of [`methods`].
pub(crate) async fn reflect(
    route: &Route,
    services: &BTreeSet<&str>,
    types: &BTreeSet<String>,
    heads: &[Head],
) -> Result<Descriptors, Unreflected> {
    let asking = async {
        let mut refused = None;
        for head in heads {
            match (
                ReflectionClient {
                    route,
                    head,
                    conversation: None,
                }
                .all(services, types)
                .await,
                &refused,
            ) {
                (Err(why @ Unreflected::Unoffered(_)), None) => refused = Some(why),
                // says more than that the other version is not there
                (Err(why @ Unreflected::Denied(_)), _) => refused = Some(why),
                // neither version answered, each in its own way
                (Err(why), Some(first)) => return Err(why.beside(first)),
                (outcome, _) => return outcome,
            }
        }
        Err(refused.unwrap_or_else(|| Unreflected::Unoffered(String::new())))
    };
    match timeout(PATIENCE, asking).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Unreflected::Unreached(format!(
            "no answer within {} s",
            PATIENCE.as_secs()
        ))),
    }
}

/// Client that asks one question after another, and opens a new conversation when the target ends
/// one.
struct ReflectionClient<'a> {
    route: &'a Route,
    head: &'a Head,
    conversation: Option<Conversation>,
}

impl ReflectionClient<'_> {
    /// Asks for the files of all services and their imports. If a service is not known, also asks
    /// for the list of all services.
    async fn all(
        mut self,
        services: &BTreeSet<&str>,
        types: &BTreeSet<String>,
    ) -> Result<Descriptors, Unreflected> {
        let mut files = Found::default();
        let mut all_known = true;
        for service in services {
            match self.ask(Question::Symbol((*service).to_owned())).await? {
                Some(Answer::Files(answer)) => files.take(answer)?,
                Some(_) => {
                    return Err(Unreflected::Wrong(
                        "the answer is none to the question".into(),
                    ));
                }
                None => all_known = false,
            }
        }
        self.imports(&mut files).await?;
        for name in types {
            self.more(name, &mut files).await;
        }
        let holds_any = files.holds_any();
        let offered = if all_known && !holds_any {
            None
        } else {
            self.offered().await
        };
        if holds_any {
            // what is in an `Any` is most often a type that another service uses
            for service in offered.iter().flatten() {
                self.more(service, &mut files).await;
            }
        }
        Descriptors::of_reflection(files.by_name.into_values(), offered).map_err(Unreflected::Wrong)
    }

    /// Asks for the files that others import.
    async fn imports(&mut self, files: &mut Found) -> Result<(), Unreflected> {
        while let Some(name) = files.next() {
            match self.ask(Question::File(name.clone())).await? {
                Some(Answer::Files(answer)) => files.take(answer)?,
                Some(_) => {
                    return Err(Unreflected::Wrong(
                        "the answer is none to the question".into(),
                    ));
                }
                None => {
                    return Err(Unreflected::Wrong(format!(
                        "the target does not know the file {name:?}, which others import"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Asks for the files of a symbol that the test can do without.
    async fn more(&mut self, symbol: &str, files: &mut Found) {
        let mut with = files.clone();
        let asked = self.ask(Question::Symbol(symbol.to_owned())).await;
        if let Ok(Some(Answer::Files(answer))) = asked
            && with.take(answer).is_ok()
            && self.imports(&mut with).await.is_ok()
        {
            *files = with;
        }
    }

    /// Returns the services that the target lists; `None` if it does not answer that.
    async fn offered(&mut self) -> Option<BTreeSet<String>> {
        match self.ask(Question::Services(String::new())).await {
            Ok(Some(Answer::Services(Services { services }))) => Some(
                services
                    .into_iter()
                    .map(|service| service.name)
                    .filter(|name| !name.starts_with(REFLECTION_PREFIX))
                    .collect(),
            ),
            _ => None,
        }
    }

    /// Asks one question; `None` if the target does not know the thing asked for.
    async fn ask(&mut self, question: Question) -> Result<Option<Answer>, Unreflected> {
        let mut conversation = match self.conversation.take() {
            Some(conversation) => conversation,
            None => Conversation::open(self.route, self.head).await?,
        };
        let answer = match conversation.ask(question).await {
            Ok(answer) => answer,
            // some end the conversation with it
            Err(Ended::NotFound) => return Ok(None),
            Err(Ended::Failed(why)) => return Err(why),
        };
        self.conversation = Some(conversation);
        let Answer::Error(Refusal { code, message }) = answer else {
            return Ok(Some(answer));
        };
        match u8::try_from(code).map(Code) {
            Ok(Code::NOT_FOUND) => Ok(None),
            Ok(code) => Err(refusal(code, format!("{code}: {message}"))),
            Err(_) => Err(Unreflected::Wrong(format!(
                "the target says {code}: {message}"
            ))),
        }
    }
}

/// Maps a gRPC status other than OK to the reason why reflection failed.
fn refusal(code: Code, words: String) -> Unreflected {
    match code {
        Code::UNIMPLEMENTED => Unreflected::Unoffered(words),
        Code::PERMISSION_DENIED | Code::UNAUTHENTICATED => Unreflected::Denied(words),
        Code::UNAVAILABLE | Code::RESOURCE_EXHAUSTED | Code::DEADLINE_EXCEEDED => {
            Unreflected::Unreached(words)
        }
        _ => Unreflected::Wrong(format!("the target says {words}")),
    }
}

/// Files that came, and imports that must still be asked for.
#[derive(Clone, Default)]
struct Found {
    by_name: BTreeMap<String, Vec<u8>>,
    /// Size of the files in bytes.
    size: usize,
    wanted: Vec<String>,
    asked: BTreeSet<String>,
    /// True if a file imports [`ANY`].
    imports_any: bool,
}

impl Found {
    /// Returns whether a file imports `google.protobuf.Any`.
    fn holds_any(&self) -> bool {
        self.imports_any
    }

    fn take(&mut self, Files { files }: Files) -> Result<(), Unreflected> {
        for bytes in files {
            let file = File::decode(bytes.as_slice())
                .map_err(|e| Unreflected::Wrong(format!("what came is no file: {e}")))?;
            self.size += bytes.len();
            self.imports_any |= file.dependencies.iter().any(|name| name == ANY);
            self.wanted.extend(file.dependencies);
            self.by_name.insert(file.name, bytes);
        }
        if self.size > MAX_ALL || self.by_name.len() > MAX_FILES {
            return Err(Unreflected::Wrong(
                "the files are too large or too many".into(),
            ));
        }
        Ok(())
    }

    fn next(&mut self) -> Option<String> {
        while let Some(name) = self.wanted.pop() {
            // what is well known is known here, and not to every server
            let is_known = is_built_in(&name) || self.by_name.contains_key(&name);
            if !is_known && self.asked.insert(name.clone()) {
                return Some(name);
            }
        }
        None
    }
}

/// Stream of questions and answers.
struct Conversation {
    sending: SendStream<Bytes>,
    receiving: Option<RecvStream>,
    answer: Option<h2::client::ResponseFuture>,
    reply: Reply,
    /// Buffer for uncompressed messages.
    scratch: Vec<u8>,
    _connection: ConnectionTask,
}

/// Task that drives a connection until this handle is dropped.
struct ConnectionTask(JoinHandle<()>);

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Conversation {
    async fn open(route: &Route, head: &Head) -> Result<Self, Unreflected> {
        let unreached = |why: &dyn std::fmt::Display| Unreflected::Unreached(why.to_string());
        let (stream, _) = route.open(0).await.map_err(|failure| unreached(&failure))?;
        route
            .is_http2(&stream)
            .map_err(|failure| unreached(&failure))?;
        let handshake = Builder::new()
            .enable_push(false)
            .handshake::<_, Bytes>(stream)
            .await;
        let (mut sender, connection): (SendRequest<Bytes>, _) =
            handshake.map_err(|error| unreached(&error))?;
        // what goes wrong with it shows in the stream
        let connection = ConnectionTask(tokio::spawn(async move { drop(connection.await) }));
        let (answer, sending) = sender
            .send_request(head.plain().map_err(|failure| unreached(&failure))?, false)
            .map_err(|error| unreached(&error))?;
        let mut reply = Reply::default();
        reply.begin(Expected {
            streams: true,
            most: MAX_ANSWER,
            message: true,
            trailers: false,
        });
        Ok(Self {
            sending,
            receiving: None,
            answer: Some(answer),
            reply,
            scratch: Vec::new(),
            _connection: connection,
        })
    }

    async fn ask(&mut self, question: Question) -> Result<Answer, Ended> {
        let request = Request {
            host: String::new(),
            question: Some(question),
        };
        let mut message = Vec::new();
        frames::open(&mut message);
        message.extend_from_slice(&request.encode_to_vec());
        if frames::close(&mut message, false).is_some() {
            // an error shows in the answer
            let _ = self.sending.send_data(message.into(), false);
        }
        self.next_message().await?;
        let bytes = self.reply.last(&mut self.scratch).map_err(wrong)?;
        let response = Response::decode(bytes)
            .map_err(|e| Unreflected::Wrong(format!("the answer cannot be read: {e}")))?;
        Ok(response
            .answer
            .ok_or_else(|| Unreflected::Wrong("the answer is none to the question".into()))?)
    }

    /// Waits for the next message.
    async fn next_message(&mut self) -> Result<(), Ended> {
        let unreached = |error: h2::Error| Unreflected::Unreached(error.to_string());
        if let Some(answer) = self.answer.take() {
            let (head, body) = answer.await.map_err(unreached)?.into_parts();
            self.reply
                .take_head(head.status.as_u16(), &head.headers)
                .map_err(|fault| not_grpc(&fault))?;
            self.receiving = Some(body);
        }
        let Some(body) = &mut self.receiving else {
            return Err(Unreflected::Wrong("nothing came".into()).into());
        };
        let before = self.reply.count();
        while self.reply.count() == before {
            match poll_fn(|cx| body.poll_data(cx)).await {
                Some(data) => {
                    let data = data.map_err(unreached)?;
                    let _ = body.flow_control().release_capacity(data.len());
                    self.reply.frames.feed(&data).map_err(wrong)?;
                }
                None => {
                    if let Some(trailers) = poll_fn(|cx| body.poll_trailers(cx))
                        .await
                        .map_err(unreached)?
                    {
                        self.reply.take_trailers(&trailers).map_err(wrong)?;
                    }
                    return Err(self.ended());
                }
            }
        }
        Ok(())
    }

    /// Returns why the conversation ended without a further message.
    fn ended(&self) -> Ended {
        let words = || match self.reply.message() {
            Some(message) => format!("{}: {message}", self.reply.status_line()),
            None => self.reply.status_line(),
        };
        match self.reply.code() {
            None | Some(Code::OK) => {
                Unreflected::Wrong("the target ended the conversation".into()).into()
            }
            Some(Code::NOT_FOUND) => Ended::NotFound,
            Some(code) => refusal(code, words()).into(),
        }
    }
}

/// Reason why a conversation ended.
enum Ended {
    /// The target answered that it does not know what was asked for.
    NotFound,
    Failed(Unreflected),
}

impl From<Unreflected> for Ended {
    fn from(why: Unreflected) -> Self {
        Self::Failed(why)
    }
}

fn wrong(fault: Fault) -> Unreflected {
    Unreflected::Wrong(fault.to_string())
}

/// Maps an answer that is not gRPC, such as that of a gateway, to the reason why reflection failed.
fn not_grpc(fault: &Fault) -> Unreflected {
    match fault {
        Fault::HttpStatus(401 | 403) => Unreflected::Denied(fault.to_string()),
        Fault::HttpStatus(429 | 500..) => Unreflected::Unreached(fault.to_string()),
        _ => Unreflected::Unoffered(fault.to_string()),
    }
}
