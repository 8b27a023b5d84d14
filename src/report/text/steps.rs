//! The run by steps, tasks and records, and what went wrong in them.

use std::collections::BTreeMap;

use super::page::Page;
use super::table::four_times;
use crate::plan::grpc::Code;
use crate::stats::format;
use crate::stats::result::{
    ErrorResult, RecordResult, RetryAfterResult, StatusCount, StepResult, TaskResult,
};

/// Kinds of errors shown; the JSON has them all.
const MAX_ERRORS: usize = 10;

impl Page {
    /// Adds a row for each step; its name alone where all are of one task.
    pub(super) fn steps(&mut self, steps: &[StepResult]) {
        self.seven_columns(
            "STEP",
            ["requests", "failed", "per s", "p50", "p95", "p99", "max"],
        );
        let is_one_task = steps
            .iter()
            .all(|step| (&step.scenario, &step.task) == (&steps[0].scenario, &steps[0].task));
        for step in steps {
            let name = if is_one_task {
                step.step.clone()
            } else {
                format!("{} / {} / {}", step.scenario, step.task, step.step)
            };
            let counts = [
                format::count(step.requests),
                format::percent(step.failure_rate),
                format::rate(step.rps),
            ];
            self.row(&name, counts, four_times(&step.latency));
        }
    }

    /// Adds a row for each task, unless an iteration is one request, whose time is among the steps.
    pub(super) fn tasks(&mut self, tasks: &[TaskResult], steps: usize) {
        if tasks.is_empty() || steps <= tasks.len() {
            return;
        }
        self.seven_columns(
            "ITERATION",
            ["finished", "failed", "", "p50", "p95", "p99", "max"],
        );
        for task in tasks {
            let failed = task.failed as f64 / task.finished.max(1) as f64;
            let counts = [
                format::count(task.finished),
                format::percent(failed),
                String::new(),
            ];
            let name = format!("{} / {}", task.scenario, task.task);
            self.row(&name, counts, four_times(&task.duration));
        }
    }

    /// Adds a row for each record of the test, in its own unit.
    pub(super) fn records(&mut self, records: &[RecordResult]) {
        if records.is_empty() {
            return;
        }
        self.seven_columns(
            "RECORD",
            ["answers", "without", "mean", "p50", "p95", "p99", "max"],
        );
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
            let counts = [
                format::count(*count),
                format::count(*missing),
                format::in_unit(*mean, unit),
            ];
            let numbers = [p50, p95, p99, max].map(|number| format::in_unit(*number, unit));
            self.row(name, counts, numbers);
        }
    }

    /// Adds the statuses of calls over gRPC, summed over all steps.
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
            // codes have 8 bits, but a target may send any number
            let code = u8::try_from(status).map(|code| Code(code).numbered());
            let status = code.unwrap_or_else(|_| status.to_string());
            self.entry(&format::count(count), &status);
        }
    }

    /// Adds the kinds of errors with the most failures, at most [`MAX_ERRORS`].
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

/// Writes `; Retry-After 1s to 30s, median 5s`.
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
