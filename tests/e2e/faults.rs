//! Faults between the operator and the API server, by a seed that can be replayed; an operator that
//! is killed at any of its calls; and children that are deleted by hand.
//!
//! `STARLING_FAULT_SEED` chooses the faults, `STARLING_FAULT_ROUNDS` how many seeds in a row are
//! tried, and with `STARLING_FAULT_ALL` the operator is killed at every call instead of a few that
//! the seed chooses. `make faults` does all of it.

pub mod local;
pub mod proxy;

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::json;

use crate::samples::{brief, report, vanishing, with};
use crate::stage::{
    Stage, condition, eventually, is, is_finished, play, play_within, seconds, sent, status,
};
use local::LocalOperator;
use proxy::{Proxy, Script};

const NOT_HERE: &str = "NOT SHOWN HERE: an operator beside the cluster needs the suite's own";

/// Time of a test with faults, and of one that kills the operator again and again.
const PATIENCE: Duration = seconds(600);
const LONG: Duration = seconds(3 * 3600);

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).unwrap_or_default();
    text.parse().unwrap_or(default)
}

fn seed() -> u64 {
    number("STARLING_FAULT_SEED", 20_261_129)
}

/// The run has ended as if nothing had been: one run, one result, and nothing is left of it but its
/// report. Gives the requests that it sent.
async fn ended_once(stage: &Stage, name: &str) -> u64 {
    let test = stage
        .until(name, "finishes", seconds(400), is_finished)
        .await;
    assert!(is(&test, "Succeeded"), "{name}: {:?}", test.status);
    let seen = status(&test);
    assert_eq!((seen.runs, seen.history.len()), (1, 1), "{name}");
    sent(&report(stage, &test).await)
}

/// Nothing is left of any run but its report.
async fn only_reports_are_left(stage: &Stage) {
    eventually("all but reports are gone", seconds(200), async || {
        let children = stage.children();
        match children.iter().all(|child| child.contains("-report-")) {
            true => Ok(()),
            false => Err(format!("{children:?}")),
        }
    })
    .await;
}

#[test]
fn whatever_the_api_server_does_each_run_starts_once_and_ends_with_its_result() {
    for round in 0..number("STARLING_FAULT_ROUNDS", 1) {
        let seed = seed() + round;
        println!("STARLING_FAULT_SEED={seed}");
        play_within("api-faults", PATIENCE, async |stage| {
            let Some(program) = local::program() else {
                return println!("{NOT_HERE}");
            };
            stage.deploy_service(&[]);
            stage.service_ready();
            let proxy = Proxy::start(stage.client.clone(), Script::Seeded(seed)).await;
            let operator = LocalOperator::start(stage, &program, &proxy);
            let names = ["one", "two"];
            for name in names {
                stage.apply(&vanishing(brief(name, 8)));
            }
            let mut total = 0;
            for name in names {
                total += ended_once(stage, name).await;
            }
            only_reports_are_left(stage).await;
            assert_eq!(total, stage.stands_still("the runs are over").await);
            let log = proxy.log();
            println!("{} faults in {} calls: {log:#?}", log.len(), proxy.calls());
            assert!(log.len() > 10, "hardly a fault");
            drop(operator);
        });
    }
}

#[test]
fn a_run_comes_to_its_end_though_no_watch_shows_a_change_of_its_objects() {
    play_within("no-events", PATIENCE, async |stage| {
        let Some(program) = local::program() else {
            return println!("{NOT_HERE}");
        };
        stage.deploy_service(&[]);
        stage.service_ready();
        let proxy = Proxy::start(stage.client.clone(), Script::NoEvents).await;
        let _operator = LocalOperator::start(stage, &program, &proxy);
        stage.apply(&vanishing(brief("unseen", 5)));
        let total = ended_once(stage, "unseen").await;
        only_reports_are_left(stage).await;
        assert_eq!(total, stage.stands_still("the run is over").await);
        assert!(!proxy.log().is_empty(), "no event was dropped");
    });
}

#[test]
fn an_api_server_that_is_away_for_longer_than_the_run_costs_neither_load_nor_result() {
    play_within("api-away-long", PATIENCE, async |stage| {
        let Some(program) = local::program() else {
            return println!("{NOT_HERE}");
        };
        stage.deploy_service(&[]);
        stage.service_ready();
        let proxy = Proxy::start(stage.client.clone(), Script::Honest).await;
        let _operator = LocalOperator::start(stage, &program, &proxy);
        stage.apply(&vanishing(brief("alone", 10)));
        stage.loaded("alone").await;
        proxy.set_down(true);
        tokio::time::sleep(seconds(25)).await;
        let total = stage.stands_still("the run ends by itself").await;
        let before = stage.test("alone").await;
        assert!(is(&before, "Running"), "{:?}", before.status);
        proxy.set_down(false);
        assert_eq!(ended_once(stage, "alone").await, total);
        only_reports_are_left(stage).await;
    });
}

/// Makes tests that share the calls among them.
macro_rules! killed_at_calls {
    ($($name:ident $part:literal)*) => {$(
        #[test]
        fn $name() {
            let limit = if all_calls() { LONG } else { PATIENCE };
            let name = format!("killed-at-calls-{}", $part);
            play_within(&name, limit, async |stage| killed_at(stage, $part).await);
        }
    )*};
}

/// Number of tests among which the calls are shared.
const PARTS: u64 = 3;

killed_at_calls! {
    killed_at_every_call_of_the_first_third_a_run_starts_once_and_keeps_its_result 0
    killed_at_every_call_of_the_second_third_a_run_starts_once_and_keeps_its_result 1
    killed_at_every_call_of_the_last_third_a_run_starts_once_and_keeps_its_result 2
}

fn all_calls() -> bool {
    std::env::var_os("STARLING_FAULT_ALL").is_some()
}

/// Calls at which the operator is killed, of all that a run takes.
fn calls_to_die_at(all: u64, part: u64) -> Vec<u64> {
    let (first, end) = (part * all / PARTS + 1, (part + 1) * all / PARTS + 1);
    if all_calls() {
        return (first..end).collect();
    }
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed() + part);
    (0..2).map(|_| rng.random_range(first..end)).collect()
}

async fn killed_at(stage: &Stage, part: u64) {
    let Some(program) = local::program() else {
        return println!("{NOT_HERE}");
    };
    stage.deploy_service(&[]);
    stage.service_ready();
    let proxy = Proxy::start(stage.client.clone(), Script::Honest).await;
    let mut operator = LocalOperator::start(stage, &program, &proxy);
    // what one run takes, with the start of the process
    stage.apply(&vanishing(brief("undisturbed", 3)));
    let mut total = ended_once(stage, "undisturbed").await;
    let calls = proxy.calls();
    let chosen = calls_to_die_at(calls, part);
    println!(
        "STARLING_FAULT_SEED={} of {calls} calls: {chosen:?}",
        seed()
    );
    let mut killed = 0;
    for call in chosen {
        operator.kill();
        let name = format!("killed-{call}");
        stage.apply(&vanishing(brief(&name, 3)));
        operator.restart();
        proxy.kill_at(call, operator.id());
        let has_died = eventually("it dies, or the run ends", seconds(120), async || {
            let is_dead = !proxy.is_kill_due() && operator.is_dead();
            let is_over = is_finished(&stage.test(&name).await) && proxy.is_kill_due();
            match is_dead || is_over {
                true => Ok(is_dead),
                false => Err(format!("{} calls", proxy.calls())),
            }
        })
        .await;
        killed += u64::from(has_died);
        if has_died {
            operator.restart();
        }
        total += ended_once(stage, &name).await;
        only_reports_are_left(stage).await;
        let count = stage.stands_still("the run is over").await;
        assert_eq!(total, count, "killed at call {call}");
        stage.kubectl(&["delete", "loadtest", &name]);
    }
    println!("killed {killed} times");
    assert!(killed > 0, "the operator never died");
}

#[test]
fn a_child_deleted_mid_run_ends_the_run_and_no_other_load_is_made() {
    play("child-deleted", async |stage| {
        stage.open(&[]).await;
        for kind in ["job", "service"] {
            let name = format!("without-{kind}");
            stage.apply(&vanishing(brief(&name, 60)));
            stage.loaded(&name).await;
            let selector = format!("starling.dev/loadtest={name}");
            stage.kubectl(&["delete", kind, "-l", &selector, "--wait=false"]);
            let test = stage.finished(&name).await;
            assert!(is(&test, "Errored"), "{kind}: {:?}", test.status);
            assert_eq!(condition(&test, "Stalled").0, "True/ChildDeleted", "{kind}");
            assert_eq!(status(&test).runs, 1);
            only_reports_are_left(stage).await;
            stage.stands_still("the run was given up").await;
        }
    });
}

#[test]
fn a_child_deleted_before_the_start_is_made_again_and_the_run_goes_on() {
    play("child-deleted-early", async |stage| {
        stage.open(&[]).await;
        // until a node has the label, the workers have no place
        let (label, namespace) = ("starling.dev/e2e-place", &stage.namespace);
        let place = json!({"nodeSelector": {(label): namespace}});
        let place = json!({"spec": {"workers": {"pod": place}}});
        stage.apply(&with(vanishing(brief("early", 3)), place));
        let children = || stage.children().join(" ");
        eventually("the Service is there", seconds(30), async || {
            match children().contains("service/early-") && children().contains("job.batch/early-") {
                true => Ok(()),
                false => Err(children()),
            }
        })
        .await;
        let selector = "starling.dev/loadtest=early";
        stage.kubectl(&["delete", "service", "-l", selector]);
        eventually(
            "the Service is there again",
            seconds(30),
            async || match children().contains("service/early-") {
                true => Ok(()),
                false => Err(children()),
            },
        )
        .await;
        let node = stage.kubectl(&["get", "nodes", "-o", "name"]);
        let node = node.lines().next().expect("a node").to_owned();
        stage.kubectl(&[
            "label",
            "--overwrite",
            &node,
            &format!("{label}={namespace}"),
        ]);
        let total = ended_once(stage, "early").await;
        assert_eq!(total, stage.stands_still("the run is over").await);
    });
}

#[test]
fn a_master_scaled_away_and_back_by_hand_resumes_the_run_and_starts_no_load() {
    play("child-edited", async |stage| {
        stage.open(&[]).await;
        stage.apply(&brief("edited", 30));
        stage.loaded("edited").await;
        let deployment = stage.kubectl(&[
            "get",
            "deployment",
            "-l",
            "starling.dev/loadtest=edited",
            "-o",
            "name",
        ]);
        stage.kubectl(&["scale", deployment.trim(), "--replicas=0"]);
        eventually("the master is gone", seconds(40), async || {
            let selector = "starling.dev/run,app.kubernetes.io/component=master";
            match stage.pods(selector).await.len() {
                0 => Ok(()),
                left => Err(format!("{left} masters")),
            }
        })
        .await;
        stage.kubectl(&["scale", deployment.trim(), "--replicas=1"]);
        let total = ended_once(stage, "edited").await;
        assert_eq!(total, stage.stands_still("the run is over").await);
    });
}
