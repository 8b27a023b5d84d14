//! Statuses: what the resource says of its run, in conditions, columns and results, within a budget
//! of bytes. Pure.
//!
//! A status is computed from a [`Draft`] and from [`Applied`], hence never before the objects that
//! it speaks of are there.

mod conditions;
mod draft;
pub mod losses;
pub mod progress;
mod results;

use jiff::Timestamp;

use super::apply::applied::Applied;
use super::identity;
use super::reason::Reason;
use super::text::cut;
use super::view::Observed;
use crate::crd::status::{
    HistoryEntry, ProgressStatus, ReportRef, ResultsStatus, RunEnd, RunStatus, WorkersStatus,
};
use crate::crd::{LoadTest, LoadTestStatus, Phase};
use crate::plan::Problem;
use crate::stats::format;
use crate::wire::RunResult;

use conditions::Standing;
pub use draft::{Draft, Situation};

/// Bound of a status as JSON, in bytes. Every watcher gets every status, so it stays small whatever
/// the run was.
pub const MAX_STATUS: usize = 32 * 1024;

/// Returns the next status, if it says something new and, where only progress is new, the last one
/// is old enough.
pub fn next(
    seen: &Observed,
    draft: &Draft<'_>,
    applied: &Applied,
    now: Timestamp,
) -> Option<LoadTestStatus> {
    let old = seen.status();
    let new = build(seen, draft, applied, now);
    if new == old {
        return None;
    }
    let is_early = seen.since_status.is_some_and(|since| since < seen.pace);
    (!(is_early && is_only_progress(&old, &new))).then_some(new)
}

/// Builds the status that `draft` describes of what was `seen`. Says the same to the byte when
/// nothing has changed.
fn build(seen: &Observed, draft: &Draft<'_>, applied: &Applied, now: Timestamp) -> LoadTestStatus {
    let Draft { run, situation } = draft;
    let (test, run) = (&seen.test, run.as_ref());
    let old = test.status.clone().unwrap_or_default();
    let mut new = LoadTestStatus {
        run: run.cloned(),
        ..kept(test, old.clone(), situation)
    };
    new.trigger.get_or_insert_with(|| identity::trigger(test));
    new.observed_generation = observed_generation(test, &new, situation);
    match (situation, run) {
        (Situation::Begun, Some(run)) => progress::begin(&mut new, run),
        (Situation::Active { progress, .. }, Some(run)) => {
            progress::show(&mut new, run, *progress, seen, now);
        }
        (Situation::Ended { end, result }, Some(run)) => {
            if let Some(workers) = &mut new.workers {
                workers.losses = losses::losses(seen);
            }
            show_end(&mut new, run, end, *result, applied);
        }
        _ => {}
    }
    new.history.truncate(test.spec.run.history_limit as usize);
    let standing = standing(situation);
    new.phase = Some(standing.phase());
    new.conditions = conditions::build(
        &old.conditions,
        &standing,
        new.results.as_ref(),
        new.observed_generation,
        now,
    );
    new.columns.get_or_insert_default().reason = cut(standing.reason(), 64);
    fit(&mut new);
    new
}

/// Returns what stays of the old status: all of it, but for a run that begins only the conditions,
/// whose times go on, and the history.
fn kept(test: &LoadTest, old: LoadTestStatus, situation: &Situation<'_>) -> LoadTestStatus {
    match situation {
        Situation::Begun => LoadTestStatus {
            runs: old.runs + 1,
            trigger: Some(identity::trigger(test)),
            conditions: old.conditions,
            history: old.history,
            ..LoadTestStatus::default()
        },
        _ => old,
    }
}

fn standing(situation: &Situation<'_>) -> Standing {
    let open = |phase, reason, message: &str| Standing::Open {
        phase,
        reason,
        message: cut(message, 1024),
    };
    match situation {
        Situation::Invalid(problems) => Standing::Invalid {
            reason: Reason::InvalidSpec,
            message: problem_text(problems),
        },
        Situation::Refused(problems) => Standing::Invalid {
            reason: Reason::PolicyViolation,
            message: problem_text(problems),
        },
        Situation::Held {
            phase,
            reason,
            message,
        } => open(*phase, *reason, message),
        Situation::Begun => open(
            Phase::Starting,
            Reason::Starting,
            "the run's objects are being created",
        ),
        Situation::Active {
            phase,
            reason,
            message,
            progress: _,
        } => open(*phase, *reason, message),
        Situation::Ended { end, result: _ } | Situation::Kept { end } => {
            Standing::Over(end.clone())
        }
    }
}

/// Returns whether `new` differs from `old` only in what can wait a few seconds. That workers are
/// gone, or that the figures are old, cannot.
fn is_only_progress(old: &LoadTestStatus, new: &LoadTestStatus) -> bool {
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
        workers,
        progress,
        ..
    } = old;
    let lost = |workers: &Option<WorkersStatus>| workers.as_ref().map(|w| w.losses.clone());
    let fleet = |progress: &Option<ProgressStatus>| {
        progress
            .as_ref()
            .map(|shown| (shown.workers.clone(), shown.stale))
    };
    let same = (*observed_generation, *phase, *runs)
        == (new.observed_generation, new.phase, new.runs)
        && *trigger == new.trigger
        && *run == new.run
        && lost(workers) == lost(&new.workers)
        && fleet(progress) == fleet(&new.progress);
    same && same_conditions
}

/// Returns the generation that the conditions speak of: not the newest one while that waits for the
/// end of a run.
fn observed_generation(test: &LoadTest, new: &LoadTestStatus, situation: &Situation<'_>) -> i64 {
    let generation = test.metadata.generation.unwrap_or_default();
    match (situation, &new.run) {
        (Situation::Begun | Situation::Active { .. } | Situation::Ended { .. }, Some(run))
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

/// Shows how the run ended and what it measured. Without a result, what the run showed before
/// stays.
fn show_end(
    new: &mut LoadTestStatus,
    run: &RunStatus,
    end: &RunEnd,
    result: Option<&RunResult>,
    applied: &Applied,
) {
    if let Some(result) = result {
        show_result(new, end, result);
    }
    let stored = applied.report().filter(|_| result.is_some());
    new.report_ref = stored.map(|name| ReportRef {
        config_map: name.to_owned(),
    });
    if new.history.first().is_none_or(|entry| entry.run != run.id) {
        let columns = new.columns.clone().unwrap_or_default();
        let shown = |text: String| result.map_or_else(String::new, |_| text);
        let entry = HistoryEntry {
            run: run.id.clone(),
            verdict: end.phase.to_string(),
            reason: cut(&end.reason, 64),
            rps: shown(columns.rps),
            p95: shown(columns.p95),
            failure_rate: shown(columns.failures),
            finished_at: run.finished_at.clone().unwrap_or_default(),
        };
        new.history.insert(0, entry);
    }
}

fn show_result(new: &mut LoadTestStatus, end: &RunEnd, result: &RunResult) {
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
    if conditions::is_complete(end) {
        columns.progress = "100%".into();
        new.progress.get_or_insert_default().percent = 100;
    }
    new.results = Some(results::results(result));
    new.thresholds = results::thresholds(result);
    new.metrics = results::metrics(result);
}

/// Takes one part out of a status and returns how many entries it had.
type TakePart = fn(&mut LoadTestStatus) -> usize;

/// Parts that a status can do without, the most dispensable first, under the names that
/// `results.omitted` gives them.
const DISPENSABLE: [(&str, TakePart); 4] = [
    ("metrics", |status| {
        std::mem::take(&mut status.metrics).len()
    }),
    ("records", |status| {
        take_from_results(status, |results| &mut results.records)
    }),
    ("steps", |status| {
        take_from_results(status, |results| &mut results.steps)
    }),
    ("errors", |status| {
        take_from_results(status, |results| &mut results.errors)
    }),
];

fn take_from_results<T>(
    status: &mut LoadTestStatus,
    part: fn(&mut ResultsStatus) -> &mut Vec<T>,
) -> usize {
    status
        .results
        .as_mut()
        .map_or(0, |results| std::mem::take(part(results)).len())
}

/// Leaves out one part after the other until the status fits its bound; the report has them all.
fn fit(new: &mut LoadTestStatus) {
    let fits = |status: &LoadTestStatus| {
        serde_json::to_vec(status).is_ok_and(|json| json.len() <= MAX_STATUS)
    };
    for (part, take) in DISPENSABLE {
        if fits(new) {
            return;
        }
        let omitted = take(new);
        if let Some(results) = new.results.as_mut().filter(|_| omitted > 0) {
            results.truncated = true;
            *results.omitted.entry(part.to_owned()).or_default() += omitted as u64;
        }
    }
}

#[cfg(test)]
mod tests;
