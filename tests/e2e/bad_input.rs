//! Mistakes: refused by the API server where the schema can say it, else by the operator with the
//! field path, and never in another's way.

use serde_json::{Value, json};

use crate::samples::{brief, with};
use crate::stage::{Stage, condition, is, play, seconds, status};

/// What is wrong, and words of the refusal.
fn refused_by_the_api_server() -> Vec<(&'static str, Value, &'static [&'static str])> {
    vec![
        (
            "unknown-field",
            json!({"spec": {"load": {"closed": {"userz": 4}}}}),
            &["userz"],
        ),
        (
            "unknown-top",
            json!({"spec": {"scenarioz": []}}),
            &["scenarioz"],
        ),
        (
            "wrong-type",
            json!({"spec": {"load": {"closed": {"users": "many"}}}}),
            &["spec.load.closed.users"],
        ),
        (
            "bad-url",
            json!({"spec": {"target": {"url": "sample-service:8000"}}}),
            &["spec.target.url"],
        ),
        (
            "url-without-host",
            json!({"spec": {"target": {"url": "http://:8000"}}}),
            &["spec.target.url"],
        ),
        (
            "two-loads",
            json!({"spec": {"load": {"open": {"rate": 5, "duration": "1s", "maxInFlight": 5}}}}),
            &["spec.load"],
        ),
        (
            "no-users",
            json!({"spec": {"load": {"closed": {"users": 0}}}}),
            &["spec.load.closed.users"],
        ),
        (
            "percentile-101",
            json!({"spec": {"thresholds": [{"metric": "latency", "expr": "p(101) < 1s"}]}}),
            &["spec.thresholds[0].expr"],
        ),
        (
            "negative-duration",
            json!({"spec": {"load": {"closed": {"duration": "-5s"}}}}),
            &["spec.load.closed.duration"],
        ),
        (
            "no-workers",
            json!({"spec": {"workers": {"replicas": 0}}}),
            &["spec.workers.replicas"],
        ),
        ("dotted.name", json!({}), &["metadata.name"]),
    ]
}

#[test]
fn what_the_schema_can_say_is_refused_at_admission_by_the_fields_name() {
    play("refused", async |stage| {
        for (name, mistake, words) in refused_by_the_api_server() {
            let said = stage.try_apply(&with(brief(name, 2), mistake).to_string());
            assert!(!said.ok, "{name} was accepted: {}", said.text);
            for word in words {
                assert!(
                    said.text.contains(word),
                    "{name} does not name {word}: {}",
                    said.text
                );
            }
        }
        assert_eq!(stage.kubectl(&["get", "loadtests", "-o", "name"]), "");
    });
}

/// What is wrong, and the field path that the condition names.
fn refused_by_the_operator() -> Vec<(&'static str, Value, &'static str)> {
    let step = |name: &str, body: &str| json!({"name": name, "http": {"method": "POST", "path": "/predict", "body": body}});
    let scenario = |steps: Vec<Value>| json!({"spec": {"scenarios": [{"name": "client", "tasks": [{"name": "predict", "steps": steps}]}]}});
    let large: Vec<Value> = (0..10)
        .map(|i| step(&format!("step {i}"), &"x".repeat(60 * 1024)))
        .collect();
    vec![
        (
            "bad-template",
            scenario(vec![step("one", "{{ nowhere }}")]),
            "spec.scenarios[0].tasks[0].steps[0].http.body",
        ),
        (
            "open-template",
            scenario(vec![step("one", "{{ user")]),
            "spec.scenarios[0].tasks[0].steps[0].http.body",
        ),
        (
            "twice",
            scenario(vec![step("one", ""), step("one", "")]),
            "spec.scenarios[0].tasks[0].steps[1].name",
        ),
        ("too-large", scenario(large), "SpecTooLarge"),
    ]
}

#[test]
fn what_only_the_operator_can_see_is_named_with_its_path_and_holds_up_nobody() {
    play("invalid", async |stage| {
        stage.open(&[]).await;
        let mistakes = refused_by_the_operator();
        for (name, mistake, _) in &mistakes {
            // as tools do that keep no copy in an annotation, which holds only 256 KiB
            let text = with(brief(name, 2), mistake.clone()).to_string();
            let said = stage.try_kubectl(&["create", "-f", "-"], Some(&text));
            assert!(said.ok, "{name}: {}", said.text);
        }
        stage.apply(&brief("good", 2));
        for (name, _, path) in &mistakes {
            let test = stage
                .until(name, "is judged", seconds(30), |test| {
                    condition(test, "Stalled").0.starts_with("True")
                })
                .await;
            let (stalled, message) = condition(&test, "Stalled");
            assert_eq!(stalled, "True/InvalidSpec", "{name}");
            assert!(
                message.contains(path),
                "{name} does not name {path}: {message}"
            );
            assert!(is(&test, "Errored"), "{name}: {:?}", test.status);
            assert_eq!(status(&test).runs, 0, "{name} began a run");
            assert_eq!(
                stage.kubectl(&[
                    "get",
                    "pods,configmaps,jobs",
                    "-l",
                    &format!("starling.dev/loadtest={name}"),
                    "-o",
                    "name"
                ]),
                ""
            );
        }
        assert!(is(&stage.finished("good").await, "Succeeded"));
        mended_specs_run(stage).await;
    });
}

async fn mended_specs_run(stage: &Stage) {
    let mended = json!({"spec": {"scenarios": brief("twice", 2)["spec"]["scenarios"]}});
    stage.patch("twice", mended).await;
    stage
        .until("twice", "runs once mended", seconds(60), |test| {
            is(test, "Succeeded")
        })
        .await;
}

#[test]
fn a_megabyte_of_yaml_is_refused_and_the_operator_stays_healthy() {
    play("megabyte", async |stage| {
        let operator = stage.open(&[]).await;
        let headers: serde_json::Map<String, Value> = (0..1200)
            .map(|i| (format!("x-{i}"), "y".repeat(1000).into()))
            .collect();
        let said = stage.try_kubectl(
            &["create", "-f", "-"],
            Some(
                &with(
                    brief("large", 2),
                    json!({"spec": {"target": {"headers": headers}}}),
                )
                .to_string(),
            ),
        );
        assert!(
            !said.ok && said.text.contains("spec.target.headers"),
            "{}",
            said.text.chars().take(500).collect::<String>()
        );
        stage.apply(&brief("good", 2));
        assert!(is(&stage.finished("good").await, "Succeeded"));
        let restarts = stage
            .pods(&operator.selector())
            .await
            .iter()
            .flat_map(|pod| pod.status.clone())
            .flat_map(|status| status.container_statuses)
            .flatten()
            .map(|container| container.restart_count)
            .sum::<i32>();
        assert_eq!(restarts, 0);
    });
}

fn with_token(name: &str, secret: &str, key: &str) -> Value {
    let auth = json!({"bearer": {"tokenFrom": {"secretKeyRef": {"name": secret, "key": key}}}});
    with(brief(name, 2), json!({"spec": {"target": {"auth": auth}}}))
}

#[test]
fn a_missing_secret_or_key_ends_the_run_naming_it_before_any_request() {
    play("missing", async |stage| {
        stage.open(&[]).await;
        stage.kubectl(&[
            "create",
            "secret",
            "generic",
            "there",
            "--from-literal=key=value",
        ]);
        stage.apply(&with_token("no-secret", "absent", "pat"));
        stage.apply(&with_token("no-key", "there", "pat"));
        for (name, object) in [("no-secret", "absent"), ("no-key", "there")] {
            let test = stage.finished(name).await;
            assert!(is(&test, "Errored"), "{name}: {:?}", test.status);
            let (stalled, message) = condition(&test, "Stalled");
            assert_eq!(stalled, "True/MissingReference", "{name}: {message}");
            for word in [object, "pat", "spec.target.auth.bearer.tokenFrom"] {
                assert!(
                    message.contains(word),
                    "{name} does not name {word}: {message}"
                );
            }
            took_at_most_a_minute(stage, name).await;
        }
        assert_eq!(stage.count().await, 0, "no request was sent");
    });
}

async fn took_at_most_a_minute(stage: &Stage, name: &str) {
    let run = status(&stage.test(name).await).run.expect("a run");
    let time = |text: &str| text.parse::<jiff::Timestamp>().expect("a time");
    let taken = time(&run.finished_at.expect("an end"))
        .duration_since(time(&run.created_at))
        .as_secs();
    assert!(taken <= 60, "{name} took {taken} s");
}
