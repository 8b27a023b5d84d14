//! Every request is counted once: what the target received is what was reported.

use serde_json::json;

use crate::engine::PrepareError;
use crate::engine::tests::server::Server;
use crate::engine::tests::*;
use crate::plan::{Auth, Block, Body, Cel, JsonTemplate, Kind, Reference, Repeat, ThinkTime};

fn with_path(url: &str, path: &str, load: Load) -> Plan {
    let mut plan = plan(url, load);
    plan.scenarios[0].tasks[0].steps = vec![step("get", path)];
    plan
}

#[tokio::test]
async fn requests_received_are_requests_reported() {
    let server = Server::start();
    let snapshot = run(plan(&server.url, users(8, 300)), 2).await;
    assert!(
        snapshot.requests() > 100,
        "{} requests",
        snapshot.requests()
    );
    assert_eq!((snapshot.failures(), snapshot.counters.connects), (0, 8));
    assert_eq!(snapshot.received_by_target(), server.received());
    assert_eq!(
        snapshot.counters.iterations,
        snapshot.requests() + snapshot.counters.interrupted
    );
    assert_eq!(snapshot.steps[&0].latency.count(), snapshot.requests());
    assert_eq!(snapshot.users, 0);
}

#[tokio::test]
async fn a_run_cut_in_the_middle_counts_what_was_under_way() {
    let server = Server::start();
    let mut running = prepared(with_path(&server.url, "/slow/400", users(5, 5_000)))
        .await
        .start(whole(2), Instant::now());
    tokio::time::sleep(Duration::from_millis(200)).await;
    running.cut();
    let snapshot = sum(&deltas(&mut running).await);
    assert_eq!((snapshot.requests(), snapshot.counters.interrupted), (0, 5));
    assert_eq!(snapshot.received_by_target(), server.received());
}

#[tokio::test]
async fn a_stop_lets_iterations_finish_and_starts_none() {
    let server = Server::start();
    let mut running = prepared(with_path(&server.url, "/slow/300", users(5, 5_000)))
        .await
        .start(whole(1), Instant::now());
    tokio::time::sleep(Duration::from_millis(150)).await;
    running.stop();
    let snapshot = sum(&deltas(&mut running).await);
    assert_eq!(
        (
            snapshot.requests(),
            snapshot.counters.interrupted,
            snapshot.counters.finished
        ),
        (5, 0, 5)
    );
    assert_eq!(server.received(), 5);
}

/// A step that is never carried out.
fn skipped(name: &str) -> Step {
    Step {
        condition: Some(Cel::parse("false").unwrap()),
        ..step(name, "/")
    }
}

#[tokio::test]
async fn iterations_that_wait_for_nothing_let_the_load_stop() {
    let server = Server::start();
    let hours = Duration::from_secs(3600);
    let mut plan = plan(&server.url, users(3, 3_600_000));
    plan.scenarios[0].tasks[0].steps = vec![skipped("a"), skipped("b")];
    plan.stop_timeout = hours;
    let mut running = prepared(plan).await.start(whole(1), Instant::now());
    tokio::time::sleep(Duration::from_millis(200)).await;
    running.stop();
    let snapshot = sum(&deltas(&mut running).await);
    assert_eq!((snapshot.requests(), server.received()), (0, 0));
    assert!(snapshot.counters.iterations > 100);
}

#[tokio::test]
async fn an_iteration_that_waits_for_nothing_can_be_cut() {
    let server = Server::start();
    let mut plan = plan(&server.url, users(1, 3_600_000));
    plan.scenarios[0].blocks = vec![Block {
        name: "b".into(),
        steps: vec![skipped("a")],
    }];
    plan.scenarios[0].tasks[0].steps = vec![Step {
        repeat: Some(Repeat {
            count: u32::MAX,
            every: Duration::ZERO,
            until: None,
        }),
        action: Action::Call("b".into()),
        ..step("c", "/")
    }];
    let mut running = prepared(plan).await.start(whole(1), Instant::now());
    tokio::time::sleep(Duration::from_millis(200)).await;
    running.cut();
    let snapshot = sum(&deltas(&mut running).await);
    assert_eq!((snapshot.requests(), server.received()), (0, 0));
}

#[tokio::test]
async fn what_does_not_finish_within_the_stop_timeout_is_cut() {
    let server = Server::start();
    let mut plan = with_path(&server.url, "/slow/1500", users(3, 100));
    plan.stop_timeout = Duration::from_millis(100);
    let snapshot = run(plan, 1).await;
    assert_eq!((snapshot.requests(), snapshot.counters.interrupted), (0, 3));
    assert_eq!(snapshot.received_by_target(), server.received());
}

#[tokio::test]
async fn a_load_stopped_before_its_start_sends_nothing() {
    let server = Server::start();
    let mut running = prepared(plan(&server.url, users(3, 100)))
        .await
        .start(whole(2), Instant::now() + Duration::from_secs(60));
    running.stop();
    let snapshot = sum(&deltas(&mut running).await);
    assert_eq!((snapshot.counters.iterations, server.received()), (0, 0));
}

#[tokio::test]
async fn thinking_users_do_not_hold_up_the_end() {
    let server = Server::start();
    let mut plan = plan(&server.url, users(4, 200));
    let minute = Duration::from_secs(60);
    plan.scenarios[0].think_time = Some(ThinkTime::constant(minute));
    plan.stop_timeout = minute;
    let before = Instant::now();
    let snapshot = run(plan, 1).await;
    assert!(before.elapsed() < Duration::from_secs(5));
    assert_eq!((snapshot.requests(), server.received()), (4, 4));
}

#[tokio::test]
async fn an_iteration_ends_at_its_first_failed_step() {
    let server = Server::start();
    let mut plan = plan(&server.url, users(1, 100));
    plan.scenarios[0].tasks[0].steps = vec![
        step("good", "/"),
        step("bad", "/status/500"),
        step("never", "/"),
    ];
    let snapshot = run(plan, 1).await;
    assert_eq!(snapshot.steps[&0].failures, 0);
    assert_eq!(snapshot.steps[&1].failures, snapshot.steps[&1].requests);
    assert!(!snapshot.steps.contains_key(&2));
    assert_eq!(snapshot.received_by_target(), server.received());
}

#[tokio::test]
async fn failing_statuses_have_classes_of_their_own() {
    let server = Server::start();
    let mut plan = plan(&server.url, users(3, 100));
    plan.scenarios[0].tasks = [404, 429, 503]
        .map(|code| Task {
            name: format!("t{code}"),
            weight: 1,
            steps: vec![step("s", &format!("/status/{code}"))],
        })
        .into();
    let snapshot = run(plan, 1).await;
    let seen: Vec<_> = classes(&snapshot)
        .into_iter()
        .map(|(class, _)| class)
        .collect();
    assert_eq!(
        seen,
        [
            ErrorClass::Status,
            ErrorClass::Throttled,
            ErrorClass::Unavailable
        ]
    );
    let samples: Vec<_> = snapshot
        .errors
        .iter()
        .map(|(_, entry)| entry.message.as_str())
        .collect();
    assert_eq!(
        samples,
        [
            "404 Not Found",
            "429 Too Many Requests, Retry-After: 7",
            "503 Service Unavailable, Retry-After: 7"
        ]
    );
    assert_eq!(
        snapshot.counters.connects, 3,
        "a failing status costs no connection"
    );
}

#[tokio::test]
async fn long_bodies_are_counted_to_the_byte() {
    let server = Server::start();
    let snapshot = run(with_path(&server.url, "/large/300000", users(2, 150)), 1).await;
    let step = &snapshot.steps[&0];
    assert_eq!(step.failures, 0);
    assert!(
        step.received_bytes > step.requests * 300_000
            && step.received_bytes < step.requests * 300_300
    );
    assert_eq!(snapshot.counters.connects, 2);
}

#[tokio::test]
async fn bodies_that_differ_per_request_arrive_whole() {
    let server = Server::start();
    let mut plan = plan(&server.url, users(2, 100));
    let body = JsonTemplate::new(
        json!({"id": "{{ uuid() }}", "n": "{{ iteration }}", "text": "x".repeat(100_000)}),
    )
    .unwrap();
    let mut post = step("post", "/echo");
    http(&mut post).request.method = "POST".into();
    http(&mut post).request.body = Some(Body::Json(body));
    plan.scenarios[0].tasks[0].steps = vec![post];
    let snapshot = run(plan, 1).await;
    assert!(snapshot.requests() > 0);
    assert_eq!(snapshot.failures(), 0);
}

#[tokio::test]
async fn there_is_a_delta_for_every_second() {
    let server = Server::start();
    let mut plan = plan(&server.url, rate(1, 1_200, 16));
    plan.scenarios[0].tasks[0].steps = vec![step("get", "/")];
    let all = deltas(&mut prepared(plan).await.start(whole(2), Instant::now())).await;
    assert_eq!(
        all.iter().map(|delta| delta.second).collect::<Vec<_>>(),
        [0, 1]
    );
    assert_eq!(all[0].snapshot.requests(), 1);
    assert!(all[0].snapshot.counters.core_micros > 900_000);
}

#[tokio::test]
async fn a_late_worker_takes_part_from_now_on() {
    let server = Server::start();
    let prepared = prepared(plan(&server.url, rate(100, 1_200, 64))).await;
    let start = Instant::now() - Duration::from_millis(1_100);
    let all = deltas(&mut prepared.start(whole(1), start)).await;
    assert_eq!(all[0].second, 1);
    let started = sum(&all).counters.iterations;
    assert!(
        (8..=10).contains(&started),
        "{started} of the last 10 arrivals"
    );
}

#[tokio::test]
async fn workers_and_shards_share_a_ramp_of_users() {
    let server = Server::start();
    let profile =
        Profile::ramp_and_hold(10.0, Duration::from_millis(200), Duration::from_millis(900));
    let mut plan = plan(&server.url, closed(profile));
    plan.scenarios[0].think_time = Some(ThinkTime::Uniform {
        min: Duration::from_millis(20),
        max: Duration::from_millis(30),
    });
    let prepared = prepared(plan).await;
    let start = Instant::now();
    let mut workers = [0, 1, 2].map(|worker| {
        prepared.clone().start(
            Assignment {
                share: Share { worker, workers: 3 },
                shards: 2,
                seed: 1,
                done: 0,
                found: Default::default(),
                changes: vec![],
            },
            start,
        )
    });
    let mut users = 0;
    for worker in &mut workers {
        users += deltas(worker).await[0].snapshot.users;
    }
    assert_eq!(users, 10);
}

#[tokio::test]
async fn users_leave_when_the_level_falls() {
    let server = Server::start();
    let stage = |millis, target| crate::plan::Stage {
        duration: Duration::from_millis(millis),
        target,
    };
    let profile = Profile {
        start_at: 6.0,
        stages: vec![stage(300, 6.0), stage(0, 2.0), stage(1_000, 2.0)],
    };
    let mut plan = plan(&server.url, closed(profile));
    plan.scenarios[0].think_time = Some(ThinkTime::constant(Duration::from_secs(30)));
    let all = deltas(&mut prepared(plan).await.start(whole(2), Instant::now())).await;
    assert_eq!(all[0].snapshot.users, 2);
    assert_eq!(sum(&all).requests(), 6);
}

#[tokio::test]
async fn credentials_are_sent_and_shown_nowhere() {
    const CANARY: &str = "canary-7f3a";
    // a target that gives back what it was sent, wherever it can
    let url = crate::engine::tests::server::scripted(|peer| {
        peer.always(format!(
            "HTTP/1.1 401 {CANARY}\r\nRetry-After: {CANARY}\r\nContent-Length: 11\r\n\r\n{CANARY}"
        ))
    })
    .await;
    let token = Reference {
        kind: Kind::Secret,
        name: "s".into(),
        key: "k".into(),
        field: "spec.target.auth.bearer.tokenFrom".into(),
    };
    let mut plan = plan(&url, users(1, 50));
    plan.target.auth = Some(Auth::Bearer { token });
    let mut inputs = Inputs::default();
    inputs.insert(Kind::Secret, "s", "k", CANARY.into());
    let prepared = Arc::new(prepare(Arc::new(plan), &inputs).await.unwrap());
    let shown = format!("{prepared:?}");
    let snapshot = sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await);
    assert!(snapshot.failures() > 0);
    assert!(!format!("{shown} {snapshot:?} {inputs:?}").contains(CANARY));
}

#[test]
fn a_worker_may_hold_a_run_on_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    let plan = Arc::new(plan("http://127.0.0.1:1", users(1, 1)));
    is_send(&prepare(plan, &Inputs::default()));
    let _ = |mut running: Running| is_send(&async move { running.next_delta().await });
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_found_before_load() {
    let reference = |key: &str| Reference {
        kind: Kind::Secret,
        name: "s".into(),
        key: key.into(),
        field: format!("spec.target.auth.{key}"),
    };
    let mut missing = plan("http://127.0.0.1:1", users(1, 1));
    missing.target.auth = Some(Auth::Basic {
        username: reference("user"),
        password: reference("password"),
    });
    let mut inputs = Inputs::default();
    inputs.insert(Kind::Secret, "s", "user", b"u".to_vec());
    let error = prepare(Arc::new(missing), &inputs).await.unwrap_err();
    assert!(
        matches!(&error, PrepareError::MissingReferences(all) if all == &[reference("password")]),
        "{error}"
    );

    let invalid = with_path("http://127.0.0.1:1", "/{{ nobody }}", users(1, 1));
    let error = prepare(Arc::new(invalid), &Inputs::default())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("spec.scenarios[0].tasks[0].steps[0].http.path: "),
        "{error}"
    );

    let nowhere = plan("http://starling.invalid", users(1, 1));
    assert!(matches!(
        prepare(Arc::new(nowhere), &Inputs::default()).await,
        Err(PrepareError::Target(_))
    ));
}
