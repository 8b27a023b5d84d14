//! The share a worker carries out, and everything it has measured since it began.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::engine::{Delta, Running, Supply, Usage};
use crate::plan::{Level, Levels};
use crate::stats::Snapshot;
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

/// A share that was started; lives until the worker does.
pub struct Work {
    running: Running,
    start: Instant,
    started_at: Timestamp,
    seed: u64,
    workers: u32,
    /// Everything measured so far.
    cumulative: Snapshot,
    /// Seconds that are over, until it is time to hand them over.
    held: Vec<fleet::Delta>,
    /// Interval at which they are handed over.
    interval: Interval,
    /// Newest format of snapshots that the master reads.
    format: u64,
    /// Counts of every second so far.
    seconds: Vec<fleet::SecondCount>,
    /// The load is over.
    last: bool,
    /// Time from the run's zero to the end of the load, once it is over.
    length: Option<Duration>,
    /// The newest announcement of levels.
    levels: Option<fleet::Levels>,
    /// Time at which the load ended.
    over_since: Option<Instant>,
}

impl Work {
    /// Wraps a share that starts at `start`, or has started.
    pub fn new(
        running: Running,
        start: Instant,
        seed: u64,
        workers: u32,
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
            cumulative: Snapshot::default(),
            held: Vec::new(),
            interval,
            format: 0,
            seconds: Vec::new(),
            last: false,
            length: None,
            levels: None,
            over_since: None,
        }
    }

    /// Waits for the samples of the next interval, already added to the whole. Pends for ever when
    /// nothing more comes. Cancel safe.
    pub async fn next(&mut self) -> Vec<fleet::Delta> {
        while let Some(delta) = self.running.next_delta().await {
            let delta = self.take(delta);
            let is_due = delta.last || self.interval.ends_with(delta.second);
            self.held.push(delta);
            if is_due {
                return std::mem::take(&mut self.held);
            }
        }
        std::future::pending().await
    }

    /// Adds a second to the whole and writes it as a message.
    fn take(&mut self, delta: Delta) -> fleet::Delta {
        let Delta {
            second,
            snapshot,
            last,
            length,
        } = delta;
        self.cumulative.follow(&snapshot);
        self.seconds.push(fleet::SecondCount {
            second,
            requests: snapshot.requests(),
            failures: snapshot.failures(),
            users: snapshot.users,
        });
        if last {
            self.last = true;
            self.length = length;
            self.over_since = Some(Instant::now());
        }
        // an empty text on the wire means that nothing failed
        let failure = self.running.failure().unwrap_or_default().to_owned();
        fleet::Delta {
            second,
            snapshot: snapshot.encode_as(self.format),
            last,
            failure,
            length_micros: length.map(micros),
            feeders: self.usage(),
        }
    }

    /// Sets the newest format of snapshots that the master reads.
    pub fn write_for(&mut self, format: u64) {
        self.format = format;
    }

    /// Everything measured, what was held back included.
    pub fn cumulative(&mut self) -> fleet::Cumulative {
        self.held.clear();
        let elapsed = match self.start.checked_duration_since(Instant::now()) {
            Some(ahead) => -(ahead.as_micros() as i64),
            None => self.start.elapsed().as_micros() as i64,
        };
        fleet::Cumulative {
            through_second: self.seconds.last().map(|point| point.second),
            snapshot: self.cumulative.encode_as(self.format),
            seconds: self.seconds.clone(),
            last: self.last,
            elapsed_micros: elapsed,
            started_unix_micros: self.started_unix_micros(),
            seed: self.seed,
            workers: self.workers,
            length_micros: self.length.map(micros),
            levels: self.levels.clone(),
            feeders: self.usage(),
            // the worker adds them
            one_offs: vec![],
        }
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
        self.last
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
