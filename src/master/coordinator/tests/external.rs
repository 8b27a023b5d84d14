//! Workers from elsewhere, which nobody replaces.

use super::*;

/// Has a worker from elsewhere join; an error says why it is turned away.
fn join(stage: &mut Stage, index: u32, instance: &str, place: &str) -> Result<Player, String> {
    let (sender, heard) = mpsc::channel(OUTBOUND_FOR_TESTS);
    let hello = fleet::Hello {
        protocol: PROTOCOL_VERSION,
        run: "r-1".into(),
        index,
        instance: instance.into(),
        external: true,
        place: place.into(),
        ..Default::default()
    };
    match stage.coordinator.join(&hello, sender, stage.now) {
        Ok(id) => Ok(Player { id, heard }),
        Err(refused) => {
            assert!(!refused.permanent, "it may try another share");
            Err(refused.reason)
        }
    }
}

#[test]
fn a_share_that_a_worker_from_elsewhere_has_is_not_taken_from_it() {
    let mut stage = Stage::new(1, Memory::none());
    let first = join(&mut stage, 0, "a", "").unwrap();
    let refused = join(&mut stage, 0, "b", "").err();
    assert!(refused.is_some_and(|why| why.contains("share 0")));
    // the same process on a new connection is no other worker
    let again = join(&mut stage, 0, "a", "").unwrap();
    stage.coordinator.leave(first.id, stage.now);
    assert!(join(&mut stage, 0, "b", "").is_err());
    // one that has started nothing leaves nothing behind
    stage.coordinator.leave(again.id, stage.now);
    join(&mut stage, 0, "b", "").unwrap();
}

#[test]
fn a_share_is_free_again_when_the_load_of_its_lost_worker_must_have_stopped() {
    let mut stage = Stage::of(1, Memory::none(), |spec| {
        spec["load"]["closed"]["duration"] = json!("1h");
    });
    let first = join(&mut stage, 0, "a", "").unwrap();
    stage.ready(&first);
    stage.grant(1, GrantAction::Start).unwrap();
    stage.coordinator.leave(first.id, stage.now);
    assert!(join(&mut stage, 0, "b", "").is_err());
    // the lease of the one that is gone has ended a while ago
    let grace = stage.coordinator.file.grace;
    let long_ago = stage.now.checked_sub(grace + Duration::from_secs(1));
    stage.coordinator.roster.set_left_at(0, "a", long_ago);
    join(&mut stage, 0, "b", "").unwrap();
}

#[test]
fn a_place_is_shown_without_what_could_steer_a_terminal() {
    let mut stage = Stage::new(1, Memory::none());
    let player = join(&mut stage, 0, "a", "eu\x1b[31m-1\n").unwrap();
    stage.ready(&player);
    stage.grant(1, GrantAction::Start).unwrap();
    stage.pass(14);
    stage.deliver(&player, 0, 3, true);
    let fleet = &stage.coordinator.result().unwrap().fleet;
    assert_eq!((fleet[0].worker, fleet[0].requests), (0, 3));
    assert!(!fleet[0].place.contains(['\x1b', '\n']), "{fleet:?}");
    assert!(fleet[0].place.starts_with("eu"), "{fleet:?}");
}
