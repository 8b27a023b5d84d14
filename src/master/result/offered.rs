//! Load that was offered, compared with the profiles.

use std::time::Duration;

use crate::plan::{Load, Plan, SPAWN_RATE, UserTime};
use crate::stats::result::{
    ArrivalLoad, Cause, Generator, IterationLoad, LoadResult, Shortfall, UserLoad,
};
use crate::stats::{Counters, Snapshot, format};

/// Part of an arrival that is taken for a whole one.
const ROUNDING: f64 = 0.999;

/// Circumstances of a run beside the load that was counted.
pub(super) struct Circumstances<'a> {
    /// Number of workers that were planned.
    pub(super) workers: u32,
    /// Number of worker processes that were lost, left early or failed in part.
    pub(super) gone: u32,
    /// Condition of the load generator.
    pub(super) generator: &'a Generator,
    /// Time of the measured part up to which load counts; the maximum if nothing cut the run short.
    pub(super) until: Duration,
}

/// Compares what the workers measured with what the plan asks for. `None` where the plan does not
/// say how much load there is to be.
pub(super) fn offered(
    plan: &Plan,
    merged: &Snapshot,
    circumstances: &Circumstances<'_>,
) -> Option<LoadResult> {
    let counters = &merged.counters;
    let Circumstances { workers, until, .. } = *circumstances;
    let planned = plan.iterations().filter(|_| until == Duration::MAX);
    let iterations = planned.map(|planned| IterationLoad {
        planned,
        begun: counters.iterations.min(planned),
    });
    let arrivals = plan
        .open_arrivals(until)
        .map(|planned| arrivals(planned, counters));
    let users = plan.user_time(until, workers).map(|time| UserLoad {
        planned: plan.users_wanted(until),
        most: merged.concurrency.users.most(),
        ..users(time, counters)
    });
    let offered = [
        arrivals.as_ref().map(ArrivalLoad::offered),
        users.as_ref().map(UserLoad::offered),
        iterations.as_ref().map(IterationLoad::offered),
    ];
    let offered = offered.into_iter().flatten().reduce(f64::min)?;
    let load = LoadResult {
        offered,
        arrivals,
        users,
        iterations,
        shortfalls: Vec::new(),
    };
    Some(LoadResult {
        shortfalls: shortfalls(plan, &load, counters, circumstances),
        ..load
    })
}

fn arrivals(planned: u64, counters: &Counters) -> ArrivalLoad {
    // whole arrivals are compared with parts of them, which each shard rounds to a millionth
    let taken_on = (counters.arrival_micros as f64 / 1e6 + ROUNDING).floor() as u64;
    ArrivalLoad {
        planned,
        missing: planned.saturating_sub(taken_on),
        dropped: counters.dropped.min(planned),
    }
}

fn users(time: UserTime, counters: &Counters) -> UserLoad {
    let UserTime { wanted, possible } = time;
    let micros = |seconds: f64| (seconds * 1e6).round() as u64;
    let accounted_for = counters.user_micros + counters.retired_micros;
    UserLoad {
        planned_micros: micros(wanted),
        there_micros: counters.user_micros,
        held_back_micros: micros(wanted - possible),
        retired_micros: counters.retired_micros,
        paused_micros: counters.retry_pause_micros.min(counters.user_micros),
        missing_micros: micros(possible).saturating_sub(accounted_for),
        ..UserLoad::default()
    }
}

/// Smallest share of the planned load that is told with its reason: less is the jitter of clocks.
const WORTH_TELLING: f64 = 0.0005;

/// Finds out why planned load was not offered.
fn shortfalls(
    plan: &Plan,
    load: &LoadResult,
    counters: &Counters,
    circumstances: &Circumstances<'_>,
) -> Vec<Shortfall> {
    let mut found = Vec::new();
    if let Some(ArrivalLoad {
        planned,
        missing,
        dropped,
    }) = load.arrivals
    {
        let no_row = counters.feeder_drops.min(dropped);
        let busy = no_free_slot(plan, circumstances.generator);
        found.push((missing, planned, absent(circumstances)));
        found.push((dropped - no_row, planned, busy));
        found.push((no_row, planned, no_row_left()));
    }
    if let Some(users) = load.users {
        let planned = users.planned_micros;
        found.push((users.missing_micros, planned, absent(circumstances)));
        found.push((
            users.held_back_micros,
            planned,
            spawn_rate(plan, circumstances),
        ));
        found.push((users.paused_micros, planned, retry_pause()));
        found.push((users.retired_micros, planned, retired()));
    }
    if let Some(IterationLoad { planned, begun }) = load.iterations {
        // those that `maxDuration` left over are counted as dropped
        let out_of_time = counters.dropped.min(planned - begun);
        let time = (
            Cause::MaxDuration,
            "maxDuration was over before they were all done".to_owned(),
        );
        let rest = if circumstances.gone > 0 {
            absent(circumstances)
        } else {
            retired()
        };
        if load.arrivals.is_none() {
            found.push((out_of_time, planned, time));
        }
        found.push((planned - begun - out_of_time, planned, rest));
    }
    let mut shortfalls: Vec<Shortfall> = found
        .into_iter()
        .map(|(part, whole, (cause, why))| Shortfall {
            cause,
            share: part as f64 / whole.max(1) as f64,
            why,
        })
        .filter(|shortfall| shortfall.share >= WORTH_TELLING)
        .collect();
    shortfalls.sort_by(|a, b| b.share.total_cmp(&a.share));
    shortfalls
}

fn saturated(generator: &Generator) -> Option<(Cause, String)> {
    let first = generator.workers.first().filter(|_| generator.saturated)?;
    let why = format!(
        "the load generator was saturated: worker {}: {}",
        first.worker, first.why
    );
    Some((Cause::GeneratorSaturated, why))
}

/// Reason why load that should have been there was not.
fn absent(circumstances: &Circumstances<'_>) -> (Cause, String) {
    let Circumstances {
        gone, generator, ..
    } = circumstances;
    match gone {
        0 => saturated(generator).unwrap_or_else(|| {
            let why = "it came late or never, though no worker was lost";
            (Cause::Late, why.to_owned())
        }),
        1 => (
            Cause::WorkersLost,
            "a worker was lost or left early".to_owned(),
        ),
        gone => (
            Cause::WorkersLost,
            format!("{gone} workers were lost or left early"),
        ),
    }
}

fn no_free_slot(plan: &Plan, generator: &Generator) -> (Cause, String) {
    saturated(generator).unwrap_or_else(|| {
        let open = plan.populations.iter().map(|population| &population.load);
        let slots: u64 = open
            .filter(|load| load.is_open())
            .map(|load| load.most())
            .sum();
        let why = format!(
            "arrivals were dropped, since all {} slots of maxInFlight were busy",
            format::count(slots)
        );
        (Cause::NoFreeSlot, why)
    })
}

fn no_row_left() -> (Cause, String) {
    let why = "arrivals found no row of a feeder";
    (Cause::NoRow, why.to_owned())
}

fn spawn_rate(plan: &Plan, circumstances: &Circumstances<'_>) -> (Cause, String) {
    let rates = plan
        .populations
        .iter()
        .filter_map(|population| match &population.load {
            Load::Closed { spawn_rate, .. } => Some(*spawn_rate),
            Load::Open { .. } | Load::Iterations(_) | Load::Capacity(_) => None,
        });
    let rates: Vec<String> = rates
        .map(|rate| {
            let rate = rate.unwrap_or(SPAWN_RATE * f64::from(circumstances.workers));
            format!("{}/s", format::rate(rate))
        })
        .collect();
    let why = format!(
        "users start no faster than spawnRate allows ({})",
        rates.join(", ")
    );
    (Cause::SpawnRate, why)
}

fn retry_pause() -> (Cause, String) {
    let why = "users paused after requests that failed at once (retryPause)";
    (Cause::RetryPause, why.to_owned())
}

fn retired() -> (Cause, String) {
    let why = "users had ended, as the test says";
    (Cause::Retired, why.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(load: serde_json::Value) -> Plan {
        let spec = json!({
            "target": {"url": "http://t"},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
            "load": load,
        });
        crate::crd::check(&serde_json::from_value(spec).unwrap())
            .unwrap()
            .plan
    }

    fn compared(plan: &Plan, counters: Counters, most: u64, gone: u32) -> Option<LoadResult> {
        until(plan, counters, most, gone, Duration::MAX)
    }

    fn until(
        plan: &Plan,
        counters: Counters,
        most: u64,
        gone: u32,
        until: Duration,
    ) -> Option<LoadResult> {
        let mut merged = Snapshot {
            counters,
            ..Snapshot::default()
        };
        merged.concurrency.users.set_most(most);
        let circumstances = Circumstances {
            workers: 2,
            gone,
            generator: &Generator::default(),
            until,
        };
        offered(plan, &merged, &circumstances)
    }

    fn causes(load: &LoadResult) -> Vec<Cause> {
        load.shortfalls.iter().map(|s| s.cause).collect()
    }

    #[test]
    fn arrivals_of_a_worker_that_was_never_there_are_missing() {
        let plan = plan(json!({"open": {"rate": 200, "duration": "60s", "maxInFlight": 10}}));
        let counters = Counters {
            arrival_micros: 6_420_000_000,
            dropped: 20,
            ..Counters::default()
        };
        let load = compared(&plan, counters, 0, 1).unwrap();
        let arrivals = load.arrivals.unwrap();
        assert_eq!((arrivals.planned, arrivals.missing), (12_000, 5_580));
        assert!((load.offered - 6_400.0 / 12_000.0).abs() < 1e-9, "{load:?}");
        assert!(load.is_below_profile());
        assert_eq!(causes(&load), [Cause::WorkersLost, Cause::NoFreeSlot]);
        assert_eq!(load.told(), "12,000 arrivals planned, 6,400 offered");
        // of a run that was stopped, only what was due by then
        let stopped = until(&plan, counters, 0, 0, Duration::from_secs(30)).unwrap();
        assert_eq!(stopped.arrivals.unwrap().missing, 0);
    }

    #[test]
    fn users_held_back_as_planned_are_a_warning_and_not_missing() {
        let plan = plan(
            json!({"closed": {"users": 400, "rampUp": "1s", "duration": "1s", "spawnRate": 100}}),
        );
        let counters = Counters {
            user_micros: 201_000_000,
            ..Counters::default()
        };
        let load = compared(&plan, counters, 200, 0).unwrap();
        assert!(load.is_below_profile(), "{load:?}");
        assert!(load.users.unwrap().missing() < 0.01, "{load:?}");
        assert_eq!(causes(&load), [Cause::SpawnRate]);
        let told = load.told();
        assert!(
            told.starts_with("400 users planned, at most 200 at once; "),
            "{told}"
        );
        assert!(!load.shortfalls[0].cause.is_of_generator());
        let absent = compared(&plan, Counters::default(), 0, 0).unwrap();
        assert_eq!(absent.users.unwrap().missing(), 1.0);
    }

    #[test]
    fn a_level_that_was_never_reached_is_said_even_if_little_time_is_missing() {
        let plan = plan(json!({"closed": {"spawnRate": 10, "stages": [
            {"duration": "0s", "target": 10}, {"duration": "1h", "target": 10},
            {"duration": "0s", "target": 100}, {"duration": "1s", "target": 100},
        ]}}));
        let counters = Counters {
            user_micros: 36_015_000_000,
            ..Counters::default()
        };
        let load = compared(&plan, counters, 20, 0).unwrap();
        assert!(load.offered > 0.99 && load.is_below_profile(), "{load:?}");
        // a moment before the end the ramp has not come to its last user
        let ramp =
            super::tests::plan(json!({"closed": {"stages": [{"duration": "5s", "target": 10}]}}));
        let counters = Counters {
            user_micros: 22_500_000,
            ..Counters::default()
        };
        let load = compared(&ramp, counters, 9, 0).unwrap();
        assert!(!load.is_below_profile(), "{load:?}");
    }

    #[test]
    fn pauses_of_our_own_are_load_that_was_not_offered() {
        let plan = plan(json!({"closed": {"users": 1, "duration": "10s"}}));
        let counters = Counters {
            user_micros: 10_000_000,
            retry_pause_micros: 9_000_000,
            ..Counters::default()
        };
        let load = compared(&plan, counters, 1, 0).unwrap();
        assert!((load.offered - 0.1).abs() < 1e-9, "{load:?}");
        assert_eq!(causes(&load), [Cause::RetryPause]);
        assert!(load.why().ends_with("(90%)"), "{}", load.why());
    }

    #[test]
    fn iterations_that_were_left_over_are_planned_load() {
        let plan = plan(json!({"iterations": {"count": 10, "users": 1, "maxDuration": "1s"}}));
        let counters = Counters {
            iterations: 4,
            dropped: 6,
            ..Counters::default()
        };
        let load = compared(&plan, counters, 1, 0).unwrap();
        assert_eq!(
            (load.offered, causes(&load)),
            (0.4, vec![Cause::MaxDuration])
        );
        assert_eq!(load.told(), "10 iterations planned, 4 begun");
        // of a run that was stopped nobody expects all
        let stopped = until(&plan, counters, 1, 0, Duration::from_secs(1));
        assert_eq!(stopped, None);
    }
}
