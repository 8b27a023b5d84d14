//! The rules that decide between passed and failed.

use super::Problems;
use crate::crd::spec::*;
use crate::plan::threshold::{Aggregate, Metric, Quantity, Select, Span};
use crate::plan::*;

/// What thresholds are checked against.
pub(super) struct Judged<'a> {
    pub(super) scenarios: &'a [Scenario],
    pub(super) is_open: bool,
    /// What the steps record.
    pub(super) trends: &'a [Trend],
}

impl Judged<'_> {
    /// The measured requests.
    fn places(&self) -> impl Iterator<Item = StepPlace<'_>> {
        self.scenarios
            .iter()
            .flat_map(Scenario::steps)
            .filter(|place| !place.is_control() && !place.is_health_check())
    }
}

pub(super) fn check_thresholds(
    thresholds: &[ThresholdSpec],
    judged: &Judged<'_>,
    problems: &mut Problems,
) -> Vec<Threshold> {
    let asks_for_health = judged
        .scenarios
        .iter()
        .flat_map(Scenario::steps)
        .any(|place| !place.is_control() && place.is_health_check());
    if asks_for_health && problems.0.is_empty() && judged.places().next().is_none() {
        let why = "a health check that passes is no request of the results, and there is nothing else to judge the run by; \
                   name its method, grpc.health.v1.Health/Check, to measure it as any other call";
        problems.add("spec.scenarios", why);
    }
    let specs = thresholds.iter().enumerate();
    specs
        .filter_map(|(i, spec)| {
            check_threshold(spec, &format!("spec.thresholds[{i}]"), judged, problems)
        })
        .collect()
}

fn check_threshold(
    spec: &ThresholdSpec,
    path: &str,
    judged: &Judged<'_>,
    problems: &mut Problems,
) -> Option<Threshold> {
    let ThresholdSpec {
        metric,
        record,
        select,
        expr,
        window,
        delay,
        min_count,
        for_,
        abort_on_fail,
    } = spec;
    let is_narrowed = select.is_some();
    let SelectSpec {
        scenario,
        task,
        step,
        tags,
        outcome,
    } = select.clone().unwrap_or_default();
    let select = Select {
        scenario,
        task,
        step,
        tags,
        outcome,
    };
    // steps that were refused above are missing from the plan; one mistake is enough to report
    if problems.0.is_empty() && !judged.places().any(|place| select.matches(&place)) {
        problems.add(
            format!("{path}.select"),
            "no measured request has these names and tags, so there would be nothing to judge",
        );
    }
    if let Some(metric) = metric
        && let Some(needs) = metric.needs().filter(|_| problems.0.is_empty())
        && !judged
            .places()
            .any(|place| select.matches(&place) && metric.is_measured_of(place.step))
    {
        problems.add(
            format!("{path}.metric"),
            format!("is measured only of steps with {needs}, and none of the selected ones has it"),
        );
    }
    let span = check_span(spec, path, problems);
    if for_.is_some() && window.is_none() && !abort_on_fail {
        problems.add(format!("{path}.for"), "needs window or abortOnFail: what is judged once at the end is not breached for a time");
    }
    if delay.is_some() && window.is_none() && !abort_on_fail {
        problems.add(
            format!("{path}.delay"),
            "needs window or abortOnFail: the whole run is judged at its end",
        );
    }
    let parsed = match (metric, record) {
        (Some(metric), None) if *metric != Metric::Record => {
            Threshold::parse(*metric, select, expr)
        }
        (None, Some(name)) => {
            if is_narrowed {
                problems.add(format!("{path}.select"), "what is recorded under one name is not kept apart; record it under several names");
            }
            let place = place_of(name, judged.trends);
            // records that were refused above are missing from the list; one mistake is enough to
            // report
            let place = if problems.0.is_empty() {
                problems.take(&format!("{path}.record"), place)
            } else {
                place.ok()
            }?;
            Threshold::of_record(place, &judged.trends[usize::from(place)], expr)
        }
        _ => {
            problems.add(path, "needs either metric or record");
            return None;
        }
    };
    let mut threshold = problems.take(&format!("{path}.expr"), parsed)?;
    problems.take(&format!("{path}.select"), threshold.check_select());
    let metric = threshold.metric;
    let of_arrivals = metric == Metric::Dropped
        || (metric == Metric::Achieved && threshold.quantity == Quantity::Share);
    if of_arrivals && !judged.is_open {
        problems.add(
            format!("{path}.metric"),
            "only open load asks for a number of iterations, so there is no share of it to judge",
        );
    }
    let counts = matches!(threshold.aggregate, Aggregate::Count | Aggregate::PerSecond)
        || metric == Metric::Achieved;
    if counts && min_count.is_some() {
        problems.add(
            format!("{path}.minCount"),
            "a count is judged however small it is",
        );
    }
    if *abort_on_fail && counts && window.is_none() && !threshold.comparison.is_ceiling() {
        problems.add(
            format!("{path}.abortOnFail"),
            "needs a window: a count over everything so far begins at nothing",
        );
    }
    (threshold.span, threshold.abort_on_fail) = (span, *abort_on_fail);
    Some(threshold)
}

fn place_of(record: &str, trends: &[Trend]) -> Result<u16, String> {
    if let Some(place) = trends.iter().position(|trend| trend.name == record) {
        return Ok(place as u16);
    }
    let known: Vec<&str> = trends.iter().map(|trend| trend.name.as_str()).collect();
    Err(match known.as_slice() {
        [] => format!("no step records {record:?}, nor anything else"),
        known => format!("no step records {record:?}; there are {}", known.join(", ")),
    })
}

fn check_span(spec: &ThresholdSpec, path: &str, problems: &mut Problems) -> Span {
    let mut seconds = |field: &str, text: &Option<String>| {
        let text = text.as_deref()?;
        let time = problems.duration(&format!("{path}.{field}"), text);
        if time.subsec_micros() != 0 || time.as_secs() > u64::from(u32::MAX) {
            problems.add(
                format!("{path}.{field}"),
                "must be whole seconds: results are complete once a second",
            );
        }
        Some(time.as_secs() as u32)
    };
    let window = seconds("window", &spec.window);
    let (delay_seconds, for_seconds) = (
        seconds("delay", &spec.delay).unwrap_or(0),
        seconds("for", &spec.for_).unwrap_or(0),
    );
    if window == Some(0) {
        problems.add(format!("{path}.window"), "must be at least 1s");
    }
    let window_seconds = window.unwrap_or(0);
    Span {
        window_seconds,
        delay_seconds,
        for_seconds,
        min_count: spec.min_count.map(u64::from),
    }
}
