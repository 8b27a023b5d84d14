//! A result in the form of k6's summary (`--summary-export`), which GitLab's load performance widget
//! and other tools read.
//!
//! Times are in milliseconds, of requests that succeeded. As k6 has it, `true` beside a threshold
//! means that it was not met.

use serde_json::{Map, Value, json};

use crate::stats::result::{LatencySummary, RunResult, ThresholdVerdict, Totals};

/// Returns the summary.
pub fn summary(result: &RunResult) -> Value {
    let totals = &result.totals;
    let Totals {
        requests,
        failures,
        iterations,
        dropped,
        checks_passed,
        checks_failed,
        ..
    } = *totals;
    let seconds = (result.duration_micros as f64 / 1e6).max(1e-6);
    let rate = |count: u64| count as f64 / seconds;
    let counter = |count: u64| json!({"count": count, "rate": rate(count)});
    let share = |yes: u64, no: u64| {
        let value = yes as f64 / (yes + no).max(1) as f64;
        json!({"passes": yes, "fails": no, "value": value})
    };
    let mut metrics = Map::new();
    let mut add = |name: &str, metric: Value| {
        metrics.insert(name.to_owned(), with_thresholds(result, name, metric));
    };
    add("http_reqs", counter(requests));
    add("http_req_failed", share(failures, requests - failures));
    add("iterations", counter(iterations));
    if dropped > 0 {
        add("dropped_iterations", counter(dropped));
    }
    if checks_passed + checks_failed > 0 {
        add("checks", share(checks_passed, checks_failed));
    }
    add("data_sent", counter(totals.sent_bytes));
    add("data_received", counter(totals.received_bytes));
    if requests > failures {
        add("http_req_duration", trend(&totals.latency));
        for phase in &totals.phases {
            let name = match phase.phase.as_str() {
                "connect" => "http_req_connecting",
                "tls" => "http_req_tls_handshaking",
                "wait" => "http_req_waiting",
                "download" => "http_req_receiving",
                // k6 counts look-ups as blocked
                "dns" => "http_req_blocked",
                _ => continue,
            };
            add(name, trend(&phase.summary));
        }
    }
    if let Some(concurrency) = &result.concurrency
        && let Some(level) = concurrency.users.or(concurrency.slots)
    {
        add(
            "vus",
            json!({"value": level.mean, "min": 0, "max": level.max}),
        );
        add(
            "vus_max",
            json!({"value": level.max, "min": 0, "max": level.max}),
        );
    }
    json!({"metrics": metrics})
}

fn trend(times: &LatencySummary) -> Value {
    let LatencySummary {
        min,
        mean,
        p50,
        p90,
        p95,
        p99,
        p999: _,
        max,
    } = *times;
    let millis = |micros: u64| micros as f64 / 1e3;
    json!({
        "avg": mean / 1e3,
        "min": millis(min),
        "med": millis(p50),
        "max": millis(max),
        "p(90)": millis(p90),
        "p(95)": millis(p95),
        "p(99)": millis(p99),
    })
}

/// Adds the thresholds of the test that are of the metric with this name.
fn with_thresholds(result: &RunResult, name: &str, mut metric: Value) -> Value {
    let of_metric = |own: &str| match own {
        "latency" => name == "http_req_duration",
        "failures" => name == "http_req_failed",
        "checks" => name == "checks",
        "dropped" => name == "dropped_iterations",
        _ => false,
    };
    let thresholds = result.thresholds.iter();
    let thresholds: Map<String, Value> = thresholds
        .filter(|threshold| of_metric(&threshold.metric))
        .map(|threshold| {
            let is_breached = threshold.verdict != ThresholdVerdict::Passed;
            (threshold.expr.clone(), json!(is_breached))
        })
        .collect();
    if !thresholds.is_empty() {
        metric["thresholds"] = Value::Object(thresholds);
    }
    metric
}

#[cfg(test)]
mod tests {
    use super::super::text::tests::result;
    use super::*;
    use crate::stats::result::PhaseResult;

    #[test]
    fn what_gitlab_reads_is_there() {
        let mut run = result();
        run.totals.checks_passed = 9;
        run.totals.checks_failed = 1;
        run.totals.phases = vec![PhaseResult {
            phase: "wait".into(),
            count: 5,
            summary: LatencySummary {
                p90: 1_500,
                p95: 2_500,
                ..LatencySummary::default()
            },
        }];
        let metrics = summary(&run)["metrics"].clone();
        assert_eq!(metrics["http_reqs"]["rate"], 1234.5);
        assert_eq!(metrics["http_req_waiting"]["p(90)"], 1.5);
        assert_eq!(metrics["http_req_waiting"]["p(95)"], 2.5);
        assert_eq!(
            metrics["checks"],
            json!({"passes": 9, "fails": 1, "value": 0.9})
        );
        // true is what was not met
        assert_eq!(
            metrics["http_req_duration"]["thresholds"],
            json!({"p(95) < 10ms": true})
        );
        assert_eq!(
            metrics["http_req_failed"]["thresholds"],
            json!({"rate < 1%": false})
        );
        assert_eq!(metrics["http_req_failed"]["passes"], 3);
    }

    #[test]
    fn a_run_without_a_success_has_no_times() {
        let mut run = result();
        run.totals.failures = run.totals.requests;
        let metrics = summary(&run)["metrics"].clone();
        assert!(metrics.get("http_req_duration").is_none());
    }
}
