//! Saturation: finds workers that were themselves the limit, by what each measured of itself. Pure.

use super::roster::Roster;
use crate::stats::result::{Generator, SaturatedWorker};
use crate::stats::{ErrorClass, Snapshot, format};

/// Share of its cores from which on a worker was the limit.
const CPU: f64 = 0.9;
/// Share of its CPU time for which its quota held a worker back, from which on it was the limit.
const THROTTLED: f64 = 0.05;
/// Delay of its actions at the 99th percentile, in microseconds, from which on a worker was the
/// limit, provided that its cores were busy enough to be the reason.
const LAG: u64 = 10_000;
/// Share of its cores from which on they can be the reason for [`LAG`].
const SUSPECT_CPU: f64 = 0.6;
/// Most workers listed.
const LISTED: usize = 20;

/// Judges every worker, and lists the first that were the limit. `merged` is the sum of all their
/// samples.
pub fn judge(merged: &Snapshot, roster: &Roster) -> Generator {
    let mut workers: Vec<SaturatedWorker> = roster
        .measured()
        .filter_map(|(worker, snapshot)| judge_one(worker, snapshot))
        .collect();
    let saturated_workers = workers.len() as u32;
    workers.truncate(LISTED);
    Generator {
        saturated: saturated_workers > 0,
        cpu: cpu(merged),
        schedule_lag_p99: merged.lag.percentile(99.0),
        start_skew_micros: roster.start_skew_micros(),
        workers,
        saturated_workers,
    }
}

/// Share of its cores that was used.
pub fn cpu(snapshot: &Snapshot) -> f64 {
    snapshot.counters.cpu_micros as f64 / snapshot.counters.core_micros.max(1) as f64
}

/// Judges one worker by its samples; `None` when it kept up. A worker without a port, file or
/// memory left for a connection was the limit however idle.
pub fn judge_one(worker: u32, snapshot: &Snapshot) -> Option<SaturatedWorker> {
    let cpu = cpu(snapshot);
    let throttled =
        snapshot.counters.throttled_micros as f64 / snapshot.counters.core_micros.max(1) as f64;
    let schedule_lag_p99 = snapshot.lag.percentile(99.0);
    let of_class = snapshot
        .errors
        .iter()
        .filter(|(key, _)| key.class == ErrorClass::Exhausted);
    let exhausted = of_class.map(|(_, entry)| entry.count).sum();
    let reasons = [
        (
            cpu >= CPU,
            format!("it used {} of its CPU time", format::percent(cpu)),
        ),
        (
            throttled >= THROTTLED,
            format!(
                "its CPU quota held it back for {} of its time",
                format::percent(throttled)
            ),
        ),
        (
            schedule_lag_p99 >= LAG && cpu >= SUSPECT_CPU,
            format!(
                "a hundredth of its actions began {} late or more",
                format::micros(schedule_lag_p99 as f64)
            ),
        ),
        (
            exhausted > 0,
            format!(
                "it had no port, file or memory left for {} connections",
                format::count(exhausted)
            ),
        ),
    ];
    let why: Vec<String> = reasons
        .into_iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, why)| why)
        .collect();
    (!why.is_empty()).then(|| SaturatedWorker {
        worker,
        cpu,
        throttled,
        schedule_lag_p99,
        exhausted,
        why: why.join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Counters, ErrorKey};

    fn using(cpu_micros: u64, throttled_micros: u64) -> Snapshot {
        let counters = Counters {
            cpu_micros,
            throttled_micros,
            core_micros: 100,
            ..Counters::default()
        };
        Snapshot {
            counters,
            ..Snapshot::default()
        }
    }

    fn why(snapshot: &Snapshot) -> Option<String> {
        judge_one(3, snapshot).map(|worker| worker.why)
    }

    #[test]
    fn a_worker_without_ports_is_saturated_however_idle() {
        let mut snapshot = using(1, 0);
        snapshot.errors.record(
            ErrorKey {
                class: ErrorClass::Exhausted,
                step: 0,
                status: None,
            },
            || "no port".into(),
        );
        assert_eq!(
            why(&snapshot).unwrap(),
            "it had no port, file or memory left for 1 connections"
        );
    }

    #[test]
    fn lag_counts_only_where_the_cores_can_be_its_reason() {
        let late = |cpu| {
            let mut snapshot = using(cpu, 0);
            (0..100).for_each(|_| snapshot.lag.record(20_000));
            why(&snapshot)
        };
        assert_eq!(late(30), None);
        assert!(late(70).unwrap().contains("20ms late"));
    }

    #[test]
    fn a_worker_is_judged_by_its_cpu_and_its_quota() {
        assert_eq!(why(&using(89, 4)), None);
        assert!(why(&using(95, 0)).unwrap().contains("used 95%"));
        assert!(
            why(&using(50, 10))
                .unwrap()
                .contains("held it back for 10%")
        );
        assert_eq!(why(&Snapshot::default()), None);
    }
}
