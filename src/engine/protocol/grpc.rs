//! Calls over gRPC: compiled once, sent over HTTP/2 connections that users share, answered by
//! messages and a status.
//!
//! They go on the `h2` crate directly: head and static messages are made before load, and nobody
//! decodes an answer unless a rule looks into it. Nothing here knows HTTP/1.1. Read `call` first
//! (a step's call, compiled), then `exchange` (one request of it), then `incoming` and `reply` (its
//! answer). `services` and `reflect` find out, before load, what the services of a test are.

pub(crate) mod call;
pub(crate) mod exchange;
pub(crate) mod fault;
mod frames;
mod head;
mod incoming;
mod protos;
mod reflect;
pub(crate) mod reply;
mod sent;
pub(crate) mod services;

pub use protos::load as load_descriptors;
