//! Observations of a LoadTest and its run: plain values that decisions are made of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::child::{Child, Component};
use super::lease::Owner;
use super::proof::Proofs;
use super::reason::Reason;
use crate::crd::{LoadTest, LoadTestStatus};
use crate::plan::policy::Policy;
use crate::wire::RunResult;
use crate::wire::control::Progress;

/// Everything a decision may depend on, besides the time.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The LoadTest, read from the API server and not from a cache.
    pub test: LoadTest,
    /// Installation that this operator belongs to.
    pub installation: Installation,
    /// Policies that govern the run which is about to begin; none if there is no such run.
    pub governing: Governing,
    /// Installation that began the run in the status, where it is another one.
    pub owner: Owner,
    /// Name of the Lease that this installation holds for a run that is to begin; `None` where it
    /// may hold none.
    pub lease: Option<String>,
    /// Children of the run in the status; empty when there is none.
    pub children: Children,
    /// Name that the report of the run in the status has; empty without a run.
    pub report: String,
    /// Reports of all runs of the LoadTest; empty while a run is in progress.
    pub old_reports: Vec<OldReport>,
    /// Number of worker Pods that the run's Job is to have; `None` without a Job.
    pub job_pods: Option<u32>,
    /// Pods of the run in the status.
    pub pods: Vec<PodView>,
    /// Error of the Deployment's controller, if it cannot make the master's Pod.
    pub master_refused: Option<String>,
    /// Answer of the run's master.
    pub master: MasterView,
    /// Time of the last answer of the run's master that this process has heard.
    pub heard: Option<Timestamp>,
    /// Time for which this process has found no master that answers.
    pub unreachable_for: Duration,
    /// Outcome of the acknowledgement to the master of an ended run, once it was tried.
    pub acknowledged: Option<bool>,
    /// Final result: from the stored report, or else from the master.
    pub result: Option<Arc<RunResult>>,
    /// Create that the API server refused in the round before.
    pub refusal: Option<Refusal>,
    /// Masters of ended runs in the namespace that may give way to this run, oldest first; known
    /// only while the run finds no room.
    pub spare_masters: Vec<SpareMaster>,
    /// Time since this process last wrote the status; `None` when it has not.
    pub since_status: Option<Duration>,
    /// Shortest time between two writes of progress alone.
    pub pace: Duration,
}

impl Observed {
    /// Returns the status as it was read; the default one where there is none.
    pub fn status(&self) -> LoadTestStatus {
        self.test.status.clone().unwrap_or_default()
    }
}

/// Master of an ended run whose report is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpareMaster {
    /// Id of the run.
    pub run: String,
    /// UID of the master's Deployment.
    pub uid: String,
    /// End of the run, RFC 3339.
    pub finished_at: String,
}

/// Policies of the cluster that select the LoadTest's namespace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Governing {
    /// Policies that could be read.
    pub policies: Vec<Policy>,
    /// Reasons why others could not be read. One is enough to begin no run.
    pub unreadable: Vec<String>,
}

impl Governing {
    /// Creates what governs a namespace where policies may not be read at all.
    pub fn denied(error: &kube::Error) -> Self {
        let why = format!(
            "the policies of the cluster cannot be read: {error}; the operator needs the right to, \
             or the flag --policies=Off"
        );
        Self {
            policies: Vec::new(),
            unreadable: vec![why],
        }
    }
}

/// Installation of the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Id that marks the runs of the installation.
    pub id: String,
    /// Id of the install key that new runs use.
    pub key_id: String,
    /// Proofs of that key, which ids of new runs are made of.
    pub proofs: Proofs,
}

/// Object that has the name of a run's child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// A child of this run and this LoadTest.
    Ours {
        /// UID of the object; empty for the channel, which the operator may not read.
        uid: String,
        /// The object is on its way out.
        deleting: bool,
    },
    /// An object of someone else, which is never touched.
    Foreign,
}

/// Children of a run that are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Children(pub BTreeMap<Child, Presence>);

impl Children {
    /// Returns whether an object has the child's name, whoever owns it.
    pub fn has(&self, child: Child) -> bool {
        self.0.contains_key(&child)
    }

    /// Returns the child's UID, if the child is ours and not on its way out.
    pub fn uid(&self, child: Child) -> Option<&str> {
        match self.0.get(&child) {
            Some(Presence::Ours {
                uid,
                deleting: false,
            }) => Some(uid),
            _ => None,
        }
    }

    /// Adds the channel, of which the operator knows only that it is there.
    pub fn insert_channel(&mut self) {
        let presence = Presence::Ours {
            uid: String::new(),
            deleting: false,
        };
        self.0.insert(Child::Channel, presence);
    }

    /// Returns whether the child is ours and on its way out.
    pub fn is_deleting(&self, child: Child) -> bool {
        matches!(
            self.0.get(&child),
            Some(Presence::Ours { deleting: true, .. })
        )
    }

    /// Returns whether an object of someone else has the child's name.
    pub fn is_foreign(&self, child: Child) -> bool {
        self.0.get(&child) == Some(&Presence::Foreign)
    }
}

/// Report of any run of the LoadTest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldReport {
    /// Id of the run.
    pub run: String,
    /// Name of the ConfigMap.
    pub name: String,
    /// UID of the ConfigMap.
    pub uid: String,
}

/// Last answer of a master Pod that is not on its way out and has proved to be the run's.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one a run, and that of a run that goes on is the large one"
)]
pub enum MasterView {
    /// The master is being asked; this process has no answer of it yet.
    Unasked,
    /// No such Pod exists, or it has no address yet.
    Absent,
    /// The master does not answer; the text says what was tried.
    Unreachable(String),
    /// The master answers with its progress.
    Up(Progress),
}

/// Create that the API server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Child that was to be created.
    pub child: Child,
    /// Meaning of the refusal.
    pub kind: RefusalKind,
    /// Words of the API server.
    pub message: String,
}

/// Meaning of a refusal: whether waiting helps.
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

/// Pod of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    /// Name of the Pod.
    pub name: String,
    /// Role of the Pod.
    pub component: Component,
    /// Creation of the Pod.
    pub created: Option<Timestamp>,
    /// Address of the Pod, once it has one.
    pub address: Option<std::net::IpAddr>,
    /// The Pod passes its readiness probe.
    pub ready: bool,
    /// The Pod is on its way out.
    pub deleting: bool,
    /// The Pod has succeeded or failed.
    pub over: bool,
    /// Trouble that keeps the Pod from running.
    pub trouble: Option<Trouble>,
    /// Cause for which the Pod, or a container of it, ended before its time.
    pub loss: Option<Trouble>,
}

impl PodView {
    /// Returns whether the scheduler has no CPU or memory for the Pod.
    pub fn finds_no_room(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| {
            trouble.reason == Reason::Unschedulable
                && ["Insufficient cpu", "Insufficient memory"]
                    .iter()
                    .any(|want| trouble.message.contains(want))
        })
    }
}

/// Trouble that keeps a Pod from running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Meaning for the run.
    pub reason: Reason,
    /// Words of the kubelet or the scheduler.
    pub message: String,
}
