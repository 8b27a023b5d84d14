//! Stops that a worker does not follow.

use super::*;

fn stop(stage: &mut Stage, reason: Reason) {
    let stop = Stop {
        run: "r-1".into(),
        reason,
        message: "m".into(),
    };
    stage.coordinator.stop(stop, stage.now);
}

/// Seconds from the stop to the result, while a worker stays connected and says nothing.
fn seconds_to_the_end(stage: &mut Stage, reason: Reason) -> u64 {
    stop(stage, reason);
    for second in 0..600 {
        if stage.coordinator.result().is_some() {
            return second;
        }
        stage.pass(1);
    }
    panic!("the run does not end: {:?}", stage.state());
}

#[test]
fn a_run_ends_though_a_worker_that_was_told_to_stop_never_answers() {
    let mut stage = Stage::of(1, Memory::none(), |spec| {
        spec["load"]["closed"]["duration"] = json!("1h");
        spec["run"]["stopTimeout"] = json!("7s");
    });
    let player = stage.join(0, "a", false);
    stage.ready(&player);
    stage.grant(1, GrantAction::Start).unwrap();
    stage.pass(5);
    stage.deliver(&player, 1, 9, false);
    let seconds = seconds_to_the_end(&mut stage, Reason::Suspended);
    assert!((7..=7 + 15).contains(&seconds), "{seconds}");
    let result = stage.coordinator.result().unwrap();
    assert_eq!(
        (result.verdict, result.totals.requests, result.workers.lost),
        (Verdict::Aborted, 9, 1)
    );
}

#[test]
fn a_teardown_that_nobody_answers_takes_no_longer_than_the_stop_may() {
    let mut stage = Stage::of(1, Memory::none(), |spec| {
        spec["load"]["closed"]["duration"] = json!("1h");
        spec["run"]["stopTimeout"] = json!("20s");
        spec["teardown"] = json!([{"http": {"path": "/clean"}}]);
    });
    let player = stage.join(0, "a", false);
    stage.ready(&player);
    stage.grant(1, GrantAction::Start).unwrap();
    stage.pass(5);
    let seconds = seconds_to_the_end(&mut stage, Reason::Suspended);
    assert!((20..=20 + 15).contains(&seconds), "{seconds}");
    let result = stage.coordinator.result().unwrap();
    assert!(
        result
            .warnings
            .iter()
            .any(|warning| warning.contains("teardown")),
        "{:?}",
        result.warnings
    );
}

#[test]
fn a_process_that_is_told_to_end_does_not_wait_for_the_lease_of_a_worker_that_is_cut_off() {
    let mut stage = Stage::of(1, Memory::none(), |spec| {
        spec["load"]["closed"]["duration"] = json!("1h");
        spec["run"]["stopTimeout"] = json!("7s");
    });
    let player = stage.join(0, "a", false);
    stage.ready(&player);
    stage.grant(1, GrantAction::Start).unwrap();
    stage.pass(5);
    stage.deliver(&player, 1, 9, false);
    stage.coordinator.leave(player.id, stage.now);
    let seconds = seconds_to_the_end(&mut stage, Reason::Interrupted);
    assert!(seconds <= 7 + 15, "{seconds}");
    let result = stage.coordinator.result().unwrap();
    assert_eq!(
        (result.verdict, result.totals.requests),
        (Verdict::Aborted, 9)
    );
}
