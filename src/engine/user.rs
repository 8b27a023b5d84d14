//! *Who* sends: one user or slot, its iteration, the flow of its steps, its variables and cookies,
//! and one request carried out and judged.
//!
//! Nothing here knows sockets. Read `client` first (an iteration, step by step), then `exchange`
//! (one request), then what they hold: `frame`, `cookies`, `deadline`.

pub(super) mod client;
pub(super) mod deadline;
pub(super) mod exchange;
pub(super) mod frame;
pub(super) mod throttle;
