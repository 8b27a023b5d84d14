//! Runs whose number of workers changes under load, with workers as processes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use starling::stats::result::{RunResult, Verdict};
use starling::wire::control::{Client, FleetSize, Grant, GrantAction, MasterState, Scale};
use starling::wire::layout::exit;

use crate::processes::{Course, Process, code, signal};
use crate::stage::{RUN, Stage, received};

/// Lease of the workers here.
const GRACE: Duration = Duration::from_secs(6);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Open load of 200 requests a second. A worker that were lost would end the run.
fn steady(spec: &mut Value, duration: &str) {
    spec["load"] = json!({"open": {"rate": 200, "duration": duration, "maxInFlight": 400, "maxDropped": "10%"}});
    spec["workers"] = json!({"onLoss": "Fail"});
    let scenario = spec["scenarios"][0].as_object_mut().unwrap();
    scenario.remove("thinkTime");
}

/// The rate while and after the load was divided anew, and nothing lost or counted twice.
async fn holds(stage: &Stage, course: &Course, changed: Instant, asked: u64) -> RunResult {
    let until = changed + seconds(7);
    tokio::time::sleep(until.saturating_duration_since(Instant::now())).await;
    let rate = course.rate(changed, until);
    let (lowest, highest) = (
        course.lowest(changed, until, seconds(3)),
        course.highest(changed, until, seconds(3)),
    );
    let result = stage.result().await;
    let (known, sent) = (received(&result), stage.service.count());
    let arrivals = result.load.as_ref().unwrap().arrivals.unwrap();
    println!(
        "{rate:.1}/s around the change, from {lowest:.1} to {highest:.1}; asked for 200/s; {sent} requests, {known} known, {arrivals:?}"
    );
    // a busy machine makes up for what it was late with
    assert!((190.0..=210.0).contains(&rate), "{rate}");
    assert!(lowest >= 150.0 && highest <= 250.0, "{lowest}, {highest}");
    assert_eq!(known, sent, "{:?}", result.events);
    assert_eq!(arrivals.planned, asked);
    // no more than a moment's, of a worker that heard of it late
    assert!(arrivals.missing <= 20, "{arrivals:?}");
    assert!(sent <= asked, "an arrival was made twice");
    assert_eq!(result.verdict, Verdict::Passed, "{}", result.message);
    assert_eq!((result.workers.lost, result.workers.rejoined), (0, 0));
    result
}

fn is_divided(result: &RunResult, words: &str) -> bool {
    let events = &result.events;
    events.iter().any(|event| event.message.contains(words))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_two_workers_grows_to_four_and_its_load_stays_the_same() {
    let stage = Stage::with(2, 14, GRACE, |spec| steady(spec, "14s")).await;
    let _master = stage.master("state");
    let _workers = [0, 1].map(|index| Process::worker(&stage, index));
    stage.start().await;
    let course = Course::of(&stage);
    tokio::time::sleep(seconds(2)).await;
    // one that is there before the operator has granted it waits
    let _third = Process::worker(&stage, 2);
    stage.scale(4, 4).await;
    let _fourth = Process::worker(&stage, 3);
    stage
        .until("complete", |progress| progress.ready == 4)
        .await;
    let result = holds(&stage, &course, Instant::now(), 14 * 200).await;
    assert!(is_divided(
        &result,
        "the load of 2 workers is divided among 4"
    ));
    assert_eq!((result.workers.planned, result.fleet.len()), (4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_four_workers_shrinks_to_two_and_those_who_go_are_no_loss() {
    let stage = Stage::with(4, 14, GRACE, |spec| steady(spec, "14s")).await;
    let _master = stage.master("state");
    let mut workers: Vec<Process> = (0..4).map(|index| Process::worker(&stage, index)).collect();
    stage.start().await;
    let course = Course::of(&stage);
    tokio::time::sleep(seconds(2)).await;
    let changed = Instant::now();
    let told = stage.scale(2, 4).await;
    assert_eq!((told.workers, told.leaving), (2, Some(2)));
    stage
        .until("moved", |progress| progress.leaving == Some(0))
        .await;
    for worker in workers.split_off(2) {
        signal(&worker, "TERM");
        let ended = tokio::task::spawn_blocking(move || code(worker));
        assert_eq!(ended.await.unwrap(), Some(i32::from(exit::DRAINED)));
    }
    let result = holds(&stage, &course, changed, 14 * 200).await;
    assert!(is_divided(
        &result,
        "the load of 4 workers is divided among 2"
    ));
    assert!(is_divided(&result, "worker 3 has left, as it was to"));
    assert_eq!(result.workers.planned, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_flaps_leaves_the_load_as_it_is() {
    let stage = Stage::with(2, 14, GRACE, |spec| steady(spec, "14s")).await;
    let _master = stage.master("state");
    let _workers: Vec<Process> = (0..4).map(|index| Process::worker(&stage, index)).collect();
    stage.start().await;
    let course = Course::of(&stage);
    tokio::time::sleep(seconds(2)).await;
    let changed = Instant::now();
    for now in [4, 2, 4, 2, 4] {
        stage.scale(now, 4).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stage
        .until("complete", |progress| progress.ready == 4)
        .await;
    stage.scale(2, 4).await;
    holds(&stage, &course, changed, 14 * 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_move_one_by_one_and_none_is_missed_or_there_twice() {
    let stage = Stage::with(1, 16, GRACE, |spec| {
        spec["load"] = json!({"closed": {"users": 60, "duration": "16s"}});
        spec["scenarios"][0]["thinkTime"] = json!({"min": "50ms", "max": "50ms"});
    })
    .await;
    let _master = stage.master("state");
    let _workers = [0, 1, 2].map(|index| Process::worker(&stage, index));
    stage.start().await;
    stage
        .until("all there", |progress| progress.users == 60)
        .await;
    stage.scale(3, 3).await;
    tokio::time::sleep(seconds(6)).await;
    stage.scale(2, 3).await;
    let result = stage.result().await;
    let users: Vec<u64> = result.series.iter().map(|point| point.users).collect();
    println!("users by second: {users:?}; {:?}", result.load);
    assert!(is_divided(
        &result,
        "the load of 1 workers is divided among 3"
    ));
    assert!(is_divided(
        &result,
        "the load of 3 workers is divided among 2"
    ));
    let settled = &users[2..users.len() - 2];
    assert!(
        settled.iter().all(|users| (54..=63).contains(users)),
        "{users:?}"
    );
    assert_eq!(received(&result), stage.service.count());
    assert_eq!(result.verdict, Verdict::Passed, "{}", result.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn iterations_are_carried_out_once_however_many_workers_there_are() {
    let stage = Stage::with(1, 1, GRACE, |spec| {
        spec["load"] = json!({"iterations": {"count": 1500, "users": 12}});
        spec["scenarios"][0]["thinkTime"] = json!({"min": "50ms", "max": "50ms"});
    })
    .await;
    let _master = stage.master("state");
    let _workers = [0, 1, 2].map(|index| Process::worker(&stage, index));
    stage.start().await;
    tokio::time::sleep(seconds(1)).await;
    stage.scale(3, 3).await;
    stage
        .until("complete", |progress| progress.ready == 3)
        .await;
    tokio::time::sleep(seconds(2)).await;
    stage.scale(2, 3).await;
    let result = stage.result().await;
    assert!(is_divided(
        &result,
        "the load of 1 workers is divided among 3"
    ));
    assert!(is_divided(
        &result,
        "the load of 3 workers is divided among 2"
    ));
    assert_eq!(result.totals.iterations, 1500, "{:?}", result.events);
    assert_eq!(received(&result), stage.service.count());
}

/// The master's process is killed and comes back while the run is to grow.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_grows_though_its_master_is_killed_meanwhile() {
    let stage = Stage::with(2, 16, GRACE, |spec| steady(spec, "16s")).await;
    let master = Process::master(&stage, "state");
    let _workers = [0, 1].map(|index| Process::worker(&stage, index));
    stage.start().await;
    tokio::time::sleep(seconds(2)).await;
    stage.scale(3, 3).await;
    drop(master);
    let _third = Process::worker(&stage, 2);
    let _master = Process::master(&stage, "state");
    stage
        .until("complete", |progress| {
            progress.workers == 3 && progress.ready == 3 && progress.state == MasterState::Running
        })
        .await;
    let result = stage.result().await;
    assert!(
        is_divided(&result, "the load of 2 workers is divided among 3"),
        "{:?}",
        result.events
    );
    assert_eq!(received(&result), stage.service.count());
    assert_eq!((result.workers.lost, result.workers.planned), (0, 3));
}

/// A new Pod of the master knows nothing but what the grant and the workers say.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_master_goes_on_with_the_shares_that_the_workers_have() {
    let stage = Stage::with(3, 18, GRACE, |spec| steady(spec, "18s")).await;
    let master = Process::master(&stage, "state");
    let _workers: Vec<Process> = (0..3).map(|index| Process::worker(&stage, index)).collect();
    stage.start().await;
    tokio::time::sleep(seconds(2)).await;
    stage.scale(2, 3).await;
    stage
        .until("moved", |progress| progress.leaving == Some(0))
        .await;
    drop(master);
    let _master = Process::master(&stage, "another");
    stage.until("there", |_| true).await;
    let incarnation = stage.operator().progress().await.unwrap().incarnation;
    let grant = Grant {
        run: RUN.into(),
        epoch: 2,
        incarnation,
        action: GrantAction::Resume,
        deadline_micros: 0,
        workers: Some(FleetSize { now: 2, most: 3 }),
    };
    stage.operator().grant(&grant).await.unwrap();
    let result = stage.result().await;
    assert_eq!(
        received(&result),
        stage.service.count(),
        "{:?}",
        result.events
    );
    let arrivals = result.load.as_ref().unwrap().arrivals.unwrap();
    assert!(arrivals.missing <= 20, "{arrivals:?}");
    assert!(stage.service.count() <= 18 * 200);
    assert_eq!(result.workers.lost, 0, "{:?}", result.events);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_operator_changes_the_number_and_not_beyond_its_bounds() {
    let stage = Stage::new(1, 2, |_| {}).await;
    let _master = stage.master("state");
    stage.until("there", |_| true).await;
    let scale = |now, most| Scale {
        run: RUN.into(),
        workers: FleetSize { now, most },
    };
    let of_worker = stage.channel.worker_key.token(0);
    for wrong in [&of_worker, &stage.channel.read_token] {
        let client = Client::new(RUN, stage.control, &stage.channel.ca, wrong).unwrap();
        let error = client.scale(&scale(2, 2)).await.unwrap_err().to_string();
        assert!(error.contains("401"), "{error}");
    }
    for (now, most) in [(0, 1), (2001, 2001)] {
        let error = stage.operator().scale(&scale(now, most)).await;
        assert!(error.unwrap_err().to_string().contains("at most 2000"));
    }
    assert_eq!(stage.operator().progress().await.unwrap().workers, 1);
    stage.scale(2000, 2000).await;
    // the token of the last of them is known, and lets nobody in as another
    let (last, stop) = stage.worker(1999);
    stage
        .until("joined", |progress| progress.connected == 1)
        .await;
    stop.cancel();
    last.await.unwrap();
}
