//! Decisions by what the run is doing, then whole histories in a small model of the world.

mod histories;
mod inactive;
mod kstatus;
mod model;
mod policy;
mod running;
mod scaling;
mod starting;
mod step;
mod times;
mod trust;

use std::time::Duration;

use jiff::SignedDuration;

use super::*;
use crate::crd::status::{RunEnd, RunStatus};
use crate::crd::{LoadTestStatus, Phase};
use crate::operator::apply::applied::{Applied, Written};
use crate::operator::build::{Settings, build};
use crate::operator::fixture::{self, applied, ours, progress};
use crate::operator::lease::Owner;
use crate::operator::reason::Reason;
use crate::operator::status;
use crate::operator::times::write_instant;
use crate::operator::view::{Children, MasterView, OldReport, Presence, Refusal};
use crate::wire::Reason as VerdictReason;
use crate::wire::control::{
    FleetSize, Grant, GrantAction, MasterState, ProblemKind, Stop, WorkerProblem,
};

/// One write of a pass.
#[derive(Debug, Clone, PartialEq)]
enum Write {
    Status(Box<LoadTestStatus>),
    Create(Child),
    Grant(Grant),
    Stop(Stop),
    Scale(FleetSize),
    Resize(u32),
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
    writes.extend(decided.resize.map(Write::Resize));
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
        CallAfter::Scale => written.scale().map(|scale| Write::Scale(scale.workers)),
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

/// As [`granted`], with the result written and the report stored.
fn after_the_end() -> Observed {
    let mut seen = granted(MasterState::Finished);
    seen.result = Some(std::sync::Arc::new(fixture::result()));
    seen.test.status = Some(written_status(&decide(&seen, now())).clone());
    seen.children.0.insert(Child::Report, ours(Child::Report).1);
    seen.result = None;
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

/// A run in progress as an operator of another installation sees it.
fn elsewhere(owner: Owner) -> Observed {
    let mut seen = granted(MasterState::Running);
    seen.installation.id = "other".into();
    seen.master = MasterView::Absent;
    seen.owner = owner;
    seen
}

#[test]
fn the_run_of_another_installation_is_left_alone_while_that_is_there() {
    let decision = decide(&elsewhere(Owner::Alive), later(1_000_000));
    assert_eq!(decision.writes, []);
    assert!(matches!(decision.requeue, Requeue::After(_)));
}

#[test]
fn the_status_says_who_owns_a_run_of_which_nothing_is_heard_and_says_it_once() {
    for owner in [Owner::Silent, Owner::Unknown] {
        let mut seen = elsewhere(owner);
        let decision = decide(&seen, later(100));
        assert!(matches!(decision.writes.as_slice(), [Write::Status(_)]));
        let status = written_status(&decision).clone();
        assert_eq!(status.phase, Some(Phase::Running));
        let condition = status.conditions.iter().find(|c| c.r#type == "Reconciling");
        let condition = condition.unwrap();
        assert_eq!(condition.reason, "OtherInstallation");
        let installation = applied().installation.id;
        assert!(
            condition.message.contains(&installation),
            "{}",
            condition.message
        );
        assert_eq!(status.run.as_ref().unwrap().end, None);
        seen.test.status = Some(status);
        assert_eq!(decide(&seen, later(200)).writes, []);
    }
}

#[test]
fn the_run_of_an_installation_that_is_gone_is_ended_and_cleared_up() {
    let mut seen = elsewhere(Owner::Gone);
    let decision = decide(&seen, later(100));
    assert_eq!(ends(&decision), (Phase::Errored, "InstallationGone".into()));
    seen.test.status = Some(written_status(&decision).clone());
    let deleted: Vec<Child> = decide(&seen, later(101))
        .writes
        .iter()
        .filter_map(|write| match write {
            Write::Delete { child, .. } => Some(*child),
            _ => None,
        })
        .collect();
    assert_eq!(
        deleted.first(),
        Some(&Child::Workers),
        "the load ends first"
    );
    assert!(deleted.contains(&Child::Plan));
}

#[test]
fn a_run_names_the_lease_of_its_installation_if_there_is_one() {
    assert_eq!(run_of(&begun()).lease, applied().lease);
    let mut seen = applied();
    seen.lease = None;
    let run = written_status(&decide(&seen, now())).run.clone().unwrap();
    assert_eq!(run.lease, None);
}

#[test]
fn a_run_begins_with_one_check_of_its_plan() {
    let keys = fixture::keys();
    let settings = Settings {
        image: "starling:1".into(),
        pull_policy: "IfNotPresent".into(),
        namespace: "starling-system".into(),
        metrics_from: Vec::new(),
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
