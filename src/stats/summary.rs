//! Summaries: the numbers of a result, computed from merged snapshots by pure functions.

mod stream;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::result::{
    ErrorResult, GoodputResult, HistogramResult, LatencySummary, PhaseResult, RecordResult,
    RetryAfterResult, SeriesPoint, StatusCount, StepResult, StreamResult, TaskResult, Totals,
};
use super::{
    Histogram, Phase, PhaseStats, Snapshot, StepStats, StreamStats, TaskStats, TrendStats,
};

/// Names of a step; its position in the list is the step's number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepName {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the task, block or section.
    pub task: String,
    /// Name of the step.
    pub step: String,
    /// True if the step's requests are only counted, so that it has no samples.
    pub is_control: bool,
}

/// Amounts of the plan that rates are computed from.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Length of the profile.
    pub length: Duration,
    /// Arrivals of the whole profile; `None` in closed load.
    pub arrivals: Option<u64>,
}

impl Scale {
    fn per_second(&self, count: u64) -> f64 {
        let seconds = self.length.as_secs_f64();
        if seconds > 0.0 {
            count as f64 / seconds
        } else {
            0.0
        }
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole > 0 {
        part as f64 / whole as f64
    } else {
        0.0
    }
}

impl LatencySummary {
    /// Summarises a histogram of microseconds.
    pub fn of(histogram: &Histogram) -> Self {
        let p = |percent| histogram.percentile(percent);
        Self {
            min: histogram.min(),
            mean: histogram.mean(),
            p50: p(50.0),
            p90: p(90.0),
            p95: p(95.0),
            p99: p(99.0),
            p999: p(99.9),
            max: histogram.max(),
        }
    }
}

impl Totals {
    /// Sums up a run.
    pub fn of(snapshot: &Snapshot, scale: Scale) -> Self {
        let sum = all_steps(snapshot);
        let counters = snapshot.counters;
        Self {
            requests: sum.requests,
            failures: sum.failures,
            failure_rate: share(sum.failures, sum.requests),
            interrupted: counters.interrupted,
            unsent: counters.unsent,
            iterations: counters.iterations,
            dropped: counters.dropped,
            feeder_drops: counters.feeder_drops,
            connects: counters.connects,
            warmup: counters.warmup,
            warmup_failures: counters.warmup_failures,
            control: counters.control,
            control_failures: counters.control_failures,
            retries: counters.retries,
            retry_pause_micros: counters.retry_pause_micros,
            redirect_hops: counters.redirect_hops,
            received_by_target: snapshot.received_by_target(),
            checks_passed: sum.checks_passed,
            checks_failed: sum.checks_failed,
            // known only where the seconds are put together, which sets it
            late: 0,
            rps: scale.per_second(sum.requests),
            requested_rate: scale.arrivals.map(|arrivals| scale.per_second(arrivals)),
            achieved_rate: scale.per_second(counters.iterations),
            sent_bytes: sum.sent_bytes,
            received_bytes: sum.received_bytes,
            latency: LatencySummary::of(&sum.latency),
            service_time: LatencySummary::of(&sum.service_time),
            phases: phase_results(&sum.phases),
            goodput: GoodputResult::of(sum.goodput, counters.dropped, scale),
        }
    }
}

/// Results of the phases with samples, in chronological order.
fn phase_results(phases: &PhaseStats) -> Vec<PhaseResult> {
    let with_samples = Phase::ALL
        .into_iter()
        .map(|phase| (phase, phases.of(phase)))
        .filter(|(_, histogram)| !histogram.is_empty());
    let result = |(phase, histogram): (Phase, &Histogram)| PhaseResult {
        phase: phase.name().to_owned(),
        count: histogram.count(),
        summary: LatencySummary::of(histogram),
    };
    with_samples.map(result).collect()
}

/// One result for each task, whose scenario and name are listed in the order of the plan.
pub fn task_results(snapshot: &Snapshot, names: &[(String, String)]) -> Vec<TaskResult> {
    let none = TaskStats::default();
    let one = |(place, (scenario, task)): (usize, &(String, String))| {
        let TaskStats {
            finished,
            failed,
            duration,
        } = u16::try_from(place)
            .ok()
            .and_then(|place| snapshot.tasks.get(&place))
            .unwrap_or(&none);
        let duration = LatencySummary::of(duration);
        TaskResult {
            scenario: scenario.clone(),
            task: task.clone(),
            finished: *finished,
            failed: *failed,
            duration,
        }
    };
    names.iter().enumerate().map(one).collect()
}

/// Name and unit of a recorded number; its position in the list is the trend's number.
#[derive(Debug, Clone, PartialEq)]
pub struct TrendName {
    /// Name of the record.
    pub name: String,
    /// Unit, as the test says.
    pub unit: String,
    /// Number of base units in one of this unit.
    pub in_base: f64,
}

/// One result for each record, in the order of the names; all zero for one that found nothing.
pub fn record_results(snapshot: &Snapshot, names: &[TrendName]) -> Vec<RecordResult> {
    let none = TrendStats::default();
    let one = |(
        place,
        TrendName {
            name,
            unit,
            in_base,
        },
    ): (usize, &TrendName)| {
        let TrendStats { values, missing } = u16::try_from(place)
            .ok()
            .and_then(|place| snapshot.trends.get(&place))
            .unwrap_or(&none);
        let p = |percent| values.percentile(percent) as f64 / in_base;
        RecordResult {
            name: name.clone(),
            unit: unit.clone(),
            count: values.count(),
            missing: *missing,
            clamped: values.clamped(),
            min: values.min() as f64 / in_base,
            mean: values.mean() / in_base,
            p50: p(50.0),
            p90: p(90.0),
            p95: p(95.0),
            p99: p(99.0),
            p999: p(99.9),
            max: values.max() as f64 / in_base,
        }
    };
    names.iter().enumerate().map(one).collect()
}

fn status_counts<K: Copy + Into<u16>>(counts: &BTreeMap<K, u64>) -> Vec<StatusCount> {
    counts
        .iter()
        .map(|(status, count)| StatusCount {
            status: (*status).into(),
            count: *count,
        })
        .collect()
}

/// One result for each step, in the order of the names; all zero for a step without samples.
pub fn step_results(snapshot: &Snapshot, names: &[StepName], scale: Scale) -> Vec<StepResult> {
    let none = StepStats::default();
    let one = |(place, name): (usize, &StepName)| {
        let stats = u16::try_from(place)
            .ok()
            .and_then(|place| snapshot.steps.get(&place))
            .unwrap_or(&none);
        StepResult {
            scenario: name.scenario.clone(),
            task: name.task.clone(),
            step: name.step.clone(),
            requests: stats.requests,
            failures: stats.failures,
            failure_rate: share(stats.failures, stats.requests),
            rps: scale.per_second(stats.requests),
            sent_bytes: stats.sent_bytes,
            received_bytes: stats.received_bytes,
            latency: LatencySummary::of(&stats.latency),
            service_time: LatencySummary::of(&stats.service_time),
            failed_latency: LatencySummary::of(&stats.failed_latency),
            phases: phase_results(&stats.phases),
            checks_passed: stats.checks_passed,
            checks_failed: stats.checks_failed,
            statuses: status_counts(&stats.statuses),
            grpc_statuses: status_counts(&stats.grpc_statuses),
            stream: stats
                .stream
                .as_ref()
                .map(|stream| StreamResult::of(stream, scale)),
            goodput: GoodputResult::of(stats.goodput, snapshot.counters.dropped, scale),
        }
    };
    names
        .iter()
        .enumerate()
        .filter(|(_, name)| !name.is_control)
        .map(one)
        .collect()
}

/// Results of all failures, the most frequent first, those that found no place in the table last.
/// The names are those of the request steps, and behind them those of the steps with a condition, a
/// repetition or a list.
pub fn error_results(snapshot: &Snapshot, names: &[StepName]) -> Vec<ErrorResult> {
    let mut results: Vec<_> = snapshot
        .errors
        .iter()
        .map(|(key, entry)| {
            let name = names.get(usize::from(key.step));
            let text = |of: fn(&StepName) -> &String| {
                name.map(|name| of(name).clone()).unwrap_or_default()
            };
            ErrorResult {
                class: Some(key.class),
                scenario: text(|name| &name.scenario),
                task: text(|name| &name.task),
                step: text(|name| &name.step),
                status: key.status,
                count: entry.count,
                sample: entry.message.clone(),
                retry_after: retry_after_result(&entry.retry_after),
            }
        })
        .collect();
    // stable: equal counts stay in the order of class, step and status
    results.sort_by_key(|result| std::cmp::Reverse(result.count));
    if snapshot.errors.other() > 0 {
        let none = String::new;
        results.push(ErrorResult {
            class: None,
            scenario: none(),
            task: none(),
            step: none(),
            status: None,
            count: snapshot.errors.other(),
            sample: "further kinds of errors".into(),
            retry_after: None,
        });
    }
    results
}

fn retry_after_result(asked: &Histogram) -> Option<RetryAfterResult> {
    let seconds = |millis: u64| (millis as f64 / 1e3).round() as u64;
    let (min, median, max) = (
        seconds(asked.min()),
        seconds(asked.percentile(50.0)),
        seconds(asked.max()),
    );
    (!asked.is_empty()).then(|| RetryAfterResult {
        count: asked.count(),
        min,
        median,
        max,
    })
}

/// Distributions of a step, each with the outcome and the name of what is measured.
fn distributions(stats: &StepStats) -> Vec<(&'static str, &'static str, &Histogram)> {
    let mut kinds = vec![
        ("Success", "latency", &stats.latency),
        ("Success", "serviceTime", &stats.service_time),
        ("Failure", "latency", &stats.failed_latency),
    ];
    match stats.stream.as_deref() {
        None => {}
        Some(StreamStats {
            first,
            gap,
            llm: None,
            ..
        }) => kinds.extend([("Success", "first", first), ("Any", "gap", gap)]),
        Some(StreamStats {
            first,
            gap,
            llm: Some(llm),
            ..
        }) => {
            kinds.extend([
                ("Success", "ttft", first),
                ("Any", "itl", gap),
                ("Success", "tpot", &llm.per_token),
            ]);
        }
    }
    kinds
}

/// Every histogram with samples, in the order of the names.
pub fn histogram_results(snapshot: &Snapshot, names: &[StepName]) -> Vec<HistogramResult> {
    let mut results = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let Some(stats) = u16::try_from(place)
            .ok()
            .and_then(|place| snapshot.steps.get(&place))
        else {
            continue;
        };
        for (outcome, metric, histogram) in distributions(stats) {
            let Some(v2) = histogram.to_hdr_v2() else {
                continue;
            };
            let StepName {
                scenario,
                task,
                step,
                is_control: _,
            } = name.clone();
            results.push(HistogramResult {
                scenario,
                task,
                step,
                outcome: outcome.into(),
                metric: metric.into(),
                hdr_v2: STANDARD.encode(v2),
            });
        }
    }
    results
}

impl SeriesPoint {
    /// Summarises one complete second, given the sum of its steps and the users at its end.
    pub fn of(second: u32, sum: &StepStats, users: u64) -> Self {
        let p = |percent| sum.latency.percentile(percent);
        Self {
            second,
            requests: sum.requests,
            failures: sum.failures,
            users,
            p50: p(50.0),
            p95: p(95.0),
            p99: p(99.0),
        }
    }
}

/// Sum of the steps that `select` chooses by their number.
pub fn selected(snapshot: &Snapshot, mut select: impl FnMut(u16) -> bool) -> StepStats {
    let mut sum = StepStats {
        statuses: BTreeMap::new(),
        ..StepStats::default()
    };
    snapshot
        .steps
        .iter()
        .filter(|(place, _)| select(**place))
        .for_each(|(_, stats)| sum.merge(stats));
    sum
}

/// Sum of all steps.
pub fn all_steps(snapshot: &Snapshot) -> StepStats {
    selected(snapshot, |_| true)
}

#[cfg(test)]
mod tests {
    use super::super::{ErrorClass, ErrorKey};
    use super::*;

    fn names() -> Vec<StepName> {
        ["a", "b"]
            .map(|step| StepName {
                scenario: "s".into(),
                task: "t".into(),
                step: step.into(),
                is_control: false,
            })
            .into()
    }

    const TEN_SECONDS: Scale = Scale {
        length: Duration::from_secs(10),
        arrivals: Some(100),
    };

    #[test]
    fn an_empty_run_summarises_to_numbers() {
        let nothing = Scale {
            length: Duration::ZERO,
            arrivals: Some(0),
        };
        let totals = Totals::of(&Snapshot::default(), nothing);
        assert_eq!(
            totals,
            Totals {
                requested_rate: Some(0.0),
                ..Totals::default()
            }
        );
        assert_eq!(
            step_results(&Snapshot::default(), &names(), nothing).len(),
            2
        );
        assert!(!serde_json::to_string(&totals).unwrap().contains("null"));
        assert!(histogram_results(&Snapshot::default(), &names()).is_empty());
    }

    #[test]
    fn rates_divide_by_the_length_of_the_profile() {
        let mut snapshot = Snapshot::default();
        snapshot.counters.iterations = 90;
        snapshot.steps.insert(
            1,
            StepStats {
                requests: 50,
                failures: 10,
                ..StepStats::default()
            },
        );
        let totals = Totals::of(&snapshot, TEN_SECONDS);
        assert_eq!(
            (
                totals.rps,
                totals.failure_rate,
                totals.achieved_rate,
                totals.requested_rate
            ),
            (5.0, 0.2, 9.0, Some(10.0))
        );
        let steps = step_results(&snapshot, &names(), TEN_SECONDS);
        assert_eq!((steps[0].requests, steps[1].requests), (0, 50));
    }

    #[test]
    fn the_most_frequent_error_comes_first() {
        let mut snapshot = Snapshot::default();
        let mut fail = |class, step, times| {
            (0..times).for_each(|_| {
                snapshot.errors.record(
                    ErrorKey {
                        class,
                        step,
                        status: None,
                    },
                    || "why".into(),
                )
            })
        };
        fail(ErrorClass::Connect, 0, 1);
        fail(ErrorClass::Timeout, 1, 3);
        let errors = error_results(&snapshot, &names());
        assert_eq!(
            errors
                .iter()
                .map(|e| (e.step.as_str(), e.count))
                .collect::<Vec<_>>(),
            [("b", 3), ("a", 1)]
        );
        assert_eq!(
            serde_json::to_value(&errors[0]).unwrap()["class"],
            "timeout"
        );
    }
}
