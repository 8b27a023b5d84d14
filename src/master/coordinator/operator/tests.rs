//! Deadline of a run, which the master keeps by a clock that nobody sets.

use super::super::tests::Stage;
use super::*;
use crate::master::memory::Memory;
use crate::wire::Verdict;

fn granted(stage: &mut Stage, action: GrantAction, seconds: u64) {
    let grant = Grant {
        workers: None,
        run: "r-1".into(),
        epoch: 1,
        incarnation: stage.coordinator.incarnation().to_owned(),
        action,
        deadline_micros: seconds * 1_000_000,
    };
    stage.coordinator.grant(&grant, stage.now).unwrap();
}

fn reason(stage: &Stage) -> Option<Reason> {
    stage
        .coordinator
        .result()
        .map(|result| result.reason.clone())
}

#[test]
fn a_run_that_has_not_begun_its_load_ends_at_its_deadline() {
    let mut stage = Stage::new(2, Memory::none());
    let player = stage.join(0, "a", false);
    stage.ready(&player);
    stage.pass(100);
    granted(&mut stage, GrantAction::Start, 60);
    stage.pass(59);
    assert_eq!(reason(&stage), None);
    let progress = stage.coordinator.progress(stage.now);
    assert_eq!(
        (progress.deadline_micros, progress.granted_micros),
        (60_000_000, Some(59_000_000))
    );
    stage.pass(1);
    assert_eq!(reason(&stage), Some(Reason::DeadlineExceeded));
    let result = stage.coordinator.result().unwrap();
    assert_eq!(result.verdict, Verdict::Aborted);
    assert!(
        result.message.contains("1m after its start"),
        "{}",
        result.message
    );
}

#[test]
fn load_is_stopped_at_the_deadline() {
    let (mut stage, _player) = Stage::started();
    stage.coordinator.facts.deadline_micros = 8_000_000;
    stage.pass(7);
    assert_eq!(stage.state(), MasterState::Running);
    stage.pass(1);
    assert_eq!(stage.state(), MasterState::Stopping);
}

#[test]
fn a_grant_that_comes_again_does_not_begin_the_time_anew() {
    let mut stage = Stage::new(1, Memory::none());
    granted(&mut stage, GrantAction::Start, 60);
    stage.pass(40);
    granted(&mut stage, GrantAction::Start, 60);
    stage.pass(20);
    assert_eq!(reason(&stage), Some(Reason::DeadlineExceeded));
}

#[test]
fn a_restarted_process_goes_on_counting() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(1, Memory::at(folder.path()));
    granted(&mut stage, GrantAction::Start, 60);
    if stage.coordinator.facts.granted_at.is_none() {
        return; // the system has no such clock
    }
    let mut again = Stage::new(1, Memory::at(folder.path()));
    let passed = again.coordinator.granted_for(again.now).unwrap();
    assert!(passed < Duration::from_secs(60), "{passed:?}");
    again.pass(60);
    assert_eq!(reason(&again), Some(Reason::DeadlineExceeded));
}

#[test]
fn a_new_pod_counts_from_the_zero_that_workers_know() {
    let mut stage = Stage::new(1, Memory::none());
    granted(&mut stage, GrantAction::Resume, 60);
    assert_eq!(stage.coordinator.granted_for(stage.now), None);
    let player = stage.join(0, "a", true);
    stage.say(&player, super::super::tests::cumulative_with(4, 1, vec![]));
    let passed = stage.coordinator.granted_for(stage.now).unwrap();
    assert_eq!(passed, Duration::from_secs(5));
}
