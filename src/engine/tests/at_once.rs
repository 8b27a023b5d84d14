//! Requests in flight, users and busy slots, measured over time; and the pauses of users whose requests
//! fail at once.

use crate::engine::tests::server::{Peer, Server, closed_port, scripted};
use crate::engine::tests::*;
use crate::plan::{Iterations, ThinkTime};

fn with_path(url: &str, path: &str, load: Load) -> Plan {
    let mut plan = plan(url, load);
    plan.scenarios[0].tasks[0].steps = vec![step("get", path)];
    plan
}

fn iterations(count: u64, users: u32) -> Load {
    Load::Iterations(Iterations {
        count,
        users,
        per_user: false,
        max_duration: None,
        retry_pause: Duration::from_secs(1),
    })
}

#[tokio::test]
async fn users_that_pause_have_nothing_in_flight() {
    let server = Server::start();
    let mut plan = plan(&server.url, users(5, 1_200));
    plan.scenarios[0].think_time = Some(ThinkTime::constant(Duration::from_millis(400)));
    let snapshot = run(plan, 1).await;
    let (in_flight, users) = (&snapshot.concurrency.in_flight, &snapshot.concurrency.users);
    assert!((1..=5).contains(&in_flight.most()), "{in_flight:?}");
    assert_eq!(users.most(), 5);
    assert!(
        in_flight.micros < users.micros / 2,
        "{in_flight:?} {users:?}"
    );
    assert_eq!(snapshot.concurrency.slots.most(), 0);
}

#[tokio::test]
async fn a_run_of_one_request_had_one_in_flight() {
    let server = Server::start();
    let snapshot = run(with_path(&server.url, "/slow/30", iterations(1, 1)), 2).await;
    let in_flight = &snapshot.concurrency.in_flight;
    assert_eq!((snapshot.requests(), in_flight.most()), (1, 1));
    assert!(in_flight.micros >= 30_000, "{in_flight:?}");
}

#[tokio::test]
async fn neither_the_warm_up_nor_the_drain_is_measured() {
    let server = Server::start();
    let mut plan = with_path(&server.url, "/slow/300", users(4, 400));
    plan.warmup = Duration::from_millis(400);
    let snapshot = run(plan, 2).await;
    let in_flight = &snapshot.concurrency.in_flight;
    assert_eq!(in_flight.most(), 4);
    assert!(
        (800_000..=1_600_000).contains(&in_flight.micros),
        "{in_flight:?}"
    );
}

#[tokio::test]
async fn slots_of_open_load_are_busy_while_an_iteration_pauses() {
    let server = Server::start();
    let mut plan = plan(&server.url, rate(20, 500, 30));
    let pause = Step {
        action: Action::Pause(ThinkTime::constant(Duration::from_millis(200))),
        ..step("get", "/")
    };
    plan.scenarios[0].tasks[0].steps.push(pause);
    let snapshot = run(plan, 1).await;
    let (in_flight, slots) = (&snapshot.concurrency.in_flight, &snapshot.concurrency.slots);
    assert!(
        slots.most() >= 3 && slots.micros > in_flight.micros,
        "{snapshot:?}"
    );
    assert_eq!(snapshot.concurrency.users.most(), 0);
}

/// A target that takes its time and then breaks the connection without an answer.
async fn slow_to_break() -> String {
    scripted(|mut peer: Peer| async move {
        peer.request().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    })
    .await
}

#[tokio::test]
async fn a_user_does_not_pause_after_a_request_that_took_time() {
    let snapshot = run(plan(&slow_to_break().await, users(1, 500)), 1).await;
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Reset, snapshot.requests())]
    );
    assert_eq!(snapshot.counters.retry_pause_micros, 0);
    assert!(snapshot.requests() > 3, "{}", snapshot.requests());
}

#[tokio::test]
async fn pauses_after_requests_that_fail_at_once_are_counted_and_may_be_switched_off() {
    let url = format!("http://{}", closed_port());
    let with_pause = |pause| {
        let mut load = users(1, 400);
        if let Load::Closed { retry_pause, .. } = &mut load {
            *retry_pause = Duration::from_millis(pause);
        }
        plan(&url, load)
    };
    let paused = run(with_pause(1000), 1).await;
    let micros = paused.counters.retry_pause_micros;
    // the last is ended with the load
    assert!((10_000..=450_000).contains(&micros), "{micros}");
    let spinning = run(with_pause(0), 1).await;
    assert_eq!(spinning.counters.retry_pause_micros, 0);
    assert!(spinning.requests() > paused.requests(), "{spinning:?}");
}
