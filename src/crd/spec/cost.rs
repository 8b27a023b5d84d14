//! Prices of the system under test.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Prices of the system under test, from which the result says what a million requests cost at this
/// run's thresholds, and how many such endpoints a rate needs. At least one price or `wantedRate`
/// is set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostSpec {
    /// Price of one endpoint, as tested, per hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub per_hour: Option<f64>,
    /// Currency of all prices; any word.
    #[serde(default = "usd")]
    #[schemars(length(min = 1, max = 16))]
    pub currency: String,
    /// Requests per second to be served, above 0; the result says how many endpoints that takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub wanted_rate: Option<f64>,
    /// Price of a million input tokens, where the service is paid by the token; the counts are
    /// those of steps with `http.stream.preset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub per_million_input_tokens: Option<f64>,
    /// Price of a million output tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub per_million_output_tokens: Option<f64>,
}

fn usd() -> String {
    "USD".into()
}
