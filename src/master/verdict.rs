//! The verdict over a whole run: a pure function of its totals and its thresholds.

use std::time::Duration;

use crate::plan::Plan;
use crate::stats::format;
use crate::stats::result::{
    LoadResult, Reason, ThresholdResult, ThresholdVerdict, Totals, Verdict,
};

/// Judgement of a run that came to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// Verdict on the whole run.
    pub verdict: Verdict,
    /// Reason of the verdict, for conditions.
    pub reason: Reason,
    /// Sentence that explains the verdict.
    pub message: String,
    /// Results of the thresholds, in the order of the plan.
    pub thresholds: Vec<ThresholdResult>,
}

/// Judges a whole run. `Passed` needs every threshold judged and met, at least one success, and
/// little enough load that was dropped or is missing. `load` is `None` where it is not known how
/// much was offered.
pub fn judge(
    plan: &Plan,
    thresholds: Vec<ThresholdResult>,
    totals: &Totals,
    load: Option<&LoadResult>,
) -> Judgement {
    let (verdict, reason, message) = sum_up(plan, &thresholds, totals, load);
    Judgement {
        verdict,
        reason,
        message,
        thresholds,
    }
}

fn sum_up(
    plan: &Plan,
    thresholds: &[ThresholdResult],
    totals: &Totals,
    load: Option<&LoadResult>,
) -> (Verdict, Reason, String) {
    if totals.requests == 0 {
        return (
            Verdict::Errored,
            Reason::NoRequestFinished,
            "no request finished, so there is nothing to judge".into(),
        );
    }
    let missed: Vec<String> = thresholds
        .iter()
        .filter(|t| t.verdict != ThresholdVerdict::Passed)
        .map(describe)
        .collect();
    if !missed.is_empty() {
        return (
            Verdict::Failed,
            Reason::ThresholdsBreached,
            format!(
                "{} of {} thresholds not met: {}",
                missed.len(),
                thresholds.len(),
                missed.join("; ")
            ),
        );
    }
    if totals.failures == totals.requests {
        return (
            Verdict::Failed,
            Reason::NoSuccess,
            format!("all {} requests failed", totals.requests),
        );
    }
    if let Some(message) = failures(plan, totals) {
        return (Verdict::Failed, Reason::TooManyFailures, message);
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
            return (Verdict::Failed, Reason::TooManyDropped, message);
        }
    }
    if let Some(message) = load.and_then(|load| missing(plan, load)) {
        return (Verdict::Failed, Reason::LoadMissing, message);
    }
    match thresholds.len() {
        0 => (
            Verdict::Passed,
            Reason::NoThresholds,
            "the run came to its end; there are no thresholds".into(),
        ),
        1 => (
            Verdict::Passed,
            Reason::ThresholdsMet,
            "the threshold was met".into(),
        ),
        count => (
            Verdict::Passed,
            Reason::ThresholdsMet,
            format!("all {count} thresholds were met"),
        ),
    }
}

/// Says how many requests failed, where those are more than the test allows and no threshold says how
/// many may.
fn failures(plan: &Plan, totals: &Totals) -> Option<String> {
    let mut rules = plan.thresholds.iter();
    if rules.any(|rule| rule.metric.counts_failures()) {
        return None;
    }
    let share = totals.failures as f64 / totals.requests.max(1) as f64;
    (share > plan.max_failures).then(|| {
        format!(
            "{} of {} requests failed; no threshold says how many may, and maxFailures allows {}",
            format::count(totals.failures),
            format::count(totals.requests),
            format::percent(plan.max_failures)
        )
    })
}

/// Time that a user may start late on a busy machine without being missed. It matters only to runs
/// of a few seconds.
const START_JITTER: Duration = Duration::from_millis(25);

/// Says how much load is missing, where that is more than the plan allows.
fn missing(plan: &Plan, load: &LoadResult) -> Option<String> {
    if let (Some(arrivals), Some(allowed)) = (load.arrivals, plan.max_dropped())
        && arrivals.missing > 0
        && arrivals.not_made() > allowed
    {
        return Some(format!(
            "{} of {} arrivals are missing, since no worker was there to make them, and {} were dropped; maxDropped allows {}",
            format::count(arrivals.missing),
            format::count(arrivals.planned),
            format::count(arrivals.dropped),
            format::percent(allowed)
        ));
    }
    let (users, allowed) = load.users.zip(plan.max_missing())?;
    let late = plan
        .most_users()
        .saturating_mul(START_JITTER.as_micros() as u64);
    (users.missing() > allowed && users.missing_micros > late).then(|| {
        format!(
            "users were missing for {} of their time, since no worker was there for them or they never started; maxMissing allows {}",
            format::percent(users.missing()),
            format::percent(allowed)
        )
    })
}

fn describe(result: &ThresholdResult) -> String {
    match result.verdict {
        ThresholdVerdict::NotJudged => format!(
            "{} {}: too few samples to judge",
            result.metric, result.expr
        ),
        _ => format!(
            "{} {}: observed {}",
            result.metric, result.expr, result.observed_text
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::judge::Judge;
    use super::*;
    use crate::stats::result::{ArrivalLoad, UserLoad};
    use crate::stats::summary::Scale;
    use crate::stats::{Snapshot, StepStats};

    fn plan(thresholds: serde_json::Value, load: serde_json::Value) -> Plan {
        let spec = json!({
            "target": {"url": "http://t"},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"name": "a", "http": {"path": "/"}}, {"name": "b", "http": {"path": "/"}}]}]}],
            "load": load, "thresholds": thresholds,
        });
        crate::crd::check(&serde_json::from_value(spec).unwrap())
            .unwrap()
            .plan
    }

    fn closed() -> serde_json::Value {
        json!({"closed": {"users": 1, "duration": "10s"}})
    }

    /// Step a: 100 successes of 10 ms; step b: 50 of 100 ms, of which `failures` failed instead.
    fn samples(failures: u64) -> Snapshot {
        let mut a = StepStats {
            requests: 100,
            ..StepStats::default()
        };
        (0..100).for_each(|_| a.latency.record(10_000));
        let mut b = StepStats {
            requests: 50,
            failures,
            ..StepStats::default()
        };
        (failures..50).for_each(|_| b.latency.record(100_000));
        (0..failures).for_each(|_| b.failed_latency.record(1_000_000));
        Snapshot {
            steps: [(0, a), (1, b)].into(),
            ..Snapshot::default()
        }
    }

    fn of(plan: &Plan, snapshot: &Snapshot) -> Judgement {
        let scale = Scale {
            length: Duration::from_secs(10),
            arrivals: plan.max_dropped().map(|_| 100),
        };
        judge(
            plan,
            Judge::new(plan).results(snapshot, scale),
            &Totals::of(snapshot, scale),
            None,
        )
    }

    fn judged(thresholds: serde_json::Value, snapshot: &Snapshot) -> Judgement {
        of(&plan(thresholds, closed()), snapshot)
    }

    #[test]
    fn nothing_finished_is_no_verdict() {
        assert_eq!(
            judged(json!([]), &Snapshot::default()).verdict,
            Verdict::Errored
        );
    }

    #[test]
    fn only_failures_never_pass() {
        let mut all_failed = samples(50);
        all_failed.steps.remove(&0);
        assert_eq!(judged(json!([]), &all_failed).reason, Reason::NoSuccess);
    }

    #[test]
    fn many_failures_fail_a_run_whose_thresholds_do_not_count_them() {
        let judged = |thresholds, failures| {
            let totals = Totals {
                requests: 100,
                failures,
                ..Totals::default()
            };
            let load = json!({"closed": {"users": 1, "duration": "10s"}});
            judge(&plan(thresholds, load), vec![], &totals, None)
        };
        assert_eq!(judged(json!([]), 5).reason, Reason::NoThresholds);
        let failed = judged(json!([]), 6);
        assert_eq!(failed.reason, Reason::TooManyFailures);
        assert_eq!(failed.verdict, Verdict::Failed);
        let message = failed.message;
        assert!(message.contains("maxFailures allows 5%"), "{message}");
        let latency = json!([{"metric": "latency", "expr": "p(95) < 1s"}]);
        assert_eq!(judged(latency, 95).reason, Reason::TooManyFailures);
        for metric in ["failures", "checks"] {
            let rule = json!([{"metric": metric, "expr": "rate < 100%"}]);
            assert_ne!(judged(rule, 95).reason, Reason::TooManyFailures);
        }
    }

    #[test]
    fn a_threshold_without_samples_is_not_met() {
        let mut only_a = samples(0);
        only_a.steps.remove(&1);
        let judgement = judged(
            json!([{"metric": "latency", "expr": "p(99) < 1h", "select": {"step": "b"}}]),
            &only_a,
        );
        assert_eq!(
            (judgement.verdict, judgement.thresholds[0].verdict),
            (Verdict::Failed, ThresholdVerdict::NotJudged)
        );
    }

    #[test]
    fn dropped_arrivals_fail_an_open_run() {
        let plan = plan(
            json!([]),
            json!({"open": {"rate": 10, "duration": "10s", "maxInFlight": 1}}),
        );
        let mut snapshot = samples(0);
        snapshot.counters.iterations = 98;
        snapshot.counters.dropped = 2;
        assert_eq!(of(&plan, &snapshot).reason, Reason::TooManyDropped);
    }

    fn of_load(load: serde_json::Value, result: LoadResult) -> Reason {
        let totals = Totals {
            requests: 100,
            iterations: 100,
            ..Totals::default()
        };
        judge(&plan(json!([]), load), vec![], &totals, Some(&result)).reason
    }

    #[test]
    fn missing_load_fails_a_run_beyond_what_the_test_allows() {
        let open = |max| {
            let arrivals = ArrivalLoad {
                planned: 1000,
                missing: 40,
                dropped: 5,
            };
            let result = LoadResult {
                arrivals: Some(arrivals),
                ..LoadResult::default()
            };
            let load = json!({"open": {"rate": 100, "duration": "10s", "maxInFlight": 1, "maxDropped": max}});
            of_load(load, result)
        };
        assert_eq!(open("1%"), Reason::LoadMissing);
        assert_eq!(open("4%"), Reason::LoadMissing);
        assert_eq!(open("5%"), Reason::NoThresholds);
        let closed = |max| {
            let users = UserLoad {
                planned_micros: 100_000_000,
                held_back_micros: 20_000_000,
                missing_micros: 4_000_000,
                ..UserLoad::default()
            };
            let result = LoadResult {
                users: Some(users),
                ..LoadResult::default()
            };
            let load = json!({"closed": {"users": 10, "duration": "10s", "maxMissing": max}});
            of_load(load, result)
        };
        assert_eq!(closed("4%"), Reason::LoadMissing);
        assert_eq!(closed("6%"), Reason::NoThresholds);
    }

    #[test]
    fn users_that_start_a_moment_late_are_not_missed_in_a_short_run() {
        let missing = |missing_micros| {
            let users = UserLoad {
                planned_micros: 8_000_000,
                missing_micros,
                ..UserLoad::default()
            };
            let result = LoadResult {
                users: Some(users),
                ..LoadResult::default()
            };
            of_load(
                json!({"closed": {"users": 20, "duration": "400ms"}}),
                result,
            )
        };
        assert_eq!(missing(500_000), Reason::NoThresholds);
        assert_eq!(missing(500_001), Reason::LoadMissing);
    }

    #[test]
    fn a_selection_narrows_what_is_judged() {
        let rule =
            |step| json!([{"metric": "latency", "expr": "max < 50ms", "select": {"step": step}}]);
        assert_eq!(judged(rule("a"), &samples(0)).verdict, Verdict::Passed);
        assert_eq!(
            judged(rule("b"), &samples(0)).reason,
            Reason::ThresholdsBreached
        );
    }

    #[test]
    fn latency_is_of_successes_unless_asked_otherwise() {
        let rule = |outcome| json!([{"metric": "latency", "expr": "max < 500ms", "select": {"outcome": outcome}}]);
        assert_eq!(
            judged(rule("Success"), &samples(5)).verdict,
            Verdict::Passed
        );
        assert_eq!(
            judged(rule("Failure"), &samples(5)).verdict,
            Verdict::Failed
        );
        assert_eq!(judged(rule("Any"), &samples(5)).verdict, Verdict::Failed);
    }

    #[test]
    fn failures_are_a_share_of_all_requests() {
        let judgement = judged(
            json!([{"metric": "failures", "expr": "rate < 10%"}]),
            &samples(6),
        );
        assert_eq!(
            (judgement.verdict, judgement.thresholds[0].observed),
            (Verdict::Passed, Some(0.04))
        );
    }
}
