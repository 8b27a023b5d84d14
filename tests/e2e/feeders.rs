//! Rows and bodies from ConfigMaps, Secrets and volumes, shared by two workers.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::samples::{brief, report, vanishing, with};
use crate::stage::{Stage, is, play};

/// So few that a worker can write down every request.
const ROWS: usize = 60;
const KEY: &str = "key-of-the-feeder-81c4";

/// A ConfigMap with rows in two forms and a body, and a Secret with a row.
fn deploy_data(stage: &Stage) {
    let csv: String = (0..ROWS).map(|n| format!("{n}\n")).collect();
    let list: Vec<Value> = (0..ROWS).map(|n| json!({"m": format!("m{n}")})).collect();
    let data = json!({
        "rows.csv": format!("n\n{csv}"), "more.json": Value::from(list).to_string(), "few.jsonl": "{\"n\": 1}\n".repeat(10),
        "body.json": r#"{"text": "the team won"}"#,
    });
    stage.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "data"}, "data": data}));
    stage.apply(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"keys.jsonl": format!("{{\"key\": \"{KEY}\"}}\n")},
    }));
}

/// Two workers with these feeders, whose users carry out this step.
fn fed(name: &str, feeders: Value, step: Value) -> Value {
    let scenario = json!({"name": "client", "thinkTime": {"min": "100ms", "max": "300ms"}, "tasks": [{"name": "t", "steps": [step]}]});
    let workers =
        json!({"replicas": 2, "volumes": [{"name": "mounted", "configMap": {"name": "data"}}]});
    with(
        vanishing(brief(name, 60)),
        json!({"spec": {"feeders": feeders, "scenarios": [scenario], "workers": workers, "samples": {"rate": "100%"}}}),
    )
}

#[test]
fn each_row_goes_out_once_over_two_workers_whatever_it_comes_from() {
    play("feeders", async |stage| {
        stage.open(&["--token", KEY]).await;
        deploy_data(stage);
        each_row_goes_out_once(stage).await;
        what_is_exhausted_drops_arrivals(stage).await;
    });
}

async fn each_row_goes_out_once(stage: &Stage) {
    let once = json!({"strategy": "Queue", "scope": "Test", "onExhausted": "StopRun"});
    let feeders = json!([
        with(once.clone(), json!({"name": "rows", "csv": {"configMapKeyRef": {"name": "data", "key": "rows.csv"}}})),
        with(once, json!({"name": "more", "json": {"file": "mounted/more.json"}})),
        {"name": "keys", "jsonLines": {"secretKeyRef": {"name": "keys", "key": "keys.jsonl"}}},
    ]);
    let step = json!({"http": {
        "method": "POST", "path": "/serving-endpoints/m/invocations?{{ rows.n }}-{{ more.m }}-",
        "headers": {"Authorization": "Bearer {{ keys.key }}"}, "json": {"inputs": [[1]]},
    }});
    stage.apply(&fed("once", feeders, step));
    let ended = stage.finished("once").await;
    assert!(is(&ended, "Succeeded"), "{:?}", ended.status);
    let whole = report(stage, &ended).await;
    // the first who finds no row ends the run; what another has of one feeder alone is never sent
    let (requests, rows) = (whole.totals.requests, ROWS as u64);
    assert!(
        (rows / 2..=rows).contains(&requests) && whole.totals.failures == 0,
        "{requests}: {:?}",
        whole.errors
    );
    assert_eq!(stage.count().await, requests);
    for feeder in &whole.feeders {
        assert!(
            feeder.leased <= rows && feeder.used >= requests,
            "{feeder:?}"
        );
        assert!(feeder.used + feeder.lost <= feeder.leased, "{feeder:?}");
    }
    assert_eq!(whole.feeders.len(), 2, "those that the master leases");
    let sampled = stage.sampled("once").await;
    let lines: Vec<&str> = sampled
        .iter()
        .filter_map(|line| line["sent"]["line"].as_str())
        .collect();
    let sent = |row: &str| lines.iter().filter(|line| line.contains(row)).count();
    for n in 0..ROWS {
        assert!(
            sent(&format!("?{n}-")) <= 1 && sent(&format!("-m{n}-")) <= 1,
            "row {n}: {lines:#?}"
        );
    }
    assert_eq!(lines.len() as u64, requests);
    let workers: BTreeSet<_> = sampled.iter().map(|line| line["worker"].as_u64()).collect();
    assert_eq!(workers.len(), 2, "both took part");
    assert!(
        stage
            .logs()
            .iter()
            .filter(|(of, _)| of.contains("/once-"))
            .all(|(_, log)| !log.contains(KEY)),
        "a row of a Secret is secret"
    );
}

/// Ten rows for sixty arrivals, and a body that comes from a ConfigMap.
async fn what_is_exhausted_drops_arrivals(stage: &Stage) {
    let few = json!({"configMapKeyRef": {"name": "data", "key": "few.jsonl"}});
    let feeders = json!([{"name": "few", "jsonLines": few, "strategy": "Queue", "scope": "Test", "onExhausted": "StopUser"}]);
    let body = json!({"configMapKeyRef": {"name": "data", "key": "body.json"}});
    let step = json!({
        "http": {"method": "POST", "path": "/predict?{{ few.n }}", "headers": {"Content-Type": "application/json"}, "bodyFrom": body},
        "checks": [{"jsonPath": "$.category", "equals": "sports"}],
    });
    let mut test = fed("few", feeders, step);
    test["spec"]["scenarios"][0]
        .as_object_mut()
        .expect("a scenario")
        .remove("thinkTime");
    test["spec"]["load"] =
        json!({"open": {"rate": 20, "duration": "3s", "maxInFlight": 100, "maxDropped": "100%"}});
    let before = stage.count().await;
    stage.apply(&test);
    let ended = stage.finished("few").await;
    assert!(is(&ended, "Succeeded"), "{:?}", ended.status);
    let totals = report(stage, &ended).await.totals;
    assert_eq!(
        (totals.requests, totals.failures, totals.checks_passed),
        (10, 0, 10)
    );
    assert_eq!((totals.dropped, totals.feeder_drops), (50, 50));
    assert_eq!(stage.count().await - before, 10);
}
