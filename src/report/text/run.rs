//! The run apart from its samples: target and time, rows of feeders, the load generator, warnings
//! and events.

use super::page::Page;
use crate::stats::format;
use crate::stats::result::{FeederResult, RunResult};

/// Most changes of load by hand that are listed.
const MOST_CHANGES: usize = 20;

impl Page {
    /// Adds target, run, workers and time.
    pub(super) fn run(&mut self, result: &RunResult) {
        self.text.push('\n');
        self.entry("target", &result.target);
        let length = format::micros(result.duration_micros as f64);
        let workers = result.workers;
        let plural = if workers.planned == 1 {
            "worker"
        } else {
            "workers"
        };
        let lost = if workers.lost > 0 {
            format!(" ({} lost, {} came back)", workers.lost, workers.rejoined)
        } else {
            String::new()
        };
        // a lone worker is a part of the same program as a rule
        let reported = if workers.planned > 1 && workers.bytes_per_second > 0 {
            let bytes = format::bytes(workers.bytes_per_second);
            format!(" that reported {bytes}/s each")
        } else {
            String::new()
        };
        self.entry(
            "run",
            &format!(
                "{}, {length}, {} {plural}{lost}{reported}, seed {}",
                result.run, workers.planned, result.seed
            ),
        );
        match &result.started_at {
            Some(started) => self.entry(
                "time",
                &format!(
                    "{} to {}",
                    to_the_second(started),
                    to_the_second(&result.finished_at)
                ),
            ),
            None => self.entry(
                "time",
                &format!("not started; ended {}", to_the_second(&result.finished_at)),
            ),
        }
        if !result.overrides.is_empty() {
            self.entry("changed by", &result.overrides.join(", "));
        }
        for change in result.manual_changes.iter().take(MOST_CHANGES) {
            let at = format::micros(change.after_micros as f64);
            self.entry("by hand", &format!("at {at}: {change}"));
        }
        let unlisted = result.manual_changes.len().saturating_sub(MOST_CHANGES);
        if unlisted > 0 {
            self.entry("", &format!("and {unlisted} more changes"));
        }
    }

    /// Adds the rows of each feeder that all workers share.
    pub(super) fn feeders(&mut self, feeders: &[FeederResult]) {
        if !feeders.is_empty() {
            self.heading("FEEDERS");
        }
        for FeederResult {
            name,
            leased,
            used,
            lost,
        } in feeders
        {
            let lost = if *lost > 0 {
                format!(", {lost} lost with their workers")
            } else {
                String::new()
            };
            self.entry(
                "rows",
                &format!("{name}: {leased} leased, {used} used{lost}"),
            );
        }
    }

    /// Adds how busy and how late the load generator was.
    pub(super) fn generator(&mut self, result: &RunResult) {
        let generator = &result.generator;
        self.heading("GENERATOR");
        self.entry(
            "cpu",
            &format!("{} of the cores it may use", format::percent(generator.cpu)),
        );
        self.entry(
            "late by",
            &format!(
                "at most {} for 99% of all actions",
                format::micros(generator.schedule_lag_p99 as f64)
            ),
        );
        for worker in &generator.workers {
            self.entry(
                "saturated",
                &format!("worker {}: {}", worker.worker, worker.why),
            );
        }
        let unlisted =
            (generator.saturated_workers as usize).saturating_sub(generator.workers.len());
        if unlisted > 0 {
            self.entry("", &format!("and {unlisted} more workers"));
        }
        if result.workers.planned > 1 {
            self.entry(
                "start skew",
                &format::micros(generator.start_skew_micros as f64),
            );
        }
    }

    /// Adds warnings and events.
    pub(super) fn remarks(&mut self, result: &RunResult) {
        if result.warnings.is_empty() && result.events.is_empty() {
            return;
        }
        self.heading("REMARKS");
        for warning in &result.warnings {
            self.entry("warning", warning);
        }
        for event in &result.events {
            self.entry(
                "event",
                &format!("{} {}", to_the_second(&event.at), event.message),
            );
        }
    }
}

/// Cuts the fraction off an RFC 3339 time.
fn to_the_second(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, fraction)) => format!(
            "{seconds}{}",
            fraction.trim_start_matches(|c: char| c.is_ascii_digit())
        ),
        None => time.to_owned(),
    }
}
