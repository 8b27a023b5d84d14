//! The run as the master sees it: a state machine fed with what workers and the operator say. It does no I/O but to its memory, and never waits.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::memory::{Facts, Memory, MemoryError};
use super::result::{self, Ending};
use super::roster::{Reported, Roster, Session, SessionId};
use super::timeline::Timeline;
use crate::stats::Snapshot;
use crate::stats::result::{Event, RunResult};
use crate::wire::PROTOCOL_VERSION;
use crate::wire::control::{Grant, GrantAction, MasterState, ProblemKind, Progress, Stop};
use crate::wire::fleet::{self, FromMaster, from_master::Message, from_worker};
use crate::wire::layout::RunFile;

/// From the start message to the profile's zero: time for it to reach every worker.
const START_IN: Duration = Duration::from_secs(3);
/// So long a master without a worker that carries the run waits for one.
const RECOVERY: Duration = Duration::from_secs(30);
/// So long the end is put off for a worker that should have had its last word.
const LAST_WORD: Duration = Duration::from_secs(10);
/// Events kept in the result.
const MAX_EVENTS: usize = 200;

#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("this is the master of run {actual}, not of {asked}")]
    OtherRun { asked: String, actual: String },
    #[error("this is incarnation {actual}, the grant is for {asked}")]
    OtherIncarnation { asked: String, actual: String },
    #[error("epoch {asked} is over, {actual} is the latest")]
    OldEpoch { asked: u32, actual: u32 },
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// When the profile's zero is.
#[derive(Debug, Clone, Copy)]
struct Clock {
    zero: Instant,
    zero_at: Timestamp,
}

pub struct Conductor {
    file: RunFile,
    seed: u64,
    start_in: Duration,
    memory: Memory,
    facts: Facts,
    state: MasterState,
    /// The grant came while a worker was not ready; it counts once all are.
    start_wanted: bool,
    /// When this master, or the loss of its last worker, began to be waited out.
    alone_since: Option<Instant>,
    clock: Option<Clock>,
    stopped: Option<Stop>,
    roster: Roster,
    timeline: Timeline,
    events: Vec<Event>,
    result: Option<RunResult>,
    acknowledged: bool,
    next_session: SessionId,
}

impl Conductor {
    /// A master that remembers a grant was killed after it: it starts nothing, but looks for the workers that carry the run.
    pub fn new(file: RunFile, memory: Memory, now: Instant) -> Result<Self, MemoryError> {
        let facts = memory.load()?;
        let state = if facts.granted { MasterState::Recovering } else { MasterState::Waiting };
        let seed = file.plan.seed.unwrap_or_else(|| seed_of(&file.run));
        Ok(Self {
            roster: Roster::new(file.workers),
            alone_since: facts.granted.then_some(now),
            file,
            seed,
            start_in: START_IN,
            memory,
            facts,
            state,
            start_wanted: false,
            clock: None,
            stopped: None,
            timeline: Timeline::default(),
            events: Vec::new(),
            result: None,
            acknowledged: false,
            next_session: 1,
        })
    }

    /// For a run in one process: there is nothing to wait for between the start message and the start.
    pub fn starting_in(mut self, start_in: Duration) -> Self {
        self.start_in = start_in;
        self
    }

    pub fn incarnation(&self) -> &str {
        &self.facts.incarnation
    }

    pub fn file(&self) -> &RunFile {
        &self.file
    }

    pub fn result(&self) -> Option<&RunResult> {
        self.result.as_ref()
    }

    pub fn is_acknowledged(&self) -> bool {
        self.acknowledged
    }

    /// Everything measured so far.
    pub fn merged(&self) -> Snapshot {
        self.roster.merged()
    }

    pub fn progress(&self, now: Instant) -> Progress {
        let merged = self.roster.merged();
        let latest = self.timeline.latest().filter(|_| self.state == MasterState::Running).unwrap_or_default();
        Progress {
            run: self.file.run.clone(),
            epoch: self.facts.epoch,
            incarnation: self.facts.incarnation.clone(),
            state: self.state,
            workers: self.file.workers,
            connected: self.roster.connected(),
            ready: self.roster.ready(),
            problems: self.roster.problems(now),
            elapsed_micros: self.elapsed(now).as_micros() as u64,
            length_micros: self.file.plan.load.profile().length().as_micros() as u64,
            requests: merged.requests(),
            failures: merged.failures(),
            users: latest.users,
            rps: latest.requests,
            p95_micros: latest.p95,
        }
    }

    // ---- what workers say

    /// A worker's first words. Gives its connection a number, or says why it is turned away.
    pub fn join(&mut self, hello: &fleet::Hello, outbound: mpsc::Sender<FromMaster>) -> Result<SessionId, fleet::Refused> {
        let refuse = |reason: String| Err(fleet::Refused { reason, permanent: true });
        if hello.protocol != PROTOCOL_VERSION {
            return refuse(format!("the worker speaks protocol {}, this master {PROTOCOL_VERSION}", hello.protocol));
        }
        if hello.run != self.file.run {
            return refuse(format!("the worker is of run {}, this master of {}", hello.run, self.file.run));
        }
        if hello.index >= self.file.workers {
            return refuse(format!("there are {} shares, so none with index {}", self.file.workers, hello.index));
        }
        let id = self.next_session;
        self.next_session += 1;
        let session = Session::new(id, hello.index, &hello.instance, outbound);
        let run_file = serde_json::to_string(&self.file).unwrap_or_default();
        session.send(Message::Welcome(fleet::Welcome { version: crate::VERSION.into(), epoch: self.facts.epoch, run_file }));
        if self.acknowledged {
            session.send(Message::Release(fleet::Release {}));
        }
        self.roster.take_seat(session);
        if hello.carrying {
            self.roster.mark_carrying(hello.index, &hello.instance);
        }
        Ok(id)
    }

    pub fn hear(&mut self, id: SessionId, message: from_worker::Message, now: Instant) {
        match message {
            from_worker::Message::Hello(_) => {}
            from_worker::Message::Ready(_) => {
                if let Some(seat) = self.roster.seat(id) {
                    seat.set_ready();
                }
            }
            from_worker::Message::NotReady(fleet::NotReady { problems }) => {
                if let Some(seat) = self.roster.seat(id) {
                    seat.set_problems(problems.into_iter().map(reported).collect(), now);
                }
            }
            from_worker::Message::Delta(delta) => self.hear_delta(id, &delta),
            from_worker::Message::Cumulative(cumulative) => self.hear_cumulative(id, &cumulative, now),
            from_worker::Message::Pong(pong) => self.hear_pong(id, &pong),
            from_worker::Message::Leaving(_) => self.event("a worker was told to go"),
        }
        self.tick(now);
    }

    pub fn leave(&mut self, id: SessionId, now: Instant) {
        let at_work = self.roster.instance(id).is_some_and(|instance| instance.carrying && !instance.last);
        if let Some(index) = self.roster.leave(id).filter(|_| at_work) {
            self.event(&format!("worker {index} lost its connection"));
        }
        self.tick(now);
    }

    fn hear_delta(&mut self, id: SessionId, delta: &fleet::Delta) {
        let snapshot = match Snapshot::decode(&delta.snapshot) {
            Ok(snapshot) => snapshot,
            Err(e) => return self.event(&format!("a worker's samples of second {} are lost: {e}", delta.second)),
        };
        let expected = self.roster.carriers();
        let Some(instance) = self.roster.instance(id) else { return };
        // sent again after a reconnection: it is in the cumulative state already
        if instance.through.is_none_or(|through| delta.second > through) {
            instance.snapshot.follow(&snapshot);
            instance.through = Some(delta.second);
            self.timeline.add(delta.second, &snapshot, expected.max(1));
        }
        instance.last |= delta.last;
        let newly_failed = !delta.failure.is_empty() && !std::mem::replace(&mut instance.failed, true);
        if newly_failed {
            self.event(&format!("a part of a worker's share is not carried out: {}", delta.failure));
        }
        self.acknowledge_second(id, delta.second);
    }

    /// Replaces what is held of the process; the seconds this master had not seen go into the series as counts.
    fn hear_cumulative(&mut self, id: SessionId, cumulative: &fleet::Cumulative, now: Instant) {
        let snapshot = match Snapshot::decode(&cumulative.snapshot) {
            Ok(snapshot) => snapshot,
            Err(e) => return self.event(&format!("a worker's samples are lost: {e}")),
        };
        let Some(instance) = self.roster.instance(id) else { return };
        let seen = instance.through;
        instance.snapshot = snapshot;
        instance.carrying = true;
        instance.last = cumulative.last;
        instance.through = cumulative.through_second;
        for point in cumulative.seconds.iter().filter(|point| seen.is_none_or(|seen| point.second > seen)) {
            self.timeline.recall(point.second, point.requests, point.failures, point.users);
        }
        if self.clock.is_none() {
            self.clock = Some(self.clock_at(now, cumulative.elapsed_micros));
            self.seed = cumulative.seed;
        }
        self.acknowledge_second(id, cumulative.through_second.unwrap_or(0));
    }

    fn hear_pong(&mut self, id: SessionId, pong: &fleet::Pong) {
        let Some(instance) = self.roster.instance(id) else { return };
        if pong.started_unix_micros != 0 && instance.started_micros.is_none() {
            // half of the round trip each way
            let middle = (pong.master_unix_micros + Timestamp::now().as_microsecond()) / 2;
            instance.started_micros = Some(pong.started_unix_micros - (pong.worker_unix_micros - middle));
        }
    }

    fn acknowledge_second(&mut self, id: SessionId, second: u32) {
        if let Some(Some(session)) = self.roster.seat(id).map(|seat| &seat.session) {
            session.send(Message::Ack(fleet::Ack { second }));
        }
    }

    // ---- what the operator says

    pub fn grant(&mut self, grant: &Grant, now: Instant) -> Result<(), Refusal> {
        let Grant { run, epoch, incarnation, action } = grant;
        if *run != self.file.run {
            return Err(Refusal::OtherRun { asked: run.clone(), actual: self.file.run.clone() });
        }
        if *incarnation != self.facts.incarnation {
            return Err(Refusal::OtherIncarnation { asked: incarnation.clone(), actual: self.facts.incarnation.clone() });
        }
        if *epoch < self.facts.epoch {
            return Err(Refusal::OldEpoch { asked: *epoch, actual: self.facts.epoch });
        }
        match (action, self.state) {
            (GrantAction::Start, MasterState::Waiting | MasterState::Ready) => {
                self.remember(Facts { epoch: *epoch, ..self.facts.clone() })?;
                self.start_wanted = true;
            }
            (GrantAction::Resume, MasterState::Waiting | MasterState::Ready) => {
                self.remember(Facts { epoch: *epoch, granted: true, ..self.facts.clone() })?;
                self.state = MasterState::Recovering;
                self.alone_since = Some(now);
            }
            // said before
            _ => self.remember(Facts { epoch: *epoch, ..self.facts.clone() })?,
        }
        self.tick(now);
        Ok(())
    }

    /// Ends the run as aborted. Of several the first counts.
    pub fn stop(&mut self, stop: Stop, now: Instant) {
        if self.result.is_some() || self.stopped.is_some() {
            return;
        }
        self.event(&format!("stopped: {}", stop.message));
        self.stopped = Some(stop);
        if self.state == MasterState::Running {
            self.state = MasterState::Stopping;
            self.tell_all(|| Message::Stop(fleet::Stop { at_once: false }));
        } else if self.state != MasterState::Stopping {
            self.finish(Ending::Stopped);
        }
        self.tick(now);
    }

    /// The result is stored somewhere safe: everyone may go.
    pub fn acknowledge(&mut self) {
        self.acknowledged = true;
        self.tell_all(|| Message::Release(fleet::Release {}));
    }

    // ---- what time says

    /// To be called after every change and at least every quarter of a second.
    pub fn tick(&mut self, now: Instant) {
        match self.state {
            MasterState::Waiting | MasterState::Ready => {
                self.state = if self.roster.all_ready() { MasterState::Ready } else { MasterState::Waiting };
                if self.start_wanted && self.state == MasterState::Ready {
                    self.start(now);
                }
            }
            MasterState::Recovering => self.recover(now),
            MasterState::Running | MasterState::Stopping => self.watch(now),
            MasterState::Lost | MasterState::Finished => {}
        }
    }

    pub fn ping(&self) {
        let now = Timestamp::now().as_microsecond();
        self.tell_all(|| Message::Ping(fleet::Ping { master_unix_micros: now }));
    }

    fn start(&mut self, now: Instant) {
        // written first: a master that dies after this never starts the run again
        if let Err(e) = self.remember(Facts { granted: true, ..self.facts.clone() }) {
            return self.event(&format!("cannot start: {e}"));
        }
        self.start_wanted = false;
        self.state = MasterState::Running;
        self.clock = Some(self.clock_at(now, -(self.start_in.as_micros() as i64)));
        self.event("all workers are ready; the load starts");
        self.employ_idle(now);
    }

    /// Gives every ready worker that carries nothing the share of its seat, from where the profile is by now.
    fn employ_idle(&mut self, now: Instant) {
        let Some(clock) = self.clock else { return };
        let in_micros = match clock.zero.checked_duration_since(now) {
            Some(ahead) => ahead.as_micros() as i64,
            None => -(now.duration_since(clock.zero).as_micros() as i64),
        };
        let start = fleet::Start { epoch: self.facts.epoch, workers: self.file.workers, in_micros, seed: self.seed };
        let told: Vec<(u32, String)> = self
            .roster
            .idle()
            .filter(|session| session.send(Message::Start(start)))
            .map(|session| (session.index, session.instance.clone()))
            .collect();
        for (index, instance) in told {
            self.roster.mark_carrying(index, &instance);
            if in_micros < 0 {
                self.event(&format!("worker {index} joined {} s into the run", -in_micros / 1_000_000));
            }
        }
    }

    fn recover(&mut self, now: Instant) {
        if self.roster.carriers() > 0 && self.clock.is_some() {
            self.event("a new master process goes on with the run");
            self.alone_since = None;
            self.state = if self.stopped.is_some() { MasterState::Stopping } else { MasterState::Running };
        } else if self.alone_since.is_some_and(|since| now.duration_since(since) >= RECOVERY) {
            self.state = MasterState::Lost;
        }
    }

    fn watch(&mut self, now: Instant) {
        let length = self.file.plan.load.profile().length();
        let elapsed = self.elapsed(now);
        if self.roster.all_over() && (elapsed >= length || self.state == MasterState::Stopping) {
            return self.finish(self.natural_ending());
        }
        if self.state == MasterState::Running && elapsed < length {
            self.employ_idle(now);
        }
        let nobody_at_work = self.roster.at_work() == 0;
        let hopeless = elapsed >= length + self.file.plan.stop_timeout + LAST_WORD || (nobody_at_work && elapsed >= length + LAST_WORD);
        let stopping_alone = self.state == MasterState::Stopping && nobody_at_work;
        self.alone_since = if self.roster.connected() > 0 { None } else { self.alone_since.or(Some(now)) };
        let deserted = self.alone_since.is_some_and(|since| now.duration_since(since) >= RECOVERY);
        if deserted && elapsed < length {
            self.finish(Ending::Deserted);
        } else if hopeless || stopping_alone {
            self.finish(self.natural_ending());
        }
    }

    fn natural_ending(&self) -> Ending {
        if self.stopped.is_some() { Ending::Stopped } else { Ending::Natural }
    }

    fn finish(&mut self, ending: Ending) {
        self.timeline.close();
        let started_at = self.clock.map(|clock| clock.zero_at);
        self.state = MasterState::Finished;
        self.result = Some(result::build(result::Parts {
            file: &self.file,
            seed: self.seed,
            ending,
            stop: self.stopped.as_ref(),
            started_at,
            finished_at: Timestamp::now(),
            roster: &self.roster,
            timeline: &self.timeline,
            events: &self.events,
        }));
    }

    fn remember(&mut self, facts: Facts) -> Result<(), MemoryError> {
        if facts != self.facts {
            self.memory.store(&facts)?;
            self.facts = facts;
        }
        Ok(())
    }

    fn tell_all(&self, message: impl Fn() -> Message) {
        for session in self.roster.sessions() {
            // one that cannot be told is gone or far behind; its connection ends and it comes back
            let _ = session.send(message());
        }
    }

    fn event(&mut self, message: &str) {
        tracing::info!(run = self.file.run, "{message}");
        if self.events.len() < MAX_EVENTS {
            self.events.push(Event { at: Timestamp::now().to_string(), message: message.to_owned() });
        }
    }

    fn elapsed(&self, now: Instant) -> Duration {
        self.clock.map_or(Duration::ZERO, |clock| now.saturating_duration_since(clock.zero))
    }

    fn clock_at(&self, now: Instant, elapsed_micros: i64) -> Clock {
        let span = Duration::from_micros(elapsed_micros.unsigned_abs());
        let zero = if elapsed_micros < 0 { now + span } else { now.checked_sub(span).unwrap_or(now) };
        let zero_at = Timestamp::from_microsecond(Timestamp::now().as_microsecond() - elapsed_micros).unwrap_or_else(|_| Timestamp::now());
        Clock { zero, zero_at }
    }
}

/// What is random in a run can be had again: by default it follows from the run's id.
fn seed_of(run: &str) -> u64 {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(run.as_bytes());
    // a JSON reader may hold numbers as floats, exact up to 2^53
    u64::from_be_bytes(hash[..8].try_into().unwrap_or_default()) >> 11
}

fn reported(problem: fleet::Problem) -> Reported {
    let fleet::Problem { kind, field, object, message } = problem;
    let kind = match kind.as_str() {
        "MissingReference" => ProblemKind::MissingReference,
        "TargetUnresolved" => ProblemKind::TargetUnresolved,
        _ => ProblemKind::InvalidSpec,
    };
    Reported { kind, field, object, message }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stats::StepStats;
    use crate::stats::result::Verdict;

    fn run_file(workers: u32) -> RunFile {
        let spec = json!({
            "target": {"url": "http://t"},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
            "load": {"closed": {"users": 1, "duration": "10s"}},
        });
        let plan = crate::crd::check(&serde_json::from_value(spec).unwrap()).unwrap().plan;
        RunFile {
            run: "r-1".into(),
            name: "r".into(),
            namespace: None,
            digest: String::new(),
            workers,
            grace: Duration::from_secs(90),
            overrides: vec![],
            warnings: vec![],
            plan,
        }
    }

    /// A master and the clock of its test.
    struct Stage {
        conductor: Conductor,
        now: Instant,
    }

    struct Player {
        id: SessionId,
        heard: mpsc::Receiver<FromMaster>,
    }

    impl Player {
        fn heard(&mut self) -> Vec<Message> {
            std::iter::from_fn(|| self.heard.try_recv().ok()).filter_map(|message| message.message).collect()
        }

        fn was_told_to_start(&mut self) -> Option<fleet::Start> {
            self.heard().into_iter().find_map(|message| match message {
                Message::Start(start) => Some(start),
                _ => None,
            })
        }
    }

    impl Stage {
        fn new(workers: u32, memory: Memory) -> Self {
            let now = Instant::now();
            Self { conductor: Conductor::new(run_file(workers), memory, now).unwrap(), now }
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
            self.conductor.tick(self.now);
        }

        fn join(&mut self, index: u32, instance: &str, carrying: bool) -> Player {
            let (sender, heard) = mpsc::channel(OUTBOUND_FOR_TESTS);
            let hello = fleet::Hello {
                protocol: PROTOCOL_VERSION,
                run: "r-1".into(),
                index,
                instance: instance.into(),
                carrying,
                ..Default::default()
            };
            Player { id: self.conductor.join(&hello, sender).unwrap(), heard }
        }

        fn say(&mut self, player: &Player, message: from_worker::Message) {
            self.conductor.hear(player.id, message, self.now);
        }

        fn ready(&mut self, player: &Player) {
            self.say(player, from_worker::Message::Ready(fleet::Ready {}));
        }

        fn grant(&mut self, epoch: u32, action: GrantAction) -> Result<(), Refusal> {
            let grant = Grant { run: "r-1".into(), epoch, incarnation: self.conductor.incarnation().to_owned(), action };
            self.conductor.grant(&grant, self.now)
        }

        fn deliver(&mut self, player: &Player, second: u32, requests: u64, last: bool) {
            self.say(
                player,
                from_worker::Message::Delta(fleet::Delta { second, snapshot: samples(requests).encode(), last, failure: String::new() }),
            );
        }

        fn state(&self) -> MasterState {
            self.conductor.progress(self.now).state
        }
    }

    const OUTBOUND_FOR_TESTS: usize = 64;

    fn samples(requests: u64) -> Snapshot {
        let mut stats = StepStats { requests, ..StepStats::default() };
        (0..requests).for_each(|_| stats.latency.record(1000));
        Snapshot { steps: [(0, stats)].into(), ..Snapshot::default() }
    }

    fn cumulative(through: u32, requests: u64) -> from_worker::Message {
        from_worker::Message::Cumulative(fleet::Cumulative {
            through_second: Some(through),
            snapshot: samples(requests).encode(),
            seconds: vec![fleet::SecondCount { second: through, requests, failures: 0, users: 1 }],
            last: false,
            elapsed_micros: 5_000_000,
            started_unix_micros: 1,
            seed: 7,
            workers: 1,
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
        let grant = Grant { run: "r-1".into(), epoch: 1, incarnation: "other".into(), action: GrantAction::Start };
        assert!(matches!(stage.conductor.grant(&grant, stage.now), Err(Refusal::OtherIncarnation { .. })));
        stage.grant(2, GrantAction::Start).unwrap();
        assert!(matches!(stage.grant(1, GrantAction::Start), Err(Refusal::OldEpoch { .. })));
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
        let (a, b) = (first.was_told_to_start().unwrap(), second.was_told_to_start().unwrap());
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
        let result = stage.conductor.result().unwrap();
        assert_eq!((result.totals.requests, result.verdict, result.workers.lost), (7, Verdict::Passed, 0));
    }

    #[test]
    fn what_is_sent_twice_counts_once() {
        let mut stage = Stage::new(1, Memory::none());
        let player = stage.join(0, "a", false);
        stage.ready(&player);
        stage.grant(1, GrantAction::Start).unwrap();
        stage.pass(5);
        stage.deliver(&player, 0, 3, false);
        stage.deliver(&player, 0, 3, false);
        assert_eq!(stage.conductor.merged().requests(), 3);
        // the same process on a new connection tells everything again
        let again = stage.join(0, "a", true);
        stage.say(&again, cumulative(1, 5));
        assert_eq!(stage.conductor.merged().requests(), 5);
    }

    #[test]
    fn a_replacement_takes_up_the_share_where_the_profile_is() {
        let mut stage = Stage::new(1, Memory::none());
        let player = stage.join(0, "a", false);
        stage.ready(&player);
        stage.grant(1, GrantAction::Start).unwrap();
        stage.pass(5);
        stage.deliver(&player, 0, 3, false);
        stage.conductor.leave(player.id, stage.now);
        stage.pass(2);
        let mut replacement = stage.join(0, "b", false);
        stage.ready(&replacement);
        assert_eq!(replacement.was_told_to_start().unwrap().in_micros, -4_000_000);
        stage.pass(10);
        stage.deliver(&replacement, 9, 2, true);
        let result = stage.conductor.result().unwrap();
        assert_eq!((result.totals.requests, result.workers.lost, result.workers.rejoined), (5, 1, 1));
    }

    #[test]
    fn a_run_whose_workers_all_vanish_ends() {
        let mut stage = Stage::new(1, Memory::none());
        let player = stage.join(0, "a", false);
        stage.ready(&player);
        stage.grant(1, GrantAction::Start).unwrap();
        stage.pass(4);
        stage.conductor.leave(player.id, stage.now);
        // the clock of the profile stands for a longer one
        stage.conductor.file.plan.load =
            crate::plan::Load::Closed { profile: crate::plan::Profile::ramp_and_hold(1.0, Duration::ZERO, Duration::from_secs(600)) };
        stage.pass(31);
        stage.pass(31);
        assert_eq!(stage.conductor.result().map(|result| result.reason.as_str()), Some("WorkersLost"));
    }

    #[test]
    fn a_master_killed_after_the_grant_starts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut before = Stage::new(1, Memory::at(folder.path()));
        let player = before.join(0, "a", false);
        before.ready(&player);
        before.grant(1, GrantAction::Start).unwrap();

        let mut after = Stage::new(1, Memory::at(folder.path()));
        assert_eq!((after.state(), after.conductor.incarnation()), (MasterState::Recovering, before.conductor.incarnation()));
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
        let result = stage.conductor.result().unwrap();
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
        stage.conductor.stop(Stop { run: "r-1".into(), reason: "Suspended".into(), message: "m".into() }, stage.now);
        let result = stage.conductor.result().unwrap();
        assert_eq!((result.verdict, result.reason.as_str(), &result.started_at), (Verdict::Aborted, "Suspended", &None));
    }

    #[test]
    fn a_stop_tells_the_workers_and_keeps_what_was_measured() {
        let mut stage = Stage::new(1, Memory::none());
        let mut player = stage.join(0, "a", false);
        stage.ready(&player);
        stage.grant(1, GrantAction::Start).unwrap();
        stage.pass(5);
        stage.conductor.stop(Stop { run: "r-1".into(), reason: "Suspended".into(), message: "m".into() }, stage.now);
        assert!(player.heard().iter().any(|message| matches!(message, Message::Stop(_))));
        stage.deliver(&player, 1, 9, true);
        let result = stage.conductor.result().unwrap();
        assert_eq!((result.verdict, result.totals.requests), (Verdict::Aborted, 9));
    }

    #[test]
    fn workers_go_only_when_the_result_is_stored() {
        let mut stage = Stage::new(1, Memory::none());
        let mut player = stage.join(0, "a", false);
        stage.ready(&player);
        stage.grant(1, GrantAction::Start).unwrap();
        stage.pass(14);
        stage.deliver(&player, 0, 1, true);
        let released = |player: &mut Player| player.heard().iter().any(|message| matches!(message, Message::Release(_)));
        assert!(!released(&mut player));
        stage.conductor.acknowledge();
        assert!(released(&mut player));
        let mut late = stage.join(0, "a", true);
        assert!(released(&mut late));
    }

    #[test]
    fn a_worker_of_another_run_is_turned_away() {
        let mut stage = Stage::new(1, Memory::none());
        let (sender, _heard) = mpsc::channel(1);
        let hello = fleet::Hello { protocol: PROTOCOL_VERSION, run: "other".into(), ..Default::default() };
        assert!(stage.conductor.join(&hello, sender.clone()).unwrap_err().permanent);
        let hello = fleet::Hello { protocol: PROTOCOL_VERSION + 1, run: "r-1".into(), ..Default::default() };
        assert!(stage.conductor.join(&hello, sender).is_err());
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
            from_worker::Message::NotReady(fleet::NotReady { problems: vec![problem] })
        };
        stage.say(&player, missing());
        stage.pass(21);
        stage.say(&player, missing());
        let problems = stage.conductor.progress(stage.now).problems;
        assert_eq!((problems[0].kind, problems[0].for_seconds), (ProblemKind::MissingReference, 21));
    }
}
