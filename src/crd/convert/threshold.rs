//! The rules that decide between passed and failed.

use super::Problems;
use crate::crd::spec::*;
use crate::plan::threshold::{Metric, Select};
use crate::plan::*;

pub(super) fn check_thresholds(thresholds: &[ThresholdSpec], scenarios: &[Scenario], problems: &mut Problems) -> Vec<Threshold> {
    let mut checked = Vec::new();
    for (i, ThresholdSpec { metric, select, expr }) in thresholds.iter().enumerate() {
        let path = format!("spec.thresholds[{i}]");
        let SelectSpec { scenario, task, step, outcome } = select.clone().unwrap_or_default();
        let select = Select { scenario, task, step, outcome };
        // steps that were refused above are missing from the plan; one mistake is enough to report
        if problems.0.is_empty() && !steps_of(scenarios).any(|place| select.matches(&place)) {
            problems.add(format!("{path}.select"), "no step has these names, so there would be nothing to judge");
        }
        if *metric == Metric::Achieved && select != Select::default() {
            problems.add(format!("{path}.select"), "achieved is counted over all iterations; it has nothing to select");
        }
        checked.extend(problems.take(&format!("{path}.expr"), Threshold::parse(*metric, select, expr)));
    }
    checked
}
