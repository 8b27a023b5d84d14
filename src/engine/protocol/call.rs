//! Registration of protocols: one variant each.

use crate::engine::protocol::grpc::call::GrpcCall;
use crate::engine::protocol::http::exchange::HttpCall;

/// Call of a step, by protocol. It is matched only where a step is compiled and where it is carried
/// out.
pub(crate) enum Call {
    /// HTTP request, answered whole or as a stream of events.
    Http(HttpCall),
    /// Call over gRPC.
    Grpc(GrpcCall),
}
