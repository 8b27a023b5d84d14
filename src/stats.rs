//! Statistics: samples are recorded, merged and summarised.
//!
//! A worker hands over a [`Snapshot`] per interval. Snapshots add up in any order: what is merged
//! has the percentiles that one histogram of all samples would have. Steps are numbers here; their
//! names come in when a result is written.

mod codec;
pub mod counters;
pub mod errors;
pub mod format;
pub mod histogram;
pub mod level;
pub mod result;
pub mod snapshot;
pub mod step;
pub mod stream;
pub mod summary;

pub use counters::Counters;
pub use errors::{ErrorClass, ErrorEntry, ErrorKey, ErrorTable};
pub use histogram::Histogram;
pub use level::{Concurrency, LevelStats, PARTS as LEVEL_PARTS};
pub use result::RunResult;
pub use snapshot::Snapshot;
pub use step::{Phase, PhaseStats, StepStats, TaskStats, TrendStats};
pub use stream::{Goodput, LlmStats, StreamStats};

/// Reason why bytes that claim to be statistics are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatsError {
    /// The bytes end within a value.
    #[error("the statistics end too early")]
    Truncated,
    /// A value contradicts the format; the text says which.
    #[error("the statistics are malformed: {0}")]
    Malformed(&'static str),
    /// The statistics have a format of another version, number `found`.
    #[error(
        "the statistics have format {found}, this version reads format {}",
        snapshot::FORMAT
    )]
    Format {
        /// Number of the format.
        found: u64,
    },
}
