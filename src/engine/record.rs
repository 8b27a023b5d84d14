//! Records of a run: statistics of requests, request log entries, redaction, and refusals in the
//! target's own words.
//!
//! Nothing here knows users or sockets. Read `recorder` first.

pub(super) mod cpu;
pub(super) mod gauge;
pub(super) mod offered;
pub(super) mod recorder;
pub(super) mod redactor;
pub(super) mod refusal;
pub(super) mod request_log;
mod secrets;
