//! What the objects of a run hold, and what they must not.

mod external;
mod network;
mod scaling;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::crd::check;
use crate::crd::spec::MasterTlsSpec;
use crate::operator::fixture;
use crate::wire::checksum::sha256;
use crate::wire::layout::{self, RunFile};

const RUN: &str = "categorizer-k3v7ra";

fn settings() -> Settings {
    Settings {
        image: "starling:1".into(),
        pull_policy: "IfNotPresent".into(),
        namespace: "starling-system".into(),
        metrics_from: Vec::new(),
    }
}

fn run() -> RunStatus {
    RunStatus {
        id: RUN.into(),
        workers: 3,
        digest: "d".into(),
        created_at: fixture::NOW.into(),
        plan_hash: Some(String::new()),
        ..RunStatus::default()
    }
}

fn fleet(test: &LoadTest) -> Vec<(Child, Value)> {
    fleet_of(test, run(), &settings())
}

fn fleet_with(test: &LoadTest, settings: &Settings) -> Vec<(Child, Value)> {
    fleet_of(test, run(), settings)
}

/// Objects as the release before made them: its runs have no hash of their plan.
fn fleet_of_old(test: &LoadTest) -> Vec<(Child, Value)> {
    let plan_hash = None;
    fleet_of(test, RunStatus { plan_hash, ..run() }, &settings())
}

fn fleet_of(test: &LoadTest, run: RunStatus, settings: &Settings) -> Vec<(Child, Value)> {
    let keys = fixture::keys();
    let run = RunStatus {
        key_id: keys.current.clone(),
        ..plan_file::hashed(test, &run, &check(&test.spec).unwrap())
    };
    let result = fixture::result();
    let fleet = Create::Fleet {
        run: run.clone(),
        children: Child::fleet(&run),
        checked: Arc::new(check(&test.spec).unwrap()),
    };
    let report = Create::Report {
        run,
        result: &result,
    };
    let built = [fleet, report].map(|create| build(test, &create, settings, &keys).unwrap());
    let objects = built.into_iter().flatten().map(|object| {
        let child = object.child();
        assert!(!object.name().is_empty());
        let object = serde_json::to_value(object.owned("uid-of-plan")).unwrap();
        (child, object)
    });
    objects.collect()
}

fn object(child: Child) -> Value {
    fleet(&fixture::test())
        .into_iter()
        .find(|(c, _)| *c == child)
        .unwrap()
        .1
}

/// Every field of `value` has a place in the typed form.
fn assert_typed<T: DeserializeOwned + Serialize>(value: &Value) {
    let typed: T = serde_json::from_value(value.clone()).unwrap();
    assert_contains(&serde_json::to_value(typed).unwrap(), value, "");
}

fn assert_contains(whole: &Value, part: &Value, path: &str) {
    match part {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(key, field)| assert_contains(&whole[key], field, &format!("{path}.{key}"))),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(i, item)| assert_contains(&whole[i], item, &format!("{path}[{i}]"))),
        scalar => assert_eq!(whole, scalar, "{path} is not a field"),
    }
}

#[test]
fn no_field_of_any_object_is_misspelt() {
    for (child, value) in fleet(&fixture::test()) {
        match child {
            Child::Plan | Child::Report => assert_typed::<ConfigMap>(&value),
            Child::Channel => assert_typed::<Secret>(&value),
            Child::Policy => assert_typed::<NetworkPolicy>(&value),
            Child::Service | Child::External => assert_typed::<Service>(&value),
            Child::Master => assert_typed::<Deployment>(&value),
            Child::Budget => assert_typed::<PodDisruptionBudget>(&value),
            Child::Workers => assert_typed::<Job>(&value),
        }
    }
}

#[test]
fn names_fit_a_label_and_a_host_name_for_the_longest_test() {
    let mut test = fixture::test();
    test.metadata.name = Some("a".repeat(40));
    let proofs = fixture::keys().current_proofs();
    let id = crate::operator::identity::run_id(&proofs, &"a".repeat(40), "uid", i64::MAX);
    for child in Child::FLEET {
        // a Job's Pods are called <job>-<index>, with up to three digits
        assert!(child.name(&id).len() + "-999".len() <= 63, "{child}");
    }
    for (_, value) in fleet(&test) {
        for label in value["metadata"]["labels"].as_object().unwrap().values() {
            assert!(label.as_str().unwrap().len() <= 63);
        }
    }
}

#[test]
fn every_child_is_owned_and_found_and_carries_no_label_of_the_loadtest() {
    let mut test = fixture::test();
    test.metadata.labels =
        Some([("argocd.argoproj.io/instance".to_owned(), "app".to_owned())].into());
    for (child, value) in fleet(&test) {
        let owner = &value["metadata"]["ownerReferences"][0];
        match child {
            Child::Channel => assert_eq!(
                (&owner["kind"], &owner["uid"]),
                (&json!("ConfigMap"), &json!("uid-of-plan"))
            ),
            _ => assert_eq!(
                (&owner["kind"], &owner["uid"], &owner["controller"]),
                (&json!("LoadTest"), &json!("0b0c"), &json!(true)),
                "{child}"
            ),
        }
        assert_eq!(value["metadata"]["labels"][RUN_LABEL], RUN);
        assert_eq!(value["metadata"]["labels"]["starling.dev/uid"], "0b0c");
        assert!(!value.to_string().contains("argocd"), "{child}");
    }
}

#[test]
fn pods_keep_to_the_restricted_standard() {
    for child in [Child::Master, Child::Workers] {
        let pod = &object(child)["spec"]["template"]["spec"];
        assert_eq!(
            pod["securityContext"],
            json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}})
        );
        assert_eq!(
            (
                &pod["automountServiceAccountToken"],
                &pod["enableServiceLinks"]
            ),
            (&json!(false), &json!(false))
        );
        for field in [
            "hostNetwork",
            "hostPID",
            "hostIPC",
            "serviceAccountName",
            "initContainers",
        ] {
            assert_eq!(pod[field], Value::Null, "{child}: {field}");
        }
        let container = &pod["containers"][0];
        let expected = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(container["securityContext"], expected);
        for volume in pod["volumes"].as_array().unwrap() {
            let kinds: Vec<&String> = volume
                .as_object()
                .unwrap()
                .keys()
                .filter(|key| *key != "name")
                .collect();
            assert!(
                kinds
                    .iter()
                    .all(|kind| ["secret", "configMap", "emptyDir"].contains(&kind.as_str())),
                "{kinds:?}"
            );
        }
    }
}

/// A killed container of a master finds its checkpoint again, and a new Pod finds none.
#[test]
fn a_master_keeps_its_state_in_a_volume_that_lasts_as_long_as_its_pod() {
    let pod = &object(Child::Master)["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let args = container["args"].as_array().unwrap();
    let at = args.iter().position(|arg| arg == "--state").unwrap();
    assert_eq!(args[at + 1], layout::STATE_DIR);
    let mounts = container["volumeMounts"].as_array().unwrap();
    let mount = mounts
        .iter()
        .find(|mount| mount["mountPath"] == layout::STATE_DIR);
    let name = &mount.unwrap()["name"];
    let volumes = pod["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == *name);
    assert!(volume.unwrap()["emptyDir"].is_object());
}

/// The run file carries what the master and its workers need of the loss of a worker.
#[test]
fn the_run_file_says_what_a_lost_worker_means() {
    let mut test = fixture::test();
    test.spec.workers.on_loss = crate::plan::OnLoss::Fail;
    let run = run();
    let text = plan_file::text(&test, &run, &check(&test.spec).unwrap());
    let file: RunFile = serde_json::from_str(&text).unwrap();
    assert_eq!(file.on_loss, crate::plan::OnLoss::Fail);
    let older = text.replace("\"onLoss\":\"Fail\",", "");
    assert_ne!(older, text);
    let file: RunFile = serde_json::from_str(&older).unwrap();
    assert_eq!(file.on_loss, crate::plan::OnLoss::Rebalance);
}

#[test]
fn a_master_asks_for_little_and_a_worker_for_all_that_it_may_use() {
    let resources = |child: Child, change: Value| {
        let mut spec = serde_json::to_value(&fixture::test().spec).unwrap();
        spec["master"] = change;
        let mut test = fixture::test();
        test.spec = serde_json::from_value(spec).unwrap();
        let (_, object) = fleet(&test).into_iter().find(|(c, _)| *c == child).unwrap();
        object["spec"]["template"]["spec"]["containers"][0]["resources"].clone()
    };
    let worker = resources(Child::Workers, json!({}));
    assert_eq!(worker["requests"], worker["limits"]);
    assert_eq!(
        resources(Child::Master, json!({})),
        json!({"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}})
    );
    let small = json!({"cpu": "50m", "memory": "64Mi"});
    assert_eq!(
        resources(Child::Master, json!({"resources": small})),
        json!({"requests": small, "limits": small})
    );
}

#[test]
fn a_master_with_a_certificate_serves_people_and_probes_over_tls() {
    let mut test = fixture::test();
    test.spec.master.tls = Some(MasterTlsSpec {
        secret_name: "ui-cert".into(),
    });
    let find = |test: &LoadTest| {
        let (_, object) = fleet(test)
            .into_iter()
            .find(|(child, _)| *child == Child::Master)
            .unwrap();
        assert_typed::<Deployment>(&object);
        object["spec"]["template"]["spec"].clone()
    };
    let pod = find(&test);
    let container = &pod["containers"][0];
    let args = container["args"].as_array().unwrap();
    assert!(args.ends_with(&[
        json!("--ui-cert"),
        json!("/etc/starling/tls/tls.crt"),
        json!("--ui-key"),
        json!("/etc/starling/tls/tls.key"),
    ]));
    assert_eq!(container["livenessProbe"]["httpGet"]["scheme"], "HTTPS");
    let volumes = pod["volumes"].as_array().unwrap();
    assert!(
        volumes
            .iter()
            .any(|volume| volume["secret"]["secretName"] == "ui-cert")
    );
    let without = find(&fixture::test());
    let container = &without["containers"][0];
    assert_eq!(container["readinessProbe"]["httpGet"]["scheme"], "HTTP");
    assert!(!container["args"].to_string().contains("--ui-cert"));
}

#[test]
fn a_worker_sees_the_authority_and_the_token_of_its_own_index_alone() {
    let pod = object(Child::Workers)["spec"]["template"]["spec"].clone();
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let channel: Vec<&Value> = mounts.iter().filter(|m| m["name"] == "channel").collect();
    assert_eq!(
        channel,
        [
            &json!({
                "name": "channel",
                "mountPath": "/etc/starling/channel/ca.crt",
                "subPath": "ca.crt",
                "readOnly": true,
            }),
            &json!({
                "name": "channel",
                "mountPath": "/etc/starling/channel/worker.token",
                "subPathExpr": "worker-$(JOB_COMPLETION_INDEX)",
                "readOnly": true,
            }),
        ]
    );
}

#[test]
fn the_secret_of_the_largest_fleet_has_a_token_for_each_worker_and_fits() {
    let largest = RunStatus {
        workers: 2_000,
        ..run()
    };
    let of = |child: Child| {
        let fleet = fleet_of(&fixture::test(), largest.clone(), &settings());
        fleet.into_iter().find(|(c, _)| *c == child).unwrap().1
    };
    let secret = of(Child::Channel);
    let data = secret["stringData"].as_object().unwrap();
    assert_eq!(data.len(), 7 + 2_000);
    let key = crate::wire::tokens::WorkerKey::parse(data["workers.key"].as_str().unwrap());
    let key = key.unwrap();
    for index in [0, 3, 1_999] {
        let token = data[&layout::channel::worker_key(index)].as_str().unwrap();
        assert_eq!(key.admits(token.as_bytes()), Some(index));
    }
    // the API server stores base64, and counts all of the object against 1 MiB
    let stored = secret.to_string().len() * 4 / 3;
    assert!(stored < 256 * 1024, "{stored}");
    assert!(of(Child::Workers).to_string().len() < 16 * 1024);
}

#[test]
fn pods_name_the_hash_of_the_plan_and_of_every_channel_file_they_believe() {
    let fleet = fleet(&fixture::test());
    let find = |child: Child| &fleet.iter().find(|(c, _)| *c == child).unwrap().1;
    let hashes = |child: Child| -> BTreeMap<String, String> {
        let args = find(child)["spec"]["template"]["spec"]["containers"][0]["args"].clone();
        let args: Vec<String> = serde_json::from_value(args).unwrap();
        let hashes = args.windows(2).filter(|pair| pair[0] == "--sha256");
        hashes
            .map(|pair| {
                let hash: FileHash = pair[1].parse().unwrap();
                (hash.name, hash.sha256)
            })
            .collect()
    };
    let files = |hashes: &BTreeMap<String, String>| hashes.keys().cloned().collect::<Vec<_>>();
    let (master, worker) = (hashes(Child::Master), hashes(Child::Workers));
    assert_eq!(
        files(&master),
        [
            "control.token",
            "operator.token",
            "read.token",
            "run.json",
            "tls.crt",
            "tls.key",
            "workers.key"
        ]
    );
    assert_eq!(files(&worker), ["ca.crt", "run.json"]);
    let (secret, plan) = (find(Child::Channel), find(Child::Plan));
    for (name, hash) in master.iter().chain(&worker) {
        let content = match name.as_str() {
            RUN_FILE => &plan["data"][RUN_FILE],
            name => &secret["stringData"][name],
        };
        assert_eq!(
            *hash,
            sha256(content.as_str().unwrap().as_bytes()),
            "{name}"
        );
    }
}

#[test]
fn every_object_has_a_seal_of_its_own() {
    let mut seals = std::collections::BTreeSet::new();
    for (child, value) in fleet(&fixture::test()) {
        let seal = &value["metadata"]["annotations"][SEAL_ANNOTATION];
        assert!(seals.insert(seal.as_str().unwrap().to_owned()), "{child}");
    }
}

#[test]
fn only_the_operator_can_name_a_report_and_seal_it() {
    let (keys, test) = (fixture::keys(), fixture::test());
    let report = object(Child::Report);
    let name = report["metadata"]["name"].as_str().unwrap();
    let proofs = keys.current_proofs();
    assert_eq!(name, report_name(Some(&proofs), "0b0c", RUN));
    assert_eq!(name.len(), RUN.len() + "-report-".len() + 12);
    let packed = packed_report(&report).unwrap();
    let seal = report["metadata"]["annotations"][SEAL_ANNOTATION].as_str();
    assert!(proofs.admits_report("0b0c", RUN, &packed, seal.unwrap()));
    assert_eq!(read_report(&packed).unwrap(), fixture::result());
    let old = fleet_of_old(&test).pop().unwrap().1;
    assert_eq!(old["metadata"]["name"], format!("{RUN}-report"));
}

#[test]
fn a_run_of_the_release_before_gets_the_objects_that_release_made() {
    for (child, value) in fleet_of_old(&fixture::test()) {
        assert_eq!(value["metadata"]["annotations"], Value::Null, "{child}");
        let template = &value["spec"]["template"]["spec"];
        let args = template["containers"][0]["args"].to_string();
        assert!(!args.contains("--sha256"), "{child}");
        let keys = match child {
            Child::Workers => vec!["ca.crt", "worker.token"],
            Child::Master => vec![
                "tls.crt",
                "tls.key",
                "worker.token",
                "operator.token",
                "read.token",
                "control.token",
            ],
            Child::Channel => {
                assert_eq!(value["stringData"].as_object().unwrap().len(), 7);
                assert!(value["stringData"]["worker.token"].is_string());
                continue;
            }
            _ => continue,
        };
        let volumes = template["volumes"].as_array().unwrap();
        let channel = volumes.iter().find(|volume| volume["name"] == "channel");
        let items = channel.unwrap()["secret"]["items"].as_array().unwrap();
        let mounted: Vec<&str> = items.iter().map(|i| i["key"].as_str().unwrap()).collect();
        assert_eq!(mounted, keys, "{child}");
    }
}

#[test]
fn what_the_test_refers_to_is_mounted_key_by_key_where_the_worker_looks() {
    let test = fixture::test();
    let pod = object(Child::Workers)["spec"]["template"]["spec"].clone();
    let volume = pod["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|volume| volume["secret"]["secretName"] == "databricks")
        .unwrap()
        .clone();
    assert_eq!(
        volume["secret"]["items"],
        json!([{"key": "pat", "path": "pat"}])
    );
    assert_eq!(
        (
            &volume["secret"]["optional"],
            &volume["secret"]["defaultMode"]
        ),
        (&json!(true), &json!(0o444))
    );
    let mount = pod["containers"][0]["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|mount| mount["name"] == volume["name"])
        .unwrap()
        .clone();
    let plan = check(&test.spec).unwrap().plan;
    let reference = plan.references()[0];
    assert_eq!(
        format!("{}/pat", mount["mountPath"].as_str().unwrap()),
        format!("{}/{}", layout::INPUTS_DIR, layout::input_path(reference))
    );
}

#[test]
fn volumes_of_files_are_mounted_by_name_and_read_only() {
    let mut test = fixture::test();
    test.spec.workers.volumes = serde_json::from_value(json!([
        {"name": "texts", "configMap": {"name": "c"}},
        {"name": "keys", "secret": {"secretName": "s"}},
        {"name": "images", "persistentVolumeClaim": {"claimName": "p"}},
    ]))
    .unwrap();
    let fleet = fleet(&test);
    let [master, worker] = [Child::Master, Child::Workers].map(|wanted| {
        &fleet.iter().find(|(child, _)| *child == wanted).unwrap().1["spec"]["template"]["spec"]
    });
    assert!(!master.to_string().contains("files-"));
    assert_typed::<k8s_openapi::api::core::v1::PodSpec>(worker);
    let find = |list: &Value, name: &str| {
        list.as_array()
            .unwrap()
            .iter()
            .find(|item| item["name"] == name)
            .cloned()
            .unwrap()
    };
    for name in ["texts", "keys", "images"] {
        let mount = find(
            &worker["containers"][0]["volumeMounts"],
            &format!("files-{name}"),
        );
        assert_eq!(
            mount["mountPath"],
            format!("{}/files/{name}", layout::INPUTS_DIR)
        );
        assert_eq!(mount["readOnly"], true);
    }
    assert_eq!(
        find(&worker["volumes"], "files-texts")["configMap"]["optional"],
        true
    );
    assert_eq!(
        find(&worker["volumes"], "files-keys")["secret"]["secretName"],
        "s"
    );
    assert_eq!(
        find(&worker["volumes"], "files-images")["persistentVolumeClaim"],
        json!({"claimName": "p", "readOnly": true})
    );
}

#[test]
fn the_plan_reads_back_and_holds_no_secret_but_its_name() {
    let file: RunFile =
        serde_json::from_str(object(Child::Plan)["data"][RUN_FILE].as_str().unwrap()).unwrap();
    assert_eq!(
        (file.run.as_str(), file.workers, file.namespace.as_deref()),
        (RUN, 3, Some("team-a"))
    );
    assert_eq!(file.plan.references()[0].name, "databricks");
}

#[test]
fn the_job_is_sized_and_bounded() {
    let job = object(Child::Workers);
    let spec = &job["spec"];
    assert_eq!(
        (
            &spec["completions"],
            &spec["parallelism"],
            &spec["backoffLimitPerIndex"]
        ),
        (&json!(3), &json!(3), &json!(3))
    );
    // start deadline 600, deadline 10 + 30 + 600, stop timeout 30, and an hour
    assert_eq!(spec["activeDeadlineSeconds"], 600 + 640 + 30 + 3600);
    assert_eq!(
        spec["template"]["spec"]["terminationGracePeriodSeconds"],
        45
    );
    assert_eq!(object(Child::Budget)["spec"]["minAvailable"], 4);
}

#[test]
fn a_users_pod_labels_cannot_replace_ours() {
    let mut test = fixture::test();
    let labels = [
        (RUN_LABEL.to_owned(), "other".to_owned()),
        ("team".to_owned(), "ml".to_owned()),
    ]
    .into();
    test.spec.workers.pod = Some(crate::crd::spec::PodSpec {
        labels,
        ..Default::default()
    });
    let job = fleet(&test)
        .into_iter()
        .find(|(child, _)| *child == Child::Workers)
        .unwrap()
        .1;
    let labels = &job["spec"]["template"]["metadata"]["labels"];
    assert_eq!(
        (&labels[RUN_LABEL], &labels["team"]),
        (&json!(RUN), &json!("ml"))
    );
}

#[test]
fn only_a_test_that_asks_for_googles_tokens_reaches_where_they_are_given_out() {
    let rules = |test: &LoadTest| {
        let policy = fleet(test)
            .into_iter()
            .find(|(child, _)| *child == Child::Policy)
            .unwrap()
            .1;
        assert_typed::<NetworkPolicy>(&policy);
        policy["spec"]["egress"].as_array().unwrap().len()
    };
    let mut test = fixture::test();
    assert_eq!(rules(&test), 2);
    let target = json!({"url": "https://a.run.app", "auth": {"google": {"idToken": {}}}});
    test.spec.targets = serde_json::from_value(json!({"model": target})).unwrap();
    assert_eq!(rules(&test), 4);
}

#[test]
fn a_channel_whose_key_is_gone_is_an_error_before_anything_is_written() {
    let test = fixture::test();
    let run = RunStatus {
        key_id: "key-of-old".into(),
        ..run()
    };
    let create = Create::Fleet {
        run,
        children: Child::FLEET.to_vec(),
        checked: Arc::new(check(&test.spec).unwrap()),
    };
    let error = build(&test, &create, &settings(), &fixture::keys()).unwrap_err();
    assert!(error.to_string().contains("key-of-old"), "{error}");
}

/// Places of a Pod in which a Secret may be named, beside the channel's own volume.
fn places(name: &str) -> Vec<Value> {
    let from = |field: &str| json!({"name": "X", "valueFrom": {field: {"name": name, "key": "k"}}});
    vec![
        json!({"volumes": [{"name": "v", "secret": {"secretName": name}}]}),
        json!({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": name}}]}}]}),
        json!({"volumes": [{"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": name}}}]}),
        json!({"containers": [{"env": [from("secretKeyRef")]}]}),
        json!({"initContainers": [{"envFrom": [{"secretRef": {"name": name}}]}]}),
        json!({"imagePullSecrets": [{"name": name}]}),
    ]
}

#[test]
fn no_pod_is_built_that_mounts_keys_of_another_run_or_its_own_twice() {
    let test = fixture::test();
    let run = RunStatus {
        key_id: fixture::keys().current,
        ..run()
    };
    let settings = settings();
    let checked = check(&test.spec).unwrap();
    let blueprint = Blueprint {
        test: &test,
        run: &run,
        settings: &settings,
        checked: &checked,
        channel: channel_of(&test, &run, &fixture::keys()).unwrap(),
        seals: None,
    };
    let own = json!({"name": "channel", "secret": {"secretName": Child::Channel.name(RUN)}});
    let built = |spec: Value| {
        let object = json!({"spec": {"template": {"spec": [spec, {"volumes": [own]}]}}});
        blueprint.refuse_reserved_secrets(Child::Workers, &object)
    };
    for name in [
        "other-ab2cd7-channel",
        "starling-operator-key",
        &Child::Channel.name(RUN),
    ] {
        for place in places(name) {
            let error = built(place.clone()).expect_err(&place.to_string());
            assert!(error.to_string().contains(name), "{error}");
        }
    }
    for place in places("mine") {
        built(place).unwrap();
    }
}
