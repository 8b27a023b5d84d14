//! What starts a run, and what must not.

use kube::ResourceExt;
use serde_json::json;
use starling::crd::digest;

use crate::samples::{brief, closed, report, vanishing, with};
use crate::stage::{Stage, condition, eventually, is, play, run_id, seconds, sent, status};

async fn pods_gone(stage: &Stage) {
    eventually("the run's Pods are gone", seconds(60), async || match stage
        .pods("starling.dev/run")
        .await
        .len()
    {
        0 => Ok(()),
        left => Err(format!("{left} left")),
    })
    .await;
}

#[test]
fn fields_outside_the_digest_start_nothing_after_the_end_and_the_trigger_and_annotation_do() {
    play("identity", async |stage| {
        stage.open(&[]).await;
        stage.apply(&vanishing(brief("done", 2)));
        let first = stage.finished("done").await;
        assert!(is(&first, "Succeeded"), "{:?}", first.status);
        pods_gone(stage).await;
        let (count, pods) = (stage.count().await, stage.pods_ever());

        for change in [
            json!({"workers": {"replicas": 3}}),
            json!({"workers": {"resources": {"cpu": "150m", "memory": "140Mi"}}}),
            json!({"workers": {"pod": {"labels": {"a": "b"}}}}),
            json!({"master": {"resources": {"cpu": "150m"}}}),
            json!({"master": {"pod": {"annotations": {"a": "b"}}}}),
            json!({"run": {"stopTimeout": "6s"}}),
            json!({"run": {"historyLimit": 3}}),
            json!({"run": {"suspend": true}}),
            json!({"run": {"suspend": false}}),
            json!({"run": {"ttlAfterFinished": "1s"}}),
        ] {
            let generation = stage.patch("done", json!({"spec": change})).await;
            let test = stage
                .until("done", &format!("observes {change}"), seconds(20), |test| {
                    status(test).observed_generation == generation
                })
                .await;
            assert_eq!(
                digest(&test.spec),
                digest(&first.spec),
                "{change} is not in the digest"
            );
            assert!(is(&test, "Succeeded"), "{change}: {:?}", test.status);
            assert_eq!(
                (status(&test).runs, run_id(&test)),
                (1, run_id(&first)),
                "{change}"
            );
            assert_eq!(status(&test).results, status(&first).results, "{change}");
            assert!(
                condition(&test, "Ready").0.starts_with("True"),
                "{change}: {:?}",
                condition(&test, "Ready")
            );
        }
        assert_eq!(
            stage.stands_still("nothing that matters changed").await,
            count
        );
        assert_eq!(stage.pods_ever(), pods, "no Pod was made");

        stage.rerun("done", "1");
        ran_again(stage, 2).await;
        stage
            .patch("done", json!({"spec": {"run": {"trigger": "release-2"}}}))
            .await;
        ran_again(stage, 3).await;
    });
}

async fn ran_again(stage: &Stage, runs: i64) {
    let before = stage.count().await;
    stage
        .until("done", &format!("begins run {runs}"), seconds(30), |test| {
            status(test).runs == runs
        })
        .await;
    let test = stage.finished("done").await;
    assert!(is(&test, "Succeeded"), "{:?}", test.status);
    assert_eq!(
        i64::try_from(status(&test).history.len()).expect("few"),
        runs
    );
    assert_eq!(
        before + sent(&report(stage, &test).await),
        stage.stands_still("the run is over").await
    );
}

#[test]
fn an_edit_mid_run_waits_for_the_end_and_then_runs() {
    play("edited", async |stage| {
        stage.open(&[]).await;
        stage.apply(&vanishing(brief("edited", 8)));
        let first = stage.loaded("edited").await;
        stage
            .patch("edited", json!({"spec": {"load": closed(2, 3)}}))
            .await;
        let waiting = stage
            .until("edited", "says that an edit waits", seconds(8), |test| {
                condition(test, "Reconciling").0 == "True/NewerSpecWaiting"
            })
            .await;
        assert_eq!(run_id(&waiting), run_id(&first));
        assert!(is(&waiting, "Running"), "{:?}", waiting.status);

        stage
            .until("edited", "begins the second run", seconds(60), |test| {
                status(test).runs == 2
            })
            .await;
        let second = stage.finished("edited").await;
        assert!(is(&second, "Succeeded"), "{:?}", second.status);
        let seen = status(&second);
        assert_eq!((seen.runs, seen.history.len()), (2, 2));
        assert_eq!(
            seen.history[1].verdict, "Succeeded",
            "the first run was not disturbed: {:?}",
            seen.history
        );
        assert_eq!(seen.run.expect("a run").generation, 2);
        assert_eq!(report(stage, &second).await.duration_micros, 3_000_000);
    });
}

#[test]
fn a_test_suspended_from_the_start_creates_nothing_until_it_is_let_go() {
    play("held", async |stage| {
        stage.open(&[]).await;
        stage.apply(&with(
            vanishing(brief("held", 2)),
            json!({"spec": {"run": {"suspend": true}}}),
        ));
        let held = stage
            .until("held", "is held", seconds(20), |test| is(test, "Suspended"))
            .await;
        assert!(
            condition(&held, "Reconciling").0.starts_with("True"),
            "{:?}",
            condition(&held, "Reconciling")
        );
        tokio::time::sleep(seconds(3)).await;
        assert_eq!(stage.children(), Vec::<String>::new());

        stage
            .patch("held", json!({"spec": {"run": {"suspend": false}}}))
            .await;
        let test = stage.finished("held").await;
        assert!(is(&test, "Succeeded"), "{:?}", test.status);
        assert_eq!(sent(&report(stage, &test).await), stage.count().await);
    });
}

#[test]
fn a_test_suspended_mid_run_ends_aborted_and_stays_so() {
    play("suspended", async |stage| {
        stage.open(&[]).await;
        stage.apply(&vanishing(brief("stopped", 60)));
        stage.loaded("stopped").await;
        stage
            .patch("stopped", json!({"spec": {"run": {"suspend": true}}}))
            .await;
        let test = stage.finished("stopped").await;
        assert!(is(&test, "Aborted"), "{:?}", test.status);
        assert_eq!(
            condition(&test, "Complete").0.split('/').next(),
            Some("False")
        );
        assert_eq!(
            condition(&test, "Passed").0.split('/').next(),
            Some("Unknown")
        );
        assert_eq!(status(&test).history[0].reason, "Suspended");
        let whole = report(stage, &test).await;
        assert!(
            whole.totals.requests > 0,
            "partial results are kept: {:?}",
            whole.totals
        );
        let count = stage.stands_still("the run is suspended").await;
        assert_eq!(sent(&whole), count);

        let generation = stage
            .patch("stopped", json!({"spec": {"run": {"suspend": false}}}))
            .await;
        let test = stage
            .until("stopped", "observes it", seconds(20), |test| {
                status(test).observed_generation == generation
            })
            .await;
        assert!(is(&test, "Aborted"), "{:?}", test.status);
        assert_eq!(stage.stands_still("nothing is resumed").await, count);
        assert_eq!(status(&stage.test("stopped").await).runs, 1);
    });
}

#[test]
fn two_operators_at_once_make_one_run_of_each_test() {
    play("two-operators", async |stage| {
        let operator = stage.open(&[]).await;
        stage.kubectl(&["scale", "deployment", &operator.name(), "--replicas=2"]);
        stage.kubectl(&[
            "rollout",
            "status",
            "deployment",
            &operator.name(),
            "--timeout=60s",
        ]);
        let names = ["one", "two", "three"];
        names
            .iter()
            .for_each(|name| stage.apply(&vanishing(brief(name, 5))));
        let mut total = 0;
        for name in names {
            let test = stage.finished(name).await;
            assert!(is(&test, "Succeeded"), "{name}: {:?}", test.status);
            let seen = status(&test);
            assert_eq!((seen.runs, seen.history.len()), (1, 1), "{name}");
            total += sent(&report(stage, &test).await);
        }
        pods_gone(stage).await;
        assert_eq!(total, stage.stands_still("all runs are over").await);
        let reports: Vec<String> = stage.children();
        assert_eq!(
            reports.len(),
            names.len(),
            "one report each, and nothing else: {reports:?}"
        );
        assert!(
            names.iter().all(|name| !name.is_empty())
                && stage
                    .tests()
                    .list(&Default::default())
                    .await
                    .expect("a list")
                    .iter()
                    .all(|test| names.contains(&test.name_any().as_str()))
        );
    });
}
