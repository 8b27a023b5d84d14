//! Policies: which of them let a run begin, and what it takes along.

use serde_json::{Value, json};

use super::*;
use crate::crd::policy::convert;
use crate::crd::{Condition, ConditionStatus};
use crate::operator::view::Governing;

/// Policies of these specs, all of which govern the namespace.
fn governed(specs: &[(&str, Value)]) -> Governing {
    let policies = specs
        .iter()
        .map(|(name, spec)| convert(name, spec).unwrap());
    Governing {
        policies: policies.collect(),
        unreadable: Vec::new(),
    }
}

fn stalled(status: &LoadTestStatus) -> &Condition {
    let mut conditions = status.conditions.iter();
    conditions
        .find(|condition| condition.r#type == "Stalled")
        .unwrap()
}

fn generous() -> (&'static str, Value) {
    (
        "generous",
        json!({"hosts": ["categorizer"], "ports": [8000], "maxUsers": 4}),
    )
}

#[test]
fn a_test_that_a_policy_refuses_waits_with_field_and_policy_in_its_status() {
    let mut seen = applied();
    seen.governing = governed(&[generous(), ("strict", json!({"maxUsers": 3}))]);
    let decision = decide(&seen, now());
    assert_eq!(decision.writes.len(), 1, "{decision:?}");
    assert!(
        matches!(decision.requeue, Requeue::After(_)),
        "it is judged anew"
    );
    let status = written_status(&decision);
    assert_eq!((status.phase, &status.run), (Some(Phase::Errored), &None));
    let condition = stalled(status);
    assert_eq!(condition.status, ConditionStatus::True);
    assert_eq!(condition.reason, "PolicyViolation");
    assert_eq!(
        condition.message,
        "spec.load: StarlingPolicy \"strict\" allows at most 3 users at once, not 4"
    );
    // nothing is written again while nothing changes
    seen.test.status = Some(status.clone());
    assert_eq!(decide(&seen, later(60)).writes, []);
    // and the run begins as soon as it may
    seen.governing = governed(&[generous()]);
    let status = written_status(&decide(&seen, later(60))).clone();
    assert_eq!(status.phase, Some(Phase::Starting));
}

#[test]
fn a_policy_that_cannot_be_read_allows_nothing() {
    let mut seen = applied();
    seen.governing = Governing {
        unreadable: vec!["StarlingPolicy \"new\" cannot be read: spec: unknown field".into()],
        ..governed(&[generous()])
    };
    let decision = decide(&seen, now());
    let status = written_status(&decision);
    assert_eq!(status.run, None);
    let condition = stalled(status);
    assert_eq!(condition.reason, "PolicyViolation");
    assert!(
        condition.message.contains("\"new\" cannot be read"),
        "{}",
        condition.message
    );
}

#[test]
fn a_run_takes_rules_and_bounds_along_and_without_policies_none() {
    let second = ("second", json!({"maxUsers": 9}));
    for (governing, policies, bounds) in [
        (Governing::default(), vec![], (None, None)),
        (
            governed(&[generous(), second]),
            vec!["generous", "second"],
            (Some(4), None),
        ),
    ] {
        let mut seen = applied();
        seen.governing = governing;
        seen.test.status = Some(written_status(&decide(&seen, now())).clone());
        let decided = super::super::decide(&seen, &mut SpecCheck::default(), now());
        let Create::Fleet { checked, .. } = decided.create else {
            panic!("{decided:?}")
        };
        let rules = checked.plan.address_rules.0.iter();
        assert_eq!(
            rules.map(|rule| rule.policy.as_str()).collect::<Vec<_>>(),
            policies
        );
        // what a person may raise the load to on the way
        let control = checked.plan.control;
        assert_eq!((control.max_users, control.max_rate), bounds);
    }
}

#[test]
fn a_plan_is_made_anew_while_nothing_exists_when_policies_change() {
    let mut seen = begun();
    let before = run_of(&seen).plan_hash;
    seen.governing = governed(&[generous()]);
    let decision = decide(&seen, later(1));
    let run = written_status(&decision).run.clone().unwrap();
    assert!(
        run.plan_hash.is_some() && run.plan_hash != before,
        "{decision:?}"
    );
    assert_eq!(run.end, None);
}

#[test]
fn a_run_that_has_not_started_ends_when_it_may_no_longer_and_one_that_has_goes_on() {
    let strict = || governed(&[("strict", json!({"hosts": []}))]);
    let mut seen = begun();
    seen.governing = strict();
    let decision = decide(&seen, later(1));
    let run = written_status(&decision).run.clone().unwrap();
    let end = run.end.unwrap();
    assert_eq!(
        (end.phase, end.reason.as_str()),
        (Phase::Errored, "PolicyViolation")
    );
    assert!(
        end.message
            .contains("spec.target.url: StarlingPolicy \"strict\""),
        "{}",
        end.message
    );

    let mut seen = granted(MasterState::Running);
    seen.governing = strict();
    let decision = decide(&seen, later(1));
    let has_ended = decision.writes.iter().any(|write| {
        matches!(write, Write::Status(status) if status.run.as_ref().is_some_and(|run| run.end.is_some()))
    });
    assert!(!has_ended, "{decision:?}");
}

#[test]
fn an_address_that_a_worker_finds_refused_ends_the_run_at_once() {
    let mut seen = standing(MasterState::Waiting);
    let problem = WorkerProblem {
        worker: 0,
        kind: ProblemKind::PolicyViolation,
        field: "spec.target.url".into(),
        object: String::new(),
        message: "models resolves to 10.0.0.1: StarlingPolicy \"p\" does not allow it".into(),
        for_seconds: 0,
    };
    master(&mut seen).problems = vec![problem];
    let decision = decide(&seen, later(1));
    let end = written_status(&decision).run.clone().unwrap().end.unwrap();
    assert_eq!(
        (end.phase, end.reason.as_str()),
        (Phase::Errored, "PolicyViolation")
    );
    assert!(
        end.message
            .starts_with("spec.target.url: models resolves to"),
        "{}",
        end.message
    );
}
