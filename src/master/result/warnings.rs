//! Warnings of a result: what makes its numbers mean less than they seem to.

use super::super::blocks::Blocks;
use super::super::roster::Roster;
use super::super::timeline::Timeline;
use super::Unreported;
use crate::stats::format;
use crate::stats::result::{Generator, Incomplete, LoadResult};
use crate::wire::layout::RunFile;

/// Collects the warnings of a run, those found when it was checked first.
pub(super) fn warnings(
    file: &RunFile,
    roster: &Roster,
    timeline: &Timeline,
    blocks: &Blocks,
    generator: &Generator,
    load: Option<&LoadResult>,
) -> Vec<String> {
    let mut warnings = file.warnings.clone();
    // the list holds the first saturated worker whenever there is one
    if let Some(first) = generator.workers.first() {
        let first = format!("; worker {}: {}", first.worker, first.why);
        warnings.push(format!("the load generator was the bottleneck: the numbers are its own, not the target's{first}"));
    }
    if let Some(load) = load.filter(|load| load.is_below_profile()) {
        warnings.push(format!(
            "only {} of the planned load was offered: {}; {}",
            format::percent(load.offered),
            load.told(),
            load.why()
        ));
    }
    if roster.lost() > 0 {
        let lost = roster.lost();
        warnings.push(format!(
            "{lost} worker processes were lost; what they had not reported is missing"
        ));
    }
    if roster.left_early() > 0 {
        warnings.push(format!(
            "{} worker processes were told to go before the end; their share was missing until a replacement took it",
            roster.left_early()
        ));
    }
    if roster.failed() > 0 {
        warnings.push(format!(
            "{} worker processes did not carry out all of their share; the events say why",
            roster.failed()
        ));
    }
    // of a run that was cut short, `load` does not say it
    let planned = file
        .plan
        .iterations()
        .filter(|_| !load.is_some_and(LoadResult::is_below_profile));
    let done = roster.merged().counters.iterations;
    if let Some(planned) = planned.filter(|planned| done < *planned) {
        warnings.push(format!(
            "only {done} of {planned} iterations were carried out"
        ));
    }
    if blocks.lacks_seconds() {
        warnings.push("the time blocks lack seconds that a worker could not report while they were recent: of those only counts are known".to_owned());
    }
    if timeline.late() > 0 {
        warnings.push(format!(
            "{} requests were reported after their second was closed: they count in the totals, not in the series",
            timeline.late()
        ));
    }
    warnings
}

/// Most workers whose unreported spans are told one by one.
const SPANS: usize = 8;

/// Tells what is missing of workers that were lost, with its real span.
pub(super) fn of_losses(losses: &[Unreported], incomplete: Option<Incomplete>) -> Vec<String> {
    let mut warnings: Vec<String> = losses
        .iter()
        .take(SPANS)
        .map(|loss| {
            format!(
                "nothing is known of what worker {} did from {} s to at most {} s into the run",
                loss.worker,
                loss.from.as_secs(),
                loss.until.as_secs_f64().ceil()
            )
        })
        .collect();
    if losses.len() > SPANS {
        warnings.push(format!(
            "{} more workers were lost with a part of what they did",
            losses.len() - SPANS
        ));
    }
    if let Some(Incomplete { workers, requests }) = incomplete {
        warnings.push(format!(
            "the master was lost, and with it {requests} requests of {workers} worker processes that had died before"
        ));
    }
    warnings
}
