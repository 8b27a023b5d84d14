//! Nothing is believed by its labels: objects that a neighbour made, reports that a neighbour wrote,
//! and plans that were exchanged change no verdict and reach no load.

use std::io::Write;

use data_encoding::{BASE32_NOPAD, BASE64};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use starling::crd::LoadTest;

use crate::samples::{brief, report, vanishing};
use crate::stage::{
    Operator, Stage, condition, eventually, is, is_finished, play, run_id, seconds, sent, status,
};

/// Metadata as the operator gives it to a child, but for the seal: labels and owner can be copied by
/// anybody.
fn metadata(test: &LoadTest, run: &str, name: &str, component: &str) -> Value {
    let uid = test.uid().expect("a UID");
    json!({
        "name": name,
        "labels": {
            "app.kubernetes.io/name": "starling",
            "app.kubernetes.io/part-of": "starling",
            "app.kubernetes.io/managed-by": "starling",
            "app.kubernetes.io/component": component,
            "starling.dev/run": run,
            "starling.dev/loadtest": test.name_any(),
            "starling.dev/uid": uid,
        },
        "ownerReferences": [{
            "apiVersion": "starling.dev/v1alpha1",
            "kind": "LoadTest",
            "name": test.name_any(),
            "uid": uid,
            "controller": true,
            "blockOwnerDeletion": true,
        }],
    })
}

/// One object of each kind that a run needs, with the metadata of the run's own.
fn impostor(kind: &str, test: &LoadTest, run: &str) -> Value {
    let container = json!({
        "name": "c",
        "image": "impostor:none",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    });
    let pod = json!({
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    });
    let template = |pod: &Value| json!({"metadata": {"labels": {"a": "b"}}, "spec": pod});
    let mut forever = pod.clone();
    forever["restartPolicy"] = json!("Always");
    let (version, kind, role, component, fields) = match kind {
        "plan" => (
            "v1",
            "ConfigMap",
            "plan",
            "plan",
            json!({"immutable": true, "data": {"run.json": "{}"}}),
        ),
        "channel" => (
            "v1",
            "Secret",
            "channel",
            "channel",
            json!({"stringData": {"ca.crt": "theirs"}}),
        ),
        "policy" => (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "fleet",
            "fleet",
            json!({"spec": {"podSelector": {}}}),
        ),
        "service" => (
            "v1",
            "Service",
            "master",
            "master",
            json!({"spec": {"ports": [{"port": 8443}]}}),
        ),
        "master" => (
            "apps/v1",
            "Deployment",
            "master",
            "master",
            json!({"spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template(&forever)}}),
        ),
        "budget" => (
            "policy/v1",
            "PodDisruptionBudget",
            "fleet",
            "fleet",
            json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}}),
        ),
        "workers" => (
            "batch/v1",
            "Job",
            "workers",
            "worker",
            json!({"spec": {"suspend": true, "template": {"spec": pod}}}),
        ),
        other => panic!("{other} is no child"),
    };
    let mut object = json!({"apiVersion": version, "kind": kind});
    object["metadata"] = metadata(test, run, &format!("{run}-{role}"), component);
    if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
    object
}

async fn begun(stage: &Stage, name: &str) -> LoadTest {
    stage
        .until(name, "has a run", seconds(60), |test| {
            !run_id(test).is_empty()
        })
        .await
}

/// The operator may make no ConfigMap, hence no plan, until the quota is gone: time for a neighbour
/// who has read the run's id in the status.
fn hold_back_plans(stage: &Stage) {
    stage.apply(&json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "no-plans"},
        "spec": {"hard": {"count/configmaps": "0"}},
    }));
}

#[test]
fn an_object_in_the_way_of_any_kind_ends_the_run_before_any_load() {
    play("foreign", async |stage| {
        stage.open(&[]).await;
        hold_back_plans(stage);
        let kinds = [
            "channel", "policy", "service", "master", "budget", "workers",
        ];
        for kind in kinds {
            stage.apply(&vanishing(brief(kind, 3)));
            let test = begun(stage, kind).await;
            stage.apply(&impostor(kind, &test, &run_id(&test)));
        }
        stage.kubectl(&["delete", "resourcequota", "no-plans"]);
        for kind in kinds {
            let test = stage.finished(kind).await;
            assert!(is(&test, "Errored"), "{kind}: {:?}", test.status);
            let (stalled, message) = condition(&test, "Stalled");
            assert_eq!(stalled, "True/ForeignChild", "{kind}: {message}");
            assert!(message.contains(&run_id(&test)), "{message}");
            assert_eq!(status(&test).run.expect("a run").started_at, None, "{kind}");
        }
        assert_eq!(stage.count().await, 0, "no request was sent");
    });
}

/// An operator that is killed each time before `write`, and the LoadTest whose run stands there.
async fn held_before(
    stage: &Stage,
    write: &str,
    name: &str,
    duration: u32,
) -> (Operator, LoadTest) {
    stage.deploy_service(&[]);
    let hook = [
        "extraEnv[0].name=STARLING_KILL_AFTER".to_owned(),
        format!("extraEnv[0].value=before:{write}"),
    ];
    let operator = Operator::install(stage, &[&hook[0], &hook[1]]);
    stage.service_ready();
    stage.apply(&brief(name, duration));
    let test = begun(stage, name).await;
    (operator, test)
}

#[test]
fn a_plan_made_once_the_id_is_known_is_not_taken_for_the_runs_own() {
    play("foreign-plan", async |stage| {
        let (operator, test) = held_before(stage, "W2", "raced", 3).await;
        stage.apply(&impostor("plan", &test, &run_id(&test)));
        operator.upgrade(&[]);
        let test = stage.finished("raced").await;
        assert!(is(&test, "Errored"), "{:?}", test.status);
        assert_eq!(condition(&test, "Stalled").0, "True/ForeignChild");
        assert_eq!(stage.count().await, 0);
        // the impostor is left alone, and the next run has other names
        let plan = format!("{}-plan", run_id(&test));
        stage.kubectl(&["get", "configmap", &plan]);
        stage.rerun("raced", "2");
        stage
            .until("raced", "begins again", seconds(60), |test| {
                status(test).runs == 2
            })
            .await;
        assert!(is(&stage.finished("raced").await, "Succeeded"));
    });
}

/// Whoever could make ConfigMaps computed the id of the next run, made its plan beforehand, and had
/// the target's token sent to a server of his own; the run `Succeeded`.
#[test]
fn a_plan_forged_for_the_next_run_is_never_met() {
    play("forged-plan", async |stage| {
        stage.open(&[]).await;
        stage.deploy_service_as("theirs", &[]);
        stage.ready("theirs");
        let held = json!({"spec": {"run": {"suspend": true}}});
        stage.apply(&crate::samples::with(brief("next", 3), held));
        let test = stage
            .until("next", "is held", seconds(30), |test| is(test, "Suspended"))
            .await;
        let uid = test.uid().expect("a UID");
        let hash = BASE32_NOPAD.encode(&Sha256::digest(format!("{uid}/1")));
        let predicted = format!("next-{}", hash[..6].to_ascii_lowercase());
        stage.apply(&impostor("plan", &test, &predicted));
        stage
            .patch("next", json!({"spec": {"run": {"suspend": false}}}))
            .await;
        let test = stage.finished("next").await;
        assert!(is(&test, "Succeeded"), "{:?}", test.status);
        assert_ne!(run_id(&test), predicted);
        assert_eq!(sent(&report(stage, &test).await), stage.count().await);
        assert_eq!(stage.counts("theirs").await["total"], 0);
    });
}

/// A plan that says nothing of who changed it: labels, owner and seal are those of the one it takes
/// the place of.
#[test]
fn a_plan_that_was_exchanged_ends_the_run_before_any_load() {
    play("exchanged", async |stage| {
        stage.deploy_service(&[]);
        Operator::install(stage, &[]);
        stage.service_ready();
        // everything but the workers is made
        stage.apply(&json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "no-jobs"},
            "spec": {"hard": {"count/jobs.batch": "0"}},
        }));
        stage.apply(&brief("exchanged", 3));
        stage
            .until("exchanged", "waits for its Job", seconds(60), |test| {
                condition(test, "Reconciling").0 == "True/QuotaExceeded"
            })
            .await;
        let test = stage.test("exchanged").await;
        let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), &stage.namespace);
        let name = format!("{}-plan", run_id(&test));
        let mut plan = maps.get(&name).await.expect("the plan");
        maps.delete(&name, &DeleteParams::default())
            .await
            .expect("a deletion");
        let data = plan.data.get_or_insert_default();
        let text = data
            .get("run.json")
            .expect("run.json")
            .replace("/predict", "/stolen");
        data.insert("run.json".into(), text);
        forge(&maps, plan).await;
        stage.kubectl(&["delete", "resourcequota", "no-jobs"]);
        let test = stage.finished("exchanged").await;
        assert!(is(&test, "Errored"), "{:?}", test.status);
        assert_eq!(condition(&test, "Stalled").0, "True/ForeignChild");
        assert_eq!(stage.count().await, 0);
    });
}

/// Makes an object again that was read, with whatever was changed in it.
async fn forge(maps: &Api<ConfigMap>, mut map: ConfigMap) {
    map.metadata.resource_version = None;
    map.metadata.uid = None;
    map.metadata.creation_timestamp = None;
    map.metadata.managed_fields = None;
    maps.create(&PostParams::default(), &map)
        .await
        .expect("the forgery is made");
}

fn gzip(json: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(json).expect("memory takes it");
    gzip.finish().expect("memory takes it")
}

/// The result of a run that never was, in the form in which the operator stores one.
fn forged_result(test: &LoadTest, run: &str) -> Value {
    let latency = json!({
        "min": 1, "mean": 1.0, "p50": 1, "p90": 1, "p95": 1, "p99": 1, "p999": 1, "max": 1,
    });
    json!({
        "schemaVersion": "1", "run": run, "name": test.name_any(), "namespace": test.namespace(),
        "target": "http://sample-service:8000", "digest": "d", "plan": {}, "seed": 1,
        "overrides": [], "startedAt": "2026-11-22T01:00:00Z",
        "finishedAt": "2026-11-22T01:00:00Z", "durationMicros": 1,
        "verdict": "Passed", "reason": "NoThresholds", "message": "",
        "totals": {
            "requests": 123_456_789, "failures": 0, "failureRate": 0.0, "interrupted": 0,
            "unsent": 0, "iterations": 1, "dropped": 0, "connects": 1, "rps": 1.0,
            "requestedRate": null, "achievedRate": 1.0, "sentBytes": 1, "receivedBytes": 1,
            "latency": latency, "serviceTime": latency,
        },
        "steps": [], "errors": [], "thresholds": [],
        "generator": {"saturated": false, "cpu": 0.5, "scheduleLagP99": 80, "startSkewMicros": 1},
    })
}

/// A forged `<run>-report` made a run `Succeeded` with 123,456,789 requests of 241.
#[test]
fn a_forged_report_changes_no_verdict() {
    play("forged-report", async |stage| {
        stage.open(&[]).await;
        stage.apply(&brief("honest", 8));
        let test = stage.loaded("honest").await;
        let run = run_id(&test);
        let packed = gzip(forged_result(&test, &run).to_string().as_bytes());
        // under the name that reports had, and under one with a guess at its end
        for name in [
            format!("{run}-report"),
            format!("{run}-report-aaaaaaaaaaaa"),
        ] {
            let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true});
            map["metadata"] = metadata(&test, &run, &name, "report");
            map["binaryData"] = json!({"result.json.gz": BASE64.encode(&packed)});
            stage.apply(&map);
        }
        let test = stage.finished("honest").await;
        assert!(is(&test, "Succeeded"), "{:?}", test.status);
        let whole = report(stage, &test).await;
        assert!(whole.totals.requests < 100_000, "{:?}", whole.totals);
        assert_eq!(sent(&whole), stage.stands_still("the run is over").await);
    });
}

/// A report of 171 KB blew up to 4 GiB in the operator. This one takes the very name and seal of the
/// run's own, which nobody can know before it is there.
#[test]
fn a_report_that_was_exchanged_is_not_unpacked_and_changes_no_verdict() {
    play("bomb", async |stage| {
        let (operator, test) = held_before(stage, "W11", "bombed", 4).await;
        let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), &stage.namespace);
        let prefix = format!("{}-report-", run_id(&test));
        let mut stored = eventually("the report is stored", seconds(90), async || {
            let all = maps.list(&Default::default()).await.expect("a list");
            let found = all
                .items
                .into_iter()
                .find(|map| map.name_any().starts_with(&prefix));
            found.ok_or_else(|| "none".to_owned())
        })
        .await;
        let name = stored.name_any();
        maps.delete(&name, &DeleteParams::default())
            .await
            .expect("a deletion");
        let steps = "{},".repeat(6_000_000);
        let bomb = gzip(format!("{{\"steps\": [{steps}{{}}]}}").as_bytes());
        assert!(bomb.len() < 100_000, "{}", bomb.len());
        let data = stored.binary_data.get_or_insert_default();
        data.insert("result.json.gz".into(), k8s_openapi::ByteString(bomb));
        forge(&maps, stored).await;
        operator.upgrade(&[]);
        let test = stage
            .until("bombed", "finishes", seconds(120), is_finished)
            .await;
        assert!(is(&test, "Succeeded"), "{:?}", test.status);
        assert_eq!(
            status(&test).report_ref,
            None,
            "the run's own could not be stored"
        );
        let results = status(&test).results.expect("the master's results");
        let count = stage.stands_still("the run is over").await;
        assert!(
            results.requests > 0 && results.requests <= count,
            "{} of {count}",
            results.requests
        );
        let pods = stage.pods(&operator.selector()).await;
        let restarts = pods
            .iter()
            .filter_map(|pod| pod.status.as_ref())
            .flat_map(|status| status.container_statuses.iter().flatten())
            .map(|container| container.restart_count)
            .sum::<i32>();
        assert_eq!(restarts, 0, "the operator did not die of it");
    });
}

#[test]
fn the_lease_of_an_installation_goes_when_no_run_has_needed_it_for_a_while() {
    play("lease-idle", async |stage| {
        stage.open(&[]).await;
        stage.apply(&brief("once", 4));
        let begun = status(&stage.loaded("once").await).run;
        let lease = begun.and_then(|run| run.lease);
        let lease = lease.expect("the Lease of the installation");
        stage.kubectl(&["get", "lease", &lease]);
        stage.finished("once").await;
        eventually("the Lease is gone", seconds(180), async || {
            match stage.try_kubectl(&["get", "lease", &lease], None) {
                there if there.ok => Err(there.text),
                _ => Ok(()),
            }
        })
        .await;
    });
}

/// `Running 17%` for ever after an uninstall, Pods still up, reruns ignored in silence.
#[test]
fn a_run_whose_installation_is_gone_is_ended_by_the_one_that_now_watches_it() {
    play("installation-gone", async |stage| {
        let other = stage.neighbour("other-operator");
        let args = "extraArgs[0]=--lease-duration=20s";
        let first = Operator::in_namespace(&other, &[stage], &[args]);
        stage.deploy_service(&[]);
        stage.service_ready();
        stage.apply(&brief("left", 280));
        let test = stage.loaded("left").await;
        let begun = status(&test).run.expect("a run");
        let lease = begun.lease.expect("the Lease of the installation");
        stage.kubectl(&["get", "lease", &lease]);
        let said = crate::stage::helm(&[
            "uninstall",
            &first.release,
            "--namespace",
            &first.namespace,
            "--wait",
        ]);
        assert!(said.ok, "{}", said.text);
        Operator::install(stage, &[args]);
        let owner = begun.installation;
        stage
            .until("left", "says who owns its run", seconds(60), |test| {
                let (reason, message) = condition(test, "Reconciling");
                reason == "True/OtherInstallation" && message.contains(&owner)
            })
            .await;
        let test = stage.finished("left").await;
        assert!(is(&test, "Errored"), "{:?}", test.status);
        assert_eq!(condition(&test, "Stalled").0, "True/InstallationGone");
        eventually("nothing is left", seconds(60), async || {
            match stage.children().as_slice() {
                [] => Ok(()),
                children => Err(format!("{children:?}")),
            }
        })
        .await;
        stage.stands_still("the run is ended").await;
        stage
            .patch(
                "left",
                json!({"spec": {"load": crate::samples::closed(2, 2)}}),
            )
            .await;
        stage
            .until(
                "left",
                "runs under the installation that is there",
                seconds(90),
                |test| is(test, "Succeeded"),
            )
            .await;
    });
}
