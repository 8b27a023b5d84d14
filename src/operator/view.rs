//! What has been seen of a LoadTest and its run: plain values that decisions are made of.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::child::{Child, Component};
use crate::crd::{LoadTest, LoadTestStatus};
use crate::wire::RunResult;
use crate::wire::control::Progress;

/// Everything a decision may depend on, besides the time.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Read from the API server, not from a cache.
    pub test: LoadTest,
    pub installation: Installation,
    /// Of the run in the status; empty when there is none.
    pub children: Children,
    pub old_reports: Vec<OldReport>,
    pub pods: Vec<PodView>,
    /// Why the Deployment's controller cannot make the master's Pod.
    pub master_refused: Option<String>,
    pub master: MasterView,
    /// How long this process has found no master that answers.
    pub unreachable_for: Duration,
    /// Final: from the stored report, or else from the master.
    pub result: Option<Box<RunResult>>,
    /// What the API server said to the write before.
    pub refusal: Option<Refusal>,
    /// Since this process last wrote the status; `None` when it has not.
    pub since_status: Option<Duration>,
    /// Progress alone is written no more often than that.
    pub pace: Duration,
}

impl Observed {
    pub fn status(&self) -> LoadTestStatus {
        self.test.status.clone().unwrap_or_default()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    pub id: String,
    /// The install key that new runs use.
    pub key_id: String,
}

/// A child of the name that the run's child has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// Of this run and this LoadTest.
    Ours { uid: String, deleting: bool },
    /// Someone else's: never touched.
    Foreign,
}

/// What is there of a run; what is not in it is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Children(pub BTreeMap<Child, Presence>);

impl Children {
    pub fn has(&self, child: Child) -> bool {
        self.0.contains_key(&child)
    }

    /// UID, if it is ours and not on its way out.
    pub fn uid(&self, child: Child) -> Option<&str> {
        match self.0.get(&child) {
            Some(Presence::Ours {
                uid,
                deleting: false,
            }) => Some(uid),
            _ => None,
        }
    }

    pub fn is_deleting(&self, child: Child) -> bool {
        matches!(
            self.0.get(&child),
            Some(Presence::Ours { deleting: true, .. })
        )
    }

    pub fn is_foreign(&self, child: Child) -> bool {
        self.0.get(&child) == Some(&Presence::Foreign)
    }
}

/// A report of any run of this LoadTest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldReport {
    pub run: String,
    pub uid: String,
}

/// The answer of the newest master Pod that is not on its way out.
#[derive(Debug, Clone, PartialEq)]
pub enum MasterView {
    /// There is no such Pod, or it has no address yet.
    Absent,
    Unreachable(String),
    Up(Progress),
}

/// Why a create was refused; the wait for it to change is the decision's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub child: Child,
    pub kind: RefusalKind,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// No repetition helps: the object itself is wrong.
    Invalid,
    /// An object of this name is there and is not ours.
    Taken,
    /// Quota, admission or RBAC; may pass.
    Denied,
    /// The namespace is going away.
    Terminating,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    pub name: String,
    pub component: Component,
    pub created: Option<Timestamp>,
    pub address: Option<std::net::IpAddr>,
    pub ready: bool,
    pub deleting: bool,
    /// Succeeded or Failed.
    pub over: bool,
    /// What keeps it from running.
    pub trouble: Option<Trouble>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// CamelCase, one of ours: `ImagePullFailed`, `Unschedulable`, ...
    pub reason: &'static str,
    pub message: String,
}
