//! A run that finds no room takes the place of masters of ended runs, and their reports are still
//! there.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::samples::{brief, report, with};
use crate::stage::{Stage, eventually, is, play_alone, run, run_id, seconds, sent};

/// Milli-CPUs that the scheduler has left on the node with the most of them.
async fn free_cpu(stage: &Stage) -> i64 {
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let pods: Api<Pod> = Api::all(stage.client.clone());
    let nodes = nodes.list(&ListParams::default()).await.expect("nodes");
    let pods = pods.list(&ListParams::default()).await.expect("Pods");
    let free = nodes.items.iter().map(|node| {
        let name = node.metadata.name.clone();
        let all = node
            .status
            .as_ref()
            .and_then(|status| status.allocatable.as_ref())
            .and_then(|amounts| amounts.get("cpu"))
            .map_or(0, |cpu| millis(&cpu.0));
        let taken: i64 = pods
            .items
            .iter()
            .filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name == name))
            .filter(|pod| {
                let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
                !matches!(phase.as_deref(), Some("Succeeded" | "Failed"))
            })
            .flat_map(|pod| pod.spec.iter().flat_map(|spec| &spec.containers))
            .filter_map(|container| container.resources.as_ref()?.requests.as_ref()?.get("cpu"))
            .map(|cpu| millis(&cpu.0))
            .sum();
        all - taken
    });
    free.max().expect("a node")
}

/// Milli-CPUs left once the Pods of earlier tests are gone, which would give theirs back later.
async fn settled_free_cpu(stage: &Stage) -> i64 {
    let pods: Api<Pod> = Api::all(stage.client.clone());
    eventually("no Pod is about to go", seconds(120), async || {
        let pods = pods.list(&ListParams::default()).await.expect("Pods");
        let going = pods
            .items
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_some())
            .count();
        match going {
            0 => Ok(()),
            going => Err(format!("{going} are")),
        }
    })
    .await;
    free_cpu(stage).await
}

fn millis(cpu: &str) -> i64 {
    match cpu.strip_suffix('m') {
        Some(millis) => millis.parse().expect("a number"),
        None => (cpu.parse::<f64>().expect("a number") * 1000.0) as i64,
    }
}

#[test]
fn a_run_without_room_takes_the_place_of_a_finished_master() {
    play_alone("room", async |stage| {
        stage.open(&[]).await;
        stage.apply(&brief("first", 3));
        let first = stage.finished("first").await;
        assert!(is(&first, "Succeeded"), "{:?}", first.status);
        let master = format!(
            "starling.dev/run={},app.kubernetes.io/component=master",
            run_id(&first)
        );
        assert_eq!(stage.pods(&master).await.len(), 1, "its master is kept");

        // its own master and a worker that fits only where the other master is
        let cpu = format!("{}m", settled_free_cpu(stage).await - 50);
        let large = json!({"spec": {"workers": {"resources": {"cpu": cpu, "memory": "64Mi"}}}});
        stage.apply(&with(brief("second", 3), large));
        let second = stage.finished("second").await;
        assert!(is(&second, "Succeeded"), "{:?}", second.status);
        assert_eq!(stage.pods(&master).await.len(), 0, "it gave way");

        let whole = report(stage, &first).await;
        let program = env!("CARGO_BIN_EXE_starling");
        let namespace = stage.namespace.as_str();
        let shown = run(
            program,
            &["report", "first", "-n", namespace, "-o", "json"],
            None,
        );
        assert!(shown.ok, "{}", shown.text);
        let json: Value = serde_json::from_str(&shown.text).expect("JSON");
        assert_eq!(json["run"], whole.run);
        assert_eq!(json["totals"]["requests"], sent(&whole));
        let shown = run(program, &["report", "first", "-n", namespace], None);
        assert!(shown.ok && shown.text.contains("PASSED"), "{}", shown.text);
        let none = run(program, &["report", "nothing", "-n", namespace], None);
        assert!(
            !none.ok && none.text.contains("there is no LoadTest"),
            "{}",
            none.text
        );
    });
}
