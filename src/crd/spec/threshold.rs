//! The rules that decide between passed and failed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::threshold::{Metric, Outcome};

/// One rule over a `metric` of every test, or over a `record` of this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["metric"]}, {"required": ["record"]}]))]
pub struct ThresholdSpec {
    /// What is judged. Times (`p(99)`, `avg`, `min`, `med`, `max`): `latency` from the intended
    /// start of a request to its last byte, `serviceTime` from its first byte, `iteration` of
    /// a whole task, and the phases of successes `dns`, `connect`, `tls`, `wait` (first byte sent
    /// to first byte received) and `download`. Counts: `failures` and `dropped` (`rate`,
    /// `count`, `perSecond`), `checks` that passed (`rate`), `requests` and `iterations` that
    /// ended (`count`, `perSecond`), and `achieved`: iterations started per second (`rate >=
    /// 500/s`), or as a share of what open load asks for (`rate >= 99%`). Of steps with
    /// `http.stream`: `firstEvent` from the intended start to the first event (of steps with
    /// `grpc`: `firstMessage`), and `gap` between them; of a language model's streams, instead of
    /// these two, `ttft` to the first event with content, `itl` between those with content, `tpot`
    /// per output token after the first (one value an answer), and `outputTokens` (`count`,
    /// `perSecond`). Of steps with `goodput`: `goodput`, the requests within all limits (`count`,
    /// `perSecond`), and `goodputRatio`, their share of all that were intended (`rate >=
    /// 95%`); a dropped arrival counts as one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::metric")]
    pub metric: Option<Metric>,
    /// The name under which steps `record` numbers of their answers (`p(99)`, `avg`, `min`, `med`,
    /// `max`). The bound of a record of time has a unit (`p(95) < 40ms`), that of any other is
    /// a plain number. Without `select`, for what is recorded under one name is one metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub record: Option<String>,
    /// Which samples count; all if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<SelectSpec>,
    /// Aggregate, comparison and a number with its unit: `p(99) < 250ms`, `rate < 1%`, `perSecond
    /// >= 500/s`, `count < 10`.
    #[schemars(length(max = 64), extend("pattern" = "^(p\\((100|[1-9]?[0-9](\\.[0-9]{1,3})?)\\)|avg|min|med|max|rate|count|perSecond) *(<|<=|>|>=) *[0-9][0-9.]*[a-z0-9%/]*$"))]
    pub expr: String,
    /// Judged over every stretch of this length, moved on by a second each time, in whole seconds;
    /// one that is breached stays breached. Unset, or in a run too short for it: over the measured
    /// part as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub window: Option<String>,
    /// So long after the warm-up no window begins, and the run is not ended, in whole seconds;
    /// `0s` if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub delay: Option<String>,
    /// With fewer samples it is not judged, and what is never judged is not passed. 20 if unset,
    /// at the end of a run without a window 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_count: Option<u32>,
    /// Breached only if each second's judgement says so for this long, in whole seconds; `0s` if
    /// unset. Needs `window` or `abortOnFail`.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub for_: Option<String>,
    /// A breach ends the run at once as failed, with reason `ThresholdAborted`. Without `window`
    /// it is judged each second over everything so far.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abort_on_fail: bool,
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
    /// Tags of requests, each with its value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub tags: BTreeMap<String, String>,
    /// Latencies of successes, of failures or of both.
    #[schemars(schema_with = "crate::crd::schema::outcome")]
    pub outcome: Outcome,
}
