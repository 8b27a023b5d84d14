//! The run as Prometheus sees it: merged counters and real histograms, labelled with the run, a
//! bounded number of steps and nothing else.
//!
//! Families are built in the client library's own model and written by its encoder. Its collectors
//! are of no use here: they count samples one by one, and ours are merged histograms.

use std::time::Instant;

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as Buckets, LabelPair, Metric, MetricFamily, MetricType,
    Quantile, Summary,
};

use super::Shared;
use super::result::step_names;
use crate::plan::{Trend, Unit};
use crate::stats::summary::StepName;
use crate::stats::{Counters, Histogram, Snapshot, StepStats, StreamStats};
use crate::wire::control::{MasterState, Progress};

/// Upper bounds of the latency histogram's buckets, in seconds: a factor of about 2.5 apart, as
/// Prometheus' own defaults, from 1 ms to 1 min.
const BUCKETS: [f64; 15] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// Quantiles of a record, as shares.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

/// Writes all metrics of the run in the text format.
pub fn text(master: &Shared) -> String {
    let run = master.with(|coordinator| Run {
        id: coordinator.file().run.clone(),
        steps: step_names(&coordinator.file().plan),
        trends: coordinator.file().plan.trends(),
        progress: coordinator.progress(Instant::now()),
        merged: coordinator.merged().into_owned(),
        late: coordinator.late(),
        reported: coordinator.reported_bytes(),
    });
    TextEncoder::new()
        .encode_to_string(&run.families())
        .expect("every family has a name and a metric")
}

/// All that the metrics show.
struct Run {
    id: String,
    steps: Vec<StepName>,
    trends: Vec<Trend>,
    progress: Progress,
    merged: Snapshot,
    /// Requests whose data came after their second was complete.
    late: u64,
    /// Bytes of samples that came from workers.
    reported: u64,
}

impl Run {
    /// Families that have something to show; no name comes twice.
    fn families(&self) -> Vec<MetricFamily> {
        let mut all = self.step_counters();
        all.extend(self.run_counters());
        all.extend(self.gauges());
        all.extend(self.stream_counters());
        all.extend(self.histograms());
        all.extend(self.records());
        all.retain(|family| !family.get_metric().is_empty());
        all
    }

    fn step_counters(&self) -> Vec<MetricFamily> {
        type Get = fn(&StepStats) -> u64;
        let counters: [(&str, &str, Get); 6] = [
            ("starling_requests_total", "Finished requests.", |s| {
                s.requests
            }),
            ("starling_failures_total", "Failed requests.", |s| {
                s.failures
            }),
            ("starling_checks_passed_total", "Checks that passed.", |s| {
                s.checks_passed
            }),
            ("starling_checks_failed_total", "Checks that failed.", |s| {
                s.checks_failed
            }),
            ("starling_sent_bytes_total", "Bytes of requests.", |s| {
                s.sent_bytes
            }),
            ("starling_received_bytes_total", "Bytes of answers.", |s| {
                s.received_bytes
            }),
        ];
        counters
            .map(|(name, help, get)| self.step_counter(name, help, |stats| Some(get(stats))))
            .into()
    }

    fn run_counters(&self) -> Vec<MetricFamily> {
        let Counters {
            iterations,
            dropped,
            feeder_drops,
            warmup,
            control,
            retries,
            redirect_hops,
            interrupted,
            ..
        } = self.merged.counters;
        [
            (
                "starling_iterations_total",
                "Iterations started.",
                iterations,
            ),
            (
                "starling_dropped_total",
                "Arrivals dropped for want of a free slot.",
                dropped,
            ),
            (
                "starling_feeder_drops_total",
                "Dropped arrivals for want of a feeder row.",
                feeder_drops,
            ),
            (
                "starling_warmup_requests_total",
                "Requests sent in the warm-up.",
                warmup,
            ),
            (
                "starling_control_requests_total",
                "Requests sent by setup, teardown, onStart and onStop, and health checks that passed.",
                control,
            ),
            (
                "starling_retries_total",
                "Attempts given up for another.",
                retries,
            ),
            (
                "starling_redirect_hops_total",
                "Redirections followed.",
                redirect_hops,
            ),
            (
                "starling_late_requests_total",
                "Requests whose data came after their second was complete.",
                self.late,
            ),
            (
                "starling_reported_bytes_total",
                "Bytes of samples that workers sent.",
                self.reported,
            ),
            (
                "starling_interrupted_total",
                "Requests cut off at the end of the run.",
                interrupted,
            ),
        ]
        .map(|(name, help, value)| {
            family(
                name,
                help,
                MetricType::COUNTER,
                vec![counter(self.labels([]), value)],
            )
        })
        .into()
    }

    fn gauges(&self) -> Vec<MetricFamily> {
        let progress = &self.progress;
        [
            (
                "starling_users",
                "Users alive, or iterations in flight.",
                progress.users as f64,
            ),
            (
                "starling_workers_ready",
                "Workers ready.",
                f64::from(progress.ready),
            ),
            (
                "starling_workers_desired",
                "Workers planned.",
                f64::from(progress.workers),
            ),
            (
                "starling_running",
                "1 while there is load.",
                f64::from(u8::from(progress.state == MasterState::Running)),
            ),
            (
                "starling_progress_ratio",
                "Part of the profile that is over.",
                f64::from(progress.percent()) / 100.0,
            ),
        ]
        .map(|(name, help, value)| {
            let mut metric = Metric::from_label(self.labels([]));
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
            family(name, help, MetricType::GAUGE, vec![metric])
        })
        .into()
    }

    /// Counters of streams, and of goodput, which only some tests have.
    fn stream_counters(&self) -> Vec<MetricFamily> {
        type Get = fn(&StreamStats) -> u64;
        let streams: [(&str, &str, Get); 3] = [
            (
                "starling_messages_sent_total",
                "Messages sent in streams.",
                |s| s.messages_sent,
            ),
            (
                "starling_messages_received_total",
                "Messages or events received.",
                |s| s.messages_received,
            ),
            (
                "starling_output_tokens_total",
                "Output tokens of language models.",
                |s| s.llm.as_ref().map_or(0, |llm| llm.output_tokens),
            ),
        ];
        let mut families: Vec<_> = streams
            .map(|(name, help, get)| {
                self.step_counter(name, help, |stats| stats.stream.as_ref().map(|s| get(s)))
            })
            .into();
        if self
            .merged
            .steps
            .values()
            .any(|stats| stats.goodput.judged > 0)
        {
            families.push(self.step_counter(
                "starling_good_requests_total",
                "Requests within all limits.",
                |stats| Some(stats.goodput.good),
            ));
        }
        families
    }

    fn histograms(&self) -> Vec<MetricFamily> {
        type Get = for<'a> fn(&'a StepStats) -> Option<&'a Histogram>;
        let histograms: [(&str, &str, Get); 3] = [
            (
                "starling_latency_seconds",
                "Intended time to last byte of successes.",
                |stats| Some(&stats.latency),
            ),
            (
                "starling_first_message_seconds",
                "Intended time to the first message or token.",
                |stats| stats.stream.as_ref().map(|stream| &stream.first),
            ),
            (
                "starling_message_gap_seconds",
                "Between messages or tokens.",
                |stats| stats.stream.as_ref().map(|stream| &stream.gap),
            ),
        ];
        histograms
            .map(|(name, help, get)| {
                let metrics = self.by_step(|labels, stats| Some(histogram(labels, get(stats)?)));
                family(name, help, MetricType::HISTOGRAM, metrics)
            })
            .into()
    }

    /// Records as quantiles rather than buckets, since nobody knows beforehand between which
    /// numbers they should lie; in the base units of Prometheus.
    fn records(&self) -> Vec<MetricFamily> {
        type Is = fn(Unit) -> bool;
        let kinds: [(&str, f64, Is); 3] = [
            ("starling_record_seconds", 1e6, Unit::is_time),
            ("starling_record_bytes", 1.0, |unit| unit == Unit::Bytes),
            ("starling_record", Unit::One.in_base(), |unit| {
                unit == Unit::One
            }),
        ];
        kinds
            .map(|(name, scale, is_of)| {
                let metrics = self
                    .merged
                    .trends
                    .iter()
                    .filter_map(|(place, stats)| {
                        let trend = self.trends.get(usize::from(*place))?;
                        is_of(trend.unit).then(|| {
                            let labels = self.labels([("record", trend.name.as_str())]);
                            summary(labels, &stats.values, scale)
                        })
                    })
                    .collect();
                family(
                    name,
                    "Numbers found in answers.",
                    MetricType::SUMMARY,
                    metrics,
                )
            })
            .into()
    }

    fn step_counter(
        &self,
        name: &str,
        help: &str,
        get: impl Fn(&StepStats) -> Option<u64>,
    ) -> MetricFamily {
        let metrics = self.by_step(|labels, stats| Some(counter(labels, get(stats)?)));
        family(name, help, MetricType::COUNTER, metrics)
    }

    /// One metric for each step that has one; steps in the order of the plan.
    fn by_step(
        &self,
        metric: impl Fn(Vec<LabelPair>, &StepStats) -> Option<Metric>,
    ) -> Vec<Metric> {
        self.merged
            .steps
            .iter()
            .filter_map(|(place, stats)| {
                let StepName {
                    scenario,
                    task,
                    step,
                    is_control: _,
                } = self.steps.get(usize::from(*place))?;
                let labels = self.labels([
                    ("scenario", scenario.as_str()),
                    ("step", step),
                    ("task", task),
                ]);
                metric(labels, stats)
            })
            .collect()
    }

    fn labels<const N: usize>(&self, own: [(&str, &str); N]) -> Vec<LabelPair> {
        std::iter::once(("run", self.id.as_str()))
            .chain(own)
            .map(|(name, value)| {
                let mut pair = LabelPair::default();
                pair.set_name(name.to_owned());
                pair.set_value(value.to_owned());
                pair
            })
            .collect()
    }
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn counter(labels: Vec<LabelPair>, value: u64) -> Metric {
    let mut metric = Metric::from_label(labels);
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    metric.set_counter(counter);
    metric
}

/// A histogram of microseconds, in seconds.
fn histogram(labels: Vec<LabelPair>, samples: &Histogram) -> Metric {
    let bucket = |bound: f64| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(samples.count_up_to((bound * 1e6) as u64));
        bucket
    };
    let mut buckets = Buckets::default();
    buckets.set_bucket(BUCKETS.map(bucket).into());
    buckets.set_sample_count(samples.count());
    buckets.set_sample_sum(samples.sum() as f64 / 1e6);
    let mut metric = Metric::from_label(labels);
    metric.set_histogram(buckets);
    metric
}

/// Quantiles of a record; `scale` base units make one of what is shown.
fn summary(labels: Vec<LabelPair>, values: &Histogram, scale: f64) -> Metric {
    let quantile = |share: f64| {
        let mut quantile = Quantile::default();
        quantile.set_quantile(share);
        quantile.set_value(values.percentile(share * 100.0) as f64 / scale);
        quantile
    };
    let mut summary = Summary::default();
    summary.set_quantile(QUANTILES.map(quantile).into());
    summary.set_sample_count(values.count());
    summary.set_sample_sum(values.sum() as f64 / scale);
    let mut metric = Metric::from_label(labels);
    metric.set_summary(summary);
    metric
}

#[cfg(test)]
mod tests;
