//! Settings of HTTP requests, and proxies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::BasicSpec;

/// Settings of HTTP requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpSpec {
    /// Longest time from the intended start of a request to the last byte of its answer, redirects
    /// and retries included; the request then fails with class `timeout`. A step may set its own.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub timeout: String,
    /// Version of HTTP.
    pub version: VersionSpec,
    /// Sharing of connections.
    pub connections: ConnectionsSpec,
    /// Age, give or take a fifth, after which a connection carries no new request, so that new Pods
    /// of the target get load. `0s`: no limit.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub connection_max_age: String,
    /// Highest number of requests on a connection. If unset, no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2147483647))]
    pub connection_max_requests: Option<u32>,
    /// IP addresses of the worker's machine that connections use as their source, in turn: each has
    /// some 28,000 ports towards one address of the target. If empty, the system chooses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(max = 45)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub source_addresses: Vec<String>,
    /// Settings of HTTP/2 connections.
    #[serde(skip_serializing_if = "Http2Spec::is_default")]
    pub http2: Http2Spec,
    /// Highest number of redirects followed per request; a step may set its own. One redirect more,
    /// or one to an origin that is no target of the test, fails the request with class `redirect`;
    /// at `0` redirects are answers like any other. A chain is one sample, and each hop is counted
    /// in `redirectHops`.
    #[schemars(range(min = 0, max = 20))]
    pub follow_redirects: u32,
    /// Keeps cookies for each user and sends them back, as browsers do (RFC 6265 and its revision
    /// rfc6265bis), for the `Host` that is sent; one of a `Cookie` header of the test goes before
    /// that of the same name. A user of open load keeps them for one iteration.
    pub cookies: bool,
    /// Most bytes of an answer's status line and header fields, and of its trailers, over HTTP/1.1
    /// and HTTP/2. A longer one fails the request with class `protocol`. If unset, 65536.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 1048576))]
    pub max_header_bytes: Option<u32>,
    /// Most header fields of an answer, over HTTP/1.1 and HTTP/2. More fail the request with class
    /// `protocol`. If unset, 4096.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_header_fields: Option<u32>,
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
            max_header_bytes: None,
            max_header_fields: None,
        }
    }
}

/// Version of HTTP that a worker speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VersionSpec {
    /// HTTP/2 where the target offers it during the TLS handshake, else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only; without TLS by prior knowledge (h2c).
    Http2,
}

/// Settings of HTTP/2 connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Http2Spec {
    /// Connections that the users of a worker share with `connections: Pooled`, at least one for
    /// each of its threads. While none of them takes a further stream, requests wait, which counts
    /// in their latency.
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

/// Sharing of connections among users.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConnectionsSpec {
    /// Connections of each user alone (in open load: of each of the `maxInFlight` slots).
    #[default]
    PerUser,
    /// Connections shared by the users of a thread, one request at a time, as by the replicas of a
    /// service behind a gateway; over HTTP/2 several at a time, see `http2.connections`.
    Pooled,
    /// New connection for every request, which asks the target to close it.
    PerRequest,
}

/// An HTTP proxy in front of a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxySpec {
    /// Address of the proxy: `http://`, a host and optionally a port.
    #[schemars(length(max = 512), extend("pattern" = "^http://[^@?#/{}\\s]+/?$"))]
    pub url: String,
    /// User name and password for the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicSpec>,
}
