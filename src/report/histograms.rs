//! Histograms of a result, read back from their portable form.

use data_encoding::BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

use crate::stats::result::RunResult;

/// Metric of the latencies of whole requests.
pub(super) const LATENCY: &str = "latency";
/// Outcome of requests that succeeded.
pub(super) const SUCCESS: &str = "Success";

/// Finds a histogram of a step; `None` where the result has none, as of a step without such samples
/// or where it was left out of a stored report.
pub(super) fn of_step(
    result: &RunResult,
    (scenario, task, step): (&str, &str, &str),
    metric: &str,
    outcome: &str,
) -> Option<Histogram<u64>> {
    let found = result.histograms.iter().find(|one| {
        (one.scenario.as_str(), one.task.as_str(), one.step.as_str()) == (scenario, task, step)
            && one.metric == metric
            && one.outcome == outcome
    });
    read(&found?.hdr_v2)
}

/// Merges the latencies of the successes of all steps that count; `None` where those of a step with
/// successes are missing, so that no percentile of a part is taken for one of the whole.
pub(super) fn of_run(result: &RunResult) -> Option<Histogram<u64>> {
    let mut all: Option<Histogram<u64>> = None;
    for step in result
        .steps
        .iter()
        .filter(|step| step.requests > step.failures)
    {
        let names = (
            step.scenario.as_str(),
            step.task.as_str(),
            step.step.as_str(),
        );
        let own = of_step(result, names, LATENCY, SUCCESS)?;
        match &mut all {
            None => all = Some(own),
            Some(all) => all.add(own).ok()?,
        }
    }
    all
}

/// Reads the HdrHistogram V2 format in base64; `None` for what is none.
pub(super) fn read(base64: &str) -> Option<Histogram<u64>> {
    let bytes = BASE64.decode(base64.as_bytes()).ok()?;
    Deserializer::new().deserialize(&mut &bytes[..]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::text::tests::result;
    use crate::stats::Histogram as Own;
    use crate::stats::result::HistogramResult;

    fn written(values: &[u64]) -> String {
        let mut own = Own::new();
        values.iter().for_each(|value| own.record(*value));
        BASE64.encode(&own.to_hdr_v2().unwrap())
    }

    #[test]
    fn what_a_result_holds_is_read_back() {
        let read = read(&written(&[100, 200, 300, 40_000])).unwrap();
        assert_eq!(read.len(), 4);
        assert_eq!(read.value_at_quantile(0.5), 200);
        assert!(super::read("bm9uZQ==").is_none() && super::read("?").is_none());
    }

    #[test]
    fn a_run_of_which_a_step_is_missing_has_no_percentiles_of_the_whole() {
        let mut result = result();
        assert!(of_run(&result).is_none());
        let histograms = result.steps.iter().map(|step| HistogramResult {
            scenario: step.scenario.clone(),
            task: step.task.clone(),
            step: step.step.clone(),
            outcome: SUCCESS.into(),
            metric: LATENCY.into(),
            hdr_v2: written(&[100, 300]),
        });
        result.histograms = histograms.collect();
        let steps = result.histograms.len() as u64;
        assert_eq!(of_run(&result).unwrap().len(), 2 * steps);
    }
}
