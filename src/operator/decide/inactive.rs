//! A resource without a run in progress: the last run is cleared up after, then the next one begins
//! if the resource asks for it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::clocks;
use super::decision::{CallBefore, Decision, Deletion, Requeue};
use super::policy::permitted;
use crate::crd::status::{RunEnd, RunStatus};
use crate::crd::{Checked, Phase};
use crate::operator::child::{Child, Component};
use crate::operator::identity;
use crate::operator::plan_file;
use crate::operator::reason::Reason;
use crate::operator::spec_check::SpecCheck;
use crate::operator::status::{Draft, Situation};
use crate::operator::times::{self, TimeError};
use crate::operator::view::{MasterView, Observed};
use crate::plan::{Problem, duration};

/// Run that the resource asks for.
enum Wish {
    /// Nothing but what it has.
    None,
    /// A run of the spec, which is good.
    Run(Arc<Checked>),
    /// A run of a spec that cannot be carried out, or nothing while the spec is wrong.
    Invalid(Vec<Problem>),
    /// A run once the policies of the cluster allow it.
    Refused(Vec<Problem>),
    /// Nothing is known of the spec before it has been checked.
    Unknown,
    /// A run once `spec.run.suspend` is taken back.
    Suspended,
    /// A run once something triggers it.
    Trigger,
}

/// Decides about a LoadTest without a run in progress; `ended` is its last run.
pub fn decide<'a>(
    seen: &'a Observed,
    ended: Option<&RunStatus>,
    checks: &mut SpecCheck,
    now: Timestamp,
) -> Decision<'a> {
    let wish = wish(seen, checks);
    let cleared = ended
        .map(|run| clear_up(seen, run, matches!(wish, Wish::Run(_)), now))
        .unwrap_or_default();
    if let Some(order) = cleared.first {
        return Decision {
            call_before: order,
            requeue: Requeue::After(clocks::SOON),
            unreadable: cleared.unreadable,
            ..Decision::default()
        };
    }
    if !cleared.delete.is_empty() {
        return Decision {
            delete: cleared.delete,
            requeue: Requeue::AtOnce,
            unreadable: cleared.unreadable,
            ..Decision::default()
        };
    }
    let judged_again = matches!(wish, Wish::Refused(_)).then_some(clocks::REFUSED_BY_POLICY);
    let status = match wish {
        Wish::Run(_) if cleared.still_there => {
            return Decision {
                requeue: Requeue::After(clocks::SOON),
                ..Decision::default()
            };
        }
        Wish::Run(checked) => {
            return Decision {
                status: Some(begin(seen, &checked, now)),
                requeue: Requeue::AtOnce,
                ..Decision::default()
            };
        }
        Wish::Unknown => {
            return Decision {
                requeue: Requeue::After(clocks::CHECKING),
                unreadable: cleared.unreadable,
                ..Decision::default()
            };
        }
        Wish::None => kept(ended),
        Wish::Invalid(problems) => Some(Draft {
            run: ended.cloned(),
            situation: Situation::Invalid(problems),
        }),
        Wish::Refused(problems) => Some(Draft {
            run: ended.cloned(),
            situation: Situation::Refused(problems),
        }),
        Wish::Suspended => Some(suspended(ended)),
        Wish::Trigger => Some(untriggered()),
    };
    Decision {
        status,
        requeue: judged_again
            .into_iter()
            .chain(cleared.requeue_after)
            .min()
            .map_or(Requeue::OnChange, Requeue::After),
        unreadable: cleared.unreadable,
        ..Decision::default()
    }
}

/// Drafts the status of a run that ended before.
fn kept<'a>(ended: Option<&RunStatus>) -> Option<Draft<'a>> {
    let run = ended?;
    let end = run.end.clone()?;
    Some(Draft {
        run: Some(run.clone()),
        situation: Situation::Kept { end },
    })
}

fn suspended<'a>(ended: Option<&RunStatus>) -> Draft<'a> {
    Draft {
        run: ended.cloned(),
        situation: Situation::Held {
            phase: Phase::Suspended,
            reason: Reason::Suspended,
            message: "spec.run.suspend is true; no run has begun",
        },
    }
}

fn untriggered<'a>() -> Draft<'a> {
    Draft {
        run: None,
        situation: Situation::Held {
            phase: Phase::Pending,
            reason: Reason::WaitingForTrigger,
            message: "spec.run.start is OnTrigger: a changed spec.run.trigger or \
                      starling.dev/rerun annotation starts a run",
        },
    }
}

fn wish(seen: &Observed, checks: &mut SpecCheck) -> Wish {
    let status = seen.status();
    let wants_run = identity::wants_run(&seen.test, &status);
    if !wants_run && status.run.is_some() {
        return Wish::None;
    }
    let Some(outcome) = checks.of(&seen.test) else {
        return Wish::Unknown;
    };
    match (wants_run, outcome) {
        (_, Err(problems)) => Wish::Invalid(problems),
        (true, Ok(_)) if seen.test.spec.run.suspend => Wish::Suspended,
        (true, Ok(checked)) => match permitted(&seen.test.spec, &checked, &seen.governing) {
            Ok(checked) => Wish::Run(checked),
            Err(problems) => Wish::Refused(problems),
        },
        (false, Ok(_)) => Wish::Trigger,
    }
}

/// Begins a run (W1): its id and the hash of its plan are in the status before anything of it
/// exists.
fn begin<'a>(seen: &Observed, checked: &Checked, now: Timestamp) -> Draft<'a> {
    let metadata = &seen.test.metadata;
    let run = RunStatus {
        id: identity::run_id(
            &seen.installation.proofs,
            metadata.name.as_deref().unwrap_or_default(),
            metadata.uid.as_deref().unwrap_or_default(),
            seen.status().runs + 1,
        ),
        generation: metadata.generation.unwrap_or_default(),
        digest: crate::crd::digest(&seen.test.spec),
        rerun: identity::rerun(&seen.test),
        installation: seen.installation.id.clone(),
        lease: seen.lease.clone(),
        key_id: seen.installation.key_id.clone(),
        plan_hash: Some(String::new()),
        workers: checked
            .workers
            .saturating_add(seen.test.spec.workers.elsewhere()),
        external: seen.test.spec.workers.elsewhere(),
        most_workers: Some(
            checked
                .workers
                .saturating_add(seen.test.spec.workers.elsewhere()),
        ),
        created_at: times::write_instant(now),
        start_by: times::write_instant(times::after(now, checked.start_deadline)),
        deadline: duration::format(checked.deadline),
        ..RunStatus::default()
    };
    Draft {
        run: Some(plan_file::hashed(&seen.test, &run, checked)),
        situation: Situation::Begun,
    }
}

/// Leftovers of an ended run.
#[derive(Default)]
struct Cleared {
    /// The master is to hear first that its result is stored, or is still being asked whether it is
    /// there; nothing is deleted before.
    first: Option<Option<CallBefore>>,
    delete: Vec<Deletion>,
    /// Parts of the run are still there, on their way out.
    still_there: bool,
    /// Time until something has to go.
    requeue_after: Option<Duration>,
    /// A time that decides when something goes and cannot be read; nothing goes for it.
    unreadable: Option<TimeError>,
}

/// Clears up after `run` (W12, W13): the Job goes at once, what shows the result goes after its
/// time, or as soon as another run begins.
fn clear_up(seen: &Observed, run: &RunStatus, next_begins: bool, now: Timestamp) -> Cleared {
    let kept_until = kept_until(seen, run);
    let is_all = next_begins || kept_until.as_ref().is_ok_and(|until| now >= *until);
    let is_left = Child::fleet(run).iter().any(|child| {
        *child != Child::Channel && seen.children.has(*child) && !seen.children.is_foreign(*child)
    });
    let mut delete = leftovers(seen, run, is_all);
    delete.extend(forgotten_reports(seen, run));
    let is_any_deleting = Child::fleet(run)
        .iter()
        .any(|child| seen.children.is_deleting(*child));
    Cleared {
        first: acknowledgement(seen, run, now),
        delete,
        still_there: is_any_deleting || old_workers(seen, run, now),
        requeue_after: kept_until
            .as_ref()
            .ok()
            .filter(|_| is_left && !is_all)
            .map(|until| times::until(now, *until) + clocks::SOON),
        unreadable: kept_until.err(),
    }
}

/// Returns the order that comes before the Job is deleted (W12), as long as its outcome is not known.
/// The inner `None` waits for the first answer of a master that may be there, for a bounded time.
fn acknowledgement(seen: &Observed, run: &RunStatus, now: Timestamp) -> Option<Option<CallBefore>> {
    let job_stands = run.started_at.is_some() && seen.children.uid(Child::Workers).is_some();
    let is_early =
        finished_at(run).is_ok_and(|finished| now < times::after(finished, clocks::ACKNOWLEDGE));
    match (&seen.master, seen.acknowledged) {
        (MasterView::Up(_), None) if job_stands => Some(Some(CallBefore::Acknowledge)),
        (MasterView::Unasked, None) if job_stands && is_early => Some(None),
        _ => None,
    }
}

/// Returns the instant until which an ended run shows its result. A run without one shows nothing.
fn kept_until(seen: &Observed, run: &RunStatus) -> Result<Timestamp, TimeError> {
    let finished = finished_at(run);
    if !run.end.as_ref().is_some_and(|end| shows_result(run, end)) {
        return Ok(finished.unwrap_or(Timestamp::MIN));
    }
    let finished = finished?;
    let ttl = &seen.test.spec.run.ttl_after_finished;
    let ttl = times::read_duration("spec.run.ttlAfterFinished", ttl)?;
    Ok(times::after(finished, ttl))
}

fn finished_at(run: &RunStatus) -> Result<Timestamp, TimeError> {
    let text = run.finished_at.as_deref().unwrap_or_default();
    times::read_instant("status.run.finishedAt", text)
}

/// Returns whether there is a master that has a result to show.
fn shows_result(run: &RunStatus, end: &RunEnd) -> bool {
    let is_lost = matches!(
        Reason::parse(&end.reason),
        Some(
            Reason::ChildDeleted
                | Reason::InstallationGone
                | Reason::MasterLost
                | Reason::MasterUnreachable
        )
    );
    run.started_at.is_some() && !is_lost
}

/// Returns whether workers of the run are waited for, which is bounded: those of a lost node may
/// never go. Where the time of the run's end cannot be read, there is no bound.
fn old_workers(seen: &Observed, run: &RunStatus, now: Timestamp) -> bool {
    let is_waited_for = finished_at(run).map_or(true, |finished| {
        now < times::after(finished, clocks::OLD_WORKERS)
    });
    let is_any = seen
        .pods
        .iter()
        .any(|pod| pod.component == Component::Worker && !pod.over);
    is_any && is_waited_for
}

/// Returns the children to delete: all of them, or only those that carry the load. The Job comes
/// first, since it is what could still make load; the channel goes with the plan that owns it.
fn leftovers(seen: &Observed, run: &RunStatus, is_all: bool) -> Vec<Deletion> {
    let delete = |child: Child| {
        seen.children.uid(child).map(|uid| Deletion {
            child,
            run: run.id.clone(),
            name: child.name(&run.id),
            uid: uid.to_owned(),
        })
    };
    Child::fleet(run)
        .into_iter()
        .rev()
        .filter(|child| *child != Child::Channel)
        .filter(|child| is_all || matches!(child, Child::Workers | Child::Budget))
        .filter_map(delete)
        .collect()
}

/// Returns the reports of runs that are no longer in the history.
fn forgotten_reports(seen: &Observed, run: &RunStatus) -> Vec<Deletion> {
    let history = seen.status().history;
    let limit = seen.test.spec.run.history_limit as usize;
    let is_kept =
        |id: &str| id == run.id || history.iter().take(limit).any(|entry| entry.run == id);
    let forgotten = seen
        .old_reports
        .iter()
        .filter(|report| !is_kept(&report.run));
    forgotten
        .map(|report| Deletion {
            child: Child::Report,
            run: report.run.clone(),
            name: report.name.clone(),
            uid: report.uid.clone(),
        })
        .collect()
}
