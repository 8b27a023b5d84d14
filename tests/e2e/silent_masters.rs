//! Two hundred masters that accept connections and never say a word, on a real API server: the
//! operator's next LoadTest does not notice.

use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::samples::{brief, with};
use crate::stage::{Stage, eventually, play_alone, run_id, seconds, status};

const MASTER: &str = "starling.dev/run,app.kubernetes.io/component=master";
const SILENT: usize = 200;

/// An address of the test's own that Pods reach; none where tests run outside the cluster's network.
async fn listen(stage: &Stage) -> Option<TcpListener> {
    let host = stage.kubectl(&[
        "get",
        "nodes",
        "-o",
        "jsonpath={.items[0].status.addresses[0].address}",
    ]);
    TcpListener::bind((host.as_str(), 8443)).await.ok()
}

/// LoadTests whose Pods fit on no node: they exist, and what their status says is up to the test.
fn homeless(number: usize) -> Value {
    let pod = json!({"nodeSelector": {"starling.dev/nowhere": "true"}});
    let nowhere = json!({"spec": {
        "master": {"pod": pod},
        "workers": {"pod": pod, "startDeadline": "1h"},
    }});
    with(brief(&format!("silent-{number}"), 2), nowhere)
}

#[test]
fn with_two_hundred_silent_masters_a_new_loadtest_has_its_run_within_a_second() {
    play_alone("silent-masters", async |stage| {
        let Some(listener) = listen(stage).await else {
            return println!("NOT SHOWN HERE: silent masters need the cluster's own network");
        };
        let address = listener.local_addr().expect("an address").ip().to_string();
        tokio::spawn(async move {
            let mut held: Vec<TcpStream> = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
        let operator = stage.open(&[]).await;
        let items: Vec<Value> = (0..SILENT).map(homeless).collect();
        stage.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}));
        eventually("every master has a Pod", seconds(180), async || match stage
            .pods(MASTER)
            .await
            .len()
        {
            SILENT => Ok(()),
            count => Err(format!("{count} Pods")),
        })
        .await;
        let pods: Api<Pod> = Api::namespaced(stage.client.clone(), &stage.namespace);
        let patch = json!({"status": {"podIP": address, "podIPs": [{"ip": address}]}});
        let names = stage.pods(MASTER).await.into_iter();
        let patches = names.filter_map(|pod| pod.metadata.name).map(|name| {
            let (pods, patch) = (pods.clone(), patch.clone());
            async move {
                let params = PatchParams::default();
                pods.patch_status(&name, &params, &Patch::Merge(&patch))
                    .await
            }
        });
        let patched: Vec<_> = futures::stream::iter(patches)
            .buffer_unordered(8)
            .collect()
            .await;
        assert!(patched.iter().all(Result::is_ok), "{:?}", patched.first());
        let late = "starling_operator_master_calls_total{call=\"progress\",outcome=\"late\"}";
        eventually("the operator meets the silence", seconds(60), async || {
            let text = operator.metrics(stage).await;
            let line = text.lines().find(|line| line.starts_with(late));
            let count = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            match count.unwrap_or(0.0) {
                count if count >= SILENT as f64 => Ok(()),
                count => Err(format!("{count} calls")),
            }
        })
        .await;

        let applied = Instant::now();
        stage.apply(&brief("new", 2));
        let seen = stage
            .until("new", "has a run", seconds(30), |test| {
                !run_id(test).is_empty()
            })
            .await;
        let after = applied.elapsed();
        println!("with {SILENT} silent masters: a run id {after:?} after kubectl began");
        assert_eq!(status(&seen).runs, 1);
        // kubectl and the look of this test take their part of it
        assert!(after < Duration::from_millis(2_000), "{after:?}");
        stage.finished("new").await;
    });
}
