//! Warnings of a result: what makes its numbers mean less than they seem to.

use super::super::blocks::Blocks;
use super::super::roster::Roster;
use super::super::timeline::Timeline;
use crate::stats::format;
use crate::stats::result::{Generator, LoadResult};
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
            "only {} of the load asked for was offered",
            format::percent(load.offered)
        ));
    }
    if roster.lost() > 0 {
        warnings.push(format!(
            "{} worker processes were lost; what they had not reported (at most a second or two each) is missing",
            roster.lost()
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
    let done = roster.merged().counters.iterations;
    if let Some(planned) = file.plan.iterations().filter(|planned| done < *planned) {
        warnings.push(format!(
            "only {done} of {planned} iterations were carried out"
        ));
    }
    if blocks.lacks_seconds() {
        warnings.push("the time blocks lack what was measured before the master was restarted: of that only counts are known".to_owned());
    }
    if timeline.late() > 0 {
        warnings.push(format!(
            "{} requests were reported after their second was closed: they count in the totals, not in the series",
            timeline.late()
        ));
    }
    warnings
}
