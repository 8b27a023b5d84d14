//! Rows that all workers share, through losses of workers and of the master.

use std::path::Path;

use serde_json::json;

use super::super::super::memory::Memory;
use super::super::tests::{Player, Stage};
use super::*;
use crate::wire::control::GrantAction;
use crate::wire::fleet::from_worker;

const ROWS: u32 = 1000;

fn stage(workers: u32, memory: Memory, on_exhausted: &str) -> Stage {
    Stage::of(workers, memory, |spec| {
        spec["feeders"] = json!([
            {"name": "own", "inline": [{"n": 1}], "strategy": "Queue", "onExhausted": "StopRun"},
            {"name": "rows", "inline": [{"n": 1}], "strategy": "Queue", "scope": "Test", "onExhausted": on_exhausted},
        ]);
    })
}

fn ready(stage: &mut Stage, player: &Player, digest: &str, rows: u32) {
    let data = fleet::FeederData {
        feeder: 1,
        rows,
        digest: digest.into(),
    };
    stage.say(
        player,
        from_worker::Message::Ready(fleet::Ready {
            feeders: vec![data],
            ..fleet::Ready::default()
        }),
    );
}

fn ask(stage: &mut Stage, player: &Player, count: u32) {
    stage.say(
        player,
        from_worker::Message::RowsWanted(fleet::RowsWanted { feeder: 1, count }),
    );
}

/// The leases a worker has heard of, and the highest position it knows to be reserved.
fn leases(player: &mut Player) -> (Vec<(u64, u64, bool)>, u64) {
    let (mut leases, mut reserved) = (vec![], 0);
    for message in player.heard() {
        match message {
            Message::RowsLeased(lease) => leases.push((lease.first, lease.end, lease.exhausted)),
            Message::RowsReserved(fleet::RowsReserved { end, .. }) => reserved = end.max(reserved),
            _ => {}
        }
    }
    (leases, reserved)
}

fn report(stage: &mut Stage, player: &Player, used: u64, last: bool) {
    let usage = fleet::FeederUsage {
        feeder: 1,
        leased: 0,
        used,
        reserved: 0,
    };
    stage.deliver_with(player, 0, last, vec![usage]);
}

fn started(workers: u32, memory: Memory, on_exhausted: &str) -> (Stage, Vec<Player>) {
    let mut stage = stage(workers, memory, on_exhausted);
    let players: Vec<Player> = (0..workers)
        .map(|index| stage.join(index, "a", false))
        .collect();
    players
        .iter()
        .for_each(|player| ready(&mut stage, player, "d", ROWS));
    stage.grant(1, GrantAction::Start).unwrap();
    (stage, players)
}

#[test]
fn a_worker_with_other_data_keeps_the_run_from_starting() {
    let mut stage = stage(2, Memory::none(), "StopUser");
    let players = [stage.join(0, "a", false), stage.join(1, "b", false)];
    ready(&mut stage, &players[0], "d", ROWS);
    ready(&mut stage, &players[1], "e", 7);
    assert_eq!(stage.state(), MasterState::Waiting);
    let progress = stage.coordinator.progress(stage.now);
    let problem = &progress.problems[0];
    assert_eq!(
        (problem.worker, problem.kind, problem.field.as_str()),
        (1, ProblemKind::InvalidSpec, "spec.feeders[1]")
    );
    assert_eq!(
        problem.message,
        "worker 1 holds other data than worker 0: 7 rows instead of 1000"
    );
    ready(&mut stage, &players[1], "d", ROWS);
    assert_eq!(stage.state(), MasterState::Ready);
}

#[test]
fn no_row_is_leased_before_the_start_and_none_twice_after_it() {
    let mut stage = stage(2, Memory::none(), "StopUser");
    let mut players = [stage.join(0, "a", false), stage.join(1, "b", false)];
    players
        .iter()
        .for_each(|player| ready(&mut stage, player, "d", ROWS));
    ask(&mut stage, &players[0], 10);
    assert_eq!(leases(&mut players[0]).0, []);
    stage.grant(1, GrantAction::Start).unwrap();
    ask(&mut stage, &players[1], 20);
    assert_eq!(leases(&mut players[0]).0, [(0, 10, false)]);
    let (second, reserved) = leases(&mut players[1]);
    assert_eq!(second, [(10, 30, false)]);
    assert!(reserved >= 30);
}

#[test]
fn rows_of_a_worker_that_died_are_lost_and_those_left_at_the_end_are_not() {
    let (mut stage, mut players) = started(2, Memory::none(), "StopUser");
    ask(&mut stage, &players[0], 10);
    ask(&mut stage, &players[1], 10);
    report(&mut stage, &players[1], 4, false);
    stage.coordinator.leave(players[1].id, stage.now);
    let replacement = stage.join(1, "b", false);
    ready(&mut stage, &replacement, "d", ROWS);
    players[1] = replacement;
    ask(&mut stage, &players[1], 5);
    assert_eq!(
        leases(&mut players[1]).0,
        [(20, 25, false)],
        "what the dead one had is not leased again"
    );
    stage.pass(14);
    report(&mut stage, &players[0], 9, true);
    report(&mut stage, &players[1], 5, true);
    let result = stage.coordinator.result().unwrap();
    assert_eq!(
        result.feeders,
        [FeederResult {
            name: "rows".into(),
            leased: 25,
            used: 18,
            lost: 6
        }]
    );
}

#[test]
fn a_master_process_that_was_killed_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stage, players) = started(1, Memory::at(folder.path()), "StopUser");
    ask(&mut stage, &players[0], 10);
    let (mut stage, mut player) = again(folder.path(), 1, 0);
    ask(&mut stage, &player, 5);
    assert_eq!(leases(&mut player).0, [(10, 15, false)]);
}

#[test]
fn a_new_pod_of_the_master_hears_all_workers_before_it_leases_and_skips_what_was_reserved() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = stage(2, Memory::at(folder.path()), "StopUser");
    let mut first = stage.join(0, "a", true);
    stage.grant(2, GrantAction::Resume).unwrap();
    stage.say(&first, cumulative(40));
    ready(&mut stage, &first, "d", ROWS);
    ask(&mut stage, &first, 5);
    assert_eq!(leases(&mut first).0, []);
    let second = stage.join(1, "b", true);
    stage.say(&second, cumulative(90));
    stage.pass(1);
    assert_eq!(leases(&mut first).0, [(90, 95, false)]);
}

#[test]
fn a_new_pod_waits_for_a_lost_worker_only_so_long() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stage, mut player) = again(folder.path(), 2, 40);
    ask(&mut stage, &player, 5);
    assert_eq!(leases(&mut player).0, []);
    stage.pass(HEAR_ALL.as_secs());
    assert_eq!(leases(&mut player).0, [(40, 45, false)]);
}

#[test]
fn the_run_ends_when_no_worker_has_a_row_left_and_is_judged() {
    let (mut stage, mut players) = started(2, Memory::none(), "StopRun");
    players
        .iter()
        .for_each(|player| ask(&mut stage, player, 10));
    let used_up = || from_worker::Message::UsedUp(fleet::UsedUp { feeder: 1 });
    stage.say(&players[0], used_up());
    assert_eq!(
        stage.state(),
        MasterState::Running,
        "the other may have rows"
    );
    stage.say(&players[1], used_up());
    assert_eq!(stage.state(), MasterState::Stopping);
    for player in &mut players {
        assert!(
            player
                .heard()
                .iter()
                .any(|message| matches!(message, Message::Stop(fleet::Stop { at_once: false })))
        );
    }
    players
        .iter()
        .for_each(|player| report(&mut stage, player, 10, true));
    assert_eq!(
        stage.coordinator.result().unwrap().verdict,
        crate::stats::result::Verdict::Passed
    );
}

#[test]
fn of_rows_that_nobody_shares_the_first_end_ends_the_run() {
    let (mut stage, players) = started(2, Memory::none(), "StopUser");
    stage.say(
        &players[0],
        from_worker::Message::UsedUp(fleet::UsedUp { feeder: 0 }),
    );
    assert_eq!(stage.state(), MasterState::Stopping);
}

fn cumulative(reserved: u64) -> from_worker::Message {
    let usage = fleet::FeederUsage {
        feeder: 1,
        leased: 10,
        used: 5,
        reserved,
    };
    super::super::tests::cumulative_with(0, 1, vec![usage])
}

/// Another process or Pod, granted before, and the worker that carries the run.
fn again(memory: &Path, workers: u32, reserved: u64) -> (Stage, Player) {
    let mut stage = stage(workers, Memory::at(memory), "StopUser");
    let player = stage.join(0, "a", true);
    if stage.state() != MasterState::Recovering {
        stage.grant(2, GrantAction::Resume).unwrap();
    }
    stage.say(&player, cumulative(reserved));
    ready(&mut stage, &player, "d", ROWS);
    (stage, player)
}

#[test]
fn a_worker_that_knows_other_services_keeps_the_run_from_starting() {
    let mut stage = stage(2, Memory::none(), "StopUser");
    let players = [stage.join(0, "a", false), stage.join(1, "b", false)];
    let say = |stage: &mut Stage, player: &Player, descriptors: &str| {
        let feeders = vec![fleet::FeederData {
            feeder: 1,
            rows: ROWS,
            digest: "d".into(),
        }];
        stage.say(
            player,
            from_worker::Message::Ready(fleet::Ready {
                feeders,
                descriptors: descriptors.into(),
                ..fleet::Ready::default()
            }),
        );
    };
    say(&mut stage, &players[0], "v1");
    say(&mut stage, &players[1], "v2");
    assert_eq!(stage.state(), MasterState::Waiting);
    let problem = &stage.coordinator.progress(stage.now).problems[0];
    assert_eq!(
        (problem.worker, problem.kind, problem.field.as_str()),
        (1, ProblemKind::InvalidSpec, "spec.protos")
    );
    say(&mut stage, &players[1], "v1");
    assert_eq!(stage.state(), MasterState::Ready);
}
