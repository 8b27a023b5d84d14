//! HTTP: request bytes, the response parser, redirects, retries and compression.
//!
//! Nothing here knows gRPC. Read `request` first (a step's request, compiled), then `exchange` (one
//! request with its redirects and retries), `sender` (one message on a connection) and `response`
//! (its answer); `events` reads answers that are streams of events.

pub(crate) mod authorized;
pub(crate) mod charset;
pub(crate) mod coding;
pub(crate) mod cookies;
pub(crate) mod events;
pub(crate) mod exchange;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod sender;
