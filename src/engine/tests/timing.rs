//! Open load keeps its schedule, and its latency counts from there; what a request waits for is
//! told by phases.

use std::net::Ipv4Addr;
use std::sync::Mutex;

use crate::engine::prepare::prepare_in;
use crate::engine::tests::server::{Peer, Server, scripted};
use crate::engine::tests::transport::slow_name_server;
use crate::engine::tests::*;
use crate::engine::world::World;
use crate::plan::{Kind, ThinkTime};
use crate::stats::Phase;

#[tokio::test]
async fn a_rate_is_met_exactly() {
    let server = Server::start();
    let snapshot = run(plan(&server.url, rate(500, 600, 64)), 2).await;
    assert_eq!(
        (snapshot.counters.iterations, snapshot.counters.dropped),
        (300, 0)
    );
    assert_eq!((snapshot.requests(), server.received()), (300, 300));
    assert_eq!(snapshot.lag.count(), 300);
}

#[tokio::test]
async fn workers_interleave_to_the_same_rate() {
    let server = Server::start();
    let prepared = prepared(plan(&server.url, rate(302, 500, 96))).await;
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
    assert_eq!(
        (
            all.counters.iterations + all.counters.dropped,
            all.counters.dropped
        ),
        (151, 0)
    );
}

#[tokio::test]
async fn a_stall_shows_in_latency_and_not_in_fewer_samples() {
    let server = Server::start();
    let prepared = prepared(plan(&server.url, rate(400, 1_000, 300))).await;
    let start = Instant::now() + Duration::from_millis(20);
    server.stall(
        start + Duration::from_millis(300),
        start + Duration::from_millis(600),
    );
    let snapshot = sum(&deltas(&mut prepared.start(whole(1), start)).await);
    let latency = &snapshot.steps[&0].latency;
    assert_eq!((latency.count(), snapshot.counters.dropped), (400, 0));
    // 30% of the arrivals waited for 0 to 300 ms
    let (p85, p99) = (latency.percentile(85.0), latency.percentile(99.0));
    assert!(
        (100_000..250_000).contains(&p85) && p99 > 250_000,
        "p85 {p85} p99 {p99}"
    );
}

#[tokio::test]
async fn without_a_free_slot_an_arrival_is_dropped_and_counted() {
    let url = scripted(|mut peer: Peer| async move {
        peer.request().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
    let mut plan = plan(&url.await, rate(200, 300, 5));
    plan.stop_timeout = Duration::from_millis(50);
    let snapshot = run(plan, 4).await;
    assert_eq!(
        (
            snapshot.counters.iterations,
            snapshot.counters.dropped,
            snapshot.counters.interrupted
        ),
        (5, 55, 5)
    );
}

#[tokio::test]
async fn a_rate_beyond_reach_ends_with_the_profile_and_is_accounted_for() {
    let server = Server::start();
    let before = Instant::now();
    let snapshot = run(plan(&server.url, rate(400_000, 250, 16)), 1).await;
    assert!(before.elapsed() < Duration::from_secs(3));
    assert_eq!(
        snapshot.counters.iterations + snapshot.counters.dropped,
        100_000
    );
    assert!(snapshot.counters.dropped > 0);
    assert_eq!(snapshot.received_by_target(), server.received());
}

#[tokio::test]
async fn latency_counts_from_the_intended_time_and_service_time_from_the_first_byte() {
    let url = scripted(|mut peer: Peer| async move {
        while peer.request().await {
            tokio::time::sleep(Duration::from_millis(30)).await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    });
    let prepared = prepared(plan(&url.await, rate(100, 100, 32))).await;
    // what was due while the worker came is sent at once, late by what it is late
    let mut running = prepared.start(whole(1), Instant::now());
    let snapshot = sum(&deltas(&mut running).await);
    let step = &snapshot.steps[&0];
    assert_eq!(step.latency.count(), 10);
    assert!(step.latency.min() >= 30_000 && step.service_time.min() >= 30_000);
    assert!(step.latency.percentile(50.0) >= step.service_time.percentile(50.0));
}

#[tokio::test]
async fn lookup_and_handshake_have_phases_of_their_own_and_only_of_the_request_that_needs_them() {
    let (lookup, handshake) = (Duration::from_millis(60), Duration::from_millis(90));
    let authority = tls::authority();
    let acceptor = tls::acceptor(&authority, "models.example", None, &["http/1.1"]);
    let port = tls::serve(
        acceptor,
        handshake,
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into(),
    )
    .await;
    let names = slow_name_server(Arc::new(Mutex::new(vec![Ipv4Addr::LOCALHOST])), lookup).await;
    let mut plan = plan(&format!("https://models.example.:{port}"), users(1, 100));
    plan.scenarios[0].think_time = Some(ThinkTime::constant(Duration::from_secs(10)));
    plan.scenarios[0].tasks[0].steps.push(step("again", "/"));
    plan.stop_timeout = Duration::from_secs(30);
    plan.target.tls = Tls {
        ca: Some(tls::reference("ca")),
        server_name: Some("models.example".into()),
        ..Tls::default()
    };
    let mut inputs = Inputs::default();
    inputs.insert(Kind::ConfigMap, "tls", "ca", authority.pem().into_bytes());
    let prepared = prepare_in(
        Arc::new(plan),
        &inputs,
        &World {
            names,
            metadata_host: None,
        },
    )
    .await
    .unwrap();
    let snapshot = sum(&deltas(&mut Arc::new(prepared).start(whole(1), Instant::now())).await);
    assert_eq!(
        (
            snapshot.requests(),
            snapshot.failures(),
            snapshot.counters.connects
        ),
        (2, 0, 1),
        "{:?}",
        snapshot.errors
    );

    let (first, second) = (&snapshot.steps[&0], &snapshot.steps[&1]);
    let counts =
        |phases: &crate::stats::PhaseStats| Phase::ALL.map(|phase| phases.of(phase).count());
    assert_eq!(counts(&first.phases), [1; 5]);
    assert_eq!(
        counts(&second.phases),
        [0, 0, 0, 1, 1],
        "it has neither lookup, connection nor handshake"
    );
    let micros = |phase| first.phases.of(phase).min();
    // what is kept of a time is right within a thousandth
    // the name was looked up before, and again beside the request
    assert!(micros(Phase::Dns) < 59_900, "{} us", micros(Phase::Dns));
    assert!(micros(Phase::Tls) >= 89_900, "{} us", micros(Phase::Tls));
    // were any time in two phases, together they would be longer than the whole
    let parts: u64 = Phase::ALL.map(micros).iter().sum();
    let whole = first.latency.max();
    assert!(parts <= whole + whole / 200, "{parts} us of {whole}");
}

/// Rules that take a while are no part of what follows: neither is its latency longer for them, nor
/// its service time.
#[tokio::test]
async fn the_time_that_rules_take_is_no_latency_of_the_next_request() {
    let url = scripted(|mut peer: Peer| async move {
        let list = format!("[{}1]", "1,".repeat(40_000));
        while let Some(head) = peer.head().await {
            let body = match head.starts_with("GET /list") {
                true => list.as_str(),
                false => "{}",
            };
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            peer.send(answer.as_bytes()).await;
        }
    })
    .await;
    let spec = serde_json::json!({
        "target": {"url": url},
        "steps": [
            {"http": {"path": "/list"}, "checks": [{"cel": "json.all(n, n > 0)"}]},
            {"http": {"path": "/small"}},
        ],
        "load": {"iterations": {"count": 3, "users": 1}},
    });
    let checked = crate::crd::check(&serde_json::from_value(spec).unwrap()).unwrap();
    let snapshot = run(checked.plan, 1).await;
    assert_eq!(
        (snapshot.requests(), snapshot.failures()),
        (6, 0),
        "{:?}",
        snapshot.errors
    );
    let answered: u128 = snapshot.steps.values().map(|step| step.latency.sum()).sum();
    let whole = snapshot.tasks[&0].duration.sum();
    // a list of so many items takes a millisecond on any machine
    assert!(
        whole >= answered + 3_000,
        "{whole} us, {answered} us of requests"
    );
}
