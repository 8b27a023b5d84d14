//! The protocols a step can speak, each in a folder of its own.

pub(super) mod closing;
pub(super) mod grpc;
pub(super) mod http;
pub(super) mod transport;
