//! What the users do: scenarios, tasks, steps.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pace::ThinkTimeSpec;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScenarioSpec {
    /// Name in results and thresholds.
    #[schemars(schema_with = "crate::crd::schema::name")]
    pub name: String,
    /// Share of users (or arrivals) relative to the other scenarios.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: u32,
    /// So many users, over the whole fleet, play this scenario before any are dealt out by weight; `weight` is not looked at then. Not in
    /// open load.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub fixed_users: Option<u32>,
    /// Pause of a user between two iterations; not in open load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think_time: Option<ThinkTimeSpec>,
    /// A user's iteration begins at the earliest so long after the beginning of its last, and at once when that took longer. Not together
    /// with `thinkTime`, and not in open load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub pacing: Option<String>,
    /// What a user does: each iteration is one of them.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub tasks: Vec<TaskSpec>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskSpec {
    /// Name in results and thresholds.
    #[schemars(schema_with = "crate::crd::schema::name")]
    pub name: String,
    /// How often the task is chosen relative to the scenario's others.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: u32,
    /// Carried out in order; the first that fails ends the iteration.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<StepSpec>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepSpec {
    /// Name in results and thresholds; without one, the method and the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
    /// The HTTP request to send.
    pub http: HttpStepSpec,
    /// Overrides `spec.http.timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub timeout: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpStepSpec {
    /// The request's method.
    #[serde(default = "get")]
    #[schemars(extend("enum" = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]))]
    pub method: String,
    /// A template that starts with `/`; may hold a query.
    #[schemars(length(max = 2048), extend("pattern" = "^/"))]
    pub path: String,
    /// Values are templates; they replace the target's headers of the same name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub headers: BTreeMap<String, String>,
    /// A JSON body; its strings are templates, and a string that is wholly one expression becomes that value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::free_value")]
    pub json: Option<Value>,
    /// A text body, a template; not together with `json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub body: Option<String>,
}

fn one() -> u32 {
    1
}

fn get() -> String {
    "GET".into()
}
