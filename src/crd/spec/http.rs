//! HTTP requests: method, path, headers, body.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{DataSpec, HttpStreamSpec};
use crate::plan::RetryOn;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpStepSpec {
    /// The request's method.
    #[serde(default = "get")]
    #[schemars(extend("enum" = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]))]
    pub method: String,
    /// A template that starts with `/`; may hold a query.
    #[schemars(length(max = 2048), extend("pattern" = "^/"))]
    pub path: String,
    /// Added to the path's query; values are templates and are percent-encoded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub query: BTreeMap<String, String>,
    /// Values are templates; they replace the target's headers of the same name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub headers: BTreeMap<String, String>,
    /// A JSON body; its strings are templates, and a string that is wholly one expression becomes
    /// that value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::free_value")]
    pub json: Option<Value>,
    /// A text body, a template. Of `json`, `body`, `bodyFrom`, `form` and `multipart` there is at
    /// most one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub body: Option<String>,
    /// The body is this content, byte by byte; no template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_from: Option<DataSpec>,
    /// An `application/x-www-form-urlencoded` body; values are templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub form: Option<BTreeMap<String, String>>,
    /// A `multipart/form-data` body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub multipart: Option<Vec<PartSpec>>,
    /// Redirects followed at most; overrides `spec.http.followRedirects`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 20))]
    pub follow_redirects: Option<u32>,
    /// Sends again what failed; without it nothing is sent twice. All tries together are one
    /// sample, and each further one counts as a retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySpec>,
    /// Reads the answer as a stream of events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<HttpStreamSpec>,
}

/// One part of a multipart body: a `value` or the content of a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["value"]}, {"required": ["valueFrom"]}]))]
pub struct PartSpec {
    /// Name of the form's field.
    #[schemars(length(min = 1, max = 128), extend("pattern" = "^[^\"\\r\\n]+$"))]
    pub name: String,
    /// A template.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub value: Option<String>,
    /// This content, byte by byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_from: Option<DataSpec>,
    /// Makes the part a file of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("pattern" = "^[^\"\\r\\n]+$"))]
    pub file_name: Option<String>,
    /// Of the part; for a file `application/octet-stream` if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), extend("pattern" = "^[!-~ ]+$"))]
    pub content_type: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetrySpec {
    /// Tries after the first.
    #[schemars(range(min = 1, max = 10))]
    pub max: u32,
    /// What is tried again: `Connect` (no connection), `Reset` (it broke, or was stale),
    /// `Throttled` (429), `Unavailable` (503), `ServerError` (500 and above).
    #[serde(default = "retry_on")]
    #[schemars(length(min = 1, max = 5), extend("x-kubernetes-list-type" = "atomic"))]
    pub on: Vec<RetryOn>,
    /// Pause before the second try; doubles with each.
    #[serde(default = "retry_backoff")]
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub backoff: String,
}

fn get() -> String {
    "GET".into()
}

fn retry_on() -> Vec<RetryOn> {
    vec![RetryOn::Connect, RetryOn::Throttled, RetryOn::Unavailable]
}

fn retry_backoff() -> String {
    "100ms".into()
}
