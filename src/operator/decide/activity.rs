//! Parts of every decision about a run in progress: what its status says, and how it ends.

use jiff::Timestamp;

use crate::crd::Phase;
use crate::crd::status::{RunEnd, RunStatus};
use crate::operator::child::Component;
use crate::operator::identity;
use crate::operator::reason::Reason;
use crate::operator::status::{Draft, Situation, losses};
use crate::operator::text::cut;
use crate::operator::times::{self, TimeError};
use crate::operator::view::{MasterView, Observed};
use crate::wire::control::Stop;

use super::clocks;
use super::decision::{CallAfter, CallBefore, Decision, Requeue};

/// Something that a run does or waits for.
pub struct Activity {
    /// Reason of the conditions.
    pub reason: Reason,
    /// Message of the conditions.
    pub message: String,
}

impl Activity {
    /// Creates an activity from what its conditions say.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// Returns the activity with the error of a time that cannot be read before it, if there is
    /// one.
    pub fn with_unreadable(self, error: Option<&TimeError>) -> Self {
        match error {
            None => self,
            Some(error) => Self::new(Reason::UnreadableTime, format!("{error}; {}", self.message)),
        }
    }
}

/// Describes a master that does not answer; `why` says what was tried.
pub fn unreachable(seen: &Observed, why: &str) -> Activity {
    let ready = seen
        .pods
        .iter()
        .any(|pod| pod.component == Component::Master && pod.ready);
    let hint = if ready {
        "; its Pod is ready, so look for a NetworkPolicy or a mesh between the operator and \
         port 8443"
    } else {
        ""
    };
    let progress = seen.status().progress;
    let last = match progress.and_then(|shown| shown.observed_at) {
        Some(at) => format!("; the last figures are of {at}"),
        None => String::new(),
    };
    Activity::new(Reason::MasterUnreachable, format!("{why}{hint}{last}"))
}

/// Drafts the status of a run in progress. Phases only move forward: a run that was being stopped
/// is never shown as running.
pub fn active_draft<'a>(
    seen: &'a Observed,
    run: &RunStatus,
    phase: Phase,
    activity: Activity,
) -> Draft<'a> {
    let phase = if seen.status().phase == Some(Phase::Stopping) {
        Phase::Stopping
    } else {
        phase
    };
    let progress = match &seen.master {
        MasterView::Up(progress) if progress.run == run.id => Some(progress),
        _ => None,
    };
    let Activity { reason, message } = activity;
    let message = match run.started_at {
        Some(_) => losses::told(seen, message),
        None => message,
    };
    let (reason, message) = match identity::wants_run(&seen.test, &seen.status()) {
        true => (
            Reason::NewerSpecWaiting,
            format!("{message}; the changed spec gets a run of its own when this one has ended"),
        ),
        false => (reason, message),
    };
    Draft {
        run: Some(run.clone()),
        situation: Situation::Active {
            phase,
            reason,
            message,
            progress,
        },
    }
}

/// Announces the grant that `run` holds, then makes it.
pub fn grant_to<'a>(seen: &'a Observed, run: &RunStatus) -> Decision<'a> {
    let activity = Activity::new(Reason::Running, "the load is being started");
    Decision {
        status: Some(active_draft(seen, run, Phase::Running, activity)),
        call_after: Some(CallAfter::Grant),
        requeue: Requeue::After(clocks::SOON),
        ..Decision::default()
    }
}

/// Ends a run that has no result (W11), with the causes of what it lost in its message; `stop` is sent to its master first, if that answers.
pub fn finish<'a>(
    seen: &'a Observed,
    run: &RunStatus,
    end: RunEnd,
    stop: Option<Stop>,
    now: Timestamp,
) -> Decision<'a> {
    let end = RunEnd {
        message: cut(&losses::told(seen, end.message), 1024),
        ..end
    };
    Decision {
        call_before: stop
            .filter(|_| matches!(seen.master, MasterView::Up(_)))
            .map(CallBefore::Stop),
        status: Some(Draft::ended(ended(run, &end, now), end, None)),
        requeue: Requeue::AtOnce,
        ..Decision::default()
    }
}

/// Returns the run as it is after its last write.
pub fn ended(run: &RunStatus, end: &RunEnd, now: Timestamp) -> RunStatus {
    RunStatus {
        end: Some(end.clone()),
        finished_at: Some(times::write_instant(now)),
        ..run.clone()
    }
}

/// Returns an end with its texts cut to the schema's bounds. `reason` is the text of a [`Reason`],
/// or what the master gave.
pub fn end(phase: Phase, reason: impl AsRef<str>, message: impl Into<String>) -> RunEnd {
    RunEnd {
        phase,
        reason: cut(reason.as_ref(), 64),
        message: cut(&message.into(), 1024),
    }
}
