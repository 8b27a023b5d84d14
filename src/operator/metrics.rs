//! Metrics of the operator itself. No label holds the name of an object: their number would have no
//! bound.

use std::time::Instant;

use prometheus::core::Collector;
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use super::sight::Sights;
use crate::crd::Phase;

/// Metrics of one operator; clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// Passes over a LoadTest.
    pub reconciles: IntCounter,
    errors: IntCounterVec,
    /// Length of passes, in seconds.
    pub duration: Histogram,
    active: IntGaugeVec,
    age: GaugeVec,
    watch_failures: IntCounterVec,
    master_calls: IntCounterVec,
    /// Sights of all watches.
    pub sights: Sights,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new().expect("names and labels are constant, and each is there once")
    }
}

impl Metrics {
    fn new() -> prometheus::Result<Self> {
        let all = Self {
            registry: Registry::new(),
            reconciles: IntCounter::new(
                "starling_operator_reconciles_total",
                "Passes over a LoadTest",
            )?,
            errors: IntCounterVec::new(
                Opts::new(
                    "starling_operator_reconcile_errors_total",
                    "Passes that failed, and failures of the queue",
                ),
                &["kind"],
            )?,
            duration: Histogram::with_opts(
                HistogramOpts::new(
                    "starling_operator_reconcile_duration_seconds",
                    "Length of a pass",
                )
                .buckets(vec![0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]),
            )?,
            active: IntGaugeVec::new(
                Opts::new("starling_operator_active_runs", "Runs in progress"),
                &["phase"],
            )?,
            age: GaugeVec::new(
                Opts::new(
                    "starling_operator_watch_age_seconds",
                    "Since a watch last showed something, a sign of life included",
                ),
                &["namespace", "resource"],
            )?,
            watch_failures: IntCounterVec::new(
                Opts::new(
                    "starling_operator_watch_failures_total",
                    "Watches that failed and were begun anew",
                ),
                &["resource"],
            )?,
            master_calls: IntCounterVec::new(
                Opts::new(
                    "starling_operator_master_calls_total",
                    "Calls to masters by what became of them",
                ),
                &["call", "outcome"],
            )?,
            sights: Sights::default(),
        };
        all.register()?;
        Ok(all)
    }

    fn register(&self) -> prometheus::Result<()> {
        let build = IntGaugeVec::new(
            Opts::new("starling_operator_build_info", "Always 1"),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let collectors: [Box<dyn Collector>; 8] = [
            Box::new(self.reconciles.clone()),
            Box::new(self.errors.clone()),
            Box::new(self.duration.clone()),
            Box::new(self.active.clone()),
            Box::new(self.age.clone()),
            Box::new(self.watch_failures.clone()),
            Box::new(self.master_calls.clone()),
            Box::new(build),
        ];
        collectors
            .into_iter()
            .try_for_each(|collector| self.registry.register(collector))
    }

    /// Counts an error of one kind.
    pub fn error(&self, kind: &str) {
        self.errors.with_label_values(&[kind]).inc();
    }

    /// Counts a failure of a watch of one resource.
    pub fn watch_failed(&self, resource: &str) {
        self.watch_failures.with_label_values(&[resource]).inc();
    }

    /// Counts a call to a master: `call` names it, `outcome` says what became of it.
    pub fn master_called(&self, call: &str, outcome: &str) {
        self.master_calls.with_label_values(&[call, outcome]).inc();
    }

    /// Counts runs in progress by phase, among the phases of all LoadTests, and returns their
    /// number.
    pub fn set_active(&self, phases: impl Iterator<Item = Phase>) -> u64 {
        let mut counts = [0; Phase::ALL.len()];
        for phase in phases.filter(|phase| !phase.is_terminal()) {
            counts[Phase::ALL
                .iter()
                .position(|known| *known == phase)
                .unwrap_or_default()] += 1;
        }
        for (phase, count) in Phase::ALL
            .into_iter()
            .zip(counts)
            .filter(|(phase, _)| !phase.is_terminal())
        {
            self.active
                .with_label_values(&[&phase.to_string()])
                .set(count);
        }
        counts.iter().sum::<i64>().unsigned_abs()
    }

    /// Renders all metrics in the Prometheus text format.
    pub fn text(&self) -> String {
        for (sight, age) in self.sights.ages(Instant::now()) {
            self.age
                .with_label_values(&[sight.place.as_str(), sight.kind])
                .set(age.as_secs_f64());
        }
        let mut out = Vec::new();
        // writing to memory does not fail; half a page would be worse than none
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut out)
            .map(|()| String::from_utf8_lossy(&out).into_owned())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counted_by_phase_and_ended_ones_not_at_all() {
        let metrics = Metrics::default();
        assert_eq!(
            metrics.set_active(
                [
                    Phase::Running,
                    Phase::Running,
                    Phase::Starting,
                    Phase::Failed
                ]
                .into_iter()
            ),
            3
        );
        let text = metrics.text();
        for line in [
            "starling_operator_active_runs{phase=\"Running\"} 2",
            "starling_operator_active_runs{phase=\"Stopping\"} 0",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("Failed"));
    }

    #[test]
    fn watches_and_calls_to_masters_are_shown_without_names_of_objects() {
        let metrics = Metrics::default();
        metrics.sights.add("team-a", "pods", Instant::now());
        metrics.watch_failed("pods");
        metrics.master_called("progress", "late");
        let text = metrics.text();
        for line in [
            "starling_operator_watch_age_seconds{namespace=\"team-a\",resource=\"pods\"}",
            "starling_operator_watch_failures_total{resource=\"pods\"} 1",
            "starling_operator_master_calls_total{call=\"progress\",outcome=\"late\"} 1",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
