//! A result as a person reads it on a terminal: the verdict and why, then the numbers. At most
//! [`WIDTH`] columns, and nothing in it that a target could steer the terminal with.

mod stream;

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::plan::grpc::Code;
use crate::stats::format;
use crate::stats::result::{
    CapacityResult, ConcurrencyResult, CostBasis, ErrorResult, FeederResult, LatencySummary,
    Purpose, RecordResult, RetryAfterResult, RunResult, StatusCount, StepResult, TaskResult,
    ThresholdResult, ThresholdVerdict, Totals, Verdict,
};

pub const WIDTH: usize = 100;

/// Kinds of errors shown; the JSON has them all.
const MAX_ERRORS: usize = 10;
/// Columns before a value.
const LABEL: usize = 14;
/// Columns of a rule, if it fits, so that the observed values line up.
const RULE: usize = 60;
/// Columns of a step's name.
const NAME: usize = 38;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Coloured,
}

#[derive(Debug, Clone, Copy)]
enum Colour {
    Green,
    Red,
    Yellow,
    Bold,
}

pub fn render(result: &RunResult, style: Style) -> String {
    let mut page = Page {
        text: String::new(),
        style,
    };
    page.verdict(result);
    page.run(result);
    page.thresholds(&result.thresholds);
    if let Some(capacity) = &result.capacity {
        page.capacity(capacity);
    }
    if result.started_at.is_some() {
        page.totals(&result.totals);
        page.latency(&result.totals);
        page.steps(&result.steps);
        page.streams(&result.steps);
        page.tasks(&result.tasks, result.steps.len());
        page.grpc_statuses(&result.steps);
        page.price(result);
        page.grpc_statuses(&result.steps);
        page.records(&result.records);
        page.errors(&result.errors);
        page.feeders(&result.feeders);
        page.generator(result);
    }
    page.remarks(result);
    page.text
}

/// Without control characters, and without those that turn the direction of writing.
pub fn clean(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control() && !turns(*c))
        .collect()
}

struct Page {
    text: String,
    style: Style,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn heading(&mut self, text: &str) {
        self.text.push('\n');
        let heading = self.paint(Colour::Bold, text.trim_end());
        self.line(&heading);
    }

    /// `  label       text`, on as many lines as it takes.
    fn entry(&mut self, label: &str, text: &str) {
        let mut label = label;
        for part in wrap(&clean(text), WIDTH - LABEL) {
            self.line(&format!("  {label:<width$}{part}", width = LABEL - 2));
            label = "";
        }
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Green => "32;1",
            Colour::Red => "31;1",
            Colour::Yellow => "33;1",
            Colour::Bold => "1",
        };
        match self.style {
            Style::Plain => text.to_owned(),
            Style::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }

    fn feeders(&mut self, feeders: &[FeederResult]) {
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

    fn verdict(&mut self, result: &RunResult) {
        if result.generator.saturated {
            let warning = "SATURATED  The generator was the bottleneck: the numbers below are its own, not the target's.";
            let warning = self.paint(Colour::Yellow, warning);
            self.line(&warning);
        }
        let (word, colour) = match result.verdict {
            Verdict::Passed => ("PASSED", Colour::Green),
            Verdict::Failed => ("FAILED", Colour::Red),
            Verdict::Errored => ("ERRORED", Colour::Red),
            Verdict::Aborted => ("ABORTED", Colour::Yellow),
        };
        let why = if result.message.is_empty() {
            result.reason.to_string()
        } else {
            format!("{}: {}", result.reason, result.message)
        };
        for (i, part) in wrap(
            &clean(&format!("{}  {why}", result.name)),
            WIDTH - word.len() - 2,
        )
        .iter()
        .enumerate()
        {
            let first = if i == 0 {
                self.paint(colour, word)
            } else {
                " ".repeat(word.len())
            };
            self.line(&format!("{first}  {part}"));
        }
    }

    fn run(&mut self, result: &RunResult) {
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
        self.entry(
            "run",
            &format!(
                "{}, {length}, {} {plural}{lost}, seed {}",
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
    }

    fn thresholds(&mut self, thresholds: &[ThresholdResult]) {
        if thresholds.is_empty() {
            return;
        }
        self.heading("THRESHOLDS");
        for threshold in thresholds {
            let (word, colour) = match threshold.verdict {
                ThresholdVerdict::Passed => ("passed", Colour::Green),
                ThresholdVerdict::Failed => ("FAILED", Colour::Red),
                ThresholdVerdict::NotJudged => ("not judged", Colour::Yellow),
            };
            let window = threshold
                .window_micros
                .map(|window| format!(" over {}", format::micros(window as f64)))
                .unwrap_or_default();
            let rule = clean(&format!(
                "{} {}{window}{}",
                threshold.metric,
                threshold.expr,
                selection(&threshold.select)
            ));
            let observed = clean(&threshold.observed_text);
            let text = if rule.chars().count() < RULE {
                format!("{rule:<RULE$}{observed}")
            } else {
                format!("{rule}  {observed}")
            };
            for (i, part) in wrap(&text, WIDTH - LABEL).iter().enumerate() {
                let padded = format!(
                    "{:<width$}",
                    if i == 0 { word } else { "" },
                    width = LABEL - 2
                );
                let padded = self.paint(colour, &padded);
                self.line(&format!("  {padded}{part}"));
            }
        }
    }

    /// The curve by rate, each rate once: of those tried again the confirmation counts.
    fn capacity(&mut self, capacity: &CapacityResult) {
        self.heading("CAPACITY");
        let limit = capacity
            .limited_by
            .map(|limit| format!(", limited by {limit}"))
            .unwrap_or_default();
        match capacity.rate {
            Some(rate) => self.entry("rate", &format!("{}/s{limit}", format::rate(rate))),
            None => self.entry("rate", &format!("none was confirmed{limit}")),
        }
        let columns = ["rate", "achieved", "p50", "p95", "p99", "failed", "dropped"];
        let heading: String = columns
            .iter()
            .map(|column| format!("{column:>10}"))
            .collect();
        self.line(&format!("  {heading}"));
        let mut levels: Vec<_> = capacity
            .curve
            .iter()
            .filter(|level| level.purpose != Purpose::Recovery)
            .collect();
        levels.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        for level in levels {
            let times =
                [level.p50, level.p95, level.p99].map(|micros| format::micros(micros as f64));
            let [p50, p95, p99] = times;
            let rates =
                [level.rate, level.achieved_rate].map(|rate| format!("{}/s", format::rate(rate)));
            let [rate, achieved] = rates;
            let (failed, dropped) = (
                format::percent(level.failure_rate),
                format::count(level.dropped),
            );
            let word = match (level.held, level.purpose) {
                (true, Purpose::Confirmation) => "confirmed",
                (true, Purpose::Search | Purpose::Recovery) => "held",
                (false, _) => "NOT HELD",
            };
            self.line(&format!("  {rate:>10}{achieved:>10}{p50:>10}{p95:>10}{p99:>10}{failed:>10}{dropped:>10}  {word}"));
            if !level.held {
                self.entry("", &level.why);
            }
        }
    }

    fn totals(&mut self, totals: &Totals) {
        self.heading("TOTALS");
        let rps = format::rate(totals.rps);
        let failed = format!(
            "{} failed ({})",
            format::count(totals.failures),
            format::percent(totals.failure_rate)
        );
        self.entry(
            "requests",
            &format!("{} ({rps}/s), {failed}", format::count(totals.requests)),
        );
        let achieved = format!(
            "{} ({}/s",
            format::count(totals.iterations),
            format::rate(totals.achieved_rate)
        );
        let open = totals.requested_rate.map(|rate| {
            format!(
                " of {}/s asked for), {} dropped",
                format::rate(rate),
                format::count(totals.dropped)
            )
        });
        self.entry(
            "iterations",
            &format!("{achieved}{}", open.as_deref().unwrap_or(")")),
        );
        self.counts_apart(totals);
        self.entry(
            "bytes",
            &format!(
                "{} sent, {} received",
                format::bytes(totals.sent_bytes),
                format::bytes(totals.received_bytes)
            ),
        );
        let mut connections = format!("{} opened", format::count(totals.connects));
        for (count, what) in [
            (totals.interrupted, "requests cut at the end"),
            (totals.unsent, "requests failed before a byte was sent"),
        ] {
            if count > 0 {
                // writing to a String cannot fail
                let _ = write!(connections, "; {} {what}", format::count(count));
            }
        }
        self.entry("connections", &connections);
    }

    /// What only some tests have.
    fn counts_apart(&mut self, totals: &Totals) {
        let checks = totals.checks_passed + totals.checks_failed;
        if checks > 0 {
            let failed = format::percent(totals.checks_failed as f64 / checks as f64);
            self.entry(
                "checks",
                &format!(
                    "{} made, {} failed ({failed})",
                    format::count(checks),
                    format::count(totals.checks_failed)
                ),
            );
        }
        if let Some(goodput) = &totals.goodput {
            self.entry("goodput", &stream::good(goodput));
        }
        let left_out = [
            ("warm-up", totals.warmup, totals.warmup_failures, "requests"),
            (
                "control",
                totals.control,
                totals.control_failures,
                "requests of setup, onStart, health and the like",
            ),
        ];
        for (label, count, failures, what) in left_out {
            if count + failures > 0 {
                let failed = if failures > 0 {
                    format!(", {} failed", format::count(failures))
                } else {
                    String::new()
                };
                self.entry(
                    label,
                    &format!(
                        "{} {what}{failed}; not in the other numbers",
                        format::count(count)
                    ),
                );
            }
        }
        let again = [
            (totals.retries, "tried again"),
            (totals.redirect_hops, "redirected"),
        ];
        let again: Vec<_> = again
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{} {what}", format::count(*count)))
            .collect();
        if !again.is_empty() {
            self.entry("also sent", &again.join(", "));
        }
        if totals.feeder_drops > 0 {
            self.entry(
                "no row",
                &format!(
                    "{} of the dropped arrivals found no row of a feeder",
                    format::count(totals.feeder_drops)
                ),
            );
        }
    }

    /// What the target holds at once, and what it costs.
    fn price(&mut self, result: &RunResult) {
        if let Some(ConcurrencyResult {
            mean,
            max,
            by_latency,
        }) = result.concurrency
        {
            self.heading("CONCURRENCY");
            let observed = format!(
                "{} on average, {} at most",
                format::rate(mean),
                format::count(max)
            );
            self.entry(
                "in flight",
                &format!(
                    "{observed}; by rate x mean latency {}",
                    format::rate(by_latency)
                ),
            );
        }
        let Some(cost) = &result.cost else { return };
        self.heading("COST");
        let Some(rate) = cost.rate else {
            return self.entry("no price", &cost.why_not);
        };
        let at = match cost.basis {
            CostBasis::Sustainable => format!(
                "at {}/s, which holds at this run's thresholds",
                format::rate(rate)
            ),
            CostBasis::Achieved => format!(
                "at {}/s, which this load came to; a search for the capacity finds what holds",
                format::rate(rate)
            ),
        };
        let price = |price: f64| format!("{} {}", format::money(price), cost.currency);
        if let Some(per_million) = cost.per_million_requests {
            self.entry("a million", &format!("{} {at}", price(per_million)));
        }
        if let Some(tokens) = cost.tokens_per_million_requests {
            self.entry(
                "tokens",
                &format!("{} for those of a million requests", price(tokens)),
            );
        }
        if let (Some(wanted), Some(endpoints)) = (cost.wanted_rate, cost.endpoints) {
            let hourly = cost
                .per_hour
                .map(|per_hour| format!(", {} an hour", price(per_hour * endpoints as f64)))
                .unwrap_or_default();
            self.entry(
                "endpoints",
                &format!(
                    "{} for {}/s{hourly}",
                    format::count(endpoints),
                    format::rate(wanted)
                ),
            );
        }
    }

    fn latency(&mut self, totals: &Totals) {
        self.columns("OF SUCCESSES");
        self.times("latency", &totals.latency);
        self.times("service time", &totals.service_time);
        for phase in &totals.phases {
            self.times(&format!("- {}", phase.phase), &phase.summary);
        }
    }

    /// The heading of [`Self::times`].
    fn columns(&mut self, heading: &str) {
        let columns = ["min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"];
        let columns: String = columns
            .iter()
            .map(|column| format!("{column:>10}"))
            .collect();
        self.heading(&format!("{heading:<16}{columns}"));
    }

    fn times(&mut self, name: &str, summary: &LatencySummary) {
        let LatencySummary {
            min,
            mean,
            p50,
            p90,
            p95,
            p99,
            p999,
            max,
        } = *summary;
        let whole = |micros: u64| micros as f64;
        let values = [
            whole(min),
            mean,
            whole(p50),
            whole(p90),
            whole(p95),
            whole(p99),
            whole(p999),
            whole(max),
        ];
        let values: String = values
            .iter()
            .map(|micros| format!("{:>10}", format::micros(*micros)))
            .collect();
        self.line(&format!("  {name:<14}{values}"));
    }

    /// Where an iteration is one request, its time has been said.
    fn tasks(&mut self, tasks: &[TaskResult], steps: usize) {
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

    fn steps(&mut self, steps: &[StepResult]) {
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

    /// How calls over gRPC were answered, over all steps.
    fn grpc_statuses(&mut self, steps: &[StepResult]) {
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

    /// What the test's records found in answers.
    fn records(&mut self, records: &[RecordResult]) {
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

    fn errors(&mut self, errors: &[ErrorResult]) {
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

    fn generator(&mut self, result: &RunResult) {
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

    fn remarks(&mut self, result: &RunResult) {
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

/// An RFC 3339 time without its fraction.
fn to_the_second(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, fraction)) => format!(
            "{seconds}{}",
            fraction.trim_start_matches(|c: char| c.is_ascii_digit())
        ),
        None => time.to_owned(),
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

/// ` of step POST /predict`, or nothing when a threshold reads everything.
fn selection(select: &serde_json::Value) -> String {
    let fields = select
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null());
    let plain = |value: &serde_json::Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let said = |value: &serde_json::Value| match value.as_object() {
        Some(tags) => tags
            .iter()
            .map(|(name, value)| format!("{name}={}", plain(value)))
            .collect::<Vec<_>>()
            .join(" "),
        None => plain(value),
    };
    let parts: Vec<_> = fields
        .map(|(key, value)| format!("{key} {}", said(value)))
        .collect();
    if parts.is_empty() {
        String::new()
    } else {
        format!(" of {}", parts.join(", "))
    }
}

/// The last `width` characters, since the end of a step's path tells more than its beginning.
fn end_of(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        text.to_owned()
    } else {
        std::iter::once('…')
            .chain(text.chars().skip(length + 1 - width))
            .collect()
    }
}

/// Lines of at most `width` characters, broken at spaces where there are any; never empty.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest: Vec<char> = text.trim_end().chars().collect();
    while rest.len() > width {
        let space = rest[..=width]
            .iter()
            .rposition(|c| *c == ' ')
            .filter(|at| *at > width / 2);
        let tail = rest.split_off(space.unwrap_or(width));
        lines.push(rest.into_iter().collect::<String>().trim_end().to_owned());
        rest = tail.into_iter().skip_while(|c| *c == ' ').collect();
    }
    lines.push(rest.into_iter().collect());
    lines
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::stats::ErrorClass;
    use crate::stats::result::{
        CostResult, Event, Generator, PhaseResult, Reason, RetryAfterResult, SCHEMA_VERSION,
        SaturatedWorker, Workers,
    };

    pub const LATENCY: LatencySummary = LatencySummary {
        min: 800,
        mean: 5_120.5,
        p50: 4_900,
        p90: 9_100,
        p95: 14_230,
        p99: 61_000,
        p999: 120_000,
        max: 1_500_000,
    };

    fn threshold(
        metric: &str,
        expr: &str,
        observed: &str,
        verdict: ThresholdVerdict,
    ) -> ThresholdResult {
        let select = if verdict == ThresholdVerdict::Failed {
            serde_json::json!({"step": "POST /predict"})
        } else {
            serde_json::Value::Null
        };
        ThresholdResult {
            metric: metric.into(),
            expr: expr.into(),
            select,
            window_micros: None,
            abort_on_fail: false,
            observed: Some(1.0),
            observed_second: None,
            observed_text: observed.into(),
            verdict,
        }
    }

    /// A run with something in every part.
    pub fn result() -> RunResult {
        let names = || {
            (
                "client".to_owned(),
                "predict".to_owned(),
                "POST /predict".to_owned(),
            )
        };
        let (scenario, task, step) = names();
        let steps = vec![StepResult {
            scenario,
            task,
            step,
            requests: 12_345,
            failures: 3,
            failure_rate: 3.0 / 12_345.0,
            rps: 1_234.5,
            latency: LATENCY,
            service_time: LATENCY,
            ..StepResult::default()
        }];
        let (scenario, task, step) = names();
        let sample = "\x1b]0;owned\x07 boom\r\n\u{202e}".into();
        let errors = vec![ErrorResult {
            class: Some(ErrorClass::Status),
            scenario,
            task,
            step,
            status: Some(500),
            count: 3,
            sample,
            retry_after: None,
        }];
        RunResult {
            schema_version: SCHEMA_VERSION.into(),
            run: "categorizer-k3v7ra".into(),
            name: "categorizer".into(),
            namespace: None,
            target: "http://127.0.0.1:8000".into(),
            digest: "d".into(),
            plan: serde_json::json!({}),
            seed: 7,
            overrides: vec!["--users 10".into()],
            started_at: Some("2026-01-01T00:00:00.000123Z".into()),
            finished_at: "2026-01-01T00:00:10Z".into(),
            duration_micros: 10_000_000,
            verdict: Verdict::Failed,
            reason: Reason::ThresholdsBreached,
            message: "1 of 2 thresholds not met: latency p(95) < 10ms: observed 14.2ms".into(),
            totals: Totals {
                requests: 12_345,
                failures: 3,
                failure_rate: 3.0 / 12_345.0,
                iterations: 12_345,
                rps: 1_234.5,
                achieved_rate: 1_234.5,
                requested_rate: Some(1_250.0),
                dropped: 12,
                interrupted: 2,
                connects: 10,
                sent_bytes: 1_258_291,
                received_bytes: 3_000,
                latency: LATENCY,
                service_time: LATENCY,
                ..Totals::default()
            },
            steps,
            tasks: Vec::new(),
            records: Vec::new(),
            errors,
            capacity: None,
            thresholds: vec![
                threshold(
                    "latency",
                    "p(95) < 10ms",
                    "14.2ms",
                    ThresholdVerdict::Failed,
                ),
                threshold("failures", "rate < 1%", "0.02%", ThresholdVerdict::Passed),
            ],
            concurrency: None,
            cost: None,
            generator: Generator {
                cpu: 0.61,
                schedule_lag_p99: 80,
                ..Generator::default()
            },
            feeders: vec![],
            workers: Workers {
                planned: 1,
                lost: 0,
                rejoined: 0,
            },
            series: Vec::new(),
            histograms: Vec::new(),
            blocks: None,
            events: vec![Event {
                at: "2026-01-01T00:00:01Z".into(),
                message: "worker 0 joined".into(),
            }],
            warnings: vec!["spec.thresholds: look".into()],
        }
    }

    #[test]
    fn nothing_from_a_target_reaches_the_terminal_as_a_command() {
        let mut result = result();
        result.message = "a\u{1b}[31mb\r\nc\u{9b}2Jd\u{202e}e".into();
        result.name = "n\x07ame".into();
        let text = render(&result, Style::Plain);
        assert!(
            text.chars()
                .all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'),
            "{text:?}"
        );
        assert!(text.contains("]0;owned boom"), "{text}");
    }

    #[test]
    fn a_saturated_generator_is_the_first_thing_said() {
        let mut result = result();
        result.generator.saturated = true;
        let text = render(&result, Style::Plain);
        assert!(text.starts_with("SATURATED"), "{text}");
        assert!(text.lines().nth(1).unwrap().starts_with("FAILED"), "{text}");
    }

    #[test]
    fn the_verdict_comes_first_with_its_reason() {
        let text = render(&result(), Style::Plain);
        assert!(
            text.starts_with("FAILED  categorizer  ThresholdsBreached: 1 of 2 thresholds not met"),
            "{text}"
        );
    }

    #[test]
    fn every_number_has_its_unit() {
        let text = render(&result(), Style::Plain);
        for part in [
            "FAILED      latency p(95) < 10ms of step POST /predict",
            "14.2ms",
            "requests    12,345 (1234/s), 3 failed (0.02%)",
            "iterations  12,345 (1234/s of 1250/s asked for), 12 dropped",
            "bytes       1.2 MiB sent, 2.93 KiB received",
            "10 opened; 2 requests cut at the end",
            "cpu         61% of the cores it may use",
            "late by     at most 80us",
            "3           status 500 in POST /predict",
            "time        2026-01-01T00:00:00Z to 2026-01-01T00:00:10Z",
            "changed by  --users 10",
            "warning     spec.thresholds: look",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }

    #[test]
    fn what_is_in_flight_and_what_it_costs_is_said_with_its_conditions() {
        let mut result = result();
        result.concurrency = Some(ConcurrencyResult {
            mean: 12.34,
            max: 20,
            by_latency: 12.1,
        });
        let cost = CostResult {
            currency: "EUR".into(),
            per_hour: Some(4.1),
            basis: CostBasis::Sustainable,
            ..CostResult::default()
        };
        let served = CostResult {
            rate: Some(250.0),
            per_million_requests: Some(4.5555),
            wanted_rate: Some(2000.0),
            endpoints: Some(8),
            ..cost.clone()
        };
        result.cost = Some(served);
        let text = render(&result, Style::Plain);
        for part in [
            "in flight   12.3 on average, 20 at most; by rate x mean latency 12.1",
            "a million   4.56 EUR at 250/s, which holds at this run's thresholds",
            "endpoints   8 for 2000/s, 32.80 EUR an hour",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        result.cost = Some(CostResult {
            why_not: "the load generator was the limit".into(),
            ..cost
        });
        assert!(
            render(&result, Style::Plain).contains("no price    the load generator was the limit")
        );
    }

    #[test]
    fn what_only_some_tests_have_is_shown_only_for_them() {
        let plain = render(&result(), Style::Plain);
        for label in [
            "checks",
            "warm-up",
            "control",
            "also sent",
            "no row",
            "- wait",
            "ITERATION",
            "RECORD",
            "GRPC",
            "Retry-After",
            "saturated",
        ] {
            assert!(!plain.contains(label), "{label:?} is in\n{plain}");
        }
        let mut result = result();
        let totals = &mut result.totals;
        (
            totals.checks_passed,
            totals.checks_failed,
            totals.warmup,
            totals.control,
            totals.control_failures,
        ) = (990, 10, 1_000, 20, 3);
        (totals.retries, totals.redirect_hops, totals.feeder_drops) = (5, 7, 2);
        totals.phases = vec![PhaseResult {
            phase: "wait".into(),
            count: 3,
            summary: LATENCY,
        }];
        let of_status = |status, count| StatusCount { status, count };
        result.steps[0].grpc_statuses = vec![of_status(0, 600), of_status(14, 2)];
        result.steps.push(result.steps[0].clone());
        result.tasks = vec![TaskResult {
            scenario: "client".into(),
            task: "predict".into(),
            finished: 200,
            failed: 2,
            duration: LATENCY,
        }];
        let inference = RecordResult {
            name: "inference".into(),
            unit: "ms".into(),
            count: 1_000,
            missing: 3,
            mean: 4.25,
            p50: 4.0,
            ..RecordResult::default()
        };
        result.records = vec![RecordResult {
            p95: 9.5,
            p99: 12.0,
            max: 31.0,
            ..inference
        }];
        result.errors[0].retry_after = Some(RetryAfterResult {
            count: 3,
            min: 1,
            median: 5,
            max: 90,
        });
        let worker = SaturatedWorker {
            worker: 3,
            cpu: 0.97,
            throttled: 0.0,
            schedule_lag_p99: 1,
            exhausted: 0,
            why: "it used 97%".into(),
        };
        (result.generator.workers, result.generator.saturated_workers) = (vec![worker], 5);
        let text = render(&result, Style::Plain);
        for part in [
            "checks      1,000 made, 10 failed (1%)",
            "1,200       0 OK",
            "4           14 UNAVAILABLE",
            "warm-up     1,000 requests; not in the other numbers",
            "control     20 requests of setup, onStart, health and the like, 3 failed; not in the other numbers",
            "also sent   5 tried again, 7 redirected",
            "no row      2 of the dropped arrivals",
            "  - wait             800us    5.12ms",
            "  client / predict                             200       1%            4.9ms",
            "  inference                                  1,000        3   4.25ms     4ms   9.5ms    12ms    31ms",
            "; Retry-After 1s to 1m30s, median 5s",
            "saturated   worker 3: it used 97%",
            "            and 4 more workers",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
    }

    #[test]
    fn it_fits_the_page_however_long_the_names() {
        let mut result = result();
        result.message = "x".repeat(300);
        result.target = format!("http://{}", "y ".repeat(200));
        result.steps[0].step = "z".repeat(128);
        result.errors[0].sample = "e".repeat(256);
        result.thresholds[0].expr = "p(99) < 1s ".repeat(20);
        result.events[0].message = "long ".repeat(60);
        for line in render(&result, Style::Plain).lines() {
            assert!(
                line.chars().count() <= WIDTH,
                "{} columns: {line}",
                line.chars().count()
            );
        }
    }

    #[test]
    fn a_run_that_never_started_shows_no_numbers() {
        let mut result = result();
        result.started_at = None;
        result.verdict = Verdict::Errored;
        let text = render(&result, Style::Plain);
        assert!(
            text.contains("not started") && !text.contains("TOTALS"),
            "{text}"
        );
    }

    #[test]
    fn steps_of_several_tasks_are_told_apart() {
        let mut result = result();
        let mut other = result.steps[0].clone();
        other.task = "look".into();
        result.steps.push(other);
        let text = render(&result, Style::Plain);
        assert!(text.contains("client / look / POST /predict"), "{text}");
    }

    #[test]
    fn colours_change_nothing_but_colour() {
        let coloured = render(&result(), Style::Coloured);
        assert!(coloured.contains("\x1b[31;1mFAILED\x1b[0m"));
        let mut plain = coloured;
        for code in ["32;1", "31;1", "33;1", "1", "0"] {
            plain = plain.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(plain, render(&result(), Style::Plain));
    }
}
