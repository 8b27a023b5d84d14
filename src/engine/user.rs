//! Users: one user or slot, its iteration, the flow of its steps, its variables, and one request
//! carried out and judged.
//!
//! Nothing here knows sockets or load. Read `client` first (an iteration, step by step), then
//! `executor` (one request, whatever its protocol) and `sent` (judging and recording it), then what
//! they hold: `context` (what users of a thread share), `frame`, `deadline`, `throttle`.

pub(super) mod client;
pub(super) mod context;
pub(super) mod deadline;
pub(super) mod executor;
pub(super) mod frame;
pub(super) mod sent;
pub(super) mod throttle;
