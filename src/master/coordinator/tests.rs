//! How a run is conducted through losses and restarts, with a clock of the tests' own.

mod external;
mod losses;
mod manual;
mod scaling;
mod stopping;
mod verdicts;

use serde_json::json;
use tokio::sync::mpsc;

use super::load::RECOVERY;
use super::*;
use crate::stats::StepStats;
use crate::stats::result::Verdict;
use crate::wire::control::{Grant, GrantAction, ProblemKind};
use crate::wire::fleet::{FromMaster, from_worker};
use crate::wire::{PROTOCOL_VERSION, Reason};

fn run_file(workers: u32, change: impl FnOnce(&mut serde_json::Value)) -> RunFile {
    let mut spec = json!({
        "target": {"url": "http://t"},
        "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
        "load": {"closed": {"users": 1, "duration": "10s"}},
        "run": {"preflight": "Off"},
    });
    change(&mut spec);
    let plan = crate::crd::check(&serde_json::from_value(spec).unwrap())
        .unwrap()
        .plan;
    RunFile {
        run: "r-1".into(),
        name: "r".into(),
        namespace: None,
        digest: String::new(),
        workers,
        grace: Duration::from_secs(90),
        on_loss: Default::default(),
        overrides: vec![],
        warnings: vec![],
        plan,
    }
}

/// A master and the clock of its test.
pub(super) struct Stage {
    pub(super) coordinator: Coordinator,
    pub(super) now: Instant,
}

pub(super) struct Player {
    pub(super) id: SessionId,
    heard: mpsc::Receiver<FromMaster>,
}

impl Player {
    pub(super) fn heard(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.heard.try_recv().ok())
            .filter_map(|message| message.message)
            .collect()
    }

    fn was_told_to_start(&mut self) -> Option<fleet::Start> {
        self.heard().into_iter().find_map(|message| match message {
            Message::Start(start) => Some(start),
            _ => None,
        })
    }
}

impl Stage {
    pub(super) fn new(workers: u32, memory: Memory) -> Self {
        Self::of(workers, memory, |_| {})
    }

    pub(super) fn of(
        workers: u32,
        memory: Memory,
        change: impl FnOnce(&mut serde_json::Value),
    ) -> Self {
        let now = Instant::now();
        Self {
            coordinator: Coordinator::new(run_file(workers, change), memory, now).unwrap(),
            now,
        }
    }

    /// One worker, granted and told to start.
    pub(super) fn started() -> (Self, Player) {
        let mut stage = Self::new(1, Memory::none());
        let player = stage.join(0, "a", false);
        stage.ready(&player);
        stage.grant(1, GrantAction::Start).unwrap();
        (stage, player)
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.coordinator.tick(self.now);
    }

    pub(super) fn join(&mut self, index: u32, instance: &str, carrying: bool) -> Player {
        self.join_with(fleet::Hello {
            index,
            instance: instance.into(),
            carrying,
            ..Default::default()
        })
    }

    /// A worker that carries a share already and can carry parts of others.
    pub(super) fn join_taking_parts(&mut self, index: u32, instance: &str) -> Player {
        self.join_with(fleet::Hello {
            index,
            instance: instance.into(),
            carrying: true,
            takes_parts: true,
            ..Default::default()
        })
    }

    fn join_with(&mut self, hello: fleet::Hello) -> Player {
        let (sender, heard) = mpsc::channel(OUTBOUND_FOR_TESTS);
        let hello = fleet::Hello {
            protocol: PROTOCOL_VERSION,
            run: "r-1".into(),
            ..hello
        };
        Player {
            id: self.coordinator.join(&hello, sender, self.now).unwrap(),
            heard,
        }
    }

    pub(super) fn say(&mut self, player: &Player, message: from_worker::Message) {
        self.coordinator.on_message(player.id, message, 0, self.now);
    }

    pub(super) fn ready(&mut self, player: &Player) {
        self.say(player, from_worker::Message::Ready(fleet::Ready::default()));
    }

    pub(super) fn grant(&mut self, epoch: u32, action: GrantAction) -> Result<(), Refusal> {
        let grant = Grant {
            workers: None,
            run: "r-1".into(),
            epoch,
            incarnation: self.coordinator.incarnation().to_owned(),
            action,
            deadline_micros: 0,
        };
        self.coordinator.grant(&grant, self.now)
    }

    pub(super) fn deliver(&mut self, player: &Player, second: u32, requests: u64, last: bool) {
        let delta = fleet::Delta {
            second,
            snapshot: samples(requests).encode_as(0),
            last,
            ..fleet::Delta::default()
        };
        self.say(player, from_worker::Message::Delta(delta));
    }

    /// A request, and what became of rows.
    pub(super) fn deliver_with(
        &mut self,
        player: &Player,
        second: u32,
        last: bool,
        feeders: Vec<fleet::FeederUsage>,
    ) {
        let delta = fleet::Delta {
            second,
            snapshot: samples(1).encode_as(0),
            last,
            feeders,
            ..fleet::Delta::default()
        };
        self.say(player, from_worker::Message::Delta(delta));
    }

    pub(super) fn state(&self) -> MasterState {
        self.coordinator.progress(self.now).state
    }
}

const OUTBOUND_FOR_TESTS: usize = 64;

/// Samples of a worker. They are sent in the format that does not say how much load was offered,
/// except where a test is about that.
fn samples(requests: u64) -> Snapshot {
    let mut stats = StepStats {
        requests,
        ..StepStats::default()
    };
    (0..requests).for_each(|_| stats.latency.record(1000));
    Snapshot {
        steps: [(0, stats)].into(),
        ..Snapshot::default()
    }
}

fn cumulative(through: u32, requests: u64) -> from_worker::Message {
    cumulative_with(through, requests, vec![])
}

pub(super) fn cumulative_with(
    through: u32,
    requests: u64,
    feeders: Vec<fleet::FeederUsage>,
) -> from_worker::Message {
    from_worker::Message::Cumulative(fleet::Cumulative {
        through_second: Some(through),
        snapshot: samples(requests).encode_as(0),
        seconds: vec![fleet::SecondCount {
            second: through,
            requests,
            failures: 0,
            users: 1,
        }],
        last: false,
        elapsed_micros: 5_000_000,
        started_unix_micros: 1,
        seed: 7,
        feeders,
        workers: 1,
        ..fleet::Cumulative::default()
    })
}

#[test]
fn nothing_starts_without_a_grant() {
    let mut stage = Stage::new(1, Memory::none());
    let mut player = stage.join(0, "a", false);
    stage.ready(&player);
    stage.pass(3600);
    assert_eq!(stage.state(), MasterState::Ready);
    assert!(player.was_told_to_start().is_none());
}

#[test]
fn a_grant_for_another_incarnation_or_an_older_epoch_is_refused() {
    let mut stage = Stage::new(1, Memory::none());
    let grant = Grant {
        workers: None,
        run: "r-1".into(),
        epoch: 1,
        incarnation: "other".into(),
        action: GrantAction::Start,
        deadline_micros: 0,
    };
    assert!(matches!(
        stage.coordinator.grant(&grant, stage.now),
        Err(Refusal::OtherIncarnation { .. })
    ));
    stage.grant(2, GrantAction::Start).unwrap();
    assert!(matches!(
        stage.grant(1, GrantAction::Start),
        Err(Refusal::OldEpoch { .. })
    ));
}

#[test]
fn a_grant_waits_for_the_last_worker() {
    let mut stage = Stage::new(2, Memory::none());
    let mut first = stage.join(0, "a", false);
    stage.ready(&first);
    stage.grant(1, GrantAction::Start).unwrap();
    assert!(first.was_told_to_start().is_none());
    let mut second = stage.join(1, "b", false);
    stage.ready(&second);
    let (a, b) = (
        first.was_told_to_start().unwrap(),
        second.was_told_to_start().unwrap(),
    );
    assert_eq!((a.workers, a.in_micros, a.seed), (2, b.in_micros, b.seed));
}

#[test]
fn a_run_ends_when_every_worker_has_had_its_last_word() {
    let mut stage = Stage::new(2, Memory::none());
    let players = [stage.join(0, "a", false), stage.join(1, "b", false)];
    players.iter().for_each(|player| stage.ready(player));
    stage.grant(1, GrantAction::Start).unwrap();
    stage.pass(14);
    stage.deliver(&players[0], 0, 3, true);
    assert_eq!(stage.state(), MasterState::Running);
    stage.deliver(&players[1], 0, 4, true);
    assert_eq!(stage.state(), MasterState::Finished);
    let result = stage.coordinator.result().unwrap();
    assert_eq!(
        (result.totals.requests, result.verdict, result.workers.lost),
        (7, Verdict::Passed, 0)
    );
}

/// One of two workers is never heard of again after its start. Before, such a run was `Passed` with
/// 107/s of 200/s.
#[test]
fn a_run_of_which_one_of_two_workers_made_no_load_fails_for_missing_load() {
    let mut stage = Stage::of(2, Memory::none(), |spec| {
        spec["load"] = json!({"open": {"rate": 200, "duration": "10s", "maxInFlight": 10}});
    });
    let players = [stage.join(0, "a", false), stage.join(1, "b", false)];
    players.iter().for_each(|player| stage.ready(player));
    stage.grant(1, GrantAction::Start).unwrap();
    stage.pass(4);
    stage.coordinator.leave(players[1].id, stage.now);
    for second in 0..10 {
        stage.pass(1);
        let mut snapshot = samples(100);
        snapshot.counters.iterations = 100;
        snapshot.counters.arrival_micros = 100_000_000;
        let delta = fleet::Delta {
            second,
            snapshot: snapshot.encode(),
            last: second == 9,
            ..fleet::Delta::default()
        };
        stage.say(&players[0], from_worker::Message::Delta(delta));
    }
    stage.pass(100);
    let result = stage.coordinator.result().unwrap();
    assert_eq!(
        (result.verdict, &result.reason),
        (Verdict::Failed, &Reason::LoadMissing),
        "{}",
        result.message
    );
    let load = result.load.clone().unwrap();
    assert_eq!(load.arrivals.unwrap().missing, 1000);
    assert_eq!(load.offered, 0.5);
}

#[test]
fn what_is_sent_twice_counts_once() {
    let (mut stage, player) = Stage::started();
    stage.pass(5);
    stage.deliver(&player, 0, 3, false);
    stage.deliver(&player, 0, 3, false);
    assert_eq!(stage.coordinator.merged().requests(), 3);
    // the same process on a new connection tells everything again
    let again = stage.join(0, "a", true);
    stage.say(&again, cumulative(1, 5));
    assert_eq!(stage.coordinator.merged().requests(), 5);
}

#[test]
fn a_replacement_takes_up_the_share_where_the_profile_is() {
    let (mut stage, player) = Stage::started();
    stage.pass(5);
    stage.deliver(&player, 0, 3, false);
    stage.coordinator.leave(player.id, stage.now);
    stage.pass(2);
    let mut replacement = stage.join(0, "b", false);
    stage.ready(&replacement);
    assert_eq!(
        replacement.was_told_to_start().unwrap().in_micros,
        -4_000_000
    );
    stage.pass(10);
    stage.deliver(&replacement, 9, 2, true);
    let result = stage.coordinator.result().unwrap();
    assert_eq!(
        (
            result.totals.requests,
            result.workers.lost,
            result.workers.rejoined
        ),
        (5, 1, 1)
    );
}

#[test]
fn a_run_whose_workers_all_vanish_ends() {
    let (mut stage, player) = Stage::started();
    stage.pass(4);
    stage.coordinator.leave(player.id, stage.now);
    // the clock of the profile stands for a longer one
    stage.coordinator.file.plan.populations[0].load = crate::plan::Load::Closed {
        profile: crate::plan::Profile::ramp_and_hold(1.0, Duration::ZERO, Duration::from_secs(600)),
        spawn_rate: None,
        max_missing: 0.01,
        retry_pause: Duration::from_secs(1),
    };
    // one that is only cut off makes load as long as its lease lasts
    stage.pass(31);
    stage.pass(31);
    assert_eq!(stage.state(), MasterState::Running);
    stage.pass(31);
    assert_eq!(
        stage.coordinator.result().map(|result| &result.reason),
        Some(&Reason::WorkersLost)
    );
}

#[test]
fn a_master_killed_after_the_grant_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = Stage::new(1, Memory::at(folder.path()));
    let player = before.join(0, "a", false);
    before.ready(&player);
    before.grant(1, GrantAction::Start).unwrap();

    let mut after = Stage::new(1, Memory::at(folder.path()));
    assert_eq!(
        (after.state(), after.coordinator.incarnation()),
        (MasterState::Recovering, before.coordinator.incarnation())
    );
    let mut fresh = after.join(0, "b", false);
    after.ready(&fresh);
    after.grant(1, GrantAction::Start).unwrap();
    after.pass(31);
    assert_eq!(after.state(), MasterState::Lost);
    assert!(fresh.was_told_to_start().is_none());
}

#[test]
fn a_new_master_goes_on_with_the_workers_that_carry_the_run() {
    let mut stage = Stage::new(1, Memory::none());
    let player = stage.join(0, "a", true);
    stage.say(&player, cumulative(4, 5));
    stage.ready(&player);
    stage.grant(2, GrantAction::Resume).unwrap();
    assert_eq!(stage.state(), MasterState::Running);
    stage.pass(6);
    stage.deliver(&player, 10, 2, true);
    let result = stage.coordinator.result().unwrap();
    assert_eq!((result.totals.requests, result.seed), (7, 7));
}

#[test]
fn a_resumed_master_without_such_workers_is_lost() {
    let mut stage = Stage::new(1, Memory::none());
    let mut player = stage.join(0, "a", false);
    stage.ready(&player);
    stage.grant(2, GrantAction::Resume).unwrap();
    stage.pass(31);
    assert_eq!(stage.state(), MasterState::Lost);
    assert!(player.was_told_to_start().is_none());
}

#[test]
fn a_stop_before_the_start_ends_the_run_without_load() {
    let mut stage = Stage::new(1, Memory::none());
    stage.coordinator.stop(
        Stop {
            run: "r-1".into(),
            reason: Reason::Suspended,
            message: "m".into(),
        },
        stage.now,
    );
    let result = stage.coordinator.result().unwrap();
    assert_eq!(
        (result.verdict, &result.reason, &result.started_at),
        (Verdict::Aborted, &Reason::Suspended, &None)
    );
}

#[test]
fn a_stop_tells_the_workers_and_keeps_what_was_measured() {
    let (mut stage, mut player) = Stage::started();
    stage.pass(5);
    stage.coordinator.stop(
        Stop {
            run: "r-1".into(),
            reason: Reason::Suspended,
            message: "m".into(),
        },
        stage.now,
    );
    assert!(
        player
            .heard()
            .iter()
            .any(|message| matches!(message, Message::Stop(_)))
    );
    stage.deliver(&player, 1, 9, true);
    let result = stage.coordinator.result().unwrap();
    assert_eq!(
        (result.verdict, result.totals.requests),
        (Verdict::Aborted, 9)
    );
}

#[test]
fn workers_go_only_when_the_result_is_stored() {
    let (mut stage, mut player) = Stage::started();
    stage.pass(14);
    stage.deliver(&player, 0, 1, true);
    let released = |player: &mut Player| {
        player
            .heard()
            .iter()
            .any(|message| matches!(message, Message::Release(_)))
    };
    assert!(!released(&mut player));
    stage.coordinator.acknowledge();
    assert!(released(&mut player));
    let mut late = stage.join(0, "a", true);
    assert!(released(&mut late));
}

#[test]
fn a_worker_of_another_run_is_turned_away() {
    let mut stage = Stage::new(1, Memory::none());
    let (sender, _heard) = mpsc::channel(1);
    let hello = fleet::Hello {
        protocol: PROTOCOL_VERSION,
        run: "other".into(),
        ..Default::default()
    };
    assert!(
        stage
            .coordinator
            .join(&hello, sender.clone(), stage.now)
            .unwrap_err()
            .permanent
    );
    let hello = fleet::Hello {
        protocol: PROTOCOL_VERSION + 1,
        run: "r-1".into(),
        ..Default::default()
    };
    assert!(stage.coordinator.join(&hello, sender, stage.now).is_err());
}

#[test]
fn a_missing_secret_is_told_with_how_long_it_has_been_missing() {
    let mut stage = Stage::new(1, Memory::none());
    let player = stage.join(0, "a", false);
    let missing = || {
        let problem = fleet::Problem {
            kind: "MissingReference".into(),
            field: "spec.x".into(),
            object: "Secret \"s\" key \"k\"".into(),
            message: "is not there".into(),
        };
        from_worker::Message::NotReady(fleet::NotReady {
            problems: vec![problem],
        })
    };
    stage.say(&player, missing());
    stage.pass(21);
    stage.say(&player, missing());
    let problems = stage.coordinator.progress(stage.now).problems;
    assert_eq!(
        (problems[0].kind, problems[0].for_seconds),
        (ProblemKind::MissingReference, 21)
    );
}

#[test]
fn a_process_that_was_replaced_does_not_take_its_seat_back() {
    let mut stage = Stage::new(1, Memory::none());
    let old = stage.join(0, "a", false);
    stage.coordinator.leave(old.id, stage.now);
    let _new = stage.join(0, "b", false);
    let (sender, _heard) = mpsc::channel(OUTBOUND_FOR_TESTS);
    let hello = fleet::Hello {
        protocol: PROTOCOL_VERSION,
        run: "r-1".into(),
        instance: "a".into(),
        carrying: true,
        ..Default::default()
    };
    let refused = stage
        .coordinator
        .join(&hello, sender, stage.now)
        .unwrap_err();
    assert!(!refused.permanent, "{refused:?}");
}

#[test]
fn a_verdict_over_less_load_than_was_asked_for_says_so() {
    let mut stage = Stage::new(2, Memory::none());
    let players = [stage.join(0, "a", false), stage.join(1, "b", false)];
    players.iter().for_each(|player| stage.ready(player));
    stage.grant(1, GrantAction::Start).unwrap();
    stage.pass(5);
    stage.deliver(&players[0], 1, 3, true);
    stage.say(
        &players[0],
        from_worker::Message::Leaving(fleet::Leaving {}),
    );
    stage.coordinator.leave(players[0].id, stage.now);
    stage.pass(9);
    stage.deliver(&players[1], 9, 3, true);
    let result = stage.coordinator.result().unwrap();
    assert!(
        result.message.contains("below the profile"),
        "{}",
        result.message
    );
    assert_eq!((result.verdict, result.workers.lost), (Verdict::Passed, 0));
}

#[test]
fn the_end_waits_for_the_replacement_of_a_drained_worker() {
    let mut stage = Stage::new(2, Memory::none());
    let players = [stage.join(0, "a", false), stage.join(1, "b", false)];
    players.iter().for_each(|player| stage.ready(player));
    stage.grant(1, GrantAction::Start).unwrap();
    stage.pass(5);
    stage.deliver(&players[0], 1, 3, true);
    stage.coordinator.leave(players[0].id, stage.now);
    let replacement = stage.join(0, "c", false);
    stage.ready(&replacement);
    stage.pass(9);
    stage.deliver(&players[1], 9, 3, true);
    assert_eq!(stage.state(), MasterState::Running);
    stage.deliver(&replacement, 9, 3, true);
    let result = stage.coordinator.result().unwrap();
    assert_eq!(
        (
            result.totals.requests,
            result.workers.lost,
            result.workers.rejoined
        ),
        (9, 0, 1)
    );
}

#[test]
fn the_larger_the_fleet_the_seldomer_workers_hand_over() {
    assert_eq!(
        [1, 100, 101, 500, 501, 5000].map(snapshot_interval),
        [1, 1, 2, 2, 5, 5]
    );
}

fn events(stage: &Stage) -> Vec<&str> {
    stage
        .coordinator
        .events
        .iter()
        .map(|event| event.message.as_str())
        .collect()
}

#[test]
fn a_problem_of_an_unknown_kind_still_keeps_a_worker_from_being_ready() {
    let mut stage = Stage::new(1, Memory::none());
    let player = stage.join(0, "a", false);
    let problem = |kind: &str| fleet::Problem {
        kind: kind.into(),
        field: "spec.target".into(),
        ..fleet::Problem::default()
    };
    let problems = vec![problem("NoToken"), problem("Haunted")];
    stage.say(
        &player,
        from_worker::Message::NotReady(fleet::NotReady { problems }),
    );
    let kinds: Vec<_> = stage.coordinator.progress(stage.now).problems;
    let kinds: Vec<_> = kinds.iter().map(|problem| problem.kind).collect();
    assert_eq!(kinds, [ProblemKind::InvalidSpec, ProblemKind::NoToken]);
    let events = events(&stage);
    assert!(
        events[0].contains("unknown variant `Haunted`"),
        "{events:?}"
    );
}

#[test]
fn a_worker_whose_start_no_clock_can_show_does_not_restart_the_profile() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(1, Memory::at(folder.path()));
    stage.grant(1, GrantAction::Resume).unwrap();
    let player = stage.join(0, "a", true);
    let from_worker::Message::Cumulative(cumulative) = cumulative(4, 9) else {
        unreachable!()
    };
    let cumulative = fleet::Cumulative {
        elapsed_micros: i64::MIN,
        ..cumulative
    };
    stage.say(&player, from_worker::Message::Cumulative(cumulative));
    assert_eq!(stage.state(), MasterState::Recovering);
    stage.pass(RECOVERY.as_secs());
    assert_eq!(stage.state(), MasterState::Lost);
    assert_eq!(stage.coordinator.merged().requests(), 9);
    let events = events(&stage);
    assert!(events[0].contains("which cannot be"), "{events:?}");
}

#[test]
fn samples_of_one_offs_that_cannot_be_read_are_said_to_be_lost() {
    let (mut stage, player) = Stage::started();
    stage.pass(4);
    let from_worker::Message::Cumulative(cumulative) = cumulative(0, 9) else {
        unreachable!()
    };
    let cumulative = fleet::Cumulative {
        one_offs: vec![0xff],
        ..cumulative
    };
    stage.say(&player, from_worker::Message::Cumulative(cumulative));
    assert_eq!(stage.coordinator.merged().requests(), 9);
    let events = events(&stage);
    assert!(
        events
            .iter()
            .any(|event| event.starts_with("a worker's samples of one-offs are lost")),
        "{events:?}"
    );
}

#[test]
fn a_feeder_that_the_test_does_not_have_ends_no_run() {
    let (mut stage, player) = Stage::started();
    stage.pass(4);
    stage.say(
        &player,
        from_worker::Message::UsedUp(fleet::UsedUp { feeder: 3 }),
    );
    assert_eq!(stage.state(), MasterState::Running);
    let events = events(&stage);
    assert!(
        events
            .iter()
            .any(|event| event.contains("feeder 3, which this test does not have")),
        "{events:?}"
    );
}
