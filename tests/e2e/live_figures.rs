//! What a status says of a run whose parts die or fall silent.

use serde_json::json;

use crate::samples::{brief, closed, with};
use crate::stage::{Stage, condition, eventually, kubeconfig, play, run, seconds, status};

const MASTER: &str = "starling.dev/run,app.kubernetes.io/component=master";

/// Sends a signal to the processes of the run's master, where the node's containerd is at hand.
async fn signal_master(stage: &Stage, signal: &str) -> bool {
    let socket = kubeconfig()
        .parent()
        .map(|run| run.join("node-1/containerd.sock"))
        .filter(|socket| socket.exists());
    let Some(socket) = socket else { return false };
    let pods = stage.pods(MASTER).await;
    let containers = pods
        .iter()
        .filter_map(|pod| pod.status.as_ref())
        .flat_map(|status| status.container_statuses.iter().flatten());
    for container in containers {
        let id = container.container_id.as_deref().unwrap_or_default();
        let id = id.split_once("://").map_or("", |(_, id)| id);
        let address = socket.to_string_lossy();
        let args = ["--address", address.as_ref(), "-n", "k8s.io", "tasks"];
        let said = run(
            "ctr",
            &[&args[..], &["kill", "-s", signal, id][..]].concat(),
            None,
        );
        assert!(said.ok, "{}", said.text);
    }
    !pods.is_empty()
}

#[test]
fn figures_of_a_master_that_has_fallen_silent_are_shown_as_stale() {
    play("stale", async |stage| {
        stage.open(&[]).await;
        stage.apply(&brief("silent", 60));
        stage.loaded("silent").await;
        let live = stage
            .until("silent", "shows figures", seconds(30), |test| {
                let progress = status(test).progress;
                progress.is_some_and(|progress| progress.users > 0 && !progress.stale)
            })
            .await;
        assert!(status(&live).progress.unwrap().observed_at.is_some());
        if !signal_master(stage, "SIGSTOP").await {
            return println!("NOT SHOWN HERE: freezing a master needs the test cluster's own ctr");
        }
        let stale = stage
            .until("silent", "is stale", seconds(40), |test| {
                status(test).progress.is_some_and(|progress| progress.stale)
            })
            .await;
        let shown = stage.kubectl(&["get", "loadtest", "silent"]);
        assert!(shown.contains("(stale)"), "{shown}");
        let columns = status(&stale).columns.unwrap();
        assert_eq!((columns.users.as_str(), columns.rps.as_str()), ("?", "?"));
        let (_, message) = condition(&stale, "Reconciling");
        assert!(message.contains("the last figures are of"), "{message}");
        assert!(signal_master(stage, "SIGCONT").await);
        stage
            .until("silent", "is live again", seconds(90), |test| {
                status(test)
                    .progress
                    .is_some_and(|progress| !progress.stale)
            })
            .await;
    });
}

/// Every worker OOMKilled was named nowhere, and the status kept its last figures.
#[test]
fn a_worker_without_memory_is_named_with_its_limit_in_condition_event_and_end() {
    play("oom", async |stage| {
        stage.open(&[]).await;
        let hungry = json!({"spec": {
            "load": closed(30_000, 60),
            "workers": {"resources": {"cpu": "300m", "memory": "32Mi"}, "startDeadline": "60s"},
        }});
        stage.apply(&with(brief("hungry", 60), hungry));
        let lost = stage
            .until("hungry", "has lost its worker", seconds(90), |test| {
                let workers = status(test).workers;
                workers.is_some_and(|workers| !workers.losses.is_empty())
            })
            .await;
        let losses = status(&lost).workers.unwrap().losses;
        assert_eq!(losses[0].reason, "OutOfMemory");
        assert!(losses[0].message.contains("32Mi"), "{losses:?}");
        eventually("an Event tells of it", seconds(20), async || {
            let events = stage.kubectl(&["get", "events", "--field-selector=reason=OutOfMemory"]);
            match events.contains("32Mi") {
                true => Ok(()),
                false => Err(events),
            }
        })
        .await;
        let test = stage.finished("hungry").await;
        let (_, message) = condition(&test, "Finished");
        assert!(
            message.contains("OOMKilled") && message.contains("32Mi"),
            "{message}"
        );
    });
}
