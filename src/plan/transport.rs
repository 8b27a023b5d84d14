//! Transport of requests, whatever they ask for: which connections carry them, and for how long.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{Reference, duration};

/// Settings of HTTP connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Http {
    /// Version of HTTP that is spoken.
    pub version: Version,
    /// Users that share a connection.
    pub connections: Connections,
    /// Age after which a connection carries no more requests, give or take a fifth; zero: no limit.
    /// Default 5m.
    #[serde(with = "duration::micros")]
    pub connection_max_age: Duration,
    /// Number of requests after which a connection is closed; `None`: no limit.
    pub connection_max_requests: Option<u32>,
    /// Local addresses that connections come from in turn; if empty the system chooses.
    pub source_addresses: Vec<IpAddr>,
    /// HTTP/2 connections that the users of a worker share, where they are pooled; at least one for
    /// each shard. Default 4.
    pub http2_connections: u32,
    /// True if users keep cookies. Default true.
    pub cookies: bool,
    /// Largest head of an answer that is read.
    #[serde(default)]
    pub answer_head: HeadLimits,
}

/// Largest head of an answer that is read, over either version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeadLimits {
    /// Most bytes of the status line and all fields, as HTTP/1.1 writes them; also of trailers.
    /// Default 64 KiB.
    pub bytes: u32,
    /// Most fields. Default 4,096.
    pub fields: u32,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            bytes: 64 * 1024,
            fields: 4096,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            version: Version::Auto,
            connections: Connections::PerUser,
            connection_max_age: Duration::from_secs(300),
            connection_max_requests: None,
            source_addresses: vec![],
            http2_connections: 4,
            cookies: true,
            answer_head: HeadLimits::default(),
        }
    }
}

/// Version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// HTTP/2 where TLS finds that the target speaks it, else HTTP/1.1.
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only; without TLS by prior knowledge.
    Http2,
}

/// Users that share a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Connections {
    /// Each user, or slot of open load, has its own.
    PerUser,
    /// All users of a thread share connections, one after the other.
    Pooled,
    /// Each request opens a new one.
    PerRequest,
}

/// An HTTP proxy between the workers and the target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proxy {
    /// Address of the proxy: `http`, with a host.
    pub url: Url,
    /// Credentials for the proxy; `None`: none.
    pub basic: Option<Basic>,
}

/// A user name and a password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Basic {
    /// User name.
    pub username: Reference,
    /// Password.
    pub password: Reference,
}
