//! A run that finds no room takes the place of masters of ended runs, and their reports are still
//! there.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::samples::{brief, report, with};
use crate::stage::{Stage, eventually, is, play_alone, run, run_id, seconds, sent};

/// Milli-CPUs that the scheduler has left on a node.
async fn free_cpu(stage: &Stage, node: &str) -> i64 {
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let pods: Api<Pod> = Api::all(stage.client.clone());
    let status = nodes.get(node).await.expect("the node").status;
    let all = status
        .as_ref()
        .and_then(|status| status.allocatable.as_ref())
        .and_then(|amounts| amounts.get("cpu"))
        .map_or(0, |cpu| millis(&cpu.0));
    let here = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = pods.list(&here).await.expect("Pods");
    let taken: i64 = pods
        .items
        .iter()
        .filter(|pod| !has_ended(pod))
        .flat_map(|pod| pod.spec.iter().flat_map(|spec| &spec.containers))
        .filter_map(|container| container.resources.as_ref()?.requests.as_ref()?.get("cpu"))
        .map(|cpu| millis(&cpu.0))
        .sum();
    all - taken
}

/// Name of a node.
async fn any_node(stage: &Stage) -> String {
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let nodes = nodes.list(&ListParams::default()).await.expect("nodes");
    let first = nodes.items.into_iter().next().expect("a node");
    first.metadata.name.expect("a name")
}

/// Milli-CPUs left once all Pods that are about to end or to go have, which would give theirs back
/// later: those of earlier tests, and workers of runs that have ended.
async fn settled_free_cpu(stage: &Stage, node: &str) -> i64 {
    let pods: Api<Pod> = Api::all(stage.client.clone());
    eventually("no Pod is about to go", seconds(120), async || {
        let pods = pods.list(&ListParams::default()).await.expect("Pods");
        let going: Vec<_> = pods
            .items
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_some() || is_worker_at_work(pod))
            .map(|pod| (&pod.metadata.namespace, &pod.metadata.name))
            .collect();
        match going.is_empty() {
            true => Ok(()),
            false => Err(format!("{going:?} are")),
        }
    })
    .await;
    free_cpu(stage, node).await
}

fn is_worker_at_work(pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let component = labels.and_then(|labels| labels.get("app.kubernetes.io/component"));
    component.is_some_and(|component| component == "worker") && !has_ended(pod)
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
    matches!(phase.as_deref(), Some("Succeeded" | "Failed"))
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
        // the scheduler would find room on another
        let node = any_node(stage).await;
        let here = json!({"nodeSelector": {"kubernetes.io/hostname": node}});
        let here = json!({"spec": {"workers": {"pod": here}, "master": {"pod": here}}});
        stage.apply(&with(brief("first", 3), here.clone()));
        let first = stage.finished("first").await;
        assert!(is(&first, "Succeeded"), "{:?}", first.status);
        let master = format!(
            "starling.dev/run={},app.kubernetes.io/component=master",
            run_id(&first)
        );
        assert_eq!(stage.pods(&master).await.len(), 1, "its master is kept");

        // beside its own master the worker fits only where the other master is
        let cpu = format!("{}m", settled_free_cpu(stage, &node).await - 50);
        let large = json!({"spec": {"workers": {"resources": {"cpu": cpu, "memory": "64Mi"}}}});
        stage.apply(&with(with(brief("second", 3), here), large));
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
