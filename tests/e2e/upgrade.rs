//! An upgrade in the middle of a run: the release before began it, with its own image in every Pod,
//! and this one ends it. Only a new operator ever meets old masters and workers: the Pods of a run
//! are of one image from its begin to its end.
//!
//! `make upgrade PREVIOUS=COMMIT` builds the program of the release before; without one nothing is
//! shown.

use std::path::PathBuf;
use std::process::Command;

use crate::faults::local::{LocalOperator, program};
use crate::faults::proxy::{Proxy, Script};
use crate::samples::{brief, report, vanishing};
use crate::stage::{Stage, is, is_finished, play_within, root, run_id, seconds, sent, status};

const IMAGE: &str = "starling:previous";

/// The program of the release before.
fn previous() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("STARLING_TEST_PREVIOUS")?);
    path.exists().then_some(path)
}

/// Runs the script of the suite's own cluster.
fn cluster(args: &[&str]) {
    let name = std::env::var("STARLING_CLUSTER").unwrap_or("starling-test".into());
    let said = Command::new(root().join("tests/cluster/cluster.sh"))
        .args(args)
        .env("STARLING_CLUSTER", name)
        .output()
        .expect("the cluster's script");
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{args:?}: {text}");
}

async fn requests_of(stage: &Stage, name: &str) -> u64 {
    let test = stage
        .until(name, "finishes", seconds(200), is_finished)
        .await;
    assert!(is(&test, "Succeeded"), "{name}: {:?}", test.status);
    assert_eq!(status(&test).runs, 1);
    sent(&report(stage, &test).await)
}

#[test]
fn a_run_that_the_release_before_began_is_ended_by_this_one_with_its_whole_result() {
    play_within("upgraded", seconds(600), async |stage| {
        let (Some(previous), Some(program)) = (previous(), program()) else {
            return println!("NOT SHOWN HERE: run `make upgrade PREVIOUS=COMMIT`");
        };
        let archive = tempfile::NamedTempFile::new().expect("a file");
        let path = archive.path().display().to_string();
        let file = format!("{}=/starling", previous.display());
        cluster(&["image", IMAGE, &path, "--", "/starling", &file]);
        cluster(&["load", &path]);

        stage.deploy_service(&[]);
        stage.service_ready();
        let proxy = Proxy::start(stage.client.clone(), Script::Honest).await;
        let mut operator = LocalOperator::start_with(stage, &previous, IMAGE, &proxy);
        stage.apply(&vanishing(brief("old", 25)));
        let before = stage.loaded("old").await;
        let pods = stage.pods_ever();
        operator.upgrade(&program);
        let old = requests_of(stage, "old").await;
        assert_eq!(run_id(&stage.test("old").await), run_id(&before));
        assert_eq!(stage.pods_ever(), pods, "no Pod was made anew");
        assert_eq!(old, stage.stands_still("the run is over").await);
        // and the next run is the new release's own
        stage.apply(&vanishing(brief("new", 3)));
        let new = requests_of(stage, "new").await;
        assert_eq!(old + new, stage.stands_still("both are over").await);
    });
}
