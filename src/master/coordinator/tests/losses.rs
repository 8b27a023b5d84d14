//! Workers that are lost or cut off, and what their leases hold up.

use super::*;

/// Two workers under load, and their instances `a` and `b`.
fn two(memory: Memory, change: impl FnOnce(&mut serde_json::Value)) -> (Stage, [Player; 2]) {
    let mut stage = Stage::of(2, memory, change);
    let players = [stage.join(0, "a", false), stage.join(1, "b", false)];
    players.iter().for_each(|player| stage.ready(player));
    stage.grant(1, GrantAction::Start).unwrap();
    stage.pass(4);
    (stage, players)
}

fn deliver_all(stage: &mut Stage, players: &[Player], second: u32) {
    players
        .iter()
        .for_each(|player| stage.deliver(player, second, 5, false));
}

/// Before, seconds judged from the workers that were heard gave a false abort.
#[test]
fn a_second_is_judged_when_a_silent_worker_is_heard_or_its_lease_is_over() {
    let few =
        json!([{"metric": "requests", "expr": "count >= 10", "window": "1s", "abortOnFail": true}]);
    let (mut stage, players) = two(Memory::none(), |spec| {
        spec["load"] = json!({"closed": {"users": 2, "duration": "10m"}});
        spec["thresholds"] = few;
    });
    deliver_all(&mut stage, &players, 0);
    // the second worker is cut off
    stage.coordinator.leave(players[1].id, stage.now);
    for second in 1..20 {
        stage.pass(1);
        stage.deliver(&players[0], second, 5, false);
    }
    assert_eq!(stage.state(), MasterState::Running);
    assert_eq!(stage.coordinator.timeline.points().len(), 1);
    // it comes back, and says what it did meanwhile
    let back = stage.join(1, "b", true);
    for second in 1..20 {
        stage.deliver(&back, second, 5, false);
    }
    assert_eq!(stage.state(), MasterState::Running);
    assert_eq!(stage.coordinator.timeline.points().len(), 20);
    assert_eq!(stage.coordinator.late(), 0);
    // and is never heard again
    for second in 20..112 {
        stage.pass(1);
        stage.deliver(&players[0], second, 5, false);
    }
    assert_eq!(stage.state(), MasterState::Stopping, "{:?}", events(&stage));
}

/// Before, 1,500 of 6,000 requests were missing of a worker that was cut off over the end.
#[test]
fn the_end_waits_for_a_worker_that_is_cut_off_until_its_lease_is_over() {
    for comes_back in [true, false] {
        let (mut stage, players) = two(Memory::none(), |_| {});
        deliver_all(&mut stage, &players, 0);
        stage.coordinator.leave(players[1].id, stage.now);
        stage.pass(10);
        stage.deliver(&players[0], 9, 5, true);
        stage.pass(60);
        assert_eq!(stage.state(), MasterState::Running);
        if comes_back {
            let back = stage.join(1, "b", true);
            (1..9).for_each(|second| stage.deliver(&back, second, 5, false));
            stage.deliver(&back, 9, 5, true);
        } else {
            stage.pass(30);
        }
        assert_eq!(stage.state(), MasterState::Finished);
        let result = stage.coordinator.result().unwrap();
        let lost = u32::from(!comes_back);
        assert_eq!(result.workers.lost, lost);
        assert_eq!(result.totals.requests, if comes_back { 60 } else { 15 });
        let told = "nothing is known of what worker 1 did from 1 s to at most 40 s into the run";
        let tells = result.warnings.iter().any(|warning| warning == told);
        assert_eq!(tells, !comes_back, "{:?}", result.warnings);
    }
}

#[test]
fn a_lost_share_is_given_to_a_worker_that_can_take_it_and_back() {
    let (mut stage, mut players) = two(Memory::none(), |spec| {
        spec["load"] = json!({"closed": {"users": 2, "duration": "10m"}});
    });
    // the first comes back as one that knows parts
    stage.coordinator.leave(players[0].id, stage.now);
    players[0] = stage.join_taking_parts(0, "a");
    deliver_all(&mut stage, &players, 0);
    stage.coordinator.leave(players[1].id, stage.now);
    stage.pass(1);
    assert!(parts(&mut players[0]).is_none(), "it may come back");
    stage.pass(1);
    let given = parts(&mut players[0]).expect("the share of the other");
    let shares: Vec<u32> = given.iter().map(|part| part.share).collect();
    assert_eq!(shares, [0, 1]);
    let mut replacement = stage.join(1, "c", false);
    stage.ready(&replacement);
    let start = replacement.was_told_to_start().unwrap();
    let back = parts(&mut players[0]).expect("the share goes back");
    assert_eq!(back[1].until_micros, Some(start.from_micros));
    // a second ahead, so that both hear of it in time
    assert_eq!(start.from_micros, 4_000_000);
}

fn parts(player: &mut Player) -> Option<Vec<fleet::Part>> {
    player
        .heard()
        .into_iter()
        .rev()
        .find_map(|message| match message {
            Message::Parts(parts) => Some(parts.parts),
            _ => None,
        })
}

#[test]
fn a_loss_ends_a_run_that_asks_for_it() {
    let (mut stage, players) = two(Memory::none(), |_| {});
    stage.coordinator.file.on_loss = crate::plan::OnLoss::Fail;
    deliver_all(&mut stage, &players, 0);
    stage.coordinator.leave(players[1].id, stage.now);
    stage.pass(2);
    assert_eq!(stage.state(), MasterState::Stopping);
    stage.deliver(&players[0], 3, 5, true);
    stage.pass(91);
    let result = stage.coordinator.result().unwrap();
    assert_eq!(
        (result.verdict, &result.reason),
        (Verdict::Errored, &Reason::WorkersLost)
    );
}

/// A killed process goes on from what it stored: with the samples of a worker that had died, and with
/// the windows that it had begun.
#[test]
fn a_master_goes_on_from_its_checkpoint_and_acknowledges_only_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let memory = || Memory::at(folder.path());
    let (mut stage, mut players) = two(memory(), |spec| {
        spec["load"] = json!({"closed": {"users": 2, "duration": "10m"}});
    });
    deliver_all(&mut stage, &players, 0);
    stage.coordinator.leave(players[1].id, stage.now);
    stage.pass(2);
    let acknowledged = |player: &mut Player| -> Vec<u32> {
        let heard = player.heard().into_iter();
        heard
            .filter_map(|message| match message {
                Message::Ack(ack) => ack.second,
                _ => None,
            })
            .collect()
    };
    assert!(acknowledged(&mut players[0]).is_empty());
    let (kept, checkpoint) = stage.coordinator.checkpoint(stage.now).unwrap();
    kept.store_checkpoint(&checkpoint).unwrap();
    stage.deliver(&players[0], 1, 7, false);
    stage.coordinator.checkpointed(None);
    assert_eq!(acknowledged(&mut players[0]), [0]);

    let mut after = Stage::of(2, memory(), |spec| {
        spec["load"] = json!({"closed": {"users": 2, "duration": "10m"}});
    });
    assert_eq!(after.state(), MasterState::Recovering);
    assert_eq!(after.coordinator.merged().requests(), 10);
    let back = after.join(0, "a", true);
    after.say(&back, cumulative(0, 5));
    assert_eq!(after.state(), MasterState::Running);
    after.deliver(&back, 0, 5, false);
    after.deliver(&back, 1, 7, false);
    assert_eq!(after.coordinator.merged().requests(), 17);
    assert_eq!(after.coordinator.late(), 0);
    assert_eq!(after.coordinator.incomplete(), None);
}

#[test]
fn a_damaged_checkpoint_is_left_and_the_workers_are_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (stage, _players) = two(Memory::at(folder.path()), |_| {});
    drop(stage);
    std::fs::write(folder.path().join("checkpoint.json"), "{\"run\":").unwrap();
    let mut after = Stage::of(2, Memory::at(folder.path()), |_| {});
    assert_eq!(after.state(), MasterState::Recovering);
    let back = after.join(0, "a", true);
    after.say(&back, cumulative(3, 9));
    assert_eq!(after.coordinator.merged().requests(), 9);
}

/// What a master had of workers that had died is gone with its Pod; the others know how much it was.
#[test]
fn samples_that_a_lost_pod_had_alone_are_told() {
    let mut stage = Stage::new(2, Memory::none());
    stage.grant(2, GrantAction::Resume).unwrap();
    let player = stage.join(0, "a", true);
    let from_worker::Message::Cumulative(said) = cumulative(4, 9) else {
        unreachable!()
    };
    let gone = fleet::Loss {
        index: 1,
        instance: "b".into(),
        requests: 33,
    };
    let losses = fleet::Losses { losses: vec![gone] };
    let said = fleet::Cumulative {
        losses: Some(losses),
        ..said
    };
    stage.say(&player, from_worker::Message::Cumulative(said));
    let incomplete = stage.coordinator.incomplete().unwrap();
    assert_eq!((incomplete.workers, incomplete.requests), (1, 33));
    // it was only cut off
    let back = stage.join(1, "b", true);
    stage.say(&back, cumulative(4, 40));
    assert_eq!(stage.coordinator.incomplete(), None);
}
