//! Common parts of long-lived roles: signals, the admin server, logging, backoff.

pub mod admin;
pub mod backoff;
pub mod logging;
pub mod signals;
