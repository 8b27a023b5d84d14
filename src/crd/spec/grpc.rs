//! gRPC: the calls of steps, the channels that carry them, and where their descriptors come from.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::DataSpec;

/// A call by gRPC: of a `method`, be it unary or a stream, or of the target's `health`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["method"]}, {"required": ["health"]}]))]
pub struct GrpcStepSpec {
    /// The method's full name, `package.Service/Method`; which side streams is in its descriptor.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), extend("pattern" = "^[A-Za-z_][A-Za-z0-9_.]*/[A-Za-z_][A-Za-z0-9_]*$"))]
    pub method: Option<String>,
    /// Asks the target's health service (`grpc.health.v1`) whether it serves. Whatever does not
    /// answer `SERVING` fails, as a request that failed: what follows in the task is not done.
    /// What answers so is no request of the results: it stands in no rate, latency or
    /// threshold, only among the `control` requests. To measure it as any other call, name its
    /// `method`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<GrpcHealthSpec>,
    /// The message in the JSON form of protobuf, with fields as the `.proto` file or JSON names
    /// them and extensions as `[full.name]`; its strings are templates. Unset: one without
    /// fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::free_value")]
    pub message: Option<Value>,
    /// Sent with the call; values are templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub metadata: BTreeMap<String, String>,
    /// What the client of a streaming method sends; unset: one message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<GrpcStreamSpec>,
    /// Compress messages with gzip.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gzip: bool,
    /// Bytes; overrides `spec.grpc.maxMessageSize`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2147483647))]
    pub max_message_size: Option<u32>,
    /// Tries a call again that failed before its first message came; without it nothing is sent
    /// twice. Only of methods whose client sends one message. All tries together are one
    /// sample, and each further one counts as a retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<GrpcRetrySpec>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GrpcRetrySpec {
    /// Tries after the first.
    #[schemars(range(min = 1, max = 10))]
    pub max: u32,
    /// Statuses that are tried again, by name. Where no status came, `UNAVAILABLE` is a connection
    /// that failed or broke, as it is to gRPC's own clients.
    #[serde(default = "retry_on")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 32)), extend("x-kubernetes-list-type" = "atomic"))]
    pub on: Vec<String>,
    /// Pause before the second try; doubles with each.
    #[serde(default = "retry_backoff")]
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub backoff: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GrpcHealthSpec {
    /// The service asked about; unset: the server as a whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub service: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrpcStreamSpec {
    /// How often `message` is sent, made anew each time where it differs; or a list of messages to
    /// send instead, each like `message`.
    #[schemars(schema_with = "crate::crd::schema::free_value")]
    pub messages: Value,
    /// From one message to the next.
    #[serde(default = "at_once")]
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub interval: String,
    /// Tells the server after the last message that it was the last; else the server ends the
    /// call.
    #[serde(default = "yes")]
    pub half_close: bool,
}

/// How gRPC calls are made: over HTTP/2, with an `https://` target by TLS, with an `http://` one by prior knowledge (h2c). What `spec.http` says of time limits, of the age of connections and of their source addresses holds as well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcSpec {
    /// Who shares a channel, which is one HTTP/2 connection. `PerWorker`: all users of a worker,
    /// over as many channels as their calls need. `PerUser`: nobody, each user (in open load:
    /// each of the `maxInFlight` slots) keeps its own.
    pub channels: ChannelsSpec,
    /// Calls at a time on a channel, unless the server allows fewer; for more a further channel is
    /// opened.
    #[schemars(range(min = 1, max = 65535))]
    pub max_streams_per_channel: u32,
    /// Channels of a worker that its users share, at least one for each of its threads. While none
    /// takes another call, calls wait, which counts in their latency.
    #[schemars(range(min = 1, max = 4096))]
    pub max_channels: u32,
    /// HTTP/2 pings that find out whether a silent channel is still there. Unset: none are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<KeepAliveSpec>,
    /// Bytes of a received message, uncompressed; a larger one fails the call. A step may set its
    /// own.
    #[schemars(range(min = 1, max = 2147483647))]
    pub max_message_size: u32,
}

impl Default for GrpcSpec {
    fn default() -> Self {
        Self {
            channels: ChannelsSpec::PerWorker,
            max_streams_per_channel: 100,
            max_channels: 100,
            keep_alive: None,
            max_message_size: 4 << 20,
        }
    }
}

impl GrpcSpec {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ChannelsSpec {
    #[default]
    PerWorker,
    PerUser,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeepAliveSpec {
    /// A ping is sent when nothing has come for so long. Servers close channels that ping more
    /// often than they allow, by default every 5 minutes.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub interval: String,
    /// A channel whose ping is not answered by then is given up, and its calls have failed.
    #[serde(default = "twenty_seconds")]
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub timeout: String,
}

/// Descriptors of the services that steps call: `.proto` files, which need no compiling, descriptor
/// sets, or both; of proto2, proto3 and the editions 2023 and 2024. Google's well-known types are
/// built in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProtosSpec {
    /// ConfigMaps in the LoadTest's namespace whose keys hold `.proto` files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub config_maps: Vec<ProtoConfigMapSpec>,
    /// Outputs of `protoc --descriptor_set_out --include_imports` or `buf build -o`, as they are
    /// or compressed with gzip; in a ConfigMap they are `binaryData`. What they lack is looked
    /// for among the `.proto` files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub descriptor_sets: Vec<DataSpec>,
    /// A folder of `.proto` files at which import paths begin, as a relative path. In a cluster
    /// its first part is the name of a volume of `spec.workers.volumes`; `starling run` begins
    /// at the folder of the LoadTest's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::relative_path")]
    pub root: Option<String>,
    /// The files of `root` to read, with all that they import; unset: all whose names end in
    /// `.proto`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)), extend("x-kubernetes-list-type" = "atomic"))]
    pub files: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProtoConfigMapSpec {
    /// Name of the ConfigMap.
    #[schemars(length(max = 253), extend("pattern" = crate::crd::schema::OBJECT_NAME))]
    pub name: String,
    /// Its keys.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub items: Vec<ProtoItemSpec>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProtoItemSpec {
    /// The key, which cannot hold a `/`.
    #[schemars(length(max = 253), extend("pattern" = crate::crd::schema::OBJECT_KEY))]
    pub key: String,
    /// The path by which other files import it, such as `shop/v1/order.proto`.
    #[schemars(schema_with = "crate::crd::schema::relative_path")]
    pub path: String,
}

fn retry_on() -> Vec<String> {
    ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
        .map(str::to_owned)
        .into()
}

fn retry_backoff() -> String {
    "100ms".into()
}

fn at_once() -> String {
    "0s".into()
}

fn yes() -> bool {
    true
}

fn twenty_seconds() -> String {
    "20s".into()
}
