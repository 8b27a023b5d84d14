//! Rows that all workers share.

use std::sync::{Arc, Mutex};

use serde_json::json;
use starling::stats::result::Verdict;
use starling::wire::control::{GrantAction, ProblemKind};
use tokio::net::TcpListener;

use crate::stage::{ANY, Stage};

/// A target that keeps the numbers it is asked for: GET /row/N.
#[derive(Clone, Default)]
struct Rows(Arc<Mutex<Vec<u64>>>);

impl Rows {
    async fn serve(&self) -> String {
        let rows = self.0.clone();
        let keep = move |axum::extract::Path(row): axum::extract::Path<u64>| async move {
            rows.lock().unwrap().push(row)
        };
        let router = axum::Router::new().route("/row/{row}", axum::routing::get(keep));
        let listener = TcpListener::bind(ANY).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn sorted(&self) -> Vec<u64> {
        let mut rows = self.0.lock().unwrap().clone();
        rows.sort_unstable();
        rows
    }
}

/// Sends each of so many rows, leased by the master, and ends with the last.
async fn fed(workers: u32, rows: u64, target: &Rows) -> Stage {
    let url = target.serve().await;
    Stage::new(workers, 60, |spec| {
        spec["target"]["url"] = json!(url);
        let inline: Vec<_> = (0..rows).map(|n| json!({"n": n})).collect();
        spec["feeders"] = json!([{"name": "rows", "inline": inline, "strategy": "Queue", "scope": "Test", "onExhausted": "StopRun"}]);
        spec["scenarios"][0]["tasks"][0]["steps"][0]["http"] = json!({"path": "/row/{{ rows.n }}"});
        // about 200 rows a second
        spec["scenarios"][0]["thinkTime"] = json!({"min": "50ms", "max": "150ms"});
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_is_sent_once_by_some_worker_and_the_run_ends_with_the_last() {
    let target = Rows::default();
    let stage = fed(3, 1000, &target).await;
    let _master = stage.master("state");
    let _workers: Vec<_> = (0..3).map(|index| stage.worker(index)).collect();
    stage.start().await;
    let result = stage.result().await;
    assert_eq!(result.verdict, Verdict::Passed, "{}", result.message);
    assert_eq!(target.sorted(), (0..1000).collect::<Vec<_>>());
    assert_eq!(result.totals.requests, 1000);
    assert!(
        result.duration_micros < 50_000_000,
        "{} us",
        result.duration_micros
    );
    let feeder = &result.feeders[0];
    assert_eq!(
        (
            feeder.name.as_str(),
            feeder.leased,
            feeder.used,
            feeder.lost
        ),
        ("rows", 1000, 1000, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_sent_twice_whichever_process_dies() {
    let target = Rows::default();
    let stage = fed(2, 1000, &target).await;
    let master = stage.master("state");
    let (_first, _stop) = stage.worker(0);
    let (second, _stop) = stage.worker(1);
    stage.start().await;
    second.abort();
    stage
        .until("alone", |progress| progress.connected == 1)
        .await;
    drop(master);
    // another Pod, which remembers nothing
    let _master = stage.master("another-state");
    stage.until("there", |_| true).await;
    stage.grant(2, GrantAction::Resume).await;
    let (_replacement, _stop) = stage.worker(1);
    let result = stage.result().await;
    let sent = target.sorted();
    assert!(
        sent.windows(2).all(|pair| pair[0] != pair[1]),
        "sent twice: {sent:?}"
    );
    assert!(sent.len() > 20, "{} rows", sent.len());
    let feeder = &result.feeders[0];
    assert!(
        feeder.used <= sent.len() as u64 && feeder.used + feeder.lost <= feeder.leased,
        "{feeder:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_holds_other_data_keeps_the_run_from_starting() {
    let stage = Stage::new(2, 1, |spec| {
        spec["feeders"] =
            json!([{"name": "rows", "csv": {"file": "data/rows.csv"}, "scope": "Test"}]);
        spec["scenarios"][0]["tasks"][0]["steps"][0]["http"] = json!({"path": "/?{{ rows.n }}"});
    })
    .await;
    let _master = stage.master("state");
    let volume = stage.folder.path().join("inputs/files/data");
    std::fs::create_dir_all(&volume).unwrap();
    std::fs::write(volume.join("rows.csv"), "n\n1\n").unwrap();
    let (_first, _stop) = stage.worker(0);
    stage.until("ready", |progress| progress.ready == 1).await;
    std::fs::write(volume.join("rows.csv"), "n\n1\n2\n").unwrap();
    let (_second, _stop) = stage.worker(1);
    let progress = stage
        .until("complaining", |progress| !progress.problems.is_empty())
        .await;
    let problem = &progress.problems[0];
    assert_eq!(
        (problem.kind, problem.field.as_str()),
        (ProblemKind::InvalidSpec, "spec.feeders[0]")
    );
    assert!(
        problem.message.contains("2 rows instead of 1"),
        "{problem:?}"
    );
    assert_eq!(stage.service.count(), 0);
}
