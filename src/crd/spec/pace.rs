//! Pauses of users: between two iterations, and as steps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Length of a pause: exactly one of `min` with `max`, `constant`, `normal` and `exponential`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    extend(
        "oneOf" = [
            {"required": ["min", "max"]}, {"required": ["constant"]}, {"required": ["normal"]},
            {"required": ["exponential"]},
        ]
    )
)]
pub struct ThinkTimeSpec {
    /// Shortest pause; all lengths between `min` and `max` are equally likely.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub min: Option<String>,
    /// Longest pause; not shorter than `min`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub max: Option<String>,
    /// Same length every time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub constant: Option<String>,
    /// Normal distribution; a negative draw is no pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normal: Option<NormalSpec>,
    /// Exponential distribution: often short, seldom long, like the pauses of independent people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential: Option<ExponentialSpec>,
}

/// Normal distribution of pauses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NormalSpec {
    /// Mean of the pauses.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub mean: String,
    /// Standard deviation: two thirds of the pauses are no further from the mean.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub std_dev: String,
}

/// Exponential distribution of pauses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExponentialSpec {
    /// Mean of the pauses.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub mean: String,
}
