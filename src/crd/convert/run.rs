//! The settings of a run and of its workers: deadline, request log, replicas.

use std::time::Duration;

use super::Problems;
use super::feeder::check_volumes;
use super::load::percent;
use crate::crd::spec::{PerWorkerSpec, SamplesSpec, WorkersSpec};
use crate::plan::share::MAX_WORKERS;
use crate::plan::{Load, Population, RequestLog, duration};

/// Time that the default deadline adds to the planned length of a run.
const SPARE: Duration = Duration::from_secs(600);
/// Least default deadline of a run whose length is unknown beforehand.
const OPEN_ENDED: Duration = Duration::from_secs(2 * 3600);

/// Checks the volumes and the number of the workers, and returns how many there are in the cluster.
pub(super) fn check_workers(
    workers: &WorkersSpec,
    populations: &[Population],
    problems: &mut Problems,
) -> u32 {
    check_volumes(&workers.volumes, problems);
    let count = count_workers(workers, populations, problems);
    let all = count.saturating_add(workers.elsewhere());
    if workers.external.is_some() && (workers.elsewhere() == 0 || all > MAX_WORKERS) {
        problems.add(
            "spec.workers.external.replicas",
            format!("must be at least 1, and {MAX_WORKERS} at most together with the others"),
        );
    }
    count
}

/// Returns how many workers there are in the cluster.
fn count_workers(
    workers: &WorkersSpec,
    populations: &[Population],
    problems: &mut Problems,
) -> u32 {
    let Some(most) = &workers.per_worker else {
        if !(1..=MAX_WORKERS).contains(&workers.replicas) {
            problems.add(
                "spec.workers.replicas",
                format!("must be at least 1 and at most {MAX_WORKERS}"),
            );
        }
        return workers.replicas;
    };
    fleet(most, populations, problems)
}

/// Returns how many workers the load needs if none has more than `most`.
fn fleet(most: &PerWorkerSpec, populations: &[Population], problems: &mut Problems) -> u32 {
    const PATH: &str = "spec.workers.perWorker";
    let PerWorkerSpec {
        max_users,
        max_rate,
    } = *most;
    let (mut users, mut rate) = (0.0, 0.0);
    for Population { load, .. } in populations {
        match load {
            Load::Closed { .. } | Load::Iterations(_) => users += load.max_level(),
            Load::Open { .. } => rate += load.max_level(),
            Load::Capacity(capacity) => rate += capacity.max,
        }
    }
    let mut needed = 1;
    for (field, most, load) in [("maxUsers", max_users, users), ("maxRate", max_rate, rate)] {
        match most {
            None => {}
            Some(0) => problems.add(format!("{PATH}.{field}"), "must be at least 1"),
            Some(most) => needed = needed.max((load / f64::from(most)).ceil() as u32),
        }
    }
    if max_users.or(max_rate).is_none() {
        problems.add(PATH, "needs maxUsers or maxRate");
    }
    if needed > MAX_WORKERS {
        problems.add(
            PATH,
            format!("the load needs {needed} workers; there may be {MAX_WORKERS}"),
        );
    }
    needed.min(MAX_WORKERS)
}

/// Returns a remark on a number of workers that does not count.
pub(super) fn replicas_remark(workers: &WorkersSpec, count: u32) -> Option<String> {
    let ignored = workers.per_worker.is_some() && ![1, count].contains(&workers.replicas);
    ignored.then(|| {
        format!(
            "spec.workers.replicas: {} is not used, since perWorker goes before it: {count} workers",
            workers.replicas
        )
    })
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::crd::{Checked, check};
    use crate::plan::Problem;

    fn checked(load: Value, workers: Value) -> Result<Checked, Vec<Problem>> {
        let spec = json!({
            "target": {"url": "http://t"},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
            "load": load,
            "workers": workers,
        });
        check(&serde_json::from_value(spec).unwrap())
    }

    fn count(load: Value, workers: Value) -> u32 {
        checked(load, workers).unwrap().workers
    }

    fn problem(load: Value, workers: Value) -> String {
        checked(load, workers).unwrap_err()[0].to_string()
    }

    #[test]
    fn a_fleet_is_as_large_as_the_load_needs() {
        let users = |users, most| {
            let load = json!({"closed": {"users": users, "duration": "1s"}});
            count(load, json!({"perWorker": {"maxUsers": most}}))
        };
        assert_eq!(
            (users(1000, 250), users(1001, 250), users(1, 250)),
            (4, 5, 1)
        );
        let open = json!({"open": {"rate": 900, "duration": "1s", "maxInFlight": 10}});
        let both = json!({"perWorker": {"maxUsers": 1, "maxRate": 400}});
        assert_eq!(count(open.clone(), both), 3);
        // a bound on users says nothing about load by the clock
        assert_eq!(count(open, json!({"perWorker": {"maxUsers": 1}})), 1);
        let search = json!({"capacity": {"start": 10, "max": 1000, "maxInFlight": 10}});
        assert_eq!(count(search, json!({"perWorker": {"maxRate": 100}})), 10);
        let closed = json!({"closed": {"users": 7, "duration": "1s"}});
        assert_eq!(count(closed, json!({"replicas": 3})), 3);
    }

    #[test]
    fn a_number_of_workers_that_does_not_count_is_a_remark() {
        let warnings = |replicas| {
            let load = json!({"closed": {"users": 8, "duration": "1s"}});
            let workers = json!({"replicas": replicas, "perWorker": {"maxUsers": 2}});
            let checked = checked(load, workers).unwrap();
            assert_eq!(checked.workers, 4);
            let about = |warning: &&String| warning.starts_with("spec.workers.replicas:");
            checked.warnings.iter().filter(about).count()
        };
        // the API server stores a 1 where none is given
        assert_eq!((warnings(1), warnings(4), warnings(3)), (0, 0, 1));
    }

    #[test]
    fn a_fleet_is_never_larger_than_two_thousand_workers() {
        let load = json!({"closed": {"users": 4001, "duration": "1s"}});
        let said = problem(load.clone(), json!({"perWorker": {"maxUsers": 2}}));
        assert!(said.contains("spec.workers.perWorker"), "{said}");
        assert!(said.contains("needs 2001 workers"), "{said}");
        let said = problem(load.clone(), json!({"perWorker": {"maxUsers": 0}}));
        assert!(said.contains("spec.workers.perWorker.maxUsers"), "{said}");
        let said = problem(load.clone(), json!({"perWorker": {}}));
        assert!(said.contains("needs maxUsers or maxRate"), "{said}");
        for external in [0, 1_999] {
            let workers = json!({"replicas": 2, "external": {"replicas": external}});
            let said = problem(load.clone(), workers);
            assert!(said.contains("spec.workers.external.replicas"), "{said}");
        }
        for replicas in [0, 2001] {
            let said = problem(load.clone(), json!({"replicas": replicas}));
            assert!(said.contains("spec.workers.replicas"), "{said}");
        }
    }
}
