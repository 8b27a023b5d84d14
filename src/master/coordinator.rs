//! The run as the master sees it: a state machine fed with what workers and the operator say. It
//! does no I/O but to its memory, and never waits.

mod feeding;
mod one_offs;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc;

use feeding::Feeding;
use one_offs::OneOffs;

use super::blocks::Blocks;
use super::judge::Judge;
use super::memory::{Facts, Memory, MemoryError};
use super::result::{self, Ending};
use super::roster::{Reported, Roster, Session, SessionId};
use super::search::Search;
use super::timeline::Timeline;
use crate::plan::Load;
use crate::stats::Snapshot;
use crate::stats::result::{Event, RunResult};
use crate::wire::PROTOCOL_VERSION;
use crate::wire::control::{Grant, GrantAction, MasterState, ProblemKind, Progress, Stop};
use crate::wire::fleet::{self, FromMaster, from_master::Message, from_worker};
use crate::wire::layout::RunFile;

/// From the start message to the run's zero: time for it to reach every worker.
const START_IN: Duration = Duration::from_secs(3);
/// A new level of a search is announced ahead of it by this part of [`START_IN`].
const LEAD_PART: u32 = 3;
/// So long a master without a worker that carries the run waits for one.
const RECOVERY: Duration = Duration::from_secs(30);
/// So long the end is put off for a worker that should have had its last word.
const LAST_WORD: Duration = Duration::from_secs(10);
/// Events kept in the result.
const MAX_EVENTS: usize = 200;

/// Why a coordinator cannot be made, so that the master ends before it has begun its run.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error("cannot write the plan of run {run} as JSON: {source}")]
    Plan {
        run: String,
        source: serde_json::Error,
    },
}

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

/// When the run's zero is, where the warm-up begins.
#[derive(Debug, Clone, Copy)]
struct Clock {
    zero: Instant,
    zero_at: Timestamp,
}

impl Clock {
    /// The clock of a run whose zero was `elapsed_micros` before `now`, or is as far ahead where
    /// that is negative. `None` for a time that no clock can show.
    fn at(now: Instant, elapsed_micros: i64) -> Option<Self> {
        let span = Duration::from_micros(elapsed_micros.unsigned_abs());
        let zero = if elapsed_micros < 0 {
            now.checked_add(span)?
        } else {
            now.checked_sub(span)?
        };
        let zero_micros = Timestamp::now()
            .as_microsecond()
            .checked_sub(elapsed_micros)?;
        let zero_at = Timestamp::from_microsecond(zero_micros).ok()?;
        Some(Self { zero, zero_at })
    }
}

pub struct Coordinator {
    file: RunFile,
    /// `file` as JSON, which every worker is sent.
    file_json: String,
    /// The plan of `file` as JSON, which is part of the result.
    plan_json: serde_json::Value,
    seed: u64,
    start_in: Duration,
    memory: Memory,
    facts: Facts,
    state: MasterState,
    /// The grant came while a worker was not ready; it counts once all are.
    start_wanted: bool,
    /// When this master, or the loss of its last worker, began to be waited out.
    alone_since: Option<Instant>,
    /// Since when nobody is at work on a load that ends by itself.
    idle_since: Option<Instant>,
    clock: Option<Clock>,
    stopped: Option<Stop>,
    roster: Roster,
    feeding: Feeding,
    one_offs: OneOffs,
    timeline: Timeline,
    blocks: Blocks,
    /// Where the run is a search for the capacity; it judges each level.
    search: Option<Search>,
    judge: Judge,
    /// The threshold that has ended the load, in words.
    breached: Option<String>,
    events: Vec<Event>,
    result: Option<RunResult>,
    acknowledged: bool,
    next_session: SessionId,
}

impl Coordinator {
    /// A master that remembers a grant was killed after it: it starts nothing, but looks for the
    /// workers that carry the run.
    ///
    /// Fails when the memory cannot be read or written, or the plan not be sent to workers.
    pub fn new(file: RunFile, memory: Memory, now: Instant) -> Result<Self, BeginError> {
        let facts = memory.load()?;
        let rows = memory.load_rows()?;
        let unwritable = |source| BeginError::Plan {
            run: file.run.clone(),
            source,
        };
        let file_json = serde_json::to_string(&file).map_err(unwritable)?;
        let plan_json = serde_json::to_value(&file.plan).map_err(unwritable)?;
        let state = if facts.granted {
            MasterState::Recovering
        } else {
            MasterState::Waiting
        };
        let seed = file.plan.seed.unwrap_or_else(|| seed_of(&file.run));
        let interval = snapshot_interval(file.workers);
        let blocks = Blocks::new(&file.plan);
        let mut judge = Judge::new(&file.plan);
        judge.restore(&facts.breaches);
        Ok(Self {
            search: file.plan.capacity().map(Search::new),
            roster: Roster::new(file.workers),
            feeding: Feeding::new(&file.plan, rows, facts.granted),
            one_offs: OneOffs::new(&file.plan),
            alone_since: facts.granted.then_some(now),
            file,
            file_json,
            plan_json,
            seed,
            start_in: START_IN,
            memory,
            facts,
            state,
            start_wanted: false,
            idle_since: None,
            clock: None,
            stopped: None,
            timeline: Timeline::new(interval),
            blocks,
            judge,
            breached: None,
            events: Vec::new(),
            result: None,
            acknowledged: false,
            next_session: 1,
        })
    }

    /// For a run in one process: there is nothing to wait for between the start message and the
    /// start.
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

    /// Everything measured so far.
    pub fn merged(&self) -> Snapshot {
        self.roster.merged()
    }

    /// Requests whose data came after their second was complete.
    pub fn late(&self) -> u64 {
        self.timeline.late()
    }

    pub fn progress(&self, now: Instant) -> Progress {
        let merged = self.roster.merged();
        // without load, and before its first second is complete, there are no users and no rate
        let latest = self
            .timeline
            .latest()
            .filter(|_| self.state == MasterState::Running)
            .unwrap_or_default();
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
            // 0 is the protocol's word for a length that nobody knows beforehand
            length_micros: self
                .file
                .plan
                .whole_length()
                .map_or(0, |length| length.as_micros() as u64),
            level: self.search.as_ref().and_then(Search::rate),
            // 0 is the protocol's word for load that does not count iterations
            planned_iterations: self.file.plan.iterations().unwrap_or(0),
            iterations: merged.counters.iterations,
            requests: merged.requests(),
            failures: merged.failures(),
            users: latest.users,
            rps: latest.requests,
            p95_micros: latest.p95,
            one_off: self.one_offs.doing().map(str::to_owned),
        }
    }

    // ---- what workers say

    /// A worker's first words. Gives its connection a number, or says why it is turned away.
    pub fn join(
        &mut self,
        hello: &fleet::Hello,
        outbound: mpsc::Sender<FromMaster>,
    ) -> Result<SessionId, fleet::Refused> {
        let refuse = |reason: String| {
            Err(fleet::Refused {
                reason,
                permanent: true,
            })
        };
        if hello.protocol != PROTOCOL_VERSION {
            return refuse(format!(
                "the worker speaks protocol {}, this master {PROTOCOL_VERSION}",
                hello.protocol
            ));
        }
        if hello.run != self.file.run {
            return refuse(format!(
                "the worker is of run {}, this master of {}",
                hello.run, self.file.run
            ));
        }
        if hello.index >= self.file.workers {
            return refuse(format!(
                "there are {} shares, so none with index {}",
                self.file.workers, hello.index
            ));
        }
        if self.roster.is_superseded(hello.index, &hello.instance) {
            // not for ever: if the other goes, this one's share is free again. Until then its lease
            // runs out.
            let reason = format!("another process has taken share {}", hello.index);
            return Err(fleet::Refused {
                reason,
                permanent: false,
            });
        }
        let id = self.next_session;
        self.next_session += 1;
        let session = Session::new(id, hello.index, &hello.instance, outbound);
        // whether it arrives shows in what the worker says next
        session.send(Message::Welcome(fleet::Welcome {
            version: crate::VERSION.into(),
            epoch: self.facts.epoch,
            run_file: self.file_json.clone(),
        }));
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
            from_worker::Message::Ready(ready) => self.hear_ready(id, &ready, now),
            from_worker::Message::NotReady(fleet::NotReady { problems }) => {
                let problems = problems
                    .into_iter()
                    .map(|problem| self.reported(problem))
                    .collect();
                if let Some(seat) = self.roster.seat(id) {
                    seat.set_problems(problems, now);
                }
            }
            from_worker::Message::Delta(delta) => self.hear_delta(id, &delta),
            from_worker::Message::Cumulative(cumulative) => {
                self.hear_cumulative(id, &cumulative, now)
            }
            from_worker::Message::Pong(pong) => self.hear_pong(id, &pong),
            from_worker::Message::Leaving(_) => self.hear_leaving(id, now),
            from_worker::Message::OneOffDone(done) => self.on_one_off(id, done, now),
            from_worker::Message::RowsWanted(wanted) => self.hear_wanted(id, wanted),
            from_worker::Message::UsedUp(fleet::UsedUp { feeder }) => {
                self.hear_used_up(id, feeder as u16)
            }
        }
        self.tick(now);
    }

    pub fn leave(&mut self, id: SessionId, now: Instant) {
        let at_work = self
            .roster
            .instance(id)
            .is_some_and(|instance| instance.carrying && !instance.last);
        if let Some(index) = self.roster.leave(id).filter(|_| at_work) {
            self.event(&format!("worker {index} lost its connection"));
        }
        self.tick(now);
    }

    fn hear_delta(&mut self, id: SessionId, delta: &fleet::Delta) {
        self.hear_usage(id, &delta.feeders);
        let snapshot = match Snapshot::decode(&delta.snapshot) {
            Ok(snapshot) => snapshot,
            Err(e) => {
                return self.event(&format!(
                    "a worker's samples of second {} are lost: {e}",
                    delta.second
                ));
            }
        };
        let expected = self.roster.carriers();
        let index = self.roster.index(id);
        let (Some(index), Some(instance)) = (index, self.roster.instance(id)) else {
            return;
        };
        // sent again after a reconnection: it is in the cumulative state already
        if instance
            .through
            .is_none_or(|through| delta.second > through)
        {
            instance.snapshot.follow(&snapshot);
            instance.through = Some(delta.second);
            if let Some(search) = &mut self.search {
                search.add(index, delta.second, &snapshot);
            }
            let complete = self.timeline.add(delta.second, &snapshot, expected.max(1));
            complete
                .iter()
                .for_each(|(second, snapshot)| match &mut self.search {
                    Some(search) => search.hear(*second, snapshot),
                    None => {
                        self.judge.hear(*second, snapshot);
                        self.blocks.hear(*second, snapshot);
                    }
                });
        }
        instance.last |= delta.last;
        instance.length_micros = instance.length_micros.max(delta.length_micros);
        let newly_failed =
            !delta.failure.is_empty() && !std::mem::replace(&mut instance.failed, true);
        if newly_failed {
            self.event(&format!(
                "a part of a worker's share is not carried out: {}",
                delta.failure
            ));
        }
        self.acknowledge_second(id, delta.second);
    }

    /// Replaces what is held of the process; the seconds this master had not seen go into the
    /// series as counts.
    fn hear_cumulative(&mut self, id: SessionId, cumulative: &fleet::Cumulative, now: Instant) {
        self.hear_usage(id, &cumulative.feeders);
        let snapshot = match Snapshot::decode(&cumulative.snapshot) {
            Ok(snapshot) => snapshot,
            Err(e) => return self.event(&format!("a worker's samples are lost: {e}")),
        };
        self.hear_one_offs_measured(id, &cumulative.one_offs);
        let Some(instance) = self.roster.instance(id) else {
            return;
        };
        let seen = instance.through;
        instance.snapshot = snapshot;
        instance.carrying = true;
        instance.last = cumulative.last;
        instance.length_micros = cumulative.length_micros;
        instance.through = cumulative.through_second;
        for point in cumulative
            .seconds
            .iter()
            .filter(|point| seen.is_none_or(|seen| point.second > seen))
        {
            self.timeline
                .recall(point.second, point.requests, point.failures, point.users);
            self.blocks.miss();
        }
        if self.clock.is_none() {
            match Clock::at(now, cumulative.elapsed_micros) {
                Some(clock) => {
                    self.clock = Some(clock);
                    self.seed = cumulative.seed;
                }
                // without a clock the run is not gone on with; if no other worker knows one, it is
                // lost
                None => self.event(&format!(
                    "a worker says that its load began {} us ago, which cannot be",
                    cumulative.elapsed_micros
                )),
            }
        }
        if let (Some(search), Some(levels)) = (&mut self.search, &cumulative.levels)
            && let Err(e) = search.recall(levels)
        {
            self.event(&format!(
                "the search for the capacity begins anew, since what came of its levels cannot be read: {e}"
            ));
        }
        // a worker that leaves waits for an acknowledgement, even of nothing
        self.acknowledge_second(id, cumulative.through_second.unwrap_or(0));
    }

    /// Takes what a worker's process measured in one-offs, if it says anything of them.
    fn hear_one_offs_measured(&mut self, id: SessionId, encoded: &[u8]) {
        if encoded.is_empty() {
            return;
        }
        match Snapshot::decode(encoded) {
            Ok(measured) => {
                if let Some(instance) = self.roster.instance(id) {
                    instance.one_offs = measured;
                }
            }
            Err(e) => self.event(&format!("a worker's samples of one-offs are lost: {e}")),
        }
    }

    /// A worker's problem. One of a kind that only another version knows is still a reason not to
    /// start, so it is taken for what a user can do the most about.
    fn reported(&mut self, problem: fleet::Problem) -> Reported {
        let fleet::Problem {
            kind,
            field,
            object,
            message,
        } = problem;
        let kind = kind.parse().unwrap_or_else(|e| {
            self.event(&format!("{field}: {e}"));
            ProblemKind::InvalidSpec
        });
        Reported {
            kind,
            field,
            object,
            message,
        }
    }

    fn hear_pong(&mut self, id: SessionId, pong: &fleet::Pong) {
        let Some(instance) = self.roster.instance(id) else {
            return;
        };
        if pong.started_unix_micros != 0 && instance.started_micros.is_none() {
            // half of the round trip each way
            let middle = (pong.master_unix_micros + Timestamp::now().as_microsecond()) / 2;
            instance.started_micros =
                Some(pong.started_unix_micros - (pong.worker_unix_micros - middle));
        }
    }

    fn hear_leaving(&mut self, id: SessionId, now: Instant) {
        let early = self.state == MasterState::Running && self.is_due(now);
        if let Some(instance) = self.roster.instance(id).filter(|_| early) {
            instance.left_early = true;
            self.event("a worker was told to go before the end; its share waits for a replacement");
        }
    }

    fn acknowledge_second(&mut self, id: SessionId, second: u32) {
        if let Some(Some(session)) = self.roster.seat(id).map(|seat| &seat.session) {
            session.send(Message::Ack(fleet::Ack { second }));
        }
    }

    // ---- what the operator says

    pub fn grant(&mut self, grant: &Grant, now: Instant) -> Result<(), Refusal> {
        let Grant {
            run,
            epoch,
            incarnation,
            action,
        } = grant;
        if *run != self.file.run {
            return Err(Refusal::OtherRun {
                asked: run.clone(),
                actual: self.file.run.clone(),
            });
        }
        if *incarnation != self.facts.incarnation {
            return Err(Refusal::OtherIncarnation {
                asked: incarnation.clone(),
                actual: self.facts.incarnation.clone(),
            });
        }
        if *epoch < self.facts.epoch {
            return Err(Refusal::OldEpoch {
                asked: *epoch,
                actual: self.facts.epoch,
            });
        }
        match (action, self.state) {
            (GrantAction::Start, MasterState::Waiting | MasterState::Ready) => {
                self.remember(Facts {
                    epoch: *epoch,
                    ..self.facts.clone()
                })?;
                self.start_wanted = true;
            }
            (GrantAction::Resume, MasterState::Waiting | MasterState::Ready) => {
                self.remember(Facts {
                    epoch: *epoch,
                    granted: true,
                    ..self.facts.clone()
                })?;
                self.state = MasterState::Recovering;
                self.alone_since = Some(now);
                self.feeding.forget();
            }
            // said before
            _ => self.remember(Facts {
                epoch: *epoch,
                ..self.facts.clone()
            })?,
        }
        self.tick(now);
        Ok(())
    }

    /// Ends the run as aborted. Of several the first counts.
    pub fn stop(&mut self, stop: Stop, now: Instant) {
        if self.result.is_some()
            || self.stopped.is_some()
            || self.breached.is_some()
            || self.one_offs.is_closing()
        {
            return;
        }
        self.event(&format!("stopped: {}", stop.message));
        self.stopped = Some(stop);
        if self.state == MasterState::Running {
            self.state = MasterState::Stopping;
            self.tell_all(|| Message::Stop(fleet::Stop { at_once: false }));
        } else if self.state != MasterState::Stopping {
            self.wind_up(self.natural_ending(), now);
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
            MasterState::Stopping if self.one_offs.is_closing() => self.close(now),
            MasterState::Waiting | MasterState::Ready | MasterState::Preparing => {
                self.await_start(now)
            }
            MasterState::Recovering => self.recover(now),
            MasterState::Running | MasterState::Stopping => self.watch(now),
            MasterState::Lost | MasterState::Finished => {}
        }
        self.lend(now);
    }

    pub fn ping(&self) {
        let now = Timestamp::now().as_microsecond();
        self.tell_all(|| {
            Message::Ping(fleet::Ping {
                master_unix_micros: now,
            })
        });
    }

    fn await_start(&mut self, now: Instant) {
        self.watch_one_off(now);
        let all_ready = self.roster.all_ready();
        if self.start_wanted && all_ready {
            self.get_ready(now);
        }
        if matches!(
            self.state,
            MasterState::Waiting | MasterState::Ready | MasterState::Preparing
        ) {
            self.state = match (self.one_offs.is_under_way(), all_ready) {
                (true, _) => MasterState::Preparing,
                (false, true) => MasterState::Ready,
                (false, false) => MasterState::Waiting,
            };
        }
    }

    fn start(&mut self, now: Instant) {
        let ahead = self.start_in.as_micros() as i64;
        let Some(clock) = Clock::at(now, -ahead) else {
            return self.event("cannot start: this machine's clock is at its end");
        };
        // written first: a master that dies after this never starts the run again
        if let Err(e) = self.remember(Facts {
            granted: true,
            ..self.facts.clone()
        }) {
            return self.event(&format!("cannot start: {e}"));
        }
        self.start_wanted = false;
        self.state = MasterState::Running;
        self.clock = Some(clock);
        self.event("all workers are ready; the load starts");
        self.seek(now);
        self.employ_idle(now);
    }

    /// Gives every ready worker that carries nothing the share of its seat, from where the profile
    /// is by now.
    fn employ_idle(&mut self, now: Instant) {
        let Some(clock) = self.clock else { return };
        let in_micros = match clock.zero.checked_duration_since(now) {
            Some(ahead) => ahead.as_micros() as i64,
            None => -(now.duration_since(clock.zero).as_micros() as i64),
        };
        let (epoch, workers, seed) = (self.facts.epoch, self.file.workers, self.seed);
        let interval_seconds = snapshot_interval(workers);
        let told: Vec<(u32, String, u64)> = self
            .roster
            .idle()
            .map(|session| (session, self.iterations_done(session.index)))
            .filter(|(session, done)| {
                let found = self.one_offs.found();
                let start = Message::Start(fleet::Start {
                    epoch,
                    workers,
                    in_micros,
                    seed,
                    iterations_done: *done,
                    found,
                    interval_seconds,
                });
                let levels = self.search.as_ref().map(Search::announcement);
                session.send(start)
                    && levels.is_none_or(|levels| session.send(Message::Levels(levels)))
            })
            .map(|(session, done)| (session.index, session.instance.clone(), done))
            .collect();
        for (index, instance, done) in told {
            self.roster.mark_carrying(index, &instance);
            if done > 0 {
                self.event(&format!("worker {index} carries out again what was not reported beyond {done} iterations"));
            }
            if in_micros < 0 {
                self.event(&format!(
                    "worker {index} joined {} s into the run",
                    -in_micros / 1_000_000
                ));
            }
        }
    }

    /// What earlier processes carried out of the iterations of a share. With other load beside them
    /// nobody knows which they were, so a replacement begins none anew.
    fn iterations_done(&self, index: u32) -> u64 {
        let populations = &self.file.plan.populations;
        let counted = populations
            .iter()
            .any(|population| matches!(population.load, Load::Iterations(_)));
        match (counted, populations.len()) {
            (false, _) => 0,
            (true, 1) => self.roster.iterations(index),
            (true, _) => {
                if self.roster.iterations(index) > 0 {
                    u64::MAX
                } else {
                    0
                }
            }
        }
    }

    fn recover(&mut self, now: Instant) {
        if self.roster.carriers() > 0 && self.clock.is_some() {
            self.event("a new master process goes on with the run");
            self.alone_since = None;
            self.state = if self.stopped.is_some() {
                MasterState::Stopping
            } else {
                MasterState::Running
            };
        } else if self
            .alone_since
            .is_some_and(|since| now.duration_since(since) >= RECOVERY)
        {
            self.state = MasterState::Lost;
        }
    }

    /// Ends the load when a threshold says so.
    fn heed_thresholds(&mut self) {
        let breaches = self.judge.breaches();
        if breaches.len() > self.facts.breaches.len()
            && let Err(e) = self.remember(Facts {
                breaches,
                ..self.facts.clone()
            })
        {
            self.event(&format!(
                "a breached threshold would not survive a restart of the master: {e}"
            ));
        }
        if let Some(why) = self
            .judge
            .abort()
            .filter(|_| self.state == MasterState::Running)
        {
            self.event(&format!("stopped by a threshold: {why}"));
            self.breached = Some(why);
            self.state = MasterState::Stopping;
            self.tell_all(|| Message::Stop(fleet::Stop { at_once: false }));
        }
    }

    /// Goes on with the search for the capacity, if that is what the run is.
    fn seek(&mut self, now: Instant) {
        let (elapsed, delivered, lead) = (
            self.elapsed(now),
            self.roster.delivered(),
            self.start_in / LEAD_PART,
        );
        let Some(levels) = self
            .search
            .as_mut()
            .and_then(|search| search.advance(&self.file.plan, elapsed, delivered, lead))
        else {
            return;
        };
        self.tell_all(|| Message::Levels(levels.clone()));
    }

    fn watch(&mut self, now: Instant) {
        if self.state == MasterState::Running {
            self.seek(now);
        }
        self.heed_thresholds();
        self.watch_one_off(now);
        let can_give_shares = self.recall_found(now);
        let due = self.is_due(now);
        if self.roster.all_over()
            && (!due || self.is_open_ended() || self.state == MasterState::Stopping)
        {
            return self.wind_up(self.natural_ending(), now);
        }
        if self.state == MasterState::Running && due && can_give_shares {
            self.employ_idle(now);
        }
        let nobody_at_work = self.roster.at_work() == 0;
        let patience = if nobody_at_work {
            LAST_WORD
        } else {
            self.file.plan.stop_timeout + LAST_WORD
        };
        let hopeless = self
            .file
            .plan
            .whole_length()
            .is_some_and(|length| self.elapsed(now) >= length + patience);
        let stopping_alone = self.state == MasterState::Stopping && nobody_at_work;
        self.alone_since = if self.roster.connected() > 0 {
            None
        } else {
            self.alone_since.or(Some(now))
        };
        let deserted = self
            .alone_since
            .is_some_and(|since| now.duration_since(since) >= RECOVERY);
        // of those whose load ends by itself nobody says when one that is lost would have
        self.idle_since = if nobody_at_work && self.is_open_ended() {
            self.idle_since.or(Some(now))
        } else {
            None
        };
        let abandoned = self
            .idle_since
            .is_some_and(|since| now.duration_since(since) >= self.file.grace);
        if abandoned {
            self.wind_up(self.natural_ending(), now);
        } else if deserted && due {
            self.wind_up(Ending::Deserted, now);
        } else if hopeless || stopping_alone {
            self.wind_up(self.natural_ending(), now);
        }
    }

    /// Load should exist: the profile is not over, or only the workers know when it is.
    fn is_due(&self, now: Instant) -> bool {
        self.file
            .plan
            .whole_length()
            .is_none_or(|length| self.elapsed(now) < length)
    }

    /// Only the workers know when the load is over.
    fn is_open_ended(&self) -> bool {
        self.file.plan.whole_length().is_none()
    }

    fn natural_ending(&self) -> Ending {
        match (&self.stopped, &self.breached) {
            (Some(stop), _) => Ending::Stopped(stop.clone()),
            (None, Some(why)) => Ending::Breached { why: why.clone() },
            (None, None) => Ending::Natural,
        }
    }

    fn finish(&mut self, ending: Ending) {
        for (second, snapshot) in self.timeline.close() {
            self.judge.hear(second, &snapshot);
            self.blocks.hear(second, &snapshot);
        }
        self.blocks.close();
        let started_at = self.clock.map(|clock| clock.zero_at);
        self.state = MasterState::Finished;
        self.result = Some(result::build(result::Parts {
            file: &self.file,
            plan_json: self.plan_json.clone(),
            seed: self.seed,
            ending,
            started_at,
            finished_at: Timestamp::now(),
            roster: &self.roster,
            timeline: &self.timeline,
            search: self.search.as_ref(),
            judge: &self.judge,
            events: &self.events,
            feeders: self.feeder_results(),
            warnings: self.one_offs.warnings(),
            blocks: &self.blocks,
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
            self.events.push(Event {
                at: Timestamp::now().to_string(),
                message: message.to_owned(),
            });
        }
    }

    fn elapsed(&self, now: Instant) -> Duration {
        self.clock.map_or(Duration::ZERO, |clock| {
            now.saturating_duration_since(clock.zero)
        })
    }
}

/// How often workers hand over what they have measured, second by second: a large fleet seldom, so
/// that the master keeps up.
fn snapshot_interval(workers: u32) -> u32 {
    match workers {
        0..=100 => 1,
        101..=500 => 2,
        _ => 5,
    }
}

/// What is random in a run can be had again: by default it follows from the run's id.
fn seed_of(run: &str) -> u64 {
    use sha2::{Digest, Sha256};
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = Sha256::digest(run.as_bytes()).into();
    // a JSON reader may hold numbers as floats, exact up to 2^53
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 11
}

#[cfg(test)]
mod tests;
