//! Metrics in the text format, as Prometheus reads them.

use serde_json::json;

use super::*;
use crate::stats::TrendStats;

/// Two steps, the second a stream, and records in two units.
fn run() -> Run {
    let mut request = StepStats {
        requests: 2,
        ..StepStats::default()
    };
    request.latency.record(1_000);
    request.latency.record(400_000);
    let mut stream = StepStats {
        stream: Some(StreamStats::default().into()),
        ..request.clone()
    };
    if let Some(stream) = &mut stream.stream {
        stream.messages_received = 7;
        stream.first.record(2_000_000);
    }
    let mut record = TrendStats::default();
    record.values.record(5_000_000);
    let name = |step: &str| StepName {
        scenario: "s".into(),
        task: "t".into(),
        step: step.into(),
        is_control: false,
    };
    let trend = |name: &str, unit| Trend {
        name: name.into(),
        unit,
    };
    let progress = json!({
        "run": "r-1", "epoch": 1, "incarnation": "", "state": "Running", "workers": 2, "connected": 2,
        "ready": 1, "problems": [], "elapsedMicros": 1, "lengthMicros": 4, "requests": 4,
        "failures": 0, "users": 3, "rps": 0, "p95Micros": 0,
    });
    Run {
        id: "r-1".into(),
        steps: vec![name("GET /"), name("a \"quoted\" step")],
        trends: vec![trend("wait", Unit::Milliseconds), trend("score", Unit::One)],
        progress: serde_json::from_value(progress).unwrap(),
        merged: Snapshot {
            steps: [(0, request), (1, stream)].into(),
            trends: [(0, record.clone()), (1, record)].into(),
            ..Snapshot::default()
        },
        late: 1,
        reported: 5_000,
    }
}

fn written(run: &Run) -> String {
    TextEncoder::new()
        .encode_to_string(&run.families())
        .unwrap()
}

#[test]
fn a_run_that_has_measured_nothing_still_has_its_gauges() {
    let run = Run {
        merged: Snapshot::default(),
        ..run()
    };
    let text = written(&run);
    assert!(
        text.contains("# TYPE starling_users gauge\nstarling_users{run=\"r-1\"} 3\n"),
        "{text}"
    );
    assert!(!text.contains("starling_requests_total"), "{text}");
}

#[test]
fn counters_histograms_and_records_carry_run_and_step() {
    let text = written(&run());
    for line in [
        "# TYPE starling_requests_total counter",
        "starling_requests_total{run=\"r-1\",scenario=\"s\",step=\"GET /\",task=\"t\"} 2",
        "starling_requests_total{run=\"r-1\",scenario=\"s\",step=\"a \\\"quoted\\\" step\",task=\"t\"} 2",
        "starling_late_requests_total{run=\"r-1\"} 1",
        "starling_reported_bytes_total{run=\"r-1\"} 5000",
        "starling_progress_ratio{run=\"r-1\"} 0.25",
        "starling_messages_received_total{run=\"r-1\",scenario=\"s\",step=\"a \\\"quoted\\\" step\",task=\"t\"} 7",
        "# TYPE starling_latency_seconds histogram",
        "starling_latency_seconds_bucket{run=\"r-1\",scenario=\"s\",step=\"GET /\",task=\"t\",le=\"0.0025\"} 1",
        "starling_latency_seconds_bucket{run=\"r-1\",scenario=\"s\",step=\"GET /\",task=\"t\",le=\"+Inf\"} 2",
        "starling_latency_seconds_count{run=\"r-1\",scenario=\"s\",step=\"GET /\",task=\"t\"} 2",
        "# TYPE starling_record_seconds summary",
        "starling_record_seconds{run=\"r-1\",record=\"wait\",quantile=\"0.95\"} 5",
        "starling_record_sum{run=\"r-1\",record=\"score\"} 5000",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
}

#[test]
fn the_lines_of_a_family_stand_together_below_its_type() {
    let text = written(&run());
    let mut seen = std::collections::BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        assert!(seen.insert(line), "{line} comes twice");
    }
    let mut family = "";
    for line in text.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(head) => family = head.split_once(' ').unwrap().0,
            None if line.starts_with('#') => {}
            None => assert!(line.starts_with(family), "{line} below {family}"),
        }
    }
}
