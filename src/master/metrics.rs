//! The run as Prometheus sees it: merged counters and a real histogram, labelled with the run, a
//! bounded number of steps and nothing else.

use std::time::Instant;

use prometheus::core::Collector;
use prometheus::{GaugeVec, IntCounterVec, Opts, TextEncoder};

use super::Shared;
use super::result::{step_names, trend_names};
use crate::stats::summary::TrendName;
use crate::stats::{Histogram, StreamStats};
use crate::wire::control::MasterState;

/// Upper bounds of the latency histogram's buckets, in seconds: a factor of about 2.5 apart, as
/// Prometheus' own defaults, from 1 ms to 1 min.
const BUCKETS: [f64; 15] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// The text format, whole.
pub fn text(master: &Shared) -> String {
    let (progress, merged, late, names, trends, run) = master.with(|coordinator| {
        let plan = &coordinator.file().plan;
        let (names, trends, run) = (
            step_names(plan),
            trend_names(plan),
            coordinator.file().run.clone(),
        );
        (
            coordinator.progress(Instant::now()),
            coordinator.merged(),
            coordinator.late(),
            names,
            trends,
            run,
        )
    });
    let mut families = Families {
        run: run.clone(),
        text: String::new(),
    };
    let by_step = |get: fn(&crate::stats::StepStats) -> u64| -> Vec<(usize, u64)> {
        merged
            .steps
            .iter()
            .map(|(place, stats)| (usize::from(*place), get(stats)))
            .collect()
    };
    families.step_counter(
        "starling_requests_total",
        "Finished requests.",
        &names,
        &by_step(|s| s.requests),
    );
    families.step_counter(
        "starling_failures_total",
        "Failed requests.",
        &names,
        &by_step(|s| s.failures),
    );
    families.step_counter(
        "starling_checks_passed_total",
        "Checks that passed.",
        &names,
        &by_step(|s| s.checks_passed),
    );
    families.step_counter(
        "starling_checks_failed_total",
        "Checks that failed.",
        &names,
        &by_step(|s| s.checks_failed),
    );
    families.step_counter(
        "starling_sent_bytes_total",
        "Bytes of requests.",
        &names,
        &by_step(|s| s.sent_bytes),
    );
    families.step_counter(
        "starling_received_bytes_total",
        "Bytes of answers.",
        &names,
        &by_step(|s| s.received_bytes),
    );
    let counters = merged.counters;
    families.counter(
        "starling_iterations_total",
        "Iterations started.",
        counters.iterations,
    );
    families.counter(
        "starling_dropped_total",
        "Arrivals dropped for want of a free slot.",
        counters.dropped,
    );
    families.counter(
        "starling_feeder_drops_total",
        "Dropped arrivals for want of a feeder row.",
        counters.feeder_drops,
    );
    families.counter(
        "starling_warmup_requests_total",
        "Requests sent in the warm-up.",
        counters.warmup,
    );
    families.counter(
        "starling_control_requests_total",
        "Requests sent by setup, teardown, onStart and onStop, and health checks that passed.",
        counters.control,
    );
    families.counter(
        "starling_retries_total",
        "Attempts given up for another.",
        counters.retries,
    );
    families.counter(
        "starling_redirect_hops_total",
        "Redirections followed.",
        counters.redirect_hops,
    );
    families.counter(
        "starling_late_requests_total",
        "Requests whose data came after their second was complete.",
        late,
    );
    families.counter(
        "starling_interrupted_total",
        "Requests cut off at the end of the run.",
        counters.interrupted,
    );
    families.gauge(
        "starling_users",
        "Users alive, or iterations in flight.",
        progress.users as f64,
    );
    families.gauge(
        "starling_workers_ready",
        "Workers ready.",
        f64::from(progress.ready),
    );
    families.gauge(
        "starling_workers_desired",
        "Workers planned.",
        f64::from(progress.workers),
    );
    families.gauge(
        "starling_running",
        "1 while there is load.",
        f64::from(u8::from(progress.state == MasterState::Running)),
    );
    families.gauge(
        "starling_progress_ratio",
        "Part of the profile that is over.",
        f64::from(progress.percent()) / 100.0,
    );
    let streams = merged.steps.values().any(|stats| stats.stream.is_some());
    if streams {
        let of = |get: fn(&StreamStats) -> u64| -> Vec<(usize, u64)> {
            let streams = merged.steps.iter().filter_map(|(place, stats)| {
                Some((usize::from(*place), get(stats.stream.as_ref()?)))
            });
            streams.collect()
        };
        families.step_counter(
            "starling_messages_sent_total",
            "Messages sent in streams.",
            &names,
            &of(|s| s.messages_sent),
        );
        families.step_counter(
            "starling_messages_received_total",
            "Messages or events received.",
            &names,
            &of(|s| s.messages_received),
        );
        let tokens = of(|s| s.llm.as_ref().map_or(0, |llm| llm.output_tokens));
        families.step_counter(
            "starling_output_tokens_total",
            "Output tokens of language models.",
            &names,
            &tokens,
        );
    }
    if merged.steps.values().any(|stats| stats.goodput.judged > 0) {
        families.step_counter(
            "starling_good_requests_total",
            "Requests within all limits.",
            &names,
            &by_step(|s| s.goodput.good),
        );
    }
    for (place, stats) in &merged.steps {
        if let Some(name) = names.get(usize::from(*place)) {
            let labels = format!(
                "run=\"{run}\",scenario=\"{}\",task=\"{}\",step=\"{}\"",
                escaped(&name.scenario),
                escaped(&name.task),
                escaped(&name.step)
            );
            families.histogram(
                "starling_latency_seconds",
                "Intended time to last byte of successes.",
                &labels,
                &stats.latency,
            );
            if let Some(stream) = &stats.stream {
                families.histogram(
                    "starling_first_message_seconds",
                    "Intended time to the first message or token.",
                    &labels,
                    &stream.first,
                );
                families.histogram(
                    "starling_message_gap_seconds",
                    "Between messages or tokens.",
                    &labels,
                    &stream.gap,
                );
            }
        }
    }
    for (place, stats) in &merged.trends {
        if let Some(trend) = trends.get(usize::from(*place)) {
            families.record(trend, &stats.values);
        }
    }
    families.text
}

struct Families {
    run: String,
    text: String,
}

impl Families {
    fn step_counter(
        &mut self,
        name: &str,
        help: &str,
        names: &[crate::stats::summary::StepName],
        values: &[(usize, u64)],
    ) {
        let Ok(vector) =
            IntCounterVec::new(Opts::new(name, help), &["run", "scenario", "task", "step"])
        else {
            return;
        };
        for (place, value) in values {
            if let Some(step) = names.get(*place) {
                vector
                    .with_label_values(&[self.run.as_str(), &step.scenario, &step.task, &step.step])
                    .inc_by(*value);
            }
        }
        self.add(&vector);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let Ok(vector) = IntCounterVec::new(Opts::new(name, help), &["run"]) else {
            return;
        };
        vector.with_label_values(&[&self.run]).inc_by(value);
        self.add(&vector);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        let Ok(vector) = GaugeVec::new(Opts::new(name, help), &["run"]) else {
            return;
        };
        vector.with_label_values(&[&self.run]).set(value);
        self.add(&vector);
    }

    fn add(&mut self, collector: &dyn Collector) {
        // a family made here is well-formed, so encoding it cannot fail
        let _ = TextEncoder::new().encode_utf8(&collector.collect(), &mut self.text);
    }

    /// Quantiles rather than buckets: nobody knows beforehand between which numbers they should
    /// lie.
    fn record(&mut self, trend: &TrendName, values: &Histogram) {
        use std::fmt::Write;
        // in the base units of Prometheus
        let (name, scale) = match trend.unit.as_str() {
            "bytes" => ("starling_record_bytes", 1.0),
            "none" => ("starling_record", trend.in_base),
            _ => ("starling_record_seconds", 1e6),
        };
        if !self.text.contains(&format!("# TYPE {name} ")) {
            let _ = write!(
                self.text,
                "# HELP {name} Numbers found in answers.\n# TYPE {name} summary\n"
            );
        }
        let labels = format!("run=\"{}\",record=\"{}\"", self.run, escaped(&trend.name));
        for percent in [50.0, 90.0, 95.0, 99.0] {
            let (quantile, value) = (percent / 100.0, values.percentile(percent) as f64 / scale);
            let _ = writeln!(
                self.text,
                "{name}{{{labels},quantile=\"{quantile}\"}} {value}"
            );
        }
        let _ = writeln!(
            self.text,
            "{name}_sum{{{labels}}} {}",
            values.sum() as f64 / scale
        );
        let _ = writeln!(self.text, "{name}_count{{{labels}}} {}", values.count());
    }

    /// From our own histogram: the client library can only be fed sample by sample.
    fn histogram(&mut self, name: &str, help: &str, labels: &str, samples: &Histogram) {
        use std::fmt::Write;
        if !self.text.contains(&format!("# TYPE {name} ")) {
            let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} histogram\n");
        }
        for bound in BUCKETS {
            let _ = writeln!(
                self.text,
                "{name}_bucket{{{labels},le=\"{bound}\"}} {}",
                samples.count_up_to((bound * 1e6) as u64)
            );
        }
        let _ = writeln!(
            self.text,
            "{name}_bucket{{{labels},le=\"+Inf\"}} {}",
            samples.count()
        );
        let _ = writeln!(
            self.text,
            "{name}_sum{{{labels}}} {}",
            samples.sum() as f64 / 1e6
        );
        let _ = writeln!(self.text, "{name}_count{{{labels}}} {}", samples.count());
    }
}

/// As the text format wants label values.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
