//! Two runs of a test held against each other: what changed, by how much, and how sure that is.
//!
//! Each run's measured part is in equal blocks of time. A bootstrap draws as many blocks again, with
//! replacement, from either run, and takes the difference of what they say; the middle 95% of many
//! such differences are the interval. Blocks, not requests, are drawn, since requests beside each
//! other are alike. Something is called worse or better only where the interval excludes no change
//! and the change is as large as was asked for.

mod html;
mod samples;
mod text;

use std::collections::BTreeSet;

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Serialize;

pub use html::render as render_html;
use samples::{Blocks, Drawn};
pub use text::render as render_text;

use super::names::label;
use crate::plan::Plan;
use crate::stats::format;
use crate::stats::result::{RunResult, Verdict};

/// Smallest change that counts, as a share of the first run's number, unless another is asked for.
pub const MIN_CHANGE: f64 = 0.05;
/// Number of times that blocks are drawn.
const DRAWS: usize = 500;
/// Seed of the draws: the same results compare the same each time.
const SEED: u64 = 20;
/// Fewest blocks and requests of either run that say anything.
const FEWEST_BLOCKS: usize = 5;
const FEWEST_REQUESTS: u64 = 100;
/// Smallest change of a share of failures that counts: a share of nothing has no relative change.
const MIN_SHARE: f64 = 0.001;

/// Number that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Measure {
    /// Median latency of successes, in microseconds.
    #[serde(rename = "latency p(50)")]
    P50,
    /// 95th percentile of the latency of successes, in microseconds.
    #[serde(rename = "latency p(95)")]
    P95,
    /// 99th percentile of the latency of successes, in microseconds.
    #[serde(rename = "latency p(99)")]
    P99,
    /// Share of failed requests, from 0 to 1.
    #[serde(rename = "failures rate")]
    Failures,
    /// Finished requests per second.
    #[serde(rename = "requests per second")]
    Rate,
}

impl Measure {
    const ALL: [Measure; 5] = [
        Measure::P50,
        Measure::P95,
        Measure::P99,
        Measure::Failures,
        Measure::Rate,
    ];

    /// Name for people.
    pub fn name(self) -> &'static str {
        match self {
            Measure::P50 => "latency p50",
            Measure::P95 => "latency p95",
            Measure::P99 => "latency p99",
            Measure::Failures => "failures",
            Measure::Rate => "requests per second",
        }
    }

    /// Writes a number with its unit.
    pub fn written(self, number: f64) -> String {
        match self {
            Measure::P50 | Measure::P95 | Measure::P99 => format::micros(number),
            Measure::Failures => format::percent(number),
            Measure::Rate => format!("{}/s", format::rate(number)),
        }
    }

    /// Tells whether more is worse.
    fn is_cost(self) -> bool {
        !matches!(self, Measure::Rate)
    }
}

/// Judgement of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Change {
    /// The second run is worse.
    Worse,
    /// The second run is better.
    Better,
    /// No change that is large and sure enough.
    Same,
    /// Either run has too few samples.
    TooFew,
}

/// Difference of one number between two runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Names of scenario, task and step; empty for the whole run.
    pub step: String,
    /// Number that is compared.
    pub measure: Measure,
    /// Number of the first run.
    pub first: f64,
    /// Number of the second run.
    pub second: f64,
    /// Change as a share of the first number; `None` where that is 0, and for shares of failures.
    pub relative: Option<f64>,
    /// Bounds of the middle 95% of the differences, second less first; `None` with too few samples.
    pub interval: Option<[f64; 2]>,
    /// Judgement.
    pub change: Change,
}

/// Two runs held against each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Id of the first run.
    pub first: String,
    /// Id of the second run.
    pub second: String,
    /// Differences, the worst first.
    pub differences: Vec<Difference>,
    /// Reasons why the runs may not be alike.
    pub warnings: Vec<String>,
    /// Summary in a sentence.
    pub summary: String,
}

impl Comparison {
    /// Tells whether something got worse.
    pub fn is_worse(&self) -> bool {
        let mut all = self.differences.iter();
        all.any(|difference| difference.change == Change::Worse)
    }
}

/// Compares two runs. `min_change` is the smallest change that counts, as a share of the first
/// run's number.
pub fn compare(first: &RunResult, second: &RunResult, min_change: f64) -> Comparison {
    let mut differences = Vec::new();
    let whole = [first, second].map(|run| run.blocks.as_ref().map(Blocks::of_run));
    if let [Some(a), Some(b)] = &whole {
        differences.extend(differ("", a, b, min_change));
    }
    let steps: BTreeSet<(&str, &str, &str)> = first
        .steps
        .iter()
        .map(|step| {
            (
                step.scenario.as_str(),
                step.task.as_str(),
                step.step.as_str(),
            )
        })
        .collect();
    // one step is the whole
    for names in steps.into_iter().filter(|_| first.steps.len() > 1) {
        let own = [first, second].map(|run| Blocks::of_step(run.blocks.as_ref()?, names));
        if let [Some(a), Some(b)] = &own {
            let name = label(names.0, names.1, names.2);
            differences.extend(differ(&name, a, b, min_change));
        }
    }
    differences.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    Comparison {
        first: first.run.clone(),
        second: second.run.clone(),
        summary: summary(&differences),
        differences,
        warnings: warnings(first, second),
    }
}

/// Compares the numbers of two lists of blocks.
fn differ(step: &str, a: &Blocks, b: &Blocks, min_change: f64) -> Vec<Difference> {
    let is_enough = [a, b]
        .iter()
        .all(|blocks| blocks.count() >= FEWEST_BLOCKS && blocks.requests() >= FEWEST_REQUESTS);
    let (first, second) = (a.whole(), b.whole());
    let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let drawn: Vec<(Drawn, Drawn)> = match is_enough {
        true => (0..DRAWS)
            .map(|_| (a.draw(&mut random), b.draw(&mut random)))
            .collect(),
        false => Vec::new(),
    };
    let of = |measure: Measure| {
        let (one, other) = (first.number(measure)?, second.number(measure)?);
        let differences = drawn
            .iter()
            .filter_map(|(a, b)| Some(b.number(measure)? - a.number(measure)?));
        let mut differences: Vec<f64> = differences.collect();
        differences.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = (differences.len() as f64 * share) as usize;
            differences.get(place.min(differences.len().saturating_sub(1)))
        };
        let interval = at(0.025).zip(at(0.975)).map(|(low, high)| [*low, *high]);
        let relative = (one > 0.0 && measure != Measure::Failures).then(|| (other - one) / one);
        Some(Difference {
            step: step.to_owned(),
            measure,
            first: one,
            second: other,
            relative,
            interval,
            change: judged(measure, other - one, relative, interval, min_change),
        })
    };
    Measure::ALL.into_iter().filter_map(of).collect()
}

fn judged(
    measure: Measure,
    difference: f64,
    relative: Option<f64>,
    interval: Option<[f64; 2]>,
    min_change: f64,
) -> Change {
    let Some([low, high]) = interval else {
        return Change::TooFew;
    };
    let is_sure = low > 0.0 || high < 0.0;
    let is_large = match relative {
        Some(relative) => relative.abs() >= min_change,
        None => difference.abs() >= MIN_SHARE,
    };
    match (is_sure && is_large, (difference > 0.0) == measure.is_cost()) {
        (false, _) => Change::Same,
        (true, true) => Change::Worse,
        (true, false) => Change::Better,
    }
}

/// Weight of a difference in the list: worse ones first, by their size.
fn weight(difference: &Difference) -> f64 {
    let size = match difference.relative {
        Some(relative) => relative.abs().min(1e3),
        None => 10.0 * (difference.second - difference.first).abs(),
    };
    match difference.change {
        Change::Worse => 1e6 + size,
        Change::Better => 1e3 + size,
        Change::Same | Change::TooFew => size / 1e6,
    }
}

fn summary(differences: &[Difference]) -> String {
    let with = |change: Change| differences.iter().filter(move |one| one.change == change);
    let told = |one: &Difference| {
        let of = match one.step.as_str() {
            "" => String::new(),
            step => format!(" of {step}"),
        };
        format!(
            "{}{of} went from {} to {}",
            one.measure.name(),
            one.measure.written(one.first),
            one.measure.written(one.second)
        )
    };
    let worse = with(Change::Worse).count();
    let more = match worse {
        0 | 1 => String::new(),
        2 => ", and one more number got worse".to_owned(),
        count => format!(", and {} more numbers got worse", count - 1),
    };
    if let Some(worst) = with(Change::Worse).next() {
        return format!("Worse: {}{more}.", told(worst));
    }
    if differences.is_empty() {
        return "Nothing can be compared: the results have no samples by time.".to_owned();
    }
    if differences.iter().all(|one| one.change == Change::TooFew) {
        return "Nothing can be said: there are too few samples.".to_owned();
    }
    match with(Change::Better).next() {
        Some(best) => format!("Nothing got worse; better: {}.", told(best)),
        None => "Nothing changed that is large and sure enough to tell.".to_owned(),
    }
}

/// Lists what makes two runs unlike each other.
fn warnings(first: &RunResult, second: &RunResult) -> Vec<String> {
    let mut all = Vec::new();
    let mut differ = |what: &str, a: String, b: String| {
        if a != b {
            all.push(format!("the runs have different {what}: {a} and {b}"));
        }
    };
    differ("targets", first.target.clone(), second.target.clone());
    let plans = [first, second].map(|run| serde_json::from_value::<Plan>(run.plan.clone()).ok());
    if let [Some(a), Some(b)] = &plans {
        let warmup = |plan: &Plan| format::micros(plan.warmup.as_micros() as f64);
        differ("warm-ups", warmup(a), warmup(b));
        if a.populations != b.populations {
            all.push("the runs have different loads".to_owned());
        }
    }
    for run in [first, second] {
        let told = [
            (run.generator.saturated, "its load generator was the limit"),
            (
                !run.manual_changes.is_empty(),
                "its load was changed by hand",
            ),
            (run.verdict == Verdict::Aborted, "it was stopped"),
            (run.verdict == Verdict::Errored, "it was not judged"),
            (run.workers.lost > 0, "it lost workers"),
        ];
        for (_, why) in told.iter().filter(|(is_so, _)| *is_so) {
            all.push(format!("run {}: {why}", run.run));
        }
    }
    all
}

#[cfg(test)]
mod tests;
