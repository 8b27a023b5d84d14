//! Masters that are killed, whose Pod is lost, or that come back late.

use std::time::Duration;

use serde_json::json;
use starling::stats::result::Verdict;
use starling::wire::control::{GrantAction, MasterState};
use starling::wire::layout::exit;

use crate::processes::{Process, signal};
use crate::stage::{Stage, exit_code, received};

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_worker_hands_over_what_it_has_and_its_replacement_goes_on() {
    let stage = Stage::new(2, 6, |_| {}).await;
    let _master = stage.master("state");
    let (_first, _stop) = stage.worker(0);
    let (second, drain) = stage.worker(1);
    stage.start().await;
    drain.cancel();
    assert_eq!(exit_code(second).await, exit::DRAINED);
    let (_replacement, _stop) = stage.worker(1);
    let result = stage.result().await;
    assert_eq!(received(&result), stage.service.count());
    assert_eq!((result.workers.lost, result.workers.rejoined), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_master_process_rebuilds_from_the_workers_and_loses_nothing() {
    let stage = Stage::new(2, 6, |_| {}).await;
    let master = stage.master("state");
    let _workers = [stage.worker(0), stage.worker(1)];
    stage.start().await;
    drop(master);
    let _master = stage.master("state");
    let result = stage.result().await;
    assert_eq!(received(&result), stage.service.count());
    assert_eq!(result.verdict, Verdict::Passed, "{}", result.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_master_pod_goes_on_only_when_it_is_told_to_resume() {
    let stage = Stage::new(1, 6, |_| {}).await;
    let master = stage.master("state");
    let _worker = stage.worker(0);
    stage.start().await;
    drop(master);
    let _master = stage.master("another-state");
    let progress = stage.until("there", |_| true).await;
    assert_ne!(progress.state, MasterState::Running);
    stage.grant(2, GrantAction::Resume).await;
    let result = stage.result().await;
    assert_eq!(received(&result), stage.service.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_died_leaves_what_it_had_reported() {
    let stage = Stage::new(1, 7, |_| {}).await;
    let _master = stage.master("state");
    let (worker, _stop) = stage.worker(0);
    stage.start().await;
    worker.abort();
    let reported = stage
        .until("reported", |progress| progress.connected == 0)
        .await
        .requests;
    let (_replacement, _stop) = stage.worker(0);
    let result = stage.result().await;
    assert!(result.totals.requests > reported);
    assert_eq!((result.workers.lost, result.workers.rejoined), (1, 1));
    assert!(
        received(&result) <= stage.service.count(),
        "more was counted than sent"
    );
}

/// Before, 1,002 of 7,687 requests were gone with `lost: 0`: those of the worker that had been
/// replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_master_process_keeps_what_workers_reported_that_were_gone_before() {
    let stage = Stage::new(2, 12, |_| {}).await;
    let master = Process::master(&stage, "state");
    let (_first, _stop) = stage.worker(0);
    let (second, drain) = stage.worker(1);
    stage.start().await;
    drain.cancel();
    assert_eq!(exit_code(second).await, exit::DRAINED);
    let (_replacement, _stop) = stage.worker(1);
    let both = |progress: &starling::wire::control::Progress| progress.connected == 2;
    stage.until("replaced", both).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(master);
    let _master = Process::master(&stage, "state");
    let result = stage.result().await;
    assert_eq!(received(&result), stage.service.count());
    assert_eq!((result.workers.lost, result.workers.rejoined), (0, 1));
    assert_eq!(result.totals.late, 0);
    let in_series: u64 = result.series.iter().map(|point| point.requests).sum();
    assert_eq!(in_series, result.totals.requests);
    assert_eq!(result.incomplete, None);
}

/// Windows, blocks and series are those of an undisturbed run: the killed process had judged some
/// seconds, and the workers say the others again.
#[tokio::test(flavor = "multi_thread")]
async fn thresholds_over_windows_are_judged_across_a_kill_of_the_master() {
    let stage = Stage::new(2, 12, |spec| {
        spec["load"] = json!({"open": {"rate": 100, "duration": "12s", "maxInFlight": 200}});
        spec["scenarios"][0].as_object_mut().unwrap().remove("thinkTime");
        spec["thresholds"] = json!([
            {"metric": "requests", "expr": "perSecond > 80", "window": "8s", "delay": "1s", "abortOnFail": true},
        ]);
    })
    .await;
    let master = Process::master(&stage, "state");
    let _workers = [stage.worker(0), stage.worker(1)];
    stage.start().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    drop(master);
    // a window of 8 s in a run of 12 s has seconds from before and after the kill
    let _master = Process::master(&stage, "state");
    let result = stage.result().await;
    assert_eq!(result.verdict, Verdict::Passed, "{}", result.message);
    assert_eq!(received(&result), stage.service.count());
    assert!(
        !result
            .warnings
            .iter()
            .any(|warning| warning.contains("blocks")),
        "{:?}",
        result.warnings
    );
}

/// Before, such a master closed the run with the first last word that it heard: 878 of 2,633
/// requests, `Succeeded`.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_comes_back_after_the_end_waits_for_the_last_words_of_all() {
    let stage = Stage::new(3, 4, |spec| spec["run"] = json!({"stopTimeout": "1s"})).await;
    let master = Process::master(&stage, "state");
    let _workers = [stage.worker(0), stage.worker(1), stage.worker(2)];
    stage.start().await;
    drop(master);
    tokio::time::sleep(Duration::from_secs(24)).await;
    let _master = Process::master(&stage, "state");
    let result = stage.result().await;
    assert_eq!(received(&result), stage.service.count());
    assert_eq!(
        (result.verdict, result.workers.lost),
        (Verdict::Passed, 0),
        "{}",
        result.message
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_pod_of_the_master_loses_what_only_it_had_and_says_so() {
    let stage = Stage::with(2, 16, Duration::from_secs(4), |_| {}).await;
    let master = Process::master(&stage, "state");
    let _first = Process::worker(&stage, 0);
    let second = Process::worker(&stage, 1);
    stage.start().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    signal(&second, "KILL");
    // its share is carried by the other once it counts as lost
    tokio::time::sleep(Duration::from_secs(5)).await;
    drop(master);
    let _master = Process::master(&stage, "another-state");
    stage.until("there", |_| true).await;
    stage.grant(2, GrantAction::Resume).await;
    let result = stage.result().await;
    let incomplete = result.incomplete.expect("one worker had died");
    println!(
        "{:?} of {}; {:?}",
        incomplete,
        stage.service.count(),
        result.warnings
    );
    assert_eq!(incomplete.workers, 1);
    let (known, sent) = (received(&result), stage.service.count());
    assert!(known + incomplete.requests <= sent);
    // what is missing besides is at most an interval of the killed worker, of 1,000 a second
    assert!(
        sent - known - incomplete.requests <= 1_500,
        "{known} and {} of {sent}",
        incomplete.requests
    );
    assert!(
        result
            .warnings
            .iter()
            .any(|w| w.contains("the master was lost")),
        "{:?}",
        result.warnings
    );
}
