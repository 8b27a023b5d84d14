//! The run as the master sees it: a state machine fed with what workers and the operator say. It
//! does no I/O but to its memory, and never waits.
//!
//! Read on in `workers` (messages of workers), `operator` (calls of the operator), `load` (the load
//! from start to end), `manual` (changes by hand), `stopping`, `one_offs` and `feeding`.

mod feeding;
mod load;
mod losses;
mod manual;
mod one_offs;
mod operator;
mod present;
mod recovery;
mod scaling;
mod stopping;
mod workers;

use std::borrow::Cow;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use feeding::Feeding;
pub use manual::ChangeRefusal;
use manual::Manual;
use one_offs::OneOffs;
pub use operator::Refusal;
pub use present::Present;
use recovery::Checkpoints;
use scaling::Scaling;

use super::blocks::Blocks;
use super::judge::Judge;
use super::memory::{Facts, Memory, MemoryError};
use super::result::{self, Ending};
use super::roster::{Roster, SessionId};
use super::search::Search;
use super::shares::Shares;
use super::timeline::Timeline;
use crate::stats::Snapshot;
use crate::stats::result::{Event, RunResult};
use crate::wire::control::{MasterState, Progress, Stop};
use crate::wire::fleet::{self, from_master::Message};
use crate::wire::layout::RunFile;

/// Time from the start message to the run's zero, in which it reaches every worker.
const START_IN: Duration = Duration::from_secs(3);
/// Time in which workers come back to a master whose process was killed.
const COME_BACK: Duration = Duration::from_secs(3);
/// Most events kept in the result.
const MAX_EVENTS: usize = 200;

/// Reasons why a coordinator cannot be made; the master ends before it has begun its run.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The memory cannot be read or written.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The plan cannot be written as JSON, so it could not be sent to workers.
    #[error("cannot write the plan of run {run} as JSON: {source}")]
    Plan {
        /// Id of the run.
        run: String,
        /// Error of the encoder.
        source: serde_json::Error,
    },
}

/// The time of the run's zero, where the warm-up begins.
#[derive(Debug, Clone, Copy)]
struct Clock {
    /// The zero on the monotonic clock.
    zero: Instant,
    /// The zero on the wall clock.
    zero_at: Timestamp,
}

impl Clock {
    /// Makes the clock of a run whose zero was `elapsed_micros` before `now`, or is as far ahead
    /// where that is negative. `None` for a time that no clock can show.
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

/// The state of a run, and what workers and the operator make of it.
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
    /// The grant has come; it counts once all workers are ready.
    start_wanted: bool,
    /// Time of the start grant, if this process or the machine it runs on was there.
    granted_at: Option<Instant>,
    /// Time since which no worker has been connected, counted towards the run's loss.
    alone_since: Option<Instant>,
    /// Time since which nobody has been at work on load whose end only workers know.
    idle_since: Option<Instant>,
    clock: Option<Clock>,
    stopped: Option<Stop>,
    /// Time from the run's zero at which the load was ended before its time.
    cut_at: Option<Duration>,
    /// Time at which that was done.
    stopping_since: Option<Instant>,
    roster: Roster,
    /// Parts of the load, each with the process that carries it.
    shares: Shares,
    scaling: Scaling,
    manual: Manual,
    /// Time until which workers that were not heard yet may come to a master that has lost its
    /// memory.
    recovering_until: Option<Instant>,
    checkpoints: Checkpoints,
    /// Set by a checkpoint from which this master went on.
    is_restored: bool,
    /// Time at which this master began.
    began: Instant,
    /// The loss of a worker that ends the run, in words.
    failed: Option<String>,
    /// Workers that are gone of which an earlier master had samples that nobody holds any more.
    incomplete: Vec<fleet::Loss>,
    /// Iterations that were given out again since the report of a lost worker did not cover them.
    reissued: u64,
    feeding: Feeding,
    one_offs: OneOffs,
    timeline: Timeline,
    blocks: Blocks,
    /// Judges the levels of a search for the capacity; `None` in other runs.
    search: Option<Search>,
    judge: Judge,
    /// The threshold that has ended the load, in words.
    breached: Option<String>,
    events: Vec<Event>,
    result: Option<RunResult>,
    acknowledged: bool,
    next_session: SessionId,
    /// Time of the last look at what time demands.
    ticked_at: Instant,
    /// Bytes of samples that workers sent to this process.
    reported_bytes: u64,
}

impl Coordinator {
    /// Makes the coordinator of a run. One that remembers a grant was killed after it: it starts
    /// nothing, but looks for the workers that carry the run.
    ///
    /// Fails when the memory cannot be read or written, or the plan not be written as JSON.
    pub fn new(file: RunFile, memory: Memory, now: Instant) -> Result<Self, BeginError> {
        let facts = memory.load()?;
        let rows = memory.load_rows()?;
        let checkpoint = match facts.granted {
            true => memory.load_checkpoint(&file.run)?,
            false => None,
        };
        let unwritable = |source| BeginError::Plan {
            run: file.run.clone(),
            source,
        };
        let file_json = serde_json::to_string(&file).map_err(unwritable)?;
        let mut plan_json = serde_json::to_value(&file.plan).map_err(unwritable)?;
        // results have it with sorted keys
        plan_json.sort_all_objects();
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
        let mut coordinator = Self {
            search: file.plan.capacity().map(Search::new),
            roster: Roster::new(file.workers),
            shares: Shares::new(&file.plan, file.workers),
            scaling: Scaling::default(),
            manual: Manual::new(&file.plan),
            recovering_until: facts.granted.then(|| now + lease_of(&file)),
            checkpoints: Checkpoints::default(),
            is_restored: false,
            began: now,
            ticked_at: now,
            reported_bytes: 0,
            failed: None,
            incomplete: Vec::new(),
            reissued: 0,
            feeding: Feeding::new(&file.plan, rows, facts.granted),
            one_offs: OneOffs::new(&file.plan),
            alone_since: facts.granted.then_some(now),
            granted_at: facts
                .granted_at
                .as_ref()
                .and_then(|granted| now.checked_sub(memory.since(granted)?)),
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
            cut_at: None,
            stopping_since: None,
            timeline: Timeline::new(interval),
            blocks,
            judge,
            breached: None,
            events: Vec::new(),
            result: None,
            acknowledged: false,
            next_session: 1,
        };
        if let Some(workers) = coordinator.facts.workers {
            coordinator.fit(workers);
        }
        coordinator.apply_changes();
        if let Some(checkpoint) = checkpoint {
            coordinator.restore(checkpoint, now);
        }
        Ok(coordinator)
    }

    /// Sets the time between start message and start. A run in one process has nothing to wait for.
    pub fn starting_in(mut self, start_in: Duration) -> Self {
        self.start_in = start_in;
        self
    }

    /// Sets the run file as it was mounted, to send the very bytes on whose hash workers compare.
    pub fn sending(mut self, run_file: String) -> Self {
        self.file_json = run_file;
        self
    }

    /// Random id of this master, which a grant must name.
    pub fn incarnation(&self) -> &str {
        &self.facts.incarnation
    }

    /// The run as the operator wrote it.
    pub fn file(&self) -> &RunFile {
        &self.file
    }

    /// The result, once it is final.
    pub fn result(&self) -> Option<&RunResult> {
        self.result.as_ref()
    }

    /// Sum of all samples so far.
    pub fn merged(&self) -> Cow<'_, Snapshot> {
        self.roster.merged()
    }

    /// Bytes of samples that workers sent to this process of the master.
    pub fn reported_bytes(&self) -> u64 {
        self.reported_bytes
    }

    /// Bytes of samples that a worker sends in each second of the run, on average.
    fn reported_per_second(&self, now: Instant) -> u64 {
        let since = self.clock.map_or(now, |clock| clock.zero.max(self.began));
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        let workers = f64::from(self.roster.workers().max(1));
        // less than a second says nothing
        (self.reported_bytes as f64 / workers / seconds.max(1.0)) as u64
    }

    /// Requests whose data came after their second was complete.
    pub fn late(&self) -> u64 {
        self.timeline.late()
    }

    /// Sums up how far the run is, for the operator and the page.
    pub fn progress(&self, now: Instant) -> Progress {
        let merged = self.roster.merged();
        // without load, before its first second is complete, and when no worker is left that could
        // tell of another, there are no users and no rate
        let elapsed = self.elapsed(now).as_secs();
        let latest = self
            .timeline
            .latest(self.roster.delivered())
            .filter(|_| self.state == MasterState::Running && self.roster.at_work() > 0)
            .filter(|latest| !self.timeline.is_past(latest.second, elapsed))
            .unwrap_or_default();
        Progress {
            run: self.file.run.clone(),
            epoch: self.facts.epoch,
            incarnation: self.facts.incarnation.clone(),
            state: self.state,
            workers: self.roster.workers(),
            connected: self.roster.connected(),
            ready: self.roster.ready(),
            leaving: Some(self.roster.leaving()),
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
            deadline_micros: self.facts.deadline_micros,
            granted_micros: self
                .granted_for(now)
                .map(|passed| passed.as_micros() as u64),
            one_off: self.one_offs.doing().map(str::to_owned),
            load: self.load_progress(now),
        }
    }

    /// Does what time demands after a message. A large fleet, of which hundreds come at once, is not
    /// looked through for each.
    fn tick_after_message(&mut self, now: Instant) {
        let pause = TICK_PAUSE * self.roster.workers().saturating_sub(SMALL_FLEET);
        if now >= self.ticked_at + pause {
            self.tick(now);
        }
    }

    /// Does what time demands. Callers call it at least every quarter of a second; each call does so
    /// itself, and each message in a fleet that is not large.
    pub fn tick(&mut self, now: Instant) {
        self.ticked_at = now;
        self.roster.refresh();
        self.check_deadline(now);
        match self.state {
            MasterState::Stopping if self.one_offs.is_closing() => self.close(now),
            MasterState::Waiting | MasterState::Ready | MasterState::Preparing => {
                self.await_start(now)
            }
            MasterState::Recovering => self.recover(now),
            MasterState::Running | MasterState::Stopping => {
                self.complete_seconds(now);
                self.watch_losses(now);
                self.watch(now);
            }
            MasterState::Lost | MasterState::Finished => {}
        }
        self.lease_rows(now);
    }

    /// Sends every worker the master's time, which it answers with its own.
    pub fn ping(&self) {
        let now = Timestamp::now().as_microsecond();
        self.broadcast(|| {
            Message::Ping(fleet::Ping {
                master_unix_micros: now,
            })
        });
    }

    /// Closes the result: nothing that comes later changes it.
    fn finish(&mut self, ending: Ending, now: Instant) {
        self.take_seconds(u32::MAX);
        self.blocks.close();
        let started_at = self.clock.map(|clock| clock.zero_at);
        self.state = MasterState::Finished;
        self.result = Some(result::build(result::Parts {
            file: &self.file,
            plan_json: self.plan_json.clone(),
            seed: self.seed,
            ending,
            started_at,
            cut_at: self.cut_at,
            finished_at: Timestamp::now(),
            roster: &self.roster,
            timeline: &self.timeline,
            search: self.search.as_ref(),
            judge: &self.judge,
            events: &self.events,
            feeders: self.feeder_results(),
            warnings: self.one_offs.warnings(),
            manual_changes: self.manual_changes(),
            lowered: self.lowered(),
            blocks: &self.blocks,
            losses: self.told_losses(),
            reissued: self.reissued,
            reported_per_second: self.reported_per_second(now),
            incomplete: self.incomplete(),
        }));
    }

    /// Completes the seconds that every process has delivered which may be making load.
    fn complete_seconds(&mut self, now: Instant) {
        let is_unknown = self.recovering_until.is_some_and(|until| now < until);
        // one that joined after the last checkpoint is known when it comes
        let is_early = self.is_restored && now < self.began + COME_BACK;
        let is_awaited = is_unknown && self.has_unknown();
        if !is_early && !is_awaited {
            self.take_seconds(self.roster.heard_until(now, self.file.grace));
        }
    }

    /// Judges the seconds of the run before `end` that were not judged yet.
    fn take_seconds(&mut self, end: u32) {
        for (second, found) in self.timeline.complete(end) {
            if let Some(search) = &mut self.search {
                search.add_second(second, &found.snapshot);
                continue;
            }
            if found.lacks_samples() {
                // a window with such a second is not judged
                self.blocks.miss();
            } else {
                self.judge.add_second(second, &found.snapshot);
            }
            self.blocks.add_second(second, &found.snapshot);
        }
    }

    /// Has all workers end the load, before its time.
    fn cut_load(&mut self, now: Instant) {
        self.state = MasterState::Stopping;
        self.begin_stopping(now);
        self.cut_at = self.cut_at.or(Some(self.elapsed(now)));
        self.broadcast(|| Message::Stop(fleet::Stop { at_once: false }));
    }

    /// Stores facts in the memory, unless it has them already.
    fn remember(&mut self, facts: Facts) -> Result<(), MemoryError> {
        if facts != self.facts {
            self.memory.store(&facts)?;
            self.facts = facts;
        }
        Ok(())
    }

    /// Sends a message to every connected worker.
    fn broadcast(&self, message: impl Fn() -> Message) {
        for session in self.roster.sessions() {
            // a worker that takes no message is gone or far behind: its connection ends and it
            // comes back
            let _ = session.send(message());
        }
    }

    /// Logs an event, and keeps it for the result while there is room.
    fn event(&mut self, message: &str) {
        tracing::info!(run = self.file.run, "{message}");
        if self.events.len() < MAX_EVENTS {
            self.events.push(Event {
                at: Timestamp::now().to_string(),
                message: message.to_owned(),
            });
        }
    }

    /// Time since the run's zero; none before.
    fn elapsed(&self, now: Instant) -> Duration {
        self.clock.map_or(Duration::ZERO, |clock| {
            now.saturating_duration_since(clock.zero)
        })
    }
}

/// Most workers that are looked through after each message.
const SMALL_FLEET: u32 = 64;
/// Least time between two looks at a larger fleet, for each worker more: a tenth of a second at 2,000
/// workers.
const TICK_PAUSE: Duration = Duration::from_micros(50);

/// Time for which a worker of which nothing is heard may go on, as its master counts it.
fn lease_of(file: &RunFile) -> Duration {
    file.grace + Duration::from_secs(1)
}

/// Seconds between two hand-overs of a worker's samples: more in a large fleet, so that the master
/// keeps up.
fn snapshot_interval(workers: u32) -> u32 {
    match workers {
        0..=100 => 1,
        101..=500 => 2,
        _ => 5,
    }
}

/// Derives the default seed from the run's id, so that what is random in a run can be had again.
fn seed_of(run: &str) -> u64 {
    use sha2::{Digest, Sha256};
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = Sha256::digest(run.as_bytes()).into();
    // a JSON reader may hold numbers as floats, exact up to 2^53
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 11
}

#[cfg(test)]
mod tests;
