//! The coordinator's part in the number of workers, which the operator may change during the run:
//! the load is divided anew among those that are to be there.
//!
//! The new division begins a moment ahead, so that everybody has heard of it by then. Arrivals
//! change hands at that moment, users one by one from then on, and iterations that are counted when
//! those under way are over. Workers beyond the new number carry nothing of it: they hand over what
//! they have, and their end is no loss.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::super::memory::{Facts, MemoryError};
use super::super::roster::{Holder, Session, SessionId};
use super::super::shares::Pace;
use super::Coordinator;
use super::losses::{AHEAD, SILENCE};
use super::operator::Refusal;
use crate::plan::share::MAX_WORKERS;
use crate::plan::{Load, Plan, SPAWN_RATE};
use crate::wire::control::{FleetSize, MasterState, Scale};
use crate::wire::fleet;

/// Time for which new workers that are ready wait for the others.
const SETTLE: Duration = Duration::from_secs(10);
/// Time before the end in which nothing is divided anew.
const LAST: Duration = Duration::from_secs(3);
/// Iterations that a user could carry out in the time in which all users move: as few as a fiftieth
/// of them is under way between two workers at once.
const ITERATIONS_PER_MOVE: f64 = 50.0;
/// Bounds of that time, which the spawn rate may make longer.
const MOVE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(120)];
/// Longest time for which a user that has left is waited for before it starts elsewhere.
const LONGEST_LAG: Duration = Duration::from_secs(5);

/// Workers that come.
#[derive(Debug, Default)]
pub(super) struct Scaling {
    /// Workers that were ready last, and the time at which the last of them was.
    ready: Option<(u32, Instant)>,
}

impl Coordinator {
    /// Takes the number of workers that the run is to have.
    pub fn scale(&mut self, scale: &Scale, now: Instant) -> Result<(), Refusal> {
        if scale.run != self.file.run {
            return Err(Refusal::OtherRun {
                asked: scale.run.clone(),
                actual: self.file.run.clone(),
            });
        }
        self.resize(scale.workers)?;
        self.tick(now);
        Ok(())
    }

    /// Sets the number of workers, and remembers it.
    pub(super) fn resize(&mut self, workers: FleetSize) -> Result<(), Refusal> {
        let is_some = |count: u32| (1..=MAX_WORKERS).contains(&count);
        if let Some(asked) = [workers.now, workers.most]
            .into_iter()
            .find(|count| !is_some(*count))
        {
            return Err(Refusal::Workers { asked });
        }
        let before = self.roster.workers();
        self.remember_workers(workers)?;
        self.fit(workers);
        if workers.now != before {
            self.event(&format!(
                "the run is to have {} workers; it had {before}",
                workers.now
            ));
        }
        Ok(())
    }

    fn remember_workers(&mut self, workers: FleetSize) -> Result<(), MemoryError> {
        // nothing is remembered of a run whose number never changed
        if self.facts.workers.is_none() && workers.now == self.roster.workers() {
            return Ok(());
        }
        let workers = Some(workers);
        self.remember(Facts {
            workers,
            ..self.facts.clone()
        })
    }

    /// Makes room for as many workers; before the start the load is divided among them at once.
    pub(super) fn fit(&mut self, workers: FleetSize) {
        self.roster.resize(workers.now, workers.most);
        let is_before_start = matches!(
            self.state,
            MasterState::Waiting | MasterState::Ready | MasterState::Preparing
        );
        if is_before_start {
            self.shares.set_workers(workers.now);
        }
    }

    /// Says why a worker is not one of this run now. One that has samples to hand over is, as long
    /// as the operator wanted so many at any time.
    pub(super) fn not_granted(&self, hello: &fleet::Hello) -> Option<String> {
        let (now, most) = (self.roster.workers(), self.roster.most_workers());
        let is_known = hello.carrying && hello.index < most;
        let is_granted = hello.index < now || is_known;
        (!is_granted).then(|| format!("there are {now} shares, so none with index {}", hello.index))
    }

    /// Tells whether a process that carries a share is not known yet.
    pub(super) fn has_unknown(&self) -> bool {
        !self.roster.knows_all(self.shares.division().workers)
    }

    /// Lets a process go that says that it leaves, if the run is not to have it any more and its
    /// load is over. Returns false for every other.
    pub(super) fn lets_go(&mut self, id: SessionId) -> bool {
        let workers = self.roster.workers();
        let Some(holder) = self.roster.holder(id) else {
            return false;
        };
        let is_over = self.roster.find(&holder).is_some_and(|held| held.last);
        let is_wanted = holder.0 < workers;
        if is_over && !is_wanted {
            self.let_go(&holder);
        }
        is_over && !is_wanted
    }

    /// Notes that a worker has left which the run is not to have any more.
    pub(super) fn let_go(&mut self, holder: &Holder) {
        let Some(instance) = self.roster.find(holder) else {
            return;
        };
        if std::mem::replace(&mut instance.let_go, true) {
            return;
        }
        self.event(&format!("worker {} has left, as it was to", holder.0));
        // nobody else holds its samples now
        self.broadcast_losses();
        self.checkpoints.is_wanted = true;
    }

    /// Divides the load anew when the run is to have another number of workers, and as many are
    /// there.
    pub(super) fn divide_anew(&mut self, now: Instant) {
        let division = self.shares.division();
        let workers = self.shares_wanted(now);
        let (elapsed, is_pausing) = (self.elapsed(now), self.shares.is_pausing());
        let is_wanted = workers != division.workers || is_pausing;
        let end = self.end_of_load().unwrap_or(Duration::MAX);
        // one that is silent would not hear that its share is given to others
        if !is_wanted
            || elapsed < division.from
            || end.saturating_sub(elapsed) < LAST
            || !self.roster.can_divide_anew(now, SILENCE)
        {
            return;
        }
        let is_counted = self.counts_iterations();
        if is_counted && !is_pausing {
            let holders = self.shares.pause(elapsed);
            self.checkpoints.is_wanted = true;
            return self.send_parts(&holders);
        }
        if is_counted && self.shares.is_carried() {
            return;
        }
        let from = if is_counted { elapsed } else { elapsed + AHEAD };
        self.divide(workers, from, now);
    }

    /// Number of shares to divide the load into: as many as there are to be workers, or for a while
    /// as many as there are.
    fn shares_wanted(&mut self, now: Instant) -> u32 {
        let (wanted, shares) = (self.roster.workers(), self.shares.division().workers);
        if wanted <= shares {
            self.scaling.ready = None;
            return wanted;
        }
        let ready = self.roster.ready_from(shares);
        let since = match self.scaling.ready {
            Some((before, since)) if before == ready => since,
            _ => now,
        };
        self.scaling.ready = Some((ready, since));
        let is_settled = now.saturating_duration_since(since) >= SETTLE;
        match ready == wanted || is_settled {
            true => ready,
            false => shares,
        }
    }

    fn divide(&mut self, workers: u32, from: Duration, now: Instant) {
        let before = self.shares.division().workers;
        let pace = self.pace(workers, from);
        let mut changed = self.shares.divide(workers, from, pace);
        for (holder, id, task) in self.tasks(workers) {
            match task {
                Task::GoesOn => {
                    self.shares.begin(&holder, from, Some(pace));
                    changed.insert(holder);
                }
                Task::BeginsAgain => {
                    self.begin_share(&holder, from, Some(pace), now);
                    changed.insert(holder);
                }
                Task::Starts => self.start_share(&holder, id, from, Some(pace), now),
            }
        }
        // those of workers that are being replaced
        self.shares.orphan_the_rest();
        self.send_parts(&changed);
        self.checkpoints.is_wanted = true;
        self.event(&format!(
            "the load of {before} workers is divided among {workers} from {:.1} s into the run on",
            from.as_secs_f64()
        ));
    }

    /// Lists the workers that get a share of a division, and what that is to each.
    fn tasks(&self, workers: u32) -> Vec<(Holder, SessionId, Task)> {
        let idle: BTreeSet<SessionId> = self.roster.idle().map(|session| session.id).collect();
        let task = |session: &Session| {
            let holder = session.holder();
            let instance = self.roster.instances().get(&holder)?;
            let task = match (instance.carrying, instance.last) {
                (false, _) => idle.contains(&session.id).then_some(Task::Starts),
                (true, true) => Some(Task::BeginsAgain),
                (true, false) => instance.lost_at.is_none().then_some(Task::GoesOn),
            };
            Some((holder, session.id, task?))
        };
        let sessions = self.roster.sessions();
        sessions
            .filter(|session| session.index < workers)
            .filter_map(task)
            .collect()
    }

    /// Pace at which users move when the load is divided anew `from` this time after the run's
    /// zero.
    fn pace(&self, workers: u32, from: Duration) -> Pace {
        let fewest = workers.min(self.shares.division().workers);
        let at_spawn_rate = spawn_time(&self.file.plan, fewest, from);
        let (mut iterations, mut micros) = (0, 0.0);
        for task in self.roster.merged().tasks.values() {
            iterations += task.duration.count();
            micros += task.duration.sum() as f64;
        }
        let iteration = Duration::from_micros((micros / iterations.max(1) as f64) as u64);
        let [shortest, longest] = MOVE;
        let window = iteration
            .mul_f64(ITERATIONS_PER_MOVE)
            .clamp(shortest, longest);
        Pace {
            window: window.max(at_spawn_rate),
            lag: iteration.min(LONGEST_LAG),
        }
    }
}

/// Part of a worker in a new division.
enum Task {
    /// Carries something, and gets the new share beside it.
    GoesOn,
    /// Has carried something, and carries nothing now.
    BeginsAgain,
    /// Is ready, and has carried nothing yet.
    Starts,
}

/// Longest time in which the spawn rate of `workers` workers lets all users of a population start
/// that there are at a time since the run's zero.
fn spawn_time(plan: &Plan, workers: u32, at: Duration) -> Duration {
    let populations = plan.populations.iter();
    let times = populations.filter_map(|population| match &population.load {
        Load::Closed {
            profile,
            spawn_rate,
            ..
        } => {
            let rate = spawn_rate.unwrap_or(SPAWN_RATE * f64::from(workers));
            let into = at.saturating_sub(plan.warmup + population.start_after);
            let users = match at < plan.warmup {
                true => population.warmup_target,
                false => profile.level(into),
            };
            Duration::try_from_secs_f64(users / rate).ok()
        }
        Load::Open { .. } | Load::Iterations(_) | Load::Capacity(_) => None,
    });
    times.max().unwrap_or_default()
}
