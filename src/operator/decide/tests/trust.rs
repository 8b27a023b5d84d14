//! Decisions about objects that are not the run's own, and about the hash of its plan.

use super::*;

#[test]
fn an_object_of_the_name_that_is_not_ours_ends_the_run_whatever_its_kind() {
    // the operator cannot read the channel: it learns of a foreign one when it creates it, or from
    // the master that refuses it
    for child in Child::FLEET.into_iter().filter(|c| *c != Child::Channel) {
        let mut seen = begun();
        seen.children.0.insert(child, Presence::Foreign);
        let decision = decide(&seen, now());
        assert_eq!(
            ends(&decision),
            (Phase::Errored, "ForeignChild".into()),
            "{child}"
        );
        assert_eq!(decision.writes.len(), 1, "{child} is left alone");
        let message = end_of(&decision).message;
        assert!(
            message.contains(&child.name(&run_of(&seen).id)),
            "{message}"
        );
    }
}

#[test]
fn a_master_that_refuses_what_it_mounts_ends_the_run_before_any_load() {
    use crate::operator::child::Component;
    use crate::operator::view::{PodView, Trouble};
    let mut seen = standing(MasterState::Waiting);
    seen.master = MasterView::Absent;
    seen.pods = vec![PodView {
        name: "categorizer-master-0".into(),
        component: Component::Master,
        created: None,
        address: None,
        ready: false,
        deleting: false,
        over: false,
        loss: None,
        trouble: Some(Trouble {
            reason: Reason::ForeignChild,
            message: "tls.key is not what the operator wrote".into(),
        }),
    }];
    let decision = decide(&seen, now());
    assert_eq!(ends(&decision), (Phase::Errored, "ForeignChild".into()));
    let message = end_of(&decision).message;
    for word in ["Secret", "-channel", "tls.key"] {
        assert!(message.contains(word), "{message}");
    }
    // a master of the release before has no hashes to refuse by
    seen.test
        .status
        .as_mut()
        .unwrap()
        .run
        .as_mut()
        .unwrap()
        .plan_hash = None;
    let decision = decide(&seen, now());
    assert_eq!(written_status(&decision).phase, Some(Phase::Starting));
}

#[test]
fn the_hash_of_the_plan_is_written_before_anything_is_created() {
    let run = run_of(&begun());
    assert_eq!(run.plan_hash.unwrap().len(), 64);
}

#[test]
fn another_release_plans_anew_while_nothing_exists_and_then_keeps_to_the_hash() {
    let mut seen = begun();
    let set_hash = |seen: &mut Observed, hash: &str| {
        let run = seen.test.status.as_mut().unwrap().run.as_mut().unwrap();
        run.plan_hash = Some(hash.to_owned());
    };
    let ours_hash = run_of(&seen).plan_hash;
    set_hash(&mut seen, "of another release");
    let decision = decide(&seen, now());
    assert!(matches!(decision.writes.as_slice(), [Write::Status(_)]));
    let run = written_status(&decision).run.clone().unwrap();
    assert_eq!(run.plan_hash, ours_hash, "first the status, then the plan");

    // with the plan there, what this release would make of the spec does not matter
    seen.children = Children(Child::FLEET.map(ours).into());
    seen.master = MasterView::Up(progress(&run.id, MasterState::Ready));
    let granted = decide(&seen, now());
    assert!(matches!(granted.writes.last(), Some(Write::Grant(_))));

    // and without it, the others are for a plan that nobody can make any more
    seen.children.0.remove(&Child::Plan);
    assert_eq!(
        ends(&decide(&seen, now())),
        (Phase::Errored, "ChildDeleted".into())
    );
}
