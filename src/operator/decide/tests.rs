//! Single decisions first, then whole histories in a small model of the world.

mod histories;
mod times;

use std::time::Duration;

use jiff::SignedDuration;

use super::*;
use crate::crd::status::{RunEnd, RunStatus};
use crate::crd::{LoadTestStatus, Phase};
use crate::operator::apply::applied::{Applied, Written};
use crate::operator::build::{Settings, build};
use crate::operator::fixture::{self, applied, ours, progress};
use crate::operator::reason::Reason;
use crate::operator::status;
use crate::operator::times::write_instant;
use crate::operator::view::{Children, MasterView, OldReport, Presence, Refusal};
use crate::wire::Reason as VerdictReason;
use crate::wire::control::{Grant, GrantAction, MasterState, ProblemKind, Stop, WorkerProblem};

/// One write of a pass.
#[derive(Debug, Clone, PartialEq)]
enum Write {
    Status(Box<LoadTestStatus>),
    Create(Child),
    Grant(Grant),
    Stop(Stop),
    Acknowledge,
    Delete {
        child: Child,
        run: String,
        uid: String,
    },
}

/// A decision as the writes of a pass that is refused nothing, in the order of `reconcile`.
#[derive(Debug, Clone, PartialEq)]
struct Decision {
    writes: Vec<Write>,
    requeue: Requeue,
}

impl Decision {
    fn rest() -> Self {
        Self {
            writes: Vec::new(),
            requeue: Requeue::OnChange,
        }
    }
}

fn decide(seen: &Observed, now: Timestamp) -> Decision {
    decide_with(seen, &mut SpecCheck::default(), now)
}

fn decide_with(seen: &Observed, checks: &mut SpecCheck, now: Timestamp) -> Decision {
    let decided = super::decide(seen, checks, now);
    let mut writes = Vec::new();
    writes.extend(decided.call_before.map(|call| match call {
        CallBefore::Stop(stop) => Write::Stop(stop),
        CallBefore::Acknowledge => Write::Acknowledge,
    }));
    let created = match decided.create {
        Create::Nothing => Vec::new(),
        Create::Fleet { children, .. } => children,
        Create::Report { .. } => vec![Child::Report],
    };
    writes.extend(created.iter().copied().map(Write::Create));
    writes.extend(decided.delete.into_iter().map(|deletion| Write::Delete {
        child: deletion.child,
        run: deletion.run,
        uid: deletion.uid,
    }));
    let mut children = seen.children.clone();
    children.0.extend(created.into_iter().map(ours));
    let applied = Applied::assumed(children);
    let status = decided
        .status
        .and_then(|draft| status::next(seen, &draft, &applied, now));
    let written = Written::assumed(status.clone().unwrap_or_else(|| seen.status()));
    writes.extend(status.map(|status| Write::Status(Box::new(status))));
    writes.extend(decided.call_after.and_then(|call| match call {
        CallAfter::Stop(stop) => Some(Write::Stop(stop)),
        CallAfter::Grant => written.grant().map(Write::Grant),
    }));
    Decision {
        writes,
        requeue: decided.requeue,
    }
}

fn now() -> Timestamp {
    fixture::now()
}

fn later(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

fn written_status(decision: &Decision) -> &LoadTestStatus {
    let status = decision.writes.iter().find_map(|write| match write {
        Write::Status(status) => Some(status),
        _ => None,
    });
    status.unwrap_or_else(|| panic!("no status in {decision:?}"))
}

/// As [`applied`], after W1.
fn begun() -> Observed {
    let mut seen = applied();
    seen.test.status = Some(written_status(&decide(&seen, now())).clone());
    seen
}

fn run_of(seen: &Observed) -> RunStatus {
    seen.status().run.unwrap()
}

/// After W7, with a master in `state`.
fn standing(state: MasterState) -> Observed {
    let mut seen = begun();
    seen.children = Children(Child::FLEET.map(ours).into());
    seen.master = MasterView::Up(progress(&run_of(&seen).id, state));
    seen
}

/// After W8.
fn granted(state: MasterState) -> Observed {
    let mut seen = standing(MasterState::Ready);
    seen.test.status = Some(written_status(&decide(&seen, now())).clone());
    seen.master = MasterView::Up(progress(&run_of(&seen).id, state));
    seen
}

fn master(seen: &mut Observed) -> &mut crate::wire::control::Progress {
    match &mut seen.master {
        MasterView::Up(progress) => progress,
        _ => panic!("the master is not up"),
    }
}

fn end_of(decision: &Decision) -> RunEnd {
    written_status(decision)
        .run
        .clone()
        .unwrap()
        .end
        .unwrap_or_else(|| panic!("not ended: {decision:?}"))
}

fn ends(decision: &Decision) -> (Phase, String) {
    let end = end_of(decision);
    (end.phase, end.reason)
}

#[test]
fn a_resource_being_deleted_is_not_written_to() {
    for mut seen in [
        applied(),
        begun(),
        granted(MasterState::Running),
        standing(MasterState::Ready),
    ] {
        seen.test.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
        assert_eq!(decide(&seen, later(1_000_000)).writes, []);
    }
}

#[test]
fn a_namespace_going_away_is_not_written_to() {
    let mut seen = begun();
    seen.refusal = Some(Refusal {
        child: Child::Plan,
        kind: RefusalKind::Terminating,
        message: "namespace".into(),
    });
    assert_eq!(decide(&seen, now()).writes, []);
}

#[test]
fn the_job_of_a_run_whose_namespace_goes_away_is_deleted_since_its_controller_would_hold_the_pods()
{
    for mut seen in [
        standing(MasterState::Waiting),
        granted(MasterState::Running),
    ] {
        seen.refusal = Some(Refusal {
            child: Child::Channel,
            kind: RefusalKind::Terminating,
            message: "namespace".into(),
        });
        seen.master = MasterView::Absent;
        let uid = seen.children.uid(Child::Workers).unwrap().to_owned();
        let run = run_of(&seen).id;
        assert_eq!(
            decide(&seen, now()).writes,
            [Write::Delete {
                child: Child::Workers,
                run,
                uid
            }]
        );
    }
}

#[test]
fn the_run_of_another_installation_is_left_alone_until_it_has_ended() {
    let mut seen = standing(MasterState::Ready);
    seen.installation.id = "other".into();
    assert_eq!(decide(&seen, later(1_000_000)), Decision::rest());
}

#[test]
fn an_invalid_spec_creates_nothing_and_names_the_field() {
    let mut seen = applied();
    seen.test.spec.load.closed = None;
    let decision = decide(&seen, now());
    assert_eq!(
        (decision.writes.len(), decision.requeue),
        (1, Requeue::OnChange)
    );
    let status = written_status(&decision);
    assert_eq!(
        (status.phase, &status.run, status.runs),
        (Some(Phase::Errored), &None, 0)
    );
    assert!(
        status.conditions.iter().any(|c| c.r#type == "Stalled"
            && c.reason == "InvalidSpec"
            && c.message.contains("spec.load")),
        "{status:?}"
    );
    seen.test.status = Some(status.clone());
    assert_eq!(decide(&seen, later(60)), Decision::rest(), "said once");
}

#[test]
fn the_run_id_is_written_before_anything_is_created() {
    let decision = decide(&applied(), now());
    assert!(
        matches!(decision.writes.as_slice(), [Write::Status(_)]),
        "{decision:?}"
    );
    let run = written_status(&decision).run.clone().unwrap();
    assert_eq!((run.generation, run.started_at, run.workers), (1, None, 2));
    assert!(run.id.starts_with("categorizer-"));
    assert_eq!(run.start_by, "2026-11-22T01:10:00Z");
}

#[test]
fn children_are_created_in_their_order_and_only_those_that_are_missing() {
    let mut seen = begun();
    let creates = |decision: &Decision| -> Vec<Child> {
        let all = decision.writes.iter().filter_map(|write| {
            if let Write::Create(child) = write {
                Some(*child)
            } else {
                None
            }
        });
        all.collect()
    };
    assert_eq!(creates(&decide(&seen, now())), Child::FLEET);
    seen.children = Children(
        Child::FLEET
            .into_iter()
            .filter(|child| *child != Child::Service)
            .map(ours)
            .collect(),
    );
    assert_eq!(creates(&decide(&seen, now())), [Child::Service]);
    seen.children.0.insert(
        Child::Workers,
        Presence::Ours {
            uid: "u".into(),
            deleting: true,
        },
    );
    assert_eq!(
        creates(&decide(&seen, now())),
        [],
        "a name that is not free yet"
    );
}

#[test]
fn an_object_of_the_name_that_is_not_ours_ends_the_run() {
    let mut seen = begun();
    seen.children.0.insert(Child::Master, Presence::Foreign);
    assert_eq!(
        ends(&decide(&seen, now())),
        (Phase::Errored, "NameTaken".into())
    );
}

#[test]
fn what_the_api_server_refuses_for_good_ends_the_run_and_a_quota_is_waited_for() {
    let mut seen = begun();
    let refusal = |kind, message: &str| {
        Some(Refusal {
            child: Child::Workers,
            kind,
            message: message.into(),
        })
    };
    seen.refusal = refusal(RefusalKind::Invalid, "spec.template: bad label");
    assert_eq!(
        ends(&decide(&seen, now())),
        (Phase::Errored, "InvalidSpec".into())
    );
    seen.refusal = refusal(RefusalKind::Denied, "exceeded quota: pods");
    let decision = decide(&seen, now());
    assert_eq!(written_status(&decision).phase, Some(Phase::Starting));
    assert_eq!(
        written_status(&decision).columns.as_ref().unwrap().reason,
        "QuotaExceeded"
    );
    assert!(
        !decision
            .writes
            .iter()
            .any(|write| matches!(write, Write::Create(_)))
    );
    assert_eq!(
        ends(&decide(&seen, later(601))),
        (Phase::Errored, "QuotaExceeded".into())
    );
}

#[test]
fn a_spec_changed_before_its_children_exist_ends_the_run_unstarted() {
    let mut seen = begun();
    seen.test.spec.target.url = "http://other".into();
    seen.test.metadata.generation = Some(2);
    assert_eq!(
        ends(&decide(&seen, now())),
        (Phase::Aborted, "SpecChanged".into())
    );
}

#[test]
fn the_grant_is_in_the_status_before_the_master_hears_of_it() {
    let seen = standing(MasterState::Ready);
    let decision = decide(&seen, now());
    let [Write::Status(status), Write::Grant(grant)] = decision.writes.as_slice() else {
        panic!("{decision:?}")
    };
    let run = status.run.clone().unwrap();
    assert_eq!(
        (status.phase, run.started_at),
        (Some(Phase::Running), Some(fixture::NOW.to_owned()))
    );
    assert_eq!(
        run.master.unwrap(),
        crate::crd::status::MasterStatus {
            epoch: 1,
            incarnation: "one".into()
        }
    );
    assert_eq!(
        (grant.epoch, grant.incarnation.as_str(), grant.action),
        (1, "one", GrantAction::Start)
    );
}

#[test]
fn nothing_is_granted_while_a_child_or_a_worker_is_missing() {
    let mut seen = standing(MasterState::Ready);
    seen.children.0.remove(&Child::Policy);
    assert!(
        !decide(&seen, now())
            .writes
            .iter()
            .any(|write| matches!(write, Write::Grant(_)))
    );
    let seen = standing(MasterState::Waiting);
    assert!(
        !decide(&seen, now())
            .writes
            .iter()
            .any(|write| matches!(write, Write::Grant(_)))
    );
}

#[test]
fn a_missing_reference_is_waited_for_then_named() {
    let mut seen = standing(MasterState::Waiting);
    let problem = |kind, for_seconds| WorkerProblem {
        worker: 0,
        kind,
        field: "spec.target.auth.bearer.tokenFrom".into(),
        object: "Secret \"databricks\" key \"pat\"".into(),
        message: "is not there".into(),
        for_seconds,
    };
    master(&mut seen).problems = vec![problem(ProblemKind::MissingReference, 19)];
    assert_eq!(
        written_status(&decide(&seen, now()))
            .columns
            .as_ref()
            .unwrap()
            .reason,
        "MissingReference"
    );
    master(&mut seen).problems = vec![problem(ProblemKind::MissingReference, 20)];
    let end = end_of(&decide(&seen, now()));
    assert_eq!(
        (end.phase, end.reason.as_str()),
        (Phase::Errored, "MissingReference")
    );
    for part in ["databricks", "pat", "spec.target.auth.bearer.tokenFrom"] {
        assert!(end.message.contains(part), "{}", end.message);
    }
    master(&mut seen).connected = 1;
    assert!(
        written_status(&decide(&seen, now()))
            .run
            .as_ref()
            .unwrap()
            .end
            .is_none(),
        "not all else is up"
    );
    master(&mut seen).problems = vec![problem(ProblemKind::InvalidSpec, 0)];
    assert_eq!(
        ends(&decide(&seen, now())),
        (Phase::Errored, "InvalidSpec".into())
    );
}

#[test]
fn at_the_start_deadline_the_run_ends_with_what_the_pods_say() {
    let mut seen = standing(MasterState::Waiting);
    assert_eq!(
        ends(&decide(&seen, later(600))),
        (Phase::Errored, "StartDeadlineExceeded".into())
    );
    seen.master = MasterView::Absent;
    seen.pods = vec![crate::operator::view::PodView {
        name: "p".into(),
        component: crate::operator::child::Component::Master,
        created: None,
        address: None,
        ready: false,
        deleting: false,
        over: false,
        trouble: Some(crate::operator::view::Trouble {
            reason: Reason::ImagePullFailed,
            message: "ErrImagePull: no such image".into(),
        }),
    }];
    let end = end_of(&decide(&seen, later(600)));
    assert_eq!(end.reason, "ImagePullFailed");
    assert!(end.message.contains("no such image"));
}

#[test]
fn suspended_before_the_start_creates_nothing_grants_nothing_and_gives_the_time_back() {
    let mut seen = applied();
    seen.test.spec.run.suspend = true;
    let status = written_status(&decide(&seen, now())).clone();
    assert_eq!((status.phase, &status.run), (Some(Phase::Suspended), &None));
    let mut seen = standing(MasterState::Ready);
    seen.test.spec.run.suspend = true;
    let decision = decide(&seen, later(10_000));
    assert!(
        matches!(
            decision.writes.as_slice(),
            [Write::Status(status)]
                if status.phase == Some(Phase::Suspended)
        ),
        "{decision:?}"
    );
    seen.test.status = Some(written_status(&decision).clone());
    seen.test.spec.run.suspend = false;
    master(&mut seen).state = MasterState::Waiting;
    let status = written_status(&decide(&seen, later(20_000))).clone();
    assert_eq!(
        (status.phase, status.run.unwrap().start_by),
        (Some(Phase::Starting), write_instant(later(20_600)))
    );
}

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
    assert_eq!(
        ends(&decide(&seen, later(1240))),
        (Phase::Errored, "MasterUnreachable".into())
    );
}

#[test]
fn the_report_is_stored_before_the_end_is_written() {
    let mut seen = granted(MasterState::Finished);
    seen.result = Some(Box::new(fixture::result()));
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
    seen.result = Some(Box::new(fixture::result()));
    seen.children.0.remove(&Child::Workers);
    assert_eq!(ends(&decide(&seen, now())).0, Phase::Succeeded);
}

fn after_the_end() -> Observed {
    let mut seen = granted(MasterState::Finished);
    seen.result = Some(Box::new(fixture::result()));
    seen.test.status = Some(written_status(&decide(&seen, now())).clone());
    seen.children.0.insert(Child::Report, ours(Child::Report).1);
    seen.result = None;
    seen
}

fn deleted(decision: &Decision) -> Vec<Child> {
    decision
        .writes
        .iter()
        .filter_map(|write| {
            if let Write::Delete { child, .. } = write {
                Some(*child)
            } else {
                None
            }
        })
        .collect()
}

#[test]
fn after_the_end_comes_the_acknowledgement_then_the_job_goes_and_the_rest_after_its_time() {
    let mut seen = after_the_end();
    let decision = decide(&seen, now());
    assert_eq!(decision.writes[0], Write::Acknowledge);
    assert_eq!(deleted(&decision), [Child::Workers, Child::Budget]);
    for child in deleted(&decision) {
        seen.children.0.remove(&child);
    }
    assert_eq!(
        decide(&seen, now()),
        Decision {
            writes: vec![],
            requeue: Requeue::After(Duration::from_secs(3601))
        }
    );
    assert_eq!(
        deleted(&decide(&seen, later(3600))),
        [Child::Master, Child::Service, Child::Policy, Child::Plan],
        "the report and the channel are not named"
    );
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
            uid: "1".into(),
        },
        OldReport {
            run: "categorizer-oldold".into(),
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
    assert_eq!(deleted(&decide(&seen, now())).len(), 6);
    seen.children = Children::default();
    let status = written_status(&decide(&seen, now())).clone();
    assert_eq!(
        (status.runs, status.history.len(), status.results.is_none()),
        (2, 1, true)
    );
    assert_ne!(status.run.unwrap().id, run_of(&seen).id);
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
fn a_run_begins_with_one_check_of_its_plan() {
    let keys = fixture::keys();
    let settings = Settings {
        image: "starling:1".into(),
        pull_policy: "IfNotPresent".into(),
        namespace: "starling-system".into(),
    };
    let mut checks = SpecCheck::default();
    let mut seen = applied();
    seen.installation.key_id = keys.current.clone();
    let begun = decide_with(&seen, &mut checks, now());
    seen.test.status = Some(written_status(&begun).clone());
    let decision = super::decide(&seen, &mut checks, now());
    let built = build(&seen.test, &decision.create, &settings, &keys).unwrap();
    let children: Vec<Child> = built.into_iter().map(|object| object.child()).collect();
    assert_eq!(children, Child::FLEET);
    assert_eq!(checks.count(), 1);
}

#[test]
fn a_run_that_goes_on_needs_no_check_of_its_plan() {
    let mut checks = SpecCheck::default();
    decide_with(&granted(MasterState::Running), &mut checks, later(5));
    decide_with(&after_the_end(), &mut checks, later(5));
    assert_eq!(checks.count(), 0);
}
