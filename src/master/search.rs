//! The search for the capacity as the master runs it: levels announced, judged second by second,
//! and what came of them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::judge::Judge;
use super::saturation::judge_one;
use super::verdict;
use crate::plan::capacity::{JudgedLevel, LimitedBy, Next, Purpose};
use crate::plan::{Arrival, Capacity, Level, Load, Plan, Population, Profile};
use crate::stats::format;
use crate::stats::result::{self, CapacityLevel, CapacityResult, ThresholdResult, Totals, Verdict};
use crate::stats::summary::Scale;
use crate::stats::{Concurrency, Snapshot};
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
    /// Requests in flight and busy slots of all workers, second by second.
    at_once: Concurrency,
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
            current.judge.add_second(second, snapshot);
            if (current.judged_from..current.end).contains(&second) {
                current.at_once.follow(&snapshot.concurrency);
            }
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
            at_once: Concurrency::default(),
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
            at_once,
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
        merged.concurrency.refine(&at_once);
        let totals = Totals::of(&merged, scale);
        let thresholds = judge.results(&merged, scale);
        let judgement = verdict::judge(&plan, thresholds.clone(), &totals, None);
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
mod tests;
