//! Runs whose load is changed by hand.

use super::*;
use crate::stats::result::LoadUnit;
use crate::wire::control::{ChangeLoad, StopByHand};

/// A worker under load that knows changes by hand.
fn under_load(memory: Memory, change: impl FnOnce(&mut serde_json::Value)) -> (Stage, Player) {
    let mut stage = Stage::of(1, memory, change);
    let player = join(&mut stage, false);
    stage.ready(&player);
    stage.grant(1, GrantAction::Start).unwrap();
    stage.pass(3);
    (stage, player)
}

fn join(stage: &mut Stage, carrying: bool) -> Player {
    stage.join_with(fleet::Hello {
        instance: "w".into(),
        takes_parts: true,
        changes_load: true,
        carrying,
        ..Default::default()
    })
}

fn steady(spec: &mut serde_json::Value) {
    spec["load"] = json!({"open": {"rate": 100, "duration": "10s", "maxInFlight": 100}});
}

fn rate(rate: f64) -> ChangeLoad {
    ChangeLoad {
        run: "r-1".into(),
        rate: Some(rate),
        ..ChangeLoad::default()
    }
}

fn change(stage: &mut Stage, order: &ChangeLoad) -> Result<(), String> {
    let changed = stage.coordinator.change_load(order, stage.now);
    changed.map_err(|refusal| refusal.to_string())
}

fn told(player: &mut Player) -> Vec<(u64, Option<f64>)> {
    let heard = player.heard().into_iter();
    let lists = heard.filter_map(|message| match message {
        Message::LoadChanges(list) => Some(list.changes),
        Message::Start(start) => Some(start.load_changes.unwrap_or_default().changes),
        _ => None,
    });
    let last = lists.fold(Vec::new(), |_, later| later);
    last.iter()
        .map(|change| (change.at_micros, change.level))
        .collect()
}

#[test]
fn a_change_begins_a_moment_ahead_and_is_told_as_a_level_of_the_whole_fleet() {
    let (mut stage, mut player) = under_load(Memory::none(), steady);
    stage.pass(2);
    change(&mut stage, &rate(250.0)).unwrap();
    let at = 3_000_000;
    assert_eq!(told(&mut player), [(at, Some(250.0))]);
    let level = |stage: &Stage| {
        let progress = stage.coordinator.progress(stage.now);
        let load = &progress.load[0];
        (load.unit, load.planned, load.wanted, load.by_hand)
    };
    assert_eq!(level(&stage), (LoadUnit::Rate, 100.0, 100.0, true));
    stage.pass(1);
    assert_eq!(level(&stage), (LoadUnit::Rate, 100.0, 250.0, true));
    let back = ChangeLoad {
        rate: None,
        profile: true,
        ..rate(0.0)
    };
    change(&mut stage, &back).unwrap();
    assert_eq!(
        told(&mut player),
        [(at, Some(250.0)), (at + 1_000_000, None)]
    );
    stage.pass(2);
    assert_eq!(level(&stage), (LoadUnit::Rate, 100.0, 100.0, false));
    // what is counted against is the effective profile: 3 s, 1 s at 250/s, 6 s
    let plan = &stage.coordinator.file().plan;
    assert_eq!(plan.open_arrivals(Duration::MAX), Some(300 + 250 + 600));
}

#[test]
fn two_people_at_once_the_last_wins() {
    let (mut stage, mut player) = under_load(Memory::none(), steady);
    change(&mut stage, &rate(250.0)).unwrap();
    change(&mut stage, &rate(50.0)).unwrap();
    let all = told(&mut player);
    assert_eq!(all[0].0, all[1].0);
    stage.pass(2);
    assert_eq!(stage.coordinator.progress(stage.now).load[0].wanted, 50.0);
}

#[test]
fn a_change_is_there_before_its_time_only_where_there_is_load() {
    let mut stage = Stage::of(1, Memory::none(), steady);
    let player = join(&mut stage, false);
    stage.ready(&player);
    let refused = change(&mut stage, &rate(5.0)).unwrap_err();
    assert!(
        refused.contains("while the run is Running; it is Ready"),
        "{refused}"
    );
    stage.grant(1, GrantAction::Start).unwrap();
    stage.pass(3 + 9);
    let refused = change(&mut stage, &rate(5.0)).unwrap_err();
    assert_eq!(refused, "the load of s is over");
}

#[test]
fn a_change_during_the_warmup_counts_from_the_begin_of_the_profile() {
    let (mut stage, mut player) = under_load(Memory::none(), |spec| {
        steady(spec);
        spec["warmup"] = json!({"duration": "30s"});
    });
    stage.pass(2);
    change(&mut stage, &rate(250.0)).unwrap();
    assert_eq!(told(&mut player), [(30_000_000, Some(250.0))]);
}

#[test]
fn load_without_a_level_is_not_changed() {
    for (load, words) in [
        (
            json!({"iterations": {"count": 10, "users": 1}}),
            "the load of s is a number of iterations, which has no level",
        ),
        (
            json!({"capacity": {"start": 10, "max": 20, "maxInFlight": 10}}),
            "the load of s is a search for the capacity, which has no level",
        ),
    ] {
        let (mut stage, _player) = under_load(Memory::none(), |spec| {
            spec["load"] = load;
            spec["thresholds"] = json!([{"metric": "latency", "expr": "p(95) < 1s"}]);
        });
        let refused = change(&mut stage, &rate(5.0)).unwrap_err();
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn policies_bound_all_loads_of_a_run_together() {
    let two_loads = |spec: &mut serde_json::Value| {
        let tasks = spec["scenarios"][0]["tasks"].clone();
        let scenario = |name: &str, load: serde_json::Value| json!({"name": name, "tasks": tasks, "load": load});
        spec["scenarios"] = json!([
            scenario(
                "a",
                json!({"open": {"rate": 60, "duration": "60s", "maxInFlight": 10}})
            ),
            scenario("b", json!({"closed": {"users": 5, "duration": "60s"}})),
        ]);
        spec.as_object_mut().unwrap().remove("load");
    };
    let (mut stage, _player) = under_load(Memory::none(), two_loads);
    stage.coordinator.file.plan.control.max_rate = Some(80.0);
    stage.coordinator.file.plan.control.max_users = Some(20);
    let refused = change(&mut stage, &rate(70.0)).unwrap_err();
    assert_eq!(
        refused,
        "the run has several loads: name one of the scenarios a, b"
    );
    let of = |scenario: &str, users: Option<u32>, rate: Option<f64>| ChangeLoad {
        run: "r-1".into(),
        scenario: Some(scenario.to_owned()),
        users,
        rate,
        ..ChangeLoad::default()
    };
    let refused = change(&mut stage, &of("a", None, Some(80.5))).unwrap_err();
    assert_eq!(
        refused,
        "a load is at least 0 and at most 80, as the policies of the cluster have it, not 80.5"
    );
    change(&mut stage, &of("a", None, Some(80.0))).unwrap();
    // 10 of the 20 may be in flight in the other
    let refused = change(&mut stage, &of("b", Some(11), None)).unwrap_err();
    assert!(refused.contains("at most 10, as the policies"), "{refused}");
    change(&mut stage, &of("b", Some(10), None)).unwrap();
}

#[test]
fn a_worker_that_knows_no_changes_keeps_the_load_from_being_changed_and_cannot_join_later() {
    let (mut stage, _player) = under_load(Memory::none(), steady);
    let old = fleet::Hello {
        instance: "old".into(),
        run: "r-1".into(),
        protocol: PROTOCOL_VERSION,
        ..Default::default()
    };
    let (sender, _heard) = mpsc::channel(OUTBOUND_FOR_TESTS);
    change(&mut stage, &rate(250.0)).unwrap();
    let refused = stage.coordinator.join(&old, sender, stage.now).unwrap_err();
    assert!(
        refused.permanent && refused.reason.contains("changed by hand"),
        "{refused:?}"
    );
    let (mut stage, _old) = Stage::started();
    stage.pass(3);
    let refused = change(&mut stage, &rate(250.0)).unwrap_err();
    assert_eq!(
        refused,
        "worker 0 is of a release whose load cannot be changed"
    );
}

#[test]
fn a_master_that_was_killed_knows_what_was_changed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stage, _player) = under_load(Memory::at(folder.path()), steady);
    change(&mut stage, &rate(250.0)).unwrap();
    let wanted = stage.coordinator.file().plan.clone();
    let mut again = Stage::of(1, Memory::at(folder.path()), steady);
    assert_eq!(again.coordinator.file().plan, wanted);
    let mut player = join(&mut again, true);
    let cumulative = fleet::Cumulative {
        snapshot: samples(1).encode_as(0),
        elapsed_micros: 2_000_000,
        ..Default::default()
    };
    again.say(&player, from_worker::Message::Cumulative(cumulative));
    // one that may not have heard of it
    assert_eq!(told(&mut player), [(1_000_000, Some(250.0))]);
}

#[test]
fn a_master_without_memory_learns_from_workers_what_was_changed() {
    let mut stage = Stage::of(1, Memory::none(), steady);
    let mut player = join(&mut stage, true);
    stage.grant(2, GrantAction::Resume).unwrap();
    let change = |population, level| fleet::LoadChange {
        at_micros: 1_500_000,
        population,
        level,
    };
    let says = |changes| fleet::Cumulative {
        snapshot: samples(1).encode_as(0),
        elapsed_micros: 2_000_000,
        load_changes: Some(fleet::LoadChanges { changes }),
        ..Default::default()
    };
    // a lie, or a fault
    for wrong in [
        change(7, Some(1.0)),
        change(0, Some(f64::NAN)),
        change(0, Some(-1.0)),
    ] {
        stage.say(&player, from_worker::Message::Cumulative(says(vec![wrong])));
        assert!(stage.coordinator.facts.changes.is_empty());
    }
    stage.say(
        &player,
        from_worker::Message::Cumulative(says(vec![change(0, Some(250.0))])),
    );
    assert_eq!(told(&mut player), [(1_500_000, Some(250.0))]);
    let made = &stage.coordinator.facts.changes[0].told;
    assert_eq!(
        (made.before, made.level, made.scenario.as_str()),
        (100.0, Some(250.0), "s")
    );
}

/// The token of a worker is no control token.
#[test]
fn a_worker_that_lies_about_changes_changes_nothing() {
    let says = |level| fleet::Cumulative {
        snapshot: samples(1).encode_as(0),
        elapsed_micros: 2_000_000,
        load_changes: Some(fleet::LoadChanges {
            changes: vec![fleet::LoadChange {
                at_micros: 1_000_000,
                population: 0,
                level: Some(level),
            }],
        }),
        ..Default::default()
    };
    let lie = |stage: &mut Stage, player: &Player, level| {
        stage.say(player, from_worker::Message::Cumulative(says(level)));
    };
    // while the run goes on
    let (mut stage, player) = under_load(Memory::none(), steady);
    lie(&mut stage, &player, 1e6);
    assert!(stage.coordinator.facts.changes.is_empty());
    // before a run that nobody has begun
    let mut stage = Stage::of(1, Memory::none(), steady);
    let player = join(&mut stage, false);
    stage.ready(&player);
    lie(&mut stage, &player, 1e6);
    stage.grant(1, GrantAction::Start).unwrap();
    assert!(stage.coordinator.facts.changes.is_empty());
    let plan = &stage.coordinator.file().plan;
    assert_eq!(plan.open_arrivals(Duration::MAX), Some(1_000));
    // to a master without memory, beyond what a policy or the test allows
    for (is_policy, level) in [(true, 250.0), (false, 5.0)] {
        let mut stage = Stage::of(1, Memory::none(), |spec| {
            steady(spec);
            if !is_policy {
                spec["run"]["manualControl"] = json!("StopOnly");
            }
        });
        stage.coordinator.file.plan.control.max_rate = is_policy.then_some(200.0);
        let player = join(&mut stage, true);
        stage.grant(2, GrantAction::Resume).unwrap();
        lie(&mut stage, &player, level);
        assert!(stage.coordinator.facts.changes.is_empty());
    }
}

/// Ends the run as it would by itself, and returns its verdict.
fn verdict(stage: &mut Stage, player: &Player) -> (Verdict, Reason, String) {
    for second in 0..9 {
        stage.deliver(player, second, 1, false);
    }
    stage.deliver(player, 9, 1, true);
    stage.pass(60);
    let result = stage.coordinator.result().expect("a result");
    (
        result.verdict,
        result.reason.clone(),
        result.message.clone(),
    )
}

#[test]
fn a_run_that_was_changed_says_so_and_fails_where_too_much_was_taken_from_it() {
    for (level, wanted, words) in [
        (
            250.0,
            Verdict::Passed,
            "the run came to its end; there are no thresholds; the load was changed by hand",
        ),
        // 1 s of 10 at 91/s: 99.1% are left
        (91.0, Verdict::Passed, "changed by hand 2 times"),
        (
            89.0,
            Verdict::Failed,
            "the load was changed by hand 2 times, to 98.9% of what the profile asks for",
        ),
    ] {
        let (mut stage, player) = under_load(Memory::none(), steady);
        stage.pass(2);
        change(&mut stage, &rate(level)).unwrap();
        if level < 100.0 {
            stage.pass(1);
            change(
                &mut stage,
                &ChangeLoad {
                    rate: None,
                    profile: true,
                    ..rate(0.0)
                },
            )
            .unwrap();
        }
        let (verdict, reason, message) = verdict(&mut stage, &player);
        assert_eq!(
            (verdict, reason),
            (wanted, Reason::ManualChanges),
            "{message}"
        );
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_person_stops_a_run_as_aborted() {
    let (mut stage, player) = under_load(Memory::none(), steady);
    let order = StopByHand {
        run: "r-1".into(),
        message: None,
    };
    stage.coordinator.stop_by_hand(&order, stage.now);
    let (verdict, reason, message) = verdict(&mut stage, &player);
    assert_eq!((verdict, reason), (Verdict::Aborted, Reason::StoppedByHand));
    assert_eq!(message, "stopped by hand on the master");
}
