//! Measurements of each worker, and the place where it ran.

use super::roster::Roster;
use crate::stats::result::WorkerResult;
use crate::stats::summary::all_steps;

/// Lists the workers of a run by share. A share that one process took over from another has a line
/// for each place.
pub fn fleet(roster: &Roster) -> Vec<WorkerResult> {
    let mut fleet: Vec<(WorkerResult, crate::stats::StepStats)> = Vec::new();
    for (worker, place, snapshot) in roster.places() {
        let stats = all_steps(snapshot);
        match fleet
            .iter_mut()
            .rev()
            .take_while(|(known, _)| known.worker == worker)
            .find(|(known, _)| known.place == place)
        {
            Some((_, known)) => known.merge(&stats),
            None => {
                let line = WorkerResult {
                    worker,
                    place: place.to_owned(),
                    ..WorkerResult::default()
                };
                fleet.push((line, stats));
            }
        }
    }
    let lines = fleet.into_iter().map(|(line, stats)| WorkerResult {
        requests: stats.requests,
        failures: stats.failures,
        p95: stats.latency.percentile(95.0),
        ..line
    });
    lines.collect()
}
