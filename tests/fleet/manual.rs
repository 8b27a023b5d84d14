//! Runs whose load people change under way, over HTTP on the master's port for people.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use starling::stats::result::{LoadUnit, Reason, RunResult, Verdict};
use starling::wire::control::{GrantAction, LOAD, PROGRESS, Progress, RESULT, STOP};

use crate::processes::{Course, Process};
use crate::stage::{PATIENCE, RUN, Stage, received};

/// Lease of the workers here.
const GRACE: Duration = Duration::from_secs(6);
/// Time after a change by which every worker has begun its new level.
const SETTLED: Duration = Duration::from_secs(3);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn open(spec: &mut Value, rate: u32, duration: &str) {
    spec["load"] = json!({"open": {"rate": rate, "duration": duration, "maxInFlight": 1000, "maxDropped": "10%"}});
    let scenario = spec["scenarios"][0].as_object_mut().unwrap();
    scenario.remove("thinkTime");
}

fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().timeout(PATIENCE);
    client.build().unwrap()
}

/// Asks the master as somebody with `token` does. Returns status and text of the answer.
async fn ask(stage: &Stage, token: &str, path: &str, body: Option<Value>) -> (u16, String) {
    let url = format!("http://{}{path}", stage.ui);
    let client = client();
    let request = match body {
        Some(body) => client.post(url).json(&body),
        None => client.get(url),
    };
    let answer = request.bearer_auth(token).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn change(stage: &Stage, order: Value) -> Progress {
    let mut body = json!({"run": RUN, "by": "tester"});
    body.as_object_mut()
        .unwrap()
        .extend(order.as_object().unwrap().clone());
    let control = &stage.channel.control_token;
    let (status, text) = ask(stage, control, LOAD, Some(body)).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Waits until the master tells people that a level which was set by hand holds.
async fn until_by_hand(stage: &Stage) {
    let by_hand = async || {
        let url = format!("http://{}{PROGRESS}", stage.ui);
        let request = client().get(url);
        let request = request.bearer_auth(&stage.channel.read_token);
        let progress: Progress = request.send().await.ok()?.json().await.ok()?;
        progress.load.iter().any(|load| load.by_hand).then_some(())
    };
    let polling = async {
        while by_hand().await.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let told = tokio::time::timeout(PATIENCE, polling).await;
    told.expect("no level by hand is told");
}

fn has_event(result: &RunResult, words: &str) -> bool {
    let events = &result.events;
    events.iter().any(|event| event.message.contains(words))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_of_a_fleet_is_raised_and_goes_back_to_the_profile() {
    let stage = Stage::with(2, 14, GRACE, |spec| open(spec, 100, "14s")).await;
    let _master = stage.master("state");
    let _workers = [0, 1].map(|index| Process::worker(&stage, index));
    stage.start().await;
    let course = Course::of(&stage);
    tokio::time::sleep(seconds(1)).await;
    let raised = Instant::now();
    let progress = change(&stage, json!({"rate": 300})).await;
    assert_eq!(
        (progress.load[0].unit, progress.load[0].planned),
        (LoadUnit::Rate, 100.0)
    );
    tokio::time::sleep(seconds(6)).await;
    let high = course.rate(raised + SETTLED, raised + seconds(6));
    let lowered = Instant::now();
    let progress = change(&stage, json!({"profile": true})).await;
    // it begins a moment later
    assert_eq!(
        (progress.load[0].wanted, progress.load[0].by_hand),
        (300.0, false)
    );
    tokio::time::sleep(seconds(5)).await;
    let low = course.rate(lowered + SETTLED, lowered + seconds(5));
    let result = stage.result().await;
    println!("100/s asked; 300/s by hand: {high:.1}/s; back to the profile: {low:.1}/s");
    assert!((285.0..=315.0).contains(&high), "{high}");
    assert!((90.0..=110.0).contains(&low), "{low}");
    assert_eq!(
        (result.verdict, result.reason.clone()),
        (Verdict::Passed, Reason::ManualChanges),
        "{}",
        result.message
    );
    let changes: Vec<(f64, Option<f64>, &str)> = result
        .manual_changes
        .iter()
        .map(|change| (change.before, change.level, change.by.as_str()))
        .collect();
    assert_eq!(
        changes,
        [(100.0, Some(300.0), "tester"), (300.0, None, "tester")]
    );
    assert!(has_event(&result, "s from 100/s to 300/s, by tester"));
    // what was asked for by hand is what was to be offered, and all of it is known
    let arrivals = result.load.as_ref().unwrap().arrivals.unwrap();
    let [first, second] = [0, 1].map(|nth| result.manual_changes[nth].after_micros as f64 / 1e6);
    let wanted = 1400.0 + 200.0 * (second - first);
    assert!(
        (arrivals.planned as f64 - wanted).abs() <= 1.0,
        "{arrivals:?} {wanted}"
    );
    assert!(arrivals.missing <= 10, "{arrivals:?}");
    assert_eq!(received(&result), stage.service.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn users_come_and_go_by_hand_and_too_few_of_them_are_a_failure() {
    let stage = Stage::with(2, 12, GRACE, |spec| {
        spec["load"] = json!({"closed": {"users": 20, "duration": "12s"}});
        spec["scenarios"][0]["thinkTime"] = json!({"min": "50ms", "max": "50ms"});
    })
    .await;
    let _master = stage.master("state");
    let _workers = [0, 1].map(|index| Process::worker(&stage, index));
    stage.start().await;
    change(&stage, json!({"users": 60})).await;
    stage.until("raised", |now| now.users == 60).await;
    change(&stage, json!({"users": 0})).await;
    stage.until("empty", |now| now.users == 0).await;
    let sent = stage.service.count();
    tokio::time::sleep(seconds(2)).await;
    assert_eq!(stage.service.count(), sent, "nobody is to be there");
    change(&stage, json!({"users": 4})).await;
    stage.until("some", |now| now.users == 4).await;
    let result = stage.result().await;
    assert_eq!(
        (result.verdict, result.reason.clone()),
        (Verdict::Failed, Reason::ManualChanges),
        "{}",
        result.message
    );
    assert!(
        result
            .message
            .starts_with("the load was changed by hand 3 times, to "),
        "{}",
        result.message
    );
    let users = result.load.as_ref().unwrap().users.unwrap();
    println!("{} {users:?}", result.message);
    // users that came late by the spawn rate are no missing load
    let missing = users.missing_micros as f64 / users.planned_micros as f64;
    assert!(missing < 0.02, "{users:?}");
    assert_eq!(received(&result), stage.service.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_set_by_hand_survives_the_master_its_pod_and_a_worker() {
    let stage = Stage::with(2, 24, GRACE, |spec| open(spec, 100, "24s")).await;
    let master = stage.master("state");
    let mut workers: Vec<Process> = [0, 1].map(|index| Process::worker(&stage, index)).into();
    stage.start().await;
    let course = Course::of(&stage);
    let changed = Instant::now();
    change(&stage, json!({"rate": 250})).await;
    // at the worst moment: remembered, and perhaps not heard by anybody
    drop(master);
    let master = stage.master("state");
    until_by_hand(&stage).await;
    tokio::time::sleep((changed + seconds(7)).saturating_duration_since(Instant::now())).await;
    let after_kill = course.rate(changed + seconds(4), changed + seconds(7));
    // another Pod, which remembers nothing: the workers tell it
    drop(master);
    let _master = stage.master("another");
    stage.until("there", |_| true).await;
    stage.grant(2, GrantAction::Resume).await;
    until_by_hand(&stage).await;
    // a worker that is made anew begins with it
    drop(workers.pop());
    workers.push(Process::worker(&stage, 1));
    let replaced = Instant::now();
    tokio::time::sleep(seconds(9)).await;
    let after_loss = course.rate(replaced + seconds(6), replaced + seconds(9));
    let result = stage.result().await;
    println!(
        "250/s by hand of 100/s: {after_kill:.1}/s after a kill of the master, {after_loss:.1}/s after the loss of its memory and of a worker"
    );
    assert!((235.0..=265.0).contains(&after_kill), "{after_kill}");
    assert!((235.0..=265.0).contains(&after_loss), "{after_loss}");
    assert_eq!(result.manual_changes.len(), 1);
    assert_eq!(result.manual_changes[0].level, Some(250.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_control_token_controls_and_it_does_nothing_else() {
    let stage = Stage::with(1, 60, GRACE, |spec| open(spec, 50, "60s")).await;
    let _master = stage.master("state");
    let _worker = Process::worker(&stage, 0);
    stage.start().await;
    let order = json!({"run": RUN, "rate": 60});
    let of_worker = stage.channel.worker_key.token(0);
    let read = stage.channel.read_token.clone();
    for token in [&read, &of_worker, &stage.channel.operator_token] {
        for path in [LOAD, STOP] {
            let (status, text) = ask(&stage, token, path, Some(order.clone())).await;
            assert_eq!(
                (status, text.as_str()),
                (401, "the control token is needed")
            );
        }
    }
    let control = stage.channel.control_token.clone();
    for path in [PROGRESS, RESULT] {
        for token in [&read, &control] {
            assert_eq!(ask(&stage, token, path, None).await.0, 200);
        }
        assert_eq!(ask(&stage, &of_worker, path, None).await.0, 401);
    }
    for (order, words) in [
        (json!({"run": "other", "rate": 60}), "not of other"),
        (
            json!({"run": RUN}),
            "exactly one of users, rate and profile",
        ),
        (
            json!({"run": RUN, "rate": 60, "profile": true}),
            "exactly one",
        ),
        (
            json!({"run": RUN, "users": 60}),
            "the load of s is counted in rate",
        ),
        (
            json!({"run": RUN, "rate": -1}),
            "at least 0 and at most 1000000",
        ),
        (
            json!({"run": RUN, "rate": 1e12}),
            "at least 0 and at most 1000000",
        ),
        (
            json!({"run": RUN, "scenario": "x", "rate": 1}),
            "no scenario \"x\"; it has s",
        ),
    ] {
        let (status, text) = ask(&stage, &control, LOAD, Some(order)).await;
        assert_eq!(status, 409, "{text}");
        assert!(text.contains(words), "{text}");
    }
    let (status, _) = ask(&stage, &control, LOAD, Some(json!({"run": RUN, "rat": 1}))).await;
    assert_eq!(status, 422);
    let stop = json!({"run": RUN, "message": "seen enough\u{1b}[2J"});
    assert_eq!(ask(&stage, &control, STOP, Some(stop)).await.0, 200);
    let result = stage.result().await;
    assert_eq!(
        (result.verdict, result.reason, result.message.as_str()),
        (
            Verdict::Aborted,
            Reason::StoppedByHand,
            "stopped by hand on the master: seen enough [2J"
        )
    );
    assert!(result.manual_changes.is_empty());
    let (status, text) = ask(&stage, &control, LOAD, Some(order)).await;
    assert_eq!(status, 409);
    assert!(text.contains("it is Finished"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_may_only_be_stopped_keeps_its_load() {
    let stage = Stage::with(1, 4, GRACE, |spec| {
        open(spec, 50, "4s");
        spec["run"] = json!({"manualControl": "StopOnly"});
    })
    .await;
    let _master = stage.master("state");
    let _worker = Process::worker(&stage, 0);
    stage.start().await;
    let control = &stage.channel.control_token;
    let order = json!({"run": RUN, "rate": 60});
    let (status, text) = ask(&stage, control, LOAD, Some(order)).await;
    assert_eq!(status, 409);
    assert!(
        text.contains("spec.run.manualControl is StopOnly"),
        "{text}"
    );
    assert_eq!(stage.result().await.reason, Reason::NoThresholds);
}
