//! The check of a spec in a process of its own, with limits on CPU and memory: whoever may create a
//! LoadTest must not be able to stop the operator, or a developer's machine, by its spec.
//!
//! The process is this program with the hidden command `check-spec` (`child`). It reads the spec
//! from its standard input and writes lines to its standard output: the path of each field before
//! that field is checked, and at the end the outcome. So its last field is known when it dies.
//! `process` starts it, bounds what it may say, and turns its end into an outcome.

mod child;
mod process;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::crd::{Checked, LoadTestSpec};
use crate::plan::{Columns, Problem};

pub use child::serve;
pub use process::{CheckError, Process, Running};

/// Longest CPU time of a check, in seconds.
pub const CPU_SECONDS: u64 = 2;

/// Largest address space of a check, in bytes. Only Linux holds a process to it; elsewhere the
/// budget of `plan::budget` bounds what is kept.
pub const ADDRESS_SPACE: u64 = 192 << 20;

/// Longest time from the start of a check to its end on a busy machine. A longer one is given up,
/// which says nothing about the spec.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most bytes of a request and of an outcome.
const MAX_MESSAGE: u64 = 16 << 20;

/// Beginning of the line with the path of the field that is checked next.
const FIELD: u8 = b'@';

/// Beginning of the line with the outcome.
const OUTCOME: u8 = b'=';

/// Outcome of a check: the plan, or every mistake with its field path.
pub type Outcome = Result<Checked, Vec<Problem>>;

/// Everything that a check reads.
#[derive(Debug, Serialize, Deserialize)]
struct Request<S, C> {
    spec: S,
    /// Columns of feeders by the feeder's name, where they are known.
    columns: C,
}

/// Writes the request for a check of `spec`; `columns` are those of feeders whose data is known.
pub fn request(spec: &LoadTestSpec, columns: &BTreeMap<String, Arc<Columns>>) -> Vec<u8> {
    let columns: BTreeMap<&String, &Columns> = columns
        .iter()
        .map(|(name, columns)| (name, &**columns))
        .collect();
    serde_json::to_vec(&Request { spec, columns }).expect("a spec is JSON")
}

/// Checks `spec` in a process of its own and waits for the outcome.
///
/// # Errors
///
/// The process cannot be started, or was given up.
pub fn check(
    spec: &LoadTestSpec,
    columns: &BTreeMap<String, Arc<Columns>>,
) -> Result<Outcome, CheckError> {
    Process::of_this_program()
        .begin(request(spec, columns))?
        .outcome()
}
