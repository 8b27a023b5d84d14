//! Nodes that are powered off: one that has workers, one that has the master. Each test takes a
//! node away for good, so that each needs a cluster of its own: `make nodes`.

use serde_json::json;

use crate::samples::{brief, report, with};
use crate::stage::{Stage, eventually, is, is_finished, play_within, root, seconds, sent, status};

/// The second node, which is powered off, and the first one.
const LOST: &str = "node-2";
const KEPT: &str = "node-1";

const WORKERS: &str = "starling.dev/run,app.kubernetes.io/component=worker";

/// Whether the cluster is the suite's own and has a second node to lose.
fn has_two_nodes(stage: &Stage) -> bool {
    let ours = crate::faults::local::program().is_some();
    let nodes = stage.kubectl(&["get", "nodes", "-o", "name"]);
    let are_two = nodes.lines().count() == 2;
    if !(ours && are_two) {
        println!("NOT SHOWN HERE: powering a node off needs the suite's own cluster with NODES=2");
    }
    ours && are_two
}

/// Powers the second node off: its kubelet and every container on it.
fn power_off() {
    let script = root().join("tests/cluster/cluster.sh");
    let said = std::process::Command::new(script)
        .args(["node-kill", "2"])
        .env(
            "STARLING_CLUSTER",
            std::env::var("STARLING_CLUSTER").unwrap_or("starling-test".into()),
        )
        .output()
        .expect("the cluster's script");
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
}

fn on(node: &str) -> serde_json::Value {
    json!({"nodeSelector": {"kubernetes.io/hostname": node}})
}

/// Lets new Pods go to this node alone.
fn cordon_all_but(stage: &Stage, node: &str) {
    for other in [KEPT, LOST].into_iter().filter(|other| *other != node) {
        stage.kubectl(&["cordon", other]);
    }
    stage.kubectl(&["uncordon", node]);
}

/// Waits until the Pods that play this part in runs are on these nodes.
async fn until_on(stage: &Stage, component: &str, nodes: &[&str]) {
    let selector = format!("starling.dev/run,app.kubernetes.io/component={component}");
    eventually(
        &format!("{component}: {nodes:?}"),
        seconds(90),
        async || {
            let pods = stage.pods(&selector).await;
            let alive = pods
                .into_iter()
                .filter(|pod| pod.metadata.deletion_timestamp.is_none());
            let mut found: Vec<String> = alive.filter_map(|pod| pod.spec?.node_name).collect();
            found.sort();
            match found == nodes {
                true => Ok(()),
                false => Err(format!("{found:?}")),
            }
        },
    )
    .await;
}

#[test]
fn workers_on_a_node_that_is_powered_off_are_told_and_the_run_ends_with_a_verdict() {
    play_within("node-of-workers", seconds(600), async |stage| {
        if !has_two_nodes(stage) {
            return;
        }
        // operator and service stay on the first node
        stage.kubectl(&["cordon", LOST]);
        stage.open(&[]).await;
        cordon_all_but(stage, LOST);
        stage.apply(&with(
            brief("halved", 60),
            json!({"spec": {
                "workers": {"replicas": 2, "grace": "10s"},
                "master": {"pod": on(KEPT)},
                "load": {"closed": {"maxMissing": "100%"}},
            }}),
        ));
        until_on(stage, "worker", &[LOST, LOST]).await;
        // one of them is made anew on the other node, before there is a master
        stage.kubectl(&["cordon", LOST]);
        let pods = stage.pods(WORKERS).await;
        let first = pods[0].metadata.name.clone().expect("a name");
        stage.kubectl(&["delete", "pod", &first]);
        cordon_all_but(stage, KEPT);
        until_on(stage, "worker", &[KEPT, LOST]).await;
        stage.loaded("halved").await;
        power_off();
        let test = stage
            .until("halved", "ends", seconds(400), is_finished)
            .await;
        assert!(is(&test, "Succeeded"), "{:?}", test.status);
        assert_eq!(status(&test).runs, 1);
        let whole = report(stage, &test).await;
        assert_eq!((whole.workers.planned, whole.workers.lost), (2, 1));
        let (known, count) = (sent(&whole), stage.stands_still("the run is over").await);
        // what the dead worker sent after its last report, nobody knows
        assert!(known <= count && count - known <= 150, "{known} of {count}");
        // four users that pause for 30 ms at least
        assert!(
            count <= 60 * 4 * 34,
            "{count} requests are more than the profile's"
        );
    });
}

#[test]
fn a_master_on_a_node_that_is_powered_off_is_replaced_and_its_workers_carry_the_run_on() {
    play_within("node-of-master", seconds(600), async |stage| {
        if !has_two_nodes(stage) {
            return;
        }
        stage.kubectl(&["cordon", LOST]);
        stage.open(&[]).await;
        cordon_all_but(stage, LOST);
        let workers = json!({"spec": {"workers": {"pod": on(KEPT)}}});
        stage.apply(&with(brief("headless", 120), workers));
        until_on(stage, "master", &[LOST]).await;
        stage.kubectl(&["uncordon", KEPT]);
        let before = stage.loaded("headless").await;
        power_off();
        let epoch = |test: &starling::crd::LoadTest| {
            status(test)
                .run
                .and_then(|run| run.master)
                .map(|master| master.epoch)
        };
        eventually("another master has the run", seconds(150), async || {
            let test = stage.test("headless").await;
            match epoch(&test) > epoch(&before) {
                true => Ok(()),
                false => Err(format!("{:?}", status(&test).run)),
            }
        })
        .await;
        let test = stage
            .until("headless", "ends", seconds(300), is_finished)
            .await;
        assert!(is(&test, "Succeeded"), "{:?}", test.status);
        assert_eq!(status(&test).runs, 1);
        assert_eq!(
            sent(&report(stage, &test).await),
            stage.stands_still("the run is over").await
        );
    });
}
