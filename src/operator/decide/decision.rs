//! Parts of a decision: the writes of one pass, in the order in which they are made, and when the
//! next pass is due.

use std::sync::Arc;
use std::time::Duration;

use crate::crd::Checked;
use crate::crd::status::RunStatus;
use crate::operator::child::Child;
use crate::operator::status::Draft;
use crate::operator::times::TimeError;
use crate::wire::RunResult;
use crate::wire::control::Stop;

/// Writes of one pass. The fields stand in the order in which apply makes them; the first write
/// that fails ends the pass, so every prefix of them is safe. Numbers such as W8 are those of the
/// order of writes in LIFECYCLE 2.
#[derive(Debug, Default)]
pub struct Decision<'a> {
    /// Order to the master before anything is written.
    pub call_before: Option<CallBefore>,
    /// Children to create (W2 to W7, W10).
    pub create: Create<'a>,
    /// Number of worker Pods that the Job and the budget of disruptions get.
    pub resize: Option<u32>,
    /// Children to delete, in this order (W13).
    pub delete: Vec<Deletion>,
    /// Draft of the status (W1, W8, W9, W11), to be written once the children above are there.
    pub status: Option<Draft<'a>>,
    /// Order to the master once the status is written.
    pub call_after: Option<CallAfter>,
    /// Time of the next pass.
    pub requeue: Requeue,
    /// A time that cannot be read and that no condition reports; it goes to the log.
    pub unreadable: Option<TimeError>,
}

/// Call to the master of a run that ends or has ended.
#[derive(Debug, Clone, PartialEq)]
pub enum CallBefore {
    /// Ends the load of a run that this pass gives up.
    Stop(Stop),
    /// Releases the workers (W12); the Job is deleted once the outcome is known. Not needed for
    /// correctness: workers whose Job is deleted leave anyway.
    Acknowledge,
}

/// Call to the master that the status has to announce first.
#[derive(Debug, Clone, PartialEq)]
pub enum CallAfter {
    /// Starts or resumes the load (W8). What is granted is read from the written status.
    Grant,
    /// Changes the number of workers. That too is read from the written status.
    Scale,
    /// Ends the load; repeated by each pass until the master says that it is stopping.
    Stop(Stop),
}

/// Children to create.
#[derive(Debug, Default)]
pub enum Create<'a> {
    /// No child.
    #[default]
    Nothing,
    /// Children that a run needs before its grant.
    Fleet {
        /// Run that the children belong to.
        run: RunStatus,
        /// Missing children, in the order of [`Child::FLEET`].
        children: Vec<Child>,
        /// The run's spec, found good.
        checked: Arc<Checked>,
    },
    /// Report of a run that is ending.
    Report {
        /// Run that the report belongs to.
        run: RunStatus,
        /// The run's final result.
        result: &'a RunResult,
    },
}

/// One child to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Kind of the child.
    pub child: Child,
    /// Id of the run that the child belongs to.
    pub run: String,
    /// Name of the object.
    pub name: String,
    /// UID of the very object that is meant.
    pub uid: String,
}

/// Time of the next pass. A change of the LoadTest, a child or a Pod brings it earlier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Requeue {
    /// No time: a change brings the next pass.
    #[default]
    OnChange,
    /// Passes go on after this delay.
    After(Duration),
    /// Passes go on with what is now there.
    AtOnce,
}
