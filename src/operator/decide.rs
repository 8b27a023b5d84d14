//! From what was seen to exactly the next writes: no I/O, no clock, no randomness. The order of
//! LIFECYCLE's table is here.
//!
//! A decision lists its writes in the order in which they are made; the first that fails ends the
//! pass, and the next pass begins with what is then seen. So each list is safe to stop after any of
//! its parts.

mod active;
mod inactive;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::child::Child;
use super::status::{self, Situation};
use super::view::{Observed, RefusalKind};
use crate::crd::status::{RunEnd, RunStatus, TriggerStatus};
use crate::crd::{LoadTestStatus, Phase};
use crate::wire::control::{Grant, GrantAction, Stop};

/// Every clock that is not in the spec.
pub mod clocks {
    use std::time::Duration;

    /// A reference has to be missing for so long, with all else up, before the run ends: Secrets
    /// are often applied after the LoadTest.
    pub const MISSING_REFERENCE: Duration = Duration::from_secs(20);
    /// Between two looks at a run that is about to start or to end.
    pub const SOON: Duration = Duration::from_secs(1);
    /// Between two polls of progress.
    pub const POLL: Duration = Duration::from_secs(5);
    /// A run past its deadline is stopped, and given so long for its result.
    pub const AFTER_DEADLINE: Duration = Duration::from_secs(600);
    /// A run to be stopped whose master does not answer is given up, and its workers deleted, after
    /// so long.
    pub const STOP_UNREACHABLE: Duration = Duration::from_secs(120);
    /// After a refused create.
    pub const REFUSED: Duration = Duration::from_secs(5);
    /// The workers of an ended run are waited for before the next begins; those of a lost node may
    /// never go.
    pub const OLD_WORKERS: Duration = Duration::from_secs(120);
}

/// One write; the comment is its number in LIFECYCLE 2.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// W1, W8, W9, W11: PUT with the resourceVersion that was observed.
    Status(Box<LoadTestStatus>),
    /// W2-W7, W10: POST.
    Create(Child),
    /// W8, the call; always after a status that holds the same epoch and incarnation.
    Grant(Grant),
    /// End the load. A master that does not hear it is told again.
    Stop(Stop),
    /// W12. Not needed for correctness: workers whose Job is deleted go anyway.
    Acknowledge,
    /// W13
    Delete {
        child: Child,
        run: String,
        uid: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requeue {
    /// After a change of the LoadTest, a child or a Pod.
    OnChange,
    /// Then, or after a change.
    After(Duration),
    /// With what is now there.
    AtOnce,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub writes: Vec<Write>,
    pub requeue: Requeue,
}

impl Decision {
    fn rest() -> Self {
        Self {
            writes: Vec::new(),
            requeue: Requeue::OnChange,
        }
    }
}

pub fn decide(seen: &Observed, now: Timestamp) -> Decision {
    if seen.test.metadata.deletion_timestamp.is_some() {
        // the garbage collector deletes the children
        return Decision::rest();
    }
    if seen
        .refusal
        .as_ref()
        .is_some_and(|refusal| refusal.kind == RefusalKind::Terminating)
    {
        return leave(seen);
    }
    match seen.status().run {
        Some(run) if run.end.is_none() && run.installation != seen.installation.id => {
            Decision::rest()
        }
        Some(run) if run.end.is_none() => active::decide(seen, &run, now),
        ended => inactive::decide(seen, ended.as_ref(), now),
    }
}

/// The namespace is going away: its Pods first, all else when they are gone. But with a backoff
/// limit per index the Job's controller holds a failed Pod by its finalizer until it has made
/// another, which is forbidden here. Without its Job the Pod may go.
fn leave(seen: &Observed) -> Decision {
    let run = seen.status().run.map(|run| run.id).unwrap_or_default();
    let workers = seen.children.uid(Child::Workers).map(|uid| Write::Delete {
        child: Child::Workers,
        run,
        uid: uid.to_owned(),
    });
    Decision {
        writes: workers.into_iter().collect(),
        requeue: Requeue::After(clocks::REFUSED),
    }
}

/// The next status, if it says something new and, where only progress is new, the last one is old
/// enough.
fn status_write(
    seen: &Observed,
    run: Option<&RunStatus>,
    situation: &Situation<'_>,
    now: Timestamp,
) -> Option<Write> {
    let old = seen.status();
    let new = status::build(&seen.test, run, situation, now);
    if new == old {
        return None;
    }
    let only_progress = status::is_only_progress(&old, &new);
    let early = seen.since_status.is_some_and(|since| since < seen.pace);
    (!(only_progress && early)).then(|| Write::Status(Box::new(new)))
}

/// What the status grants, as a call: there is no other way to one.
fn grant_of(run: &RunStatus) -> Option<Grant> {
    let master = run.master.as_ref()?;
    run.started_at.as_ref()?;
    // the first epoch's master is the only one that ever starts load
    let action = if master.epoch == 1 {
        GrantAction::Start
    } else {
        GrantAction::Resume
    };
    Some(Grant {
        run: run.id.clone(),
        epoch: master.epoch,
        incarnation: master.incarnation.clone(),
        action,
    })
}

/// The run as it is after its last write.
fn ended(run: &RunStatus, end: RunEnd, now: Timestamp) -> RunStatus {
    RunStatus {
        end: Some(end),
        finished_at: Some(written(now)),
        ..run.clone()
    }
}

fn end(phase: Phase, reason: &str, message: impl Into<String>) -> RunEnd {
    RunEnd {
        phase,
        reason: status::cut(reason, 64),
        message: status::cut(&message.into(), 1024),
    }
}

fn trigger_of(seen: &Observed) -> TriggerStatus {
    super::identity::trigger(&seen.test)
}

/// RFC 3339 in whole seconds.
pub fn written(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second())
        .unwrap_or(at)
        .to_string()
}

fn read_time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

fn after(at: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| at.checked_add(duration).ok())
        .unwrap_or(Timestamp::MAX)
}

/// From now to then; nothing when that is past.
fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
