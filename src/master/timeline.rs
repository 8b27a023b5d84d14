//! The run second by second: what all workers together measured in each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stats::result::SeriesPoint;
use crate::stats::{Concurrency, Snapshot};

/// Most points of a series; when it is full, two neighbours become one.
const MAX_POINTS: usize = 1200;

/// Intervals of the workers after which a second that nobody delivered is not waited for any more,
/// in what is shown of a run that goes on.
const PATIENCE: u32 = 3;

/// Seconds in the making, and the finished series.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Timeline {
    /// Time after which the newest second is old, in seconds.
    patience: u32,
    open: BTreeMap<u32, Second>,
    points: Vec<SeriesPoint>,
    /// Run seconds that one point stands for; a power of two.
    resolution: u32,
    completed_through: Option<u32>,
    /// Requests that came in after their second was complete; they count in the totals.
    late: u64,
    /// Largest numbers of requests in flight, users and busy slots in the complete seconds.
    #[serde(default)]
    most: [u64; 3],
}

/// A second of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Samples that were delivered.
    #[serde(with = "super::checkpoint::samples")]
    pub snapshot: Snapshot,
    /// Requests, failures and users of which only their number is known.
    pub counted: [u64; 3],
}

impl Second {
    /// Tells whether samples are missing that were taken.
    pub fn lacks_samples(&self) -> bool {
        self.counted != [0; 3]
    }

    fn point(&self, second: u32) -> SeriesPoint {
        let [requests, failures, users] = self.counted;
        let mut point = SeriesPoint::of(second, &self.snapshot);
        point.requests += requests;
        point.failures += failures;
        point.users += users;
        point
    }
}

impl Default for Timeline {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Timeline {
    /// Begins an empty series. `interval` is the time between two deliveries of a worker, in
    /// seconds.
    pub fn new(interval: u32) -> Self {
        Self {
            patience: PATIENCE * interval,
            open: BTreeMap::new(),
            points: Vec::new(),
            resolution: 0,
            completed_through: None,
            late: 0,
            most: [0; 3],
        }
    }

    /// Adds one worker's part of `second`.
    pub fn add(&mut self, second: u32, snapshot: &Snapshot) {
        if self.is_complete(second) {
            self.late += snapshot.requests();
        } else {
            self.open
                .entry(second)
                .or_default()
                .snapshot
                .merge(snapshot);
        }
    }

    /// Adds one worker's part of `second` of which only counts are left.
    pub fn restore(&mut self, second: u32, requests: u64, failures: u64, users: u64) {
        if self.is_complete(second) {
            self.late += requests;
            return;
        }
        let counted = &mut self.open.entry(second).or_default().counted;
        for (sum, more) in counted.iter_mut().zip([requests, failures, users]) {
            *sum += more;
        }
    }

    fn is_complete(&self, second: u32) -> bool {
        let through = self.completed_through;
        through.is_some_and(|through| second <= through)
    }

    /// Completes every second before `end`, and gives them back in their order.
    pub fn complete(&mut self, end: u32) -> Vec<(u32, Second)> {
        let later = self.open.split_off(&end);
        let complete = std::mem::replace(&mut self.open, later);
        for (second, found) in &complete {
            self.push(found.point(*second));
            self.completed_through = Some(*second);
            let Concurrency {
                in_flight,
                users,
                slots,
            } = &found.snapshot.concurrency;
            for (most, level) in self.most.iter_mut().zip([in_flight, users, slots]) {
                *most = level.most().max(*most);
            }
        }
        complete.into_iter().collect()
    }

    /// Largest numbers of requests in flight, users and busy slots at once in the complete seconds.
    pub fn most_at_once(&self) -> Concurrency {
        let mut at_once = Concurrency::default();
        let Concurrency {
            in_flight,
            users,
            slots,
        } = &mut at_once;
        for (level, most) in [in_flight, users, slots].into_iter().zip(self.most) {
            level.set_most(most);
        }
        at_once
    }

    /// The newest second before `end`, complete or not.
    pub fn latest(&self, end: u32) -> Option<SeriesPoint> {
        let open = self.open.range(..end).next_back();
        open.map(|(second, found)| found.point(*second))
            .or_else(|| self.points.last().copied())
    }

    /// Tells whether `second` lies so far before `elapsed` seconds of the run that later ones would
    /// be there if anybody delivered them.
    pub fn is_past(&self, second: u32, elapsed: u64) -> bool {
        elapsed > u64::from(second) + 2 + 2 * u64::from(self.patience)
    }

    /// The series so far.
    pub fn points(&self) -> &[SeriesPoint] {
        &self.points
    }

    /// Requests whose data came after their second was complete.
    pub fn late(&self) -> u64 {
        self.late
    }

    fn push(&mut self, point: SeriesPoint) {
        let resolution = self.resolution.max(1);
        match self.points.last_mut() {
            Some(last) if last.second / resolution == point.second / resolution => {
                *last = joined(*last, point)
            }
            _ => self.points.push(point),
        }
        if self.points.len() >= MAX_POINTS {
            self.halve();
        }
    }

    fn halve(&mut self) {
        self.resolution = self.resolution.max(1) * 2;
        let mut thinned: Vec<SeriesPoint> = Vec::with_capacity(MAX_POINTS);
        for point in self.points.drain(..) {
            match thinned.last_mut() {
                Some(last) if last.second / self.resolution == point.second / self.resolution => {
                    *last = joined(*last, point)
                }
                _ => thinned.push(point),
            }
        }
        self.points = thinned;
    }
}

/// Joins two points. Counts add up; of percentiles, which do not, the worse one is shown.
fn joined(a: SeriesPoint, b: SeriesPoint) -> SeriesPoint {
    SeriesPoint {
        second: a.second,
        requests: a.requests + b.requests,
        failures: a.failures + b.failures,
        users: a.users.max(b.users),
        p50: a.p50.max(b.p50),
        p95: a.p95.max(b.p95),
        p99: a.p99.max(b.p99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{LEVEL_PARTS, LevelStats, StepStats};

    fn requests(count: u64) -> Snapshot {
        Snapshot {
            steps: [(
                0,
                StepStats {
                    requests: count,
                    ..StepStats::default()
                },
            )]
            .into(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn seconds_are_complete_when_they_are_said_to_be_and_later_parts_are_late() {
        let mut timeline = Timeline::default();
        timeline.add(0, &requests(1));
        timeline.add(1, &requests(4));
        timeline.add(0, &requests(2));
        assert!(timeline.complete(0).is_empty());
        assert_eq!(timeline.latest(1).unwrap().requests, 3);
        let complete = timeline.complete(1);
        assert_eq!((complete.len(), complete[0].1.snapshot.requests()), (1, 3));
        timeline.add(0, &requests(5));
        timeline.restore(0, 2, 0, 0);
        assert_eq!((timeline.points()[0].requests, timeline.late()), (3, 7));
        assert_eq!(timeline.latest(2).unwrap().requests, 4);
    }

    #[test]
    fn a_second_of_which_a_part_is_only_counted_says_so() {
        let mut timeline = Timeline::default();
        timeline.add(0, &requests(1));
        timeline.restore(0, 4, 2, 3);
        timeline.add(1, &requests(1));
        let complete = timeline.complete(u32::MAX);
        let lacking: Vec<bool> = complete.iter().map(|(_, s)| s.lacks_samples()).collect();
        assert_eq!(lacking, [true, false]);
        let point = timeline.points()[0];
        assert_eq!((point.requests, point.failures, point.users), (5, 2, 3));
    }

    #[test]
    fn a_second_after_which_nobody_delivers_is_past_some_seconds_later() {
        let timeline = Timeline::default();
        assert!(!timeline.is_past(10, 18));
        assert!(timeline.is_past(10, 19));
    }

    #[test]
    fn the_largest_number_of_a_fleet_is_that_of_a_moment_not_the_sum_of_each_ones() {
        let busy = |at: usize, most: u64| {
            let mut peaks = [0; LEVEL_PARTS];
            peaks[at] = most;
            let in_flight = LevelStats::new(most * 1000, peaks);
            Snapshot {
                concurrency: Concurrency {
                    in_flight,
                    ..Concurrency::default()
                },
                ..Snapshot::default()
            }
        };
        let mut timeline = Timeline::default();
        // two workers, one busy early in the second, the other late; both at once in the next
        timeline.add(0, &busy(1, 7));
        timeline.add(0, &busy(8, 6));
        timeline.add(1, &busy(3, 4));
        timeline.add(1, &busy(3, 4));
        timeline.complete(u32::MAX);
        let mut whole = Snapshot::default();
        for worker in [[busy(1, 7), busy(3, 4)], [busy(8, 6), busy(3, 4)]] {
            let mut of_worker = Snapshot::default();
            worker.iter().for_each(|second| of_worker.follow(second));
            whole.merge(&of_worker);
        }
        assert_eq!(whole.concurrency.in_flight.most(), 13);
        whole.concurrency.refine(&timeline.most_at_once());
        let in_flight = whole.concurrency.in_flight;
        assert_eq!((in_flight.most(), in_flight.micros), (8, 21_000));
    }

    #[test]
    fn a_long_series_is_thinned_and_loses_no_request() {
        let mut timeline = Timeline::default();
        for second in 0..10_000 {
            timeline.add(second, &requests(1));
            timeline.complete(second);
        }
        timeline.complete(u32::MAX);
        assert!(timeline.points().len() <= MAX_POINTS);
        assert_eq!(
            timeline
                .points()
                .iter()
                .map(|point| point.requests)
                .sum::<u64>(),
            10_000
        );
    }
}
