//! Calls over gRPC: compiled once, sent over HTTP/2 connections that users share, answered by
//! messages and a status.
//!
//! The `h2` crate is used directly: the head and static messages are built before load, and an
//! answer is decoded only if a rule reads it. Nothing here knows HTTP/1.1. Read `call` first (a
//! step's call, compiled), then `exchange` (one request of it), then `incoming` and `reply` (its
//! answer). `services` and `reflect` find the descriptors of a test's services before load.

pub(crate) mod call;
pub(crate) mod exchange;
pub(crate) mod fault;
mod frames;
mod head;
mod incoming;
pub(crate) mod late_types;
mod protos;
mod reflect;
pub(crate) mod reply;
mod sent;
pub(crate) mod services;

pub use protos::load as load_descriptors;
