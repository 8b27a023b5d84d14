//! Common parts of long-lived roles: signals, the admin server, listening sockets, logging,
//! backoff, last words.

pub mod admin;
pub mod backoff;
pub mod door;
pub mod last_words;
pub mod logging;
pub mod signals;
