//! Hostile specs: an operator held to 256 Mi stands them all, and whoever shares it with their
//! author does not notice.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::corpus::corpus;
use crate::samples::brief;
use crate::stage::{
    Operator, Stage, condition, eventually, phase, play_alone, run_id, seconds, status,
};

/// Longest time until a good LoadTest has the id of its run. It is 2 s for the program as it is
/// shipped; that of the suite is not optimised, and each check is a process of its own.
const BEGINS_WITHIN: Duration = Duration::from_secs(5);

/// Set to try the whole corpus, which takes minutes; otherwise one in [`PART`] is tried.
const WHOLE: &str = "STARLING_TEST_HOSTILE";
/// See [`WHOLE`].
const PART: usize = 6;

/// Hostile LoadTests created between two good ones.
const BETWEEN: usize = 12;

#[test]
fn hostile_specs_stop_neither_the_operator_nor_their_neighbours() {
    play_alone("hostile", async |stage| {
        let neighbour = stage.neighbour("hostile-neighbour");
        let limit = ["resources.limits.memory=256Mi"];
        let operator = Operator::watching(stage, &[stage, &neighbour], &limit);
        let before = operator_pods(stage, &operator).await;
        assert_eq!(before.len(), 1, "{before:?}");
        let corpus: Vec<(String, Value)> = corpus()
            .into_iter()
            .map(|(name, spec, _)| (name, spec))
            // those that only repeat another one cost the suite its time
            .filter(|(name, _)| !name.ends_with("-apart") && !name.ends_with("-often"))
            .step_by(if std::env::var_os(WHOLE).is_some() {
                1
            } else {
                PART
            })
            .collect();
        println!("{} hostile specs", corpus.len());
        for (nth, part) in corpus.chunks(BETWEEN).enumerate() {
            let said = create(stage, part);
            let took = begin(&neighbour, &format!("good-{nth}")).await;
            println!("good-{nth} began after {took:?}; {said}");
            assert!(took < BEGINS_WITHIN, "good-{nth} began after {took:?}");
        }
        let judged = judged(stage).await;
        assert!(
            judged * 2 > corpus.len(),
            "only {judged} were not refused by the API server"
        );
        assert_eq!(
            operator_pods(stage, &operator).await,
            before,
            "restarts are counted"
        );
    });
}

/// Creates hostile LoadTests, of which the API server may refuse some. Returns the beginning of what
/// kubectl says.
fn create(stage: &Stage, part: &[(String, Value)]) -> String {
    let items = part.iter().map(|(name, spec)| {
        json!({
            "apiVersion": "starling.dev/v1alpha1",
            "kind": "LoadTest",
            "metadata": {"name": name},
            "spec": spec,
        })
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items.collect::<Vec<_>>()});
    let said = stage.try_kubectl(
        // as somebody does who means harm
        &["create", "--validate=false", "-f", "-"],
        Some(&list.to_string()),
    );
    said.text.chars().take(300).collect()
}

/// Creates a good LoadTest, waits for the id of its run, deletes it, and returns how long it took.
async fn begin(stage: &Stage, name: &str) -> Duration {
    stage.apply(&brief(name, 2));
    let applied = Instant::now();
    stage
        .until(name, "has an id of a run", seconds(30), |test| {
            !run_id(test).is_empty()
        })
        .await;
    let took = applied.elapsed();
    stage.kubectl(&["delete", "loadtest", name, "--wait=false"]);
    took
}

/// Waits until every hostile LoadTest is refused with a field path, or is suspended, and returns
/// their number.
async fn judged(stage: &Stage) -> usize {
    eventually("every hostile spec is judged", seconds(200), async || {
        let tests = stage.tests().list(&Default::default()).await;
        let tests = tests.map_err(|error| error.to_string())?.items;
        for test in &tests {
            let name = test.metadata.name.as_deref().unwrap_or_default();
            let (stalled, message) = condition(test, "Stalled");
            let is_refused = stalled == "True/InvalidSpec" && message.contains("spec");
            let is_suspended = phase(test).is_some_and(|phase| format!("{phase:?}") == "Suspended");
            if !is_refused && !is_suspended {
                return Err(format!("{name}: {stalled} {:?}", phase(test)));
            }
            assert_eq!(status(test).runs, 0, "{name} began a run");
        }
        Ok(tests.len())
    })
    .await
}

/// Names of the operator's Pods with the number of times that each was restarted.
async fn operator_pods(stage: &Stage, operator: &Operator) -> Vec<(String, i32)> {
    let pods = stage.pods(&operator.selector()).await;
    let restarts = pods.into_iter().map(|pod| {
        let statuses = pod.status.and_then(|status| status.container_statuses);
        let restarts = statuses
            .unwrap_or_default()
            .iter()
            .map(|of| of.restart_count)
            .sum();
        (pod.metadata.name.unwrap_or_default(), restarts)
    });
    restarts.collect()
}
