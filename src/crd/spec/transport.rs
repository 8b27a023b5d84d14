//! How requests are made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::BasicSpec;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpSpec {
    /// From the intended time of a request to the last byte of its answer; a step may set its own.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub timeout: String,
    /// `Auto`: HTTP/2 where the target offers it in TLS, else HTTP/1.1. `Http2`: nothing else;
    /// without TLS by prior knowledge (h2c). `Http1`: HTTP/1.1 always.
    pub version: VersionSpec,
    /// Who shares a connection. `PerUser`: nobody, each user (in open load: each of the
    /// `maxInFlight` slots) keeps its own. `Pooled`: the users of a thread use the same ones in
    /// turn, as the replicas of a service behind one gateway do; over HTTP/2 at the same time, see
    /// `http2.connections`. `PerRequest`: every request opens a new one and asks the target to
    /// close it.
    pub connections: ConnectionsSpec,
    /// A connection carries no new request when it is older than this, give or take a fifth, so
    /// that new Pods of the target get load; `0s`: it may live for ever.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub connection_max_age: String,
    /// A connection carries at most so many requests. Unset: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2147483647))]
    pub connection_max_requests: Option<u32>,
    /// IP addresses of the worker's machine that connections come from, in turn: each has some
    /// 28,000 ports towards one address of the target. Unset: the system chooses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 45)), extend("x-kubernetes-list-type" = "atomic"))]
    pub source_addresses: Vec<String>,
    #[serde(skip_serializing_if = "Http2Spec::is_default")]
    pub http2: Http2Spec,
    /// Redirects followed at most, within the origins of the targets; a step may set its own. A
    /// chain is one sample, and each hop counts as `redirectHops`.
    #[schemars(range(min = 0, max = 20))]
    pub follow_redirects: u32,
    /// Whether each user keeps cookies and sends them back, as a browser does; in open load, where
    /// a user lives for an iteration, for that long.
    pub cookies: bool,
}

impl Default for HttpSpec {
    fn default() -> Self {
        Self {
            timeout: "30s".into(),
            version: VersionSpec::Auto,
            connections: ConnectionsSpec::PerUser,
            connection_max_age: "5m".into(),
            connection_max_requests: None,
            source_addresses: vec![],
            http2: Http2Spec::default(),
            follow_redirects: 0,
            cookies: true,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VersionSpec {
    #[default]
    Auto,
    Http1,
    Http2,
}

/// What only HTTP/2 has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Http2Spec {
    /// Connections that the users of a worker share with `connections: Pooled`, at least one for
    /// each of its threads. A request goes to the next one that takes a further stream; while none
    /// does it waits, which counts in its latency.
    #[schemars(range(min = 1, max = 4096))]
    pub connections: u32,
}

impl Default for Http2Spec {
    fn default() -> Self {
        Self { connections: 4 }
    }
}

impl Http2Spec {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConnectionsSpec {
    #[default]
    PerUser,
    Pooled,
    PerRequest,
}

/// An HTTP proxy. It is asked for a tunnel (CONNECT) to an https target, and for whole URLs of an
/// http one. It resolves the target's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxySpec {
    /// `http://` with a host and optionally a port.
    #[schemars(length(max = 512), extend("pattern" = "^http://[^@?#/{}\\s]+/?$"))]
    pub url: String,
    /// Name and password for the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicSpec>,
}
