//! Parts of the load, and the processes that carry them. A share is carried whole by its own worker, or in parts by
//! others when that is lost; it goes back to its worker's replacement. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::roster::Holder;
use crate::plan::{Load, Plan, Population};
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

/// All parts that were ever given to anybody.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    parts: BTreeMap<u32, Part>,
    next: u32,
    counting: Counting,
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
    /// Begins with nothing given out.
    pub fn new(plan: &Plan) -> Self {
        let is_counted = |population: &Population| matches!(population.load, Load::Iterations(_));
        let counting = match &plan.populations[..] {
            [only] if is_counted(only) => Counting::First,
            populations if populations.iter().any(is_counted) => Counting::Any,
            _ => Counting::Idle,
        };
        Self {
            counting,
            ..Self::default()
        }
    }

    /// Iterations of a share that a process which begins it need not carry out.
    pub fn done(&self, share: u32) -> u64 {
        match (self.counting, self.iterations(share)) {
            (Counting::Idle, _) | (_, 0) => 0,
            (Counting::First, done) => done,
            (Counting::Any, _) => u64::MAX,
        }
    }

    /// Gives a whole share to the process of its worker. Returns the number of the part.
    pub fn begin(&mut self, holder: &Holder, from: Duration) -> u32 {
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
        let is_new = !self.parts.contains_key(&reported.id);
        if is_new && !state.over && reported.step == 1 && reported.share == holder.0 {
            // it was given its share after all that is known
            let parts = self.parts.values_mut();
            parts
                .filter(|part| part.share == holder.0)
                .for_each(|part| part.state = State::Over);
        }
        let part = self.parts.entry(reported.id).or_insert_with(|| Part {
            share: reported.share,
            first: reported.first,
            step: reported.step.max(1),
            threads: reported.threads,
            from: Duration::ZERO,
            until: None,
            done: reported.iterations_done,
            part_done: reported.part_done,
            catch_up: 0,
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
        let is_own = |part: &&Part| part.holder == *holder && part.share == holder.0;
        let is_whole = self.parts.get(&id).filter(is_own)?.step == 1;
        if !is_whole {
            return None;
        }
        let mut changed = BTreeSet::new();
        for (other, part) in &mut self.parts {
            if part.share == holder.0 && *other != id && part.state != State::Over {
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
        for part in self.parts.values_mut().filter(|part| part.share == share) {
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
        self.parts.values().any(|part| {
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
        let mut parts = self.parts.values().filter(|part| part.share == share);
        parts.clone().next().is_some() && parts.all(|part| part.state == State::Over)
    }

    /// Tells whether each of the shares up to `shares` was begun and nothing is left to be done.
    pub fn are_over(&self, shares: u32) -> bool {
        let begun: BTreeSet<u32> = self.parts.values().map(|part| part.share).collect();
        (0..shares).all(|share| begun.contains(&share))
            && self.parts.values().all(|part| part.state == State::Over)
    }

    /// Tells whether anything has nobody who carries it.
    pub fn has_orphans(&self) -> bool {
        self.parts.values().any(|part| part.state == State::Orphan)
    }

    /// Iterations of a share that are known to have begun, whoever carried it.
    pub fn iterations(&self, share: u32) -> u64 {
        let of_share = self.parts.values().filter(|part| part.share == share);
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
        });
        fleet::Parts {
            parts: parts.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(index: u32) -> Holder {
        (index, "a".into())
    }

    fn receivers(indexes: &[u32]) -> Vec<Receiver> {
        let receiver = |index: &u32| Receiver {
            holder: holder(*index),
            cores: 1 + index % 2,
        };
        indexes.iter().map(receiver).collect()
    }

    fn terms() -> Terms {
        Terms {
            from: Duration::from_secs(5),
            most: 100,
            one_thread: false,
        }
    }

    fn begun(workers: u32) -> Shares {
        let mut shares = Shares::default();
        for index in 0..workers {
            shares.begin(&holder(index), Duration::ZERO);
        }
        shares
    }

    fn state(part: &fleet::Part, iterations: u64, over: bool, cut: bool) -> fleet::PartState {
        fleet::PartState {
            part: Some(*part),
            iterations,
            over,
            cut,
        }
    }

    /// Threads of `share` that are carried, out of how many.
    fn threads(shares: &Shares, share: u32) -> Vec<(u32, u32)> {
        let carried = shares.parts.values();
        let carried = carried.filter(|part| part.share == share && part.state == State::Carried);
        let mut threads: Vec<_> = carried
            .flat_map(|part| {
                let of = part.step * part.threads;
                (0..part.threads).map(move |nth| (part.first + nth * part.step, of))
            })
            .collect();
        threads.sort_unstable();
        threads
    }

    #[test]
    fn a_lost_share_is_divided_among_the_others_without_gap_or_overlap() {
        let mut shares = begun(4);
        assert!(shares.release(&holder(1), false));
        let (changed, moved) = shares.give_out(&receivers(&[0, 2, 3]), terms());
        assert_eq!(changed, [holder(0), holder(2), holder(3)].into());
        assert_eq!(moved, [Moved::whole(1, 0)]);
        assert_eq!(threads(&shares, 1), [(0, 3), (1, 3), (2, 3)]);
        assert!(!shares.has_orphans());
        // the part of one that is lost later goes to one of the rest, whole
        shares.release(&holder(2), false);
        shares.give_out(&receivers(&[0, 3]), terms());
        assert_eq!(threads(&shares, 1), [(0, 3), (1, 3), (2, 3)]);
        assert_eq!(threads(&shares, 2), [(0, 2), (1, 2)]);
    }

    #[test]
    fn a_share_goes_back_to_the_replacement_of_its_worker() {
        let mut shares = begun(2);
        shares.release(&holder(1), false);
        shares.give_out(&receivers(&[0]), terms());
        let at = Duration::from_secs(9);
        assert_eq!(shares.take_back(1, at), [holder(0)].into());
        let replacement = (1, "b".into());
        shares.begin(&replacement, at);
        let lists = [&holder(0), &replacement].map(|holder| shares.list(holder).parts);
        let of_share = |parts: &[fleet::Part]| parts.iter().find(|p| p.share == 1).copied();
        let (given, back) = (of_share(&lists[0]).unwrap(), of_share(&lists[1]).unwrap());
        assert_eq!(given.until_micros, Some(back.from_micros));
        assert!(shares.report(&holder(0), &state(&given, 0, true, true)));
        assert!(!shares.has_orphans(), "it was handed over");
        assert_eq!(shares.list(&holder(0)).parts.len(), 1);
    }

    #[test]
    fn iterations_are_counted_by_share_whoever_began_them() {
        let mut shares = begun(2);
        shares.counting = Counting::First;
        let own = shares.list(&holder(1)).parts[0];
        assert!(shares.report(&holder(1), &state(&own, 40, false, false)));
        shares.release(&holder(1), false);
        shares.give_out(&receivers(&[0]), terms());
        let given = shares.list(&holder(0)).parts[1];
        assert_eq!((given.share, given.iterations_done), (1, 40));
        shares.report(&holder(0), &state(&given, 25, false, false));
        assert_eq!(shares.iterations(1), 65);
        assert_eq!(shares.iterations(0), 0);
    }

    #[test]
    fn a_part_that_its_worker_stopped_is_given_to_others_and_one_that_ended_is_not() {
        let mut shares = begun(2);
        let parts = [0, 1].map(|index| shares.list(&holder(index)).parts[0]);
        shares.report(&holder(0), &state(&parts[0], 9, true, false));
        shares.report(&holder(1), &state(&parts[1], 9, true, true));
        assert!(shares.is_over(0) && !shares.is_over(1));
        assert!(shares.has_orphans());
    }

    #[test]
    fn a_process_that_comes_back_after_its_share_was_given_away_carries_it_alone() {
        let mut shares = begun(3);
        let own = shares.list(&holder(1)).parts[0];
        shares.release(&holder(1), false);
        shares.give_out(&receivers(&[0, 2]), terms());
        assert!(!shares.report(&holder(1), &state(&own, 3, false, false)));
        let changed = shares.adopt(own.id, &holder(1)).unwrap();
        assert!(changed.contains(&holder(0)) && changed.contains(&holder(2)));
        assert_eq!(shares.list(&holder(1)).parts, [own]);
        assert!(!shares.is_carried_by_others(1, &holder(1)));
    }

    #[test]
    fn a_share_that_went_back_after_the_last_checkpoint_is_carried_once() {
        let mut shares = begun(2);
        shares.release(&holder(1), false);
        shares.give_out(&receivers(&[0]), terms());
        let mut after = shares.clone();
        after.take_back(1, Duration::from_secs(9));
        let replacement = (1, "b".into());
        after.begin(&replacement, Duration::from_secs(9));
        // a master goes on with what it knew before
        let back = after.list(&replacement).parts[0];
        assert!(shares.report(&replacement, &state(&back, 0, false, false)));
        assert_eq!(shares.list(&holder(0)).parts.len(), 1);
        let given = after.list(&holder(0)).parts[1];
        assert!(shares.report(&holder(0), &state(&given, 0, true, true)));
        assert!(!shares.has_orphans());
    }

    #[test]
    fn a_master_that_knows_nothing_learns_it_from_the_workers() {
        let mut before = begun(3);
        before.release(&holder(1), false);
        before.give_out(&receivers(&[0, 2]), terms());
        let mut after = Shares::default();
        for index in [0, 2] {
            for part in before.list(&holder(index)).parts {
                assert!(after.report(&holder(index), &state(&part, 1, false, false)));
            }
        }
        assert_eq!(threads(&after, 1), [(0, 2), (1, 2)]);
        assert!(after.begin(&(1, "b".into()), Duration::ZERO) > before.next);
    }
}
