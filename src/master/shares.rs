//! Parts of the load, and the processes that carry them. A share is carried whole by its own worker, or in parts by
//! others when that is lost; it goes back to its worker's replacement. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::roster::Holder;
use crate::plan::share::MAX_WORKERS;
use crate::plan::{Load, Plan, Population, Share};
use crate::wire::fleet;

/// Most parts that a share is divided into, so that a large fleet does not have too many.
const MOST_PARTS: usize = 16;

/// A share or a part of one that was given to a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Part {
    /// Index of the worker whose share it is.
    share: u32,
    first: u32,
    step: u32,
    /// Threads; 0 for as many as the worker has cores.
    threads: u32,
    from: Duration,
    /// Time since the run's zero at which it goes back to the worker of the share.
    until: Option<Duration>,
    done: u64,
    part_done: u64,
    catch_up: u32,
    /// Number of the division that the share is of, and how many shares that has.
    #[serde(default)]
    division: u32,
    #[serde(default)]
    workers: u32,
    /// Pace at which its users come from the shares of the division before.
    #[serde(default)]
    arriving: Option<Pace>,
    /// Pace at which its users leave to those of the next.
    #[serde(default)]
    leaving: Option<Pace>,
    /// Process that carries it.
    holder: Holder,
    /// Iterations of it that are known to have begun there.
    iterations: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    /// Carried by its process.
    Carried,
    /// Carried by nobody, since its process is gone or has stopped.
    Orphan,
    /// Ended, or given to others.
    Over,
}

/// Pace at which the users of a fleet move from the shares of one division to those of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Time in which all users move, evenly.
    pub window: Duration,
    /// Time from a user's turn to leave to its start elsewhere.
    pub lag: Duration,
}

impl Pace {
    fn written(self) -> fleet::Moving {
        fleet::Moving {
            window_micros: self.window.as_micros() as u64,
            lag_micros: self.lag.as_micros() as u64,
        }
    }
}

/// The load as it is divided into shares from some moment on. Shares of different divisions have
/// nothing to do with each other, whatever their numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Division {
    /// Number of the division, from 0.
    pub number: u32,
    /// Shares in all.
    pub workers: u32,
    /// Most shares of this division and those before it.
    pub most_workers: u32,
    /// Iterations of the whole load that were carried out before.
    pub done: u64,
    /// Time since the run's zero from which it counts.
    pub from: Duration,
}

/// All parts that were ever given to anybody.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    parts: BTreeMap<u32, Part>,
    next: u32,
    counting: Counting,
    /// Users who carry out a number of iterations.
    #[serde(default)]
    users: u64,
    #[serde(default)]
    division: Division,
    /// All that is carried is left, for a new division that begins when nothing is carried.
    #[serde(default)]
    is_pausing: bool,
}

/// Knowledge of which iterations of a share were carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Counting {
    /// None is needed: the load has no number of iterations.
    #[default]
    Idle,
    /// The first ones, as many as were counted.
    First,
    /// Unknown ones, since there is other load beside them: none is begun anew.
    Any,
}

/// Load that was moved from one worker to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Index of the worker whose share it is.
    pub share: u32,
    /// Number of its thread, if it is not the whole share.
    pub first: u32,
    /// Threads of the share; 1 if it is the whole.
    pub step: u32,
    /// Iterations of the share that were carried out before it was divided.
    pub done: u64,
    /// Iterations of this part that were carried out since.
    pub part_done: u64,
}

impl Moved {
    /// The whole of a share, of which `done` iterations were carried out.
    pub fn whole(share: u32, done: u64) -> Self {
        Self {
            share,
            first: 0,
            step: 1,
            done,
            part_done: 0,
        }
    }
}

/// A worker that can carry more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// Process of the worker.
    pub holder: Holder,
    /// Cores that it may use.
    pub cores: u32,
}

/// The way in which orphans are given out.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Time since the run's zero from which they are carried.
    pub from: Duration,
    /// Most parts into which one share can usefully be divided.
    pub most: u64,
    /// Each part is carried by one thread, so that its iterations can be counted.
    pub one_thread: bool,
}

impl Shares {
    /// Begins with nothing given out of a load that is divided into `workers` shares.
    pub fn new(plan: &Plan, workers: u32) -> Self {
        let is_counted = |population: &Population| matches!(population.load, Load::Iterations(_));
        let counting = match &plan.populations[..] {
            [only] if is_counted(only) => Counting::First,
            populations if populations.iter().any(is_counted) => Counting::Any,
            _ => Counting::Idle,
        };
        let populations = plan.populations.iter();
        let users = populations.filter(|population| is_counted(population));
        Self {
            counting,
            users: users.map(|population| population.load.most()).sum(),
            division: Division {
                workers,
                ..Division::default()
            },
            ..Self::default()
        }
    }

    /// The division that counts now, or will soon.
    pub fn division(&self) -> Division {
        self.division
    }

    /// Sets the number of shares of a load of which nothing was given out.
    pub fn set_workers(&mut self, workers: u32) {
        if self.parts.is_empty() {
            self.division.workers = workers;
        }
    }

    /// Tells whether all that is carried is being left, for a new division.
    pub fn is_pausing(&self) -> bool {
        self.is_pausing
    }

    /// Tells whether anything is carried.
    pub fn is_carried(&self) -> bool {
        self.parts.values().any(|part| part.state == State::Carried)
    }

    /// Has all that is carried left at `at`, since what is left of the load can only be divided
    /// anew when it is known. Returns who carries something.
    pub fn pause(&mut self, at: Duration) -> BTreeSet<Holder> {
        self.is_pausing = true;
        self.leave(at, None)
    }

    /// Divides the load anew into `workers` shares, which count from `from` on. Nobody carries one
    /// yet; whoever carries something leaves it then, its users at `pace`. Returns who does.
    pub fn divide(&mut self, workers: u32, from: Duration, pace: Pace) -> BTreeSet<Holder> {
        let before = self.division;
        let begun = |part: &&Part| part.division == before.number;
        let iterations = self.parts.values().filter(begun);
        let iterations: u64 = iterations.map(|part| part.iterations).sum();
        self.is_pausing = false;
        self.division = Division {
            number: before.number + 1,
            workers,
            most_workers: before.most_workers.max(before.workers).max(workers),
            done: before.done + iterations,
            from,
        };
        self.leave(from, Some(pace))
    }

    fn leave(&mut self, at: Duration, pace: Option<Pace>) -> BTreeSet<Holder> {
        let mut changed = BTreeSet::new();
        for part in self.parts.values_mut() {
            match part.state {
                State::Carried if part.until.is_none() => {
                    (part.until, part.leaving) = (Some(at), pace);
                    changed.insert(part.holder.clone());
                }
                State::Orphan => part.state = State::Over,
                State::Carried | State::Over => {}
            }
        }
        changed
    }

    /// Leaves the shares of the division that nobody has begun to whoever can carry them.
    pub fn orphan_the_rest(&mut self) {
        let begun: BTreeSet<u32> = self.current().map(|part| part.share).collect();
        for share in (0..self.division.workers).filter(|share| !begun.contains(share)) {
            let nobody = (share, String::new());
            let id = self.begin(&nobody, self.division.from, None);
            if let Some(part) = self.parts.get_mut(&id) {
                part.state = State::Orphan;
            }
        }
    }

    /// Parts of the division that counts now.
    fn current(&self) -> impl Iterator<Item = &Part> + Clone {
        let number = self.division.number;
        self.parts
            .values()
            .filter(move |part| part.division == number)
    }

    /// Takes in that a later division is known to a worker than to this master: what is of earlier
    /// ones was left.
    fn learn(&mut self, later: &fleet::Division) {
        if later.number <= self.division.number {
            return;
        }
        self.division = Division {
            number: later.number,
            workers: later.workers.clamp(1, MAX_WORKERS),
            most_workers: later.most_workers.min(MAX_WORKERS),
            done: later.iterations_done,
            from: Duration::ZERO,
        };
        self.is_pausing = false;
        self.leave(Duration::ZERO, None);
    }

    /// Iterations of a share that were carried out before this division.
    fn done_before(&self, share: u32) -> u64 {
        let share = Share {
            worker: share,
            workers: self.division.workers.max(1),
        };
        // only those who have users have iterations
        let share = share.among(self.users);
        share.map_or(0, |share| share.of(self.division.done))
    }

    /// Iterations of a share that a process which begins it need not carry out.
    pub fn done(&self, share: u32) -> u64 {
        match self.counting {
            Counting::Idle => 0,
            Counting::First => self.done_before(share) + self.iterations(share),
            Counting::Any if self.division.done + self.iterations(share) == 0 => 0,
            Counting::Any => u64::MAX,
        }
    }

    /// Gives a whole share to the process of its worker, whose users come at `arriving` from the
    /// division before, if they do. Returns the number of the part.
    pub fn begin(&mut self, holder: &Holder, from: Duration, arriving: Option<Pace>) -> u32 {
        let share = holder.0;
        let done = self.done(share);
        // whatever of it nobody carries is part of the whole
        let orphans = self.parts.values_mut();
        orphans
            .filter(|part| part.share == share && part.state == State::Orphan)
            .for_each(|part| part.state = State::Over);
        self.add(Part {
            share,
            first: 0,
            step: 1,
            threads: 0,
            from,
            until: None,
            done,
            part_done: 0,
            catch_up: 0,
            division: self.division.number,
            workers: self.division.workers,
            arriving,
            leaving: None,
            holder: holder.clone(),
            iterations: 0,
            state: State::Carried,
        })
    }

    fn add(&mut self, part: Part) -> u32 {
        self.next += 1;
        self.parts.insert(self.next, part);
        self.next
    }

    /// Takes in what a process says of a part. Returns false for a part that it carries though it is
    /// not, or no longer, its own.
    pub fn report(&mut self, holder: &Holder, state: &fleet::PartState) -> bool {
        let Some(reported) = &state.part else {
            return true;
        };
        self.next = self.next.max(reported.id);
        if let Some(division) = &reported.division {
            self.learn(division);
        }
        let division = reported.division.as_ref();
        let division = division.map_or(0, |division| division.number);
        let is_current = division == self.division.number;
        let is_new = !self.parts.contains_key(&reported.id);
        let is_whole = reported.step == 1 && reported.share == holder.0;
        if is_new && is_current && !state.over && is_whole {
            // it was given its share after all that is known
            let parts = self.parts.values_mut();
            parts
                .filter(|part| part.share == holder.0 && part.division == division)
                .for_each(|part| part.state = State::Over);
        }
        let workers = reported.division.as_ref();
        let workers = workers.map_or(self.division.workers, |division| division.workers);
        let part = self.parts.entry(reported.id).or_insert_with(|| Part {
            share: reported.share,
            first: reported.first,
            step: reported.step.max(1),
            threads: reported.threads,
            from: Duration::ZERO,
            // one of an earlier division was left
            until: (!is_current).then_some(Duration::ZERO),
            done: reported.iterations_done,
            part_done: reported.part_done,
            catch_up: 0,
            division,
            workers,
            arriving: None,
            leaving: None,
            holder: holder.clone(),
            iterations: 0,
            state: State::Carried,
        });
        if part.holder != *holder {
            return state.over;
        }
        part.iterations = part.iterations.max(state.iterations);
        if part.state != State::Carried {
            if state.over && !state.cut {
                // it came to its end though nobody knew that it was carried
                part.state = State::Over;
            }
            return state.over;
        }
        if state.over {
            let is_cut = state.cut && part.until.is_none();
            part.state = if is_cut { State::Orphan } else { State::Over };
        }
        true
    }

    /// Takes in how many iterations a process has begun that carries one part and does not report
    /// it.
    pub fn count(&mut self, holder: &Holder, iterations: u64) {
        let only = self.parts.values_mut().find(|part| part.holder == *holder);
        if let Some(part) = only {
            part.iterations = part.iterations.max(iterations);
        }
    }

    /// Notes that a process carries nothing any more: what it carried is an orphan, or is over where
    /// its load came to its end. Returns whether it carried anything.
    pub fn release(&mut self, holder: &Holder, is_over: bool) -> bool {
        let mut released = false;
        for part in self.parts.values_mut() {
            if part.holder == *holder && part.state == State::Carried {
                let is_over = is_over || part.until.is_some();
                part.state = if is_over { State::Over } else { State::Orphan };
                released = true;
            }
        }
        released
    }

    /// Has a process that came back carry again its own share, which was given to others or waits
    /// for somebody. Returns whether it is, and from whom the parts are to be taken.
    pub fn adopt(&mut self, id: u32, holder: &Holder) -> Option<BTreeSet<Holder>> {
        let number = self.division.number;
        let is_own = |part: &&Part| {
            part.holder == *holder && part.share == holder.0 && part.division == number
        };
        let is_whole = self.parts.get(&id).filter(is_own)?.step == 1;
        if !is_whole {
            return None;
        }
        let mut changed = BTreeSet::new();
        for (other, part) in &mut self.parts {
            let is_of_share = part.share == holder.0 && part.division == number;
            if is_of_share && *other != id && part.state != State::Over {
                part.state = State::Over;
                changed.insert(part.holder.clone());
            }
        }
        self.parts.get_mut(&id)?.state = State::Carried;
        Some(changed)
    }

    /// Takes a share back from those who carry parts of it for another worker, from `at` on. Returns
    /// who they are.
    pub fn take_back(&mut self, share: u32, at: Duration) -> BTreeSet<Holder> {
        let mut changed = BTreeSet::new();
        let number = self.division.number;
        let of_share = |part: &&mut Part| part.share == share && part.division == number;
        for part in self.parts.values_mut().filter(of_share) {
            if part.state == State::Carried && part.holder.0 != share && part.until.is_none() {
                part.until = Some(at);
                changed.insert(part.holder.clone());
            }
        }
        changed
    }

    /// Gives out the orphans to the receivers that carry the fewest parts: a whole share in parts,
    /// a part whole. Returns who carries something new, and the shares that are moved.
    pub fn give_out(
        &mut self,
        receivers: &[Receiver],
        terms: Terms,
    ) -> (BTreeSet<Holder>, Vec<Moved>) {
        let (mut changed, mut moved) = (BTreeSet::new(), Vec::new());
        if receivers.is_empty() {
            return (changed, moved);
        }
        let orphans = self.parts.iter();
        let orphans: Vec<u32> = orphans
            .filter(|(_, part)| part.state == State::Orphan)
            .map(|(id, _)| *id)
            .collect();
        let lanes: BTreeSet<u32> = orphans.iter().map(|id| self.parts[id].share).collect();
        for id in orphans {
            let done = self.done(self.parts[&id].share);
            let Some(orphan) = self.parts.get_mut(&id) else {
                continue;
            };
            orphan.state = State::Over;
            let orphan = orphan.clone();
            let mut by_load: Vec<(usize, &Receiver)> = receivers
                .iter()
                .map(|receiver| (self.carried_by(&receiver.holder), receiver))
                .collect();
            by_load.sort_by_key(|(carried, _)| *carried);
            let parts = if orphan.step > 1 {
                1
            } else {
                let most = usize::try_from(terms.most).unwrap_or(usize::MAX);
                receivers.len().min(MOST_PARTS).min(most.max(1))
            };
            for (nth, (_, receiver)) in by_load.into_iter().take(parts).enumerate() {
                let shared = Part {
                    from: terms.from,
                    until: None,
                    catch_up: lanes.len() as u32,
                    arriving: None,
                    holder: receiver.holder.clone(),
                    iterations: 0,
                    state: State::Carried,
                    ..orphan.clone()
                };
                self.add(if orphan.step > 1 {
                    Part {
                        part_done: orphan.part_done + orphan.iterations,
                        ..shared
                    }
                } else {
                    let threads = if terms.one_thread {
                        1
                    } else {
                        receiver.cores.div_ceil(parts as u32).max(1)
                    };
                    Part {
                        first: nth as u32,
                        step: parts as u32,
                        threads,
                        done,
                        ..shared
                    }
                });
                changed.insert(receiver.holder.clone());
            }
            if orphan.step == 1 {
                self.level_threads(orphan.share);
            }
            moved.push(if orphan.step > 1 {
                Moved {
                    share: orphan.share,
                    first: orphan.first,
                    step: orphan.step * orphan.threads.max(1),
                    done: orphan.done,
                    part_done: orphan.part_done + orphan.iterations,
                }
            } else {
                Moved::whole(orphan.share, done)
            });
        }
        (changed, moved)
    }

    /// Gives the parts of a share that was just divided the same number of threads, without which
    /// they would not add up to it.
    fn level_threads(&mut self, share: u32) {
        let is_new = |part: &Part| {
            part.share == share && part.state == State::Carried && part.until.is_none()
        };
        let new = self.parts.values().filter(|part| is_new(part));
        let fewest = new.map(|part| part.threads).min().unwrap_or(1);
        let new = self.parts.values_mut().filter(|part| is_new(part));
        new.for_each(|part| part.threads = fewest);
    }

    fn carried_by(&self, holder: &Holder) -> usize {
        let carried = |part: &&Part| part.holder == *holder && part.state == State::Carried;
        self.parts.values().filter(carried).count()
    }

    /// Tells whether anything of a share is carried by others than `holder`.
    pub fn is_carried_by_others(&self, share: u32, holder: &Holder) -> bool {
        self.current().any(|part| {
            part.share == share && part.state == State::Carried && part.holder != *holder
        })
    }

    /// Tells whether anything was ever given to the process.
    pub fn knows(&self, holder: &Holder) -> bool {
        self.parts.values().any(|part| part.holder == *holder)
    }

    /// Tells whether the process carries anything.
    pub fn carries(&self, holder: &Holder) -> bool {
        self.carried_by(holder) > 0
    }

    /// Tells whether a share was begun and nothing of it is left to be done.
    pub fn is_over(&self, share: u32) -> bool {
        let mut parts = self.current().filter(|part| part.share == share);
        parts.clone().next().is_some() && parts.all(|part| part.state == State::Over)
    }

    /// Tells whether each of the shares up to `shares` was begun and nothing is left to be done.
    pub fn are_over(&self, shares: u32) -> bool {
        let begun: BTreeSet<u32> = self.current().map(|part| part.share).collect();
        (0..shares).all(|share| begun.contains(&share))
            && self.current().all(|part| part.state == State::Over)
    }

    /// Tells whether anything has nobody who carries it.
    pub fn has_orphans(&self) -> bool {
        self.parts.values().any(|part| part.state == State::Orphan)
    }

    /// Iterations of a share that are known to have begun in this division, whoever carried it.
    pub fn iterations(&self, share: u32) -> u64 {
        let of_share = self.current().filter(|part| part.share == share);
        of_share.map(|part| part.iterations).sum()
    }

    /// Lists all that a process is to carry.
    pub fn list(&self, holder: &Holder) -> fleet::Parts {
        let micros = |time: Duration| time.as_micros() as u64;
        let carried = self
            .parts
            .iter()
            .filter(|(_, part)| part.holder == *holder && part.state == State::Carried);
        let parts = carried.map(|(id, part)| fleet::Part {
            id: *id,
            share: part.share,
            first: part.first,
            step: part.step,
            threads: part.threads,
            from_micros: micros(part.from),
            until_micros: part.until.map(micros),
            iterations_done: part.done,
            part_done: part.part_done,
            catch_up: part.catch_up,
            division: self.division_of(part.division, part.workers, part.arriving),
            leaving: part.leaving.map(Pace::written),
        });
        fleet::Parts {
            parts: parts.collect(),
        }
    }

    /// Writes the division that a part with this number is of; none for the first, which every
    /// worker knows.
    fn division_of(
        &self,
        number: u32,
        workers: u32,
        arriving: Option<Pace>,
    ) -> Option<fleet::Division> {
        (number > 0).then(|| fleet::Division {
            number,
            workers,
            most_workers: self.division.most_workers,
            iterations_done: self.division.done,
            arriving: arriving.map(Pace::written),
        })
    }

    /// Writes the division that counts now, for a process that begins a share of it.
    pub fn announced(&self, arriving: Option<Pace>) -> Option<fleet::Division> {
        self.division_of(self.division.number, self.division.workers, arriving)
    }
}

#[cfg(test)]
mod tests;
