//! From what is so to what the status says: conditions, columns, results, within a budget of bytes.
//! Pure.

mod conditions;
mod results;
mod text;

use jiff::Timestamp;

use super::child::{COMPONENT_LABEL, Child, Component, RUN_LABEL};
use super::identity;
use crate::crd::status::{
    ColumnsStatus, HistoryEntry, ProgressStatus, ReportRef, RunEnd, RunStatus, WorkersStatus,
};
use crate::crd::{LoadTest, LoadTestStatus, Phase};
use crate::plan::Problem;
use crate::stats::format;
use crate::wire::RunResult;
use crate::wire::control::Progress;

use conditions::Standing;
pub use text::cut;

/// Every watcher gets every status: it stays small whatever the run was.
pub const MAX_STATUS: usize = 32 * 1024;

/// What the status is about to say.
#[derive(Debug, Clone, Copy)]
pub enum Situation<'a> {
    /// The spec cannot be carried out.
    Invalid(&'a [Problem]),
    /// Nothing is done until someone changes something.
    Held {
        phase: Phase,
        reason: &'a str,
        message: &'a str,
    },
    /// A run is in progress.
    Active {
        phase: Phase,
        reason: &'a str,
        message: &'a str,
        progress: Option<&'a Progress>,
    },
    /// The run has just ended.
    Ended {
        result: Option<&'a RunResult>,
        report: bool,
    },
    /// The run ended before; what it left stays.
    Kept,
}

/// The status of `test` with `run` in it. Says the same again when nothing has changed, to the
/// byte.
pub fn build(
    test: &LoadTest,
    run: Option<&RunStatus>,
    situation: &Situation<'_>,
    now: Timestamp,
) -> LoadTestStatus {
    let old = test.status.clone().unwrap_or_default();
    let mut new = LoadTestStatus {
        run: run.cloned(),
        ..old.clone()
    };
    new.trigger.get_or_insert_with(|| identity::trigger(test));
    new.observed_generation = observed_generation(test, &new, situation);
    let end = run.and_then(|run| run.end.as_ref());
    let standing = match (situation, end) {
        (Situation::Invalid(problems), _) => Standing::Invalid {
            message: problem_text(problems),
        },
        (
            Situation::Held {
                phase,
                reason,
                message,
            },
            _,
        )
        | (
            Situation::Active {
                phase,
                reason,
                message,
                ..
            },
            _,
        ) => Standing::Open {
            phase: *phase,
            reason: cut(reason, 64),
            message: cut(message, 1024),
        },
        (Situation::Ended { .. } | Situation::Kept, Some(end)) => Standing::Over(end.clone()),
        // cannot be: an ended run has an end. Said rather than left out.
        (Situation::Ended { .. } | Situation::Kept, None) => Standing::Open {
            phase: Phase::Pending,
            reason: "Pending".into(),
            message: String::new(),
        },
    };
    if let (Situation::Active { progress, .. }, Some(run)) = (situation, run) {
        show_progress(&mut new, run, *progress);
    }
    if let (Situation::Ended { result, report }, Some(run), Some(end)) = (situation, run, end) {
        show_end(&mut new, run, end, *result, *report);
    }
    new.history.truncate(test.spec.run.history_limit as usize);
    new.phase = Some(standing.phase());
    new.conditions = conditions::build(
        &old.conditions,
        &standing,
        new.results.as_ref(),
        new.observed_generation,
        now,
    );
    let reason = cut(standing.reason(), 64);
    new.columns.get_or_insert_default().reason = reason;
    fit(&mut new);
    new
}

/// Whether `new` says nothing that could not wait a few seconds.
pub fn is_only_progress(old: &LoadTestStatus, new: &LoadTestStatus) -> bool {
    let same_conditions = old.conditions.len() == new.conditions.len()
        && old
            .conditions
            .iter()
            .zip(&new.conditions)
            .all(|(old, new)| {
                (&old.r#type, old.status, &old.reason) == (&new.r#type, new.status, &new.reason)
            });
    let LoadTestStatus {
        observed_generation,
        phase,
        runs,
        trigger,
        run,
        ..
    } = old;
    let same = (*observed_generation, *phase, *runs)
        == (new.observed_generation, new.phase, new.runs)
        && *trigger == new.trigger
        && *run == new.run;
    same && same_conditions
}

/// The generation that the conditions speak of: not the newest while that one waits for its turn.
fn observed_generation(test: &LoadTest, new: &LoadTestStatus, situation: &Situation<'_>) -> i64 {
    let generation = test.metadata.generation.unwrap_or_default();
    match (situation, &new.run) {
        (Situation::Active { .. } | Situation::Ended { .. }, Some(run))
            if identity::wants_run(test, new) =>
        {
            new.observed_generation.max(run.generation)
        }
        _ => generation,
    }
}

fn problem_text(problems: &[Problem]) -> String {
    let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
    cut(&all.join("; "), 1024)
}

fn show_progress(new: &mut LoadTestStatus, run: &RunStatus, progress: Option<&Progress>) {
    let ready = progress.map_or_else(
        || new.workers.as_ref().map_or(0, |workers| workers.ready),
        |progress| progress.ready,
    );
    let selector = format!(
        "{RUN_LABEL}={},{COMPONENT_LABEL}={}",
        run.id,
        Component::Worker.label()
    );
    new.workers = Some(WorkersStatus {
        desired: run.workers,
        ready,
        selector,
    });
    let columns = new.columns.get_or_insert_default();
    let Some(progress) = progress else {
        columns.workers = format!("{ready}/{}", run.workers);
        return;
    };
    if run.started_at.is_none() {
        columns.workers = format!("{}/{}", progress.ready, run.workers);
        columns.progress = "0%".into();
        return;
    }
    let shown = ProgressStatus {
        percent: progress.percent(),
        users: progress.users,
        rps: progress.rps.to_string(),
        p95: format::micros(progress.p95_micros as f64),
        failure_rate: format::percent(progress.failure_rate()),
        workers: format!("{}/{}", progress.connected, run.workers),
    };
    let reason = std::mem::take(&mut columns.reason);
    *columns = ColumnsStatus {
        progress: format!("{}%", shown.percent),
        workers: shown.workers.clone(),
        users: shown.users.to_string(),
        rps: shown.rps.clone(),
        p95: shown.p95.clone(),
        failures: shown.failure_rate.clone(),
        reason,
    };
    new.progress = Some(shown);
}

fn show_end(
    new: &mut LoadTestStatus,
    run: &RunStatus,
    end: &RunEnd,
    result: Option<&RunResult>,
    report: bool,
) {
    if let Some(result) = result {
        let columns = new.columns.get_or_insert_default();
        columns.rps = format::rate(result.totals.rps);
        columns.p95 = format::micros(result.totals.latency.p95 as f64);
        columns.failures = format::percent(result.totals.failure_rate);
        let missing = result.workers.lost.saturating_sub(result.workers.rejoined);
        columns.workers = format!(
            "{}/{}",
            result.workers.planned.saturating_sub(missing),
            result.workers.planned
        );
        let complete = matches!(end.phase, Phase::Succeeded | Phase::Failed)
            && end.reason != conditions::THRESHOLD_ABORTED;
        if complete {
            columns.progress = "100%".into();
            let progress = new.progress.get_or_insert_default();
            progress.percent = 100;
        }
        new.results = Some(results::results(result));
        new.thresholds = results::thresholds(result);
        new.metrics = results::metrics(result);
    }
    new.report_ref = report.then(|| ReportRef {
        config_map: Child::Report.name(&run.id),
    });
    if new.history.first().is_none_or(|entry| entry.run != run.id) {
        let columns = new.columns.clone().unwrap_or_default();
        let shown = |text: &str| {
            if result.is_some() {
                text.to_owned()
            } else {
                String::new()
            }
        };
        new.history.insert(
            0,
            HistoryEntry {
                run: run.id.clone(),
                verdict: end.phase.to_string(),
                reason: cut(&end.reason, 64),
                rps: shown(&columns.rps),
                p95: shown(&columns.p95),
                failure_rate: shown(&columns.failures),
                finished_at: run.finished_at.clone().unwrap_or_default(),
            },
        );
    }
}

/// Leaves out metrics, then records, then steps, then errors, until the status fits; the report has
/// them.
fn fit(new: &mut LoadTestStatus) {
    let fits = |status: &LoadTestStatus| {
        serde_json::to_vec(status).is_ok_and(|json| json.len() <= MAX_STATUS)
    };
    for part in ["metrics", "records", "steps", "errors"] {
        if fits(new) {
            return;
        }
        let omitted = match (part, new.results.as_mut()) {
            ("metrics", _) => std::mem::take(&mut new.metrics).len(),
            ("records", Some(results)) => std::mem::take(&mut results.records).len(),
            ("steps", Some(results)) => std::mem::take(&mut results.steps).len(),
            ("errors", Some(results)) => std::mem::take(&mut results.errors).len(),
            _ => 0,
        };
        if let Some(results) = new.results.as_mut().filter(|_| omitted > 0) {
            results.truncated = true;
            *results.omitted.entry(part.to_owned()).or_default() += omitted as u64;
        }
    }
}

#[cfg(test)]
mod tests;
