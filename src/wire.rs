//! The protocol between master and worker, and the view the operator has of a run.

pub mod control;
pub mod layout;

pub use crate::stats::result::{self, RunResult, Verdict};

/// Messages between master and worker; both sides speak exactly [`PROTOCOL_VERSION`].
pub mod fleet {
    tonic::include_proto!("starling.fleet.v1");
}

/// Raised when a master could not understand an older worker, or the reverse.
pub const PROTOCOL_VERSION: u32 = 1;

/// One message may be so large: a snapshot of 200 steps with wide histograms stays far below.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;
