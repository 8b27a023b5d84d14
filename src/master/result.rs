//! The whole result of a run, from everything its workers handed over.

mod ending;
mod names;
mod offered;
mod so_far;
mod warnings;

use std::time::Duration;

use jiff::Timestamp;

pub use ending::{Ending, Obstacle};
use ending::{judge_capacity, judgement, with_changes, with_losses};
pub use names::step_names;
use names::{flow_names, task_names, trend_names};
use offered::Circumstances;
pub use so_far::{SoFar, so_far};
use warnings::warnings;

use super::blocks::Blocks;
use super::cost;
use super::judge::Judge;
use super::places;
use super::roster::Roster;
use super::saturation;
use super::search::Search;
use super::timeline::Timeline;
use super::verdict;
use crate::plan::Plan;
use crate::stats::Snapshot;
use crate::stats::result::{
    Event, FeederResult, Incomplete, ManualChange, RunResult, SCHEMA_VERSION, ThresholdResult,
    Totals, Workers,
};
use crate::stats::summary::{
    Scale, error_results, histogram_results, record_results, step_results, task_results,
};
use crate::wire::layout::RunFile;

/// Time before the load was cut for which nothing counts as missing: what cuts it, such as the last
/// row of a feeder, ends the users of some workers before others, and before the master hears.
const HEARING: Duration = Duration::from_secs(1);

/// Everything that a result is made of.
pub struct Parts<'a> {
    /// The run as the operator wrote it.
    pub file: &'a RunFile,
    /// The plan of `file` as JSON.
    pub plan_json: serde_json::Value,
    /// Seed of what was random.
    pub seed: u64,
    /// Ending of the run.
    pub ending: Ending,
    /// Time of the run's zero; `None` when no load was started.
    pub started_at: Option<Timestamp>,
    /// Time from the run's zero to the end of the load, where something ended it before its time.
    pub cut_at: Option<Duration>,
    /// Time of the end.
    pub finished_at: Timestamp,
    /// Samples and losses of the workers.
    pub roster: &'a Roster,
    /// The series, by run second.
    pub timeline: &'a Timeline,
    /// The search, where the run is one for the capacity.
    pub search: Option<&'a Search>,
    /// The thresholds.
    pub judge: &'a Judge,
    /// Events so far.
    pub events: &'a [Event],
    /// Use of the feeders that all workers share.
    pub feeders: Vec<FeederResult>,
    /// Warnings that do not come from the load.
    pub warnings: &'a [String],
    /// Changes of load by hand.
    pub manual_changes: Vec<ManualChange>,
    /// Part of the planned load that is left, where they took too much of it.
    pub lowered: Option<f64>,
    /// The measured part in blocks of time.
    pub blocks: &'a Blocks,
    /// Spans of which lost workers have not reported what they did.
    pub losses: Vec<Unreported>,
    /// Iterations that were given out again.
    pub reissued: u64,
    /// Bytes of samples that a worker sent in each second, on average.
    pub reported_per_second: u64,
    /// Samples that an earlier master had and nobody holds any more.
    pub incomplete: Option<Incomplete>,
}

/// Span of the run of which a lost worker has not reported what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreported {
    /// Index of the worker.
    pub worker: u32,
    /// End of what it reported, since the run's zero.
    pub from: Duration,
    /// Time since the run's zero at which its load was over at the latest.
    pub until: Duration,
}

/// Builds the result of a run that is over.
pub fn build(parts: Parts<'_>) -> RunResult {
    let Parts {
        file,
        plan_json,
        seed,
        ending,
        started_at,
        cut_at,
        finished_at,
        roster,
        timeline,
        judge,
        search,
        events,
        feeders,
        warnings: beside,
        manual_changes,
        lowered,
        blocks,
        losses,
        reissued,
        reported_per_second,
        incomplete,
    } = parts;
    let plan = &file.plan;
    let mut whole = roster.merged().into_owned();
    whole.concurrency.refine(&timeline.most_at_once());
    let generator = saturation::judge(&whole, roster);
    let Measured {
        samples: merged,
        scale,
        thresholds,
    } = measured(plan, whole, roster, search, judge);
    let totals = Totals {
        late: timeline.late(),
        ..Totals::of(&merged, scale)
    };
    let names = step_names(plan);
    let until = cut_at.map_or(Duration::MAX, |at| at.saturating_sub(plan.warmup + HEARING));
    let circumstances = Circumstances {
        workers: roster.fewest_workers(),
        gone: roster.lost() + roster.left_early() + roster.failed(),
        generator: &generator,
        until,
    };
    let load = offered::offered(plan, &merged, &circumstances)
        .filter(|_| started_at.is_some() && search.is_none() && roster.tells_offered_load());
    let judged = verdict::judge(plan, thresholds, &totals, load.as_ref());
    let capacity = search.map(Search::result);
    let judged = match &capacity {
        Some(found) => judge_capacity(found, judged),
        None => judged,
    };
    let judgement = judgement(plan, judged, &generator, load.as_ref(), ending);
    let judgement = with_changes(judgement, manual_changes.len(), lowered);
    let message = with_losses(judgement.message, roster);
    RunResult {
        schema_version: SCHEMA_VERSION.to_owned(),
        run: file.run.clone(),
        name: file.name.clone(),
        namespace: file.namespace.clone(),
        target: plan.target.url.to_string(),
        digest: file.digest.clone(),
        plan: plan_json,
        seed,
        overrides: file.overrides.clone(),
        started_at: started_at.map(|at| at.to_string()),
        finished_at: finished_at.to_string(),
        duration_micros: scale.length.as_micros() as u64,
        verdict: judgement.verdict,
        reason: judgement.reason,
        message,
        steps: step_results(&merged, &names, scale),
        tasks: task_results(&merged, &task_names(plan)),
        records: record_results(&merged, &trend_names(plan)),
        errors: error_results(&merged, &[names.clone(), flow_names(plan)].concat()),
        thresholds: judgement.thresholds,
        workers: Workers {
            planned: roster.workers(),
            lost: roster.lost(),
            rejoined: roster.rejoined(),
            reissued,
            bytes_per_second: reported_per_second,
        },
        incomplete,
        fleet: places::fleet(roster),
        series: timeline.points(),
        histograms: histogram_results(&merged, &names),
        blocks: if search.is_some() {
            None
        } else {
            blocks.result(&names)
        },
        feeders,
        manual_changes,
        events: events.to_vec(),
        warnings: [
            warnings(file, roster, timeline, blocks, &generator, load.as_ref()),
            warnings::of_losses(&losses, incomplete),
            beside.to_vec(),
        ]
        .concat(),
        concurrency: cost::concurrency(&merged, scale),
        cost: plan
            .cost
            .as_ref()
            .map(|prices| cost::price(prices, &totals, &merged, capacity.as_ref(), &generator)),
        capacity,
        generator,
        load,
        totals,
    }
}

/// The samples that a result is of, and what is known of the time in which they were taken.
struct Measured {
    samples: Snapshot,
    scale: Scale,
    thresholds: Vec<ThresholdResult>,
}

/// Picks the level that a search for the capacity keeps, or else the whole run.
fn measured(
    plan: &Plan,
    whole: Snapshot,
    roster: &Roster,
    search: Option<&Search>,
    judge: &Judge,
) -> Measured {
    match search.and_then(Search::kept) {
        Some(level) => Measured {
            samples: with_the_rest_as_warmup(&level.samples, &whole),
            scale: level.scale,
            thresholds: level.thresholds.clone(),
        },
        None => {
            let scale = scale(plan, roster.length());
            Measured {
                thresholds: judge.results(&whole, scale),
                samples: whole,
                scale,
            }
        }
    }
}

/// Length and planned arrivals of a run, which a summary of its samples needs. `took` is the time
/// from the run's zero to the end of the load, if that is known.
fn scale(plan: &Plan, took: Option<Duration>) -> Scale {
    let took = took.map(|took| took.saturating_sub(plan.warmup));
    // a run that was stopped took less than planned; of one that was lost the time is not known
    let length = match (plan.length(), took) {
        (Some(planned), Some(took)) => planned.min(took),
        // no length was planned and no worker came to its end: without a length there are no rates
        (planned, took) => planned.or(took).unwrap_or(Duration::ZERO),
    };
    Scale {
        length,
        arrivals: plan.arrivals_until(length),
    }
}

/// Makes the requests of all other levels warm-up, so that they are counted, but in no result. What
/// is done once, or by users at their beginning and end, is of no level.
fn with_the_rest_as_warmup(level: &Snapshot, whole: &Snapshot) -> Snapshot {
    let mut level = level.clone();
    level.counters.control = whole.counters.control;
    level.counters.control_failures = whole.counters.control_failures;
    level.counters.warmup += whole
        .received_by_target()
        .saturating_sub(level.received_by_target());
    level
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Counters, StepStats};

    #[test]
    fn beside_the_kept_level_all_but_control_is_warmup() {
        let of = |requests, counters| Snapshot {
            steps: [(
                0,
                StepStats {
                    requests,
                    ..StepStats::default()
                },
            )]
            .into(),
            counters,
            ..Snapshot::default()
        };
        let level = of(
            100,
            Counters {
                control: 1,
                retries: 2,
                ..Counters::default()
            },
        );
        let whole = of(
            700,
            Counters {
                control: 9,
                control_failures: 3,
                warmup: 50,
                retries: 5,
                ..Counters::default()
            },
        );
        let kept = with_the_rest_as_warmup(&level, &whole);
        assert_eq!(
            (kept.requests(), kept.received_by_target()),
            (100, whole.received_by_target())
        );
        let counters = Counters {
            control: 9,
            control_failures: 3,
            warmup: 653,
            retries: 2,
            ..Counters::default()
        };
        assert_eq!(kept.counters, counters);
    }
}
