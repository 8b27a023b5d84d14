//! Protocols that a step can use, and the interface between them and the executor.
//!
//! Nothing here knows users or load. Read `exchange` first (what a protocol implements) and `call`
//! (where it is registered); then `http` and `grpc`, which know nothing of each other. They share
//! `transport` (a thread's connections), `channel` (what a user keeps of a target), `received` (an
//! answer as it comes) and `closing` (the end of the load).

pub(super) mod call;
pub(super) mod channel;
pub(super) mod closing;
pub(super) mod exchange;
pub(super) mod grpc;
pub(super) mod http;
pub(super) mod received;
pub(super) mod transport;
