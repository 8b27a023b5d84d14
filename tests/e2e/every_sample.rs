//! Each file of `manifests/samples` runs in a cluster, and what it counts is what its service
//! received.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::samples::{file, report, shortened, small, vanishing, with};
use crate::stage::{Stage, is, play, root};

/// So many run at once, each against a service of its own.
const LANES: usize = 2;

/// The files that hold a LoadTest.
fn samples() -> Vec<String> {
    let entries = std::fs::read_dir(root().join("manifests/samples")).expect("it is there");
    let mut names: Vec<_> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.retain(|name| file(name).iter().any(|object| object["kind"] == "LoadTest"));
    names.sort();
    names
}

/// Some seconds of a little load of the same kind.
fn little(load: &Value) -> Value {
    let Value::Object(kinds) = load else {
        panic!("no load: {load}")
    };
    let kind = kinds.keys().next().expect("a kind of load");
    match kind.as_str() {
        "closed" => json!({"closed": {"users": 4, "duration": "3s"}}),
        "open" => json!({"open": {"rate": 20, "duration": "3s", "maxInFlight": 100}}),
        "capacity" => {
            json!({"capacity": {"start": 20, "max": 25, "step": "50%", "hold": "3s", "settle": "1s", "maxInFlight": 50}})
        }
        other => panic!("no sample had load.{other} when this was written"),
    }
}

/// What reached the service, readiness of models included, which it does not count as load.
async fn received(stage: &Stage, service: &str) -> u64 {
    let counts = stage.counts(service).await;
    let asides = [
        "GET /v2/models/{model}/ready",
        "POST /inference.GRPCInferenceService/ModelReady",
    ];
    let aside: u64 = asides
        .iter()
        .filter_map(|path| counts["aside"][path].as_u64())
        .sum();
    counts["total"].as_u64().expect("a total") + aside
}

async fn runs(stage: &Stage, sample: &str, service: &str) {
    for object in file(sample)
        .into_iter()
        .filter(|object| object["kind"] != "LoadTest")
    {
        stage.apply(&object);
    }
    let whole = file(sample)
        .into_iter()
        .find(|object| object["kind"] == "LoadTest")
        .expect("a LoadTest");
    let test = vanishing(with(
        shortened(sample, little(&whole["spec"]["load"])),
        small(),
    ));
    let test = with(
        test,
        json!({"spec": {"target": {"url": format!("http://{service}:8000")}}}),
    );
    let name = test["metadata"]["name"].as_str().expect("a name");
    let before = received(stage, service).await;
    stage.apply(&test);
    let ended = stage.finished(name).await;
    assert!(is(&ended, "Succeeded"), "{sample}: {:?}", ended.status);
    let result = report(stage, &ended).await;
    let totals = &result.totals;
    assert_eq!(
        (totals.failures, totals.checks_failed, totals.requests > 20),
        (0, 0, true),
        "{sample}: {totals:?} {:?}",
        result.errors
    );
    assert_eq!(
        totals.received_by_target,
        received(stage, service).await - before,
        "{sample}: {totals:?}"
    );
}

#[test]
fn every_sample_succeeds_and_counts_what_its_service_received() {
    play("samples", async |stage| {
        let services: Vec<_> = (1..LANES)
            .map(|lane| format!("sample-service-{lane}"))
            .chain(["sample-service".to_owned()])
            .collect();
        services[..LANES - 1]
            .iter()
            .for_each(|service| stage.deploy_service_as(service, &[]));
        stage.open(&[]).await;
        services.iter().for_each(|service| stage.ready(service));
        stage.kubectl(&[
            "create",
            "secret",
            "generic",
            "databricks",
            "--from-literal=pat=any",
        ]);
        let samples = samples();
        assert!(samples.len() > 10, "{samples:?}");
        let lanes = services.iter().enumerate().map(async |(lane, service)| {
            for sample in samples.iter().skip(lane).step_by(LANES) {
                runs(stage, sample, service).await;
            }
        });
        join_all(lanes).await;
    });
}
