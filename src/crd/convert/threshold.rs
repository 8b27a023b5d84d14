//! Thresholds: the rules that decide between passed and failed.

use super::Problems;
use crate::crd::spec::*;
use crate::plan::threshold::{Metric, Select, Span};
use crate::plan::*;

/// Parts of a test that its thresholds refer to.
pub(super) struct Judged<'a> {
    /// Scenarios as far as they could be converted.
    pub(super) scenarios: &'a [Scenario],
    /// True if the load is open.
    pub(super) is_open: bool,
    /// Metrics that the steps record.
    pub(super) trends: &'a [Trend],
}

impl Judged<'_> {
    /// Lists the measured requests.
    fn places(&self) -> impl Iterator<Item = StepPlace<'_>> {
        self.requests().filter(|place| !place.is_health_check())
    }

    /// Lists the requests that load is made of, health checks among them.
    fn requests(&self) -> impl Iterator<Item = StepPlace<'_>> {
        self.scenarios
            .iter()
            .flat_map(Scenario::steps)
            .filter(|place| !place.is_control())
    }
}

/// Converts the thresholds of a test, and refuses a test that has nothing to be judged by.
pub(super) fn check_thresholds(
    thresholds: &[ThresholdSpec],
    judged: &Judged<'_>,
    problems: &mut Problems,
) -> Vec<Threshold> {
    let asks_for_health = judged.requests().any(|place| place.is_health_check());
    if asks_for_health && problems.found.is_empty() && judged.places().next().is_none() {
        let why = "a health check that passes is no request of the results, and there is nothing \
                   else to judge the run by; name its method, grpc.health.v1.Health/Check, to \
                   measure it as any other call";
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
    let select = check_select(spec, path, judged, problems);
    let span = check_span(spec, path, problems);
    let parsed = match (spec.metric, &spec.record) {
        (Some(metric), None) if metric != Metric::Record => {
            Threshold::parse(metric, select, &spec.expr)
        }
        (None, Some(name)) => {
            let place = check_record(spec, name, path, judged, problems)?;
            Threshold::of_record(place, &judged.trends[usize::from(place)], &spec.expr)
        }
        _ => {
            problems.add(path, "needs either metric or record");
            return None;
        }
    };
    let threshold = problems.take(&format!("{path}.expr"), parsed)?;
    problems.take(&format!("{path}.select"), threshold.check_select());
    check_meaning(spec, &threshold, path, judged, problems);
    Some(Threshold {
        span,
        abort_on_fail: spec.abort_on_fail,
        ..threshold
    })
}

/// Converts the selection, which must include requests of which the metric is measured.
fn check_select(
    spec: &ThresholdSpec,
    path: &str,
    judged: &Judged<'_>,
    problems: &mut Problems,
) -> Select {
    let SelectSpec {
        scenario,
        task,
        step,
        tags,
        outcome,
    } = spec.select.clone().unwrap_or_default();
    let select = Select {
        scenario,
        task,
        step,
        tags,
        outcome,
    };
    // steps that were refused are missing from the plan; one mistake is enough to report
    if !problems.found.is_empty() {
        return select;
    }
    let selected = || judged.places().filter(|place| select.matches(place));
    if selected().next().is_none() {
        let why =
            "no measured request has these names and tags, so there would be nothing to judge";
        problems.add(format!("{path}.select"), why);
    } else if let Some(metric) = spec.metric
        && let Some(needs) = metric.needs()
        && !selected().any(|place| metric.is_measured_of(place.step))
    {
        problems.add(
            format!("{path}.metric"),
            format!("is measured only of steps with {needs}, and none of the selected ones has it"),
        );
    }
    select
}

/// Finds the place of the records that the threshold names.
fn check_record(
    spec: &ThresholdSpec,
    name: &str,
    path: &str,
    judged: &Judged<'_>,
    problems: &mut Problems,
) -> Option<u16> {
    if spec.select.is_some() {
        let why = "what is recorded under one name is not kept apart; record it under several \
                   names";
        problems.add(format!("{path}.select"), why);
    }
    let place = place_of(name, judged.trends);
    // records that were refused are missing from the list; one mistake is enough to report
    if problems.found.is_empty() {
        problems.take(&format!("{path}.record"), place)
    } else {
        place.ok()
    }
}

/// Refuses fields that mean nothing for the metric or the aggregate.
fn check_meaning(
    spec: &ThresholdSpec,
    threshold: &Threshold,
    path: &str,
    judged: &Judged<'_>,
    problems: &mut Problems,
) {
    let metric = threshold.metric;
    if metric.needs_open_load(threshold.quantity) && !judged.is_open {
        problems.add(
            format!("{path}.metric"),
            "only open load asks for a number of iterations, so there is no share of it to judge",
        );
    }
    let counts = metric.is_count(threshold.aggregate);
    if counts && spec.min_count.is_some() {
        problems.add(
            format!("{path}.minCount"),
            "a count is judged however small it is",
        );
    }
    let is_floor = !threshold.comparison.is_ceiling();
    if spec.abort_on_fail && counts && spec.window.is_none() && is_floor {
        problems.add(
            format!("{path}.abortOnFail"),
            "needs a window: a count over everything so far begins at nothing",
        );
    }
}

/// Finds the place of the records called `record` in the list of trends.
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

/// Converts the part of the run that is judged, which is measured in whole seconds.
fn check_span(spec: &ThresholdSpec, path: &str, problems: &mut Problems) -> Span {
    let is_judged_once = spec.window.is_none() && !spec.abort_on_fail;
    if spec.for_.is_some() && is_judged_once {
        let why = "needs window or abortOnFail: what is judged once at the end is not breached \
                   for a time";
        problems.add(format!("{path}.for"), why);
    }
    if spec.delay.is_some() && is_judged_once {
        problems.add(
            format!("{path}.delay"),
            "needs window or abortOnFail: the whole run is judged at its end",
        );
    }
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
