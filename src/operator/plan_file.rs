//! The run file: the plan of one run as its master and workers read it, and its hash, which the
//! status holds before anything of the run exists.

use crate::crd::status::RunStatus;
use crate::crd::{Checked, LoadTest};
use crate::wire::checksum::sha256;
use crate::wire::layout::RunFile;

/// Writes the run file of `run` as JSON. One release writes the same bytes each time; another
/// release may not, so what is there is compared with the hash in the status alone.
pub fn text(test: &LoadTest, run: &RunStatus, checked: &Checked) -> String {
    let file = RunFile {
        run: run.id.clone(),
        name: test.metadata.name.clone().unwrap_or_default(),
        namespace: test.metadata.namespace.clone(),
        digest: run.digest.clone(),
        workers: run.workers,
        grace: checked.grace,
        on_loss: test.spec.workers.on_loss,
        overrides: Vec::new(),
        warnings: checked.warnings.clone(),
        plan: checked.plan.clone(),
    };
    serde_json::to_string(&file).expect("a plan is JSON")
}

/// Returns the run with the hash of its run file. A run of an older release, which has none, keeps
/// none.
pub fn hashed(test: &LoadTest, run: &RunStatus, checked: &Checked) -> RunStatus {
    RunStatus {
        plan_hash: run
            .plan_hash
            .as_ref()
            .map(|_| sha256(text(test, run, checked).as_bytes())),
        ..run.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::fixture;

    #[test]
    fn the_hash_is_of_the_whole_file_and_runs_without_one_stay_without() {
        let test = fixture::test();
        let checked = crate::crd::check(&test.spec).unwrap();
        let run = RunStatus {
            id: "categorizer-aaaaaa".into(),
            plan_hash: Some(String::new()),
            ..RunStatus::default()
        };
        let hash = hashed(&test, &run, &checked).plan_hash.unwrap();
        assert_eq!(
            hash,
            hashed(&test, &run, &crate::crd::check(&test.spec).unwrap())
                .plan_hash
                .unwrap(),
            "a second check of the spec gives the same bytes"
        );
        let more = RunStatus {
            workers: 2,
            ..run.clone()
        };
        assert_ne!(Some(hash), hashed(&test, &more, &checked).plan_hash);
        let old = RunStatus {
            plan_hash: None,
            ..run
        };
        assert_eq!(hashed(&test, &old, &checked).plan_hash, None);
    }
}
