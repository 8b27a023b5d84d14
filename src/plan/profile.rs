//! Load profile: a level that moves linearly from stage to stage over time, and the moment at which
//! each arrival is due.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;
use super::load::UserTime;

/// Distance to the next whole number at which a level counts as having reached it. Levels are users
/// or iterations per second, and a sum of products of them is never exact.
const ROUNDING: f64 = 1e-9;

/// Shortest step, in seconds, in which the time of users is summed up: that in which workers adjust
/// their number.
const MIN_STEP: f64 = 0.01;
/// Time for which a level is held at least to count as one that is to be reached.
const SHORT: Duration = Duration::from_millis(100);
/// Most steps in which the time of users is summed up.
const MAX_STEPS: f64 = 50_000.0;

/// A stretch of a profile over which the level moves linearly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Length of the stage; at zero the level jumps.
    #[serde(with = "duration::micros")]
    pub duration: Duration,
    /// Level at the end of the stage; it begins at the end level of the stage before.
    pub target: f64,
}

/// A level over time, in users for closed load and in iterations per second for open load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// Level at the start.
    pub start_at: f64,
    /// Stages in order; after the last the level stays what it is.
    pub stages: Vec<Stage>,
}

/// A stage together with what went before it.
#[derive(Debug, Clone)]
struct Leg {
    /// Seconds from the profile's start to the leg's.
    begin: f64,
    /// Length of the stage in seconds, above 0.
    seconds: f64,
    /// Level at the begin.
    from: f64,
    /// Level at the end.
    to: f64,
    /// Integral of the level up to the leg's start.
    before: f64,
}

impl Leg {
    fn level(&self, into: f64) -> f64 {
        self.from + (self.to - self.from) * into / self.seconds
    }

    fn area(&self, into: f64) -> f64 {
        into * (self.from + self.level(into)) / 2.0
    }

    /// Seconds into the leg at which its area reaches `area`, which it does reach.
    fn when(&self, area: f64) -> f64 {
        let slope = (self.to - self.from) / self.seconds;
        // from*t + slope*t^2/2 = area, in the form that does not cancel when the slope is small
        let root = (self.from * self.from + 2.0 * slope * area).max(0.0).sqrt();
        (2.0 * area / (self.from + root)).min(self.seconds)
    }
}

/// The arrivals of a profile one after the other, found without a look at the stages that are over.
#[derive(Debug, Clone)]
pub struct Schedule {
    legs: Vec<Leg>,
    /// Leg of the arrival that was asked for last.
    current: usize,
}

impl Schedule {
    /// Due time of arrival `number` (from 0), as [`Profile::arrival`]; numbers must not shrink from
    /// call to call.
    pub fn arrival(&mut self, number: u64) -> Option<Duration> {
        self.reaches(number as f64 + 0.5)
    }

    /// Moment at which the integral of the level reaches `wanted`; `None` if it never does. Values
    /// must not shrink from call to call.
    pub fn reaches(&mut self, wanted: f64) -> Option<Duration> {
        loop {
            let leg = self.legs.get(self.current)?;
            if leg.before + leg.area(leg.seconds) >= wanted {
                return Some(Duration::from_secs_f64(
                    leg.begin + leg.when(wanted - leg.before),
                ));
            }
            self.current += 1;
        }
    }
}

impl Profile {
    /// Builds a profile that rises from zero to `level` over `ramp_up` and stays there for `hold`.
    pub fn ramp_and_hold(level: f64, ramp_up: Duration, hold: Duration) -> Self {
        Self {
            start_at: 0.0,
            stages: vec![
                Stage {
                    duration: ramp_up,
                    target: level,
                },
                Stage {
                    duration: hold,
                    target: level,
                },
            ],
        }
    }

    /// Builds the profile with a level of its own from each time on, until the next; with `None` it
    /// is this profile's again. Times, from the start, never shrink; those after the end change
    /// nothing.
    pub fn changed(&self, changes: impl Iterator<Item = (Duration, Option<f64>)>) -> Self {
        let mut changed = Self {
            start_at: self.start_at,
            stages: Vec::new(),
        };
        let (mut from, mut level) = (Duration::ZERO, None);
        let last = (self.length(), None);
        for (at, next) in changes.chain([last]) {
            let at = at.clamp(from, last.0);
            match level {
                Some(target) => changed.stages.push(Stage {
                    duration: at - from,
                    target,
                }),
                None => changed.stages.extend(self.stages_between(from, at)),
            }
            if at < last.0 {
                changed.stages.push(Stage {
                    duration: Duration::ZERO,
                    target: next.unwrap_or_else(|| self.level(at)),
                });
            }
            (from, level) = (at, next);
        }
        changed
    }

    /// Returns the stages, or their parts, that lie between two times.
    fn stages_between(&self, from: Duration, to: Duration) -> impl Iterator<Item = Stage> {
        let mut begin = Duration::ZERO;
        self.stages.iter().filter_map(move |stage| {
            let end = begin + stage.duration;
            let (first, last) = (begin.max(from), end.min(to));
            let is_jump = stage.duration.is_zero() && from <= begin && begin < to;
            begin = end;
            if is_jump {
                return Some(*stage);
            }
            let target = match last == end {
                true => stage.target,
                false => self.level(last),
            };
            (first < last).then(|| Stage {
                duration: last - first,
                target,
            })
        })
    }

    /// Length of all stages together.
    pub fn length(&self) -> Duration {
        self.stages.iter().map(|stage| stage.duration).sum()
    }

    /// Highest level that is held or passed.
    pub fn max_level(&self) -> f64 {
        self.stages
            .iter()
            .map(|stage| stage.target)
            .fold(self.start_at, f64::max)
    }

    /// Level at `at` after the start; after the end, that of the end.
    pub fn level(&self, at: Duration) -> f64 {
        let at = at.as_secs_f64();
        let mut level = self.start_at;
        let mut begin = 0.0;
        for stage in &self.stages {
            let seconds = stage.duration.as_secs_f64();
            if at < begin + seconds {
                return level + (stage.target - level) * (at - begin) / seconds;
            }
            begin += seconds;
            level = stage.target;
        }
        level
    }

    /// Tells whether the level rises at any time from `from` to `to`.
    pub fn rises_within(&self, from: Duration, to: Duration) -> bool {
        let (mut level, mut begin) = (self.start_at, Duration::ZERO);
        self.stages.iter().any(|stage| {
            let end = begin + stage.duration;
            let rises = stage.target > level && begin <= to && end >= from;
            (level, begin) = (stage.target, end);
            rises
        })
    }

    /// Whole users at `at` after the start, over the whole fleet.
    pub fn users(&self, at: Duration) -> u64 {
        (self.level(at) + ROUNDING).floor() as u64
    }

    /// Times up to `at` at which the level has a peak of some length: shortly after the begin of each
    /// stage and shortly before its end.
    pub fn turns(&self, at: Duration) -> Vec<Duration> {
        let mut begin = Duration::ZERO;
        let mut turns = Vec::new();
        for stage in &self.stages {
            let end = (begin + stage.duration).min(at);
            let inside = end.saturating_sub(begin).min(2 * SHORT) / 2;
            if begin < at && !inside.is_zero() {
                turns.extend([begin + inside, end - inside]);
            }
            begin += stage.duration;
        }
        turns
    }

    /// Arrivals due up to `at`, over the whole fleet: the integral of the rate.
    pub fn arrivals_until(&self, at: Duration) -> f64 {
        let at = at.as_secs_f64();
        self.legs()
            .map_while(|leg| {
                (leg.begin < at).then(|| leg.before + leg.area((at - leg.begin).min(leg.seconds)))
            })
            .last()
            .unwrap_or(0.0)
    }

    /// Time of users up to `at`, of whom at most `spawn_rate` start per second.
    ///
    /// Stages are gone through in steps of at least 10 ms; the number of users in a step is that of
    /// its beginning.
    pub fn user_time(&self, at: Duration, spawn_rate: f64) -> UserTime {
        let length = at.min(self.length()).as_secs_f64();
        let steps = (length / MIN_STEP).ceil().clamp(1.0, MAX_STEPS);
        let step = length / steps;
        let (mut time, mut users, mut turns) = (UserTime::default(), 0.0_f64, 0.0);
        for nth in 0..steps as u64 {
            let begin = step * nth as f64;
            let level = self.users(Duration::from_secs_f64(begin)) as f64;
            // the first may start at once
            let passed = (begin * spawn_rate).floor() + 1.0;
            users = level.min(users + passed - turns);
            turns = passed;
            time.wanted += level * step;
            time.possible += users * step;
        }
        time
    }

    /// The arrivals, for a caller that goes through them in order.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            legs: self.legs().collect(),
            current: 0,
        }
    }

    /// Due time of arrival `number` (from 0): where the integral of the rate reaches `number +
    /// 1/2`. `None` after the last.
    pub fn arrival(&self, number: u64) -> Option<Duration> {
        let wanted = number as f64 + 0.5;
        let leg = self
            .legs()
            .find(|leg| leg.before + leg.area(leg.seconds) >= wanted)?;
        Some(Duration::from_secs_f64(
            leg.begin + leg.when(wanted - leg.before),
        ))
    }

    /// Number of arrivals of the whole profile.
    pub fn total_arrivals(&self) -> u64 {
        self.whole_arrivals_until(self.length())
    }

    /// Whole arrivals due up to `at`: [`arrivals_until`](Self::arrivals_until), rounded.
    pub fn whole_arrivals_until(&self, at: Duration) -> u64 {
        (self.arrivals_until(at) + 0.5 + ROUNDING).floor() as u64
    }

    /// The stages that last, in order.
    fn legs(&self) -> impl Iterator<Item = Leg> {
        let mut begin = 0.0;
        let mut level = self.start_at;
        let mut before = 0.0;
        self.stages.iter().filter_map(move |stage| {
            let leg = Leg {
                begin,
                seconds: stage.duration.as_secs_f64(),
                from: level,
                to: stage.target,
                before,
            };
            level = stage.target;
            if stage.duration.is_zero() {
                return None;
            }
            begin += leg.seconds;
            before += leg.area(leg.seconds);
            Some(leg)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_level_rises_where_a_stage_goes_up_or_jumps_up() {
        let seconds = Duration::from_secs;
        let profile = Profile::ramp_and_hold(9.0, seconds(5), seconds(60));
        assert!(profile.rises_within(seconds(4), seconds(9)));
        assert!(!profile.rises_within(seconds(6), seconds(90)));
        let jump = Profile::ramp_and_hold(9.0, Duration::ZERO, seconds(60));
        assert!(jump.rises_within(Duration::ZERO, seconds(1)));
        assert!(!jump.rises_within(seconds(1), seconds(2)));
    }

    fn seconds(s: f64) -> Duration {
        Duration::from_secs_f64(s)
    }

    fn changes() -> impl Strategy<Value = Vec<(Duration, Option<f64>)>> {
        let change = (0u32..120_000, prop::option::of(0u32..500));
        prop::collection::vec(change, 0..5).prop_map(|mut changes| {
            changes.sort();
            let change = |(millis, level): (u32, Option<u32>)| {
                (Duration::from_millis(millis.into()), level.map(f64::from))
            };
            changes.into_iter().map(change).collect()
        })
    }

    proptest! {
        #[test]
        fn a_change_holds_its_level_until_the_next_and_the_profile_is_as_long_as_before(
            profile in profiles(), changes in changes(), at in 0u32..120_000,
        ) {
            let changed = profile.changed(changes.iter().copied());
            prop_assert_eq!(changed.length(), profile.length());
            let at = Duration::from_millis(at.into());
            // at the end both stay at what they end with
            prop_assume!(at < profile.length());
            let last = changes.iter().rfind(|(from, _)| *from <= at);
            let wanted = last.and_then(|(_, level)| *level).unwrap_or_else(|| profile.level(at));
            prop_assert!((changed.level(at) - wanted).abs() < 1e-6 * wanted.max(1.0), "{} at {at:?}, not {wanted}", changed.level(at));
        }

        #[test]
        fn a_change_moves_no_arrival_before_it(profile in profiles(), changes in changes()) {
            let changed = profile.changed(changes.iter().copied());
            let first = changes.first().map_or(profile.length(), |(at, _)| *at);
            let (before, after) = (profile.arrivals_until(first), changed.arrivals_until(first));
            prop_assert!((before - after).abs() < 1e-6 * before.max(1.0), "{before} {after}");
        }
    }

    fn profiles() -> impl Strategy<Value = Profile> {
        let stages = prop::collection::vec((0u32..20, 0u32..500), 1..6);
        (0u32..200, stages).prop_map(|(start, stages)| Profile {
            start_at: start.into(),
            stages: stages
                .into_iter()
                .map(|(s, target)| Stage {
                    duration: seconds(s.into()),
                    target: target.into(),
                })
                .collect(),
        })
    }

    #[test]
    fn a_stage_without_length_jumps() {
        let profile = Profile {
            start_at: 0.0,
            stages: vec![
                Stage {
                    duration: Duration::ZERO,
                    target: 10.0,
                },
                Stage {
                    duration: seconds(5.0),
                    target: 10.0,
                },
            ],
        };
        assert_eq!(profile.users(Duration::ZERO), 10);
    }

    #[test]
    fn a_ramp_starts_users_one_by_one() {
        let profile = Profile::ramp_and_hold(10.0, seconds(10.0), seconds(5.0));
        assert_eq!(
            [0.0, 0.99, 1.0, 5.5, 10.0, 15.0].map(|at| profile.users(seconds(at))),
            [0, 0, 1, 5, 10, 10]
        );
    }

    #[test]
    fn users_time_is_less_where_they_cannot_all_start_at_once() {
        let profile = Profile::ramp_and_hold(400.0, seconds(1.0), seconds(1.0));
        let UserTime { wanted, possible } = profile.user_time(seconds(2.0), 100.0);
        assert!((wanted - 600.0).abs() < 5.0, "{wanted}");
        // 100 a second from the start: half of 2 s times 200
        assert!((possible - 200.0).abs() < 5.0, "{possible}");
        let freely = profile.user_time(seconds(9.0), 1e6);
        assert_eq!(freely.wanted, freely.possible);
        assert_eq!(profile.user_time(Duration::ZERO, 1.0), UserTime::default());
    }

    #[test]
    fn arrivals_at_a_constant_rate_are_evenly_spaced() {
        let profile = Profile::ramp_and_hold(10.0, Duration::ZERO, seconds(1.0));
        let due: Vec<_> = (0..11)
            .map(|n| {
                profile
                    .arrival(n)
                    .map(|at| (at.as_secs_f64() * 1000.0).round())
            })
            .collect();
        assert_eq!(due[0], Some(50.0));
        assert_eq!(due[9], Some(950.0));
        assert_eq!(due[10], None);
        assert_eq!(profile.total_arrivals(), 10);
    }

    proptest! {
        #[test]
        fn a_schedule_gives_every_arrival_of_the_profile(profile in profiles(), stride in 1u64..50) {
            let mut schedule = profile.schedule();
            for number in (0..profile.total_arrivals() + 2).step_by(stride as usize).take(300) {
                prop_assert_eq!(schedule.arrival(number), profile.arrival(number));
            }
        }

        #[test]
        fn as_many_arrivals_are_due_as_the_profile_integrates_to(profile in profiles()) {
            let total = profile.total_arrivals();
            if total > 0 { prop_assert!(profile.arrival(total - 1).is_some()); }
            prop_assert!(profile.arrival(total + 1).is_none());
            let area = profile.arrivals_until(profile.length());
            prop_assert!((area - total as f64).abs() <= 0.5 + 1e-6, "{area} is not {total}");
        }

        #[test]
        fn an_arrival_is_due_where_the_integral_passes_it(profile in profiles(), part in 0.0..1.0f64) {
            let total = profile.total_arrivals();
            prop_assume!(total > 1);
            let number = ((total - 1) as f64 * part) as u64;
            let due = profile.arrival(number).unwrap();
            prop_assert!((profile.arrivals_until(due) - (number as f64 + 0.5)).abs() < 1e-3);
            if let Some(next) = profile.arrival(number + 1) { prop_assert!(next >= due); }
        }
    }
}
