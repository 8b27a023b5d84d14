//! What is tried before any load: waiting for a target, connecting to it, doing each task once.

use serde_json::{Value, json};

use crate::engine::OneOff;
use crate::engine::OneOffInputs;
use crate::engine::Outcome;
use crate::engine::tests::language::Target;
use crate::engine::tests::server::{closed_port, scripted};
use crate::engine::tests::*;
use crate::plan::SetupValues;

async fn tried(one_off: OneOff, target: Value, tasks: Value, preflight: &str) -> Outcome {
    let spec = json!({
        "target": target,
        "feeders": [{"name": "rows", "inline": [{"id": "r1"}, {"id": "r2"}], "strategy": "Queue", "scope": "Test"}],
        "scenarios": [{"name": "s", "onStart": [{"http": {"path": "/login"}}], "tasks": tasks}],
        "load": {"closed": {"users": 1, "duration": "100ms"}},
        "run": {"preflight": preflight},
    });
    let prepared = prepared(
        crate::crd::check(&serde_json::from_value(spec).unwrap())
            .unwrap()
            .plan,
    )
    .await;
    let inputs = OneOffInputs {
        share: Share::WHOLE,
        seed: 7,
        found: SetupValues::default(),
        within: Duration::from_secs(20),
    };
    prepared.start_one_off(one_off, inputs).outcome().await
}

fn task(name: &str, path: &str) -> Value {
    json!({"name": name, "steps": [{"name": path, "http": {"path": path}}]})
}

/// Answers its first requests with 503.
async fn waking(sleepy: usize) -> String {
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    scripted(move |mut peer| {
        let asked = asked.clone();
        async move {
            while peer.request().await {
                let is_up = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= sleepy;
                let answer = if is_up {
                    "200 OK\r\nContent-Length: 0\r\n\r\n"
                } else {
                    "503 Service Unavailable\r\nContent-Length: 7\r\n\r\nasleep\n"
                };
                peer.send(format!("HTTP/1.1 {answer}")).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_target_that_does_not_get_ready_is_told_with_its_last_answer() {
    let target =
        json!({"url": waking(100).await, "readyWhen": {"http": "/health", "timeout": "1500ms"}});
    let outcome = tried(
        OneOff::AwaitTargets,
        target,
        json!([task("t", "/x")]),
        "Off",
    )
    .await;
    let expected = "spec.target.readyWhen: not ready within 1s500ms; the last answer: 503 Service Unavailable: asleep";
    assert_eq!(outcome.failure.as_deref(), Some(expected));
    assert_eq!(
        outcome.snapshot,
        Snapshot::default(),
        "these requests are nobody's"
    );
}

#[tokio::test]
async fn a_target_is_waited_for_until_it_is_ready() {
    let target = json!({"url": waking(1).await, "readyWhen": {"http": "/health"}});
    let outcome = tried(
        OneOff::AwaitTargets,
        target,
        json!([task("t", "/x")]),
        "Off",
    )
    .await;
    assert_eq!(outcome.failure, None);
    assert!(
        outcome.note.starts_with("ready after 2 requests in 1s"),
        "{}",
        outcome.note
    );
}

#[tokio::test]
async fn a_target_that_nobody_serves_is_found_by_connecting() {
    let target = json!({"url": format!("http://{}", closed_port())});
    let failure = tried(
        OneOff::Preflight,
        target,
        json!([task("t", "/x")]),
        "Connect",
    )
    .await
    .failure
    .unwrap();
    assert!(
        failure.starts_with("spec.target: connecting to 127.0.0.1:"),
        "{failure}"
    );
    let target = Target::start();
    let outcome = tried(
        OneOff::Preflight,
        json!({"url": target.url}),
        json!([task("t", "/x")]),
        "Connect",
    )
    .await;
    assert_eq!(
        (
            outcome.failure,
            target.lines().len(),
            outcome.snapshot.received_by_target()
        ),
        (None, 0, 0)
    );
}

#[tokio::test]
async fn each_task_is_tried_once_with_rows_of_its_own_and_counted_as_control() {
    let target = Target::start();
    let tasks = json!([
        task("a", "/a/{{ rows.id }}"),
        task("b", "/status/500"),
        task("c", "/c/{{ rows.id }}")
    ]);
    let outcome = tried(OneOff::Preflight, json!({"url": target.url}), tasks, "Once").await;
    assert_eq!(
        outcome.failure, None,
        "how a target fares is for the load to find out"
    );
    assert_eq!(
        target.lines(),
        ["GET /login", "GET /a/r1", "GET /status/500", "GET /c/r2"]
    );
    let counters = outcome.snapshot.counters;
    assert_eq!(
        (
            counters.control,
            outcome.snapshot.requests(),
            outcome.snapshot.received_by_target()
        ),
        (4, 0, 4)
    );
}

#[tokio::test]
async fn a_refusal_or_a_failed_check_is_told_with_the_first_line_of_the_answer() {
    let target = Target::start();
    let tasks = json!([task("a", "/a"), task("b", "/refuse/404")]);
    let outcome = tried(OneOff::Preflight, json!({"url": target.url}), tasks, "Once").await;
    assert_eq!(
        outcome.failure.as_deref(),
        Some("step \"/refuse/404\": 404 Not Found: none")
    );
    let mut checked = task("a", "/json/1");
    checked["steps"][0]["checks"] = json!([{"jsonPath": "$.nothing"}]);
    let outcome = tried(
        OneOff::Preflight,
        json!({"url": target.url}),
        json!([checked]),
        "Once",
    )
    .await;
    let failure = outcome.failure.unwrap();
    let expected = r#"step "/json/1": checks[0], jsonPath $.nothing exists: found nothing; the answer: 200 OK: {"count":1,"ok":true,"seen":1}"#;
    assert_eq!(failure, expected);
}

#[tokio::test]
async fn an_answer_that_is_told_shows_no_credential_and_no_more_than_a_line() {
    let body = format!(
        "{}canary-0123456789 {}\nsecond line",
        "x".repeat(150),
        "y".repeat(9_000)
    );
    let url = scripted(move |peer| {
        peer.always(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    })
    .await;
    let target = json!({"url": url, "headers": {"Authorization": "Bearer canary-0123456789"}});
    let mut checked = task("a", "/a");
    // nobody but the preflight wants the body
    checked["steps"][0]["checks"] = json!([{"header": "X-Missing"}]);
    let failure = tried(OneOff::Preflight, target, json!([checked]), "Once")
        .await
        .failure
        .unwrap();
    let told = format!(
        "step \"/a\": checks[0], header X-Missing exists: found nothing; the answer: 200 OK: {}*** ",
        "x".repeat(150)
    );
    assert!(
        failure.starts_with(&told) && failure.chars().count() < told.len() + 10,
        "{failure}"
    );
}

#[tokio::test]
async fn a_check_that_failed_is_told_with_the_value_that_was_wanted_and_the_one_found() {
    let target = Target::start();
    let mut checked = task("a", "/json/1");
    checked["steps"][0]["checks"] = json!([{"jsonPath": "$.count", "equals": 2}]);
    let url = json!({"url": target.url});
    let outcome = tried(OneOff::Preflight, url, json!([checked]), "Once").await;
    let failure = outcome.failure.unwrap();
    assert!(
        failure.contains("checks[0], jsonPath $.count equals 2: found 1;"),
        "{failure}"
    );
}
