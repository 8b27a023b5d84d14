//! gRPC: what a call asks for, where the descriptors of its messages come from, and which channels
//! carry it.

mod call;
mod code;
mod decode;
mod descriptors;
mod edition;
mod encoder;
mod field_error;
mod message;
mod scalar;
#[cfg(test)]
mod tests;
mod well_known;
mod wire;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::feeder::Data;
use super::target::Header;
use super::{JsonTemplate, Reference, duration};

pub use call::{CompiledCall, check, check_limits};
pub use code::Code;
pub use decode::{to_json, to_sparse_json};
pub use descriptors::{CallKind, Descriptors, HEALTH, Rpc, Source};
pub use encoder::MessageEncoder;
pub use prost_reflect::MessageDescriptor;

/// At most so many messages of a stream, however they are given.
pub const MAX_MESSAGES: u32 = 1_000_000;

/// One call of a method, be it unary or a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcStep {
    pub method: Method,
    /// It asks whether the target serves, before what it is tested by: passed, it is no request of
    /// the results.
    #[serde(default)]
    pub is_health_check: bool,
    /// In protobuf's JSON form, field names as in the `.proto` file or in lower camel case. `None`
    /// is a message without fields, unless `stream` lists the messages.
    pub message: Option<JsonTemplate>,
    /// Sent with the call beside the target's headers, of which they replace those of the same
    /// name; names are in lower case.
    pub metadata: Vec<Header>,
    /// Only of methods whose client streams; without one, such a method is sent one message.
    pub stream: Option<GrpcStream>,
    /// Messages are compressed, where that is said; answers may be at any time.
    pub gzip: bool,
    /// Bytes of a received message, uncompressed; a larger one fails the call.
    pub max_message_size: u32,
    /// Only of methods whose client sends one message.
    #[serde(default)]
    pub retry: Option<GrpcRetry>,
}

/// Tries again what failed before its first message came; the whole is one sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GrpcRetry {
    /// Tries after the first.
    pub max: u32,
    /// Never `OK`.
    pub on: Vec<Code>,
    /// Before the second try; doubles with each.
    #[serde(with = "duration::micros")]
    pub backoff: Duration,
}

/// What the client of a streaming method sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcStream {
    pub messages: Messages,
    /// From the sending of one message to that of the next.
    #[serde(with = "duration::micros")]
    pub interval: Duration,
    /// The client says that it has sent all, at once after the last message; else it waits for the
    /// server to end the call.
    pub half_close: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Messages {
    /// The step's message so many times, made anew each time where it differs.
    Times(u32),
    /// These, in this order; never none.
    List(Vec<JsonTemplate>),
}

/// A method by its full name: `package.Service/Method`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Method {
    /// With its package.
    pub service: String,
    pub name: String,
}

/// Where descriptors come from; a plan without this asks the target by reflection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Protos {
    /// Texts of `.proto` files.
    pub files: Vec<ProtoFile>,
    /// `FileDescriptorSet`s as `protoc --descriptor_set_out` writes them, also compressed with
    /// gzip.
    pub sets: Vec<DescriptorSet>,
    /// A folder of `.proto` files, as feeders name files.
    pub root: Option<ProtoRoot>,
}

/// The text of a `.proto` file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProtoFile {
    /// What other files call it in `import`.
    pub path: String,
    pub source: Reference,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DescriptorSet {
    pub data: Data,
    /// Where the test names it, for messages.
    pub field: String,
}

/// Import paths begin at `folder`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProtoRoot {
    pub folder: String,
    /// The files to compile, with all that they import; without any, every `.proto` file below the
    /// folder.
    pub files: Vec<String>,
}

/// How calls are carried; `http` says how long connections live and how much time a call has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grpc {
    pub channels: Channels,
    /// Calls at a time on a channel, unless the server allows fewer.
    pub max_streams_per_channel: u32,
    /// Channels of a worker to a target; at least one for each shard.
    pub max_channels: u32,
    pub keep_alive: Option<KeepAlive>,
}

/// Who shares a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Channels {
    /// All users of a worker; one more is opened while none has a free stream.
    PerWorker,
    /// Nobody: each user, or slot of open load, has its own.
    PerUser,
}

/// HTTP/2 pings on a channel on which nothing has come for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeepAlive {
    #[serde(with = "duration::micros")]
    pub interval: Duration,
    /// A channel whose ping is not answered by then is broken.
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

    /// The path of its requests.
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
    /// The Secret and ConfigMap keys they are made of, in the order of the file.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        let sets = self.sets.iter().filter_map(|set| match &set.data {
            Data::Reference(reference) => Some(reference),
            Data::File(_) => None,
        });
        self.files.iter().map(|file| &file.source).chain(sets)
    }
}

/// Names in words, so many of them that a person still reads them.
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
