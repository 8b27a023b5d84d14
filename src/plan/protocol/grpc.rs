//! gRPC: what a call sends, where the descriptors of its messages come from, and which channels
//! carry it.

mod built_in;
mod call;
mod code;
mod decode;
mod descriptors;
mod edition;
mod encoder;
mod field_error;
mod message;
mod metadata;
mod scalar;
#[cfg(test)]
mod tests;
mod well_known;
mod wire;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::feeder::Data;
use crate::plan::target::Header;
use crate::plan::{JsonTemplate, Reference, duration};

pub use built_in::is_built_in;
pub use call::{CompiledCall, check, check_limits};
pub use code::Code;
pub use decode::{Decoded, MoreTypes, Numbers, to_json, to_sparse_json};
pub use descriptors::{CallKind, Descriptors, HEALTH, Rpc, Source};
pub use encoder::MessageEncoder;
pub use metadata::check_metadata;
pub use prost_reflect::MessageDescriptor;

/// Most messages of a stream, however they are given.
pub const MAX_MESSAGES: u32 = 1_000_000;

/// One call of a method, be it unary or a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcStep {
    /// Method that is called.
    pub method: Method,
    /// True if the step asks, before the load, whether the target serves. A call that passed is no
    /// request of the results.
    #[serde(default)]
    pub is_health_check: bool,
    /// Message in protobuf's JSON form, with field names as in the `.proto` file or in lower camel
    /// case. `None` is a message without fields, unless `stream` lists the messages.
    pub message: Option<JsonTemplate>,
    /// Headers sent with the call beside the target's, of which they replace those of the same
    /// name; names are in lower case.
    pub metadata: Vec<Header>,
    /// Messages of a method whose client streams; without it, such a method is sent one message.
    pub stream: Option<GrpcStream>,
    /// True if messages are sent compressed. Answers may be compressed either way.
    pub gzip: bool,
    /// Largest received message in bytes, uncompressed; a larger one fails the call.
    pub max_message_size: u32,
    /// Statuses after which the call is made again; `None`: never. Only for methods whose client
    /// sends one message.
    #[serde(default)]
    pub retry: Option<GrpcRetry>,
}

/// Attempts after a call that failed before its first message came; all together are one sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GrpcRetry {
    /// Most attempts after the first.
    pub max: u32,
    /// Statuses that are retried, never `OK`.
    pub on: Vec<Code>,
    /// Pause before the second attempt; it doubles with each further one.
    #[serde(with = "duration::micros")]
    pub backoff: Duration,
}

/// Messages that the client of a streaming method sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcStream {
    /// The messages.
    pub messages: Messages,
    /// Time from the sending of one message to that of the next.
    #[serde(with = "duration::micros")]
    pub interval: Duration,
    /// True if the client ends its side of the stream at once after the last message; else it waits
    /// for the server to end the call.
    pub half_close: bool,
    /// Event after which the next message is sent.
    #[serde(default)]
    pub send_after: SendAfter,
}

/// Event after which a client sends the next message of a stream, no sooner than its interval asks
/// for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SendAfter {
    /// The message before it was sent.
    #[default]
    Message,
    /// The server has answered each message before it with one.
    Reply,
}

/// Messages of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Messages {
    /// The step's message so many times, made anew each time where it differs; maybe never.
    Times(u32),
    /// Messages in this order; never empty.
    List(Vec<JsonTemplate>),
}

/// A method by its full name: `package.Service/Method`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Method {
    /// Full name of the service, with its package.
    pub service: String,
    /// Name of the method.
    pub name: String,
}

/// Sources of descriptors; a plan without them asks the target by reflection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Protos {
    /// Texts of `.proto` files.
    pub files: Vec<ProtoFile>,
    /// `FileDescriptorSet`s as `protoc --descriptor_set_out` writes them, also compressed with
    /// gzip.
    pub sets: Vec<DescriptorSet>,
    /// Folder of `.proto` files, with a path like those of feeders.
    pub root: Option<ProtoRoot>,
}

/// A key with the text of a `.proto` file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProtoFile {
    /// Path by which other files import it.
    pub path: String,
    /// Key that holds the text.
    pub source: Reference,
}

/// A key or file with a set of descriptors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DescriptorSet {
    /// Place of the bytes.
    pub data: Data,
    /// Field of the test that names it, for messages.
    pub field: String,
}

/// A folder that import paths begin at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProtoRoot {
    /// Relative path of the folder.
    pub folder: String,
    /// Files to compile, with all that they import; if empty, every `.proto` file below the folder.
    pub files: Vec<String>,
}

/// Settings of gRPC channels; `http` says how long connections live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grpc {
    /// Users that share a channel. Default `PerWorker`.
    pub channels: Channels,
    /// Most calls at a time on a channel, unless the server allows fewer. Default 100.
    pub max_streams_per_channel: u32,
    /// Most channels of a worker to a target; at least one for each shard. Default 100.
    pub max_channels: u32,
    /// Pings on idle channels; `None`: none are sent.
    pub keep_alive: Option<KeepAlive>,
}

/// Users that share a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Channels {
    /// All users of a worker share channels; one more is opened while none has a free stream.
    PerWorker,
    /// Each user, or slot of open load, has its own.
    PerUser,
}

/// HTTP/2 pings on a channel on which nothing has come for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeepAlive {
    /// Time without a frame after which a ping is sent.
    #[serde(with = "duration::micros")]
    pub interval: Duration,
    /// Time after which a channel whose ping was not answered is broken.
    #[serde(with = "duration::micros")]
    pub timeout: Duration,
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            channels: Channels::PerWorker,
            max_streams_per_channel: 100,
            max_channels: 100,
            keep_alive: None,
        }
    }
}

impl Method {
    /// Parses a full name. The error is a sentence for the test's author.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is not a method; write its full name, such as package.Service/Method")
        };
        let is_word = |word: &str| {
            word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let (service, name) = text.split_once('/').ok_or_else(wrong)?;
        if service.split('.').all(is_word) && is_word(name) {
            Ok(Self {
                service: service.to_owned(),
                name: name.to_owned(),
            })
        } else {
            Err(wrong())
        }
    }

    /// Path of the method's requests: `/package.Service/Method`.
    pub fn path(&self) -> String {
        format!("/{self}")
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.service, self.name)
    }
}

impl TryFrom<String> for Method {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Method> for String {
    fn from(method: Method) -> String {
        method.to_string()
    }
}

impl Protos {
    /// Secret and ConfigMap keys that the descriptors are made of, in the order of the file.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        let sets = self.sets.iter().filter_map(|set| match &set.data {
            Data::Reference(reference) => Some(reference),
            Data::File(_) => None,
        });
        self.files.iter().map(|file| &file.source).chain(sets)
    }
}

/// Names in a sentence, no more than a person reads.
fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 20;
    let names: Vec<&str> = names.into_iter().collect();
    match names.len() {
        0 => "none".to_owned(),
        count if count > SHOWN => {
            format!("{} and {} more", names[..SHOWN].join(", "), count - SHOWN)
        }
        _ => names.join(", "),
    }
}
