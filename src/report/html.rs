//! A result as one HTML file that needs nothing else: no network, no script, no other file.
//!
//! Verdict, tables and charts are markup, so the page can be read where scripts are off, as in the
//! sandbox of a CI server; the script only sorts tables. A policy in the page lets nothing run or
//! load but its own style and script, by their hashes.

mod chart;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use self::chart::{Chart, Line, Scale};
use super::histograms;
use super::names::{label, selection, step_label};
use super::text::clean;
use crate::plan::Plan;
use crate::plan::threshold::Aggregate;
use crate::stats::format;
use crate::stats::result::{
    CapacityResult, ConcurrencyResult, CostResult, LatencySummary, LevelResult, LoadResult,
    PhaseResult, RunResult, StepResult, ThresholdResult, ThresholdVerdict, Verdict,
};

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// Most rows of a table of things that have no bound of their own.
const MOST_ROWS: usize = 500;
/// Most events that are marked in charts.
const MOST_MARKS: usize = 40;

/// Writes the page of a run.
pub fn render(result: &RunResult) -> String {
    let title = format!("{} {}", word(result.verdict), clean(&result.name));
    document(&title, html! { (head(result)) main { (body(result)) } })
}

/// Writes a page with this body.
pub(super) fn document(title: &str, body: Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(policy());
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (body)
                footer { p.soft { "Made by Starling " (crate::VERSION) "." } }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// Policy that lets the page's own style and script work, and nothing else.
fn policy() -> String {
    let hash = |content: &str| BASE64_STANDARD.encode(Sha256::digest(content.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "PASSED",
        Verdict::Failed => "FAILED",
        Verdict::Errored => "ERRORED",
        Verdict::Aborted => "ABORTED",
    }
}

fn head(result: &RunResult) -> Markup {
    let verdict = word(result.verdict);
    html! {
        header {
            h1 { span class={"verdict " (verdict.to_lowercase())} { (verdict) } " " (clean(&result.name)) }
            p { strong { (clean(&result.reason.to_string())) } ": " (clean(&result.message)) }
        }
    }
}

fn body(result: &RunResult) -> Markup {
    let plan = serde_json::from_value::<Plan>(result.plan.clone()).ok();
    html! {
        (thresholds(&result.thresholds))
        (summary(result))
        (remarks(result))
        @if result.started_at.is_some() {
            (charts(result, plan.as_ref()))
            (steps(&result.steps))
            (streams(&result.steps))
            (phases(&result.totals.phases))
            (tasks(result))
            (errors(result))
            @if let Some(capacity) = &result.capacity { (levels(capacity)) }
            (workers(result))
        }
        (events(result))
        (environment(result))
        (definitions())
    }
}

fn section(title: &str, content: Markup) -> Markup {
    html! { section { h2 { (title) } (content) } }
}

fn thresholds(thresholds: &[ThresholdResult]) -> Markup {
    if thresholds.is_empty() {
        return html! {};
    }
    let row = |threshold: &ThresholdResult| {
        let (class, word) = match threshold.verdict {
            ThresholdVerdict::Passed => ("passed", "passed"),
            ThresholdVerdict::Failed => ("failed", "failed"),
            ThresholdVerdict::NotJudged => ("errored", "not judged"),
        };
        let over = threshold
            .window_micros
            .map_or("the whole run".to_owned(), |window| {
                format!("windows of {}", format::micros(window as f64))
            });
        html! {
            tr {
                td class=(class) { (word) }
                td.text { (clean(&threshold.metric)) " " (clean(&threshold.expr)) }
                td.text { (selection(&threshold.select).map_or(String::new(), |of| clean(&of))) }
                td { (over) }
                td.number { (clean(&threshold.observed_text)) }
            }
        }
    };
    section(
        "Thresholds",
        html! {
            div.wide { table {
                thead { tr { th { "Verdict" } th { "Threshold" } th { "Of" } th { "Over" } th.number { "Observed" } } }
                tbody { @for threshold in thresholds { (row(threshold)) } }
            } }
        },
    )
}

fn summary(result: &RunResult) -> Markup {
    let totals = &result.totals;
    let has_times = totals.requests > totals.failures;
    let LatencySummary {
        p50, p95, p99, max, ..
    } = totals.latency;
    let times = [("p50", p50), ("p95", p95), ("p99", p99), ("max", max)];
    let times: Vec<String> = times
        .iter()
        .map(|(name, time)| format!("{name} {}", format::micros(*time as f64)))
        .collect();
    section(
        "Summary",
        html! {
            dl {
                dt { "Target" } dd { (clean(&result.target)) }
                dt { "Length" } dd { (format::micros(result.duration_micros as f64)) }
                @if result.started_at.is_some() {
                    dt { "Requests" }
                    dd { (format::count(totals.requests)) " (" (format::rate(totals.rps)) "/s), "
                         (format::count(totals.failures)) " failed (" (format::percent(totals.failure_rate)) ")" }
                    @if has_times { dt { "Latency" } dd { (times.join(", ")) } }
                    dt { "Iterations" }
                    dd { (format::count(totals.iterations)) " (" (format::rate(totals.achieved_rate)) "/s"
                         @if let Some(asked) = totals.requested_rate { " of " (format::rate(asked)) "/s asked for" }
                         ")" @if totals.dropped > 0 { ", " (format::count(totals.dropped)) " dropped" } }
                    @if let Some(load) = &result.load { (offered(load)) }
                    @if let Some(concurrency) = &result.concurrency { (at_once(concurrency)) }
                    dt { "Bytes" }
                    dd { (format::bytes(totals.sent_bytes)) " sent, " (format::bytes(totals.received_bytes)) " received" }
                    @if let Some(cost) = &result.cost { (price(cost)) }
                }
            }
        },
    )
}

fn offered(load: &LoadResult) -> Markup {
    html! {
        dt { "Load offered" }
        dd {
            (format::percent(load.offered)) " of what was planned"
            @for shortfall in &load.shortfalls {
                br; (format::percent(shortfall.share)) ": " (clean(&shortfall.why))
            }
        }
    }
}

fn at_once(concurrency: &ConcurrencyResult) -> Markup {
    let row = |name: &str, level: Option<LevelResult>| {
        html! {
            @if let Some(level) = level {
                dt { (name) }
                dd { (format::number(level.mean)) " on average, " (format::count(level.max)) " at most" }
            }
        }
    };
    html! {
        (row("In flight", concurrency.in_flight))
        (row("Users", concurrency.users))
        (row("Busy slots", concurrency.slots))
    }
}

fn price(cost: &CostResult) -> Markup {
    html! {
        @if let Some(per_million) = cost.per_million_requests {
            dt { "Cost" }
            dd { (format::money(per_million)) " " (clean(&cost.currency)) " for a million requests"
                 @if let Some(rate) = cost.rate { " at " (format::rate(rate)) "/s" } }
        }
        @if !cost.why_not.is_empty() { dt { "Cost" } dd { (clean(&cost.why_not)) } }
    }
}

fn remarks(result: &RunResult) -> Markup {
    if result.warnings.is_empty() && result.manual_changes.is_empty() {
        return html! {};
    }
    section(
        "Remarks",
        html! {
            ul {
                @for change in result.manual_changes.iter().take(MOST_ROWS) {
                    li { "Changed by hand at " (format::micros(change.after_micros as f64)) ": " (clean(&change.to_string())) }
                }
                @for warning in result.warnings.iter().take(MOST_ROWS) { li { (clean(warning)) } }
            }
        },
    )
}

fn charts(result: &RunResult, plan: Option<&Plan>) -> Markup {
    let series = |name: &'static str, of: &dyn Fn(usize) -> Option<f64>| Line {
        name,
        points: (0..result.series.len())
            .map(|nth| (f64::from(result.series[nth].second), of(nth)))
            .collect(),
    };
    let point = |nth: usize| result.series[nth];
    // a thinned series has points of several seconds
    let seconds = |nth: usize| {
        let before = nth
            .checked_sub(1)
            .map_or(-1, |before| i64::from(point(before).second));
        (i64::from(point(nth).second) - before).max(1) as f64
    };
    let time = |nth: usize, of: fn(usize, &RunResult) -> u64| {
        let has_any = point(nth).requests > point(nth).failures;
        has_any.then(|| of(nth, result) as f64)
    };
    let last = result.series.last().map_or(0, |point| point.second);
    let ticks = time_ticks(last);
    let chart = |title, lines, scale, limits, number| Chart {
        title,
        lines,
        scale,
        limits,
        marks: marks(result, last),
        ticks: ticks.clone(),
        number,
        across: "Second",
    };
    let per_second = |number: f64| format!("{}/s", format::rate(number));
    let rates = vec![
        series("requests", &|nth| {
            Some(point(nth).requests as f64 / seconds(nth))
        }),
        series("failures", &|nth| {
            Some(point(nth).failures as f64 / seconds(nth))
        }),
    ];
    let latencies = vec![
        series("p50", &|nth| time(nth, |nth, of| of.series[nth].p50)),
        series("p95", &|nth| time(nth, |nth, of| of.series[nth].p95)),
        series("p99", &|nth| time(nth, |nth, of| of.series[nth].p99)),
    ];
    let users = vec![series("users or busy slots", &|nth| {
        Some(point(nth).users as f64)
    })];
    section(
        "Over time",
        html! {
            (chart("Requests per second", rates, Scale::Linear, vec![], per_second).draw())
            (chart("Latency of successes", latencies, Scale::Log, limits(result, plan), format::micros).draw())
            (chart("Users, or busy slots of open load", users, Scale::Linear, vec![], format::number).draw())
            (percentile_curve(result))
        },
    )
}

/// Limits of latency that thresholds set for all requests of the run.
fn limits(result: &RunResult, plan: Option<&Plan>) -> Vec<(String, f64)> {
    let is_limit =
        |aggregate: Aggregate| matches!(aggregate, Aggregate::Percentile(_) | Aggregate::Max);
    let judged = result
        .thresholds
        .iter()
        .zip(plan.map_or(&[][..], |plan| &plan.thresholds));
    judged
        .filter(|(judged, threshold)| {
            judged.metric == histograms::LATENCY
                && selection(&judged.select).is_none()
                && is_limit(threshold.aggregate)
        })
        .map(|(judged, threshold)| {
            let name = format!("{} {}", judged.metric, clean(&judged.expr));
            (name, threshold.bound)
        })
        .collect()
}

/// Moments of the run that are marked in its charts, in seconds from its begin.
fn marks(result: &RunResult, last: u32) -> Vec<(f64, String)> {
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let Some(begin) = result.started_at.as_deref().and_then(time) else {
        return Vec::new();
    };
    let events = result.events.iter().filter_map(|event| {
        let second = time(&event.at)?.duration_since(begin).as_secs_f64();
        (0.0..=f64::from(last))
            .contains(&second)
            .then(|| (second, clean(&event.message)))
    });
    events.take(MOST_MARKS).collect()
}

fn time_ticks(last: u32) -> Vec<(f64, String)> {
    let count = 6.min(last).max(1);
    (0..=count)
        .map(|nth| f64::from(last) * f64::from(nth) / f64::from(count))
        .map(f64::round)
        .map(|second| (second, format::micros(second * 1e6)))
        .map(|(second, text)| (second, if second == 0.0 { "0".to_owned() } else { text }))
        .collect()
}

fn percentile_curve(result: &RunResult) -> Markup {
    by_percentile(&[("latency", result)])
}

/// Draws the latencies of two runs by percentile in one chart.
pub(super) fn overlay(first: &RunResult, second: &RunResult) -> Markup {
    by_percentile(&[("A", first), ("B", second)])
}

/// Draws latency by percentile, as far as ten samples of each run lie beyond it.
fn by_percentile(runs: &[(&'static str, &RunResult)]) -> Markup {
    let samples = runs
        .iter()
        .map(|(name, result)| Some((*name, histograms::of_run(result)?)));
    let Some(samples) = samples.collect::<Option<Vec<_>>>() else {
        return html! {};
    };
    let fewest = samples.iter().map(|(_, samples)| samples.len()).min();
    let end = 1.0 - 10.0 / fewest.unwrap_or_default().max(1) as f64;
    // places are nines: 1 is 90%, 2 is 99%
    let nines = |quantile: f64| -(1.0 - quantile).log10();
    let quantiles = (0..=200).map(|nth| 1.0 - 10_f64.powf(-f64::from(nth) / 40.0));
    let quantiles: Vec<f64> = quantiles.take_while(|quantile| *quantile <= end).collect();
    let line = |(name, samples): &(&'static str, Histogram<u64>)| Line {
        name,
        points: quantiles
            .iter()
            .map(|quantile| {
                (
                    nines(*quantile),
                    Some(samples.value_at_quantile(*quantile) as f64),
                )
            })
            .collect(),
    };
    let ticks = [
        (0.0, "0%"),
        (0.5, "50%"),
        (0.9, "90%"),
        (0.99, "99%"),
        (0.999, "99.9%"),
        (0.9999, "99.99%"),
    ];
    let ticks = ticks.iter().filter(|(quantile, _)| *quantile <= end);
    let ticks = ticks.map(|(quantile, text)| (nines(*quantile), (*text).to_owned()));
    let chart = Chart {
        title: "Latency of successes by percentile, while ten samples are slower",
        lines: samples.iter().map(line).collect(),
        scale: Scale::Log,
        limits: vec![],
        marks: vec![],
        ticks: ticks.collect(),
        number: format::micros,
        across: "Nines",
    };
    chart.draw()
}

fn steps(steps: &[StepResult]) -> Markup {
    let row = |step: &StepResult| {
        let has_any = step.requests > step.failures;
        let time = |micros: u64| {
            html! {
                @if has_any { td.number data-value=(micros) { (format::micros(micros as f64)) } }
                @else { td.number data-value="-1" { "-" } }
            }
        };
        let LatencySummary {
            min,
            mean: _,
            p50,
            p90,
            p95,
            p99,
            p999,
            max,
        } = step.latency;
        html! {
            tr {
                td.text { (clean(&step_label(step))) }
                td.number data-value=(step.requests) { (format::count(step.requests)) }
                td.number data-value=(step.rps) { (format::rate(step.rps)) "/s" }
                td.number data-value=(step.failures) { (format::count(step.failures)) }
                td.number data-value=(step.failure_rate) { (format::percent(step.failure_rate)) }
                @for micros in [min, p50, p90, p95, p99, p999, max] { (time(micros)) }
                td.number data-value=(step.received_bytes) { (format::bytes(step.received_bytes)) }
            }
        }
    };
    section(
        "Steps",
        html! {
            div.wide { table.sortable {
                thead { tr {
                    th { "Step" }
                    @for name in ["Requests", "Rate", "Failed", "Failed %", "Min", "p50", "p90", "p95", "p99", "p99.9", "Max", "Received"] {
                        th.number { (name) }
                    }
                } }
                tbody { @for step in steps { (row(step)) } }
            } }
        },
    )
}

fn streams(steps: &[StepResult]) -> Markup {
    let with: Vec<_> = steps
        .iter()
        .filter_map(|step| Some((step, step.stream.as_ref()?)))
        .collect();
    if with.is_empty() {
        return html! {};
    }
    let times = |summary: &LatencySummary| {
        html! {
            @for micros in [summary.p50, summary.p95, summary.p99] { td.number { (format::micros(micros as f64)) } }
        }
    };
    section(
        "Streams",
        html! {
            div.wide { table {
                thead { tr { th { "Step" } th { "Time" } th.number { "p50" } th.number { "p95" } th.number { "p99" } } }
                tbody {
                    @for (step, stream) in with {
                        @let name = clean(&step_label(step));
                        @match &stream.llm {
                            Some(llm) => {
                                tr { td.text { (name) } td { "time to the first token (TTFT)" } (times(&llm.ttft)) }
                                tr { td.text { (name) } td { "between tokens (ITL)" } (times(&llm.itl)) }
                                tr { td.text { (name) } td { "per output token (TPOT)" } (times(&llm.tpot)) }
                            }
                            None => {
                                @if let Some(first) = &stream.first { tr { td.text { (name) } td { "to the first message" } (times(first)) } }
                                @if let Some(gap) = &stream.gap { tr { td.text { (name) } td { "between messages" } (times(gap)) } }
                            }
                        }
                    }
                }
            } }
        },
    )
}

fn phases(phases: &[PhaseResult]) -> Markup {
    if phases.is_empty() {
        return html! {};
    }
    section(
        "Phases",
        html! {
            p.soft { "Of successes that had the phase. Percentiles of phases do not add up." }
            div.wide { table {
                thead { tr { th { "Phase" } th.number { "Requests" } @for name in ["Mean", "p50", "p95", "p99", "Max"] { th.number { (name) } } } }
                tbody {
                    @for phase in phases {
                        tr {
                            td { (clean(&phase.phase)) }
                            td.number { (format::count(phase.count)) }
                            td.number { (format::micros(phase.summary.mean)) }
                            @for micros in [phase.summary.p50, phase.summary.p95, phase.summary.p99, phase.summary.max] {
                                td.number { (format::micros(micros as f64)) }
                            }
                        }
                    }
                }
            } }
        },
    )
}

fn tasks(result: &RunResult) -> Markup {
    if result.tasks.len() < 2 {
        return html! {};
    }
    section(
        "Tasks",
        html! {
            div.wide { table.sortable {
                thead { tr { th { "Task" } th.number { "Finished" } th.number { "Failed" } th.number { "p50" } th.number { "p95" } } }
                tbody {
                    @for task in &result.tasks {
                        tr {
                            td.text { (clean(&label(&task.scenario, &task.task, ""))) }
                            td.number data-value=(task.finished) { (format::count(task.finished)) }
                            td.number data-value=(task.failed) { (format::count(task.failed)) }
                            td.number data-value=(task.duration.p50) { (format::micros(task.duration.p50 as f64)) }
                            td.number data-value=(task.duration.p95) { (format::micros(task.duration.p95 as f64)) }
                        }
                    }
                }
            } }
        },
    )
}

fn errors(result: &RunResult) -> Markup {
    if result.errors.is_empty() {
        return html! {};
    }
    let requests = result.totals.requests.max(1) as f64;
    section(
        "Failures",
        html! {
            div.wide { table.sortable {
                thead { tr { th.number { "Count" } th.number { "Share" } th { "Class" } th.number { "Status" } th { "Step" } th { "Sample" } } }
                tbody {
                    @for error in result.errors.iter().take(MOST_ROWS) {
                        tr {
                            td.number data-value=(error.count) { (format::count(error.count)) }
                            td.number data-value=(error.count) { (format::percent((error.count as f64 / requests).min(1.0))) }
                            td { (error.class.map_or("other", |class| class.name())) }
                            td.number { @if let Some(status) = error.status { (status) } }
                            td.text { (clean(&label(&error.scenario, &error.task, &error.step))) }
                            td.text { (clean(&error.sample)) }
                        }
                    }
                }
            } }
        },
    )
}

fn levels(capacity: &CapacityResult) -> Markup {
    let answer = match capacity.rate {
        Some(rate) => format!("{}/s hold", format::rate(rate)),
        None => "No rate was found that holds".to_owned(),
    };
    section(
        "Capacity",
        html! {
            p { (answer) @if let Some(limit) = &capacity.limited_by { "; limited by: " (limit) } }
            div.wide { table {
                thead { tr { th.number { "Rate" } th { "Held" } th.number { "Achieved" } th.number { "Failed" } th.number { "p50" } th.number { "p95" } th.number { "p99" } th { "Why" } } }
                tbody {
                    @for level in capacity.curve.iter().take(MOST_ROWS) {
                        tr {
                            td.number { (format::rate(level.rate)) "/s" }
                            td class=(if level.held { "passed" } else { "failed" }) { (if level.held { "held" } else { "not held" }) }
                            td.number { (format::rate(level.achieved_rate)) "/s" }
                            td.number { (format::percent(level.failure_rate)) }
                            @for micros in [level.p50, level.p95, level.p99] { td.number { (format::micros(micros as f64)) } }
                            td.text { (clean(&level.why)) }
                        }
                    }
                }
            } }
        },
    )
}

fn workers(result: &RunResult) -> Markup {
    let generator = &result.generator;
    section(
        "Load generator",
        html! {
            dl {
                dt { "Workers" }
                dd { (result.workers.planned) @if result.workers.lost > 0 { ", " (result.workers.lost) " lost, " (result.workers.rejoined) " came back" } }
                dt { "CPU" } dd { (format::percent(generator.cpu)) " of the cores it may use" }
                dt { "Late by" } dd { "at most " (format::micros(generator.schedule_lag_p99 as f64)) " for 99% of all actions" }
                @if result.workers.planned > 1 { dt { "Start skew" } dd { (format::micros(generator.start_skew_micros as f64)) } }
                @for worker in &generator.workers { dt { "Saturated" } dd { "worker " (worker.worker) ": " (clean(&worker.why)) } }
            }
            @if result.fleet.len() > 1 {
                div.wide { table.sortable {
                    thead { tr { th.number { "Worker" } th { "Place" } th.number { "Requests" } th.number { "Failed" } th.number { "p95" } } }
                    tbody {
                        @for worker in result.fleet.iter().take(MOST_ROWS) {
                            tr {
                                td.number data-value=(worker.worker) { (worker.worker) }
                                td.text { (clean(&worker.place)) }
                                td.number data-value=(worker.requests) { (format::count(worker.requests)) }
                                td.number data-value=(worker.failures) { (format::count(worker.failures)) }
                                td.number data-value=(worker.p95) { (format::micros(worker.p95 as f64)) }
                            }
                        }
                    }
                } }
            }
        },
    )
}

fn events(result: &RunResult) -> Markup {
    if result.events.is_empty() {
        return html! {};
    }
    section(
        "Events",
        html! {
            div.wide { table {
                thead { tr { th { "Time" } th { "Event" } } }
                tbody {
                    @for event in result.events.iter().take(MOST_ROWS) {
                        tr { td { (clean(&event.at)) } td.text { (clean(&event.message)) } }
                    }
                }
            } }
        },
    )
}

fn environment(result: &RunResult) -> Markup {
    let plan = serde_json::to_string_pretty(&result.plan).unwrap_or_default();
    let plan: Vec<String> = plan.lines().map(clean).collect();
    let plan = plan.join("\n");
    section(
        "Run",
        html! {
            dl {
                dt { "Run" } dd { (clean(&result.run)) }
                @if let Some(namespace) = &result.namespace { dt { "Namespace" } dd { (clean(namespace)) } }
                @if let Some(started) = &result.started_at { dt { "Load began" } dd { (clean(started)) } }
                dt { "Ended" } dd { (clean(&result.finished_at)) }
                dt { "Digest of the test" } dd { (clean(&result.digest)) }
                dt { "Seed" } dd { (result.seed) }
                @if !result.overrides.is_empty() { dt { "Changed by" } dd { (clean(&result.overrides.join(", "))) } }
                @for feeder in &result.feeders {
                    dt { "Rows of " (clean(&feeder.name)) }
                    dd { (format::count(feeder.leased)) " leased, " (format::count(feeder.used)) " used" @if feeder.lost > 0 { ", " (format::count(feeder.lost)) " lost" } }
                }
            }
            details { summary { "The plan" } pre { (plan) } }
        },
    )
}

fn definitions() -> Markup {
    section(
        "What the words mean",
        html! {
            dl {
                dt { "Latency" } dd { "from when a request was to be sent, by the plan, to the last byte of its answer; of requests that succeeded" }
                dt { "Failed" } dd { "no answer, an answer with a status of failure, or one that a check refused" }
                dt { "Dropped" } dd { "arrivals of open load that found no free slot, or no row of a feeder" }
                dt { "p95" } dd { "95% of the samples are at most as large; merged exactly over all workers" }
                dt { "In flight" } dd { "requests sent and not yet answered" }
                dt { "Saturated" } dd { "the load generator itself was the limit, so the numbers are not the target's" }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::super::text::tests::result;
    use super::*;
    use crate::stats::result::{Event, SeriesPoint};

    fn with_series() -> RunResult {
        let point = |second| SeriesPoint {
            second,
            requests: 100 + u64::from(second),
            failures: 1,
            users: 10,
            p50: 1_000,
            p95: 14_200,
            p99: 20_000,
        };
        RunResult {
            series: (0..10).map(point).collect(),
            ..result()
        }
    }

    #[test]
    fn a_page_has_the_verdict_first_and_needs_nothing_from_elsewhere() {
        let page = render(&with_series());
        let at = |words: &str| page.find(words).unwrap_or_else(|| panic!("{words}"));
        assert!(at("FAILED") < at("Thresholds") && at("Thresholds") < at("Over time"));
        assert!(at("Requests per second") < at("<path"));
        for elsewhere in [
            "http://cdn",
            "src=",
            "@import",
            "url(",
            "<link",
            " style=",
            " onclick=",
        ] {
            assert!(!page.contains(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn the_policy_lets_in_the_pages_own_script_and_style_by_their_hashes() {
        let page = render(&result());
        let inner = |tag: &str| {
            let (_, rest) = page.split_once(&format!("<{tag}>")).unwrap();
            rest.split_once(&format!("</{tag}>")).unwrap().0.to_owned()
        };
        for tag in ["style", "script"] {
            let hash = BASE64_STANDARD.encode(Sha256::digest(inner(tag).as_bytes()));
            assert!(page.contains(&format!("sha256-{hash}")), "{tag}");
        }
    }

    #[test]
    fn what_a_target_or_an_author_wrote_is_text() {
        let mut hostile = with_series();
        let script = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u{202e}";
        hostile.name = script.to_owned();
        hostile.errors[0].sample = script.to_owned();
        hostile.steps[0].step = script.to_owned();
        hostile.plan = serde_json::json!({"a": script});
        hostile.events.push(Event {
            at: "2026-01-01T00:00:05Z".into(),
            message: script.to_owned(),
        });
        let page = render(&hostile);
        assert_eq!(page.matches("<script>").count(), 1);
        assert!(!page.contains("<img") && !page.contains('\u{202e}'));
    }

    #[test]
    fn a_page_of_the_largest_test_stays_small() {
        let mut large = with_series();
        large.steps = vec![large.steps[0].clone(); 500];
        large.series = (0..1_200)
            .map(|second| SeriesPoint {
                second,
                ..large.series[0]
            })
            .collect();
        let page = render(&large);
        assert!(page.len() < 2 * 1024 * 1024, "{}", page.len());
    }
}
