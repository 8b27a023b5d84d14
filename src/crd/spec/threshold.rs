//! Thresholds: the rules that decide between passed and failed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::threshold::{Metric, Outcome};

/// Pattern of an aggregate, a comparison and a number with its unit.
const EXPRESSION: &str = concat!(
    r"^(p\((100|[1-9]?[0-9](\.[0-9]{1,3})?)\)|avg|min|med|max|rate|count|perSecond)",
    r" *(<|<=|>|>=) *[0-9][0-9.]*[a-z0-9%/]*$"
);

/// Rule that decides between passed and failed, over a `metric` or over a `record` of this test:
/// exactly one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["metric"]}, {"required": ["record"]}]))]
pub struct ThresholdSpec {
    /// Metric to judge, with one of its own aggregates; `p(99)` stands for any percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::metric")]
    pub metric: Option<Metric>,
    /// Name under which steps `record` numbers of their answers (`p(99)`, `avg`, `min`, `med`,
    /// `max`). The bound of a record of time has a unit (`p(95) < 40ms`), that of any other is a
    /// plain number. Excludes `select`: everything recorded under one name is one metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub record: Option<String>,
    /// Requests whose samples count. If unset, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<SelectSpec>,
    /// Aggregate, comparison and a number with its unit: `p(99) < 250ms`, `rate < 1%`,
    /// `perSecond >= 500/s`, `count < 10`.
    #[schemars(
        length(max = 64),
        extend("pattern" = EXPRESSION)
    )]
    pub expr: String,
    /// Length of the sliding window that is judged, moved on by a second each time, in whole
    /// seconds; one breach is final. If unset, or in a run shorter than it, the measured part is
    /// judged as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub window: Option<String>,
    /// Time after the warm-up before which no window begins and the run is not ended, in whole
    /// seconds. If unset, `0s`. Needs `window` or `abortOnFail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub delay: Option<String>,
    /// Number of samples below which nothing is judged; a threshold that is never judged is not
    /// met. If unset, 20, and 1 at the end of a run without a window. Not with counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_count: Option<u32>,
    /// Time for which each second's judgement must be a breach before the threshold counts as
    /// breached, in whole seconds. If unset, `0s`. Needs `window` or `abortOnFail`.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub for_: Option<String>,
    /// Ends the run at a breach, at once, `Failed` with reason `ThresholdAborted`. Without `window`
    /// everything so far is judged each second. If unset, `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abort_on_fail: bool,
}

/// Selection of samples by name; all fields that are set must match.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SelectSpec {
    /// Name of the scenario.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub scenario: Option<String>,
    /// Name of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub task: Option<String>,
    /// Name of the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub step: Option<String>,
    /// Tags of requests, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub tags: BTreeMap<String, String>,
    /// Requests whose latencies count: successful ones, failed ones, or both.
    #[schemars(schema_with = "crate::crd::schema::outcome")]
    pub outcome: Outcome,
}
