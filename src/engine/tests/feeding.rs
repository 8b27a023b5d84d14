//! Rows of feeders in requests: each where it belongs, and what happens when there is none.

use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::engine::Demand;
use crate::engine::PrepareError;
use crate::engine::tests::server::{Server, scripted};
use crate::engine::tests::*;
use crate::plan::feeder::{Feeder, FeederScope, OnExhausted, Source, Strategy};

/// GET /row/N for each row of a feeder with `count` rows.
fn fed(url: &str, load: Load, count: u64, scope: FeederScope, on_exhausted: OnExhausted) -> Plan {
    let source = Source::Inline {
        rows: (0..count).map(|n| json!({"n": n})).collect(),
    };
    let strategy = if on_exhausted == OnExhausted::Recycle {
        Strategy::Circular
    } else {
        Strategy::Queue
    };
    let mut plan = plan(url, load);
    plan.feeders = vec![Feeder {
        name: "rows".into(),
        source,
        strategy,
        scope,
        on_exhausted,
    }];
    plan.scenarios[0].tasks[0].steps = vec![step("first", "/row/{{ rows.n }}")];
    plan
}

#[tokio::test]
async fn a_column_that_is_not_there_is_found_before_anything_is_sent() {
    let server = Server::start();
    let mut plan = fed(
        &server.url,
        users(1, 100),
        3,
        FeederScope::Worker,
        OnExhausted::Recycle,
    );
    plan.scenarios[0].tasks[0]
        .steps
        .push(step("second", "/row/{{ rows.m }}"));
    let mut third = step("third", "/");
    third.condition = Some(crate::plan::Cel::parse("feeders.rows.m == 1").unwrap());
    plan.scenarios[0].tasks[0].steps.push(third);
    let Err(PrepareError::Invalid(problems)) = prepare(Arc::new(plan), &Inputs::default()).await
    else {
        panic!("was accepted")
    };
    let steps = "spec.scenarios[0].tasks[0].steps";
    assert_eq!(
        problems[0].to_string(),
        format!("{steps}[1].http.path: rows has no column \"m\"; it has n")
    );
    assert_eq!(
        problems[1].to_string(),
        format!("{steps}[2].if: feeders.rows has no column \"m\"; it has n")
    );
}

#[tokio::test]
async fn users_end_with_the_rows_of_a_queue_and_each_is_sent_once() {
    let server = Server::start();
    let snapshot = run(
        fed(
            &server.url,
            users(7, 400),
            50,
            FeederScope::Worker,
            OnExhausted::StopUser,
        ),
        3,
    )
    .await;
    assert_eq!(server.rows(), (0..50).collect::<Vec<_>>());
    let counters = snapshot.counters;
    assert_eq!(
        (
            counters.iterations,
            counters.finished,
            counters.dropped,
            snapshot.failures()
        ),
        (50, 50, 0, 0)
    );
    assert_eq!(snapshot.users, 0);
}

#[tokio::test]
async fn a_row_lasts_for_the_iteration_and_a_later_step_may_take_the_first() {
    let server = Server::start();
    let mut plan = fed(
        &server.url,
        users(2, 400),
        20,
        FeederScope::Worker,
        OnExhausted::StopUser,
    );
    plan.scenarios[0].tasks[0].steps = vec![
        step("a", "/"),
        step("b", "/row/{{ rows.n }}"),
        step("c", "/row/{{ rows.n }}"),
    ];
    let snapshot = run(plan, 1).await;
    assert_eq!(
        server.rows(),
        (0..20).flat_map(|n| [n, n]).collect::<Vec<_>>()
    );
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Template, 2)],
        "each user ends at a step without a row"
    );
}

#[tokio::test]
async fn arrivals_without_a_row_are_dropped_for_that_reason() {
    let server = Server::start();
    let snapshot = run(
        fed(
            &server.url,
            rate(200, 500, 20),
            40,
            FeederScope::Worker,
            OnExhausted::StopUser,
        ),
        1,
    )
    .await;
    let counters = snapshot.counters;
    assert_eq!(
        (counters.iterations, counters.dropped, counters.feeder_drops),
        (40, 60, 60)
    );
    assert_eq!(server.rows(), (0..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_end_of_the_rows_that_ends_the_run_drops_nothing() {
    let server = Server::start();
    let plan = fed(
        &server.url,
        rate(200, 10_000, 20),
        10,
        FeederScope::Worker,
        OnExhausted::StopRun,
    );
    let mut running = prepared(plan).await.start(whole(1), Instant::now());
    assert_eq!(
        running.supply().demand().await,
        Demand::UsedUp { feeder: 0 }
    );
    running.stop();
    let snapshot = sum(&deltas(&mut running).await);
    assert_eq!(
        (snapshot.counters.iterations, snapshot.counters.dropped),
        (10, 0)
    );
}

#[tokio::test]
async fn closed_users_wait_for_rows_that_a_master_leases() {
    let server = Server::start();
    let plan = fed(
        &server.url,
        users(4, 400),
        100,
        FeederScope::Test,
        OnExhausted::StopUser,
    );
    let mut running = prepared(plan).await.start(whole(2), Instant::now());
    let supply = running.supply().clone();
    assert_eq!(
        supply.demand().await,
        Demand::Rows {
            feeder: 0,
            count: 4
        }
    );
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(server.received(), 0);
    supply.grant(0, 20..25, false);
    let snapshot = sum(&deltas(&mut running).await);
    assert_eq!(server.rows(), (20..25).collect::<Vec<_>>());
    assert_eq!(
        (
            snapshot.counters.iterations,
            snapshot.counters.dropped,
            snapshot.counters.interrupted
        ),
        (5, 0, 0)
    );
    let usage = supply.usage()[0];
    assert_eq!((usage.leased, usage.used), (5, 5));
}

#[tokio::test]
async fn arrivals_do_not_wait_for_rows() {
    let server = Server::start();
    let plan = fed(
        &server.url,
        rate(100, 300, 20),
        100,
        FeederScope::Test,
        OnExhausted::Recycle,
    );
    let snapshot = run(plan, 1).await;
    assert_eq!(
        (
            snapshot.counters.iterations,
            snapshot.counters.feeder_drops,
            server.received()
        ),
        (0, 30, 0)
    );
}

#[tokio::test]
async fn json_text_and_rows_are_sent_in_their_own_order() {
    let bodies = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&bodies);
    let url = scripted(move |mut peer| {
        let seen = Arc::clone(&seen);
        async move {
            while let Some(head) = peer.head().await {
                let length = head.lines().find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length: ")
                        .map(|length| length.parse::<usize>().unwrap())
                });
                let mut body = vec![0; length.unwrap()];
                peer.0.read_exact(&mut body).await.unwrap();
                seen.lock().unwrap().push(String::from_utf8(body).unwrap());
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
            }
        }
    })
    .await;
    let body = r#"{"rows": [{{ wines }}], "z": 1.0, "a": "{{ wines.acid }}"}"#;
    let spec = json!({
        "target": {"url": url},
        "feeders": [{"name": "wines", "jsonLines": {"configMapKeyRef": {"name": "c", "key": "k"}}}],
        "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [
            {"http": {"method": "POST", "path": "/", "json": body}},
        ]}]}],
        "load": {"iterations": {"count": 1, "users": 1}},
    });
    let checked = crate::crd::check(&serde_json::from_value(spec).unwrap()).unwrap();
    let mut inputs = Inputs::default();
    let rows = "{\"acid\": 7.40, \"Zinc\": null, \"alcohol\": 9.4}\n";
    inputs.insert(crate::plan::Kind::ConfigMap, "c", "k", rows.into());
    let prepared = Arc::new(prepare(Arc::new(checked.plan), &inputs).await.unwrap());
    let snapshot = sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await);
    assert_eq!(
        (snapshot.requests(), snapshot.failures()),
        (1, 0),
        "{:?}",
        snapshot.errors
    );
    let row = r#"{"acid":7.4,"Zinc":null,"alcohol":9.4}"#;
    assert_eq!(
        *bodies.lock().unwrap(),
        [body
            .replace("{{ wines }}", row)
            .replace("\"{{ wines.acid }}\"", "7.4")]
    );
}
