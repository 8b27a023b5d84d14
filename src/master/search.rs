//! The search for the capacity as the master runs it: levels announced, judged second by second,
//! and what came of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::judge::Judge;
use super::saturation::judge_one;
use super::verdict;
use crate::plan::capacity::{JudgedLevel, LimitedBy, Next, Purpose};
use crate::plan::{Arrival, Capacity, Level, Load, Plan, Population, Profile};
use crate::stats::Snapshot;
use crate::stats::format;
use crate::stats::result::{self, CapacityLevel, CapacityResult, ThresholdResult, Totals, Verdict};
use crate::stats::summary::Scale;
use crate::wire::fleet;

/// Part of a level's arrivals that must become iterations for it to hold.
const ACHIEVED: f64 = 0.99;
/// Part of a level's arrivals, at most, that may be missing since a moment's delay moved them past
/// its end: one for each worker.
const MOVED: f64 = 0.1;
/// Time for which the samples of a level's last second are waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// The outcome of a level, in the form that workers hold for a master that has lost its memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Judged {
    tried: JudgedLevel,
    row: CapacityLevel,
}

/// The level that is held now; whole run seconds.
#[derive(Debug)]
struct Current {
    rate: f64,
    purpose: Purpose,
    judged_from: u32,
    end: u32,
    /// Samples of each worker, since each may be the bottleneck.
    samples: BTreeMap<u32, Snapshot>,
    /// The test as if this level, without the time it needs to settle, were all of it.
    plan: Plan,
    judge: Judge,
}

/// The level that the results are of.
#[derive(Debug)]
pub struct Kept {
    /// Samples of all workers.
    pub samples: Snapshot,
    /// Length and planned arrivals, without the time to settle.
    pub scale: Scale,
    /// The thresholds as this level met them.
    pub thresholds: Vec<ThresholdResult>,
    /// Run seconds in which the samples ended.
    pub seconds: Range<u32>,
}

/// A search under way: levels announced, and what came of them.
#[derive(Debug)]
pub struct Search {
    capacity: Capacity,
    levels: Vec<Level>,
    end: Option<Duration>,
    current: Option<Current>,
    judged: Vec<Judged>,
    outcome: Option<(Option<f64>, LimitedBy)>,
    kept: Option<Kept>,
}

/// Checks that enough of the arrivals that were `due` became iterations.
fn is_achieved(iterations: u64, due: f64, workers: usize) -> bool {
    let moved = (workers as f64).min(due * MOVED);
    iterations as f64 >= due - moved.max(due * (1.0 - ACHIEVED))
}

/// Describes a level for the result.
fn row(tried: JudgedLevel, why: String, totals: &Totals) -> CapacityLevel {
    CapacityLevel {
        rate: tried.rate,
        purpose: purpose_of(tried.purpose),
        held: tried.held,
        why,
        achieved_rate: totals.achieved_rate,
        requests: totals.requests,
        failures: totals.failures,
        failure_rate: totals.failure_rate,
        dropped: totals.dropped,
        p50: totals.latency.p50,
        p95: totals.latency.p95,
        p99: totals.latency.p99,
    }
}

/// Translates a purpose of the plan's search into that of results.
fn purpose_of(purpose: Purpose) -> result::Purpose {
    match purpose {
        Purpose::Search => result::Purpose::Search,
        Purpose::Recovery => result::Purpose::Recovery,
        Purpose::Confirmation => result::Purpose::Confirmation,
    }
}

/// Translates a limit of the plan's search into that of results.
fn limit_of(limit: LimitedBy) -> result::LimitedBy {
    match limit {
        LimitedBy::Target => result::LimitedBy::Target,
        LimitedBy::Generator => result::LimitedBy::Generator,
        LimitedBy::Max => result::LimitedBy::Max,
    }
}

impl Search {
    /// Begins a search.
    pub fn new(capacity: &Capacity) -> Self {
        Self {
            capacity: capacity.clone(),
            levels: vec![],
            end: None,
            current: None,
            judged: vec![],
            outcome: None,
            kept: None,
        }
    }

    /// Goes on with what a master before this one announced. What it had not judged, and what it
    /// had confirmed, is done again: the samples are lost.
    ///
    /// Fails when what came of the levels cannot be read: then none is taken for tried.
    pub fn restore(&mut self, announced: &fleet::Levels) -> Result<(), serde_json::Error> {
        if announced.levels.len() <= self.levels.len() {
            return Ok(());
        }
        let level = |level: &fleet::Level| Level {
            at: Duration::from_micros(level.at_micros),
            rate: level.rate,
        };
        self.levels = announced.levels.iter().map(level).collect();
        self.current = None;
        self.judged.clear();
        self.judged = serde_json::from_str(&announced.tried)?;
        if self
            .judged
            .last()
            .is_some_and(|last| last.tried.purpose == Purpose::Confirmation && last.tried.held)
        {
            self.judged.pop();
        }
        Ok(())
    }

    /// Adds a worker's samples that ended in `second`.
    pub fn add(&mut self, worker: u32, second: u32, snapshot: &Snapshot) {
        if let Some(current) = self
            .current
            .as_mut()
            .filter(|current| (current.judged_from..current.end).contains(&second))
        {
            current.samples.entry(worker).or_default().follow(snapshot);
        }
    }

    /// Adds all samples of a run second; seconds come in their order.
    pub fn add_second(&mut self, second: u32, snapshot: &Snapshot) {
        if let Some(current) = &mut self.current {
            current.judge.hear(second, snapshot);
        }
    }

    /// Judges the level if it is over, and begins the next. Gives back what is to be announced, if
    /// anything is.
    ///
    /// `delivered` is the first second that not every worker has delivered; `lead` is what an
    /// announcement takes to reach every worker.
    pub fn advance(
        &mut self,
        plan: &Plan,
        elapsed: Duration,
        delivered: u32,
        lead: Duration,
    ) -> Option<fleet::Levels> {
        if self.outcome.is_some() {
            return None;
        }
        if let Some(current) = &self.current {
            let end = Duration::from_secs(current.end.into());
            let over = elapsed >= end && (delivered >= current.end || elapsed >= end + PATIENCE);
            if !over && current.judge.abort().is_none() {
                return None;
            }
        }
        if let Some(current) = self.current.take() {
            self.judge(current, delivered);
        }
        let tried: Vec<JudgedLevel> = self.judged.iter().map(|judged| judged.tried).collect();
        // the first begins when the warm-up ends
        let soonest = if self.levels.is_empty() {
            plan.warmup
        } else {
            elapsed + lead
        };
        let at = soonest.as_secs() + u64::from(soonest.subsec_nanos() > 0);
        match self.capacity.next(&tried) {
            Next::Level { rate, purpose } => self.begin(plan, rate, purpose, at as u32),
            Next::Done { rate, limited_by } => {
                self.outcome = Some((rate, limited_by));
                self.end = Some(Duration::from_secs(at));
            }
        }
        Some(self.announcement())
    }

    /// Begins a level at a run second.
    fn begin(&mut self, plan: &Plan, rate: f64, purpose: Purpose, at: u32) {
        let seconds = |time: Duration| time.as_secs() as u32;
        let (hold, settle) = (self.capacity.hold_for(purpose), self.capacity.settle);
        let max_dropped = 1.0 - ACHIEVED;
        let profile = Profile::ramp_and_hold(rate, Duration::ZERO, hold - settle);
        let load = Load::Open {
            profile,
            arrival: Arrival::Constant,
            max_in_flight: self.capacity.max_in_flight,
            max_dropped,
        };
        let populations = vec![Population::only(plan.scenarios.len(), load)];
        let plan = Plan {
            warmup: Duration::from_secs(at.into()) + settle,
            populations,
            ..plan.clone()
        };
        self.levels.push(Level {
            at: Duration::from_secs(at.into()),
            rate,
        });
        self.current = Some(Current {
            rate,
            purpose,
            judged_from: at + seconds(settle),
            end: at + seconds(hold),
            samples: BTreeMap::new(),
            judge: Judge::new(&plan),
            plan,
        });
    }

    /// Judges a level that is over. `delivered` is the first second that is not there yet, where a
    /// threshold ended the level early.
    fn judge(&mut self, current: Current, delivered: u32) {
        let Current {
            rate,
            purpose,
            judged_from,
            end,
            samples,
            plan,
            judge,
        } = current;
        let end = if judge.abort().is_some() {
            end.min(delivered.max(judged_from + 1))
        } else {
            end
        };
        let length = Duration::from_secs((end - judged_from).into());
        let scale = Scale {
            length,
            arrivals: Some((rate * length.as_secs_f64()).round() as u64),
        };
        let bottleneck = samples
            .iter()
            .find_map(|(worker, snapshot)| judge_one(*worker, snapshot));
        let mut merged = Snapshot::default();
        samples.values().for_each(|snapshot| merged.merge(snapshot));
        let totals = Totals::of(&merged, scale);
        let thresholds = judge.results(&merged, scale);
        let judgement = verdict::judge(&plan, thresholds.clone(), &totals);
        let due = rate * length.as_secs_f64();
        let why = if let Some(worker) = &bottleneck {
            Some(format!(
                "worker {} was the bottleneck: {}",
                worker.worker, worker.why
            ))
        } else if !is_achieved(totals.iterations, due, samples.len()) {
            Some(format!(
                "only {}/s were started",
                format::rate(totals.achieved_rate)
            ))
        } else {
            (judgement.verdict != Verdict::Passed).then_some(judgement.message)
        };
        let tried = JudgedLevel {
            rate,
            purpose,
            held: why.is_none(),
            saturated: bottleneck.is_some(),
        };
        let held = tried.held;
        self.judged.push(Judged {
            tried,
            // a level that held has nothing to explain
            row: row(tried, why.unwrap_or_default(), &totals),
        });
        // a recovery is at the lowest rate, which is no answer to the search
        if purpose != Purpose::Recovery && (held || self.kept.is_none()) {
            self.kept = Some(Kept {
                samples: merged,
                scale,
                thresholds,
                seconds: judged_from..end,
            });
        }
    }

    /// All levels so far, as workers are told them.
    pub fn announcement(&self) -> fleet::Levels {
        let micros = |time: Duration| time.as_micros() as u64;
        fleet::Levels {
            levels: self
                .levels
                .iter()
                .map(|level| fleet::Level {
                    at_micros: micros(level.at),
                    rate: level.rate,
                })
                .collect(),
            end_micros: self.end.map(micros),
            tried: serde_json::to_string(&self.judged)
                .expect("levels are numbers and words, which are always JSON"),
        }
    }

    /// Rate that is held now, in iterations per second.
    pub fn rate(&self) -> Option<f64> {
        self.current.as_ref().map(|current| current.rate)
    }

    /// The level that the results are of; `None` before one was judged.
    pub fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// Sums up what was found so far.
    pub fn result(&self) -> CapacityResult {
        let (rate, limited_by) = self.outcome.unzip();
        CapacityResult {
            rate: rate.flatten(),
            limited_by: limited_by.map(limit_of),
            at_least: self.capacity.at_least,
            curve: self
                .judged
                .iter()
                .map(|judged| judged.row.clone())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stats::StepStats;

    const LEAD: Duration = Duration::from_secs(1);

    fn plan() -> Plan {
        let spec = json!({
            "target": {"url": "http://t"},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
            "load": {"capacity": {"start": 100, "max": 1000, "step": "50%", "hold": "5s", "settle": "2s", "maxInFlight": 9, "atLeast": 300}},
            "warmup": {"duration": "3s"},
            "thresholds": [{"metric": "latency", "expr": "p(95) < 50ms"}],
        });
        crate::crd::check(&serde_json::from_value(spec).unwrap())
            .unwrap()
            .plan
    }

    /// A second of one worker's half of a rate; slow where the target cannot hold it.
    fn half(rate: f64, limit: f64) -> Snapshot {
        let requests = (rate / 2.0).round() as u64;
        let mut stats = StepStats {
            requests,
            ..StepStats::default()
        };
        (0..requests).for_each(|_| {
            stats
                .latency
                .record(if rate <= limit { 10_000 } else { 90_000 })
        });
        let mut snapshot = Snapshot {
            steps: [(0, stats)].into(),
            ..Snapshot::default()
        };
        snapshot.counters.iterations = requests;
        snapshot
    }

    struct Stage {
        plan: Plan,
        search: Search,
        announced: Vec<fleet::Levels>,
        second: u32,
    }

    impl Stage {
        fn new() -> Self {
            let plan = plan();
            let search = Search::new(plan.capacity().unwrap());
            Self {
                plan,
                search,
                announced: vec![],
                second: 0,
            }
        }

        fn pass_second(&mut self, limit: f64) {
            let elapsed = Duration::from_secs(self.second.into());
            self.announced
                .extend(self.search.advance(&self.plan, elapsed, self.second, LEAD));
            let rate = self.announced.last().map_or(0.0, |levels| {
                let begun = levels
                    .levels
                    .iter()
                    .rev()
                    .find(|level| level.at_micros <= u64::from(self.second) * 1_000_000);
                begun.map_or(0.0, |level| level.rate)
            });
            let sample = half(rate, limit);
            let mut both = sample.clone();
            both.merge(&sample);
            (0..2).for_each(|worker| self.search.add(worker, self.second, &sample));
            self.search.add_second(self.second, &both);
            self.second += 1;
        }

        fn run(&mut self, limit: f64) -> CapacityResult {
            while self.search.outcome.is_none() && self.second < 2_000 {
                self.pass_second(limit);
            }
            self.search.result()
        }
    }

    #[test]
    fn the_highest_rate_that_holds_is_found_and_confirmed() {
        let mut stage = Stage::new();
        let found = stage.run(400.0);
        let rate = found.rate.unwrap();
        assert!((380.0..=400.0).contains(&rate), "{found:?}");
        assert_eq!(
            (found.limited_by, found.at_least),
            (Some(result::LimitedBy::Target), Some(300.0))
        );
        let last = found.curve.last().unwrap();
        assert_eq!(
            (last.purpose, last.rate, last.held),
            (result::Purpose::Confirmation, rate, true)
        );
        // judged for twice the hold without the time to settle
        let kept = stage.search.kept().unwrap();
        assert_eq!(
            (kept.scale.length, kept.samples.requests()),
            (Duration::from_secs(8), 8 * 2 * (rate / 2.0).round() as u64)
        );
        let end = stage.announced.last().unwrap();
        assert!(end.end_micros.is_some());
        assert_eq!(
            end.levels[0].at_micros, 3_000_000,
            "the first begins when the warm-up ends"
        );
        assert!(
            end.levels
                .windows(2)
                .all(|pair| pair[1].at_micros >= pair[0].at_micros + 5_000_000)
        );
    }

    #[test]
    fn a_target_that_holds_nothing_is_said_to() {
        let mut stage = Stage::new();
        let found = stage.run(50.0);
        assert_eq!((found.rate, found.curve.len()), (None, 1));
        assert!(
            found.curve[0].why.contains("latency"),
            "{}",
            found.curve[0].why
        );
    }

    #[test]
    fn a_rate_that_is_not_achieved_does_not_hold() {
        let mut stage = Stage::new();
        stage.search.advance(&stage.plan, Duration::ZERO, 0, LEAD);
        (3..8).for_each(|second| stage.search.add(0, second, &half(180.0, 1000.0)));
        stage
            .search
            .advance(&stage.plan, Duration::from_secs(9), 9, LEAD);
        assert_eq!(stage.search.result().curve[0].why, "only 90/s were started");
    }

    #[test]
    fn an_arrival_that_a_delay_moved_past_the_levels_end_is_not_missed() {
        for (iterations, due, workers, enough) in [
            (79, 80.0, 1, true),
            (78, 80.0, 1, false),
            (78, 80.0, 2, true),
            (990, 1000.0, 2, true),
            (989, 1000.0, 2, false),
            (90, 100.0, 50, true),
            (89, 100.0, 50, false),
        ] {
            assert_eq!(
                is_achieved(iterations, due, workers),
                enough,
                "{iterations} of {due} by {workers}"
            );
        }
    }

    #[test]
    fn a_worker_that_was_the_bottleneck_is_not_taken_for_the_target() {
        let mut stage = Stage::new();
        stage.search.advance(&stage.plan, Duration::ZERO, 0, LEAD);
        for second in 5..8 {
            let mut busy = half(100.0, 1000.0);
            (busy.counters.cpu_micros, busy.counters.core_micros) = (970_000, 1_000_000);
            stage.search.add(0, second, &busy);
            stage.search.add(1, second, &half(100.0, 1000.0));
        }
        stage
            .search
            .advance(&stage.plan, Duration::from_secs(9), 9, LEAD);
        assert_eq!(
            stage.search.result().limited_by,
            Some(result::LimitedBy::Generator)
        );
    }

    #[test]
    fn a_level_waits_for_the_samples_of_every_worker_but_not_for_ever() {
        let mut stage = Stage::new();
        let at = Duration::from_secs;
        assert!(
            stage
                .search
                .advance(&stage.plan, Duration::ZERO, 0, LEAD)
                .is_some()
        );
        assert!(stage.search.advance(&stage.plan, at(9), 7, LEAD).is_none());
        assert!(stage.search.advance(&stage.plan, at(11), 7, LEAD).is_some());
    }

    #[test]
    fn a_master_that_was_killed_goes_on_from_what_its_workers_hold() {
        let mut before = Stage::new();
        while before.search.judged.len() < 4 {
            before.pass_second(400.0);
        }
        let mut after = Stage::new();
        after
            .search
            .restore(before.announced.last().unwrap())
            .unwrap();
        after.second = before.second + 7;
        after.announced = before.announced.clone();
        let found = after.run(400.0);
        assert_eq!(found.rate, Stage::new().run(400.0).rate);
        assert_eq!(found.curve[..4], before.search.result().curve[..4]);
        let levels = &after.announced.last().unwrap().levels;
        assert!(
            levels
                .windows(2)
                .all(|pair| pair[1].at_micros > pair[0].at_micros),
            "{levels:?}"
        );
    }

    #[test]
    fn levels_of_which_nobody_can_say_what_came_are_tried_again() {
        let mut before = Stage::new();
        while before.search.judged.len() < 4 {
            before.pass_second(400.0);
        }
        let torn = fleet::Levels {
            tried: "[{".into(),
            ..before.announced.last().unwrap().clone()
        };
        let mut after = Stage::new();
        assert!(after.search.restore(&torn).is_err());
        after.second = before.second + 7;
        after.announced = before.announced.clone();
        let found = after.run(400.0);
        assert_eq!(
            (found.rate, found.curve[0].rate),
            (Stage::new().run(400.0).rate, 100.0)
        );
    }
}
