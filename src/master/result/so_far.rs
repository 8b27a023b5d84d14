//! The result of a run that goes on, as far as it can be said before the end.

use std::time::Duration;

use super::names::{flow_names, step_names};
use super::scale;
use crate::master::judge::Judge;
use crate::master::search::Search;
use crate::plan::Plan;
use crate::stats::Snapshot;
use crate::stats::result::{ErrorResult, StepResult, ThresholdResult, Totals};
use crate::stats::summary::{error_results, step_results};

/// Sums of a run, and what they are judged to be.
#[derive(Debug, Clone, PartialEq)]
pub struct SoFar {
    /// Sums over all steps.
    pub totals: Totals,
    /// Results of each step, in the order of the plan.
    pub steps: Vec<StepResult>,
    /// Failures by class, step and status, the most frequent first.
    pub errors: Vec<ErrorResult>,
    /// Judgement of each threshold; of a search for the capacity that of the level it keeps, and
    /// none before it keeps one.
    pub thresholds: Vec<ThresholdResult>,
}

/// Sums up a run `elapsed` after its zero, from all samples so far.
pub fn so_far(
    plan: &Plan,
    merged: &Snapshot,
    judge: &Judge,
    search: Option<&Search>,
    elapsed: Duration,
) -> SoFar {
    let scale = scale(plan, Some(elapsed));
    let names = step_names(plan);
    let thresholds = match search {
        None => judge.results(merged, scale),
        Some(search) => {
            let kept = search.kept().map(|level| level.thresholds.clone());
            kept.unwrap_or_default()
        }
    };
    SoFar {
        totals: Totals::of(merged, scale),
        steps: step_results(merged, &names, scale),
        errors: error_results(merged, &[names, flow_names(plan)].concat()),
        thresholds,
    }
}
