//! Masters and workers that die mid-run, together and alone, and fleets that never come up.

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::samples::{brief, report, with};
use crate::stage::{
    Stage, condition, eventually, is, kubeconfig, play, run, run_id, seconds, sent, status,
};

const MASTER: &str = "starling.dev/run,app.kubernetes.io/component=master";
const WORKER: &str = "starling.dev/run,app.kubernetes.io/component=worker";

/// Takes Pods away as a lost node does: at once, without a word.
fn delete_by_force(stage: &Stage, selector: &str) {
    stage.kubectl(&[
        "delete",
        "pods",
        "-l",
        selector,
        "--force",
        "--grace-period=0",
        "--wait=false",
    ]);
}

/// The run ends for want of a master, and the count stays what it was when all were dead.
async fn ends_without_second_load(stage: &Stage, name: &str) {
    // containers of Pods deleted by force get a moment to die
    tokio::time::sleep(seconds(3)).await;
    let dead = stage.count().await;
    let test = stage.finished(name).await;
    assert!(is(&test, "Errored"), "{:?}", test.status);
    assert_eq!(condition(&test, "Stalled").0, "True/MasterLost");
    assert_eq!(status(&test).runs, 1);
    assert_eq!(
        stage.stands_still("the run is lost").await,
        dead,
        "load was made after all had died"
    );
}

#[test]
fn master_and_workers_deleted_together_are_one_run_whatever_becomes_of_it() {
    play("all-deleted", async |stage| {
        stage.open(&[]).await;
        // what nobody made until both were back is missing, which is not what this test is about
        let lenient = json!({"spec": {"load": {"closed": {"maxMissing": "60%"}}}});
        stage.apply(&with(brief("lost", 40), lenient));
        stage.loaded("lost").await;
        delete_by_force(stage, "starling.dev/run");
        let test = stage.finished("lost").await;
        let count = stage.stands_still("the run is over").await;
        assert_eq!(status(&test).runs, 1);
        // A Pod deleted by force still gets a second or two. Either its worker hands the run to the
        // new master in that time, which then goes on with it, or the run is lost.
        if is(&test, "Errored") {
            assert_eq!(condition(&test, "Stalled").0, "True/MasterLost");
        } else {
            assert!(is(&test, "Succeeded"), "{:?}", test.status);
            let whole = report(stage, &test).await;
            let known = sent(&whole);
            assert!(
                known <= count && count - known <= 200,
                "{known} of {count} requests are known"
            );
            // four users that pause for 30 ms at least
            assert!(
                count <= 40 * 4 * 34,
                "{count} requests are more than one profile's load"
            );
        }
    });
}

#[test]
fn master_and_workers_killed_together_end_the_run_and_start_no_second_load() {
    play("all-killed", async |stage| {
        stage.open(&[]).await;
        stage.apply(&brief("lost", 90));
        stage.loaded("lost").await;
        let pods = [stage.pods(MASTER).await, stage.pods(WORKER).await].concat();
        assert_eq!(pods.len(), 2);
        if !kill_containers(&pods) {
            println!(
                "NOT SHOWN HERE: killing processes in Pods needs the test cluster's own ctr; Pods deleted by force stand in for it"
            );
            delete_by_force(stage, "starling.dev/run");
        }
        ends_without_second_load(stage, "lost").await;
    });
}

/// `kill -9` of every container of the Pods, where the node's containerd is at hand.
fn kill_containers(pods: &[Pod]) -> bool {
    let socket = kubeconfig()
        .parent()
        .map(|run| run.join("node-1/containerd.sock"))
        .filter(|socket| socket.exists());
    let Some(socket) = socket else { return false };
    let statuses = pods
        .iter()
        .filter_map(|pod| pod.status.as_ref())
        .flat_map(|status| status.container_statuses.iter().flatten());
    let ids: Vec<String> = statuses
        .filter_map(|container| {
            container
                .container_id
                .as_ref()?
                .split_once("://")
                .map(|(_, id)| id.to_owned())
        })
        .collect();
    assert_eq!(ids.len(), pods.len());
    for id in ids {
        let said = run(
            "ctr",
            &[
                "--address",
                &socket.to_string_lossy(),
                "-n",
                "k8s.io",
                "tasks",
                "kill",
                "-s",
                "SIGKILL",
                &id,
            ],
            None,
        );
        assert!(said.ok, "{}", said.text);
    }
    true
}

#[test]
fn a_master_pod_lost_alone_is_replaced_and_the_result_is_whole() {
    play("master-lost", async |stage| {
        stage.open(&[]).await;
        stage.apply(&brief("going-on", 20));
        let before = stage.loaded("going-on").await;
        let first = status(&before)
            .run
            .and_then(|run| run.master)
            .expect("a master holds the grant");
        delete_by_force(stage, MASTER);
        let taken_over = |test: &starling::crd::LoadTest| {
            status(test)
                .run
                .and_then(|run| run.master)
                .is_some_and(|master| master.epoch == first.epoch + 1)
        };
        let after = stage
            .until("going-on", "has a second master", seconds(40), taken_over)
            .await;
        assert_eq!(run_id(&after), run_id(&before));

        let test = stage.finished("going-on").await;
        assert!(is(&test, "Succeeded"), "{:?}", test.status);
        assert_ne!(
            status(&test)
                .run
                .and_then(|run| run.master)
                .expect("a master")
                .incarnation,
            first.incarnation
        );
        assert_eq!(
            sent(&report(stage, &test).await),
            stage.stands_still("the run is over").await
        );
        assert_eq!(status(&test).runs, 1);
    });
}

#[test]
fn a_master_process_killed_alone_comes_back_and_the_result_is_whole() {
    play("master-killed", async |stage| {
        stage.open(&[]).await;
        stage.apply(&brief("going-on", 12));
        stage.loaded("going-on").await;
        if !kill_containers(&stage.pods(MASTER).await) {
            println!("NOT SHOWN HERE: killing processes in Pods needs the test cluster's own ctr");
        }
        let test = stage.finished("going-on").await;
        assert!(is(&test, "Succeeded"), "{:?}", test.status);
        assert_eq!(
            sent(&report(stage, &test).await),
            stage.stands_still("the run is over").await
        );
    });
}

#[test]
fn a_worker_pod_deleted_alone_hands_over_what_it_measured_and_is_replaced() {
    play("worker-deleted", async |stage| {
        stage.open(&[]).await;
        stage.apply(&with(
            brief("replaced", 35),
            // until the replacement is there, half of the users are missing
            json!({"spec": {"workers": {"replicas": 2}, "load": {"closed": {"maxMissing": "60%"}}}}),
        ));
        stage.loaded("replaced").await;
        let victim = stage
            .pods(WORKER)
            .await
            .into_iter()
            .next()
            .and_then(|pod| pod.metadata.name)
            .expect("a worker");
        stage.kubectl(&["delete", "pod", &victim, "--wait=false"]);
        let test = stage.finished("replaced").await;
        assert!(is(&test, "Succeeded"), "{:?}", test.status);
        let whole = report(stage, &test).await;
        assert_eq!(
            (
                whole.workers.planned,
                whole.workers.lost,
                whole.workers.rejoined
            ),
            (2, 0, 1)
        );
        assert_eq!(
            sent(&whole),
            stage.stands_still("the run is over").await,
            "nothing it measured is lost"
        );
        assert_eq!(status(&test).runs, 1);
    });
}

#[test]
fn a_worker_process_killed_alone_is_told_as_lost_and_little_of_its_count_is_missing() {
    play("worker-killed", async |stage| {
        stage.open(&[]).await;
        stage.apply(&with(
            brief("degraded", 12),
            json!({"spec": {"workers": {"replicas": 2}}}),
        ));
        stage.loaded("degraded").await;
        let victims = stage.pods(WORKER).await;
        if !kill_containers(&victims[..1]) {
            return println!(
                "NOT SHOWN HERE: killing processes in Pods needs the test cluster's own ctr"
            );
        }
        let test = stage.finished("degraded").await;
        let whole = report(stage, &test).await;
        let counted = stage.stands_still("the run is over").await;
        assert_eq!((whole.workers.planned, whole.workers.lost), (2, 1));
        assert!(
            whole
                .warnings
                .iter()
                .any(|warning| warning.contains("lost")),
            "{:?}",
            whole.warnings
        );
        assert_eq!(status(&test).results.expect("results").workers.lost, 1);
        // what it sent after its last snapshot, nobody knows: of 50 requests per second two
        // seconds' worth at most
        let known = sent(&whole);
        assert!(
            known <= counted && counted - known <= 100,
            "{known} of {counted} requests are known"
        );
        assert_eq!(status(&test).runs, 1);
    });
}

#[test]
fn an_image_that_cannot_be_pulled_ends_the_run_with_the_reason() {
    play("no-image", async |stage| {
        let operator = stage.open(&[]).await;
        // its own Pod keeps the true image, its children are given another
        let args = stage.kubectl(&[
            "get",
            "deployment",
            &operator.name(),
            "-o",
            "jsonpath={.spec.template.spec.containers[0].args}",
        ]);
        let args: Vec<String> = serde_json::from_str(&args).expect("a list");
        let other = |arg: String| {
            if arg.starts_with("--image=") {
                "--image=starling.invalid/nowhere:1".to_owned()
            } else {
                arg
            }
        };
        let args: Vec<String> = args.into_iter().map(other).collect();
        let patch = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": args}]);
        stage.kubectl(&[
            "patch",
            "deployment",
            &operator.name(),
            "--type=json",
            "-p",
            &patch.to_string(),
        ]);
        stage.kubectl(&[
            "rollout",
            "status",
            "deployment",
            &operator.name(),
            "--timeout=60s",
        ]);
        stage.apply(&with(
            brief("unpulled", 2),
            json!({"spec": {"workers": {"startDeadline": "20s"}}}),
        ));
        let test = stage.finished("unpulled").await;
        assert!(is(&test, "Errored"), "{:?}", test.status);
        let (stalled, message) = condition(&test, "Stalled");
        assert!(stalled.contains("Image"), "{stalled}: {message}");
        assert!(
            message.contains("starling.invalid/nowhere:1") || message.contains("ImagePull"),
            "{message}"
        );
        assert_eq!(stage.count().await, 0);
    });
}

#[test]
fn workers_that_fit_on_no_node_end_the_run_with_the_schedulers_reason() {
    play("no-room", async |stage| {
        stage.open(&[]).await;
        let huge =
            json!({"spec": {"workers": {"startDeadline": "15s", "resources": {"cpu": "1000"}}}});
        stage.apply(&with(brief("huge", 2), huge));
        let test = stage.finished("huge").await;
        assert!(is(&test, "Errored"), "{:?}", test.status);
        let (stalled, message) = condition(&test, "Stalled");
        assert!(stalled.contains("Unschedulable"), "{stalled}: {message}");
        assert!(
            message.contains("Insufficient cpu"),
            "the scheduler's words: {message}"
        );
        assert_eq!(stage.count().await, 0);
        eventually(
            "nothing waits for a node any more",
            seconds(30),
            async || match stage.pods(WORKER).await.len() {
                0 => Ok(()),
                left => Err(format!("{left} worker Pods")),
            },
        )
        .await;
    });
}
