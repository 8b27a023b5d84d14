//! The search for the highest rate that meets the thresholds: which level comes next, given the
//! verdicts on those before.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Profile, Stage, duration};

/// Levels at the lowest rate that may fail in a row, after a level that did not hold, before the
/// search gives up.
const RECOVERIES: usize = 5;
/// Significant figures of a rate; finer steps would suggest more than a search can know.
const FIGURES: i32 = 4;
/// Length of the last level announced while no next one is known; no run is as long.
const FOR_EVER: Duration = Duration::from_secs(8 * 24 * 3600);

/// Settings of a capacity search. All rates are iterations per second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// Rate of the first level, also used to let the target recover.
    pub start: f64,
    /// Highest rate that is tried.
    pub max: f64,
    /// Growth from one level to the next while levels hold, as a share of the last: 0.5 goes from
    /// 100 to 150.
    pub step: f64,
    /// Length of a level, in whole seconds; confirmation takes twice as long.
    #[serde(with = "duration::micros")]
    pub hold: Duration,
    /// Beginning of each level that is not judged, in whole seconds, less than `hold`.
    #[serde(with = "duration::micros")]
    pub settle: Duration,
    /// Distance between the answer and the lowest rate that did not hold at which the search ends,
    /// as a share of the answer.
    pub precision: f64,
    /// Most iterations in flight at once over the fleet; further arrivals are dropped.
    pub max_in_flight: u32,
    /// Lowest answer with which the run passes; any passes if unset.
    pub at_least: Option<f64>,
}

/// A rate of arrivals that holds from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Begin of the level, counted from the run's zero.
    #[serde(with = "duration::micros")]
    pub at: Duration,
    /// Iterations started per second over the fleet.
    pub rate: f64,
}

/// The levels announced so far, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Levels {
    /// Levels by their begin; the last one goes on until the next is announced.
    pub levels: Vec<Level>,
    /// Moment from which nothing starts any more; `None` while the search goes on.
    pub end: Option<Duration>,
}

/// Reason for trying a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Finds out whether the rate holds.
    Search,
    /// Repeats the lowest rate until the target holds it again.
    Recovery,
    /// Finds out whether the best rate also holds for twice as long.
    Confirmation,
}

/// A level with its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JudgedLevel {
    /// Iterations started per second over the fleet.
    pub rate: f64,
    /// Reason for trying the level.
    pub purpose: Purpose,
    /// True if the target met every threshold at this rate.
    pub held: bool,
    /// True if the level failed because the load generator was the bottleneck.
    pub saturated: bool,
}

/// Limit that kept the answer of a search from being higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitedBy {
    /// The target did not hold the next rate.
    Target,
    /// The workers could not make the next rate, so the answer is a lower bound.
    Generator,
    /// The highest rate that was to be tried held.
    Max,
}

/// Next move of a search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// Try `rate`, in iterations per second.
    Level {
        /// Iterations started per second over the fleet.
        rate: f64,
        /// Reason for trying it.
        purpose: Purpose,
    },
    /// End the search.
    Done {
        /// Highest rate that was confirmed, in iterations per second; `None` if none was.
        rate: Option<f64>,
        /// Limit that kept it from being higher.
        limited_by: LimitedBy,
    },
}

impl Levels {
    /// Load profile with a jump at the begin of each level.
    pub fn profile(&self) -> Profile {
        let mut stages = Vec::new();
        let mut now = Duration::ZERO;
        let mut rate = 0.0;
        let mut go_on_until = |at: Duration, rate: f64, now: &mut Duration| {
            stages.push(Stage {
                duration: at.saturating_sub(*now),
                target: rate,
            });
            *now = (*now).max(at);
        };
        for level in &self.levels {
            go_on_until(level.at, rate, &mut now);
            rate = level.rate;
            go_on_until(now, rate, &mut now);
        }
        go_on_until(self.end.unwrap_or(FOR_EVER), rate, &mut now);
        Profile {
            start_at: 0.0,
            stages,
        }
    }
}

impl Capacity {
    /// Time that a level of this purpose is held.
    pub fn hold_for(&self, purpose: Purpose) -> Duration {
        if purpose == Purpose::Confirmation {
            self.hold * 2
        } else {
            self.hold
        }
    }

    /// Next move after the levels judged so far, in the order in which they were tried.
    pub fn next(&self, tried: &[JudgedLevel]) -> Next {
        let level = |rate, purpose| Next::Level { rate, purpose };
        let Some(last) = tried.last() else {
            return level(self.start, Purpose::Search);
        };
        let lowest_failed = tried
            .iter()
            .filter(|t| !t.held && t.purpose != Purpose::Recovery)
            .min_by(|a, b| a.rate.total_cmp(&b.rate));
        let done = |rate| Next::Done {
            rate,
            limited_by: match lowest_failed {
                None => LimitedBy::Max,
                Some(failed) if failed.saturated => LimitedBy::Generator,
                Some(_) => LimitedBy::Target,
            },
        };
        let unconfirmed = tried
            .iter()
            .filter(|t| !t.held && t.purpose == Purpose::Confirmation)
            .map(|t| t.rate)
            .reduce(f64::min);
        let holds = |t: &&JudgedLevel| {
            t.held && t.purpose == Purpose::Search && unconfirmed.is_none_or(|rate| t.rate < rate)
        };
        let Some(best) = tried.iter().filter(holds).map(|t| t.rate).reduce(f64::max) else {
            return done(None);
        };
        let confirms =
            |t: &JudgedLevel| t.held && t.purpose == Purpose::Confirmation && t.rate == best;
        if tried.iter().any(confirms) {
            return done(Some(best));
        }
        if !last.held {
            return self.recover(tried);
        }
        if unconfirmed.is_some() {
            return level(best, Purpose::Confirmation);
        }
        match self.between(best, lowest_failed.map(|failed| failed.rate)) {
            Some(rate) => level(rate, Purpose::Search),
            None => level(best, Purpose::Confirmation),
        }
    }

    /// Move after a level that did not hold: the lowest rate, until the target has failed it too
    /// often.
    fn recover(&self, tried: &[JudgedLevel]) -> Next {
        let recoveries = tried
            .iter()
            .rev()
            .take_while(|t| t.purpose == Purpose::Recovery)
            .count();
        if recoveries >= RECOVERIES {
            Next::Done {
                rate: None,
                limited_by: LimitedBy::Target,
            }
        } else {
            Next::Level {
                rate: self.start,
                purpose: Purpose::Recovery,
            }
        }
    }

    /// Rate to try between the best one that holds and the lowest that does not, if any did not;
    /// `None` where there is none left.
    fn between(&self, best: f64, failed: Option<f64>) -> Option<f64> {
        match failed {
            None if best >= self.max => None,
            None => {
                let higher = rounded(best * (1.0 + self.step));
                Some(higher.max(best * 1.0001).min(self.max))
            }
            Some(failed) => {
                let middle = rounded((best + failed) / 2.0);
                let is_close =
                    failed <= best * (1.0 + self.precision) || middle <= best || middle >= failed;
                (!is_close).then_some(middle)
            }
        }
    }
}

/// Rounds a rate to [`FIGURES`] significant figures.
fn rounded(rate: f64) -> f64 {
    let unit = 10f64.powi(rate.log10().floor() as i32 - FIGURES + 1);
    // dividing by a power of ten gives the number that a person would write
    if unit < 1.0 {
        (rate / unit).round() / unit.recip().round()
    } else {
        (rate / unit).round() * unit
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn capacity() -> Capacity {
        let second = Duration::from_secs(1);
        Capacity {
            start: 100.0,
            max: 5000.0,
            step: 0.25,
            hold: 60 * second,
            settle: 10 * second,
            precision: 0.05,
            max_in_flight: 1000,
            at_least: None,
        }
    }

    /// Every level of a search where `holds` says what comes of each, and its end.
    fn search(
        capacity: &Capacity,
        mut holds: impl FnMut(f64, Purpose) -> bool,
    ) -> (Vec<JudgedLevel>, Option<f64>, LimitedBy) {
        let mut tried = Vec::new();
        for _ in 0..500 {
            match capacity.next(&tried) {
                Next::Done { rate, limited_by } => return (tried, rate, limited_by),
                Next::Level { rate, purpose } => tried.push(JudgedLevel {
                    rate,
                    purpose,
                    held: holds(rate, purpose),
                    saturated: false,
                }),
            }
        }
        panic!("it never ends: {:?}", &tried[480..]);
    }

    #[test]
    fn a_target_that_never_holds_has_no_capacity() {
        let (tried, rate, limited_by) = search(&capacity(), |_, _| false);
        assert_eq!(
            (tried.len(), rate, limited_by),
            (1, None, LimitedBy::Target)
        );
    }

    #[test]
    fn a_target_that_does_not_recover_is_given_up() {
        let mut broken = false;
        let (tried, rate, _) = search(&capacity(), |rate, _| {
            broken |= rate > 300.0;
            !broken
        });
        assert_eq!(rate, None);
        assert_eq!(
            tried
                .iter()
                .filter(|t| t.purpose == Purpose::Recovery)
                .count(),
            RECOVERIES
        );
    }

    #[test]
    fn a_target_that_holds_everything_is_limited_by_the_highest_rate() {
        let (tried, rate, limited_by) = search(&capacity(), |_, _| true);
        assert_eq!((rate, limited_by), (Some(5000.0), LimitedBy::Max));
        assert_eq!(
            tried
                .iter()
                .filter(|t| t.purpose == Purpose::Confirmation)
                .count(),
            1
        );
    }

    #[test]
    fn a_rate_that_does_not_hold_for_long_is_not_the_answer() {
        let (tried, rate, _) = search(&capacity(), |rate, purpose| {
            rate < if purpose == Purpose::Confirmation {
                350.0
            } else {
                400.0
            }
        });
        assert!(
            rate.is_some_and(|rate| rate < 350.0 && rate > 200.0),
            "{rate:?} {tried:?}"
        );
    }

    #[test]
    fn the_generator_is_named_when_it_was_the_limit() {
        let held = JudgedLevel {
            rate: 100.0,
            purpose: Purpose::Search,
            held: true,
            saturated: false,
        };
        let failed = JudgedLevel {
            rate: 104.0,
            purpose: Purpose::Search,
            held: false,
            saturated: true,
        };
        let recovered = JudgedLevel {
            purpose: Purpose::Recovery,
            ..held
        };
        let confirmed = JudgedLevel {
            purpose: Purpose::Confirmation,
            ..held
        };
        let next = capacity().next(&[held, failed, recovered, confirmed]);
        assert_eq!(
            next,
            Next::Done {
                rate: Some(100.0),
                limited_by: LimitedBy::Generator
            }
        );
    }

    #[test]
    fn levels_are_a_profile_whose_last_goes_on() {
        let level = |seconds, rate| Level {
            at: Duration::from_secs(seconds),
            rate,
        };
        let mut levels = Levels {
            levels: vec![level(2, 10.0), level(5, 20.0)],
            end: None,
        };
        let until = |levels: &Levels, seconds| {
            levels
                .profile()
                .arrivals_until(Duration::from_secs(seconds))
                .round()
        };
        assert_eq!([2, 5, 8].map(|at| until(&levels, at)), [0.0, 30.0, 90.0]);
        levels.end = Some(Duration::from_secs(7));
        assert_eq!(
            (until(&levels, 8), levels.profile().length()),
            (70.0, Duration::from_secs(7))
        );
    }

    proptest! {
        #[test]
        fn what_is_found_is_within_the_precision_of_what_there_is(limit in 101.0..4999.0f64, step in 0.05..1.0f64, precision in 0.01..0.2f64) {
            let (tried, rate, limited_by) = search(&Capacity { step, precision, ..capacity() }, |rate, _| rate <= limit);
            let rate = rate.unwrap();
            prop_assert!(rate <= limit && limit <= rate * (1.0 + precision + 0.002), "{rate} of {limit}");
            prop_assert_eq!(limited_by, LimitedBy::Target);
            // after each level that failed comes the lowest
            for pair in tried.windows(2).filter(|pair| !pair[0].held) {
                prop_assert_eq!((pair[1].rate, pair[1].purpose), (100.0, Purpose::Recovery));
            }
        }
    }
}
