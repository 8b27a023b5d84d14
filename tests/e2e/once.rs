//! What one worker does for the whole fleet: waiting for the target, trying it, setup and teardown.

use serde_json::{Value, json};

use crate::samples::{brief, report, vanishing, with};
use crate::stage::{Stage, condition, is, play, seconds, status};

/// Two workers that look up what setup made; teardown asks for it by a road of its own, so that the
/// service's counts tell them apart.
fn with_setup(name: &str, setup: &str) -> Value {
    let make = json!({
        "name": "make", "http": {"method": "POST", "path": setup, "json": {"text": "the team won"}},
        "extract": {"id": {"jsonPath": "$.prediction_id"}},
    });
    let look_up = json!({"http": {"path": "/predictions/{{ id }}"}, "checks": [{"jsonPath": "$.category", "equals": "sports"}]});
    let scenario = json!({"name": "client", "thinkTime": {"min": "30ms", "max": "50ms"}, "tasks": [{"name": "look", "steps": [look_up]}]});
    let once = json!({"setup": [make], "teardown": [{"http": {"path": "/v2/models/{{ id }}"}}], "scenarios": [scenario]});
    let test = vanishing(with(brief(name, 4), json!({"spec": once})));
    with(
        test,
        json!({"spec": {"workers": {"replicas": 2}, "samples": {"rate": "10%"}}}),
    )
}

/// The run ended before any load, for this reason; gives the message.
async fn never_loaded(stage: &Stage, name: &str, reason: &str) -> String {
    let test = stage.finished(name).await;
    assert!(is(&test, "Errored"), "{name}: {:?}", test.status);
    let (stalled, message) = condition(&test, "Stalled");
    assert_eq!(stalled, format!("True/{reason}"), "{name}: {message}");
    let whole = report(stage, &test).await;
    assert_eq!(
        (whole.totals.requests, whole.totals.interrupted),
        (0, 0),
        "{name}: {:?}",
        whole.totals
    );
    message
}

#[test]
fn setup_runs_once_for_all_workers_and_one_that_fails_keeps_the_load_away() {
    play("setup", async |stage| {
        stage.open(&[]).await;
        stage.apply(&with_setup("sound", "/predict"));
        let test = stage.finished("sound").await;
        assert!(is(&test, "Succeeded"), "{:?}", test.status);
        let whole = report(stage, &test).await;
        let totals = &whole.totals;
        assert_eq!(
            (totals.failures, totals.checks_failed, totals.control),
            (0, 0, 2),
            "{:?}",
            whole.errors
        );
        // a worker that had not been told the id would have asked for another
        let counts = stage.counts("sample-service").await;
        let looked_up = totals.requests + totals.interrupted - totals.unsent;
        let expected = json!({"POST /predict": 1, "GET /predictions/{id}": looked_up, "GET /v2/models/{model}": 1});
        assert_eq!(counts["byPath"], expected);
        assert_eq!(counts["byStatus"], json!({"200": looked_up + 2}));
        for worker in 0..2 {
            let sampled = stage.sampled("sound").await;
            assert!(
                sampled
                    .iter()
                    .any(|line| line["worker"] == worker && line["part"] == "measured"),
                "none of worker {worker}: {sampled:?}"
            );
        }

        stage.apply(&with_setup("failing", "/nowhere"));
        let message = never_loaded(stage, "failing", "SetupFailed").await;
        assert!(
            message.starts_with(r#"setup failed: step "make": 404 Not Found"#)
                && message.contains("no such path"),
            "{message}"
        );
        // teardown knows no id to send
        assert_eq!(
            stage.stands_still("setup failed").await,
            counts["total"].as_u64().expect("a total") + 1
        );
    });
}

/// Two workers whose only step goes to this path.
fn asking(name: &str, path: &str) -> Value {
    let test = with(
        vanishing(brief(name, 3)),
        json!({"spec": {"workers": {"replicas": 2}, "run": {"preflight": "Once"}}}),
    );
    let mut test = with(
        test,
        json!({"spec": {"target": {"readyWhen": {"http": "/healthz", "timeout": "2m"}}}}),
    );
    test["spec"]["scenarios"][0]["tasks"][0]["steps"][0]["http"]["path"] = path.into();
    test
}

#[test]
fn a_target_is_waited_for_and_tried_once_before_any_load() {
    play("preflight", async |stage| {
        stage.open(&[]).await;
        stage.apply(&asking("refused", "/serving-endpoints/wine/invocations"));
        stage.apply(&asking("lost", "/nowhere"));
        for (name, status, answer) in [
            ("refused", "401 Unauthorized", "Credential was not sent"),
            ("lost", "404 Not Found", "no such path"),
        ] {
            let message = never_loaded(stage, name, "PreflightFailed").await;
            assert!(
                message.starts_with("preflight failed: step ")
                    && message.contains(status)
                    && message.contains(answer),
                "{message}"
            );
        }
        assert_eq!(stage.stands_still("both were refused").await, 2);

        stage.kubectl(&["scale", "deployment/sample-service", "--replicas=0"]);
        stage.kubectl(&[
            "wait",
            "--for=delete",
            "pod",
            "-l",
            "app.kubernetes.io/name=sample-service",
            "--timeout=60s",
        ]);
        stage.apply(&asking("patient", "/predict"));
        stage
            .until("patient", "has its workers", seconds(60), |test| {
                status(test)
                    .workers
                    .is_some_and(|workers| workers.ready == 2)
            })
            .await;
        tokio::time::sleep(seconds(3)).await;
        let waiting = stage.test("patient").await;
        assert!(
            is(&waiting, "Starting") || is(&waiting, "Running"),
            "{:?}",
            waiting.status
        );
        stage.kubectl(&["scale", "deployment/sample-service", "--replicas=1"]);
        let test = stage.finished("patient").await;
        assert!(is(&test, "Succeeded"), "{:?}", test.status);
        let whole = report(stage, &test).await;
        assert_eq!(
            (whole.totals.failures, whole.totals.control),
            (0, 1),
            "{:?}",
            whole.errors
        );
        assert_eq!(whole.totals.received_by_target, stage.count().await);
        let told: Vec<_> = whole
            .events
            .iter()
            .filter(|event| event.message.contains("ready after"))
            .collect();
        assert_eq!(told.len(), 1, "{:?}", whole.events);
    });
}
