//! A run from `kubectl apply` to its verdict, and the ways people wait for it.

use std::thread;

use serde_json::json;
use starling::stats::result::Verdict;

use crate::samples::{brief, closed, report, shortened, with};
use crate::stage::{Stage, condition, eventually, helm, is, play, run_id, seconds, sent, status};

#[test]
fn a_slow_service_breaches_its_threshold_and_everyone_is_told() {
    play("breach", async |stage| {
        stage.open(&["--latency", "constant:150ms"]).await;
        let thresholds = json!([{"metric": "latency", "expr": "p(95) < 50ms"}, {"metric": "failures", "expr": "rate < 1%"}]);
        stage.apply(&with(
            brief("slow", 4),
            json!({"spec": {"thresholds": thresholds}}),
        ));
        stage.kubectl(&[
            "wait",
            "loadtest/slow",
            "--for=condition=Finished",
            "--timeout=2m",
        ]);
        stage.kubectl(&[
            "wait",
            "loadtest/slow",
            "--for=condition=Stalled",
            "--timeout=1s",
        ]);
        assert!(
            !stage
                .try_kubectl(
                    &[
                        "wait",
                        "loadtest/slow",
                        "--for=condition=Passed",
                        "--timeout=1s"
                    ],
                    None
                )
                .ok
        );

        let test = stage.test("slow").await;
        assert!(is(&test, "Failed"), "{:?}", test.status);
        let seen = [
            "Finished",
            "Complete",
            "Passed",
            "Ready",
            "Stalled",
            "Reconciling",
        ]
        .map(|kind| condition(&test, kind).0);
        let states = seen
            .each_ref()
            .map(|state| state.split('/').next().unwrap_or_default());
        assert_eq!(
            states,
            ["True", "True", "False", "False", "True", "False"],
            "{seen:?}"
        );
        let (stalled, message) = condition(&test, "Stalled");
        assert_eq!(stalled, "True/ThresholdsBreached");
        assert!(
            message.contains("p(95) < 50ms"),
            "the message names the rule: {message}"
        );
        let verdicts: Vec<_> = status(&test)
            .thresholds
            .into_iter()
            .map(|threshold| threshold.verdict)
            .collect();
        assert_eq!(verdicts, ["Failed", "Passed"]);
        assert_eq!(report(stage, &test).await.verdict, Verdict::Failed);
    });
}

#[test]
fn the_categorizer_sample_passes_with_exactly_what_the_service_counted() {
    play("passes", async |stage| {
        stage.open(&[]).await;
        let sample = shortened("categorizer.yaml", closed(10, 6));
        let workers = sample["spec"]["workers"]["replicas"].as_u64().unwrap_or(1);
        stage.apply(&sample);
        stage.kubectl(&[
            "wait",
            "loadtest/categorizer",
            "--for=condition=Finished",
            "--timeout=2m",
        ]);
        for met in ["Complete", "Passed", "Ready"] {
            stage.kubectl(&[
                "wait",
                "loadtest/categorizer",
                &format!("--for=condition={met}"),
                "--timeout=1s",
            ]);
        }
        let test = stage.test("categorizer").await;
        assert!(is(&test, "Succeeded"), "{:?}", test.status);
        assert!(
            condition(&test, "Stalled").0.starts_with("False"),
            "{:?}",
            condition(&test, "Stalled")
        );

        let (seen, whole) = (status(&test), report(stage, &test).await);
        let results = seen.results.expect("results");
        assert_eq!(
            (results.requests, results.failures),
            (whole.totals.requests, whole.totals.failures)
        );
        assert_eq!(results.interrupted, whole.totals.interrupted);
        assert!(results.requests > 20, "{results:?}");
        assert_eq!(
            sent(&whole),
            stage.count().await,
            "requests sent are requests received"
        );
        assert_eq!(whole.verdict, Verdict::Passed);
        assert_eq!(u64::from(results.workers.planned), workers);
        assert_eq!(seen.history.len(), 1);
        let total = seen
            .metrics
            .iter()
            .find(|sample| sample.name == "starling_requests_total")
            .expect("a sample of the requests");
        assert_eq!(total.value, results.requests.to_string());
        columns_are_filled(stage);
        master_stays_and_workers_go(stage, &run_id(&test)).await;
    });
}

fn columns_are_filled(stage: &Stage) {
    let table = stage.kubectl(&["get", "loadtests", "-o", "wide"]);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        [
            "NAME", "PHASE", "PROGRESS", "WORKERS", "USERS", "RPS", "P95", "FAILURES", "AGE",
            "TARGET", "REASON"
        ]
    );
    assert_eq!(rows[1].len(), rows[0].len(), "no column is empty: {table}");
    assert_eq!(
        &rows[1][..3],
        ["categorizer", "Succeeded", "100%"],
        "{table}"
    );
    let short = stage.kubectl(&["get", "lt", "categorizer", "--no-headers"]);
    assert!(short.starts_with("categorizer "), "{short}");
}

async fn master_stays_and_workers_go(stage: &Stage, run: &str) {
    eventually("workers are gone", seconds(60), async || {
        let children = stage.children();
        let workers = children
            .iter()
            .any(|child| child.starts_with("job") || child.contains("-worker"));
        if workers {
            Err(format!("{children:?}"))
        } else {
            Ok(())
        }
    })
    .await;
    let children = stage.children();
    for kept in [
        format!("deployment.apps/{run}-master"),
        format!("service/{run}-master"),
    ] {
        assert!(children.contains(&kept), "{kept} is kept: {children:?}");
    }
    let report = format!("configmap/{run}-report-");
    assert!(
        children.iter().any(|child| child.starts_with(&report)),
        "the report is kept: {children:?}"
    );
}

#[test]
fn helm_waits_for_the_verdict_and_fails_with_it() {
    play("helm-gate", async |stage| {
        stage.open(&["--latency", "constant:20ms"]).await;
        let install = |release: &str, sets: &[&str]| {
            let args = [
                &[
                    "install",
                    release,
                    "tests/fixtures/gate-chart",
                    "--namespace",
                    &stage.namespace,
                    "--wait",
                    "--timeout",
                    "3m",
                ],
                sets,
            ]
            .concat();
            helm(&args)
        };
        let (good, bad) = thread::scope(|scope| {
            let bad = scope.spawn(|| install("bad", &["--set", "threshold=p(99) < 1ms"]));
            (install("good", &[]), bad.join().expect("helm ran"))
        });
        assert!(good.ok, "{}", good.text);
        assert!(!bad.ok, "helm calls a breach a success: {}", bad.text);
        assert!(
            bad.text.contains("p(99) < 1ms"),
            "helm prints why: {}",
            bad.text
        );
        // it came back with the verdict, not before
        assert!(is(&stage.test("good").await, "Succeeded"));
        assert!(is(&stage.test("bad").await, "Failed"));
    });
}
