//! HTTP requests of steps.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::feeder::Data;
use crate::plan::stream::HttpStream;
use crate::plan::target::Header;
use crate::plan::{JsonTemplate, JsonText, Template, duration};

/// An HTTP request and how its answer is treated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpStep {
    /// The request.
    pub request: HttpRequest,
    /// Most redirects that are followed.
    pub follow_redirects: u32,
    /// Failures after which the request is sent again; `None`: never.
    pub retry: Option<Retry>,
    /// Division of the answer into events; `None`: it is read as a whole.
    #[serde(default)]
    pub stream: Option<HttpStream>,
}

/// Failure after which an HTTP request may be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RetryOn {
    /// No connection came about, so nothing was sent.
    Connect,
    /// The connection broke, or a kept-alive one had ended.
    Reset,
    /// Status 429.
    Throttled,
    /// Status 503.
    Unavailable,
    /// Status 500 and above.
    ServerError,
}

/// Attempts after a failed one; all together are one sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// Most attempts after the first.
    pub max: u32,
    /// Classes of failure that are retried.
    pub on: Vec<RetryOn>,
    /// Pause before the second attempt; it doubles with each further one.
    #[serde(with = "duration::micros")]
    pub backoff: Duration,
}

/// Method, path, headers and body of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// Method in upper case, a token of RFC 9110.
    pub method: String,
    /// Path that starts with `/`; may hold a query.
    pub path: Template,
    /// Fields added to the path's query, in this order.
    pub query: Vec<Field>,
    /// Headers in addition to the target's, of which they replace those of the same name.
    pub headers: Vec<Header>,
    /// Body; `None`: none is sent.
    pub body: Option<Body>,
}

/// A literal name with a value that is a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// Name, sent as it is.
    pub name: String,
    /// Value, rendered for each request.
    pub value: Template,
}

/// Body of a request. Each kind sets its own `Content-Type` unless a header of the request does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Body {
    /// Text sent as it is, `text/plain; charset=utf-8`.
    Text(Template),
    /// Compact JSON with sorted keys, `application/json`.
    Json(JsonTemplate),
    /// JSON as its author wrote it, `application/json`.
    JsonText(JsonText),
    /// Bytes of a key or file, `application/octet-stream`.
    File(Data),
    /// Form fields, `application/x-www-form-urlencoded`.
    Form(Vec<Field>),
    /// Parts, `multipart/form-data`.
    Multipart(Vec<Part>),
}

impl Body {
    /// Keys and files that the body is made of, each with its field of the request.
    pub fn data(&self) -> Vec<(String, &Data)> {
        match self {
            Body::File(data) => vec![("bodyFrom".to_owned(), data)],
            Body::Multipart(parts) => {
                let files = parts
                    .iter()
                    .enumerate()
                    .filter_map(|(i, part)| match &part.content {
                        PartContent::File(data) => {
                            Some((format!("multipart[{i}].valueFrom"), data))
                        }
                        PartContent::Text(_) => None,
                    });
                files.collect()
            }
            Body::Text(_) | Body::Json(_) | Body::JsonText(_) | Body::Form(_) => vec![],
        }
    }
}

/// One part of a multipart body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Name of the form field.
    pub name: String,
    /// Content of the part.
    pub content: PartContent,
    /// File name sent with the part; `None`: none.
    pub file_name: Option<String>,
    /// Media type sent with the part; `None`: none.
    pub content_type: Option<String>,
}

/// Content of a part of a multipart body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PartContent {
    /// Rendered text.
    Text(Template),
    /// Bytes of a key or file.
    File(Data),
}
