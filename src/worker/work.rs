//! The share a worker carries out, and everything it has measured since it began.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::backlog::{Backlog, Kept};
use crate::engine::{Delta, Moving, Part, PartProgress, Running, Supply, Usage};
use crate::plan::{Level, Levels, LoadChange, LoadChanges};
use crate::wire::fleet;

/// Interval at which samples are handed over.
#[derive(Debug, Clone, Copy)]
pub struct Interval {
    seconds: u32,
    /// Second of the interval in which this worker hands over, so that the master does not hear
    /// from all at once.
    turn: u32,
}

impl Interval {
    /// Gives `worker` its turn. An interval of 0 seconds is taken for 1.
    pub fn new(seconds: u32, worker: u32) -> Self {
        let seconds = seconds.max(1);
        Self {
            seconds,
            turn: worker % seconds,
        }
    }

    /// Tells whether the interval ends with this second.
    fn ends_with(self, second: u32) -> bool {
        second % self.seconds == self.turn
    }
}

/// Most threads of a part.
const MOST_THREADS: u32 = 256;
/// The parts of shares that were started, and what they measured; lives until the worker does.
pub struct Work {
    running: Running,
    start: Instant,
    started_at: Timestamp,
    seed: u64,
    workers: u32,
    /// Division of the load that each part is of; none for that of the start.
    divisions: BTreeMap<u32, fleet::Division>,
    /// Threads of a part for which the master names no number.
    threads: u32,
    /// Everything measured so far.
    backlog: Backlog,
    /// Interval at which they are handed over.
    interval: Interval,
    /// Newest format of snapshots that the master reads.
    format: u64,
    /// The newest announcement of levels.
    levels: Option<fleet::Levels>,
    /// The newest list of changes of load by hand.
    changes: Option<fleet::LoadChanges>,
    /// The newest announcement of workers that are gone.
    losses: Option<fleet::Losses>,
    /// Time at which the load ended, if it is over.
    over_since: Option<Instant>,
}

impl Work {
    /// Wraps load that starts at `start`, or has started, as `share` with `threads` threads.
    pub fn new(
        running: Running,
        start: Instant,
        seed: u64,
        (workers, threads): (u32, u32),
        interval: Interval,
    ) -> Self {
        let ahead = start.saturating_duration_since(Instant::now());
        // a worker that joins late starts now, not at the profile's zero
        let started_at = Timestamp::now() + ahead;
        Self {
            running,
            start,
            started_at,
            seed,
            workers,
            divisions: BTreeMap::new(),
            threads,
            backlog: Backlog::default(),
            interval,
            format: 0,
            levels: None,
            changes: None,
            losses: None,
            over_since: None,
        }
    }

    /// Waits until samples are to be handed over. Pends for ever when nothing more comes. Cancel
    /// safe.
    pub async fn next(&mut self) {
        while let Some(delta) = self.running.next_delta().await {
            let is_due = delta.last || self.interval.ends_with(delta.second);
            self.keep(delta);
            if is_due {
                return;
            }
        }
        std::future::pending().await
    }

    /// Keeps a second until it is acknowledged, or too many others came after it.
    fn keep(&mut self, delta: Delta) {
        let Delta {
            second,
            snapshot,
            last,
            length,
        } = delta;
        self.over_since = last.then(Instant::now);
        let parts = self.running.parts().map(|state| self.written(state));
        let kept = Kept {
            second,
            snapshot,
            last,
            // an empty text on the wire means that nothing failed
            failure: self.running.failure().unwrap_or_default().to_owned(),
            length,
            feeders: self.usage(),
            parts: parts.collect(),
        };
        self.backlog.keep(kept);
    }

    /// Takes in that a master holds everything up to `second`.
    pub fn acknowledge(&mut self, second: u32) {
        self.backlog.acknowledge(second);
    }

    /// Tells whether a master holds everything that was measured.
    pub fn is_acknowledged(&self) -> bool {
        self.backlog.is_empty()
    }

    /// Writes the seconds that were not handed over on this connection.
    pub fn unsent(&mut self) -> Vec<fleet::Delta> {
        self.backlog.unsent(self.format)
    }

    /// Sets the newest format of snapshots that the master reads.
    pub fn write_for(&mut self, format: u64) {
        self.format = format;
    }

    /// Writes what comes first on a connection: the sum of all that any master has acknowledged.
    /// The seconds after it follow, as [`unsent`](Self::unsent).
    pub fn cumulative(&mut self) -> fleet::Cumulative {
        let elapsed = match self.start.checked_duration_since(Instant::now()) {
            Some(ahead) => -(ahead.as_micros() as i64),
            None => self.start.elapsed().as_micros() as i64,
        };
        self.backlog.begin_again();
        let base = self.backlog.base();
        let parts = self.running.parts().filter_map(|now| {
            let then = base.parts.iter().find(|state| id_of(state) == now.id);
            let (iterations, was_over) =
                then.map_or((0, false), |state| (state.iterations, state.over));
            // that it is over comes with the seconds in which it ended
            (now.over == was_over).then(|| self.written(PartProgress { iterations, ..now }))
        });
        let parts = parts.collect();
        fleet::Cumulative {
            through_second: base.seconds.last().map(|point| point.second),
            snapshot: base.snapshot.encode_as(self.format),
            seconds: base.seconds.clone(),
            last: base.last,
            elapsed_micros: elapsed,
            started_unix_micros: self.started_unix_micros(),
            seed: self.seed,
            workers: self.workers,
            length_micros: base.length.map(micros),
            levels: self.levels.clone(),
            load_changes: self.changes.clone(),
            feeders: self.usage(),
            parts,
            folded: base.folded,
            losses: self.losses.clone(),
            // the worker adds them
            one_offs: vec![],
        }
    }

    /// Carries the listed parts, and no others.
    pub fn carry(&mut self, parts: &[fleet::Part]) {
        let begun: Vec<PartProgress> = self.running.parts().collect();
        for state in begun.iter().filter(|state| !state.over) {
            match parts.iter().find(|part| part.id == state.id) {
                None => self.running.stop_part(state.id),
                Some(part) => {
                    if let Some(at) = part.until_micros.and_then(|at| self.at(at)) {
                        let pace = part.leaving.as_ref().map(moving);
                        self.running.hand_over(state.id, at, pace);
                    }
                }
            }
        }
        for wanted in parts {
            if begun.iter().any(|state| state.id == wanted.id) || wanted.step == 0 {
                continue;
            }
            let threads = match wanted.threads {
                0 => self.threads,
                threads => threads.min(MOST_THREADS),
            };
            let part = Part {
                share: wanted.share,
                first: wanted.first,
                step: wanted.step,
                done: wanted.iterations_done,
                part_done: wanted.part_done,
                catch_up: wanted.catch_up,
                ..whole_share(self.workers, threads, wanted.division.as_ref())
            };
            let Some(from) = self.at(wanted.from_micros) else {
                continue;
            };
            tracing::info!(
                share = part.share,
                first = part.first,
                of = part.step,
                "taking on"
            );
            self.note_division(wanted.id, wanted.division);
            self.running.take_on(wanted.id, part, from);
            self.over_since = None;
        }
    }

    /// Keeps the division that a part is of, which is told with its state.
    pub fn note_division(&mut self, id: u32, division: Option<fleet::Division>) {
        if let Some(division) = division {
            // how its users came is over soon
            let division = fleet::Division {
                arriving: None,
                ..division
            };
            self.divisions.insert(id, division);
        }
    }

    /// The moment at a time since the run's zero; `None` beyond what a clock can show.
    fn at(&self, micros: u64) -> Option<Instant> {
        self.start.checked_add(Duration::from_micros(micros))
    }

    fn written(&self, state: PartProgress) -> fleet::PartState {
        let PartProgress {
            id,
            part,
            iterations,
            over,
            cut,
        } = state;
        let part = fleet::Part {
            id,
            share: part.share,
            first: part.first,
            step: part.step,
            threads: part.threads,
            iterations_done: part.done,
            part_done: part.part_done,
            division: self.divisions.get(&id).copied(),
            ..fleet::Part::default()
        };
        fleet::PartState {
            part: Some(part),
            iterations,
            over,
            cut,
        }
    }

    /// Keeps the list of workers that are gone, for a master that knows less.
    pub fn remember_losses(&mut self, losses: fleet::Losses) {
        self.losses = Some(losses);
    }

    /// Goes on at these levels of a search.
    pub fn follow(&mut self, announced: fleet::Levels) {
        let level = |level: &fleet::Level| Level {
            at: Duration::from_micros(level.at_micros),
            rate: level.rate,
        };
        let (valid, invalid): (Vec<_>, Vec<_>) = announced
            .levels
            .iter()
            .partition(|level| level.rate.is_finite() && level.rate >= 0.0);
        if !invalid.is_empty() {
            tracing::error!("left out levels whose rate is no rate: {invalid:?}");
        }
        let levels = valid.into_iter().map(level).collect();
        self.running.follow(Levels {
            levels,
            end: announced.end_micros.map(Duration::from_micros),
        });
        self.levels = Some(announced);
    }

    /// Carries the load on as these changes by hand make it.
    pub fn change_load(&mut self, announced: fleet::LoadChanges) {
        self.running.change_load(read_changes(&announced));
        self.note_changes(Some(announced));
    }

    /// Keeps the changes of load with which the work began, for a master that knows less.
    pub fn note_changes(&mut self, announced: Option<fleet::LoadChanges>) {
        self.changes = announced.or(self.changes.take());
    }

    /// Rows that the master leases to this worker.
    pub fn supply(&self) -> &Arc<Supply> {
        self.running.supply()
    }

    fn usage(&self) -> Vec<fleet::FeederUsage> {
        let usage = self.supply().usage().into_iter();
        usage
            .map(
                |Usage {
                     feeder,
                     leased,
                     used,
                     reserved,
                 }| fleet::FeederUsage {
                    feeder: feeder.into(),
                    leased,
                    used,
                    reserved,
                },
            )
            .collect()
    }

    /// Start of the load, in microseconds since the epoch.
    pub fn started_unix_micros(&self) -> i64 {
        self.started_at.as_microsecond()
    }

    /// Tells whether the load is over.
    pub fn is_over(&self) -> bool {
        self.over_since.is_some()
    }

    /// Time since the load ended; zero while it goes on.
    pub fn over_for(&self, now: Instant) -> Duration {
        self.over_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Stops the load; `at_once` cuts running iterations instead of letting them end.
    pub fn stop(&mut self, at_once: bool) {
        if at_once {
            self.running.cut();
        } else {
            self.running.stop();
        }
    }
}

/// Returns the whole of share 0 of a division, or of the first one, which has `workers` shares.
pub fn whole_share(workers: u32, threads: u32, division: Option<&fleet::Division>) -> Part {
    let first = fleet::Division {
        workers,
        ..fleet::Division::default()
    };
    let division = division.unwrap_or(&first);
    Part {
        share: 0,
        workers: division.workers.max(1),
        first: 0,
        step: 1,
        threads,
        done: 0,
        part_done: 0,
        catch_up: 0,
        most_workers: division.most_workers,
        moving: division.arriving.as_ref().map(moving),
    }
}

/// Reads changes of load by hand as they are on the wire. Those to what is no level are left out.
pub fn read_changes(announced: &fleet::LoadChanges) -> LoadChanges {
    let change = |change: &fleet::LoadChange| LoadChange {
        at: Duration::from_micros(change.at_micros),
        population: u16::try_from(change.population).unwrap_or(u16::MAX),
        level: change.level,
    };
    let changes = announced.changes.iter().map(change);
    changes.filter(LoadChange::is_valid).collect()
}

fn moving(pace: &fleet::Moving) -> Moving {
    Moving {
        window: Duration::from_micros(pace.window_micros),
        lag: Duration::from_micros(pace.lag_micros),
    }
}

fn id_of(state: &fleet::PartState) -> u32 {
    // a worker writes no state without its part
    state.part.map_or(0, |part| part.id)
}

fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_of_a_large_fleet_take_turns_and_each_hands_over_once_in_an_interval() {
        for worker in 0..12 {
            let interval = Interval::new(5, worker);
            let due: Vec<u32> = (0..20)
                .filter(|second| interval.ends_with(*second))
                .collect();
            assert_eq!(
                due,
                (0..4).map(|turn| turn * 5 + worker % 5).collect::<Vec<_>>()
            );
        }
        // a master that does not say wants every second
        assert!((0..9).all(|second| Interval::new(0, 3).ends_with(second)));
    }
}
