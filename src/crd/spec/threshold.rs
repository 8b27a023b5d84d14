//! The rules that decide between passed and failed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::threshold::{Metric, Outcome};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThresholdSpec {
    /// What is measured.
    #[schemars(schema_with = "crate::crd::schema::metric")]
    pub metric: Metric,
    /// Which samples count; all if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<SelectSpec>,
    /// Aggregate, comparison and a number with its unit: `p(99) < 250ms`, `rate < 1%`, `rate >= 500/s`.
    #[schemars(length(max = 64), extend("pattern" = "^(p\\((100|[1-9]?[0-9](\\.[0-9]{1,3})?)\\)|avg|min|med|max|rate) *(<|<=|>|>=) *[0-9][0-9.]*[a-z0-9%/]*$"))]
    pub expr: String,
}

/// Only samples whose names match all that is set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SelectSpec {
    /// Name of a scenario.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub scenario: Option<String>,
    /// Name of a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub task: Option<String>,
    /// Name of a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub step: Option<String>,
    /// Latencies of successes, of failures or of both.
    #[schemars(schema_with = "crate::crd::schema::outcome")]
    pub outcome: Outcome,
}
