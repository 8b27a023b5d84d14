//! The run second by second: what all workers together measured in each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::courses::Courses;
use super::heat::Heat;
use crate::stats::result::SeriesPoint;
use crate::stats::summary::all_steps;
use crate::stats::{Concurrency, Snapshot, StepStats};

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
    #[serde(rename = "points")]
    moments: Vec<Moment>,
    /// Run seconds that one point stands for; a power of two.
    resolution: u32,
    #[serde(default)]
    heat: Heat,
    #[serde(skip)]
    courses: Courses,
    completed_through: Option<u32>,
    /// Requests that came in after their second was complete; they count in the totals.
    late: u64,
    /// Largest numbers of requests in flight, users and busy slots in the complete seconds.
    #[serde(default)]
    most: [u64; 3],
}

/// A point of the series, with more of what was measured than the result shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Part that the result shows.
    #[serde(flatten)]
    pub point: SeriesPoint,
    /// Seconds from the first to the last that are summed up.
    #[serde(default = "one")]
    pub seconds: u32,
    /// Measured iterations that started.
    #[serde(default)]
    pub iterations: u64,
    /// Measured arrivals that became no iteration.
    #[serde(default)]
    pub dropped: u64,
    /// Largest number of requests in flight at once.
    #[serde(default)]
    pub in_flight: u64,
    /// 90th percentile of the latency of successes, in microseconds.
    #[serde(default)]
    pub p90: u64,
    /// 99.9th percentile of the latency of successes, in microseconds.
    #[serde(default)]
    pub p999: u64,
    /// Longest latency of a success, in microseconds.
    #[serde(default)]
    pub max: u64,
}

/// Seconds of a point that an older release stored, which did not say it.
fn one() -> u32 {
    1
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

    fn point(&self, second: u32, sum: &StepStats) -> SeriesPoint {
        let [requests, failures, users] = self.counted;
        let mut point = SeriesPoint::of(second, sum, self.snapshot.users);
        point.requests += requests;
        point.failures += failures;
        point.users += users;
        point
    }

    fn moment(&self, second: u32, sum: &StepStats) -> Moment {
        let counters = &self.snapshot.counters;
        Moment {
            point: self.point(second, sum),
            seconds: 1,
            iterations: counters.iterations,
            dropped: counters.dropped,
            in_flight: self.snapshot.concurrency.in_flight.most(),
            p90: sum.latency.percentile(90.0),
            p999: sum.latency.percentile(99.9),
            max: sum.latency.max(),
        }
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
            moments: Vec::new(),
            resolution: 0,
            heat: Heat::default(),
            courses: Courses::default(),
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
            let sum = all_steps(&found.snapshot);
            self.push(found.moment(*second, &sum));
            self.heat.add(*second, &sum.latency, sum.failures);
            self.courses.add(*second, &found.snapshot);
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
        open.map(|(second, found)| found.point(*second, &all_steps(&found.snapshot)))
            .or_else(|| self.moments.last().map(|moment| moment.point))
    }

    /// Tells whether `second` lies so far before `elapsed` seconds of the run that later ones would
    /// be there if anybody delivered them.
    pub fn is_past(&self, second: u32, elapsed: u64) -> bool {
        elapsed > u64::from(second) + 2 + 2 * u64::from(self.patience)
    }

    /// The series so far, as the result shows it.
    pub fn points(&self) -> Vec<SeriesPoint> {
        self.moments.iter().map(|moment| moment.point).collect()
    }

    /// The series so far.
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// Courses of single steps, as far as this master saw them.
    pub fn courses(&self) -> &Courses {
        &self.courses
    }

    /// Latencies over the series so far.
    pub fn heat(&self) -> &Heat {
        &self.heat
    }

    /// Seconds that one point of the series stands for.
    pub fn resolution(&self) -> u32 {
        self.resolution.max(1)
    }

    /// Requests whose data came after their second was complete.
    pub fn late(&self) -> u64 {
        self.late
    }

    fn push(&mut self, moment: Moment) {
        let resolution = self.resolution();
        match self.moments.last_mut() {
            Some(last) if last.point.second / resolution == moment.point.second / resolution => {
                *last = joined(*last, moment)
            }
            _ => self.moments.push(moment),
        }
        if self.moments.len() >= MAX_POINTS {
            self.halve();
        }
    }

    fn halve(&mut self) {
        self.resolution = self.resolution() * 2;
        let place = |moment: &Moment| moment.point.second / self.resolution;
        let mut thinned: Vec<Moment> = Vec::with_capacity(MAX_POINTS);
        for moment in self.moments.drain(..) {
            match thinned.last_mut() {
                Some(last) if place(last) == place(&moment) => *last = joined(*last, moment),
                _ => thinned.push(moment),
            }
        }
        self.moments = thinned;
    }
}

/// Joins two points. Counts add up; of percentiles, which do not, the worse one is shown.
fn joined(a: Moment, b: Moment) -> Moment {
    Moment {
        point: SeriesPoint {
            second: a.point.second,
            requests: a.point.requests + b.point.requests,
            failures: a.point.failures + b.point.failures,
            users: a.point.users.max(b.point.users),
            p50: a.point.p50.max(b.point.p50),
            p95: a.point.p95.max(b.point.p95),
            p99: a.point.p99.max(b.point.p99),
        },
        seconds: b.point.second + b.seconds - a.point.second,
        iterations: a.iterations + b.iterations,
        dropped: a.dropped + b.dropped,
        in_flight: a.in_flight.max(b.in_flight),
        p90: a.p90.max(b.p90),
        p999: a.p999.max(b.p999),
        max: a.max.max(b.max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{LEVEL_PARTS, LevelStats};

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
        let sum = |of: fn(&Moment) -> u64| timeline.moments().iter().map(of).sum::<u64>();
        assert_eq!(sum(|moment| moment.point.requests), 10_000);
        assert_eq!(sum(|moment| moment.seconds.into()), 10_000);
        assert_eq!(timeline.resolution(), 16);
    }

    #[test]
    fn a_series_that_an_older_release_stored_is_read() {
        let stored = r#"{"patience": 3, "open": {}, "resolution": 0, "completed_through": 4, "late": 0,
            "points": [{"second": 4, "requests": 7, "failures": 1, "users": 2, "p50": 3, "p95": 4, "p99": 5}]}"#;
        let timeline: Timeline = serde_json::from_str(stored).unwrap();
        let point = SeriesPoint {
            second: 4,
            requests: 7,
            failures: 1,
            users: 2,
            p50: 3,
            p95: 4,
            p99: 5,
        };
        let moment = Moment {
            point,
            seconds: 1,
            ..Moment::default()
        };
        assert_eq!(timeline.moments(), [moment]);
        let again = serde_json::to_string(&timeline).unwrap();
        let again: Timeline = serde_json::from_str(&again).unwrap();
        assert_eq!(again.moments(), timeline.moments());
    }
}
