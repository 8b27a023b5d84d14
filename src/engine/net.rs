//! Connections: the route to a target (name, proxy, TLS), pools of connections, and sessions of
//! HTTP/1.1 and HTTP/2.
//!
//! Nothing here knows steps or users. Read `route` first (how a target is reached), then `pool`
//! (which connection a request takes), then the sessions: `connection` and `http2`.

pub(super) mod connection;
pub(super) mod connector;
mod first_answer;
pub(super) mod http1;
pub(super) mod http2;
pub(super) mod interface;
mod keep_alive;
pub(super) mod pool;
pub(super) mod proxy;
pub(super) mod reader;
pub(super) mod resolve;
pub(super) mod route;
pub(super) mod stream;
pub(super) mod tls;
