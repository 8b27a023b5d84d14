//! No run, or one that has ended: clear up after it, then begin the next if the resource asks for
//! one.

use std::time::Duration;

use jiff::Timestamp;

use super::super::child::{Child, Component};
use super::super::identity;
use super::super::status::Situation;
use super::super::view::{MasterView, Observed};
use super::{
    Decision, Requeue, Write, after, clocks, read_time, status_write, trigger_of, until, written,
};
use crate::crd::status::{RunEnd, RunStatus};
use crate::crd::{Checked, LoadTestStatus, Phase, check};
use crate::plan::{Problem, duration};

/// What the resource asks for.
enum Wish {
    /// Nothing but what it has.
    None,
    Run(Box<Checked>),
    Invalid(Vec<Problem>),
    Suspended,
    /// `OnTrigger`, and nothing has triggered yet.
    Trigger,
}

pub fn decide(seen: &Observed, ended: Option<&RunStatus>, now: Timestamp) -> Decision {
    let wish = wish(seen);
    let cleared = ended
        .map(|run| clear_up(seen, run, matches!(wish, Wish::Run(_)), now))
        .unwrap_or_default();
    if !cleared.writes.is_empty() {
        return Decision {
            writes: cleared.writes,
            requeue: Requeue::AtOnce,
        };
    }
    let requeue = cleared
        .requeue_after
        .map_or(Requeue::OnChange, Requeue::After);
    let mut writes = Vec::new();
    match wish {
        Wish::Run(_) if cleared.still_there => {
            return Decision {
                writes,
                requeue: Requeue::After(clocks::SOON),
            };
        }
        Wish::Run(checked) => {
            return Decision {
                writes: vec![begin(seen, &checked, now)],
                requeue: Requeue::AtOnce,
            };
        }
        Wish::None => writes
            .extend(ended.and_then(|run| status_write(seen, Some(run), &Situation::Kept, now))),
        Wish::Invalid(problems) => writes.extend(status_write(
            seen,
            ended,
            &Situation::Invalid(&problems),
            now,
        )),
        Wish::Suspended => {
            let situation = Situation::Held {
                phase: Phase::Suspended,
                reason: "Suspended",
                message: "spec.run.suspend is true; no run has begun",
            };
            writes.extend(status_write(seen, ended, &situation, now));
        }
        Wish::Trigger => {
            let message = "spec.run.start is OnTrigger: a changed spec.run.trigger or starling.dev/rerun annotation starts a run";
            let situation = Situation::Held {
                phase: Phase::Pending,
                reason: "WaitingForTrigger",
                message,
            };
            writes.extend(status_write(seen, None, &situation, now));
        }
    }
    Decision { writes, requeue }
}

fn wish(seen: &Observed) -> Wish {
    let status = seen.status();
    match (
        identity::wants_run(&seen.test, &status),
        check(&seen.test.spec),
    ) {
        (true, Ok(_)) if seen.test.spec.run.suspend => Wish::Suspended,
        (true, Ok(checked)) => Wish::Run(Box::new(checked)),
        (true, Err(problems)) => Wish::Invalid(problems),
        (false, _) if status.run.is_some() => Wish::None,
        (false, Err(problems)) => Wish::Invalid(problems),
        (false, Ok(_)) => Wish::Trigger,
    }
}

/// W1: the id is in the status before anything of the run exists.
fn begin(seen: &Observed, checked: &Checked, now: Timestamp) -> Write {
    let old = seen.status();
    let metadata = &seen.test.metadata;
    let runs = old.runs + 1;
    let run = RunStatus {
        id: identity::run_id(
            metadata.name.as_deref().unwrap_or_default(),
            metadata.uid.as_deref().unwrap_or_default(),
            runs,
        ),
        generation: metadata.generation.unwrap_or_default(),
        digest: crate::crd::digest(&seen.test.spec),
        rerun: identity::rerun(&seen.test),
        installation: seen.installation.id.clone(),
        key_id: seen.installation.key_id.clone(),
        workers: seen.test.spec.workers.replicas,
        created_at: written(now),
        start_by: written(after(now, checked.start_deadline)),
        deadline: duration::format(checked.deadline),
        ..RunStatus::default()
    };
    // nothing of the run before is shown beside this one; its line in the history stays
    let fresh = LoadTestStatus {
        runs,
        trigger: Some(trigger_of(seen)),
        conditions: old.conditions,
        history: old.history,
        ..LoadTestStatus::default()
    };
    let mut test = seen.test.clone();
    test.status = Some(fresh);
    let situation = Situation::Active {
        phase: Phase::Starting,
        reason: "Starting",
        message: "the run's objects are being created",
        progress: None,
    };
    Write::Status(Box::new(super::status::build(
        &test,
        Some(&run),
        &situation,
        now,
    )))
}

#[derive(Default)]
struct Cleared {
    writes: Vec<Write>,
    /// Parts of the run are still there, on their way out.
    still_there: bool,
    /// Something has to go then.
    requeue_after: Option<Duration>,
}

/// W12 and W13: the Job at once, what shows the result after its time, or as soon as another run
/// begins.
fn clear_up(seen: &Observed, run: &RunStatus, next: bool, now: Timestamp) -> Cleared {
    let finished = run
        .finished_at
        .as_deref()
        .and_then(read_time)
        .unwrap_or(now);
    let kept_for = match run.end.as_ref().is_some_and(|end| shows_result(run, end)) {
        true => duration::parse(&seen.test.spec.run.ttl_after_finished).unwrap_or_default(),
        false => Duration::ZERO,
    };
    let all = next || now >= after(finished, kept_for);
    let goes = |child: &Child| all || matches!(child, Child::Workers | Child::Budget);
    let delete = |child: Child| {
        seen.children.uid(child).map(|uid| Write::Delete {
            child,
            run: run.id.clone(),
            uid: uid.to_owned(),
        })
    };
    // the Job first: it is what could still make load; the channel goes with the plan that owns it
    let mut writes: Vec<Write> = Child::FLEET
        .into_iter()
        .rev()
        .filter(|child| *child != Child::Channel)
        .filter(goes)
        .filter_map(delete)
        .collect();
    let waits = run.started_at.is_some() && seen.children.uid(Child::Workers).is_some();
    if waits && matches!(seen.master, MasterView::Up(_)) {
        writes.insert(0, Write::Acknowledge);
    }
    writes.extend(forgotten_reports(seen, run));
    let left = Child::FLEET.iter().any(|child| {
        *child != Child::Channel && seen.children.has(*child) && !seen.children.is_foreign(*child)
    });
    let workers = seen
        .pods
        .iter()
        .any(|pod| pod.component == Component::Worker && !pod.over)
        && now < after(finished, clocks::OLD_WORKERS);
    Cleared {
        writes,
        still_there: workers
            || Child::FLEET
                .iter()
                .any(|child| seen.children.is_deleting(*child)),
        requeue_after: (left && !all).then(|| until(now, after(finished, kept_for)) + clocks::SOON),
    }
}

/// Whether there is a master that has a result to show.
fn shows_result(run: &RunStatus, end: &RunEnd) -> bool {
    let lost = ["ChildDeleted", "MasterLost", "MasterUnreachable"].contains(&end.reason.as_str());
    run.started_at.is_some() && !lost
}

/// Reports of runs that are no longer in the history.
fn forgotten_reports(seen: &Observed, run: &RunStatus) -> Vec<Write> {
    let history = seen.status().history;
    let limit = seen.test.spec.run.history_limit as usize;
    let kept = |id: &str| id == run.id || history.iter().take(limit).any(|entry| entry.run == id);
    let forgotten = seen.old_reports.iter().filter(|report| !kept(&report.run));
    forgotten
        .map(|report| Write::Delete {
            child: Child::Report,
            run: report.run.clone(),
            uid: report.uid.clone(),
        })
        .collect()
}
