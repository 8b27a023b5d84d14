//! What one worker does for all: setup and teardown.

use std::sync::{Arc, Mutex};

use serde_json::json;
use starling::stats::result::{Reason, Verdict};
use starling::wire::control::{GrantAction, MasterState};
use tokio::net::TcpListener;

use crate::stage::{ANY, Stage, received};

/// A target of which setup gets a token: notes each request's line with the `X-Token` it came with.
#[derive(Clone, Default)]
struct Door {
    notes: Arc<Mutex<Vec<String>>>,
    /// The first `/login` is never answered.
    first_hangs: bool,
}

impl Door {
    async fn serve(&self) -> String {
        let door = self.clone();
        let answer = move |uri: axum::http::Uri, headers: axum::http::HeaderMap| async move {
            let token = headers
                .get("x-token")
                .map_or("", |value| value.to_str().unwrap())
                .to_owned();
            let nth = {
                let mut notes = door.notes.lock().unwrap();
                notes.push(format!("{} {token}", uri.path()).trim_end().to_owned());
                notes.iter().filter(|note| *note == "/login").count()
            };
            match uri.path() {
                "/login" if door.first_hangs && nth == 1 => std::future::pending().await,
                "/refuse" => (axum::http::StatusCode::FORBIDDEN, String::new()),
                _ => (axum::http::StatusCode::OK, format!("canary-{nth}")),
            }
        };
        let listener = TcpListener::bind(ANY).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(
            async move { axum::serve(listener, axum::Router::new().fallback(answer)).await },
        );
        url
    }

    fn count(&self, note: &str) -> usize {
        self.notes
            .lock()
            .unwrap()
            .iter()
            .filter(|found| *found == note)
            .count()
    }

    /// A run whose load shows the token that `setup` got.
    async fn stage(&self, workers: u32, setup: &str) -> Stage {
        let url = self.serve().await;
        Stage::new(workers, 3, |spec| {
            spec["target"]["url"] = json!(url);
            // workers go away in these tests, and their load with them
            spec["load"]["closed"]["maxMissing"] = json!("100%");
            spec["setup"] = json!([{"name": "get in", "http": {"path": setup}, "extract": {"token": {"body": true}}}]);
            spec["teardown"] = json!([{"http": {"path": "/logout", "headers": {"X-Token": "{{ token }}"}}}]);
            spec["scenarios"][0]["tasks"][0]["steps"][0]["http"] = json!({"path": "/load", "headers": {"X-Token": "{{ token }}"}});
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_worker_set_up_all_workers_use_and_it_is_torn_down_once() {
    let door = Door::default();
    let stage = door.stage(3, "/login").await;
    let master = stage.master("state");
    let workers: Vec<_> = (0..3).map(|index| stage.worker(index)).collect();
    stage.start().await;
    // a worker that comes later and a master that knows nothing any more get the token, too
    workers[1].0.abort();
    stage
        .until("one fewer", |progress| progress.connected == 2)
        .await;
    drop(master);
    let _master = stage.master("state");
    let _replacement = stage.worker(1);
    let result = stage.result().await;
    assert_eq!(
        (door.count("/login"), door.count("/logout canary-1")),
        (1, 1)
    );
    let notes = door.notes.lock().unwrap().clone();
    assert!(
        notes
            .iter()
            .all(|note| ["/login", "/load canary-1", "/logout canary-1"].contains(&note.as_str())),
        "{notes:?}"
    );
    assert_eq!(
        (result.verdict, result.totals.control),
        (Verdict::Passed, 2),
        "{}",
        result.message
    );
    assert!(
        !serde_json::to_string(&result).unwrap().contains("canary"),
        "the result shows the token"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_worker_sets_up_when_the_first_dies_over_it() {
    let door = Door {
        first_hangs: true,
        ..Door::default()
    };
    let stage = door.stage(2, "/login").await;
    let _master = stage.master("state");
    let (first, _stop) = stage.worker(0);
    let (_second, _stop) = stage.worker(1);
    stage
        .until("ready", |progress| progress.state == MasterState::Ready)
        .await;
    stage.grant(1, GrantAction::Start).await;
    stage
        .until("setting up", |progress| {
            progress.one_off.as_deref() == Some("setup") && door.count("/login") == 1
        })
        .await;
    first.abort();
    stage
        .until("gone", |progress| progress.connected == 1)
        .await;
    assert_eq!(stage.operator().progress().await.unwrap().requests, 0);
    let (_replacement, _stop) = stage.worker(0);
    let result = stage.result().await;
    assert_eq!(
        (
            result.verdict,
            door.count("/login"),
            door.count("/logout canary-2")
        ),
        (Verdict::Passed, 2, 1),
        "{}",
        result.message
    );
    assert_eq!(door.count("/load canary-2") as u64, received(&result));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_that_fails_ends_the_run_before_any_load() {
    let door = Door::default();
    let stage = door.stage(2, "/refuse").await;
    let _master = stage.master("state");
    let _workers = [stage.worker(0), stage.worker(1)];
    stage
        .until("ready", |progress| progress.state == MasterState::Ready)
        .await;
    stage.grant(1, GrantAction::Start).await;
    let result = stage.result().await;
    assert_eq!(
        (result.verdict, &result.reason),
        (Verdict::Errored, &Reason::SetupFailed)
    );
    assert!(
        result
            .message
            .starts_with("setup failed: step \"get in\": 403 Forbidden"),
        "{}",
        result.message
    );
    assert_eq!(
        *door.notes.lock().unwrap(),
        ["/refuse"],
        "teardown named what was never found, so it sent nothing"
    );
    assert!(
        result
            .warnings
            .iter()
            .any(|warning| warning.starts_with("teardown failed")),
        "{:?}",
        result.warnings
    );
}
