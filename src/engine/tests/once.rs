//! Setup and teardown: what is sent, what is found and who sees it, and what becomes of one that
//! fails.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::engine::OneOff;
use crate::engine::OneOffInputs;
use crate::engine::Outcome;
use crate::engine::tests::server::scripted;
use crate::engine::tests::*;
use crate::plan::SetupValues;

/// Notes each request's line and `X-Token`; answers by the path.
async fn target() -> (String, Arc<Mutex<Vec<String>>>) {
    let noted = Arc::new(Mutex::new(Vec::new()));
    let notes = noted.clone();
    let url = scripted(move |mut peer| {
        let notes = notes.clone();
        async move {
            while let Some(head) = peer.head().await {
                let line = head
                    .lines()
                    .next()
                    .unwrap()
                    .trim_end_matches(" HTTP/1.1")
                    .to_owned();
                let token = head
                    .lines()
                    .find_map(|line| line.strip_prefix("X-Token: "))
                    .unwrap_or_default();
                notes
                    .lock()
                    .unwrap()
                    .push(format!("{line} {token}").trim_end().to_owned());
                let (status, body) = match line.split_once('/').unwrap().1 {
                    "login" => (
                        "200 OK",
                        r#"{"token": "canary-0123456789", "id": 7}"#.to_owned(),
                    ),
                    "large" => ("200 OK", "x".repeat(70_000)),
                    "hang" => std::future::pending().await,
                    "echo" => (
                        "200 OK",
                        format!(r#"{{"error": "no such token: {token}"}}"#),
                    ),
                    "refuse" => ("503 Service Unavailable", String::new()),
                    _ => ("200 OK", String::new()),
                };
                peer.send(&format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                ))
                .await;
            }
        }
    })
    .await;
    (url, noted)
}

fn login() -> Value {
    json!({"name": "login", "http": {"path": "/login"}, "extract": {"token": {"jsonPath": "$.token"}, "id": {"jsonPath": "$.id"}}})
}

async fn prepared_with(url: &str, setup: Value, teardown: Value) -> Arc<Prepared> {
    let spec = json!({
        "target": {"url": url},
        "setup": setup,
        "teardown": teardown,
        "scenarios": [{"name": "s", "thinkTime": {"constant": "10s"}, "tasks": [{"name": "t", "steps": [
            {"http": {"path": "/load/{{ id }}", "headers": {"X-Token": "{{ token }}"}}},
        ]}]}],
        "load": {"closed": {"users": 1, "duration": "300ms"}},
    });
    prepared(
        crate::crd::check(&serde_json::from_value(spec).unwrap())
            .unwrap()
            .plan,
    )
    .await
}

async fn carry_out(prepared: &Arc<Prepared>, one_off: OneOff, found: SetupValues) -> Outcome {
    let inputs = OneOffInputs {
        share: Share {
            worker: 1,
            workers: 2,
        },
        seed: 7,
        found,
        within: Duration::from_secs(10),
    };
    prepared
        .clone()
        .start_one_off(one_off, inputs)
        .outcome()
        .await
}

async fn set_up(url: &str, setup: Value) -> Outcome {
    let mut steps = setup.as_array().unwrap().clone();
    if !steps.iter().any(|step| step["name"] == "login") {
        // the scenario names what it finds
        steps.push(login());
    }
    carry_out(
        &prepared_with(url, json!(steps), json!([])).await,
        OneOff::Setup,
        SetupValues::default(),
    )
    .await
}

#[tokio::test]
async fn what_setup_finds_is_seen_by_the_load_and_by_teardown() {
    let (url, noted) = target().await;
    let teardown = json!([{"http": {"method": "DELETE", "path": "/things/{{ id }}", "headers": {"X-Token": "{{ token }}"}}}]);
    let setup = json!([login(), {"http": {"path": "/next/{{ id }}"}, "repeat": {"count": 2}}]);
    let prepared = prepared_with(&url, setup, teardown).await;
    let Outcome {
        failure,
        found,
        snapshot,
        ..
    } = carry_out(&prepared, OneOff::Setup, SetupValues::default()).await;
    assert_eq!(failure, None);
    assert_eq!(
        (found.get("token"), found.get("id")),
        (Some(&json!("canary-0123456789")), Some(&json!(7)))
    );
    let counters = Counters {
        control: 3,
        connects: 1,
        ..Counters::default()
    };
    assert_eq!(
        (snapshot.counters, snapshot.requests()),
        (counters, 0),
        "it is counted, and in no other number"
    );

    let mut running = prepared.clone().start(
        Assignment {
            found: found.clone(),
            ..whole(1)
        },
        Instant::now(),
    );
    assert_eq!(sum(&deltas(&mut running).await).requests(), 1);
    assert_eq!(
        carry_out(&prepared, OneOff::Teardown, found).await.failure,
        None
    );
    let expected = [
        "GET /login",
        "GET /next/7",
        "GET /next/7",
        "GET /load/7 canary-0123456789",
        "DELETE /things/7 canary-0123456789",
    ];
    assert_eq!(*noted.lock().unwrap(), expected);
}

#[tokio::test]
async fn without_what_setup_finds_a_step_that_names_it_fails_and_sends_nothing() {
    let (url, noted) = target().await;
    let mut running = prepared_with(&url, json!([login()]), json!([]))
        .await
        .start(whole(1), Instant::now());
    assert_eq!(
        classes(&sum(&deltas(&mut running).await)),
        [(ErrorClass::Template, 1)]
    );
    assert_eq!(noted.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn the_step_that_failed_is_told_with_the_cause_and_what_was_found_before_it() {
    let (url, noted) = target().await;
    let refuse = json!({"name": "create", "http": {"path": "/refuse"}});
    let ignored = json!({"name": "maybe", "onFailure": "Continue", "http": {"path": "/refuse"}});
    let outcome = set_up(
        &url,
        json!([login(), ignored, refuse, {"http": {"path": "/never"}}]),
    )
    .await;
    assert_eq!(
        outcome.failure.as_deref(),
        Some("step \"create\": 503 Service Unavailable")
    );
    assert!(outcome.found.get("token").is_some(), "teardown may need it");
    assert_eq!(
        (
            outcome.snapshot.counters.control,
            outcome.snapshot.counters.control_failures
        ),
        (3, 2)
    );
    assert_eq!(noted.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_wait_that_never_ends_well_is_the_cause() {
    let (url, _noted) = target().await;
    let wait = json!({"name": "wait", "http": {"path": "/x"}, "repeat": {"until": "status == 404", "max": 2}});
    let failure = set_up(&url, json!([login(), wait])).await.failure.unwrap();
    assert!(
        failure.starts_with("step \"wait\": repeat.until: "),
        "{failure}"
    );
}

#[tokio::test]
async fn what_setup_found_is_in_no_message() {
    let (url, _noted) = target().await;
    let echo = json!({"name": "echo", "http": {"path": "/echo", "headers": {"X-Token": "{{ token }}"}},
        "checks": [{"jsonPath": "$.error", "equals": "none"}]});
    let outcome = set_up(&url, json!([login(), echo])).await;
    let failure = outcome.failure.unwrap();
    assert!(failure.contains("no such token: ***"), "{failure}");
    let samples: String = outcome
        .snapshot
        .errors
        .iter()
        .map(|(_, entry)| entry.message.clone())
        .collect();
    assert!(
        !samples.contains("canary") && samples.contains("***"),
        "{samples}"
    );
}

#[tokio::test]
async fn a_setup_that_hangs_is_given_up_and_one_that_is_not_wanted_any_more_is_cut() {
    let (url, _noted) = target().await;
    let prepared = prepared_with(
        &url,
        json!([login(), {"http": {"path": "/hang"}}]),
        json!([]),
    )
    .await;
    let inputs = |within| OneOffInputs {
        share: Share::WHOLE,
        seed: 7,
        found: SetupValues::default(),
        within,
    };
    let late = prepared
        .clone()
        .start_one_off(OneOff::Setup, inputs(Duration::from_millis(300)))
        .outcome()
        .await;
    assert_eq!(
        late.failure.as_deref(),
        Some("it was not done within 300ms")
    );
    assert_eq!(
        (
            late.snapshot.counters.control,
            late.snapshot.counters.interrupted
        ),
        (1, 1),
        "what was sent is counted"
    );
    let mut unwanted = prepared.start_one_off(OneOff::Setup, inputs(Duration::from_secs(60)));
    unwanted.cut();
    assert_eq!(
        unwanted.outcome().await.failure.as_deref(),
        Some("it was cut off")
    );
}

#[tokio::test]
async fn a_setup_that_finds_more_than_can_be_sent_around_has_failed() {
    let (url, _noted) = target().await;
    let outcome = set_up(
        &url,
        json!([{"http": {"path": "/large"}, "extract": {"all": {"body": true}}}]),
    )
    .await;
    let failure = outcome.failure.unwrap();
    assert!(failure.contains("at most 65536 may be"), "{failure}");
}
