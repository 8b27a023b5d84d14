//! The registration of protocols: one variant each.

use crate::engine::protocol::grpc::call::GrpcCall;
use crate::engine::protocol::http::exchange::HttpCall;

/// Call of a step, by protocol. Matched where a step is compiled and where it is carried out, and
/// nowhere else.
pub(crate) enum Call {
    /// Request of HTTP, answered whole or as a stream of events.
    Http(HttpCall),
    /// Call over gRPC.
    Grpc(GrpcCall),
}
