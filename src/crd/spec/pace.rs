//! What a user does between two iterations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Exactly one of `min` with `max`, `constant`, `normal` and `exponential`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [
    {"required": ["min", "max"]}, {"required": ["constant"]}, {"required": ["normal"]}, {"required": ["exponential"]}]))]
pub struct ThinkTimeSpec {
    /// The shortest pause; all between it and `max` are equally likely.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub min: Option<String>,
    /// The longest pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub max: Option<String>,
    /// Always the same pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub constant: Option<String>,
    /// Pauses that lie around a mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normal: Option<NormalSpec>,
    /// Short pauses often, long ones seldom: what independent people make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential: Option<ExponentialSpec>,
}

/// Normally distributed; what is drawn below zero is no pause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NormalSpec {
    /// What the pauses lie around.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub mean: String,
    /// Standard deviation: two thirds of the pauses are no further from the mean.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub std_dev: String,
}

/// Exponentially distributed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExponentialSpec {
    /// Length of the pauses on average.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub mean: String,
}
