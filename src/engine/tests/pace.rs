//! How fast users come, and when they begin their iterations.

use crate::engine::tests::server::Server;
use crate::engine::tests::*;
use crate::plan::ThinkTime;

const MINUTE: Duration = Duration::from_secs(60);

/// Each user makes one request and then thinks for longer than the run.
fn once_each(url: &str, load: Load) -> Plan {
    let mut plan = plan(url, load);
    plan.scenarios[0].think_time = Some(ThinkTime::constant(MINUTE));
    plan
}

#[tokio::test]
async fn no_more_users_start_in_a_second_than_the_spawn_rate() {
    let server = Server::start();
    let profile = Profile::ramp_and_hold(1000.0, Duration::ZERO, Duration::from_millis(500));
    let prepared = prepared(once_each(
        &server.url,
        Load::Closed {
            profile,
            spawn_rate: Some(50.0),
            max_missing: 0.01,
            retry_pause: Duration::from_secs(1),
        },
    ))
    .await;
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
    let mut all = Snapshot::default();
    for worker in &mut workers {
        all.merge(&sum(&deltas(worker).await));
    }
    assert!(
        (23..=26).contains(&all.requests()),
        "{} users in half a second",
        all.requests()
    );
    assert_eq!(all.received_by_target(), server.received());
}

#[tokio::test]
async fn scenarios_with_fixed_users_have_theirs_before_the_others() {
    let server = Server::start();
    let mut plan = once_each(&server.url, users(5, 300));
    let mut watcher = plan.scenarios[0].clone();
    (watcher.name, watcher.fixed_users) = ("watcher".into(), Some(2));
    plan.scenarios.push(watcher);
    plan.populations = vec![Population::only(2, users(5, 300))];
    let snapshot = run(plan, 2).await;
    assert_eq!(
        (snapshot.steps[&0].requests, snapshot.steps[&1].requests),
        (3, 2)
    );
}

#[tokio::test]
async fn a_paced_user_begins_at_even_intervals_whatever_the_answer_takes() {
    let server = Server::start();
    let mut plan = plan(&server.url, users(2, 900));
    plan.scenarios[0].tasks[0].steps = vec![step("get", "/slow/70")];
    plan.scenarios[0].pacing = Some(Duration::from_millis(200));
    let snapshot = run(plan, 1).await;
    // 5 of each, at 0, 200, ... 800 ms; a busy machine makes it fewer, never more
    let Counters { iterations, .. } = snapshot.counters;
    assert!(
        (6..=10).contains(&iterations) && iterations == server.received(),
        "{iterations}"
    );
}

#[tokio::test]
async fn a_paced_user_whose_answers_take_longer_goes_on_at_once_and_makes_nothing_up() {
    let server = Server::start();
    let mut plan = plan(&server.url, users(1, 500));
    plan.scenarios[0].tasks[0].steps = vec![step("get", "/slow/150")];
    plan.scenarios[0].pacing = Some(Duration::from_millis(20));
    let snapshot = run(plan, 1).await;
    assert!(
        (3..=4).contains(&snapshot.counters.iterations),
        "{}",
        snapshot.counters.iterations
    );
}

#[tokio::test]
async fn poisson_arrivals_come_at_the_rate_and_the_same_again_from_the_same_seed() {
    let server = Server::start();
    let profile = Profile::ramp_and_hold(500.0, Duration::ZERO, Duration::from_millis(600));
    let load = Load::Open {
        profile,
        arrival: Arrival::Poisson,
        max_in_flight: 200,
        max_dropped: 0.0,
    };
    let first = run(plan(&server.url, load.clone()), 2).await.counters;
    let second = run(plan(&server.url, load), 2).await.counters;
    let arrivals = first.iterations + first.dropped;
    assert!(
        (230..370).contains(&arrivals),
        "{arrivals} of 300 on average"
    );
    assert_eq!(arrivals, second.iterations + second.dropped);
    assert_eq!(first.iterations + second.iterations, server.received());
}
