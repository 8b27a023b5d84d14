//! The search for the capacity by several workers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use starling::stats::result::{CostBasis, LimitedBy};
use tokio::net::TcpListener;

use crate::stage::{ANY, Stage};

/// Answers after `time`, at most `at_once` at a time: it holds `at_once / time` requests a second.
async fn limited(at_once: usize, time: Duration) -> String {
    let places = Arc::new(tokio::sync::Semaphore::new(at_once));
    let answer = move || async move {
        let _place = places.acquire().await.unwrap();
        tokio::time::sleep(time).await;
    };
    let listener = TcpListener::bind(ANY).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        axum::serve(
            listener,
            axum::Router::new().route("/", axum::routing::get(answer)),
        )
        .await
    });
    url
}

/// Eight at a time, 40 ms each: 200 a second. A level far above that fills all places within its
/// time to settle, so that arrivals are dropped; a machine that is busy with other tests holds
/// less.
#[tokio::test(flavor = "multi_thread")]
async fn workers_find_together_what_the_target_holds() {
    let url = limited(8, Duration::from_millis(40)).await;
    let stage = Stage::new(2, 1, |spec| {
        spec["target"]["url"] = json!(url);
        spec["scenarios"][0].as_object_mut().unwrap().remove("thinkTime");
        spec["scenarios"][0]["tasks"][0]["steps"][0]["http"] = json!({"path": "/"});
        spec["load"] = json!({"capacity": {"start": 120, "max": 1000, "step": "50%", "precision": "20%", "hold": "4s", "settle": "2s", "maxInFlight": 200}});
        spec["thresholds"] = json!([{"metric": "latency", "expr": "p(90) < 1s"}, {"metric": "failures", "expr": "rate < 1%"}]);
        spec["cost"] = json!({"perHour": 3.6, "wantedRate": 1000});
    })
    .await;
    let _master = stage.master("state");
    let _workers = [stage.worker(0), stage.worker(1)];
    stage.start().await;
    let result = stage.result_within(Duration::from_secs(90)).await;
    let found = result.capacity.clone().unwrap();
    assert_eq!(found.limited_by, Some(LimitedBy::Target), "{found:?}");
    let rate = found.rate.unwrap_or_else(|| panic!("{found:?}"));
    assert!((30.0..=260.0).contains(&rate), "{found:?}");
    let cost = result.cost.unwrap();
    assert_eq!(cost.basis, CostBasis::Sustainable);
    // of what was answered, which is a little less than the rate where a queue grows
    let priced = cost.rate.unwrap_or_else(|| panic!("{cost:?}"));
    assert!((30.0..=260.0).contains(&priced), "{cost:?}");
    assert!(
        (cost.per_million_requests.unwrap() - 1000.0 / priced).abs() < 1e-6,
        "{cost:?}"
    );
    assert_eq!(cost.endpoints, Some((1000.0 / priced).ceil() as u64));
    // each is 40 ms and more in flight
    let concurrency = result.concurrency.unwrap();
    assert!(
        concurrency.by_latency > priced * 0.038 && concurrency.in_flight.unwrap().max <= 200,
        "{concurrency:?}"
    );
}
