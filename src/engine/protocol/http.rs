//! HTTP: request bytes, the response parser, redirects, retries and compression.
//!
//! Nothing here knows gRPC. Read `request` first, then `response`; `events` reads streams of events.

pub(crate) mod coding;
pub(crate) mod cookies;
pub(crate) mod events;
pub(crate) mod request;
pub(crate) mod response;
