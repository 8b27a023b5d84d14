//! A result as the three CSV files that Locust writes, with its column names, so that what reads
//! those reads ours.
//!
//! Times are in milliseconds, of requests that succeeded: Locust mixes failures in, which are often
//! quick. A number that the result does not hold is `N/A`, as in Locust. A name that a spreadsheet
//! would take for a formula gets a quote before it.

use std::collections::BTreeMap;

use csv::{QuoteStyle, WriterBuilder};
use hdrhistogram::Histogram;
use jiff::Timestamp;

use super::histograms;
use super::names::{label, step_label};
use super::text::clean;
use crate::plan::{Plan, Protocol, StepPlace};
use crate::stats::result::{LatencySummary, RunResult, SeriesPoint, StepResult};

/// Percentiles of Locust's columns, in percent.
const PERCENTILES: [(&str, f64); 11] = [
    ("50%", 50.0),
    ("66%", 66.0),
    ("75%", 75.0),
    ("80%", 80.0),
    ("90%", 90.0),
    ("95%", 95.0),
    ("98%", 98.0),
    ("99%", 99.0),
    ("99.9%", 99.9),
    ("99.99%", 99.99),
    ("100%", 100.0),
];

/// Content of a cell that the result has no number for.
const NONE: &str = "N/A";

/// One of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Requests by step, over the whole run; the last row is their sum.
    Stats,
    /// Requests of all steps, by run second.
    History,
    /// Failures by step and message.
    Failures,
}

impl Kind {
    /// Every file.
    pub const ALL: [Kind; 3] = [Kind::Stats, Kind::History, Kind::Failures];

    /// End of the file's name, after the prefix.
    pub fn suffix(self) -> &'static str {
        match self {
            Kind::Stats => "_stats.csv",
            Kind::History => "_stats_history.csv",
            Kind::Failures => "_failures.csv",
        }
    }
}

/// Writes one of the files.
///
/// # Errors
///
/// None but those of writing to memory, which do not happen.
pub fn render(result: &RunResult, kind: Kind) -> csv::Result<String> {
    let mut writer = WriterBuilder::new()
        .quote_style(QuoteStyle::Necessary)
        .flexible(true)
        .from_writer(Vec::new());
    let rows = match kind {
        Kind::Stats => stats(result),
        Kind::History => history(result),
        Kind::Failures => failures(result),
    };
    rows.iter().try_for_each(|row| writer.write_record(row))?;
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn stats(result: &RunResult) -> Vec<Vec<String>> {
    let mut rows = vec![header(
        &[
            "Type",
            "Name",
            "Request Count",
            "Failure Count",
            "Median Response Time",
            "Average Response Time",
            "Min Response Time",
            "Max Response Time",
            "Average Content Size",
            "Requests/s",
            "Failures/s",
        ],
        &[],
    )];
    let methods = methods(result);
    let seconds = (result.duration_micros as f64 / 1e6).max(1e-6);
    let row = |kind: String, name: String, all: Sums<'_>, samples: Option<&Histogram<u64>>| {
        let mut row = vec![
            kind,
            name,
            all.requests.to_string(),
            all.failures.to_string(),
        ];
        row.extend(times(all.latency, all.requests > all.failures));
        row.push(decimal(
            all.received_bytes as f64 / all.requests.max(1) as f64,
        ));
        row.push(decimal(all.requests as f64 / seconds));
        row.push(decimal(all.failures as f64 / seconds));
        row.extend(percentiles(
            all.latency,
            samples,
            all.requests > all.failures,
        ));
        row
    };
    for step in &result.steps {
        let names = (
            step.scenario.as_str(),
            step.task.as_str(),
            step.step.as_str(),
        );
        let samples = histograms::of_step(result, names, histograms::LATENCY, histograms::SUCCESS);
        let name = cell(&step_label(step));
        let method = method_of(&methods, names);
        rows.push(row(method, name, Sums::of_step(step), samples.as_ref()));
    }
    let samples = histograms::of_run(result);
    let all = Sums::of_run(result);
    rows.push(row(
        String::new(),
        "Aggregated".to_owned(),
        all,
        samples.as_ref(),
    ));
    rows
}

/// Numbers of a row.
struct Sums<'a> {
    requests: u64,
    failures: u64,
    received_bytes: u64,
    latency: &'a LatencySummary,
}

impl<'a> Sums<'a> {
    fn of_step(step: &'a StepResult) -> Self {
        Self {
            requests: step.requests,
            failures: step.failures,
            received_bytes: step.received_bytes,
            latency: &step.latency,
        }
    }

    fn of_run(result: &'a RunResult) -> Self {
        let totals = &result.totals;
        Self {
            requests: totals.requests,
            failures: totals.failures,
            received_bytes: totals.received_bytes,
            latency: &totals.latency,
        }
    }
}

fn header(before: &[&str], after: &[&str]) -> Vec<String> {
    let percentiles = PERCENTILES.map(|(name, _)| name);
    let all = before.iter().chain(&percentiles).chain(after);
    all.map(|name| (*name).to_owned()).collect()
}

/// Median, average, minimum and maximum.
fn times(latency: &LatencySummary, has_any: bool) -> [String; 4] {
    let LatencySummary {
        min,
        mean,
        p50,
        p90: _,
        p95: _,
        p99: _,
        p999: _,
        max,
    } = *latency;
    match has_any {
        true => [p50 as f64, mean, min as f64, max as f64].map(millis),
        false => std::array::from_fn(|_| "0".to_owned()),
    }
}

/// Percentiles of samples, or else those that the summary has.
fn percentiles(
    latency: &LatencySummary,
    samples: Option<&Histogram<u64>>,
    has_any: bool,
) -> Vec<String> {
    let of = |percentile: f64| -> Option<f64> {
        if !has_any {
            return None;
        }
        let known = [
            (50.0, latency.p50),
            (90.0, latency.p90),
            (95.0, latency.p95),
            (99.0, latency.p99),
            (99.9, latency.p999),
            (100.0, latency.max),
        ];
        let known = known.iter().find(|(known, _)| *known == percentile);
        match known {
            Some((_, micros)) => Some(*micros as f64),
            None => samples.map(|samples| samples.value_at_percentile(percentile) as f64),
        }
    };
    let all = PERCENTILES.iter();
    all.map(|(_, percentile)| of(*percentile).map_or(NONE.to_owned(), millis))
        .collect()
}

/// Names that lead to a step: scenario, task and step.
type Names = (String, String, String);

/// Methods of HTTP requests, and `gRPC` for calls, by step; empty where another release wrote the
/// plan in a form of its own.
fn methods(result: &RunResult) -> BTreeMap<Names, String> {
    let Ok(plan) = serde_json::from_value::<Plan>(result.plan.clone()) else {
        return BTreeMap::new();
    };
    let method = |place: StepPlace<'_>| {
        let names = (
            place.scenario.to_owned(),
            place.task.to_owned(),
            place.step.name.clone(),
        );
        let method = match &place.step.call {
            Protocol::Http(http) => http.request.method.to_string(),
            Protocol::Grpc(_) => "gRPC".to_owned(),
        };
        (names, method)
    };
    plan.steps().map(method).collect()
}

fn method_of(
    methods: &BTreeMap<Names, String>,
    (scenario, task, step): (&str, &str, &str),
) -> String {
    let names = (scenario.to_owned(), task.to_owned(), step.to_owned());
    methods.get(&names).cloned().unwrap_or_default()
}

fn history(result: &RunResult) -> Vec<Vec<String>> {
    let mut rows = vec![header(
        &[
            "Timestamp",
            "User Count",
            "Type",
            "Name",
            "Requests/s",
            "Failures/s",
        ],
        &[
            "Total Request Count",
            "Total Failure Count",
            "Total Median Response Time",
            "Total Average Response Time",
            "Total Min Response Time",
            "Total Max Response Time",
            "Total Average Content Size",
        ],
    )];
    let begin = result.started_at.as_ref();
    let begin = begin.and_then(|at| at.parse::<Timestamp>().ok());
    let (mut requests, mut failures, mut before) = (0, 0, None);
    for point in &result.series {
        requests += point.requests;
        failures += point.failures;
        // a thinned series has points of several seconds
        let seconds = before
            .map_or(1, |before| point.second.saturating_sub(before))
            .max(1);
        before = Some(point.second);
        let rate = |count: u64| decimal(count as f64 / f64::from(seconds));
        let at = begin.map(|begin| begin.as_second() + i64::from(point.second));
        let mut row = vec![
            at.map_or(NONE.to_owned(), |at| at.to_string()),
            point.users.to_string(),
            String::new(),
            "Aggregated".to_owned(),
            rate(point.requests),
            rate(point.failures),
        ];
        row.extend(percentiles_of_point(point));
        row.extend([requests.to_string(), failures.to_string()]);
        row.extend(std::iter::repeat_n(NONE.to_owned(), 5));
        rows.push(row);
    }
    rows
}

fn percentiles_of_point(point: &SeriesPoint) -> Vec<String> {
    let known = [(50.0, point.p50), (95.0, point.p95), (99.0, point.p99)];
    let of = |percentile: f64| {
        let known = known.iter().find(|(known, _)| *known == percentile);
        let micros = known.map(|(_, micros)| *micros);
        micros.filter(|_| point.requests > point.failures)
    };
    let all = PERCENTILES.iter();
    all.map(|(_, percentile)| {
        of(*percentile).map_or(NONE.to_owned(), |micros| millis(micros as f64))
    })
    .collect()
}

fn failures(result: &RunResult) -> Vec<Vec<String>> {
    let columns = [
        "Method",
        "Name",
        "Error",
        "Occurrences",
        "First Seen",
        "Last Seen",
    ];
    let mut rows = vec![columns.map(str::to_owned).to_vec()];
    let methods = methods(result);
    for error in &result.errors {
        let names = (
            error.scenario.as_str(),
            error.task.as_str(),
            error.step.as_str(),
        );
        let class = error.class.map_or("other", |class| class.name());
        let status = error
            .status
            .map_or(String::new(), |status| format!(" {status}"));
        let message = match error.sample.as_str() {
            "" => format!("{class}{status}"),
            sample => format!("{class}{status}: {sample}"),
        };
        rows.push(vec![
            method_of(&methods, names),
            cell(&label(names.0, names.1, names.2)),
            cell(&message),
            error.count.to_string(),
            NONE.to_owned(),
            NONE.to_owned(),
        ]);
    }
    rows
}

/// Writes a text of the test or its target as a cell that no spreadsheet computes.
fn cell(text: &str) -> String {
    let text = clean(text);
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text,
    }
}

fn millis(micros: f64) -> String {
    decimal(micros / 1e3)
}

fn decimal(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::text::tests::result;
    use super::*;

    fn rows(text: &str) -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(text.as_bytes());
        let records = reader.records();
        records
            .map(|record| record.unwrap().iter().map(str::to_owned).collect())
            .collect()
    }

    #[test]
    fn columns_are_those_of_locust() {
        let of = |kind| render(&result(), kind).unwrap();
        assert_eq!(
            of(Kind::Stats).lines().next().unwrap(),
            "Type,Name,Request Count,Failure Count,Median Response Time,Average Response Time,Min Response Time,Max Response Time,Average Content Size,Requests/s,Failures/s,50%,66%,75%,80%,90%,95%,98%,99%,99.9%,99.99%,100%"
        );
        assert_eq!(
            of(Kind::History).lines().next().unwrap(),
            "Timestamp,User Count,Type,Name,Requests/s,Failures/s,50%,66%,75%,80%,90%,95%,98%,99%,99.9%,99.99%,100%,Total Request Count,Total Failure Count,Total Median Response Time,Total Average Response Time,Total Min Response Time,Total Max Response Time,Total Average Content Size"
        );
        assert_eq!(
            of(Kind::Failures).lines().next().unwrap(),
            "Method,Name,Error,Occurrences,First Seen,Last Seen"
        );
    }

    #[test]
    fn the_last_row_is_the_sum_and_what_is_not_known_is_said() {
        let text = render(&result(), Kind::Stats).unwrap();
        let rows = rows(&text);
        assert_eq!(rows.len(), 2 + result().steps.len());
        let last = rows.last().unwrap();
        assert_eq!(last[1..4], ["Aggregated", "12345", "3"]);
        assert_eq!(last[9], "1234.5");
        // 66% is in no summary, and the result has no histograms
        assert_eq!(last[12], "N/A");
        assert!(
            rows.iter().all(|row| row.len() == rows[0].len()),
            "{rows:?}"
        );
    }

    #[test]
    fn a_name_is_no_formula_and_cannot_leave_its_cell() {
        let mut hostile = result();
        hostile.steps[0].scenario = "=HYPERLINK(\"http://x\")".to_owned();
        hostile.errors[0].sample = "a,\"b\"\r\n=1+1\u{1b}[2J".to_owned();
        let stats = rows(&render(&hostile, Kind::Stats).unwrap());
        assert!(
            stats[1][1].starts_with("'=HYPERLINK(\"http://x\")"),
            "{stats:?}"
        );
        let failures = rows(&render(&hostile, Kind::Failures).unwrap());
        assert_eq!(failures.len(), 2);
        assert!(failures[1][2].ends_with("a,\"b\"  =1+1[2J"), "{failures:?}");
    }

    #[test]
    fn a_series_has_a_row_a_second_with_what_came_so_far() {
        let mut run = result();
        let point = |second, requests| SeriesPoint {
            second,
            requests,
            failures: 1,
            users: 4,
            p50: 1_500,
            p95: 2_000,
            p99: 3_000,
        };
        run.series = vec![point(0, 10), point(1, 20), point(3, 30)];
        let rows = rows(&render(&run, Kind::History).unwrap());
        let begin = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
        assert_eq!(rows[1][0], begin.as_second().to_string());
        assert_eq!(rows[1][4..7], ["10", "1", "1.5"]);
        // two seconds in one
        assert_eq!(rows[3][4], "15");
        assert_eq!(rows[3][17..19], ["60", "3"]);
        assert!(
            rows.iter().all(|row| row.len() == rows[0].len()),
            "{rows:?}"
        );
    }
}
