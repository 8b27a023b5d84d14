//! Many runs after one another under one operator: its memory and its watches stay what they were
//! after the first few.
//!
//! `STARLING_SOAK_RUNS` is how many; `make soak` makes two hundred.

use crate::faults::local::{LocalOperator, program};
use crate::faults::proxy::{Proxy, Script};
use crate::samples::{brief, report, vanishing, with};
use crate::stage::{Stage, is, is_finished, play_within, seconds, sent, status};

/// Runs in the short form of the test.
const FEW: usize = 10;

/// Memory in KiB that may be added after the first quarter of the runs: what an allocator keeps
/// back.
const SLACK: u64 = 6 * 1024;

/// Watches of one namespace: LoadTests, Deployments, Jobs, Services and Pods.
const WATCHES: usize = 5;

fn runs() -> usize {
    let text = std::env::var("STARLING_SOAK_RUNS").unwrap_or_default();
    text.parse().unwrap_or(FEW)
}

#[test]
fn memory_and_watches_of_an_operator_stay_the_same_over_many_runs() {
    let limit = seconds(120 + 60 * runs() as u64);
    play_within("soak", limit, async |stage| {
        let Some(program) = program() else {
            return println!(
                "NOT SHOWN HERE: an operator beside the cluster needs the suite's own"
            );
        };
        stage.deploy_service(&[]);
        stage.service_ready();
        let proxy = Proxy::start(stage.client.clone(), Script::Honest).await;
        let operator = LocalOperator::start(stage, &program, &proxy);
        let mut memory = Vec::new();
        let mut total = 0;
        for run in 1..=runs() {
            total += one_run(stage, run).await;
            memory.push(operator.memory());
            assert!(proxy.watches() <= WATCHES, "{} watches", proxy.watches());
        }
        assert_eq!(total, stage.stands_still("all runs are over").await);
        println!(
            "memory after each run, in KiB: {memory:?}; {} calls",
            proxy.calls()
        );
        let (early, late) = memory.split_at(memory.len() / 4 + 1);
        let before = early.iter().max().expect("runs");
        let after = late.iter().min().expect("more runs");
        assert!(
            *after <= before + SLACK,
            "{before} KiB after a quarter of the runs, never less than {after} KiB later"
        );
    });
}

/// Has the LoadTest run once more, and returns how many requests were sent.
async fn one_run(stage: &Stage, run: usize) -> u64 {
    let annotation = serde_json::json!({"metadata": {"annotations": {
        (starling::crd::RERUN_ANNOTATION): run.to_string(),
    }}});
    stage.apply(&with(vanishing(brief("again", 1)), annotation));
    let count = i64::try_from(run).expect("few runs");
    let test = stage
        .until("again", &format!("ends run {run}"), seconds(90), |test| {
            status(test).runs == count && is_finished(test)
        })
        .await;
    assert!(is(&test, "Succeeded"), "run {run}: {:?}", test.status);
    sent(&report(stage, &test).await)
}
