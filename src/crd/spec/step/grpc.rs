//! gRPC: the calls of steps, the channels that carry them, and where their descriptors come from.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::crd::spec::DataSpec;

/// A gRPC call: either of a `method`, unary or streaming, or of the target's `health` service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["method"]}, {"required": ["health"]}]))]
pub struct GrpcStepSpec {
    /// Full name of the method, `package.Service/Method`. The descriptor says which side streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 512),
        extend("pattern" = "^[A-Za-z_][A-Za-z0-9_.]*/[A-Za-z_][A-Za-z0-9_]*$")
    )]
    pub method: Option<String>,
    /// Call of the target's health service (`grpc.health.v1`). Any answer but `SERVING` fails like
    /// a failed request. A check that passes is in no rate, latency or threshold, only among the
    /// `control` requests; to measure it like any other call, name its `method`. Excludes `message`
    /// and `stream`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<GrpcHealthSpec>,
    /// Message in the JSON form of protobuf, at most 64 KiB, with fields as the `.proto` file or
    /// JSON names them and extensions as `[full.name]`; strings in it are templates. If unset, a
    /// message without fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::free_value")]
    pub message: Option<Value>,
    /// Metadata of the call by key; values are templates. Keys that gRPC sets itself are refused.
    /// A key that ends in `-bin` holds bytes, written as base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub metadata: BTreeMap<String, String>,
    /// Messages of a streaming client. If unset, one message is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<GrpcStreamSpec>,
    /// Compresses messages with gzip. If unset, `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gzip: bool,
    /// Largest received message in bytes, uncompressed; overrides `spec.grpc.maxMessageSize`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2147483647))]
    pub max_message_size: Option<u32>,
    /// Retries of a call that failed before its first message arrived. If unset, nothing is sent
    /// twice. Only for methods whose client sends one message. All attempts together are one
    /// sample, and each retry is counted in `retries`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<GrpcRetrySpec>,
}

/// Retries of a gRPC call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GrpcRetrySpec {
    /// Highest number of retries after the first attempt.
    #[schemars(range(min = 1, max = 10))]
    pub max: u32,
    /// Statuses, by name, after which the call is retried. A connection that failed or broke counts
    /// as `UNAVAILABLE`, as for gRPC's own clients. If unset, `UNAVAILABLE` and
    /// `RESOURCE_EXHAUSTED`.
    #[serde(default = "retry_on")]
    #[schemars(
        length(min = 1, max = 16),
        inner(length(min = 1, max = 32)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub on: Vec<String>,
    /// Pause before the first retry; doubled for each further one.
    #[serde(default = "retry_backoff")]
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub backoff: String,
}

/// Question to a gRPC health service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GrpcHealthSpec {
    /// Service to ask about. If unset, the server as a whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub service: String,
}

/// Messages that the client of a streaming method sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrpcStreamSpec {
    /// Number of times that `message` is sent, from 0 to 1,000,000, its templates evaluated each
    /// time; or a list of messages to send instead, each like `message`. With `0` or an empty list
    /// the client sends none, and ends its side of the stream.
    #[schemars(schema_with = "crate::crd::schema::free_value")]
    pub messages: Value,
    /// Time from one message to the next. `0s`: no pause.
    #[serde(default = "at_once")]
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub interval: String,
    /// Half-closes the stream after the client's last message. If `false`, the server ends the
    /// call.
    #[serde(default = "yes")]
    pub half_close: bool,
    /// Event after which the next message is sent. `Message`: The one before it was sent. `Reply`:
    /// The server has answered it with a message, as in ping-pong; only where the server streams, too.
    /// `interval` is kept either way.
    #[serde(default)]
    pub send_after: SendAfterSpec,
}

/// Event after which the next message of a stream is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SendAfterSpec {
    /// The message before was sent.
    #[default]
    Message,
    /// The server has answered each message before.
    Reply,
}

/// Settings of gRPC calls, which use HTTP/2: over TLS with an `https://` or `grpcs://` target, by prior
/// knowledge (h2c) with an `http://` or `grpc://` one. The timeout, the age of connections and the source addresses of
/// `spec.http` apply, too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcSpec {
    /// Sharing of channels; a channel is one HTTP/2 connection.
    pub channels: ChannelsSpec,
    /// Highest number of calls at a time on a channel, unless the server allows fewer; a further
    /// channel is opened beyond that.
    #[schemars(range(min = 1, max = 65535))]
    pub max_streams_per_channel: u32,
    /// Highest number of channels that the users of a worker share, at least one for each of its
    /// threads. While none of them takes a further call, calls wait, which counts in their latency.
    #[schemars(range(min = 1, max = 4096))]
    pub max_channels: u32,
    /// HTTP/2 pings that find dead channels. If unset, none are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<KeepAliveSpec>,
    /// Largest received message in bytes, uncompressed; a larger one fails the call. A step may set
    /// its own.
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
    /// Returns whether nothing differs from the defaults, so that the field can be left out.
    pub(in crate::crd::spec) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Sharing of gRPC channels among users.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ChannelsSpec {
    /// Channels shared by all users of a worker, as many as their calls need.
    #[default]
    PerWorker,
    /// Channel of each user alone (in open load: of each of the `maxInFlight` slots).
    PerUser,
}

/// HTTP/2 pings on a silent gRPC channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeepAliveSpec {
    /// Silence after which a ping is sent. Servers close channels that ping more often than they
    /// allow, by default every 5 minutes.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub interval: String,
    /// Longest wait for the answer to a ping; then the channel is closed, and its calls fail.
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
    /// Descriptor sets, as `protoc --descriptor_set_out --include_imports` or `buf build -o` writes
    /// them, plain or compressed with gzip; a ConfigMap holds them as `binaryData`. What a set
    /// lacks is looked up among the `.proto` files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub descriptor_sets: Vec<DataSpec>,
    /// Folder of `.proto` files, at which import paths begin. In a cluster the path is relative and
    /// its first part is the name of a volume of `spec.workers.volumes`, which it does not leave by
    /// `..`; for `starling run` it is relative to the folder of the LoadTest's file, or absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::file_path")]
    pub root: Option<String>,
    /// Files of `root` to read, with all that they import. If empty, all files whose names end in
    /// `.proto`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 512)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub files: Vec<String>,
}

/// A ConfigMap that holds `.proto` files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProtoConfigMapSpec {
    /// Name of the ConfigMap.
    #[schemars(length(max = 253), extend("pattern" = crate::crd::schema::OBJECT_NAME))]
    pub name: String,
    /// Keys to read, each with its import path.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub items: Vec<ProtoItemSpec>,
}

/// A `.proto` file in a ConfigMap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProtoItemSpec {
    /// Key of the ConfigMap, which cannot hold a `/`.
    #[schemars(length(max = 253), extend("pattern" = crate::crd::schema::OBJECT_KEY))]
    pub key: String,
    /// Path by which other files import this one, such as `shop/v1/order.proto`.
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
