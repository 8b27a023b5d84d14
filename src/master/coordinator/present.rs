//! The run at a moment, for those who look at it, whether it goes on or is over.

use std::time::Instant;

use jiff::Timestamp;

use super::Coordinator;
use crate::master::courses::Courses;
use crate::master::heat::Heat;
use crate::master::result::{SoFar, so_far};
use crate::master::roster::Roster;
use crate::master::search::Search;
use crate::master::timeline::Moment;
use crate::stats::Histogram;
use crate::stats::result::{CapacityResult, Event, Reason, RunResult, Verdict};
use crate::stats::summary::all_steps;
use crate::wire::control::Progress;
use crate::wire::layout::RunFile;

/// The run at a moment. Once it is over, the numbers are those of its result.
pub struct Present<'a> {
    /// The run as the operator wrote it.
    pub file: &'a RunFile,
    /// The plan of `file` as JSON.
    pub plan_json: &'a serde_json::Value,
    /// Seed of what is random.
    pub seed: u64,
    /// State and counts.
    pub progress: Progress,
    /// Time of the run's zero; `None` before it is set.
    pub started_at: Option<Timestamp>,
    /// Verdict, its reason, and the reason in words; `None` before the end.
    pub verdict: Option<(Verdict, &'a Reason, &'a str)>,
    /// Sums, and what they are judged to be.
    pub so_far: SoFar,
    /// Latencies of all successes.
    pub latency: Histogram,
    /// Service times of all successes.
    pub service_time: Histogram,
    /// Course of the run.
    pub moments: &'a [Moment],
    /// Seconds that one of the moments stands for.
    pub resolution: u32,
    /// Latencies over the course of the run.
    pub heat: &'a Heat,
    /// Courses of single steps.
    pub courses: &'a Courses,
    /// Levels of a search for the capacity.
    pub capacity: Option<CapacityResult>,
    /// The fleet.
    pub roster: &'a Roster,
    /// Notable moments.
    pub events: &'a [Event],
}

impl Coordinator {
    /// Shows the run as it is now.
    pub fn present(&self, now: Instant) -> Present<'_> {
        let merged = self.roster.merged();
        let so_far = match &self.result {
            Some(result) => of_result(result),
            None => {
                let search = self.search.as_ref();
                let elapsed = self.elapsed(now);
                so_far(&self.file.plan, &merged, &self.judge, search, elapsed)
            }
        };
        let sum = all_steps(&merged);
        Present {
            file: &self.file,
            plan_json: &self.plan_json,
            seed: self.seed,
            progress: self.progress(now),
            started_at: self.clock.map(|clock| clock.zero_at),
            verdict: self
                .result
                .as_ref()
                .map(|result| (result.verdict, &result.reason, result.message.as_str())),
            so_far,
            latency: sum.latency,
            service_time: sum.service_time,
            moments: self.timeline.moments(),
            resolution: self.timeline.resolution(),
            heat: self.timeline.heat(),
            courses: self.timeline.courses(),
            capacity: self.search.as_ref().map(Search::result),
            roster: &self.roster,
            events: &self.events,
        }
    }
}

fn of_result(result: &RunResult) -> SoFar {
    SoFar {
        totals: result.totals.clone(),
        steps: result.steps.clone(),
        errors: result.errors.clone(),
        thresholds: result.thresholds.clone(),
    }
}
