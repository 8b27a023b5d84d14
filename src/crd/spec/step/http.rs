//! HTTP requests of steps: method, path, headers, body.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::crd::spec::{DataSpec, HttpStreamSpec};
use crate::plan::RetryOn;

/// An HTTP request. At most one of `json`, `body`, `bodyFrom`, `form` (with or without
/// `formItems`) and `multipart` is set; without any there is no body.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpStepSpec {
    /// Method of the request: `GET`, `POST` or any other token, such as `PROPFIND` or `QUERY`; its
    /// case matters. `CONNECT` is refused, since it asks a proxy for a tunnel.
    #[serde(default = "get")]
    #[schemars(length(min = 1, max = 64), extend("pattern" = crate::crd::schema::METHOD))]
    pub method: String,
    /// Path, beginning with `/`, appended to that of the target's URL; a template, which may hold a
    /// query.
    #[schemars(length(max = 2048), extend("pattern" = "^/"))]
    pub path: String,
    /// Query parameters by name, added to those of the path; values are templates and are
    /// percent-encoded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub query: BTreeMap<String, String>,
    /// Query parameters in their order, added after those of `query`; a name may be there several
    /// times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub query_items: Vec<ItemSpec>,
    /// Headers by name; values are templates. They replace the target's headers of the same name.
    /// `Content-Length`, `Transfer-Encoding` and `Connection` are set by Starling and refused here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::crd::schema::headers")]
    pub headers: BTreeMap<String, String>,
    /// JSON body, at most 64 KiB. A mapping is sent compact with sorted keys, since an API server
    /// sorts them; text (`json: |`) holds JSON that is sent as written, with the order of its keys and
    /// the spelling of its numbers. Strings in it are templates, and a string that is a single
    /// expression becomes the value of the expression, with its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::free_value")]
    pub json: Option<Value>,
    /// Text body, sent as written; a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub body: Option<String>,
    /// Body of these bytes; no template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_from: Option<DataSpec>,
    /// Fields of an `application/x-www-form-urlencoded` body by name; values are templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub form: Option<BTreeMap<String, String>>,
    /// Fields of an `application/x-www-form-urlencoded` body in their order, after those of `form`;
    /// a name may be there several times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub form_items: Option<Vec<ItemSpec>>,
    /// Parts of a `multipart/form-data` body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub multipart: Option<Vec<PartSpec>>,
    /// Highest number of redirects followed; overrides `spec.http.followRedirects`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 20))]
    pub follow_redirects: Option<u32>,
    /// Retries after a failure. If unset, nothing is sent twice. All attempts of a request together
    /// are one sample, and each retry is counted in `retries`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySpec>,
    /// Reads the answer as a stream of events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<HttpStreamSpec>,
}

/// A name with its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemSpec {
    /// Name, sent percent-encoded.
    #[schemars(length(max = 256))]
    pub name: String,
    /// Value; a template, which is percent-encoded.
    pub value: String,
}

/// One part of a multipart body: either `value` or `valueFrom`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["value"]}, {"required": ["valueFrom"]}]))]
pub struct PartSpec {
    /// Name of the form field.
    #[schemars(length(min = 1, max = 128), extend("pattern" = "^[^\"\\r\\n]+$"))]
    pub name: String,
    /// Content of the part as text; a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub value: Option<String>,
    /// Content of the part as bytes; no template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_from: Option<DataSpec>,
    /// File name, which makes the part a file upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("pattern" = "^[^\"\\r\\n]+$"))]
    pub file_name: Option<String>,
    /// Content type of the part. If unset, `application/octet-stream` for a file, and none
    /// otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), extend("pattern" = "^[!-~ ]+$"))]
    pub content_type: Option<String>,
}

/// Retries of an HTTP request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetrySpec {
    /// Highest number of retries after the first attempt.
    #[schemars(range(min = 1, max = 10))]
    pub max: u32,
    /// Failures after which the request is retried: `Connect` (no connection), `Reset` (the
    /// connection broke, or was stale), `Throttled` (status 429), `Unavailable` (503),
    /// `ServerError` (500 and above). If unset, `Connect`, `Throttled` and `Unavailable`.
    #[serde(default = "retry_on")]
    #[schemars(length(min = 1, max = 5), extend("x-kubernetes-list-type" = "atomic"))]
    pub on: Vec<RetryOn>,
    /// Pause before the first retry; doubled for each further one.
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
