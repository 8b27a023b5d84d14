//! The run second by second: what all workers together measured in each.

use std::collections::BTreeMap;

use crate::stats::Snapshot;
use crate::stats::result::SeriesPoint;

/// Most points of a series; when it is full, two neighbours become one.
const MAX_POINTS: usize = 1200;

/// Intervals of the workers after which a second is taken for complete, though not every expected
/// worker has delivered it.
const PATIENCE: u32 = 3;

/// Seconds in the making, and the finished series.
#[derive(Debug)]
pub struct Timeline {
    /// Later seconds that may have begun before one is taken for complete.
    patience: u32,
    open: BTreeMap<u32, Open>,
    points: Vec<SeriesPoint>,
    /// Run seconds that one point stands for; a power of two.
    resolution: u32,
    /// The last complete second, never thinned.
    latest: Option<SeriesPoint>,
    completed_through: Option<u32>,
    /// Requests that came in after their second was complete; they count in the totals.
    late: u64,
}

/// A second that is not complete.
#[derive(Debug, Default)]
struct Open {
    snapshot: Snapshot,
    reporters: u32,
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
            latest: None,
            completed_through: None,
            late: 0,
        }
    }

    /// Adds one worker's part of `second`; `expected` workers deliver one. Gives back the seconds
    /// that are complete now, in their order.
    pub fn add(&mut self, second: u32, snapshot: &Snapshot, expected: u32) -> Vec<(u32, Snapshot)> {
        if self
            .completed_through
            .is_some_and(|through| second <= through)
        {
            self.late += snapshot.requests();
            return Vec::new();
        }
        let open = self.open.entry(second).or_default();
        open.snapshot.merge(snapshot);
        open.reporters += 1;
        self.complete(expected)
    }

    /// Adds a second of which only counts are known: a worker's earlier one, which this master had
    /// not seen.
    pub fn restore(&mut self, second: u32, requests: u64, failures: u64, users: u64) {
        if let Some(point) = self.points.iter_mut().find(|point| point.second == second) {
            point.requests += requests;
            point.failures += failures;
            point.users += users;
        } else if self.points.len() < MAX_POINTS {
            let at = self.points.partition_point(|point| point.second < second);
            self.points.insert(
                at,
                SeriesPoint {
                    second,
                    requests,
                    failures,
                    users,
                    ..SeriesPoint::default()
                },
            );
        }
        self.completed_through = self.completed_through.max(Some(second));
    }

    /// Completes and gives back everything still open.
    pub fn close(&mut self) -> Vec<(u32, Snapshot)> {
        let rest = std::mem::take(&mut self.open)
            .into_iter()
            .map(|(second, open)| (second, open.snapshot));
        rest.inspect(|(second, snapshot)| self.push(*second, snapshot))
            .collect()
    }

    /// The last complete second.
    pub fn latest(&self) -> Option<SeriesPoint> {
        self.latest
    }

    /// Tells whether `second` lies so far before `elapsed` seconds of the run that later ones would
    /// be complete if anybody delivered them.
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

    fn complete(&mut self, expected: u32) -> Vec<(u32, Snapshot)> {
        let mut complete = Vec::new();
        let newest = self.open.last_key_value().map_or(0, |(second, _)| *second);
        while let Some(entry) = self.open.first_entry() {
            let second = *entry.key();
            if entry.get().reporters < expected && newest - second < self.patience {
                break;
            }
            let open = entry.remove();
            self.push(second, &open.snapshot);
            complete.push((second, open.snapshot));
        }
        complete
    }

    fn push(&mut self, second: u32, snapshot: &Snapshot) {
        let point = SeriesPoint::of(second, snapshot);
        self.latest = Some(point);
        self.completed_through = Some(second);
        let resolution = self.resolution.max(1);
        match self.points.last_mut() {
            Some(last) if last.second / resolution == second / resolution => {
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
    use crate::stats::StepStats;

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
    fn a_second_waits_for_every_worker() {
        let mut timeline = Timeline::default();
        timeline.add(0, &requests(1), 2);
        assert!(timeline.latest().is_none());
        let complete = timeline.add(0, &requests(2), 2);
        assert_eq!(
            complete
                .iter()
                .map(|(second, snapshot)| (*second, snapshot.requests()))
                .collect::<Vec<_>>(),
            [(0, 3)]
        );
        assert_eq!(timeline.latest().unwrap().requests, 3);
    }

    #[test]
    fn a_second_after_which_nobody_delivers_is_past_some_seconds_later() {
        let timeline = Timeline::default();
        assert!(!timeline.is_past(10, 18));
        assert!(timeline.is_past(10, 19));
    }

    #[test]
    fn a_large_fleet_that_delivers_seldom_is_waited_for_three_intervals() {
        let mut timeline = Timeline::new(5);
        timeline.add(0, &requests(1), 2);
        (1..15).for_each(|second| {
            assert!(timeline.add(second, &requests(1), 2).is_empty(), "{second}")
        });
        assert_eq!(timeline.add(15, &requests(1), 2).len(), 1);
    }

    #[test]
    fn a_silent_worker_is_waited_for_three_seconds_and_counted_as_late_after() {
        let mut timeline = Timeline::default();
        for second in 0..=3 {
            timeline.add(second, &requests(1), 2);
        }
        assert_eq!(timeline.points().len(), 1);
        timeline.add(0, &requests(5), 2);
        assert_eq!((timeline.points()[0].requests, timeline.late()), (1, 5));
    }

    #[test]
    fn a_long_series_is_thinned_and_loses_no_request() {
        let mut timeline = Timeline::default();
        for second in 0..10_000 {
            timeline.add(second, &requests(1), 1);
        }
        timeline.close();
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
