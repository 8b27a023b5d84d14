//! Drafts of statuses: the part of a status that decisions are about.

use crate::crd::Phase;
use crate::crd::status::{RunEnd, RunStatus};
use crate::operator::reason::Reason;
use crate::plan::Problem;
use crate::wire::RunResult;
use crate::wire::control::Progress;

/// Draft of the next status. It becomes a status only together with what was applied before it.
#[derive(Debug)]
pub struct Draft<'a> {
    /// Run of the status, as it is to be written.
    pub run: Option<RunStatus>,
    /// Situation of the resource.
    pub situation: Situation<'a>,
}

impl<'a> Draft<'a> {
    /// Drafts the status of a run that ends now. `run` holds `end`.
    pub fn ended(run: RunStatus, end: RunEnd, result: Option<&'a RunResult>) -> Self {
        Self {
            run: Some(run),
            situation: Situation::Ended { end, result },
        }
    }
}

/// Situation of a resource: what its conditions are made of.
#[derive(Debug)]
pub enum Situation<'a> {
    /// The spec cannot be carried out.
    Invalid(Vec<Problem>),
    /// The policies of the cluster do not allow the run that the spec asks for.
    Refused(Vec<Problem>),
    /// Nothing is done until someone changes something.
    Held {
        /// Pending or Suspended.
        phase: Phase,
        /// Reason of the conditions.
        reason: Reason,
        /// Message of the conditions.
        message: &'static str,
    },
    /// A run begins with this status; nothing of the run before is shown beside it.
    Begun,
    /// A run is in progress.
    Active {
        /// Starting, Running or Stopping.
        phase: Phase,
        /// Reason of the conditions.
        reason: Reason,
        /// Message of the conditions.
        message: String,
        /// Progress of the run, if its master answers.
        progress: Option<&'a Progress>,
    },
    /// A run ends with this status.
    Ended {
        /// End of the run.
        end: RunEnd,
        /// The run's final result, if it has one.
        result: Option<&'a RunResult>,
    },
    /// The run ended before; what it left stays.
    Kept {
        /// End of the run.
        end: RunEnd,
    },
}
