//! Load that was offered, compared with the profiles.

use std::time::Duration;

use crate::plan::{Plan, UserTime};
use crate::stats::Counters;
use crate::stats::result::{ArrivalLoad, LoadResult, UserLoad};

/// Part of an arrival that is taken for a whole one.
const ROUNDING: f64 = 0.999;

/// Compares what the workers counted with the profiles up to `until` of the measured part. `None`
/// where no profile says how much load there is to be.
pub(super) fn offered(
    plan: &Plan,
    workers: u32,
    counters: &Counters,
    until: Duration,
) -> Option<LoadResult> {
    let arrivals = plan
        .open_arrivals(until)
        .map(|planned| arrivals(planned, counters));
    let users = plan
        .user_time(until, workers)
        .map(|time| users(time, counters));
    let offered = [
        arrivals.as_ref().map(ArrivalLoad::offered),
        users.as_ref().map(UserLoad::offered),
    ];
    let offered = offered.into_iter().flatten().reduce(f64::min)?;
    Some(LoadResult {
        offered,
        arrivals,
        users,
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
    let micros = |seconds: f64| (seconds * 1e6) as u64;
    let accounted_for = counters.user_micros + counters.retired_micros;
    UserLoad {
        planned_micros: micros(wanted),
        there_micros: counters.user_micros,
        held_back_micros: micros(wanted - possible),
        retired_micros: counters.retired_micros,
        missing_micros: micros(possible).saturating_sub(accounted_for),
    }
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

    #[test]
    fn arrivals_of_a_worker_that_was_never_there_are_missing() {
        let plan = plan(json!({"open": {"rate": 200, "duration": "60s", "maxInFlight": 10}}));
        let counters = Counters {
            arrival_micros: 6_420_000_000,
            dropped: 20,
            ..Counters::default()
        };
        let load = offered(&plan, 2, &counters, Duration::MAX).unwrap();
        let arrivals = load.arrivals.unwrap();
        assert_eq!((arrivals.planned, arrivals.missing), (12_000, 5_580));
        assert!((load.offered - 6_400.0 / 12_000.0).abs() < 1e-9, "{load:?}");
        assert!(load.is_below_profile());
        // of a run that was stopped, only what was due by then
        let stopped = offered(&plan, 2, &counters, Duration::from_secs(30)).unwrap();
        assert_eq!(stopped.arrivals.unwrap().missing, 0);
    }

    #[test]
    fn users_held_back_as_planned_are_a_warning_and_not_missing() {
        let plan = plan(json!({"closed": {"users": 400, "rampUp": "1s", "duration": "1s"}}));
        let counters = Counters {
            user_micros: 201_000_000,
            ..Counters::default()
        };
        let load = offered(&plan, 1, &counters, Duration::MAX).unwrap();
        assert!(load.is_below_profile(), "{load:?}");
        assert!(load.users.unwrap().missing() < 0.01, "{load:?}");
        let absent = offered(&plan, 1, &Counters::default(), Duration::MAX).unwrap();
        assert_eq!(absent.users.unwrap().missing(), 1.0);
    }

    #[test]
    fn without_a_profile_nothing_is_known_to_be_missing() {
        let plan = plan(json!({"iterations": {"count": 10, "users": 1}}));
        assert_eq!(offered(&plan, 1, &Counters::default(), Duration::MAX), None);
    }
}
