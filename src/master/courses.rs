//! The course of single steps over the run, in a bounded number of points. It is for those who watch:
//! a master that was killed begins it anew, since it would make each checkpoint several times as
//! large.

use std::collections::BTreeMap;

use crate::stats::{Snapshot, StepStats};

/// Most steps with a course: the first that have samples.
const MAX_STEPS: usize = 50;
/// Most points of a course; when it is full, two neighbours become one.
const MAX_POINTS: usize = 300;

/// One second of a step, or several when a long course has been thinned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepPoint {
    /// Number of the first second, since the run's zero.
    pub second: u32,
    /// Seconds from the first to the last that are summed up.
    pub seconds: u32,
    /// Finished requests.
    pub requests: u64,
    /// Failed requests.
    pub failures: u64,
    /// Median latency of successes, in microseconds; of several seconds the worst.
    pub p50: u64,
    /// 95th percentile.
    pub p95: u64,
    /// 99th percentile.
    pub p99: u64,
}

impl StepPoint {
    fn of(second: u32, stats: &StepStats) -> Self {
        Self {
            second,
            seconds: 1,
            requests: stats.requests,
            failures: stats.failures,
            p50: stats.latency.percentile(50.0),
            p95: stats.latency.percentile(95.0),
            p99: stats.latency.percentile(99.0),
        }
    }

    /// Adds a later point.
    fn follow(&mut self, later: &Self) {
        self.seconds = later.second + later.seconds - self.second;
        self.requests += later.requests;
        self.failures += later.failures;
        self.p50 = self.p50.max(later.p50);
        self.p95 = self.p95.max(later.p95);
        self.p99 = self.p99.max(later.p99);
    }
}

/// The courses of a run's steps.
#[derive(Debug, Clone, Default)]
pub struct Courses {
    steps: BTreeMap<u16, Vec<StepPoint>>,
    /// Run seconds that one point stands for; a power of two.
    resolution: u32,
}

impl Courses {
    /// Adds the samples of a second; seconds come in their order.
    pub fn add(&mut self, second: u32, snapshot: &Snapshot) {
        let resolution = self.resolution();
        for (place, stats) in &snapshot.steps {
            if self.steps.len() < MAX_STEPS || self.steps.contains_key(place) {
                let course = self.steps.entry(*place).or_default();
                push(course, StepPoint::of(second, stats), resolution);
            }
        }
        if self.steps.values().any(|course| course.len() > MAX_POINTS) {
            self.halve();
        }
    }

    fn halve(&mut self) {
        self.resolution = self.resolution() * 2;
        for course in self.steps.values_mut() {
            for point in std::mem::take(course) {
                push(course, point, self.resolution);
            }
        }
    }

    /// Points of each step by its number, oldest first.
    pub fn steps(&self) -> &BTreeMap<u16, Vec<StepPoint>> {
        &self.steps
    }

    /// Run seconds that one point stands for.
    pub fn resolution(&self) -> u32 {
        self.resolution.max(1)
    }
}

fn push(course: &mut Vec<StepPoint>, point: StepPoint, resolution: u32) {
    match course.last_mut() {
        Some(last) if last.second / resolution == point.second / resolution => last.follow(&point),
        _ => course.push(point),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(steps: u16) -> Snapshot {
        let stats = |place: u16| {
            let mut stats = StepStats {
                requests: 2,
                failures: 1,
                ..StepStats::default()
            };
            stats.latency.record(u64::from(place) + 1);
            (place, stats)
        };
        Snapshot {
            steps: (0..steps).map(stats).collect(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn a_long_course_has_few_points_and_loses_no_request() {
        let mut courses = Courses::default();
        for at in 0..5_000 {
            courses.add(at, &second(2));
        }
        for course in courses.steps().values() {
            assert!(course.len() <= MAX_POINTS);
            assert_eq!(
                course.iter().map(|point| point.requests).sum::<u64>(),
                10_000
            );
            assert_eq!(
                course.iter().map(|point| point.failures).sum::<u64>(),
                5_000
            );
            assert_eq!(course.iter().map(|point| point.seconds).sum::<u32>(), 5_000);
        }
        assert_eq!(courses.resolution(), 32);
        assert_eq!(courses.steps()[&1][0].p95, 2);
    }

    #[test]
    fn the_first_steps_with_samples_have_a_course() {
        let mut courses = Courses::default();
        courses.add(0, &second(20));
        courses.add(1, &second(200));
        let places: Vec<u16> = courses.steps().keys().copied().collect();
        assert_eq!(places, (0..MAX_STEPS as u16).collect::<Vec<_>>());
        assert_eq!(
            (courses.steps()[&3].len(), courses.steps()[&30].len()),
            (2, 1)
        );
    }
}
