//! The protocol between master and worker, and the view the operator has of a run.

pub mod bounds;
pub mod checksum;
pub mod control;
pub mod layout;
pub mod tokens;

pub use crate::stats::result::{self, Reason, RunResult, Verdict};

/// Messages between master and worker; both sides speak exactly [`PROTOCOL_VERSION`].
#[allow(
    missing_docs,
    clippy::allow_attributes_without_reason,
    reason = "generated; fleet.proto has the comments"
)]
pub mod fleet {
    include!("generated/starling.fleet.v1.rs");
}

impl std::fmt::Debug for fleet::SetupValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SetupValues({} bytes)", self.values.len())
    }
}

/// Version of the messages, raised when a master could not understand an older worker, or the
/// reverse.
pub const PROTOCOL_VERSION: u32 = 1;

/// Largest message, in bytes: the cumulative state of 200 steps, each histogram of which is dense,
/// takes some 30 MiB.
pub const MAX_MESSAGE: usize = 64 * 1024 * 1024;
