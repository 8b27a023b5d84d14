//! Results in the status: a whole result, cut to what people read there.

mod places;

use std::collections::BTreeMap;

use crate::crd::status::{
    AtOnceStatus, CapacityLevelStatus, CapacityStatus, ConcurrencyStatus, CostStatus, ErrorStatus,
    GeneratorStatus, GoodputStatus, IncompleteStatus, LatencyStatus, LoadStatus, MetricSample,
    RecordStatus, ResultWorkersStatus, ResultsStatus, StepStatus, StreamStatus, ThresholdStatus,
};
use crate::operator::text::cut;
use crate::stats::ErrorClass;
use crate::stats::format::{in_unit, micros, money, number, percent, rate};
use crate::wire::RunResult;
use crate::wire::result::{
    CapacityResult, ConcurrencyResult, CostResult, Generator, LatencySummary, LevelResult,
    LoadResult, Purpose, StreamResult, ThresholdResult,
};

/// Most entries of each list in the status.
const STEPS: usize = 20;
const ERRORS: usize = 10;
const LEVELS: usize = 24;
const RECORDS: usize = 8;
const THRESHOLDS: usize = 32;

/// Cuts a result to the status's `results`; `omitted` counts what the report has besides.
pub fn results(result: &RunResult) -> ResultsStatus {
    let totals = &result.totals;
    let (steps, records, errors) = (steps(result), records(result), errors(result));
    let left_out = [
        ("steps", result.steps.len() - steps.len()),
        ("records", result.records.len() - records.len()),
        ("errors", result.errors.len() - errors.len()),
    ];
    let omitted: BTreeMap<String, u64> = left_out
        .into_iter()
        .filter(|(_, n)| *n > 0)
        .map(|(name, n)| (name.to_owned(), n as u64))
        .collect();
    ResultsStatus {
        requests: totals.requests,
        failures: totals.failures,
        failure_rate: percent(totals.failure_rate),
        rps: rate(totals.rps),
        iterations: totals.iterations,
        interrupted: totals.interrupted,
        requested_rate: totals.requested_rate.map(rate),
        // in closed load the rate is whatever the users made of it
        achieved_rate: totals.requested_rate.map(|_| rate(totals.achieved_rate)),
        dropped: totals.dropped,
        load: result.load.as_ref().map(load),
        sent_bytes: totals.sent_bytes,
        received_bytes: totals.received_bytes,
        capacity: result.capacity.as_ref().map(capacity),
        goodput: totals.goodput.map(|good| GoodputStatus {
            per_second: rate(good.per_second),
            ratio: percent(good.ratio),
        }),
        concurrency: result.concurrency.map(concurrency),
        cost: result.cost.as_ref().map(cost),
        latency: latency(&totals.latency),
        service_time: latency(&totals.service_time),
        steps,
        records,
        errors,
        generator: generator(&result.generator),
        workers: ResultWorkersStatus {
            planned: result.workers.planned,
            lost: result.workers.lost,
            reissued: Some(result.workers.reissued).filter(|count| *count > 0),
            places: places::places(&result.fleet),
        },
        incomplete: result.incomplete.map(|lost| IncompleteStatus {
            workers: lost.workers,
            requests: lost.requests,
        }),
        truncated: !omitted.is_empty(),
        omitted,
    }
}

fn load(load: &LoadResult) -> LoadStatus {
    LoadStatus {
        offered: percent(load.offered),
        below_profile: load.is_below_profile(),
        told: cut(&load.told(), 256),
        why: cut(&load.why(), 512),
        missing_arrivals: load.arrivals.map(|arrivals| arrivals.missing),
        missing_users: load.users.map(|users| percent(users.missing())),
    }
}

fn concurrency(result: ConcurrencyResult) -> ConcurrencyStatus {
    let ConcurrencyResult {
        in_flight,
        users,
        slots,
        by_latency,
    } = result;
    let at_once = |level: LevelResult| AtOnceStatus {
        mean: number(level.mean),
        max: level.max,
    };
    ConcurrencyStatus {
        in_flight: in_flight.map(at_once),
        users: users.map(at_once),
        slots: slots.map(at_once),
        by_latency: rate(by_latency),
    }
}

fn generator(result: &Generator) -> GeneratorStatus {
    let why = result.workers.first().map_or_else(String::new, |first| {
        cut(&format!("worker {}: {}", first.worker, first.why), 256)
    });
    GeneratorStatus {
        saturated: result.saturated,
        cpu: percent(result.cpu),
        schedule_lag_p99: micros(result.schedule_lag_p99 as f64),
        start_skew: micros(result.start_skew_micros as f64),
        saturated_workers: result.saturated_workers,
        why,
    }
}

fn capacity(found: &CapacityResult) -> CapacityStatus {
    let tried: Vec<_> = found
        .curve
        .iter()
        .filter(|level| level.purpose != Purpose::Recovery)
        .collect();
    let mut levels = tried[tried.len().saturating_sub(LEVELS)..].to_vec();
    levels.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let levels = levels.into_iter().map(|level| CapacityLevelStatus {
        rate: rate(level.rate),
        held: level.held,
        p50: micros(level.p50 as f64),
        p95: micros(level.p95 as f64),
        p99: micros(level.p99 as f64),
        failure_rate: percent(level.failure_rate),
    });
    CapacityStatus {
        rate: found.rate.map(rate).unwrap_or_default(),
        limited_by: found
            .limited_by
            .map(|limit| limit.to_string())
            .unwrap_or_default(),
        levels: levels.collect(),
    }
}

fn cost(cost: &CostResult) -> CostStatus {
    let price = |price: Option<f64>| {
        price
            .map(|price| format!("{} {}", money(price), cut(&cost.currency, 16)))
            .unwrap_or_default()
    };
    CostStatus {
        per_million_requests: price(cost.per_million_requests),
        tokens_per_million_requests: price(cost.tokens_per_million_requests),
        rate: cost.rate.map(rate).unwrap_or_default(),
        basis: cost.basis.to_string(),
        endpoints: cost.endpoints,
        why_not: cut(&cost.why_not, 256),
    }
}

fn latency(summary: &LatencySummary) -> LatencyStatus {
    let LatencySummary {
        min,
        mean,
        p50,
        p90,
        p95,
        p99,
        p999,
        max,
    } = *summary;
    LatencyStatus {
        min: micros(min as f64),
        mean: micros(mean),
        p50: micros(p50 as f64),
        p90: micros(p90 as f64),
        p95: micros(p95 as f64),
        p99: micros(p99 as f64),
        p999: micros(p999 as f64),
        max: micros(max as f64),
    }
}

fn stream(result: &StreamResult) -> StreamStatus {
    let time = |micros_of: u64| micros(micros_of as f64);
    let Some(llm) = &result.llm else {
        let p99 =
            |times: Option<LatencySummary>| times.map(|times| time(times.p99)).unwrap_or_default();
        return StreamStatus {
            first_p99: p99(result.first),
            gap_p99: p99(result.gap),
            ..StreamStatus::default()
        };
    };
    StreamStatus {
        ttft_p50: time(llm.ttft.p50),
        ttft_p99: time(llm.ttft.p99),
        itl_p99: time(llm.itl.p99),
        tpot_p50: time(llm.tpot.p50),
        output_tokens: rate(llm.output_tokens_per_second),
        tokens_from: format!("{:?}", llm.tokens_from),
        ..StreamStatus::default()
    }
}

/// Returns the steps with the most requests, the busiest first.
fn steps(result: &RunResult) -> Vec<StepStatus> {
    let mut steps: Vec<_> = result.steps.iter().collect();
    steps.sort_by_key(|step| std::cmp::Reverse(step.requests));
    let shown = steps.into_iter().take(STEPS).map(|step| StepStatus {
        scenario: cut(&step.scenario, 64),
        task: cut(&step.task, 64),
        step: cut(&step.step, 128),
        requests: step.requests,
        failures: step.failures,
        rps: rate(step.rps),
        p50: micros(step.latency.p50 as f64),
        p95: micros(step.latency.p95 as f64),
        p99: micros(step.latency.p99 as f64),
        max: micros(step.latency.max as f64),
        stream: step.stream.as_ref().map(stream),
    });
    shown.collect()
}

fn records(result: &RunResult) -> Vec<RecordStatus> {
    let shown = result.records.iter().take(RECORDS).map(|record| {
        let text = |number: f64| in_unit(number, &record.unit);
        RecordStatus {
            name: cut(&record.name, 63),
            count: record.count,
            mean: text(record.mean),
            p50: text(record.p50),
            p95: text(record.p95),
            p99: text(record.p99),
            max: text(record.max),
        }
    });
    shown.collect()
}

/// Returns the most frequent errors, the most frequent first.
fn errors(result: &RunResult) -> Vec<ErrorStatus> {
    let mut errors: Vec<_> = result.errors.iter().collect();
    errors.sort_by_key(|error| std::cmp::Reverse(error.count));
    let shown = errors.into_iter().take(ERRORS).map(|error| ErrorStatus {
        class: error.class.map_or("other", |class| class.name()).to_owned(),
        step: cut(&error.step, 128),
        status: error.status,
        count: error.count,
        sample: cut(&error.sample, 256),
    });
    shown.collect()
}

/// Lists the thresholds with what was observed and their verdicts.
pub fn thresholds(result: &RunResult) -> Vec<ThresholdStatus> {
    let shown = result
        .thresholds
        .iter()
        .take(THRESHOLDS)
        .map(|threshold| ThresholdStatus {
            metric: cut(&threshold.metric, 63),
            select: cut(&select(threshold), 128),
            expr: cut(&threshold.expr, 64),
            observed: cut(&threshold.observed_text, 32),
            verdict: format!("{:?}", threshold.verdict),
        });
    shown.collect()
}

/// Says what a threshold looks at, as in `window: 30s, step: POST /predict, outcome: Any`; empty
/// for everything in the whole run.
fn select(threshold: &ThresholdResult) -> String {
    let fields = threshold.select.as_object().into_iter().flatten();
    let named = fields.filter_map(|(name, value)| {
        value
            .as_str()
            .map(|value| (name.as_str(), value.to_owned()))
    });
    let window = threshold
        .window_micros
        .map(|window| ("window", micros(window as f64)));
    window
        .into_iter()
        .chain(named)
        .filter(|(name, value)| !(*name == "outcome" && *value == "Success"))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Lists the totals under the names and labels that Prometheus would see, in its base units.
pub fn metrics(result: &RunResult) -> Vec<MetricSample> {
    let totals = &result.totals;
    let mut all = vec![
        total("starling_requests_total", totals.requests),
        total("starling_iterations_total", totals.iterations),
        total("starling_dropped_total", totals.dropped),
        total("starling_sent_bytes_total", totals.sent_bytes),
        total("starling_received_bytes_total", totals.received_bytes),
    ];
    all.extend(failures(result));
    all.extend(quantiles(&totals.latency));
    all
}

fn metric(name: &str, label: Option<(&str, &str)>, value: String) -> MetricSample {
    let label = label.map(|(name, value)| (name.to_owned(), value.to_owned()));
    MetricSample {
        name: name.to_owned(),
        labels: label.into_iter().collect(),
        value,
    }
}

fn total(name: &str, value: u64) -> MetricSample {
    metric(name, None, value.to_string())
}

/// Failures by class, or their total where no class is known.
fn failures(result: &RunResult) -> Vec<MetricSample> {
    let name = "starling_failures_total";
    let mut classes: BTreeMap<&str, u64> = BTreeMap::new();
    // no request has failed because of a condition that could not be evaluated
    for error in result
        .errors
        .iter()
        .filter(|error| error.class != Some(ErrorClass::Condition))
    {
        *classes
            .entry(error.class.map_or("other", |class| class.name()))
            .or_default() += error.count;
    }
    if classes.is_empty() {
        return vec![total(name, result.totals.failures)];
    }
    classes
        .into_iter()
        .map(|(class, count)| metric(name, Some(("class", class)), count.to_string()))
        .collect()
}

fn quantiles(latency: &LatencySummary) -> impl Iterator<Item = MetricSample> + use<> {
    let LatencySummary {
        p50,
        p90,
        p95,
        p99,
        p999,
        ..
    } = *latency;
    let quantiles = [
        ("0.5", p50),
        ("0.9", p90),
        ("0.95", p95),
        ("0.99", p99),
        ("0.999", p999),
    ];
    quantiles.into_iter().map(|(quantile, value)| {
        let label = ("quantile", quantile);
        let seconds = value as f64 / 1e6;
        metric("starling_latency_seconds", Some(label), seconds.to_string())
    })
}
