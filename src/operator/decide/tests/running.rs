//! Decisions from the first grant to the end: grants sent again, stops, and the result.

use super::*;

#[test]
fn a_grant_that_may_have_been_lost_is_sent_again_to_the_same_master_only() {
    let seen = granted(MasterState::Ready);
    let grants: Vec<Grant> = decide(&seen, later(5))
        .writes
        .into_iter()
        .filter_map(|w| {
            if let Write::Grant(grant) = w {
                Some(grant)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(
        (
            grants[0].action,
            grants[0].incarnation.as_str(),
            grants[0].epoch
        ),
        (GrantAction::Start, "one", 1)
    );
}

#[test]
fn another_incarnation_is_told_to_resume_with_a_higher_epoch_never_to_start() {
    for state in [
        MasterState::Waiting,
        MasterState::Ready,
        MasterState::Recovering,
        MasterState::Running,
    ] {
        let mut seen = granted(state);
        master(&mut seen).incarnation = "two".into();
        let decision = decide(&seen, later(5));
        let [Write::Status(status), Write::Grant(grant)] = decision.writes.as_slice() else {
            panic!("{decision:?}")
        };
        assert_eq!(
            status.run.as_ref().unwrap().master.as_ref().unwrap().epoch,
            2
        );
        assert_eq!(
            (grant.action, grant.incarnation.as_str(), grant.epoch),
            (GrantAction::Resume, "two", 2)
        );
        seen.test.status = Some((**status).clone());
        master(&mut seen).state = MasterState::Ready;
        let retold = decide(&seen, later(10));
        assert!(
            retold.writes.iter().all(
                |write| !matches!(write, Write::Grant(grant) if grant.action == GrantAction::Start)
            ),
            "{retold:?}"
        );
    }
}

#[test]
fn a_lost_run_ends() {
    assert_eq!(
        ends(&decide(&granted(MasterState::Lost), now())),
        (Phase::Errored, "MasterLost".into())
    );
}

#[test]
fn an_essential_child_deleted_after_the_grant_ends_the_run_and_any_other_does_not() {
    for child in Child::FLEET {
        let mut seen = granted(MasterState::Running);
        seen.children.0.remove(&child);
        let decision = decide(&seen, now());
        assert!(
            !decision
                .writes
                .iter()
                .any(|write| matches!(write, Write::Create(_))),
            "{child} made again: {decision:?}"
        );
        match child.is_essential() {
            true => {
                assert_eq!(ends(&decision), (Phase::Errored, "ChildDeleted".into()));
                assert!(
                    matches!(decision.writes[0], Write::Stop(_)),
                    "the load is stopped first"
                );
            }
            false => assert!(
                decision
                    .writes
                    .iter()
                    .all(|w| matches!(w, Write::Status(s) if s.phase == Some(Phase::Running)))
            ),
        }
    }
}

#[test]
fn suspend_during_the_run_stops_it() {
    let mut seen = granted(MasterState::Running);
    seen.test.spec.run.suspend = true;
    let decision = decide(&seen, now());
    let [Write::Status(status), Write::Stop(stop)] = decision.writes.as_slice() else {
        panic!("{decision:?}")
    };
    assert_eq!(
        (status.phase, &stop.reason),
        (Some(Phase::Stopping), &VerdictReason::Suspended)
    );
    // a master that has not started yet hears the stop, not the start
    master(&mut seen).state = MasterState::Ready;
    assert!(
        !decide(&seen, now())
            .writes
            .iter()
            .any(|write| matches!(write, Write::Grant(_)))
    );
    seen.master = MasterView::Unreachable("no answer".into());
    seen.unreachable_for = clocks::STOP_UNREACHABLE;
    assert_eq!(
        ends(&decide(&seen, now())),
        (Phase::Aborted, "Suspended".into())
    );
}

#[test]
fn a_run_past_its_deadline_is_stopped_then_given_up() {
    // 10 s of load, 30 s of stopTimeout and 10 minutes
    let mut seen = granted(MasterState::Running);
    assert!(
        !decide(&seen, later(639))
            .writes
            .iter()
            .any(|write| matches!(write, Write::Stop(_)))
    );
    assert!(decide(&seen, later(640)).writes.iter().any(
        |write| matches!(write, Write::Stop(stop) if stop.reason == VerdictReason::DeadlineExceeded)
    ));
    assert_eq!(
        ends(&decide(&seen, later(1240))),
        (Phase::Errored, "DeadlineExceeded".into())
    );
    seen.master = MasterView::Unreachable("connection refused".into());
    assert!(
        written_status(&decide(&seen, later(1239)))
            .run
            .as_ref()
            .unwrap()
            .end
            .is_none(),
        "the run goes on"
    );
    seen.unreachable_for = clocks::AFTER_DEADLINE;
    assert_eq!(
        ends(&decide(&seen, later(1240))),
        (Phase::Errored, "MasterUnreachable".into())
    );
}

#[test]
fn the_report_is_stored_before_the_end_is_written() {
    let mut seen = granted(MasterState::Finished);
    seen.result = Some(std::sync::Arc::new(fixture::result()));
    let decision = decide(&seen, now());
    assert!(
        matches!(
            decision.writes.as_slice(),
            [Write::Create(Child::Report), Write::Status(_)]
        ),
        "{decision:?}"
    );
    let status = written_status(&decision);
    assert_eq!(
        (status.phase, ends(&decision).1.as_str()),
        (Some(Phase::Succeeded), "NoThresholds")
    );
    assert!(status.report_ref.is_some());
    // the report is there: the master is not needed any more
    seen.children.0.insert(Child::Report, ours(Child::Report).1);
    seen.master = MasterView::Absent;
    assert!(matches!(
        decide(&seen, now()).writes.as_slice(),
        [Write::Status(_)]
    ));
    // the report cannot be stored: the end is written all the same
    seen.children.0.remove(&Child::Report);
    seen.refusal = Some(Refusal {
        child: Child::Report,
        kind: RefusalKind::Denied,
        message: "exceeded quota".into(),
    });
    let decision = decide(&seen, now());
    assert!(
        matches!(
            decision.writes.as_slice(),
            [Write::Status(status)]
                if status.report_ref.is_none()
        ),
        "{decision:?}"
    );
}

#[test]
fn a_result_wins_over_a_child_deleted_at_the_last_moment() {
    let mut seen = granted(MasterState::Finished);
    seen.result = Some(std::sync::Arc::new(fixture::result()));
    seen.children.0.remove(&Child::Workers);
    assert_eq!(ends(&decide(&seen, now())).0, Phase::Succeeded);
}

#[test]
fn progress_is_written_no_more_often_than_the_pace() {
    let mut seen = granted(MasterState::Running);
    seen.test.status = Some(written_status(&decide(&seen, now())).clone());
    master(&mut seen).requests = 10;
    master(&mut seen).rps = 10;
    seen.since_status = Some(Duration::from_secs(1));
    assert_eq!(decide(&seen, now()).writes, []);
    seen.since_status = Some(Duration::from_secs(5));
    assert_eq!(
        written_status(&decide(&seen, now()))
            .columns
            .as_ref()
            .unwrap()
            .rps,
        "10"
    );
}

#[test]
fn a_master_that_was_not_asked_yet_changes_nothing() {
    for state in [MasterState::Running, MasterState::Stopping] {
        let mut seen = granted(state);
        seen.master = MasterView::Unasked;
        let soon = Requeue::After(clocks::SOON);
        assert_eq!(decide(&seen, now()).writes, []);
        assert_eq!(decide(&seen, now()).requeue, soon);
        // nor is the run given up for it, long after its deadline
        assert_eq!(decide(&seen, later(100_000)).writes, []);
    }
}

#[test]
fn a_run_of_which_nothing_new_is_heard_costs_a_pass_now_and_then_and_one_at_its_deadline() {
    let mut seen = granted(MasterState::Running);
    seen.master = MasterView::Unreachable("no answer".into());
    let look = Requeue::After(clocks::LOOK);
    assert_eq!(decide(&seen, now()).requeue, look);
    // 10 s of load, 30 s of stopTimeout and 10 minutes
    let left = Requeue::After(Duration::from_secs(2));
    assert_eq!(decide(&seen, later(638)).requeue, left);
    let mut seen = standing(MasterState::Waiting);
    seen.master = MasterView::Unreachable("no answer".into());
    assert_eq!(decide(&seen, now()).requeue, look);
    assert_eq!(decide(&seen, later(598)).requeue, left);
}
