//! The digest of a spec, part of a run's identity: a changed digest starts a run.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::schema;
use super::spec::LoadTestSpec;

/// Fields that matter for where or how long, not for the load: changing them starts no run.
const NOT_IN_DIGEST: [&[&str]; 12] = [
    &["workers", "replicas"],
    &["workers", "perWorker"],
    &["workers", "resources"],
    &["workers", "pod"],
    &["workers", "external"],
    &["master"],
    &["cost"],
    &["run", "suspend"],
    &["run", "manualControl"],
    &["run", "ttlAfterFinished"],
    &["run", "historyLimit"],
    &["run", "stopTimeout"],
];

/// Returns the SHA-256, in hexadecimal, of the spec's canonical JSON, without the fields that do
/// not matter for the load and without values that equal their schema's default: an upgrade that
/// adds fields with defaults changes no digest.
pub fn digest(spec: &LoadTestSpec) -> String {
    let mut value = serde_json::to_value(spec).expect("a spec is JSON");
    for path in NOT_IN_DIGEST {
        remove(&mut value, path);
    }
    strip_defaults(&mut value, schema::spec_schema());
    let mut canonical = Vec::new();
    write_sorted(&value, &mut canonical);
    data_encoding::HEXLOWER.encode(&Sha256::digest(&canonical))
}

fn remove(value: &mut Value, path: &[&str]) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let parent = parents
        .iter()
        .try_fold(value, |value, key| value.get_mut(*key));
    if let Some(fields) = parent.and_then(Value::as_object_mut) {
        fields.remove(*last);
    }
}

/// Removes values that equal their schema's default, and objects that this leaves empty: `run: {}`
/// and no `run` mean the same.
fn strip_defaults(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(fields) => {
            let described = |name: &str| {
                schema["properties"]
                    .get(name)
                    .unwrap_or(&schema["additionalProperties"])
            };
            let mut kept = Map::new();
            for (name, mut field) in std::mem::take(fields) {
                let default = described(&name)["default"].clone();
                let is_default = !default.is_null() && field == default;
                strip_defaults(&mut field, described(&name));
                let emptied = schema["properties"]
                    .get(&name)
                    .is_some_and(|s| s["properties"].is_object())
                    && field.as_object().is_some_and(Map::is_empty);
                if !is_default && !emptied {
                    kept.insert(name, field);
                }
            }
            *fields = kept;
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| strip_defaults(item, &schema["items"])),
        _ => {}
    }
}

fn write_sorted(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(fields) => {
            let sorted: std::collections::BTreeMap<_, _> = fields.iter().collect();
            out.push(b'{');
            for (key, field) in sorted {
                out.extend_from_slice(Value::from(key.as_str()).to_string().as_bytes());
                out.push(b':');
                write_sorted(field, out);
                out.push(b',');
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                write_sorted(item, out);
                out.push(b',');
            }
            out.push(b']');
        }
        scalar => out.extend_from_slice(scalar.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn minimal() -> Value {
        json!({
            "target": {"url": "http://t"},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
            "load": {"closed": {"users": 1, "duration": "1s"}},
        })
    }

    fn digest_with(pointer: &str, field: Value) -> String {
        let mut spec = minimal();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = parent.split('/').filter(|part| !part.is_empty()).fold(
            &mut spec,
            |value, key| match key.parse::<usize>() {
                Ok(index) => &mut value[index],
                Err(_) => &mut value[key],
            },
        );
        parent[name] = field;
        digest(&serde_json::from_value(spec).unwrap())
    }

    fn minimal_digest() -> String {
        digest(&serde_json::from_value(minimal()).unwrap())
    }

    #[test]
    fn what_matters_for_the_load_changes_it() {
        for (field, value) in [
            ("/target/url", json!("http://other")),
            ("/load/closed/users", json!(2)),
            ("/run/trigger", json!("again")),
            ("/http/timeout", json!("1s")),
            ("/scenarios/0/weight", json!(2)),
            (
                "/thresholds",
                json!([{"metric": "failures", "expr": "rate < 1%"}]),
            ),
        ] {
            assert_ne!(digest_with(field, value), minimal_digest(), "{field}");
        }
    }

    #[test]
    fn what_does_not_matter_for_the_load_does_not() {
        for (field, value) in [
            ("/workers/replicas", json!(9)),
            ("/workers/perWorker", json!({"maxUsers": 9})),
            ("/workers/resources", json!({"cpu": "4"})),
            ("/workers/pod", json!({"labels": {"a": "b"}})),
            ("/master", json!({"resources": {"cpu": "2"}})),
            ("/cost", json!({"perHour": 4})),
            ("/run/suspend", json!(true)),
            ("/run/ttlAfterFinished", json!("1s")),
            ("/run/historyLimit", json!(1)),
            ("/run/stopTimeout", json!("1s")),
        ] {
            assert_eq!(digest_with(field, value), minimal_digest(), "{field}");
        }
    }

    #[test]
    fn a_default_written_out_is_the_same_as_none() {
        assert_eq!(
            digest_with("/http", json!({"timeout": "30s"})),
            minimal_digest()
        );
        assert_eq!(
            digest_with("/run/start", json!("OnApply")),
            minimal_digest()
        );
        assert_eq!(
            digest_with("/scenarios/0/tasks/0/steps/0/http/method", json!("GET")),
            minimal_digest()
        );
    }
}
