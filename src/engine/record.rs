//! What is written down: statistics of samples, log entries of requests, redaction, and refusals in
//! the target's words.
//!
//! Nothing here knows users or sockets. Read `recorder` first.

pub(super) mod cpu;
pub(super) mod recorder;
pub(super) mod redactor;
pub(super) mod refusal;
pub(super) mod sampling;
