//! Decisions after the end: what is deleted, what is kept, and what begins the next run.

use super::*;

#[test]
fn after_the_end_comes_the_acknowledgement_then_the_job_goes_and_the_rest_after_its_time() {
    let mut seen = after_the_end();
    assert_eq!(decide(&seen, now()).writes, [Write::Acknowledge]);
    seen.acknowledged = Some(true);
    let decision = decide(&seen, now());
    assert_eq!(deleted(&decision), [Child::Workers, Child::Budget]);
    for child in deleted(&decision) {
        seen.children.0.remove(&child);
    }
    assert_eq!(
        decide(&seen, now()),
        Decision {
            writes: vec![],
            requeue: Requeue::After(Duration::from_secs(601))
        }
    );
    assert_eq!(
        deleted(&decide(&seen, later(600))),
        [Child::Master, Child::Service, Child::Policy, Child::Plan],
        "the report and the channel are not named"
    );
}

#[test]
fn the_job_of_an_ended_run_goes_whatever_became_of_the_acknowledgement() {
    let mut seen = after_the_end();
    seen.acknowledged = Some(false);
    assert!(deleted(&decide(&seen, now())).contains(&Child::Workers));
    seen.acknowledged = None;
    for gone in [
        MasterView::Absent,
        MasterView::Unreachable("no answer".into()),
    ] {
        seen.master = gone;
        assert!(deleted(&decide(&seen, now())).contains(&Child::Workers));
    }
    // an operator that has just come up asks first, but not for ever
    seen.master = MasterView::Unasked;
    assert_eq!(decide(&seen, now()).writes, []);
    assert!(deleted(&decide(&seen, later(30))).contains(&Child::Workers));
}

#[test]
fn a_run_that_never_started_leaves_nothing_behind() {
    let mut seen = standing(MasterState::Waiting);
    seen.test.status = Some(written_status(&decide(&seen, later(600))).clone());
    let decision = decide(&seen, later(600));
    assert_eq!(
        deleted(&decision),
        [
            Child::Workers,
            Child::Budget,
            Child::Master,
            Child::Service,
            Child::Policy,
            Child::Plan
        ]
    );
    assert!(!decision.writes.contains(&Write::Acknowledge));
}

#[test]
fn reports_of_runs_out_of_the_history_are_deleted() {
    let mut seen = after_the_end();
    seen.children = Children::default();
    let id = run_of(&seen).id;
    seen.old_reports = vec![
        OldReport {
            run: id,
            name: "one".into(),
            uid: "1".into(),
        },
        OldReport {
            run: "categorizer-oldold".into(),
            name: "two".into(),
            uid: "2".into(),
        },
    ];
    let decision = decide(&seen, now());
    assert_eq!(
        decision.writes,
        [Write::Delete {
            child: Child::Report,
            run: "categorizer-oldold".into(),
            uid: "2".into()
        }]
    );
}

#[test]
fn what_does_not_matter_for_the_load_starts_nothing_after_the_end() {
    let mut seen = after_the_end();
    seen.children = Children::default();
    seen.test.metadata.generation = Some(2);
    let spec = &mut seen.test.spec;
    (
        spec.workers.replicas,
        spec.run.suspend,
        spec.run.stop_timeout,
    ) = (7, true, "1s".into());
    let decision = decide(&seen, later(9_000));
    assert!(
        matches!(
            decision.writes.as_slice(),
            [Write::Status(status)]
                if status.observed_generation == 2
                    && status.phase == Some(Phase::Succeeded)
        ),
        "{decision:?}"
    );
    seen.test.status = Some(written_status(&decision).clone());
    assert_eq!(decide(&seen, later(9_000)), Decision::rest());
}

#[test]
fn a_new_identity_waits_for_the_end_then_clears_up_and_begins() {
    let mut seen = granted(MasterState::Running);
    seen.test.metadata.annotations =
        Some([(crate::crd::RERUN_ANNOTATION.to_owned(), "1".to_owned())].into());
    let decision = decide(&seen, now());
    assert!(
        matches!(
            decision.writes.as_slice(),
            [Write::Status(status)]
                if status.columns.as_ref().unwrap().reason == "NewerSpecWaiting"
        ),
        "{decision:?}"
    );
    let mut seen = after_the_end();
    seen.test.metadata.annotations =
        Some([(crate::crd::RERUN_ANNOTATION.to_owned(), "1".to_owned())].into());
    assert_eq!(decide(&seen, now()).writes, [Write::Acknowledge]);
    seen.acknowledged = Some(true);
    assert_eq!(deleted(&decide(&seen, now())).len(), 6);
    seen.children = Children::default();
    let status = written_status(&decide(&seen, now())).clone();
    assert_eq!(
        (status.runs, status.history.len(), status.results.is_none()),
        (2, 1, true)
    );
    assert_ne!(status.run.unwrap().id, run_of(&seen).id);
}
