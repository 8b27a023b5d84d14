//! Rules between two statuses that follow one another, whoever wrote them.

use super::*;
use crate::crd::ConditionStatus;

/// Returns a rule that the step from `old` to `new` breaks, if there is one. `generation` is that
/// of the LoadTest.
pub fn fault_of(
    old: &LoadTestStatus,
    new: &LoadTestStatus,
    generation: i64,
) -> Option<&'static str> {
    let is_true = |kind: &str| {
        let mut conditions = new.conditions.iter();
        conditions.any(|c| c.r#type == kind && c.status == ConditionStatus::True)
    };
    let id = |status: &LoadTestStatus| status.run.as_ref().map(|run| run.id.clone());
    if is_true("Reconciling") && is_true("Stalled") {
        Some("reconciling and stalled")
    } else if new.observed_generation > generation {
        Some("a generation is observed that is not there")
    } else if id(old) == id(new) {
        fault_within_run(old, new)
    } else {
        fault_between_runs(old, new)
    }
}

fn fault_within_run(old: &LoadTestStatus, new: &LoadTestStatus) -> Option<&'static str> {
    let started = |run: &RunStatus| run.started_at.clone();
    let epoch = |run: &RunStatus| run.master.as_ref().map_or(0, |master| master.epoch);
    let (was, is) = (old.run.as_ref(), new.run.as_ref());
    let end = was.and_then(|run| run.end.as_ref());
    let shown = |status: &LoadTestStatus| {
        (
            status.results.clone(),
            status.thresholds.clone(),
            status.report_ref.clone(),
            status.history.clone(),
        )
    };
    if rank(old) > rank(new) {
        Some("a phase goes back")
    } else if old.runs != new.runs {
        Some("runs are counted without a run")
    } else if was.and_then(started).is_some() && was.and_then(started) != is.and_then(started) {
        Some("startedAt changes")
    } else if was.map(epoch) > is.map(epoch) {
        Some("an epoch goes back")
    } else if end.is_some() && was != is {
        Some("a run changes after its end")
    } else if end.is_some() && shown(old) != shown(new) {
        Some("what an ended run shows changes")
    } else {
        None
    }
}

fn fault_between_runs(old: &LoadTestStatus, new: &LoadTestStatus) -> Option<&'static str> {
    let is_ended = old.run.as_ref().is_none_or(|run| run.end.is_some());
    let is_same = match (&old.run, &new.run) {
        (Some(old), Some(new)) => old.digest == new.digest && old.rerun == new.rerun,
        _ => false,
    };
    if new.runs != old.runs + 1 {
        Some("a run has no number of its own")
    } else if !is_ended {
        Some("a run begins while another goes on")
    } else if is_same {
        Some("two runs of one identity")
    } else {
        None
    }
}

fn rank(status: &LoadTestStatus) -> u8 {
    let run = status.run.as_ref();
    match (
        run.and_then(|run| run.end.as_ref()),
        run.and_then(|run| run.started_at.as_ref()),
        status.phase,
    ) {
        (Some(_), ..) => 3,
        (None, Some(_), Some(Phase::Stopping)) => 2,
        (None, Some(_), _) => 1,
        (None, None, _) => 0,
    }
}
