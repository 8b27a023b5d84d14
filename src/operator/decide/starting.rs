//! A run between its id and its grant: its children are created, its workers are waited for.

use jiff::Timestamp;

use super::activity::{Activity, active_draft, end, finish, grant_to, unreachable};
use super::clocks;
use super::decision::{CallAfter, Create, Decision, Deletion, Requeue};
use super::policy::permitted;
use super::scaling::{self, Step};
use crate::crd::Phase;
use crate::crd::status::{MasterStatus, RunEnd, RunStatus};
use crate::operator::child::{Child, Component};
use crate::operator::identity;
use crate::operator::plan_file;
use crate::operator::reason::Reason;
use crate::operator::spec_check::SpecCheck;
use crate::operator::status::{Draft, Situation};
use crate::operator::times::{self, TimeError};
use crate::operator::view::{MasterView, Observed, PodView, Refusal, RefusalKind, SpareMaster};
use crate::wire::control::{MasterState, ProblemKind, Progress, WorkerProblem};

/// Decides about a run that has not been granted.
pub fn decide<'a>(
    seen: &'a Observed,
    run: &RunStatus,
    checks: &mut SpecCheck,
    now: Timestamp,
) -> Decision<'a> {
    if seen.test.spec.run.suspend {
        return hold(run);
    }
    let (run, start_by) = &released(seen, run, now);
    if let Some(scaled) = scaling::announced(seen, run) {
        let activity = Activity::new(Reason::Starting, "the number of workers was changed");
        return Decision {
            status: Some(active_draft(seen, &scaled, Phase::Starting, activity)),
            requeue: Requeue::AtOnce,
            ..Decision::default()
        };
    }
    let missing = missing(seen, run);
    if let Some(replanned) = replanned(seen, run, &missing, checks) {
        let activity = Activity::new(Reason::Starting, "the plan is written anew");
        return Decision {
            status: Some(active_draft(seen, &replanned, Phase::Starting, activity)),
            requeue: Requeue::AtOnce,
            ..Decision::default()
        };
    }
    let create = match create_or_end(seen, run, &missing, checks) {
        Ok(create) => create,
        Err(end) => return finish(seen, run, end, None, now),
    };
    let activity = waiting_for(seen, run);
    if start_by.as_ref().is_ok_and(|start_by| now >= *start_by) {
        return finish(
            seen,
            run,
            not_started_in_time(seen, run, &activity),
            None,
            now,
        );
    }
    let step = match &seen.master {
        MasterView::Up(progress) if progress.run == run.id => scaling::step(seen, run, progress),
        _ => None,
    };
    if let (MasterView::Up(progress), None, true) =
        (&seen.master, &seen.refusal, missing.is_empty())
        && progress.state == MasterState::Ready
        && progress.run == run.id
        && step.is_none()
    {
        return grant(seen, run, progress, now);
    }
    let left = start_by
        .as_ref()
        .ok()
        .map(|start_by| times::until(now, *start_by));
    let activity = activity.with_unreadable(start_by.as_ref().err());
    // the creates come first: where one is refused, the status says so at once instead of
    // alternating with "waiting"
    // what was shown before stays until there is an answer of the master or none
    let is_told =
        seen.master != MasterView::Unasked || !missing.is_empty() || seen.refusal.is_some();
    Decision {
        create,
        resize: match step {
            Some(Step::Resize(pods)) => Some(pods),
            Some(Step::Tell) | None => None,
        },
        delete: give_way(seen),
        call_after: (step == Some(Step::Tell)).then_some(CallAfter::Scale),
        status: is_told.then(|| active_draft(seen, run, Phase::Starting, activity)),
        requeue: Requeue::After(match seen.refusal {
            Some(_) => clocks::REFUSED,
            // not every child is watched
            None if !missing.is_empty() || step.is_some() => clocks::SOON,
            None => clocks::LOOK
                .min(left.unwrap_or(clocks::LOOK))
                .max(clocks::SOON),
        }),
        ..Decision::default()
    }
}

/// Returns the deletion of the oldest master that may give way to a run that finds no room. One at
/// a time: the scheduler has to notice first.
fn give_way(seen: &Observed) -> Vec<Deletion> {
    let oldest = seen.spare_masters.first();
    oldest
        .map(|SpareMaster { run, uid, .. }| Deletion {
            child: Child::Master,
            name: Child::Master.name(run),
            run: run.clone(),
            uid: uid.clone(),
        })
        .into_iter()
        .collect()
}

/// Waits for the end of the suspension; the objects that are there stay.
fn hold<'a>(run: &RunStatus) -> Decision<'a> {
    Decision {
        status: Some(Draft {
            run: Some(run.clone()),
            situation: Situation::Held {
                phase: Phase::Suspended,
                reason: Reason::Suspended,
                message: "spec.run.suspend is true; the run has not started",
            },
        }),
        ..Decision::default()
    }
}

/// Returns the run and its start deadline. A run that was suspended has its time to start from now
/// on.
fn released(
    seen: &Observed,
    run: &RunStatus,
    now: Timestamp,
) -> (RunStatus, Result<Timestamp, TimeError>) {
    if seen.status().phase != Some(Phase::Suspended) {
        let start_by = times::read_instant("status.run.startBy", &run.start_by);
        return (run.clone(), start_by);
    }
    let start_deadline = &seen.test.spec.workers.start_deadline;
    match times::read_duration("spec.workers.startDeadline", start_deadline) {
        Err(error) => (run.clone(), Err(error)),
        Ok(start_deadline) => {
            let start_by = times::after(now, start_deadline);
            let run = RunStatus {
                start_by: times::write_instant(start_by),
                ..run.clone()
            };
            (run, Ok(start_by))
        }
    }
}

fn missing(seen: &Observed, run: &RunStatus) -> Vec<Child> {
    Child::fleet(run)
        .into_iter()
        .filter(|child| !seen.children.has(*child))
        .collect()
}

/// Returns the run with the hash of another plan, if the one in the status can no longer be made:
/// another release of the operator began the run, or under other policies, and nothing of it exists
/// yet.
fn replanned(
    seen: &Observed,
    run: &RunStatus,
    missing: &[Child],
    checks: &mut SpecCheck,
) -> Option<RunStatus> {
    let nothing_exists = Child::fleet(run)
        .iter()
        .all(|child| *child == Child::Channel || missing.contains(child));
    if run.plan_hash.is_none() || !nothing_exists || !identity::is_spec_of(&seen.test, run) {
        return None;
    }
    let checked = checks.of(&seen.test)?.ok()?;
    let checked = permitted(&seen.test.spec, &checked, &seen.governing).ok()?;
    let replanned = plan_file::hashed(&seen.test, run, &checked);
    (replanned.plan_hash != run.plan_hash).then_some(replanned)
}

/// Returns the children to create now, or the end of a run that no waiting helps.
fn create_or_end<'a>(
    seen: &Observed,
    run: &RunStatus,
    missing: &[Child],
    checks: &mut SpecCheck,
) -> Result<Create<'a>, RunEnd> {
    if let Some(end) = cannot_start(seen, run) {
        return Err(end);
    }
    let create = create(seen, run, missing, checks)?;
    fatal_problem(seen, run).map_or(Ok(create), Err)
}

/// Returns the end of a run whose children cannot be created, whatever is waited for.
fn cannot_start(seen: &Observed, run: &RunStatus) -> Option<RunEnd> {
    if let Some(child) = Child::fleet(run)
        .into_iter()
        .find(|child| seen.children.is_foreign(*child))
    {
        let message = format!(
            "{} is there and is not what this operator made for the run; it is left alone, \
             and the next run has other names",
            object(child, run)
        );
        return Some(end(Phase::Errored, Reason::ForeignChild, message));
    }
    let refusal = seen.refusal.as_ref()?;
    let reason = match refusal.kind {
        RefusalKind::Invalid => Reason::InvalidSpec,
        RefusalKind::Taken => Reason::ForeignChild,
        RefusalKind::Denied | RefusalKind::Terminating => return None,
    };
    let message = format!(
        "the API server refused {}: {}",
        object(refusal.child, run),
        refusal.message
    );
    Some(end(Phase::Errored, reason, message))
}

/// Names a child of `run` in a message.
fn object(child: Child, run: &RunStatus) -> String {
    format!("{} {:?}", child.resource().kind, child.name(&run.id))
}

/// Returns the children to create now, or the end of a run whose spec no longer allows them.
fn create<'a>(
    seen: &Observed,
    run: &RunStatus,
    missing: &[Child],
    checks: &mut SpecCheck,
) -> Result<Create<'a>, RunEnd> {
    if missing.is_empty() {
        return Ok(Create::Nothing);
    }
    if !identity::is_spec_of(&seen.test, run) {
        let message =
            "the spec was changed before the run had started; the new one gets a run of its own";
        return Err(end(Phase::Aborted, Reason::SpecChanged, message));
    }
    let Some(outcome) = checks.of(&seen.test) else {
        return Ok(Create::Nothing);
    };
    let checked = outcome.map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        end(Phase::Errored, Reason::InvalidSpec, problems.join("; "))
    })?;
    let checked = permitted(&seen.test.spec, &checked, &seen.governing).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        end(Phase::Errored, Reason::PolicyViolation, problems.join("; "))
    })?;
    if missing.contains(&Child::Plan)
        && plan_file::hashed(&seen.test, run, &checked).plan_hash != run.plan_hash
    {
        let message = "the plan was deleted, and another release of the operator, or other \
                       policies, make another one than the run's other objects are for";
        return Err(end(Phase::Errored, Reason::ChildDeleted, message));
    }
    // a child being deleted is waited for: its name is not free yet
    let occupied = Child::fleet(run)
        .iter()
        .any(|child| seen.children.is_deleting(*child));
    if occupied || seen.refusal.is_some() {
        return Ok(Create::Nothing);
    }
    Ok(Create::Fleet {
        run: run.clone(),
        children: missing.to_vec(),
        checked,
    })
}

/// Returns the end of a run whose Pods report a problem that no waiting mends.
fn fatal_problem(seen: &Observed, run: &RunStatus) -> Option<RunEnd> {
    let refuses_files = |pod: &&PodView| {
        let trouble = pod.trouble.as_ref();
        trouble.is_some_and(|trouble| trouble.reason == Reason::ForeignChild)
    };
    if let Some(pod) = seen.pods.iter().find(refuses_files)
        && run.plan_hash.is_some()
    {
        // mounted by the master, and what the operator can read was compared before
        let message = format!(
            "{} is there and is not what this operator made for the run: Pod {:?} {}",
            object(Child::Channel, run),
            pod.name,
            pod.trouble
                .as_ref()
                .map_or("", |trouble| trouble.message.as_str())
        );
        return Some(end(Phase::Errored, Reason::ForeignChild, message));
    }
    let MasterView::Up(progress) = &seen.master else {
        return None;
    };
    let all_up = progress.connected >= progress.workers;
    progress.problems.iter().find_map(|problem| {
        let is_fatal = match problem.kind {
            ProblemKind::InvalidSpec | ProblemKind::PolicyViolation => true,
            ProblemKind::MissingReference => {
                all_up && problem.for_seconds >= clocks::MISSING_REFERENCE.as_secs()
            }
            ProblemKind::TargetUnresolved | ProblemKind::NoToken => false,
        };
        is_fatal.then(|| end(Phase::Errored, reason_of(problem.kind), describe(problem)))
    })
}

fn reason_of(kind: ProblemKind) -> Reason {
    match kind {
        ProblemKind::MissingReference => Reason::MissingReference,
        ProblemKind::InvalidSpec => Reason::InvalidSpec,
        ProblemKind::PolicyViolation => Reason::PolicyViolation,
        ProblemKind::TargetUnresolved => Reason::TargetUnresolved,
        ProblemKind::NoToken => Reason::NoToken,
    }
}

/// Describes a problem by its field, its object and what is wrong with it.
fn describe(problem: &WorkerProblem) -> String {
    let WorkerProblem {
        worker: _,
        kind: _,
        field,
        object,
        message,
        for_seconds: _,
    } = problem;
    if object.is_empty() || message.contains(object.as_str()) {
        format!("{field}: {message}")
    } else {
        format!("{field}: {object}: {message}")
    }
}

/// Returns the one thing that most likely keeps the run from starting.
fn waiting_for(seen: &Observed, run: &RunStatus) -> Activity {
    if let Some(refusal) = &seen.refusal {
        return refused(refusal, run);
    }
    if let MasterView::Up(progress) = &seen.master
        && let Some(problem) = progress.problems.first()
    {
        return Activity::new(reason_of(problem.kind), describe(problem));
    }
    if let Some(message) = &seen.master_refused {
        return Activity::new(quota_or(message, Reason::PodsRefused), message.clone());
    }
    if let Some((pod, trouble)) = seen
        .pods
        .iter()
        .find_map(|pod| pod.trouble.as_ref().map(|trouble| (pod, trouble)))
    {
        let message = format!("Pod {:?}: {}", pod.name, trouble.message);
        return Activity::new(trouble.reason, message);
    }
    match &seen.master {
        // an answer is to come
        MasterView::Absent | MasterView::Unasked => {
            Activity::new(Reason::WaitingForMaster, "the master's Pod is not up yet")
        }
        MasterView::Unreachable(why) => unreachable(seen, why),
        MasterView::Up(Progress { ready, workers, .. }) => Activity::new(
            Reason::WaitingForWorkers,
            format!("{ready} of {workers} workers are ready"),
        ),
    }
}

fn refused(refusal: &Refusal, run: &RunStatus) -> Activity {
    let message = format!(
        "cannot create {}: {}",
        object(refusal.child, run),
        refusal.message
    );
    Activity::new(quota_or(&refusal.message, Reason::CreateRefused), message)
}

/// Returns the reason of a refusal. Only the API server's words tell a quota from other refusals.
fn quota_or(message: &str, other: Reason) -> Reason {
    if message.contains("exceeded quota") {
        Reason::QuotaExceeded
    } else {
        other
    }
}

fn not_started_in_time(seen: &Observed, run: &RunStatus, activity: &Activity) -> RunEnd {
    let reason = match activity.reason {
        Reason::WaitingForMaster | Reason::WaitingForWorkers => Reason::StartDeadlineExceeded,
        exact => exact,
    };
    let pods = seen
        .pods
        .iter()
        .filter(|pod| pod.component == Component::Worker)
        .count();
    let fewer = match pods < run.wanted_pods() as usize {
        true => format!(
            "; only {pods} of {} worker Pods were made, see the Job's Events",
            run.wanted_pods()
        ),
        false => String::new(),
    };
    end(
        Phase::Errored,
        reason,
        format!(
            "not every worker was ready by {}: {}{fewer}",
            run.start_by, activity.message
        ),
    )
}

/// Grants the run to the master that is ready (W8): the status first, then the call.
fn grant<'a>(
    seen: &'a Observed,
    run: &RunStatus,
    progress: &Progress,
    now: Timestamp,
) -> Decision<'a> {
    let granted = RunStatus {
        started_at: Some(times::write_instant(now)),
        master: Some(MasterStatus {
            epoch: 1,
            incarnation: progress.incarnation.clone(),
        }),
        ..run.clone()
    };
    grant_to(seen, &granted)
}
