//! LoadTests for tests: the samples of the repository made short, and one small LoadTest to change.

use serde_json::{Value, json};
use starling::crd::LoadTest;
use starling::stats::result::RunResult;

use crate::stage::{Stage, root, status};
pub use crate::unhurried::unhurried;

/// The objects in a file of `manifests/samples`.
pub fn file(name: &str) -> Vec<Value> {
    let path = root().join("manifests/samples").join(name);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let all: Vec<Value> = serde_saphyr::from_multiple(&text)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    all.into_iter().filter(|object| !object.is_null()).collect()
}

/// Pods so small that several tests fit on a small node; and so short that a suite of them ends
/// soon.
pub fn small() -> Value {
    let resources = |cpu: &str| json!({"cpu": cpu, "memory": "128Mi"});
    json!({"spec": {"workers": {"resources": resources("150m")}, "master": {"resources": resources("100m")}, "run": {"stopTimeout": "5s"}}})
}

/// The LoadTest of a sample, with seconds of load instead of its own, and asked for sound answers
/// only.
pub fn shortened(name: &str, load: Value) -> Value {
    let mut test = file(name)
        .into_iter()
        .find(|object| object["kind"] == "LoadTest")
        .expect("a LoadTest in the sample");
    test["spec"]["load"] = load;
    unhurried(&mut test);
    test
}

/// Some users for so many seconds.
pub fn closed(users: u32, duration: u32) -> Value {
    json!({"closed": {"users": users, "duration": format!("{duration}s")}})
}

/// A LoadTest of a few seconds against the demo service: about 100 requests per second.
pub fn brief(name: &str, duration: u32) -> Value {
    let test = json!({
        "apiVersion": "starling.dev/v1alpha1", "kind": "LoadTest", "metadata": {"name": name},
        "spec": {
            "target": {"url": "http://sample-service:8000"},
            "scenarios": [{
                "name": "client",
                "thinkTime": {"min": "30ms", "max": "50ms"},
                "tasks": [{"name": "predict", "steps": [{"http": {"method": "POST", "path": "/predict", "json": {"text": "a text"}}}]}],
            }],
            "load": closed(4, duration),
        },
    });
    with(test, small())
}

/// One whose run leaves no Pod behind when it has ended: the next run in the same namespace may
/// need what its master holds.
pub fn vanishing(test: Value) -> Value {
    with(test, json!({"spec": {"run": {"ttlAfterFinished": "0s"}}}))
}

/// RFC 7396: `patch` over `value`.
pub fn with(mut value: Value, patch: Value) -> Value {
    merge(&mut value, patch);
    value
}

fn merge(value: &mut Value, patch: Value) {
    let Value::Object(fields) = patch else {
        return *value = patch;
    };
    if !value.is_object() {
        *value = json!({});
    }
    for (name, field) in fields {
        if field.is_null() {
            value.as_object_mut().expect("an object").remove(&name);
        } else {
            merge(&mut value[name], field);
        }
    }
}

/// The whole result that the operator stored for the LoadTest's last run.
pub async fn report(stage: &Stage, test: &LoadTest) -> RunResult {
    use k8s_openapi::api::core::v1::ConfigMap;
    let name = status(test)
        .report_ref
        .expect("status.reportRef")
        .config_map;
    let maps: kube::Api<ConfigMap> = kube::Api::namespaced(stage.client.clone(), &stage.namespace);
    let map = maps
        .get(&name)
        .await
        .unwrap_or_else(|error| panic!("report {name}: {error}"));
    let (_, packed) = map
        .binary_data
        .as_ref()
        .and_then(|data| data.iter().next())
        .expect("binaryData");
    let json =
        std::io::read_to_string(flate2::read::GzDecoder::new(packed.0.as_slice())).expect("gzip");
    serde_json::from_str(&json).expect("a RunResult")
}
