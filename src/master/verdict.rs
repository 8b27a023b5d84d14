//! The verdict: every threshold judged over the merged samples. A pure function.

use crate::plan::threshold::{Aggregate, Metric, Outcome};
use crate::plan::{Plan, Threshold};
use crate::stats::result::{ThresholdResult, ThresholdVerdict, Totals, Verdict};
use crate::stats::summary::selected;
use crate::stats::{Histogram, Snapshot, StepStats, format};

/// How a run that came to its end is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    pub verdict: Verdict,
    /// CamelCase; goes into conditions.
    pub reason: String,
    pub message: String,
    pub thresholds: Vec<ThresholdResult>,
}

/// Judges a whole run. `Passed` needs every threshold judged and met, at least one success, and few enough dropped arrivals.
pub fn judge(plan: &Plan, snapshot: &Snapshot, totals: &Totals) -> Judgement {
    let thresholds: Vec<ThresholdResult> = plan.thresholds.iter().map(|threshold| judge_one(plan, threshold, snapshot, totals)).collect();
    let (verdict, reason, message) = sum_up(plan, &thresholds, totals);
    Judgement { verdict, reason: reason.to_owned(), message, thresholds }
}

fn sum_up(plan: &Plan, thresholds: &[ThresholdResult], totals: &Totals) -> (Verdict, &'static str, String) {
    if totals.requests == 0 {
        return (Verdict::Errored, "NoRequestFinished", "no request finished, so there is nothing to judge".into());
    }
    let missed: Vec<String> = thresholds.iter().filter(|t| t.verdict != ThresholdVerdict::Passed).map(describe).collect();
    if !missed.is_empty() {
        return (
            Verdict::Failed,
            "ThresholdsBreached",
            format!("{} of {} thresholds not met: {}", missed.len(), thresholds.len(), missed.join("; ")),
        );
    }
    if totals.failures == totals.requests {
        return (Verdict::Failed, "NoSuccess", format!("all {} requests failed", totals.requests));
    }
    if let Some(max_dropped) = plan.max_dropped() {
        let due = totals.iterations + totals.dropped;
        let share = totals.dropped as f64 / due.max(1) as f64;
        if share > max_dropped {
            let message = format!(
                "{} of {due} arrivals found no free slot and were dropped; maxDropped allows {}%",
                totals.dropped,
                max_dropped * 100.0
            );
            return (Verdict::Failed, "TooManyDropped", message);
        }
    }
    match thresholds.len() {
        0 => (Verdict::Passed, "NoThresholds", "the run came to its end; there are no thresholds".into()),
        1 => (Verdict::Passed, "ThresholdsMet", "the threshold was met".into()),
        count => (Verdict::Passed, "ThresholdsMet", format!("all {count} thresholds were met")),
    }
}

fn describe(result: &ThresholdResult) -> String {
    match result.verdict {
        ThresholdVerdict::NotJudged => format!("{} {}: no samples to judge", result.metric, result.expr),
        _ => format!("{} {}: observed {}", result.metric, result.expr, result.observed_text),
    }
}

fn judge_one(plan: &Plan, threshold: &Threshold, snapshot: &Snapshot, totals: &Totals) -> ThresholdResult {
    let observed = observe(plan, threshold, snapshot, totals);
    let verdict = match observed {
        None => ThresholdVerdict::NotJudged,
        Some(value) if threshold.is_met(value) => ThresholdVerdict::Passed,
        Some(_) => ThresholdVerdict::Failed,
    };
    ThresholdResult {
        metric: metric_name(threshold.metric).to_owned(),
        expr: threshold.expr.clone(),
        select: select_json(threshold),
        observed,
        observed_text: observed.map_or_else(|| "no samples".to_owned(), |value| with_unit(threshold.metric, value)),
        verdict,
    }
}

/// What the threshold's aggregate comes to; `None` without samples.
fn observe(plan: &Plan, threshold: &Threshold, snapshot: &Snapshot, totals: &Totals) -> Option<f64> {
    let places: Vec<bool> = plan.steps().map(|place| threshold.select.matches(&place)).collect();
    let stats = || selected(snapshot, |place| places.get(usize::from(place)).copied().unwrap_or(false));
    match threshold.metric {
        Metric::Latency => aggregate(threshold.aggregate, &latencies(&stats(), threshold.select.outcome)),
        // the time of service of what failed is not kept: it has no meaning of its own
        Metric::ServiceTime => aggregate(threshold.aggregate, &stats().service_time),
        Metric::Failures => {
            let stats = stats();
            (stats.requests > 0).then(|| stats.failures as f64 / stats.requests as f64)
        }
        Metric::Achieved => Some(totals.achieved_rate),
    }
}

fn latencies(stats: &StepStats, outcome: Outcome) -> Histogram {
    let mut histogram = match outcome {
        Outcome::Success | Outcome::Any => stats.latency.clone(),
        Outcome::Failure => Histogram::new(),
    };
    if outcome != Outcome::Success {
        histogram.merge(&stats.failed_latency);
    }
    histogram
}

fn aggregate(aggregate: Aggregate, histogram: &Histogram) -> Option<f64> {
    (!histogram.is_empty()).then(|| match aggregate {
        Aggregate::Percentile(percent) => histogram.percentile(percent) as f64,
        Aggregate::Med => histogram.percentile(50.0) as f64,
        Aggregate::Avg => histogram.mean(),
        Aggregate::Min => histogram.min() as f64,
        Aggregate::Max => histogram.max() as f64,
        // only metrics that are not times have a rate; parsing holds to it
        Aggregate::Rate => 0.0,
    })
}

fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Latency => "latency",
        Metric::ServiceTime => "serviceTime",
        Metric::Failures => "failures",
        Metric::Achieved => "achieved",
    }
}

fn with_unit(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Latency | Metric::ServiceTime => format::micros(value),
        Metric::Failures => format::percent(value),
        Metric::Achieved => format!("{}/s", format::rate(value)),
    }
}

fn select_json(threshold: &Threshold) -> serde_json::Value {
    let select = &threshold.select;
    let mut json = serde_json::Map::new();
    for (name, value) in [("scenario", &select.scenario), ("task", &select.task), ("step", &select.step)] {
        if let Some(value) = value {
            json.insert(name.to_owned(), value.as_str().into());
        }
    }
    if select.outcome != Outcome::Success {
        json.insert("outcome".to_owned(), serde_json::to_value(select.outcome).unwrap_or_default());
    }
    json.into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::stats::summary::Scale;

    fn plan(thresholds: serde_json::Value, load: serde_json::Value) -> Plan {
        let spec = json!({
            "target": {"url": "http://t"},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"name": "a", "http": {"path": "/"}}, {"name": "b", "http": {"path": "/"}}]}]}],
            "load": load, "thresholds": thresholds,
        });
        crate::crd::check(&serde_json::from_value(spec).unwrap()).unwrap().plan
    }

    fn closed() -> serde_json::Value {
        json!({"closed": {"users": 1, "duration": "10s"}})
    }

    /// Step a: 100 successes of 10 ms; step b: 50 of 100 ms, of which `failures` failed instead.
    fn samples(failures: u64) -> Snapshot {
        let mut a = StepStats { requests: 100, ..StepStats::default() };
        (0..100).for_each(|_| a.latency.record(10_000));
        let mut b = StepStats { requests: 50, failures, ..StepStats::default() };
        (failures..50).for_each(|_| b.latency.record(100_000));
        (0..failures).for_each(|_| b.failed_latency.record(1_000_000));
        Snapshot { steps: [(0, a), (1, b)].into(), ..Snapshot::default() }
    }

    fn judged(thresholds: serde_json::Value, snapshot: &Snapshot) -> Judgement {
        let plan = plan(thresholds, closed());
        judge(&plan, snapshot, &Totals::of(snapshot, Scale { length: Duration::from_secs(10), arrivals: None }))
    }

    #[test]
    fn nothing_finished_is_no_verdict() {
        assert_eq!(judged(json!([]), &Snapshot::default()).verdict, Verdict::Errored);
    }

    #[test]
    fn only_failures_never_pass() {
        let mut all_failed = samples(50);
        all_failed.steps.remove(&0);
        assert_eq!(judged(json!([]), &all_failed).reason, "NoSuccess");
    }

    #[test]
    fn a_threshold_without_samples_is_not_met() {
        let mut only_a = samples(0);
        only_a.steps.remove(&1);
        let judgement = judged(json!([{"metric": "latency", "expr": "p(99) < 1h", "select": {"step": "b"}}]), &only_a);
        assert_eq!((judgement.verdict, judgement.thresholds[0].verdict), (Verdict::Failed, ThresholdVerdict::NotJudged));
    }

    #[test]
    fn dropped_arrivals_fail_an_open_run() {
        let plan = plan(json!([]), json!({"open": {"rate": 10, "duration": "10s", "maxInFlight": 1}}));
        let mut snapshot = samples(0);
        snapshot.counters.iterations = 98;
        snapshot.counters.dropped = 2;
        let totals = Totals::of(&snapshot, Scale { length: Duration::from_secs(10), arrivals: Some(100) });
        assert_eq!(judge(&plan, &snapshot, &totals).reason, "TooManyDropped");
    }

    #[test]
    fn a_selection_narrows_what_is_judged() {
        let rule = |step| json!([{"metric": "latency", "expr": "max < 50ms", "select": {"step": step}}]);
        assert_eq!(judged(rule("a"), &samples(0)).verdict, Verdict::Passed);
        assert_eq!(judged(rule("b"), &samples(0)).reason, "ThresholdsBreached");
    }

    #[test]
    fn latency_is_of_successes_unless_asked_otherwise() {
        let rule = |outcome| json!([{"metric": "latency", "expr": "max < 500ms", "select": {"outcome": outcome}}]);
        assert_eq!(judged(rule("Success"), &samples(5)).verdict, Verdict::Passed);
        assert_eq!(judged(rule("Failure"), &samples(5)).verdict, Verdict::Failed);
        assert_eq!(judged(rule("Any"), &samples(5)).verdict, Verdict::Failed);
    }

    #[test]
    fn failures_are_a_share_of_all_requests() {
        let judgement = judged(json!([{"metric": "failures", "expr": "rate < 10%"}]), &samples(6));
        assert_eq!((judgement.verdict, judgement.thresholds[0].observed), (Verdict::Passed, Some(0.04)));
    }
}
