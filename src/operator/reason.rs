//! Reasons: one word each for why a LoadTest is in the state that its status shows.
//!
//! Decisions compare values of [`Reason`]. Text is made of one where a status, a condition or an
//! Event is written, and read back where a stored status is looked at.

macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// Reason for the state of a LoadTest. Its text in the status is the variant's name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])+ $name,)+
        }

        impl Reason {
            /// Every reason that the operator knows.
            pub const ALL: &'static [Reason] = &[$(Reason::$name),+];

            /// Returns the reason as the status shows it.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Reason::$name => stringify!($name),)+
                }
            }
        }
    };
}

reasons! {
    /// The run was stopped: reason of `Stalled` for every run that ended as Aborted.
    Aborted,
    /// Less load than the profile asks for was offered.
    BelowProfile,
    /// A child that a started run needs was deleted.
    ChildDeleted,
    /// A Pod's container cannot be created from its configuration.
    ContainerConfigError,
    /// The API server refused a child, for another reason than a quota.
    CreateRefused,
    /// The run had not ended at its deadline.
    DeadlineExceeded,
    /// A Pod was evicted from its node.
    Evicted,
    /// A Pod's image cannot be pulled.
    ImagePullFailed,
    /// An object that is not of this run has the name of one of its children.
    ForeignChild,
    /// The installation of the operator that began the run is gone.
    InstallationGone,
    /// The spec cannot be carried out.
    InvalidSpec,
    /// The master's container keeps ending.
    MasterCrashed,
    /// The master and every worker that carried the run are gone.
    MasterLost,
    /// A new master collects the run from its workers.
    MasterRecovering,
    /// The master's Pod does not answer.
    MasterUnreachable,
    /// A Secret, a ConfigMap or a key of one is not there.
    MissingReference,
    /// A changed spec waits for the end of the run in progress.
    NewerSpecWaiting,
    /// The node of a Pod no longer answers.
    NodeLost,
    /// The issuer of tokens gave none.
    NoToken,
    /// The workers kept up with the load.
    NotSaturated,
    /// Another installation of the operator began the run.
    OtherInstallation,
    /// A container was killed for using more memory than its limit.
    OutOfMemory,
    /// The Pods of a Deployment were refused, for another reason than a quota.
    PodsRefused,
    /// A policy of the cluster does not allow the run, or cannot be read.
    PolicyViolation,
    /// A Pod gave way to one of higher priority.
    Preempted,
    /// One worker does what comes before the load.
    Preparing,
    /// All of the load that the profile asks for was offered, or nearly.
    ProfileOffered,
    /// A quota of the namespace is used up.
    QuotaExceeded,
    /// The load is running or about to.
    Running,
    /// The workers, not the target, were the limit.
    Saturated,
    /// The spec was changed before the run had started.
    SpecChanged,
    /// The start deadline passed before every worker was ready.
    StartDeadlineExceeded,
    /// The objects of the run are being created.
    Starting,
    /// The load is being ended, or the result stored.
    Stopping,
    /// `spec.run.suspend` is true.
    Suspended,
    /// The node of a Pod got a taint that the Pod does not tolerate.
    Tainted,
    /// The name of a target does not resolve.
    TargetUnresolved,
    /// A time in the status or spec cannot be read; the run goes on without it.
    UnreadableTime,
    /// No node has room for a Pod.
    Unschedulable,
    /// The master's Pod is not up yet.
    WaitingForMaster,
    /// `spec.run.start` is OnTrigger, and nothing has triggered a run.
    WaitingForTrigger,
    /// Some workers are not ready.
    WaitingForWorkers,
    /// A worker's container keeps ending.
    WorkerCrashed,
}

impl Reason {
    /// Reads a reason back from a status; `None` for one that only a master gives, which is a
    /// [`crate::wire::Reason`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.text() == text)
    }

    /// Returns whether an Event reports the reason: it names something that a user can mend.
    pub fn is_reported(self) -> bool {
        matches!(
            self,
            Reason::InvalidSpec
                | Reason::PolicyViolation
                | Reason::MissingReference
                | Reason::QuotaExceeded
                | Reason::CreateRefused
                | Reason::ImagePullFailed
                | Reason::Unschedulable
                | Reason::UnreadableTime
        )
    }
}

impl AsRef<str> for Reason {
    fn as_ref(&self) -> &str {
        self.text()
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_and_fits_a_condition() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.text()), Some(*reason));
            assert!(reason.text().len() <= 64, "{reason}");
        }
        assert_eq!(Reason::parse("ThresholdsBreached"), None);
    }
}
