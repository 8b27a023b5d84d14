//! What one worker does alone, through losses and restarts.

use serde_json::json;

use super::super::tests::{Player, Stage, cumulative_with};
use super::*;
use crate::master::memory::Memory;
use crate::stats::result::Verdict;
use crate::stats::{Counters, Snapshot};
use crate::wire::control::{GrantAction, Stop};
use crate::wire::fleet::from_worker;

fn stage(workers: u32, memory: Memory) -> Stage {
    Stage::of(workers, memory, |spec| {
        spec["setup"] = json!([{"http": {"path": "/setup"}, "extract": {"token": {"body": true}}}]);
        spec["teardown"] = json!([{"http": {"path": "/teardown/{{ token }}"}}]);
        spec["run"] = json!({"stopTimeout": "20s", "setupTimeout": "60s", "preflight": "Off"});
    })
}

fn ready(stage: &mut Stage, player: &Player, known: &[OneOffKind]) {
    let one_offs = known.iter().map(|kind| *kind as i32).collect();
    stage.say(
        player,
        from_worker::Message::Ready(fleet::Ready {
            one_offs,
            ..fleet::Ready::default()
        }),
    );
}

/// All workers, ready, and the grant given.
fn granted(workers: u32) -> (Stage, Vec<Player>) {
    let mut stage = stage(workers, Memory::none());
    let players: Vec<Player> = (0..workers)
        .map(|index| stage.join(index, "a", false))
        .collect();
    players
        .iter()
        .for_each(|player| ready(&mut stage, player, &[]));
    assert_eq!(stage.state(), MasterState::Ready);
    stage.grant(1, GrantAction::Start).unwrap();
    (stage, players)
}

/// What a worker was told, of what matters here.
#[derive(Debug, PartialEq)]
enum Told {
    OneOff(OneOffKind, Option<Vec<u8>>),
    Start(Option<Vec<u8>>),
    Stop,
}

fn told(player: &mut Player) -> Vec<Told> {
    let values = |found: Option<fleet::SetupValues>| found.map(|found| found.values);
    let told = player
        .heard()
        .into_iter()
        .filter_map(|message| match message {
            Message::OneOff(one_off) => {
                Some(Told::OneOff(one_off.kind(), values(one_off.setup_values)))
            }
            Message::Start(start) => Some(Told::Start(values(start.setup_values))),
            Message::Stop(_) => Some(Told::Stop),
            _ => None,
        });
    told.collect()
}

fn setup_values() -> Option<fleet::SetupValues> {
    Some(fleet::SetupValues {
        values: b"{\"token\":\"canary\"}".to_vec(),
    })
}

fn values() -> Option<Vec<u8>> {
    setup_values().map(|found| found.values)
}

fn answer(stage: &mut Stage, player: &Player, kind: OneOffKind, failure: &str) {
    let counters = Counters {
        control: 3,
        ..Counters::default()
    };
    let snapshot = Snapshot {
        counters,
        ..Snapshot::default()
    }
    .encode();
    let setup_values = setup_values().filter(|_| kind == OneOffKind::Setup);
    let done = fleet::OneOffDone {
        kind: kind.into(),
        failure: failure.into(),
        setup_values,
        snapshot,
        note: String::new(),
    };
    stage.say(player, from_worker::Message::OneOffDone(done));
}

fn stop(stage: &mut Stage) {
    stage.coordinator.stop(
        Stop {
            run: "r-1".into(),
            reason: Reason::Suspended,
            message: "m".into(),
        },
        stage.now,
    );
}

#[test]
fn setup_goes_to_the_first_worker_and_the_load_waits_for_it() {
    let (mut stage, mut players) = granted(2);
    assert_eq!(
        told(&mut players[0]),
        [Told::OneOff(OneOffKind::Setup, None)]
    );
    assert_eq!(
        (told(&mut players[1]), stage.state()),
        (vec![], MasterState::Preparing)
    );
    stage.pass(50);
    assert_eq!(
        stage.coordinator.progress(stage.now).one_off.as_deref(),
        Some("setup")
    );
    answer(&mut stage, &players[0], OneOffKind::Setup, "");
    assert_eq!(stage.state(), MasterState::Running);
    players
        .iter_mut()
        .for_each(|player| assert_eq!(told(player), [Told::Start(values())]));
}

#[test]
fn nothing_is_asked_before_the_grant_or_while_a_worker_is_missing() {
    let mut stage = stage(2, Memory::none());
    let mut first = stage.join(0, "a", false);
    ready(&mut stage, &first, &[]);
    stage.grant(1, GrantAction::Start).unwrap();
    stage.pass(10);
    assert_eq!(told(&mut first), []);
    let second = stage.join(1, "b", false);
    ready(&mut stage, &second, &[]);
    assert_eq!(told(&mut first), [Told::OneOff(OneOffKind::Setup, None)]);
}

#[test]
fn a_setup_that_fails_sends_no_load_and_is_torn_down() {
    let (mut stage, mut players) = granted(2);
    answer(
        &mut stage,
        &players[0],
        OneOffKind::Setup,
        "step \"create\": 503 Service Unavailable",
    );
    assert_eq!(
        told(&mut players[0])[1..],
        [Told::OneOff(OneOffKind::Teardown, values())]
    );
    assert_eq!(
        (told(&mut players[1]), stage.state()),
        (vec![], MasterState::Stopping)
    );
    answer(&mut stage, &players[0], OneOffKind::Teardown, "");
    let result = stage.coordinator.result().unwrap();
    assert_eq!(
        (result.verdict, &result.reason),
        (Verdict::Errored, &Reason::SetupFailed)
    );
    assert_eq!(
        result.message,
        "setup failed: step \"create\": 503 Service Unavailable"
    );
    assert_eq!(
        (
            &result.started_at,
            result.totals.requests,
            result.totals.control
        ),
        (&None, 0, 3)
    );
    assert!(!serde_json::to_string(result).unwrap().contains("canary"));
}

#[test]
fn another_worker_sets_up_anew_when_the_first_dies() {
    let (mut stage, mut players) = granted(2);
    stage.coordinator.leave(players[0].id, stage.now);
    assert_eq!(stage.state(), MasterState::Waiting);
    let mut replacement = stage.join(0, "c", false);
    ready(&mut stage, &replacement, &[]);
    assert_eq!(
        told(&mut replacement),
        [Told::OneOff(OneOffKind::Setup, None)]
    );
    // of this one nothing was asked
    answer(&mut stage, &players[1], OneOffKind::Setup, "");
    assert_eq!(stage.state(), MasterState::Preparing);
    answer(&mut stage, &replacement, OneOffKind::Setup, "");
    assert_eq!(
        (told(&mut players[1]), stage.state()),
        (vec![Told::Start(values())], MasterState::Running)
    );
}

#[test]
fn a_connection_that_comes_back_says_what_came_of_the_setup() {
    let (mut stage, players) = granted(2);
    stage.coordinator.leave(players[0].id, stage.now);
    let mut again = stage.join(0, "a", false);
    ready(&mut stage, &again, &[OneOffKind::Setup]);
    assert_eq!(told(&mut again), [Told::OneOff(OneOffKind::Setup, None)]);
    answer(&mut stage, &again, OneOffKind::Setup, "");
    assert_eq!(stage.state(), MasterState::Running);
}

#[test]
fn a_worker_that_never_answers_is_not_waited_for_for_ever() {
    let (mut stage, _players) = granted(1);
    stage.pass(66);
    assert_eq!(stage.state(), MasterState::Stopping);
    stage.pass(26);
    let result = stage.coordinator.result().unwrap();
    assert_eq!(
        result.message,
        "setup failed: the worker did not answer in time"
    );
    assert!(
        result
            .warnings
            .iter()
            .any(|warning| warning.starts_with("teardown failed: the worker did not")),
        "{:?}",
        result.warnings
    );
}

#[test]
fn a_stop_during_setup_cuts_it_off_and_tears_down() {
    let (mut stage, mut players) = granted(1);
    stop(&mut stage);
    assert_eq!(
        told(&mut players[0]),
        [Told::OneOff(OneOffKind::Setup, None), Told::Stop]
    );
    answer(&mut stage, &players[0], OneOffKind::Setup, "it was cut off");
    assert_eq!(
        told(&mut players[0]),
        [Told::OneOff(OneOffKind::Teardown, values())]
    );
    answer(&mut stage, &players[0], OneOffKind::Teardown, "");
    let result = stage.coordinator.result().unwrap();
    assert_eq!(
        (result.verdict, &result.reason),
        (Verdict::Aborted, &Reason::Suspended)
    );
}

#[test]
fn what_workers_say_of_their_inputs_is_a_warning_once() {
    let mut stage = stage(2, Memory::none());
    for index in 0..2 {
        let player = stage.join(index, "a", false);
        let warnings = vec!["spec.target.auth: short".to_owned()];
        stage.say(
            &player,
            from_worker::Message::Ready(fleet::Ready {
                warnings,
                ..fleet::Ready::default()
            }),
        );
    }
    stop(&mut stage);
    let result = stage.coordinator.result().unwrap();
    assert_eq!(
        result
            .warnings
            .iter()
            .filter(|warning| warning.contains("short"))
            .count(),
        1,
        "{:?}",
        result.warnings
    );
}

#[test]
fn what_was_never_set_up_is_not_torn_down() {
    let mut stage = stage(1, Memory::none());
    let mut player = stage.join(0, "a", false);
    ready(&mut stage, &player, &[]);
    stop(&mut stage);
    assert_eq!(
        (told(&mut player), stage.state()),
        (vec![], MasterState::Finished)
    );

    let connecting = || {
        let mut stage = Stage::of(1, Memory::none(), |spec| {
            spec["setup"] = json!([{"http": {"path": "/setup"}}]);
            spec["teardown"] = json!([{"http": {"path": "/teardown"}}]);
            spec["run"] = json!({"preflight": "Connect"});
        });
        let mut player = stage.join(0, "a", false);
        ready(&mut stage, &player, &[]);
        stage.grant(1, GrantAction::Start).unwrap();
        assert_eq!(
            told(&mut player),
            [Told::OneOff(OneOffKind::Preflight, None)]
        );
        (stage, player)
    };
    let (mut stage, mut player) = connecting();
    answer(
        &mut stage,
        &player,
        OneOffKind::Preflight,
        "spec.target: connecting to 127.0.0.1:9: refused",
    );
    assert!(
        !told(&mut player)
            .iter()
            .any(|told| matches!(told, Told::OneOff(..)))
    );
    assert_eq!(
        (stage.state(), &stage.coordinator.result().unwrap().reason),
        (MasterState::Finished, &Reason::PreflightFailed)
    );
    let (mut stage, mut player) = connecting();
    stop(&mut stage);
    assert_eq!(
        (told(&mut player), stage.state()),
        (vec![Told::Stop], MasterState::Stopping)
    );
    answer(&mut stage, &player, OneOffKind::Preflight, "it was cut off");
    assert!(
        !told(&mut player)
            .iter()
            .any(|told| matches!(told, Told::OneOff(..)))
    );
    assert_eq!(
        (stage.state(), stage.coordinator.result().unwrap().verdict),
        (MasterState::Finished, Verdict::Aborted)
    );
}

#[test]
fn what_a_preflight_did_is_torn_down() {
    let mut stage = Stage::of(1, Memory::none(), |spec| {
        spec["teardown"] = json!([{"http": {"path": "/teardown"}}]);
        spec["run"] = json!({"preflight": "Once"});
    });
    let mut player = stage.join(0, "a", false);
    ready(&mut stage, &player, &[]);
    stage.grant(1, GrantAction::Start).unwrap();
    answer(
        &mut stage,
        &player,
        OneOffKind::Preflight,
        "step \"create\": 404 Not Found",
    );
    assert_eq!(
        told(&mut player)[1..],
        [Told::OneOff(OneOffKind::Teardown, None)]
    );
    answer(&mut stage, &player, OneOffKind::Teardown, "");
    assert_eq!(
        stage.coordinator.result().unwrap().reason,
        Reason::PreflightFailed
    );
}

#[test]
fn a_replacement_gets_what_setup_found_and_a_teardown_that_fails_is_a_warning() {
    let (mut stage, mut players) = granted(2);
    answer(&mut stage, &players[0], OneOffKind::Setup, "");
    stage.pass(5);
    stage.coordinator.leave(players[0].id, stage.now);
    let mut replacement = stage.join(0, "c", false);
    ready(&mut stage, &replacement, &[]);
    assert_eq!(told(&mut replacement), [Told::Start(values())]);
    stage.pass(9);
    told(&mut players[1]);
    stage.deliver(&players[1], 9, 3, true);
    stage.deliver(&replacement, 9, 4, true);
    assert_eq!(
        (stage.state(), told(&mut replacement)),
        (
            MasterState::Stopping,
            vec![Told::OneOff(OneOffKind::Teardown, values())]
        )
    );
    answer(
        &mut stage,
        &replacement,
        OneOffKind::Teardown,
        "step \"drop\": 404 Not Found",
    );
    let result = stage.coordinator.result().unwrap();
    assert_eq!(
        (
            result.verdict,
            result.totals.requests,
            result.totals.control
        ),
        (Verdict::Passed, 7, 6)
    );
    assert!(
        result
            .warnings
            .contains(&"teardown failed: step \"drop\": 404 Not Found".to_owned()),
        "{:?}",
        result.warnings
    );
}

#[test]
fn a_teardown_is_begun_anew_elsewhere_and_left_when_nobody_is_there() {
    let (mut stage, mut players) = granted(2);
    answer(&mut stage, &players[0], OneOffKind::Setup, "");
    stage.pass(14);
    stage.deliver(&players[0], 0, 3, true);
    stage.deliver(&players[1], 0, 3, true);
    told(&mut players[1]);
    stage.coordinator.leave(players[0].id, stage.now);
    assert_eq!(
        told(&mut players[1]),
        [Told::OneOff(OneOffKind::Teardown, values())]
    );
    stage.coordinator.leave(players[1].id, stage.now);
    stage.pass(20);
    assert_eq!(stage.state(), MasterState::Stopping);
    stage.pass(6);
    let result = stage.coordinator.result().unwrap();
    assert!(
        result
            .warnings
            .iter()
            .any(|warning| warning.starts_with("teardown was not carried out")),
        "{:?}",
        result.warnings
    );
    assert_eq!(result.verdict, Verdict::Passed);
}

#[test]
fn a_new_master_asks_who_knows_before_it_gives_a_share_away() {
    let mut stage = stage(2, Memory::none());
    let mut carrier = stage.join(1, "a", true);
    stage.say(&carrier, cumulative_with(4, 5, vec![]));
    ready(&mut stage, &carrier, &[OneOffKind::Setup]);
    stage.grant(2, GrantAction::Resume).unwrap();
    stage.pass(0);
    assert_eq!(stage.state(), MasterState::Running);
    assert_eq!(told(&mut carrier), [Told::OneOff(OneOffKind::Setup, None)]);
    let mut fresh = stage.join(0, "b", false);
    ready(&mut stage, &fresh, &[]);
    assert_eq!(told(&mut fresh), []);
    answer(&mut stage, &carrier, OneOffKind::Setup, "");
    assert_eq!(told(&mut fresh), [Told::Start(values())]);
}

#[test]
fn a_master_killed_during_setup_hears_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = stage(1, Memory::at(folder.path()));
    let player = before.join(0, "a", false);
    ready(&mut before, &player, &[]);
    before.grant(1, GrantAction::Start).unwrap();
    drop(before);

    let mut after = stage(1, Memory::at(folder.path()));
    let mut player = after.join(0, "a", false);
    ready(&mut after, &player, &[OneOffKind::Setup]);
    after.grant(1, GrantAction::Start).unwrap();
    assert_eq!(told(&mut player), [Told::OneOff(OneOffKind::Setup, None)]);
    answer(&mut after, &player, OneOffKind::Setup, "");
    assert_eq!(
        (told(&mut player), after.state()),
        (vec![Told::Start(values())], MasterState::Running)
    );
}

#[test]
fn a_target_that_is_not_ready_or_refuses_keeps_the_load_from_starting() {
    let staged = |preflight: &str| {
        let mut stage = Stage::of(1, Memory::none(), |spec| {
            spec["target"]["readyWhen"] = json!({"http": "/health"});
            spec["setup"] = json!([{"http": {"path": "/setup"}}]);
            spec["run"] = json!({"preflight": preflight});
        });
        let player = stage.join(0, "a", false);
        ready(&mut stage, &player, &[]);
        stage.grant(1, GrantAction::Start).unwrap();
        (stage, player)
    };
    for (preflight, order) in [
        (
            "Connect",
            [
                OneOffKind::AwaitTargets,
                OneOffKind::Preflight,
                OneOffKind::Setup,
            ],
        ),
        (
            "Once",
            [
                OneOffKind::AwaitTargets,
                OneOffKind::Setup,
                OneOffKind::Preflight,
            ],
        ),
    ] {
        let (mut stage, mut player) = staged(preflight);
        for kind in order {
            let asked = told(&mut player).into_iter().map(|told| {
                if let Told::OneOff(kind, _) = told {
                    Some(kind)
                } else {
                    None
                }
            });
            assert_eq!(asked.collect::<Vec<_>>(), [Some(kind)]);
            answer(&mut stage, &player, kind, "");
        }
        assert_eq!(stage.state(), MasterState::Running);
    }
    let (mut stage, player) = staged("Connect");
    answer(
        &mut stage,
        &player,
        OneOffKind::AwaitTargets,
        "spec.target.readyWhen: not ready within 5m",
    );
    let result = stage.coordinator.result().unwrap();
    assert_eq!(
        (result.verdict, &result.reason),
        (Verdict::Errored, &Reason::TargetNotReady)
    );
    let (mut stage, player) = staged("Connect");
    answer(&mut stage, &player, OneOffKind::AwaitTargets, "");
    answer(
        &mut stage,
        &player,
        OneOffKind::Preflight,
        "spec.target: connecting to 127.0.0.1:9: refused",
    );
    let result = stage.coordinator.result().unwrap();
    assert_eq!(
        (&result.reason, result.totals.requests),
        (&Reason::PreflightFailed, 0)
    );
    assert_eq!(
        result.message,
        "preflight failed: spec.target: connecting to 127.0.0.1:9: refused"
    );
}
