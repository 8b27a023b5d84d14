//! Another number of workers: which writes lead to it, and what keeps a run at the number it has.

use serde_json::json;

use super::*;
use crate::crd::policy::convert;
use crate::operator::view::Governing;

/// A run under load of two workers, whose spec asks for `replicas`.
fn asked(replicas: u32) -> Observed {
    let mut seen = granted(MasterState::Running);
    seen.job_pods = Some(2);
    seen.test.spec.workers.replicas = replicas;
    seen
}

fn write_status(seen: &mut Observed, decision: &Decision) {
    seen.test.status = Some(written_status(decision).clone());
}

fn acts(decision: &Decision) -> Vec<Write> {
    let writes = decision.writes.iter().cloned();
    writes
        .filter(|write| !matches!(write, Write::Status(_)))
        .collect()
}

#[test]
fn a_run_grows_by_status_master_and_job_in_this_order_and_is_the_same_run() {
    let mut seen = asked(4);
    let id = run_of(&seen).id;
    let announced = decide(&seen, later(5));
    assert_eq!(acts(&announced), []);
    assert_eq!(announced.requeue, Requeue::AtOnce);
    write_status(&mut seen, &announced);
    let run = run_of(&seen);
    assert_eq!(
        (run.id, run.workers, run.scaled_to, run.most_workers),
        (id, 2, Some(4), Some(4))
    );
    let told = decide(&seen, later(6));
    let four = FleetSize { now: 4, most: 4 };
    assert_eq!(acts(&told), [Write::Scale(four)]);
    assert_eq!(
        acts(&decide(&seen, later(8))),
        [Write::Scale(four)],
        "until it is heard"
    );
    master(&mut seen).workers = 4;
    assert_eq!(acts(&decide(&seen, later(9))), [Write::Resize(4)]);
    seen.job_pods = Some(4);
    assert_eq!(acts(&decide(&seen, later(10))), []);
    let workers = seen.status().workers.unwrap();
    assert_eq!(workers.desired, 4);
}

#[test]
fn pods_go_when_their_load_has_moved_and_not_before() {
    let mut seen = asked(1);
    let announced = decide(&seen, later(5));
    write_status(&mut seen, &announced);
    let one = FleetSize { now: 1, most: 2 };
    assert_eq!(acts(&decide(&seen, later(6))), [Write::Scale(one)]);
    let progress = master(&mut seen);
    (progress.workers, progress.leaving) = (1, Some(1));
    assert_eq!(acts(&decide(&seen, later(7))), []);
    master(&mut seen).leaving = Some(0);
    assert_eq!(acts(&decide(&seen, later(8))), [Write::Resize(1)]);
}

#[test]
fn a_number_that_flaps_leads_to_the_last_one() {
    let mut seen = asked(4);
    let up = decide(&seen, later(5));
    write_status(&mut seen, &up);
    seen.test.spec.workers.replicas = 2;
    let down = decide(&seen, later(5));
    write_status(&mut seen, &down);
    // the master may have heard of four, or not
    assert_eq!(acts(&decide(&seen, later(6))), []);
    master(&mut seen).workers = 4;
    let two = FleetSize { now: 2, most: 4 };
    assert_eq!(acts(&decide(&seen, later(6))), [Write::Scale(two)]);
}

#[test]
fn a_run_without_its_master_is_not_changed_until_it_is_back() {
    for view in [
        MasterView::Absent,
        MasterView::Unasked,
        MasterView::Unreachable("it is silent".into()),
    ] {
        let mut seen = asked(4);
        let back = std::mem::replace(&mut seen.master, view);
        let decision = decide(&seen, later(5));
        assert_eq!(acts(&decision), []);
        seen.master = back;
        assert_eq!(
            written_status(&decide(&seen, later(9)))
                .run
                .as_ref()
                .unwrap()
                .scaled_to,
            Some(4)
        );
    }
    // one that has lost its memory hears the number with the grant
    let mut seen = asked(4);
    let announced = decide(&seen, later(5));
    write_status(&mut seen, &announced);
    master(&mut seen).incarnation = "two".into();
    let resumed = decide(&seen, later(6));
    let grants = acts(&resumed);
    let [Write::Grant(grant)] = grants.as_slice() else {
        panic!("{resumed:?}")
    };
    assert_eq!(grant.workers, Some(FleetSize { now: 4, most: 4 }));
}

#[test]
fn a_run_that_ends_or_has_ended_keeps_its_number() {
    for state in [
        MasterState::Stopping,
        MasterState::Finished,
        MasterState::Recovering,
    ] {
        let mut seen = asked(4);
        master(&mut seen).state = state;
        let decision = decide(&seen, later(5));
        let scaled = decision.writes.iter().any(|write| match write {
            Write::Status(status) => status.run.as_ref().unwrap().scaled_to.is_some(),
            write => matches!(write, Write::Scale(_) | Write::Resize(_)),
        });
        assert!(!scaled, "{state:?}: {decision:?}");
    }
    let mut seen = asked(4);
    seen.test.spec.run.suspend = true;
    let writes = acts(&decide(&seen, later(5)));
    assert!(matches!(writes.as_slice(), [Write::Stop(_)]), "{writes:?}");
    let mut seen = after_the_end();
    seen.test.spec.workers.replicas = 4;
    seen.test.metadata.generation = Some(2);
    let runs = seen.status().runs;
    let decision = decide(&seen, later(5));
    let begun = decision.writes.iter().any(|write| match write {
        Write::Status(status) => status.runs != runs,
        write => matches!(write, Write::Create(_) | Write::Scale(_)),
    });
    assert!(!begun, "the number alone is no new run: {decision:?}");
}

#[test]
fn a_number_that_does_not_count_is_told_and_changes_nothing() {
    let told = |seen: &Observed| {
        let decision = decide(seen, later(60));
        assert_eq!(acts(&decision), []);
        let status = written_status(&decision).clone();
        assert_eq!(status.run.unwrap().scaled_to, None);
        let conditions = status.conditions.into_iter();
        let mut messages = conditions.map(|condition| condition.message);
        messages.find(|message| message.contains("spec.workers.replicas"))
    };
    for wrong in [0, 2001] {
        let message = told(&asked(wrong)).unwrap();
        assert!(message.contains("at most 2000"), "{message}");
    }
    let mut seen = asked(4);
    let policy = convert("small", &json!({"maxWorkers": 3})).unwrap();
    seen.governing = Governing {
        policies: vec![policy],
        unreadable: vec![],
    };
    let message = told(&seen).unwrap();
    assert!(message.contains("\"small\" allows at most 3"), "{message}");
    let mut seen = asked(4);
    let mut status = seen.status();
    status.run.as_mut().unwrap().most_workers = None;
    seen.test.status = Some(status);
    assert!(told(&seen).unwrap().contains("older release"));
    let mut seen = asked(4);
    let mut status = seen.status();
    let run = status.run.as_mut().unwrap();
    (run.workers, run.external) = (3, 1);
    master(&mut seen).workers = 3;
    seen.test.status = Some(status);
    assert!(told(&seen).unwrap().contains("from elsewhere"));
    // what goes before it needs no word: the check of the spec has said it
    let mut seen = asked(4);
    seen.test.spec.workers.per_worker = serde_json::from_value(json!({"maxUsers": 1})).unwrap();
    let decision = decide(&seen, later(5));
    assert_eq!(acts(&decision), []);
}

#[test]
fn before_the_start_the_grant_waits_for_the_number_that_is_wanted_then() {
    let mut seen = standing(MasterState::Ready);
    seen.job_pods = Some(2);
    seen.test.spec.workers.replicas = 3;
    let announced = decide(&seen, later(5));
    assert_eq!(
        (acts(&announced), announced.requeue),
        (vec![], Requeue::AtOnce)
    );
    write_status(&mut seen, &announced);
    let three = FleetSize { now: 3, most: 3 };
    assert_eq!(acts(&decide(&seen, later(6))), [Write::Scale(three)]);
    master(&mut seen).workers = 3;
    assert_eq!(acts(&decide(&seen, later(7))), [Write::Resize(3)]);
    seen.job_pods = Some(3);
    let writes = acts(&decide(&seen, later(8)));
    let [Write::Grant(grant)] = writes.as_slice() else {
        panic!("{writes:?}")
    };
    assert_eq!(grant.workers, Some(three));
}

#[test]
fn a_job_that_is_not_there_yet_is_made_for_the_number_that_is_wanted_then() {
    let mut seen = begun();
    seen.test.spec.workers.replicas = 3;
    let announced = decide(&seen, now());
    write_status(&mut seen, &announced);
    let mut checks = SpecCheck::default();
    let decided = super::super::decide(&seen, &mut checks, now());
    let Create::Fleet { run, children, .. } = decided.create else {
        panic!("{decided:?}")
    };
    assert_eq!((run.wanted_pods(), run.workers), (3, 2));
    assert_eq!(children, Child::FLEET);
}
