//! How requests are made, whatever they ask for: which connections carry them, and for how long.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{Reference, duration};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Http {
    pub version: Version,
    pub connections: Connections,
    /// A connection carries no more requests after this, give or take a fifth; zero: it never
    /// grows too old.
    #[serde(with = "duration::micros")]
    pub connection_max_age: Duration,
    /// Nor after so many requests.
    pub connection_max_requests: Option<u32>,
    /// Connections come from these in turn; without any the system chooses.
    pub source_addresses: Vec<IpAddr>,
    /// HTTP/2 connections that the users of a worker share, where they are pooled; at least one
    /// for each shard.
    pub http2_connections: u32,
    /// Whether users keep cookies.
    pub cookies: bool,
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
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// HTTP/2 where TLS finds that the target speaks it.
    Auto,
    Http1,
    /// Without TLS by prior knowledge.
    Http2,
}

/// Who shares a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Connections {
    /// Nobody: each user, or slot of open load, has its own.
    PerUser,
    /// All users of a thread, one after the other.
    Pooled,
    /// No request ever finds one open.
    PerRequest,
}

/// What stands between the load and the target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proxy {
    /// `http`, with a host.
    pub url: Url,
    pub basic: Option<Basic>,
}

/// A name and a password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Basic {
    pub username: Reference,
    pub password: Reference,
}
