//! What every long-lived role needs: signals, the admin server, logging, backoff.

pub mod admin;
pub mod backoff;
pub mod logging;
pub mod signals;
