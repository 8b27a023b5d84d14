//! Secrets of Starling's own: no field of a spec may name one.

use super::Problems;
use crate::crd::spec::{LoadTestSpec, MasterTlsSpec, SecretVolumeSpec, VolumeSpec};
use crate::plan::reserved::ReservedSecret;
use crate::plan::{Kind, Plan};

/// Adds a mistake for each field that names a Secret of Starling's own: the references of the plan,
/// from which the mounts are made, the volumes of the workers, and the certificate of the master.
pub(super) fn check_reserved(spec: &LoadTestSpec, plan: &Plan, problems: &mut Problems) {
    let references = plan
        .references()
        .into_iter()
        .filter(|reference| reference.kind == Kind::Secret)
        .map(|reference| (reference.field.clone(), reference.name.as_str()));
    let volumes = spec.workers.volumes.iter().enumerate();
    let volumes = volumes.filter_map(|(i, volume)| {
        let VolumeSpec {
            name: _,
            config_map: _,
            secret,
            persistent_volume_claim: _,
        } = volume;
        let SecretVolumeSpec { secret_name } = secret.as_ref()?;
        let field = format!("spec.workers.volumes[{i}].secret.secretName");
        Some((field, secret_name.as_str()))
    });
    let certificate = spec.master.tls.iter().map(|MasterTlsSpec { secret_name }| {
        let field = "spec.master.tls.secretName".to_owned();
        (field, secret_name.as_str())
    });
    for (field, name) in references.chain(volumes).chain(certificate) {
        if let Some(reserved) = ReservedSecret::named(name) {
            problems.add(field, reserved.refusal(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::crd::convert::check;

    const CHANNEL: &str = "other-ab2cd7-channel";

    fn refused_at(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut spec = json!({
            "target": {"url": "https://t"},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
            "load": {"closed": {"users": 1, "duration": "1m"}},
        });
        change(&mut spec);
        match check(&serde_json::from_value(spec).unwrap()) {
            Ok(_) => vec![],
            Err(problems) => problems
                .into_iter()
                .inspect(|problem| assert!(problem.message.contains("no test may read")))
                .map(|problem| problem.path)
                .collect(),
        }
    }

    /// Every way in which a spec can name a Secret, with the field that the refusal names.
    fn ways(name: &str) -> Vec<(&'static str, Value)> {
        let key = || json!({"secretKeyRef": {"name": name, "key": "operator.token"}});
        let keys = |fields: &[&str]| -> Value {
            fields
                .iter()
                .map(|field| ((*field).to_owned(), key()))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let auth = |auth: Value| json!({"target": {"url": "https://t", "auth": auth}});
        let http = |field: &str, body: Value| {
            let http = json!({"method": "POST", "path": "/", field: body});
            let tasks = json!([{"name": "t", "steps": [{"http": http}]}]);
            json!({"scenarios": [{"name": "s", "tasks": tasks}]})
        };
        let oauth2 = json!({"tokenUrl": "https://t", "clientId": "c", "clientSecretFrom": key()});
        let mut aws = keys(&["accessKeyIdFrom", "secretAccessKeyFrom", "sessionTokenFrom"]);
        (aws["region"], aws["service"]) = ("eu-central-1".into(), "execute-api".into());
        let basic = keys(&["usernameFrom", "passwordFrom"]);
        vec![
            (
                "spec.target.auth.bearer.tokenFrom",
                auth(json!({"bearer": {"tokenFrom": key()}})),
            ),
            (
                "spec.target.auth.basic.passwordFrom",
                auth(json!({"basic": basic})),
            ),
            (
                "spec.target.auth.header.valueFrom",
                auth(json!({"header": {"name": "x", "valueFrom": key()}})),
            ),
            (
                "spec.target.auth.oauth2.clientSecretFrom",
                auth(json!({"oauth2": oauth2})),
            ),
            (
                "spec.target.auth.awsSigV4.sessionTokenFrom",
                auth(json!({"awsSigV4": aws})),
            ),
            (
                "spec.target.tls.caFrom",
                json!({"target": {"url": "https://t", "tls": {"caFrom": key()}}}),
            ),
            (
                "spec.target.tls.keyFrom",
                json!({"target": {"url": "https://t", "tls": keys(&["certFrom", "keyFrom"])}}),
            ),
            (
                "spec.target.proxy.basic.usernameFrom",
                json!({"target": {"url": "https://t", "proxy": {"url": "http://p", "basic": basic}}}),
            ),
            (
                "spec.targets.other.auth.bearer.tokenFrom",
                json!({"targets": {"other": {"url": "https://o", "auth": {"bearer": {"tokenFrom": key()}}}}}),
            ),
            (
                "spec.variablesFrom.token",
                json!({"variablesFrom": {"token": key()}}),
            ),
            (
                "spec.protos",
                json!({"protos": {"descriptorSets": [key()]}}),
            ),
            (
                "spec.feeders[0].csv",
                json!({"feeders": [{"name": "f", "csv": key()}]}),
            ),
            (
                "spec.workers.volumes[0].secret.secretName",
                json!({"workers": {"volumes": [
                    {"name": "v", "secret": {"secretName": name}},
                ]}}),
            ),
            ("steps[0].http.bodyFrom", http("bodyFrom", key())),
            (
                "steps[0].http.multipart[0]",
                http("multipart", json!([{"name": "p", "valueFrom": key()}])),
            ),
        ]
    }

    #[test]
    fn keys_of_runs_and_of_the_operator_are_refused_wherever_a_secret_can_be_named() {
        for name in [CHANNEL, "starling-operator-key"] {
            for (field, change) in ways(name) {
                let refused = refused_at(|spec| {
                    for (name, value) in change.as_object().unwrap() {
                        spec[name] = value.clone();
                    }
                });
                assert!(
                    refused.iter().any(|path| path.contains(field)),
                    "{field}: {refused:?}"
                );
            }
        }
    }

    #[test]
    fn secrets_of_other_names_are_a_tests_own() {
        for (field, change) in ways("slack-channel") {
            let refused = refused_at(|spec| {
                for (name, value) in change.as_object().unwrap() {
                    spec[name] = value.clone();
                }
            });
            assert!(refused.is_empty(), "{field}: {refused:?}");
        }
    }

    #[test]
    fn the_certificate_of_a_master_is_none_of_ours() {
        let named =
            |name: &str| refused_at(|spec| spec["master"] = json!({"tls": {"secretName": name}}));
        assert_eq!(named(CHANNEL), ["spec.master.tls.secretName"]);
        assert_eq!(named("ui-cert"), [""; 0]);
    }
}
