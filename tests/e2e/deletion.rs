//! Taking a test away while it runs: its load ends and nothing of it is left.

use crate::samples::{brief, report};
use crate::stage::{
    Operator, Stage, eventually, is, phase, play, run, run_id, seconds, sent, status,
};

async fn nothing_is_left(stage: &Stage, within: u64) {
    eventually("nothing is left", seconds(within), async || {
        let children = stage.children();
        if children.is_empty() {
            Ok(())
        } else {
            Err(format!("{children:?}"))
        }
    })
    .await;
}

#[test]
fn a_namespace_deleted_mid_run_is_gone_within_a_minute() {
    play("namespace-gone", async |stage| {
        let doomed = stage.neighbour("doomed");
        doomed.deploy_service(&[]);
        stage.deploy_service(&[]);
        Operator::watching(stage, &[stage, &doomed], &[]);
        doomed.service_ready();
        doomed.apply(&brief("going", 120));
        doomed.loaded("going").await;
        let said = run(
            "kubectl",
            &["delete", "namespace", &doomed.namespace, "--timeout=60s"],
            None,
        );
        assert!(said.ok, "{}", said.text);
        // and the operator goes on elsewhere
        stage.apply(&brief("after", 2));
        assert!(is(&stage.finished("after").await, "Succeeded"));
    });
}

#[test]
fn a_test_deleted_mid_run_leaves_no_child_and_no_load() {
    play("deleted", async |stage| {
        stage.open(&[]).await;
        stage.apply(&brief("going", 120));
        stage.loaded("going").await;
        stage.kubectl(&["delete", "loadtest", "going"]);
        // the Pods' grace is 20 s; on a fresh cluster the garbage collector hears of LoadTests up
        // to 30 s late
        nothing_is_left(stage, 50).await;
        stage.stands_still("the LoadTest is deleted").await;
    });
}

#[test]
fn a_test_deleted_before_its_workers_are_ready_leaves_no_child_and_sent_nothing() {
    play("deleted-early", async |stage| {
        stage.open(&[]).await;
        stage.apply(&brief("going", 120));
        stage
            .until("going", "begins", seconds(30), |test| {
                phase(test).is_some() && !run_id(test).is_empty()
            })
            .await;
        stage.kubectl(&["delete", "loadtest", "going"]);
        nothing_is_left(stage, 60).await;
        assert_eq!(stage.stands_still("the LoadTest is deleted").await, 0);
    });
}

#[test]
fn children_orphaned_by_a_cascading_deletion_are_swept_by_the_next_operator() {
    play("orphaned", async |stage| {
        let operator = stage.open(&[]).await;
        stage.apply(&brief("going", 120));
        stage.loaded("going").await;
        stage.kubectl(&["delete", "loadtest", "going", "--cascade=orphan"]);
        // it sweeps when it starts, and every ten minutes
        stage.kubectl(&["delete", "pods", "-l", &operator.selector()]);
        nothing_is_left(stage, 60).await;
        stage.stands_still("the LoadTest is deleted").await;
    });
}

#[test]
fn a_test_made_again_under_its_name_is_another_run() {
    play("made-again", async |stage| {
        stage.open(&[]).await;
        stage.apply(&brief("again", 120));
        let first = run_id(&stage.loaded("again").await);
        stage.kubectl(&["delete", "loadtest", "again"]);
        nothing_is_left(stage, 60).await;
        let before = stage.stands_still("the LoadTest is deleted").await;
        stage.apply(&brief("again", 2));
        let test = stage.finished("again").await;
        assert!(is(&test, "Succeeded"), "{:?}", test.status);
        assert_ne!(run_id(&test), first);
        assert_eq!(status(&test).runs, 1);
        assert_eq!(
            before + sent(&report(stage, &test).await),
            stage.count().await
        );
    });
}
