//! Protocols that a step can use, and the interface between them and the executor.
//!
//! Nothing here knows users or load. [`Call`] registers the protocols. Read `exchange` first (what a
//! protocol implements), then `http` and `grpc`, which know nothing of each other. They share
//! `transport` (a thread's connections), `channel` (what a user keeps of a target), `received` (an
//! answer as it comes) and `closing` (the end of the load).

pub(super) mod channel;
pub(super) mod closing;
pub(super) mod exchange;
pub(super) mod grpc;
pub(super) mod http;
pub(super) mod received;
pub(super) mod transport;

use crate::engine::protocol::grpc::call::GrpcCall;
use crate::engine::protocol::http::exchange::HttpCall;

/// Call of a step, by protocol: one variant registers each. It is matched only where a step is
/// compiled and where it is carried out.
pub(crate) enum Call {
    /// HTTP request, answered whole or as a stream of events.
    Http(HttpCall),
    /// Call over gRPC.
    Grpc(GrpcCall),
}
