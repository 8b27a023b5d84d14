//! Runs whose number of workers changes.

use super::*;
use crate::wire::control::{FleetSize, Scale};

/// Workers under load that know how the load is divided anew.
fn fleet_of(
    workers: u32,
    memory: Memory,
    change: impl FnOnce(&mut serde_json::Value),
) -> (Stage, Vec<Player>) {
    let mut stage = Stage::of(workers, memory, change);
    let players: Vec<Player> = (0..workers).map(|index| join(&mut stage, index)).collect();
    players.iter().for_each(|player| stage.ready(player));
    stage.grant(1, GrantAction::Start).unwrap();
    stage.pass(3);
    let parts = (1..).zip(0..workers);
    for (player, (part, index)) in players.iter().zip(parts) {
        say_parts(&mut stage, player, 0, vec![carried(part, index)], false);
    }
    (stage, players)
}

fn join(stage: &mut Stage, index: u32) -> Player {
    join_as(stage, index, &format!("w{index}"))
}

fn join_as(stage: &mut Stage, index: u32, instance: &str) -> Player {
    stage.join_with(fleet::Hello {
        index,
        instance: instance.into(),
        takes_parts: true,
        divides_anew: true,
        ..Default::default()
    })
}

fn carried(id: u32, share: u32) -> fleet::PartState {
    fleet::PartState {
        part: Some(fleet::Part {
            id,
            share,
            step: 1,
            ..fleet::Part::default()
        }),
        ..fleet::PartState::default()
    }
}

/// Delivers a second with the states of parts.
fn say_parts(
    stage: &mut Stage,
    player: &Player,
    second: u32,
    parts: Vec<fleet::PartState>,
    last: bool,
) {
    let delta = fleet::Delta {
        second,
        snapshot: samples(1).encode_as(0),
        parts,
        last,
        ..fleet::Delta::default()
    };
    stage.say(player, from_worker::Message::Delta(delta));
}

/// Says that a part which was left is over, as of a worker with nothing else.
fn leave(stage: &mut Stage, player: &Player, second: u32, part: fleet::Part) {
    let state = fleet::PartState {
        part: Some(part),
        over: true,
        cut: true,
        ..fleet::PartState::default()
    };
    say_parts(stage, player, second, vec![state], true);
}

fn scale(stage: &mut Stage, now: u32, most: u32) -> Result<(), Refusal> {
    let scale = Scale {
        run: "r-1".into(),
        workers: FleetSize { now, most },
    };
    stage.coordinator.scale(&scale, stage.now)
}

fn parts(player: &mut Player) -> Option<Vec<fleet::Part>> {
    let heard = player.heard().into_iter();
    let mut parts = heard.filter_map(|message| match message {
        Message::Parts(parts) => Some(parts.parts),
        _ => None,
    });
    parts.next_back()
}

fn events(stage: &Stage) -> Vec<String> {
    let events = stage.coordinator.events.iter();
    events.map(|event| event.message.clone()).collect()
}

fn steady(spec: &mut serde_json::Value) {
    spec["load"] = json!({"open": {"rate": 100, "duration": "10m", "maxInFlight": 100}});
}

#[test]
fn new_workers_get_shares_when_all_are_ready_and_everybody_changes_at_one_moment() {
    let (mut stage, mut players) = fleet_of(2, Memory::none(), steady);
    scale(&mut stage, 4, 4).unwrap();
    let mut third = join(&mut stage, 2);
    stage.ready(&third);
    assert!(third.was_told_to_start().is_none(), "the fourth is awaited");
    let mut fourth = join(&mut stage, 3);
    stage.ready(&fourth);
    let starts = [&mut third, &mut fourth].map(|player| player.was_told_to_start().unwrap());
    for start in &starts {
        assert_eq!((start.workers, start.from_micros), (4, 1_000_000));
        let division = start.division.unwrap();
        assert_eq!(
            (division.number, division.workers, division.most_workers),
            (1, 4, 4)
        );
        assert!(division.arriving.is_some());
    }
    for (index, player) in players.iter_mut().enumerate() {
        let parts = parts(player).unwrap();
        let [left, gets] = parts.as_slice() else {
            panic!("{parts:?}")
        };
        assert_eq!((left.until_micros, left.division), (Some(1_000_000), None));
        assert_eq!((gets.share, gets.from_micros), (index as u32, 1_000_000));
        assert_eq!(gets.division.unwrap().workers, 4);
        assert!(left.leaving.is_some());
    }
}

#[test]
fn workers_that_are_no_longer_wanted_leave_their_load_and_are_no_loss() {
    let (mut stage, mut players) = fleet_of(3, Memory::none(), |spec| {
        steady(spec);
        spec["workers"] = json!({"onLoss": "Fail"});
    });
    scale(&mut stage, 2, 3).unwrap();
    let leaving = |stage: &Stage| stage.coordinator.progress(stage.now).leaving;
    assert_eq!(leaving(&stage), Some(1));
    let last = players.pop().unwrap();
    let mut gone = last;
    let left = parts(&mut gone).unwrap();
    assert_eq!(left.len(), 1, "it gets nothing new");
    stage.pass(1);
    leave(&mut stage, &gone, 1, left[0]);
    let progress = stage.coordinator.progress(stage.now);
    assert_eq!(
        (progress.leaving, progress.workers, progress.connected),
        (Some(0), 2, 2)
    );
    // the word with which it leaves may come or not
    stage.coordinator.leave(gone.id, stage.now);
    for second in 1..4 {
        stage.pass(1);
        for player in &players {
            say_parts(&mut stage, player, second, vec![], false);
        }
    }
    assert_eq!(stage.state(), MasterState::Running, "{:?}", events(&stage));
    let roster = &stage.coordinator.roster;
    assert_eq!((roster.left_early(), roster.gone().count()), (0, 1));
    // the two that are left are at work
    assert_eq!(roster.lost(), 2);
    assert_eq!(roster.merged().requests(), 10, "what it measured counts");
}

/// The token of an index is right whatever the operator wants: its worker is not believed before.
#[test]
fn a_worker_whose_index_was_not_granted_is_turned_away_until_it_is() {
    let (mut stage, _players) = fleet_of(2, Memory::none(), steady);
    let hello = |index, carrying| fleet::Hello {
        protocol: PROTOCOL_VERSION,
        run: "r-1".into(),
        index,
        instance: "new".into(),
        carrying,
        ..Default::default()
    };
    let try_to = |stage: &mut Stage, hello: fleet::Hello| {
        let (sender, _heard) = mpsc::channel(OUTBOUND_FOR_TESTS);
        stage.coordinator.join(&hello, sender, stage.now).is_ok()
    };
    for carrying in [false, true] {
        assert!(!try_to(&mut stage, hello(2, carrying)));
        assert!(!try_to(&mut stage, hello(5_000, carrying)));
    }
    scale(&mut stage, 3, 3).unwrap();
    assert!(try_to(&mut stage, hello(2, false)));
    scale(&mut stage, 2, 3).unwrap();
    assert!(!try_to(&mut stage, hello(2, false)), "it would get a share");
    assert!(try_to(&mut stage, hello(2, true)), "it may have samples");
}

#[test]
fn numbers_that_no_run_has_and_other_runs_are_refused() {
    let (mut stage, _players) = fleet_of(2, Memory::none(), steady);
    for (now, most) in [(0, 2), (2001, 2001), (2, 2001), (2, 0)] {
        let refused = scale(&mut stage, now, most);
        assert!(matches!(refused, Err(Refusal::Workers { .. })), "{now}");
    }
    let other = Scale {
        run: "r-2".into(),
        workers: FleetSize { now: 4, most: 4 },
    };
    let refused = stage.coordinator.scale(&other, stage.now);
    assert!(matches!(refused, Err(Refusal::OtherRun { .. })));
    assert_eq!(stage.coordinator.progress(stage.now).workers, 2);
}

#[test]
fn a_number_that_flaps_within_a_second_divides_nothing_in_vain() {
    let (mut stage, mut players) = fleet_of(2, Memory::none(), steady);
    for (now, most) in [(4, 4), (2, 4), (4, 4), (2, 4)] {
        scale(&mut stage, now, most).unwrap();
    }
    stage.pass(1);
    assert!(players.iter_mut().all(|player| parts(player).is_none()));
    assert_eq!(stage.coordinator.shares.division().number, 0);
    // those who are there and then not wanted make one division each, a second apart at least
    scale(&mut stage, 3, 4).unwrap();
    let third = join(&mut stage, 2);
    stage.ready(&third);
    let first = stage.coordinator.shares.division();
    scale(&mut stage, 2, 4).unwrap();
    assert_eq!(
        stage.coordinator.shares.division(),
        first,
        "it has not begun"
    );
    stage.pass(1);
    let second = stage.coordinator.shares.division();
    assert_eq!((first.number, second.number, second.workers), (1, 2, 2));
    assert!(second.from > first.from);
}

#[test]
fn nothing_is_divided_anew_while_a_worker_does_not_hear_of_it() {
    let (mut stage, mut players) = fleet_of(3, Memory::none(), steady);
    // cut off, or dead: nobody knows for two seconds
    stage.coordinator.leave(players[1].id, stage.now);
    scale(&mut stage, 2, 3).unwrap();
    stage.pass(1);
    say_parts(&mut stage, &players[0], 1, vec![], false);
    say_parts(&mut stage, &players[2], 1, vec![], false);
    assert_eq!(stage.coordinator.shares.division().number, 0);
    stage.pass(1);
    say_parts(&mut stage, &players[0], 2, vec![], false);
    say_parts(&mut stage, &players[2], 2, vec![], false);
    // it counts as dead: the others carry what was its part of the new division
    let division = stage.coordinator.shares.division();
    assert_eq!((division.number, division.workers), (1, 2));
    let carried: Vec<u32> = parts(&mut players[0])
        .unwrap()
        .iter()
        .filter(|part| part.until_micros.is_none())
        .map(|part| part.share)
        .collect();
    assert_eq!(carried, [0, 1]);
    let mut replacement = join_as(&mut stage, 1, "new");
    stage.ready(&replacement);
    let start = replacement.was_told_to_start().unwrap();
    assert_eq!(start.workers, 2);
    let back = parts(&mut players[0]).unwrap();
    let back = back
        .iter()
        .find(|part| part.share == 1 && part.division.is_some());
    assert_eq!(back.unwrap().until_micros, Some(start.from_micros));
}

#[test]
fn workers_that_are_there_get_shares_though_others_never_come() {
    let (mut stage, mut players) = fleet_of(2, Memory::none(), steady);
    scale(&mut stage, 5, 5).unwrap();
    let third = join(&mut stage, 2);
    let last = join(&mut stage, 4);
    stage.ready(&third);
    stage.ready(&last);
    for second in 1..=10 {
        assert_eq!(stage.coordinator.shares.division().number, 0);
        stage.pass(1);
        for player in &players {
            say_parts(&mut stage, player, second, vec![], false);
        }
        for waiting in [&third, &last] {
            stage.say(waiting, from_worker::Message::Pong(fleet::Pong::default()));
        }
    }
    let division = stage.coordinator.shares.division();
    assert_eq!(division.workers, 3, "as far as there is no gap");
    assert!(parts(&mut players[0]).is_some());
}

#[test]
fn before_the_start_the_load_is_divided_among_those_who_are_wanted_then() {
    let mut stage = Stage::of(2, Memory::none(), steady);
    scale(&mut stage, 3, 3).unwrap();
    let mut players: Vec<Player> = (0..3).map(|index| join(&mut stage, index)).collect();
    players[..2].iter().for_each(|player| stage.ready(player));
    assert_eq!(stage.state(), MasterState::Waiting, "the third is awaited");
    stage.ready(&players[2]);
    stage.grant(1, GrantAction::Start).unwrap();
    for player in &mut players {
        let start = player.was_told_to_start().unwrap();
        assert_eq!((start.workers, start.division), (3, None));
    }
}

#[test]
fn counted_iterations_are_divided_anew_when_those_under_way_are_over() {
    let (mut stage, mut players) = fleet_of(1, Memory::none(), |spec| {
        spec["load"] = json!({"iterations": {"count": 100, "users": 10}});
    });
    scale(&mut stage, 2, 2).unwrap();
    let mut second = join(&mut stage, 1);
    stage.ready(&second);
    let left = parts(&mut players[0]).unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].until_micros, Some(0));
    assert!(second.was_told_to_start().is_none());
    let over = fleet::PartState {
        part: Some(left[0]),
        iterations: 41,
        over: true,
        cut: true,
    };
    stage.pass(1);
    assert_eq!(
        stage.state(),
        MasterState::Running,
        "not everything is done"
    );
    say_parts(&mut stage, &players[0], 1, vec![over], true);
    let start = second.was_told_to_start().unwrap();
    let gets = parts(&mut players[0]).unwrap();
    assert_eq!(
        (start.iterations_done, gets[0].iterations_done),
        (20, 21),
        "59 of 100 are left: 29 and 30"
    );
    assert_eq!(stage.state(), MasterState::Running);
}

#[test]
fn a_restarted_master_goes_on_with_the_number_and_the_division_of_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stage, _players) = fleet_of(1, Memory::at(folder.path()), steady);
    scale(&mut stage, 2, 2).unwrap();
    let second = join(&mut stage, 1);
    stage.ready(&second);
    assert_eq!(stage.coordinator.shares.division().workers, 2);
    let (memory, checkpoint) = stage.coordinator.checkpoint(stage.now).unwrap();
    memory.store_checkpoint(&checkpoint).unwrap();
    let again = Stage::of(1, Memory::at(folder.path()), steady);
    assert_eq!(again.coordinator.roster.workers(), 2);
    assert_eq!(again.coordinator.shares, stage.coordinator.shares);
}

#[test]
fn a_master_without_memory_hears_the_number_with_the_grant_to_go_on() {
    let mut stage = Stage::of(1, Memory::none(), steady);
    let grant = Grant {
        run: "r-1".into(),
        epoch: 2,
        incarnation: stage.coordinator.incarnation().to_owned(),
        action: GrantAction::Resume,
        deadline_micros: 0,
        workers: Some(FleetSize { now: 2, most: 3 }),
    };
    stage.coordinator.grant(&grant, stage.now).unwrap();
    let state = |id, index, number, workers| {
        let mut state = carried(id, index);
        if let Some(part) = &mut state.part {
            part.division = (number > 0).then_some(fleet::Division {
                number,
                workers,
                most_workers: 3,
                ..fleet::Division::default()
            });
        }
        state
    };
    let back = |stage: &mut Stage, index: u32, parts| {
        let player = stage.join_with(fleet::Hello {
            index,
            instance: format!("w{index}"),
            carrying: true,
            takes_parts: true,
            divides_anew: true,
            ..Default::default()
        });
        let from_worker::Message::Cumulative(said) = cumulative(4, 5) else {
            panic!()
        };
        let said = fleet::Cumulative { parts, ..said };
        stage.say(&player, from_worker::Message::Cumulative(said));
        player
    };
    // one that still leaves what it had in the division before, and what it has now
    let parts = vec![state(1, 0, 1, 3), state(4, 0, 2, 2)];
    let mut first = back(&mut stage, 0, parts);
    back(&mut stage, 1, vec![state(5, 1, 2, 2)]);
    back(&mut stage, 2, vec![state(3, 2, 1, 3)]);
    let division = stage.coordinator.shares.division();
    assert_eq!((division.number, division.workers), (2, 2));
    stage.pass(1);
    assert_eq!(stage.state(), MasterState::Running);
    assert!(
        parts_of(&mut first).is_none_or(|parts| parts.len() == 2),
        "nothing is taken from it"
    );
    assert!(!stage.coordinator.shares.has_orphans());
}

fn parts_of(player: &mut Player) -> Option<Vec<fleet::Part>> {
    parts(player)
}
