//! Gauge of how much of something there is at once, integrated over time between its changes.

use std::time::{Duration, Instant};

use crate::stats::{Concurrency, LEVEL_PARTS, LevelStats};

/// Length of the parts of a second whose largest numbers are kept.
const PART: Duration = Duration::from_millis(1000 / LEVEL_PARTS as u64);

/// Part of the run in which gauges measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Time at which it begins.
    pub(crate) from: Instant,
    /// Time at which it ends, once that is known.
    pub(crate) until: Option<Instant>,
}

/// Number of things that are there, and its integral and peaks over the current second.
#[derive(Debug)]
pub(super) struct Gauge {
    count: u64,
    /// Time up to which the number is integrated.
    since: Instant,
    nanos: u64,
    peaks: [u64; LEVEL_PARTS],
}

impl Gauge {
    /// Creates a gauge that shows 0 from `now` on.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            count: 0,
            since: now,
            nanos: 0,
            peaks: [0; LEVEL_PARTS],
        }
    }

    /// Changes the number at `at`, which lies in the second that begins at `second`.
    pub(super) fn set(&mut self, count: u64, at: Instant, second: Instant, window: Window) {
        self.advance(at, second, window);
        self.count = count;
        if self.since >= window.from && window.until.is_none_or(|until| self.since < until) {
            self.raise(self.since, second);
        }
    }

    /// Returns the number.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Integrates up to `at`. A time before that of the last change counts as that.
    fn advance(&mut self, at: Instant, second: Instant, window: Window) {
        let from = self.since.max(window.from);
        let until = window.until.map_or(at, |until| until.min(at));
        self.since = self.since.max(at);
        let Some(time) = until
            .checked_duration_since(from)
            .filter(|time| !time.is_zero())
        else {
            return;
        };
        if self.count > 0 {
            // nanoseconds of one second, times at most some million things
            self.nanos += time.as_nanos() as u64 * self.count;
            let mut part = from;
            while part < until {
                self.raise(part, second);
                part += PART;
            }
            self.raise(until - Duration::from_nanos(1), second);
        }
    }

    /// Raises the peak of the part in which `at` lies to the current number.
    fn raise(&mut self, at: Instant, second: Instant) {
        let part = at.saturating_duration_since(second).as_nanos() / PART.as_nanos();
        let peak = &mut self.peaks[(part as usize).min(LEVEL_PARTS - 1)];
        *peak = self.count.max(*peak);
    }

    /// Takes what was measured of the second that begins at `second` up to `until`.
    pub(super) fn take(&mut self, until: Instant, second: Instant, window: Window) -> LevelStats {
        self.advance(until, second, window);
        let micros = self.nanos / 1000;
        self.nanos %= 1000;
        LevelStats::new(micros, std::mem::take(&mut self.peaks))
    }
}

/// Things that are there at once.
pub(super) struct Gauges {
    /// Requests in flight.
    pub(super) in_flight: Gauge,
    /// Users alive.
    pub(super) users: Gauge,
    /// Slots of open load with an iteration.
    pub(super) slots: Gauge,
}

impl Gauges {
    /// Creates gauges that show 0 from `now` on.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            in_flight: Gauge::new(now),
            users: Gauge::new(now),
            slots: Gauge::new(now),
        }
    }

    /// Takes what was measured of the second that begins at `second` up to `until`.
    pub(super) fn take(&mut self, until: Instant, second: Instant, window: Window) -> Concurrency {
        Concurrency {
            in_flight: self.in_flight.take(until, second, window),
            users: self.users.take(until, second, window),
            slots: self.slots.take(until, second, window),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn time_is_integrated_between_changes_and_only_within_the_window() {
        let zero = Instant::now();
        let window = Window {
            from: zero + millis(100),
            until: Some(zero + millis(900)),
        };
        let mut gauge = Gauge::new(zero);
        for (at, count) in [(50, 7), (150, 2), (250, 0), (800, 1), (950, 9)] {
            gauge.set(count, zero + millis(at), zero, window);
        }
        let level = gauge.take(zero + millis(1000), zero, window);
        assert_eq!(level.micros, (50 * 7 + 100 * 2 + 100) * 1000);
        assert_eq!(level.most(), 7);
        let next = gauge.take(zero + millis(2000), zero + millis(1000), window);
        assert_eq!(next, LevelStats::default());
    }

    #[test]
    fn one_that_is_there_for_no_time_was_there() {
        let zero = Instant::now();
        let window = Window {
            from: zero,
            until: None,
        };
        let mut gauge = Gauge::new(zero);
        gauge.set(1, zero, zero, window);
        gauge.set(0, zero, zero, window);
        // a clock that was read earlier takes nothing back
        gauge.set(1, zero + millis(20), zero, window);
        gauge.set(0, zero + millis(10), zero, window);
        let level = gauge.take(zero + millis(1000), zero, window);
        assert_eq!((level.micros, level.most()), (0, 1));
    }

    #[test]
    fn what_stays_over_seconds_is_in_each() {
        let zero = Instant::now();
        let window = Window {
            from: zero,
            until: None,
        };
        let mut gauge = Gauge::new(zero);
        gauge.set(3, zero + millis(500), zero, window);
        let first = gauge.take(zero + millis(1000), zero, window);
        let second = gauge.take(zero + millis(2000), zero + millis(1000), window);
        assert_eq!((first.micros, second.micros), (1_500_000, 3_000_000));
        assert_eq!((first.most(), second.most()), (3, 3));
        let mut two = second.clone();
        two.merge(&first);
        assert_eq!(two.most(), 6, "both were there in the later half");
    }
}
