//! Metrics of the operator itself. No label holds the name of an object: their number would have no
//! bound.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use prometheus::core::Collector;
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

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
    watches: Arc<Mutex<Vec<Arc<Watch>>>>,
}

/// One watch of LoadTests: of a namespace, or of all.
pub struct Watch {
    /// Value of the label `namespace`, empty for all namespaces. A flag of the operator bounds
    /// their number.
    namespace: String,
    state: Mutex<(Instant, bool)>,
}

impl Watch {
    /// Notes that the watch delivered something (`up`) or failed.
    pub fn note(&self, up: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // an error does not make the watch younger
        *state = (if up { Instant::now() } else { state.0 }, up);
    }

    /// Returns whether the watch has delivered something since it last failed.
    pub fn is_up(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1
    }
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
                    "Since the watch of LoadTests last delivered something or began anew",
                ),
                &["namespace"],
            )?,
            watches: Arc::default(),
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
        let collectors: [Box<dyn Collector>; 6] = [
            Box::new(self.reconciles.clone()),
            Box::new(self.errors.clone()),
            Box::new(self.duration.clone()),
            Box::new(self.active.clone()),
            Box::new(self.age.clone()),
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

    /// Adds a watch, which is not up yet.
    pub fn watch(&self, namespace: &str) -> Arc<Watch> {
        let watch = Arc::new(Watch {
            namespace: namespace.to_owned(),
            state: Mutex::new((Instant::now(), false)),
        });
        self.watches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(watch.clone());
        watch
    }

    /// Returns whether at least one watch is up.
    pub fn any_watch_up(&self) -> bool {
        self.watches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .any(|watch| watch.is_up())
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
        for watch in self
            .watches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            let since = watch.state.lock().unwrap_or_else(PoisonError::into_inner).0;
            self.age
                .with_label_values(&[&watch.namespace])
                .set(since.elapsed().as_secs_f64());
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
    fn a_watch_is_up_when_it_has_delivered_and_down_when_it_fails() {
        let metrics = Metrics::default();
        let watch = metrics.watch("team-a");
        assert!(!metrics.any_watch_up());
        watch.note(true);
        assert!(metrics.any_watch_up());
        watch.note(false);
        assert!(!metrics.any_watch_up());
        assert!(
            metrics
                .text()
                .contains("starling_operator_watch_age_seconds{namespace=\"team-a\"}")
        );
    }
}
