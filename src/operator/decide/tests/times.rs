//! Times that cannot be read: they are reported, and end nothing.

use super::*;

/// A reason, as the conditions of the next status show it, and its message.
fn reported(seen: &Observed, at: Timestamp) -> (String, String) {
    let decision = decide(seen, at);
    let status = written_status(&decision);
    let reconciling = status
        .conditions
        .iter()
        .find(|condition| condition.r#type == "Reconciling")
        .unwrap();
    assert_eq!(reconciling.status, crate::crd::ConditionStatus::True);
    (reconciling.reason.clone(), reconciling.message.clone())
}

fn run(seen: &mut Observed) -> &mut RunStatus {
    seen.test.status.as_mut().unwrap().run.as_mut().unwrap()
}

fn is_stopped(decision: &Decision) -> bool {
    decision
        .writes
        .iter()
        .any(|write| matches!(write, Write::Stop(_)))
}

#[test]
fn a_run_whose_deadline_cannot_be_read_goes_on_and_says_so() {
    for text in ["", "soon", "10"] {
        let mut seen = granted(MasterState::Running);
        run(&mut seen).deadline = text.into();
        for at in [later(0), later(1_000_000)] {
            assert!(!is_stopped(&decide(&seen, at)));
            let (reason, message) = reported(&seen, at);
            assert_eq!(reason, "UnreadableTime");
            for part in [
                "status.run.deadline",
                &format!("{text:?}"),
                "the load is running",
            ] {
                assert!(message.contains(part), "{message}");
            }
        }
    }
}

#[test]
fn a_run_whose_start_cannot_be_read_goes_on_though_its_master_does_not_answer() {
    let mut seen = granted(MasterState::Running);
    run(&mut seen).started_at = Some("yesterday".into());
    seen.master = MasterView::Unreachable("connection refused".into());
    let (reason, message) = reported(&seen, later(1_000_000));
    assert_eq!(reason, "UnreadableTime");
    assert!(message.contains("status.run.startedAt"), "{message}");
    assert!(message.contains("connection refused"), "{message}");
}

#[test]
fn a_run_without_a_deadline_is_still_stopped_by_its_user_and_ended_by_its_result() {
    let mut seen = granted(MasterState::Running);
    run(&mut seen).deadline = "soon".into();
    seen.test.spec.run.suspend = true;
    assert!(is_stopped(&decide(&seen, now())));
    seen.result = Some(std::sync::Arc::new(fixture::result()));
    assert_eq!(ends(&decide(&seen, now())).0, Phase::Succeeded);
}

#[test]
fn a_run_whose_start_deadline_cannot_be_read_waits_and_says_so_and_is_granted() {
    let mut seen = standing(MasterState::Waiting);
    run(&mut seen).start_by = String::new();
    let (reason, message) = reported(&seen, later(1_000_000));
    assert_eq!(reason, "UnreadableTime");
    for part in ["status.run.startBy", "2 of 2 workers are ready"] {
        assert!(message.contains(part), "{message}");
    }
    master(&mut seen).state = MasterState::Ready;
    let decision = decide(&seen, later(1_000_000));
    assert!(
        decision
            .writes
            .iter()
            .any(|write| matches!(write, Write::Grant(_)))
    );
}

#[test]
fn a_start_deadline_that_cannot_be_read_after_a_suspension_ends_nothing() {
    let mut seen = standing(MasterState::Waiting);
    seen.test.status.as_mut().unwrap().phase = Some(Phase::Suspended);
    seen.test.spec.workers.start_deadline = "soon".into();
    let (reason, message) = reported(&seen, later(1_000_000));
    assert_eq!(reason, "UnreadableTime");
    assert!(message.contains("spec.workers.startDeadline"), "{message}");
}

#[test]
fn what_shows_the_result_of_a_run_stays_while_its_time_cannot_be_read() {
    let ended_at = |seen: &mut Observed| run(seen).finished_at = Some("yesterday".into());
    let ttl = |seen: &mut Observed| seen.test.spec.run.ttl_after_finished = "soon".into();
    for (field, spoil) in [
        ("status.run.finishedAt", &ended_at as &dyn Fn(&mut Observed)),
        ("spec.run.ttlAfterFinished", &ttl),
    ] {
        let mut seen = after_the_end();
        seen.acknowledged = Some(true);
        spoil(&mut seen);
        assert_eq!(
            deleted(&decide(&seen, later(1_000_000))),
            [Child::Workers, Child::Budget],
            "{field}: what could make load goes"
        );
        seen.children.0.remove(&Child::Workers);
        seen.children.0.remove(&Child::Budget);
        let mut checks = SpecCheck::default();
        let decision = super::super::decide(&seen, &mut checks, later(1_000_000));
        assert!(decision.delete.is_empty(), "{:?}", decision.delete);
        let error = decision.unreadable.expect("told to the log").to_string();
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn a_wall_clock_that_jumps_ends_no_run_whose_master_keeps_the_deadline() {
    let mut seen = granted(MasterState::Running);
    master(&mut seen).deadline_micros = 640_000_000;
    for passed in [None, Some(0), Some(639_999_999)] {
        master(&mut seen).granted_micros = passed;
        for at in [later(0), later(640), later(1_000_000)] {
            let decision = decide(&seen, at);
            assert!(!is_stopped(&decision));
            assert!(
                written_status(&decision)
                    .run
                    .as_ref()
                    .unwrap()
                    .end
                    .is_none()
            );
        }
    }
    // its own stop is not repeated, and waited for as long as any
    master(&mut seen).granted_micros = Some(640_000_000);
    assert!(!is_stopped(&decide(&seen, later(0))));
    master(&mut seen).granted_micros = Some(1_240_000_000);
    assert_eq!(
        ends(&decide(&seen, later(0))),
        (Phase::Errored, "DeadlineExceeded".into())
    );
}

#[test]
fn a_wall_clock_that_jumps_ends_no_run_whose_master_was_just_there() {
    let mut seen = granted(MasterState::Running);
    seen.master = MasterView::Unreachable("connection refused".into());
    let goes_on = |seen: &Observed| {
        let decision = decide(seen, later(1_000_000));
        written_status(&decision)
            .run
            .as_ref()
            .unwrap()
            .end
            .is_none()
    };
    assert!(goes_on(&seen));
    seen.unreachable_for = clocks::AFTER_DEADLINE - Duration::from_secs(1);
    assert!(goes_on(&seen));
}
