//! A run between its grant and its end: it is followed, resumed under another master, stopped, and
//! its result is stored.

use std::time::Duration;

use jiff::Timestamp;

use super::activity::{Activity, active_draft, end, ended, finish, grant_to, unreachable};
use super::clocks;
use super::decision::{CallAfter, Create, Decision, Requeue};
use super::scaling::{self, Step};
use crate::crd::Phase;
use crate::crd::status::{MasterStatus, RunEnd, RunStatus};
use crate::operator::child::Child;
use crate::operator::reason::Reason;
use crate::operator::status::{Draft, losses, progress};
use crate::operator::times::{self, TimeError};
use crate::operator::view::{MasterView, Observed};
use crate::wire::control::{MasterState, Progress, Stop};
use crate::wire::{Reason as VerdictReason, RunResult, Verdict};

/// Decides about a run that was granted at `started_at`.
pub fn decide<'a>(
    seen: &'a Observed,
    run: &RunStatus,
    started_at: &str,
    now: Timestamp,
) -> Decision<'a> {
    if let Some(result) = &seen.result {
        return store(seen, run, result, now);
    }
    if let Some(child) = lost_child(seen) {
        return end_without(seen, run, child, now);
    }
    let deadline = deadline(run, started_at);
    let passed = past_deadline(seen, deadline.as_ref().ok(), now);
    if let Some(end) = gave_up(seen, passed) {
        return finish(seen, run, end, None, now);
    }
    let is_late = passed.is_some() && !keeps_deadline(seen);
    let left = deadline
        .as_ref()
        .map(|deadline| times::until(now, *deadline));
    Following {
        seen,
        run,
        stop: wanted_stop(seen, run, is_late),
        look: look(left.unwrap_or(Duration::ZERO)),
        unreadable: deadline.err(),
    }
    .decide()
}

/// Returns the instant at which the run is stopped. Where it cannot be read, the run has none.
fn deadline(run: &RunStatus, started_at: &str) -> Result<Timestamp, TimeError> {
    let started_at = times::read_instant("status.run.startedAt", started_at)?;
    let deadline = times::read_duration("status.run.deadline", &run.deadline)?;
    Ok(times::after(started_at, deadline))
}

/// Returns the time until the next pass of a run of which nothing new is heard; `left` is the time
/// to its deadline, zero when that is past or unknown.
fn look(left: Duration) -> Duration {
    match left {
        Duration::ZERO => clocks::LOOK,
        left => clocks::LOOK.min(left).max(clocks::SOON),
    }
}

/// Returns whether the master itself ends the run at its deadline.
fn keeps_deadline(seen: &Observed) -> bool {
    matches!(&seen.master, MasterView::Up(progress) if progress.deadline_micros > 0)
}

/// Returns the time since the run's deadline; `None` before it, and without one.
///
/// A master that keeps the deadline says how long the run has gone on, by a clock that nobody sets.
/// The wall clock, which may jump, counts only for a master that does not answer, or is of an older
/// release.
fn past_deadline(
    seen: &Observed,
    deadline: Option<&Timestamp>,
    now: Timestamp,
) -> Option<Duration> {
    match &seen.master {
        MasterView::Up(progress) if progress.deadline_micros > 0 => progress
            .granted_micros?
            .checked_sub(progress.deadline_micros)
            .map(Duration::from_micros),
        MasterView::Unasked => None,
        _ => now.duration_since(*deadline?).try_into().ok(),
    }
}

/// Returns a child without which the run cannot be carried to its end, if one is gone.
fn lost_child(seen: &Observed) -> Option<Child> {
    Child::FLEET
        .into_iter()
        .find(|child| child.is_essential() && seen.children.uid(*child).is_none())
}

fn end_without<'a>(
    seen: &'a Observed,
    run: &RunStatus,
    child: Child,
    now: Timestamp,
) -> Decision<'a> {
    let message = format!(
        "{} {:?} was deleted while the run went on",
        child.resource().kind,
        child.name(&run.id)
    );
    let stop = stop(run, VerdictReason::ChildDeleted, message.clone());
    let end = end(Phase::Errored, Reason::ChildDeleted, message);
    finish(seen, run, end, Some(stop), now)
}

fn stop(run: &RunStatus, reason: VerdictReason, message: String) -> Stop {
    Stop {
        run: run.id.clone(),
        reason,
        message,
    }
}

/// Stores the result (W10) and ends the run with it (W11). Where the report is refused, the run
/// ends without one.
fn store<'a>(
    seen: &'a Observed,
    run: &RunStatus,
    result: &'a RunResult,
    now: Timestamp,
) -> Decision<'a> {
    let refused = seen
        .refusal
        .as_ref()
        .is_some_and(|refusal| refusal.child == Child::Report);
    let create = match refused || seen.children.has(Child::Report) {
        true => Create::Nothing,
        false => Create::Report {
            run: run.clone(),
            result,
        },
    };
    let end = outcome(seen, result);
    Decision {
        create,
        status: Some(Draft::ended(ended(run, &end, now), end, Some(result))),
        requeue: Requeue::AtOnce,
        ..Decision::default()
    }
}

/// Returns the end that a result means, by the table of LIFECYCLE 5, with the causes of what was lost
/// in its message.
fn outcome(seen: &Observed, result: &RunResult) -> RunEnd {
    let phase = match result.verdict {
        Verdict::Passed => Phase::Succeeded,
        Verdict::Failed => Phase::Failed,
        // the operator's own stop, which nobody wanted
        Verdict::Aborted if result.reason == VerdictReason::DeadlineExceeded => Phase::Errored,
        Verdict::Aborted => Phase::Aborted,
        Verdict::Errored => Phase::Errored,
    };
    let mut reason = result.reason.to_string();
    if reason.is_empty() {
        reason = phase.to_string();
    }
    end(phase, reason, losses::told(seen, result.message.clone()))
}

/// Returns the end of a run of which nothing is expected any more, `passed` after its deadline.
/// Without a deadline a run is only given up when its master is lost, or when it is suspended and
/// its master does not answer.
fn gave_up(seen: &Observed, passed: Option<Duration>) -> Option<RunEnd> {
    let too_late = passed.is_some_and(|passed| passed >= clocks::AFTER_DEADLINE);
    match &seen.master {
        MasterView::Up(progress) if progress.state == MasterState::Lost => Some(end(
            Phase::Errored,
            Reason::MasterLost,
            "the master was lost, and no worker carries the run any more",
        )),
        MasterView::Up(_) if too_late => Some(end(
            Phase::Errored,
            Reason::DeadlineExceeded,
            "the run was stopped at its deadline and gave no result",
        )),
        MasterView::Up(_) | MasterView::Unasked => None,
        // a wall clock that jumped does not end a run whose master was just there
        _ if too_late && seen.unreachable_for >= clocks::AFTER_DEADLINE => Some(end(
            Phase::Errored,
            Reason::MasterUnreachable,
            "the master did not answer for 10 minutes, until 10 minutes after the run's deadline",
        )),
        _ if seen.test.spec.run.suspend && seen.unreachable_for >= clocks::STOP_UNREACHABLE => {
            Some(end(
                Phase::Aborted,
                Reason::Suspended,
                "stopped by deleting its workers, since the master did not answer; \
                 the result is lost",
            ))
        }
        _ => None,
    }
}

fn wanted_stop(seen: &Observed, run: &RunStatus, is_late: bool) -> Option<Stop> {
    if seen.test.spec.run.suspend {
        let message = "spec.run.suspend was set while the run went on";
        Some(stop(run, VerdictReason::Suspended, message.into()))
    } else if is_late {
        let message = format!("the run had not ended {} after its start", run.deadline);
        Some(stop(run, VerdictReason::DeadlineExceeded, message))
    } else {
        None
    }
}

/// A run that goes on.
struct Following<'a, 'r> {
    seen: &'a Observed,
    run: &'r RunStatus,
    /// Stop to send, if the load is to end.
    stop: Option<Stop>,
    /// Time until the next pass if nothing new is heard.
    look: Duration,
    /// Error of a deadline that cannot be read; the run then has none.
    unreadable: Option<TimeError>,
}

impl<'a> Following<'a, '_> {
    fn decide(self) -> Decision<'a> {
        let (seen, run) = (self.seen, self.run);
        let trusted = run
            .master
            .as_ref()
            .map(|master| master.incarnation.as_str());
        match &seen.master {
            MasterView::Up(progress) if progress.run != run.id => {
                self.unanswered(&format!("the master answers for run {:?}", progress.run))
            }
            MasterView::Up(progress) if Some(progress.incarnation.as_str()) != trusted => {
                self.resume(progress)
            }
            MasterView::Up(progress) => self.follow(progress),
            // what was shown before stays until there is an answer or none
            MasterView::Unasked => Decision {
                requeue: Requeue::After(clocks::SOON),
                ..Decision::default()
            },
            MasterView::Absent => self.unanswered("the master has no Pod with an address"),
            MasterView::Unreachable(why) => self.unanswered(why),
        }
    }

    fn draft(&self, phase: Phase, activity: Activity) -> Draft<'a> {
        let activity = activity.with_unreadable(self.unreadable.as_ref());
        active_draft(self.seen, self.run, phase, activity)
    }

    /// Lets the run go on under another master than the one that started it.
    fn resume(&self, progress: &Progress) -> Decision<'a> {
        let run = self.run;
        let epoch = run.master.as_ref().map_or(1, |master| master.epoch) + 1;
        let granted = RunStatus {
            master: Some(MasterStatus {
                epoch,
                incarnation: progress.incarnation.clone(),
            }),
            ..run.clone()
        };
        grant_to(self.seen, &granted)
    }

    /// Lets the run go on without being seen.
    fn unanswered(self, why: &str) -> Decision<'a> {
        let phase = match self.stop {
            Some(_) => Phase::Stopping,
            None => Phase::Running,
        };
        // they have to be marked as stale in time
        let figures = self.seen.status().progress;
        let are_live = figures.is_some_and(|shown| !shown.stale && shown.observed_at.is_some());
        Decision {
            status: Some(self.draft(phase, unreachable(self.seen, why))),
            requeue: Requeue::After(match are_live {
                true => self.look.min(progress::STALE / 3),
                false => self.look,
            }),
            ..Decision::default()
        }
    }

    /// Follows the master that holds the grant.
    fn follow(self, progress: &Progress) -> Decision<'a> {
        let may_scale = self.stop.is_none() && is_before_end(progress.state);
        if let Some(scaled) = scaling::announced(self.seen, self.run).filter(|_| may_scale) {
            let (phase, activity) = doing(progress);
            return Decision {
                status: Some(active_draft(self.seen, &scaled, phase, activity)),
                requeue: Requeue::AtOnce,
                ..Decision::default()
            };
        }
        let step = scaling::step(self.seen, self.run, progress).filter(|_| may_scale);
        let (phase, activity) = match &self.stop {
            Some(stop) => (
                Phase::Stopping,
                Activity::new(Reason::Stopping, stop.message.clone()),
            ),
            None => self.with_remark(doing(progress), may_scale),
        };
        let status = self.draft(phase, activity);
        let not_started = matches!(progress.state, MasterState::Waiting | MasterState::Ready);
        let is_ending = matches!(
            progress.state,
            MasterState::Stopping | MasterState::Finished
        );
        let call_after = match self.stop {
            Some(stop) if !is_ending => Some(CallAfter::Stop(stop)),
            // the operator ended between the status and the call, or the call was lost
            None if not_started => Some(CallAfter::Grant),
            None if step == Some(Step::Tell) => Some(CallAfter::Scale),
            _ => None,
        };
        Decision {
            status: Some(status),
            requeue: Requeue::After(match (&call_after, step) {
                (None, None) => self.look,
                _ => clocks::SOON,
            }),
            resize: match step {
                Some(Step::Resize(pods)) => Some(pods),
                Some(Step::Tell) | None => None,
            },
            call_after,
            ..Decision::default()
        }
    }

    /// Adds to what a run does why the number of workers that its spec asks for does not count.
    fn with_remark(&self, doing: (Phase, Activity), may_scale: bool) -> (Phase, Activity) {
        let (phase, Activity { reason, message }) = doing;
        let wish = scaling::wish(&self.seen.test, self.run, &self.seen.governing);
        let message = match wish.remark.filter(|_| may_scale) {
            Some(remark) => format!("{message}; {remark}"),
            None => message,
        };
        (phase, Activity { reason, message })
    }
}

/// Returns whether a master in this state may still give load to other workers.
fn is_before_end(state: MasterState) -> bool {
    matches!(
        state,
        MasterState::Waiting | MasterState::Ready | MasterState::Preparing | MasterState::Running
    )
}

/// Returns phase and activity of a run that nobody stops, by what its master says.
fn doing(progress: &Progress) -> (Phase, Activity) {
    // what one worker does alone
    let one_off = progress.one_off.as_deref().unwrap_or("everything is there");
    let (phase, reason, message) = match progress.state {
        MasterState::Waiting | MasterState::Ready => (
            Phase::Running,
            Reason::Running,
            "the load is being started".to_owned(),
        ),
        MasterState::Preparing => (
            Phase::Running,
            Reason::Preparing,
            format!("before the load: {one_off}"),
        ),
        MasterState::Running | MasterState::Lost => (
            Phase::Running,
            Reason::Running,
            "the load is running".to_owned(),
        ),
        MasterState::Recovering => (
            Phase::Running,
            Reason::MasterRecovering,
            "a new master collects the run from its workers".to_owned(),
        ),
        MasterState::Stopping if progress.one_off.is_some() => (
            Phase::Stopping,
            Reason::Stopping,
            format!("after the load: {one_off}"),
        ),
        MasterState::Stopping => (
            Phase::Stopping,
            Reason::Stopping,
            "the load is being ended".to_owned(),
        ),
        MasterState::Finished => (
            Phase::Stopping,
            Reason::Stopping,
            "the result is being stored".to_owned(),
        ),
    };
    (phase, Activity::new(reason, message))
}
