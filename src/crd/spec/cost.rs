//! What the system under test costs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Prices, from which the result says what a million requests cost at this run's thresholds, and
/// how many such endpoints a rate needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostSpec {
    /// Price of one endpoint, as tested, for an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub per_hour: Option<f64>,
    /// Of all prices; any word.
    #[serde(default = "usd")]
    #[schemars(length(min = 1, max = 16))]
    pub currency: String,
    /// Requests per second that are to be served; the result says how many endpoints that takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub wanted_rate: Option<f64>,
    /// Price of a million tokens of questions, where the service is paid by the token. The result
    /// says what those of a million requests cost; the counts are those of steps with
    /// `stream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub per_million_input_tokens: Option<f64>,
    /// Price of a million tokens of answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub per_million_output_tokens: Option<f64>,
}

fn usd() -> String {
    "USD".into()
}
