//! A run that has begun and not ended: before the grant, and after it.

use std::time::Duration;

use jiff::Timestamp;

use super::super::child::{Child, Component};
use super::super::identity;
use super::super::status::Situation;
use super::super::view::{MasterView, Observed, RefusalKind};
use super::{
    Decision, Requeue, Write, after, clocks, end, ended, grant_of, read_time, status_write, written,
};
use crate::crd::status::{MasterStatus, RunEnd, RunStatus};
use crate::crd::{Phase, check};
use crate::plan::duration;
use crate::wire::control::{MasterState, ProblemKind, Progress, Stop, WorkerProblem};
use crate::wire::{Reason, RunResult, Verdict};

pub fn decide(seen: &Observed, run: &RunStatus, now: Timestamp) -> Decision {
    match &run.started_at {
        None => before_grant(seen, run, now),
        Some(started_at) => after_grant(seen, run, started_at, now),
    }
}

/// What a run is doing or waiting for.
struct Doing {
    reason: &'static str,
    message: String,
}

impl Doing {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

fn before_grant(seen: &Observed, run: &RunStatus, now: Timestamp) -> Decision {
    if seen.test.spec.run.suspend {
        let situation = Situation::Held {
            phase: Phase::Suspended,
            reason: "Suspended",
            message: "spec.run.suspend is true; the run has not started",
        };
        return Decision {
            writes: status_write(seen, Some(run), &situation, now)
                .into_iter()
                .collect(),
            requeue: Requeue::OnChange,
        };
    }
    let run = &released(seen, run, now);
    if let Some(end) = cannot_start(seen, run) {
        return finish(seen, run, end, None, now);
    }
    let doing = waiting_for(seen, run);
    if read_time(&run.start_by).is_none_or(|start_by| now >= start_by) {
        return finish(seen, run, not_started_in_time(seen, run, &doing), None, now);
    }
    let missing = missing(seen);
    if let (MasterView::Up(progress), None, true) =
        (&seen.master, &seen.refusal, missing.is_empty())
        && progress.state == MasterState::Ready
        && progress.run == run.id
    {
        return grant(seen, run, progress, now);
    }
    let status = active_status(seen, run, Phase::Starting, &doing, now);
    if seen.refusal.is_some() {
        return Decision {
            writes: status.into_iter().collect(),
            requeue: Requeue::After(clocks::REFUSED),
        };
    }
    // a child on its way out is waited for: its name is not free yet
    let free = !Child::FLEET
        .iter()
        .any(|child| seen.children.is_deleting(*child));
    let creates = missing.into_iter().filter(|_| free).map(Write::Create);
    // creates first: where one is refused, the status says so at once instead of alternating with
    // "waiting"
    Decision {
        writes: creates.chain(status).collect(),
        requeue: Requeue::After(clocks::SOON),
    }
}

/// A run that was suspended has its time to start from now on.
fn released(seen: &Observed, run: &RunStatus, now: Timestamp) -> RunStatus {
    let mut run = run.clone();
    if seen.status().phase == Some(Phase::Suspended) {
        let start_deadline = duration::parse(&seen.test.spec.workers.start_deadline)
            .unwrap_or(Duration::from_secs(600));
        run.start_by = written(after(now, start_deadline));
    }
    run
}

fn missing(seen: &Observed) -> Vec<Child> {
    Child::FLEET
        .into_iter()
        .filter(|child| !seen.children.has(*child))
        .collect()
}

/// Why no waiting helps.
fn cannot_start(seen: &Observed, run: &RunStatus) -> Option<RunEnd> {
    if let Some(child) = Child::FLEET
        .into_iter()
        .find(|child| seen.children.is_foreign(*child))
    {
        let message = format!(
            "{} {:?} is there and is not of this run",
            child.resource().kind,
            child.name(&run.id)
        );
        return Some(end(Phase::Errored, "NameTaken", message));
    }
    if let Some(refusal) = &seen.refusal {
        let message = format!(
            "the API server refused {} {:?}: {}",
            refusal.child.resource().kind,
            refusal.child.name(&run.id),
            refusal.message
        );
        match refusal.kind {
            RefusalKind::Invalid => return Some(end(Phase::Errored, "InvalidSpec", message)),
            RefusalKind::Taken => return Some(end(Phase::Errored, "NameTaken", message)),
            RefusalKind::Denied | RefusalKind::Terminating => {}
        }
    }
    if !missing(seen).is_empty() {
        if !identity::is_spec_of(&seen.test, run) {
            let message = "the spec was changed before the run had started; the new one gets a run of its own";
            return Some(end(Phase::Aborted, "SpecChanged", message));
        }
        if let Err(problems) = check(&seen.test.spec) {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return Some(end(Phase::Errored, "InvalidSpec", problems.join("; ")));
        }
    }
    let MasterView::Up(progress) = &seen.master else {
        return None;
    };
    let all_up = progress.connected >= progress.workers;
    progress
        .problems
        .iter()
        .find_map(|problem| match problem.kind {
            ProblemKind::InvalidSpec => Some(end(Phase::Errored, "InvalidSpec", words(problem))),
            ProblemKind::MissingReference
                if all_up && problem.for_seconds >= clocks::MISSING_REFERENCE.as_secs() =>
            {
                Some(end(Phase::Errored, "MissingReference", words(problem)))
            }
            ProblemKind::MissingReference
            | ProblemKind::TargetUnresolved
            | ProblemKind::NoToken => None,
        })
}

/// Field, object and what is wrong with it.
fn words(problem: &WorkerProblem) -> String {
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

/// The one thing that most likely keeps the run from starting.
fn waiting_for(seen: &Observed, run: &RunStatus) -> Doing {
    let quota_or = |message: &str, other| {
        if message.contains("exceeded quota") {
            "QuotaExceeded"
        } else {
            other
        }
    };
    if let Some(refusal) = &seen.refusal {
        let message = format!(
            "cannot create {} {:?}: {}",
            refusal.child.resource().kind,
            refusal.child.name(&run.id),
            refusal.message
        );
        return Doing::new(quota_or(&refusal.message, "CreateRefused"), message);
    }
    if let MasterView::Up(progress) = &seen.master
        && let Some(problem) = progress.problems.first()
    {
        let reason = match problem.kind {
            ProblemKind::MissingReference => "MissingReference",
            ProblemKind::InvalidSpec => "InvalidSpec",
            ProblemKind::TargetUnresolved => "TargetUnresolved",
            ProblemKind::NoToken => "NoToken",
        };
        return Doing::new(reason, words(problem));
    }
    if let Some(message) = &seen.master_refused {
        return Doing::new(quota_or(message, "PodsRefused"), message.clone());
    }
    if let Some((pod, trouble)) = seen
        .pods
        .iter()
        .find_map(|pod| pod.trouble.as_ref().map(|trouble| (pod, trouble)))
    {
        return Doing::new(
            trouble.reason,
            format!("Pod {:?}: {}", pod.name, trouble.message),
        );
    }
    match &seen.master {
        MasterView::Absent => Doing::new("WaitingForMaster", "the master's Pod is not up yet"),
        MasterView::Unreachable(why) => unreachable(seen, why),
        MasterView::Up(progress) => Doing::new(
            "WaitingForWorkers",
            format!(
                "{} of {} workers are ready",
                progress.ready, progress.workers
            ),
        ),
    }
}

fn unreachable(seen: &Observed, why: &str) -> Doing {
    let ready = seen
        .pods
        .iter()
        .any(|pod| pod.component == Component::Master && pod.ready);
    let hint = if ready {
        "; its Pod is ready, so look for a NetworkPolicy or a mesh between the operator and port 8443"
    } else {
        ""
    };
    Doing::new("MasterUnreachable", format!("{why}{hint}"))
}

fn not_started_in_time(seen: &Observed, run: &RunStatus, doing: &Doing) -> RunEnd {
    let reason = match doing.reason {
        "WaitingForMaster" | "WaitingForWorkers" => "StartDeadlineExceeded",
        exact => exact,
    };
    let pods = seen
        .pods
        .iter()
        .filter(|pod| pod.component == Component::Worker)
        .count();
    let fewer = match pods < run.workers as usize {
        true => format!(
            "; only {pods} of {} worker Pods were made, see the Job's Events",
            run.workers
        ),
        false => String::new(),
    };
    end(
        Phase::Errored,
        reason,
        format!(
            "not every worker was ready by {}: {}{fewer}",
            run.start_by, doing.message
        ),
    )
}

/// W8: the status first, then the call.
fn grant(seen: &Observed, run: &RunStatus, progress: &Progress, now: Timestamp) -> Decision {
    let master = MasterStatus {
        epoch: 1,
        incarnation: progress.incarnation.clone(),
    };
    granted(
        seen,
        &RunStatus {
            started_at: Some(written(now)),
            master: Some(master),
            ..run.clone()
        },
        now,
    )
}

/// The run goes on under another master than the one that started it.
fn resume(seen: &Observed, run: &RunStatus, progress: &Progress, now: Timestamp) -> Decision {
    let epoch = run.master.as_ref().map_or(1, |master| master.epoch) + 1;
    let master = MasterStatus {
        epoch,
        incarnation: progress.incarnation.clone(),
    };
    granted(
        seen,
        &RunStatus {
            master: Some(master),
            ..run.clone()
        },
        now,
    )
}

fn granted(seen: &Observed, run: &RunStatus, now: Timestamp) -> Decision {
    let status = active_status(
        seen,
        run,
        Phase::Running,
        &Doing::new("Running", "the load is being started"),
        now,
    );
    let writes = status
        .into_iter()
        .chain(grant_of(run).map(Write::Grant))
        .collect();
    Decision {
        writes,
        requeue: Requeue::After(clocks::SOON),
    }
}

fn after_grant(seen: &Observed, run: &RunStatus, started_at: &str, now: Timestamp) -> Decision {
    if let Some(result) = &seen.result {
        return store(seen, run, result, now);
    }
    let gone = |child: &Child| child.is_essential() && seen.children.uid(*child).is_none();
    if let Some(child) = Child::FLEET.into_iter().find(gone) {
        let message = format!(
            "{} {:?} was deleted while the run went on",
            child.resource().kind,
            child.name(&run.id)
        );
        let stop = Stop {
            run: run.id.clone(),
            reason: Reason::ChildDeleted,
            message: message.clone(),
        };
        return finish(
            seen,
            run,
            end(Phase::Errored, "ChildDeleted", message),
            Some(stop),
            now,
        );
    }
    let deadline = after(
        read_time(started_at).unwrap_or(now),
        duration::parse(&run.deadline).unwrap_or_default(),
    );
    if let Some(end) = gave_up(seen, now, deadline) {
        return finish(seen, run, end, None, now);
    }
    let stop = wanted_stop(seen, run, now >= deadline);
    let trusted = run
        .master
        .as_ref()
        .map(|master| master.incarnation.as_str());
    match &seen.master {
        MasterView::Up(progress) if progress.run != run.id => unheard(
            seen,
            run,
            stop,
            &format!("the master answers for run {:?}", progress.run),
            now,
        ),
        MasterView::Up(progress) if Some(progress.incarnation.as_str()) != trusted => {
            resume(seen, run, progress, now)
        }
        MasterView::Up(progress) => follow(seen, run, progress, stop, now),
        MasterView::Absent => unheard(
            seen,
            run,
            stop,
            "the master has no Pod with an address",
            now,
        ),
        MasterView::Unreachable(why) => unheard(seen, run, stop, why, now),
    }
}

/// W10 and W11. Where the report is refused the run ends without one.
fn store(seen: &Observed, run: &RunStatus, result: &RunResult, now: Timestamp) -> Decision {
    let refused = seen
        .refusal
        .as_ref()
        .is_some_and(|refusal| refusal.child == Child::Report)
        || seen.children.is_foreign(Child::Report);
    let over = ended(run, outcome(result), now);
    let status = status_write(
        seen,
        Some(&over),
        &Situation::Ended {
            result: Some(result),
            report: !refused,
        },
        now,
    );
    let create = !refused && !seen.children.has(Child::Report);
    let writes = create
        .then_some(Write::Create(Child::Report))
        .into_iter()
        .chain(status)
        .collect();
    Decision {
        writes,
        requeue: Requeue::AtOnce,
    }
}

/// The table of LIFECYCLE 5.
fn outcome(result: &RunResult) -> RunEnd {
    let phase = match result.verdict {
        Verdict::Passed => Phase::Succeeded,
        Verdict::Failed => Phase::Failed,
        // the operator's own stop, which nobody wanted
        Verdict::Aborted if result.reason == Reason::DeadlineExceeded => Phase::Errored,
        Verdict::Aborted => Phase::Aborted,
        Verdict::Errored => Phase::Errored,
    };
    let mut reason = result.reason.to_string();
    if reason.is_empty() {
        reason = phase.to_string();
    }
    end(phase, &reason, result.message.clone())
}

/// Why nothing is expected of this run any more.
fn gave_up(seen: &Observed, now: Timestamp, deadline: Timestamp) -> Option<RunEnd> {
    let too_late = now >= after(deadline, clocks::AFTER_DEADLINE);
    match &seen.master {
        MasterView::Up(progress) if progress.state == MasterState::Lost => Some(end(
            Phase::Errored,
            "MasterLost",
            "the master was lost, and no worker carries the run any more",
        )),
        MasterView::Up(_) if too_late => Some(end(
            Phase::Errored,
            "DeadlineExceeded",
            "the run was stopped at its deadline and gave no result",
        )),
        MasterView::Up(_) => None,
        _ if too_late => Some(end(
            Phase::Errored,
            "MasterUnreachable",
            "the master did not answer until 10 minutes after the run's deadline",
        )),
        _ if seen.test.spec.run.suspend && seen.unreachable_for >= clocks::STOP_UNREACHABLE => {
            Some(end(
                Phase::Aborted,
                "Suspended",
                "stopped by deleting its workers, since the master did not answer; the result is lost",
            ))
        }
        _ => None,
    }
}

fn wanted_stop(seen: &Observed, run: &RunStatus, late: bool) -> Option<Stop> {
    let stop = |reason: Reason, message: String| {
        Some(Stop {
            run: run.id.clone(),
            reason,
            message,
        })
    };
    if seen.test.spec.run.suspend {
        stop(
            Reason::Suspended,
            "spec.run.suspend was set while the run went on".into(),
        )
    } else if late {
        stop(
            Reason::DeadlineExceeded,
            format!("the run had not ended {} after its start", run.deadline),
        )
    } else {
        None
    }
}

/// The master that holds the grant answers.
fn follow(
    seen: &Observed,
    run: &RunStatus,
    progress: &Progress,
    stop: Option<Stop>,
    now: Timestamp,
) -> Decision {
    let (phase, doing) = match (&stop, progress.state) {
        (Some(stop), _) => (
            Phase::Stopping,
            Doing::new("Stopping", stop.message.clone()),
        ),
        (None, MasterState::Stopping) if progress.one_off.is_some() => (
            Phase::Stopping,
            Doing::new("Stopping", format!("after the load: {}", one_off(progress))),
        ),
        (None, MasterState::Stopping) => (
            Phase::Stopping,
            Doing::new("Stopping", "the load is being ended"),
        ),
        (None, MasterState::Finished) => (
            Phase::Stopping,
            Doing::new("Stopping", "the result is being stored"),
        ),
        (None, MasterState::Recovering) => (
            Phase::Running,
            Doing::new(
                "MasterRecovering",
                "a new master collects the run from its workers",
            ),
        ),
        (None, MasterState::Waiting | MasterState::Ready) => (
            Phase::Running,
            Doing::new("Running", "the load is being started"),
        ),
        (None, MasterState::Preparing) => (
            Phase::Running,
            Doing::new(
                "Preparing",
                format!("before the load: {}", one_off(progress)),
            ),
        ),
        (None, MasterState::Running | MasterState::Lost) => {
            (Phase::Running, Doing::new("Running", "the load is running"))
        }
    };
    let mut writes: Vec<Write> = active_status(seen, run, phase, &doing, now)
        .into_iter()
        .collect();
    let not_started = matches!(progress.state, MasterState::Waiting | MasterState::Ready);
    let hears = !matches!(
        progress.state,
        MasterState::Stopping | MasterState::Finished
    );
    match stop {
        Some(stop) if hears => writes.push(Write::Stop(stop)),
        // the operator ended between the status and the call, or the call was lost
        None if not_started => writes.extend(grant_of(run).map(Write::Grant)),
        _ => {}
    }
    // one whose length nobody knows may end at any time
    let left = match progress.length_micros {
        0 => clocks::POLL,
        length => Duration::from_micros(length.saturating_sub(progress.elapsed_micros)),
    };
    let soon = phase == Phase::Stopping || not_started || progress.state == MasterState::Preparing;
    let requeue = if soon {
        clocks::SOON
    } else {
        clocks::POLL.min(left).max(clocks::SOON)
    };
    Decision {
        writes,
        requeue: Requeue::After(requeue),
    }
}

/// What one worker does alone.
fn one_off(progress: &Progress) -> &str {
    progress.one_off.as_deref().unwrap_or("everything is there")
}

/// The run goes on without being seen.
fn unheard(
    seen: &Observed,
    run: &RunStatus,
    stop: Option<Stop>,
    why: &str,
    now: Timestamp,
) -> Decision {
    let phase = if stop.is_some() {
        Phase::Stopping
    } else {
        Phase::Running
    };
    let writes = active_status(seen, run, phase, &unreachable(seen, why), now)
        .into_iter()
        .collect();
    Decision {
        writes,
        requeue: Requeue::After(clocks::POLL),
    }
}

/// Phases only move forward: what was being stopped is never shown as running again.
fn active_status(
    seen: &Observed,
    run: &RunStatus,
    phase: Phase,
    doing: &Doing,
    now: Timestamp,
) -> Option<Write> {
    let phase = if seen.status().phase == Some(Phase::Stopping) {
        Phase::Stopping
    } else {
        phase
    };
    let progress = match &seen.master {
        MasterView::Up(progress) if progress.run == run.id => Some(progress),
        _ => None,
    };
    let newer = identity::wants_run(&seen.test, &seen.status());
    let (reason, message) = match newer {
        true => (
            "NewerSpecWaiting",
            format!(
                "{}; the changed spec gets a run of its own when this one has ended",
                doing.message
            ),
        ),
        false => (doing.reason, doing.message.clone()),
    };
    status_write(
        seen,
        Some(run),
        &Situation::Active {
            phase,
            reason,
            message: &message,
            progress,
        },
        now,
    )
}

/// W11 of a run without a result.
fn finish(
    seen: &Observed,
    run: &RunStatus,
    end: RunEnd,
    stop: Option<Stop>,
    now: Timestamp,
) -> Decision {
    let over = ended(run, end, now);
    let status = status_write(
        seen,
        Some(&over),
        &Situation::Ended {
            result: None,
            report: false,
        },
        now,
    );
    let stop = stop
        .filter(|_| matches!(seen.master, MasterView::Up(_)))
        .map(Write::Stop);
    Decision {
        writes: stop.into_iter().chain(status).collect(),
        requeue: Requeue::AtOnce,
    }
}
