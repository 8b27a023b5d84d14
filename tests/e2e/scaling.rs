//! Runs whose number of workers changes, as `kubectl scale` and autoscalers change it.

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use starling::crd::LoadTest;

use crate::samples::{brief, closed, report, with};
use crate::stage::{Stage, condition, eventually, is, play, run_id, seconds, sent, status};

const WORKER: &str = "starling.dev/run,app.kubernetes.io/component=worker";

/// Worker Pods that are not on their way out.
async fn workers(stage: &Stage) -> Vec<Pod> {
    let mut pods = stage.pods(WORKER).await;
    pods.retain(|pod| {
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Failed" | "Succeeded"))
    });
    pods
}

async fn until_workers(stage: &Stage, name: &str, count: u32) -> LoadTest {
    let test = stage
        .until(name, &format!("has {count} workers"), seconds(90), |test| {
            let workers = status(test).workers.unwrap_or_default();
            (workers.desired, workers.ready) == (count, count)
        })
        .await;
    eventually("the Pods", seconds(60), async || {
        let there = workers(stage).await.len();
        match there == count as usize {
            true => Ok(()),
            false => Err(format!("{there} worker Pods")),
        }
    })
    .await;
    test
}

fn scale(stage: &Stage, name: &str, count: u32) {
    let (test, replicas) = (format!("loadtest/{name}"), format!("--replicas={count}"));
    stage.kubectl(&["scale", &test, &replicas]);
}

#[test]
fn a_run_is_scaled_by_kubectl_up_and_down_and_loses_no_sample() {
    play("scaled", async |stage| {
        stage.open(&[]).await;
        let more = json!({"spec": {
            "load": closed(12, 100),
            "workers": {"replicas": 1, "onLoss": "Fail", "resources": {"cpu": "100m"}},
        }});
        stage.apply(&with(brief("scaled", 100), more));
        let begun = stage.loaded("scaled").await;
        let id = run_id(&begun);
        scale(stage, "scaled", 3);
        let grown = until_workers(stage, "scaled", 3).await;
        assert_eq!((run_id(&grown), status(&grown).runs), (id.clone(), 1));
        // what an autoscaler reads
        let subresource = stage.kubectl(&[
            "get",
            "loadtest",
            "scaled",
            "--subresource=scale",
            "-o",
            "jsonpath={.spec.replicas} {.status.replicas} {.status.selector}",
        ]);
        assert!(subresource.trim().starts_with("3 3 "), "{subresource}");
        let selector = subresource.trim().rsplit(' ').next().unwrap_or_default();
        assert_eq!(stage.pods(selector).await.len(), 3, "{selector}");
        let budget = stage.kubectl(&[
            "get",
            "poddisruptionbudgets",
            "-o",
            "jsonpath={.items[0].spec.minAvailable}",
        ]);
        assert_eq!(budget.trim(), "4");
        scale(stage, "scaled", 2);
        until_workers(stage, "scaled", 2).await;
        let ended = stage.finished("scaled").await;
        assert!(is(&ended, "Succeeded"), "{:?}", ended.status);
        assert_eq!((run_id(&ended), status(&ended).runs), (id, 1));
        assert_eq!(status(&ended).workers.unwrap().losses, []);
        let result = report(stage, &ended).await;
        let said = |words: &str| {
            let events = &result.events;
            events.iter().any(|event| event.message.contains(words))
        };
        assert!(
            said("the load of 1 workers is divided among 3"),
            "{:?}",
            result.events
        );
        assert!(
            said("the load of 3 workers is divided among 2"),
            "{:?}",
            result.events
        );
        assert_eq!((result.workers.lost, result.workers.planned), (0, 2));
        assert_eq!(sent(&result), stage.count().await);
    });
}

#[test]
fn a_number_that_no_run_has_is_refused_and_one_before_the_start_is_that_of_the_start() {
    play("scaled-early", async |stage| {
        stage.open(&[]).await;
        let suspended = json!({"spec": {"run": {"suspend": true}, "workers": {"replicas": 1}}});
        stage.apply(&with(brief("early", 8), suspended));
        for wrong in ["--replicas=0", "--replicas=2001"] {
            let said = stage.try_kubectl(&["scale", "loadtest/early", wrong], None);
            assert!(!said.ok, "{}", said.text);
        }
        scale(stage, "early", 2);
        stage
            .patch("early", json!({"spec": {"run": {"suspend": false}}}))
            .await;
        let ended = stage.finished("early").await;
        assert!(is(&ended, "Succeeded"), "{:?}", ended.status);
        assert_eq!(report(stage, &ended).await.workers.planned, 2);
        // after the end it is the number of the next run, and starts none
        scale(stage, "early", 1);
        let seen = stage
            .until("early", "has seen the change", seconds(30), |test| {
                Some(status(test).observed_generation) == test.metadata.generation
            })
            .await;
        assert_eq!((status(&seen).runs, run_id(&seen)), (1, run_id(&ended)));
        let (finished, _) = condition(&seen, "Finished");
        assert!(finished.starts_with("True"), "{finished}");
    });
}
