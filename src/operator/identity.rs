//! Identity of runs: the id of a run, and whether the resource asks for another one.

use crate::crd::spec::StartPolicy;
use crate::crd::status::{RunStatus, TriggerStatus};
use crate::crd::{self, LoadTest, LoadTestStatus};

use super::proof::Proofs;

/// Computes the id of a LoadTest's `runs`th run. Every operator of the installation computes the
/// same, and nobody else can make objects of the run's names before the id is in the status.
pub fn run_id(proofs: &Proofs, name: &str, uid: &str, runs: i64) -> String {
    format!("{name}-{}", proofs.run_suffix(uid, runs))
}

/// Returns the annotation that asks for another run; empty without one.
pub fn rerun(test: &LoadTest) -> String {
    test.metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(crd::RERUN_ANNOTATION))
        .cloned()
        .unwrap_or_default()
}

/// Returns what may start a run with `OnTrigger`, as the resource has it now.
pub fn trigger(test: &LoadTest) -> TriggerStatus {
    TriggerStatus {
        trigger: test.spec.run.trigger.clone(),
        rerun: rerun(test),
    }
}

/// Returns whether the resource asks for a run that it has not had.
pub fn wants_run(test: &LoadTest, status: &LoadTestStatus) -> bool {
    match (test.spec.run.start, &status.run) {
        (StartPolicy::OnTrigger, _) => status
            .trigger
            .as_ref()
            .is_some_and(|seen| *seen != trigger(test)),
        (StartPolicy::OnApply, None) => true,
        (StartPolicy::OnApply, Some(run)) => differs(test, run),
    }
}

/// Returns whether the resource asks for another run than `run`. The digest is compared only when
/// the spec was edited since: an upgrade of operator or schema alone starts nothing.
fn differs(test: &LoadTest, run: &RunStatus) -> bool {
    run.rerun != rerun(test)
        || test.metadata.generation != Some(run.generation) && run.digest != crd::digest(&test.spec)
}

/// Returns whether the spec is still the one that the run was made of.
pub fn is_spec_of(test: &LoadTest, run: &RunStatus) -> bool {
    test.metadata.generation == Some(run.generation) || run.digest == crd::digest(&test.spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::fixture;

    #[test]
    fn an_id_depends_on_object_and_count_and_fits_a_label() {
        let proofs = fixture::keys().current_proofs();
        let id = run_id(&proofs, "categorizer", "uid-1", 1);
        assert_eq!(id, run_id(&proofs, "categorizer", "uid-1", 1));
        assert_ne!(id, run_id(&proofs, "categorizer", "uid-1", 2));
        assert_ne!(id, run_id(&proofs, "categorizer", "uid-2", 1));
        assert!(
            id.len() == "categorizer-".len() + 6
                && id
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
            "{id}"
        );
    }

    #[test]
    fn no_test_may_name_the_channel_of_any_run() {
        let proofs = fixture::keys().current_proofs();
        for runs in 1..50 {
            let id = run_id(&proofs, "categorizer", "uid-1", runs);
            let channel = crate::operator::child::Child::Channel.name(&id);
            assert!(
                crate::plan::reserved::ReservedSecret::named(&channel).is_some(),
                "{channel}"
            );
        }
    }

    #[test]
    fn an_upgrade_that_changes_every_digest_starts_nothing() {
        let (test, mut status) = fixture::ended();
        status.run.as_mut().unwrap().digest = "of another version".into();
        assert!(!wants_run(&test, &status));
    }

    #[test]
    fn an_edit_of_the_load_or_the_annotation_asks_for_a_run() {
        let (mut test, status) = fixture::ended();
        test.metadata.generation = Some(2);
        assert!(
            !wants_run(&test, &status),
            "the same spec under a new generation"
        );
        test.spec.target.url = "http://other".into();
        assert!(wants_run(&test, &status));
        let (mut test, status) = fixture::ended();
        test.metadata.annotations =
            Some([(crd::RERUN_ANNOTATION.to_owned(), "2".to_owned())].into());
        assert!(wants_run(&test, &status));
    }

    #[test]
    fn with_on_trigger_only_the_trigger_does() {
        let (mut test, mut status) = fixture::ended();
        test.spec.run.start = StartPolicy::OnTrigger;
        test.spec.target.url = "http://other".into();
        test.metadata.generation = Some(2);
        status.trigger = Some(trigger(&test));
        assert!(!wants_run(&test, &status));
        test.spec.run.trigger = "now".into();
        assert!(wants_run(&test, &status));
    }

    #[test]
    fn with_on_trigger_a_resource_seen_for_the_first_time_waits() {
        let (mut test, _) = fixture::ended();
        test.spec.run.start = StartPolicy::OnTrigger;
        test.spec.run.trigger = "restored from a backup".into();
        assert!(!wants_run(&test, &LoadTestStatus::default()));
    }
}
