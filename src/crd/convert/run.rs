//! The settings of a run and of its workers: deadline, request log, replicas.

use std::time::Duration;

use super::Problems;
use super::feeder::check_volumes;
use super::load::percent;
use crate::crd::spec::{SamplesSpec, WorkersSpec};
use crate::plan::{Population, RequestLog, duration};

/// Time that the default deadline adds to the planned length of a run.
const SPARE: Duration = Duration::from_secs(600);
/// Least default deadline of a run whose length is unknown beforehand.
const OPEN_ENDED: Duration = Duration::from_secs(2 * 3600);

/// Checks the volumes and the number of the workers.
pub(super) fn check_workers(workers: &WorkersSpec, problems: &mut Problems) {
    check_volumes(&workers.volumes, problems);
    if workers.replicas == 0 {
        problems.add("spec.workers.replicas", "must be at least 1");
    }
}

/// Returns the deadline of a run, from the grant. `load` is the length of the warm-up and the
/// populations, `beside_load` the longest time that passes before and after them.
///
/// If `requested` is `None`, the deadline is the planned length and [`SPARE`], and at least
/// [`OPEN_ENDED`] where the length is unknown beforehand. One shorter than the planned length is a
/// mistake.
pub(super) fn check_deadline(
    requested: Option<&str>,
    load: Option<&(Duration, Vec<Population>)>,
    beside_load: Duration,
    problems: &mut Problems,
) -> Duration {
    let (warmup, populations) = load.map_or((Duration::ZERO, &[][..]), |(warmup, populations)| {
        (*warmup, populations)
    });
    let around = |longest: Duration| warmup + longest + beside_load;
    let longest = |of: fn(&Population) -> Option<Duration>| {
        populations
            .iter()
            .filter_map(of)
            .max()
            .map(around)
            .unwrap_or_default()
    };
    let planned = longest(Population::length);
    let Some(text) = requested else {
        let open_ended = populations
            .iter()
            .any(|population| population.length().is_none());
        return (longest(Population::longest) + SPARE).max(if open_ended {
            OPEN_ENDED
        } else {
            Duration::ZERO
        });
    };
    let deadline = problems.duration("spec.run.deadline", text);
    if deadline < planned {
        problems.add(
            "spec.run.deadline",
            format!(
                "is shorter than the load, stopTimeout and what comes before the load together, {}",
                duration::format(planned)
            ),
        );
    }
    deadline
}

/// Checks the settings of the request log.
pub(super) fn check_request_log(spec: &SamplesSpec, problems: &mut Problems) -> Option<RequestLog> {
    let SamplesSpec {
        rate,
        max_bytes,
        max_body_bytes,
    } = spec;
    let Some(share) = percent(rate).filter(|share| *share > 0.0) else {
        problems.add(
            "spec.samples.rate",
            format!("{rate:?} is not a share above 0% and at most 100%"),
        );
        return None;
    };
    Some(RequestLog {
        rate: share,
        max_bytes: (*max_bytes).into(),
        max_body_bytes: *max_body_bytes,
    })
}
