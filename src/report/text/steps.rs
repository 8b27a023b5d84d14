//! The run by steps, tasks and records, and what went wrong in them.

use std::collections::BTreeMap;

use super::clean;
use super::page::{NAME, Page, end_of};
use crate::plan::grpc::Code;
use crate::stats::format;
use crate::stats::result::{
    ErrorResult, LatencySummary, RecordResult, RetryAfterResult, StatusCount, StepResult,
    TaskResult,
};

/// Kinds of errors shown; the JSON has them all.
const MAX_ERRORS: usize = 10;

impl Page {
    pub(super) fn steps(&mut self, steps: &[StepResult]) {
        let columns = format!(
            "{:>10}{:>9}{:>9}{:>8}{:>8}{:>8}{:>8}",
            "requests", "failed", "per s", "p50", "p95", "p99", "max"
        );
        self.heading(&format!("{:<width$}{columns}", "STEP", width = NAME + 2));
        let is_one_task = steps
            .iter()
            .all(|step| (&step.scenario, &step.task) == (&steps[0].scenario, &steps[0].task));
        for step in steps {
            let name = if is_one_task {
                step.step.clone()
            } else {
                format!("{} / {} / {}", step.scenario, step.task, step.step)
            };
            let name = end_of(&clean(&name), NAME - 1);
            let LatencySummary {
                p50, p95, p99, max, ..
            } = step.latency;
            let times: String = [p50, p95, p99, max]
                .iter()
                .map(|micros| format!("{:>8}", format::micros(*micros as f64)))
                .collect();
            let (requests, failed, rate) = (
                format::count(step.requests),
                format::percent(step.failure_rate),
                format::rate(step.rps),
            );
            self.line(&format!(
                "  {name:<NAME$}{requests:>10}{failed:>9}{rate:>9}{times}"
            ));
        }
    }

    /// Where an iteration is one request, its time has been said.
    pub(super) fn tasks(&mut self, tasks: &[TaskResult], steps: usize) {
        if tasks.is_empty() || steps <= tasks.len() {
            return;
        }
        let columns = format!(
            "{:>10}{:>9}{:>9}{:>8}{:>8}{:>8}{:>8}",
            "finished", "failed", "", "p50", "p95", "p99", "max"
        );
        self.heading(&format!(
            "{:<width$}{columns}",
            "ITERATION",
            width = NAME + 2
        ));
        for task in tasks {
            let name = end_of(
                &clean(&format!("{} / {}", task.scenario, task.task)),
                NAME - 1,
            );
            let LatencySummary {
                p50, p95, p99, max, ..
            } = task.duration;
            let times: String = [p50, p95, p99, max]
                .iter()
                .map(|micros| format!("{:>8}", format::micros(*micros as f64)))
                .collect();
            let failed = format::percent(task.failed as f64 / task.finished.max(1) as f64);
            self.line(&format!(
                "  {name:<NAME$}{:>10}{failed:>9}{:>9}{times}",
                format::count(task.finished),
                ""
            ));
        }
    }

    /// What the test's records found in answers.
    pub(super) fn records(&mut self, records: &[RecordResult]) {
        if records.is_empty() {
            return;
        }
        let columns = format!(
            "{:>10}{:>9}{:>9}{:>8}{:>8}{:>8}{:>8}",
            "answers", "without", "mean", "p50", "p95", "p99", "max"
        );
        self.heading(&format!("{:<width$}{columns}", "RECORD", width = NAME + 2));
        for record in records {
            let RecordResult {
                name,
                unit,
                count,
                missing,
                mean,
                p50,
                p95,
                p99,
                max,
                ..
            } = record;
            let name = end_of(&clean(name), NAME - 1);
            let mean = format::in_unit(*mean, unit);
            let numbers: String = [p50, p95, p99, max]
                .iter()
                .map(|number| format!("{:>8}", format::in_unit(**number, unit)))
                .collect();
            self.line(&format!(
                "  {name:<NAME$}{:>10}{:>9}{mean:>9}{numbers}",
                format::count(*count),
                format::count(*missing)
            ));
        }
    }

    /// How calls over gRPC were answered, over all steps.
    pub(super) fn grpc_statuses(&mut self, steps: &[StepResult]) {
        let mut counts: BTreeMap<u16, u64> = BTreeMap::new();
        for StatusCount { status, count } in steps.iter().flat_map(|step| &step.grpc_statuses) {
            *counts.entry(*status).or_default() += count;
        }
        if counts.is_empty() {
            return;
        }
        self.heading("GRPC STATUS");
        for (status, count) in counts {
            // what a target may send has 8 bits
            let code =
                u8::try_from(status).map_or_else(|_| String::new(), |code| Code(code).to_string());
            self.entry(&format::count(count), &format!("{status} {code}"));
        }
    }

    pub(super) fn errors(&mut self, errors: &[ErrorResult]) {
        if errors.is_empty() {
            return;
        }
        self.heading("ERRORS");
        for error in errors.iter().take(MAX_ERRORS) {
            let class = error.class.map_or("other", |class| class.name());
            let status = error
                .status
                .map(|status| format!(" {status}"))
                .unwrap_or_default();
            let step = if error.step.is_empty() {
                String::new()
            } else {
                format!(" in {}", error.step)
            };
            let sample = if error.sample.is_empty() {
                String::new()
            } else {
                format!(": {}", error.sample)
            };
            let after = error
                .retry_after
                .as_ref()
                .map(retry_after)
                .unwrap_or_default();
            self.entry(
                &format::count(error.count),
                &format!("{class}{status}{step}{sample}{after}"),
            );
        }
        if errors.len() > MAX_ERRORS {
            self.line(&format!(
                "  and {} more kinds, which the JSON result lists",
                errors.len() - MAX_ERRORS
            ));
        }
    }
}

/// `; Retry-After 1s to 30s, median 5s`
fn retry_after(asked: &RetryAfterResult) -> String {
    let seconds = |seconds: u64| format::micros(seconds as f64 * 1e6);
    let RetryAfterResult {
        count: _,
        min,
        median,
        max,
    } = *asked;
    match min == max {
        true => format!("; Retry-After {}", seconds(min)),
        false => format!(
            "; Retry-After {} to {}, median {}",
            seconds(min),
            seconds(max),
            seconds(median)
        ),
    }
}
