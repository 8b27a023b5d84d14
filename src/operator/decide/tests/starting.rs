//! Decisions up to the first grant: the run id, the children, and what the run waits for.

use super::*;
use crate::operator::view::SpareMaster;

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
        loss: None,
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
fn a_run_without_room_has_the_oldest_finished_master_of_all_give_way() {
    let mut seen = standing(MasterState::Waiting);
    let spare = |run: &str, at: &str| SpareMaster {
        run: run.into(),
        uid: format!("of-{run}"),
        finished_at: at.into(),
    };
    let deletes = |seen: &Observed| {
        let writes = decide(seen, now()).writes.into_iter();
        let deletes = writes.filter(|write| matches!(write, Write::Delete { .. }));
        deletes.collect::<Vec<_>>()
    };
    assert_eq!(deletes(&seen), []);
    seen.spare_masters = vec![spare("old-a", fixture::NOW), spare("old-b", fixture::NOW)];
    assert_eq!(
        deletes(&seen),
        [Write::Delete {
            child: Child::Master,
            run: "old-a".into(),
            uid: "of-old-a".into()
        }]
    );
    seen.test.spec.run.suspend = true;
    assert_eq!(deletes(&seen), [], "a held run takes nobody's room");
}

#[test]
fn a_run_with_workers_elsewhere_has_a_service_for_them_and_counts_them() {
    let mut seen = applied();
    seen.test.spec.workers.replicas = 3;
    seen.test.spec.workers.external =
        serde_json::from_value(serde_json::json!({"replicas": 2})).unwrap();
    seen.test.status = Some(written_status(&decide(&seen, now())).clone());
    let run = run_of(&seen);
    assert_eq!((run.workers, run.external, run.pods()), (5, 2, 3));
    let creates: Vec<Child> = decide(&seen, now())
        .writes
        .iter()
        .filter_map(|write| match write {
            Write::Create(child) => Some(*child),
            _ => None,
        })
        .collect();
    assert_eq!(creates, Child::fleet(&run));
    let place = |wanted| creates.iter().position(|child| *child == wanted);
    assert!(place(Child::External) < place(Child::Workers));
}
