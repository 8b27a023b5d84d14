//! A search for what a service of a known limit holds, and the price of that.

use serde_json::json;
use starling::stats::result::{LimitedBy, Purpose};

use crate::samples::{brief, report, with};
use crate::stage::{Stage, is, is_finished, play, seconds, status};

/// Eight at a time, 400 ms each: 20 requests per second, of which each takes longer than any delay
/// by a busy machine.
const LIMIT: f64 = 20.0;

#[test]
fn two_workers_find_what_a_service_holds_and_what_it_costs() {
    play("capacity", async |stage| {
        stage
            .open(&["--concurrency", "8", "--latency", "constant:400ms"])
            .await;
        let load = json!({"capacity": {
            "start": 8, "max": 128, "step": "100%", "precision": "50%", "hold": "5s", "settle": "2s", "maxInFlight": 200,
        }});
        // half as much again fills the queue with more than that; the median is no matter of single
        // slow answers
        let thresholds = json!([{"metric": "latency", "expr": "p(50) < 1500ms"}, {"metric": "failures", "expr": "rate < 1%"}]);
        let search = json!({"load": {"closed": null}, "thresholds": thresholds, "cost": {"perHour": 3.6, "currency": "EUR", "wantedRate": 1000}});
        let mut test = with(brief("search", 1), json!({"spec": search}));
        test["spec"]["load"] = load;
        test["spec"]["scenarios"][0]
            .as_object_mut()
            .expect("a scenario")
            .remove("thinkTime");
        stage.apply(&with(
            test,
            json!({"spec": {"workers": {"replicas": 2, "resources": {"cpu": "300m"}}}}),
        ));
        let ended = stage
            .until("search", "finishes", seconds(240), is_finished)
            .await;
        assert!(is(&ended, "Succeeded"), "{:?}", ended.status);

        let whole = report(stage, &ended).await;
        let found = whole.capacity.as_ref().expect("a search");
        let rate = found.rate.unwrap_or_else(|| panic!("{found:?}"));
        assert!((0.2 * LIMIT..=1.3 * LIMIT).contains(&rate), "{found:?}");
        assert_ne!(found.limited_by, Some(LimitedBy::Max), "{found:?}");
        assert!(
            found
                .curve
                .iter()
                .any(|level| level.purpose == Purpose::Confirmation && level.held),
            "{found:?}"
        );
        assert!(
            found
                .curve
                .iter()
                .any(|level| !level.held && !level.why.is_empty() && level.rate > rate),
            "{found:?}"
        );
        assert_eq!(whole.totals.received_by_target, stage.count().await);

        let results = status(&ended).results.expect("results");
        let told = results.capacity.expect("status.results.capacity");
        assert!(!told.rate.is_empty() && told.levels.len() > 1, "{told:?}");
        let cost = results.cost.expect("status.results.cost");
        // of what was answered, which is a little less than the rate where a queue grows
        let priced = whole.cost.and_then(|cost| cost.rate).expect("a price");
        assert!((0.2 * LIMIT..=1.3 * LIMIT).contains(&priced), "{cost:?}");
        assert!(
            cost.per_million_requests.ends_with("EUR")
                && cost.endpoints == Some((1000.0 / priced).ceil() as u64),
            "{cost:?}"
        );
        assert_eq!(cost.basis, "Sustainable");
        columns_tell_the_rate(stage, &told.rate);
    });
}

fn columns_tell_the_rate(stage: &Stage, rate: &str) {
    let table = stage.kubectl(&["get", "loadtests", "-o", "wide"]);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[1].len(), rows[0].len(), "no column is empty: {table}");
    assert_eq!(
        (&rows[1][..4], rows[1][10]),
        (&["search", "Succeeded", "100%", "2/2"][..], "CapacityFound"),
        "{table} {rate}"
    );
}
