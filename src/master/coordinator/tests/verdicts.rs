//! Verdicts of runs whose thresholds are breached, and of those that a worker limited.

use super::*;
use crate::plan::OnSaturation;

/// A rule that a sample of [`samples`] breaks, judged each second.
fn breakable() -> serde_json::Value {
    json!([{"metric": "requests", "expr": "count < 100", "window": "1s", "abortOnFail": true}])
}

#[test]
fn a_breached_threshold_ends_the_run_as_failed() {
    let now = Instant::now();
    let coordinator = Coordinator::new(
        run_file(1, |spec| spec["thresholds"] = breakable()),
        Memory::none(),
        now,
    )
    .unwrap();
    let mut stage = Stage { coordinator, now };
    let mut player = stage.join(0, "a", false);
    stage.ready(&player);
    stage.grant(1, GrantAction::Start).unwrap();
    stage.pass(4);
    stage.deliver(&player, 0, 99, false);
    assert_eq!(stage.state(), MasterState::Running);
    stage.deliver(&player, 1, 100, false);
    assert_eq!(stage.state(), MasterState::Stopping);
    assert!(
        player
            .heard()
            .iter()
            .any(|message| matches!(message, Message::Stop(_)))
    );
    stage.coordinator.stop(
        Stop {
            run: "r-1".into(),
            reason: Reason::Other("Late".into()),
            message: "too late".into(),
        },
        stage.now,
    );
    stage.deliver(&player, 2, 1, true);
    let result = stage.coordinator.result().unwrap();
    assert_eq!(
        (result.verdict, &result.reason),
        (Verdict::Failed, &Reason::ThresholdAborted)
    );
    assert!(
        result
            .message
            .starts_with("requests count < 100 over 1s: observed 100 in second 1"),
        "{}",
        result.message
    );
    assert_eq!(result.totals.requests, 200);
}

#[test]
fn a_new_master_process_remembers_what_was_breached() {
    let folder = tempfile::tempdir().unwrap();
    let now = Instant::now();
    let new = || {
        Coordinator::new(
            run_file(1, |spec| spec["thresholds"] = breakable()),
            Memory::at(folder.path()),
            now,
        )
        .unwrap()
    };
    let mut stage = Stage {
        coordinator: new(),
        now,
    };
    let player = stage.join(0, "a", false);
    stage.ready(&player);
    stage.grant(1, GrantAction::Start).unwrap();
    stage.pass(4);
    stage.deliver(&player, 0, 100, false);
    stage.coordinator = new();
    let mut player = stage.join(0, "a", true);
    stage.say(&player, cumulative(1, 100));
    stage.pass(1);
    assert_eq!(stage.state(), MasterState::Stopping);
    assert!(
        player
            .heard()
            .iter()
            .any(|message| matches!(message, Message::Stop(_)))
    );
}

#[test]
fn a_worker_that_was_the_limit_is_named_and_may_cost_the_run_its_verdict() {
    for (on_saturation, verdict) in [
        (OnSaturation::Warn, Verdict::Passed),
        (OnSaturation::Fail, Verdict::Errored),
    ] {
        let now = Instant::now();
        let mut file = run_file(2, |_| {});
        file.plan.on_saturation = on_saturation;
        let mut stage = Stage {
            coordinator: Coordinator::new(file, Memory::none(), now).unwrap(),
            now,
        };
        let players = [stage.join(0, "a", false), stage.join(1, "b", false)];
        players.iter().for_each(|player| stage.ready(player));
        stage.grant(1, GrantAction::Start).unwrap();
        stage.pass(14);
        stage.deliver(&players[0], 0, 10, true);
        let mut busy = samples(10);
        (busy.counters.cpu_micros, busy.counters.core_micros) = (950, 1000);
        let (snapshot, failure) = (busy.encode(), String::new());
        stage.say(
            &players[1],
            from_worker::Message::Delta(fleet::Delta {
                second: 0,
                snapshot,
                last: true,
                failure,
                ..fleet::Delta::default()
            }),
        );
        let result = stage.coordinator.result().unwrap();
        assert_eq!(result.verdict, verdict);
        assert_eq!(
            result
                .generator
                .workers
                .iter()
                .map(|worker| worker.worker)
                .collect::<Vec<_>>(),
            [1]
        );
        let said = if verdict == Verdict::Errored {
            &result.message
        } else {
            &result.warnings[0]
        };
        assert!(
            said.ends_with("worker 1: it used 95% of its CPU time"),
            "{said}"
        );
    }
}
